"""The producer of daily partitions: each reading once, and no partition without an expiry.

A script writes a batch of readings, sets the partition's expiry two days after its newest
reading, and notes how many readings this producer has written there, all in one step. So no
crash leaves a partition that would stay for ever, and a batch that comes twice is written once.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from operator import index
from typing import Any, Self

import redis

from helpers.course.keys import WRITTEN
from helpers.partitions.days import DAY_MS, RETENTION_S, PartitionError, day_of_ms, partition_key
from helpers.partitions.readings import Reading
from helpers.streams.clock import Clock, ms_of, utc_now
from helpers.streams.entry import FIRST
from helpers.streams.errors import ArgumentError, NotConfirmedError, explain
from helpers.streams.keys import expect_name, sibling_key
from helpers.streams.outbox import Tally, no_answer
from helpers.streams.patience import LIMIT_S, Patience
from helpers.streams.single import Single, portion
from helpers.streams.slots import Clients, SyncClient
from helpers.streams.states import fate_unknown, passes
from helpers.streams.values import word

BATCH = 1000  # readings a round trip
LATE = "at"  # the field with a reading's own time, where its ID cannot be that

WRITE = """
-- KEYS: the partition, what its producers have written.
-- ARGV: producer, how many readings it has written there, the newest of these in ms,
--       seconds from the newest reading to the expiry, the clock in ms or '',
--       and as JSON: the moments of the readings in ms, a name, the values, a name, the values, …
-- Replies with how many readings the producer has written there by now, or with -1 if the
-- partition would be gone at once; and with the second in which it expires.
local there = redis.call('EXISTS', KEYS[1]) == 1
if not there then redis.call('DEL', KEYS[2]) end  -- only the partition was deleted
local written = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0)
if written ~= tonumber(ARGV[2]) then return {written, 0} end

local last = 0  -- no ID below it can be added any more
if there then
  local about = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #about, 2 do
    if about[at] == 'last-generated-id' then last = tonumber(about[at + 1]:match('^%d+')) end
  end
end
local expiry = math.floor(math.max(last, ARGV[3]) / 1000) + ARGV[4]
local now = redis.call('TIME')
if expiry * 1000 <= math.max(now[1] * 1000, tonumber(ARGV[5]) or 0) then return {-1, expiry} end

local columns, entry = cjson.decode(ARGV[6]), {}
for column = 2, #columns, 2 do entry[column - 1] = columns[column] end
for number, ms in ipairs(columns[1]) do
  for column = 3, #columns, 2 do entry[column - 1] = columns[column][number] end
  if ms > last then  -- the usual case: milliseconds alone are the ID ms-0
    last = ms
    redis.call('XADD', KEYS[1], ms, unpack(entry))
  elseif ms == last then
    redis.call('XADD', KEYS[1], string.format('%.0f-*', ms), unpack(entry))
  else  -- it came late: it gets the next ID, and carries its own time
    local own = string.format('%.0f', ms)
    redis.call('XADD', KEYS[1], string.format('%.0f-*', last), 'at', own, unpack(entry))
  end
