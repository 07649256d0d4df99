"""The weather is the same for everybody, and is weather."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from helpers.course.errors import CourseError
from helpers.course.weather import CITIES, DAY, SECONDS_A_DAY, measurements, readings
from helpers.streams.entry import EntryId
from helpers.streams.errors import EntryIdError

pytestmark = pytest.mark.once


def test_the_first_readings_of_chennai_are_these():
    told = "".join(f"{entry.id} {entry.fields}\n" for entry in readings("chennai", 1000))
    assert (
        hashlib.sha256(told.encode()).hexdigest()
        == "6ecfe4446877698414d19d5e35d92ab4134cbea0d192ac197c8bf83fa1717aef"
    )


def test_every_city_has_weather_of_its_own():
    days = [tuple(entry.fields["temperature"] for entry in readings(city)) for city in CITIES]
    assert len(set(days)) == len(CITIES)
    assert {len(day) for day in days} == {SECONDS_A_DAY}


@pytest.mark.parametrize("city", CITIES)
def test_a_day_stays_within_its_climate(city):
    climate = CITIES[city]
    day = list(readings(city))
    temperatures = [int(entry.fields["temperature"]) for entry in day]
    humidities = [int(entry.fields["humidity"]) for entry in day]
    assert abs(sum(temperatures) / len(day) - climate.temperature) < 1
    assert max(abs(t - climate.temperature) for t in temperatures) < climate.swing + 5
    assert 0 < min(humidities) <= max(humidities) <= 100
    assert min(temperatures[10_000:12_000]) < max(temperatures[53_000:55_000])  # night and noon


def test_an_id_is_the_moment_of_its_reading():
    day = list(readings("ooty"))
    assert day[0].id == EntryId.at(DAY)
    assert day[-1].id.time == DAY + timedelta(days=1, seconds=-1)
    later = datetime(2025, 1, 1, 12, tzinfo=UTC)
    assert [entry.id.time for entry in readings("ooty", 3, later, step_s=60)] == [
        later + timedelta(minutes=minute) for minute in range(3)
    ]


def test_measurements_have_no_end_and_no_ids():
    found = list(islice(measurements("madurai"), SECONDS_A_DAY + 10))
    assert [entry.fields for entry in readings("madurai", 10)] == found[:10]
    assert set(found[-1]) == {"temperature", "humidity"}


def test_what_has_no_weather_says_so():
    with pytest.raises(CourseError, match="no weather for 'atlantis': choose one of chennai, "):
        measurements("atlantis")
    with pytest.raises(CourseError, match="atlantis"):
        list(readings("atlantis"))
    with pytest.raises(EntryIdError, match="time zone"):
        list(readings("ooty", start=datetime(2018, 8, 15)))
