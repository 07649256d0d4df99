"""Readers: follow streams with blocking XREAD, and remember in Redis how far they came."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import redis
import redis.asyncio

from .checkpoint import FORGET, MOVE, OPEN, Checkpoint
from .connection import expect_one_server
from .entry import FIRST, Entry, EntryId, pairs
from .errors import ArgumentError, CheckpointError, NotTextError, explain, given_up
from .keys import expect_name
from .patience import LIMIT_S, Patience, expect_patience
from .single import Single
from .size import SIZE, Portion
from .states import passes, reconnect, reconnect_async, unreachable
from .text import Errors, asking, decoded, text_of, undecoded

BLOCK_MS = 1000  # how long one XREAD waits, and so how soon stop() is heard
COUNT = 100  # entries of each stream a reply, and so how many may be read again after a crash


class Reader(Single):
    """Follows one or more streams. Use it in a `with` block.

        with Reader(redis, "chennai", name="display") as reader:
            for stream, entry in reader:
                show(entry)

    Promise, at least once: an entry counts as handled when the loop asks for the one after
    it, and the checkpoint never passes an entry that was not handled. After a crash the
    entries since the last checkpoint, at most one reply, come again. So they do after
    `break`, or an error in the loop, with the entry in hand first.

    It reads what is on the streams. Entries that were trimmed before it came to them are gone. A
    forked child and a copy have to open it for themselves.
    """

    def __init__(
        self,
        client: redis.Redis,
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
        self._client = client
        self._place = Place(client, streams, start, name, errors, patience_s)
        super().__init__()

    def _reset(self) -> None:
        self._place = copy.copy(self._place)

    @property
    def positions(self) -> dict[str, EntryId]:
        """The last ID read of each stream, or the one to start after."""
        return dict(self._place.at)

    def open(self) -> None:
        """Take the stored positions, and turn each `$` into the ID that it means now.

        `$` is looked up once, by XINFO STREAM: sent again with every XREAD it would skip
        what was added between two calls. And what it meant is stored at once, so that a
        reader that crashes before its first checkpoint has a place to go on from.
        """
        place = self._place
        if place.checkpoint:
            script, checkpoint = self._client.register_script(OPEN), place.checkpoint
            while not place.resume(
                self._patiently(lambda _: script(**checkpoint.open()), checkpoint.key)
            ):
                pass  # another reader of this name was opened just now
        for stream in place.unresolved():
            place.resolve(stream, self._patiently(self._last_id, stream))
        self.commit()

    def read(self, *, block_ms: int = BLOCK_MS, count: int = COUNT) -> list[tuple[str, Entry]]:
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
        found = self._fetch(block_ms, count)
        self._place.take(found)
        return found

    def _fetch(self, block_ms: int = BLOCK_MS, count: int = COUNT) -> list[tuple[str, Entry]]:
        self._place.check(block_ms, count)
        self._place.settle()
        since, most = time.monotonic(), self._place.portion.of(count)
        try:
            if look := self._place.look():
                self._place.looked(self._client.register_script(SIZE)(**look))
            reply = self._place.ask.xread(self._place.arguments(), count=most, block=block_ms)
        except UnicodeDecodeError:
            self._place.read_bytes()
            return self._fetch(block_ms, count)
        except redis.RedisError as error:
            reconnect(self._client, error)
            time.sleep(self._place.fail(error, since, count=most))
            return []
        return self._place.found(reply)

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Every entry as it comes, until `stop()`; the checkpoint moves after each reply."""
        while not self._place.stopped:
            for stream, entry in self._fetch():
                yield stream, entry
                self._place.handled(stream, entry)
                if self._place.stopped:
                    break
            self.commit()

    def stop(self) -> None:
        """End the loop after the entry in hand, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._place.stopped = True

    def commit(self) -> None:
        """Move the checkpoint to the last entry of each stream that was handled.

        Raises:
            CheckpointError: another reader of this name took over.
        """
        self._place.settle()
        self._store()

    def forget(self) -> None:
        """Delete the checkpoint, if no other reader has it: this name is not used again.

        Otherwise a checkpoint stays for good.
        """
        if checkpoint := self._place.forget():
            script, call = self._client.register_script(FORGET), checkpoint.forget()
            self._patiently(lambda _: script(**call), checkpoint.key)

    def _store(self) -> None:
        move = self._place.pending_move()
        if move:
            script = self._client.register_script(MOVE)
            key = move["keys"][0]
            self._place.committed(self._patiently(lambda _: script(**move), key))

    def _patiently(self, ask: Callable[[str], Any], key: str) -> Any:
        """Ask about a key what can be asked twice, until the answer comes."""
        while True:
            since = time.monotonic()
            try:
                return self._place.heard(ask(key))
            except redis.RedisError as error:
                reconnect(self._client, error)
                time.sleep(self._place.fail(error, since, key))

    def _last_id(self, stream: str) -> str | None:
        try:
            return text_of(undecoded(self._client).xinfo_stream(stream))["last-generated-id"]
        except redis.ResponseError as error:
            expect_missing(error, stream)
            return None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._place.settle()
            self._store()
        elif move := self._place.last_move():
            with suppress(redis.RedisError):  # once: the error of the body is not to wait for it
                self._place.committed(self._client.register_script(MOVE)(**move))


class AsyncReader(Single):
    """The same for asyncio: `async with AsyncReader(…)`, `async for stream, entry in reader`."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        streams: str | Iterable[str] | Mapping[str, str],
        *,
        start: str | EntryId | None = None,
        name: str | None = None,
        errors: Errors = "strict",
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to read: see `Reader`."""
        self._client = client
        self._place = Place(client, streams, start, name, errors, patience_s)
        super().__init__()

    def _reset(self) -> None:
        self._place = copy.copy(self._place)

    @property
    def positions(self) -> dict[str, EntryId]:
        """The last ID read of each stream, or the one to start after."""
        return dict(self._place.at)

    async def open(self) -> None:
        """Take the stored positions, and turn each `$` into the ID that it means now."""
        place = self._place
        if place.checkpoint:
            script, checkpoint = self._client.register_script(OPEN), place.checkpoint
            while not place.resume(
                await self._patiently(lambda _: script(**checkpoint.open()), checkpoint.key)
            ):
                pass  # another reader of this name was opened just now
        for stream in place.unresolved():
            place.resolve(stream, await self._patiently(self._last_id, stream))
        await self.commit()

    async def read(
        self, *, block_ms: int = BLOCK_MS, count: int = COUNT
    ) -> list[tuple[str, Entry]]:
        """Wait for entries, by XREAD BLOCK; [] if none came in time: see `Reader.read`."""
        found = await self._fetch(block_ms, count)
        self._place.take(found)
        return found

    async def _fetch(self, block_ms: int = BLOCK_MS, count: int = COUNT) -> list[tuple[str, Entry]]:
        self._place.check(block_ms, count)
        self._place.settle()
        since, most = time.monotonic(), self._place.portion.of(count)
        try:
            if look := self._place.look():
                self._place.looked(await self._client.register_script(SIZE)(**look))
            reply = await self._place.ask.xread(self._place.arguments(), count=most, block=block_ms)
        except UnicodeDecodeError:
            self._place.read_bytes()
            return await self._fetch(block_ms, count)
        except redis.RedisError as error:
            await reconnect_async(self._client, error)
            await asyncio.sleep(self._place.fail(error, since, count=most))
            return []
        return self._place.found(reply)

    async def __aiter__(self) -> AsyncIterator[tuple[str, Entry]]:
        """Every entry as it comes, until `stop()`; the checkpoint moves after each reply."""
        while not self._place.stopped:
            for stream, entry in await self._fetch():
                yield stream, entry
                self._place.handled(stream, entry)
                if self._place.stopped:
                    break
            await self.commit()

    def stop(self) -> None:
        """End the loop after the entry in hand, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._place.stopped = True

    async def commit(self) -> None:
        """Move the checkpoint to the last entry of each stream that was handled."""
        self._place.settle()
        await self._store()

    async def forget(self) -> None:
        """Delete the checkpoint, if no other reader has it: this name is not used again."""
        if checkpoint := self._place.forget():
            script, call = self._client.register_script(FORGET), checkpoint.forget()
            await self._patiently(lambda _: script(**call), checkpoint.key)

    async def _store(self) -> None:
        move = self._place.pending_move()
        if move:
            script = self._client.register_script(MOVE)
            key = move["keys"][0]
            self._place.committed(await self._patiently(lambda _: script(**move), key))

    async def _patiently(self, ask: Callable[[str], Awaitable[Any]], key: str) -> Any:
        while True:
            since = time.monotonic()
            try:
                return self._place.heard(await ask(key))
            except redis.RedisError as error:
                await reconnect_async(self._client, error)
                await asyncio.sleep(self._place.fail(error, since, key))

    async def _last_id(self, stream: str) -> str | None:
        try:
            return text_of(await undecoded(self._client).xinfo_stream(stream))["last-generated-id"]
        except redis.ResponseError as error:
            expect_missing(error, stream)
            return None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._place.settle()
            await self._store()
        elif move := self._place.last_move():
            with suppress(redis.RedisError):  # once: the error of the body is not to wait for it
                self._place.committed(await self._client.register_script(MOVE)(**move))


