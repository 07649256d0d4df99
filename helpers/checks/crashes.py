"""A stream with a group, and work on it that a check can end at any command."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterable
from functools import cache, partial
from typing import Any, cast

import redis

from helpers.chaos import Fault, Proxy
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.standing import group_of
from helpers.checks.verdict import Wrong
from helpers.checks.work import Unbearable
from helpers.course.connect import client_of

GROUP = f"workers{secrets.token_hex(2)}"  # no name that an answer may know
ALICE, BOB, CAROL = "alice", "bob", "carol"
NOTHING = "nothing"  # what the handler notes for an entry without fields


def toil(key: str, ill: dict[str, str], fields: Any) -> None:
    """The handler of these checks: notes in lists when it began with an entry, and ended.

    Its commands take the same way as the learner's, so that a kill can come between them.

    Args:
        key: where to note it; see `handled`.
        ill: what the entries of some numbers do to it: `kills`, or `raises`.
        fields: the entry's.
    """
    number = NOTHING if not fields else str(fields)
    if isinstance(fields, dict) and "n" in fields:
        number = str(fields["n"])
    _client().rpush(f"{key}:begun", number)
    if ill.get(number) == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if ill.get(number) == "raises":
        raise Unbearable(f"the check's handler fails on entry {number}")
    _client().rpush(f"{key}:done", number)


@cache
def _client() -> redis.Redis:
    """One connection for all the work of a process; it leads where the learner's does."""
    return client_of(os.environ["REDIS_URL"])


def handler(scene: Scene, **ill: str) -> Any:
    """The handler, to be given to a learner's function; `n2="kills"` for the entry number 2."""
    return partial(toil, scene.key("work"), {name[1:]: what for name, what in ill.items()})


def grouped(scene: Scene, name: str, numbers: Iterable[int] = ()) -> str:
    """A stream with a group that has yet to read all of it; entry 7 has the ID 7-0."""
    stream = scene.key(name)
    scene.redis.xgroup_create(stream, GROUP, "0", mkstream=True)
    add(scene, stream, numbers)
    return stream


def add(scene: Scene, stream: str, numbers: Iterable[int]) -> list[str]:
    """Add entries, and give their numbers as text."""
    pipeline = scene.redis.pipeline(transaction=False)
    added = [str(number) for number in numbers]
    for number in added:
        pipeline.xadd(stream, {"n": number}, id=f"{number}-0")
    pipeline.execute()
    return added


def give(scene: Scene, stream: str, consumer: str, count: int) -> None:
    """Let a consumer read the next entries, as if it had died or were still at work on them."""
    scene.redis.xreadgroup(GROUP, consumer, {stream: ">"}, count=count)


def pending(scene: Scene, stream: str, consumer: str | None = None) -> dict[str, tuple[str, int]]:
    """What is pending: for the number of each entry its consumer and how often it was delivered.

    Raises:
        Wrong: there is no such group any more.
    """
    try:
        listed = scene.redis.xpending_range(stream, GROUP, "-", "+", 10_000, consumer)
    except redis.ResponseError as error:
        raise group_is_gone() from error
    return {
        str(one["message_id"]).split("-")[0]: (one["consumer"], one["times_delivered"])
        for one in cast("Any", listed)
    }


def last_delivered(scene: Scene, stream: str) -> str:
    """The group's cursor.

    Raises:
        Wrong: there is no such group any more.
    """
    group = group_of(scene, stream, GROUP)
    if group is None:
        raise group_is_gone()
    return str(group["last-delivered-id"])


def group_is_gone() -> Wrong:
    """The verdict on a function that has removed what the check needs to look at."""
    return Wrong(
        "Leave the stream and its group in place.",
        expected="the stream with its group",
        found="the group is gone",
    )


def kill_at(start: Any, proxy: Proxy, at: Any, *arguments: Any, slow: str) -> bool:
    """Kill a life before a command of it reaches the server; False if it ended before.

    Raises:
        Wrong: it raised, or it hangs.
    """
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, at)
    life = start(*arguments)
    stands = life.stands(proxy)
    if stands:
        life.kill()
        proxy.thaw()
    else:
        result(life.outcome(), slow, LIMIT_S)
    return bool(stands)
