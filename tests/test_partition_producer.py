"""Readings are in the partition of their day once, and no partition is without an expiry."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from itertools import chain
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import connect
from helpers.chaos import CLIENT, LOSSES, Fault, Proxy, start
from helpers.checks.lives import Supervisor
from helpers.checks.scene import Scene
from helpers.course.server import OwnServer
from helpers.partitions import (
    RETENTION_S,
    PartitionProducer,
    Reading,
    fill,
    filling,
    partition_day,
    partition_key,
    partitions,
    readings_of,
    start_of,
)
from helpers.partitions import readings as demo
from helpers.partitions.days import PartitionError, day_of_ms
from helpers.partitions.producer import WRITE
from helpers.streams.clock import ms_of
from helpers.streams.entry import LAST, entries
from helpers.streams.errors import EntryIdError, StreamsError
from helpers.streams.patience import Patience
from tests.points import call_of, times

DAY = date(2100, 1, 1)
NEXT = DAY + timedelta(days=1)
KEY, NOTES = "temps:21000101", "{temps:21000101}:written"
BEGIN = start_of(DAY)
MINUTE = 60_000
PATIENCE_S = 60  # with a process on a busy machine
OPENING = ("HELLO", "CLIENT SETINFO", ("CLIENT SETINFO", 2))  # with which redis-py connects


@pytest.fixture
def proxy(redis, monkeypatch):
    """A proxy in front of this run's server, through which `connect()` goes from now on."""
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        yield proxy


@pytest.fixture(scope="module")
def supervisor():
    """Gives a function one life after another."""
    with Scene("99") as scene, Supervisor(scene) as supervisor:
        yield supervisor


def some(count, first=0, every=10 * MINUTE):
    """So many readings, one in ten minutes from the day's beginning on."""
    return [Reading(BEGIN + every * n, n % 100) for n in range(first, first + count)]


def held(redis, key=KEY):
    """The readings in a partition, in the order in which they came."""
    return [
        Reading(int(fields.get("at", entry_id.ms)), fields["temp_f"], fields.get("sensor"))
        for entry_id, fields in entries(redis.xrange(key))
    ]


def ids(redis, key=KEY):
    return [entry_id for entry_id, _ in redis.xrange(key)]


def assert_each_once(redis, expected):
    """Each reading is there once, and each partition expires two days after its newest one."""
    by_day: dict[str, list[Any]] = {}
    for at, temp_f, sensor in expected:
        by_day.setdefault(partition_key(day_of_ms(at)), []).append((at, str(temp_f), sensor))
    assert partitions(redis) == sorted(by_day)
    for key, readings in by_day.items():
        assert Counter(held(redis, key)) == Counter(readings)
        expiry = max(at for at, _, _ in readings) // 1000 + RETENTION_S
        notes = f"{{{key}}}:written"
        assert redis.expiretime(key) == redis.expiretime(notes) == expiry
        assert sum(map(int, redis.hvals(notes))) == len(readings)


def assert_all_expire(redis):
    """No partition, and nothing beside one, stays for ever."""
    for key in redis.scan_iter(match="*temps:*"):
        assert redis.ttl(key) > 0, key


def server_pid(home):
    state = OwnServer(home).running()
    assert state
    return state.pid


def impatient(producer):
    """Let a producer give up at its first failure."""
    producer._patience = Patience(limit_s=-1)
    return producer


# ------------------------------------------------------------------ what is written


def test_a_reading_is_an_entry_of_its_day_with_its_moment_as_id(redis):
    with PartitionProducer(redis) as producer:
        producer.add(73, at=datetime(2100, 1, 1, 12, tzinfo=UTC))
        producer.add("72.5", at=datetime(2100, 1, 1, 23, 59, 59, 999_000, UTC), sensor="roof")
        producer.add(-4.25, at=datetime(2100, 1, 2, tzinfo=UTC))
    assert redis.xrange(KEY) == [
        (f"{BEGIN + 720 * MINUTE}-0", {"temp_f": "73"}),
        (f"{BEGIN + 1440 * MINUTE - 1}-0", {"temp_f": "72.5", "sensor": "roof"}),
    ]
    assert redis.xrange("temps:21000102") == [(f"{BEGIN + 1440 * MINUTE}-0", {"temp_f": "-4.25"})]


