"""Consumer groups: create, look into, move and remove them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import redis
import redis.asyncio

from .connection import Client
from .entry import LAST, EntryId
from .errors import EntryIdError, PendingError, explain, no_group
from .keys import expect_name, notes_of
from .scan import Bound, Range, bounds
from .slots import AsyncClient, SyncClient, client_for
from .steps import Run, Step, Steps, drive, drive_async
from .text import text_of, undecoded

COUNTED = 1000  # unread entries are counted up to here where the server does not know the lag

LOOK = """#!lua flags=no-writes,allow-oom
-- A stream and its groups as they are at one moment: their fields, but of entries only the IDs.
-- KEYS: the stream.
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
for at = 2, #stream, 2 do
  if type(stream[at]) == 'table' then stream[at] = stream[at][1] end
end
return {stream, redis.call('XINFO', 'GROUPS', KEYS[1])}
"""

DESTROY = """
-- Destroy a group, unless that would drop pending entries, and what is noted of its consumers.
-- KEYS: the stream, names, failures, sweep. ARGV: group, 1 to drop them all the same.
-- Replies with 1 if the group was destroyed, and how many entries were pending.
local summary = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if summary.err then
  if summary.err:find('^NOGROUP') then return {0, 0} end
  return summary
end
if summary[1] > 0 and ARGV[2] ~= '1' then return {0, summary[1]} end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return {redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]), summary[1]}
"""

REMOVE = """
-- Remove a consumer, unless that would drop pending entries.
-- KEYS: the stream, names. ARGV: group, consumer.
-- Replies with 1 if the consumer was removed, and how many entries are pending.
for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = {}
  for at = 1, #found, 2 do about[found[at]] = found[at + 1] end
  if about['name'] == ARGV[2] then
    if about['pending'] > 0 then return {0, about['pending']} end
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    redis.call('HDEL', KEYS[2], ARGV[2])
    return {1, 0}
  end
