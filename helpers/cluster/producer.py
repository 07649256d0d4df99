"""The producer of a stream in parts: a batch for each part, sent to all nodes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

from helpers.cluster.parts import Parts
from helpers.streams.bulk import BulkOutbox
from helpers.streams.errors import ArgumentError, NotConfirmedError, StreamsError
from helpers.streams.outbox import BATCH, Fields, Tally
from helpers.streams.patience import LIMIT_S
from helpers.streams.single import Single, portion
from helpers.streams.slots import SyncClient, client_for
from helpers.streams.steps import Steps, drive

KEPT = 10_000  # keys whose parts are remembered


class PartsProducer(Single):
    """Appends entries to a stream in parts, each once, by a key in it. Use it in a `with` block.

        with PartsProducer(cluster, "weather", parts=12, key="city") as producer:
            producer.add_many(readings)

    Promise: as `BulkProducer`'s, in each part. Entries with one key come onto one part, in their
    order. Between parts there is no order. When `add_many` raises NotConfirmedError, its
    `confirmed` counts the entries that are there for certain; those that are still under way are
    there once or not at all, and `flush()` settles them.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        key: str,
        parts: int | None = None,
        patience_s: float = LIMIT_S,
        replicas: int = 0,
    ) -> None:
        """Agree on the number of parts; see `Parts.agreed`.

        Args:
            client: a client of a cluster, or of a server.
            name: of the stream.
            key: the field whose value chooses the part.
            parts: how many there are. Once that is known to the server, it can be left out.
            patience_s, replicas: see `Producer`.
        """
        self.parts = Parts.agreed(client, name, parts)
        self.key = key
        self._make: Callable[[str], BulkOutbox] = lambda stream: BulkOutbox(
            client_for(client, [stream]), stream, patience_s, replicas
        )
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._buckets: dict[str, list[Fields]] = {}  # entries that wait to be sent, by stream
        self._known: dict[str, list[Fields]] = {}  # keys, and the buckets of their streams
        self._outboxes: dict[str, BulkOutbox] = {}
        self._lock = threading.RLock()

    def add(self, fields: Fields) -> None:
        """Append one entry.

        Raises:
            ArgumentError: it has no such key, no fields, or a value that has no text.
            NotConfirmedError, StreamsError: see `add_many`.
        """
        self.add_many([fields])

    def add_many(self, entries: Iterable[Fields], *, batch: int = BATCH) -> int:
        """Append entries, and say how many; the server gives their IDs.

        Args:
            entries: their fields.
            batch: the most entries a round trip to one part.

        Raises:
            NotConfirmedError: a node could not be reached for `patience_s`.
            ArgumentError: some are given back, as its `entries`; all others are appended.
            StreamsError: an earlier call is still not settled, or a node refused a batch.
        """
        if batch < 1 or not isinstance(entries, Iterable):
            raise ArgumentError("Give a list or a generator of entries, and a batch above zero.")
        with self._lock:
            self.flush()
            for outbox in self._outboxes.values():
                outbox.tally = Tally()
            without = Tally()
            rest, failed = iter(entries), None
            try:
                while not failed and (chunk := portion(rest, batch)):
                    self._sort(chunk, without)
                    failed = self._start(batch)
                failed = self._settle(failed or self._start(1))
                if failed:
                    unsent = [one for bucket in self._buckets.values() for one in bucket]
                    failed.entries = [*failed.entries, *unsent]
            finally:
                for bucket in self._buckets.values():
                    bucket.clear()
            count = sum(outbox.tally.added.count for outbox in self._outboxes.values())
            if failed:
                raise self._told(without.ended(failed, failed.entries), count)
            without.added = without.with_more(count, without.added.first, without.added.last)
            return without.result(self.parts.name).count

    def flush(self) -> None:
        """Settle batches of which it is not known whether they were appended."""
        with self._lock:
            if failed := self._settle(None):
                raise failed

    def close(self) -> None:
        """Settle what is open, and let the server forget this producer."""
        self.flush()
        for outbox in self._outboxes.values():
            self._drive(outbox, outbox.forget())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            for outbox in self._outboxes.values():
                with suppress(StreamsError):
                    self._drive(outbox, outbox.forget())

    def _sort(self, chunk: list[Fields], tally: Tally) -> None:
        """Put each entry to those that wait for its part; give back what has no key."""
        key, known = self.key, self._known
        for fields in chunk:
            try:
                if type(fields) is dict:
                    known[fields[key]].append(fields)
                    continue
            except (KeyError, TypeError):  # a key that is new, missing, or no text
                pass
            try:
                self._bucket_of(fields).append(fields)
            except ArgumentError as why:
                tally.give_back([fields], why)

    def _bucket_of(self, fields: Any) -> list[Fields]:
        """Where an entry waits; that of a key in plain text is kept for the next one."""
        if not isinstance(fields, Mapping) or self.key not in fields:
            raise ArgumentError(
                f"The entry {fields!r:.80} has no field {self.key!r}, by whose value its part is "
                "chosen."
            )
        value = fields[self.key]
        bucket = self._buckets.setdefault(self.parts.of(value), [])
        if type(value) is str:  # of 1, 1.0 and True a dict would make one key
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[value] = bucket
        return bucket

    def _start(self, least: int) -> StreamsError | None:
        """Send a batch to each part for which so many wait; their nodes work side by side."""
        for stream, bucket in self._buckets.items():
            if len(bucket) < least:
                continue
            if stream not in self._outboxes:
                self._outboxes[stream] = self._make(stream)
            outbox = self._outboxes[stream]
            try:
                self._drive(outbox, outbox.settle())  # if that fails, these are given back
                batch = bucket.copy()
                bucket.clear()
                self._drive(outbox, outbox.start(batch))
            except StreamsError as error:
                return error
        return None

    def _settle(self, failed: StreamsError | None) -> StreamsError | None:
        """Read what became of all batches; the first error, with what the others give back too."""
        for outbox in self._outboxes.values():
            try:
                self._drive(outbox, outbox.flush())
            except StreamsError as error:
                if failed:
                    failed.entries = [*failed.entries, *error.entries]
                failed = failed or error
        return failed

    def _told(self, failed: StreamsError, count: int) -> StreamsError:
        if isinstance(failed, NotConfirmedError):
            failed.confirmed = count
        return failed

    def _drive(self, outbox: BulkOutbox, steps: Steps[Any]) -> None:
        drive(outbox._client, steps)
