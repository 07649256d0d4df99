"""An experiment with COUNT, BLOCK and a pause: one task adds entries at a rate, another reads them.

Both are tasks of one loop, each with a client of its own, so that one clock tells how old an
entry is when the reader has it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from helpers.bench.waking import percentile
from helpers.course.connect import connect_async
from helpers.course.errors import CourseError

STREAM = "lesson08:trial"
SENT, END = "sent_ns", "end"  # the fields of an entry, and of the last one
LIMITS = {
    "count": (1, 100_000),
    "block_ms": (0, 60_000),
    "pause_ms": (0, 10_000),
    "rate": (1, 100_000),
    "seconds": (0.01, 60),
}


@dataclass(frozen=True)
class Trial:
    """What came of one experiment.

    Attributes:
        count: the COUNT of each XREAD.
        block_ms: its BLOCK; 0 waits for ever, and None asks without BLOCK.
        pause_ms: how long the reader paused after each reply.
        rate: how many entries were added a second.
        reads: how many XREADs were answered, each a round trip.
        empty: how many of these replies held no entry.
        entries: how many entries were read.
        p50_ms: from its XADD until the reader had it: half of the entries took so long or less.
        p99_ms: the same of 99 in 100.
        behind: how many entries the last reply left on the stream although they were there
            when the reader asked.
    """

    count: int
    block_ms: int | None
    pause_ms: float
    rate: float
    reads: int
    empty: int
    entries: int
    p50_ms: float
    p99_ms: float
    behind: int

    @property
    def each(self) -> float:
        """How many entries a reply held on average, empty replies left out."""
        return self.entries / (self.reads - self.empty)

    @property
    def settings(self) -> str:
        """What was tried, such as `COUNT 100, BLOCK 1,000, pause 20 ms`."""
        block = "no BLOCK" if self.block_ms is None else f"BLOCK {self.block_ms:,}"
        pause = f"pause {self.pause_ms:g} ms" if self.pause_ms else "no pause"
        return f"COUNT {self.count:,}, {block}, {pause}"

    def __str__(self) -> str:
        """What came of it, in a sentence."""
        full = self.reads - self.empty
        entries = "an entry" if self.entries == 1 else f"{self.entries:,} entries"
        replies = "a reply" if full == 1 else f"{full:,} replies"
        empty = " and an empty one" if self.empty == 1 else f" and {self.empty:,} empty ones"
        each = f"{self.each:.0f}" if self.each >= 9.95 else f"{self.each:.1f}".removesuffix(".0")
        behind = f"{self.behind:,}" if self.behind else "none"
        return (
            f"{entries} in {replies}{empty if self.empty else ''}, {each} each; "
            f"half had waited {milliseconds(self.p50_ms)} or less; {behind} left behind."
        )


def milliseconds(value: float) -> str:
    """A time in two figures, as far as they mean something: 0.34 ms, 3.4 ms, 34 ms, 340 ms."""
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(2, digits)}f} ms"


async def trial(
    count: int,
    block_ms: int | None,
    pause_ms: float = 0,
    *,
    rate: float = 1000,
    seconds: float = 0.5,
    stream: str = STREAM,
) -> Trial:
    """Add entries for some time, read them meanwhile, and say what came of it.

    The reader looks once more after the last entry was added. Then the stream is deleted, also
    when this is cancelled.

    Args:
        count: the most entries that a reply may hold.
        block_ms: how long an XREAD waits when there is nothing to read, in milliseconds; 0
            waits for ever, None does not wait. A server that has nothing else to do looks only
            every 100 ms (its `hz`) whether the time is over.
        pause_ms: how long the reader pauses after each reply, in milliseconds.
        rate: entries a second.
        seconds: how long entries are added.
        stream: a key that nobody else uses.

    Raises:
        CourseError: one of the numbers cannot be.
    """
    given: dict[str, Any] = {"count": count, "pause_ms": pause_ms, "rate": rate}
    _expect(given | {"seconds": seconds} | ({} if block_ms is None else {"block_ms": block_ms}))
    log = _Log()
    async with connect_async() as writer, connect_async() as reader:
        await writer.unlink(stream)
        await reader.ping()  # opening a connection is no part of the experiment
        tasks = [
            asyncio.create_task(_add(writer, stream, log, rate, max(1, round(rate * seconds)))),
            asyncio.create_task(_read(reader, stream, log, count, block_ms, pause_ms)),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await writer.unlink(stream)
    return Trial(
        count=count,
        block_ms=block_ms,
        pause_ms=pause_ms,
        rate=rate,
        reads=log.reads,
        empty=log.empty,
        entries=len(log.waits_ms),
        p50_ms=percentile(log.waits_ms, 50),
        p99_ms=percentile(log.waits_ms, 99),
        behind=log.behind,
    )


@dataclass
class _Log:
    """What the two tasks have done so far."""

    added: int = 0
    over: bool = False  # the last entry was added
    reads: int = 0
    empty: int = 0
    behind: int = 0
    waits_ms: list[float] = field(default_factory=list)


async def _add(
    client: redis.asyncio.Redis, stream: str, log: _Log, rate: float, total: int
) -> None:
    """Add each entry when it is due; those that are due at once go in one pipeline.

    The last one only wakes the reader.
    """
    began = time.perf_counter()
    while log.added < total:
        due = min(total, math.floor((time.perf_counter() - began) * rate) + 1)
        if due > log.added:
            pipeline = client.pipeline(transaction=False)
            for _ in range(due - log.added):
                pipeline.xadd(stream, {SENT: time.perf_counter_ns()})
            await pipeline.execute()
            log.added = due
        await asyncio.sleep(began + log.added / rate - time.perf_counter())
    await client.xadd(stream, {END: "1"})
    log.over = True


async def _read(
    client: redis.asyncio.Redis,
    stream: str,
    log: _Log,
    count: int,
    block_ms: int | None,
    pause_ms: float,
) -> None:
    """Read from the last ID on, and pause after each reply; once more when all were added."""
    last, ended = "0", False
    while not ended:
        there, ended = log.added, log.over
        reply: Any = await client.xread({stream: last}, count=count, block=block_ms)
        now = time.perf_counter_ns()
        entries = reply.get(stream, [])
        if entries:
            last = entries[-1][0]
            if END in entries[-1][1]:
                ended = True
                entries.pop()
                if not entries:  # the reader had read all before
                    return
        _note(log, [(now - int(fields[SENT])) / 1e6 for _, fields in entries], there)
        await asyncio.sleep(pause_ms / 1000 if not ended else 0)


def _note(log: _Log, waits_ms: list[float], there: int) -> None:
    """Note a reply, and how many entries were there when it was asked for."""
    log.reads += 1
    log.empty += not waits_ms
    log.waits_ms += waits_ms
    log.behind = max(0, there - len(log.waits_ms))


def _expect(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        least, most = LIMITS[name]
        whole = name in ("count", "block_ms")
        if not isinstance(value, int if whole else int | float) or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            raise CourseError(f"{name} must be {kind} from {least:,} to {most:,}, not {value!r}.")
