"""What a stream, its groups and their pending entries look like at one moment, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from helpers.course.errors import CourseError
from helpers.streams.entry import EntryId

NEWEST = 12  # as many boxes as fit side by side
GROUPS, CONSUMERS, PENDING = 6, 8, 7  # the most that are looked at, whatever there is
FIELDS, BYTES = 2, 120  # the most fields of an entry, and bytes of a name or value

LOOK = """
-- Everything at one moment. KEYS: the stream, and its dead letters or nothing.
-- ARGV: the most entries, groups, consumers of a group, pending entries of a consumer, fields
-- of an entry, bytes of a text.
local stream, most = KEYS[1], {}
for at = 1, 6 do most[at] = tonumber(ARGV[at]) end

local function first(list, count)
  local some = {}
  for at = 1, math.min(#list, count) do some[at] = list[at] end
  return some
end

local function pending(group, consumer)
  -- The oldest pending entries of a consumer, each with whether it is still on the stream.
  local found = redis.call('XPENDING', stream, group, '-', '+', most[4], consumer)
  for _, one in ipairs(found) do one[5] = #redis.call('XRANGE', stream, one[1], one[1]) end
  return found
end

local look = {kind = redis.call('TYPE', stream).ok, dead = false}
if KEYS[2] and redis.call('TYPE', KEYS[2]).ok == 'stream' then
  look.dead = redis.call('XLEN', KEYS[2])
end
if look.kind == 'stream' then
  look.length, look.entries, look.groups = redis.call('XLEN', stream), {}, {}
  for at, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', most[1])) do
    local fields = first(entry[2], 2 * most[5])
    for place, text in ipairs(fields) do fields[place] = text:sub(1, most[6]) end
    look.entries[at] = {entry[1], fields, #entry[2] / 2}
  end
  local groups = redis.call('XINFO', 'GROUPS', stream)
  look.group_count = #groups
  for at, info in ipairs(first(groups, most[2])) do
    local group, members = {info = info, held = {}, consumers = {}}
    for _, entry in ipairs(look.entries) do
      local held = redis.call('XPENDING', stream, info[2], entry[1], entry[1], 1)[1]
      group.held[#group.held + 1] = held
    end
    members = redis.call('XINFO', 'CONSUMERS', stream, info[2])
    for place, member in ipairs(first(members, most[3])) do
      group.consumers[place] = {member, pending(info[2], member[2])}
    end
    look.groups[at] = group
  end
end
-- As ASCII, for a value may hold bytes that are no text, or have been cut within a letter.
return (cjson.encode(look):gsub('[\\128-\\255]', function(byte)
  return string.format('\\\\u%04x', byte:byte())
end))
"""


@dataclass(frozen=True)
class Box:
    """An entry of the stream, shortened.

    Attributes:
        id: its ID.
        fields: its first fields, in the order in which they were added.
        more: how many fields are left out.
    """

    id: EntryId
    fields: tuple[tuple[str, str], ...]
    more: int = 0


@dataclass(frozen=True)
class Pending:
    """An entry that was delivered to a consumer and not acknowledged.

    Attributes:
        id: its ID.
        consumer: who holds it.
        idle_ms: the time since it was delivered or claimed last, in milliseconds.
        deliveries: how often it was delivered.
        deleted: it is no longer on the stream.
    """

    id: EntryId
    consumer: str
    idle_ms: int
    deliveries: int
    deleted: bool = False


@dataclass(frozen=True)
class Member:
    """A consumer of a group: its name, how many entries are pending for it, the oldest of them."""

    name: str
    pending: int
    entries: tuple[Pending, ...] = ()


@dataclass(frozen=True)
class GroupLook:
    """A consumer group.

    Attributes:
        name: its name.
        cursor: its last delivered ID.
        lag: how many entries it has still to read; None where the server does not know.
        pending: how many entries are pending for all its consumers.
        members: its consumers, by name.
        more: how many consumers are left out.
        held: which of the newest entries are pending, and who holds each.
    """

    name: str
    cursor: EntryId
    lag: int | None
    pending: int
    members: tuple[Member, ...]
    more: int
    held: Mapping[EntryId, str]

    def unread(self, id: EntryId) -> bool:
        """True for an entry behind the cursor, which the group has still to read."""
        return id > self.cursor

    def holders(self) -> dict[EntryId, str]:
        """Who holds each of the pending entries that this look knows of."""
        listed = {one.id: one.consumer for member in self.members for one in member.entries}
        return listed | dict(self.held)


@dataclass(frozen=True)
class Snapshot:
    """A stream at one moment, as plain data: `text`, `draw` and `Still` show it.

    Attributes:
        stream: its key.
        kind: what TYPE says: `stream`, or `none`, or something that is no stream.
        length: how many entries it has.
        newest: how many of them were asked for.
        entries: the newest ones, oldest first.
        groups: its consumer groups, by name.
        more: how many groups are left out.
        dead_letters: how many there are; None where their key is not a stream.
    """

    stream: str
    kind: str
    length: int = 0
    newest: int = NEWEST
    entries: tuple[Box, ...] = ()
    groups: tuple[GroupLook, ...] = ()
    more: int = 0
    dead_letters: int | None = None


def snapshot(
    client: redis.Redis, stream: str, *, newest: int = NEWEST, dead_letters: str | None = None
) -> Snapshot:
    """Look at a stream, in one script and so at one moment.

    The cost does not grow with the stream or its pending entries. XINFO STREAM FULL would be
    one command too, but its COUNT is of the oldest entries.

    Args:
        client: any client.
        stream: the stream's key; it need not exist.
        newest: how many of its entries to show, 1 to 12.
        dead_letters: the key of the dead letters, if they are to be counted.

    Raises:
        CourseError: a number of entries that does not fit in a picture.
    """
    keys, args = _call(stream, newest, dead_letters)
    return parse(client.register_script(LOOK)(keys=keys, args=args), stream, newest)


async def snapshot_async(
    client: redis.asyncio.Redis,
    stream: str,
    *,
    newest: int = NEWEST,
    dead_letters: str | None = None,
) -> Snapshot:
    """The same for asyncio: see `snapshot`."""
    keys, args = _call(stream, newest, dead_letters)
    return parse(await client.register_script(LOOK)(keys=keys, args=args), stream, newest)


def parse(reply: str | bytes, stream: str, newest: int) -> Snapshot:
    """The snapshot in the reply of the script."""
    look = _texts(json.loads(reply))
    dead = None if look["dead"] is False else int(look["dead"])
    if look["kind"] != "stream":
        return Snapshot(stream, look["kind"], newest=newest, dead_letters=dead)
    groups = tuple(map(_group, look["groups"]))
    return Snapshot(
        stream,
        "stream",
        length=look["length"],
        newest=newest,
        entries=tuple(map(_box, reversed(list(look["entries"])))),
        groups=groups,
        more=look["group_count"] - len(groups),
        dead_letters=dead,
    )


def moved(before: Snapshot, after: Snapshot) -> frozenset[tuple[str, EntryId]]:
    """The groups' entries that another consumer holds now than before: they were claimed."""
    earlier = {group.name: group.holders() for group in before.groups}
    return frozenset(
        (group.name, entry_id)
        for group in after.groups
        for entry_id, consumer in group.holders().items()
        if earlier.get(group.name, {}).get(entry_id, consumer) != consumer
    )


def _call(stream: str, newest: int, dead_letters: str | None) -> tuple[list[str], list[int]]:
    if not 1 <= newest <= NEWEST:
        raise CourseError(f"A theatre shows 1 to {NEWEST} entries, not {newest}.")
    keys = [stream, dead_letters] if dead_letters else [stream]
    return keys, [newest, GROUPS, CONSUMERS, PENDING, FIELDS, BYTES]


def _texts(value: Any) -> Any:
    """Give texts their letters back: the script sends one `\\u00..` for each byte beyond ASCII."""
    match value:
        case str():
            return value.encode("latin-1").decode(errors="replace")
        case list():
            return [_texts(one) for one in value]
        case dict():
            return {name: _texts(one) for name, one in value.items()}
    return value


def _box(entry: list[Any]) -> Box:
    entry_id, fields, count = entry
    pairs = tuple(_pairs(fields))
    return Box(EntryId.parse(entry_id), pairs, int(count) - len(pairs))


def _group(group: dict[str, Any]) -> GroupLook:
    info = dict(_pairs(group["info"]))
    members = tuple(_member(*one) for one in group["consumers"])
    return GroupLook(
        name=info["name"],
        cursor=EntryId.parse(info["last-delivered-id"]),
        # A count of reads that was made up, by ENTRIESREAD, gives one below 0.
        lag=None if info["lag"] is False or info["lag"] < 0 else info["lag"],
        pending=info["pending"],
        members=members,
        more=info["consumers"] - len(members),
        held={EntryId.parse(one[0]): one[1] for one in group["held"]},
    )


def _member(info: list[Any], pending: list[Any]) -> Member:
    named = dict(_pairs(info))
    return Member(named["name"], named["pending"], tuple(_pending(*one) for one in pending))


def _pending(id: str, consumer: str, idle_ms: int, deliveries: int, there: int) -> Pending:
    return Pending(EntryId.parse(id), consumer, int(idle_ms), int(deliveries), not there)


def _pairs(flat: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
    """Names and values that follow each other in one list; an empty list is `{}` to Lua."""
    items = list(flat)
    return zip(items[::2], items[1::2], strict=True)
