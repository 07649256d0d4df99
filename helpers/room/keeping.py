"""The stream of a class: who is in it, and events that are added once, whatever is sent again.

    {class:ID}:about     a hash: title, when it was opened and closed, code, key, address
    {class:ID}:seats     a set: the numbers of its seats
    {class:ID}:seat:7    a hash: a seat's name, the digest of its secret, the number of its last
                         event, when it was heard, what it dropped and what waits there
    {class:ID}:events    the stream

A seat sends an event again until its number is confirmed. `APPEND` asks which numbers the stream
had before it adds any, in one step. So a lost reply, a copy, or a board that was killed makes no
second entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helpers.room.events import Handed
from helpers.room.limits import Budget
from helpers.room.names import digest, folded

MOST_SEATS = 1000
IDLE_MS = 120_000  # then a seat that never sent anything may be given to another
MOST_UNCOUNTED = 200_000  # events on the stream: then seats keep theirs for a while
AT_ONCE, EACH_S = 12_000, 20  # events of a seat: all that it may have kept, then so many a second
REQUESTS, REQUESTS_S = 120, 10

APPEND = """
-- Add a seat's events that are not on the stream yet.
-- KEYS: the class, the seat, the stream. ARGV: the seat's number, the time in ms, what it has
-- dropped, what waits there, how long the stream may be; then for each event its five values.
-- Replies with kept, closed, left, unknown or full, and the number of the last event kept.
local known, upto, left = unpack(redis.call('HMGET', KEYS[2], 'digest', 'upto', 'left'))
if not known then return {'unknown', 0} end
upto = upto or '0'
if redis.call('HEXISTS', KEYS[1], 'closed') == 1 then return {'closed', tonumber(upto)} end
if left then return {'left', tonumber(upto)} end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[5]) then return {'full', tonumber(upto)} end
for at = 6, #ARGV, 5 do
  if tonumber(ARGV[at]) > tonumber(upto) then
    upto = ARGV[at]
    redis.call('XADD', KEYS[3], '*', 'seat', ARGV[1], 'n', upto, 'exercise', ARGV[at + 1],
      'outcome', ARGV[at + 2], 'hint', ARGV[at + 3], 'seconds', ARGV[at + 4])
  end
end
redis.call('HSET', KEYS[2], 'upto', upto, 'seen', ARGV[2], 'dropped', ARGV[3], 'waiting', ARGV[4])
return {'kept', tonumber(upto)}
"""

Command = tuple[Any, ...]


@dataclass(frozen=True)
class Keys:
    """The names of a class's keys, which share a hash slot."""

    id: str

    def __getattr__(self, name: str) -> str:
        """The key of this name: `about`, `events`, or one of the counts."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self.of(name)

    def of(self, name: str) -> str:
        """The key of this name."""
        return f"{{class:{self.id}}}:{name}"

    def seat(self, number: int) -> str:
        """The key of a seat."""
        return self.of(f"seat:{number}")


@dataclass
class Seat:
    """A seat, as the board knows it while it is at work.

    Attributes:
        number: its number in the class, from 1 on.
        name: what it is called.
        digest: by which its secret is known.
        upto: the number of the last event on the stream.
        kept: whether it is known to be on the disk.
    """

    number: int
    name: str
    digest: str
    seen: int
    upto: int = 0
    dropped: int = 0
    waiting: int = 0
    left: int | None = None
    kept: bool = True
    busy: int = 0  # requests that are writing it
    in_flight: int = 0  # requests of it that wait
    events: Budget = field(default_factory=lambda: Budget(AT_ONCE, EACH_S))
    requests: Budget = field(default_factory=lambda: Budget(REQUESTS, REQUESTS_S))

    @classmethod
    def read(cls, number: int, kept: Mapping[str, str]) -> Seat:
        """A seat as it is kept."""
        upto, dropped, waiting = (int(kept.get(name, 0)) for name in ("upto", "dropped", "waiting"))
        seen = int(kept.get("seen") or kept["joined"])
        left = int(kept["left"]) if "left" in kept else None
        return cls(number, kept["name"], kept["digest"], seen, upto, dropped, waiting, left)


class Seats:
    """All seats of a class, found by name and by secret. Only one board has them at a time."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.all: dict[int, Seat] = {}
        self._by_name: dict[str, Seat] = {}
        self._by_digest: dict[str, Seat] = {}

    def add(self, seat: Seat) -> Seat:
        """Take a seat in."""
        if before := self.all.get(seat.number):
            self._by_digest.pop(before.digest, None)
            self._by_name.pop(folded(before.name), None)
        self.all[seat.number] = self._by_name[folded(seat.name)] = seat
        self._by_digest[seat.digest] = seat
        return seat

    def called(self, name: str) -> Seat | None:
        """The seat of this name."""
        return self._by_name.get(folded(name))

    def with_secret(self, secret: str) -> Seat | None:
        """The seat whose secret this is."""
        return self._by_digest.get(digest(secret))

    @property
    def full(self) -> bool:
        """Whether no further seat is taken in."""
        return len(self.all) >= MOST_SEATS

    def idle(self, now_ms: int) -> Seat | None:
        """Of those that joined a while ago and never sent anything, the one that joined first.

        In a full class its place is free: so those who fill a class keep no one out for long.
        """
        found = (
            one
            for one in self.all.values()
            if not one.upto and not one.busy and not one.in_flight and one.seen <= now_ms - IDLE_MS
        )
        return min(found, key=lambda one: (one.seen, one.number), default=None)

    def join(self, seat: Seat) -> list[Command]:
        """The commands that keep a seat; they can be sent again. The last says if it's closed."""
        keys = self.keys
        kept = ("name", seat.name, "digest", seat.digest, "joined", seat.seen)
        return [
            ("HDEL", keys.seat(seat.number), "left"),  # of the one who had its place before
            ("HSET", keys.seat(seat.number), *kept),
            ("SADD", keys.seats, seat.number),
            ("HEXISTS", keys.about, "closed"),
        ]

    def append(self, seat: Seat, handed: Handed, now_ms: int) -> list[Command]:
        """The command that keeps a seat's events; it can be sent again."""
        keys = self.keys
        words: list[Any] = [seat.number, now_ms, handed.dropped, handed.waiting, MOST_UNCOUNTED]
        for one in handed.events:
            words += (one.n, one.exercise, one.outcome, one.hint, one.seconds)
        return [("EVAL", APPEND, 3, keys.about, keys.seat(seat.number), keys.events, *words)]

    def leave(self, seat: Seat, now_ms: int) -> list[Command]:
        """The command that ends a seat."""
        return [("HSET", self.keys.seat(seat.number), "left", now_ms)]
