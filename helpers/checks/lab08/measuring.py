"""A learner's function with a client that counts its round trips, and what else was noted."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import redis
import redis.asyncio

from helpers.bench.trips import Trips, counted, counted_async
from helpers.chaos import CLIENT
from helpers.checks.lab08.holding import Hold, holding
from helpers.checks.lab08.overtaking import Meeting, overtaking
from helpers.checks.scene import Scene
from helpers.checks.verdict import StillBlank, Wrong
from helpers.checks.work import Unbearable
from helpers.course.blank import Blank
from helpers.course.connect import connect, connect_async

PIPELINE = "<Pipeline>"  # stands for a pipeline that a function returned
SOME, STAYS_S = 20, 0.005  # at so many calls a handler stays a moment, if a thread has called it


class Seen(NamedTuple):
    """One call: what it returned, and what it cost.

    Attributes:
        value: what it returned.
        trips: how often it waited for the server after it had sent something.
        commands: how many commands it sent.
        most: the most commands that were under way at once.
        longest: the most items of a reply, or of a part of one, that is a list.
        met: the most tasks that wanted a connection at once, where that was looked at.
        noted: what the arguments that are a `Probe` have noted, in their order.
        tasks: the most tasks of its own that were at work at once (asyncio only).
        unfinished: how many of them were, when it returned.
        cancelled: how many of them were cancelled before that.
    """

    value: Any
    trips: int
    commands: int
    most: int
    longest: int
    met: int
    noted: list[Any]
    tasks: int = 0
    unfinished: int = 0
    cancelled: int = 0


class Probe(ABC):
    """An argument that notes what the function does with it."""

    @abstractmethod
    def begin(self, trips: Trips) -> Any:
        """What the function gets in its place."""

    def client(self, client: redis.asyncio.Redis) -> redis.asyncio.Redis:
        """The client that the function gets, where it is a coroutine function."""
        return client

    @abstractmethod
    def end(self) -> Any:
        """What was noted."""


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


class Handled(NamedTuple):
    """What a handler was called with.

    Attributes:
        numbers: the field `n` of the entries, in the order in which they were handled.
        together: whether two threads were in it at once.
    """

    numbers: list[str]
    together: bool


class Handler(Probe):
    """A handler of an entry's fields. Notes their field `n`; or kills its process, or raises."""

    def __init__(self, *, killed_at: int = 0, raises_at: int = 0) -> None:
        self._killed_at = killed_at
        self._raises_at = raises_at
        self._numbers: list[str] = []
        self._inside = 0
        self._together = False

    def begin(self, trips: Trips) -> Callable[[Any], None]:
        """A plain function of the fields."""
        return self.handle

    def handle(self, fields: Any) -> None:
        """Note an entry, if this call is not the last thing that the process does.

        Raises:
            Unbearable: at the call at which it has to.
        """
        call = len(self._numbers) + 1
        if call == self._killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if call == self._raises_at:
            raise Unbearable(f"the check's handler raises at its call number {call}")
        self._inside += 1
        if call < SOME and threading.current_thread() is not threading.main_thread():
            time.sleep(STAYS_S)  # so other threads come meanwhile, if there are any
        self._together |= self._inside > 1
        self._numbers.append(str(fields["n"]) if isinstance(fields, dict) else repr(fields))
        self._inside -= 1

    def end(self) -> Handled:
        """What it was called with."""
        return Handled(self._numbers, self._together)


class Stations(Probe):
    """For each stream its readings. Notes what is on the streams right when the function returns.

    Args:
        readings: for each stream the fields of its entries.
        held: the stream whose first reply is kept back (asyncio only).
    """

    def __init__(self, readings: Mapping[str, Sequence[Mapping[str, str]]], held: str = "") -> None:
        self.readings = readings
        self._hold = Hold(held, (one for one in readings if one != held)) if held else None

    def begin(self, trips: Trips) -> Any:
        """A dict, as the text of the exercise says."""
        return {stream: list(its) for stream, its in self.readings.items()}

    def client(self, client: redis.asyncio.Redis) -> redis.asyncio.Redis:
        """One whose replies are kept back, if that was asked for."""
        return holding(client, self._hold) if self._hold else client

    def end(self) -> Arrived:
        """What is there. Nothing of the function's goes on while it is asked for."""
        with connect() as client:
            entries: dict[str, Any] = {stream: client.xrange(stream) for stream in self.readings}
        there = {stream: [fields for _, fields in its] for stream, its in entries.items()}
        return Arrived(there, self._hold.came if self._hold else None)


