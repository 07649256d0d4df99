"""The run-sheet of each route: what a class does and for how many minutes, by the rule of time.

`make times` writes it into the instructor's book: a route's table where `<!-- route NAME -->` and
`<!-- /route -->` stand, a lesson's sections where `<!-- sections 03 -->` and `<!-- /sections -->`
do. The class board compares with it where the class is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

from helpers.course.authoring import reading
from helpers.course.authoring.rule import Lesson, exercise_minutes, lessons, minutes
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT

BEGINS = 9 * 60  # nine o'clock


@dataclass(frozen=True)
class Step:
    """A stretch of a route: a part of a lesson, an exercise or a break.

    Attributes:
        title: what the class does.
        minutes: how long it takes.
        exercise: its ID, such as `03.2`, if it is one.
        late: what to leave out if the class is late.
        catchup: the lesson up to which a learner who comes after this break is to catch up.
    """

    title: str
    minutes: int
    exercise: str = ""
    late: str = ""
    catchup: str = ""


@dataclass(frozen=True)
class Route:
    """A way through the course that fits a slot."""

    name: str
    steps: tuple[Step, ...]

    def ends(self) -> list[int]:
        """The minute at which each step should be over."""
        return list(accumulate(step.minutes for step in self.steps))

    def due(self) -> dict[str, int]:
        """The minute at which each exercise should be done."""
        return {
            step.exercise: end
            for step, end in zip(self.steps, self.ends(), strict=True)
            if step.exercise
        }


# ------------------------------------------------------------- what the routes are made of


@dataclass(frozen=True)
class Part:
    """A lesson's core, its deeper part, or the sections of it that are named."""

    lesson: str
    sections: tuple[str, ...] = ()
    part: reading.Part = "core"
    late: str = ""


@dataclass(frozen=True)
class Lab:
    """Exercises of a lab: those that are named, or the musts."""

    lesson: str
    numbers: tuple[int, ...] = ()
    late: str = ""


@dataclass(frozen=True)
class Other:
    """A break, or anything else that a class does."""

    title: str
    minutes: int
    catchup: str = ""
    late: str = ""


Item = Part | Lab | Other

OPENING = ""  # what comes before a lesson's first heading

_LATE = {  # what a core can do without, for those that have to hurry
    "01": "run *Can I change an entry?* and *A day of weather*, and don't discuss them",
    "02": "skip *Can I wait forever?* and *Can I read two streams at once?*",
    "03": "run *Is the order kept?*, and say its last sentence",
    "04": "skip *What if the entry is gone?*; leave out `Consumer` at the end",
    "05": "in place of *Which day does a reading belong to?*, say “UTC”",
    "06": "show only the third fault, `paused`",
    "07": "skip *Many channels at once* and *How far does a channel reach?*",
    "08": "of *Does asyncio help?*, show only the chart",
    "09": "of *Wait for the replica*, show only `WAIT`",
}
_LAB_LATE = {
    "01": "leave 5 for the break",
    "02": "only 4: 2 and 3 lead up to it",
    "03": "only 4",
    "04": "only 5; show the answer of 4",
    "05": "only 5",
    "06": "only 6; 5 is its first half",
    "07": "only 1",
    "08": "only 2",
    "09": "only 2",
}


def _core(number: str) -> Part:
    return Part(number, late=_LATE.get(number, ""))


def _musts(number: str) -> Lab:
    return Lab(number, late=_LAB_LATE.get(number, ""))


def _break(minutes: int, catchup: str, title: str = "Break") -> Other:
    return Other(title, minutes, catchup)


_FIRST_MORNING = (
    _core("00"), _core("01"), _musts("01"), _break(10, "01"),
    _core("02"), _musts("02"), _break(10, "02"),
    _core("03"), _musts("03"),
)  # fmt: skip

