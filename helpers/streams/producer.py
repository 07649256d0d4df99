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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Self

import redis
import redis.asyncio

from .connection import expect_one_server
from .entry import FIRST, Entry, EntryId
from .errors import (
    ArgumentError,
    EntryIdError,
    NotConfirmedError,
    StreamsError,
    WrongTypeError,
    explain,
)
from .keys import PRODUCERS, expect_name, sibling_key
from .patience import LIMIT_S, Patience
from .single import Single, portion
from .states import passes, reconnect, reconnect_async, unreachable
from .text import text_of
from .values import Word, shown, words

Fields = Mapping[Any, Any]  # names and values: see `values` for what each is on the stream
Item = Fields | Entry

BATCH = 1000  # entries a round trip
MEMORY_S = 86_400  # how long the server remembers a producer that fell silent
LARGE = 2**19  # bytes: below that no server refuses a command for its size
STRIKES = 3  # so often a large entry is sent and the connection lost, with a server that answers

APPEND = """#!lua
-- KEYS: the stream, what is remembered of its producers.
-- ARGV: producer, number of the batch, seconds to remember it, how often it was sent,
--       then for each entry: how many arguments follow, its ID, field, value, …
-- Without entries it notes the number alone, so that no copy of that batch is appended later.
-- Replies with the IDs of the first and the last entry, how many were appended, and what XADD
-- said of the others: of those before, whose IDs were too small, or of those behind. If none was,
-- with that alone; with known where there are no entries; and with forgotten where there was a
-- note, and it is gone: so it cannot be known whether a copy that was sent before was appended.
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
local first, last, count, refused = nil, nil, 0, nil
local later = '*'
local at = 5
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local id = ARGV[at + 1]
  if id == '*' then id = later end
  local added = redis.pcall('XADD', KEYS[1], id, unpack(ARGV, at + 2, at + n))
  if type(added) ~= 'table' then
    if not first then
      first = added
      if id == '*' then later = added:match('^%d+') .. '-*' end  -- so a batch's IDs follow
    end
    last, count = added, count + 1
  elseif id == later and later ~= '*' then
    later, n = '*', -1  -- this millisecond has no more IDs
  else
    -- What the server cannot do now, it may do later. What it refuses is noted, so that no late
    -- copy is taken where this one was not.
    if not first and not added.err:find('^ERR') and not added.err:find('^WRONGTYPE') then
      return added
    end
    refused = added.err
    if not refused:find('smaller') then break end
  end
  at = at + n + 1
end
local answer = first and first .. ' ' .. last .. ' ' .. count or refused or 'known'
if first and refused then answer = answer .. ' ' .. refused end
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


class Tally:
    """What became of the entries of one call."""

    def __init__(self) -> None:
        self.added = Added(0, FIRST, FIRST)
        self._given_back: list[Any] = []
        self._why: StreamsError | None = None

    def with_more(self, count: int, first: EntryId, last: EntryId) -> Added:
        """What is appended with so many more."""
        before = self.added
        return Added(before.count + count, before.first if before.count else first, last)

    def give_back(self, entries: Sequence[Any], why: StreamsError) -> None:
        """These can never be appended; the others can."""
        self._given_back += entries
        self._why = self._why or why

    def ended(self, why: StreamsError, left: Sequence[Any]) -> StreamsError:
        """The error that ends a call, with these too."""
        why.entries = [*self._given_back, *left]
        self._given_back, self._why = [], None
        return why

    @property
    def full(self) -> bool:
        """Whether so much is given back that the caller should hear of it."""
        return len(self._given_back) >= BATCH

    def result(self, stream: str | None = None) -> Added:
        """What was appended, if that is all.

        Raises:
            StreamsError: some entries are given back, with why the first of them is.
        """
        if (why := self._why) is None:
            return self.added
        rest, count = len(self._given_back) - 1, self.added.count
        more = f" So are {rest} more, for this or another reason." if rest else ""
        said = f" It is given back.{more} {count} of this call were appended."
        error = type(why)(f"{why}{said if rest or count else ''}", stream=stream)
        raise self.ended(error, []) from why


class Producer(Single):
    """Appends entries to one stream, each exactly once. Use it in a `with` block.

        with Producer(redis, "chennai") as producer:
            producer.add({"temperature": 26, "humidity": 10})

    Promise: an entry whose `add` returned is on the stream once, whatever happened to the
    connection meanwhile. When `add` raises NotConfirmedError, the entry is there once or not
    at all, and the next call, or `flush()`, first makes sure that it is. A producer that is
    killed has added its last batch once or not at all.

    Threads may share a producer: it serves one call after the other. A forked child and a copy
    have an identity and connections of their own, and nothing to settle.

    An entry that can never be appended is given back: the others of the call are appended, then
    an ArgumentError is raised that has it in its `entries`. Such are a value that has no text (see
    `values`), an ID that is not above the last one, and more bytes than the server takes.
    """

    def __init__(self, client: redis.Redis, stream: str, *, patience_s: float = LIMIT_S) -> None:
        """Prepare to append; nothing is sent yet.

        Args:
            client: a client from `connect()`.
            stream: the stream's key.
            patience_s: how long, in seconds, the server may be out of reach, silent, or in a
                state that passes, before a call raises NotConfirmedError.
        """
        expect_one_server(client, stream)
        self._client, self._stream, self._patience_s = client, stream, patience_s
        self._append = client.register_script(APPEND)
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._outbox = Outbox(self._stream, sends_again(self._client), self._patience_s)
        self._lock = threading.RLock()

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._outbox.tally.added

    def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID.

        Args:
            fields: names and values; at least one.
            id: `*` for the server's clock, or an ID above all those on the stream.

        Raises:
            EntryIdError: the ID is not above the last one.
            NotConfirmedError: the server could not be reached for `patience_s`.
            ArgumentError: it has no fields, or a value that has no text, or is too large.
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
            ArgumentError: some are given back, as its `entries`; all others are on the stream. Once
                a thousand are, it is raised at the end of their batch.
        """
        with self._lock:
            with settled_before(self._outbox.stream):
                self.flush()
            with self._outbox.call():
                for chunk, due_s in paced(items, batch, rate):
                    time.sleep(max(0.0, due_s - time.monotonic()))
                    self._outbox.put(chunk)
                    self._settle()
                    if self._outbox.tally.full:
                        break
                return self._outbox.result()

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        with self._lock:
            self._settle()
            self._outbox.result()

    def _settle(self) -> None:
        while (delay_s := self._outbox.next_try()) is not None:
            time.sleep(delay_s)
            try:
                self._outbox.settle(self._append(**self._outbox.command()))
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


