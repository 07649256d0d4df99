"""What the course keeps for itself: progress that is spoilt, servers that nothing tells of."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.course.doctor.finding import Finding, problem, warning
from helpers.course.home import CHECKOUT
from helpers.course.server import OwnServer, process


@dataclass(frozen=True)
class Kept:
    """What was seen of it."""

    spoilt: str = ""  # the file of the labs' progress, if it says nothing
    orphans: tuple[int, ...] = ()  # servers at work in the data folder beside the one in use
    relative: str = ""  # COURSE_HOME, if it depends on where one is
    elsewhere: str = ""  # another checkout, in which this command was typed
    owner: str = ""  # the checkout that has the environment, if it is another


def look(home: Path, environment: Mapping[str, str]) -> Kept:
    """Look at the hidden folder, and at where it is."""
    named = environment.get("COURSE_HOME", "")
    relative = named if named and not os.path.isabs(named) else ""
    spoilt = str(home / "progress.json") if _is_spoilt(home / "progress.json") else ""
    beside = Path(sys.prefix).parent
    owner = str(beside) if is_checkout(beside) and not beside.samefile(CHECKOUT) else ""
    return Kept(spoilt, orphans(home), relative, _another_checkout(), owner)


def findings(kept: Kept) -> Iterator[Finding]:
    """What is wrong with it."""
    if kept.spoilt:
        yield warning(
            "progress",
            f"{kept.spoilt} cannot be read, so the labs count from 0: `course doctor --fix` puts "
            "it aside.",
            fix="put the progress aside",
        )
    if kept.orphans:
        numbers = ", ".join(map(str, kept.orphans))
        yield warning(
            "server",
            f"Besides the course's server, process {numbers} works in its data folder: "
            "`course doctor --fix` ends it.",
            fix="end the orphans",
        )
    if kept.relative:
        yield warning(
            "home",
            f"COURSE_HOME is {kept.relative!r}, which is another folder in each place where you "
            f"type it: set it to a whole path, such as {os.path.abspath(kept.relative)}.",
        )
    if kept.owner:
        yield problem(
            "home",
            f"The environment of {kept.owner} runs another checkout, {CHECKOUT}, which was "
            f"installed in it later: run `make lab` in {kept.owner}, which corrects that.",
        )
    elif kept.elsewhere:
        yield warning(
            "home",
            f"You are in {kept.elsewhere}, and this `course` belongs to {CHECKOUT}: run `make env` "
            f"here, then {kept.elsewhere}/.venv/bin/course.",
        )


def orphans(home: Path) -> tuple[int, ...]:
    """The servers of the data folder that are neither the one in use nor a child of it."""
    own = OwnServer(home)
    state = own.alive()
    if state is None:  # who starts it ends them
        return ()
    found = process.servers_in(own.data) - {state.pid}
    return tuple(sorted(pid for pid in found if not _is_child(pid, state.pid)))


def _is_child(pid: int, parent: int) -> bool:
    """Whether a process is one that a server writes its file with."""
    try:
        return parent in {one.pid for one in psutil.Process(pid).parents()}
    except psutil.Error:
        return True


def _is_spoilt(file: Path) -> bool:
    try:
        known = json.loads(file.read_text())
        return not isinstance(known, dict)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def is_checkout(folder: Path) -> bool:
    """Whether a folder is a checkout of the course."""
    return (folder / "helpers" / "course").is_dir() and (folder / "course_entry.py").is_file()


def _another_checkout() -> str:
    try:
        here = Path.cwd()
    except OSError:
        return ""
    for folder in (here, *here.parents):
        if is_checkout(folder):
            return "" if folder.samefile(CHECKOUT) else str(folder)
    return ""
