"""The aggregating consumer leaves a day when it is over and drained, and loses no reading."""

from __future__ import annotations

import threading
from collections import defaultdict
from fractions import Fraction

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import clean, connect
from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    KEPT,
    SET_ASIDE,
    AggregatingConsumer,
    AveragesConsumer,
    aggregating,
    begin_anew,
)
from helpers.averages.hours import LATE
from helpers.averages.state import StateError
from helpers.averages.work import FIELDS, Counts
from helpers.chaos import Proxy
from helpers.course.server import find_server
from helpers.partitions import (
    DEMO_START,
    PartitionProducer,
    Reading,
    fill,
    partition_key,
    readings_of,
)
from helpers.partitions.days import PartitionError
from helpers.streams.clock import moment_of, utc_now
from helpers.streams.errors import CheckpointError, StreamsError
from tests.averages import (
    GRACE,
    HOUR,
    MINUTE,
    SECOND,
    Watch,
    aggregate,
    aside,
    at,
    consumer,
    hour_of,
    in_order,
    key,
    mean_of,
    published,
    silent,
    state,
    truth,
    work_until_told,
    write,
)
from tests.consumers import blocked, unblock, until
from tests.lives import Life
from tests.points import times
from tests.steps.faults import Wire

DAY_OVER = "it came late: its day was over"
LATER = at(9)  # everything that the tests write is over by then


@pytest.fixture
def impatient(monkeypatch):
    """Whoever waits for readings looks up 20 times a second."""
    monkeypatch.setattr(aggregating, "BLOCK_MS", 50)


# ------------------------------------------------------------------ the averages


def test_the_mean_of_each_hour_is_published_in_order(redis):
    readings = write(redis, [one for d in (0, 1) for h in (0, 1, 22, 23) for one in hour_of(d, h)])
    done = aggregate(redis, LATER)
    assert published(redis) == truth(readings)
    assert len(published(redis)) == done.counts.averages == 8
    assert not aside(redis)


@pytest.mark.once
def test_a_whole_day_as_everybody_sees_it(redis):
    list(fill(redis, days=1))
    aggregate(redis, at(1, 1))
    assert published(redis) == truth(readings_of(DEMO_START))
    assert [count for *_, count in published(redis)] == [3600] * 24
    assert state(redis)["previous_message_id"] == f"{at(0, 23, 59, 59)}-0"


def test_the_state_has_the_fields_of_the_chapter_and_more(redis):
    write(redis, hour_of(0, 7, 4))
    aggregate(redis, at(0, 7, 59), page=3)
    found = state(redis)
    assert {name: found[name] for name in FIELDS[:5]} == {
        "current_stream_key": "temps:21000101",
        "last_message_id": f"{at(0, 7, 45)}-0",
        "current_hourly_total": str(21 + 28 + 35 + 42),
        "current_hourly_count": "4",
        "current_hour": "2100-01-01T07",
    }
    assert set(found) == {*FIELDS, "version", "begun", "owner", "epoch", "commits"}


@pytest.mark.parametrize("page", [1, 7, 2000])
def test_exactly_120_averages_are_kept(redis, page):
    readings = write(redis, [one for d in range(6) for h in range(24) for one in hour_of(d, h, 1)])
    done = aggregate(redis, LATER, page=page)
    assert redis.xlen(AVERAGES) == KEPT == 120
    assert published(redis) == truth(readings)[-120:]
    assert done.counts.averages == 144


def test_it_goes_on_from_where_it_was_whatever_start_says(redis):
    readings = write(redis, [*hour_of(0, 1), *hour_of(0, 2)])
    aggregate(redis, at(0, 2, 30))
    readings += write(redis, hour_of(1, 1))
    said: list[str] = []
    aggregate(redis, LATER, start=key(5), say=said.append)
    assert published(redis) == truth(readings)
    assert said[0] == (
        f"Starting aggregating consumer in stream {key(0)} at message {at(0, 2, 54)}-0."
    )
    aggregate(redis, LATER, start=None)
    assert published(redis) == truth(readings)


