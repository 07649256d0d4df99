"""The bulk producer: many entries at the best rate of one connection, each exactly once.

`Producer` has a script append its batches, and the script's own work for each entry is what
limits it. Here the server gets plain XADDs, in one MULTI a batch, packed while it is at work on
the batch before. Number and IDs of a batch are noted in the same MULTI.

MULTI asks for nothing, so a copy of it that comes late would append everything again. Therefore
who has lost a connection first ends it on the server's side too, by CLIENT KILL: what was
still under way on it is never run. Then the note tells whether the batch was appended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import redis

from .errors import ArgumentError, StreamsError, explain
from .outbox import (
    BATCH,
    LARGE,
    MEMORY_S,
    STRIKES,
    Added,
    Batch,
    Fields,
    Outbox,
    no_notes,
    portions,
    size_of,
    sound,
)
from .patience import LIMIT_S
from .producer import Blocking
from .single import portion
from .slots import SyncClient, client_for
from .states import passes
from .steps import Steps
from .text import text_of
from .values import words

NOTE = """
-- In a MULTI, behind its first and its last XADD: note the batch, and the ID of this entry.
-- KEYS: the stream, what is remembered of its producers.
-- ARGV: producer, number of the batch, seconds to remember it, first or last.
local id = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
local noted = ''
if ARGV[4] == 'last' then noted = redis.call('HGET', KEYS[2], ARGV[1]) .. ' ' end
if noted == '' then id = ARGV[2] .. ' ' .. id end
noted = noted .. id
if ARGV[4] == 'last' then noted = noted .. ' @' .. redis.call('TIME')[1] end  -- see APPEND
redis.call('HSET', KEYS[2], ARGV[1], noted)
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""


class BulkProducer(Blocking):
    """Appends many entries to one stream, each exactly once. Use it in a `with` block.

        >>> with BulkProducer(redis, "chennai") as producer:
        ...     added = producer.add_many({"reading": n} for n in range(10_000))
        >>> redis.xlen("chennai")
        10000

    Promise: as `Producer`'s, also to threads, forks and copies. Entries come onto the stream in
    their order, a whole batch or nothing of it; when `add_many` raises NotConfirmedError, its
    `confirmed` counts those that are there for certain, the next batch is there once or not at
    all, and `flush()` settles it.

    It takes fields only, whose IDs the server's clock gives, and needs the right to send CLIENT.
    """

    _outbox: BulkOutbox

    def __init__(
        self,
        client: SyncClient,
        stream: str,
        *,
        patience_s: float = LIMIT_S,
        replicas: int = 0,
    ) -> None:
        """Prepare to append; nothing is sent yet: see `Producer`."""
        node = client_for(client, [stream])
        self._outbox = BulkOutbox(node, stream, patience_s, replicas)
        super().__init__(node)

    def add_many(self, entries: Iterable[Fields], *, batch: int = BATCH) -> Added:
        """Append entries; the server gives their IDs.

        Args:
            entries: their fields.
            batch: the most entries a round trip, and a MULTI.

        Raises:
            NotConfirmedError: the server could not be reached for `patience_s`.
            ArgumentError: some are given back, as its `entries`; see `Producer`.
            StreamsError: the server refused a batch; the sentence says how many entries were
                appended before it.
        """
        if batch < 1 or not isinstance(entries, Iterable):
            raise ArgumentError("Give a list or a generator of entries, and a batch above zero.")
        return self._drive(self._outbox.call(self._outbox.add(iter(entries), batch)))


