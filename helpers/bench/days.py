"""Fill daily partitions and aggregate them, beside what RU202's exercise does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import redis

from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    AggregatingConsumer,
    begin_anew,
)
from helpers.bench.reading import pages
from helpers.bench.rounds import Part, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.course.keys import BENCH
from helpers.partitions import PartitionProducer, fill, partition_key, readings_of, ru202

START = date(2190, 1, 1)  # later than the days that anybody else fills
RU202_DAY = date(2189, 1, 1)
SECONDS_A_DAY = 86_400

OURS, PATTERN = "fill", "RU202's fill"
CONSUMER, ONE_BY_ONE, BARE = "AggregatingConsumer", "RU202's aggregating", "bare XRANGE pages"
RU202_KEYS = {"averages": f"{BENCH}averages", "state": f"{BENCH}state"}


class Days:
    """The paths, on days of their own."""

    def __init__(self, client: redis.Redis, scale: Scale) -> None:
        self._client = client
        self._scale = scale
        self._keys = [partition_key(START + timedelta(days=n)) for n in range(scale.days)]
        self._pattern = partition_key(RU202_DAY)

    def ru202_fill(self) -> float:
        """A pipeline of XADD and EXPIREAT for each reading."""
        clean(self._client, self._pattern)
        readings = list(islice(readings_of(RU202_DAY), self._scale.some))
        with stopwatch() as watch:
            ru202.fill(self._client, readings)
        return len(readings) / watch.seconds

    def fill(self) -> float:
        """All days, by `helpers.partitions`."""
        clean(self._client, *self._keys)
        with stopwatch() as watch:
            for _ in fill(self._client, start=START, days=self._scale.days):
                pass
        return self._scale.days * SECONDS_A_DAY / watch.seconds

    def bare(self) -> float:
        """Read all days and do nothing with them."""
        with stopwatch() as watch:
            for key in self._keys:
                for _ in pages(self._client, key):
                    pass
        return self._scale.days * SECONDS_A_DAY / watch.seconds

    def aggregate(self) -> float:
        """Publish the mean of each hour of all days."""
        begin_anew(self._client, self._keys[0])
        over = datetime(START.year, START.month, START.day, 0, 2, tzinfo=UTC)
        over += timedelta(days=self._scale.days)
        consumer = AggregatingConsumer(self._client, clock=lambda: over, say=lambda text: None)
        with stopwatch() as watch:
            consumer.run(drain=True, signals=False)
        if consumer.counts.averages != 24 * self._scale.days:
            raise CourseError("Hours are missing in the averages: nothing is measured.")
        return self._scale.days * SECONDS_A_DAY / watch.seconds

    def ru202_aggregate(self) -> float:
        """XREAD COUNT 1 and HSET a reading, on a few of them."""
        clean(self._client, self._pattern, *RU202_KEYS.values())
        few = list(islice(readings_of(RU202_DAY), self._scale.slow))
        with PartitionProducer(self._client) as producer:
            producer.add_many(few)
        with stopwatch() as watch:
            ru202.aggregate(self._client, self._pattern, block_ms=1, **RU202_KEYS)
        return len(few) / watch.seconds

    def clean(self) -> None:
        """Delete what the paths made."""
        clean(self._client, *self._keys, self._pattern, *RU202_KEYS.values(), AVERAGES)


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> tuple[Part, Part]:
    """Fill, and aggregate.

    Raises:
        CourseError: there are averages already, which the consumer would delete.
    """
    if client.exists(AVERAGES, AGGREGATING_STATE, AVERAGES_STATE):
        raise CourseError(
            f"Filling and aggregating are left out, because {AVERAGES} holds averages of yours: "
            "`course partitions clear` deletes them."
        )
    days = Days(client, scale)
    days.clean()
    paths = {
        PATTERN: days.ru202_fill,
        OURS: days.fill,
        BARE: days.bare,
        CONSUMER: days.aggregate,
        ONE_BY_ONE: days.ru202_aggregate,
    }
    try:
        taken = Rounds.take(paths, scale.passes, tick)
    finally:
        days.clean()
    filled = Part(
        unit="readings a second",
        figures={name: taken[name] for name in (PATTERN, OURS)},
        ratios={"ratio_to_ru202": taken.ratio(OURS, PATTERN)},
        setup=(
            f"{scale.days * SECONDS_A_DAY:,} readings, {SECONDS_A_DAY:,} a day; RU202's pattern, "
            f"from the exercise that lesson 06 kills, fills {scale.some:,}.",
        ),
    )
    aggregated = Part(
        unit="readings a second",
        figures={name: taken[name] for name in (ONE_BY_ONE, CONSUMER, BARE)},
        ratios={
            "ratio_to_ru202": taken.ratio(CONSUMER, ONE_BY_ONE),
            "ratio_to_xrange": taken.ratio(CONSUMER, BARE),
        },
        setup=(f"The same readings; RU202's pattern aggregates {scale.slow:,} of them.",),
    )
    return filled, aggregated
