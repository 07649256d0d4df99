"""The bulk producer: many entries at the best rate of one connection, each exactly once.

`Producer` has a script append its batches, and the script's own work for each entry is what
limits it. Here the server gets plain XADDs, in one MULTI a batch, packed while it is at work on
the batch before. Number and IDs of a batch are noted in the same MULTI.

MULTI asks for nothing, so a copy of it that comes late would append everything again. Therefore
who has lost a connection first ends it on the server's side too, by CLIENT KILL: what was
still under way on it is never run. Then the note tells whether the batch was appended.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import redis

from .connection import expect_one_server
from .entry import EntryId
from .errors import ArgumentError, NotConfirmedError, StreamsError, explain
from .keys import PRODUCERS, expect_name, sibling_key
from .patience import LIMIT_S, Patience
from .producer import (
    APPEND,
    LARGE,
    MEMORY_S,
    STRIKES,
    Added,
    Fields,
    Tally,
    connection_lost,
    forgotten,
    no_answer,
    no_notes,
    portions,
    settled_before,
    size_of,
    sound,
    too_large,
)
from .single import Single, portion
from .states import passes, reconnect
from .text import text_of
from .values import words

BATCH = 1000  # entries a round trip

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


@dataclass
class _Batch:
    """A batch on its way: its number, its entries, and the bytes that append them."""

    number: int
    entries: list[Fields]
    packed: bytes
    sent: int = 0  # how often
    under_way: bool = False  # its replies are to be read


class BulkProducer(Single):
    """Appends many entries to one stream, each exactly once. Use it in a `with` block.

        with BulkProducer(redis, "chennai") as producer:
            producer.add_many(readings)

    Promise: as `Producer`'s, also to threads, forks and copies. Entries come onto the stream in
    their order, a whole batch or nothing of it; when `add_many` raises NotConfirmedError, its
    `confirmed` counts those that are there for certain, the next batch is there once or not at
    all, and `flush()` settles it.

    It takes fields only, whose IDs the server's clock gives, and needs the right to send CLIENT.
    """

    def __init__(self, client: redis.Redis, stream: str, *, patience_s: float = LIMIT_S) -> None:
        """Prepare to append; nothing is sent yet: see `Producer`."""
        self._patience_s, self._asked_at = patience_s, 0.0  # when what may fail next was sent
        expect_one_server(client, stream)
        self._client = client
        self._stream = expect_name("stream", stream)
        self._memory = sibling_key(self._stream, PRODUCERS)
        self._append = client.register_script(APPEND)
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self._number = 0
        self._known = False
        self._batches: list[_Batch] = []  # the first one is on its way
        self._line: _Line | None = None
        self._patience = Patience(self._patience_s)
        self._lock = threading.RLock()
        self._tally = Tally()
        self._depth = 0  # of calls: a generator may add by itself

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._tally.added

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
        with self._lock:
            with settled_before(self._stream):
                self.flush()
            outer, self._tally = self._tally, Tally()
            self._depth += 1
            try:
                self._add(iter(entries), batch)
                return self._tally.result(self._stream)
            finally:
                self._depth = max(0, self._depth - 1)  # in a forked child it began anew
                if self._depth:
                    self._tally = outer

    def _add(self, entries: Iterator[Fields], size: int) -> None:
        upcoming = self._pack(entries, size)
        while upcoming:
            self._batches = [upcoming]
            self._register()  # a batch that waits for that is settled by flush() too
            try:
                self._send(upcoming)
            except redis.RedisError as error:
                self._fail(error)
            failure: Exception | None = None
            try:  # the server is at work meanwhile
                upcoming = self._pack(entries, size)
            except Exception as error:
                failure = error  # the batch that is under way is settled all the same
            self._settle()
            if failure:
                raise failure

    def _register(self) -> None:
        """Have it noted that there is this producer, so that a note that is gone can be told."""
        while not self._known:
            self._asked_at = time.monotonic()
            try:
                self._append([self._stream, self._memory], [self._name, 0, MEMORY_S, 1])
                self._known = True
                self._patience.renew()
            except redis.RedisError as error:
                self._fail(error)

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        with self._lock:
            self._settle()
            self._tally.result(self._stream)

    def _settle(self) -> None:
        while self._batches:
            self._register()
            batch, self._asked_at = self._batches[0], time.monotonic()
            try:
                if batch.under_way:
                    self._read(batch)
                elif noted := self._noted(batch):
                    self._appended(len(batch.entries), *noted)
                elif batch.sent > 1 and len(batch.packed) >= LARGE:
                    self._cut(batch)
                else:
                    self._send(batch)
            except redis.RedisError as error:
                self._fail(error)

    def close(self) -> None:
        """Settle what is open, give the connection back, and let the server forget us."""
        self.flush()
        self._release()
        if self._known:
            with suppress(redis.RedisError):  # the server forgets it after a day in any case
                self._client.hdel(self._memory, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self._release()

    def _send(self, batch: _Batch) -> None:
        """Send a batch; what comes of it is yet to be read."""
        if self._line is None:
            self._line = _Line(self._client)
        batch.sent += 1
        batch.under_way = True
        self._line.send(batch.packed)

    def _read(self, batch: _Batch) -> None:
        """Read the replies to a batch, and settle it if they come."""
        assert self._line
        first, note, *rest, last_note = self._line.replies(len(batch.entries) + 2)
        results = [first, *rest]
        ids = [text_of(one) for one in results if not isinstance(one, Exception)]
        wrong = [one for one in (*results, note, last_note) if isinstance(one, redis.RedisError)]
        why = explain(wrong[0], self._stream) if wrong else None
        if not ids and not isinstance(why, ArgumentError):
            raise wrong[0]
        if len(ids) < len(results):
            self._tally.give_back(batch.entries[len(ids) :], ArgumentError(str(why)))
        self._appended(len(ids), *(ids[0], ids[-1]) if ids else ("0-0", "0-0"))  # for good
        if wrong and len(ids) == len(results):
            raise self._ended(no_notes(self._memory))

    def _appended(self, count: int, first: str, last: str) -> None:
        self._patience.renew()
        added = self._tally.added
        if count:
            added = self._tally.with_more(count, EntryId.parse(first), EntryId.parse(last))
        self._tally.added, self._batches = added, self._batches[1:]

    def _noted(self, batch: _Batch) -> tuple[str, str] | None:
        """The first and the last ID of a batch that was appended although no reply came.

        A batch that was never sent is asked for too: that is simpler than to keep count.
        """
        if self._line:
            self._line.end()
            self._line = None
        said: Any = None
        try:
            said = self._client.hget(self._memory, self._name)
        except redis.ResponseError as error:
            if passes(error):
                raise  # else the key holds something else by now
        if said is None:
            self._batches, self._known = [], False
            raise forgotten(len(batch.entries), self._tally.added.count, self._stream)
        number, *ids = text_of(said).partition(" @")[0].split()
        return (ids[0], ids[-1]) if int(number) == batch.number else None

    def _cut(self, batch: _Batch) -> None:
        """Twice the connection was lost with this batch, and nothing of it is on the stream."""
        entries = batch.entries
        if len(entries) > 1:
            parts = portions(size_of(words(one)) for one in entries)
            self._batches = [self._packed(entries[part]) for part in parts] + self._batches[1:]
        elif batch.sent < STRIKES:
            self._send(batch)
        else:
            self._tally.give_back(entries, too_large(entries[0], self._stream))
            self._batches = self._batches[1:]

    def _fail(self, error: redis.RedisError) -> None:
        """Wait after a lost connection, or raise what the caller gets."""
        for batch in self._batches:
            batch.under_way = False
        reconnect(self._client, error)
        count = self._tally.added.count
        if not passes(error) and not connection_lost(error):
            asked = not self._known and "WRONGTYPE" in str(error)
            raise self._ended(
                no_notes(self._memory) if asked else explain(error, self._stream)
            ) from error
        time.sleep(self._patience.failed(self._asked_at))
        if self._patience.exhausted:
            self._patience.renew()
            raise NotConfirmedError(
                f"{no_answer(error, self._stream, self._patience)} {count} entries are on "
                f"{self._stream!r} for certain; call flush() to settle the next batch, which is "
                "there once or not at all.",
                confirmed=count,
                stream=self._stream,
            ) from error

    def _ended(self, why: StreamsError) -> StreamsError:
        """Nothing more of this call is taken."""
        count = self._tally.added.count
        told = type(why)(
            f"{why} Entry {count + 1} of this call and those behind it were not appended; {count} "
            "were.",
            stream=self._stream, key=why.key,
        )  # fmt: skip
        left = [one for batch in self._batches for one in batch.entries]
        self._batches = []
        return self._tally.ended(told, left)

    def _release(self) -> None:
        """Let go of the connection. One that still has something under way is ended."""
        line, self._line = self._line, None
        if line and self._batches:
            with suppress(redis.RedisError):
                line.end()
        elif line:
            line.release()

    def _pack(self, entries: Iterator[Fields], size: int) -> _Batch | None:
        """The next batch; what cannot be sent is given back."""
        while (chunk := portion(entries, size)) and not self._tally.full:
            try:
                return self._packed(chunk)
            except ArgumentError:
                if chunk := sound(chunk, self._tally):
                    return self._packed(chunk)
        return None

    def _packed(self, entries: list[Fields]) -> _Batch:
        self._number += 1
        number = self._number
        packed = packed_batch(entries, self._stream, self._memory, self._name, number)
        return _Batch(number, entries, packed)


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
