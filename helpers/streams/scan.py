"""Read a stream of any length in pages, each the size of one modest reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any

import redis
import redis.asyncio

from .entry import LAST, Entry, EntryId
from .errors import ArgumentError, explain
from .size import Portion
from .steps import Steps, drive, drive_async
from .text import Errors, asking, decoded, text_of, undecoded

Bound = str | EntryId | datetime
Range = tuple[str, str]


class Pages:
    """The pages of a range."""

    def __init__(
        self, client: Any, stream: str, left: Range, page: int, reverse: bool, errors: Errors
    ) -> None:
        self.left: Range | None = left
        self._client, self._asks = client, asking(client, errors)
        self._stream, self._page, self._reverse, self._errors = stream, page, reverse, errors
        self._portion = Portion()

    def next(self) -> Steps[Iterable[Entry]]:
        """The entries of the next page; none if it has to be asked for in another way."""
        assert self.left
        (low, high), count = self.left, self._portion.of(self._page)
        try:
            if self._reverse:
                found = yield lambda: self._asks.xrevrange(self._stream, high, low, count=count)
            else:
                found = yield lambda: self._asks.xrange(self._stream, low, high, count=count)
        except UnicodeDecodeError:
            self._asks = undecoded(self._client)
            return ()
        except redis.ResponseError as error:
            raise explain(error, self._stream) from error
        except redis.ConnectionError as error:
            if count == 1:
                raise
            self._portion.cut(error, count)
            return ()
        self._portion.came()
        full = len(found) >= count
        self.left = rest(self.left, text_of(found[-1][0]), reverse=self._reverse) if full else None
        return decoded(found, self._stream, self._errors)


def scan(
    client: redis.Redis,
    stream: str,
    start: Bound = "-",
    end: Bound = "+",
    *,
    page: int = 1000,
    reverse: bool = False,
    errors: Errors = "strict",
) -> Iterator[Entry]:
    """The entries from `start` to `end`, both included, by XRANGE with COUNT.

    Each page begins after the last ID of the one before, with the exclusive bound `(ID`.
    Entries that are added meanwhile are seen if they are inside the range. Where the connection
    is lost it asks for half as many, since the reply may have been too large.

    Args:
        client: a client from `connect()`.
        stream: the stream's key; one that does not exist has no entries.
        start, end: an ID, `-` or `+`, `(ID` to leave out the ID itself, or a moment.
        page: entries a reply; 1,000 weather readings are some 100 kB.
        reverse: newest first, by XREVRANGE. `start` is still the lower bound.
        errors: what to do with bytes that are no UTF-8: see `text`.

    Raises:
        NotTextError: an entry is no text; those before it came first.
        WrongTypeError: the key holds no stream.
        ArgumentError: a bound is no ID, or a page is empty.
    """
    pages = Pages(client, stream, bounds(start, end, page), page, reverse, errors)
    while pages.left:
        yield from drive(client, pages.next())


async def scan_async(
    client: redis.asyncio.Redis,
    stream: str,
    start: Bound = "-",
    end: Bound = "+",
    *,
    page: int = 1000,
    reverse: bool = False,
    errors: Errors = "strict",
) -> AsyncIterator[Entry]:
    """The same for asyncio: `async for entry in scan_async(…)`."""
    pages = Pages(client, stream, bounds(start, end, page), page, reverse, errors)
    while pages.left:
        for entry in await drive_async(client, pages.next()):
            yield entry


def bounds(start: Bound, end: Bound, page: int) -> Range:
    """The two bounds as XRANGE takes them.

    A moment is a whole millisecond: as `end`, the bare milliseconds mean its last ID.

    Raises:
        ArgumentError: a page would hold no entries.
        EntryIdError: a moment is no instant that an ID can name.
    """
    if page < 1:
        raise ArgumentError("A page must hold at least one entry.")
    low = str(EntryId.at(start)) if isinstance(start, datetime) else str(start)
    high = str(EntryId.at(end).ms) if isinstance(end, datetime) else str(end)
    return low, high


def rest(left: Range, last: str | EntryId, *, reverse: bool = False) -> Range | None:
    """What is left of a range after a full page, which ended at `last`; None if that was all."""
    low, high = left
    if reverse:
        return low, f"({last}"
    if str(last) == str(LAST):
        return None  # Redis refuses `(` with the largest ID
    return f"({last}", high
