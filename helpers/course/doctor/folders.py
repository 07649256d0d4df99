"""The folders that the course writes: room, locks, rights, and where they are."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.course.disk import shortage
from helpers.course.doctor.finding import Finding, problem, warning
from helpers.course.home import CHECKOUT
from helpers.course.server import OwnServer, machine

ROOM = 150 * 1024 * 1024  # ten days, filled twice, take 62 MB, and as much again when rewritten
FILES = 1000
TEMPORARY = 76  # bytes: with `/spare-12345678/server.sock` after it, a socket's name of 103 at most
ENTER, READ = 0o011, 0o044  # what others may do with a folder, and with a file
_SYNCED = re.compile(r"(OneDrive|Dropbox|Google ?Drive|CloudStorage|Mobile Documents)\b.*", re.I)


@dataclass(frozen=True)
class Folder:
    """One folder, and what came of trying it."""

    what: str  # what the course has there
    path: str
    unwritable: str = ""  # in the system's own words
    shortage: tuple[str, str] | None = None  # what there is none of, and the remedy
    free: int | None = None  # bytes
    files_left: int | None = None
    locks: bool = True
    open_to_others: bool = False  # its secret is
    owner: str = ""  # a file in it that is another user's, and cannot be written
    closed: str = ""  # a file in it that is one's own, and cannot be written
    windows: bool = False  # a drive of Windows, under WSL


def look(home: Path) -> list[Folder]:
    """The checkout, the hidden folder and the one for temporary files."""
    found = [_hidden(home), _notebooks(CHECKOUT)]
    try:
        temporary = tempfile.gettempdir()
    except OSError as error:
        return [*found, Folder("temporary files", "", unwritable=str(error))]
    return [*found, _looked_at("temporary files", Path(temporary))]


def findings(folders: list[Folder]) -> Iterator[Finding]:
    """What is wrong with them. What lies on a disk that is full is told once."""
    told: set[tuple[str, str]] = set()
    for folder in folders:
        if folder.shortage and folder.shortage not in told:
            told.add(folder.shortage)
            what, remedy = folder.shortage
            yield problem("disk", f"{what}, so {folder.path} cannot take {folder.what}: {remedy}.")
        yield from _rights(folder)
        if not folder.shortage:
            yield from _little_room(folder)
        yield from _place(folder)


def _rights(folder: Folder) -> Iterator[Finding]:
    if folder.unwritable and folder.what == "temporary files":
        yield problem(
            "disk",
            f"No folder for temporary files can be written ({folder.unwritable}): set TMPDIR to "
            "one that can.",
        )
    elif folder.unwritable:
        yield warning(
            "rights",
            f"{folder.path} cannot be written ({folder.unwritable}), so {folder.what} cannot be "
            "saved there: make it writable, or copy the course to a folder of your own.",
        )
    if folder.owner:
        yield problem(
            "rights",
            f"{folder.owner} cannot be written by you, as if the course had run as another user: "
            f'give it back with `sudo chown -R "$USER" "{folder.path}"`.',
        )
    if folder.closed:
        yield warning(
            "rights",
            f"{folder.closed} is read-only, so nothing can be saved in it: run `chmod u+w "
            f'"{folder.closed}"`.',
        )
    if folder.open_to_others:
        yield warning(
            "rights",
            f"Other users of this machine can read the server's password in {folder.path}: run "
            f'`chmod 700 "{folder.path}"`, or `course doctor --fix`.',
            fix="close the hidden folder",
        )


def _little_room(folder: Folder) -> Iterator[Finding]:
    if folder.free is not None and folder.free < ROOM and folder.what == "the server's data":
        yield warning(
            "disk",
            f"{folder.free // (1024 * 1024)} MB are free on the disk of {folder.path}, and the "
            f"lessons may take {ROOM // (1024 * 1024)}: free some space, or set COURSE_HOME to a "
            "folder on another disk.",
        )
    if folder.files_left is not None and folder.files_left < FILES:
        yield warning(
            "disk",
            f"The disk of {folder.path} has room for {folder.files_left} more files (`df -i`), "
            "whatever their size: delete files that you don't need.",
        )


def _place(folder: Folder) -> Iterator[Finding]:
    if not folder.locks:
        yield warning(
            "locks",
            f"Locks do nothing on the disk of {folder.path}, as on some network drives: use the "
            "course from one machine at a time, or set COURSE_HOME to a folder on a local disk.",
        )
    if folder.what == "the server's data" and (synced := _SYNCED.search(folder.path)):
        yield warning(
            "path",
            f"{folder.path} is in a folder named {synced[1]}: if that is synchronized, set "
            "COURSE_HOME to a folder outside of it, since copies of the server's data are made "
            "while it writes them.",
        )
    if folder.windows:
        yield warning(
            "path",
            f"{folder.path} is on a drive of Windows, which WSL reaches slowly and without its "
            "users' rights: move the course to your Linux home, such as ~/streams.",
        )
    if folder.what == "the course's notebooks" and os.pathsep in folder.path:
        yield problem(
            "path",
            f"The path {folder.path} has a colon, with which Python can make no environment and "
            "name no folder in PYTHONPATH: move the course to another folder.",
        )
    if folder.what == "temporary files" and len(os.fsencode(folder.path)) > TEMPORARY:
        yield warning(
            "path",
            f"The path of temporary files, {folder.path}, is too long for the sockets of servers "
            "that the labs start: set TMPDIR to a shorter one, such as /tmp.",
        )


def _hidden(home: Path) -> Folder:
    folder = _looked_at("the server's data", home)
    own, owner, closed, secret = OwnServer(home).folder, "", "", False
    with contextlib.suppress(OSError):
        files = [file.stat().st_mode for file in own.glob("server.json")]
        inward = home.stat().st_mode & ENTER and own.stat().st_mode & ENTER
        secret = bool(inward) and any(mode & READ for mode in files)
        inside = [*home.iterdir(), *home.glob("servers/*"), *home.glob("servers/*/*")]
        owner, closed = _unwritable(inside)
    lock = machine.locks_work(home) if not folder.unwritable and not folder.shortage else True
    return Folder(
        **(vars(folder) | {"locks": lock, "open_to_others": secret,
                           "owner": owner, "closed": closed})
    )  # fmt: skip


def _notebooks(checkout: Path) -> Folder:
    """The folder of the lessons or of the labs, if one of them takes nothing; else the checkout."""
    what, places = "the course's notebooks", [checkout / "notebooks", checkout / "labs"]
    for place in places:
        if (folder := _looked_at(what, place)).unwritable:
            return folder
    owner, closed = _unwritable(one for place in places for one in sorted(place.glob("*.ipynb")))
    return replace(_looked_at(what, checkout), unwritable="", owner=owner, closed=closed)


def _unwritable(files: Iterable[Path]) -> tuple[str, str]:
    """The first of another user's files, and of one's own, that cannot be written."""
    shut = [one for one in files if one.exists() and not os.access(one, os.W_OK)]
    mine = [one for one in shut if one.stat().st_uid == os.geteuid()]
    others = [one for one in shut if one not in mine]
    return str(next(iter(others), "")), str(next(iter(mine), ""))


def _looked_at(what: str, path: Path) -> Folder:
    unwritable, short = "", None
    try:
        short = shortage(path)
    except OSError as error:
        unwritable = error.strerror or str(error)
    free = files = None
    with contextlib.suppress(OSError):
        about = os.statvfs(path)
        free = shutil.disk_usage(path).free
        files = about.f_favail if about.f_files else None  # some file systems count none
    return Folder(what, str(path), unwritable, short, free, files, windows=_of_windows(path))


def _of_windows(path: Path) -> bool:
    """Whether a path is on a drive of Windows, seen from WSL."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        if "microsoft" not in Path("/proc/version").read_text().lower():
            return False
        lines = Path("/proc/self/mounts").read_text().splitlines()
        mounts = [line.split()[1:3] for line in lines]
        above = [one for one in mounts if path.is_relative_to(one[0])]
        return max(above, key=lambda one: len(one[0]))[1] in ("9p", "drvfs", "v9fs")
    return False
