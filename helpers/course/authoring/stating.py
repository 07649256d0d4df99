"""Where the times of lessons and labs are stated: in themselves and in README.

In a lesson it is the row `| **It takes** | … |` of its first cell; in a lab a line that begins
with `**It takes**` in its first cell, and the line with the level below each exercise's heading;
in README the last two columns of the table if `<!-- times -->` stands in it, and what is between
`<!-- routes -->` and `<!-- /routes -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from helpers.course.authoring import reading
from helpers.course.authoring.labs import SOLUTIONS
from helpers.course.authoring.rule import LESSONS, Lesson, exercise_minutes


def lesson_states(lesson: Lesson) -> str:
    """The row of a lesson that says how long it takes."""
    text = f"{lesson.takes('core')} minutes"
    if deeper := lesson.takes("deeper"):
        text += f" for the core, {deeper} to go deeper"
    if lesson.lab:
        text += (
            f"; in the [lab](../labs/{lesson.name}), {lesson.lab_takes('must')} for the must "
            f"exercises, {lesson.lab_takes()} for all"
        )
    return f"| **It takes** | {text} |"


def lab_states(lesson: Lesson) -> str:
    """The line of a lab that says how long it takes."""
    must, all_of_it = lesson.lab_takes("must"), lesson.lab_takes()
    return f"**It takes** {must} minutes for the *must* exercises, {all_of_it} for all of them."


def readme_row(lesson: Lesson, row: str) -> str:
    """README's row of a lesson, with its times in the last two columns."""
    kept = row.split(" | ")[:3]
    core, deeper = lesson.takes("core"), lesson.takes("deeper")
    times = f"{core} + {deeper} min" if deeper else f"{core} min"
    must, all_of_it = lesson.lab_takes("must"), lesson.lab_takes()
    lab = f"[{must} of {all_of_it} min](labs/{lesson.name})" if lesson.lab else ""
    return " | ".join([*kept, times, f"{lab} |".strip()])


def routes(lessons: Sequence[Lesson]) -> str:
    """README's table of the ways through the course."""
    rows = [
        "| you have | lessons | labs | reading and running | exercises |",
        "|---|---|---|---:|---:|",
    ]
    for name, last in (("half a day", "04"), ("a day", "06"), ("two days", "09")):
        those = [one for one in lessons if one.number <= last]
        read, solved = _sum(one.takes("core") for one in those), _sum(map(_musts, those))
        rows.append(
            f"| {name} | core of 00 to {last} | the musts of 01 to {last} | {read} | {solved} |"
        )
    read = _sum(one.takes("core") + one.takes("deeper") for one in lessons)
    solved = _sum(one.lab_takes() for one in lessons)
    rows.append(f"| as long as you like | all of it | all of them | {read} | {solved} |")
    return "\n".join(rows)


def _musts(lesson: Lesson) -> int:
    return lesson.lab_takes("must")


def _sum(times: Iterable[int]) -> str:
    hours, rest = divmod(sum(times), 60)
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"


def stated(readme: str, lessons: Sequence[Lesson]) -> str:
    """README with the times of these lessons, where its markers stand."""
    if "<!-- times -->" in readme:
        for lesson in lessons:
            row = re.compile(rf"^\| {lesson.number} \| .*$", re.MULTILINE)
            if match := row.search(readme):
                readme = readme.replace(match[0], readme_row(lesson, match[0]))
    block = re.compile(r"(<!-- routes -->\n).*?(<!-- /routes -->)", re.DOTALL)
    return block.sub(lambda match: f"{match[1]}\n{routes(lessons)}\n\n{match[2]}", readme)


def write(lesson: Lesson) -> None:
    """State the times in the files of a lesson and its solution."""
    rewrite(lesson)
    _save(LESSONS / lesson.name, lesson.cells)
    if lesson.lab:
        _save(SOLUTIONS / lesson.name, lesson.lab)


def rewrite(lesson: Lesson) -> None:
    """State the times in the cells of a lesson and its lab, where they have a place for them."""
    first = lesson.cells[0]
    row = re.compile(r"^\| \*\*It takes\*\* \|.*\|$", re.MULTILINE)
    first.source = row.sub(lambda _: lesson_states(lesson), first.source)
    for one in lesson.exercises:
        if one.level:
            takes = exercise_minutes(len(one.answer), one.level)
            one.cells[0].source = reading.with_minutes(one.cells[0].source, takes)
    for cell in lesson.lab[:2]:
        line = re.compile(r"^\*\*It takes\*\* .*$", re.MULTILINE)
        cell.source = line.sub(lambda _: lab_states(lesson), cell.source)


def _save(file: Path, cells: list[Any]) -> None:
    notebook = nbformat.read(file, as_version=4)
    if notebook.cells != cells:
        notebook.cells = cells
        nbformat.write(notebook, file)
