"""The work of the aggregating consumer: where it stands, and what it does next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

from helpers.averages.hours import Hours, Mean, Number, Open, SetAside
from helpers.averages.names import AGGREGATING_STATE
from helpers.averages.state import unusable
from helpers.partitions.days import DAY_MS, PartitionError, partition_day, partition_key, start_of
from helpers.streams.clock import moment_of
from helpers.streams.entry import FIRST, EntryId
from helpers.streams.errors import EntryIdError

BEGINNING = str(FIRST)
_DIGITS = 18  # of a count; more is none that this program has written

# The first four are those of the course chapter that this grew from.
FIELDS = (
    "current_stream_key",
    "last_message_id",
    "current_hourly_total",
    "current_hourly_count",
    "current_hour",
    "next_hourly_total",
    "next_hourly_count",
    "closed_until",
    "stream_read",
    "stream_length",
    "previous_stream_key",
    "previous_message_id",
    "num_averages",
    "num_set_aside",
    "num_lost",
)

_HOURS = {f"{hour:02}" for hour in range(24)}

Page = list[tuple[str, dict[str, str]]]


@dataclass
class Counts:
    """What a consumer has done since its state was made.

    Attributes:
        averages: hours whose mean it has published.
        set_aside: readings that count for no hour, kept with the reason.
        lost: readings that expired before they were read, as far as it is known.
    """

    averages: int = 0
    set_aside: int = 0
    lost: int = 0


@dataclass
class Work:
    """Where an aggregating consumer stands, and what it has yet to publish.

    Attributes:
        day: the day whose partition it reads.
        last: the ID of the last entry that it has read there.
        hours: the sums so far.
        grace_ms: how long after its end an hour or a day stays open.
        read: how many entries it has read of this partition.
        length: how many the partition had when it looked last, by XLEN.
        previous: the partition before, and the last ID that it has read of that.
        counts: what it has done.
        means: the hours to be published.
        aside: the readings to be set aside, each with its partition.
    """

    day: date
    grace_ms: int
    last: str = BEGINNING
    hours: Hours = field(init=False)
    state: Open = field(default_factory=Open, repr=False)
    read: int = 0
    length: int = 0
    previous: tuple[str, str] = ("", BEGINNING)
    counts: Counts = field(default_factory=Counts)
    means: list[Mean] = field(default_factory=list)
    aside: list[tuple[str, SetAside]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hours = Hours(self.grace_ms, self.state)

    @property
    def key(self) -> str:
        """The partition that it reads."""
        return partition_key(self.day)

    @property
    def over_at(self) -> int:
        """When the day is over, with the grace period, in ms after 1970."""
        return start_of(self.day) + DAY_MS + self.grace_ms

    def take(self, page: Page) -> None:
        """Sort in a page of this partition."""
        begins = start_of(self.day)
        means, aside = self.hours.take(page, begins, begins + DAY_MS)
        self._note(means, self.key, aside)
        self.last = page[-1][0]
        self.read += len(page)

    def look_back(self, page: Page) -> None:
        """Set aside what came to the partition before after it was left."""
        key, _ = self.previous
        late = [
            SetAside(entry_id, fields.get("temp_f", ""), "it came late: its day was over")
            for entry_id, fields in page
        ]
        self._note([], key, late)
        if page:
            self.previous = key, page[-1][0]

    def drained(self, now: int) -> bool:
        """All that came before a moment is read: close what is over by then.

        Returns:
            Whether the day is over too, so that the next one is now to be read.
        """
        self._note(self.hours.close(now), self.key, [])
        if now < self.over_at:
            return False
        self.previous = self.key, self.last  # also if there was none: it may come late
        self.day += timedelta(days=1)
        self.last, self.read, self.length = BEGINNING, 0, 0
        return True

    def vanished(self) -> int:
        """The partition is gone before it was left. Says how many readings that has cost.

        At least so many: whoever was away cannot know what came, and went, meanwhile.
        """
        lost = max(0, self.length - self.read)
        self.counts.lost += lost
        self.read = self.length = 0
        return lost

    def wait_ms(self, now: int, longest: int) -> int:
        """How long to wait for readings: until something is over, or the longest time."""
        due = [self.over_at] + ([self.hours.next_close] if self.hours.next_close else [])
        return max(1, min(longest, min(due) - now))

    def fields(self) -> dict[str, str]:
        """As it is stored."""
        state = self.hours.state
        hour = "" if state.start is None else f"{moment_of(state.start):%Y-%m-%dT%H}"
        values = (
            self.key, self.last,
            state.totals[0], state.counts[0], hour, state.totals[1], state.counts[1], state.closed,
            self.read, self.length, *self.previous,
            self.counts.averages, self.counts.set_aside, self.counts.lost,
        )  # fmt: skip
        return dict(zip(FIELDS, map(str, values), strict=True))

    @classmethod
    def stored(cls, found: Mapping[str, str], grace_ms: int) -> Work:
        """The work that a stored state describes.

        Raises:
            StateError: it describes none.
        """
        read = _Fields(found)
        counts = read.count("current_hourly_count"), read.count("next_hourly_count")
        totals = read.number("current_hourly_total"), read.number("next_hourly_total")
        start = read.hour("current_hour")
        if (start is None) != (counts == (0, 0)):
            read.refuse("current_hour")
        return cls(
            day=read.day("current_stream_key"),
            grace_ms=grace_ms,
            last=read.id("last_message_id"),
            state=Open(start, totals, counts, read.count("closed_until")),
            read=read.count("stream_read"),
            length=read.count("stream_length"),
            previous=(read.key("previous_stream_key"), read.id("previous_message_id")),
            counts=Counts(*map(read.count, ("num_averages", "num_set_aside", "num_lost"))),
        )

    def _note(self, means: list[Mean], key: str, aside: list[SetAside]) -> None:
        self.means += means
        self.aside += [(key, one) for one in aside]
        self.counts.averages += len(means)
        self.counts.set_aside += len(aside)


class _Fields:
    """Reads the fields of a stored state; each must be what it should be."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._found = found

    def count(self, name: str) -> int:
        text = self._found[name]
        if not (text.isdecimal() and text.isascii() and len(text) <= _DIGITS):
            self.refuse(name)
        return int(text)

    def number(self, name: str) -> Number:
        text = self._found[name]
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or abs(number) >= 10**_DIGITS:
            self.refuse(name)
        return int(number) if text.removeprefix("-").isdecimal() else number

    def id(self, name: str) -> str:
        try:
            return str(EntryId.parse(self._found[name]))
        except EntryIdError:
            self.refuse(name)
            raise

    def key(self, name: str) -> str:
        return partition_key(self.day(name)) if self._found[name] else ""

    def day(self, name: str) -> date:
        try:
            return partition_day(self._found[name])
        except PartitionError:
            self.refuse(name)
            raise

    def hour(self, name: str) -> int | None:
        text = self._found[name]
        if not text:
            return None
        day, _, hour = text.partition("T")
        try:
            begins = start_of(date.fromisoformat(day))
        except ValueError:
            self.refuse(name)
            raise
        if hour not in _HOURS:
            self.refuse(name)
        return begins + int(hour) * 3_600_000

    def refuse(self, name: str) -> None:
        raise unusable(AGGREGATING_STATE, f"has {self._found[name]!r} in its field {name}")
