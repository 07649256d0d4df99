"""The publisher: hands the feed's changes to everybody who listens on a channel, or to a stream.

It keeps its place in the feed in Redis, in the same step in which it publishes. So one that
was killed goes on where it was: each change of the feed is published once, and none is left
out, for as long as the feed remembers. What becomes of it then is the channel's affair, or
the stream's: a message on a channel reaches those who listen now, an entry waits.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.streams.clock import Clock, ms_of, utc_now
from helpers.streams.errors import StreamsError, explain
from helpers.streams.patience import Patience, out_of_reach
from helpers.wiki.change import CANARY, Change, NotAChangeError, change_of
from helpers.wiki.feed import Event, Feed, Say
from helpers.wiki.names import GROUP, KEPT, WIKI, place_key

Through = Literal["pubsub", "stream"]

BATCH = 500  # changes a round trip
WAITING = 2000  # events that were read and not yet published; then the feed has to wait
PATIENCE_S = 60.0  # how long the server may be out of reach
STOP_S = 1.0  # the same, once it was asked to stop
FULL_S = 0.1  # how long to wait before asking again whether there is room
PLACE_S = 7 * 86_400  # how long the place is remembered, in seconds

OPEN = """
-- Take the place over. It is given only to who knows whose it was, so that a late copy of this
-- call takes it from nobody.
-- KEYS: the place. ARGV: the caller's token, whose the place was, the feed's URL,
--       how long to remember the place.
-- Replies with whose the place is now, and with the ID of the last event that was published of
-- this feed, if there was one.
local owner = redis.call('HGET', KEYS[1], 'owner') or ''
if owner ~= ARGV[1] then
  if owner ~= ARGV[2] then return {owner, ''} end
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'batch', 0)
  if redis.call('HGET', KEYS[1], 'feed') ~= ARGV[3] then
    redis.call('HSET', KEYS[1], 'feed', ARGV[3], 'event', '')
  end
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return {ARGV[1], redis.call('HGET', KEYS[1], 'event')}
"""

ROOM = """
-- Make room on the stream: trim what is too much, but nothing that the group still needs.
-- KEYS: the place, the stream.
-- ARGV: how many entries to keep, how many more there may be, the group.
-- Replies with 1 if there is room.
local stream, keep, length = KEYS[2], tonumber(ARGV[1]), redis.call('XLEN', KEYS[2])
if length < keep then return 1 end
local needed  -- the oldest entry that the group has not acknowledged
for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local about = {}
  for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
  if about['name'] == ARGV[3] then
    local last = about['last-delivered-id']
    local unread = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
    needed = redis.call('XPENDING', stream, ARGV[3])[2] or unread and unread[1]
  end
end
if needed then  -- LIMIT, so that no more goes than is too much; `~` takes whole nodes only
  redis.call('XTRIM', stream, 'MINID', '~', needed, 'LIMIT', length - keep + 100)
else
  redis.call('XTRIM', stream, 'MAXLEN', '~', keep)
end
return redis.call('XLEN', stream) < keep + ARGV[2] and 1 or 0
"""

PUBLISH = """
-- Publish a batch, unless it was published before, and move the place behind it.
-- KEYS: the place, and the stream if there is one.
-- ARGV: the caller's token, number of the batch, ID of its last event, the time in ms,
--       how long to remember the place, the feed's URL, the channel or nothing,
--       then the messages, or for each entry how many words it has, and its words.
-- Replies with 1, or with 0 if the place is not the caller's any more. One that was deleted
-- meanwhile is.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 0 end
if owner and tonumber(redis.call('HGET', KEYS[1], 'batch')) >= tonumber(ARGV[2]) then return 1 end
local at = 8
while at <= #ARGV do
  if ARGV[7] ~= '' then
    redis.call('PUBLISH', ARGV[7], ARGV[at])
    at = at + 1
  else
    local words = tonumber(ARGV[at])
    redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 1, at + words))
    at = at + 1 + words
  end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'batch', ARGV[2], 'event', ARGV[3], 'at', ARGV[4],
  'feed', ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


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


class PublisherError(CourseError):
    """A publisher may not go on: another one of the same target began later."""


class Publisher:
    """Publishes a feed's changes until its task is cancelled, or `stop()`.

    await Publisher(client, Feed(url), through="stream").run()
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
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
        self._client, self._clock, self._say = client, clock, say
        self._begin = feed.last_event_id
        self._token, self._batch = "", 0
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(WAITING)
        self._stopped = False
        self._patience = Patience(patience_s)
        self._keys = [place_key(target), *([target] if through == "stream" else [])]

    async def run(self) -> PublisherCounts:
        """Publish until `stop()`.

        Raises:
            PublisherError: another publisher of this target began.
            StreamsError: the target holds no stream.
            redis.ConnectionError: the server was out of reach for too long.
        """
        self._token, self._batch = secrets.token_hex(8), 0
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
        """End `run()` after the batch in hand. What was read and not published comes again."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        with suppress(asyncio.QueueFull):  # then nobody sleeps
            self._waiting.put_nowait(None)

    async def _open(self) -> str:
        """Make the place ours, and say where it is: the ID of the last event."""
        whose, event = "", ""
        while whose != self._token:
            arguments = (self._token, whose, self.feed.url, PLACE_S)
            whose, event = await self._ask(OPEN, *arguments)
        return event

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
            if await self._ask(ROOM, self._keep, self._keep // 10 + BATCH, GROUP):
                break
            if not waited:
                self._say(
                    f"The stream {self.target!r} is full of changes that nobody has counted: "
                    "waiting for the subscriber."
                )
            waited = True
            await asyncio.sleep(FULL_S)
        return not self._stopped

    async def _publish(self, events: list[Event]) -> None:
        changes = list(self._changes(events))
        self._batch += 1
        now_ms = ms_of(self._clock())
        channel = self.target if self._through == "pubsub" else ""
        arguments: list[str | int] = [
            self._batch,
            events[-1].id,
            now_ms,
            PLACE_S,
            self.feed.url,
            channel,
        ]
        ours = await self._ask(PUBLISH, self._token, *arguments, *self._encoded(changes))
        if not ours:
            raise PublisherError(
                f"Another publisher of {self.target!r} took over: stop one of them, or every "
                "change would be published twice."
            )
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

    def _encoded(self, changes: Iterable[Change]) -> Iterator[str | int]:
        for change in changes:
            if self._through == "pubsub":
                yield change.message()
            else:
                fields = change.fields()
                yield 2 * len(fields)
                for pair in fields.items():
                    yield from pair

    async def _ask(self, script: str, *arguments: str | int) -> Any:
        """Run a script that can be run twice, until the answer comes."""
        while True:
            try:
                reply = await self._client.register_script(script)(self._keys, list(arguments))
            except redis.RedisError as error:
                if not out_of_reach(error):
                    wrong = self._keys[0] if script is OPEN else self._keys[-1]
                    raise _explained(error, wrong) from error
                wait_s = self._patience.failed()
                lasts_s = self._patience.lasts_s
                if self._patience.exhausted or (self._stopped and lasts_s > STOP_S):
                    raise
                await asyncio.sleep(wait_s)
            else:
                self._patience.renew()
                return reply


def _explained(error: redis.RedisError, key: str) -> StreamsError:
    """What the server has against a script, in one sentence."""
    if "WRONGTYPE" in str(error) and key.endswith(":place"):
        return CourseError(
            f"The key {key!r} holds something else than a publisher's place: delete it, or use "
            "another target."
        )
    return explain(error, key)


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
