"""Producers: append entries to a stream, each exactly once, also when a reply is lost.

When the connection breaks after an XADD was sent and before its reply came, nobody can tell
whether the entry is on the stream. Sending it again may add it twice; not sending it may
lose it. So a producer numbers its batches, and a script on the server appends a batch and
notes its number in one step. A batch whose number is noted already is not appended again:
the script repeats the answer that it gave the first time, whatever copy of it comes first.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import redis
import redis.asyncio

from .connection import expect_one_server
from .entry import FIRST, Entry, EntryId
from .errors import ArgumentError, EntryIdError, NotConfirmedError, StreamsError, explain
from .keys import PRODUCERS, sibling_key
from .patience import LIMIT_S, Patience
from .states import passes, reconnect, reconnect_async, unreachable

Value = str | int | float
Fields = Mapping[str, Value]
Item = Fields | Entry

BATCH = 1000  # entries a round trip
MEMORY_S = 86_400  # how long the server remembers a producer that fell silent
MAX_FIELDS = 1000  # fields an entry: Lua cannot pass many more to one XADD

APPEND = """#!lua
-- KEYS: the stream, what is remembered of its producers.
-- ARGV: producer, number of the batch, seconds to remember it, how often it was sent,
--       then for each entry: how many arguments follow, its ID, field, value, …
-- Without entries it only notes that there is this producer.
-- Replies with the ID of the first entry, or with what XADD said when it refused it; with known
-- where there are no entries; and with forgotten where there was a note, and it is gone: so it
-- cannot be known whether a copy that was sent before was appended.
local noted = redis.call('HGET', KEYS[2], ARGV[1])
if noted then
  local number, answer = noted:match('^(%d+) (.+)$')
  if tonumber(number) >= tonumber(ARGV[2]) then return answer:match('^(.*) @%d+$') or answer end
elseif tonumber(ARGV[4]) > 1 then
  return 'forgotten'
end
local now = redis.call('TIME')[1]
local some = redis.call('HRANDFIELD', KEYS[2], 2, 'WITHVALUES')  -- so old notes go one by one
for place = 2, #some, 2 do
  local since = some[place]:match(' @(%d+)$')
  if since and now - since > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[2], some[place - 1]) end