def test_a_run_that_finds_nothing_new_changes_nothing(redis):
    write(redis, hour_of(0, 1))
    first = aggregate(redis, LATER)
    before = state(redis) | {"owner": "", "epoch": ""}
    assert aggregate(redis, LATER).counts == first.counts == Counts(1, 0, 0)
    assert state(redis) | {"owner": "", "epoch": ""} == before


# ------------------------------------------------------------------ when something is over


def test_an_hour_is_published_when_its_time_and_grace_are_over(redis):
    write(redis, hour_of(0, 1))
    for now, count in ((at(0, 1, 59), 0), (at(0, 2, 10) - 1, 0), (at(0, 2, 10), 1)):
        aggregate(redis, now)
        assert len(published(redis)) == count


@pytest.mark.parametrize("page", [10, 2000])
def test_nothing_is_over_before_all_is_read_that_came_by_then(redis, page):
    """A reading comes in the very moment in which it looks at the clock."""
    readings = write(redis, hour_of(0, 1, 10))

    def clock():
        if len(readings) == 10:
            readings.extend(write(redis, [Reading(at(0, 1, 59), 99)]))
        return moment_of(at(0, 2, 10))

    aggregate(redis, at(0), clock=clock, page=page)
    assert published(redis) == truth(readings)


def test_the_last_hour_of_the_newest_day_is_published_too(redis):
    readings = write(redis, hour_of(0, 23))
    aggregate(redis, at(1, 0, 10) - 1)
    assert not published(redis)
    aggregate(redis, at(1, 0, 10))
    assert published(redis) == truth(readings)


def test_a_day_is_left_when_it_is_over_and_its_grace_too(redis):
    write(redis, [*hour_of(0, 23), *hour_of(1, 0)])
    aggregate(redis, at(1, 0, 10) - 1)
    assert state(redis)["current_stream_key"] == key(0)
    aggregate(redis, at(1, 0, 10))
    assert state(redis)["current_stream_key"] == key(1)


@pytest.mark.parametrize("page", [1, 4, 10, 11])
def test_a_day_is_left_only_when_it_is_drained(redis, page):
    """Also where the last page is full, so that one cannot see that it was the last."""
    readings = write(redis, [*hour_of(0, 22), *hour_of(0, 23), *hour_of(1, 0)])
    with Wire(redis) as wire:
        aggregate(wire.client(), LATER, page=page)
    reads = [words for words in wire.commands if words[0] == "XREAD" and key(0) in words]
    assert reads[-1][-1] == f"{at(0, 23, 54)}-0"
    assert published(redis) == truth(readings)


def test_a_late_reading_within_the_grace_period_counts(redis):
    readings = write(redis, hour_of(0, 23))
    aggregate(redis, at(1, 0, 9))
    write(redis, [Reading(at(0, 22, 55), 1000)])
    readings += write(redis, [Reading(at(0, 23, 30), 77), Reading(at(0, 23), 78)])
    aggregate(redis, at(1, 0, 9, 59))
    assert not published(redis)
    aggregate(redis, at(1, 0, 10))
    assert published(redis) == truth(readings)
    assert aside(redis) == [(key(0), "1000", LATE)]


def test_a_reading_that_comes_after_its_hour_was_published_is_set_aside(redis):
    readings = write(redis, hour_of(0, 1))
    aggregate(redis, at(0, 3))
    write(redis, [Reading(at(0, 1, 59), 99)])
    more = write(redis, hour_of(0, 3))
    aggregate(redis, LATER)
    assert published(redis) == truth([*readings, *more])
    assert aside(redis) == [(key(0), "99", LATE)]
    (kept,) = redis.xrange(SET_ASIDE)
    assert kept[1]["id"] == f"{at(0, 1, 59)}-0"


