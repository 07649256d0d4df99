"""Checkpoints: where a reader stands, kept in Redis so that its successor can go on from there.

A checkpoint is a hash: for each stream the last ID that was handled, and an epoch. Every
reader that opens the checkpoint raises the epoch, and may move the positions only while the
epoch is still its own. So of two readers with one name the newer wins, and the older, perhaps
only paused and not dead, cannot move the positions back. Its moves are numbered, so that a
copy of one that was sent again and comes late cannot move them back either.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from .entry import EntryId
from .errors import CheckpointError
from .fencing import TAKE_OVER
from .keys import CHECKPOINT, KNOWN, hash_tag, sibling_key
from .steps import Run
from .text import text_of

EPOCH, MOVES = ":epoch", ":moves"  # no stream of the course has these names

OPEN = (
    TAKE_OVER
    + """
-- KEYS: the checkpoint, and what stays when it is lost. ARGV: the epoch that was seen,
-- the caller's. Replies with the epoch that it has now, 1 if the checkpoint is lost, then
-- stream, ID, stream, …
local lost = redis.call('EXISTS', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[2]) == 1
local owner, newly = take_over(KEYS[1], ':epoch', ARGV[1], ARGV[2])
if owner ~= ARGV[2] then return {owner, 0} end
if newly then
  redis.call('HSET', KEYS[1], ':moves', 0)
  redis.call('SET', KEYS[2], 1)
end
return {owner, lost and 1 or 0, unpack(redis.call('HGETALL', KEYS[1]))}
"""
)

MOVE = """
-- KEYS: the checkpoint. ARGV: the caller's epoch, number of the move, then stream, ID, …
-- Replies with 0 if the checkpoint has another epoch. One that is gone is made again.
local epoch = redis.call('HGET', KEYS[1], ':epoch')
if epoch and epoch ~= ARGV[1] then return 0 end
if not epoch then redis.call('HSET', KEYS[1], ':epoch', ARGV[1], ':moves', -1) end
if tonumber(redis.call('HGET', KEYS[1], ':moves')) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ':moves', unpack(ARGV, 2))
end
return 1
"""

FORGET = """
-- KEYS: the checkpoint, and what stays when it is lost. ARGV: the caller's epoch.
if redis.call('HGET', KEYS[1], ':epoch') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
"""


class Checkpoint:
    """What is known of one checkpoint. It decides, and does not send."""

    def __init__(self, name: str, beside: str | None = None) -> None:
        """Name it.

        Args:
            name: the reader's.
            beside: a stream in whose hash slot it has to lie, on a cluster.
        """
        tag = f"{{{hash_tag(beside)}}}:" if beside else ""
        self.name, self.key = name, f"{CHECKPOINT}{tag}{name}"
        self.lost = False  # there was one of this name, and it is gone
        self._keys = [self.key, sibling_key(self.key, KNOWN)]
        self._moves = 0
        self._see("")

    def _see(self, epoch: str) -> None:
        """Choose an epoch above the one that was seen, and that no other reader has.

        A number, since readers of earlier versions add 1 to it.
        """
        self._seen = epoch
        self._epoch = str(int(epoch or 0) + 1 + secrets.randbelow(2**31))

    def open(self) -> Run:
        """Take it over."""
        return Run(OPEN, self._keys, [self._seen, self._epoch])

    def opened(self, reply: list[Any]) -> dict[str, EntryId] | None:
        """The positions in OPEN's reply; None if the checkpoint was another's: open it again."""
        owner, lost, *stored = text_of(reply)
        if owner != self._epoch:
            self._see(owner)
            return None
        self.lost = bool(lost)
        fields = dict(zip(stored[::2], stored[1::2], strict=True))
        self._moves = int(fields.pop(MOVES, 0))
        fields.pop(EPOCH, None)
        return {stream: EntryId.parse(last) for stream, last in fields.items()}

    def move(self, positions: Mapping[str, EntryId]) -> Run:
        """Store positions. Moving twice to the same place changes nothing."""
        self._moves += 1
        pairs = [part for stream, last in positions.items() for part in (stream, str(last))]
        return Run(MOVE, [self.key], [self._epoch, self._moves, *pairs])

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

    def forget(self) -> Run:
        """Delete it, unless another reader took it over."""
        return Run(FORGET, self._keys, [self._epoch])