class Arrived(NamedTuple):
    """What was on the streams of some stations.

    Attributes:
        entries: for each stream the fields of its entries, when the function returned.
        meanwhile: for each other stream how many entries had come when one station's reply was
            kept back and nobody could do more; None if none was.
    """

    entries: dict[str, list[dict[str, str]]]
    meanwhile: dict[str, int] | None


_SLIPS = {
    "MaxConnectionsError": "Each command that is in flight on its own needs a connection, and "
    "a client opens 100 at most. Let fewer tasks run at once, or put "
    "many commands into one pipeline.",
}


def measure(
    scene: Scene,
    function: Any,
    *calls: tuple[Any, ...],
    slow: str = "",
    overtake: bool = False,
    slips: Mapping[str, str] | None = None,
) -> list[Seen]:
    """Call a function some times in one process, and count what each call costs.

    Args:
        scene: the check's.
        function: the learner's. It gets a client, and then the arguments of each call.
        calls: these arguments.
        slow: the hint if it does not return in time.
        overtake: whether commands overtake each other, as far as they can (asyncio only).
        slips: for patterns of what a mistake raises the hint in this exercise.

    Raises:
        Wrong: it raised, or never returned.
        StillBlank: it returned the blank.
    """
    run = measured(function, *calls, overtake=overtake)
    try:
        seen: list[Seen] = scene.call(run, CLIENT, slow=slow)
    except Wrong as wrong:
        for pattern, hint in {**_SLIPS, **(slips or {})}.items():
            if re.search(pattern, wrong.found):
                raise Wrong(hint, found=wrong.found) from None
        raise
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
    seen = []
    for call in calls:
        meeting = Meeting()
        reached = overtaking(client, meeting) if overtake else client
        for one in call:
            reached = one.client(reached) if isinstance(one, Probe) else reached
        counting, trips = counted_async(reached)
        with _tasks() as tasks:
            value = await function(counting, *_begun(call, trips))
            unfinished, cancelled = tasks.unfinished(), tasks.cancelled()
        seen.append(
            _seen(value, trips, call)._replace(
                met=meeting.most, tasks=tasks.most, unfinished=unfinished, cancelled=cancelled
            )
        )
    return seen


class _Tasks:
    """The tasks that a learner's function has started."""

    def __init__(self) -> None:
        self.most = 0
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> Any:
        """Make a task, as the event loop asks for it."""
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **how)
        if getattr(coroutine, "__qualname__", "") not in _OURS:
            self._tasks.append(task)
            self.most = max(self.most, self.unfinished())
        return task

    def unfinished(self) -> int:
        """How many are at work now."""
        return sum(not task.done() for task in self._tasks)

    def cancelled(self) -> int:
        """How many were cancelled."""
        return sum(task.cancelled() for task in self._tasks)


_OURS = (Meeting._let_go.__qualname__,)


@contextlib.contextmanager
def _tasks() -> Iterator[_Tasks]:
    loop, tasks = asyncio.get_running_loop(), _Tasks()
    before = loop.get_task_factory()
    loop.set_task_factory(tasks.start)
    try:
        yield tasks
    finally:
        loop.set_task_factory(before)


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
    return Seen(_portable(value), trips.trips, trips.commands, trips.most, trips.longest, 0, noted)


def _portable(value: Any) -> Any:
    """A value without its pipelines, which cannot leave the process."""
    if isinstance(value, redis.client.Pipeline | redis.asyncio.client.Pipeline):
        return PIPELINE
    if type(value) in (list, tuple):
        return type(value)(map(_portable, value))
    return value
