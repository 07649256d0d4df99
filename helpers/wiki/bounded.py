"""A bound on the length of an event, so that none fills the memory, however long it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

CUT_OFF = "cut-off"  # the type that an event gets of which the rest was left out

# An event ends with an empty line, and a line ends with LF, CR, or CR LF.
_ENDS = re.compile(rb"\n(?=[\r\n])|\r(?=\r)")


class Bounded(httpx.AsyncByteStream):
    """The bytes of a feed, of which each event is cut off at a length.

    An event that was cut off ends there, and its type says so. What follows it is whole again.
    """

    def __init__(self, stream: Any, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self._length = 0  # of the event so far
        self._last = b""  # byte

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            if bounded := self.bound(chunk):
                yield bounded

    def bound(self, chunk: bytes) -> bytes:
        """The next bytes of the feed, as far as there is room for them in their events."""
        if self._length + len(chunk) > self._longest:
            return b"".join(self._cut(part) for part in self._parts(chunk))
        joined = self._last + chunk
        end = max(joined.rfind(b"\n\n"), joined.rfind(b"\n\r"), joined.rfind(b"\r\r"))
        self._length = self._length + len(chunk) if end < 0 else len(joined) - end - 2
        self._last = chunk[-1:] or self._last
        return chunk

    def _parts(self, chunk: bytes) -> Iterator[bytes]:
        """A chunk, divided behind each end of an event."""
        joined, start = self._last + chunk, len(self._last)
        for found in _ENDS.finditer(joined):
            yield joined[start : found.end() + 1]
            start = found.end() + 1
        yield joined[start:]

    def _cut(self, part: bytes) -> bytes:
        room = max(0, self._longest - self._length)
        ends = _ENDS.search(self._last + part) is not None
        self._length = 0 if ends else self._length + len(part)
        self._last = part[-1:] or self._last
        if len(part) <= room:
            return part
        return part[:room] + (f"\nevent: {CUT_OFF}\n\n".encode() if ends else b"")

    async def aclose(self) -> None:
        """Close what is below."""
        await self._stream.aclose()
