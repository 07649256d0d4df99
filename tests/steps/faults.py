"""A network in the test's hands: a client whose every command is a step, and what may befall one.

A class that decides and a thin loop that sends: here the sending can fail. A step reaches a real
server, or not; its reply comes, or not; and the same command may come once more, before any
later step. All in one process, without a proxy and without waiting, so that a test can try
every fault at every step, with its copy at every later one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, Self

import redis
import redis.asyncio

from helpers.streams import patience
from helpers.streams.errors import StreamsError
from tests.points import points


class How(enum.Enum):
    """What befalls a step."""

    LOST = "it is not sent"
    UNANSWERED = "it is sent, and its reply is lost"
    HELD = "it is not sent, and comes late"
    COPIED = "it is sent and answered, and a copy comes late"
    TWICE = "it is sent, its reply is lost, and a copy comes late"


LATE = (How.HELD, How.COPIED, How.TWICE)
LOSING = (How.LOST, How.UNANSWERED, How.HELD, How.TWICE)  # the client hears of a lost connection


Step = int | tuple[str, int]  # the third one of all, or the third XREAD


class Fault(NamedTuple):
    """What befalls one step of a run.

    Attributes:
        how: what befalls it.
        at: which step, from 1 on.
        late: before which later step its copy comes; at the end, if there are not so many.
        kill: its sender dies there, as by kill -9.
    """

    how: How
    at: int
    late: int = 0
    kill: bool = False


class Begun(NamedTuple):
    """A step that has begun: its number, and what befalls it."""

    step: int
    fault: Fault | None


class Killed(BaseException):
    """A life ended here; what it still does on its way out does not reach the server."""


READS = {"EXISTS", "HGET", "HGETALL", "INFO", "XINFO STREAM", "XLEN", "XRANGE", "XREAD"}


def every_fault(
    steps: int | list[str], hows: Iterable[How] = How, *, extra: int = 3, kill: bool = False
) -> list[Fault]:
    """Each fault at each step, with its copy before each later step, and at the end.

    On a server that is not the first one, some of them: see `tests.points`.

    Args:
        steps: of a run that nothing befalls: how many, or their names. A copy of a read changes
            nothing, so it does not come late.
        hows: the faults.
        extra: how many more steps a fault may cost.
        kill: each of them ends the life of the sender.
    """
    names = [""] * steps if isinstance(steps, int) else steps
    lates = {at: range(at + 1, len(names) + extra + 1) for at in range(1, len(names) + 1)}
    found = [
        Fault(how, at, late, kill)
        for how in hows
        for at, name in enumerate(names, 1)
        for late in (lates[at] if how in LATE else [0])
        if how not in LATE or name not in READS
    ]
    return [found[n] for n in points(range(len(found)))]


class Wire:
    """What lies between clients and the server during one run. It counts the steps of all of them.

    with Wire(redis, [Fault(How.HELD, at=2, late=5)]) as wire:
        Producer(wire.client(), "s").add({"n": 0})
    """

    def __init__(self, redis: redis.Redis, faults: Iterable[Fault] = ()) -> None:
        self._redis = redis
        self._faults = {fault.at: fault for fault in faults}
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._before: dict[Step, Callable[[], object]] = {}
        self._after: dict[Step, Callable[[], object]] = {}
        self._watch: Callable[[], object] = lambda: None
        self._dead: list[object] = []
        self.steps: list[str] = []
        self.commands: list[tuple[Any, ...]] = []
        self.holds = False  # whether the step that was struck last is still under way

    def client(self, settings: redis.Redis | None = None) -> Client:
        """A client on this wire, with the connections of another one. Each is a life of its own."""
        client = Client(connection_pool=(settings or self._redis).connection_pool)
        client.wire = self
        return client

    def async_client(self, settings: redis.asyncio.Redis) -> AsyncClient:
        """The same for asyncio."""
        client = AsyncClient(connection_pool=settings.connection_pool)
        client.wire = self
        return client

    def before(self, step: Step, do: Callable[[], object]) -> None:
        """Let the sender of this step stand still before it is sent, until that is done."""
        self._before[step] = do

    def after(self, step: Step, do: Callable[[], object]) -> None:
        """The same between the sending and the reply."""
        self._after[step] = do

    def watch(self, look: Callable[[], object]) -> None:
        """Do this when the server may have changed: after each step but reads, and each copy."""
        self._watch = look

    def start(self, who: object, name: str, again: Callable[[], object]) -> Begun:
        """A step begins. What is due before it comes first.

        Args:
            who: sends it.
            name: what it is, for a reader of a failure.
            again: sends the very same to the server, and drops its reply.
        """
        if any(one is who for one in self._dead):
            raise Killed
        self.steps.append(name)
        step = len(self.steps)
        for one in (step, (name, self.steps.count(name))):
            if do := self._before.pop(one, None):
                do()
        self._deliver(step)
        fault = self._faults.pop(step, None)
        if fault and fault.how in LATE:
            self._late.append((fault.late, again))
        if fault and fault.how in (How.LOST, How.HELD):
            self.holds = fault.how is How.HELD
            self._strike(who, fault)
        return Begun(step, fault)

    def finish(self, who: object, begun: Begun) -> None:
        """The server has run the step; its reply may be lost."""
        step, fault = begun
        name = self.steps[step - 1]
        if name not in READS:
            self._watch()
        for one in (step, (name, self.steps[:step].count(name))):
            if do := self._after.pop(one, None):
                do()
        if fault and (fault.kill or fault.how is not How.COPIED):
            self._strike(who, fault)

    def _strike(self, who: object, fault: Fault) -> None:
        if fault.kill:
            self._dead.append(who)
            raise Killed
        raise redis.ConnectionError(f"{fault} struck")

    def _deliver(self, step: int | None = None) -> None:
        due = [again for late, again in self._late if step is None or late <= step]
        self._late = [one for one in self._late if one[1] not in due]
        for again in due:
            again()
            self._watch()

    def resend(self, words: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Send a command once more, and drop the reply."""
        if words[0] in READS:
            return  # it changes nothing, and might wait
        with suppress(redis.ResponseError):
            self._redis.execute_command(*words, **options)

    def resend_together(self, commands: list[tuple[Any, Any]]) -> None:
        """The same for what a pipeline had sent."""
        pipeline = self._redis.pipeline()
        for words, options in commands:
            pipeline.execute_command(*words, **options)
        pipeline.execute()

    def __enter__(self) -> Self:
        """From now on a sender does not wait before it tries again."""
        self._shortest_s, patience.SHORTEST_S = patience.SHORTEST_S, 0.0
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Deliver what is still under way, also where the run has failed: the next one is clean."""
        patience.SHORTEST_S = self._shortest_s
        self._deliver()


class Client(redis.Redis):
    """A client of a real server whose commands go over a wire."""

    wire: Wire

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Send a command, unless a fault befalls it."""
        wire = self.wire
        wire.commands.append(words)
        begun = wire.start(self, str(words[0]), lambda: wire.resend(words, options))
        try:
            return super().execute_command(*words, **options)
        finally:
            wire.finish(self, begun)


