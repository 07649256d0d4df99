"""What a producer sends, step by step, and what becomes of it: two classes decide, none sends.

When the connection breaks after an XADD was sent and before its reply came, nobody can tell
whether the entry is on the stream. Sending it again may add it twice; not sending it may
lose it. So a producer numbers its batches, and a script on the server appends a batch and
notes its number in one step. A batch whose number is noted already is not appended again:
the script repeats the answer that it gave the first time, whatever copy of it comes first.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import redis
import redis.asyncio

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
from .states import passes, unreachable
from .steps import Steps, Wait
from .text import text_of
from .values import Word, shown, words

Fields = Mapping[Any, Any]  # names and values: see `values` for what each is on the stream
Item = Fields | Entry

BATCH = 1000  # entries a round trip
MEMORY_S = 86_400  # how long the server remembers a producer that fell silent
WAIT_MS = 500  # how long the replicas are waited for at a time
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
        are = "is" if rest == 1 else "are"
        more = f" So {are} {rest} more, for this or another reason." if rest else ""
        said = f" It is given back.{more} {count} of this call were appended."
        error = type(why)(f"{why}{said if rest or count else ''}", stream=stream)
        raise self.ended(error, []) from why


@dataclass
class Batch:
    """Entries that are appended in one step."""

    number: int  # 0 until it is sent
    items: list[Any]
    packed: Any  # what appends them: the script's arguments, or the bytes of a MULTI
    sent: int = 0  # how often
    asks: bool = False  # what became of it, and lets the server take no copy of it any more
    under_way: bool = False  # its replies are to be read


class Outbox(Single):
    """The batches of one producer until each is settled. A subclass says how one is appended.

    Its public methods are steps: see there. They may be abandoned after any of them.
    """

    def __init__(
        self, client: Any, stream: str, patience_s: float = LIMIT_S, replicas: int = 0
    ) -> None:
        self.stream = expect_name("stream", stream)
        self.memory = sibling_key(self.stream, PRODUCERS)
        self._client, self._patience_s = client, patience_s
        if not isinstance(replicas, int) or replicas < 0:
            raise ArgumentError(f"replicas is how many must confirm: 0 or more, not {replicas!r}.")
        self._replicas = replicas
        self._append = client.register_script(APPEND)
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self.name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self.tally = Tally()
        self._depth = 0  # of calls: a generator may add by itself
        self._number = 0
        self._copies = False  # whether a copy of a batch may still be under way
        self._batches: list[Batch] = []  # the first one is on its way
        self._known = False  # whether the server has noted that there is this producer
        self._patience = Patience(self._patience_s)
        self._sent_at = 0.0  # when what may fail next was

    def flush(self) -> Steps[None]:
        """Settle what is open, and raise what is given back."""
        yield from self._settle()
        self.tally.result(self.stream)

    def close(self) -> Steps[None]:
        """Settle what is open, and let the server forget this producer."""
        yield from self.flush()
        yield from self.forget()

    def forget(self) -> Steps[None]:
        """Let the server forget this producer, if it can: after a day it does in any case."""
        if self._known and not self._batches and not self._copies:
            with suppress(redis.RedisError):
                yield partial(self._client.hdel, self.memory, self.name)

    def call(self, work: Steps[None]) -> Steps[Added]:
        """What one call's work adds, once what is open of the last one is settled."""
        try:
            yield from self.flush()
        except StreamsError as error:
            told = StreamsError(
                f"Nothing was sent, because of an earlier call. {error}", stream=self.stream
            )
            told.entries = error.entries
            raise told from error
        outer, self.tally = self.tally, Tally()
        self._depth += 1
        try:
            yield from work
            return self.tally.result(self.stream)
        finally:
            self._depth = max(0, self._depth - 1)  # in a forked child it began anew
            if self._depth:
                self.tally = outer

    def _settle(self) -> Steps[None]:
        """Send each batch until it is known what became of it."""
        raise NotImplementedError

    def _fail(self, error: redis.RedisError) -> Steps[None]:
        """Wait before the next try, or raise what the caller gets."""
        raise NotImplementedError

    def _try_again(self, error: redis.RedisError, *, sure: bool, by_notes: bool) -> Steps[None]:
        """The same, where a refusal is for good if it is `sure` that no copy can be appended.

        WRONGTYPE is then said of the stream, or of what the server notes beside it.
        """
        if sure and not passes(error) and not connection_lost(error):
            notes = by_notes and "WRONGTYPE" in str(error)
            why = no_notes(self.memory) if notes else explain(error, self.stream)
            raise self._ended(why) from error
        wait_s = self._patience.failed(self._sent_at)
        if self._patience.exhausted:
            self._patience.renew()
            count, left = self.tally.added.count, sum(len(one.items) for one in self._batches)
            raise NotConfirmedError(
                f"{no_answer(error, self.stream, self._patience)} {count} entries are on "
                f"{self.stream!r} for certain; call flush() to settle the next {left}, which are "
                "there once or not at all.",
                confirmed=count,
                stream=self.stream,
            ) from error
        yield Wait(wait_s)

    def _run(self, number: int, sent: int, arguments: list[Any]) -> Any:
        self._sent_at = time.monotonic()
        args = [self.name, number, MEMORY_S, sent, *arguments]
        return self._append([self.stream, self.memory], args)

    def _register(self) -> Steps[None]:
        """Have it noted that there is this producer, so that a note that is gone can be told."""
        while not self._known:
            try:
                yield partial(self._run, 0, 1, [])
                self._known = True
                self._patience.renew()
            except redis.RedisError as error:
                yield from self._fail(error)

    def _replicated(self, number: int) -> Steps[bool]:
        """Wait until enough replicas have a batch; False if its note is gone, and so it may be.

        WAIT is about what was written on its own connection: so it writes, behind the batch.
        """
        while self._replicas:
            self._sent_at = time.monotonic()
            try:
                _, noted, count = yield self._ask_replicas
                if noted is None or int(text_of(noted).split()[0]) < number:
                    return False
                if count >= self._replicas:
                    break
                raise _TooFewReplicas(f"NOREPLICAS {count} of {self._replicas}")
            except redis.RedisError as error:
                yield from self._fail(error)
        return True

    def _ask_replicas(self) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.expire(self.memory, MEMORY_S)
        pipeline.hget(self.memory, self.name)
        pipeline.wait(self._replicas, WAIT_MS)
        return pipeline.execute()

    def _appended(self, count: int, first: str, last: str) -> None:
        """So many of the first batch are on the stream; the others never will be."""
        self._patience.renew()
        added = self.tally.added
        if count:
            added = self.tally.with_more(count, EntryId.parse(first), EntryId.parse(last))
        # both or neither, also on Ctrl-C
        self.tally.added, self._batches = added, self._batches[1:]

    def _ended(self, why: StreamsError) -> StreamsError:
        """Nothing more of this call is taken."""
        left = [one for batch in self._batches for one in batch.items]
        self._batches = []
        return self.tally.ended(why, left)

    def _too_large(self, batch: Batch) -> None:
        """Give back an entry that breaks each connection on which it is sent."""
        why = ArgumentError(
            f"The entry {shown(batch.items[0])} is larger than the server takes: it closes the "
            "connection. Divide it, keep the large value elsewhere, or raise proto-max-bulk-len.",
            stream=self.stream,
        )
        self.tally.give_back(batch.items, why)
        self._batches = self._batches[1:]

    def _forgotten(self) -> StreamsError:
        """What is known of the batch was lost with the note: evicted, deleted, or in a failover."""
        count, confirmed = len(self._batches.pop(0).items), self.tally.added.count
        self._known = False
        why = NotConfirmedError(
            "The server has lost what it noted of this producer (evicted, deleted, or lost in a "
            f"failover), so that nothing can tell whether {count} entries were appended: they are "
            f"on {self.stream!r} once or not at all, and {confirmed} of this call before them are. "
            "Look before you add them again.",
            confirmed=confirmed,
            stream=self.stream,
        )
        return Outbox._ended(self, why)  # the rest was not sent


