"""Producers: append entries to a stream, each exactly once, also when a reply is lost.

`outbox` has how, and decides what to send next; the classes here do it.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Iterable
from typing import Self

import redis
import redis.asyncio

from .entry import Entry, EntryId
from .outbox import APPEND as APPEND
from .outbox import BATCH, Added, Fields, Item, Outbox, ScriptOutbox
from .outbox import sends_again as sends_again
from .patience import LIMIT_S
from .single import Single
from .slots import AsyncClient, SyncClient, client_for
from .steps import Steps, T, drive, drive_async


class Base(Single):
    """What all producers share: what they have added, and what becomes of a copy."""

    _outbox: Outbox

    def __init__(self) -> None:
        self._forked()
        super().__init__()

    def _reset(self) -> None:
        self._outbox = copy.copy(self._outbox)
        self._forked()

    @property
    def added(self) -> Added:
        """What the current or last call has appended for certain."""
        return self._outbox.tally.added


class Blocking(Base):
    """What the producers without asyncio share."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        super().__init__()

    def _forked(self) -> None:
        """The outbox takes care of itself."""
        self._lock = threading.RLock()

    def _drive(self, steps: Steps[T]) -> T:
        """Do it, one call after the other."""
        with self._lock:
            return drive(self._client, steps)

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        self._drive(self._outbox.flush())

    def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        self._drive(self._outbox.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:  # at once, whatever other threads do
            drive(self._client, self._outbox.forget())


class Producer(Blocking):
    """Appends entries to one stream, each exactly once. Use it in a `with` block.

        >>> with Producer(redis, "chennai") as producer:
        ...     added = producer.add({"temperature": 26, "humidity": 10})
        >>> redis.xrange("chennai") == [(str(added), {"temperature": "26", "humidity": "10"})]
        True

    Promise: an entry whose `add` returned is on the stream once, whatever happened to the
    connection meanwhile. When `add` raises NotConfirmedError, the entry is there once or not
    at all, and the next call, or `flush()`, first makes sure that it is. A producer that is
    killed has added its last batch once or not at all.

    Threads may share a producer: it serves one call after the other. A forked child and a copy
    have an identity and connections of their own, and nothing to settle.

    An entry that can never be appended is given back: the call appends the others, and then raises
    an ArgumentError with that entry in its `entries`. This happens if a value can't be written as
    text (see `values`), if an ID isn't above the last one, and if an entry is larger than the
    server accepts.
    """

    _outbox: ScriptOutbox

    def __init__(
        self,
        client: SyncClient,
        stream: str,
        *,
        patience_s: float = LIMIT_S,
        replicas: int = 0,
    ) -> None:
        """Prepare to append; nothing is sent yet.

        Args:
            client: a client from `connect()`, or of a cluster.
            stream: the stream's key.
            patience_s: how long, in seconds, the server may be out of reach, silent, or in a
                state that passes, before a call raises NotConfirmedError.
            replicas: how many replicas must have what a call appended before it returns, by WAIT.
                With 0, a failover loses what was confirmed and not yet replicated. With more, it
                is lost only with all of those, or if another replica is promoted: they have it in
                memory, and WAIT does not say which ones they are.
        """
        node = client_for(client, [stream])
        self._outbox = ScriptOutbox(node, stream, patience_s, replicas)
        super().__init__(node)

    def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID.

        Args:
            fields: names and values; at least one.
            id: `*` for the server's clock, or an ID above all those on the stream.

        Raises:
            EntryIdError: the ID is not above the last one.
            NotConfirmedError: the server could not be reached for `patience_s`.
            ArgumentError: it has no fields, or a value that has no text, or is too large.
            WrongTypeError: the key is not a stream.
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
        return self._drive(self._outbox.call(self._outbox.add(items, batch, rate)))


class AsyncProducer(Base):
    """`Producer` for asyncio; tasks may share it.

    Await its calls:

        async with AsyncProducer(redis, "chennai") as producer:
            await producer.add({"temperature": 26, "humidity": 10})
    """

    _outbox: ScriptOutbox

    def __init__(
        self,
        client: AsyncClient,
        stream: str,
        *,
        patience_s: float = LIMIT_S,
        replicas: int = 0,
    ) -> None:
        """Prepare to append: see `Producer`."""
        self._client = client_for(client, [stream])
        self._outbox = ScriptOutbox(self._client, stream, patience_s, replicas)
        super().__init__()

    def _forked(self) -> None:
        """The outbox takes care of itself."""
        self._lock = asyncio.Lock()

    async def _drive(self, steps: Steps[T]) -> T:
        async with self._lock:
            return await drive_async(self._client, steps)

    async def add(self, fields: Fields, id: str | EntryId = "*") -> EntryId:
        """Append one entry and return its ID: see `Producer.add`."""
        return (await self.add_many([item(fields, id)])).first

    async def add_many(
        self, items: Iterable[Item], *, batch: int = BATCH, rate: float | None = None
    ) -> Added:
        """Append many entries: see `Producer.add_many`."""
        return await self._drive(self._outbox.call(self._outbox.add(items, batch, rate)))

    async def flush(self) -> None:
        """Settle a batch of which it is not known whether it was appended."""
        await self._drive(self._outbox.flush())

    async def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        await self._drive(self._outbox.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            await self.close()
        else:  # at once, whatever other tasks do
            await drive_async(self._client, self._outbox.forget())


def item(fields: Fields, id: str | EntryId) -> Item:
    """One entry to append: with the ID given, or one that the server gives."""
    return fields if id == "*" else Entry(EntryId.parse(id), fields)  # type: ignore[arg-type]
