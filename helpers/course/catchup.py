"""A notebook for a learner who comes late: what the lessons so far have said, to read in minutes.

It is made from the lessons and solutions themselves: what each core says at its end, its drawings
and commands, and the must exercises with their answers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.course.authoring import reading
from helpers.course.authoring.rule import Lesson, lessons, minutes
from helpers.course.disk import write_whole
from helpers.course.doctor import notebooks
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT

FOLDER = CHECKOUT / "catchup"
ENDS = ("In short", "So far")  # the headings of what a core says at its end
AS_WRITTEN = "course_as_written"  # in a notebook's metadata: what its cells were when it was made

_LINK = re.compile(r"\]\((?!https?:|#|\.\./)([^)]+)\)")
_FURTHER = re.compile(r"\b(lab|labs|lab's)\b|^Go on with|^If you stop here")


def write(upto: str, folder: Path = FOLDER) -> tuple[Path, bool]:
    """Make the notebook of the lessons up to one, and leave one that was changed as it is.

    Returns:
        The file, and whether it was written.

    Raises:
        CourseError: there is no such lesson, one can't be read, or the file can't be written.
    """
    for found in notebooks.findings(notebooks.look(CHECKOUT, ("notebooks", "solutions"))):
        raise CourseError(found.sentence)
    notebook = made(upto)
    file = folder / f"catchup_{notebook.metadata['course_upto']}.ipynb"
    if _was_changed(file):
        return file, False
    try:
        folder.mkdir(exist_ok=True)
        write_whole(file, nbformat.writes(notebook) + "\n")
    except OSError as error:
        raise CourseError(
            f"{error.filename or file} cannot be written ({error.strerror or error}): make room "
            "for it, or move what stands in its place."
        ) from error
    return file, True


def made(upto: str) -> nbformat.NotebookNode:
    """The notebook of the lessons up to one.

    Raises:
        CourseError: there is no such lesson.
    """
    everything = lessons()
    numbers = [one.number for one in everything]
    last = f"{upto:>02}"
    if last not in numbers:
        raise CourseError(f"There is no lesson {upto}: choose one of {', '.join(numbers)}.")
    those = everything[: numbers.index(last) + 1]
    following = everything[len(those) : len(those) + 1]
    cells = [cell for lesson in those for cell in _of(lesson)]
    cells = [_beginning(those, following, cells), *cells, *_ending(those, following)]
    for number, cell in enumerate(cells):
        cell.id = f"catchup-{number}"
    notebook = new_notebook(cells=cells)
    notebook.metadata |= {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "course_upto": last,
        AS_WRITTEN: _digest(cells),
    }
    return notebook


def _was_changed(file: Path) -> bool:
    """Whether the file has notes of a learner's; one that isn't a notebook counts as such."""
    try:
        known = json.loads(file.read_text("utf-8"))
        cells = nbformat.from_dict(known["cells"])
        return bool(known["metadata"][AS_WRITTEN] != _digest(cells))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _digest(cells: Sequence[Any]) -> str:
    """What the cells say, in short; outputs don't count."""
    said = [(one["cell_type"], _joined(one["source"])) for one in cells]
    return sha256(repr(said).encode()).hexdigest()[:16]


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


# ------------------------------------------------------------------ its parts


def _beginning(those: Sequence[Lesson], following: Sequence[Lesson], cells: Sequence[Any]) -> Any:
    span = those[0].number if len(those) == 1 else f"{those[0].number} to {those[-1].number}"
    takes = max(1, math.ceil(minutes([one for one in cells if one.cell_type == "markdown"])))
    text = (
        f"# Catch up: lessons {span}\n\n"
        "This is what the class has seen so far. For each lesson you find what its core says at "
        "its end, its drawings, its commands, and the *must* exercises with their answers. "
        f"Reading it takes about {takes} minute{'s' if takes > 1 else ''}."
    )
    if following:
        (lesson,) = following
        text += (
            f"\n\nThen join the class in [lesson {lesson.number}](../notebooks/{lesson.name}). "
            "Each lesson and each lab makes its own keys, so you don't have to run anything first."
        )
    return new_markdown_cell(text)