end
written = written + #columns[1]
redis.call('HSET', KEYS[2], ARGV[1], written)
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expiry))
redis.call('EXPIREAT', KEYS[2], string.format('%.0f', expiry))
return {written, expiry}
"""


@dataclass(frozen=True)
class Batch:
    """Readings of one day with the same fields, ready to be sent."""

    day: date
    count: int
    newest: int
    columns: str


class PartitionProducer(Single):
    """Writes readings to the partitions of their days. Use it in a `with` block.

        with PartitionProducer(redis) as producer:
            producer.add(73)

    Promise: each reading whose `add` returned is in the partition of its day once, and the
    partition expires two days after its newest reading. Several producers may write the same
    day. A reading that comes after newer ones cannot have its time as ID any more, because IDs
    only grow: it gets the next ID, and its time in the field `at`. Threads may share a producer; a
    forked child and a copy have a name of their own, and nothing to settle.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        name: str | None = None,
        clock: Clock | None = None,
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to write; nothing is sent yet.

        Args:
            client: a client from `connect()`.
            name: under which the partitions remember what this producer has written. With one,
                a successor can ask how far it came; see `written`. By default a new one.
            clock: what time it is, where that is not the server's time. Readings that would
                have expired by then are refused.
            patience_s: how long the server may be out of reach or silent, in seconds.
        """
        self._patience_s = patience_s
        self._clients = Clients(client)
        self._clock = clock
        self._reset()
        super().__init__()
        if name:
            self.name = expect_name("producer", name)

    def _reset(self) -> None:
        self.name = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._written: dict[date, int] = {}
        self._open: Batch | None = None  # sent, and not yet confirmed
        self._lost = False  # whether a copy of it may be under way
        self._patience = Patience(self._patience_s)

    def add(
        self, temp_f: float | str, *, at: datetime | None = None, sensor: str | None = None
    ) -> None:
        """Write one reading.

        Args:
            temp_f: the temperature in °F.
            at: the moment of the reading; now, if it is None.
            sensor: which one it is from, where there are several.

        Raises:
            PartitionError: its partition would have expired already.
            NotConfirmedError: the server could not be reached for 10 s; `flush()` goes on.
            ArgumentError: the value is no text or number.
            WrongTypeError: the key is not a stream.
        """
        moment = at or (self._clock or utc_now)()
        self.add_many([Reading(ms_of(moment), temp_f, sensor)])

    def add_many(self, readings: Iterable[Reading], *, batch: int = BATCH) -> int:
        """Write many readings, and say how many. Each batch is written whole or not at all.

        Raises:
            PartitionError, NotConfirmedError, StreamsError: as for `add`. Readings that are none
                are given back, in `entries`; all others are written.
        """
        tally = Tally()
        with self._lock:
            self.flush()
            for one in batches(readings, batch, tally):
                tally.added = tally.with_more(self.send(one), FIRST, FIRST)
            return tally.result().count

    def send(self, batch: Batch) -> int:
        """Write a batch from `batches()`, and say how many readings that were.

        Raises:
            PartitionError: it would have expired already, or another producer of this name
                writes to this partition too; `written()` says how far that one came.
            NotConfirmedError, StreamsError: as for `add`.
        """
        with self._lock:
            self.flush()
            self._open, self._lost = batch, False
            self.flush()
        return batch.count

    def flush(self) -> None:
        """Settle a batch of which it is not known whether it was written."""
        with self._lock:
            while batch := self._open:
                since = time.monotonic()
                try:
                    reply = self._send(batch)
                except redis.RedisError as error:
                    self._fail(error, batch, since)
                    continue
                self._patience.renew()
                self._settle(batch, *reply)

    def written(self, day: date) -> int:
        """How many readings of this producer's name a partition has, by HGET and EXISTS."""
        key = partition_key(day)
        there = self.patiently(lambda: self._clients.of(key).exists(key), key)
        told = self.patiently(lambda: self._clients.of(key).hget(_notes(key), self.name), key)
        self._written[day] = int(told or 0) if there else 0
        return self._written[day]

    def patiently(self, ask: Callable[[], Any], key: str) -> Any:
        """Ask what can be asked twice, until the answer comes.

        Raises:
            NotConfirmedError: the server could not be reached for 10 s.
            StreamsError: it refused to answer.
        """
        while True:
            since = time.monotonic()
            try:
                answer = ask()
            except redis.RedisError as error:
                self._wait(error, key, since)
            else:
                self._patience.renew()
                return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.flush()

    def _send(self, batch: Batch) -> Any:
        key = partition_key(batch.day)
        now = ms_of(self._clock()) if self._clock else ""
        before = self._written.get(batch.day, 0)
        words = [self.name, before, batch.newest, RETENTION_S, now, batch.columns]
        return self._clients.of(key).register_script(WRITE)([key, _notes(key)], words)

    def _settle(self, batch: Batch, written: int, expiry: int) -> None:
        """Note what the partition said."""
        if written < 0:
            self._open = None
            raise would_be_gone(batch.day, expiry)
        expected = self._written.get(batch.day, 0) + batch.count
        self._written[batch.day], self._open = written, None  # both or neither, also on Ctrl-C
        if written == expected:
            return
        key = partition_key(batch.day)
        if written < expected - batch.count:
            raise PartitionError(
                f"The server has lost what it had confirmed: {key} holds {written:,} readings of "
                f"the producer {self.name!r}, which has written {expected - batch.count:,}. Write "
                "them again, and see `appendfsync`."
            )
        raise PartitionError(
            f"Another producer named {self.name!r} writes to {key} too: stop one of them, or "
            "give them different names."
        )

    def _fail(self, error: redis.RedisError, batch: Batch, since: float) -> None:
        """Wait after a lost connection; raise what is not worth another try."""
        key = partition_key(batch.day)
        if not passes(error):
            self._open = None
            refused = explain(error, key)
            if self._lost:
                raise NotConfirmedError(
                    f"{refused} It was sent before, and no reply came: once the cause is gone, a "
                    f"late copy may still write the {batch.count:,} readings for {key}, once or "
                    "not at all.",
                    confirmed=self._written.get(batch.day, 0), stream=key,
                ) from error  # fmt: skip
            raise refused from error
        self._lost = self._lost or fate_unknown(error)
        self._wait(error, key, since)

    def _wait(self, error: redis.RedisError, key: str, since: float) -> None:
        if not passes(error):
            raise explain(error, key) from error
        delay_s = self._patience.failed(since)
        if self._patience.exhausted:
            self._patience.renew()
            count = self._open.count if self._open else 0
            raise NotConfirmedError(
                f"{no_answer(error, key, self._patience)} Call flush() to "
                f"settle the last {count:,} readings for {key}, which are there once or not at "
                "all; all before them are there.",
                confirmed=self._written.get(self._open.day, 0) if self._open else 0,
            ) from error
        time.sleep(delay_s)


