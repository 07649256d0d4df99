"""The clock as an argument: whoever asks what time it is calls one, and tests bring their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from .entry import EntryId

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


def ms_of(moment: datetime) -> int:
    """A moment in milliseconds since 1970, as an entry ID has it.

    Raises:
        EntryIdError: it has no time zone, or lies before 1970.
    """
    return EntryId.at(moment).ms


def moment_of(ms: int) -> datetime:
    """The moment that lies so many milliseconds after 1970, in UTC."""
    return EntryId(ms).time