def test_by_default_a_reading_is_of_now(redis):
    before = ms_of(datetime.now(UTC))
    with PartitionProducer(redis) as producer:
        producer.add(73)
    [key] = partitions(redis)
    [reading] = held(redis, key)
    assert before <= reading.at <= ms_of(datetime.now(UTC))
    assert key == partition_key(day_of_ms(reading.at))
    assert reading[1:] == ("73", None)


def test_the_clock_is_an_argument(redis):
    moment = datetime(2100, 1, 1, 0, 0, 1, tzinfo=UTC)
    with PartitionProducer(redis, clock=lambda: moment) as producer:
        producer.add(73)
    assert ids(redis) == [f"{BEGIN + 1000}-0"]


def test_a_batch_is_cut_at_midnight_and_where_sensors_begin_to_be_named(redis):
    given = [*some(300), *(Reading(at, temp, 7) for at, temp, _ in some(10, 300))]
    with PartitionProducer(redis) as producer:
        assert producer.add_many(given) == 310
        assert producer.add_many(iter([])) == 0
    found = [*held(redis), *held(redis, "temps:21000102"), *held(redis, "temps:21000103")]
    assert found == [Reading(at, str(temp), sensor and str(sensor)) for at, temp, sensor in given]
    assert redis.xlen(KEY) == 144


def test_a_generator_is_read_as_the_batches_go(redis):
    seen = []

    def measured():
        for one in some(10):
            seen.append(redis.xlen(KEY))
            yield one

    with PartitionProducer(redis) as producer:
        producer.add_many(measured(), batch=4)
    assert seen == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_readings_of_one_millisecond_get_the_next_ids(redis):
    with PartitionProducer(redis) as one, PartitionProducer(redis) as other:
        one.add_many([Reading(BEGIN + 5, 1), Reading(BEGIN + 5, 2)])
        other.add_many([Reading(BEGIN + 5, 3)])
    assert ids(redis) == [f"{BEGIN + 5}-{n}" for n in range(3)]
    assert [reading.temp_f for reading in held(redis)] == ["1", "2", "3"]
    assert all("at" not in fields for _, fields in redis.xrange(KEY))


def test_a_late_reading_gets_the_next_id_and_carries_its_time(redis):
    with PartitionProducer(redis) as producer:
        producer.add_many([Reading(BEGIN + 2000, 1), Reading(BEGIN + 1000, 2, "roof")])
        producer.add_many([Reading(BEGIN, 3)])
        producer.add_many([Reading(BEGIN + 3000, 4)])
    assert redis.xrange(KEY) == [
        (f"{BEGIN + 2000}-0", {"temp_f": "1"}),
        (f"{BEGIN + 2000}-1", {"at": str(BEGIN + 1000), "temp_f": "2", "sensor": "roof"}),
        (f"{BEGIN + 2000}-2", {"at": str(BEGIN), "temp_f": "3"}),
        (f"{BEGIN + 3000}-0", {"temp_f": "4"}),
    ]


def test_a_partition_expires_two_days_after_its_newest_reading(redis):
    with PartitionProducer(redis) as producer:
        for minute, newest in ((60, 60), (120, 120), (30, 120), (120, 120), (121, 121)):
            producer.add_many([Reading(BEGIN + MINUTE * minute + 999, 70)])
            expiry = BEGIN // 1000 + 60 * newest + 2 * 86_400
            assert redis.expiretime(KEY) == redis.expiretime(NOTES) == expiry
            with PartitionProducer(redis) as late:
                late.add_many(some(2))
            assert redis.expiretime(KEY) == expiry


