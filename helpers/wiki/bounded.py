"""A bound on the length of an event, so that none fills the memory, however long it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx


class Bounded(httpx.AsyncByteStream):
    """The bytes of a feed, of which each event is cut off at a length.

    What was cut off is no JSON any more, so who reads it skips it, and goes on behind it.
    """

    def __init__(self, stream: Any, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self.cut_off = 0  # lines
        self._length = 0  # of the event so far
        self._in_line = False  # whether the last byte ended no line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            if self._length + len(chunk) <= self._longest:
                self._follow(chunk)
                yield chunk
            else:
                yield b"".join(map(self._cut, chunk.splitlines(keepends=True)))

    def _follow(self, chunk: bytes) -> None:
        """Note where the last event in a chunk began; nothing in it has to be cut."""
        ends = max(chunk.rfind(b"\n\n"), chunk.rfind(b"\n\r\n"), chunk.rfind(b"\r\r"))
        self._length = len(chunk) - ends if ends >= 0 else self._length + len(chunk)
        self._in_line = not chunk.endswith((b"\n", b"\r"))

    def _cut(self, line: bytes) -> bytes:
        """A line, or a part of one, as far as there is room for it in its event."""
        began, self._in_line = self._in_line, not line.endswith((b"\n", b"\r"))
        if not began and line in (b"\n", b"\r\n", b"\r"):
            self._length = 0  # an empty line ends the event
            return line
        room = max(0, self._longest - self._length)
        self._length += len(line)
        if len(line) <= room:
            return line
        self.cut_off += 1
        return line[:room] + (b"" if self._in_line or not (room or began) else b"\n")

    async def aclose(self) -> None:
        """Close what is below."""
        await self._stream.aclose()
