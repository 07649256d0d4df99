"""Carry what a learner wrote in a notebook into the notebook's new version, cell by cell.

Cells are told apart by their IDs, which JupyterLab keeps; where another editor dropped them, by
the name that a cell defines, or by its source. To carry twice gives what carrying once gives, so
an update that was interrupted can be run again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import nbformat

Cell = Any  # nbformat's cells have no types
MergeText = Callable[[str, str, str], str | None]  # base, mine, new; None if they conflict

NO_ID = "no-id-"  # begins the IDs of cells that an editor wrote without one
OURS = "course-update"  # in the metadata of the cells that an update adds
CHANGED = (
    "**After the update:** the cell above is the new version. Your version of it is below, "
    "as you wrote it. Delete the one that you don't need, and this note."
)
GONE = "**After the update:** the new version no longer has the cell below. It's yours to delete."

_DEFINES = re.compile(r"^(?:async )?(?:def|class) (\w+)|^(\w+) *=(?!=)", re.MULTILINE)


class UnreadableNotebookError(ValueError):
    """A file that should be a notebook and is not one."""


@dataclass
class Carried:
    """A notebook's new version with what the learner wrote."""

    text: str
    kept: int = 0  # cells of the learner's that are in it
    both: list[str] = field(default_factory=list)  # headings under which two versions stand

    @property
    def only_run(self) -> bool:
        """Whether the learner had run the notebook and changed nothing in it."""
        return not self.kept and not self.both


def carry(base: str, mine: str, new: str, merge_text: MergeText) -> Carried:
    """Merge a learner's notebook into its new version.

    A cell that only the learner changed is the learner's; any other one is the new version's,
    with the new outputs. Where both changed a cell and their lines do not merge, both stand in the
    notebook, the new one first, so that the learner's wins when all cells are run. Cells that
    the learner added stay behind the cell that they stood behind.

    Raises:
        UnreadableNotebookError: one of the three is no notebook.
    """
    before, notebook = _read(base), _read(new)
    work = _Work(before.cells, _read(mine).cells, notebook.cells, merge_text)
    cells = list(work.cells())
    if not work.kept and not work.both:
        return Carried(new)
    notebook.cells = cells
    notebook.nbformat_minor = max(notebook.nbformat_minor, 5)  # from which on cells have IDs
    return Carried(str(nbformat.writes(notebook)) + "\n", work.kept, work.both)


class _Work:
    """The three versions side by side; the keys are the IDs of the new version's cells."""

    def __init__(
        self, base: list[Cell], mine: list[Cell], new: list[Cell], merge_text: MergeText
    ) -> None:
        self.new = new
        self.merge_text = merge_text
        self.mine_ids = {cell.id for cell in mine}
        self.base = _versions_of(new, base, self.mine_ids)
        known = {cell.id: cell for cell in new}
        known |= {key: _renamed(cell, key) for key, cell in self.base.items()}
        names = {cell.id: key for key, cell in self.base.items()}
        mine = [_renamed(cell, names.get(cell.id, cell.id)) for cell in mine]
        without_id = [cell for cell in mine if cell.id.startswith(NO_ID)]
        keys = _names(mine, list(known.values()), without_id)
        self.mine = dict(zip(keys, mine, strict=True))
        self.kept = 0
        self.both: list[str] = []

    def cells(self) -> Iterator[Cell]:
        """The cells of the carried notebook."""
        after = self._added()
        heading = ""
        yield from after.get("", ())
        for cell in self.new:
            if cell.cell_type == "markdown" and (
                title := re.search(r"^#+ (.+)$", cell.source, re.M)
            ):
                heading = title[1]
            yield from self._merged(cell, heading)
            yield from after.get(cell.id, ())

    def _added(self) -> dict[str, list[Cell]]:
        """What the learner added, or the new version removed: by the key that it stands behind."""
        keys = {cell.id for cell in self.new}
        after: dict[str, list[Cell]] = {}
        place = ""
        for key, cell in self.mine.items():
            if key in keys:
                place = key
                continue
            removed = self.base.get(key)
            if not cell.source.strip() or (removed and _same(removed, cell)):
                continue
            here = after.setdefault(place, [])
            if removed and (note := _note(f"{cell.id}-note", GONE)).id not in self.mine_ids:
                here.append(note)
            here.append(_renamed(cell, cell.id.replace(NO_ID, "own-")))
            self.kept += 1
        return after

    def _merged(self, new: Cell, heading: str) -> Iterator[Cell]:
        base, mine = self.base.get(new.id), self.mine.get(new.id)
        if mine is None or not mine.source.strip():
            yield new
        elif _same(mine, new):
            yield new if new.get("outputs") or base is None else _with(new, mine, new.source)
        elif base is not None and _same(base, mine):
            yield new
        elif base is not None and _same(base, new):
            self.kept += 1
            yield _with(new, mine, mine.source)
        elif base is not None and (both := self.merge_text(base.source, mine.source, new.source)):
            self.kept += 1
            yield _with(new, new, both)
        else:
            self.both.append(heading or "its beginning")
            yield new
            yield _note(self._free(f"{new.id}-note"), CHANGED)
            yield _marked(_with(mine, mine, mine.source), self._free(f"{new.id}-yours"))

    def _free(self, name: str) -> str:
        while name in self.mine_ids:
            name += "x"
        return name