def _of(lesson: Lesson) -> Iterator[Any]:
    """The cells about one lesson."""
    core = lesson.part("core")
    title = core[0].source.partition("\n")[0].lstrip("# ")
    yield new_markdown_cell(
        f"## {title}\n\n[Open the lesson](../notebooks/{lesson.name})"
        + (f" · [open its lab](../labs/{lesson.name})" if lesson.lab else "")
    )
    for cell in core:
        if cell.cell_type != "markdown":
            continue
        if cell.source.startswith("!["):
            yield _markdown(cell.source, "notebooks")
        elif reading.heading(cell) in ENDS:
            yield _markdown(_told(cell.source), "notebooks")
    summary = next(one.source for one in core if reading.heading(one) == reading.SUMMARY[3:])
    if not any(reading.heading(cell) in ENDS for cell in core):
        yield _markdown(_told(summary.partition("\n\n| command")[0]), "notebooks")
    yield _markdown(_commands(summary), "notebooks")
    for exercise, cells in _musts(lesson):
        yield _markdown(exercise, "solutions")
        yield from cells


def _told(section: str) -> str:
    """What a core says at its end, without where to go then."""
    _, *paragraphs = section.split("\n\n")
    return "\n\n".join(filter(None, map(_staying, paragraphs)))


def _staying(paragraph: str) -> str:
    """A paragraph without its sentences about where to go then."""
    if paragraph.startswith(("* ", "| ")):
        return paragraph
    sentences = re.split(r"(?<=[.?!]) ", paragraph)
    return " ".join(one for one in sentences if not _FURTHER.search(one))


def _commands(summary: str) -> str:
    """The table of a lesson's commands."""
    return next((one for one in summary.split("\n\n") if one.startswith("| command")), "")


def _musts(lesson: Lesson) -> Iterator[tuple[str, list[Any]]]:
    """Each must exercise: its text, and its answer with what the solution says about it."""
    begins = [n for n, one in enumerate(lesson.lab) if reading.is_exercise(one)]
    for exercise, (a, b) in zip(
        lesson.exercises, pairwise([*begins, len(lesson.lab)]), strict=True
    ):
        if exercise.level != "must":
            continue
        cells = lesson.lab[a:b]
        text = re.sub(r"^## (\d+) · ", rf"### Exercise {lesson.number}.\1 · ", cells[0].source)
        answers = [
            new_markdown_cell(f"The answer:\n\n```python\n{solved(one.source)}\n```")
            for one in cells
            if one.cell_type == "code" and "### BEGIN" in one.source
        ]
        notes = [
            _markdown(one.source, "solutions")
            for one in cells[1:]
            if one.cell_type == "markdown" and "solution" in reading.tags(one)
        ]
        yield text, [*answers, *notes]


def solved(source: str) -> str:
    """An answer's cell without its marks and without the blank."""
    kept = re.sub(r"^ *### BLANK\n.*?^ *### END SOLUTION\n?", "", source, flags=re.M | re.S)
    return re.sub(r"^ *### BEGIN SOLUTION\n", "", kept, flags=re.M).rstrip()


def _ending(those: Sequence[Lesson], following: Sequence[Lesson]) -> Iterator[Any]:
    labs = [one.number for one in those if one.lab]
    if labs:
        yield new_markdown_cell(
            "## What have I done so far?\n\nThis cell shows which exercises your checks have "
            "found right. The others can wait until after the class."
        )
        yield new_code_cell(
            f"from helpers.checks import progress\n\nfor lab in {labs!r}:\n".replace("'", '"')
            + '    print("Lab", lab, "done:", sorted(progress.done(lab)) or "none yet")'
        )
    if following:
        (lesson,) = following
        text = f"Now go on with [lesson {lesson.number}](../notebooks/{lesson.name})."
        yield new_markdown_cell(text)


def _markdown(text: str, folder: str) -> Any:
    """A cell of Markdown whose links led from another folder."""
    return new_markdown_cell(_LINK.sub(rf"](../{folder}/\1)", text).strip())
