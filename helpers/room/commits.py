"""Group commit: requests that wait are written in one round trip, and share the disk's time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.room.keeping import Command
from helpers.streams.states import passes, reconnect_async

MOST_WAITING = 5000  # requests
AT_ONCE = 200  # requests a round trip
PATIENCE_S = 8.0  # for how long a request waits for a server that is away
RETRY_S = 0.05


class UnkeptError(CourseError):
    """What was to be kept may not be on the disk; it can be sent again."""


class Commits:
    """Writes what is given to `commit`, each list of commands at least once, in their order."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: deque[tuple[list[Command], float, asyncio.Future[list[Any]]]] = deque()
        self._work = asyncio.Event()
        self.trouble = ""  # why nothing is written at the moment

    async def commit(self, commands: list[Command]) -> list[Any]:
        """Send commands that can be sent again; their replies when they are on the disk.

        Raises:
            UnkeptError: the server is out of reach, or too much waits.
            redis.ResponseError: it refuses one of them.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise UnkeptError("The board has too much to do: it can be sent again soon.")
        replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, time.monotonic() + PATIENCE_S, replies))
        self._work.set()
        return await replies

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._work.wait()
            batch = [self._waiting[place] for place in range(min(AT_ONCE, len(self._waiting)))]
            if not batch:
                self._work.clear()
                continue
            if await self._write(batch):
                for _ in batch:
                    self._waiting.popleft()
            else:
                self._give_up()
                await asyncio.sleep(RETRY_S)

    async def _write(self, batch: list[Any]) -> bool:
        """Send a batch; False if it may not have arrived."""
        pipeline = self._client.pipeline(transaction=False)
        for commands, _, _ in batch:
            for words in commands:
                pipeline.execute_command(*words)
        try:
            replies = iter(await pipeline.execute(raise_on_error=False))
        except redis.RedisError as error:
            self.trouble = str(error)
            await reconnect_async(self._client, error)
            return False
        answers = [[next(replies) for _ in commands] for commands, _, _ in batch]
        for said in answers:
            for one in said:
                if isinstance(one, redis.RedisError) and passes(one):
                    self.trouble = str(one)
                    return False
        self.trouble = ""
        for (_, _, future), said in zip(batch, answers, strict=True):
            wrong = next((one for one in said if isinstance(one, Exception)), None)
            if future.done():  # the one who waited is gone
                continue
            if wrong:
                future.set_exception(wrong)
            else:
                future.set_result(said)
        return True

    def _give_up(self) -> None:
        """Tell those who have waited for too long; what was sent may arrive all the same."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][1] < now:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(
                    UnkeptError("The board's server is away for a moment: send it again soon.")
                )
