"""Fill partitions with the demo's readings, as fast as it goes; to be interrupted and resumed.

The readings of a day are always the same, and each partition knows how many of them it has. So
a fill goes on from there, whatever became of the one before, and two at once do not disturb
each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from itertools import islice

from helpers.partitions.days import RETENTION_S, PartitionError, day_of, partition_key, start_of
from helpers.partitions.overview import Partition, inspect
from helpers.partitions.producer import PartitionProducer, batches, would_be_gone
from helpers.partitions.readings import DEMO_START, SECONDS_A_DAY, readings_of
from helpers.streams.clock import Clock, ms_of, utc_now
from helpers.streams.slots import Clients, SyncClient

DAYS = 10
MOST_SENSORS = 100
THREADS = 3  # each fills a day: while the server writes for one, the others prepare


def fill(
    client: SyncClient,
    *,
    start: date = DEMO_START,
    days: int = DAYS,
    sensors: int = 1,
    clock: Clock | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Generator[Partition, None, None]:
    """Write the readings of some days, and give each partition once it is complete.

    Args:
        client: a client from `connect()`.
        start: the first day.
        days: how many.
        sensors: each takes a reading a second.
        clock: what time it is; see `PartitionProducer`.
        progress: is told of readings that are there: written, or found.

    Raises:
        PartitionError: the days or sensors cannot be counted, a day is past, or a partition
            holds other readings.
        NotConfirmedError: the server could not be reached for 10 s.
    """
    start = day_of(start)
    expect_days(start, days, sensors, clock or utc_now)
    stop = threading.Event()
    work = partial(_fill_day, client, sensors, clock, progress, stop)
    with ThreadPoolExecutor(THREADS) as threads:
        try:
            yield from threads.map(work, [start + timedelta(days=n) for n in range(days)])
        finally:
            stop.set()


def expect_days(start: date, days: int, sensors: int, clock: Clock) -> None:
    """Make sure that these days can be filled.

    Raises:
        PartitionError: they cannot.
    """
    if days < 1 or not 1 <= sensors <= MOST_SENSORS:
        raise PartitionError(
            f"Fill at least one day, with 1 to {MOST_SENSORS} sensors, not {days} with {sensors}."
        )
    try:
        start + timedelta(days=days)
        begins = start_of(start)
    except OverflowError:
        raise PartitionError(f"{days:,} days from {start} on, the calendar has ended.") from None
    expiry = begins // 1000 + RETENTION_S
    if expiry * 1000 <= ms_of(clock()):
        raise would_be_gone(start, expiry)


def _fill_day(
    client: SyncClient,
    sensors: int,
    clock: Clock | None,
    progress: Callable[[int], object],
    stop: threading.Event,
    day: date,
) -> Partition:
    """Write what a day lacks, and say how its partition is then."""
    producer = PartitionProducer(client, name=f"demo of {sensors}", clock=clock)
    key, reported, whole = partition_key(day), 0, SECONDS_A_DAY * sensors
    look = partial(producer.patiently, partial(inspect, Clients(client).of(key), key), key)
    before, length, written = producer.written(day), look().length, producer.written(day)
    _expect_ours(key, before, length, written)
    while written < whole and not stop.is_set():
        progress(written - reported)
        reported = written
        try:
            for batch in batches(islice(readings_of(day, sensors), written, None)):
                progress(producer.send(batch))
                reported += batch.count
                if stop.is_set():
                    return look()
        except PartitionError:
            if producer.written(day) == reported:  # else another fill of these readings is at work
                raise
        written = producer.written(day)
    progress(written - reported)
    return look()


def _expect_ours(key: str, before: int, length: int, written: int) -> None:
    """Make sure that a partition was begun by a fill, and has lost nothing since.

    Args:
        key: its name.
        before: how many readings fills had written, when asked first.
        length: how many it holds, when asked next.
        written: as before, when asked last: another fill may be at work meanwhile.

    Raises:
        PartitionError: it holds readings that no fill has written, or lacks some.
    """
    if length < before or (length and not written):
        raise PartitionError(
            f"{key} holds {length:,} readings, of which this fill has written {written:,}: delete "
            "it with `course partitions clear`, or start on another day."
        )
