"""The consumer's scripts, in the order in which they come to run: see the page in `__init__`.

Each has KEYS: the stream, names, dead letters, failures; and ARGV: group, consumer, then its
own. REPLAY, which is no consumer's, says what it has.
"""

from __future__ import annotations

JOIN = """
-- Take a name in the group. Who had it before notices, and leaves.
-- ARGV: group, consumer, its token.
-- Replies with OK or what is in the way, how this server deletes what is handled, and 1 if
-- an earlier life had the name.
redis.call('XPENDING', KEYS[1], ARGV[1])  -- is an error where there is no such group
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first and first[2][1] == 'dead:id' then return {'dead letters', '', 0} end
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'none' and kind ~= 'stream' then return {kind, '', 0} end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2])
local before = redis.call('HEXISTS', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
local found = redis.pcall('COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'xackdel')  -- Redis 8.2
return {'OK', #found > 0 and 'XACKDEL' or 'XDEL', before}
"""

OWN = """
-- ARGV: group, consumer, ID to begin at, how many. Replies with IDs that are pending for it.
local ids = {}
for _, one in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])) do
  ids[#ids + 1] = one[1]
end
return ids
"""

SWEEP = """
-- Claim entries that have been idle for too long. JUSTID: a claim is no delivery yet, so it
-- does not count as one. ARGV: group, consumer, its token, idle time in ms, cursor, how many.
-- Replies with 1 if the name is the caller's, the next cursor, IDs, how many were deleted.
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return {0, '0-0', {}, 0} end
local found = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[4], ARGV[5],
  'COUNT', ARGV[6], 'JUSTID')
for _, deleted in ipairs(found[3]) do redis.call('HDEL', KEYS[4], deleted) end
return {1, found[1], found[2], #found[3]}
"""

BURY = """
-- Scripts that begin with this have KEYS: the stream, names, dead letters, failures;
-- and ARGV: the group, …
local function bury(id, consumer, deliveries, reason)
  -- Put an entry aside and acknowledge it, in one step. Redis may have deleted it meanwhile.
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    local failures = redis.call('HGET', KEYS[4], id) or ''
    local fields = #found[2] < 7000 and found[2] or {}  -- Lua cannot hand on more than some 8,000
    redis.call('XADD', KEYS[3], '*', 'dead:id', id, 'dead:group', ARGV[1],
      'dead:consumer', consumer, 'dead:deliveries', deliveries, 'dead:reason', reason,
      'dead:failures', failures, unpack(fields))
  end
  redis.call('XACK', KEYS[1], ARGV[1], id)
  redis.call('HDEL', KEYS[4], id)
  return found and 'dead' or 'gone'
end
"""

TAKE = (
    BURY
    + """
-- Deliver one entry again, if it is still the caller's, or bury it if that is enough.
-- ARGV: group, consumer, ID, most deliveries.
-- Replies with lost, dead, gone, or: entry, its deliveries, its fields.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or pending[2] ~= ARGV[2] then return {'lost'} end
if pending[4] >= tonumber(ARGV[4]) then
  return {bury(ARGV[3], ARGV[2], pending[4], 'No answer: its consumer died, or took too long')}
end
local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3])[1]
if not entry then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  redis.call('HDEL', KEYS[4], ARGV[3])
  return {'gone'}
end
return {'entry', pending[4] + 1, entry[2]}
"""
)

FAIL = (
    BURY
    + """
-- Note why an entry failed, or bury it if it was delivered often enough.
-- ARGV: group, consumer, ID, most deliveries, the error. Replies with lost, dead, gone, or:
-- again, its deliveries.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or pending[2] ~= ARGV[2] then return {'lost'} end
local line = pending[4] .. ' ' .. ARGV[2] .. ' ' .. ARGV[5] .. '\\n'
local noted = redis.call('HGET', KEYS[4], ARGV[3]) or ''
if noted:sub(-#line) ~= line then  -- else the reply was lost, and this comes a second time
  redis.call('HSET', KEYS[4], ARGV[3], noted .. line)
end
if pending[4] >= tonumber(ARGV[4]) then
  return {bury(ARGV[3], ARGV[2], pending[4], ARGV[5])}
end
return {'again', pending[4]}
"""
)

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

LEAVE = """
-- Give back a name that nobody will use again, unless entries are still pending for it.
-- ARGV: group, consumer, its token.
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