end
return {0, 0}
"""


@dataclass(frozen=True)
class GroupInfo:
    """What the server knows of a group.

    Attributes:
        name: the group's name.
        consumers: how many consumers it has, also those that are gone without a word.
        pending: how many entries were delivered and not acknowledged.
        last_delivered: the group's cursor. `>` delivers what comes after it.
        entries_read: how many entries were added up to the cursor, if the server knows it.
            Redis 7.0 says too few once unread entries were removed.
        lag: how many entries come after the cursor, or None if that cannot be known without
            counting more than 1,000.
    """

    name: str
    consumers: int
    pending: int
    last_delivered: EntryId
    entries_read: int | None
    lag: int | None


@dataclass(frozen=True)
class ConsumerInfo:
    """What the server knows of one consumer of a group; times in milliseconds.

    Attributes:
        name: the consumer's name; bytes in it that are no UTF-8 show as `\\xff`.
        pending: how many entries it got and did not acknowledge.
        idle_ms: since it last read or claimed. XACK does not count. A read that found nothing
            new counts since Redis 7.2 and on Valkey; Redis 7.0 ignores it.
        inactive_ms: since it last got an entry. None: it never did, or the server is Redis 7.0
            and does not say.
    """

    name: str
    pending: int
    idle_ms: int
    inactive_ms: int | None


@dataclass(frozen=True)
class PendingSummary:
    """How many entries of a group are pending, and whose they are.

    `first` and `last` are the smallest and the largest of their IDs, None if there are none.
    """

    count: int
    first: EntryId | None
    last: EntryId | None
    by_consumer: dict[str, int]


@dataclass(frozen=True)
class PendingEntry:
    """An entry that was delivered and not acknowledged.

    Attributes:
        id: its ID. The entry itself may have been deleted since.
        consumer: whose pending entries list it is in.
        idle_ms: milliseconds since it was last delivered.
        deliveries: how often it was delivered, by reading, by reading again, or by claiming.
    """

    id: EntryId
    consumer: str
    idle_ms: int
    deliveries: int


class _Group(Generic[Client]):
    """What both groups have in common: what they send, and what the replies mean."""

    def __init__(self, client: SyncClient | AsyncClient, stream: str, name: str) -> None:
        self._client: Client = client_for(client, [stream])
        self._raw = undecoded(self._client)  # a name may be no UTF-8
        self.stream = expect_name("stream", stream)
        self.name = expect_name("group", name)
        self._keys = [stream, *notes_of(stream, name)]

    def _ask(self, step: Step) -> Steps[Any]:
        try:
            return (yield step)
        except redis.ResponseError as error:
            raise explain(error, self.stream, self.name) from error

    def _create(self, start: str | EntryId, make_stream: bool) -> Steps[bool]:
        place = expect_place(start)
        try:
            yield lambda: self._client.xgroup_create(self.stream, self.name, place, make_stream)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise explain(error, self.stream, self.name) from error
            return False  # it exists already
        return True

    def _destroy(self, even_if_pending: bool) -> Steps[bool]:
        args = [self.name, int(even_if_pending)]
        done, pending = yield from self._ask(Run(DESTROY, self._keys, args))
        if pending and not even_if_pending:
            raise self._still(
                f"The group {self.name!r}", pending,
                "and XGROUP DESTROY would drop the list of them: handle and acknowledge them "
                "first, or say destroy(even_if_pending=True).",
            )  # fmt: skip
        return bool(done)

    def _remove_consumer(self, name: str) -> Steps[bool]:
        done, pending = yield from self._ask(Run(REMOVE, self._keys[:2], [self.name, name]))
        if pending:
            raise self._still(
                repr(name), pending,
                "which XGROUP DELCONSUMER would drop: first let another consumer claim what is "
                "pending, or acknowledge it.",
            )  # fmt: skip
        return bool(done)

    def _still(self, who: str, count: int, so: str) -> PendingError:
        entries = "entry" if count == 1 else "entries"
        return PendingError(
            f"{who} still has {count} pending {entries}, {so}", stream=self.stream, group=self.name
        )

    def _info(self) -> Steps[GroupInfo]:
        reply = yield from self._ask(lambda: self._raw.eval(LOOK, 1, self.stream))
        stream, groups = text_of(reply)
        found = next((one for one in map(paired, groups) if one["name"] == self.name), None)
        if found is None:
            raise no_group(self.stream, self.name)
        cursor, lag = found["last-delivered-id"], lag_of(paired(stream), found)
        if lag is None:
            unread = yield from self._ask(
                lambda: self._raw.xrange(self.stream, f"({cursor}", count=COUNTED)
            )
            lag = len(unread) if len(unread) < COUNTED else None
        return GroupInfo(
            name=self.name,
            consumers=found["consumers"],
            pending=found["pending"],
            last_delivered=EntryId.parse(cursor),
            entries_read=found["entries-read"],
            lag=lag,
        )

    def _consumers(self) -> Steps[list[ConsumerInfo]]:
        reply = yield from self._ask(lambda: self._raw.xinfo_consumers(self.stream, self.name))
        return [
            ConsumerInfo(
                name=found["name"],
                pending=found["pending"],
                idle_ms=found["idle"],
                inactive_ms=found["inactive"] if found.get("inactive", -1) >= 0 else None,
            )
            for found in text_of(reply)
        ]

    def _pending_summary(self) -> Steps[PendingSummary]:
        reply = text_of((yield from self._ask(lambda: self._raw.xpending(self.stream, self.name))))
        return PendingSummary(
            count=reply["pending"],
            first=EntryId.parse(reply["min"]) if reply["min"] else None,
            last=EntryId.parse(reply["max"]) if reply["max"] else None,
            by_consumer={found["name"]: found["pending"] for found in reply["consumers"]},
        )

    def _page(
        self, left: Range, page: int, consumer: str | None, min_idle_ms: int
    ) -> Steps[tuple[list[PendingEntry], Range | None]]:
        """Pending entries of a range, as many as a page holds, and what is left of the range."""
        reply = yield from self._ask(
            lambda: self._raw.xpending_range(
                self.stream, self.name, *left, page, consumer, min_idle_ms or None
            )
        )
        found = [
            PendingEntry(
                id=EntryId.parse(one["message_id"]),
                consumer=one["consumer"],
                idle_ms=one["time_since_delivered"],
                deliveries=one["times_delivered"],
            )
            for one in text_of(reply)
        ]
        if len(found) < page or found[-1].id == LAST:  # Redis refuses `(` with the largest ID
            return found, None
        return found, (f"({found[-1].id}", left[1])

    def _move(self, to: str | EntryId) -> Steps[None]:
        place = expect_place(to)
        yield from self._ask(lambda: self._client.xgroup_setid(self.stream, self.name, place))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redis, {self.stream!r}, {self.name!r})"


class Group(_Group[redis.Redis]):
    """A consumer group of a stream: how it stands, and what to do with it.

        >>> group = Group(redis, "chennai", "display")
        >>> group.create("0", make_stream=True)
        True
        >>> group.info().pending
        0

    What its methods raise when the group or its stream does not exist is a GroupError.
    """

    def create(self, start: str | EntryId = "$", *, make_stream: bool = False) -> bool:
        """Create the group, by XGROUP CREATE; False if there is one of this name already.

        One that exists is left as it is, wherever it stands.

        Args:
            start: where the group begins. `$`: it sees what is added from now on. `0`: it sees
                all that is on the stream. An ID: it sees what comes after that one.
            make_stream: make an empty stream if there is none (MKSTREAM).

        Raises:
            GroupError: there is no such stream.
            EntryIdError: the start is none.
            WrongTypeError: the key is not a stream.
        """
        return drive(self._client, self._create(start, make_stream))

    def destroy(self, *, even_if_pending: bool = False) -> bool:
        """Destroy the group, by XGROUP DESTROY; False if there is none.

        Lost are its cursor, its consumers, and the list of what is pending: a new group of
        this name starts anew. The entries stay on the stream.

        Raises:
            PendingError: entries are pending. With `even_if_pending` it is done all the same.
        """
        return drive(self._client, self._destroy(even_if_pending))

    def info(self) -> GroupInfo:
        """How the group stands, by XINFO STREAM and XINFO GROUPS in one script.

        The lag is right or None: see `lag_of`. Where the server does not know it, unread
        entries are counted by XRANGE, up to 1,000 of them.
        """
        return drive(self._client, self._info())

    def consumers(self) -> list[ConsumerInfo]:
        """The group's consumers, by XINFO CONSUMERS."""
        return drive(self._client, self._consumers())

    def pending_summary(self) -> PendingSummary:
        """How many entries are pending, and whose, by XPENDING."""
        return drive(self._client, self._pending_summary())

    def pending(
        self,
        *,
        consumer: str | None = None,
        min_idle_ms: int = 0,
        start: Bound = "-",
        end: Bound = "+",
        page: int = 1000,
    ) -> Iterator[PendingEntry]:
        """The entries that are pending, in the order of their IDs, by XPENDING with a range.

        Args:
            consumer: only those of this consumer.
            min_idle_ms: only those that were last delivered so many milliseconds ago, or more.
            start, end: the range of IDs, as for `scan`.
            page: entries a reply.
        """
        left: Range | None = bounds(start, end, page)
        while left:
            found, left = drive(self._client, self._page(left, page, consumer, min_idle_ms))
            yield from found

    def remove_consumer(self, name: str) -> bool:
        """Remove a consumer that has nothing pending; False if there is none of this name.

        XGROUP DELCONSUMER would drop its pending entries for good: neither `>` nor XAUTOCLAIM
        would deliver them again. So a script looks first, in the same step.

        Raises:
            PendingError: the consumer still has pending entries.
        """
        return drive(self._client, self._remove_consumer(name))

    def move(self, to: str | EntryId) -> None:
        """Set the group's cursor, by XGROUP SETID: `>` goes on after it.

        Backwards, entries are delivered again, also those that were acknowledged; one that is
        still pending then belongs to the consumer that reads it. Forwards, to `$` for example,
        what lies between is never delivered. What is pending stays pending.

        Args:
            to: `$` for the end, `0` for the beginning, or an ID.
        """
        drive(self._client, self._move(to))