end
local answer = #ARGV < 5 and 'known' or nil
local later = '*'
local at = 5
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local id = ARGV[at + 1]
  if id == '*' then id = later end
  local added = redis.pcall('XADD', KEYS[1], id, unpack(ARGV, at + 2, at + n))
  if type(added) == 'table' then
    -- What the server cannot do now, it may do later. What it refuses is noted, so that no late
    -- copy is taken where this one was not.
    if not answer and not added.err:find('^ERR') and not added.err:find('^WRONGTYPE') then
      return added
    end
    answer = added.err
    break
  end
  if not answer then
    answer = added
    later = added:match('^%d+') .. '-*'  -- so the IDs of a batch follow each other
  end
  at = at + n + 1
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. answer .. ' @' .. now)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return answer
"""


@dataclass(frozen=True)
class Added:
    """What one call appended: how many entries, and the first and last of their IDs.

    With no entries both are 0-0, which no entry has.
    """

    count: int
    first: EntryId
    last: EntryId


class Producer:
    """Appends entries to one stream, each exactly once. Use it in a `with` block.

        with Producer(redis, "chennai") as producer:
            producer.add({"temperature": 26, "humidity": 10})

    Promise: an entry whose `add` returned is on the stream once, whatever happened to the
    connection meanwhile. When `add` raises NotConfirmedError, the entry is there once or not
    at all, and the next call, or `flush()`, first makes sure that it is. A producer that is
    killed has added its last batch once or not at all.

    Threads may share a producer: it serves one call after the other.
    """

    def __init__(self, client: redis.Redis, stream: str) -> None:
        expect_one_server(client, stream)
        self._client = client
        self._outbox = Outbox(stream, sends_again(client))
        self._append = client.register_script(APPEND)
        self._lock = threading.RLock()

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._outbox.added

    def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID.

        Args:
            fields: names and values; at least one.
            id: `*` for the server's clock, or an ID above all those on the stream.

        Raises:
            EntryIdError: the ID is not above the last one.
            NotConfirmedError: the server could not be reached for 10 s.
            ArgumentError: there are no fields.
            WrongTypeError: the key holds no stream.
            StreamsError: an earlier call is still not settled: nothing of this one was sent.
        """
        return self.add_many([item(fields, id)]).first

    def add_many(
        self, items: Iterable[Item], *, batch: int = BATCH, rate: float | None = None
    ) -> Added:
        """Append many entries: mappings get an ID of the server's clock, an Entry keeps its own.

        Each batch is appended in one step: all of it, or nothing.

        Args:
            items: all of them mappings, or all of them of type Entry with growing IDs.
            batch: the most entries a round trip.
            rate: entries a second; as fast as it goes if it is None.

        Raises:
            NotConfirmedError: as for `add`; its `confirmed` counts what is on the stream.
        """
        with self._lock:
            with self._outbox.begin():
                self.flush()
            for chunk, due_s in paced(items, batch, rate):
                time.sleep(max(0.0, due_s - time.monotonic()))
                self._outbox.put(chunk)
                self.flush()
            return self._outbox.added

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        with self._lock:
            while (delay_s := self._outbox.next_try()) is not None:
                time.sleep(delay_s)
                try:
                    self._outbox.settle(self._append(**self._outbox.call()))
                except redis.RedisError as error:
                    reconnect(self._client, error)
                    self._outbox.fail(error)

    def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        self.flush()
        self._forget()

    def _forget(self) -> None:
        if self._outbox.forgettable:
            with suppress(redis.RedisError):  # the server forgets it after a day in any case
                self._client.hdel(self._outbox.memory, self._outbox.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.flush()
        self._forget()


class AsyncProducer:
    """The same for asyncio; tasks may share it.

    async with AsyncProducer(redis, "chennai") as producer:
        await producer.add({"temperature": 26, "humidity": 10})
    """

    def __init__(self, client: redis.asyncio.Redis, stream: str) -> None:
        expect_one_server(client, stream)
        self._client = client
        self._outbox = Outbox(stream, sends_again(client))
        self._append = client.register_script(APPEND)
        self._lock = asyncio.Lock()

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._outbox.added

    async def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID: see `Producer.add`."""
        return (await self.add_many([item(fields, id)])).first

    async def add_many(
        self, items: Iterable[Item], *, batch: int = BATCH, rate: float | None = None
    ) -> Added:
        """Append many entries: see `Producer.add_many`."""
        async with self._lock:
            with self._outbox.begin():
                await self._settle()
            for chunk, due_s in paced(items, batch, rate):
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                self._outbox.put(chunk)
                await self._settle()
            return self._outbox.added

    async def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        async with self._lock:
            await self._settle()

    async def _settle(self) -> None:
        while (delay_s := self._outbox.next_try()) is not None:
            await asyncio.sleep(delay_s)
            try:
                self._outbox.settle(await self._append(**self._outbox.call()))
            except redis.RedisError as error:
                await reconnect_async(self._client, error)
                self._outbox.fail(error)

    async def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        await self.flush()
        await self._forget()

    async def _forget(self) -> None:
        if self._outbox.forgettable:
            with suppress(redis.RedisError):  # the server forgets it after a day in any case
                await self._client.hdel(self._outbox.memory, self._outbox.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            await self.flush()
        await self._forget()


class Outbox:
    """The batch on its way: its number, what became of it, and when to try again.

    It decides, and neither sends nor waits, so that both producers can share it.
    """

    def __init__(self, stream: str, sends_again: bool) -> None:
        """Start without a batch.

        Args:
            stream: the stream's key.
            sends_again: the client itself may send a command more than once.
        """
        self.name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self.stream = stream
        self.memory = sibling_key(stream, PRODUCERS)
        self.added = Added(0, FIRST, FIRST)
        self._last: Item | None = None  # of this call, before the batch
        self._number = 0
        self._batch: list[Item] = []
        self._arguments: list[Value] = []
        self._known = False  # whether the server has noted that there is this producer
        self._tries = 0
        self._copies = self._repeats = sends_again
        self._patience = Patience()
        self._wait_s = 0.0

    @property
    def forgettable(self) -> bool:
        """Whether no copy of a batch can still be under way to the server."""
        return not self._batch and not self._copies

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Start to count for a new call, after the caller settled what is open of the last.

        Raises:
            StreamsError: that failed, so nothing of the new call is taken. No
                NotConfirmedError: that one would say that flush() brings the new entries.
        """
        with settled_before(self.stream):
            yield
        self.added = Added(0, FIRST, FIRST)
        self._last = None

    def put(self, batch: list[Item]) -> None:
        """Take the next batch, once the one before is settled."""
        self._arguments = encode(batch, self._last)
        self._batch = batch
        self._last = batch[-1]
        self._number += 1
        self._tries = 0
        self._wait_s = 0.0

    def next_try(self) -> float | None:
        """Seconds to wait before the batch is sent (again); None if nothing is open."""
        return self._wait_s if self._batch else None

    def call(self) -> dict[str, Any]:
        """The script's keys and arguments, to be sent once."""
        keys = [self.stream, self.memory]
        if not self._known:  # else a note that is gone would look like one that never was
            return {"keys": keys, "args": [self.name, 0, MEMORY_S, 1]}
        self._tries += 1
        if self._tries > 1:
            self._copies = True  # also after Ctrl-C or a cancelled task, which no error reports
        sent = self._tries + self._repeats
        return {"keys": keys, "args": [self.name, self._number, MEMORY_S, sent, *self._arguments]}

    def settle(self, reply: str) -> None:
        """The script ran: note the IDs that it gave, or raise what XADD said."""
        self._patience.renew()
        if reply == "forgotten":
            raise self._forgotten()
        if not self._known:
            self._known = True
            self._wait_s = 0.0
            return
        if not reply[0].isdigit():
            self._batch = []
            raise explain(redis.ResponseError(reply), self.stream)
        count = len(self._batch)
        first, final = EntryId.parse(reply), self._batch[-1]
        last = final.id if isinstance(final, Entry) else EntryId(first.ms, first.seq + count - 1)
        before = self.added
        added = Added(before.count + count, before.first if before.count else first, last)
        self.added, self._batch = added, []  # both or neither, also under Ctrl-C

    def _forgotten(self) -> NotConfirmedError:
        """What is known of the batch was lost with the note: evicted, deleted, or in a failover."""
        count, self._batch, self._known = len(self._batch), [], False
        return forgotten(count, self.added.count, self.stream)

    def fail(self, error: redis.RedisError) -> None:
        """Decide what an error means: return to try again, or raise what the caller gets."""
        if not passes(error) and self._tries <= 1:
            self._batch = []  # the only copy was refused, so nothing of it was appended
            raise refusal(error, self.stream) from error
        self._wait_s = self._patience.failed()
        if self._patience.exhausted:
            self._patience.renew()
            raise NotConfirmedError(
                f"{no_answer(error, self.stream)} {self.added.count} entries are on "
                f"{self.stream!r} for certain; call flush() to settle the next "
                f"{len(self._batch)}, which are there once or not at all.",
                confirmed=self.added.count,
                stream=self.stream,
            ) from error


@contextmanager
def settled_before(stream: str) -> Iterator[None]:
    """What fails in the block is of an earlier call: nothing of this one was sent."""
    try:
        yield
    except StreamsError as error:
        raise StreamsError(
            f"Nothing was sent, because of an earlier call. {error}", stream=stream
        ) from error


def forgotten(count: int, confirmed: int, stream: str) -> NotConfirmedError:
    """The note of a batch is gone, and with it the answer whether the batch was appended."""
    return NotConfirmedError(
        "The server has lost what it noted of this producer (evicted, deleted, or lost in a "
        f"failover), so that nothing can tell whether {count} entries were appended: they are on "
        f"{stream!r} once or not at all, and {confirmed} of this call before them are. Look "
        "before you add them again.",
        confirmed=confirmed,
        stream=stream,
    )


def no_answer(error: redis.RedisError, key: str) -> str:
    """Why nothing was confirmed for as long as patience lasts."""
    if unreachable(error):
        return f"The server could not be reached for {LIMIT_S:.0f} s ({error})."
    return f"For {LIMIT_S:.0f} s: {explain(error, key)}"


def sends_again(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether a client is set to repeat commands by itself, as redis-py's default is."""
    settings = client.connection_pool.connection_kwargs
    retry = settings.get("retry")
    on_error = settings.get("retry_on_error") or settings.get("retry_on_timeout")
    return bool(on_error or (retry and retry.get_retries()))


def refusal(error: redis.RedisError, stream: str) -> StreamsError:
    """Why a batch was not taken, by the server or by redis-py."""
    if isinstance(error, redis.DataError):
        return ArgumentError(f"The values of an entry are text or numbers ({error})", stream=stream)
    return explain(error, stream)


def item(fields: Fields, id: str | EntryId) -> Item:
    """One entry to append: with the ID given, or one that the server gives."""
    return fields if id == "*" else Entry(EntryId.parse(id), fields)  # type: ignore[arg-type]


def encode(batch: list[Item], before: Item | None = None) -> list[Value]:
    """The script's arguments for a batch that follows the item `before`, if there is one.

    Raises:
        EntryIdError: IDs that do not grow, or a mixture with the server's own.
        ArgumentError: an entry without fields, or with too many.
    """
    arguments: list[Value] = []
    for entry in batch:
        own = isinstance(entry, Entry)
        if before is not None and own != isinstance(before, Entry):
            raise EntryIdError("Either all entries of a call have their own IDs, or none has.")
        fields = entry.fields if isinstance(entry, Entry) else entry
        if not isinstance(fields, Mapping) or not 0 < len(fields) <= MAX_FIELDS:
            raise ArgumentError(
                f"{fields!r:.80} is no entry: it takes a dict of 1 to {MAX_FIELDS} fields."
            )
        arguments += (1 + 2 * len(fields), _id_above(before, entry))
        for pair in fields.items():
            arguments += pair
        before = entry
    return arguments


def _id_above(before: Item | None, entry: Item) -> str:
    """The ID that an entry is added with: its own, if that follows the one before, or `*`."""
    if not isinstance(entry, Entry):
        return "*"
    last = before.id if isinstance(before, Entry) else FIRST
    if entry.id <= last:
        raise EntryIdError(
            f"The ID {entry.id} does not follow {last}: IDs grow from entry to entry."
        )
    return str(entry.id)


def paced(
    items: Iterable[Item], batch: int, rate: float | None
) -> Iterator[tuple[list[Item], float]]:
    """Cut items into batches, each with the time.monotonic() at which it is due.

    Raises:
        ArgumentError: a batch or a rate that is not above zero.
    """
    if batch < 1 or (rate is not None and not (rate > 0 and math.isfinite(rate))):
        raise ArgumentError("A batch and a rate must be above zero.")
    if not isinstance(items, Iterable):
        raise ArgumentError(f"{items!r:.80} is no series of entries: give a list or a generator.")
    size = batch if rate is None else min(batch, max(1, int(rate / 20)))  # 20 batches a second
    start, sent, rest = time.monotonic(), 0, iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk, start + sent / rate if rate else start
        sent += len(chunk)
