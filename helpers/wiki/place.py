"""The publisher's place in its feed: whose it is, and how a batch moves it. It never sends.

The place is a hash in Redis, and moves in the same step in which a batch is published. A batch
that comes twice, or from a publisher that was replaced, changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import redis

from helpers.course.errors import CourseError
from helpers.streams.errors import StreamsError, explain, given_up
from helpers.streams.fencing import TAKE_OVER
from helpers.streams.patience import Patience
from helpers.streams.single import Single
from helpers.streams.states import passes
from helpers.wiki.change import Change
from helpers.wiki.names import GROUP, place_key

Through = Literal["pubsub", "stream"]

PLACE_S = 7 * 86_400  # how long the place is remembered, in seconds

OPEN = (
    TAKE_OVER
    + """
-- Take the place over. KEYS: the place. ARGV: the caller's token, whose the place was, the feed's
-- URL, how long to remember the place.
-- Replies with whose the place is now, and with the ID of the last event that was published of
-- this feed, if there was one.
local owner, newly = take_over(KEYS[1], 'owner', ARGV[2], ARGV[1])
if owner ~= ARGV[1] then return {owner, ''} end
if newly then
  redis.call('HSET', KEYS[1], 'batch', 0)
  if redis.call('HGET', KEYS[1], 'feed') ~= ARGV[3] then
    redis.call('HSET', KEYS[1], 'feed', ARGV[3], 'event', '')
  end
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return {owner, redis.call('HGET', KEYS[1], 'event')}
"""
)

ROOM = """
-- Make room on the stream: trim what is too much, but nothing that the group still needs.
-- KEYS: the place, the stream.
-- ARGV: how many entries to keep, how many more there may be, the group.
-- Replies with 1 if there is room.
local stream, keep, length = KEYS[2], tonumber(ARGV[1]), redis.call('XLEN', KEYS[2])
if length < keep then return 1 end
local needed  -- the oldest entry that the group has not acknowledged
for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local about = {}
  for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
  if about['name'] == ARGV[3] then
    local last = about['last-delivered-id']
    local unread = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
    needed = redis.call('XPENDING', stream, ARGV[3])[2] or unread and unread[1]
  end
end
if needed then  -- LIMIT, so that no more goes than is too much; `~` takes whole nodes only
  redis.call('XTRIM', stream, 'MINID', '~', needed, 'LIMIT', length - keep + 100)
else
  redis.call('XTRIM', stream, 'MAXLEN', '~', keep)
end
return redis.call('XLEN', stream) < keep + ARGV[2] and 1 or 0
"""

PUBLISH = """
-- Publish a batch, unless it was published before, and move the place behind it.
-- KEYS: the place, and the stream if there is one.
-- ARGV: the caller's token, number of the batch, ID of its last event, the time in ms,
--       how long to remember the place, the feed's URL, the channel or nothing,
--       then the messages, or for each entry how many words it has, and its words.
-- Replies with 1, or with 0 if the place is not the caller's any more. One that was deleted
-- meanwhile is.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 0 end
if owner and tonumber(redis.call('HGET', KEYS[1], 'batch')) >= tonumber(ARGV[2]) then return 1 end
local at = 8
while at <= #ARGV do
  if ARGV[7] ~= '' then
    redis.call('PUBLISH', ARGV[7], ARGV[at])
    at = at + 1
  else
    local words = tonumber(ARGV[at])
    redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 1, at + words))
    at = at + 1 + words
  end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'batch', ARGV[2], 'event', ARGV[3], 'at', ARGV[4],
  'feed', ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


class Call(NamedTuple):
    """A script to run, until its reply comes: each can be run twice."""

    script: str
    keys: list[str]
    args: list[str | int]


class PublisherError(CourseError):
    """A publisher may not go on: another one of the same target began later."""


class FeedPlace(Single):
    """Where one publisher is in its feed, from `open()` to its last batch."""

    def __init__(self, target: str, through: Through, feed: str, patience_s: float) -> None:
        """Begin, as a new publisher.

        Args:
            target: the name of the channel, or the stream's key.
            through: `pubsub` or `stream`.
            feed: its URL.
            patience_s: how long the server may be out of reach, in seconds.
        """
        self._target, self._through, self._feed = target, through, feed
        self._keys = [place_key(target), *([target] if through == "stream" else [])]
        self._patience_s = patience_s
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self.event = ""  # the last one that was published of this feed
        self._token = secrets.token_hex(8)
        self._whose = ""
        self._batch = 0
        self._patience = Patience(self._patience_s)

    def open(self) -> Call | None:
        """What makes the place ours, asked for until there is nothing more to ask."""
        if self._whose == self._token:
            return None
        return Call(OPEN, self._keys, [self._token, self._whose, self._feed, PLACE_S])

    def opened(self, reply: list[str]) -> None:
        """Whose the place is, and where it is if it is ours."""
        self._whose, self.event = reply

    def room(self, keep: int, more: int) -> Call:
        """What makes room on the stream, and replies with 1 if there is any."""
        return Call(ROOM, self._keys, [keep, more, GROUP])

    def publish(self, changes: Iterable[Change], last: str, now_ms: int) -> Call:
        """What publishes a batch, whose last event of the feed has this ID."""
        self._batch += 1
        channel = self._target if self._through == "pubsub" else ""
        args: list[str | int] = [self._token, self._batch, last, now_ms, PLACE_S, self._feed]
        args.append(channel)
        for change in changes:
            if channel:
                args.append(change.message())
            else:
                fields = change.fields()
                args.append(2 * len(fields))
                for pair in fields.items():
                    args += pair
        return Call(PUBLISH, self._keys, args)

    def published(self, reply: int) -> None:
        """The batch is published, unless another publisher took over.

        Raises:
            PublisherError: one did.
        """
        if not reply:
            raise PublisherError(
                f"Another publisher of {self._target!r} took over: stop one of them, or every "
                "change would be published twice."
            )

    def heard(self, reply: Any) -> Any:
        """The server answered, so a failure after this is a first one again."""
        self._patience.renew()
        return reply

    def fail(
        self,
        error: redis.RedisError,
        call: Call,
        *,
        since: float | None = None,
        stopped: bool = False,
    ) -> float:
        """Seconds to wait after a lost connection; raises what is not worth another try."""
        if not passes(error):
            raise _explained(error, call.keys[0 if call.script is OPEN else -1]) from error
        wait_s = self._patience.failed(since)
        if self._patience.ended(stopped=stopped):
            raise given_up(error, call.keys[-1]) from error
        return wait_s


def _explained(error: redis.RedisError, key: str) -> StreamsError:
    """What the server has against a script, in one sentence."""
    if "WRONGTYPE" in str(error) and key.endswith(":place"):
        return CourseError(
            f"The key {key!r} holds something else than a publisher's place: delete it, or use "
            "another target."
        )
    return explain(error, key)
