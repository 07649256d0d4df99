"""Entry IDs and entries: the two values that everything else on a stream is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from .errors import EntryIdError

_LIMIT = 2**64  # Redis keeps both halves of an ID as unsigned 64-bit integers
_FORM = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")  # 64 bits are 20 digits at most
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EntryId(NamedTuple):
    """The ID of an entry: milliseconds, then a sequence number within that millisecond.

    IDs compare as pairs of numbers, as Redis compares them. As text they would not:
    `"9-0" > "10-0"`.

        >>> EntryId.parse("9-0") < EntryId.parse("10-0")
        True
    """

    ms: int
    seq: int = 0

    @classmethod
    def parse(cls, text: str | EntryId) -> EntryId:
        """Read `"1526919030474-55"`, or `"1526919030474"` for sequence number 0.

        Raises:
            EntryIdError: the text is not an ID that an entry can have.
        """
        if isinstance(text, EntryId):
            return text
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise EntryIdError(f"{text!r} is not an entry ID: write it like '1526919030474-0'.")
        entry_id = cls(int(match[1]), int(match[2] or 0))
        if max(entry_id) >= _LIMIT:
            raise EntryIdError(f"{text!r} is not an entry ID: each half must fit in 64 bits.")
        return entry_id

    @classmethod
    def at(cls, moment: datetime) -> EntryId:
        """The first ID of a moment's millisecond: the start of a time range for XRANGE.

        Raises:
            EntryIdError: the moment has no time zone, so it names no instant.
        """
        if moment.tzinfo is None:
            raise EntryIdError(f"{moment!r} has no time zone: give it one, for example UTC.")
        since = moment - _EPOCH
        if since.days < 0:
            raise EntryIdError(f"{moment} is before 1970: an entry ID cannot be negative.")
        return cls(since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000)

    @property
    def time(self) -> datetime:
        """When the entry was added, in UTC, if its ID was given by the server's clock.

        Raises:
            EntryIdError: the ID is no moment: it lies beyond the year 9999.
        """
        try:
            return _EPOCH + timedelta(milliseconds=self.ms)
        except OverflowError as error:
            raise EntryIdError(f"{self} isn't a valid time: it's beyond the year 9999.") from error

    def next(self) -> EntryId:
        """The smallest ID above this one."""
        if self == LAST:
            raise EntryIdError(f"{self} is the largest ID there is: nothing comes after it.")
        return EntryId(self.ms + 1, 0) if self.seq == _LIMIT - 1 else EntryId(self.ms, self.seq + 1)

    def before(self) -> EntryId:
        """The largest ID below this one; 0-0 has none, and stays."""
        if self.seq:
            return EntryId(self.ms, self.seq - 1)
        return EntryId(self.ms - 1, _LIMIT - 1) if self.ms else self

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


FIRST = EntryId(0, 0)  # before every entry: XREAD from here reads a stream from its start
LAST = EntryId(_LIMIT - 1, _LIMIT - 1)  # no entry comes after it


class Entry:
    """One entry of a stream: its ID, and its fields in the order in which they were added.

    It is a pair: it unpacks into these two. An ID that a server said is parsed when it is asked
    for, since for thousands of entries that takes longer than all else, and not every reader asks.
    """

    __slots__ = ("_id", "fields")
    __match_args__ = ("id", "fields")

    def __init__(self, id: EntryId, fields: dict[str, str]) -> None:
        self._id: Any = id
        self.fields = fields

    @property
    def id(self) -> EntryId:
        """Its ID."""
        if type(self._id) is not EntryId:
            self._id = _said(self._id)
        return self._id

    @property
    def deleted(self) -> bool:
        """True for a pending entry whose data is gone: Redis replies with its ID alone."""
        return not self.fields

    def __iter__(self) -> Iterator[Any]:
        return iter((self.id, self.fields))

    def __getitem__(self, at: int) -> Any:
        return (*self,)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry | tuple) and (*self,) == (*other,)

    def __repr__(self) -> str:
        return f"Entry(id={self.id!r}, fields={self.fields!r})"


def entry_of(entry_id: Any, parts: list[str]) -> Entry:
    """An entry as a script replies it: its fields and values in turn."""
    return Entry(entry_id, dict(zip(parts[::2], parts[1::2], strict=True)))


def entries(reply: Any) -> list[Entry]:
    """The entries in a reply of XRANGE, or in one stream's part of XREAD's reply."""
    return [
        Entry(entry_id, fields if type(fields) is dict else dict(fields or {}))
        for entry_id, fields in reply
    ]


def pairs(reply: Any) -> Iterable[tuple[str, Any]]:
    """Streams and their entries in a reply of XREAD, whatever settings the client has."""
    if isinstance(reply, Mapping):
        return [(s, part[0] if part and isinstance(part[0], list) else part)
                for s, part in reply.items()]  # fmt: skip
    return [(stream, part) for stream, part in reply or ()]


def _said(text: str) -> EntryId:
    """The ID that a server said: it needs no proof, nor the NamedTuple's check of arguments."""
    ms, seq = text.split("-")
    return tuple.__new__(EntryId, (int(ms), int(seq)))
