"""A seat in a class: joined and left by command only.

It stands in `class/seat.json` in the hidden folder, with its secret. While that file isn't there,
a check looks for it and does no more.
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.course.disk import naming_a_full_disk, write_whole
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder, hidden_path

if TYPE_CHECKING:
    from helpers.room.spool import Spool

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Seat:
    """A place in a class.

    Attributes:
        url: the board's address.
        class_id: the board's ID of the class.
        name: what the learner called it, such as `seat 12`.
        secret: what it shows the board; no one else can send in its name.
        joined: when, in Unix seconds.
        file: the name of its spool.
        authority: the certificate that the board's is checked against, as PEM; empty for the
            system's.
    """

    url: str
    class_id: str
    name: str
    secret: str
    joined: float
    file: str
    authority: str = ""

    @property
    def spool(self) -> Spool:
        """Its events."""
        return _spool(_folder() / self.file)

    def __repr__(self) -> str:
        return f"{self.name} of the class at {self.url}"


def current() -> Seat | None:
    """The seat that was joined from this checkout; None if there is none, or its file is spoilt."""
    try:
        seat = Seat(**json.loads((_folder() / "seat.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    *words, authority = (
        seat.url, seat.class_id, seat.name, seat.secret, seat.file, seat.authority
    )  # fmt: skip
    strings = all(isinstance(one, str) for one in (*words, authority)) and all(words)
    return seat if strings and isinstance(seat.joined, int | float) else None


def is_joined() -> bool:
    """Whether checks are to be noted, by a look at one file."""
    return (_folder() / "seat.json").exists()


@contextlib.contextmanager
def taking(name: str) -> Iterator[Path]:
    """Reserve the place of the one seat while it is taken. Yields the file of its spool.

    Raises:
        CourseError: there is a seat already, or the hidden folder cannot be written.
    """
    import sqlite3

    from helpers.room.spool import Spool

    folder = hidden_folder() / "class"
    with naming_a_full_disk(folder), contextlib.ExitStack() as stack:
        folder.mkdir(mode=0o700, exist_ok=True)
        stack.enter_context(alone(folder / "seat.lock", 60))
        if seat := current():
            raise CourseError(
                f"You are {seat.name!r} of the class at {seat.url}: `course class leave` ends "
                f"that, then join again as {name!r}."
            )
        file = folder / f"events-{secrets.token_hex(4)}.sqlite"
        try:
            Spool.create(file)
            yield file
        except BaseException as error:
            file.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):
                raise CourseError(
                    f"The course can't keep a file of events in {folder} ({error}): set "
                    "COURSE_HOME to a folder on a local disk that has some room."
                ) from error
            raise


@contextlib.contextmanager
def alone(file: Path, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock; where a file system has none, or is full, go on without it.

    Raises:
        filelock.Timeout: another process holds it.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(file, timeout=wait_s))
        except Timeout:
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        except NotImplementedError:
            pass
        yield


def proposed(url: str, name: str) -> str:
    """The secret to ask for a seat with: the last one, if it was asked for and no answer came.

    By it a board that has the seat already knows who asks again.
    """
    file = _asking()
    with contextlib.suppress(OSError, ValueError):
        match json.loads(file.read_text()):
            case [str(where), str(what), str(secret)] if (where, what) == (url, name):
                return secret
    secret = secrets.token_urlsafe(32)
    write_whole(file, json.dumps([url, name, secret]))
    return secret


def answered() -> None:
    """The board has said yes or no: the next time, another secret is proposed."""
    _asking().unlink(missing_ok=True)


def keep(seat: Seat) -> None:
    """Keep a new seat, and forget what an earlier one sent."""
    write_whole(_folder() / "seat.json", json.dumps(asdict(seat)))
    for file in _folder().glob("events-*"):
        if not file.name.startswith(seat.file):
            file.unlink(missing_ok=True)


def forget() -> None:
    """End the seat here; what it sent can still be read.

    Raises:
        CourseError: the hidden folder cannot be written.
    """
    with naming_a_full_disk(_folder()):
        (_folder() / "seat.json").unlink(missing_ok=True)


def latest_spool() -> Spool | None:
    """The events of the seat, or of the one that was left last."""
    if seat := current():
        return seat.spool
    files = list(_folder().glob("events-*.sqlite"))
    return _spool(max(files, key=lambda one: one.stat().st_mtime)) if files else None


_spools: dict[Path, Spool] = {}  # each counts what it could not write


def _spool(file: Path) -> Spool:
    from helpers.room.spool import Spool  # SQLite is loaded only where a class was joined

    return _spools.setdefault(file, Spool(file))


def _asking() -> Path:
    return _folder() / "asking.json"


def _folder() -> Path:
    return hidden_path() / "class"