def test_a_reading_that_comes_after_its_day_was_left_is_set_aside(redis):
    readings = write(redis, [*hour_of(0, 23), *hour_of(1, 0)])
    aggregate(redis, at(1, 0, 30))
    write(redis, [Reading(at(0, 23, 59), 99)])
    redis.xadd(key(0), {"temp_f": b"\xff\xfe"}, id=f"{at(0, 23, 59)}-1")
    redis.xadd(key(0), {"temperature": "1"}, id=f"{at(0, 23, 59)}-2")
    write(redis, [Reading(at(0, 23, 50), 98)])
    done = aggregate(redis, LATER)
    assert published(redis) == truth(readings)
    assert aside(redis) == [(key(0), temp, DAY_OVER) for temp in ("99", "��", "", "98")]
    assert [one["id"] for _, one in redis.xrange(SET_ASIDE)] == [
        f"{at(0, 23, 59)}-{seq}" for seq in range(4)
    ]
    assert done.counts.set_aside == 4


@pytest.mark.parametrize("count", [9, 10, 11, 35])
def test_late_readings_of_many_pages_are_set_aside_before_the_next_day_is_left(redis, count):
    write(redis, [*hour_of(0, 1), *hour_of(1, 1)])
    aggregate(redis, at(1, 0, 30))
    write(redis, [Reading(at(0, 23) + n, n) for n in range(count)])
    aggregate(redis, LATER, page=10)
    assert aside(redis) == [(key(0), str(n), DAY_OVER) for n in range(count)]
    assert len(published(redis)) == 2


def test_readings_of_a_day_that_was_skipped_are_set_aside_when_they_come(redis):
    write(redis, hour_of(0, 1))
    aggregate(redis, at(2, 1))
    assert state(redis)["current_stream_key"] == key(2)
    write(redis, [*hour_of(1, 1, 3), *hour_of(2, 2)])
    aggregate(redis, LATER)
    assert len(published(redis)) == 2
    assert aside(redis) == [(key(1), str(one.temp_f), DAY_OVER) for one in hour_of(1, 1, 3)]


# ------------------------------------------------------------------ days that are not there


def test_days_without_a_partition_are_skipped(redis):
    readings = write(redis, [one for day in (1, 2, 5, 8) for one in hour_of(day, 12)])
    said: list[str] = []
    aggregate(redis, LATER, say=said.append)
    assert published(redis) == truth(readings)
    assert said == [
        f"Starting aggregating consumer in stream {key(0)} at message 0.",
        f"Skipped {key(0)}: no such partition.",
        f"Changing partition to consume stream: {key(1)}",
        f"Changing partition to consume stream: {key(2)}",
        f"Skipped {key(3)} to {key(4)}: no such partition.",
        f"Changing partition to consume stream: {key(5)}",
        f"Skipped {key(6)} to {key(7)}: no such partition.",
        f"Changing partition to consume stream: {key(8)}",
    ]


def test_an_empty_day_is_skipped(redis):
    readings = write(redis, [*hour_of(0, 12), *hour_of(2, 12)])
    redis.xadd(key(1), {"temp_f": "1"}, id=f"{at(1)}-0")
    redis.xdel(key(1), f"{at(1)}-0")
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)
    assert not aside(redis)


def test_it_waits_for_a_next_day_that_does_not_exist_yet(redis, impatient):
    readings = write(redis, hour_of(0, 23))
    watch = Watch(at(0, 23, 59))
    said: list[str] = []

    def waiting(day):
        return f"Waiting for new messages in stream {key(day)}, or new stream partition."

    with connect() as client:
        one = consumer(client, watch, say=said.append)
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            until(lambda: waiting(0) in said)
            watch.ms = at(1, 0, 10)
            until(lambda: waiting(1) in said)
            assert published(redis) == truth(readings)
            readings += write(redis, hour_of(1, 0))
            until(lambda: state(redis)["last_message_id"] == f"{at(1, 0, 54)}-0")
            watch.ms = at(3)
            until(lambda: len(published(redis)) == 2)
        finally:
            one.stop()
            thread.join()
    assert published(redis) == truth(readings)
    assert said[1:4] == [
        waiting(0), f"Changing partition to consume stream: {key(1)}", waiting(1)
    ]  # fmt: skip
    assert said.count(waiting(0)) == 1


