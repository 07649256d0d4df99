"""Effect and acknowledgement in one step: what a handler asks for happens exactly once.

An entry may be delivered twice: its consumer died after the work and before XACK, or was only
paused while another one claimed its entries. What is written to Redis can be exact all the
same. The handler does not write; it returns the commands, its effect. A script on the server
runs them and acknowledges the entry in one step, and only if the entry is still pending. A
second delivery finds that it is not, and changes nothing.

What each way of working promises:

* XACK before the work: at most once. A crash in between loses the entry.
* the work, then XACK: at least once. A crash in between repeats it.
* MULTI with the work and XACK: exact when consumers die, but a consumer that was paused and
  comes back repeats work that another one has done meanwhile: MULTI does not ask.
* the step here: exact, inside this Redis. No script reaches outside of it: a mail is sent, or
  a row is written elsewhere, at least once. There, use the entry's ID as idempotency key.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from helpers.deadletters import BURY
from helpers.entry import EntryId
from helpers.errors import CourseError

Value = str | int | float
Command = tuple[Value, ...]  # such as ("HINCRBY", "totals", "chennai", 1)
Done = tuple[EntryId, tuple[Command, ...]]  # a handled entry, and its effect, yet to be applied

PORTION = 1000  # entries a step: while a script runs, the server hears nobody else
MOST_WORDS = 7000  # of one command: Lua can hand on some 8,000 at once

SETTLE = (
    BURY
    + """
-- Acknowledge entries, each together with its effect, if it is still pending.
-- KEYS: the stream, names, dead letters, failures, then the keys of the effects.
-- ARGV: group, consumer, its token, what becomes of the entries (keep, XACKDEL or XDEL),
--       how many entries have no effect, their IDs,
--       then for each that has one: ID, number of commands, and for each command
--       how many words it has, and its words.
-- Replies with 1 if the name is the caller's, how many entries were acknowledged,
--   and of each whose effect was refused: ID, what Redis said, 1 if it is buried.
local stream, group, after = KEYS[1], ARGV[1], ARGV[4]

local function owed(id)  -- whether a group has yet to acknowledge an entry
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local about = {}
    for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
    local last = about['last-delivered-id']
    if #redis.call('XRANGE', stream, id, last, 'COUNT', 1) == 0 then return true end
    if #redis.call('XPENDING', stream, about['name'], id, id, 1) > 0 then return true end
  end
end

local function acknowledge(id)  -- gives 1, or 0 if it was not pending
  redis.call('HDEL', KEYS[4], id)
  if after == 'XACKDEL' then
    return redis.call('XACKDEL', stream, group, 'ACKED', 'IDS', 1, id)[1] > 0 and 1 or 0
  end
  local was_pending = redis.call('XACK', stream, group, id)
  if after == 'XDEL' and was_pending == 1 and not owed(id) then redis.call('XDEL', stream, id) end
  return was_pending
end

local acknowledged, refused = 0, {}
local at = 6 + ARGV[5]
if after == 'keep' and at > 6 then
  acknowledged = redis.call('XACK', stream, group, unpack(ARGV, 6, at - 1))
  redis.call('HDEL', KEYS[4], unpack(ARGV, 6, at - 1))
else
  for plain = 6, at - 1 do acknowledged = acknowledged + acknowledge(ARGV[plain]) end
end
while at <= #ARGV do
  local id, commands = ARGV[at], tonumber(ARGV[at + 1])
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  local failure
  at = at + 2
  for number = 1, commands do
    local words = tonumber(ARGV[at])
    if pending and not failure then
      local said = redis.pcall(unpack(ARGV, at + 1, at + words))
      if type(said) == 'table' and said.err then failure = {said.err, number} end
    end
    at = at + 1 + words
  end
  if failure then
    local half = failure[2] > 1  -- what came before cannot be undone, so it must not be repeated
    if half then bury(id, pending[2], pending[4], 'Half done: ' .. failure[1]) end
    refused[#refused + 1] = {id, failure[1], half and 1 or 0}
  elseif pending then
    acknowledged = acknowledged + acknowledge(id)
  end
end
local ours = redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] and 1 or 0
return {ours, acknowledged, refused}
"""
)


def effect_of(answer: Any) -> tuple[Command, ...]:
    """The commands in what a handler returned: None, one command, or a list of them.

    The first argument of each command is its key, and the only one.

    Raises:
        CourseError: it is anything else.
        ValueError: a command that no server could take, because of the entry's data.
    """
    if answer is None:
        return ()
    commands = answer if isinstance(answer, list) else [answer]
    for command in commands:
        if not _is_command(command):
            raise CourseError(
                f"A handler returned {_shown(answer)}: return None, or commands to be run with "
                "the acknowledgement, such as ('HINCRBY', 'totals', 'chennai', 1)."
            )
        if len(command) > MOST_WORDS:
            raise ValueError(f"a command of {len(command):,} words is too long: divide it")
    return tuple(commands)


def encode(done: Sequence[Done]) -> tuple[list[Value], list[Value]]:
    """SETTLE's further keys and arguments for entries and their effects."""
    keys: dict[Value, None] = {}
    plain: list[Value] = [f"{ms}-{seq}" for (ms, seq), effect in done if not effect]
    arguments: list[Value] = [len(plain), *plain]
    for entry_id, effect in done:
        if effect:
            arguments += (str(entry_id), len(effect))
        for command in effect:
            keys[command[1]] = None
            arguments += (len(command), *command)
    return list(keys), arguments


def _is_command(answer: Any) -> bool:
    """Whether it is one; a text in it that cannot be sent is a UnicodeEncodeError."""
    if not isinstance(answer, tuple) or len(answer) < 2 or not isinstance(answer[0], str):
        return False
    for word in answer:
        if type(word) is int:
            continue
        if isinstance(word, str):
            if not word.isascii():
                word.encode()
        elif not isinstance(word, (int, float)) or isinstance(word, bool):
            return False
    return True


def _shown(answer: Any) -> str:
    """What a handler returned, briefly."""
    if inspect.iscoroutine(answer):
        answer.close()
        return "a coroutine, which only AsyncConsumer awaits"
    return f"{answer!r:.60}"
