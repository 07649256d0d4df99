"""Which partition a moment belongs to, and when that partition expires. All in UTC.

A partition is the stream of one day, such as `temps:20250101`. It expires two days after its
newest reading.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from helpers.course.keys import PARTITION
from helpers.streams.clock import ms_of
from helpers.streams.errors import StreamsError

PREFIX = PARTITION
DAY_MS = 86_400_000
RETENTION_S = 2 * 86_400  # from the newest reading of a partition to the end of its key

_KEY = re.compile(rf"{PREFIX}:([0-9]{{4}})([0-9]{{2}})([0-9]{{2}})")
_FIRST_DAY = date(1970, 1, 1).toordinal()


class PartitionError(StreamsError, ValueError):
    """A partition that has no such name, or that would be gone as soon as it is written."""


def partition_key(day: date) -> str:
    """The key of a day's partition; of a moment, that of its day in UTC.

    >>> partition_key(date(2025, 1, 1))
    'temps:20250101'

    Raises:
        EntryIdError: a moment without a time zone, or before 1970.
        PartitionError: a moment that is beyond the year 9999 in UTC.
    """
    day = day_of(day)
    return f"{PREFIX}:{day:%Y%m%d}" if day.year >= 1000 else f"{PREFIX}:{day.year:04}{day:%m%d}"


def partition_day(key: str) -> date:
    """The day of a partition.

    Raises:
        PartitionError: the key is not `temps:` and a date.
    """
    match = _KEY.fullmatch(key) if isinstance(key, str) else None
    try:
        day = date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None or day.year < 1970:
        raise PartitionError(
            f"{key!r} isn't a partition: write {PREFIX}: and a date, such as {PREFIX}:21000101."
        )
    return day


def day_of(day: date) -> date:
    """The day in UTC of a moment; a day is its own.

    Raises:
        EntryIdError, PartitionError: as for `partition_key`.
    """
    if isinstance(day, datetime):  # a datetime is a date too, in the zone that it was given
        return day_of_ms(ms_of(day))
    return day


def day_of_ms(ms: int) -> date:
    """The day, in UTC, of so many milliseconds after 1970.

    Raises:
        PartitionError: it is beyond the year 9999.
    """
    try:
        return date.fromordinal(_FIRST_DAY + ms // DAY_MS)
    except (ValueError, OverflowError) as error:
        raise PartitionError(f"{ms} ms after 1970 is no day of a calendar.") from error


def start_of(day: date) -> int:
    """When a day begins, in milliseconds after 1970; it ends `DAY_MS` later."""
    return (day_of(day).toordinal() - _FIRST_DAY) * DAY_MS
