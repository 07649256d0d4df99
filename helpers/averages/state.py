"""A consumer's state: a hash in Redis, changed together with what the consumer publishes.

One script compares, publishes and stores: it makes the change only if the hash still belongs
to the caller and the change before this one is stored. So nothing is published without the
state that says so, whoever dies, and a change that comes twice, or from a consumer that was
paused and replaced, changes nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import redis

from helpers.course.errors import CourseError
from helpers.streams.errors import CheckpointError, StreamsError, given_up
from helpers.streams.patience import LIMIT_S, Patience
from helpers.streams.single import Single
from helpers.streams.slots import SyncClient, client_for
from helpers.streams.states import passes

VERSION = "1"

log = logging.getLogger(__name__)


class StateError(StreamsError):
    """A stored state cannot be used: it is corrupt, incomplete, or of another kind."""


TAKE_OVER = """
-- Make the state the caller's. KEYS: the state. ARGV: the caller's token, the epoch that it saw.
-- Replies with the state, as field, value, …; with nothing if somebody was faster.
local owner, epoch = unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch'))
if not epoch then return {} end
if owner ~= ARGV[1] then
  if epoch ~= ARGV[2] then return {} end  -- so a copy that comes late takes nothing over
  redis.call('HSET', KEYS[1], 'epoch', epoch + 1, 'owner', ARGV[1])
end
return redis.call('HGETALL', KEYS[1])
"""

BEGIN = """
-- Make a state, if there is none or only the one that was seen: so a copy that comes late deletes
-- nothing. KEYS: the state, then what goes with it.
-- ARGV: absent, or the `begun` of the state that was seen ('' if it has none), a token, field,
-- value, …
-- Replies with 0 if there is another state than that.
local begun = redis.call('HGET', KEYS[1], 'begun') or ''
if begun == ARGV[2] then return 1 end
if ARGV[1] == 'absent' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif begun ~= ARGV[1] then
  return 0
end
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch')) or 0
redis.call('DEL', unpack(KEYS))
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('HSET', KEYS[1], 'begun', ARGV[2], 'commits', 0, 'epoch', epoch + 1)
return 1
"""

COMMIT = """
-- KEYS: the state, then the streams. ARGV: the caller's token, its epoch, number of the change,
--       how many words the state has, field, value, …,
--       then for each entry: which stream, its MAXLEN or 0, how many words, field, value, …
-- Replies with done, or with what is in the way: taken, behind, gone, or a key of another type.
local owner, epoch, commits = unpack(redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'commits'))
if not epoch then return 'gone' end
if tonumber(epoch) < tonumber(ARGV[2]) then return 'behind' end  -- the server has lost our start
if owner ~= ARGV[1] then return 'taken' end
if tonumber(commits) >= tonumber(ARGV[3]) then return 'done' end  -- this one was here before
if tonumber(commits) < tonumber(ARGV[3]) - 1 then return 'behind' end
for number = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'none' and kind ~= 'stream' then return KEYS[number] .. ' is a ' .. kind end
end
local at = 5 + ARGV[4]
redis.call('HSET', KEYS[1], 'commits', ARGV[3], unpack(ARGV, 5, at - 1))
while at <= #ARGV do
  local stream, words = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + 2])
  if ARGV[at + 1] == '0' then
    redis.call('XADD', stream, '*', unpack(ARGV, at + 3, at + 2 + words))
  else
    redis.call('XADD', stream, 'MAXLEN', '=', ARGV[at + 1], '*',
      unpack(ARGV, at + 3, at + 2 + words))
  end
  at = at + 3 + words