class AsyncClient(redis.asyncio.Redis):
    """The same for asyncio, where a MULTI is a step too. Copies go over the wire's own client."""

    wire: Wire

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        """Send a command, unless a fault befalls it."""
        wire = self.wire
        begun = wire.start(self, str(words[0]), lambda: wire.resend(words, options))
        try:
            return await super().execute_command(*words, **options)
        finally:
            wire.finish(self, begun)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        """A pipeline that is sent unless a fault befalls it."""
        pipeline = super().pipeline(transaction, shard_hint)
        send = pipeline.execute

        async def execute(raise_on_error: bool = True) -> Any:
            commands = [(words, options) for words, options in pipeline.command_stack]
            wire = self.wire
            begun = wire.start(self, "MULTI", lambda: wire.resend_together(commands))
            try:
                return await send(raise_on_error)
            finally:
                wire.finish(self, begun)

        pipeline.execute = execute  # type: ignore[method-assign]
        return pipeline


class Copy:
    """A copy of some keys, to be put back in one step: a server that has lost data.

    That is what an unwritten end of the append-only file looks like after a crash.
    """

    def __init__(self, redis: redis.Redis, keys: Iterable[str]) -> None:
        self._redis, self._keys = redis, list(keys)
        self.take()

    def take(self) -> None:
        """Copy what is there now."""
        self._found: dict[str, tuple[int, Any]] = {
            key: (
                max(0, self._redis.pttl(key)),
                self._redis.execute_command("DUMP", key, NEVER_DECODE=True),
            )
            for key in self._keys
        }

    def restore(self) -> None:
        """Put it back."""
        together = self._redis.pipeline(transaction=True)
        together.unlink(*self._found)
        for key, (ttl, found) in self._found.items():
            if found:
                together.restore(key, ttl, found)
        together.execute()


def told(ask: Callable[..., object], *arguments: Any, **options: Any) -> StreamsError | None:
    """What a call raises."""
    try:
        ask(*arguments, **options)
    except StreamsError as error:
        return error
    return None


def live_again(live: Callable[[], object], most: int = 4) -> int:
    """Live until a life comes to its end; says how many that took."""
    for number in range(1, most + 1):
        with suppress(Killed, redis.ConnectionError):
            live()
            return number
    raise AssertionError(f"{most} lives were not enough")
