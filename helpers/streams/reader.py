"""Readers: follow streams with blocking XREAD, and remember in Redis how far they came."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, Self

import redis
import redis.asyncio

from .checkpoint import Checkpoint
from .connection import Client
from .entry import FIRST, Entry, EntryId, pairs
from .errors import (
    ArgumentError,
    CheckpointError,
    GroupError,
    NotTextError,
    explain,
    given_up,
)
from .keys import expect_name
from .patience import LIMIT_S, Patience, expect_patience
from .single import Single
from .size import SIZE, Portion
from .slots import AsyncClient, SyncClient, client_for, is_cluster
from .states import passes, unreachable
from .steps import Run, Step, Steps, Wait, drive, drive_async
from .text import Errors, asking, decoded, text_of, undecoded

BLOCK_MS = 1000  # how long one XREAD waits, and so how soon stop() is heard
COUNT = 100  # entries of each stream a reply, and so how many may be read again after a crash

Found = list[tuple[str, Entry]]  # entries, oldest first, each with its stream


class Place(Single, Generic[Client]):
    """Where a reader stands in its streams, and its steps: what both readers have in common."""

    def __init__(
        self,
        client: SyncClient | AsyncClient,
        streams: str | Iterable[str] | Mapping[str, str],
        *,
        start: str | EntryId | None = None,
        name: str | None = None,
        errors: Errors = "strict",
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to read; nothing is sent before `open()` or the `with` block.

        Args:
            client: a client from `connect()`, or one whose socket time-out is above BLOCK.
            streams: key names, or a mapping from each to the ID to start after.
            start: the ID to start after where the mapping names none: `0` for all there is,
                `$`, the default, for only what is added from now on.
            name: the checkpoint's name. With one, a stored position wins over `start`. If there
                was one and it is gone, evicted or deleted, `open()` raises CheckpointError,
                unless `start` or a mapping says where to begin then.
            errors: what to do with an entry that another program wrote in bytes that are no UTF-8.
                `strict`, the default: NotTextError, once those before it are handled. `skip`: pass
                over it. `bytes`: names and values of all entries are bytes. `replace`,
                `backslashreplace` or `surrogateescape`: as of bytes.decode.
            patience_s: how long, in seconds, the server may be out of reach, silent, or in a
                state that passes.
        """
        self._told = start is not None or isinstance(streams, Mapping)
        if isinstance(streams, str):
            streams = [streams]
        if not isinstance(streams, Mapping):
            streams = dict.fromkeys(streams, "$" if start is None else str(start))
        if not streams:
            raise ArgumentError("A reader needs the name of at least one stream.")
        self._starts = {
            expect_name("stream", s): i if i == "$" else str(EntryId.parse(i))
            for s, i in streams.items()
        }
        self._names = ", ".join(self._starts)
        self._client: Client = client_for(client, self._starts)
        self._beside = next(iter(self._starts)) if is_cluster(client) else None
        self._name = name and expect_name("reader", name)
        self._errors, self._patience_s = errors, patience_s
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._checkpoint = Checkpoint(self._name, self._beside) if self._name else None
        self._asks = asking(self._client, self._errors)
        self._portion = Portion()
        self._at: dict[str, EntryId] = {}  # to read on from
        self._done: dict[str, EntryId] = {}  # to store
        self._stored: dict[str, EntryId] = {}
        self._stopped = False
        self._patience = Patience(self._patience_s)

    @property
    def positions(self) -> dict[str, EntryId]:
        """The last ID read of each stream, or the one to start after."""
        return dict(self._at)

    def stop(self) -> None:
        """End the loop after the entry in hand, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._stopped = True

    def _expect_open(self) -> None:
        if not self._at:
            raise ArgumentError(
                "Open the reader first: `with Reader(…) as reader:`. A forked child opens its own."
            )

    def _open(self) -> Steps[None]:
        if self._checkpoint:
            while True:
                reply = yield from self._ask(self._checkpoint.open(), self._checkpoint.key)
                if self._resumed(self._checkpoint, reply):
                    break  # else another reader of this name was opened just now
        for stream, start in self._starts.items():
            if stream in self._at:
                continue
            if start == "$":
                self._at[stream] = yield from self._last_id(stream)
            else:
                self._at[stream] = EntryId.parse(start)
        yield from self._commit()

    def _resumed(self, checkpoint: Checkpoint, reply: list[Any]) -> bool:
        """Take over the positions in OPEN's reply; False if it has to be opened again.

        Raises:
            CheckpointError: there was a checkpoint, and it is gone.
        """
        stored = checkpoint.opened(reply)
        if stored is None:
            return False
        if checkpoint.lost and not self._told:
            raise CheckpointError(
                f"The checkpoint of the reader {self._name!r} is gone (evicted or deleted), so its "
                "position is lost: pass start='0' to read everything, start='$' to read only what "
                "is new, or an ID to start after.",
                stream=self._names, key=checkpoint.key,
            )  # fmt: skip
        self._stored = {s: stored[s] for s in self._starts if s in stored}
        self._at.update(self._stored)
        return True

    def _last_id(self, stream: str) -> Steps[EntryId]:
        """The last ID of a stream; if it does not exist yet, where it will begin."""
        try:
            info = yield from self._ask(
                lambda: undecoded(self._client).xinfo_stream(stream), stream
            )
        except GroupError:
            return FIRST
        return EntryId.parse(text_of(info)["last-generated-id"])

    def _fetch(self, block_ms: int = BLOCK_MS, count: int = COUNT) -> Steps[Found]:
        """What one XREAD finds; nothing if it has to be sent again, a little later."""
        self._expect_open()
        if block_ms <= 0 or count <= 0:
            raise ArgumentError("BLOCK and COUNT must be above 0: BLOCK 0 couldn't be stopped.")
        expect_patience(self._client, block_ms)
        self._settle()
        since, most, only = time.monotonic(), self._portion.of(count), self._portion.only
        after: dict[Any, Any] = {s: str(last) for s, last in self._at.items() if only in ("", s)}
        try:
            if look := self._portion.look(after):
                sizes = yield Run(SIZE, **look)
                self._patience.renew()
                self._portion.looked(after, sizes)
            reply = yield lambda: self._asks.xread(after, count=most, block=block_ms)
        except UnicodeDecodeError:  # so ask for bytes, and decide entry by entry
            self._asks = undecoded(self._client)
            return (yield from self._fetch(block_ms, count))
        except redis.RedisError as error:
            if unreachable(error):
                self._portion.cut(error, most)  # it may have been too large
            yield Wait(self._failed(error, since, self._names, reads=True))
            return []
        self._patience.renew()
        self._portion.came()
        return self._found(reply)

    def _found(self, reply: Any) -> Found:
        """The entries in XREAD's reply, up to the first that is no text.

        Raises:
            NotTextError: that is the very first.
        """
        found: Found = []
        wrong: list[NotTextError] = []
        for stream, part in pairs(reply):
            stream, count = text_of(stream), len(found)
            try:
                for entry in decoded(part, stream, self._errors):
                    found.append((stream, entry))
            except NotTextError as error:
                wrong.append(error)
            if part and len(found) == count and not wrong:  # all of it is skipped
                self._at[stream] = EntryId.parse(text_of(part[-1][0]))
        found.sort(key=lambda pair: pair[1].id)
        if not wrong:
            return found
        first = min(wrong, key=lambda error: error.entries[0].id)
        before = [pair for pair in found if pair[1].id < first.entries[0].id]
        if not before:
            raise first
        return before

    def _read(self, block_ms: int, count: int) -> Steps[Found]:
        found = yield from self._fetch(block_ms, count)
        for stream, entry in found:
            self._at[stream] = entry.id
        return found

    def _handled(self, stream: str, entry: Entry) -> None:
        """This one entry is handled: read on after it, and store it with the next move."""
        self._expect_open()
        self._at[stream] = self._done[stream] = entry.id

    def _settle(self) -> None:
        """The caller comes back, so all that it had in hand is handled."""
        self._done.update(self._at)

    def _commit(self) -> Steps[None]:
        self._settle()
        if move := self._move():
            self._moved((yield from self._ask(move, move.keys[0])))

    def _move(self) -> Run | None:
        """What stores the positions, if they moved since the last time."""
        if not self._checkpoint or self._done == self._stored:
            return None
        return self._checkpoint.move(self._done)

    def _moved(self, reply: int) -> None:
        assert self._checkpoint
        self._checkpoint.moved(reply)
        self._stored = dict(self._done)

    def _forget(self) -> Steps[None]:
        checkpoint, self._checkpoint = self._checkpoint, None  # from now on nothing is stored
        if checkpoint:
            yield from self._ask(checkpoint.forget(), checkpoint.key)

    def _leave(self, error: object) -> Steps[None]:
        if error is None:
            yield from self._commit()
        elif not self._patience.ended(stopped=True) and (move := self._move()):
            with suppress(redis.RedisError):  # once: the error of the body is not to wait for it
                self._moved((yield move))

    def _ask(self, step: Step, key: str) -> Steps[Any]:
        """The answer to what can be asked twice about a key, as soon as it comes."""
        while True:
            since = time.monotonic()
            try:
                answer = yield step
            except redis.RedisError as error:
                yield Wait(self._failed(error, since, key))
            else:
                self._patience.renew()  # a failure after this is a first one again
                return answer

    def _failed(
        self, error: redis.RedisError, since: float, key: str, *, reads: bool = False
    ) -> float:
        """Seconds to wait for what passes; raises what is not worth another try.

        Args:
            error: what came back of what was sent.
            since: when that was, by time.monotonic().
            key: the key, or the keys, that it was about.
            reads: it was a read: once stopped, there is nothing to wait for.
        """
        if not passes(error):
            raise explain(error, key) from error
        wait_s = self._patience.failed(since)
        if reads and self._stopped:
            return 0.0
        if self._patience.ended(stopped=self._stopped):
            self._patience.renew()
            raise given_up(error, key) from error
        return wait_s


class Reader(Place[redis.Redis]):
    """Follows one or more streams. Use it in a `with` block.

        >>> added = redis.xadd("chennai", {"temperature": 26})
        >>> with Reader(redis, "chennai", start="0", name="display") as reader:
        ...     for stream, entry in reader:
        ...         print(stream, entry.fields)
        ...         reader.stop()
        chennai {'temperature': '26'}

    Promise, at least once: an entry counts as handled when the loop asks for the one after
    it, and the checkpoint never passes an entry that was not handled. After a crash the
    entries since the last checkpoint, at most one reply, come again. So they do after
    `break`, or an error in the loop, with the entry in hand first.

    It reads what is on the streams. Entries that were trimmed before it came to them are gone. A
    forked child and a copy have to open it for themselves.
    """

    def open(self) -> None:
        """Take the stored positions, and turn each `$` into the ID that it means now.

        `$` is looked up once, by XINFO STREAM: sent again with every XREAD it would skip
        what was added between two calls. And what it meant is stored at once, so that a
        reader that crashes before its first checkpoint has a place to go on from.
        """
        drive(self._client, self._open())

    def read(self, *, block_ms: int = BLOCK_MS, count: int = COUNT) -> Found:
        """Wait for entries, by XREAD BLOCK; [] if none came in time.

        What it returned counts as handled once `read()` or `commit()` is called again.

        After a lost connection it waits a little and returns [], so that the caller asks
        again: a read can be repeated. After `patience_s` of that it gives up.

        Args:
            block_ms: the longest wait, in milliseconds, above 0.
            count: the most entries of each stream.

        Raises:
            ArgumentError: the client would give up before BLOCK ends.
            NotTextError: the next entry is no text, and `errors` is strict.
            WrongTypeError: a key is no stream.
            StreamsError: the server cannot send the next entry, because it is too large.
            redis.ConnectionError: the server could not be reached for `patience_s`.
        """
        return drive(self._client, self._read(block_ms, count))

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Every entry as it comes, until `stop()`; the checkpoint moves after each reply."""
        while not self._stopped:
            for stream, entry in drive(self._client, self._fetch()):
                yield stream, entry
                self._handled(stream, entry)
                if self._stopped:
                    break
            self.commit()

    def commit(self) -> None:
        """Move the checkpoint to the last entry of each stream that was handled.

        Raises:
            CheckpointError: another reader of this name took over.
        """
        drive(self._client, self._commit())

    def forget(self) -> None:
        """Delete the checkpoint, if no other reader has it: this name is not used again.

        Otherwise a checkpoint stays for good.
        """
        drive(self._client, self._forget())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        drive(self._client, self._leave(error))


class AsyncReader(Place[redis.asyncio.Redis]):
    """`Reader` for asyncio: `async with AsyncReader(…)`, `async for stream, entry in reader`."""

    async def open(self) -> None:
        """See `Reader.open`."""
        await drive_async(self._client, self._open())

    async def read(self, *, block_ms: int = BLOCK_MS, count: int = COUNT) -> Found:
        """Wait for entries, by XREAD BLOCK; [] if none came in time: see `Reader.read`."""
        return await drive_async(self._client, self._read(block_ms, count))

    async def __aiter__(self) -> AsyncIterator[tuple[str, Entry]]:
        """Every entry as it comes, until `stop()`; the checkpoint moves after each reply."""
        while not self._stopped:
            for stream, entry in await drive_async(self._client, self._fetch()):
                yield stream, entry
                self._handled(stream, entry)
                if self._stopped:
                    break
            await self.commit()

    async def commit(self) -> None:
        """See `Reader.commit`."""
        await drive_async(self._client, self._commit())

    async def forget(self) -> None:
        """See `Reader.forget`."""
        await drive_async(self._client, self._forget())

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await drive_async(self._client, self._leave(error))
