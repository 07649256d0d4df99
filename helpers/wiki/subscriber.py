"""The subscriber: counts changes as they come, from a channel or from a stream.

What differs is what happens to those that come while nobody listens. A channel forgets them:
at most once. A stream keeps them, and its consumer group knows which have been counted, in
the same step in which they are: exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import redis
import redis.asyncio

from helpers.clock import Clock, ms_of, utc_now
from helpers.commit import Command
from helpers.consumer import AsyncConsumer
from helpers.delivery import Terms
from helpers.entry import Entry
from helpers.errors import CourseError
from helpers.group import AsyncGroup
from helpers.patience import Patience, out_of_reach
from helpers.signals import stopping
from helpers.wiki.change import Change, NotAChangeError, change_from, change_in
from helpers.wiki.counters import SWEEP, Counters
from helpers.wiki.feed import Say
from helpers.wiki.names import GROUP, WIKI
from helpers.wiki.publisher import Through, expect_no_pattern, expect_through

BATCH = 1000  # messages a round trip
GLANCE_S = 0.2  # how soon stop() is heard
UPKEEP_S = 0.5  # how often the dashboard is told, while something is counted


@dataclass
class SubscriberCounts:
    """What a subscriber has done since it began.

    Attributes:
        counted: changes.
        skipped: what was no change, or lay outside the history, by what was wrong with it.
        batches: round trips in which changes were counted; on the stream their consumer's.
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
        client: redis.asyncio.Redis,
        source: str = WIKI,
        *,
        through: Through = "pubsub",
        counters: Counters | None = None,
        name: str | None = None,
        clock: Clock = utc_now,
        say: Say = lambda sentence: None,
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
            terms: on a stream, the consumer's terms, such as `min_idle_ms`: see `Consumer`.

        Raises:
            CourseError: the source is a pattern, or one of the terms is none.
        """
        expect_through(through)
        expect_no_pattern(source)
        self.counts = SubscriberCounts()
        self.source, self.counters = source, counters or Counters()
        self._client, self._clock, self._say = client, clock, say
        self._stopped = False
        self._newest_ms = self._told = 0
        self._consumer: AsyncConsumer | None = None
        if through == "stream":
            effect = self._effect_of
            terms = asdict(Terms(batch=BATCH)) | terms
            self._consumer = AsyncConsumer(client, source, GROUP, effect, name=name, **terms)
        elif terms:
            raise CourseError(f"Pub/Sub knows no {', '.join(terms)}: those are a stream's.")

    async def run(self, *, signals: bool = False) -> SubscriberCounts:
        """Count until `stop()`.

        Args:
            signals: take SIGINT (Ctrl-C) and SIGTERM for `stop()`; a second one ends it at once.

        Raises:
            CourseError: one of the keys holds something else.
            ConsumerError: on a stream, another consumer of this name began.
            redis.ConnectionError: the server was out of reach for too long.
        """
        upkeep = asyncio.create_task(self._upkeep())
        try:
            with stopping(self.stop, wanted=signals):
                await (self._from_stream() if self._consumer else self._from_channel())
        finally:
            upkeep.cancel()
            await asyncio.wait([upkeep])
            self._stopped = False
        with suppress(redis.RedisError):
            await self._tell()
        return self.counts

    def stop(self) -> None:
        """End `run()` after the batch in hand."""
        self._stopped = True
        if self._consumer:
            self._consumer.stop()

    async def _from_stream(self) -> None:
        assert self._consumer
        await AsyncGroup(self._client, self.source, GROUP).create("0", make_stream=True)
        if not self._stopped:
            await self._consumer.run()

    def _effect_of(self, entry: Entry) -> list[Command] | None:
        """What an entry does to the counters, in one step with its acknowledgement."""
        change = self._expect_change(lambda: change_from(entry.fields))
        return self.counters.effect(self.counters.tally([change])) if change else None

    async def _from_channel(self) -> None:
        patience = Patience()
        async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self.source)
            while not self._stopped:
                try:
                    await self._count([message async for message in _received(pubsub)])
                    patience.renew()
                except redis.RedisError as error:
                    await self._bear(error, patience)

    async def _count(self, messages: list[str]) -> None:
        """Count a batch of messages. It is sent once: to send it again might count it twice."""
        said = (self._expect_change(partial(change_in, text)) for text in messages)
        effect = self.counters.effect(self.counters.tally(filter(None, said)))
        if effect:
            await self._send(effect)
            self.counts.batches += 1

    async def _bear(self, error: redis.RedisError, patience: Patience) -> None:
        """Wait after a lost connection; what was published meanwhile is lost."""
        if not out_of_reach(error):
            raise CourseError(
                f"The counters cannot be written: {error}. Delete {self.counters.all_domains!r} "
                "and its like if they are no hashes of this pipeline."
            ) from error
        self.counts.reconnects += 1
        wait_s = patience.failed()
        if patience.exhausted:
            raise error
        await asyncio.sleep(wait_s)

    def _expect_change(self, read: Callable[[], Change]) -> Change | None:
        """The change in a message or an entry, if there is one and it can be counted."""
        now_ms = ms_of(self._clock())
        try:
            change = read()
            self.counters.expect_fit(change, now_ms)
        except NotAChangeError as error:
            self.counts.skipped[str(error).partition(":")[0]] += 1
            self._say(f"Skipped {error}.")
            return None
        self.counts.counted += 1
        self._newest_ms = max(self._newest_ms, change.at_ms)
        return change

    async def _upkeep(self) -> None:
        """Tell the dashboard how far we are, and sweep what is too old."""
        sweep_at = 0.0
        while True:
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


async def _received(pubsub: Any) -> AsyncIterator[str]:
    """The messages that have come by now; waits for the first one, but not for long."""
    timeout_s = GLANCE_S
    for _ in range(BATCH):
        message = await pubsub.get_message(timeout=timeout_s)
        if message is None:
            return
        yield message["data"]
        timeout_s = 0.0
