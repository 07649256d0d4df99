"""A learner's function with a client that counts its round trips, and what else was noted."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import redis
import redis.asyncio

from helpers.blank import Blank
from helpers.chaos import CLIENT
from helpers.checks.lab import Scene
from helpers.checks.overtaking import Meeting, overtaking
from helpers.checks.verdict import StillBlank, Wrong
from helpers.connect import connect, connect_async
from helpers.trips import Trips, counted, counted_async


class Seen(NamedTuple):
    """One call: what it returned, and what it cost.

    Attributes:
        value: what it returned.
        trips: how often it waited for the server after it had sent something.
        commands: how many commands it sent.
        most: the most commands that were under way at once.
        met: the most tasks that wanted a connection at once, where that was looked at.
        noted: what the arguments that are a `Probe` have noted, in their order.
    """

    value: Any
    trips: int
    commands: int
    most: int
    met: int
    noted: list[Any]


class Probe:
    """An argument that notes what the function does with it."""

    def begin(self, trips: Trips) -> Any:
        """What the function gets in its place."""
        raise NotImplementedError

    def end(self) -> Any:
        """What was noted."""
        raise NotImplementedError


class Source(Probe):
    """A generator of readings. Notes how many were taken from it, at most, between two trips."""

    def __init__(self, readings: Sequence[Mapping[str, Any]]) -> None:
        self._readings = readings
        self._most = 0

    def begin(self, trips: Trips) -> Iterator[Mapping[str, Any]]:
        """A generator, which can be read once."""
        taken, before = 0, 0
        for reading in self._readings:
            if trips.trips != before:
                taken, before = 0, trips.trips
            taken += 1
            self._most = max(self._most, taken)
            yield reading

    def end(self) -> int:
        """The most that were taken between two trips."""
        return self._most


class Handler(Probe):
    """A handler of an entry's fields. Notes their field `n`; or kills its process at a call."""

    def __init__(self, *, killed_at: int = 0) -> None:
        self._killed_at = killed_at
        self._numbers: list[str] = []

    def begin(self, trips: Trips) -> Callable[[Any], None]:
        """A plain function of the fields."""
        return self.handle

    def handle(self, fields: Any) -> None:
        """Note an entry, if this call is not the last thing that the process does."""
        if len(self._numbers) + 1 == self._killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._numbers.append(str(fields["n"]) if isinstance(fields, dict) else repr(fields))

    def end(self) -> list[str]:
        """The numbers of the entries, in the order in which they were handled."""
        return self._numbers


def measure(
    scene: Scene, function: Any, *calls: tuple[Any, ...], slow: str = "", overtake: bool = False
) -> list[Seen]:
    """Call a function some times in one process, and count what each call costs.

    Args:
        scene: the check's.
        function: the learner's. It gets a client, and then the arguments of each call.
        calls: these arguments.
        slow: the hint if it does not return in time.
        overtake: whether commands overtake each other, as far as they can (asyncio only).

    Raises:
        Wrong: it raised, or never returned.
        StillBlank: it returned the blank.
    """
    run = measured(function, *calls, overtake=overtake)
    try:
        seen: list[Seen] = scene.call(run, CLIENT, slow=slow)
    except Wrong as wrong:
        if "MaxConnectionsError" not in wrong.found:
            raise
        raise Wrong(
            "Each command that is under way by itself needs a connection, and a client opens 100 "
            "at most. Let fewer tasks run at once, or put many commands into one pipeline.",
            found=wrong.found,
        ) from None
    if any(isinstance(one.value, Blank) for one in seen):
        raise StillBlank
    return seen


def measure_each(scene: Scene, functions: Sequence[Any], key: str, given: Any) -> list[Seen]:
    """Call some functions in one process, each with a key of its own, and count what each costs.

    Raises:
        Wrong: one raised, or never returned.
    """
    seen: list[Seen] = scene.call(partial(_each, functions, key, given))
    return seen


def measured(
    function: Any, *calls: tuple[Any, ...], overtake: bool = False
) -> Callable[..., list[Seen]] | Callable[..., Awaitable[list[Seen]]]:
    """What a process runs for `measure()`: a function of a client, which may have to be awaited."""
    if inspect.iscoroutinefunction(function):
        return partial(_await_calls, function, calls, overtake)
    return partial(_make_calls, function, calls)


def _make_calls(function: Any, calls: Sequence[Any], client: redis.Redis) -> list[Seen]:
    client, trips = counted(client)
    seen = []
    for call in calls:
        trips.reset()
        value = function(client, *_begun(call, trips))
        seen.append(_seen(list(value) if inspect.isgenerator(value) else value, trips, call))
    return seen


async def _await_calls(
    function: Any, calls: Sequence[Any], overtake: bool, client: redis.asyncio.Redis
) -> list[Seen]:
    meeting = Meeting()
    if overtake:
        client = overtaking(client, meeting)
    client, trips = counted_async(client)
    seen = []
    for call in calls:
        trips.reset()
        value = await function(client, *_begun(call, trips))
        seen.append(_seen(value, trips, call)._replace(met=meeting.most))
    return seen


def _each(functions: Sequence[Any], key: str, given: Any) -> list[Seen]:
    seen = []
    for number, function in enumerate(functions):
        calls = [(f"{key}:{number}", given)]
        if inspect.iscoroutinefunction(function):
            seen += asyncio.run(_await_calls(function, calls, False, connect_async()))
        else:
            seen += _make_calls(function, calls, connect())
    return seen


def _begun(call: Sequence[Any], trips: Trips) -> list[Any]:
    return [one.begin(trips) if isinstance(one, Probe) else one for one in call]


def _seen(value: Any, trips: Trips, call: Sequence[Any]) -> Seen:
    noted = [one.end() for one in call if isinstance(one, Probe)]
    if isinstance(value, redis.client.Pipeline | redis.asyncio.client.Pipeline):
        value = repr(value)  # it cannot leave the process
    return Seen(value, trips.trips, trips.commands, trips.most, 0, noted)
