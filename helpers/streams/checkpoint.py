"""Checkpoints: where a reader stands, kept in Redis so that its successor can go on from there.

A checkpoint is a hash: for each stream the last ID that was handled, and an epoch. Every
reader that opens the checkpoint raises the epoch, and may move the positions only while the
epoch is still its own. So of two readers with one name the newer wins, and the older, perhaps
only paused and not dead, cannot move the positions back. Its moves are numbered, so that a
copy of one that was sent again and comes late cannot move them back either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .entry import EntryId
from .errors import CheckpointError

EPOCH, MOVES = ":epoch", ":moves"  # no stream of the course has these names

OPEN = """
-- KEYS: the checkpoint. Replies with the new epoch, then stream, ID, stream, ID, …
redis.call('HINCRBY', KEYS[1], ':epoch', 1)
redis.call('HSET', KEYS[1], ':moves', 0)
return redis.call('HGETALL', KEYS[1])
"""

MOVE = """
-- KEYS: the checkpoint. ARGV: the caller's epoch, number of the move, then stream, ID, …
if redis.call('HGET', KEYS[1], ':epoch') ~= ARGV[1] then return 0 end
if tonumber(redis.call('HGET', KEYS[1], ':moves')) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ':moves', unpack(ARGV, 2))
end
return 1
"""


class Checkpoint:
    """What is known of one checkpoint: the decisions, without the sending."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = f"reader:{name}"
        self._epoch = ""
        self._moves = 0

    def opened(self, reply: list[str]) -> dict[str, EntryId]:
        """The positions in OPEN's reply, which also gives this reader its epoch."""
        stored = dict(zip(reply[::2], reply[1::2], strict=True))
        self._epoch, self._moves = stored.pop(EPOCH), int(stored.pop(MOVES))
        return {stream: EntryId.parse(last) for stream, last in stored.items()}

    def move(self, positions: Mapping[str, EntryId]) -> dict[str, Any]:
        """MOVE's keys and arguments. Moving twice to the same place changes nothing."""
        self._moves += 1
        pairs = [part for stream, last in positions.items() for part in (stream, str(last))]
        return {"keys": [self.key], "args": [self._epoch, self._moves, *pairs]}

    def moved(self, reply: int) -> None:
        """Make sure that MOVE was allowed.

        Raises:
            CheckpointError: another reader of this name was opened later.
        """
        if reply != 1:
            raise CheckpointError(
                f"Another reader named {self.name!r} took over, so this one may not move the "
                "checkpoint: stop one of them, or give them different names."
            )
