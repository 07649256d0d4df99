"""Counting: a consumer of the group `board` counts each event in the step that acknowledges it.

What lessons 03 to 06 teach: a group keeps its place, what was delivered is pending until XACK, a
board that was killed finds its own history, and effect and XACK are one step. So each event counts
exactly once, whatever is killed in between.

An entry that is delivered again comes after those behind it. So each command here gives the same
in any order: it adds, or it keeps the largest or the smallest. The newest outcome of a cell (a
seat's exercise) is the one with the largest `rank`.

    {class:ID}:totals        a hash: events → how many
    {class:ID}:tries         a hash: seat|exercise → how often it was checked
    {class:ID}:wrong         a hash: seat|exercise → how often it was wrong
    {class:ID}:rank          a sorted set: seat|exercise, by `rank` of the newest outcome
    {class:ID}:first, :last  sorted sets: seat|exercise, when it was first and last checked, in ms
    {class:ID}:seconds       a sorted set: seat|exercise, by the seconds since its lab was opened
    {class:ID}:mistakes      a hash: exercise|hint|seat → how often
    {class:ID}:minute:29     a hash: exercise|hint → how often in that minute since 1970; it expires
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

import redis
import redis.asyncio

from helpers.room.events import OUTCOMES
from helpers.room.keeping import Keys
from helpers.streams.consumer import AsyncConsumer
from helpers.streams.consumer.effects import Command
from helpers.streams.entry import Entry
from helpers.streams.errors import StreamsError
from helpers.streams.group import AsyncGroup

GROUP, NAME = "board", "board"
RECENT_MIN = 10
MINUTE_MS = 60_000
AGAIN_S = 1.0
EVER = 1_000_000  # no event is at fault when a board dies of something else, over and over
_HINTS, _OUTCOMES, _NUMBERS = 1 << 10, 1 << 2, 1 << 40

log = logging.getLogger(__name__)


def rank(n: int, outcome: str, hint: int) -> int:
    """A number that is larger the newer an event is; once passed, an exercise stays passed.

    It has 53 bits, which is what a score of a sorted set holds exactly.

    >>> rank(7, "passed", 0) > rank(8, "wrong", 3) > rank(7, "wrong", 999)
    True
    """
    passed = outcome == OUTCOMES[0]
    return ((passed * _NUMBERS + n) * _OUTCOMES + OUTCOMES.index(outcome)) * _HINTS + hint


def unranked(number: int) -> tuple[str, int]:
    """The outcome and the hint in a rank.

    >>> unranked(rank(7, "wrong", 42))
    ('wrong', 42)
    """
    rest, hint = divmod(number, _HINTS)
    return OUTCOMES[rest % _OUTCOMES], hint


class Counting:
    """Counts a class's events until it is stopped; of a server that is away, it waits.

    Args:
        client: of the server.
        keys: the class's.
        known: exercise → the numbers of its mistakes. What else a seat says has no count of its
            own: so what is kept has a bound.
    """

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, known: Mapping[str, Collection[int]]
    ) -> None:
        self._client, self._keys, self._known = client, keys, known
        self._stopped = False
        self._consumer: AsyncConsumer | None = None
        self._begun = 0

    @property
    def version(self) -> tuple[int, ...]:
        """Another one whenever counts may have changed."""
        its = self._consumer.counts if self._consumer else None
        done = (its.acked, its.lost, its.again, its.reconnects) if its else ()
        return self._begun, *done

    def stop(self) -> None:
        """End `run()` after the events in hand."""
        self._stopped = True
        if self._consumer:
            self._consumer.stop()

    async def run(self) -> None:
        """Count until `stop()`."""
        said = ""
        while not self._stopped:
            try:
                await self._count()
            except (StreamsError, redis.RedisError, OSError) as error:
                if str(error) != said:
                    log.warning("Nothing is counted at the moment, nor lost. %s", error)
                said = str(error)
                await asyncio.sleep(AGAIN_S)

    async def drain(self) -> None:
        """Count what is left, of a class without a board.

        Raises:
            StreamsError, redis.RedisError: that failed; what isn't counted is left.
        """
        if await self._client.exists(self._keys.events):
            await self._count(drain=True)

    async def _count(self, *, drain: bool = False) -> None:
        stream = self._keys.events
        self._begun += 1
        await AsyncGroup(self._client, stream, GROUP).create("0", make_stream=True)
        self._consumer = consumer = AsyncConsumer(
            self._client, stream, GROUP, self.effect_of, name=NAME, delete=True,
            on_lost_group="0", block_ms=500, allow_oom=True, max_deliveries=EVER,
        )  # fmt: skip
        if not self._stopped:
            await consumer.run(drain=drain)

    def effect_of(self, entry: Entry) -> list[Command]:
        """The commands that count an event. An exercise that the board doesn't know has no cell."""
        keys, said = self._keys, entry.fields
        counted: list[Command] = [("HINCRBY", keys.totals, "events", 1)]
        exercise, outcome, hint = said["exercise"], said["outcome"], int(said["hint"])
        if exercise not in self._known:
            return counted
        at_ms, cell = entry.id.ms, f"{said['seat']}|{exercise}"
        counted += [
            ("HINCRBY", keys.tries, cell, 1),
            ("ZADD", keys.rank, "GT", rank(int(said["n"]), outcome, hint), cell),
            ("ZADD", keys.first, "LT", at_ms, cell),
            ("ZADD", keys.last, "GT", at_ms, cell),
            ("ZADD", keys.seconds, "GT", said["seconds"], cell),
        ]
        if outcome == "wrong":
            counted.append(("HINCRBY", keys.wrong, cell, 1))
            if hint in self._known[exercise]:
                counted += self._mistake(exercise, hint, said["seat"], at_ms)
        return counted

    def _mistake(self, exercise: str, hint: int, seat: str, at_ms: int) -> list[Command]:
        minute = self._keys.of(f"minute:{at_ms // MINUTE_MS}")
        return [
            ("HINCRBY", self._keys.mistakes, f"{exercise}|{hint}|{seat}", 1),
            ("HINCRBY", minute, f"{exercise}|{hint}", 1),
            ("EXPIRE", minute, (RECENT_MIN + 2) * 60),
        ]
