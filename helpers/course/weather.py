"""The weather network that makes the course's data: the same readings for everybody.

Each city has a temperature in whole °C and a relative humidity in whole %, read once a
second. They follow the hour of the day and wander a little, from a seed that is the city's
own name, so that every learner sees the same day.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from helpers.course.errors import CourseError
from helpers.streams.entry import Entry, EntryId

DAY = datetime(2018, 8, 15, tzinfo=UTC)  # the day of the article that the course grew from
SECONDS_A_DAY = 86_400


class Climate(NamedTuple):
    """Daily means and swings: °C and %."""

    temperature: float
    swing: float
    humidity: float


CITIES = {
    "chennai": Climate(30.0, 4.0, 68.0),
    "coimbatore": Climate(26.0, 5.0, 72.0),
    "madurai": Climate(31.0, 5.0, 60.0),
    "ooty": Climate(15.0, 4.0, 88.0),
}


def readings(
    city: str, count: int = SECONDS_A_DAY, start: datetime = DAY, *, step_s: int = 1
) -> Iterator[Entry]:
    """Readings as entries: the ID is the moment of the reading, in milliseconds.

    Args:
        city: one of `CITIES`.
        count: how many; by default a day of them.
        start: the moment of the first.
        step_s: seconds from one to the next.
    """
    first = EntryId.at(start).ms
    for number, fields in enumerate(islice(measurements(city, start, step_s=step_s), count)):
        yield Entry(EntryId(first + number * step_s * 1000), fields)


def measurements(city: str, start: datetime = DAY, *, step_s: int = 1) -> Iterator[dict[str, str]]:
    """What the sensors of a city measure from a moment on, without end.

    Raises:
        CourseError: there is no such city.
    """
    climate = CITIES.get(city)
    if climate is None:
        raise CourseError(f"There is no weather for {city!r}: choose one of {', '.join(CITIES)}.")
    return _measure(climate, random.Random(city), start, timedelta(seconds=step_s))


def _measure(
    climate: Climate, rng: random.Random, start: datetime, step: timedelta
) -> Iterator[dict[str, str]]:
    wander = 0.0
    second = (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    while True:
        hour = second / 3600 % 24
        sun = math.sin((hour - 9) / 24 * math.tau)  # coldest at 3, warmest at 15 o'clock
        wander = 0.999 * wander + 0.1 * (rng.random() - 0.5)
        temperature = climate.temperature + climate.swing * sun + wander
        humidity = climate.humidity - 2.5 * climate.swing * sun - 3 * wander
        yield {
            "temperature": str(round(temperature)),
            "humidity": str(min(100, round(humidity))),
        }
        second += step.total_seconds()
