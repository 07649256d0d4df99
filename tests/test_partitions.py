"""Which partition a moment belongs to, the demo's readings, and what partitions there are."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.partitions import (
    DAY_MS,
    DEMO_START,
    Partition,
    PartitionProducer,
    Reading,
    ReadingsClock,
    ahead_of_calendar,
    inspect,
    partition_day,
    partition_key,
    partitions,
    readings_of,
    start_of,
    temperatures,
)
from helpers.partitions.days import PartitionError, day_of_ms
from helpers.streams.clock import utc_now
from helpers.streams.errors import EntryIdError, StreamsError

days = st.dates(min_value=date(1970, 1, 1))
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=zones)


def at_hour(zone: float, text: str) -> datetime:
    """A moment where clocks show so many hours more than in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone(timedelta(hours=zone)))


# ------------------------------------------------------------------ keys


@pytest.mark.once
@pytest.mark.parametrize(
    ("moment", "key"),
    [
        (date(2025, 1, 1), "temps:20250101"),
        (at_hour(0, "2025-01-01T12:00"), "temps:20250101"),
        (at_hour(0, "2024-12-31T23:59:59.999999"), "temps:20241231"),
        (at_hour(2, "2025-01-01T01:59"), "temps:20241231"),
        (at_hour(-5, "2024-12-31T19:00"), "temps:20250101"),
        (at_hour(5.5, "2024-03-01T05:29"), "temps:20240229"),
        (at_hour(0, "1970-01-01T00:00"), "temps:19700101"),
        (datetime.max.replace(tzinfo=UTC), "temps:99991231"),
    ],
    ids=str,
)
def test_a_key_names_the_day_in_utc(moment, key):
    assert partition_key(moment) == key


@pytest.mark.once
@given(moments)
def test_the_same_instant_has_the_same_key_in_every_zone(moment):
    assert partition_key(moment) == f"temps:{moment.astimezone(UTC):%Y%m%d}"


@pytest.mark.once
@given(days, days)
def test_a_key_is_read_back_and_keys_sort_like_days(one, other):
    assert partition_day(partition_key(one)) == one
    assert (partition_key(one) < partition_key(other)) == (one < other)


@pytest.mark.once
@given(days, st.integers(0, DAY_MS - 1))
def test_a_day_begins_at_midnight_in_utc_and_has_all_its_milliseconds(day, ms):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert start_of(day) == (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )
    assert day_of_ms(start_of(day) + ms) == day


@pytest.mark.once
@pytest.mark.parametrize(
    ("moment", "error", "why"),
    [
        (datetime(2025, 1, 1, 12), EntryIdError, "has no time zone: give it one"),
        (at_hour(0, "1969-12-31T23:59"), EntryIdError, "is before 1970"),
        (at_hour(2, "1970-01-01T01:00"), EntryIdError, "is before 1970"),
        (at_hour(-1, "9999-12-31T23:30"), PartitionError, "is no day of a calendar"),
    ],
    ids=["naive", "before 1970", "before 1970 in UTC", "after 9999 in UTC"],
)
def test_a_moment_of_no_day_in_utc_is_refused(moment, error, why):
    for function in (partition_key, start_of, temperatures):
        with pytest.raises(error, match=why):
            function(moment)


@pytest.mark.once
@pytest.mark.parametrize(
    "key",
    [
        "temps:20250229", "temps:20251301", "temps:20250100", "temps:2025011", "temps:202501011",
        "temps:2025-01-01", "temps:averages", "temps:", "temps", "20250101", "temp:20250101",
        " temps:20250101", "temps:20250101\n", "{temps:20250101}:written", "temps:٢٠٢٥٠١٠١",
        "temps:19691231", "temps:00000101", "", None, 20250101, b"temps:20250101",
        date(2025, 1, 1),
    ],
)  # fmt: skip
def test_a_name_that_is_no_date_is_refused(key):
    with pytest.raises(
        PartitionError, match=r"isn't a partition: write temps: and a date, such as"
    ):
        partition_day(key)


# ------------------------------------------------------------------ readings


@pytest.mark.once
@pytest.mark.parametrize(
    ("day", "sensor", "first", "last", "total"),
    [
        (date(2100, 1, 1), 1, [75, 76, 75, 74, 75, 74], [54, 55, 56], 3_915_182),
        (date(2100, 1, 2), 1, [56, 57, 56, 55, 56, 55], [60, 59, 58], 3_768_755),
        (date(2100, 1, 1), 2, [72, 71, 70, 69, 70, 69], [47, 48, 47], 4_396_121),
        (date(2025, 1, 1), 1, [54, 53, 52, 51, 50, 49], [49, 50, 51], 4_607_793),
    ],
)
def test_everybody_sees_the_same_readings(day, sensor, first, last, total):
    found = temperatures(day, sensor)
    assert (found[:6], found[-3:], sum(found)) == (first, last, total)


