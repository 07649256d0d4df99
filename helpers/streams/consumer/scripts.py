"""The consumer's scripts, in the order in which they come to run: see the page in `__init__`.

Each has KEYS: the stream, names, dead letters, failures, sweep; and ARGV: group, consumer, the
token of its life, '', then its own. A script may be run twice, and a copy may come at any later
time: each asks first whether what it was sent for is still so. TAKE, FAIL and BURY know an
entry's delivery by its number, JOIN knows the token that it has seen.

A server whose memory is full refuses what makes it grow. What only acknowledges or deletes
goes on; SETTLE with effects and BURY say `deny`, and are refused before they have begun.
"""

from __future__ import annotations

from ..fencing import TAKE_OVER
from ..size import SIZE as SIZE  # to be found here with all others

OURS = """
local function ours()  -- whether the name is the caller's; one that was evicted is restored
  local token = redis.call('HGET', KEYS[2], ARGV[2])
  if not token then redis.pcall('HSET', KEYS[2], ARGV[2], ARGV[3]) end
  return (not token or token == ARGV[3]) and 1 or 0
end
"""

ACKNOWLEDGE = """
local function owed(id)  -- whether a group has yet to acknowledge an entry
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local about = {}
    for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
    local last = about['last-delivered-id']
    if #redis.call('XRANGE', KEYS[1], id, last, 'COUNT', 1) == 0 then return true end
    if #redis.call('XPENDING', KEYS[1], about['name'], id, id, 1) > 0 then return true end
  end
end

local function acknowledge(id, after)  -- gives 1, or 0 if it was not pending
  redis.call('HDEL', KEYS[4], id)
  if after == 'XACKDEL' then
    return redis.call('XACKDEL', KEYS[1], ARGV[1], 'ACKED', 'IDS', 1, id)[1] > 0 and 1 or 0
  end
  local was_pending = redis.call('XACK', KEYS[1], ARGV[1], id)
  if after == 'XDEL' and was_pending == 1 and not owed(id) then
    redis.call('XDEL', KEYS[1], id)
  end
  return was_pending
end
"""

ASIDE = (
    ACKNOWLEDGE
    + """
local function put_aside(pending, reason, after, most, bare)
  -- Move an entry to the dead letters and acknowledge it, in one step. It may be deleted already.
  local id = pending[1]
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    local failures = redis.call('HGET', KEYS[4], id) or ''
    -- Lua cannot hand on more than some 8,000 words.
    local fields = #found[2] < 7000 and not bare and found[2] or {}
    local cap = most ~= '' and {'MAXLEN', '~', most, '*'} or {'*'}
    local letter = {'dead:id', id, 'dead:group', ARGV[1], 'dead:consumer', pending[2],
      'dead:deliveries', pending[4], 'dead:reason', reason, 'dead:failures', failures}
    for _, word in ipairs(letter) do cap[#cap + 1] = word end
    for _, word in ipairs(fields) do cap[#cap + 1] = word end
    redis.call('XADD', KEYS[3], unpack(cap))
  end
  acknowledge(id, after)
  return found and 'dead' or 'gone'
end
"""
)

SEEN = """
-- Who has the name, before it is taken: JOIN says what it has seen.
return redis.call('HGET', KEYS[2], ARGV[2]) or ''
"""

JOIN = (
    f"#!lua flags=allow-oom{TAKE_OVER}"
    + """
-- Take the name, unless somebody took it since it was seen. Who had it before notices, and leaves.
-- ARGV[5]: the token that was seen.
-- Replies with OK, raced, or what is in the way; how this server deletes what is handled; and the
-- maxmemory-policy under which it may evict keys, or ''.
redis.call('XPENDING', KEYS[1], ARGV[1])  -- is an error where there is no such group
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first and first[2][1] == 'dead:id' then return {'dead letters', '', ''} end
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'none' and kind ~= 'stream' then return {kind, '', ''} end
if take_over(KEYS[2], ARGV[2], ARGV[5], ARGV[3]) ~= ARGV[3] then return {'raced', '', ''} end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2])
local found = redis.pcall('COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'xackdel')  -- Redis 8.2
local memory = redis.pcall('INFO', 'memory')
local policy = type(memory) == 'string' and memory:match('maxmemory_policy:(%S+)') or ''
if policy == 'noeviction' or policy ~= '' and memory:find('maxmemory:0%s') then policy = '' end
return {'OK', #found > 0 and 'XACKDEL' or 'XDEL', policy}
"""
)

