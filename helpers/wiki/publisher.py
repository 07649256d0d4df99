"""The publisher: hands the feed's changes to everybody who listens on a channel, or to a stream.

It keeps its place in the feed in Redis, in the same step in which it publishes. So one that
was killed goes on where it was: each change of the feed is published once, and none is left
out, for as long as the feed remembers. What becomes of it then is the channel's affair, or
the stream's: a message on a channel reaches those who listen now, an entry waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, get_args

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.streams.clock import Clock, ms_of, utc_now
from helpers.streams.slots import AsyncClient, client_for
from helpers.wiki.change import CANARY, Change, NotAChangeError, change_of
from helpers.wiki.feed import Event, Feed, Say
from helpers.wiki.names import KEPT, WIKI
from helpers.wiki.place import Call, FeedPlace, Through

BATCH = 500  # changes a round trip
WAITING = 2000  # events that were read and not yet published; then the feed has to wait
PATIENCE_S = 60.0  # how long the server may be out of reach
FULL_S = 0.1  # how long to wait before asking again whether there is room


@dataclass
class PublisherCounts:
    """What a publisher has done since it began.

    Attributes:
        published: changes.
        skipped: events of the feed that were none, by what was wrong with them.
        canaries: Wikimedia's own test events.
        batches: round trips.
    """

    published: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    canaries: int = 0
    batches: int = 0


class Publisher:
    """Publishes a feed's changes until its task is cancelled, or `stop()`.

    await Publisher(client, Feed(url), through="stream").run()
    """

    def __init__(
        self,
        client: AsyncClient,
        feed: Feed,
        target: str = WIKI,
        *,
        through: Through = "pubsub",
        keep: int = KEPT,
        clock: Clock = utc_now,
        say: Say = lambda sentence: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Prepare; nothing is sent before `run()`.

        Args:
            client: a client from `connect_async()`.
            feed: where the changes come from. It goes on from the place that is stored, if the
                place is one of its own.
            target: the name of the channel, or the stream's key.
            through: `pubsub` or `stream`.
            keep: how many entries the stream keeps, about. Older ones are trimmed, but none that
                the subscriber's group has yet to acknowledge: when the stream is full of those,
                the publisher waits, and the feed with it.
            clock: what time it is.
            say: what to do with a sentence about something that was skipped.
            patience_s: how long the server may be out of reach, in seconds.

        Raises:
            CourseError: the target is a pattern, `through` is neither, or `keep` is below 1.
        """
        expect_through(through)
        expect_no_pattern(target)
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            raise CourseError(f"The stream must keep at least 1 entry, not {keep!r}.")
        self.counts = PublisherCounts()
        self.feed = feed
        self.target = target
        self._through, self._keep = through, keep
        self._client, self._clock, self._say = client_for(client, [target]), clock, say
        self._begin = feed.last_event_id
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(WAITING)
        self._stopped = False
        self._patience_s = patience_s
        self._place = self._new_place()

    async def run(self) -> PublisherCounts:
        """Publish until `stop()`.

        Raises:
            PublisherError: another publisher of this target began.
            StreamsError: the target is not a stream.
            redis.ConnectionError: the server was out of reach for too long.
        """
        self._place = self._new_place()
        self._waiting = asyncio.Queue(WAITING)
        try:
            self.feed.last_event_id = await self._open() or self._begin
            reading = asyncio.create_task(self._read())
            try:
                while (events := await self._next_batch()) and await self._room():
                    await self._publish(events)
            finally:
                reading.cancel()
                await asyncio.wait([reading])
        finally:
            self._stopped = False  # here, so that a stop() just before a run is not overheard
        if not reading.cancelled():
            reading.result()  # it never ends by itself, so this raises
        return self.counts

    def stop(self) -> None:
        """End `run()` after the batch in hand. What was read and not published comes again.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        with suppress(asyncio.QueueFull):  # then nobody sleeps
            self._waiting.put_nowait(None)

    def _new_place(self) -> FeedPlace:
        return FeedPlace(self.target, self._through, self.feed.url, self._patience_s)

    async def _open(self) -> str:
        """Make the place ours, and say where it is: the ID of the last event."""
        while call := self._place.open():
            self._place.opened(await self._ask(call))
        return self._place.event

    async def _read(self) -> None:
        try:
            async with aclosing(self.feed.events()) as events:
                async for event in events:
                    await self._waiting.put(event)
        except Exception:
            await self._waiting.put(None)
            raise

    async def _next_batch(self) -> list[Event]:
        """All that has been read by now, at least one; none at the end."""
        if self._stopped:
            return []
        events = [await self._waiting.get()]
        while len(events) < BATCH and not self._waiting.empty():
            events.append(self._waiting.get_nowait())
        whole = [event for event in events if event is not None]
        return [] if self._stopped or len(whole) < len(events) else whole

    async def _room(self) -> bool:
        """Wait until the stream has room, or somebody says stop; False at the end."""
        waited = False
        while self._through == "stream" and not self._stopped:
            if await self._ask(self._place.room(self._keep, self._keep // 10 + BATCH)):
                break
            if not waited:
                self._say(
                    f"The stream {self.target!r} is full of changes that are not counted yet: "
                    "waiting for the subscriber."
                )
            waited = True
            await asyncio.sleep(FULL_S)
        return not self._stopped

    async def _publish(self, events: list[Event]) -> None:
        changes = list(self._changes(events))
        now_ms = ms_of(self._clock())
        call = self._place.publish(changes, events[-1].id, now_ms)
        self._place.published(await self._ask(call))
        self.counts.published += len(changes)
        self.counts.batches += 1

    def _changes(self, events: Iterable[Event]) -> Iterator[Change]:
        for event in events:
            try:
                change = change_of(event.says)
            except NotAChangeError as error:
                self.counts.skipped[str(error).partition(":")[0]] += 1
                self._say(f"Skipped {error}.")
                continue
            if change.domain == CANARY:
                self.counts.canaries += 1
            else:
                yield change

    async def _ask(self, call: Call) -> Any:
        """Run a script until the answer comes."""
        while True:
            since = time.monotonic()
            try:
                reply = await self._client.register_script(call.script)(call.keys, call.args)
            except redis.RedisError as error:
                wait_s = self._place.fail(error, call, since=since, stopped=self._stopped)
                await asyncio.sleep(wait_s)
            else:
                return self._place.heard(reply)


def expect_through(through: str) -> None:
    """Make sure that a way is one of the two that there are.

    Raises:
        CourseError: it is not.
    """
    if through not in get_args(Through):
        raise CourseError(f"Changes go through 'pubsub' or a 'stream', not {through!r}.")


def expect_no_pattern(target: str) -> None:
    """Make sure that the name of a channel, or of a stream, is one.

    Raises:
        CourseError: it is empty, or a pattern, which names many.
    """
    if not isinstance(target, str) or not target:
        raise CourseError(f"A channel needs a name, such as 'wiki', not {target!r}.")
    if any(character in target for character in "*?["):
        raise CourseError(
            f"{target!r} is a pattern: changes go to one channel or stream, so give its whole "
            "name, such as 'wiki'."
        )
