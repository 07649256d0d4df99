"""Read a stream of any length in pages, each the size of one modest reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import redis
import redis.asyncio

from .entry import LAST, Entry, EntryId
from .errors import ArgumentError, explain
from .size import Portion
from .slots import AsyncClient, SyncClient, client_for
from .text import Errors, asking, decoded, text_of, undecoded

Bound = str | EntryId | datetime
Range = tuple[str, str]


def scan(
    client: SyncClient,
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

        >>> ids = [redis.xadd("chennai", {"reading": n}) for n in range(5)]
        >>> [entry.fields["reading"] for entry in scan(redis, "chennai", f"({ids[0]}", page=2)]
        ['1', '2', '3', '4']

    Args:
        client: a client from `connect()`.
        stream: the stream's key; one that does not exist has no entries.
        start, end: an ID, `-` or `+`, `(ID` to leave out the ID itself, or a moment.
        page: entries a reply; 1,000 weather readings are some 100 kB.
        reverse: newest first, by XREVRANGE. `start` is still the lower bound.
        errors: what to do with bytes that are no UTF-8: see `text`.

    Raises:
        NotTextError: an entry is no text; those before it came first.
        WrongTypeError: the key is not a stream.
        ArgumentError: a bound is no ID, or a page is empty.
    """
    left: Range | None = bounds(start, end, page)
    client = client_for(client, [stream])
    ask, portion = asking(client, errors), Portion()
    while left:
        (low, high), count = left, portion.of(page)
        try:
            if reverse:
                found = ask.xrevrange(stream, high, low, count=count)
            else:
                found = ask.xrange(stream, low, high, count=count)
        except UnicodeDecodeError:
            ask = undecoded(client)
        except redis.ResponseError as error:
            raise explain(error, stream) from error
        except redis.ConnectionError as error:
            if count == 1:
                raise
            portion.cut(error, count)
        else:
            portion.came()
            yield from decoded(found, stream, errors)
            left = rest(left, found, count, reverse=reverse)


async def scan_async(
    client: AsyncClient,
    stream: str,
    start: Bound = "-",
    end: Bound = "+",
    *,
    page: int = 1000,
    reverse: bool = False,
    errors: Errors = "strict",
) -> AsyncIterator[Entry]:
    """The same for asyncio: `async for entry in scan_async(…)`."""
    left: Range | None = bounds(start, end, page)
    client = client_for(client, [stream])
    ask, portion = asking(client, errors), Portion()
    while left:
        (low, high), count = left, portion.of(page)
        try:
            if reverse:
                found = await ask.xrevrange(stream, high, low, count=count)
            else:
                found = await ask.xrange(stream, low, high, count=count)
        except UnicodeDecodeError:
            ask = undecoded(client)
        except redis.ResponseError as error:
            raise explain(error, stream) from error
        except redis.ConnectionError as error:
            if count == 1:
                raise
            portion.cut(error, count)
        else:
            portion.came()
            for entry in decoded(found, stream, errors):
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


def rest(left: Range, found: Any, page: int, *, reverse: bool) -> Range | None:
    """What is left of a range after a page of it, a reply of XRANGE; None if that was all."""
    if len(found) < page:
        return None
    low, high = left
    last = text_of(found[-1][0])
    if reverse:
        return low, f"({last}"
    if last == str(LAST):
        return None  # Redis refuses `(` with the largest ID
    return f"({last}", high