def test_a_deleted_newest_reading_does_not_shorten_the_expiry(redis):
    with PartitionProducer(redis) as producer:
        producer.add_many(some(5))
        before = redis.expiretime(KEY)
        redis.xdel(KEY, ids(redis)[-1])
        producer.add_many(some(1))
    assert redis.expiretime(KEY) == before


some_readings = st.lists(
    st.builds(
        Reading,
        st.sampled_from([BEGIN, BEGIN + 86_400_000 - 2, BEGIN + 86_400_000]).flatmap(
            lambda base: st.integers(base, base + 3)
        ),
        st.integers(0, 100),
        st.none() | st.sampled_from(["roof", "cellar"]),
    ),
    max_size=12,
)


@settings(
    max_examples=times(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 1), some_readings, st.integers(1, 5)), max_size=5))
def test_whatever_comes_from_whom_in_which_order_is_there_once(redis, calls):
    for key in redis.scan_iter(match="*temps:*"):
        redis.delete(key)
    producers = PartitionProducer(redis), PartitionProducer(redis)
    for number, batch, size in calls:
        assert producers[number].add_many(batch, batch=size) == len(batch)
    assert_each_once(redis, list(chain.from_iterable(batch for _, batch, _ in calls)))


# ------------------------------------------------------------------ lost, cut and late commands


GIVEN = [*some(160), Reading(BEGIN, 5), Reading(BEGIN + 159 * 10 * MINUTE, 6)]


def produce(proxy, faults, *, retries=0, deliver_at=None):
    """Readings of two days in several batches, of which the last is late, under faults."""
    with connect(retries=retries) as client, PartitionProducer(client) as producer:
        for at, fault in faults.items():
            proxy.arm(fault, at=at)
        if deliver_at:
            proxy.deliver_at(deliver_at)
        producer.add_many(GIVEN[:1])
        producer.add_many(GIVEN[1:], batch=60)


def assert_exactly_once(redis, proxy, faults, **options):
    proxy.reset()
    for key in redis.scan_iter(match="*temps:*"):
        redis.delete(key)
    redis.script_flush()
    produce(proxy, faults, **options)
    assert_each_once(redis, GIVEN)
    proxy.deliver()
    assert_each_once(redis, GIVEN)


@pytest.mark.parametrize(("fault", "retries"), [*zip(LOSSES, (0, 10, 0), strict=True)])
def test_exactly_once_with_a_real_connection_lost(redis, proxy, retries, fault):
    """At one command, or as it is opened; for all others see `tests.steps`."""
    for at in (call_of(WRITE, 3), *OPENING):
        assert_exactly_once(redis, proxy, {at: fault}, retries=retries)


FREEZES = pytest.mark.parametrize(
    "fault", [pytest.param(Fault.FREEZE_BEFORE, marks=pytest.mark.once), Fault.FREEZE_AFTER]
)


@FREEZES
def test_a_producer_that_is_killed_leaves_nothing_for_ever(redis, supervisor, fault):
    given = some(60, every=48 * MINUTE)

    def write(client):
        """Go on from what is there: two days of readings."""
        with PartitionProducer(client, name="roof") as producer:
            for day in (DAY, NEXT):
                todays = [one for one in given if day_of_ms(one.at) == day]
                producer.add_many(todays[producer.written(day) :], batch=20)

    with Proxy() as proxy:
        redis.script_flush()
        proxy.arm(fault, call_of(WRITE, 3))  # the first one is not known, the second is sent again
        life = supervisor.begin(write, CLIENT, through=proxy)
        assert life.stands(proxy, PATIENCE_S)
        assert_all_expire(redis)
        life.kill()
        proxy.thaw()
    assert redis.xlen(KEY) == (30 if fault is Fault.FREEZE_AFTER else 20)
    write(redis)
    assert_each_once(redis, given)


