"""Bring the checkout to the newest version, and keep what the learner did in it.

`plan` looks and changes nothing; `carry_out` does it. The steps, of which each can be killed and
the whole be run again:

1. `git fetch`, then a merge of all files in memory (`trees`), notebooks cell by cell (`cells`).
2. A copy of every file of the learner's that will be touched, into before-update/ in COURSE_HOME.
3. A journal of what is to be written (`journal`), then the files.
4. Git's index and branch go on to the new version.

A run after a kill merges again; since a merge of what is merged already changes nothing, it ends
in the same state.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.course.disk import naming_a_full_disk
from helpers.course.errors import CourseError
from helpers.course.update import journal
from helpers.course.update.git import Git, Tree
from helpers.course.update.trees import Merged, merge

PINS = ("pyproject.toml", "constraints.txt")
TRIES = 5  # when JupyterLab saves a notebook meanwhile


@dataclass(frozen=True)
class Plan:
    """What an update will do."""

    at: str  # the commit at which the checkout stands
    to: str | None  # the one to go to; None if a merge has to be committed first
    newest: str
    commits: int  # how many are new
    tree: Tree  # of the version to go to
    merged: Merged  # what the folder will hold
    changes: Tree  # files to write
    deletions: tuple[str, ...]
    mine: Tree  # the learner's files that differ from where the checkout stands
    staged: Tree  # what `git add` was given and the folder no longer holds
    signs: dict[str, str | None]  # of all files, before they were read

    @property
    def pins_change(self) -> bool:
        """Whether the environment has to be renewed."""
        return any(path in self.changes for path in PINS)


def plan(git: Git) -> Plan | None:
    """Get what is new, and merge it in memory; None if there is nothing new.

    Raises:
        CourseError: the update cannot be made, and why; nothing was changed.
    """
    git.check_quiet()
    source = git.source()
    at = git.commit("HEAD")
    if at is None:
        raise CourseError("This checkout has no version yet: clone the course again.")
    before = git.commit(source.branch)
    newest = git.fetch(source)
    if git.contains(at, newest):
        return None
    to: str | None = newest
    standing, tree = git.tree(at), git.tree(newest)
    if not git.contains(newest, at) and not (before and git.contains(before, at)):
        tree, to = _with_own_commits(git, at, newest, standing, tree), None
    signs = {path: journal.sign(git.folder / path) for path in {*standing, *tree}}
    differ = git.different(at)
    mine = git.keep({*differ, *(path for path in tree if path not in standing)})
    whole = {path: blob for path, blob in standing.items() if path not in differ} | mine
    merged = merge(git, standing, whole, tree, git.renamed(at, newest))
    changes = {path: blob for path, blob in merged.tree.items() if whole.get(path) != blob}
    deletions = tuple(sorted(path for path in whole if path not in merged.tree))
    _check_room(git.folder, changes)
    staged = git.staged(at)
    return Plan(
        at, to, newest,
        commits=int(git.line("rev-list", "--count", f"{at}..{newest}")),
        tree=tree, merged=merged, changes=changes, deletions=deletions, mine=mine,
        staged={path: blob for path, blob in staged.items() if mine.get(path) != blob},
        signs=signs,
    )  # fmt: skip


def carry_out(git: Git, home: Path) -> tuple[Plan | None, Path | None]:
    """Update the checkout.

    Returns:
        What was done, None if nothing was new; and the folder with copies of the learner's files.

    Raises:
        CourseError: why not. No work of the learner's is lost.
    """
    with naming_a_full_disk(home), alone(home):
        kept = None
        for _ in range(TRIES):
            journal.finish(home / "updating")
            todo = plan(git)
            if todo is None:
                return None, kept
            kept = _keep_copies(git, todo, home / "before-update") or kept
            contents = {path: (blob[0], git.content(blob)) for path, blob in todo.changes.items()}
            steps = contents | dict.fromkeys(todo.deletions)
            journal.write(home / "updating", git.folder, steps, todo.signs)
            if not journal.finish(home / "updating"):
                to = todo.to or git.join(todo.tree, todo.at, todo.newest)
                git.go_to(to, todo.at)
                return todo, kept
    raise CourseError(
        "Files changed while they were updated, again and again: close JupyterLab, then run "
        "`course update` once more."
    )


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Let one update at a time be at work.

    Raises:
        CourseError: another one is.
    """
    lock = FileLock(home / "update.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CourseError("Another `course update` is at work: let it end first.") from error
    try:
        yield
    finally:
        lock.release()


def _with_own_commits(git: Git, at: str, newest: str, standing: Tree, new: Tree) -> Tree:
    """The files of a version that goes on from the learner's own commits and from the newest."""
    fork = git.ask("merge-base", at, newest)
    if fork is None:
        raise CourseError(
            "The course's history was written again, and your commits are on the old one. Nothing "
            "was changed: clone the course into another folder, then run "
            f"`course update --from {git.folder}` there to bring your work along."
        )
    merged = merge(git, git.tree(fork), standing, new, git.renamed(fork, newest))
    if clash := [*merged.replaced, *merged.unreadable]:
        raise CourseError(
            f"Your commits and the new version change the same lines of {clash[0]}. "
            f"Nothing was changed: run `git merge {newest[:12]}` and settle it there."
        )
    return merged.tree


def _check_room(checkout: Path, changes: Tree) -> None:
    """No folder may stand where a file goes, and no file where a folder goes."""
    for path in changes:
        file = checkout / path
        parents = [one for one in file.parents if checkout in one.parents]
        in_the_way = [one for one in parents if one.exists() and not one.is_dir()]
        in_the_way += [file] if file.is_dir() else []
        for one in in_the_way:
            raise CourseError(
                f"The new version needs the place of {one.relative_to(checkout)}. Nothing was "
                "changed: rename it, then run `course update` again."
            )


def _keep_copies(git: Git, todo: Plan, folder: Path) -> Path | None:
    """Copy each of the learner's files that the update touches, and what only git's index holds."""
    touched = {*todo.changes, *todo.deletions}
    copies = {path: blob for path, blob in todo.mine.items() if path in touched}
    copies |= {f"staged/{path}": blob for path, blob in todo.staged.items()}
    if not copies:
        return None
    name = time.strftime("%Y-%m-%d-%H%M%S")
    draft = folder / f".{name}"
    shutil.rmtree(draft, ignore_errors=True)
    for path, blob in copies.items():
        file = draft / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in todo.mine and (git.folder / path).is_file():
            shutil.copyfile(git.folder / path, file)  # git's own may have gone through a filter
        else:
            file.write_bytes(git.content(blob))
    target = folder / name
    while target.exists():
        target = target.with_name(f"{target.name}-")
    return draft.rename(target)