PLANS: Mapping[str, tuple[Item, ...]] = {
    "90 minutes": (
        _core("00"),
        Part("01", (OPENING, "What does XADD give back?", "Which IDs does the server accept?")),
        Lab("01", (1,)),
        Part(
            "02", ("What does XREAD return?", "What is `$`?"),
            late="skip *What does XREAD return?*",
        ),
        _break(5, "02"),
        Part(
            "03",
            (OPENING, "How do I make a group?", "Where does a group begin?",
             "Who gets the next one?"),
            late="in place of *Where does a group begin?*, say what `$` does",
        ),
        Part(
            "04",
            (OPENING, "What does the group remember?", "What does a crash leave?",
             "What if bob never comes back?"),
            late="stop when bob gets nothing, and say where his entries are",
        ),
        Other("The questions that are left, the cheat sheet, the feedback form", 8),
    ),
    "half a day": (
        *_FIRST_MORNING, _break(10, "03"), _core("04"), _musts("04"),
    ),
    "a day": (
        *_FIRST_MORNING,
        _break(60, "03", "Lunch"), _core("04"), _musts("04"), _break(15, "04"),
        _core("05"), _musts("05"), _break(15, "05"), _core("06"), _musts("06"),
        Other("Open lab: what is left, or the *should* exercises", 15, late="drop it"),
        Other("Exit quiz, its answers, the feedback form", 20, late="let them take the quiz home"),
    ),
    "two days, the first": (
        *_FIRST_MORNING, _break(60, "03", "Lunch"),
        _core("04"), _musts("04"), _break(15, "04"),
        Part("04", part="deeper", late="stop at *Without a script: WATCH*"),
        _break(10, "04"),
        Lab("04", (7,), late="give it as a task for the evening"),
        Other("Open lab: what is left, or the *should* exercises", 45, late="drop it"),
        Other("Exit quiz on 00 to 04, and its answers", 15, late="begin the second day with it"),
    ),
    "two days, the second": (
        _core("05"), _musts("05"), _break(10, "05"), _core("06"), _musts("06"), _break(10, "06"),
        _core("07"), _musts("07"), _break(60, "07", "Lunch"), _core("08"), _musts("08"),
        _break(15, "08"), _core("09"), _musts("09"), _break(10, "09"),
        Other("Open lab: what is left, or the *should* exercises", 45, late="drop it"),
        Other("Exit quiz on 05 to 09, its answers, the feedback form", 20,
              late="let them take it home"),
    ),
}  # fmt: skip


# ------------------------------------------------------------- from plans to minutes


def routes(known: Sequence[Lesson] = ()) -> list[Route]:
    """All routes.

    Raises:
        CourseError: a plan names a section or an exercise that isn't there.
    """
    by_number = {one.number: one for one in known or lessons()}
    return [
        Route(name, tuple(step for item in plan for step in _steps(item, by_number)))
        for name, plan in PLANS.items()
    ]


def exercises(known: Sequence[Lesson] = ()) -> dict[str, tuple[bool, int]]:
    """Whether each exercise of the course is a must, and the minutes that it takes."""
    return {
        f"{lesson.number}.{one.number}": (one.level == "must", _takes(one))
        for lesson in known or lessons()
        for one in lesson.exercises
    }


def sections(lesson: Lesson, part: reading.Part = "core") -> dict[str, float]:
    """The minutes of each section of a lesson's part, by its heading."""
    cells = lesson.part(part)
    begins = [n for n, one in enumerate(cells) if n == 0 or _heading(one)]
    return {_heading(cells[a]): minutes(cells[a:b]) for a, b in pairwise([*begins, len(cells)])}


def _heading(cell: Any) -> str:
    return reading.heading(cell) if cell.cell_type == "markdown" else ""


def _takes(exercise: reading.Exercise) -> int:
    return exercise_minutes(len(exercise.answer), exercise.level)


def _steps(item: Item, known: Mapping[str, Lesson]) -> Iterator[Step]:
    match item:
        case Other(title, takes, catchup, late):
            yield Step(title, takes, late=late, catchup=catchup)
        case Part(number, (), part, late):
            lesson = known[number]
            title = "core" if part == "core" else "deeper part"
            yield Step(f"{_lesson(lesson)}: {title}", lesson.takes(part), late=late)
        case Part(number, names, part, late):
            lesson = known[number]
            there = sections(lesson, part)
            if missing := [name for name in names if name not in there]:
                raise CourseError(f"{lesson.name} has no section {missing[0]!r}: see `PLANS`.")
            takes = math.ceil(sum(there[name] for name in names))
            said = ", ".join(f"*{name}*" for name in names if name)
            yield Step(f"{_lesson(lesson)}: {said}", takes, late=late)
        case Lab(number, numbers, late):
            lesson = known[number]
            chosen = [
                one
                for one in lesson.exercises
                if (one.number in numbers if numbers else one.level == "must")
            ]
            if not chosen or len(chosen) < len(numbers):
                raise CourseError(f"{lesson.name} has no exercises {numbers}: see `PLANS`.")
            for one in chosen:
                name = f"{number}.{one.number}"
                yield Step(f"Exercise {name}", _takes(one), name, late)