class AsyncProducer(Single):
    """The same for asyncio; tasks may share it.

    async with AsyncProducer(redis, "chennai") as producer:
        await producer.add({"temperature": 26, "humidity": 10})
    """

    def __init__(
        self, client: redis.asyncio.Redis, stream: str, *, patience_s: float = LIMIT_S
    ) -> None:
        """Prepare to append: see `Producer`."""
        expect_one_server(client, stream)
        self._client, self._stream, self._patience_s = client, stream, patience_s
        self._append = client.register_script(APPEND)
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._outbox = Outbox(self._stream, sends_again(self._client), self._patience_s)
        self._lock = asyncio.Lock()

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._outbox.tally.added

    async def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID: see `Producer.add`."""
        return (await self.add_many([item(fields, id)])).first

    async def add_many(
        self, items: Iterable[Item], *, batch: int = BATCH, rate: float | None = None
    ) -> Added:
        """Append many entries: see `Producer.add_many`."""
        async with self._lock:
            with settled_before(self._outbox.stream):
                await self._settle()
                self._outbox.result()
            with self._outbox.call():
                for chunk, due_s in paced(items, batch, rate):
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                    self._outbox.put(chunk)
                    await self._settle()
                    if self._outbox.tally.full:
                        break
                return self._outbox.result()

    async def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        async with self._lock:
            await self._settle()
            self._outbox.result()

    async def _settle(self) -> None:
        while (delay_s := self._outbox.next_try()) is not None:
            await asyncio.sleep(delay_s)
            try:
                self._outbox.settle(await self._append(**self._outbox.command()))
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


class Batch(NamedTuple):
    """Entries that are appended in one step, and the script's arguments for them."""

    number: int
    items: Sequence[Item]
    arguments: Sequence[int | Word]

    def apart(self) -> list[Batch]:
        """The same in portions: see there. They have no numbers yet."""
        each, at = [], 0
        while at < len(self.arguments):
            each.append(self.arguments[at : at + 1 + int(self.arguments[at])])
            at += len(each[-1])
        return [
            Batch(0, self.items[part], [*chain.from_iterable(each[part])])
            for part in portions(map(size_of, each))
        ]


