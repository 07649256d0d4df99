"""`course update`: the newest version, with what the learner did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from helpers.cli.console import many, out
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT, hidden_folder

if TYPE_CHECKING:
    from helpers.course.update import Plan


def update(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    other: Annotated[
        Path | None,
        typer.Option("--from", help="Bring the answers of another copy of the course here."),
    ] = None,
) -> None:
    """Get the newest version of the course, and keep your answers, notes and notebooks."""
    # Only here: to read notebooks takes as long to load as the rest of most commands.
    from helpers.course.update import carry_out, plan
    from helpers.course.update.git import Git, GitError

    if other is not None:
        _bring(other)
        return
    try:
        git = Git(CHECKOUT)
        todo, kept = (plan(git), None) if dry_run else carry_out(git, hidden_folder())
    except GitError as error:
        raise CourseError(
            f"Git refuses a step of the update ({error}): correct that, then run `course update` "
            "again. It goes on where it stopped, and what you wrote is kept."
        ) from error
    if todo is None:
        say("[green]✓[/] You already have the newest version.")
        return
    say("The update would do this:" if dry_run else _headline(todo))
    for line in lines(todo):
        say(f"  {escape(line)}")
    if kept:
        say(escape(f"Your files as they were before are in {kept}."))
    if not dry_run:
        _end(todo)


def lines(todo: Plan) -> list[str]:
    """What becomes of each file that both the learner and the new version changed."""
    merged = todo.merged
    found = [f"{path}: new, with what you wrote" for path in merged.kept]
    for path, headings in merged.both.items():
        where = ", ".join(f"“{heading}”" for heading in dict.fromkeys(headings))
        found.append(f"{path}: new; your version and the new one both stand under {where}")
    found += [f"{path}: new; you had only run it" for path in merged.only_run]
    found += [f"{path}: replaced; its changes clash with yours" for path in merged.replaced]
    found += [f"{path}: replaced; yours can't be read as a notebook" for path in merged.unreadable]
    found += [f"{path}: new; yours is {name} now" for path, name in merged.moved.items()]
    found += [f"{path}: yours stays; the new version has no such file" for path in merged.gone]
    return found


def say(line: str) -> None:
    """Print a line at once, also before a process that prints as well."""
    out.print(line)
    sys.stdout.flush()


def _headline(todo: Plan) -> str:
    files = many(len(todo.changes) + len(todo.deletions), "file")
    return f"[green]✓[/] Updated the course: {many(todo.commits, 'change')}, {files}."


def _end(todo: Plan) -> None:
    if any(path.endswith(".ipynb") for path in todo.changes):
        say(
            "If a notebook is open, choose File, Reload Notebook from Disk, and restart its kernel."
        )
    if not todo.pins_change:
        return
    if Path(sys.prefix) != CHECKOUT / ".venv" or shutil.which("make") is None:
        say("The new version needs other packages: run `pip install -c constraints.txt -e .` here.")
        return
    say("The new version needs other packages …")
    kept = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    if subprocess.run(["make", "--no-print-directory", "env"], cwd=CHECKOUT, env=kept).returncode:
        say("They could not be installed now; `make lab` tries again.")


def _bring(other: Path) -> None:
    from helpers.course.update.bringing import bring

    def conflict(base: str, mine: str, new: str) -> None:
        """Without git no lines are merged."""

    done = bring(other.expanduser().absolute(), CHECKOUT, conflict)
    for name, what in done.items():
        say(f"[green]✓[/] {escape(name)}: {escape(what)}")
    if not done:
        say("There is nothing to bring: all answers of that copy are here, or blank.")
