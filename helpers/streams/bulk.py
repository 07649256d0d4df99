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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import redis

from .connection import expect_one_server
from .entry import FIRST, EntryId
from .errors import ArgumentError, NotConfirmedError, StreamsError, explain
from .keys import PRODUCERS, sibling_key
from .patience import Patience
from .producer import (
    APPEND,
    MAX_FIELDS,
    MEMORY_S,
    Added,
    Fields,
    forgotten,
    no_answer,
    settled_before,
)
from .states import passes, reconnect

BATCH = 1000  # entries a round trip

NOTE = """
-- In a MULTI, behind its first and its last XADD: note the batch, and the ID of this entry.
-- KEYS: the stream, what is remembered of its producers.
-- ARGV: producer, number of the batch, seconds to remember it, first or last.
local id = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
local noted = ''
if ARGV[4] == 'last' then noted = redis.call('HGET', KEYS[2], ARGV[1]) .. ' ' end
if noted == '' then id = ARGV[2] .. ' ' .. id end
redis.call('HSET', KEYS[2], ARGV[1], noted .. id)
redis.call('EXPIRE', KEYS[2], ARGV[3])
"""


@dataclass
class _Batch:
    """A batch on its way: its number, its entries, and the bytes that append them."""

    number: int
    entries: list[Fields]
    packed: bytes


