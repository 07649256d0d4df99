"""The demo's sensors: a temperature in °F each second, which wanders between 0 and 100.

A day's readings depend on the day and the sensor alone, so that everybody sees the same ones,
and any day can be made without those before it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from typing import NamedTuple

from helpers.partitions.days import day_of, start_of

SECONDS_A_DAY = 86_400
COLDEST, WARMEST = 0, 100

# So far ahead that a partition of this day expires in no year in which this course is taken.
DEMO_START = date(2100, 1, 1)


class Reading(NamedTuple):
    """What a sensor measured.

    Attributes:
        at: when, in milliseconds after 1970.
        temp_f: the temperature in °F, a number; whatever else a broken sensor says, as text.
        sensor: which one, where there are several.
    """

    at: int
    temp_f: int | float | str
    sensor: int | str | None = None


def readings_of(day: date, sensors: int = 1) -> Iterator[Reading]:
    """A day of readings in the order of their time: one a second and sensor."""
    begins = start_of(day)
    if sensors == 1:
        yield from map(Reading, count(begins, 1000), temperatures(day))
        return
    columns = zip(*(temperatures(day, number) for number in range(1, sensors + 1)), strict=True)
    for second, column in enumerate(columns):
        for number, temp_f in enumerate(column, 1):
            yield Reading(begins + 1000 * second, temp_f, number)


def temperatures(day: date, sensor: int = 1) -> list[int]:
    """The 86,400 temperatures of a day, in °F: each is one degree from the one before.

    At 0, at 100 and at midnight it may stay where it is. Before midnight it makes for the next
    day's first.
    """
    day = day_of(day)
    rng = random.Random(f"{sensor} {day}")
    value, target = _first(rng), _first(random.Random(f"{sensor} {day + timedelta(days=1)}"))
    steps = f"{rng.getrandbits(SECONDS_A_DAY):0{SECONDS_A_DAY}b}"
    found = []
    for left, step in zip(range(SECONDS_A_DAY, 0, -1), steps, strict=True):
        found.append(value)
        away = target - value
        if left <= WARMEST and abs(away) >= left - 1:
            value += 1 if away > 0 else -1
        elif step == "1":
            value += value < WARMEST
        else:
            value -= value > COLDEST
    return found


def _first(rng: random.Random) -> int:
    return rng.randint(COLDEST + 20, WARMEST - 20)
