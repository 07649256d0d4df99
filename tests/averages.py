"""What the tests of the averages share: readings, the truth about them, ways to run a consumer."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import redis as redis_py

from helpers import connect
from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    SET_ASIDE,
    AggregatingConsumer,
    AveragesConsumer,
    aggregating,
    display,
)
from helpers.chaos import Proxy
from helpers.partitions import (
    DAY_MS,
    DEMO_START,
    PartitionProducer,
    Reading,
    partition_key,
    start_of,
)
from helpers.streams.clock import moment_of
from helpers.streams.errors import CheckpointError
from tests.consumers import until

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
GRACE_S = 600.0
GRACE = int(GRACE_S * 1000)
REPLACED = 7  # how a process ends of which another one has taken the state over

Mean = tuple[str, int, str, int]  # date, hour, average, observations


# ------------------------------------------------------------------ moments and readings


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """A moment of a numbered day, in ms after 1970."""
    begins = start_of(DEMO_START) + day * DAY_MS
    return begins + hour * HOUR + minute * MINUTE + second * SECOND


def key(day: int) -> str:
    """The partition of a numbered day."""
    return partition_key(DEMO_START + timedelta(days=day))


def hour_of(day: int, hour: int, count: int = 10) -> list[Reading]:
    """So many readings, spread over an hour, each with a temperature of its own."""
    begins = at(day, hour)
    return [
        Reading(begins + n * HOUR // count, (7 * n + 3 * hour + 11 * day) % 100)
        for n in range(count)
    ]


def late(ms: int, temp_f: Any, *, after: int) -> list[Reading]:
    """A reading that comes after one of a later moment."""
    return [Reading(after, 50), Reading(ms, temp_f)]


def write(client: redis_py.Redis, readings: Iterable[Reading]) -> list[Reading]:
    """Put readings into their partitions."""
    found = list(readings)
    PartitionProducer(client).add_many(found)
    return found


class Watch:
    """A clock that stands still until it is set."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> Any:
        return moment_of(self.ms)


# ------------------------------------------------------------------ the truth


def truth(readings: Iterable[Reading]) -> list[Mean]:
    """The mean of each hour, if each of these readings came in time."""
    hours: dict[int, list[Fraction | int]] = defaultdict(list)
    for one in readings:
        temp = one.temp_f
        hours[one.at // HOUR].append(temp if isinstance(temp, int) else Fraction(str(temp)))
    return [mean_of(hour, hours[hour]) for hour in sorted(hours)]


def mean_of(hour: int, temps: Sequence[Fraction | int]) -> Mean:
    """What is published of an hour."""
    moment = moment_of(hour * HOUR)
    return f"{moment:%Y/%m/%d}", moment.hour, rounded(Fraction(sum(temps)) / len(temps)), len(temps)


def rounded(number: Fraction | int) -> str:
    """With two decimals, half to even."""
    whole, part = divmod(abs(hundredths := round(number * 100)), 100)
    return f"{'-' if hundredths < 0 else ''}{whole}.{part:02}"


def published(client: Any) -> list[Mean]:
    """All averages that are there, as `truth` has them."""
    return [
        (one["date"], int(one["hour"]), one["average_temp_f"], int(one["num_observations"]))
        for _, one in client.xrange(AVERAGES)
    ]


def aside(client: Any) -> list[tuple[str, str, str]]:
    """What was set aside: the partition, the temperature, and why."""
    return [(one["stream"], one["temp_f"], one["reason"]) for _, one in client.xrange(SET_ASIDE)]


def state(client: Any) -> dict[str, str]:
    return client.hgetall(AGGREGATING_STATE)


# ------------------------------------------------------------------ a run


def silent(text: str) -> None:
    pass


def consumer(client: Any, now: int | Watch, **terms: Any) -> AggregatingConsumer:
    """An aggregating consumer that begins with the first day, at a moment."""
    clock = Watch(now) if isinstance(now, int) else now
    given: dict[str, Any] = {"start": key(0), "grace_s": GRACE_S, "clock": clock, "say": silent}
    given |= terms
    return AggregatingConsumer(client, **given)


def aggregate(client: Any, now: int | Watch, **terms: Any) -> AggregatingConsumer:
    """Run one until nothing is left."""
    one = consumer(client, now, **terms)
    one.run(drain=True)
    return one


def forget(client: Any) -> None:
    """Delete what consumers have done; the partitions stay. Scripts have to be sent anew."""
    client.unlink(AGGREGATING_STATE, AVERAGES, AVERAGES_STATE, SET_ASIDE)
    client.script_flush()


# ------------------------------------------------------------------ through a proxy


def standing(proxy: Proxy, ended: Any) -> bool:
    """Wait until a command stands still in the proxy; False if the work has ended before."""
    until(lambda: proxy.frozen(0.003) or ended())
    return not ended()


# ------------------------------------------------------------------ for processes of their own


def work_until_drained(now: int, terms: dict[str, Any]) -> None:
    """An aggregating consumer's life."""
    try:
        aggregate(connect(), now, **terms)
    except CheckpointError:
        os._exit(REPLACED)


def work_until_told(now: int) -> None:
    """One that waits for more, until SIGTERM."""
    aggregating.BLOCK_MS = 50
    consumer(connect(), now).run()


def show_until_drained(page: int) -> None:
    """An averages consumer's life, which writes down what it shows."""
    display.PAGE = page
    client = connect()
    AveragesConsumer(client, show=lambda one: client.rpush("shown", str(one.id)), say=silent).run(
        drain=True
    )


def show_until_told() -> None:
    """One that waits for more, until SIGTERM."""
    vars(display)["BLOCK_MS"] = 50
    client = connect()
    AveragesConsumer(client, show=lambda one: client.rpush("shown", str(one.id)), say=silent).run()


def in_order(means: list[Mean]) -> bool:
    """Whether each hour comes after the one before, and so once."""
    return all(one[:2] < other[:2] for one, other in pairwise(means))