def test_a_start_long_ago_is_skipped_forward(redis):
    first = utc_now().date().replace(month=1, day=1)
    done = aggregate(redis, LATER - 74 * 365 * 24 * HOUR, start=partition_key(first))
    assert done.counts == Counts()


# ------------------------------------------------------------------ what counts for no hour


def test_what_is_no_reading_is_set_aside_and_the_others_count(redis):
    readings = write(redis, hour_of(0, 1))
    ms = at(0, 1, 58)
    odd = [
        ({"temperature": "72"}, "it has no field temp_f"),
        ({"temp_f": "warm"}, "its temp_f is no temperature"),
        ({"temp_f": ""}, "its temp_f is no temperature"),
        ({"temp_f": "nan"}, "its temp_f is no temperature"),
        ({"temp_f": b"7\xff"}, "its temp_f is no temperature"),
        ({b"\xff": "7"}, "it has no field temp_f"),
        ({"temp_f": "7", "at": "9" * 5000}, "its field at is no moment before its ID"),
        ({"temp_f": "7", "at": str(at(0) - 1)}, "it is of another day"),
    ]
    for seq, (fields, _) in enumerate(odd):
        redis.xadd(key(0), fields, id=f"{ms}-{seq}")
    readings += write(redis, hour_of(0, 2))
    done = aggregate(redis, LATER, page=6)
    assert published(redis) == truth(readings)
    found = [one for _, one in redis.xrange(SET_ASIDE)]
    assert [(one["id"], one["reason"]) for one in found] == [
        (f"{ms}-{seq}", reason) for seq, (_, reason) in enumerate(odd)
    ]
    assert done.counts.set_aside == int(state(redis)["num_set_aside"]) == len(odd)


def test_an_entry_of_another_day_is_set_aside_and_the_day_goes_on(redis):
    redis.xadd(key(0), {"temp_f": "1"})  # dated by the server's own clock
    readings = write(redis, hour_of(0, 1))
    redis.xadd(key(0), {"temp_f": "2"}, id=f"{at(1, 5)}-0")
    redis.xadd(key(0), {"temp_f": "3"}, id=f"{2**63}-0")
    readings += write(redis, hour_of(1, 1))
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)
    assert aside(redis) == [(key(0), temp, "it is of another day") for temp in "123"]


def test_several_readings_a_second_and_several_producers_count_each(redis):
    readings = []
    for sensor in range(3):
        some = [one._replace(sensor=sensor) for one in hour_of(0, 1)]
        readings += write(redis, [*some, some[-1]])
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)
    assert not aside(redis)


# ------------------------------------------------------------------ what is lost


def read_so_far(redis, pages, then, **terms):
    """Let a consumer read so many pages, and do something before the next one comes."""
    said: list[str] = []
    with Wire(redis) as wire:
        one = consumer(wire.client(), LATER, page=10, say=said.append, **terms)
        wire.before(("XREAD", pages + 1), lambda: then(one))
        one.run(drain=True)
    return one, said


def expire(redis, day):
    redis.pexpire(key(day), 1)
    until(lambda: not redis.exists(key(day)))


@pytest.mark.parametrize("end", [expire, lambda redis, day: redis.unlink(key(day))],
                         ids=["expires", "is deleted"])  # fmt: skip
def test_a_partition_that_is_gone_while_it_is_read_is_told_with_how_much(redis, end):
    readings = write(redis, [*hour_of(0, 1, 12), *hour_of(0, 5, 24), *hour_of(1, 0)])
    done, said = read_so_far(redis, 2, lambda one: end(redis, 0))
    assert f"{key(0)} expired before it was left: at least 16 readings after " in said[1]
    assert said[1].endswith("after 05:17:30 are lost.")
    assert done.counts == Counts(averages=3, set_aside=0, lost=16)
    assert state(redis)["num_lost"] == "16"
    assert published(redis) == truth([*readings[:20], *readings[36:]])
    assert said[2:] == [f"Changing partition to consume stream: {key(1)}"]


