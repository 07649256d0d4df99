"""How something is taken over from an owner that may be dead, or only paused: by compare and set.

A hash names the owner in one of its fields. A caller takes it over only from the owner that it
has seen: so of two that try, one is told, and a copy of the call that comes late changes nothing.
"""

from __future__ import annotations

TAKE_OVER = """
local function take_over(key, field, seen, own)  -- gives the owner, and whether it is new
  local owner = redis.call('HGET', key, field) or ''
  if owner == own or owner ~= seen then return owner, false end
  redis.call('HSET', key, field, own)
  return own, true
end
"""
