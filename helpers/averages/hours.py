"""The hourly mean: which hour a reading counts for, and when that hour is over. Pure.

An hour stays open for a grace period after its end, so that readings which come a little late
still count. What comes later is not counted, but said to be late: its hour is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

from helpers.course.errors import CourseError
from helpers.streams.clock import moment_of

HOUR_MS = 3_600_000
LATE = "it came late: its hour was over"

Number = int | Decimal
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_MOST = 1_000_000  # °F: hotter is nothing that a sensor measures
_LONGEST = 40  # characters of a number; beyond that it is no measurement
_DECIMALS = 15  # so that the sum of a day's readings stays exact: what is finer is noise


class Mean(NamedTuple):
    """The mean of an hour.

    Attributes:
        start: when the hour began, in ms after 1970.
        total: the sum of its temperatures, in °F.
        observations: of how many readings.
    """

    start: int
    total: Number
    observations: int

    def fields(self) -> dict[str, str]:
        """As an entry of the averages: date, hour, average_temp_f and num_observations."""
        began = moment_of(self.start)
        return {
            "date": f"{began:%Y/%m/%d}",
            "hour": str(began.hour),
            "average_temp_f": str(mean(self.total, self.observations)),
            "num_observations": str(self.observations),
        }


class SetAside(NamedTuple):
    """A reading that cannot be counted: the ID of its entry, its temperature, and why."""

    id: str
    temp_f: str
    reason: str


@dataclass(frozen=True)
class Open:
    """The hours that are open, of which there are at most two, one after the other.

    Attributes:
        start: when the first of them began, in ms after 1970; None if none is open.
        totals: the sum of each, in °F.
        counts: how many readings each has.
        closed: all hours that began before this moment are over.
    """

    start: int | None = None
    totals: tuple[Number, Number] = (0, 0)
    counts: tuple[int, int] = (0, 0)
    closed: int = 0


class Hours:
    """Sorts readings into hours, and closes those that are over."""

    def __init__(self, grace_ms: int, state: Open | None = None) -> None:
        """Begin, or go on from a state.

        Raises:
            CourseError: with so long a grace period, three hours could be open at once.
        """
        if not 0 <= grace_ms < HOUR_MS:
            raise CourseError("A grace period is at least 0 s, and shorter than an hour.")
        self._grace_ms = grace_ms
        state = state or Open()
        self._closed = state.closed
        self._open: dict[int, tuple[Number, int]] = {}
        if state.start is not None:
            starts = (state.start, state.start + HOUR_MS)
            for start, total, count in zip(starts, state.totals, state.counts, strict=True):
                if count:
                    self._open[start] = total, count

    @property
    def state(self) -> Open:
        """What has to be kept, so that another one can go on."""
        if not self._open:
            return Open(closed=self._closed)
        first = min(self._open)
        (one, n), (two, m) = (self._open.get(start, (0, 0)) for start in (first, first + HOUR_MS))
        return Open(first, (one, two), (n, m), self._closed)

    @property
    def next_close(self) -> int | None:
        """The moment at which the next hour is over, in ms; None if none is open."""
        return min(self._open) + HOUR_MS + self._grace_ms if self._open else None

    def take(
        self, page: Iterable[tuple[str, dict[str, str]]], begins: int, ends: int
    ) -> tuple[list[Mean], list[SetAside]]:
        """Sort the readings of a page in, in the order of their IDs.

        The ID says when a reading came, and also when it was taken, if there is no field `at`.

        Args:
            page: IDs and fields.
            begins, ends: the day that the readings must be of, in ms after 1970.

        Returns:
            The means of the hours that are over by the time of these IDs, and the readings
            that count for none.
        """
        means: list[Mean] = []
        aside: list[SetAside] = []
        start, end, close_at = 0, 0, self.next_close
        total: Number = 0
        count = 0
        for entry_id, fields in page:
            ms = int(entry_id.partition("-")[0])
            text = fields.get("temp_f")
            temp = temperature(text)
            at = ms if "at" not in fields else moment(fields["at"], ms)
            if temp is None or at is None or not begins <= at < ends:
                aside.append(SetAside(entry_id, text or "", _why(text, temp, at)))
                continue
            if close_at is not None and ms >= close_at:
                if count:
                    self._open[start] = total, count
                means += self.close(ms)
                end = count = 0
            if not start <= at < end:  # another hour than that of the reading before
                if count:
                    self._open[start] = total, count
                start = at - at % HOUR_MS
                end = start + HOUR_MS
                if start < self._closed or end + self._grace_ms <= ms:
                    aside.append(SetAside(entry_id, text or "", LATE))
                    end = count = 0
                    continue
                total, count = self._open.get(start, (0, 0))
                self._open[start] = total, count
                close_at = self.next_close
            total += temp
            count += 1
        if count:
            self._open[start] = total, count
        return means, aside

    def close(self, ms: int) -> list[Mean]:
        """The means of the open hours that are over, with their grace period, at a moment."""
        over = [start for start in sorted(self._open) if start + HOUR_MS + self._grace_ms <= ms]
        if over:
            self._closed = max(self._closed, over[-1] + HOUR_MS)
        return [Mean(start, *self._open.pop(start)) for start in over]


def mean(total: Number, count: int) -> Decimal:
    """A mean in °F, rounded to hundredths, half to even."""
    with localcontext(prec=50):
        return (Decimal(total) / count).quantize(Decimal("0.01"), ROUND_HALF_EVEN) + 0  # no -0.00


@lru_cache(4096)  # there are few, and each comes often
def temperature(text: str | None) -> Number | None:
    """The number that a temperature in °F is, to 15 decimals; None if it is none."""
    if text is None:
        return None
    if len(text) <= 6 and text.isdecimal() and text.isascii():
        return int(text)
    if len(text) > _LONGEST or not _PLAIN.fullmatch(text):
        return None
    number = Decimal(text)
    if abs(number) >= _MOST:
        return None
    coarse = round(number, _DECIMALS)
    return number if number == coarse else coarse


def moment(text: str, latest: int) -> int | None:
    """A reading's own time, in ms after 1970, which is not after it came; None if it is none."""
    number = int(text) if len(text) <= 20 and text.isdecimal() and text.isascii() else None
    return number if number is not None and number <= latest else None


def _why(text: str | None, temp: Number | None, at: int | None) -> str:
    if text is None:
        return "it has no field temp_f"
    if temp is None:
        return "its temp_f is no temperature"
    return "its field at is no moment before its ID" if at is None else "it is of another day"