class ScriptOutbox(Outbox):
    """Batches that the script appends."""

    def _reset(self) -> None:
        super()._reset()
        self._copies = self._repeats = sends_again(self._client)
        self._strikes = 0  # of a batch of one, which was sent as many batches

    def add(self, items: Iterable[Item], batch: int, rate: float | None) -> Steps[None]:
        """Append entries: see `Producer.add_many`."""
        if batch < 1 or (rate is not None and not (rate > 0 and math.isfinite(rate))):
            raise ArgumentError("A batch and a rate must be above zero.")
        if not isinstance(items, Iterable):
            said = f"{items!r:.80} is no series of entries: give a list or a generator."
            raise ArgumentError(said)
        if rate:
            batch = min(batch, max(1, int(rate / 20)))  # 20 batches a second
        start, sent, rest, last = time.monotonic(), 0, iter(items), None
        while not self.tally.full and (chunk := portion(rest, batch)):
            if rate and (early_s := start + sent / rate - time.monotonic()) > 0:
                yield Wait(early_s)
            last = self._put(chunk, last)
            yield from self._settle()
            sent += len(chunk)

    def _put(self, items: list[Item], last: Item | None) -> Item | None:
        """Take the next batch, and give back what cannot be sent; the last item until now."""
        try:
            arguments = encode(items, last)
        except EntryIdError as error:
            error.entries = items
            raise
        except ArgumentError:
            items = sound(items, self.tally)
            arguments = encode(items, last)
        if not items:
            return last
        self._batches = [Batch(0, items, arguments)]
        return items[-1]

    def _settle(self) -> Steps[None]:
        while self._batches:
            yield from self._register()
            batch = self._batches[0]
            if not batch.number:
                self._number += 1
                batch.number = self._number
            batch.sent += 1
            if batch.sent > 1:
                self._copies = True  # also after Ctrl-C or a cancelled task, which no error reports
            try:
                reply = yield self._send
            except redis.RedisError as error:
                yield from self._fail(error)
            else:
                if (yield from self._replicated(batch.number)):
                    self._answered(batch, str(text_of(reply)))

    def _send(self) -> Any:
        batch = self._batches[0]
        arguments = [] if batch.asks else batch.packed
        return self._run(batch.number, batch.sent + self._repeats, arguments)

    def _answered(self, batch: Batch, reply: str) -> None:
        """The script ran: note the IDs that it gave, or raise what XADD said."""
        self._patience.renew()
        if reply == "forgotten":
            raise self._forgotten()
        if reply == "known":
            self._cut(batch)
            return
        if reply[0].isdigit():
            first, last, number, said = (*reply.split(" ", 3), "")[:4]
        else:
            first, last, number, said = "0-0", "0-0", "0", reply
        count = int(number)
        if said:
            why = explain(redis.ResponseError(said), self.stream)
            if not count and not isinstance(why, EntryIdError):
                raise self._ended(why)
            # Those before were refused, whose IDs were smaller, or those behind.
            items = batch.items
            others = items[: len(items) - count] if "smaller" in said else items[count:]
            if not isinstance(why, ArgumentError):
                why = ArgumentError(str(why), stream=self.stream)
            self.tally.give_back(others, why)
        self._appended(count, first, last)
        self._strikes = 0

    def _cut(self, batch: Batch) -> None:
        """The connection is lost with this batch, and the server has nothing of it: divide it."""
        each, at = [], 0
        while at < len(batch.packed):
            each.append(batch.packed[at : at + 1 + int(batch.packed[at])])
            at += len(each[-1])
        parts = [
            Batch(0, batch.items[part], [*chain.from_iterable(each[part])])
            for part in portions(map(size_of, each))
        ]
        if len(parts) == 1:
            self._strikes += 1 + self._repeats
        if self._strikes < STRIKES:
            self._batches = parts + self._batches[1:]
        else:
            self._strikes = 0
            self._too_large(batch)

    def _fail(self, error: redis.RedisError) -> Steps[None]:
        batch, lost = self._batches[0], connection_lost(error)
        if lost and batch.sent + self._strikes + self._repeats > 1:
            batch.asks = batch.asks or size_of(batch.packed) >= LARGE
        # XADD's errors are replies of the script.
        yield from self._try_again(error, sure=batch.sent <= 1, by_notes=True)


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


