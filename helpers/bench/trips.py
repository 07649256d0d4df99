"""Counts the round trips of a client: how often it waited for the server after it had sent.

    client, trips = counted(redis)
    with client:
        client.xadd("chennai", {"temp_f": 82})
    trips.trips  # 1

The client that comes back has the settings of yours, and connections of its own, which count.
What a connection says when it opens (HELLO, AUTH, SELECT) is not counted; a retry is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import hiredis
import redis
import redis.asyncio
import redis.asyncio.connection
import redis.connection

from helpers.bench.like import like

Packed = bytes | str | Iterable[bytes]


@dataclass
class Trips:
    """What was counted over all connections of one client.

    Attributes:
        trips: how often the client waited for the server after it had sent something.
        commands: how many commands it sent; MULTI and EXEC are two of them.
        most: the most commands that were under way at once: sent, and not yet answered.
        sent_bytes: how many bytes it sent.
        longest: the most items of a reply, or of a list inside of one.
    """

    trips: int = 0
    commands: int = 0
    most: int = 0
    sent_bytes: int = 0
    longest: int = field(default=0, repr=False)
    _under_way: int = field(default=0, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def reset(self) -> None:
        """Count from nothing; what is under way still is."""
        with self._lock:
            self.trips = self.commands = self.sent_bytes = self.longest = 0
            self.most = self._under_way

    def _sent(self, commands: int, size: int) -> None:
        with self._lock:
            self.commands += commands
            self.sent_bytes += size
            self._under_way += commands
            self.most = max(self.most, self._under_way)

    def _waits(self) -> None:
        with self._lock:
            self.trips += 1

    def _came(self, reply: Any) -> None:
        longest = _longest(reply)
        with self._lock:
            self.longest = max(self.longest, longest)

    def _settled(self, commands: int) -> None:
        """So many commands were answered, or lost with their connection."""
        with self._lock:
            self._under_way -= commands


def counted(client: redis.Redis) -> tuple[redis.Redis, Trips]:
    """A client like this one that counts its round trips. Close it, and its connections close."""
    trips = Trips()
    return like(client, connection=_CountedConnection, trips=trips), trips


def counted_async(client: redis.asyncio.Redis) -> tuple[redis.asyncio.Redis, Trips]:
    """The same for asyncio."""
    trips = Trips()
    return like(client, connection=_CountedAsyncConnection, trips=trips), trips


class _Line:
    """What one connection has sent, and what of it was answered."""

    def __init__(self, trips: Trips) -> None:
        self._trips = trips
        self._commands = hiredis.Reader()  # a command is an array, as some replies are
        self._waits_next = False
        self._open = 0
        self.opening = False  # what is said meanwhile does not count

    def sent(self, chunks: list[bytes]) -> None:
        """Take what was written to the socket; it need not end where a command ends."""
        if self.opening:
            return
        commands = size = 0
        for chunk in chunks:
            self._commands.feed(chunk)
            size += len(chunk)
        while self._commands.gets() is not False:
            commands += 1
        self._open += commands
        self._waits_next = True
        self._trips._sent(commands, size)

    def waits(self) -> None:
        """The first read behind something that was sent waits for a whole trip."""
        if self._waits_next and not self.opening:
            self._waits_next = False
            self._trips._waits()

    def answered(self, reply: Any = None) -> None:
        """A reply came. A message of a channel is none, but comes the same way."""
        if self._open and not self.opening:
            self._trips._came(reply)
            self._open -= 1
            self._trips._settled(1)

    def lost(self) -> None:
        """The connection was closed: nothing that is under way will be answered."""
        self._trips._settled(self._open)
        self._open, self._waits_next = 0, False
        self._commands = hiredis.Reader()


class _CountedConnection(redis.connection.AbstractConnection):
    """Stands in front of a pool's own class of connections, and tells `trips` what it does."""

    trips: Trips

    def __init__(self, **settings: Any) -> None:
        self._line = _Line(self.trips)
        super().__init__(**settings)

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        before, self._line.opening = self._line.opening, True
        try:
            super().connect_check_health(*args, **kwargs)
        finally:
            self._line.opening = before

    def send_packed_command(self, command: Packed, check_health: bool = True) -> None:
        chunks = _chunks(command)
        super().send_packed_command(chunks, check_health)
        self._line.sent(chunks)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        self._line.waits()
        try:
            reply = super().read_response(*args, **kwargs)
        except redis.ResponseError:
            self._line.answered()
            raise
        self._line.answered(reply)
        return reply

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._line.lost()
        super().disconnect(*args, **kwargs)


class _CountedAsyncConnection(redis.asyncio.connection.AbstractConnection):
    """The same for asyncio."""

    trips: Trips

    def __init__(self, **settings: Any) -> None:
        self._line = _Line(self.trips)
        super().__init__(**settings)

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        before, self._line.opening = self._line.opening, True
        try:
            await super().connect_check_health(*args, **kwargs)
        finally:
            self._line.opening = before

    async def send_packed_command(self, command: Packed, check_health: bool = True) -> None:
        chunks = _chunks(command)
        await super().send_packed_command(chunks, check_health)
        self._line.sent(chunks)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        self._line.waits()
        try:
            reply = await super().read_response(*args, **kwargs)
        except redis.ResponseError:
            self._line.answered()
            raise
        self._line.answered(reply)
        return reply

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._line.lost()
        await super().disconnect(*args, **kwargs)


def _longest(reply: Any) -> int:
    """How many items the longest list in a reply has."""
    if isinstance(reply, dict):
        return _longest([*reply.values()])
    if not isinstance(reply, list):
        return 0
    return max(len(reply), *map(_longest, reply), 0)


def _chunks(command: Packed) -> list[bytes]:
    if isinstance(command, str):
        return [command.encode()]
    return [command] if isinstance(command, bytes) else list(command)