class Outbox(Single):
    """The batches on their way: their numbers, what became of them, and when to try again.

    It decides, and neither sends nor waits, so that both producers can share it.
    """

    def __init__(self, stream: str, sends_again: bool, patience_s: float = LIMIT_S) -> None:
        """Start without a batch.

        Args:
            stream: the stream's key.
            sends_again: the client itself may send a command more than once.
            patience_s: how long the server may be out of reach, in seconds.
        """
        self.stream = expect_name("stream", stream)
        self.memory = sibling_key(self.stream, PRODUCERS)
        self._repeats, self._patience_s = sends_again, patience_s
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self.name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self.tally = Tally()
        self._last: Item | None = None  # of this call, before the batch
        self._depth = 0  # of calls: a generator may add by itself
        self._number = 0
        self._batches: list[Batch] = []  # the first one is on its way
        self._known = False  # whether the server has noted that there is this producer
        self._tries = 0
        self._asks = False  # what became of the batch, and lets the server take no copy of it
        self._strikes = 0
        self._copies = self._repeats
        self._patience = Patience(self._patience_s)
        self._sent_at = 0.0
        self._wait_s = 0.0

    @property
    def forgettable(self) -> bool:
        """Whether the server knows us, and no copy of a batch can still be under way to it."""
        return self._known and not self._batches and not self._copies

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count for one call, after the caller settled what is open of the last."""
        outer = self.tally, self._last
        self.tally, self._last = Tally(), None
        self._depth += 1
        try:
            yield
        finally:
            self._depth = max(0, self._depth - 1)  # in a forked child it began anew
            if self._depth:
                self.tally, self._last = outer

    def put(self, items: list[Item]) -> None:
        """Take the next batch, once the one before is settled; give back what cannot be sent."""
        try:
            arguments = encode(items, self._last)
        except EntryIdError as error:
            error.entries = items
            raise
        except ArgumentError:
            items = sound(items, self.tally)
            arguments = encode(items, self._last)
        if items:
            self._last = items[-1]
            self._begin(self._numbered([Batch(0, items, arguments)]))

    def _numbered(self, batches: list[Batch]) -> list[Batch]:
        """The same where the first one, which is to be sent next, has a number of its own."""
        if not batches:
            return []
        self._number += 1
        return [batches[0]._replace(number=self._number), *batches[1:]]

    def _begin(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._tries, self._asks, self._wait_s = 0, False, 0.0

    def next_try(self) -> float | None:
        """Seconds to wait before the batch is sent (again); None if nothing is open."""
        return self._wait_s if self._batches else None

    def command(self) -> dict[str, Any]:
        """The script's keys and arguments, to be sent once."""
        self._sent_at = time.monotonic()
        keys = [self.stream, self.memory]
        if not self._known:  # else a note that is gone would look like one that never was
            return {"keys": keys, "args": [self.name, 0, MEMORY_S, 1]}
        batch = self._batches[0]
        self._tries += 1
        if self._tries > 1:
            self._copies = True  # also after Ctrl-C or a cancelled task, which no error reports
        sent = self._tries + self._repeats
        arguments = [] if self._asks else batch.arguments
        return {"keys": keys, "args": [self.name, batch.number, MEMORY_S, sent, *arguments]}

    def settle(self, reply: str | bytes) -> None:
        """The script ran: note the IDs that it gave, or raise what XADD said."""
        self._patience.renew()
        reply = str(text_of(reply))
        if reply == "forgotten":
            raise self._forgotten()
        if not self._known:
            self._known = True
            self._wait_s = 0.0
        elif reply == "known":
            self._cut()
        elif reply[0].isdigit():
            self._appended(*reply.split(" ", 3))
        else:
            why = explain(redis.ResponseError(reply), self.stream)
            if not isinstance(why, EntryIdError):
                raise self._ended(why)
            self._appended("0-0", "0-0", "0", reply)

    def _appended(self, first: str, last: str, count: str, said: str = "") -> None:
        """So many of a batch are on the stream; the others never will be."""
        items, number, tally = self._batches[0].items, int(count), self.tally
        if said:
            why = explain(redis.ResponseError(said), self.stream)
            before = "smaller" in said  # their IDs were
            others = items[: len(items) - number] if before else items[number:]
            if not isinstance(why, ArgumentError):
                why = ArgumentError(str(why), stream=self.stream)
            tally.give_back(others, why)
        added = tally.added
        if number:
            added = tally.with_more(number, EntryId.parse(first), EntryId.parse(last))
        rest = self._numbered(self._batches[1:])
        tally.added, self._batches = added, rest  # both or neither, also on Ctrl-C
        self._strikes = 0
        self._begin(rest)

    def _cut(self) -> None:
        """The connection is lost with this batch, and the server has nothing of it: divide it."""
        batch, *rest = self._batches
        parts = batch.apart()
        if len(parts) == 1:
            self._strikes += 1 + self._repeats
            if self._strikes >= STRIKES:
                self.tally.give_back(batch.items, too_large(batch.items[0], self.stream))
                self._strikes, parts = 0, []
        self._begin(self._numbered(parts + rest))

    def result(self) -> Added:
        """What was appended, once all is settled; raises what is given back."""
        return self.tally.result(self.stream)

    def _ended(self, why: StreamsError) -> StreamsError:
        """Nothing more of this call is taken."""
        left = [one for batch in self._batches for one in batch.items]
        self._batches = []
        return self.tally.ended(why, left)

    def _forgotten(self) -> NotConfirmedError:
        """What is known of the batch was lost with the note: evicted, deleted, or in a failover."""
        count, self._known = len(self._batches.pop(0).items), False
        why = forgotten(count, self.tally.added.count, self.stream)
        self._ended(why)  # the rest was not sent
        return why

    def fail(self, error: redis.RedisError) -> None:
        """Decide what an error means: return to try again, or raise what the caller gets."""
        lost = connection_lost(error)
        if not passes(error) and not lost and self._tries <= 1:
            # The only copy was refused, so nothing of it was appended. XADD's errors are replies.
            notes = "WRONGTYPE" in str(error)
            raise self._ended(
                no_notes(self.memory) if notes else explain(error, self.stream)
            ) from error
        tries = self._tries + self._strikes + self._repeats
        self._asks = self._asks or (
            lost and tries > 1 and size_of(self._batches[0].arguments) >= LARGE
        )
        self._wait_s = self._patience.failed(self._sent_at)
        if self._patience.exhausted:
            self._patience.renew()
            confirmed = self.tally.added.count
            raise NotConfirmedError(
                f"{no_answer(error, self.stream, self._patience)} {confirmed} entries are on "
                f"{self.stream!r} for certain; call flush() to settle the next "
                f"{sum(len(one.items) for one in self._batches)}, which are there once or not at "
                "all.",
                confirmed=confirmed,
                stream=self.stream,
            ) from error