class Place(Single):
    """Where a reader stands in its streams. It decides, and neither sends nor waits."""

    def __init__(
        self,
        client: Any,
        streams: str | Iterable[str] | Mapping[str, str],
        start: str | EntryId | None,
        name: str | None,
        errors: Errors,
        patience_s: float = LIMIT_S,
    ) -> None:
        if isinstance(streams, str):
            streams = [streams]
        if not isinstance(streams, Mapping):
            streams = dict.fromkeys(streams, "$" if start is None else str(start))
        else:
            start = "as the mapping says"
        expect_one_server(client, next(iter(streams), ""))
        if not streams:
            raise ArgumentError("A reader needs the name of at least one stream.")
        self._starts = {
            expect_name("stream", s): i if i == "$" else str(EntryId.parse(i))
            for s, i in streams.items()
        }
        self._told = start is not None
        self._client = client
        self._name = name and expect_name("reader", name)
        self._errors, self._patience_s = errors, patience_s
        self.names = ", ".join(self._starts)
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self.checkpoint = Checkpoint(self._name) if self._name else None
        self.ask = asking(self._client, self._errors)
        self.portion = Portion()
        self.at: dict[str, EntryId] = {}  # to read on from
        self._done: dict[str, EntryId] = {}  # to store
        self._stored: dict[str, EntryId] = {}
        self.stopped = False
        self._patience = Patience(self._patience_s)

    def resume(self, reply: list[Any]) -> bool:
        """Take over the positions of the checkpoint, for the streams of this reader.

        Returns False if it has to be asked for again.

        Raises:
            CheckpointError: there was one, and it is gone.
        """
        assert self.checkpoint
        stored = self.checkpoint.opened(reply)
        if stored is None:
            return False
        if self.checkpoint.lost and not self._told:
            raise CheckpointError(
                f"The checkpoint of the reader {self.checkpoint.name!r} is gone, evicted or "
                "deleted, and with it how far it came: say where to begin, with start='0' for all "
                "there is or an ID, or start='$' for what is new.",
                stream=self.names, key=self.checkpoint.key,
            )  # fmt: skip
        self._stored = {s: stored[s] for s in self._starts if s in stored}
        self.at.update(self._stored)
        return True

    def forget(self) -> Checkpoint | None:
        """The checkpoint, if there is one: from now on nothing is stored."""
        checkpoint, self.checkpoint = self.checkpoint, None
        return checkpoint

    def unresolved(self) -> list[str]:
        """The streams that start at `$`; the others get their position here."""
        waiting = [stream for stream in self._starts if stream not in self.at]
        for stream in waiting:
            if self._starts[stream] != "$":
                self.at[stream] = EntryId.parse(self._starts[stream])
        return [stream for stream in waiting if stream not in self.at]

    def resolve(self, stream: str, last: str | None) -> None:
        """Start after the last ID of a stream, or at its beginning if it does not exist yet."""
        self.at[stream] = EntryId.parse(last) if last else FIRST

    def check(self, block_ms: int, count: int) -> None:
        """Refuse what would never return, or would return in the middle of BLOCK."""
        self._expect_open()
        if block_ms <= 0 or count <= 0:
            raise ArgumentError("BLOCK and COUNT must be above 0: BLOCK 0 could not be stopped.")
        expect_patience(self._client, block_ms)

    def _expect_open(self) -> None:
        if not self.at:
            raise ArgumentError(
                "Open the reader first: `with Reader(…) as reader:`, also in a forked child."
            )

    def read_bytes(self) -> None:
        """A reply is no text: ask for it once more, and decide entry by entry."""
        self.ask = undecoded(self._client)

    def arguments(self) -> dict[Any, Any]:
        """The streams of the next XREAD, and the ID to read each from."""
        only = self.portion.only
        return {stream: str(last) for stream, last in self.at.items() if only in ("", stream)}

    def look(self) -> dict[str, Any] | None:
        """SIZE's keys and arguments, where the next entry may be too large to be sent."""
        return self.portion.look(self.arguments())

    def looked(self, sizes: list[list[Any]]) -> None:
        """What SIZE replied.

        Raises:
            StreamsError: the next entry is too large.
        """
        self.portion.looked(self.arguments(), self.heard(sizes))

    def found(self, reply: Any) -> list[tuple[str, Entry]]:
        """The entries in XREAD's reply, oldest first."""
        self.portion.came()
        found: list[tuple[str, Entry]] = []
        wrong: list[NotTextError] = []
        for stream, part in pairs(self.heard(reply)):
            stream, count = text_of(stream), len(found)
            try:
                for entry in decoded(part, stream, self._errors):
                    found.append((stream, entry))
            except NotTextError as error:
                wrong.append(error)
            if part and len(found) == count and not wrong:  # all of it is skipped
                self.at[stream] = EntryId.parse(text_of(part[-1][0]))
        found.sort(key=lambda pair: pair[1].id)
        if not wrong:
            return found
        first = min(wrong, key=lambda error: error.entries[0].id)
        before = [pair for pair in found if pair[1].id < first.entries[0].id]
        if not before:
            raise first
        return before

    def take(self, found: list[tuple[str, Entry]]) -> None:
        """Read on after these entries, which the caller has now in hand."""
        for stream, entry in found:
            self.at[stream] = entry.id

    def settle(self) -> None:
        """The caller comes back, so all that it had in hand is handled."""
        self._done.update(self.at)

    def handled(self, stream: str, entry: Entry) -> None:
        """This one entry is handled: read on after it, and store it with the next move."""
        self._expect_open()
        self.at[stream] = self._done[stream] = entry.id

    def heard(self, reply: Any) -> Any:
        """The server answered, so a failure after this is a first one again."""
        self._patience.renew()
        return reply

    def fail(
        self, error: redis.RedisError, since: float, key: str | None = None, *, count: int = 0
    ) -> float:
        """Seconds to wait for what passes; raises what is not worth another try.

        Args:
            error: what came back of what was sent.
            since: when that was, by time.monotonic().
            key: the key that it was about; the streams by default.
            count: of a read, how many entries it asked for.
        """
        if count and unreachable(error):
            self.portion.cut(error, count)  # it may have been too large
        if not passes(error):
            raise explain(error, key or self.names) from error
        wait_s = self._patience.failed(since)
        if count and self.stopped:
            return 0.0  # nothing more is read
        if self._patience.ended(stopped=self.stopped):
            self._patience.renew()
            raise given_up(error, key or self.names) from error
        return wait_s

    def pending_move(self) -> dict[str, Any] | None:
        """The script call that stores the positions, if they moved since the last one."""
        if not self.checkpoint or self._done == self._stored:
            return None
        return self.checkpoint.move(self._done)

    def last_move(self) -> dict[str, Any] | None:
        """The same where the body has failed; none if the server was silent just now."""
        return None if self._patience.ended(stopped=True) else self.pending_move()

    def committed(self, reply: int) -> None:
        """The positions are stored, unless another reader took over."""
        assert self.checkpoint
        self.checkpoint.moved(reply)
        self._stored = dict(self._done)


def expect_missing(error: redis.ResponseError, stream: str) -> None:
    """A stream that does not exist yet has no last ID; any other error is one."""
    if "no such key" not in str(error).lower():
        raise explain(error, stream) from error