OWN = """
-- What is pending for this name. ARGV[5], [6]: the ID to begin at, how many.
-- Replies with pairs: ID, how often it was delivered.
local found = {}
for _, one in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[5], '+', ARGV[6], ARGV[2])) do
  found[#found + 1] = {one[1], one[4]}
end
return found
"""

SWEEP = (
    OURS
    + """
-- Claim what others have left idle for too long.
-- ARGV[5]: idle for so many ms; [6], [7]: the ID to begin at, how many; [8]: in how many ms the
-- next look is due; [9]: 1 to look in any case; [10]: what was delivered just so often is delivered
-- at once, and the others are only claimed: JUSTID, so it counts as no delivery.
-- Replies with 1 if the name is the caller's; what is delivered; of what is claimed ID and number;
-- how many were deleted; the ID to go on from, or '' at the end; and in how many ms to look again.
if ours() == 0 then return {0, {}, {}, 0, '', 0} end
-- One consumer of the group looks for all. The server keeps no index by idle time, so that a look
-- goes through all that is pending: the more there is, the longer until the next one.
if ARGV[9] ~= '1' then
  local rest = redis.call('PTTL', KEYS[5])
  if rest > 0 then return {1, {}, {}, 0, '', rest} end
end
local found = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[5], ARGV[6], '+', ARGV[7])
local deliver = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[5]}
local claim = {unpack(deliver)}
local number, once = {}, tonumber(ARGV[10])
for _, one in ipairs(found) do
  if one[2] ~= ARGV[2] then
    local command = one[4] == once and deliver or claim
    command[#command + 1] = one[1]
    number[one[1]] = one[4]
  end
end
local delivered, claimed, gone = {}, {}, 0
if #deliver > 5 then
  delivered = redis.call(unpack(deliver))
  for _, entry in ipairs(delivered) do number[entry[1]] = nil end
end
if #claim > 5 then
  claim[#claim + 1] = 'JUSTID'
  for _, id in ipairs(redis.call(unpack(claim))) do
    claimed[#claimed + 1] = {id, number[id]}
    number[id] = nil
  end
end
for id in pairs(number) do  -- what XCLAIM leaves out was deleted, and is no longer pending
  redis.call('HDEL', KEYS[4], id)
  gone = gone + 1
end
if #found == tonumber(ARGV[7]) then
  return {1, delivered, claimed, gone, '(' .. found[#found][1], 0}
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])[1]
local rest = math.max(tonumber(ARGV[8]), math.floor(pending / 150))
redis.pcall('SET', KEYS[5], ARGV[2], 'PX', rest)
return {1, delivered, claimed, gone, '', rest}
"""
)

TIDY = """
-- Forget consumers that are gone: nothing is pending for them, and they have been silent for long.
-- A paused one that comes back finds its name free, and goes on. ARGV[5]: silent for so many ms.
-- And failures of entries that are no longer pending, such as those of a group that was lost.
-- Replies with the consumers' names.
local here, forgotten = {}, {}
for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = {}
  for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
  local name = about['name']
  here[name] = true
  local silent = about['pending'] == 0 and about['idle'] > tonumber(ARGV[5])
  if silent and name ~= ARGV[2] and #forgotten < 1000 then forgotten[#forgotten + 1] = name end
end
for _, name in ipairs(forgotten) do
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  redis.call('HDEL', KEYS[2], name)
end
for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not here[name] then redis.call('HDEL', KEYS[2], name) end
end
for _, id in ipairs(redis.call('HRANDFIELD', KEYS[4], 1000)) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1) == 0 then
    redis.call('HDEL', KEYS[4], id)
  end
end
return forgotten
"""