def _lesson(lesson: Lesson) -> str:
    return f"Lesson {lesson.number}"


# ------------------------------------------------------------- as a table


BOOK = CHECKOUT / "teaching"

_BLOCK = re.compile(r"(<!-- (route|sections) ([^>]+?) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def stated(text: str, known: Sequence[Lesson]) -> str:
    """A page of the book with its tables and minutes where their marks stand.

    Raises:
        CourseError: a mark names no route and no lesson.
    """
    said = {("route", route.name): table(route, known) for route in routes(known)}
    said |= {("sections", lesson.number): _sections(lesson) for lesson in known}

    def one(match: re.Match[str]) -> str:
        if (match[2], match[3]) not in said:
            raise CourseError(f"There is no {match[2]} {match[3]!r} for the instructor's book.")
        return f"{match[1]}\n{said[match[2], match[3]]}\n\n{match[4]}"

    return _BLOCK.sub(one, text)


def pages() -> list[Path]:
    """The pages of the instructor's book."""
    return sorted(BOOK.glob("*.md"))


def _sections(lesson: Lesson) -> str:
    """The minutes of a lesson's core and of the musts of its lab, in a line or two."""
    parts = [
        f"{f'*{name}*' if name else 'the opening'} ({max(1, round(takes))})"
        for name, takes in sections(lesson).items()
        if name not in _NOT_SHOWN
    ]
    closing = sum(takes for name, takes in sections(lesson).items() if name in _NOT_SHOWN)
    parts += [f"the summary ({max(1, round(closing))})"] if closing else []
    text = f"[Core](../notebooks/{lesson.name}), {lesson.takes('core')} min: {', '.join(parts)}."
    musts = [one for one in lesson.exercises if one.level == "must"]
    if musts:
        listed = ", ".join(f"exercise {one.number} ({_takes(one)})" for one in musts)
        takes = lesson.lab_takes("must")
        text += f"\n\n[Lab](../labs/{lesson.name}), {takes} min for the musts: {listed}."
    return text


_NOT_SHOWN = {"In short", "So far", "Summary"}


def table(route: Route, known: Sequence[Lesson]) -> str:
    """A route as a table of Markdown; the exercises of a lab are in one row."""
    rows = ["| from | min | what | if you are late |", "|---:|---:|---|---|"]
    minute = 0
    names = {one.number: one.name for one in known}
    for _, group in groupby(route.steps, key=lambda one: one.exercise[:2] or id(one)):
        those = list(group)
        takes = sum(one.minutes for one in those)
        what, late = _what(those, names), those[0].late
        rows.append(f"| {_clock(minute)} | {takes} | {what} | {late} |")
        minute += takes
    rows.append(f"| {_clock(minute)} | | *the end, after {_hours(minute)}* | |")
    return "\n".join(rows)


def _what(steps: Sequence[Step], names: Mapping[str, str]) -> str:
    first = steps[0]
    if first.exercise:
        number = first.exercise[:2]
        numbers = [one.exercise[3:] for one in steps]
        said = "exercise " + numbers[0] if len(numbers) == 1 else "exercises " + _and(numbers)
        return f"[Lab {number}](../labs/{names[number]}): {said}"
    if first.catchup:
        return f"**{first.title}** · latecomers: `course catchup {first.catchup}`"
    return re.sub(
        r"^Lesson (\d\d)",
        lambda match: f"[{match[0]}](../notebooks/{names[match[1]]})",
        first.title,
    )


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _clock(minute: int) -> str:
    hour, rest = divmod(BEGINS + minute, 60)
    return f"{hour}:{rest:02}"


def _hours(minute: int) -> str:
    hours, rest = divmod(minute, 60)
    return f"{hours} h {rest:02} min"