def test_a_partition_that_expires_while_nobody_reads_is_told_too(redis):
    readings = write(redis, [*hour_of(0, 1, 36), *hour_of(1, 0)])
    read_so_far(redis, 2, lambda one: one.stop())
    assert state(redis)["stream_read"] == "30"  # the page in hand is stored
    expire(redis, 0)
    said: list[str] = []
    done = aggregate(redis, LATER, page=10, say=said.append)
    assert "at least 6 readings after 01:48:20 are lost" in said[1]
    assert (done.counts.lost, done.counts.averages) == (6, 2)
    assert published(redis) == truth([*readings[:30], *readings[36:]])


def test_what_comes_to_a_partition_that_is_made_again_is_read(redis):
    write(redis, hour_of(0, 1, 36))
    read_so_far(redis, 2, lambda one: one.stop())
    redis.unlink(key(0))
    aggregate(redis, at(0, 1, 55), page=10)
    more = write(redis, [*hour_of(0, 2)])
    done = aggregate(redis, LATER)
    assert published(redis)[1:] == truth(more)
    assert done.counts.lost == 6


def test_a_partition_that_goes_when_it_was_left_is_no_loss(redis):
    write(redis, hour_of(0, 1))
    aggregate(redis, at(1, 1))
    expire(redis, 0)
    assert aggregate(redis, LATER).counts == Counts(1, 0, 0)


# ------------------------------------------------------------------ keys of another type


def test_a_partition_of_another_type_is_told_and_nothing_is_lost(redis):
    readings = write(redis, [*hour_of(0, 1), *hour_of(2, 1)])
    redis.set(key(1), "mine")
    for _ in range(2):
        with pytest.raises(StreamsError, match=f"The key '{key(1)}' is not a stream"):
            aggregate(redis, LATER)
        assert redis.get(key(1)) == "mine"
    redis.delete(key(1))
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)


@pytest.mark.parametrize("name", [AVERAGES, SET_ASIDE])
def test_averages_of_another_type_are_told_and_nothing_is_lost(redis, name):
    readings = write(redis, [*hour_of(0, 1), Reading(at(0, 2), "warm"), *hour_of(0, 5)])
    redis.hset(name, "a", "b")
    for _ in range(2):
        with pytest.raises(StreamsError, match=f"^{name} is a hash, and no stream: rename it, or"):
            aggregate(redis, LATER)
    assert redis.type(name) == "hash"
    redis.delete(name)
    aggregate(redis, LATER)
    assert published(redis) == truth([*readings[:10], *readings[11:]])
    assert [temp for _, temp, _ in aside(redis)] == ["warm"]


@pytest.mark.parametrize(
    ("name", "bad"),
    [("current_hourly_total", "warm"), ("last_message_id", "yesterday"), ("version", "2"),
     ("current_stream_key", "temps"), ("previous_stream_key", "temps"), ("epoch", "")],
)  # fmt: skip
def test_a_corrupt_state_is_told_and_left_as_it_was(redis, name, bad):
    readings = write(redis, hour_of(0, 1))
    aggregate(redis, at(0, 1, 59))
    good = state(redis)
    redis.hset(AGGREGATING_STATE, name, bad)
    before = state(redis)
    with pytest.raises(StateError, match=f"^The state '{AGGREGATING_STATE}' .*'{bad}'"):
        aggregate(redis, LATER)
    assert state(redis) == before
    assert not published(redis)
    redis.hset(AGGREGATING_STATE, mapping=good)
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)


@pytest.mark.parametrize("missing", [*FIELDS, "epoch", "commits"])
def test_an_incomplete_state_is_told_and_left_as_it_was(redis, missing):
    aggregate(redis, at(0))
    redis.hdel(AGGREGATING_STATE, missing)
    before = state(redis)
    with pytest.raises(StateError, match=f"lacks {missing}. Nothing was changed"):
        aggregate(redis, LATER)
    assert state(redis) == before