@pytest.mark.once
@settings(max_examples=8)
@given(st.dates(date(1970, 1, 1), date(9999, 12, 30)), st.integers(1, 100))
def test_a_sensor_wanders_between_0_and_100_by_single_degrees(day, sensor):
    found = temperatures(day, sensor)
    assert len(found) == 86_400
    assert set(found) <= set(range(101))
    steps = Counter(after - before for before, after in itertools.pairwise(found))
    assert set(steps) <= {-1, 0, 1}
    resting = [one for one, after in itertools.pairwise(found) if one == after]
    assert set(resting) <= {0, 100}


@pytest.mark.once
def test_a_sensor_does_not_leap_at_midnight():
    for sensor in (1, 2):
        found = [temperatures(DEMO_START + timedelta(days=n), sensor) for n in range(8)]
        for today, tomorrow in itertools.pairwise(found):
            assert abs(today[-1] - tomorrow[0]) <= 1


@pytest.mark.once
def test_one_sensor_takes_a_reading_a_second():
    found = list(readings_of(DEMO_START))
    begins = start_of(DEMO_START)
    assert [one.at for one in found] == list(range(begins, begins + DAY_MS, 1000))
    assert [one.temp_f for one in found] == temperatures(DEMO_START)
    assert {one.sensor for one in found} == {None}


@pytest.mark.once
def test_several_sensors_take_turns_within_each_second():
    found = list(readings_of(DEMO_START, 3))
    assert found == sorted(found, key=lambda one: (one.at, one.sensor))
    assert len(found) == 3 * 86_400
    columns = [[one.temp_f for one in found if one.sensor == number] for number in (1, 2, 3)]
    assert columns == [temperatures(DEMO_START, number) for number in (1, 2, 3)]
    assert columns[0] != columns[1] != columns[2]


@pytest.mark.once
def test_a_moment_stands_for_its_day():
    moment = datetime(2099, 12, 31, 20, tzinfo=timezone(timedelta(hours=-8)))
    assert temperatures(moment) == temperatures(DEMO_START)
    assert next(readings_of(moment)) == next(readings_of(DEMO_START))


# ------------------------------------------------------------------ what there is


def write(redis, *readings):
    with PartitionProducer(redis) as producer:
        producer.add_many(readings)


def moment(day, hour=0):
    return datetime(2100, 1, day, hour, tzinfo=UTC)


def reading(day, hour=0):
    return Reading(start_of(date(2100, 1, day)) + 3_600_000 * hour, 70)


def test_partitions_are_listed_with_the_oldest_first_and_nothing_else(redis):
    assert partitions(redis) == []
    write(redis, reading(12), reading(2), reading(3))
    redis.xadd("temps:averages", {"hour": 1})
    redis.set("temps:20251345", "no date")
    redis.set("temps:210001011", "too long")
    assert partitions(redis) == ["temps:21000102", "temps:21000103", "temps:21000112"]


def test_a_partition_is_described(redis):
    write(redis, reading(1), reading(1, 1))
    found = inspect(redis, "temps:21000101")
    assert found[:2] == ("temps:21000101", 2)
    assert 0 <= redis.ttl("temps:21000101") <= found.ttl_s
    assert found.memory == redis.memory_usage("temps:21000101", samples=0) > 0
    assert inspect(redis, "temps:21000102") == Partition("temps:21000102", 0, -2, 0)
    redis.xadd("temps:21000103", {"temp_f": 70})
    assert inspect(redis, "temps:21000103").ttl_s == -1


def test_a_partition_of_another_type_is_told(redis):
    redis.set("temps:21000101", "no stream")
    with pytest.raises(StreamsError, match="'temps:21000101' is not a stream"):
        inspect(redis, "temps:21000101")


def test_the_clock_of_readings_shows_the_newest_one_and_runs_on(redis):
    clock = ReadingsClock(redis)
    before = utc_now()
    assert before <= clock() <= utc_now()  # there are no readings
    write(redis, reading(1, 9))
    assert moment(1, 9) <= clock() < moment(1, 10)
    write(redis, reading(1, 8))  # a late one does not turn it back
    redis.xadd("temps:21000105", {"temp_f": 70}, id="1-0")
    redis.xtrim("temps:21000105", maxlen=0)  # nor does an empty partition
    seen = [clock() for _ in range(3)]
    assert moment(1, 9) <= seen[0] < seen[1] < seen[2] < moment(1, 10)
    write(redis, reading(3, 1))
    assert clock() >= moment(3, 1)


def test_the_clock_goes_by_the_oldest_day_that_is_being_written(redis):
    clock = ReadingsClock(redis)
    write(redis, reading(1, 9))
    clock()
    write(redis, reading(1, 10), reading(2, 3))
    assert moment(1, 10) <= clock() < moment(1, 11)


def test_readings_can_be_dated_ahead_of_the_calendar(redis):
    assert not ahead_of_calendar(redis)
    with PartitionProducer(redis) as producer:
        producer.add(70)
        assert not ahead_of_calendar(redis)
        producer.add(70, at=utc_now() + timedelta(days=30))
    assert ahead_of_calendar(redis)