TAKE = (
    OURS
    + """
-- Deliver an entry again that is the caller's, if it was delivered just so often until now.
-- ARGV[5], [6], [7]: its ID, how often it was delivered, the most deliveries.
-- Replies with 1 if the name is the caller's, and with lost, gone, moved (it was delivered since),
-- most (it was delivered often enough), or: entry, its deliveries, its fields.
if ours() == 0 then return {0, 'lost'} end
local id, times = ARGV[5], tonumber(ARGV[6])
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
if not pending or pending[2] ~= ARGV[2] then return {1, 'lost'} end
local entry
if pending[4] == times + 1 then  -- this very step was taken already, and its reply was lost
  entry = redis.call('XRANGE', KEYS[1], id, id)[1]
elseif pending[4] ~= times then
  return {1, 'moved'}
elseif times >= tonumber(ARGV[7]) then
  return {1, 'most'}
else
  entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
end
if not entry then
  redis.call('XACK', KEYS[1], ARGV[1], id)
  redis.call('HDEL', KEYS[4], id)
  return {1, 'gone'}
end
return {1, 'entry', times + 1, entry[2]}
"""
)

RENEW = (
    OURS
    + """
-- Say that entries are still in hand, so that nobody claims them. ARGV[5] and on: their IDs.
-- Replies with 1 if the name is the caller's, then the IDs of those that still are, too.
if ours() == 0 then return {0} end
local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
for at = 5, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if pending and pending[2] == ARGV[2] then claim[#claim + 1] = ARGV[at] end
end
if #claim == 5 then return {1} end
claim[#claim + 1] = 'JUSTID'
return {1, unpack(redis.call(unpack(claim)))}
"""
)

FAIL = """
-- Note why an entry failed. ARGV[5], [6], [7]: its ID, the number of the delivery, the error.
-- Replies with 1 if that delivery is still the latest, and the caller's.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[5], ARGV[5], 1)[1]
if not pending or pending[2] ~= ARGV[2] or pending[4] ~= tonumber(ARGV[6]) then return 0 end
local line = ARGV[6] .. ' ' .. ARGV[2] .. ' ' .. ARGV[7] .. '\\n'
local noted = redis.call('HGET', KEYS[4], ARGV[5]) or ''
if noted:sub(-#line) ~= line then  -- else the reply was lost, and this comes a second time
  redis.pcall('HSET', KEYS[4], ARGV[5], noted .. line)  -- with full memory it goes without a note
end
return 1
"""

BURY = (
    ASIDE
    + """
-- Give an entry up. ARGV[5] to [10]: its ID, the number of its last delivery, the reason, what
-- becomes of handled entries (keep, XACKDEL or XDEL), the most dead letters or '', and bare for a
-- letter without the fields of the entry.
-- Replies with lost, dead or gone, and how many dead letters there are.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[5], ARGV[5], 1)[1]
if not pending or pending[2] ~= ARGV[2] or pending[4] ~= tonumber(ARGV[6]) then
  return {'lost', 0}
end
local bare = ARGV[10] == 'bare'
return {put_aside(pending, ARGV[7], ARGV[8], ARGV[9], bare), redis.call('XLEN', KEYS[3])}
"""
)

