"""The subscriber: counts changes as they come, from a channel or from a stream.

What differs is what happens to those that come while nobody listens. A channel forgets them:
at most once. A stream keeps them, and its consumer group knows which have been counted, in
the same step in which they are: exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.streams.clock import Clock, ms_of, utc_now
from helpers.streams.consumer.consumer import AsyncConsumer
from helpers.streams.consumer.effects import Command
from helpers.streams.entry import Entry
from helpers.streams.errors import given_up
from helpers.streams.group import AsyncGroup
from helpers.streams.keys import FAILURES, group_key, hash_tag
from helpers.streams.patience import STOP_S, Patience
from helpers.streams.signals import stopping
from helpers.streams.slots import AsyncClient, client_for, is_cluster
from helpers.streams.states import passes
from helpers.wiki.change import Change, NotAChangeError, change_from, change_in
from helpers.wiki.counters import SWEEP, Counters
from helpers.wiki.feed import Say
from helpers.wiki.names import GROUP, WIKI
from helpers.wiki.place import Through
from helpers.wiki.publisher import expect_no_pattern, expect_through

BATCH = 500  # messages a round trip, and so how many a crash may leave to be recovered
MANY = 1000  # domains whose keys are looked at when a count is refused
PATIENCE_S = 60.0  # how long the server may be out of reach
GLANCE_S = 0.2  # how soon stop() is heard
QUIET_S = 2.0  # after so long without a message, the server is asked whether it is there
UPKEEP_S = 0.5  # how often the dashboard is told, while something is counted


@dataclass
class SubscriberCounts:
    """What a subscriber has done since it began.

    Attributes:
        counted: changes. After a lost reply, or when an entry was delivered again, it may
            differ a little from what was counted; the counters themselves do not.
        skipped: what was no change, or lay outside the history, by what was wrong with it.
        batches: round trips in which changes of a channel were counted.
        reconnects: how often the server did not answer.
    """

    counted: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    reconnects: int = 0


class Subscriber:
    """Counts changes until `stop()`, or until its task is cancelled.

    await Subscriber(client, through="stream").run()
    """

    def __init__(
        self,
        client: AsyncClient,
        source: str = WIKI,
        *,
        through: Through = "pubsub",
        counters: Counters | None = None,
        name: str | None = None,
        clock: Clock = utc_now,
        say: Say = lambda sentence: None,
        patience_s: float = PATIENCE_S,
        **terms: Any,
    ) -> None:
        """Prepare; nothing is sent before `run()`.

        Args:
            client: a client from `connect_async()`.
            source: the name of the channel, or the stream's key.
            through: `pubsub` or `stream`.
            counters: where to count, and in which intervals.
            name: on a stream, the consumer's name: see `Consumer`. By default one of its own.
            clock: what time it is.
            say: what to do with a sentence about something that was skipped.
            patience_s: how long the server may be out of reach, in seconds.
            terms: on a stream, the consumer's terms, such as `min_idle_ms`: see `Consumer`.

        Raises:
            CourseError: the source is a pattern, or one of the terms is none.
        """
        expect_through(through)
        expect_no_pattern(source)
        self.counts = SubscriberCounts()
        self.source, self.counters = source, counters or _counters(client, source)
        self._clock, self._say = clock, say
        # An effect and its entry lie in one slot; what comes through a channel lies in none.
        source_keys = [source] if through == "stream" else []
        self._client = client_for(client, [*source_keys, *self.counters.fixed_keys])
        self._stopped = self._consuming = False
        self._heard_at = 0.0  # when the last message came, by the monotonic clock
        self._newest_ms = self._told = 0
        self._domains: dict[str, None] = {}  # that it has met of late
        self._may_fail = 0
        self._patience = Patience(patience_s)
        self._consumer: AsyncConsumer | None = None
        if through == "stream":
            effect = self._effect_of
            terms = {"batch": BATCH, "patience_s": patience_s} | terms
            self._consumer = AsyncConsumer(self._client, source, GROUP, effect, name=name, **terms)
        elif terms:
            raise CourseError(f"Pub/Sub knows no {', '.join(terms)}: those are a stream's.")

    async def run(self, *, signals: bool = False) -> SubscriberCounts:
        """Count until `stop()`.

        Args:
            signals: take SIGINT (Ctrl-C) and SIGTERM for `stop()`; a second one ends it at once.

        Raises:
            StreamsError: one of the keys holds something else.
            ConsumerError: on a stream, another consumer of this name began.
            redis.ConnectionError: the server was out of reach for too long.
        """
        upkeep = asyncio.create_task(self._upkeep())
        try:
            with stopping(self.stop, wanted=signals):
                await self._patiently(self._expect_types)
                await (self._from_stream() if self._consumer else self._from_channel())
        finally:
            upkeep.cancel()
            await asyncio.wait([upkeep])
            self._stopped = False  # here, so that a stop() just before a run is not overheard
        with suppress(redis.RedisError, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._tell()
        return self.counts

    def stop(self) -> None:
        """End `run()` after the batch in hand.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._stopped = True
        if self._consumer and self._consuming:
            self._consumer.stop()

    async def _from_stream(self) -> None:
        assert self._consumer
        group = AsyncGroup(self._client, self.source, GROUP)
        await self._patiently(partial(group.create, "0", make_stream=True))
        refused = self._consumer.counts.failed
        self._may_fail = refused
        if not self._stopped:
            await self._consume(self._consumer)
        self.counts.reconnects = self._consumer.counts.reconnects
        if self._consumer.counts.failed > refused:
            await self._expect_types()
            raise CourseError(f"The counters cannot be written: {await self._refusal()}.")

    async def _consume(self, consumer: AsyncConsumer) -> None:
        self._consuming = True
        try:
            await consumer.run()
        finally:
            self._consuming = False

    def _effect_of(self, entry: Entry) -> list[Command] | None:
        """What an entry does to the counters, in one step with its acknowledgement."""
        self._heed_refusals()
        change = self._expect_change(lambda: change_from(entry.fields))
        if change is None:
            return None
        self._note([change])
        return self.counters.effect_of(change)

    def _heed_refusals(self) -> None:
        """Go no further once an effect was refused: run() says why."""
        if self._consumer and self._consumer.counts.failed > self._may_fail:
            self.stop()

    async def _refusal(self) -> str:
        """What Redis said of an effect that it refused."""
        failures: Any = await self._client.hvals(group_key(self.source, GROUP, FAILURES))
        said = [text.strip().partition("refused: ")[2] for text in failures]
        return next(filter(None, said), f"see the dead letters of {self.source!r}")

    async def _from_channel(self) -> None:
        async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            while not self._stopped:
                messages: list[str] = []
                since = time.monotonic()
                try:
                    error = await self._receive(pubsub, messages)
                    await self._count(messages)
                    if error:
                        raise error
                    await self._expect_life(bool(messages))
                    self._patience.renew()
                except redis.RedisError as error:
                    if isinstance(error, redis.TimeoutError):
                        await pubsub.aclose()  # the next look subscribes again
                    await self._bear(error, since)

    async def _expect_life(self, heard: bool) -> None:
        """A channel that is quiet may be one whose server is silent: ask now and then, by PING.

        Raises:
            redis.TimeoutError: it is.
        """
        now = time.monotonic()
        if heard:
            self._heard_at = now
        elif now - self._heard_at > QUIET_S:
            await self._client.ping()
            self._heard_at = time.monotonic()

    async def _receive(self, pubsub: Any, messages: list[str]) -> redis.RedisError | None:
        """Take the messages that have come by now; wait for the first one, but not for long."""
        try:
            if not pubsub.subscribed:
                await pubsub.subscribe(self.source)
            timeout_s = GLANCE_S
            while len(messages) < BATCH:
                try:
                    message = await pubsub.get_message(timeout=timeout_s)
                except UnicodeDecodeError:
                    self._skip(NotAChangeError("a message that is no text"))
                    continue
                if message is None:
                    return None
                messages.append(message["data"])
                timeout_s = 0.0
        except redis.RedisError as error:
            return error
        return None

    async def _count(self, messages: list[str]) -> None:
        """Count a batch of messages. It is sent once: to send it again might count it twice."""
        said = (self._expect_change(partial(change_in, text)) for text in messages)
        changes = [change for change in said if change]
        if changes:
            await self._send(self.counters.effect(self.counters.tally(changes)))
            self._note(changes)
            self.counts.batches += 1

    async def _bear(self, error: redis.RedisError, since: float) -> None:
        """Wait after a lost connection; what was published meanwhile is lost."""
        if not passes(error):
            await self._expect_types()
            raise CourseError(f"The counters cannot be written: {error}.") from error
        self.counts.reconnects += 1
        wait_s = self._patience.failed(since)
        if self._patience.exhausted:
            raise given_up(error, self.source) from error
        if not self._stopped:
            await asyncio.sleep(wait_s)

    async def _patiently(self, ask: Callable[[], Awaitable[Any]]) -> None:
        """Ask something that can be asked twice, until the answer comes."""
        while not self._stopped:
            since = time.monotonic()
            try:
                await ask()
                return
            except redis.RedisError as error:
                await self._bear(error, since)

    async def _expect_types(self) -> None:
        """Make sure that the keys are those of counters, or not there.

        Raises:
            StreamsError: one of them holds something else.
        """
        counters = self.counters
        wanted = {counters.all_domains: "hash", counters.counted: "hash",
                  counters.known_domains: "set"}  # fmt: skip
        wanted |= dict.fromkeys(map(counters.of, self._domains), "hash")
        pipeline = self._client.pipeline(transaction=False)
        for key in wanted:
            pipeline.type(key)
        for (key, type_), found in zip(wanted.items(), await pipeline.execute(), strict=True):
            if found not in ("none", type_):
                raise CourseError(
                    f"The counters need a {type_} at {key!r}, where there is a {found}: delete "
                    "it, or give the counters a prefix."
                )

    def _expect_change(self, read: Callable[[], Change]) -> Change | None:
        """The change in a message or an entry, if there is one and it can be counted."""
        try:
            change = read()
            self.counters.expect_fit(change, ms_of(self._clock()))
        except NotAChangeError as error:
            self._skip(error)
            return None
        if len(self._domains) > MANY:
            self._domains.clear()
        self._domains[change.domain] = None
        return change

    def _skip(self, error: NotAChangeError) -> None:
        self.counts.skipped[str(error).partition(":")[0]] += 1
        self._say(f"Skipped {error}.")

    def _note(self, changes: list[Change]) -> None:
        self.counts.counted += len(changes)
        for change in changes:
            self._newest_ms = max(self._newest_ms, change.at_ms)

    async def _upkeep(self) -> None:
        """Tell the dashboard how far we are, and sweep what is too old."""
        sweep_at = 0.0
        while True:
            self._heed_refusals()
            with suppress(redis.RedisError):  # whoever counts finds out, and says so
                await self._tell()
                if time.monotonic() >= sweep_at:
                    await self._sweep()
                    sweep_at = time.monotonic() + self.counters.interval_s
            await asyncio.sleep(UPKEEP_S)

    async def _tell(self) -> None:
        if self.counts.counted > self._told:
            self._told = self.counts.counted
            await self._send(self.counters.note(ms_of(self._clock()), self._newest_ms))

    async def _sweep(self) -> None:
        sweep = self._client.register_script(SWEEP)
        domains: Any = await self._client.smembers(self.counters.known_domains)
        for call in self.counters.sweeps(domains, ms_of(self._clock())):
            await sweep(**call)

    async def _send(self, commands: list[Command]) -> None:
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        await pipeline.execute()


def _counters(client: AsyncClient, source: str) -> Counters:
    """Those of the lessons; on a cluster beside the stream, in its hash slot."""
    return Counters(prefix=f"{{{hash_tag(source)}}}:" if is_cluster(client) else "")