def connection_lost(error: redis.RedisError) -> bool:
    """Whether an error may come of a command that is too large for the server.

    It closes the connection, and what is heard of that is a reset, or its word of the protocol.
    """
    return unreachable(error) or "Protocol error" in str(error)


def portions(sizes: Iterable[int]) -> list[slice]:
    """Where to cut a batch, so that none is large, and an entry that is it alone comes alone.

    Args:
        sizes: of its entries, in bytes.
    """
    found: list[slice] = []
    total = 0
    for at, size in enumerate(sizes):
        total += size
        if found and total < LARGE:
            found[-1] = slice(found[-1].start, at + 1)
        else:
            found.append(slice(at, at + 1))
            total = size
    return found


def size_of(parts: Iterable[int | Word]) -> int:
    """About how many bytes the parts of a command are on the wire."""
    return sum(16 + (8 if isinstance(one, int) else len(one)) for one in parts)


def sound(items: list[Any], tally: Tally) -> list[Any]:
    """The entries of a batch that can be sent; the others are given back."""
    found = []
    for one in items:
        try:
            words(one.fields if isinstance(one, Entry) else one)
        except ArgumentError as why:
            tally.give_back([one], why)
        else:
            found.append(one)
    return found


def too_large(item: Item, stream: str) -> ArgumentError:
    """Why an entry is given back that breaks each connection on which it is sent."""
    return ArgumentError(
        f"The entry {shown(item)} is larger than the server takes: it closes the connection. "
        "Divide it, keep the large value elsewhere, or raise proto-max-bulk-len.",
        stream=stream,
    )


