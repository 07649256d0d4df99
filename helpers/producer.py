"""Producers: append entries to a stream, each exactly once, also when a reply is lost.

When the connection breaks after an XADD was sent and before its reply came, nobody can tell
whether the entry is on the stream. Sending it again may add it twice; not sending it may
lose it. So a producer numbers its batches, and a script on the server appends a batch and
notes its number in one step. A batch whose number is noted already is not appended again.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import redis
import redis.asyncio

from helpers.database import beside
from helpers.entry import FIRST, Entry, EntryId
from helpers.errors import CourseError, EntryIdError, NotConfirmedError, explain
from helpers.patience import LIMIT_S, Patience, out_of_reach

Value = str | int | float
Fields = Mapping[str, Value]
Item = Fields | Entry

BATCH = 1000  # entries a round trip
MEMORY_S = 86_400  # how long the server remembers a producer that fell silent
MAX_FIELDS = 1000  # fields an entry: Lua cannot pass many more to one XADD

APPEND = """
-- KEYS: the stream, what is remembered of its producers.
-- ARGV: producer, number of the batch, seconds to remember it,
--       then for each entry: how many arguments follow, its ID, field, value, …
local noted = redis.call('HGET', KEYS[2], ARGV[1])
if noted then
  local number, first = noted:match('^(%d+) (.+)$')
  if tonumber(number) >= tonumber(ARGV[2]) then return first end
