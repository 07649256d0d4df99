"""Read a stream of any length in pages, each the size of one modest reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import redis
import redis.asyncio

from helpers.entry import Entry, EntryId, entries

Bound = str | EntryId | datetime


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
    Entries that are added meanwhile are seen if they are inside the range.

    Args:
        client: a client from `connect()`.
        stream: the stream's key; one that does not exist has no entries.
        start, end: an ID, `-` or `+`, `(ID` to leave out the ID itself, or a moment.
        page: entries a reply; 1,000 weather readings are some 100 kB.
        reverse: newest first, by XREVRANGE. `start` is still the lower bound.
    """
    low, high = bounds(start, end)
    while True:
        if reverse:
            found = entries(client.xrevrange(stream, high, low, count=page))
        else:
            found = entries(client.xrange(stream, low, high, count=page))
        yield from found
        if len(found) < page:
            return
        low, high = _next_bounds(found[-1].id, low, high, reverse=reverse)


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
    low, high = bounds(start, end)
    while True:
        if reverse:
            found = entries(await client.xrevrange(stream, high, low, count=page))
        else:
            found = entries(await client.xrange(stream, low, high, count=page))
        for entry in found:
            yield entry
        if len(found) < page:
            return
        low, high = _next_bounds(found[-1].id, low, high, reverse=reverse)


def bounds(start: Bound, end: Bound) -> tuple[str, str]:
    """The two bounds as XRANGE takes them.

    A moment is a whole millisecond: as `end`, the bare milliseconds mean its last ID.
    """
    low = str(EntryId.at(start)) if isinstance(start, datetime) else str(start)
    high = str(EntryId.at(end).ms) if isinstance(end, datetime) else str(end)
    return low, high


def _next_bounds(last: EntryId, low: str, high: str, *, reverse: bool) -> tuple[str, str]:
    return (low, f"({last}") if reverse else (f"({last}", high)
