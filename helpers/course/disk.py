"""Files written whole or not at all, and what to say where there is no room for them."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.course.errors import CourseError, ServerError

ROOM = 128 * 1024  # bytes, with which a server can begin

_WHY = {
    errno.ENOSPC: ("The disk is full", "free some space on it"),
    errno.EDQUOT: ("Your disk quota is used up", "delete files that you don't need"),
    errno.EFBIG: ("A file would exceed its size limit", "raise the limit that `ulimit -f` shows"),
}


def write_whole(file: Path, text: str) -> None:
    """Write a file as a whole or not at all, for the owner's eyes; in UTF-8, whatever the locale.

    Raises:
        OSError: it cannot be written. Nothing is left of the attempt.
    """
    number, fresh = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with open(number, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.replace(fresh, file)
    except BaseException:
        os.unlink(fresh)
        raise


def shortage(folder: Path) -> tuple[str, str] | None:
    """What a folder lacks to take a little more, and the remedy; None if it takes it.

    It is tried: what a disk says of itself leaves out quotas, and the limits of this process.

    Raises:
        OSError: something else is in the way.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room-", buffering=0) as file:
            left = ROOM
            while left > 0:
                left -= file.write(b"\0" * left)
    except OSError as error:
        if error.errno in _WHY:
            return _WHY[error.errno]
        raise
    return None


def lack(folder: Path) -> str | None:
    """What keeps a folder from taking a little more, in a sentence; None if nothing is known."""
    with contextlib.suppress(OSError):
        return _sentence(folder, shortage(folder))
    return None


@contextlib.contextmanager
def naming_a_full_disk(folder: Path) -> Iterator[None]:
    """Say in one sentence why a file could not be written.

    Raises:
        ServerError: there is no room.
        CourseError: anything else is in the way.
    """
    try:
        yield
    except OSError as error:
        file = Path(error.filename or folder)
        if not (file.is_relative_to(folder) or folder.is_relative_to(file)):
            raise CourseError(_of_another_place(file, error)) from error
        if said := _no_room(folder, error):
            raise ServerError(said) from error
        place, remedy = folder, "Make it writable"
        if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
            place = Path(error.filename2 or error.filename or folder)
            kinds = ("file", "folder")
            has, needs = reversed(kinds) if isinstance(error, IsADirectoryError) else kinds
            remedy = f"Move the {has} away that stands where a {needs} should be"
        raise CourseError(
            f"The course cannot write to {place} ({error.strerror or error}). "
            f"{remedy}, or set COURSE_HOME to a folder that is writable."
        ) from error


def _of_another_place(file: Path, error: OSError) -> str:
    """What to say of a file that COURSE_HOME has nothing to do with."""
    place = file if file.exists() else file.parent
    denied = isinstance(error, PermissionError)
    remedy = "make it readable and writable" if denied else "correct that"
    _, remedy = _WHY.get(error.errno or 0, ("", remedy))
    return f"The course cannot use {place} ({error.strerror or error}): {remedy}, then try again."


def _no_room(folder: Path, error: OSError) -> str | None:
    return _sentence(folder, _WHY.get(error.errno or 0))


def _sentence(folder: Path, short: tuple[str, str] | None) -> str | None:
    if short is None:
        return None
    what, remedy = short
    return (
        f"{what}, so the course cannot write to {folder}: {remedy}, or set COURSE_HOME to a "
        "folder on another disk, then try again."
    )