class BulkProducer:
    """Appends many entries to one stream, each exactly once. Use it in a `with` block.

        with BulkProducer(redis, "chennai") as producer:
            producer.add_many(readings)

    Promise: as `Producer`'s. Entries come onto the stream in their order, a whole batch or
    nothing of it; when `add_many` raises NotConfirmedError, its `confirmed` counts those that
    are there for certain, the next batch is there once or not at all, and `flush()` settles it.

    It takes fields only, whose IDs the server's clock gives, and needs the right to send CLIENT.
    """

    def __init__(self, client: redis.Redis, stream: str) -> None:
        expect_one_server(client, stream)
        self._client = client
        self._stream = stream
        self._memory = sibling_key(stream, PRODUCERS)
        self._name = uuid.uuid4().hex  # unique: a name used twice would swallow batches
        self._number = 0
        self._known = False
        self._append = client.register_script(APPEND)
        self._open: _Batch | None = None
        self._line: _Line | None = None
        self._patience = Patience()
        self._lock = threading.RLock()
        self.added = Added(0, FIRST, FIRST)

    def add_many(self, entries: Iterable[Fields], *, batch: int = BATCH) -> Added:
        """Append entries; the server gives their IDs.

        Args:
            entries: their fields.
            batch: the most entries a round trip, and a MULTI.

        Raises:
            NotConfirmedError: the server could not be reached for 10 s.
            ArgumentError: something is no entry.
            StreamsError: the server refused a batch; the sentence says how many entries were
                appended before it.
        """
        if batch < 1 or not isinstance(entries, Iterable):
            raise ArgumentError("Give a list or a generator of entries, and a batch above zero.")
        with self._lock:
            with settled_before(self._stream):
                self.flush()
            self.added = Added(0, FIRST, FIRST)
            chunks = iter(entries)
            upcoming = self._pack(list(islice(chunks, batch)))
            while upcoming:
                self._open, upcoming = upcoming, None
                self._register()  # a batch that waits for that is settled by flush() too
                sent = self._send(self._open)
                failure: Exception | None = None
                try:  # the server is at work meanwhile
                    upcoming = self._pack(list(islice(chunks, batch)))
                except Exception as error:
                    failure = error  # the batch that is under way is settled all the same
                if sent:
                    self._read(self._open)
                self.flush()
                if failure:
                    raise failure
            return self.added

    def _register(self) -> None:
        """Have it noted that there is this producer, so that a note that is gone can be told."""
        while not self._known:
            try:
                self._append([self._stream, self._memory], [self._name, 0, MEMORY_S, 1])
                self._known = True
                self._patience.renew()
            except redis.RedisError as error:
                self._fail(error)

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        with self._lock:
            while self._open:
                self._register()
                batch = self._open
                try:
                    if noted := self._noted(batch):
                        self._settle(batch, *noted)
                    elif self._send(batch):
                        self._read(batch)
                except redis.RedisError as error:
                    self._fail(error)

    def close(self) -> None:
        """Settle what is open, give the connection back, and let the server forget us."""
        self.flush()
        self._release()
        with suppress(redis.RedisError):  # the server forgets it after a day in any case
            self._client.hdel(self._memory, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self._release()

    def _send(self, batch: _Batch) -> bool:
        """Send a batch; False if the connection was lost."""
        try:
            if self._line is None:
                self._line = _Line(self._client)
            self._line.send(batch.packed)
        except redis.RedisError as error:
            self._fail(error)
            return False
        return True

    def _read(self, batch: _Batch) -> None:
        """Read the replies to a batch, and settle it if they come."""
        assert self._line
        count = len(batch.entries)
        try:
            ids = self._line.replies(count + 2)
        except redis.RedisError as error:
            if passes(error):
                self._fail(error)
            else:
                self._refuse(batch, error)
        else:
            self._settle(batch, ids[0], ids[-1])

    def _settle(self, batch: _Batch, first: str, last: str) -> None:
        self._patience.renew()
        before = self.added
        begin = before.first if before.count else EntryId.parse(first)
        count = before.count + len(batch.entries)
        self.added, self._open = Added(count, begin, EntryId.parse(last)), None

    def _refuse(self, batch: _Batch, error: redis.RedisError) -> None:
        """Nothing of a batch was appended."""
        self._open = None
        count = self.added.count
        raise StreamsError(
            f"{explain(error, self._stream)} Entry {count + 1} of this call and those behind it "
            f"were not appended; {count} were.",
            stream=self._stream,
        ) from error

    def _noted(self, batch: _Batch) -> tuple[str, str] | None:
        """The first and the last ID of a batch that was appended although no reply came.

        A batch that was never sent is asked for too: that is simpler than to keep count.
        """
        if self._line:
            self._line.end()
            self._line = None
        said: Any = self._client.hget(self._memory, self._name)
        if said is None:
            self._open, self._known = None, False
            raise forgotten(len(batch.entries), self.added.count, self._stream)
        number, *ids = said.split()
        return (ids[0], ids[-1]) if int(number) == batch.number else None

    def _fail(self, error: redis.RedisError) -> None:
        """Wait after a lost connection, or raise what the caller gets."""
        reconnect(self._client, error)
        if not passes(error):
            self._open = None
            raise explain(error, self._stream) from error
        time.sleep(self._patience.failed())
        if self._patience.exhausted:
            self._patience.renew()
            raise NotConfirmedError(
                f"{no_answer(error, self._stream)} {self.added.count} entries are on "
                f"{self._stream!r} for certain; call flush() to settle the next batch, which is "
                "there once or not at all.",
                confirmed=self.added.count,
                stream=self._stream,
            ) from error

    def _release(self) -> None:
        """Let go of the connection. One that still has something under way is ended."""
        line, self._line = self._line, None
        if line and self._open:
            with suppress(redis.RedisError):
                line.end()
        elif line:
            line.release()

    def _pack(self, entries: list[Fields]) -> _Batch | None:
        if not entries:
            return None
        self._number += 1
        packed = packed_batch(entries, self._stream, self._memory, self._name, self._number)
        return _Batch(self._number, entries, packed)


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
        """The replies to a MULTI of so many commands, all of which were run.

        Raises:
            redis.ResponseError: one of them was refused, and so nothing was appended.
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
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return [reply for reply in replies if reply is not None]

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
        ArgumentError: something is no entry.
    """
    packed = [pack(("MULTI",))]
    for fields in entries:
        packed.append(pack(("XADD", stream, "*", *_words(fields))))
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


def _words(fields: Fields) -> Iterator[str | bytes]:
    if not isinstance(fields, Mapping) or not 0 < len(fields) <= MAX_FIELDS:
        raise ArgumentError(
            f"{fields!r:.80} is no entry: it takes a dict of 1 to {MAX_FIELDS} fields."
        )
    for name, value in fields.items():
        yield name
        if isinstance(value, str | bytes):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield repr(value)  # as text: hiredis must not convert, see `connect`
        else:
            raise ArgumentError(f"The values of an entry are text or numbers, not {value!r:.60}.")