# ------------------------------------------------------------------ begin


def test_without_a_state_it_has_to_be_told_where_to_begin(redis):
    with pytest.raises(StateError, match="There is no state to continue from: name the partition"):
        aggregate(redis, LATER, start=None)
    assert not redis.exists(AGGREGATING_STATE)


@pytest.mark.parametrize("start", ["", "temps", "temps:2100-01-01", "temps:21000230", AVERAGES])
def test_a_start_that_is_no_partition_is_refused(redis, start):
    with pytest.raises(PartitionError, match=r"isn't a partition: write temps: and a date"):
        consumer(redis, LATER, start=start)
    with pytest.raises(PartitionError, match=r"isn't a partition: write temps: and a date"):
        begin_anew(redis, start)
    assert not redis.exists(AGGREGATING_STATE)


def test_what_cannot_work_is_refused_before_it_begins(redis):
    with pytest.raises(StreamsError, match="shorter than an hour"):
        consumer(redis, LATER, grace_s=3600)
    hasty = redis_py.Redis.from_url(find_server().url, decode_responses=True, socket_timeout=0.5)
    with hasty, pytest.raises(StreamsError, match="BLOCK 1000 ms may end after this client"):
        AggregatingConsumer(hasty, start=key(0))


def test_to_begin_anew_makes_all_averages_again(redis):
    readings = write(redis, [*hour_of(0, 1), Reading(at(0, 2), "warm"), *hour_of(1, 1)])
    aggregate(redis, LATER)
    AveragesConsumer(redis, show=lambda entry: None, say=silent).run(drain=True)
    begin_anew(redis, key(1))
    assert state(redis)["current_stream_key"] == key(1)
    assert not redis.exists(AVERAGES, AVERAGES_STATE, SET_ASIDE)
    aggregate(redis, LATER, start=None)
    assert published(redis) == truth(readings[11:])
    begin_anew(redis, key(0))
    aggregate(redis, LATER)
    assert published(redis) == truth(readings[:10] + readings[11:])
    assert len(aside(redis)) == 1


@pytest.mark.parametrize("found", [{"version": "0"}, {"current_stream_key": "temps:20250101"}])
def test_to_begin_anew_mends_a_state_that_cannot_be_used(redis, found):
    redis.hset(AGGREGATING_STATE, mapping=found)
    readings = write(redis, hour_of(0, 1))
    begin_anew(redis, key(0))
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)


def test_to_begin_anew_fences_the_one_at_work(redis, impatient):
    readings = write(redis, hour_of(0, 1))
    told: list[Exception] = []

    def work():
        try:
            one.run()
        except StreamsError as error:
            told.append(error)

    with connect() as client:
        one = consumer(client, at(0, 3))
        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: len(published(redis)) == 1)
        begin_anew(redis, key(0))
        before = state(redis)
        readings += write(redis, hour_of(0, 3))
        thread.join()
    assert isinstance(told[0], CheckpointError)
    assert state(redis) == before
    assert not published(redis)
    aggregate(redis, LATER)
    assert published(redis) == truth(readings)


# ------------------------------------------------------------------ stop


def test_stop_ends_it_when_the_current_block_is_over(redis, impatient):
    readings = write(redis, hour_of(0, 1))
    with Proxy() as proxy, proxy.connect() as client:
        one = consumer(client, at(0, 3))
        thread = threading.Thread(target=one.run)
        thread.start()
        until(lambda: blocked(redis))
        one.stop()
        seen = len([name for name in proxy.names if name == "XREAD"])
        thread.join()
        assert len([name for name in proxy.names if name == "XREAD"]) <= seen + 1
        assert proxy.names[-1] != "EVALSHA"
    assert published(redis) == truth(readings)


def test_stop_ends_it_when_the_page_in_hand_is_stored(redis):
    readings = write(redis, hour_of(0, 1, 36))
    read_so_far(redis, 1, lambda one: one.stop())
    assert state(redis)["last_message_id"] == f"{readings[19].at}-0"
    assert state(redis)["current_hourly_count"] == "20"