def test_a_server_killed_in_the_middle_comes_back_with_each_reading_once(home):
    def killing():
        for number, one in enumerate(readings):
            if number % 1000 == 500:
                os.kill(server_pid(home), signal.SIGKILL)
            yield one

    readings = some(3000, every=MINUTE)
    with connect() as client:
        with PartitionProducer(client) as producer:
            producer.add_many(killing(), batch=100)
        assert_each_once(client, readings)


# ------------------------------------------------------------------ several at once


def test_threads_write_the_same_day(redis):
    given = [[Reading(BEGIN + 1000 * n, n, one) for n in range(300)] for one in range(3)]
    together = threading.Barrier(3)

    def write(mine):
        with connect() as client, PartitionProducer(client) as producer:
            together.wait()
            producer.add_many(mine, batch=7)

    threads = [threading.Thread(target=write, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_each_once(
        redis, [Reading(at, temp, str(one)) for at, temp, one in chain.from_iterable(given)]
    )
    for one in range(3):  # those of one sensor are in the order in which they were written
        mine = [reading.at for reading in held(redis) if reading.sensor == str(one)]
        assert mine == [reading.at for reading in given[one]]


def test_processes_write_the_same_day(redis):
    begin = BEGIN

    def write(client, sensor):
        with PartitionProducer(client) as producer:
            for n in range(100):
                producer.add_many([Reading(begin + 1000 * n, n, sensor)])

    with start(write, CLIENT, "roof") as one, start(write, CLIENT, "cellar") as other:
        assert (one.wait(PATIENCE_S), other.wait(PATIENCE_S)) == (True, True)
    given = [
        Reading(BEGIN + 1000 * n, n, which) for n in range(100) for which in ("roof", "cellar")
    ]
    assert_each_once(redis, given)


def test_two_producers_of_one_name_are_told_so_and_write_nothing_twice(redis):
    with PartitionProducer(redis, name="roof") as one:
        one.add_many(some(2))
        with PartitionProducer(redis, name="roof") as other:
            assert other.written(DAY) == 2
            other.add_many(some(3, 2))
        with pytest.raises(PartitionError, match="Another producer named 'roof' writes to temps:"):
            one.add_many(some(2, 5))
        assert one.written(DAY) == 5
        one.add_many(some(2, 5))
    assert_each_once(redis, some(7))


def test_a_successor_knows_how_far_a_producer_came(redis):
    with PartitionProducer(redis, name="roof") as producer:
        producer.add_many(some(150))
    with PartitionProducer(redis, name="roof") as successor:
        assert [successor.written(day) for day in (DAY, NEXT)] == [144, 6]
        successor.add_many(some(10, 150))
    with PartitionProducer(redis) as stranger:
        assert stranger.written(DAY) == 0
    assert_each_once(redis, some(160))


# ------------------------------------------------------------------ what is refused


PAST = "would expire at 2025-01-03 12:00:00 UTC, two days after its newest reading, and that is "


@pytest.mark.parametrize(
    ("clock", "day"),
    [
        (None, datetime(2025, 1, 1, 12, tzinfo=UTC)),
        (datetime(2024, 12, 31, tzinfo=UTC), datetime(2025, 1, 1, 12, tzinfo=UTC)),
        (datetime(2100, 1, 3, 12, tzinfo=UTC), datetime(2100, 1, 1, 12, tzinfo=UTC)),
        (datetime(2101, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, 12, tzinfo=UTC)),
    ],
    ids=["the server's clock", "the server's, not ours", "our clock, just", "our clock"],
)
def test_a_past_day_is_refused_and_nothing_written_or_deleted(redis, clock, day):
    key = partition_key(day)
    redis.xadd(key, {"temp_f": 1}, id="1-0")
    before = {name: redis.dump(name) for name in redis.scan_iter()}
    with PartitionProducer(redis, clock=clock and (lambda: clock)) as producer:
        with pytest.raises(PartitionError) as told:
            producer.add(70, at=day)
        assert str(told.value) == (
            f"{key} would expire at {day + timedelta(days=2):%Y-%m-%d %H:%M:%S} UTC, two days "
            "after its newest reading, and that time has passed: EXPIREAT with a past time "
            "deletes a key at once. So nothing was written. Use a later day."
        )
        assert {name: redis.dump(name) for name in redis.scan_iter()} == before
        assert redis.ttl(key) == -1
        if clock and clock.year < 2100:
            return
        producer._clock = None
        producer.add(70, at=datetime(2100, 6, 1, tzinfo=UTC))  # and it is as good as before


def test_a_day_is_written_up_to_the_second_in_which_it_would_expire(redis):
    moment = datetime(2100, 1, 3, 11, 59, 59, 999_000, UTC)
    with PartitionProducer(redis, clock=lambda: moment) as producer:
        producer.add(70, at=datetime(2100, 1, 1, 12, tzinfo=UTC))
    assert redis.expiretime(KEY) == ms_of(datetime(2100, 1, 3, 12, tzinfo=UTC)) // 1000


def test_a_late_reading_of_a_partition_that_lives_on_is_taken(redis):
    """Its own two days are over, those of the newest reading are not."""
    moment = datetime(2100, 1, 3, 6, tzinfo=UTC)
    with PartitionProducer(redis, clock=lambda: moment) as producer:
        producer.add(70, at=datetime(2100, 1, 1, 12, tzinfo=UTC))
        producer.add(71, at=datetime(2100, 1, 1, 1, tzinfo=UTC))
    assert [int(reading.temp_f) for reading in held(redis)] == [70, 71]


@pytest.mark.parametrize("other", ["string", "hash"])
def test_a_partition_of_another_type_is_left_alone(redis, other):
    if other == "string":
        redis.set(KEY, "no stream")
    else:
        redis.hset(KEY, mapping={"no": "stream"})
    before = redis.dump(KEY)
    with PartitionProducer(redis) as producer:
        with pytest.raises(StreamsError, match="'temps:21000101' is not a stream"):
            producer.add_many(some(1))
        producer.add_many(some(1, 150))
    assert redis.dump(KEY) == before
    assert not redis.exists(NOTES)


def test_a_stream_on_which_no_id_is_left_is_told_and_nothing_is_written(redis):
    redis.xadd(KEY, {"temp_f": 1}, id=str(LAST))
    with PartitionProducer(redis) as producer, pytest.raises(StreamsError, match="temps:21000101"):
        producer.add_many(some(2))
    assert redis.xlen(KEY) == 1


BAD = [
    None, True, [70], {"temp_f": 70}, b"\xff", 1j, datetime(2100, 1, 1), float("nan"), "\ud83d",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_a_value_that_is_no_number_or_text_is_given_back_and_the_others_are_written(redis, value):
    with PartitionProducer(redis) as producer:
        with pytest.raises(PartitionError, match=r"A reading is Reading.*: The temperature (is|h)"):
            producer.add(value, at=datetime(2100, 1, 1, tzinfo=UTC))
        assert not redis.exists(KEY, NOTES)
        wrong = Reading(BEGIN + 1, value)
        with pytest.raises(PartitionError, match=r"It is given back\. 2 of this call") as given:
            producer.add_many([*some(1), wrong, *some(1, first=1)])
        assert given.value.entries == [wrong]
        producer.add_many(some(2, first=2))
    assert_each_once(redis, some(4))


def test_values_are_those_of_every_producer(redis):
    class Level(IntEnum):
        HIGH = 2

    given: list[Any] = [
        numpy.float64(26.5),
        Decimal("1.10"),
        Level.HIGH,
        b"70",
        numpy.int64(-3),
        2**70,
    ]
    moments: list[Any] = [BEGIN, numpy.int64(BEGIN + 1), *range(BEGIN + 2, BEGIN + 6)]
    with PartitionProducer(redis) as producer:
        producer.add_many(Reading(*one) for one in zip(moments, given, strict=True))
    written = ["26.5", "1.10", "2", "70", "-3", str(2**70)]
    assert held(redis) == [Reading(BEGIN + n, one) for n, one in enumerate(written)]


@pytest.mark.parametrize(
    "given",
    [
        5, [5], [None], ["2100"], [("2100", 70, None)], [(BEGIN, 70)], [(BEGIN, 70, None, 1)],
        [(float(BEGIN), 70, None)], [(True, 70, None)], [{"at": BEGIN}], Reading(BEGIN, 70),
        [(BEGIN, 70, ["roof"])], [(datetime(2100, 1, 1, tzinfo=UTC), 70, None)],
        [Reading(10**15, 70)],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_reading_is_refused_and_nothing_written(redis, given):
    with PartitionProducer(redis) as producer:
        with pytest.raises(PartitionError):
            producer.add_many(given)
        assert partitions(redis) == []
        producer.add_many(some(2))
    assert_each_once(redis, some(2))


@pytest.mark.once
@pytest.mark.parametrize("at", [datetime(2100, 1, 1), datetime(1969, 1, 1, tzinfo=UTC)], ids=str)
def test_a_moment_that_is_none_is_refused(redis, at):
    with PartitionProducer(redis) as producer, pytest.raises(EntryIdError):
        producer.add(70, at=at)


@pytest.mark.once
@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_nothing_is_refused(redis, batch):
    with PartitionProducer(redis) as producer, pytest.raises(PartitionError, match="at least one"):
        producer.add_many(some(1), batch=batch)


def test_text_of_every_kind_arrives_as_it_was(redis):
    words = ["", "NaN", 'a "quoted" \\ one', "☃\x00\n", "1e3", "-0", "x" * 10_000]
    given = [Reading(BEGIN + n, word, word) for n, word in enumerate(words)]
    with PartitionProducer(redis) as producer:
        producer.add_many(given)
    assert held(redis) == given


# ------------------------------------------------------------------ what becomes of a partition


def test_a_deleted_partition_is_written_anew_by_whoever_has_written_nothing_there(redis):
    with PartitionProducer(redis) as producer:
        producer.add_many(some(5))
    redis.delete(KEY)
    with PartitionProducer(redis) as another:
        another.add_many(some(3))
    assert_each_once(redis, some(3))


def test_a_producer_whose_partition_was_deleted_is_told_so(redis):
    with PartitionProducer(redis, name="roof") as producer:
        producer.add_many(some(5))
        redis.delete(KEY)
        with pytest.raises(PartitionError, match=r"lost what it had confirmed.* holds 0 readings"):
            producer.add_many(some(3, 5))
        assert not redis.exists(KEY)
        assert producer.written(DAY) == 0
        producer.add_many(some(8))
    assert_each_once(redis, some(8))


def test_a_server_that_has_lost_confirmed_readings_is_found_out(redis):
    """What an unwritten end of the append-only file looks like after a crash."""
    with PartitionProducer(redis, name="roof") as producer:
        producer.add_many(some(20))
        saved = {key: (redis.pttl(key), bytes_of(redis, key)) for key in (KEY, NOTES)}
        producer.add_many(some(30, 20))
        for key, (ttl, data) in saved.items():
            redis.restore(key, ttl, data, replace=True)
        with pytest.raises(
            PartitionError,
            match=r"temps:21000101 holds 20 readings of the producer 'roof', which has written 50",
        ):
            producer.add_many(some(1, 50))
        assert redis.xlen(KEY) == 20
        producer.add_many(some(60)[producer.written(DAY) :])
    assert_each_once(redis, some(60))


def bytes_of(redis, key):
    return redis.execute_command("DUMP", key, NEVER_DECODE=True)


# ------------------------------------------------------------------ filling

SHORT = 1500  # seconds of a day, where the whole of it is not the point


@pytest.fixture
def short_days(monkeypatch):
    """Days of 25 minutes."""
    for module in (filling, demo):
        monkeypatch.setattr(module, "SECONDS_A_DAY", SHORT)


def assert_filled(redis, days):
    """Each of these days is complete, in order, and there is nothing else."""
    assert partitions(redis) == [partition_key(DAY + timedelta(days=n)) for n in range(days)]
    for key in partitions(redis):
        expected = [
            (f"{at}-0", {"temp_f": str(temp)}) for at, temp, _ in readings_of(partition_day(key))
        ]
        assert redis.xrange(key) == expected
        assert redis.expiretime(key) == int(expected[-1][0][:-5]) + RETENTION_S


def test_a_day_is_filled_with_a_reading_a_second(redis):
    told: list[int] = []
    [found] = fill(redis, days=1, progress=told.append)
    assert found[:2] == (KEY, 86_400)
    assert found.memory == redis.memory_usage(KEY, samples=0)
    assert redis.xinfo_stream(KEY)["first-entry"][0] == f"{BEGIN}-0"
    assert sum(told) == 86_400
    assert_filled(redis, 1)


@pytest.mark.usefixtures("short_days")
def test_days_are_given_in_order_and_found_again(redis, proxy):
    told: list[int] = []
    found = list(fill(redis, days=5, progress=told.append))
    assert [one[:2] for one in found] == [(f"temps:2100010{n}", SHORT) for n in range(1, 6)]
    ttls = [redis.ttl(one.key) for one in found]
    assert ttls == sorted(set(ttls))
    assert sum(told) == 5 * SHORT
    assert_filled(redis, 5)
    with proxy.connect() as client:
        again = list(fill(client, days=5, progress=told.append))
    assert [one[:2] for one in again] == [one[:2] for one in found]
    assert sum(told) == 10 * SHORT
    assert not {"EVALSHA", "EVAL", "XADD"} & set(proxy.names)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_several_sensors_fill_a_day(redis):
    assert [one.length for one in fill(redis, days=2, sensors=3)] == [3 * SHORT, 3 * SHORT]
    for key, day in ((KEY, DAY), ("temps:21000102", NEXT)):
        expected = [Reading(at, str(temp), str(one)) for at, temp, one in readings_of(day, 3)]
        assert held(redis, key) == expected


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_a_fill_may_start_on_any_day_or_moment(redis):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    list(fill(redis, start=tomorrow, days=1))
    assert partitions(redis) == [partition_key(tomorrow)]
    assert held(redis, partition_key(tomorrow))[0].at == start_of(tomorrow)


@pytest.mark.usefixtures("short_days")
def test_a_fill_that_is_stopped_is_resumed(redis):
    filled = fill(redis, days=6)
    assert next(filled).key == KEY
    filled.close()
    assert_all_expire(redis)
    told: list[int] = []
    list(fill(redis, days=6, progress=told.append))
    assert sum(told) == 6 * SHORT
    assert_filled(redis, 6)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_a_fill_that_fails_in_the_middle_is_resumed(redis):
    told: list[int] = []

    def fail(number):
        told.append(number)
        if sum(told) > 1500:
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="the terminal"):
        list(fill(redis, days=2, progress=fail))
    assert 0 < sum(map(redis.xlen, partitions(redis))) < 2 * SHORT
    assert_all_expire(redis)
    list(fill(redis, days=2))
    assert_filled(redis, 2)


@FREEZES
@pytest.mark.usefixtures("short_days")
def test_a_fill_that_is_killed_is_resumed(redis, supervisor, fault):
    seconds = SHORT

    def work(client):
        for module in (filling, demo):
            vars(module)["SECONDS_A_DAY"] = seconds
        list(fill(client, days=2))

    with Proxy() as proxy:
        proxy.arm(fault, call_of(WRITE, 3))
        life = supervisor.begin(work, CLIENT, through=proxy)
        assert life.stands(proxy, PATIENCE_S)
        assert_all_expire(redis)
        life.kill()
        proxy.thaw()
    list(fill(redis, days=2))
    assert_filled(redis, 2)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_a_fill_outlives_its_server(home):
    told: list[int] = []

    def kill_once(number):
        told.append(number)
        if len(told) == 5:
            os.kill(pid, signal.SIGKILL)

    with connect() as client:
        pid = server_pid(home)
        list(fill(client, days=3, progress=kill_once))
        assert server_pid(home) != pid
        assert sum(told) == 3 * SHORT
        assert_filled(client, 3)


@pytest.mark.usefixtures("short_days")
def test_two_fills_at_once_do_not_disturb_each_other(redis):
    together = threading.Barrier(2)
    told: tuple[list[int], ...] = [], []

    def work(mine):
        with connect() as client:
            together.wait()
            list(fill(client, days=6, progress=mine.append))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(mine) for mine in told] == [6 * SHORT, 6 * SHORT]
    assert_filled(redis, 6)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_another_number_of_sensors_is_refused(redis):
    list(fill(redis, days=1))
    with pytest.raises(PartitionError, match=r"temps:21000101 holds 1,500 readings, of which this"):
        list(fill(redis, days=1, sensors=2))
    assert_filled(redis, 1)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_readings_that_no_fill_has_written_are_left_alone(redis):
    with PartitionProducer(redis) as producer:
        producer.add_many(some(3))
    with pytest.raises(PartitionError, match="this fill has written 0: delete it with `course"):
        list(fill(redis, days=1))
    assert_each_once(redis, some(3))


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_readings_that_are_missing_are_told(redis):
    list(fill(redis, days=1))
    redis.xdel(KEY, *ids(redis)[:2])
    with pytest.raises(PartitionError, match=r"holds 1,498 readings, of which .* written 1,500"):
        list(fill(redis, days=1))


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_a_reading_that_came_after_a_fill_does_no_harm(redis):
    list(fill(redis, days=1))
    with PartitionProducer(redis) as producer:
        producer.add_many(some(1))
    assert [one.length for one in fill(redis, days=1)] == [SHORT + 1]


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"days": -1}, "Fill at least one day, with 1 to 100 sensors, not -1 with 1."),
        ({"days": 0}, "Fill at least one day, with 1 to 100 sensors, not 0 with 1."),
        ({"sensors": 0}, "Fill at least one day, with 1 to 100 sensors, not 10 with 0."),
        ({"sensors": 101}, "Fill at least one day, with 1 to 100 sensors, not 10 with 101."),
        ({"days": 10**20}, "days from 2100-01-01 on, the calendar has ended."),
        ({"start": date(9999, 12, 25)}, "10 days from 9999-12-25 on, the calendar has ended."),
        ({"start": date(2025, 1, 1)}, "temps:20250101 would expire at 2025-01-03 00:00:00 UTC"),
        ({"start": date(1, 1, 1)}, "temps:00010101 would expire at 0001-01-03 00:00:00 UTC"),
        ({"clock": lambda: datetime(2101, 1, 1, tzinfo=UTC)}, "temps:21000101 would expire at "),
    ],
    ids=["negative", "none", "no sensors", "many sensors", "too many", "too late", "past",
         "long past", "past by the clock"],
)  # fmt: skip
def test_days_that_cannot_be_filled_are_told(redis, options, sentence):
    with pytest.raises(PartitionError) as told:
        list(fill(redis, **options))
    assert sentence in str(told.value)
    assert partitions(redis) == []


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_the_last_days_of_the_calendar_can_be_filled(redis):
    assert [one.key for one in fill(redis, start=date(9999, 12, 30), days=1)] == ["temps:99991230"]


@pytest.mark.usefixtures("short_days")
def test_a_day_that_the_server_takes_for_past_is_told_and_not_written(redis):
    with pytest.raises(
        PartitionError, match=r"temps:20250101 would expire .* and that time has passed"
    ):
        list(fill(redis, start=date(2025, 1, 1), clock=lambda: datetime(2025, 1, 1, tzinfo=UTC)))
    assert partitions(redis) == []
