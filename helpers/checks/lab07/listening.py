"""A learner's subscriber, and messages that come while it listens, from another database too.

The channel's name ends with `?`. SUBSCRIBE takes it letter by letter; to PSUBSCRIBE it is a
pattern, and a channel beside it fits that pattern as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import redis

from helpers.chaos import CLIENT, Outcome, Running, Unfinished
from helpers.checks.scene import LIMIT_S, Scene
from helpers.checks.verdict import Wrong
from helpers.course.connect import connect
from helpers.course.pace import patient

LOOK_S = 0.003
PAUSE_S = 0.05  # between the first message and those that come together
LATE_S = 1.1  # until the last ones come, when there are such
ENOUGH_S = patient(1.5)  # how long it may take once all is published
BESIDE = "of another channel"


class Heard(NamedTuple):
    """What became of a subscriber, and how often it has subscribed."""

    outcome: Outcome
    subscriptions: int


@contextmanager
def elsewhere() -> Iterator[redis.Redis]:
    """A client of the same server, on another logical database."""
    with connect(retries=1) as client:
        settings = client.connection_pool.connection_kwargs
        settings["db"] = 0 if settings.get("db") else 1
        yield client


def while_it_listens(
    scene: Scene,
    function: Any,
    *arguments: Any,
    first: str,
    then: Sequence[str],
    late: Sequence[str] = (),
) -> Heard:
    """Run a learner's subscriber, and publish once it listens.

    Args:
        scene: the check's.
        function: the learner's; it is given a client, the channel, and the arguments.
        arguments: what else it is given.
        first: a message that comes alone, from another database.
        then: messages that come together, a while later.
        late: messages that come together, a second after those.

    Raises:
        Wrong: it never listens, or cannot be run outside the notebook.
    """
    channel = scene.key("wiki?")
    patterns = scene.redis.pubsub_numpat()
    with (
        scene.watching(channel) as commands,
        scene.running(function, CLIENT, channel, *arguments) as process,
        elsewhere() as other,
    ):
        listens = _until_it_listens(process, lambda: _listeners(scene, channel, patterns))
        if not listens and process.alive:
            raise Wrong(
                "No client is subscribed to the channel, so what was published is lost. With "
                "`pubsub = redis.pubsub()`, `pubsub.subscribe(channel)` sends SUBSCRIBE. A "
                "channel isn't a key: XREAD and GET find nothing there.",
                expected="a subscriber of the channel",
                found="none",
            )
        for name in ("wikis", "wiki?:de"):
            scene.redis.publish(scene.key(name), BESIDE)
        other.publish(channel, first)
        time.sleep(PAUSE_S if listens else 0)
        _publish(scene, channel, then)
        if late:
            _while_alive(process, LATE_S)
            _publish(scene, channel, late)
        outcome = process.outcome(ENOUGH_S)
    return Heard(outcome, sum("SUBSCRIBE" in command[0] for command in commands))


def expect_return(
    scene: Scene, function: Any, *arguments: Any, first: str, then: Sequence[str]
) -> None:
    """It returns when all that it was asked for has come, and nothing else does.

    Raises:
        Wrong: it waits for one more.
    """
    heard = while_it_listens(scene, function, *arguments, first=first, then=then)
    if isinstance(heard.outcome, Unfinished) and not heard.outcome.ended:
        raise Wrong(
            "This time nothing was published after the last message that you were asked for, "
            "and your function still waits for another. Check the length right after you append, "
            "inside the loop.",
            expected=f"an answer as soon as it has {arguments[-1]}",
            found=f"it was still waiting {ENOUGH_S:g} s later",
        )


def _publish(scene: Scene, channel: str, messages: Sequence[str]) -> None:
    pipeline = scene.redis.pipeline(transaction=False)
    for message in messages:
        pipeline.publish(channel, message)
    pipeline.execute()


def _while_alive(process: Running, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.alive:
        time.sleep(LOOK_S)


def _listeners(scene: Scene, channel: str, patterns: int) -> bool:
    [(_, subscribers)] = cast("Any", scene.redis.pubsub_numsub(channel))
    return bool(subscribers) or int(scene.redis.pubsub_numpat()) > patterns


def _until_it_listens(process: Running, listens: Callable[[], bool]) -> bool:
    """Wait for a subscriber; False if the function ends before, or never subscribes."""
    process.begun()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.alive:
        if listens():
            return True
        time.sleep(LOOK_S)
    return False
