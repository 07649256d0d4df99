"""Replies that are too large: a server closes the connection that it cannot send one on.

It does so above its client-output-buffer-limit, and says nothing. So whoever is cut off asks for
fewer entries, down to one; then for the size of that one, which a script finds without sending it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from .entry import EntryId
from .errors import StreamsError
from .states import unreachable

CUTS = 3  # so often cut off at one entry, while the server answers in between: it cannot be sent
MUST_FIT = 16_384  # bytes: what is shorter goes through a buffer that every client has

SIZE = """
-- KEYS: streams. ARGV: for each where to begin.
-- Replies with, for each, the ID of its first entry from there on, or '', and its size in bytes.
local found = {}
for number, stream in ipairs(KEYS) do
  local entry = redis.call('XRANGE', stream, ARGV[number], '+', 'COUNT', 1)[1]
  local bytes = 0
  for _, word in ipairs(entry and entry[2] or {}) do bytes = bytes + #word end
  found[number] = {entry and entry[1] or '', bytes}
end
return found
"""


class Portion:
    """How much a reader asks for at a time: less after each reply that did not come.

    First fewer entries of each stream, down to one; then one stream alone. An entry that is cut
    off even so, again and again while the server answers in between, is too large.
    """

    def __init__(self) -> None:
        self.only = ""  # the one stream to ask for; '' for all
        self._most = 0  # entries of each stream; 0: any number
        self._single = False  # single entries do not come
        self._answered = False  # the server did answer just before
        self._cuts = 0

    def of(self, count: int) -> int:
        """How many entries of each stream to ask for."""
        return min(count, self._most) if self._most else count

    def came(self) -> None:
        """A reply came."""
        self._most *= 2
        self.only, self._single, self._answered, self._cuts = "", False, False, 0

    def cut(self, error: BaseException, count: int) -> None:
        """A reply of so many entries of each stream did not come."""
        self._most = max(1, count // 2)
        if count == 1 and cut_off(error):
            self._single = True
            self._cuts += self._answered
        self._answered = False

    def look(self, starts: Mapping[str, str]) -> dict[str, Any] | None:
        """The call that asks for the sizes of the next entries, if it is time for it."""
        if not self._single:
            return None
        return {"keys": list(starts), "args": [f"({last}" for last in starts.values()]}

    def looked(self, streams: Mapping[str, str], sizes: list[list[Any]]) -> None:
        """Decide what the sizes mean.

        Raises:
            StreamsError: the next entry can never be sent.
        """
        self._answered = True
        found = zip(streams, sizes, strict=True)
        there = sorted((EntryId.parse(one), stream, size) for stream, (one, size) in found if one)
        if self._cuts < CUTS or not there:
            return
        entry_id, stream, size = there[0]
        if len(there) == 1 and size > MUST_FIT:
            raise StreamsError(too_large(stream, entry_id, size), stream=stream)
        self.only, self._cuts = stream, 0


def cut_off(error: BaseException) -> bool:
    """Whether the connection was closed before the reply came, perhaps because of the reply."""
    return unreachable(error) and not isinstance(error, redis.TimeoutError)


def refuses(error: BaseException) -> bool:
    """Whether the server closed the connection, perhaps because of what it was sent."""
    return cut_off(error) or "Protocol error" in str(error)


def too_large(stream: str, entry_id: str | EntryId, size: int) -> str:
    """Why an entry cannot be delivered, and what to do."""
    return (
        f"The entry {entry_id} of {stream!r} holds {size:,} bytes, and the server closes each "
        "connection on which it begins to send them: raise its client-output-buffer-limit, by "
        f"CONFIG SET client-output-buffer-limit 'normal 0 0 0', or XDEL {stream} {entry_id}."
    )