class AsyncGroup(_Group[redis.asyncio.Redis]):
    """The same for asyncio: `await group.info()`, `async for entry in group.pending()`."""

    async def create(self, start: str | EntryId = "$", *, make_stream: bool = False) -> bool:
        """Create the group; False if there is one of this name already: see `Group.create`."""
        return await drive_async(self._client, self._create(start, make_stream))

    async def destroy(self, *, even_if_pending: bool = False) -> bool:
        """Destroy the group; False if there is none: see `Group.destroy`."""
        return await drive_async(self._client, self._destroy(even_if_pending))

    async def info(self) -> GroupInfo:
        """How the group stands, with a lag that is right or None: see `Group.info`."""
        return await drive_async(self._client, self._info())

    async def consumers(self) -> list[ConsumerInfo]:
        """The group's consumers, by XINFO CONSUMERS."""
        return await drive_async(self._client, self._consumers())

    async def pending_summary(self) -> PendingSummary:
        """How many entries are pending, and whose, by XPENDING."""
        return await drive_async(self._client, self._pending_summary())

    async def pending(
        self,
        *,
        consumer: str | None = None,
        min_idle_ms: int = 0,
        start: Bound = "-",
        end: Bound = "+",
        page: int = 1000,
    ) -> AsyncIterator[PendingEntry]:
        """The entries that are pending, in the order of their IDs: see `Group.pending`."""
        left: Range | None = bounds(start, end, page)
        while left:
            steps = self._page(left, page, consumer, min_idle_ms)
            found, left = await drive_async(self._client, steps)
            for entry in found:
                yield entry

    async def remove_consumer(self, name: str) -> bool:
        """Remove a consumer that has nothing pending: see `Group.remove_consumer`."""
        return await drive_async(self._client, self._remove_consumer(name))

    async def move(self, to: str | EntryId) -> None:
        """Set the group's cursor: see `Group.move`."""
        await drive_async(self._client, self._move(to))


