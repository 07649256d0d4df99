"""Make `labs/` from `solutions/`: python -m helpers.course.authoring.labs

In a solution an answer stands between markers, with the blank that a lab has in its place:

    def newest(redis, stream, n):
        ### BEGIN SOLUTION
        return redis.xrevrange(stream, count=n)
        ### BLANK
        # return ____
        ### END SOLUTION

A cell tagged `solution` is left out of the lab. Outputs are left out as well.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from helpers.streams.errors import StreamsError

SOLUTIONS = CHECKOUT / "solutions"
LABS = CHECKOUT / "labs"
BEGIN, BLANK, END = "### BEGIN SOLUTION", "### BLANK", "### END SOLUTION"
LEFT_OUT = "solution"  # the tag of a cell that only the solution has

_LOOKS_LIKE_A_MARKER = re.compile(
    r"\s*(#{2,}\s*(begin|end|blank)\b|#+\s*(begin|end)[\s_-]*solution)", re.IGNORECASE
)


def main() -> None:
    """Write every lab."""
    for solution in sorted(SOLUTIONS.glob("*.ipynb")):
        target = LABS / solution.name
        target.write_text(render(solution))
        print(f"{target.relative_to(CHECKOUT)} written")


def render(solution: Path) -> str:
    """The text of the lab that belongs to a solution.

    Raises:
        CourseError: markers that are misspelt or unbalanced, or an answer without a blank.
    """
    notebook = nbformat.read(solution, as_version=4)
    notebook.cells = [
        _lab_cell(cell, f"{solution.name}, cell {number}")
        for number, cell in enumerate(notebook.cells)
        if LEFT_OUT not in cell.metadata.get("tags", ())
    ]
    return str(nbformat.writes(notebook)) + "\n"


def _lab_cell(cell: nbformat.NotebookNode, place: str) -> nbformat.NotebookNode:
    if cell.cell_type == "code":
        cell.source = blanked(cell.source, place)
        cell.outputs = []
        cell.execution_count = None
    return cell


def blanked(source: str, place: str) -> str:
    """A cell's source with each answer replaced by its blank.

    Raises:
        CourseError: as for `render`.
    """
    kept: list[str] = []
    expected = BEGIN
    for number, line in enumerate(source.splitlines(), 1):
        marker = line.strip()
        if marker in (BEGIN, BLANK, END):
            if marker != expected:
                raise CourseError(f"{place}, line {number}: {marker!r} where {expected!r} is due.")
            expected = {BEGIN: BLANK, BLANK: END, END: BEGIN}[marker]
        elif _LOOKS_LIKE_A_MARKER.match(line):
            raise CourseError(f"{place}, line {number}: {marker!r} is a misspelt marker.")
        elif expected == BEGIN:
            kept.append(line)
        elif expected == END:
            kept.append(_uncommented(line, f"{place}, line {number}"))
    if expected != BEGIN:
        raise CourseError(f"{place}: {expected!r} is missing at the end.")
    return "\n".join(kept)


def _uncommented(line: str, place: str) -> str:
    match = re.fullmatch(r"(\s*)# ?(.*)", line)
    if match is None:
        raise CourseError(f"{place}: a line of the blank must be a comment.")
    return f"{match[1]}{match[2]}"


if __name__ == "__main__":
    try:
        main()
    except StreamsError as error:
        sys.exit(str(error))
