"""What runs on the server for a worker's part. All keys of a part lie in its slot.

Each script has KEYS: the part, its state, its lease; and ARGV: the worker's token, how long the
lease lasts in ms, then its own. The state is a hash: `token`, whose the part is; `position`, the
last entry that is handled; `strikes`, how often the next one has failed, or its worker has died
with it; `why`, what was said of that; `left`, there if the last owner left in good order.

A part is a worker's while the state has its token, also when the lease has run out: that only
says that another one may take it. So effects need no clock to be exact.
"""

from __future__ import annotations

TAKE = """
-- Take the part, if nobody has a lease of it. ARGV[3]: where to begin if nobody ever did: 0 or $.
-- Replies with in how many ms to ask again, or 0; the position; and its strikes.
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return {math.max(1, redis.call('PTTL', KEYS[3])), '', 0} end
local token, position, left = unpack(redis.call('HMGET', KEYS[2], 'token', 'position', 'left'))
if token ~= ARGV[1] then  -- else the reply was lost, and this comes a second time
  redis.call('HSET', KEYS[2], 'token', ARGV[1])
  redis.call('HDEL', KEYS[2], 'left')
  local next_one = position and redis.call('XRANGE', KEYS[1], '(' .. position, '+', 'COUNT', 1)
  if token and not left and next_one and #next_one > 0 then  -- its worker may have died with it
    redis.call('HINCRBY', KEYS[2], 'strikes', 1)
  end
end
if not position then
  position = '0-0'
  if ARGV[3] == '$' and redis.call('EXISTS', KEYS[1]) == 1 then
    local about = redis.call('XINFO', 'STREAM', KEYS[1])
    for at = 1, #about, 2 do
      if about[at] == 'last-generated-id' then position = about[at + 1] end
    end
  end
  redis.call('HSET', KEYS[2], 'position', position)
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return {0, position, tonumber(redis.call('HGET', KEYS[2], 'strikes') or 0)}
"""

RENEW = """
-- Say that the part is still in hand. Replies with 0 if it is another's.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return 1
"""

LEAVE = """
-- Give the part back.
if redis.call('HGET', KEYS[2], 'token') == ARGV[1] then redis.call('HSET', KEYS[2], 'left', 1) end
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
"""

_OURS = """
-- ARGV[3], [4]: the position that the worker goes on from, and the entry that it is about.
local token, position = unpack(redis.call('HMGET', KEYS[2], 'token', 'position'))
if token ~= ARGV[1] then return {'lost', ''} end
if position == ARGV[4] then return {'done', ''} end  -- it was here before
if position ~= ARGV[3] then return {'behind', ''} end  -- a failover has lost what was done
"""

COMMIT = (
    _OURS
    + """
-- Move the position behind entries, each together with its effect.
-- KEYS[4] and on: the keys of the effects. ARGV[5] and on: for each entry that has an effect: its
-- ID, number of commands, and for each command how many words it has, and its words.
-- Replies with done, lost, behind; or with failed or half, what Redis said, and of which entry: the
-- position is behind the entry before it.
local about = redis.call('XINFO', 'STREAM', KEYS[1])
local fact = {}
for at = 1, #about, 2 do fact[about[at]] = about[at + 1] end
local function below(one, other)
  local ms, seq = one:match('(%d+)-(%d+)')
  local other_ms, other_seq = other:match('(%d+)-(%d+)')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms < other_ms or ms == other_ms and tonumber(seq) < tonumber(other_seq)
end
-- Replicas have the beginning of what their primary had. So if the last entry is there, or was, all
-- before it were.
if #redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4]) == 0 then
  local first = fact['first-entry'] and fact['first-entry'][1]
  local trimmed = not below(fact['last-generated-id'], ARGV[4])
    and (not first or below(ARGV[4], first) or not below(fact['max-deleted-entry-id'], ARGV[4]))
  if not trimmed then return {'behind', ''} end
end
local at, before = 5, ARGV[3]
while at <= #ARGV do
  local id, commands = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for number = 1, commands do
    local words = tonumber(ARGV[at])
    local said = redis.pcall(unpack(ARGV, at + 1, at + words))
    if type(said) == 'table' and said.err then
      redis.call('HSET', KEYS[2], 'position', before)
      return {number > 1 and 'half' or 'failed', (said.err:gsub('[\\128-\\255]', '?')), id, before}
    end
    at = at + 1 + words
  end
  before = id
end
redis.call('HSET', KEYS[2], 'position', ARGV[4])
redis.call('HDEL', KEYS[2], 'strikes', 'why')
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return {'done', ''}
"""
)

STRIKE = (
    _OURS
    + """
-- Note that an entry has failed so often. ARGV[5]: how often; [6]: why.
if tonumber(redis.call('HGET', KEYS[2], 'strikes') or 0) < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[2], 'strikes', ARGV[5], 'why', ARGV[6])
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return {'done', ''}
"""
)

BURY = (
    _OURS
    + """
-- Move an entry to the dead letters, and the position behind it.
-- KEYS[4]: the dead letters. ARGV[5]: the group; [6]: why; [7]: how often it was tried.
local found = redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4])[1]
if found then
  local letter = {'dead:id', ARGV[4], 'dead:group', ARGV[5], 'dead:consumer', ARGV[1],
    'dead:deliveries', ARGV[7], 'dead:reason', ARGV[6], 'dead:failures', ''}
  for _, word in ipairs(found[2]) do letter[#letter + 1] = word end
  redis.call('XADD', KEYS[4], '*', unpack(letter))
end
redis.call('HSET', KEYS[2], 'position', ARGV[4])
redis.call('HDEL', KEYS[2], 'strikes', 'why')
return {'done', ''}
"""
)

ANNOUNCE = """
-- Say that a worker is at work. KEYS: those of its group. ARGV: its token, how many ms it counts.
-- Replies with the tokens of all that do.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