def expect_place(start: str | EntryId) -> str:
    """Where a group's cursor may be put: `$`, `0` or another ID.

    Raises:
        EntryIdError: it is neither.
    """
    if start == "$":
        return "$"
    try:
        return str(EntryId.parse(start))
    except EntryIdError as error:
        raise EntryIdError(f"A group can't begin at {start!r}: use '$', '0' or an ID.") from error


def paired(flat: list[Any]) -> dict[str, Any]:
    """A mapping that a script replied as field, value, field, value, …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def lag_of(stream_info: Mapping[str, Any], group: Mapping[str, Any]) -> int | None:
    """How many entries a group has yet to read, or None if these replies cannot tell.

    At both ends of the stream the cursor alone tells. In between, XINFO GROUPS subtracts the
    group's count of reads from the stream's count of XADDs. That is right only if no entry was
    ever removed: one that was trimmed or deleted before the group came to it was added, but is
    never read. After an XDEL ahead of the cursor servers say null. Otherwise Redis 8.2 gives
    the right lag. Valkey 9.1 gives too much until the group has read past what was trimmed,
    and Redis 7.0 also after that. Replies that are right look the same, so none is trusted.

    A count that was made up, with ENTRIESREAD or XSETID, cannot be seen through, unless the lag
    comes out negative.
    """
    length = stream_info["length"]
    if not length:
        return 0
    cursor = EntryId.parse(group["last-delivered-id"])
    first = EntryId.parse(stream_info["first-entry"])
    if cursor >= EntryId.parse(stream_info["last-entry"]):
        return 0
    if cursor <= first:
        return length - (cursor == first)
    lag: int | None = group["lag"] if stream_info["entries-added"] == length else None
    return None if lag is not None and lag < 0 else lag
