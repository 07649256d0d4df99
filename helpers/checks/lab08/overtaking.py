"""A client for asyncio on whose connections commands overtake each other, as on a network.

What goes over one connection stays in its order. What is under way on several connections at
once comes to the server in the opposite order here, always: a learner's function that relies on
luck fails each time, on a fast machine and on a slow one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio

from helpers.bench.like import like

CALM = 10  # rounds of the event loop in which nobody else has come


class Meeting:
    """Who wants to send waits here, until all have come that can; the last one goes first.

    Attributes:
        wanted: how many have asked for a connection, and not yet given it back.
        most: how many have waited here at once.
    """

    def __init__(self) -> None:
        self.wanted = 0
        self.most = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._usher: asyncio.Task[None] | None = None

    async def attend(self) -> None:
        """Wait for one's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._usher is None or self._usher.done():
            self._usher = asyncio.create_task(self._let_go())
        try:
            await turn
        finally:
            if turn in self._waiting:  # it was cancelled
                self._waiting.remove(turn)

    async def _let_go(self) -> None:
        """Let one go after the other: each when the one before has its answer."""
        while self._waiting:
            await self._assembled()
            self.most = max(self.most, len(self._waiting))
            if self._waiting and not (turn := self._waiting.pop()).done():
                turn.set_result(None)

    async def _assembled(self) -> None:
        """Wait until all who have asked for a connection wait here, and nobody else comes."""
        calm, before = 0, -1
        while calm < CALM:
            await asyncio.sleep(0)
            here = len(self._waiting)
            calm = calm + 1 if here == before == self.wanted else 0
            if here < self.wanted:
                await asyncio.sleep(0.0005)  # they connect, or wait for a reply
            before = here


class _Pool(redis.asyncio.ConnectionPool):
    """Gives a connection when it is one's turn at the meeting."""

    meeting: Meeting

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        self.meeting.wanted += 1
        connection = await super().get_connection(*args, **kwargs)
        try:
            await self.meeting.attend()
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        self.meeting.wanted -= 1


def overtaking(client: redis.asyncio.Redis, meeting: Meeting) -> redis.asyncio.Redis:
    """A client with the settings of another one, whose commands overtake each other."""
    return like(client, pool=_Pool, meeting=meeting)
