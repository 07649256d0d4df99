"""The consumer: works in a consumer group, at least once or exactly once, and survives crashes.

`DeliveryLoop` in `loop` decides what to do next; the two classes here do it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import cache
from typing import Any

import redis
import redis.asyncio

from ..entry import Entry
from ..errors import ArgumentError
from ..patience import expect_patience
from ..signals import stopping
from ..single import Single
from ..slots import AsyncClient, SyncClient, client_for
from ..states import reconnect, reconnect_async
from .effects import Command
from .loop import DeliveryLoop
from .settings import ConsumerSettings, Counts
from .steps import Collect, Entries, Failed, Handle, Read, Run, Send, Step, Underway, Wait

Effect = Command | list[Command] | None
Handler = Callable[[Entry], Effect]
AsyncHandler = Callable[[Entry], Awaitable[Effect] | Effect]


class _Base(Single):
    """What the two consumers share: everything but the waiting."""

    def __init__(
        self,
        client: Any,
        stream: str,
        group: str,
        handler: Any,
        name: str | None,
        settings: ConsumerSettings,
    ) -> None:
        expect_handler(handler)
        self._loop = DeliveryLoop(stream, group, name, settings)
        self._settings = settings
        self._client = client_for(client, [stream])
        expect_client(self._client, settings.block_ms)
        super().__init__()

    def _reset(self) -> None:
        self._loop = copy.copy(self._loop)

    def _forked(self) -> None:
        """The loop, which may be at work, takes care of itself."""

    @property
    def name(self) -> str:
        """The consumer's name in its group."""
        return self._loop.name

    @property
    def counts(self) -> Counts:
        """What it has done since it began."""
        return self._loop.counts

    def stop(self) -> None:
        """End `run()` after the entry in hand, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._loop.stopped = True


class Consumer(_Base):
    """One consumer of a group. It hands each entry to a function, the handler.

        >>> added = redis.xadd("chennai", {"temperature": 26}, "1-0")
        >>> created = Group(redis, "chennai", "averages").create("0")
        >>> consumer = Consumer(redis, "chennai", "averages", handler=print, name="alice")
        >>> consumer.run(drain=True).acked
        Entry(id=EntryId(ms=1, seq=0), fields={'temperature': '26'})
        1

    What it works on, in this order: entries that are pending for its name from an earlier
    life, one by one; entries that other consumers have left idle for too long; new entries. The
    last two come in batches, but for what was delivered more than once already.

    Promise, at least once: an entry is acknowledged after its handler returned, so that a
    crash repeats it and never loses it. An effect outside Redis may thus happen twice: let it
    use `entry.id` as idempotency key. Commands that the handler *returns* are run in one step
    with the acknowledgement, exactly once: see `effects`.

    A handler that raises leaves its entry pending, to be delivered again after a while. An
    entry that was delivered `max_deliveries` times moves to the dead letters, with the reason:
    see `DeadLetters`. Entries that were deleted or trimmed while they were pending are
    acknowledged and counted, and never handed over. One that another program wrote in bytes that
    are no UTF-8 is a dead letter at once, as it is; so is one whose effect the server cannot take.

    A forked child and a copy are other consumers: with a name of their own, if none was given, and
    else as one that began later. In a child of a handler's that comes back from it, `run()` ends.

    Order: a group does not keep it. Entries that are retried come after those behind them.
    """

    def __init__(
        self,
        client: SyncClient,
        stream: str,
        group: str,
        handler: Handler,
        *,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        """Prepare to work; nothing is sent before `run()`.

        Args:
            client: a client from `connect()`, or one whose socket time-out is above BLOCK.
            stream: the stream's key.
            group: the consumer group, which must exist: see `Group.create`.
            handler: takes an Entry; returns None, or commands to run with its acknowledgement.
            name: the consumer's name. It says whose pending entries to recover after a crash.
                Of two consumers with one name the one that began later goes on, and the other
                gets ConsumerError. By default one that no other process has, and that is
                given back at the end if nothing is pending for it.
            batch: the most entries a read.
            block_ms: how long a read waits, and so how soon `stop()` is heard, in ms.
            min_idle_ms: after this time without a word, in ms, an entry is claimed from its
                consumer. While it works, a consumer says every twentieth of it what it has in
                hand, between two entries: a handler may take 19 twentieths of it.
            max_deliveries: how often an entry is delivered before it is a dead letter. One that
                was read in a batch and not begun when its consumer died has been delivered once.
            delete: delete an entry once every group has acknowledged it, by XACKDEL where the
                server has it.
            dead_letters: their key; `{stream}:group:dead` by default.
            max_dead_letters: about how many are kept, by XADD MAXLEN ~; all by default.
            patience_s: how long, in seconds, the server may be out of reach, silent, or in a
                state that passes: see `states`.
            allow_oom: run effects, and put entries aside, although the memory of the server is
                full and grows. Otherwise they wait; with `delete` they wait only while the
                memory used is a MiB above what it was when it began to be full.
            on_lost_group: what to do when the group is gone, deleted or with its stream. By
                default run() ends with GroupError. An ID, `0` or `$`: create it again there: `0`
                handles everything once more, `$` misses what was added meanwhile. `resume`:
                create it at the lowest entry that this consumer has in hand, or else behind the
                last one that it was delivered. That misses what was pending for others, and
                repeats what they have handled since.

        Raises:
            ArgumentError: a limit of zero or less, a name that is empty, a handler of the wrong
                kind, or a client that replies with bytes or would give up before BLOCK ends.
        """
        expect_handler(handler)
        if inspect.iscoroutinefunction(handler):
            raise ArgumentError("This handler is a coroutine function: give it to AsyncConsumer.")
        if settings.get("concurrency", 1) != 1:
            raise ArgumentError(
                "A Consumer works on one entry at a time: for concurrency, use AsyncConsumer."
            )
        super().__init__(client, stream, group, handler, name, ConsumerSettings(**settings))
        self._handler = handler
        self._script = cache(self._client.register_script)

    def run(self, *, drain: bool = False, limit: int | None = None, signals: bool = True) -> Counts:
        """Work until `stop()`.

        Args:
            drain: return when there is nothing new and nothing of its own is pending.
            limit: return after so many entries that were handled or became dead letters.
            signals: take SIGINT (Ctrl-C) and SIGTERM for `stop()`; a second one ends it at once.

        Raises:
            GroupError: the stream or the group does not exist, or was deleted meanwhile.
            ConsumerError: another consumer of this name began.
            HandlerError: the handler returned something that is no effect.
            ServerStateError: the server answered, but was in a state for too long.
            redis.ConnectionError, redis.TimeoutError: it was out of reach or silent for too long.
        """
        steps, answer = self._loop.run(drain=drain, limit=limit), None
        with stopping(self.stop, wanted=signals), closing(steps), suppress(StopIteration):
            while True:
                answer = self._take(steps.send(answer))
        return self.counts

    def _take(self, step: Step) -> Any:
        """Take one step of the delivery loop."""
        try:
            match step:
                case Handle(entries, until):
                    return self._handle(entries, until)
                case Run(script, keys, args):
                    return self._script(script)(keys=keys, args=args)
                case Send(commands):
                    pipeline = _pipeline(self._client, commands)
                    return _replies(pipeline.execute(raise_on_error=False))
                case Read(arguments):
                    return self._client.xreadgroup(**arguments)
                case Wait(seconds):
                    time.sleep(seconds)
        except (redis.RedisError, UnicodeDecodeError) as error:
            reconnect(self._client, error)
            return error

    def _handle(self, entries: Entries, until: float) -> tuple[int, Effect | Failed]:
        handler, loop, clock = self._handler, self._loop, self._loop.clock
        count = 0
        answer: Any = None
        try:
            for _, entry in entries:
                count += 1
                answer = handler(entry)
                if answer is not None or loop.stopped or clock() >= until:
                    break
        except Exception as error:
            answer = Failed(error)
        return count, answer


class AsyncConsumer(_Base):
    """`Consumer` for asyncio: the handler may be a coroutine function, and `run()` is awaited.

    A handler that takes longer than `min_idle_ms` is cancelled, and counts as failed. With
    `concurrency=n`, n entries are in hand at a time: they begin in the order of the stream, and
    end in any.

    Stop it with `stop()`. To cancel the task loses nothing, but what the server had just sent
    stays pending, for this name's next life or for others.
    """

    def __init__(
        self,
        client: AsyncClient,
        stream: str,
        group: str,
        handler: AsyncHandler,
        *,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        """Prepare to work: see `Consumer`."""
        super().__init__(client, stream, group, handler, name, ConsumerSettings(**settings))
        self._handler = handler
        self._script = cache(self._client.register_script)
        self._tasks: dict[asyncio.Task[tuple[int, Effect | Failed]], str] = {}

    def _reset(self) -> None:
        super()._reset()
        self._tasks = {}

    async def run(
        self, *, drain: bool = False, limit: int | None = None, signals: bool = False
    ) -> Counts:
        """Work until `stop()`: see `Consumer.run`."""
        steps = self._loop.run(drain=drain, limit=limit)
        answer: Any = None
        with stopping(self.stop, wanted=signals), closing(steps), suppress(StopIteration):
            try:
                while True:
                    answer = await self._take(steps.send(answer))
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                self._tasks.clear()
        return self.counts

    async def _take(self, step: Step) -> Any:
        """Take one step of the delivery loop."""
        try:
            match step:
                case Handle(entries, until):
                    if self._settings.concurrency == 1:
                        return await self._handle(entries, until)
                    return self._begin(entries)
                case Collect(seconds):
                    return await self._collect(seconds)
                case Run(script, keys, args):
                    return await self._script(script)(keys=keys, args=args)
                case Send(commands):
                    pipeline = _pipeline(self._client, commands)
                    return _replies(await pipeline.execute(raise_on_error=False))
                case Read(arguments):
                    return await self._client.xreadgroup(**arguments)
                case Wait(seconds):
                    await asyncio.sleep(seconds)
        except (redis.RedisError, UnicodeDecodeError) as error:
            await reconnect_async(self._client, error)
            return error

    def _begin(self, entries: Entries) -> tuple[int, Underway]:
        """Set handlers to work on as many entries as may be in hand."""
        before = len(self._tasks)
        for one in itertools.islice(entries, self._settings.concurrency - before):
            self._tasks[asyncio.create_task(self._handle(iter((one,)), math.inf))] = one[0]
        return len(self._tasks) - before, Underway()

    async def _collect(self, seconds: float) -> list[tuple[str, Effect | Failed]]:
        """What came of the handlers that have returned; waits for one, for a while."""
        done, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        return [(self._tasks.pop(task), task.result()[1]) for task in done]

    async def _handle(self, entries: Entries, until: float) -> tuple[int, Effect | Failed]:
        handler, loop, clock = self._handler, self._loop, self._loop.clock
        count = 0
        answer: Any = None
        limit_s = self._settings.min_idle_ms / 1000
        until = min(until, clock() + limit_s / 1000)  # for so short a time, one timer serves all
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                for _, entry in entries:
                    count += 1
                    answer = handler(entry)
                    if answer is not None and inspect.isawaitable(answer):
                        answer = await answer
                    if answer is not None or loop.stopped or clock() >= until:
                        break
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():  # we are cancelled, and not the handler by itself
                raise
            answer = Failed(error)
        except Exception as error:
            late = TimeoutError(f"it took longer than {self._settings.min_idle_ms} ms")
            answer = Failed(late if limit.expired() else error)
        return count, answer


def _pipeline(client: Any, commands: list[tuple[Any, ...]]) -> Any:
    pipeline = client.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    return pipeline


def _replies(replies: list[Any]) -> list[Any]:
    """The replies of a pipeline; raises the first error, which redis-py itself would reword."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def expect_handler(handler: Any) -> None:
    """Make sure that a handler can be called with an entry.

    Raises:
        ArgumentError: it cannot.
    """
    try:
        inspect.signature(handler).bind("entry")
    except ValueError:  # a built-in function that does not say what it takes
        return
    except TypeError:
        raise ArgumentError(
            f"The handler must be a function that takes one entry, not {handler!r:.60}."
        ) from None


def expect_client(client: Any, block_ms: int) -> None:
    """Make sure that a client's replies are texts, and that it waits for them.

    Raises:
        ArgumentError: they are not, or it does not.
    """
    if not client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ArgumentError("This client returns bytes: create it with decode_responses=True.")
    expect_patience(client, block_ms)