def no_notes(memory: str) -> WrongTypeError:
    """The key beside the stream is taken."""
    return WrongTypeError(
        f"The key {memory!r}, where the server notes what producers have appended, holds something "
        "else: rename it, or delete it.",
        key=memory,
    )


@contextmanager
def settled_before(stream: str) -> Iterator[None]:
    """What fails in the block is of an earlier call: nothing of this one was sent."""
    try:
        yield
    except StreamsError as error:
        told = StreamsError(f"Nothing was sent, because of an earlier call. {error}", stream=stream)
        told.entries = error.entries
        raise told from error


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


def no_answer(error: redis.RedisError, key: str, patience: Patience) -> str:
    """Why nothing was confirmed for as long as patience lasts."""
    if unreachable(error):
        return f"The server could not be reached for {patience.limit_s:g} s ({error})."
    return f"For {patience.limit_s:g} s: {explain(error, key)}"


def sends_again(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether a client is set to repeat commands by itself, as redis-py's default is."""
    settings = client.connection_pool.connection_kwargs
    retry = settings.get("retry")
    on_error = settings.get("retry_on_error") or settings.get("retry_on_timeout")
    return bool(on_error or (retry and retry.get_retries()))


def item(fields: Fields, id: str | EntryId) -> Item:
    """One entry to append: with the ID given, or one that the server gives."""
    return fields if id == "*" else Entry(EntryId.parse(id), fields)  # type: ignore[arg-type]


def encode(batch: Sequence[Item], before: Item | None = None) -> list[int | Word]:
    """The script's arguments for a batch that follows the item `before`, if there is one.

    Raises:
        EntryIdError: IDs that do not grow, or a mixture with the server's own.
        ArgumentError: what is no entry, or a value that has no text.
    """
    arguments: list[int | Word] = []
    for entry in batch:
        own = isinstance(entry, Entry)
        if before is not None and own != isinstance(before, Entry):
            raise EntryIdError("Either all entries of a call have their own IDs, or none has.")
        said = words(entry.fields if isinstance(entry, Entry) else entry)
        arguments += (1 + len(said), _id_above(before, entry) if own else "*", *said)
        before = entry
    return arguments


def _id_above(before: Any, entry: Any) -> str:
    """The ID that an entry is added with: its own, if that follows the one before."""
    last = EntryId.parse(before._id) if before else FIRST
    own = EntryId.parse(entry._id)  # as it was given
    if own <= last:
        raise EntryIdError(f"The ID {own} does not follow {last}: IDs grow from entry to entry.")
    return str(own)


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
    while chunk := portion(rest, size):
        yield chunk, start + sent / rate if rate else start
        sent += len(chunk)