SETTLE = (
    OURS
    + ASIDE
    + """
-- Acknowledge entries, each together with its effect, if it is still pending.
-- KEYS[6] and on: the keys of the effects.
-- ARGV[5], [6]: what becomes of the entries (keep, XACKDEL or XDEL), the most dead letters or '';
-- [7]: how many entries have no effect; their IDs; then for each that has one: ID, number of
-- commands, and for each command how many words it has, and its words.
-- Replies with 1 if the name is the caller's, how many entries were acknowledged,
--   and of each whose effect was refused: ID, what Redis said, 1 if it is put aside.
local after, acknowledged, refused = ARGV[5], 0, {}
local at = 8 + ARGV[7]
if after == 'keep' and at > 8 then
  acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 8, at - 1))
  if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('HDEL', KEYS[4], unpack(ARGV, 8, at - 1))
  end
else
  for plain = 8, at - 1 do acknowledged = acknowledged + acknowledge(ARGV[plain], after) end
end
while at <= #ARGV do
  local id, commands = ARGV[at], tonumber(ARGV[at + 1])
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  local failure
  at = at + 2
  for number = 1, commands do
    local words = tonumber(ARGV[at])
    if pending and not failure then
      local said = redis.pcall(unpack(ARGV, at + 1, at + words))
      if type(said) == 'table' and said.err then
        failure = {said.err:gsub('[\\128-\\255]', '?'), number}  -- it may be cut within a letter
      end
    end
    at = at + 1 + words
  end
  if failure then
    local half = failure[2] > 1  -- what came before cannot be undone, so it must not be repeated
    if half then put_aside(pending, 'Half done: ' .. failure[1], after, ARGV[6]) end
    refused[#refused + 1] = {id, failure[1], half and 1 or 0}
  elseif pending then
    acknowledged = acknowledged + acknowledge(id, after)
  end
end
return {ours(), acknowledged, refused}
"""
)

CREATE = """#!lua flags=allow-oom
-- Make a group anew that is gone. ARGV[5]: where it begins.
local said = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[5], 'MKSTREAM')
return said.err and not said.err:find('^BUSYGROUP') and said or 'OK'
"""

LEAVE = """
-- Give back a name that nobody will use again, unless entries are still pending for it.
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
"""

REPLAY = """
-- Give a dead letter back to its group, and take it off the dead letters, in one step.
-- KEYS: the stream, its dead letters. ARGV: the dead letter's ID.
-- Replies with pending, added, gone or no letter, and the entry's ID.
local letter = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not letter then return {'gone', ARGV[1]} end
local about = {}
for at = 1, math.min(12, #letter[2]), 2 do about[letter[2][at]] = letter[2][at + 1] end
if not (about['dead:id'] and about['dead:group'] and about['dead:consumer']) then
  return {'no letter', ARGV[1]}
end
-- Pending again, never delivered, and idle for a day: the next consumer that looks claims it.
local id, how = about['dead:id'], 'pending'
local back = redis.call('XCLAIM', KEYS[1], about['dead:group'], about['dead:consumer'], 0, id,
  'IDLE', 86400000, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
if #back == 0 then  -- it is no longer on the stream, so it comes back as a new entry
  id, how = redis.call('XADD', KEYS[1], '*', unpack(letter[2], 13)), 'added'
end
redis.call('XDEL', KEYS[2], ARGV[1])
return {how, id}
"""


DRAIN = "#!lua flags=allow-oom\n-- while the memory is full"


def deny(script: str) -> str:
    """The script is refused as a whole, before it has done anything, while the memory is full."""
    return f"#!lua\n{script}"


def allow(script: str) -> str:
    """The script runs although the memory is full, and may make it grow."""
    return f"#!lua flags=allow-oom\n{script}"


def drain(script: str) -> str:
    """The script runs although the memory is full, while hardly more is used than at first.

    For a consumer that deletes what it has handled: it may be the one who makes room. ARGV[4] is
    how many bytes were used when the memory began to be full, '' while it is not known; a MiB more
    is let pass, since a node of a stream is freed with its last entry only. The reply is {bytes
    used, or '' if there is room; the script's own reply}.
    """
    return f"""{DRAIN}
local said = redis.call('INFO', 'memory')
local used = tonumber(said:match('used_memory:(%d+)'))
local most = tonumber(said:match('maxmemory:(%d+)'))
local full = most > 0 and used > most
if full and ARGV[4] ~= '' and used > tonumber(ARGV[4]) + 1048576 then
  return redis.error_reply('OOM the memory is full, and this consumer has not made room in it')
end
local function step()
{script}
end
return {{full and tostring(used) or '', step()}}
"""