def _read(text: str) -> Any:
    try:
        notebook = nbformat.reads(text, as_version=4)
        for number, cell in enumerate(notebook.cells):
            cell.setdefault("id", f"{NO_ID}{number}")
        return notebook
    except Exception as error:  # whatever the text is, nbformat's errors have no common base
        raise UnreadableNotebookError(str(error)) from error


def _versions_of(known: list[Cell], cells: list[Cell], apart: set[str]) -> dict[str, Cell]:
    """Cells by the ID of the known cell that each is an older version of, or else by their own.

    Two IDs that are both in `apart` are never the same cell.
    """
    names = [
        cell.id if {cell.id, name} <= apart else name
        for cell, name in zip(cells, _names(cells, known, cells), strict=True)
    ]
    return dict(zip(names, cells, strict=True))


def _names(cells: list[Cell], known: list[Cell], loose: list[Cell]) -> list[str]:
    """For each cell the ID of the known cell that it is a version of, or else its own.

    A loose one may be one of a known cell with another ID.
    """
    ids = {cell.id for cell in known}
    name_of = {cell.id: cell.id for cell in cells}
    taken = set(name_of) & ids
    loose = [cell for cell in loose if cell.id not in ids]
    for sign in (_source, _defined):
        free = _unique([one for one in known if one.id not in taken], sign)
        for found, cell in _unique(
            [one for one in loose if name_of[one.id] == one.id], sign
        ).items():
            if found in free:
                name_of[cell.id] = free[found].id
                taken.add(free[found].id)
    return [name_of[cell.id] for cell in cells]


def _unique(cells: list[Cell], sign: Callable[[Cell], str]) -> dict[str, Cell]:
    """The cells whose sign no other has."""
    signs = [sign(cell) for cell in cells]
    return {
        one: cell for one, cell in zip(signs, cells, strict=True) if one and signs.count(one) == 1
    }


def _source(cell: Cell) -> str:
    return _plain(cell.source)


def _defined(cell: Cell) -> str:
    found = _DEFINES.search(cell.source) if cell.cell_type == "code" else None
    return (found[1] or found[2]) if found else ""


def _same(one: Cell, other: Cell) -> bool:
    return _plain(one.source) == _plain(other.source)


def _plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _with(cell: Cell, ran: Cell, source: str) -> Cell:
    """A copy of a cell with another source, and the outputs of the cell that was run."""
    copy = cell.copy()
    copy.source = source
    if cell.cell_type == "code" == ran.cell_type:
        copy.outputs, copy.execution_count = ran.outputs, ran.execution_count
    return copy


def _renamed(cell: Cell, name: str) -> Cell:
    copy = cell.copy()
    copy.id = name
    return copy


def _note(name: str, text: str) -> Cell:
    return _marked(nbformat.v4.new_markdown_cell(text), name)


def _marked(cell: Cell, name: str) -> Cell:
    cell.id = name[:64]
    cell.metadata = nbformat.from_dict({**cell.metadata, OURS: True})
    return cell
