"""Counters: how many changes a wiki saw in each interval, in hashes that do not grow for ever.

Changes are counted by event time, in intervals of some seconds, called buckets. A bucket's
name is the second, since 1970, with which it begins:

    ev                    a hash: bucket → changes to all wikis in it
    ev:en.wikipedia.org   the same, for one of them
    known_domains         the set of those that have a hash
    {ev}:counted          when somebody last counted, and with which interval

Every key expires when nobody has counted in it for as long as the history lasts. A hash that
somebody always writes to would never expire and only grow, so buckets that the history has
left behind are deleted by `SWEEP`, and a domain without buckets leaves the set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from helpers.course.errors import CourseError
from helpers.course.keys import COUNTED, COUNTERS, DOMAINS
from helpers.streams.consumer.effects import Command
from helpers.streams.keys import sibling_key
from helpers.wiki.change import Change, NotAChangeError

INTERVAL_S = 10
HISTORY_S = 3600
AHEAD_S = 600  # how far a clock may be behind that of the feed
MOST_BUCKETS = 10_000
BUCKETS_A_SWEEP = 50_000  # while a script runs, the server hears nobody else
MARGIN_S = 60  # a key outlives its last bucket, so that it never goes while that is counted

SWEEP = """
-- Delete the buckets that the history has left behind.
-- KEYS: the set of domains, then hashes. ARGV: the oldest bucket to keep, then for each hash its
-- domain, or nothing for the hash of all. Replies with how many buckets it deleted.
local deleted = 0
for number = 2, #KEYS do
  for _, bucket in ipairs(redis.call('HKEYS', KEYS[number])) do
    local second = tonumber(bucket)
    if not (second and second >= tonumber(ARGV[1])) then  -- too old, or no bucket at all
      deleted = deleted + redis.call('HDEL', KEYS[number], bucket)
    end
  end
  if ARGV[number] ~= '' and redis.call('EXISTS', KEYS[number]) == 0 then
    redis.call('SREM', KEYS[1], ARGV[number])
  end
end
return deleted
"""

Bucket = tuple[str, int]  # a domain, and the second with which an interval begins


@dataclass(frozen=True)
class Counters:
    """Where and how changes are counted. It decides; others send.

    Attributes:
        interval_s: the length of a bucket, in whole seconds.
        history_s: for how long a bucket is kept, in whole seconds.
        prefix: what all keys begin with. With a hash tag, such as `{wiki}:`, they share one
            hash slot, as Redis Cluster wants it.
    """

    interval_s: int = INTERVAL_S
    history_s: int = HISTORY_S
    prefix: str = ""

    def __post_init__(self) -> None:
        for name, value in (("interval", self.interval_s), ("history", self.history_s)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CourseError(
                    f"The {name} must be a whole number of seconds above 0, not {value!r}."
                )
        if self.history_s < self.interval_s:
            raise CourseError(
                f"A history of {self.history_s} s is shorter than the interval of "
                f"{self.interval_s} s: make it longer."
            )
        if self.history_s > MOST_BUCKETS * self.interval_s:
            raise CourseError(
                f"A history of {self.history_s} s would have more than {MOST_BUCKETS:,} intervals "
                f"of {self.interval_s} s: make it shorter, or the interval longer."
            )

    @property
    def all_domains(self) -> str:
        """The key of the hash that counts the changes to all wikis."""
        return self.prefix + COUNTERS

    @property
    def known_domains(self) -> str:
        """The key of the set of domains that have a hash."""
        return self.prefix + DOMAINS

    @property
    def counted(self) -> str:
        """The key of the hash that says when somebody last counted."""
        return sibling_key(self.all_domains, COUNTED)

    @property
    def fixed_keys(self) -> tuple[str, ...]:
        """The keys that there are whatever the domains."""
        return self.all_domains, self.known_domains, self.counted

    def of(self, domain: str) -> str:
        """The key of a domain's hash."""
        return f"{self.prefix}{COUNTERS}:{domain}"

    def bucket(self, at_ms: int) -> int:
        """The bucket of a moment: the second with which its interval begins."""
        return at_ms // 1000 // self.interval_s * self.interval_s

    def oldest(self, now_ms: int) -> int:
        """The oldest bucket that the history still reaches."""
        return self.bucket(now_ms - self.history_s * 1000)

    def expect_fit(self, change: Change, now_ms: int) -> None:
        """Make sure that a change lies within the history, and not in the future.

        Raises:
            NotAChangeError: it does not, so nobody would see its bucket, or see it too long.
        """
        if self.bucket(change.at_ms) < self.oldest(now_ms):
            raise NotAChangeError(
                f"a change older than the history of {self.history_s} s: made {_said(change)}"
            )
        if change.at_ms > now_ms + AHEAD_S * 1000:
            raise NotAChangeError(f"a change of the future: made {_said(change)}")

    def tally(self, changes: Iterable[Change]) -> Counter[Bucket]:
        """How many changes fall into each bucket of each domain."""
        return Counter((change.domain, self.bucket(change.at_ms)) for change in changes)

    def effect(self, tally: Mapping[Bucket, int]) -> list[Command]:
        """The commands that count; each key that they make gets an expiry with it."""
        commands: list[Command] = []
        totals: Counter[int] = Counter()
        for (domain, bucket), count in tally.items():
            totals[bucket] += count
            commands.append(("HINCRBY", self.of(domain), bucket, count))
        for bucket, count in totals.items():
            commands.append(("HINCRBY", self.all_domains, bucket, count))
        domains = dict.fromkeys(domain for domain, _ in tally)
        if domains:
            commands.append(("SADD", self.known_domains, *domains))
            keys = [self.all_domains, self.known_domains, *map(self.of, domains)]
            commands += [("EXPIRE", key, self.lasts_s) for key in keys]
        return commands

    def effect_of(self, change: Change) -> list[Command]:
        """The same for one change."""
        return list(_effect_of_one(self, change.domain, self.bucket(change.at_ms)))

    def note(self, now_ms: int, newest_ms: int) -> list[Command]:
        """The commands that tell a dashboard when, and how, somebody last counted."""
        latest = {"at": now_ms, "newest": newest_ms,
                  "interval": self.interval_s, "history": self.history_s}  # fmt: skip
        pairs = [part for pair in latest.items() for part in pair]
        return [("HSET", self.counted, *pairs), ("EXPIRE", self.counted, self.lasts_s)]

    @property
    def lasts_s(self) -> int:
        """How long a key lives after somebody last counted in it, in seconds."""
        return self.history_s + self.interval_s + MARGIN_S

    def sweeps(self, domains: Iterable[str], now_ms: int) -> Iterator[dict[str, Any]]:
        """Keys and arguments of the sweeps over all hashes."""
        names = ["", *sorted(domains)]
        portion = max(1, BUCKETS_A_SWEEP * self.interval_s // self.lasts_s)
        for start in range(0, len(names), portion):
            some = names[start : start + portion]
            hashes = [self.of(name) if name else self.all_domains for name in some]
            yield {"keys": [self.known_domains, *hashes], "args": [self.oldest(now_ms), *some]}


@lru_cache(maxsize=4096)
def _effect_of_one(counters: Counters, domain: str, bucket: int) -> tuple[Command, ...]:
    return tuple(counters.effect({(domain, bucket): 1}))


def _said(change: Change) -> str:
    return f"{change.at_ms // 1000} s after 1970, on {change.domain}"
