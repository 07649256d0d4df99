"""Reading a stream back: what a reply that holds more entries is worth, and what groups cost."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import redis
import redis.asyncio

from helpers.bench.ladder import weather
from helpers.bench.loops import run_on
from helpers.bench.rounds import Part, Path, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.course.connect import connect_async
from helpers.course.database import clean
from helpers.course.keys import BENCH
from helpers.streams.bulk import BulkProducer
from helpers.streams.consumer.consumer import AsyncConsumer, AsyncHandler, Consumer, Handler
from helpers.streams.entry import Entry
from helpers.streams.group import Group
from helpers.streams.scan import scan

Found = Sequence[Any]  # entries
Way = Callable[[redis.Redis, str], Found]
AsyncWay = Callable[[redis.asyncio.Redis, str], Awaitable[Found]]

STREAM, SHORT, GROUP = f"{BENCH}readings", f"{BENCH}few_readings", "bench"
COUNTS = (1, 10, 100, 1000)
PAGE = 1000  # entries a reply of XRANGE
FEW = 10  # entries a reply; with no more than these a path reads the short stream
BATCH = 1000  # the Consumer's best, see `measure_group`


def pages(redis: redis.Redis, stream: str, size: int = PAGE) -> Iterator[Found]:
    """XRANGE, each page from behind the last ID of the one before."""
    start = "-"
    while page := cast("Found", redis.xrange(stream, start, count=size)):
        yield page
        last, _ = page[-1]
        start = f"({last}"


def by_xrange(redis: redis.Redis, stream: str) -> Found:
    """XRANGE in pages."""
    return [entry for page in pages(redis, stream) for entry in page]


def by_scan(redis: redis.Redis, stream: str) -> Found:
    """The same by `scan`, which makes an Entry of each."""
    return list(scan(redis, stream))


def by_xread(redis: redis.Redis, stream: str, count: int) -> Found:
    """XREAD from the last ID on, until there is nothing more."""
    found: list[Any] = []
    last = "0"
    while True:
        reply: Any = redis.xread({stream: last}, count=count)
        if not reply:
            return found
        found += reply[stream]
        last, _ = reply[stream][-1]


def by_xreadgroup(redis: redis.Redis, stream: str, count: int) -> Found:
    """XREADGROUP, and one XACK for all entries of a reply."""
    found: list[Any] = []
    while True:
        reply: Any = redis.xreadgroup(GROUP, "alice", {stream: ">"}, count=count)
        if not reply:
            return found
        found += reply[stream]
        redis.xack(stream, GROUP, *(entry_id for entry_id, _ in reply[stream]))


def by_consumer(
    redis: redis.Redis, stream: str, batch: int = BATCH, handler: Handler | None = None
) -> Found:
    """A Consumer whose handler does nothing: it acknowledges each entry after its handler."""
    consumer = Consumer(redis, stream, GROUP, handler or _nothing, name="alice", batch=batch)
    return range(consumer.run(drain=True, signals=False).acked)


async def by_xreadgroup_async(redis: redis.asyncio.Redis, stream: str, count: int) -> Found:
    """The bare loop for asyncio."""
    found: list[Any] = []
    while True:
        reply: Any = await redis.xreadgroup(GROUP, "alice", {stream: ">"}, count=count)
        if not reply:
            return found
        found += reply[stream]
        await redis.xack(stream, GROUP, *(entry_id for entry_id, _ in reply[stream]))


async def by_async_consumer(
    redis: redis.asyncio.Redis, stream: str, handler: AsyncHandler | None = None
) -> Found:
    """An AsyncConsumer that awaits a handler that does nothing."""
    consumer = AsyncConsumer(
        redis, stream, GROUP, handler or _nothing_async, name="alice", batch=BATCH
    )
    return range((await consumer.run(drain=True)).acked)


def _nothing(entry: Entry) -> None:
    return None


async def _nothing_async(entry: Entry) -> None:
    return None


SCAN, CONSUMER, ASYNC_CONSUMER = "scan", "Consumer", "AsyncConsumer"
READING: dict[str, Way | AsyncWay] = {
    "XRANGE, pages of 1,000": by_xrange,
    SCAN: by_scan,
    **{f"XREAD COUNT {count:,}": partial(by_xread, count=count) for count in COUNTS},
}
IN_GROUP: dict[str, Way | AsyncWay] = {
    **{
        f"XREADGROUP COUNT {count:,} and XACK": partial(by_xreadgroup, count=count)
        for count in COUNTS
    },
    CONSUMER: by_consumer,
    f"asyncio, XREADGROUP COUNT {BATCH:,} and XACK": partial(by_xreadgroup_async, count=BATCH),
    ASYNC_CONSUMER: by_async_consumer,
}
ONE = "XREADGROUP COUNT 1 and XACK"
BARE = f"XREADGROUP COUNT {BATCH:,} and XACK"


@contextmanager
def filled(client: redis.Redis, scale: Scale) -> Iterator[None]:
    """The two streams, while the block lasts."""
    try:
        for stream, count in ((STREAM, scale.readings), (SHORT, scale.slow)):
            clean(client, stream)
            with BulkProducer(client, stream) as producer:
                producer.add_many(weather(count))
        yield
    finally:
        clean(client, STREAM, SHORT)


def stream_of(way: Way | AsyncWay) -> str:
    """Which stream a way reads: with few entries a reply the long one takes too long."""
    count = way.keywords["count"] if isinstance(way, partial) else max(COUNTS)
    return SHORT if count <= FEW else STREAM


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> Part:
    """Read the readings back without a group."""
    taken = _take(client, scale, tick, READING)
    return Part(
        unit="entries a second",
        figures=taken.figures(),
        ratios={
            "count_1000_to_count_1": taken.ratio("XREAD COUNT 1,000", "XREAD COUNT 1"),
            "scan_to_xrange": taken.ratio(SCAN, "XRANGE, pages of 1,000"),
        },
        setup=_setup(scale),
    )


def measure_group(client: redis.Redis, scale: Scale, tick: Tick = silent) -> Part:
    """Read them as a consumer of a group, and acknowledge each."""
    taken = _take(client, scale, tick, IN_GROUP)
    return Part(
        unit="entries a second",
        figures=taken.figures(),
        ratios={
            "ratio_to_one_at_a_time": taken.ratio(CONSUMER, ONE),
            "ratio_to_bare_loop": taken.ratio(CONSUMER, BARE),
            "asyncio_ratio_to_bare_loop": taken.ratio(ASYNC_CONSUMER, f"asyncio, {BARE}"),
        },
        setup=(
            *_setup(scale),
            f"The consumers read {BATCH:,} entries at once; their handlers do nothing.",
            f"ratio_to_one_at_a_time: the Consumer to {ONE}.",
            f"ratio_to_bare_loop: the Consumer to {BARE}, which calls no handler.",
            "asyncio_ratio_to_bare_loop: the AsyncConsumer to the same on asyncio's loop.",
        ),
    )


def gone(client: redis.Redis, way: Way | AsyncWay, stream: str) -> tuple[Found, float]:
    """What a way found, and in how many seconds; a client for asyncio connects before."""
    if not inspect.iscoroutinefunction(way):
        with stopwatch() as watch:
            found = cast("Way", way)(client, stream)
        return found, watch.seconds
    read = cast("AsyncWay", way)

    async def go() -> tuple[Found, float]:
        async with connect_async() as own:
            await own.ping()
            with stopwatch() as watch:
                found = await read(own, stream)
        return found, watch.seconds

    return run_on("asyncio", go)


def _take(
    client: redis.Redis, scale: Scale, tick: Tick, ways: Mapping[str, Way | AsyncWay]
) -> Rounds:
    def path(way: Way | AsyncWay) -> Path:
        stream = stream_of(way)

        def go() -> float:
            group = Group(client, stream, GROUP)
            group.destroy(even_if_pending=True)
            group.create("0")
            found, seconds = gone(client, way, stream)
            return len(found) / seconds

        return go

    with filled(client, scale):
        return Rounds.take({name: path(way) for name, way in ways.items()}, scale.rounds, tick)


def _setup(scale: Scale) -> tuple[str, ...]:
    return (
        f"{scale.readings:,} readings of temperature and humidity; with COUNT {FEW} and less, "
        f"{scale.slow:,} of them.",
    )
