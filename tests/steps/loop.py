"""Drives DeliveryLoops against a real server, and is itself what goes wrong between the two.

A fault is something that the driver does with a step: it does not send it, it sends it and
answers "connection lost", or it holds it back and sends it before a later one. Nothing waits:
the loops have a clock that the driver moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis as redis_py

from helpers.streams import Entry
from helpers.streams.consumer import scripts
from helpers.streams.consumer.loop import DeliveryLoop
from helpers.streams.consumer.settings import ConsumerSettings
from helpers.streams.consumer.steps import Failed, Handle, Read, Run, Send, Wait

NAMES = {
    variant(source): name
    for name, source in vars(scripts).items()
    if name.isupper() and isinstance(source, str)
    for variant in (str, scripts.deny, scripts.allow, scripts.drain)
}

UNSENT, UNANSWERED, LATE = "unsent", "unanswered", "late"


class Scripts:
    """Scripts by their hash, each loaded once."""

    def __init__(self, client: redis_py.Redis) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def run(self, step: Run) -> Any:
        sha = self._known.get(step.script)
        if sha is None:
            sha = self._known[step.script] = self._client.script_load(step.script)
        return self._client.evalsha(sha, len(step.keys), *step.keys, *step.args)


@dataclass
class Fault:
    """What happens to the step number `place`; a late copy comes before the step number `late`."""

    kind: str
    place: int
    late: int = 0


@dataclass
class Life:
    """One life of a consumer: its loop, how far it is, and what its handler has returned."""

    name: str
    handler: Callable[[Entry], Any]
    steps: Any
    sent: list[str] = field(default_factory=list)  # of each step to the server, its name
    answer: Any = None
    over: bool = False
    error: Exception | None = None
    step: Any = None  # the next one, not yet taken


class Driver:
    """Takes steps of loops, one after the other, with at most one fault at a time."""

    def __init__(self, client: redis_py.Redis, stream: str, group: str) -> None:
        self.client = client
        self.scripts = Scripts(client)
        self._place = (stream, group)
        self.now = 0.0
        self.run = 1  # entries at most that a handler is given in one step
        self.fault: Fault | None = None
        self._held: tuple[int, Run | Send | Read] | None = None

    def begin(self, name: str, handler: Callable[[Entry], Any], **settings: Any) -> Life:
        """A new life of this name; its first step is not taken yet."""
        loop = DeliveryLoop(
            *self._place, name, ConsumerSettings(**settings), clock=lambda: self.now
        )
        life = Life(name, handler, loop.run(drain=True, limit=None))
        self._proceed(life)
        return life

    def take(self, life: Life) -> None:
        """Take the next step of a life."""
        step = life.step
        if isinstance(step, Handle):
            life.answer = self._handle(life, step)
        elif isinstance(step, Wait):
            self.now += step.seconds
            life.answer = None
        else:
            life.sent.append(name_of(step))
            life.answer = self._send(step, len(life.sent))
        self._proceed(life)

    def _handle(self, life: Life, step: Handle) -> tuple[int, Any]:
        """Give the handler some of the entries; the others come with a later step."""
        count, answer = 0, None
        for _, entry in itertools.islice(step.entries, self.run):
            count += 1
            try:
                answer = life.handler(entry)
            except Exception as error:
                answer = Failed(error)
            if answer is not None:
                break
        return count, answer

    def finish(self, life: Life) -> None:
        """Take all steps of a life that are left."""
        while not life.over:
            self.take(life)

    def deliver(self) -> None:
        """Let the copy that is held back arrive, if there is one."""
        if self._held:
            _, step = self._held
            self._held = None
            self._execute(step)

    def _proceed(self, life: Life) -> None:
        self.now += 1e-6
        try:
            life.step = life.steps.send(life.answer)
        except StopIteration:
            life.over = True
        except Exception as error:
            life.over, life.error = True, error

    def _send(self, step: Run | Send | Read, place: int) -> Any:
        if self._held and self._held[0] == place:
            self.deliver()
        fault = self.fault
        if fault is None or fault.place != place:
            return self._execute(step)
        self.fault = None
        if fault.kind == UNANSWERED:
            self._execute(step)
        elif fault.kind == LATE:
            self._held = (fault.late, step)
        return redis_py.ConnectionError("the driver has lost the connection")

    def _execute(self, step: Run | Send | Read) -> Any:
        try:
            if isinstance(step, Run):
                return self.scripts.run(step)
            if isinstance(step, Send):
                return [self.client.execute_command(*words) for words in step.commands]
            return self.client.xreadgroup(**step.arguments)
        except redis_py.RedisError as error:
            return error


def name_of(step: Run | Send | Read) -> str:
    if isinstance(step, Run):
        return NAMES[step.script]
    return str(step.commands[0][0]) if isinstance(step, Send) else "XREADGROUP"


MORE = 8  # so many steps longer than usual may a run be that was told of a lost connection


def pairs(steps: int) -> Iterator[Fault]:
    """Every fault at every place of a run of so many steps."""
    for place in range(1, steps + 1):
        yield Fault(UNSENT, place)
        yield Fault(UNANSWERED, place)
    for place, late in itertools.combinations(range(1, steps + MORE), 2):
        if place <= steps:
            yield Fault(LATE, place, late)
