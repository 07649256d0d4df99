"""The class: its server, which keeps what it confirmed, and what it is called.

The board has a server of its own, in a folder of its own: the learner's is none of its business.
With `appendfsync always` an event that was confirmed is on the disk. One board at a time has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import redis.asyncio
from filelock import FileLock, Timeout

from helpers.course.connect import connect_own
from helpers.course.disk import naming_a_full_disk
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder
from helpers.course.server import OwnServer
from helpers.course.server.own import Purpose
from helpers.room.keeping import Keys, Seat, Seats
from helpers.room.names import new_secret
from helpers.streams.clock import ms_of, utc_now

CURRENT = "class:current"
LONGEST_TITLE = 80
NONE = "No class is kept on this machine: `course class open` opens one."
PURPOSE = Purpose(
    "class board's server", "run `course class open`", "`course class close`", "always"
)


class OpenAlreadyError(CourseError):
    """A class board is at work already."""


def board_server() -> OwnServer:
    """The server of this machine's class board."""
    return OwnServer(hidden_folder() / "room", PURPOSE)


@contextlib.contextmanager
def alone(server: OwnServer) -> Iterator[None]:
    """Be the only board. The lock ends with this process, however it ends.

    Raises:
        OpenAlreadyError: there is another one.
    """
    with naming_a_full_disk(server.folder):
        server.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(server.folder / "board.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OpenAlreadyError(
            "A class board is already open on this machine: end it with Ctrl-C in its terminal, "
            "or set COURSE_HOME to another folder for a second one."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.asynccontextmanager
async def connected(server: OwnServer, *, stop: bool) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the server, which is started if it does not run.

    Args:
        server: whose.
        stop: end the server afterwards, if it did not run before or if it is a board's own.
    """
    client = connect_own(server)
    try:
        yield client
    finally:
        await client.aclose()
        if stop:
            server.stop()


class Visit(NamedTuple):
    """A client of the server of classes, and whether a board is at work."""

    client: redis.asyncio.Redis
    at_work: bool


@contextlib.asynccontextmanager
async def visited() -> AsyncIterator[Visit]:
    """Use the server of classes, beside a board that is at work or without one.

    Raises:
        CourseError: no class was ever opened here, or the server cannot be used.
    """
    server = board_server()
    if not server.data.is_dir():
        raise CourseError(NONE)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone(server))
            at_work = False
        except OpenAlreadyError:
            at_work = True
        async with connected(server, stop=not at_work) as client:
            yield Visit(client, at_work)


@dataclass(frozen=True)
class Class:
    """A class, as it is kept.

    Attributes:
        id: its name among all classes of this machine.
        title: what the instructor calls it.
        code: what a seat has to know to join; empty if nothing.
        key: what the instructor's page has to know.
        opened: when, in ms; `closed` likewise, if it is.
        address, port: where its board was last; seats know it by them.
        certificate, certificate_key: the files with which it was spoken to over TLS.
    """

    id: str
    title: str
    code: str
    key: str
    opened: int
    closed: int | None = None
    address: str = ""
    port: int = 0
    certificate: str = ""
    certificate_key: str = ""

    @property
    def keys(self) -> Keys:
        """Where everything of it is kept."""
        return Keys(self.id)

    def words(self) -> dict[Any, Any]:
        """It as a hash."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    @classmethod
    def read(cls, kept: dict[str, str]) -> Class:
        """It from a hash."""
        numbers = {name: int(kept[name]) for name in ("opened", "closed", "port") if name in kept}
        known = {one.name: kept[one.name] for one in fields(cls) if one.name in kept}
        return cls(**(known | numbers))  # type: ignore[arg-type]


def new_class() -> Class:
    """A class that begins now."""
    return Class(secrets.token_hex(4), "", "", new_secret(), ms_of(utc_now()))


def expect_title(title: str) -> str:
    """What a class may be called.

    Raises:
        CourseError: not this.
    """
    if len(title) > LONGEST_TITLE or not title.isprintable():
        raise CourseError(
            f"A title has up to {LONGEST_TITLE} characters on one line, and all can be seen."
        )
    return title


async def current(client: redis.asyncio.Redis) -> Class | None:
    """The class that was opened last."""
    name: Any = await client.get(CURRENT)
    return await called(client, name) if name else None


async def called(client: redis.asyncio.Redis, id: str) -> Class | None:
    """The class of an ID."""
    kept: Any = await client.hgetall(Keys(id).about)
    return Class.read(kept) if kept else None


async def expect_class(client: redis.asyncio.Redis, id: str | None = None) -> Class:
    """The class of an ID, or the one that was opened last.

    Raises:
        CourseError: there is none.
    """
    room = await current(client) if id is None else await called(client, id)
    if room is None:
        kept = await _kept(client)
        if not kept:
            raise CourseError(NONE)
        what = "no latest class any more" if id is None else f"no class {id!r}"
        raise CourseError(f"There is {what} on this machine: choose one with --id, of {kept}.")
    return room


async def _kept(client: redis.asyncio.Redis) -> str:
    """The classes that are kept, for a sentence."""
    rooms: list[Class] = []
    async for key in client.scan_iter(Keys("*").about, count=1000):
        kept: Any = await client.hgetall(key)
        rooms.append(Class.read(kept))
    rooms.sort(key=lambda one: one.opened)
    return ", ".join(f"{one.id} ({one.title})" if one.title else one.id for one in rooms)


async def keep(client: redis.asyncio.Redis, its: Class) -> None:
    """Keep what is known of a class, and make it the current one."""
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.hset(its.keys.about, mapping=its.words())
        pipeline.set(CURRENT, its.id)
        await pipeline.execute()


async def close(client: redis.asyncio.Redis, its: Class) -> None:
    """Take no further event: each seat is told that the class is over."""
    await client.hsetnx(its.keys.about, "closed", str(ms_of(utc_now())))


async def expect_over(visit: Visit, id: str | None = None) -> Class:
    """A class that no seat can send to any more: it was closed, or another one was opened since.

    Raises:
        CourseError: there is none, it goes on, or a board still has it.
    """
    its, latest = await expect_class(visit.client, id), await current(visit.client)
    if latest and latest.id == its.id:
        if its.closed is None:
            raise CourseError("The class isn't over: end it first, with `course class close`.")
        if visit.at_work:
            raise CourseError("Its board is still open: end that first, with Ctrl-C.")
    return its


async def forget(client: redis.asyncio.Redis, its: Class) -> None:
    """Delete what is kept of a class, in the server's file too, which has each command.

    That is by UNLINK and BGREWRITEAOF.
    """
    keys = [key async for key in client.scan_iter(f"{its.keys.of('')}*", count=1000)]
    if await client.get(CURRENT) == its.id:
        keys.append(CURRENT)
    await client.unlink(*keys)
    await _rewriting(client)  # one that began before may still write what was deleted
    await client.bgrewriteaof()
    await _rewriting(client)


async def _rewriting(client: redis.asyncio.Redis) -> None:
    """Wait until the server rewrites its file no more."""
    while True:
        info = await client.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
            return
        await asyncio.sleep(0.02)


async def seats_of(client: redis.asyncio.Redis, its: Class) -> Seats:
    """All seats of a class."""
    seats = Seats(its.keys)
    numbers = sorted(map(int, await client.smembers(its.keys.seats)))
    async with client.pipeline(transaction=False) as pipeline:
        for number in numbers:
            pipeline.hgetall(its.keys.seat(number))
        for number, kept in zip(numbers, await pipeline.execute(), strict=True):
            seats.add(Seat.read(number, kept))
    return seats