def no_notes(memory: str) -> WrongTypeError:
    """The key beside the stream is taken."""
    return WrongTypeError(
        f"The key {memory!r}, where the server notes what producers have appended, holds something "
        "else: rename it, or delete it.",
        key=memory,
    )


class _TooFewReplicas(redis.ResponseError):
    """A batch is on its primary, and not on enough replicas yet: a state that passes."""


def no_answer(error: redis.RedisError, key: str, patience: Patience) -> str:
    """Why nothing was confirmed for as long as patience lasts."""
    if unreachable(error):
        return f"The server could not be reached for {patience.limit_s:g} s ({error})."
    if isinstance(error, _TooFewReplicas):
        said = str(error).partition(" ")[2]
        return (
            f"For {patience.limit_s:g} s only {said} replicas confirm what was appended to "
            f"{key!r}: bring the others back."
        )
    return f"For {patience.limit_s:g} s: {explain(error, key)}"


def sends_again(client: redis.Redis | redis.asyncio.Redis) -> bool:
    """Whether a client is set to repeat commands by itself, as redis-py's default is."""
    settings = client.connection_pool.connection_kwargs
    retry = settings.get("retry")
    on_error = settings.get("retry_on_error") or settings.get("retry_on_timeout")
    return bool(on_error or (retry and retry.get_retries()))


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
