"""Merge all files of three versions: what they had in common, the learner's, and the new one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from helpers.course.update.cells import UnreadableNotebookError, carry
from helpers.course.update.git import Blob, Git, Tree


@dataclass
class Merged:
    """The files of the merged version, and what became of those that both had changed."""

    tree: Tree
    kept: list[str] = field(default_factory=list)  # the learner's cells or lines are in it
    both: dict[str, list[str]] = field(default_factory=dict)  # notebook: headings of both versions
    only_run: list[str] = field(default_factory=list)  # the learner had changed nothing but outputs
    replaced: list[str] = field(
        default_factory=list
    )  # by the new version; the learner's is kept aside
    unreadable: list[str] = field(default_factory=list)  # the learner's is no notebook; kept aside
    moved: dict[str, str] = field(default_factory=dict)  # the learner's own file has this new name
    gone: list[str] = field(default_factory=list)  # the new version lacks it; the learner's stays


def merge(git: Git, base: Tree, mine: Tree, new: Tree, renamed: dict[str, str]) -> Merged:
    """Merge the learner's files into the new version's."""
    base, mine = dict(base), dict(mine)
    for old, name in renamed.items():
        if old in base and name not in base:
            base[name] = base.pop(old)
            mine.setdefault(name, mine.get(old, base[name]))
            mine.pop(old, None)
    merged = Merged({})
    for path in sorted({*base, *mine, *new}):
        one = _merge_file(git, merged, path, base.get(path), mine.get(path), new.get(path))
        if one is not None:
            merged.tree[path] = one
    return merged


def _merge_file(
    git: Git, merged: Merged, path: str, base: Blob | None, mine: Blob | None, new: Blob | None
) -> Blob | None:
    if mine in (base, new):
        return new
    if new == base:
        return mine
    if mine is None:  # the learner deleted what is new now
        return new
    if new is None:
        merged.gone.append(path)
        return mine
    if base is None:
        name = _beside(path)
        while (git.folder / name).exists():
            name = _beside(name)
        merged.tree[name] = mine
        merged.moved[path] = name
        return new
    text = _merge_notebook if path.endswith(".ipynb") else _merge_lines
    return (new[0], text(git, merged, path, base, mine, new))


def _merge_notebook(git: Git, merged: Merged, path: str, base: Blob, mine: Blob, new: Blob) -> str:
    try:  # another editor may have put a byte order mark before it
        first, second, third = (git.content(blob).decode("utf-8-sig") for blob in (base, mine, new))
        carried = carry(first, second, third, git.merge_text)
    except (UnreadableNotebookError, UnicodeDecodeError):
        merged.unreadable.append(path)
        return new[1]
    if carried.only_run:
        merged.only_run.append(path)
        return new[1]
    if carried.both:
        merged.both[path] = carried.both
    else:
        merged.kept.append(path)
    return git.store(carried.text.encode())


def _merge_lines(git: Git, merged: Merged, path: str, base: Blob, mine: Blob, new: Blob) -> str:
    contents = [git.content(blob) for blob in (base, mine, new)]
    both = None
    if all(b"\0" not in content for content in contents) and "120000" not in (mine[0], new[0]):
        first, second, third = (content.decode(errors="surrogateescape") for content in contents)
        both = git.merge_text(first, second, third)
    if both is None:
        merged.replaced.append(path)
        return new[1]
    merged.kept.append(path)
    return git.store(both.encode(errors="surrogateescape"))


def _beside(path: str) -> str:
    """The name that a learner's own file gets when the new version has one of its name."""
    name = PurePosixPath(path)
    return str(name.with_name(f"{name.stem}.yours{name.suffix}"))
