"""What keeps a lesson, its lab and README from the rule of time, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from helpers.course.authoring import reading
from helpers.course.authoring.reading import Exercise
from helpers.course.authoring.rule import Lesson, exercise_minutes, minutes
from helpers.course.authoring.stating import lab_states, lesson_states, stated

CORE_AT_MOST, MUSTS_AT_MOST, NAMES_AT_MOST = 30, 20, 8
HALF_DAY_AT_MOST = 190  # 3.5 hours, less two breaks


def lacks(lesson: Lesson, others: Sequence[Lesson] = ()) -> Iterator[str]:
    """What keeps a lesson and its lab from the rule, a sentence each.

    Args:
        lesson: the one to look at.
        others: whose cores have shown something already, those that come before it.
    """
    if not lesson.stands:
        yield f"no cell begins with the heading '{reading.GOING_DEEPER}'"
    if (core := minutes(lesson.part("core"))) > CORE_AT_MOST:
        yield f"the core takes {core:.1f} minutes, more than {CORE_AT_MOST}"
    if len(names := reading.names_of_helpers(lesson.part("core"))) > NAMES_AT_MOST:
        yield f"the core imports {len(names)} names of helpers: {', '.join(sorted(names))}"
    yield from _unfolded(lesson.cells)
    if lesson.stands:
        yield from _untagged(lesson.cells)
        if lesson_states(lesson) not in lesson.cells[0].source:
            yield f"its first cell does not say: {lesson_states(lesson)}"
    if lesson.lab:
        yield from _lab_lacks(lesson)
        yield from _not_shown(lesson, [one for one in others if one.number < lesson.number])


def _unfolded(cells: Sequence[Any]) -> Iterator[str]:
    for asking, answering in reading.answers(cells):
        place = f"cell {cells.index(asking)} asks for a prediction, and"
        if not answering:
            yield f"{place} no cell below it prints the answer"
        answering = [cell for cell in answering if not reading.has_widget(cell)]
        if open_ones := [cells.index(cell) for cell in answering if not is_folded(cell)]:
            yield f"{place} its answer is not folded: cell {_listed(open_ones)}"
        if ignored := [cells.index(cell) for cell in answering if not reading.is_compared(cell)]:
            yield f"{place} its answer is neither compared nor asserted: cell {_listed(ignored)}"


def is_folded(cell: Any) -> bool:
    """Whether a cell's output is hidden until a click, here and on the site."""
    hidden = cell.metadata.get("jupyter", {}).get("outputs_hidden") is True
    return hidden and "hide-output" in reading.tags(cell)


def _untagged(cells: Sequence[Any]) -> Iterator[str]:
    pairs = enumerate(zip(cells, reading.parts(cells), strict=True))
    wrong = [n for n, (cell, part) in pairs if reading.tags(cell) & {"core", "deeper"} != {part}]
    if wrong:
        yield f"not tagged core or deeper as it should be: cell {_listed(wrong)}"


def _lab_lacks(lesson: Lesson) -> Iterator[str]:
    if unsaid := [one.number for one in lesson.exercises if one.level is None]:
        yield f"lab: no line such as *must · 4 minutes · core* in exercise {_listed(unsaid)}"
    for one in lesson.exercises:
        if one.level is not None and one.part is not None:
            yield from _exercise_lacks(one, exercise_minutes(len(one.answer), one.level))
    if (musts := lesson.lab_takes("must")) > MUSTS_AT_MOST:
        yield f"lab: the musts take {musts} minutes, more than {MUSTS_AT_MOST}"
    if not musts:
        yield "lab: no exercise is a must"
    if lab_states(lesson) not in "\n".join(cell.source for cell in lesson.lab[:2]):
        yield f"lab: its beginning does not say: {lab_states(lesson)}"


def _exercise_lacks(one: Exercise, right: int) -> Iterator[str]:
    if one.stated != right:
        yield f"lab, exercise {one.number}: it takes {right} minutes, and says {one.stated}"
    if one.level == "must" and one.part == "deeper":
        yield f"lab, exercise {one.number}: a must needs the core only"
    if any(not {one.level, one.part} <= reading.tags(cell) for cell in one.cells):
        yield f"lab, exercise {one.number}: not tagged {one.level} and {one.part}"


def _not_shown(lesson: Lesson, before: Sequence[Lesson]) -> Iterator[str]:
    cores = [cell for one in (*before, lesson) for cell in one.part("core")]
    shown = reading.shown(cores)
    for one in lesson.exercises:
        if one.level == "must" and (new := reading.commands(one) - shown):
            yield f"lab, exercise {one.number}: no core has shown {', '.join(sorted(new))}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def readme_lacks(text: str, lessons: Sequence[Lesson]) -> Iterator[str]:
    """What README states otherwise."""
    if "<!-- times -->" not in text or "<!-- routes -->" not in text:
        yield "it has no <!-- times --> or no <!-- routes -->"
    elif stated(text, lessons) != text:
        yield "its times differ: run make times"
    half = sum(one.takes("core") + one.lab_takes("must") for one in lessons if one.number <= "04")
    if half > HALF_DAY_AT_MOST:
        yield f"half a day takes {half} minutes, more than {HALF_DAY_AT_MOST}"
