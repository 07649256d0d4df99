"""Mark lessons and solutions from what they say: python -m helpers.course.authoring.marks [FILE …]

In a lesson each cell is tagged `core` or `deeper`, and the answer to each prediction is folded. In
a solution the cells of an exercise are tagged with its level and the part that it needs.
With --cut HEADING, the deeper part of the one lesson named begins there from now on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import nbformat
from nbformat.v4 import new_markdown_cell

from helpers.course.authoring import reading
from helpers.course.authoring.labs import SOLUTIONS
from helpers.course.authoring.reading import GOING_DEEPER, Level, Part
from helpers.course.authoring.rule import LESSONS
from helpers.course.errors import CourseError
from helpers.streams.errors import StreamsError

FOLDED = "hide-output"
PARTS, LEVELS = set(get_args(Part)), set(get_args(Level))


def main() -> None:
    """Mark the notebooks named, or all lessons and solutions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--cut", metavar="HEADING", help="where the deeper part begins")
    options = parser.parse_args()
    files = options.files or [
        *sorted(LESSONS.glob("[0-9]*.ipynb")),
        *sorted(SOLUTIONS.glob("*.ipynb")),
    ]
    if options.cut and len(files) != 1:
        parser.error("--cut needs one FILE")
    for file in files:
        notebook = nbformat.read(file, as_version=4)
        before = nbformat.writes(notebook)
        if options.cut:
            notebook.cells = cut(notebook.cells, options.cut)
        if any(reading.exercises(notebook.cells)):
            mark_exercises(notebook.cells)
        else:
            mark_parts(notebook.cells)
            fold(notebook.cells)
        if nbformat.writes(notebook) != before:
            nbformat.write(notebook, file)
            print(f"✓ {file.name}")


def cut(cells: Sequence[Any], title: str) -> list[Any]:
    """The cells, with the deeper part beginning before a heading.

    Raises:
        CourseError: there is no such heading, or a deeper part already.
    """
    if reading.has_deeper_part(cells):
        raise CourseError(f"There is a cell '{GOING_DEEPER}' already: move it by hand.")
    found: list[Any] = []
    for cell in cells:
        pieces = reading.split(cell)
        at = [n for n, piece in enumerate(pieces) if _is(piece, title)]
        if not at:
            found.append(cell)
            continue
        first, rest = pieces[: at[0]], pieces[at[0] :]
        found += [_joined(first)] if first else []
        found += [new_markdown_cell(GOING_DEEPER), _joined(rest)]
    if len(found) == len(cells):
        raise CourseError(f"No heading of the lesson is {title!r}.")
    return found


def _is(cell: Any, title: str) -> bool:
    return cell.cell_type == "markdown" and reading.heading(cell) == title


def _joined(pieces: Sequence[Any]) -> Any:
    return new_markdown_cell("\n\n".join(piece.source for piece in pieces))


def mark_parts(cells: Sequence[Any]) -> None:
    """Tag each cell of a lesson with its part."""
    for cell, part in zip(cells, reading.parts(cells), strict=True):
        _retag(cell, PARTS, {part})


def fold(cells: Sequence[Any]) -> None:
    """Fold the answers to predictions, and unfold what is no answer any more."""
    printing = [cell for _, printed in reading.answers(cells) for cell in printed]
    answers = [cell for cell in printing if not reading.has_widget(cell)]
    for cell in cells:
        its = any(cell is answer for answer in answers)
        _retag(cell, {FOLDED}, {FOLDED} if its else set())
        jupyter = dict(cell.metadata.pop("jupyter", {}))
        jupyter.pop("outputs_hidden", None)
        if its:
            jupyter["outputs_hidden"] = True
        if jupyter:
            cell.metadata["jupyter"] = nbformat.from_dict(jupyter)


def mark_exercises(cells: Sequence[Any]) -> None:
    """Tag each cell of an exercise with its level and the part that it needs."""
    for cell in cells:
        _retag(cell, PARTS | LEVELS, set())
    for exercise in reading.exercises(cells):
        for cell in exercise.cells:
            if exercise.level and exercise.part:
                _retag(cell, set(), {exercise.level, exercise.part})


def _retag(cell: Any, old: set[str], new: set[str]) -> None:
    kept = [tag for tag in cell.metadata.get("tags", ()) if tag not in old | new]
    if tags := [*kept, *sorted(new)]:
        cell.metadata["tags"] = tags
    else:
        cell.metadata.pop("tags", None)


if __name__ == "__main__":
    try:
        main()
    except StreamsError as error:
        sys.exit(str(error))
