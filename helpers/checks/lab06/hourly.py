"""Readings of a check's own, and the hourly means that they have."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple, cast

from helpers.checks.scene import Scene
from helpers.checks.verdict import Wrong

FIRST_DAY = date(2100, 1, 1)
HOUR_MS = 3_600_000
CHENNAI = timezone(timedelta(hours=5, minutes=30))  # the local time of the learner's function
ROUNDING = 0.006  # averages are rounded to hundredths, in whichever way

Hour = tuple[str, int]  # such as ("2100/01/01", 7)


class Average(NamedTuple):
    """What is said of an hour."""

    hour: Hour
    mean: float
    readings: int


class Days:
    """Readings of some days, each with the ID that it would get."""

    def __init__(self, first: date = FIRST_DAY) -> None:
        self._first = first
        self.entries: list[tuple[str, dict[str, str]]] = []

    def at(self, day: int, clock: str) -> int:
        """A moment of a day, in ms after 1970; days count from 1."""
        return ms_at(day, clock, self._first)

    def add(self, day: int, *readings: str) -> None:
        """Add readings, such as `07:20:00 71`, or `08:00:02 83 at 07:59:57` if it came late."""
        for reading in readings:
            came, temp_f, *late = reading.split()
            fields = {"temp_f": temp_f}
            if late:
                fields["at"] = str(self.at(day, late[1]))
            self.entries.append((f"{self.at(day, came)}-0", fields))

    def again(self, day: int, clock: str, most: int) -> None:
        """Add readings in the millisecond of one that is there, with IDs up to `-most`."""
        ms = self.at(day, clock)
        self.entries += [(f"{ms}-{seq}", {"temp_f": "51"}) for seq in range(1, most + 1)]

    def ids(self, day: int) -> list[str]:
        """The IDs of a day's readings."""
        begins = self.at(day, "00:00:00")
        return [one for one, _ in self.entries if 0 <= _ms(one) - begins < 24 * HOUR_MS]

    def write(
        self, scene: Scene, name: str = "", begins: int = 0, ends: int | None = None
    ) -> list[str]:
        """Write each day to a stream of the check's own, and give the keys of all in order.

        Args:
            scene: the check's.
            name: stands before the partition in the key.
            begins, ends: write the readings that came in this time, in ms after 1970.
        """
        keys: dict[str, None] = {}
        pipeline = scene.redis.pipeline(transaction=False)
        for entry_id, fields in self.entries:
            ms = _ms(entry_id)
            day = datetime.fromtimestamp(ms / 1000, UTC)
            key = scene.key(f"{name}:temps:{day:%Y%m%d}" if name else f"temps:{day:%Y%m%d}")
            keys[key] = None
            if begins <= ms and (ends is None or ms < ends):
                pipeline.xadd(key, cast("Any", fields), id=entry_id)
        pipeline.execute()
        return list(keys)


def ms_at(day: int, clock: str, first: date = FIRST_DAY) -> int:
    """A moment of a day, in ms after 1970; days count from 1."""
    moment = datetime.fromisoformat(f"{first + timedelta(days=day - 1)}T{clock}+00:00")
    return int(moment.timestamp()) * 1000


def named(ms: int, zone: tzinfo = UTC) -> Hour:
    """The hour that a moment is in, as the averages name it."""
    moment = datetime.fromtimestamp(ms / 1000, zone)
    return f"{moment:%Y/%m/%d}", moment.hour


def truth(days: Days, now: int) -> list[Average]:
    """The means of the hours that are over."""
    hours: dict[Hour, list[int]] = {}
    for entry_id, fields in days.entries:
        taken = int(fields.get("at", _ms(entry_id)))
        if taken - taken % HOUR_MS + HOUR_MS <= now:
            hours.setdefault(named(taken), []).append(int(fields["temp_f"]))
    return [
        Average(hour, sum(temps) / len(temps), len(temps)) for hour, temps in sorted(hours.items())
    ]


def same(got: list[Average], right: list[Average]) -> bool:
    """Whether these are the right averages, in this order, however they are rounded."""
    return [(one.hour, one.readings) for one in got] == [
        (one.hour, one.readings) for one in right
    ] and (
        all(abs(one.mean - other.mean) <= ROUNDING for one, other in zip(got, right, strict=True))
    )


def published(entries: Iterable[tuple[str, Any]]) -> list[Average]:
    """The averages that a stream holds.

    Raises:
        Wrong: one has other fields.
    """
    found = []
    for _, fields in entries:
        try:
            hour = str(fields["date"]), int(fields["hour"])
            mean, count = float(fields["average_temp_f"]), int(fields["num_observations"])
        except (KeyError, ValueError):
            raise Wrong(
                "An average has the fields `date`, `hour`, `average_temp_f` and "
                "`num_observations`.",
                expected="{'date': '2100/01/01', 'hour': '7', 'average_temp_f': '70.67', …}",
                instead=fields,
            ) from None
        found.append(Average(hour, mean, count))
    return found


def _ms(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
