"""The ladder: ways to append the same readings to a stream, from the article's to the fastest.

Every way is a plain function of a client, a stream and entries, and leaves the same entries on
the stream; those that are not `ordered` may leave them in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

import redis
import redis.asyncio

from helpers.bench.crowd import append_in_processes
from helpers.bench.limit import limit_of
from helpers.bench.loops import Loop, run_on
from helpers.bench.rounds import Part, Path, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.course.connect import connect, connect_async
from helpers.course.database import clean
from helpers.course.keys import BENCH
from helpers.course.weather import measurements
from helpers.streams.bulk import BulkProducer
from helpers.streams.producer import Producer

T = TypeVar("T")
Share = Literal["all", "some", "slow"]
Entries = Sequence[dict[Any, Any]]  # as XADD takes them: fields and their values

STREAM = f"{BENCH}chennai"
TASKS = 20
PROCESSES = 2


def one_at_a_time(redis: redis.Redis, stream: str, entries: Entries) -> None:
    """Send, wait for the reply, send the next."""
    for fields in entries:
        redis.xadd(stream, fields)


async def awaited(redis: redis.asyncio.Redis, stream: str, entries: Entries) -> None:
    """The same with asyncio: the article's producer."""
    for fields in entries:
        await redis.xadd(stream, fields)


async def gathered(
    redis: redis.asyncio.Redis, stream: str, entries: Entries, tasks: int = TASKS
) -> None:
    """Tasks, each with a share and a connection. Their order on the stream is up to chance."""
    shares = [entries[number::tasks] for number in range(tasks)]
    await asyncio.gather(*(awaited(redis, stream, share) for share in shares))


def pipelined(redis: redis.Redis, stream: str, entries: Entries, batch: int) -> None:
    """Send a batch, then wait for all its replies."""
    for chunk in chunks(entries, batch):
        pipeline = redis.pipeline(transaction=False)
        for fields in chunk:
            pipeline.xadd(stream, fields)
        pipeline.execute()


async def pipelined_async(
    redis: redis.asyncio.Redis, stream: str, entries: Entries, batch: int
) -> None:
    """The same with asyncio."""
    for chunk in chunks(entries, batch):
        pipeline = redis.pipeline(transaction=False)
        for fields in chunk:
            pipeline.xadd(stream, fields)
        await pipeline.execute()


def produced(redis: redis.Redis, stream: str, entries: Entries) -> None:
    """The course's producer: a script appends each batch once, whatever gets lost."""
    with Producer(redis, stream) as producer:
        producer.add_many(entries)


def bulk(redis: redis.Redis, stream: str, entries: Entries) -> None:
    """The same promise without the script: see `helpers.streams.bulk`."""
    with BulkProducer(redis, stream) as producer:
        producer.add_many(entries)


@dataclass(frozen=True)
class Rung:
    """A way to append.

    Attributes:
        name: what the picture calls it.
        append: the way; a coroutine function if it has a loop.
        loop: on whose event loop it runs.
        ordered: whether the entries come onto the stream in their order.
        share: how many of the entries are enough to time it.
        connections: how many it uses.
    """

    name: str
    append: Callable[..., Awaitable[None] | None]
    loop: Loop | None = None
    ordered: bool = True
    share: Share = "all"
    connections: int = 1


ONE, UVLOOP, FASTEST = "redis-py, one at a time", "uvloop, one at a time", "BulkProducer"
CROWD = f"{PROCESSES} processes with a {FASTEST}"
LIMIT = "the server's limit"

LADDER = (
    Rung(ONE, one_at_a_time, share="slow"),
    Rung("asyncio, one at a time", awaited, "asyncio", share="slow"),
    Rung(UVLOOP, awaited, "uvloop", share="slow"),
    Rung(f"asyncio, {TASKS} tasks", gathered, "asyncio", False, "slow", TASKS),
    Rung(f"uvloop, {TASKS} tasks", gathered, "uvloop", False, "slow", TASKS),
    Rung("pipelines of 10", partial(pipelined, batch=10), share="some"),
    Rung("pipelines of 100", partial(pipelined, batch=100), share="some"),
    Rung("pipelines of 1,000", partial(pipelined, batch=1000), share="some"),
    Rung(
        "uvloop, pipelines of 1,000", partial(pipelined_async, batch=1000), "uvloop", True, "some"
    ),
    Rung("Producer", produced),
    Rung(FASTEST, bulk),
)


class Place(Protocol):
    """Where clients come from: the course's server, or one that is far away."""

    def connect(self) -> redis.Redis: ...  # noqa: D102
    def connect_async(self) -> redis.asyncio.Redis: ...  # noqa: D102


class Here:
    """The course's server."""

    connect = staticmethod(connect)
    connect_async = staticmethod(connect_async)


def rate(rung: Rung, stream: str, entries: Entries, place: Place | None = None) -> float:
    """Append entries in one way, and say how many a second it appended.

    Connecting is not timed.

    Args:
        rung: the way.
        stream: the stream's key.
        entries: what to append.
        place: whose clients do it, such as a `Distance`; by default the course's server.
    """
    place = place or Here()
    if rung.loop:
        return run_on(rung.loop, lambda: _rate_async(rung, stream, entries, place))
    with place.connect() as client:
        client.ping()
        with stopwatch() as watch:
            rung.append(client, stream, entries)
    return len(entries) / watch.seconds


async def _rate_async(rung: Rung, stream: str, entries: Entries, place: Place) -> float:
    async with place.connect_async() as client:
        await asyncio.gather(*(client.ping() for _ in range(rung.connections)))
        with stopwatch() as watch:
            await rung.append(client, stream, entries)  # type: ignore[misc]
    return len(entries) / watch.seconds


def weather(count: int) -> list[dict[str, str]]:
    """So many readings of Chennai's day."""
    return list(islice(measurements("chennai"), count))


def chunks(entries: Iterable[T], size: int) -> Iterator[list[T]]:
    """Entries in lists of at most a size."""
    left = iter(entries)
    while chunk := list(islice(left, size)):
        yield chunk


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> Part:
    """Climb the whole ladder, beside the server's own limit."""
    entries = weather(scale.readings)
    limit, what = limit_of(client)

    shares = {"all": entries, "some": entries[: scale.some], "slow": entries[: scale.slow]}

    def path(rung: Rung) -> Path:
        share = shares[rung.share]

        def go() -> float:
            clean(client, STREAM)
            return rate(rung, STREAM, share)

        return go

    def crowd() -> float:
        clean(client, STREAM)
        return append_in_processes(STREAM, entries, PROCESSES)

    def server() -> float:
        clean(client, STREAM)
        return limit(STREAM, entries[0])

    paths: dict[str, Path] = {rung.name: path(rung) for rung in LADDER}
    paths |= {CROWD: crowd, LIMIT: server}
    try:
        taken = Rounds.take(paths, scale.rounds, tick)
    finally:
        clean(client, STREAM)
    return Part(
        unit="entries a second",
        figures=taken.figures(),
        ratios={
            "ratio_to_one_at_a_time": taken.ratio(FASTEST, UVLOOP),
            "ratio_to_server": taken.ratio(FASTEST, LIMIT),
        },
        setup=(
            f"{scale.readings:,} readings of temperature and humidity; pipelines append "
            f"{scale.some:,} of them, and what goes one by one {scale.slow:,}.",
            f"The server's limit: {what}.",
            f"ratio_to_one_at_a_time: {FASTEST} to {UVLOOP}.",
        ),
    )