def test_a_wait_that_is_broken_off_goes_on(redis):
    readings = write(redis, hour_of(0, 1))
    with connect() as client:
        one = consumer(client, at(0, 4))
        thread = threading.Thread(target=one.run)
        thread.start()
        until(lambda: unblock(redis))
        readings += write(redis, hour_of(0, 2))
        until(lambda: published(redis) == truth(readings))
        one.stop()
        thread.join()


def test_sigterm_ends_it(redis):
    write(redis, hour_of(0, 1))
    with Life(work_until_told, at(0, 3), url=find_server().url) as life:
        until(lambda: len(published(redis)) == 1)
        life.stop()
        assert life.wait()
        assert life.exit_code == 0


# ------------------------------------------------------------------ any readings at any time

delays = st.sampled_from([0, 0, 0, SECOND, MINUTE, GRACE - SECOND, GRACE, HOUR, 11 * HOUR])
passes = st.sampled_from([0, SECOND, 5 * MINUTE, 40 * MINUTE, HOUR, 3 * HOUR, 30 * HOUR])
values = st.integers(-20, 120) | st.sampled_from(["71.5", "7e1", "0.000", "warm", ""])
happenings = st.lists(
    st.tuples(passes, st.lists(st.tuples(delays, values), max_size=6), st.integers(1, 5)),
    max_size=8,
)


class Oracle:
    """What becomes of each reading, from when it was taken, when it came and when one looked."""

    def __init__(self):
        self.newest: dict[int, int] = {}  # the newest reading of each day, in ms
        self.waiting: list[tuple[int, int, int | str]] = []  # not read yet: taken, ID, value
        self.hours: dict[int, list[Fraction]] = defaultdict(list)
        self.closed = at(0)  # no hour before it counts any more
        self.aside = 0

    def came(self, taken, value):
        day = taken // (24 * HOUR)
        self.newest[day] = max(self.newest.get(day, 0), taken)
        self.waiting.append((taken, self.newest[day], value))

    def looked(self, now):
        """All that came is read; then what is over by this moment is published."""
        for taken, came, value in sorted(self.waiting, key=lambda one: one[1]):
            begins = taken - taken % HOUR
            if value in ("warm", "") or begins < self.closed or begins + HOUR + GRACE <= came:
                self.aside += 1
            else:
                self.hours[begins // HOUR].append(Fraction(value))
        self.waiting = []
        ends = [(hour + 1) * HOUR for hour in self.hours]
        newest = self.newest.get((now - GRACE) // (24 * HOUR), 0)
        by_id = [end for end in ends if end + GRACE <= newest]
        over = [end for end in ends if end + GRACE <= now]
        midnight = (now - GRACE) // (24 * HOUR) * (24 * HOUR)  # the days before it are left
        self.closed = max([self.closed, midnight, *over, *by_id])


@settings(
    max_examples=times(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(happenings)
def test_each_reading_counts_once_or_is_set_aside_whenever_it_comes(redis, some):
    """Readings come in time and late, days are missing, and consumers come and go."""
    clean(redis, "temps:*")
    oracle, producer, now = Oracle(), PartitionProducer(redis), at(0)
    for passed, readings, page in some:
        now += passed
        taken = [Reading(max(at(0), now - delay), value) for delay, value in readings]
        producer.add_many(taken)
        for one in taken:
            oracle.came(one.at, one.temp_f)
        aggregate(redis, now, page=page)
        oracle.looked(now)
        assert len(published(redis)) == int(state(redis)["num_averages"])
    done = aggregate(redis, now + 48 * HOUR)
    expected = [mean_of(hour, temps) for hour, temps in sorted(oracle.hours.items())]
    assert published(redis) == expected
    assert in_order(published(redis))
    assert len(aside(redis)) == done.counts.set_aside == oracle.aside
    assert done.counts.averages == len(expected)
    assert done.counts.lost == 0
