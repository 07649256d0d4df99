"""Bring the answers of another copy of the course here, where no git knows what they began from."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat

from helpers.course.disk import write_whole
from helpers.course.errors import CourseError
from helpers.course.update.cells import MergeText, UnreadableNotebookError, carry

BLANK = "____"


def bring(other: Path, here: Path, merge_text: MergeText) -> dict[str, str]:
    """Carry what another copy's labs hold into this one's, and copy notebooks that only it has.

    An exercise that is blank here and not there takes the answer; nothing else here is replaced.

    Returns:
        For each file that changed, what became of it.

    Raises:
        CourseError: the folder holds no course.
    """
    if other.resolve() == here.resolve():
        raise CourseError(f"{other} is this copy of the course: name the folder of the other one.")
    if not (other / "labs").is_dir():
        raise CourseError(f"{other} is no other copy of the course: it needs a folder labs/.")
    done: dict[str, str] = {}
    for folder in ("labs", "notebooks"):
        for theirs in filter(Path.is_file, sorted((other / folder).glob("*.ipynb"))):
            name, target = f"{folder}/{theirs.name}", here / folder / theirs.name
            if not target.exists():
                shutil.copyfile(theirs, target)
                done[name] = "copied"
            elif folder == "labs":
                said = _answers(theirs, target, merge_text)
                if said:
                    done[name] = said
    return done


def _answers(theirs: Path, target: Path, merge_text: MergeText) -> str | None:
    try:
        mine, new = (one.read_text("utf-8-sig") for one in (theirs, target))
        carried = carry(_origin(mine, new), mine, new, merge_text)
    except (UnreadableNotebookError, UnicodeDecodeError):
        return "could not be read, and was left out"
    if carried.only_run:
        return None
    write_whole(target, carried.text)
    target.chmod(0o644)
    return "your answers are in it now"


def _origin(mine: str, new: str) -> str:
    """What the learner began from, as far as it can be told: blanks as here, the rest as there."""
    try:
        theirs = nbformat.reads(mine, as_version=4)
        origin = nbformat.reads(new, as_version=4)
    except Exception as error:  # as in `cells`
        raise UnreadableNotebookError(str(error)) from error
    sources = {cell.get("id"): cell.source for cell in theirs.cells}
    for cell in origin.cells:
        if BLANK not in cell.source or cell.cell_type != "code":
            cell.source = sources.get(cell.id, cell.source)
    return str(nbformat.writes(origin))
