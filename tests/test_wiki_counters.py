"""Counters: which bucket a change falls into, and that nothing stays for ever."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from helpers.course.errors import CourseError
from helpers.wiki import Change, Counters, NotAChangeError
from helpers.wiki.counters import AHEAD_S, BUCKETS_A_SWEEP, SWEEP
from tests.wiki import TEN_AM_MS, change, counted, everlasting, tally

once = pytest.mark.once
NOW = TEN_AM_MS


def apply(client: Any, commands: Any) -> None:
    pipeline = client.pipeline()
    for command in commands:
        pipeline.execute_command(*command)
    pipeline.execute()


def count(client: Any, changes: list[Change], counters: Counters | None = None) -> None:
    counters = counters or Counters()
    apply(client, counters.effect(counters.tally(changes)))


def sweep(client: Any, counters: Counters, now_ms: int) -> list[int]:
    """Sweep, and say how many buckets each script deleted."""
    script = client.register_script(SWEEP)
    domains = client.smembers(counters.known_domains)
    return [script(**call) for call in counters.sweeps(domains, now_ms)]


# ------------------------------------------------------------------ decisions


@once
@pytest.mark.parametrize(
    ("interval_s", "at_ms", "bucket"),
    [
        (10, 0, 0),
        (10, 9_999, 0),
        (10, 10_000, 10),
        (1, 1_999, 1),
        (7, 13_999, 7),
        (7, 14_000, 14),
        (3600, TEN_AM_MS, TEN_AM_MS // 1000),
        (3600, TEN_AM_MS - 1, TEN_AM_MS // 1000 - 3600),
        (10, 4_102_444_800_123, 4_102_444_800),  # 2100
    ],
)
def test_a_bucket_begins_with_a_multiple_of_the_interval(interval_s, at_ms, bucket):
    assert Counters(interval_s, 7200).bucket(at_ms) == bucket


@once
@pytest.mark.parametrize(
    ("interval_s", "history_s", "why"),
    [
        (0, 3600, "The interval must be a whole number of seconds above 0, not 0."),
        (-10, 3600, "The interval must be a whole number of seconds above 0, not -10."),
        (True, 3600, "The interval must be a whole number of seconds above 0, not True."),
        (0.5, 3600, "The interval must be a whole number of seconds above 0, not 0.5."),
        ("10", 3600, "The interval must be a whole number of seconds above 0, not '10'."),
        (10, 0, "The history must be a whole number of seconds above 0, not 0."),
        (60, 10, "A history of 10 s is shorter than the interval of 60 s: make it longer."),
        (1, 10_001, "A history of 10001 s would have more than 10,000 intervals of 1 s: make it "
         "shorter, or the interval longer."),
    ],
)  # fmt: skip
def test_an_interval_or_a_history_that_cannot_be_gets_one_sentence(interval_s, history_s, why):
    with pytest.raises(CourseError) as caught:
        Counters(interval_s, history_s)
    assert str(caught.value) == why


@once
def test_only_what_the_history_reaches_is_counted_and_nothing_of_the_future():
    counters = Counters(10, 60)
    for seconds in (0, 60, -AHEAD_S):
        counters.expect_fit(change(seconds), NOW + 9_000)
    with pytest.raises(NotAChangeError, match="older than the history of 60 s: made 1777629539 s"):
        counters.expect_fit(change(61), NOW + 9_000)
    with pytest.raises(NotAChangeError, match="a change of the future: made 1777630201 s"):
        counters.expect_fit(change(-AHEAD_S - 1), NOW)


@once
def test_the_clock_is_an_argument():
    in_2100 = 4_102_444_800_000
    Counters().expect_fit(change()._replace(at_ms=in_2100), in_2100)


@once
def test_with_a_hash_tag_all_keys_have_one_slot():
    counters = Counters(prefix="{wiki}:")
    effect = counters.effect(counters.tally([change(), change(domain="a.org")]))
    commands = [*effect, *counters.note(NOW, NOW)]
    (call,) = counters.sweeps(["a.org", "en.wikipedia.org"], NOW)
    keys = [*(str(command[1]) for command in commands), *call["keys"]]
    assert len({*keys}) == 5
    assert {key_slot(key.encode()) for key in keys} == {key_slot(b"wiki")}


@once
def test_without_a_prefix_the_keys_are_those_of_the_article():
    counters = Counters()
    assert counters.of("a.org") == "ev:a.org"
    assert (counters.all_domains, counters.known_domains) == ("ev", "known_domains")
    assert counters.effect({}) == []


def run(commands: Any) -> tuple[Counter[tuple[str, int]], set[str], set[str]]:
    """What commands would do: the counters, the set, and which keys get an expiry."""
    hashes: Counter[tuple[str, int]] = Counter()
    members: set[str] = set()
    expiring: set[str] = set()
    for name, key, *words in commands:
        match name:
            case "HINCRBY":
                hashes[key, words[0]] += words[1]
            case "SADD":
                assert key == "known_domains"
                members |= set(words)
            case "EXPIRE":
                expiring.add(key)
                assert words == [Counters().lasts_s]
            case _:
                raise AssertionError(name)
    return hashes, members, expiring


CHANGES = st.builds(
    change, st.integers(-500, 3600), domain=st.sampled_from(["a.org", "b.org", "c.d.org"])
)


@once
@given(st.lists(CHANGES, max_size=30))
def test_the_effect_is_that_of_counting_one_by_one(changes):
    counters = Counters()
    hashes, members, expiring = run(counters.effect(counters.tally(changes)))
    wanted: Counter[tuple[str, int]] = Counter()
    for one in changes:
        wanted["ev", counters.bucket(one.at_ms)] += 1
        wanted[f"ev:{one.domain}", counters.bucket(one.at_ms)] += 1
    assert hashes == wanted
    assert members == {one.domain for one in changes}
    assert expiring == {key for key, _ in hashes} | ({"known_domains"} if changes else set())
    for one in changes:
        assert run(counters.effect_of(one)) == run(counters.effect(counters.tally([one])))


# ------------------------------------------------------------------ on a server


def test_every_key_expires_and_lives_on_while_somebody_counts(redis):
    counters = Counters(10, 60)
    count(redis, [change(), change(5, domain="a.org")], counters)
    apply(redis, counters.note(NOW, NOW))
    keys = ["ev", "ev:a.org", "ev:en.wikipedia.org", "{ev}:counted", "known_domains"]
    assert sorted([*redis.scan_iter("*ev*"), "known_domains"]) == sorted(keys)
    assert not everlasting(redis)
    for key in keys:
        assert 60 < redis.ttl(key) <= counters.lasts_s
        redis.expire(key, 5)
    count(redis, [change()], counters)
    assert {key for key in keys if redis.ttl(key) > 60} == {
        "ev",
        "ev:en.wikipedia.org",
        "known_domains",
    }


def test_a_late_change_is_counted_in_its_own_bucket(redis):
    changes = [change(0), change(1), change(75), change(0)]
    for one in changes:
        count(redis, [one])
    assert counted(redis) == tally(changes)
    assert len(counted(redis)) == 3


def test_old_buckets_are_swept_and_new_ones_stay(redis):
    counters = Counters(10, 60)
    changes = [change(seconds, domain=name) for seconds in (0, 60, 69, 300) for name in ("a.org",)]
    count(redis, [*changes, change(100, domain="b.org")], counters)
    assert sweep(redis, counters, NOW) == [
        6
    ]  # those of 69, 100 and 300 s ago, each from two hashes
    assert counted(redis, counters) == tally(changes[:2], counters)
    assert redis.smembers("known_domains") == {"a.org"}
    assert not redis.exists("ev:b.org")
    assert sweep(redis, counters, NOW) == [0]
    assert not everlasting(redis)
    later = NOW + 10_000_000
    assert sweep(redis, counters, later) == [4]
    assert not redis.exists("ev", "ev:a.org", "known_domains")


def test_a_sweep_takes_many_domains_a_portion_at_a_time(redis):
    counters = Counters(1, 5000)
    portion = BUCKETS_A_SWEEP // counters.lasts_s
    domains = [f"w{number}.org" for number in range(2 * portion + 3)]
    count(redis, [change(9000, domain=name) for name in domains], counters)
    count(redis, [change(domain=name) for name in domains[::2]], counters)
    deleted = sweep(redis, counters, NOW)
    assert len(deleted) == 3
    assert sum(deleted) == len(domains) + 1
    assert redis.smembers("known_domains") == set(domains[::2])
    assert set(counted(redis, counters).values()) == {1}


def test_a_field_that_is_no_bucket_is_swept_too(redis):
    redis.hset("ev", mapping={"total": 5, "nan": 1, "": 2, "0x10": 3, str(NOW // 1000): 4})
    sweep(redis, Counters(), NOW)
    assert redis.hgetall("ev") == {str(NOW // 1000): "4"}


def test_the_history_is_told_with_the_time(redis):
    apply(redis, Counters(5, 50, "x:").note(NOW + 7, NOW))
    assert redis.hgetall("{x:ev}:counted") == {
        "at": str(NOW + 7),
        "newest": str(NOW),
        "interval": "5",
        "history": "50",
    }