class BulkOutbox(Outbox):
    """Batches that a MULTI appends, on a connection of their own."""

    def _reset(self) -> None:
        super()._reset()
        self._line: _Line | None = None

    def add(self, entries: Iterator[Fields], size: int) -> Steps[None]:
        """Append entries: see `BulkProducer.add_many`."""
        upcoming = self._pack(entries, size)
        while upcoming:
            yield from self._begin(upcoming)
            failure: Exception | None = None
            try:  # the server is at work meanwhile
                upcoming = self._pack(entries, size)
            except Exception as error:
                failure = error  # the batch that is under way is settled all the same
            yield from self._settle()
            if failure:
                raise failure

    def start(self, entries: list[Fields]) -> Steps[None]:
        """Append a batch; `settle` reads what comes of it, before the next one."""
        if batch := self._pack(iter(entries), len(entries)):
            yield from self._begin(batch)

    def settle(self) -> Steps[None]:
        """Settle what is open."""
        yield from self._settle()

    def _begin(self, batch: Batch) -> Steps[None]:
        """Send a batch; the server is at work on it while others are packed or sent."""
        self._batches = [batch]
        yield from self._register()  # a batch that waits for that is settled by flush() too
        try:
            yield self._send
        except redis.RedisError as error:
            yield from self._fail(error)

    def _settle(self) -> Steps[None]:
        while self._batches:
            yield from self._register()
            batch, self._sent_at = self._batches[0], time.monotonic()
            try:
                if batch.under_way and self._line:
                    replies = yield partial(self._line.replies, len(batch.items) + 2)
                    if (yield from self._replicated(batch.number)):
                        self._read(batch, replies)
                    else:
                        batch.under_way = False
                elif ids := (yield from self._noted(batch)):
                    if (yield from self._replicated(batch.number)):
                        self._appended(len(batch.items), *ids)
                elif batch.sent > 1 and len(batch.packed) >= LARGE:
                    yield from self._cut(batch)
                else:
                    yield self._send
            except redis.RedisError as error:
                yield from self._fail(error)

    def _send(self) -> None:
        """Send the first batch; what comes of it is yet to be read."""
        batch = self._batches[0]
        if self._line is None:
            self._line = _Line(self._client)
        batch.sent += 1
        batch.under_way = True
        self._line.send(batch.packed)

    def _read(self, batch: Batch, replies: list[Any]) -> None:
        """Settle a batch by the replies to it."""
        first, note, *rest, last_note = replies
        results = [first, *rest]
        ids = [text_of(one) for one in results if not isinstance(one, Exception)]
        wrong = [one for one in (*results, note, last_note) if isinstance(one, redis.RedisError)]
        why = explain(wrong[0], self.stream) if wrong else None
        if not ids and not isinstance(why, ArgumentError):
            raise wrong[0]
        if len(ids) < len(results):
            self.tally.give_back(batch.items[len(ids) :], ArgumentError(str(why)))
        self._appended(len(ids), *(ids[0], ids[-1]) if ids else ("0-0", "0-0"))  # for good
        if wrong and len(ids) == len(results):
            raise self._ended(no_notes(self.memory))

    def _noted(self, batch: Batch) -> Steps[tuple[str, str] | None]:
        """The first and the last ID of a batch that was appended although no reply came.

        A batch that was never sent is asked for too: that is simpler than to keep count.
        """
        if self._line:
            yield self._line.end
            self._line = None
        said: Any = None
        try:
            said = yield partial(self._client.hget, self.memory, self.name)
        except redis.ResponseError as error:
            if passes(error):
                raise  # else the key holds something else by now
        if said is None:
            raise self._forgotten()
        number, *ids = text_of(said).partition(" @")[0].split()
        return (ids[0], ids[-1]) if int(number) == batch.number else None

    def _cut(self, batch: Batch) -> Steps[None]:
        """Twice the connection was lost with this batch, and nothing of it is on the stream."""
        items = batch.items
        if len(items) > 1:
            parts = portions(size_of(words(one)) for one in items)
            self._batches = [self._packed(items[part]) for part in parts] + self._batches[1:]
        elif batch.sent < STRIKES:
            yield self._send
        else:
            self._too_large(batch)

    def _fail(self, error: redis.RedisError) -> Steps[None]:
        for batch in self._batches:
            batch.under_way = False
        yield from self._try_again(error, sure=True, by_notes=not self._known)

    def _ended(self, why: StreamsError) -> StreamsError:
        count = self.tally.added.count
        told = type(why)(
            f"{why} Entry {count + 1} of this call and those behind it were not appended; {count} "
            "were.",
            stream=self.stream, key=why.key,
        )  # fmt: skip
        return super()._ended(told)

    def forget(self) -> Steps[None]:
        """Give the connection back too."""
        yield self._release
        yield from super().forget()

    def _release(self) -> None:
        """Let go of the connection. One that still has something under way is ended."""
        line, self._line = self._line, None
        if line and self._batches:
            with suppress(redis.RedisError):
                line.end()
        elif line:
            line.release()

    def _pack(self, entries: Iterator[Fields], size: int) -> Batch | None:
        """The next batch; what cannot be sent is given back."""
        while (chunk := portion(entries, size)) and not self.tally.full:
            try:
                return self._packed(chunk)
            except ArgumentError:
                if chunk := sound(chunk, self.tally):
                    return self._packed(chunk)
        return None

    def _packed(self, items: list[Any]) -> Batch:
        self._number += 1
        packed = packed_batch(items, self.stream, self.memory, self.name, self._number)
        return Batch(self._number, items, packed)


