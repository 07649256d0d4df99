"""A look at the counters: what a dashboard shows, read in one round trip, and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.streams.clock import Clock, moment_of, ms_of, utc_now
from helpers.wiki.counters import Counters
from helpers.wiki.names import WIKI, place_key

ALL = ""  # what stands for all wikis together where a domain is named
STALE_AFTER_S = 10.0
BEHIND_S = 60  # counting changes that were made so long ago is catching up
FEWEST = 12  # intervals that a picture has room for, however short the history is so far

Series = list[tuple[datetime, int]]


@dataclass(frozen=True)
class Look:
    """What the counters held at one moment. Times are in milliseconds since 1970.

    Attributes:
        now_ms: that moment.
        interval_s: the length of a bucket, as the subscriber says it.
        history_s: for how long buckets are kept, as it says.
        domains: the known ones, in alphabetical order.
        counts: bucket → changes, for each domain that was asked for, and for `ALL`.
        counted_ms: when somebody last counted; None if nobody has said so.
        newest_ms: when the newest change that was counted had been made.
        published_ms: when the publisher last published.
    """

    now_ms: int
    interval_s: int
    history_s: int
    domains: tuple[str, ...]
    counts: Mapping[str, Mapping[int, int]]
    counted_ms: int | None = None
    newest_ms: int | None = None
    published_ms: int | None = None

    @property
    def now(self) -> datetime:
        """The moment of the look."""
        return moment_of(self.now_ms)

    @property
    def last_ms(self) -> int | None:
        """When somebody last counted, as far as one can tell; None if nobody ever did.

        A subscriber that does not say it, such as one written in a lesson, leaves at least its
        newest bucket.
        """
        if self.counted_ms is not None or not self.counts[ALL]:
            return self.counted_ms
        return min(self.now_ms, (max(self.counts[ALL]) + self.interval_s) * 1000)

    @property
    def current(self) -> int:
        """The bucket that is not over yet."""
        return self.now_ms // 1000 // self.interval_s * self.interval_s


@dataclass(frozen=True)
class State:
    """Whether the counters follow the feed.

    Attributes:
        said: the same in a sentence.
        stale_since_ms: since when nothing has been counted, if that is too long ago.
    """

    said: str
    stale_since_ms: int | None = None

    @property
    def stale(self) -> bool:
        """Whether what the counters say is out of date."""
        return self.stale_since_ms is not None


async def look(
    client: redis.asyncio.Redis,
    picked: Iterable[str] = (),
    *,
    counters: Counters | None = None,
    target: str = WIKI,
    clock: Clock = utc_now,
) -> Look:
    """Read what a dashboard shows, in one round trip.

    Args:
        client: a client from `connect_async()`.
        picked: the domains whose counts are wanted; those of all wikis come anyway.
        counters: where they are. Interval and history are the subscriber's, if it tells them.
        target: where the publisher publishes to.
        clock: what time it is.

    Raises:
        CourseError: one of the keys holds something else.
        redis.ConnectionError: the server is out of reach.
    """
    counters = counters or Counters()
    wanted = list(dict.fromkeys([ALL, *picked]))
    pipeline = client.pipeline(transaction=False)
    pipeline.smembers(counters.known_domains)
    pipeline.hgetall(counters.counted)
    pipeline.hget(place_key(target), "at")
    for domain in wanted:
        pipeline.hgetall(key_of(counters, domain))
    domains, latest, published, *hashes = await _answers(pipeline, counters)
    return Look(
        now_ms=ms_of(clock()),
        interval_s=_number(latest.get("interval")) or counters.interval_s,
        history_s=_number(latest.get("history")) or counters.history_s,
        domains=tuple(sorted(domains)),
        counts={domain: _numbers(one) for domain, one in zip(wanted, hashes, strict=True)},
        counted_ms=_number(latest.get("at")),
        newest_ms=_number(latest.get("newest")),
        published_ms=_number(published),
    )


async def busiest(
    client: redis.asyncio.Redis,
    domains: Sequence[str],
    *,
    counters: Counters | None = None,
    count: int = 4,
) -> tuple[str, ...]:
    """The domains with the most changes in all buckets together, in one round trip.

    Raises:
        CourseError: one of the keys holds something else.
        redis.ConnectionError: the server is out of reach.
    """
    counters = counters or Counters()
    pipeline = client.pipeline(transaction=False)
    for domain in domains:
        pipeline.hvals(counters.of(domain))
    hashes = await _answers(pipeline, counters)
    totals = {
        domain: sum(_number(value) or 0 for value in values)
        for domain, values in zip(domains, hashes, strict=True)
    }
    return tuple(sorted(domains, key=lambda domain: (-totals[domain], domain))[:count])


def key_of(counters: Counters, domain: str) -> str:
    """The key of a domain's hash, or of the one for all wikis."""
    return counters.all_domains if domain == ALL else counters.of(domain)


