"""Which partitions there are, how they are, and what time it is for their readings."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

import redis

from helpers.partitions.days import PREFIX, PartitionError, partition_day
from helpers.streams.clock import moment_of, utc_now
from helpers.streams.entry import EntryId
from helpers.streams.errors import explain

GROWING_S = 3.0  # a partition that has not grown for so long is not being written


class Partition(NamedTuple):
    """A partition as it is.

    Attributes:
        key: its name.
        length: how many readings it holds, by XLEN.
        ttl_s: seconds until it expires, by TTL; -1 if it never does.
        memory: what it takes, in bytes, by MEMORY USAGE.
    """

    key: str
    length: int
    ttl_s: int
    memory: int


def inspect(client: redis.Redis, key: str) -> Partition:
    """How a partition is: XLEN, TTL and MEMORY USAGE.

    Raises:
        WrongTypeError: the key is not a stream.
    """
    try:
        memory = client.memory_usage(key, samples=0)
        return Partition(key, int(client.xlen(key)), int(client.ttl(key)), int(memory or 0))
    except redis.ResponseError as error:
        raise explain(error, key) from error


def partitions(client: redis.Redis) -> list[str]:
    """The keys of all partitions that there are, the oldest day first, by SCAN."""
    found = []
    for key in client.scan_iter(match=f"{PREFIX}:????????", count=1000):
        try:
            partition_day(key)
        except PartitionError:
            continue
        found.append(key)
    return sorted(set(found))


class ReadingsClock:
    """A clock for readings that are dated ahead of the calendar, as the demo's are.

    It shows the time of the newest reading, and runs on from there. Where several days are
    being written at once, as by `fill`, it goes by the oldest of them.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._last: dict[str, int] = {}  # of each partition the newest reading, in ms after 1970
        self._grew_at: dict[str, float] = {}
        self._shown = 0
        self._since = 0.0

    def __call__(self) -> datetime:
        """The time; that of this machine while there are no readings."""
        newest = self._look()
        if newest > self._shown:
            self._shown, self._since = newest, time.monotonic()
        if not self._shown:
            return utc_now()
        return moment_of(self._shown) + timedelta(seconds=time.monotonic() - self._since)

    def _look(self) -> int:
        """The newest reading of the oldest day that is being written, or of all days."""
        keys, now = partitions(self._client), time.monotonic()
        for key in keys:
            found = cast("Any", self._client.xrevrange(key, count=1))
            last = EntryId.parse(found[0][0]).ms if found else 0
            if last > self._last.get(key, last):
                self._grew_at[key] = now
            self._last[key] = last
        growing = [key for key in keys if now - self._grew_at.get(key, -GROWING_S) < GROWING_S]
        return max((self._last[key] for key in growing[:1] or keys), default=0)


def ahead_of_calendar(client: redis.Redis) -> bool:
    """Whether the newest partition is of a day that has yet to come."""
    found = partitions(client)
    return bool(found) and partition_day(found[-1]) > utc_now().date() + timedelta(days=1)
