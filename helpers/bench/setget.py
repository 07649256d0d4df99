"""SET and GET, as in "Redis in Asyncio Land": how fast Python talks to Redis, and by what.

Of a key that was set just now the value is read and compared, again and again: by one
connection that waits for each reply, and by more and more tasks that wait side by side.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import redis
import redis.asyncio

from helpers.bench.loops import Loop, runner_on
from helpers.bench.rounds import Part, Path, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.course.connect import connect_async
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.course.keys import BENCH

Keys = Sequence[str]
AsyncWay = Callable[[redis.asyncio.Redis, Keys], Awaitable[None]]
Timed = Callable[[AsyncWay, Keys, int], float]

PREFIX = f"{BENCH}setget:"
TASKS = (1, 10, 100, 200)
MANY = 100  # tasks, for the ratios
SYNC, PIPELINE = "synchronous", "synchronous, pipelines"


def set_then_get(redis: redis.Redis, keys: Keys) -> None:
    """Two round trips a key."""
    for key in keys:
        redis.set(key, f"value of {key}")
        expect(key, redis.get(key))


def set_and_get(redis: redis.Redis, keys: Keys) -> None:
    """One round trip a key: both commands in a pipeline."""
    for key in keys:
        pipeline = redis.pipeline(transaction=False)
        pipeline.set(key, f"value of {key}")
        pipeline.get(key)
        _, value = pipeline.execute()
        expect(key, value)


async def set_then_get_async(redis: redis.asyncio.Redis, keys: Keys) -> None:
    """Two round trips a key, and other tasks may work while this one waits."""
    for key in keys:
        await redis.set(key, f"value of {key}")
        expect(key, await redis.get(key))


async def set_and_get_async(redis: redis.asyncio.Redis, keys: Keys) -> None:
    """One round trip a key, and other tasks may work while this one waits."""
    for key in keys:
        pipeline = redis.pipeline(transaction=False)
        pipeline.set(key, f"value of {key}")
        pipeline.get(key)
        _, value = await pipeline.execute()
        expect(key, value)


async def by_tasks(way: AsyncWay, redis: redis.asyncio.Redis, keys: Keys, tasks: int) -> None:
    """Tasks with a share of the keys each. The client's pool gives each a connection."""
    await asyncio.gather(*(way(redis, keys[number::tasks]) for number in range(tasks)))


def expect(key: str, value: object) -> None:
    """Make sure that what was read is what was written.

    Raises:
        CourseError: it is not.
    """
    if value != f"value of {key}":
        raise CourseError(f"GET {key} replied {value!r}, which was not set: measure once more.")


WAYS: dict[str, tuple[Loop, AsyncWay]] = {
    "asyncio": ("asyncio", set_then_get_async),
    "uvloop": ("uvloop", set_then_get_async),
    "asyncio, pipelines": ("asyncio", set_and_get_async),
}


@contextmanager
def connected(loop: Loop, connections: int) -> Iterator[Timed]:
    """An event loop in a thread of its own, and a client on it that is connected already.

    It gives what runs a way by so many tasks there, and says how many seconds that took.
    """
    with ThreadPoolExecutor(1) as thread:
        runner = runner_on(loop)
        try:
            client = thread.submit(runner.run, _client(connections)).result()

            def timed(way: AsyncWay, keys: Keys, tasks: int) -> float:
                return thread.submit(runner.run, _seconds(way, client, keys, tasks)).result()

            try:
                yield timed
            finally:
                thread.submit(runner.run, client.aclose()).result()
        finally:
            thread.submit(runner.close).result()


async def _client(connections: int) -> redis.asyncio.Redis:
    client = connect_async()
    pool = client.connection_pool
    pool.max_connections = max(connections, pool.max_connections)
    for connection in [await pool.get_connection() for _ in range(connections)]:
        await pool.release(connection)
    return client


async def _seconds(way: AsyncWay, redis: redis.asyncio.Redis, keys: Keys, tasks: int) -> float:
    with stopwatch() as watch:
        await by_tasks(way, redis, keys, tasks)
    return watch.seconds


def measure(
    client: redis.Redis, scale: Scale, tick: Tick = silent, tasks: Sequence[int] = ()
) -> Part:
    """Every way once a round, with these numbers of tasks, by default `TASKS`.

    The ratios are those of 1 and of 100 tasks. Connections are open before the clock starts,
    and stay open.
    """
    tasks = tasks or TASKS
    keys = [f"{PREFIX}{number}" for number in range(scale.pairs)]

    def rate(seconds: Callable[[], float]) -> Path:
        def go() -> float:
            client.unlink(*keys)
            return len(keys) / seconds()

        return go

    def timed(way: Callable[[redis.Redis, Keys], None]) -> float:
        with stopwatch() as watch:
            way(client, keys)
        return watch.seconds

    paths = {
        SYNC: rate(lambda: timed(set_then_get)),
        PIPELINE: rate(lambda: timed(set_and_get)),
    }
    with ExitStack() as stack:
        stack.callback(clean, client, f"{PREFIX}*")
        for loop in ("asyncio", "uvloop"):
            run = stack.enter_context(connected(loop, max(tasks)))
            for name, (of, way) in WAYS.items():
                for number in tasks if of == loop else ():
                    paths[_name(name, number)] = rate(partial(run, way, keys, number))
        taken = Rounds.take(paths, scale.rounds, tick)
        client.unlink(*keys)
    return Part(
        unit="set+get a second",
        figures=taken.figures(),
        ratios={
            "uvloop_to_asyncio": taken.ratio(_name("uvloop", MANY), _name("asyncio", MANY)),
            "tasks_to_one_task": taken.ratio(_name("asyncio", MANY), _name("asyncio", 1)),
            "tasks_to_sync": taken.ratio(_name("asyncio", MANY), SYNC),
            "uvloop_to_sync": taken.ratio(_name("uvloop", MANY), SYNC),
            "pipeline_to_sync": taken.ratio(PIPELINE, SYNC),
        },
        setup=(
            f"{scale.pairs:,} keys a run, each set once, read once and compared.",
            "One connection; or as many as there are tasks, all of one client's pool.",
            f"The ratios of tasks are those of {MANY}.",
        ),
    )


def curve(part: Part) -> dict[str, list[tuple[int, float]]]:
    """How the rate goes with the number of tasks: for each way, tasks and median."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for name, figure in part.figures.items():
        if found := re.fullmatch(r"(.+), (\d+) tasks?", name):
            lines.setdefault(found[1], []).append((int(found[2]), figure.median))
    return lines


def _name(way: str, tasks: int) -> str:
    return f"{way}, {tasks} task{'s' if tasks > 1 else ''}"
