"""A client for asyncio on which one station's reply is kept back, while all others can go on.

How long is kept back is no matter of a clock: until nobody can do more without that reply. So
who waits for the slowest is found out each time. Whoever only sleeps is woken, for the event
loop's time is put forward meanwhile: to sleep long enough is not to wait for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import redis.asyncio
import redis.asyncio.connection

from helpers.bench.like import like
from helpers.course.connect import connect

CALM = 10  # rounds of the event loop in which nobody else is under way
SKIP_S = 2.0  # by so much the time is put forward: longer than a learner's function may run


class Hold:
    """Keeps back the first reply to a station, and notes who stands still until it comes.

    Attributes:
        stream: the one whose reply is kept back.
        others: the other stations' streams.
        came: how many of the others' entries were on the server when nobody could do more; None
            if no reply was kept back so long.
        wanted: how many connections are asked for, and not yet given back.
        kept: how many of them have a reply that is kept back.
    """

    def __init__(self, stream: str, others: Iterable[str]) -> None:
        self.stream = stream
        self.others = list(others)
        self.came: dict[str, int] | None = None
        self.wanted = 0
        self.kept = 0
        self._over: asyncio.Event | None = None  # of the event loop in which it is used

    async def keep(self) -> None:
        """Keep a reply back until nobody can do more without it. The first one does the work."""
        self.kept += 1
        try:
            if self._over:
                await self._over.wait()
                return
            self._over = asyncio.Event()
            try:
                self.came = await self._until_still()
            finally:
                self._over.set()
        finally:
            self.kept -= 1

    async def _until_still(self) -> dict[str, int]:
        """Wait until time passes and no entry comes; gives the lengths of the others' streams."""
        with connect() as client:
            came: dict[str, int] = {}
            while True:
                await self._calm()
                before, came = came, {other: int(client.xlen(other)) for other in self.others}
                if came == before:
                    return came
                _put_forward(SKIP_S)

    async def _calm(self) -> None:
        """Wait until all connections that are in use are those that are kept back."""
        calm = 0
        while calm < CALM:
            await asyncio.sleep(0)
            calm = calm + 1 if self.wanted == self.kept else 0
            if self.wanted > self.kept:
                await asyncio.sleep(0.0005)  # they connect, or wait for a reply


def _put_forward(seconds: float) -> None:
    """Let what sleeps in this event loop wake so much earlier."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]


class _Pool(redis.asyncio.ConnectionPool):
    """Counts the connections that are in use."""

    hold: Hold

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        self.hold.wanted += 1
        try:
            return await super().get_connection(*args, **kwargs)
        except BaseException:
            self.hold.wanted -= 1
            raise

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        self.hold.wanted -= 1


class _Connection(redis.asyncio.connection.AbstractConnection):
    """Stands in front of a pool's own class of connections, and keeps the reply back."""

    hold: Hold
    _names_it = False

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        chunks: Sequence[Any] = [command] if isinstance(command, bytes | str) else list(command)
        sent = b"".join(one.encode() if isinstance(one, str) else one for one in chunks)
        self._names_it = self.hold.stream.encode() in sent
        await super().send_packed_command(chunks, check_health)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        reply = await super().read_response(*args, **kwargs)
        if self._names_it:
            self._names_it = False
            await self.hold.keep()
        return reply


def holding(client: redis.asyncio.Redis, hold: Hold) -> redis.asyncio.Redis:
    """A client with the settings of another one, on which a reply is kept back."""
    return like(client, pool=_Pool, connection=_Connection, hold=hold)
