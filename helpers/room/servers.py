"""A Redis server for each seat of a class, for rooms where learners may run nothing of their own.

The learners' notebooks may run anywhere then, such as on a hub; their servers run on the
instructor's machine, and each learner gets a REDIS_URL.

Why not one server with an ACL user for each seat? The lessons use the same plain keys, so each
learner needs a database, and an ACL names commands and keys, not databases: on Redis, any user may
SELECT any. Valkey can confine a user to a database since 9.1. But what lessons do with CLIENT
KILL, CONFIG SET, MONITOR, INFO, Pub/Sub, a long script or full memory, a whole server feels. A
process for each seat, with a password of its own, shares nothing, and takes a few megabytes.

Each has an address given by the instructor, besides loopback, and no TLS: beyond loopback, its
password and data can be read by those who can listen to the network.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from helpers.course.disk import naming_a_full_disk, write_whole
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder
from helpers.course.server import OwnServer
from helpers.course.server.own import Purpose

MOST_SEATS = 200
MOST_MB = 256  # that a learner's data may take; a day of ten partitions takes some 20
LOOPBACK = "127.0.0.1"
PURPOSE = Purpose(
    "server of a seat", "run `course class servers`", "`course class servers --stop`",
    most_mb=MOST_MB,
)  # fmt: skip
_AT_ONCE = 8  # that are started or stopped
_HEADER = ("seat", "REDIS_URL")
T = TypeVar("T")


class SeatServer(NamedTuple):
    """A seat and where its server is."""

    seat: str
    url: str


def start(seats: int, address: str = LOOPBACK, *, new: bool = False) -> list[SeatServer]:
    """Start a server for each seat, or find it running; its data and password are the last ones.

    Args:
        seats: how many.
        address: of this machine, where learners reach it.
        new: whether all begin with empty databases and new passwords.

    Raises:
        CourseError: so many, or such an address, cannot be had.
        ServerError: one does not start.
    """
    if not 1 <= seats <= MOST_SEATS:
        raise CourseError(f"There can be 1 to {MOST_SEATS} seats: choose another number.")
    _expect_own(address)
    if new:
        stop()
        with naming_a_full_disk(_folder()):
            shutil.rmtree(_folder(), ignore_errors=True)
    with naming_a_full_disk(_folder()):
        _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _address()
        if before not in ("", address):
            stop()  # they listen elsewhere
        write_whole(_folder() / "address", address)
    servers = [_server(number, address) for number in range(1, seats + 1)]
    return [
        SeatServer(f"seat {number}", _reached(url, address))
        for number, url in enumerate(_each(lambda one: one.ensure().url, servers), 1)
    ]


def stop() -> int:
    """End the servers of all seats; their data stays. Returns how many ran."""
    names = [one.name.removeprefix("seat-") for one in _folder().glob("seat-*")]
    servers = [_server(int(name)) for name in names if name.isascii() and name.isdigit()]
    return sum(_each(lambda one: one.stop() is not None, servers))


def write_csv(file: Path, servers: Sequence[SeatServer]) -> None:
    """Write the seats and their URLs, for the eyes of the file's owner.

    Raises:
        CourseError: the file holds something else, or cannot be written.
    """
    with contextlib.suppress(OSError):
        if file.read_bytes().partition(b"\n")[0].strip() != ",".join(_HEADER).encode():
            raise CourseError(f"{file} holds something else: name another file.")
    text = io.StringIO()
    csv.writer(text).writerows([_HEADER, *servers])
    try:
        write_whole(file.absolute(), text.getvalue())
    except OSError as error:
        why = error.strerror or str(error)
        raise CourseError(f"{file} can't be written ({why}): name another file.") from error


def _expect_own(address: str) -> None:
    """Make sure that a server can listen at an address, and that learners can be told it.

    Raises:
        CourseError: it is none of this machine, or stands for all of them.
    """
    if address in ("0.0.0.0", "::", "*"):
        raise CourseError(
            f"{address} stands for all addresses of this machine: name the one by which learners "
            "reach it."
        )
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
            trial.bind((address, 0))
            if trial.getsockname()[0] != address:
                raise OSError("it is a name")
    except (OSError, UnicodeError) as error:
        raise CourseError(
            f"{address} isn't an address of this machine ({error}): name one, such as those that "
            "`ip addr` or `ifconfig` shows."
        ) from error


def _server(number: int, address: str = LOOPBACK) -> OwnServer:
    beyond = "" if address == LOOPBACK else address
    return OwnServer(_folder() / f"seat-{number:02}", replace(PURPOSE, address=beyond))


def _reached(url: str, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return url.replace(f"@{LOOPBACK}:", f"@{host}:")


def _address() -> str:
    try:
        return (_folder() / "address").read_text().strip()
    except OSError:
        return ""


def _folder() -> Path:
    return hidden_folder() / "seats"


def _each(does: Callable[[OwnServer], T], servers: Sequence[OwnServer]) -> list[T]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(does, servers))