end
local first
local later = '*'
local at = 4
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local id = ARGV[at + 1]
  if id == '*' then id = later end
  local added = redis.call('XADD', KEYS[1], id, unpack(ARGV, at + 2, at + n))
  if not first then
    first = added
    later = added:match('^%d+') .. '-*'  -- so the IDs of a batch follow each other
  end
  at = at + n + 1
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. first)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return first
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
    """

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self._client = client
        self._outbox = Outbox(stream)
        self._append = client.register_script(APPEND)

    def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID.

        Args:
            fields: names and values; at least one.
            id: `*` for the server's clock, or an ID above all those on the stream.

        Raises:
            EntryIdError: the ID is not above the last one.
            NotConfirmedError: the server could not be reached for 10 s.
            CourseError: there are no fields, or the key holds no stream.
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
        self.flush()
        self._outbox.begin()
        for chunk, due_s in paced(items, batch, rate):
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._outbox.put(chunk)
            self.flush()
        return self._outbox.added

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        while (delay_s := self._outbox.next_try()) is not None:
            time.sleep(delay_s)
            try:
                self._outbox.settle(self._append(**self._outbox.call()))
            except redis.RedisError as error:
                self._outbox.fail(error)

    def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        self.flush()
        if self._outbox.forgettable:
            self._client.hdel(self._outbox.memory, self._outbox.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()


class AsyncProducer:
    """The same for asyncio.

    async with AsyncProducer(redis, "chennai") as producer:
        await producer.add({"temperature": 26, "humidity": 10})
    """

    def __init__(self, client: redis.asyncio.Redis, stream: str) -> None:
        self._client = client
        self._outbox = Outbox(stream)
        self._append = client.register_script(APPEND)

    async def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID: see `Producer.add`."""
        return (await self.add_many([item(fields, id)])).first

    async def add_many(
        self, items: Iterable[Item], *, batch: int = BATCH, rate: float | None = None
    ) -> Added:
        """Append many entries: see `Producer.add_many`."""
        await self.flush()
        self._outbox.begin()
        for chunk, due_s in paced(items, batch, rate):
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._outbox.put(chunk)
            await self.flush()
        return self._outbox.added

    async def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        while (delay_s := self._outbox.next_try()) is not None:
            await asyncio.sleep(delay_s)
            try:
                self._outbox.settle(await self._append(**self._outbox.call()))
            except redis.RedisError as error:
                self._outbox.fail(error)

    async def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        await self.flush()
        if self._outbox.forgettable:
            await self._client.hdel(self._outbox.memory, self._outbox.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            await self.close()


class Outbox:
    """The batch on its way: its number, what became of it, and when to try again.

    It decides, and neither sends nor waits, so that both producers can share it.
    """

    def __init__(self, stream: str) -> None:
        self.name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self.stream = stream
        self.memory = beside(stream, "producers")
        self.begin()
        self._number = 0
        self._batch: list[Item] = []
        self._arguments: list[Value] = []
        self._patience = Patience()
        self._wait_s = 0.0
        self._lost_sight = False

    @property
    def forgettable(self) -> bool:
        """Whether no copy of a batch can still be under way to the server."""
        return not self._batch and not self._lost_sight

    def begin(self) -> None:
        """Start to count for a new call."""
        self.added = Added(0, FIRST, FIRST)

    def put(self, batch: list[Item]) -> None:
        """Take the next batch, once the one before is settled."""
        self._arguments = encode(batch)
        self._batch = batch
        self._number += 1
        self._wait_s = 0.0

    def next_try(self) -> float | None:
        """Seconds to wait before the batch is sent (again); None if nothing is open."""
        return self._wait_s if self._batch else None

    def call(self) -> dict[str, Any]:
        """The script's keys and arguments."""
        return {
            "keys": [self.stream, self.memory],
            "args": [self.name, self._number, MEMORY_S, *self._arguments],
        }

    def settle(self, reply: str) -> None:
        """The batch is on the stream: note its IDs."""
        count = len(self._batch)
        first, final = EntryId.parse(reply), self._batch[-1]
        last = final.id if isinstance(final, Entry) else EntryId(first.ms, first.seq + count - 1)
        before = self.added
        self.added = Added(before.count + count, before.first if before.count else first, last)
        self._batch = []
        self._patience.renew()

    def fail(self, error: redis.RedisError) -> None:
        """Decide what an error means: return to try again, or raise what the caller gets."""
        if not out_of_reach(error):
            self._batch = []  # the server answered, so nothing of it was appended
            raise explain(error, self.stream) from error
        self._lost_sight = True
        self._wait_s = self._patience.failed()
        if self._patience.exhausted:
            self._patience.renew()
            raise NotConfirmedError(
                f"The server could not be reached for {LIMIT_S:.0f} s ({error}). "
                f"{self.added.count} entries are on {self.stream!r} for certain; call flush() "
                f"to settle the next {len(self._batch)}, which are there once or not at all.",
                confirmed=self.added.count,
            ) from error


def item(fields: Fields, id: str | EntryId) -> Item:
    """One entry to append: with the ID given, or one that the server gives."""
    if id == "*":
        return fields
    return Entry(EntryId.parse(id), dict(fields))  # type: ignore[arg-type]


def encode(batch: list[Item]) -> list[Value]:
    """The script's arguments for a batch.

    Raises:
        EntryIdError: IDs that do not grow, or a mixture with the server's own.
        CourseError: an entry without fields, or with too many.
    """
    arguments: list[Value] = []
    last: EntryId | None = None
    for place, entry in enumerate(batch):
        given = entry.id if isinstance(entry, Entry) else None
        fields = entry.fields if isinstance(entry, Entry) else entry
        if place and (given is None) != (last is None):
            raise EntryIdError("Either all entries of a call have their own IDs, or none has.")
        if given is not None and given <= (last or FIRST):
            raise EntryIdError(
                f"The ID {given} does not follow {last or FIRST}: IDs grow from entry to entry."
            )
        if not isinstance(fields, Mapping) or not 0 < len(fields) <= MAX_FIELDS:
            raise CourseError(
                f"{fields!r:.80} is no entry: it takes a dict of 1 to {MAX_FIELDS} fields."
            )
        arguments += (1 + 2 * len(fields), "*" if given is None else str(given))
        for pair in fields.items():
            arguments += pair
        last = given
    return arguments


def paced(
    items: Iterable[Item], batch: int, rate: float | None
) -> Iterator[tuple[list[Item], float]]:
    """Cut items into batches, each with the time.monotonic() at which it is due.

    Raises:
        CourseError: a batch or a rate that is not above zero.
    """
    if batch < 1 or (rate is not None and not (rate > 0 and math.isfinite(rate))):
        raise CourseError("A batch and a rate must be above zero.")
    size = batch if rate is None else min(batch, max(1, int(rate / 20)))  # 20 batches a second
    start, sent, rest = time.monotonic(), 0, iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk, start + sent / rate if rate else start
        sent += len(chunk)
