"""The work that a check gives to a learner's function, and what has become of it."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, cast

import redis
import redis.asyncio

from helpers.chaos import Outcome, Running, Unfinished
from helpers.checks.scene import LIMIT_S, Scene
from helpers.course.connect import connect, connect_async
from helpers.course.pace import patient

WORK_S = 0.08  # how long the handler takes for an entry
STUCK_S = 60.0  # until it is killed
MEETING_S = patient(0.8)  # how long one worker waits for another one to be at work too
STILL_S = patient(1.2)  # without an entry begun or done for so long, a function makes no progress


class Unbearable(Exception):
    """What the check's handler raises for an entry that it cannot bear."""


class Meanwhile(NamedTuple):
    """An entry that is added while another one is handled, however busy the machine is."""

    handled: str  # the number of the other entry
    stream: str
    added: str  # its own number


def handler(
    scene: Scene, stuck: int = 0, raises: str = "", meanwhile: Meanwhile | None = None
) -> Callable[[Any], None]:
    """The handler of a check: it takes an entry's fields, and notes the number in its field `n`.

    Args:
        scene: the check's.
        stuck: at this call, counted over all processes, it does not return, so that it can
            be killed in the middle of its work however slow the machine is.
        raises: the number of an entry that it cannot bear the first time.
        meanwhile: an entry that it adds while it handles another one.
    """
    return partial(work, scene.key("work"), stuck, raises, meanwhile)


def work(key: str, stuck: int, raises: str, meanwhile: Meanwhile | None, fields: Any) -> None:
    """Note in lists on the server when the work on an entry began, and when it ended."""
    number = number_of(fields)
    with connect() as client:
        begun = client.rpush(f"{key}:begun", number)
        first = cast("Any", client.lrange(f"{key}:begun", 0, -1)).count(number) < 2
        if meanwhile and number == meanwhile.handled and first:
            client.xadd(meanwhile.stream, {"n": meanwhile.added}, id=f"{meanwhile.added}-0")
        if number == raises and first:
            raise Unbearable(f"the check's handler fails on entry {number} this time")
        time.sleep(STUCK_S if begun == stuck else WORK_S)
        client.rpush(f"{key}:done", number)


@cache
def _client() -> redis.Redis:
    return connect()


def note(key: str, fields: Any) -> None:
    """A handler that is quick, for many entries: it notes the number, and that is all."""
    _client().rpush(key, number_of(fields))


def number_of(fields: Any) -> str:
    """The number in an entry's fields; what is handed over in their place, as Python writes it."""
    return str(fields["n"]) if isinstance(fields, dict) else repr(fields)


def handled(scene: Scene, what: str = "done") -> list[str]:
    """The numbers of the entries whose work is done, or has `begun`, in this order."""
    return [str(one) for one in scene.redis.lrange(f"{scene.key('work')}:{what}", 0, -1)]


def until_begun(scene: Scene, process: Running, count: int) -> bool:
    """Wait until the handler has been called so often; False if the function ended before."""
    process.begun()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.alive:
        if len(handled(scene, "begun")) >= count:
            return True
        time.sleep(0.005)
    return False


def until_still(scene: Scene, process: Running, most: int) -> Outcome:
    """Wait for the function to return, as long as it makes progress.

    A limit for the whole of its work would say on a busy machine that it never ends.

    Args:
        scene: the check's.
        process: the function at work.
        most: after so many entries begun it is left at that.
    """
    seen, looks = 0, 0
    while True:
        outcome = process.outcome(STILL_S)
        begun, looks = len(handled(scene, "begun")), looks + 1
        now = begun + len(handled(scene))
        if not isinstance(outcome, Unfinished) or outcome.ended or begun > most:
            return outcome
        if now == seen and (begun or looks > 2):
            return outcome
        seen = now


class Began(NamedTuple):
    """What the meeting handler saw when the work on an entry began."""

    number: str
    holder: str  # the consumer for which the entry was pending; empty if for none
    held: int  # how many entries were pending for that consumer


def meeting_handler(
    scene: Scene, stream: str, group: str, workers: int
) -> Callable[[Any], Awaitable[None]]:
    """A coroutine function that goes on once so many workers are in it at the same moment.

    If they are not in time, it goes on nevertheless, and waits for none of them again. If they
    met, the one that began first then waits until another one has begun its next entry.
    """
    return partial(work_together, scene.key("work"), stream, group, workers)


async def work_together(key: str, stream: str, group: str, workers: int, fields: Any) -> None:
    """Note who works on which entry, and whether all workers are at work at the same moment."""
    number = number_of(fields)
    async with connect_async() as client:
        pending: Any = await client.xpending_range(stream, group, "-", "+", 100)
        holders = {str(one["message_id"]): str(one["consumer"]) for one in pending}
        holder = holders.get(f"{number}-0", "")
        held = list(holders.values()).count(holder)
        began = await client.rpush(f"{key}:begun", json.dumps(Began(number, holder, held)))
        first = began == 1
        seen, deadline = began, time.monotonic() + MEETING_S
        while not await client.exists(f"{key}:met"):
            inside = began - await client.llen(f"{key}:done")
            if inside >= workers or time.monotonic() > deadline:
                await client.set(f"{key}:met", int(inside >= workers), nx=True)
            await asyncio.sleep(0.005)
            began = await client.llen(f"{key}:begun")
            if began > seen:
                seen, deadline = began, time.monotonic() + MEETING_S
        if first and await client.get(f"{key}:met") == "1":
            await _until_next(client, key, workers)
        await client.rpush(f"{key}:done", number)


async def _until_next(client: redis.asyncio.Redis, key: str, workers: int) -> None:
    """Wait until an entry is begun beyond the first of each worker, and note if none is."""
    deadline = time.monotonic() + MEETING_S
    while await client.llen(f"{key}:begun") <= workers:
        if time.monotonic() > deadline:
            await client.set(f"{key}:in_step", 1)
            return
        await asyncio.sleep(0.005)


def who_began(scene: Scene) -> list[Began]:
    """What the meeting handler noted at the beginning of each work, in this order."""
    return [Began(*json.loads(one)) for one in handled(scene, "begun")]


def have_met(scene: Scene) -> bool:
    """Whether all workers have been in the meeting handler at the same moment."""
    return bool(scene.redis.get(scene.key("work:met")) == "1")


def in_step(scene: Scene) -> bool:
    """Whether no worker took another entry while the first of them was still at work."""
    return bool(scene.redis.exists(scene.key("work:in_step")))


def in_turn(function: Any, calls: Sequence[tuple[Any, ...]]) -> Callable[..., Any]:
    """A function that calls another one in turn and gives back all results: one process for all.

    It hands on what it is given, such as a client, before the arguments of each call.
    """
    if inspect.iscoroutinefunction(function):

        async def run_async(*first: Any) -> list[Any]:
            return [await function(*first, *call) for call in calls]

        return run_async

    def run(*first: Any) -> list[Any]:
        return [function(*first, *call) for call in calls]

    return run
