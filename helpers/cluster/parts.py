"""Which part of a stream an entry goes to, and what the keys of a part are called.

A stream `weather` in 12 parts is the streams `weather:{0}` to `weather:{11}`. The hash tag spreads
them over the slots, and so over the nodes; what belongs to a part has its tag, and lies beside it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import redis

from helpers.streams.errors import ArgumentError, explain
from helpers.streams.keys import PARTS, expect_name, sibling_key
from helpers.streams.slots import SyncClient, client_for
from helpers.streams.values import word

MOST = 4096  # more parts than that are more connections than anybody wants

AGREE = """
-- KEYS: how many parts a stream has. ARGV: how many the caller wants, or '' to ask.
-- Replies with how many it has, or with '' if that is not known yet.
local count = redis.call('GET', KEYS[1])
if not count and ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1])
  count = ARGV[1]
end
return count or ''
"""


def part_of(key: Any, parts: int) -> int:
    """The part of a key: the CRC-32 of its UTF-8, modulo the number of parts.

    It is the same in every process and in every language, so that others can produce too.

    >>> part_of("chennai", 12)
    0
    """
    text = word(key)
    return zlib.crc32(text if isinstance(text, bytes) else text.encode()) % parts


@dataclass(frozen=True)
class Parts:
    """A stream in parts.

    Attributes:
        name: of the whole.
        count: how many parts it has.
    """

    name: str
    count: int

    def __post_init__(self) -> None:
        expect_name("stream", self.name)
        if "{" in self.name or "}" in self.name:
            raise ArgumentError(
                f"The name of a stream in parts has no braces, as {self.name!r} has: each part "
                "gets a hash tag of its own."
            )
        count = self.count
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
            raise ArgumentError(f"A stream has 1 to {MOST:,} parts, not {count!r}.")

    def stream(self, part: int) -> str:
        """The key of a part.

        >>> Parts("weather", 12).stream(3)
        'weather:{3}'
        """
        return f"{self.name}:{{{part}}}"

    @property
    def streams(self) -> list[str]:
        """The keys of all parts."""
        return [self.stream(part) for part in range(self.count)]

    def of(self, key: Any) -> str:
        """The key of the part that entries with this key go to."""
        return self.stream(part_of(key, self.count))

    @classmethod
    def agreed(cls, client: SyncClient, name: str, count: int | None = None) -> Parts:
        """The stream with as many parts as all agree on; the first to say how many decides.

        With another number, a key's entries would lie in two parts, and come in any order.

        Raises:
            ArgumentError: it has another number of parts, or none yet.
        """
        wanted = cls(name, 1 if count is None else count)
        key = sibling_key(wanted.name, PARTS)
        node = client_for(client, [key])
        try:
            found = node.register_script(AGREE)([key], ["" if count is None else count])
        except redis.ResponseError as error:
            raise explain(error, key) from error
        if not found:
            raise ArgumentError(f"{name!r} has no number of parts yet: pass one, such as parts=12.")
        if count is not None and int(found) != count:
            raise ArgumentError(
                f"{name!r} has {int(found)} parts, not {count}. With {count}, entries of one key "
                "would lie in two parts and lose their order: use "
                f"{int(found)}, or begin another stream with {count}."
            )
        return cls(name, int(found))