def batches(
    readings: Iterable[Reading], size: int = BATCH, tally: Tally | None = None
) -> Iterator[Batch]:
    """Cut readings into batches, each of one day and with the same fields.

    Args:
        readings: what to cut.
        size: the most readings a batch.
        tally: takes what is no reading; without one that is an error.

    Raises:
        PartitionError: a batch would hold no readings, or what is to be one is none.
    """
    if size < 1:
        raise PartitionError("A batch must hold at least one reading.")
    if not isinstance(readings, Iterable):
        raise PartitionError(f"{readings!r:.80} is no series of readings: give a list of them.")
    rest = iter(readings)
    while (chunk := portion(rest, size)) and not (tally and tally.full):
        try:
            yield from _cut(chunk)
        except PartitionError:
            if tally is None:
                raise
            yield from _cut(_sound(chunk, tally))


def _cut(chunk: list[Reading]) -> list[Batch]:
    """The batches of some readings."""
    try:
        parts = groupby(chunk, _kind)
        return [_batch(number, list(part), named) for (number, named), part in parts]
    except PartitionError:  # of a moment beyond the calendar
        raise
    except (TypeError, ValueError, LookupError) as error:
        said = str(error).removesuffix(".")
        raise PartitionError(
            f"A reading is Reading(milliseconds after 1970, temperature): {said}."
        ) from error


def _sound(chunk: list[Reading], tally: Tally) -> list[Reading]:
    """Those that are readings; the others are given back."""
    found = []
    for one in chunk:
        try:
            _cut([one])
        except PartitionError as why:
            tally.give_back([one], why)
        else:
            found.append(one)
    return found


def would_be_gone(day: date, expiry: int) -> PartitionError:
    """Why nothing was written to a partition that expires in a past second."""
    at = datetime.fromtimestamp(expiry, UTC).replace(tzinfo=None)
    return PartitionError(
        f"{partition_key(day)} would expire at {at} UTC, two days after its "
        "newest reading, and that time has passed: EXPIREAT with a past time deletes a key at "
        "once. So nothing was written. Use a later day."
    )


def _kind(reading: Reading) -> tuple[int, bool]:
    """What the readings of a batch have in common: the day, and whether the sensor is named."""
    return reading[0] // DAY_MS, reading[2] is not None


def _batch(number: int, readings: list[Reading], named: bool) -> Batch:
    moments, temps, sensors = zip(*readings, strict=True)
    if bool in map(type, moments):
        raise TypeError("a bool is no moment")
    moments = tuple(map(index, moments))
    columns: list[Any] = [moments, "temp_f", _texts(temps, "The temperature")]
    if named:
        columns += ["sensor", _texts(sensors, "The sensor")]
    words = json.dumps(columns, separators=(",", ":"))  # one word: to pack thousands is slow
    return Batch(day_of_ms(number * DAY_MS), len(readings), max(moments), words)


def _texts(values: Sequence[Any], what: str) -> list[str]:
    if set(map(type, values)) == {int}:  # few types, while the values may be thousands
        return [*map(str, values)]
    return [_text(word(value, what), what) for value in values]


def _text(word: str | bytes, what: str) -> str:
    try:
        return word if isinstance(word, str) else word.decode()
    except UnicodeDecodeError:
        raise ArgumentError(
            f"{what} is bytes that are no UTF-8, which a partition cannot hold: write text, such "
            "as base64"
        ) from None


def _notes(key: str) -> str:
    return sibling_key(key, WRITTEN)