class _Line:
    """One connection of a client's, which can be ended on the server's side too."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: Any = client.connection_pool.get_connection()
        try:
            self._connection.send_command("CLIENT", "ID")
            self._id = self._connection.read_response()
            self._server = _run_of(client)
        except BaseException:
            self._connection.disconnect()
            self.release()
            raise

    def send(self, packed: bytes) -> None:
        """Send bytes.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._connection.send_packed_command([packed], check_health=False)

    def replies(self, count: int) -> list[Any]:
        """The replies to a MULTI of so many commands; an error in place of each that failed.

        Raises:
            redis.ResponseError: one of them was refused before, and so nothing was run.
        """
        read = self._connection.read_response
        refused: redis.ResponseError | None = None
        for _ in range(count + 1):  # OK, and QUEUED for each
            try:
                read(disable_decoding=True)
            except redis.ResponseError as error:
                refused = refused or error
        try:
            replies: list[Any] = read()
        except redis.ResponseError as error:
            raise refused or error from None
        return replies

    def end(self) -> None:
        """Make sure that nothing that was sent here will still be run.

        Raises:
            redis.ConnectionError: the server is out of reach.
        """
        self._connection.disconnect()
        # Another life of the server knows nothing of this one's connections, and may have
        # given the number to somebody else.
        if _run_of(self._client) == self._server:
            self._client.client_kill_filter(_id=self._id, skipme=True)
        self.release()

    def release(self) -> None:
        """Give the connection back to its pool."""
        self._client.connection_pool.release(self._connection)


def _run_of(client: redis.Redis) -> str:
    """The name of the server's current life."""
    return str(client.info("server")["run_id"])


def packed_batch(entries: list[Fields], stream: str, memory: str, name: str, number: int) -> bytes:
    """The bytes of a MULTI that appends entries, and notes that it did.

    Raises:
        ArgumentError: something is no entry, or has a value that has no text.
    """
    packed = [pack(("MULTI",))]
    for fields in entries:
        packed.append(pack(("XADD", stream, "*", *words(fields))))
    note = ("EVAL", NOTE, "2", stream, memory, name, str(number), str(MEMORY_S))
    packed.insert(2, pack((*note, "first")))
    packed += [pack((*note, "last")), pack(("EXEC",))]
    return b"".join(packed)


def pack_in_python(words: Iterable[str | bytes]) -> bytes:
    """One command in the protocol's own form, where hiredis is not at hand."""
    encoded = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"".join(
        (b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    )


try:
    from hiredis import pack_command
except ImportError:  # redis-py alone: the same bytes, some three times as long in the making
    pack: Any = pack_in_python
else:
    pack = pack_command