def window(seen: Look, intervals: int) -> int:
    """How many intervals are worth a picture: from the first that was counted, at most so many.

    What lies before was not counted, which is not the same as no changes.
    """
    begun = [bucket for bucket in seen.counts[ALL] if bucket <= seen.current]
    since = (seen.current - min(begun)) // seen.interval_s + 1 if begun else 0
    kept = seen.history_s // seen.interval_s + 1
    return max(1, min(intervals, kept, max(since, FEWEST)))


def series(seen: Look, domain: str, intervals: int) -> Series:
    """The changes in each of the newest intervals, up to the one that is not over yet.

    An interval without changes has no bucket, and is a 0.
    """
    first = seen.current - (intervals - 1) * seen.interval_s
    counts = seen.counts.get(domain, {})
    buckets = range(first, seen.current + 1, seen.interval_s)
    return [(moment_of(bucket * 1000), counts.get(bucket, 0)) for bucket in buckets]


def state(seen: Look, stale_after_s: float = STALE_AFTER_S) -> State:
    """Whether somebody counts, and if not, who is missing.

    The sentence stays the same for a while, because a screen reader speaks each new one.
    """
    publishes = _age_s(seen, seen.published_ms) <= stale_after_s
    if seen.last_ms is None:
        remedy = (
            "there is a publisher, so start a subscriber."
            if publishes
            else "start a publisher and a subscriber, or `course wiki demo`."
        )
        return State(f"Nothing has been counted yet: {remedy}")
    age_s = _age_s(seen, seen.last_ms)
    if age_s > stale_after_s:
        who = (
            "The publisher still publishes, so the subscriber has stopped, or listens elsewhere."
            if publishes
            else "Nothing is published either: the feed or the publisher has stopped."
        )
        return State(f"Stale: nothing was counted for {rough(age_s)}. {who}", seen.last_ms)
    behind_s = _age_s(seen, seen.newest_ms) if seen.newest_ms is not None else 0
    if behind_s > BEHIND_S:
        return State(f"Live, but behind: it counts changes that were made {rough(behind_s)} ago.")
    return State("Live: changes are being counted.")


def rough(seconds: float) -> str:
    """A span of time in words that do not change every second.

    >>> rough(47), rough(200), rough(9000)
    ('40 s', '3 min', '2 h')
    """
    if seconds < 60:
        return f"{int(seconds) if seconds < 10 else int(seconds) // 10 * 10} s"
    return f"{int(seconds // 60)} min" if seconds < 3600 else f"{int(seconds // 3600)} h"


def _age_s(seen: Look, at_ms: int | None) -> float:
    return float("inf") if at_ms is None else (seen.now_ms - at_ms) / 1000


async def _answers(pipeline: Any, counters: Counters) -> list[Any]:
    try:
        return await pipeline.execute()
    except redis.ResponseError as error:
        raise CourseError(
            f"The counters cannot be read: {error}. Delete {counters.all_domains!r} and its like "
            "if they are no hashes of this pipeline."
        ) from error


def _numbers(pairs: Mapping[str, str]) -> dict[int, int]:
    """Bucket → changes; what is no number was not counted by this pipeline."""
    numbers = {_number(bucket): _number(count) for bucket, count in pairs.items()}
    return {bucket: n for bucket, n in numbers.items() if bucket is not None and n is not None}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
