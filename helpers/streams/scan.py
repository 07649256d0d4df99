"""Read a stream of any length in pages, each the size of one modest reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import redis
import redis.asyncio

from .entry import LAST, Entry, EntryId, entries
from .errors import ArgumentError, explain
from .size import Portion

Bound = str | EntryId | datetime
Range = tuple[str, str]


def scan(
    client: redis.Redis,
    stream: str,
    start: Bound = "-",
    end: Bound = "+",
    *,
    page: int = 1000,
    reverse: bool = False,
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

    Raises:
        WrongTypeError: the key holds no stream.
        ArgumentError: a bound is no ID, or a page is empty.
    """
    left: Range | None = bounds(start, end, page)
    portion = Portion()
    while left:
        (low, high), count = left, portion.of(page)
        try:
            if reverse:
                found = entries(client.xrevrange(stream, high, low, count=count))
            else:
                found = entries(client.xrange(stream, low, high, count=count))
        except redis.ResponseError as error:
            raise explain(error, stream) from error
        except redis.ConnectionError as error:
            if count == 1:
                raise
            portion.cut(error, count)
            continue
        portion.came()
        yield from found
        left = rest(left, found, count, reverse=reverse)


async def scan_async(
    client: redis.asyncio.Redis,
    stream: str,
    start: Bound = "-",
    end: Bound = "+",
    *,
    page: int = 1000,
    reverse: bool = False,
) -> AsyncIterator[Entry]:
    """The same for asyncio: `async for entry in scan_async(…)`."""
    left: Range | None = bounds(start, end, page)
    portion = Portion()
    while left:
        (low, high), count = left, portion.of(page)
        try:
            if reverse:
                found = entries(await client.xrevrange(stream, high, low, count=count))
            else:
                found = entries(await client.xrange(stream, low, high, count=count))
        except redis.ResponseError as error:
            raise explain(error, stream) from error
        except redis.ConnectionError as error:
            if count == 1:
                raise
            portion.cut(error, count)
            continue
        portion.came()
        for entry in found:
            yield entry
        left = rest(left, found, count, reverse=reverse)


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


def rest(left: Range, found: list[Entry], page: int, *, reverse: bool) -> Range | None:
    """What is left of a range after a page of it; None if that was all."""
    if len(found) < page:
        return None
    low, high = left
    last = found[-1].id
    if reverse:
        return low, f"({last}"
    return None if last == LAST else (f"({last}", high)  # Redis refuses `(` with the largest ID
