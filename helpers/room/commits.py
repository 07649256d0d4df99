"""Group commit: requests that wait are written in one round trip, and share the disk's time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from helpers.course.errors import CourseError, in_words
from helpers.room.keeping import Command
from helpers.streams.states import passes, reconnect_async

MOST_WAITING = 1_000_000  # words of commands
AT_ONCE = 20_000  # words a round trip: some 4,000 events
PATIENCE_S = 4.0  # for how long a request waits for a server that is away: seats wait 5
RETRY_S = 0.05


Waiting = tuple[list[Command], float, asyncio.Future[list[Any]]]  # what, until when, and for whom


class UnkeptError(CourseError):
    """What was to be kept may not be on the disk; it can be sent again."""


class Commits:
    """Writes what is given to `commit`, each list of commands at least once, in their order."""

    def __init__(
        self, client: redis.asyncio.Redis, say: Callable[[str], None] = lambda sentence: None
    ) -> None:
        """Prepare.

        Args:
            client: of the server.
            say: what to do with a sentence for the instructor.
        """
        self._client, self._say = client, say
        self._trouble: Exception | None = None  # why nothing is written at the moment
        self._waiting: deque[Waiting] = deque()
        self._words = 0  # that wait
        self._work = asyncio.Event()

    async def commit(self, commands: list[Command]) -> list[Any]:
        """Send commands that can be sent again; their replies when they are on the disk.

        Raises:
            UnkeptError: the server is out of reach, or too much waits.
            redis.ResponseError: it refuses one of them.
        """
        if self._words >= MOST_WAITING:
            raise UnkeptError("The board has too much to do: it can be sent again soon.")
        replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, time.monotonic() + PATIENCE_S, replies))
        words = sum(map(len, commands))
        self._words += words
        self._work.set()
        try:
            return await replies
        finally:
            self._words -= words

    async def idle(self) -> None:
        """Wait until nothing waits."""
        while self._waiting:  # noqa: ASYNC110 (each is waited for already)
            await asyncio.sleep(RETRY_S)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._work.wait()
            batch = self._batch()
            if not batch:
                self._work.clear()
                continue
            if await self._write(batch):
                for _ in batch:
                    self._waiting.popleft()
            else:
                self._give_up()
                await asyncio.sleep(RETRY_S)

    def _batch(self) -> list[Waiting]:
        """The first of those that wait, up to so many words."""
        batch: list[Waiting] = []
        words = 0
        for one in self._waiting:
            words += sum(map(len, one[0]))
            if batch and words > AT_ONCE:
                break
            batch.append(one)
        return batch

    async def _write(self, batch: list[Waiting]) -> bool:
        """Send a batch; False if it may not have arrived."""
        pipeline = self._client.pipeline(transaction=False)
        for commands, _, _ in batch:
            for words in commands:
                pipeline.execute_command(*words)
        try:
            replies = iter(await pipeline.execute(raise_on_error=False))
        except (redis.RedisError, OSError) as error:
            self._trouble = error
            await reconnect_async(self._client, error)
            return False
        answers = [[next(replies) for _ in commands] for commands, _, _ in batch]
        for said in answers:
            for one in said:
                if isinstance(one, redis.RedisError) and passes(one):
                    self._trouble = one
                    return False
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
        if self._waiting and self._waiting[0][1] < now and self._trouble:
            self._say(f"Seats keep their events: the board can't. {in_words(self._trouble)}")
        while self._waiting and self._waiting[0][1] < now:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(
                    UnkeptError("The board's server is away for a moment: send it again soon.")
                )