end
return 'done'
"""


class Publish(NamedTuple):
    """An entry to be added to a stream, which keeps so many entries, or all if it is None."""

    stream: str
    fields: Mapping[str, str]
    keep: int | None = None


class Behind(Exception):
    """The server has lost changes that it had confirmed: take the state as it is, and go on."""


class State(Single):
    """The hash of one consumer, from `take_over()` until another consumer takes it over."""

    def __init__(
        self,
        client: SyncClient,
        key: str,
        fields: Sequence[str],
        check: Callable[[Mapping[str, str]], object] = lambda found: None,
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: a client from `connect()`.
            key: the hash's key; the streams that are published to must share its hash slot.
            fields: the names of those that must be there.
            check: raises StateError if what they hold is unusable. It is asked before anything
                is changed.
            patience_s: how long the server may be out of reach or silent, in seconds.
        """
        self.key = key
        self.stopped = False  # asked to stop: then little patience is left
        self._patience_s = patience_s
        self._client = client_for(client, [key])
        self._fields = fields
        self._check = check
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._token = ""  # nobody's: to be taken over
        self._epoch = self._commits = 0
        self._patience = Patience(self._patience_s)

    def begin(self, fields: Mapping[str, str], *also: str, anew: bool = False) -> None:
        """Store a first state, if there is none.

        Args:
            fields: the state.
            also: keys that are deleted with an old state.
            anew: in place of one that is there; whoever works with that may go on no more.
        """
        words = [word for pair in fields.items() for word in pair]
        script = self._client.register_script(BEGIN)
        done, token = False, secrets.token_hex(8)
        while not done:
            seen = self._begun() if anew else "absent"
            args = [seen, token, *words, "version", VERSION]
            reply = self.patiently(partial(script, keys=[self.key, *also], args=args), self.key)
            done = bool(reply) or not anew

    def _begun(self) -> str:
        """Which state is there."""
        return self.patiently(lambda: self._client.hget(self.key, "begun"), self.key) or ""

    def read(self) -> dict[str, str] | None:
        """The state as it is, by HGETALL; None if there is none.

        Raises:
            StateError: it is not a state of this consumer, or of another version.
        """
        try:
            found = self.patiently(lambda: self._client.hgetall(self.key), self.key)
        except UnicodeDecodeError as error:
            raise self._unusable("holds bytes that are no text") from error
        return self._valid(found)

    def take_over(self) -> dict[str, str] | None:
        """The state as it is, which is now ours: who had it before can change it no more.

        Raises:
            StateError: it is not a state of this consumer, or of another version. Then it is
                left as it is.
        """
        self._token = secrets.token_hex(8)
        script = self._client.register_script(TAKE_OVER)
        while seen := self.read():
            args = [self._token, seen["epoch"]]
            reply = self.patiently(partial(script, keys=[self.key], args=args), self.key)
            found = self._valid(dict(zip(reply[::2], reply[1::2], strict=True)))
            if found:
                self._epoch, self._commits = int(found["epoch"]), int(found["commits"])
                return found
        return None

    def commit(self, fields: Mapping[str, str], published: Sequence[Publish] = ()) -> None:
        """Store a state and publish what belongs to it, in one step.

        Raises:
            CheckpointError: another consumer took over, or the state was deleted.
            Behind: the server has lost earlier changes, so nothing was changed.
            StreamsError: one of the streams is something else.
        """
        call = self._call(fields, published)
        script = self._client.register_script(COMMIT)
        said = self.patiently(lambda: script(**call), self.key)
        if said == "behind":
            raise Behind
        if said in ("taken", "gone"):
            raise self._lost(said)
        if said != "done":
            raise CourseError(f"{said}, and no stream: rename it, or delete it, and start again.")
        self._commits += 1

    def patiently(self, ask: Callable[[], Any], key: str) -> Any:
        """Ask what can be asked twice, until the answer comes.

        Raises:
            StreamsError: the server refused it.
            redis.ConnectionError: the server was out of reach for `patience_s`.
        """
        while True:
            since = time.monotonic()
            try:
                answer = ask()
            except redis.RedisError as error:
                time.sleep(self._delay(error, key, since))
            else:
                self._patience.renew()
                return answer

    def _call(self, fields: Mapping[str, str], published: Sequence[Publish]) -> dict[str, Any]:
        streams = list(dict.fromkeys(one.stream for one in published))
        state = [word for pair in fields.items() for word in pair]
        words: list[Any] = [self._token, self._epoch, self._commits + 1, len(state), *state]
        for stream, entry, keep in published:
            words += (streams.index(stream) + 2, keep or 0, 2 * len(entry))
            words += (word for pair in entry.items() for word in pair)
        return {"keys": [self.key, *streams], "args": words}

    def _delay(self, error: redis.RedisError, key: str, since: float) -> float:
        if not passes(error):
            if "WRONGTYPE" in str(error):
                raise StateError(
                    f"The key {key!r} is of another type than a consumer needs there: rename it, "
                    "or delete it, and start again."
                ) from error
            raise StateError(f"The server refused a command on {key!r}: {error}") from error
        if not self._patience.lasts_s:
            log.warning("%s: no answer, and tries again: %s", key, error)
        silent = isinstance(error, redis.TimeoutError)  # a lost connection says nothing of before
        delay_s = self._patience.failed(since if silent else None)
        if self._patience.ended(stopped=self.stopped):
            self._patience.renew()
            raise given_up(error, key) from error
        return delay_s

    def _valid(self, found: dict[str, str]) -> dict[str, str] | None:
        if not found:
            return None
        version = found.get("version")
        if version != VERSION:
            told = f"of version {version!r}" if version else "without a version"
            raise self._unusable(f"is a state {told}, and this program writes version {VERSION}")
        missing = [one for one in (*self._fields, "epoch", "commits") if one not in found]
        if missing:
            raise self._unusable(f"lacks {', '.join(missing)}")
        for name in ("epoch", "commits"):
            if not (found[name].isascii() and found[name].isdecimal() and len(found[name]) < 16):
                raise self._unusable(f"has {found[name]!r} in its field {name}")
        self._check(found)
        return found

    def _unusable(self, what: str) -> StateError:
        return unusable(self.key, what)

    def _lost(self, said: str) -> CheckpointError:
        if said == "gone":
            return CheckpointError(
                f"The state {self.key!r} was deleted while a consumer worked with it: start it "
                "again from a partition."
            )
        return CheckpointError(
            f"Another consumer took over the state {self.key!r}, so this one stops. "
            "Run only one of the two."
        )


def unusable(key: str, what: str) -> StateError:
    """Why a state cannot be used, and what to do."""
    return StateError(
        f"The state {key!r} {what}. Nothing was changed: repair it, or start from a partition, "
        "which makes a new one."
    )
