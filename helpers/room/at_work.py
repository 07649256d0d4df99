"""A board at work: it keeps and counts, and says what it shows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import redis.asyncio

from helpers.course.authoring.runsheet import Route
from helpers.room.board import Exercise, counted, shown
from helpers.room.classes import Class
from helpers.room.commits import Commits
from helpers.room.counting import Counting
from helpers.room.keeping import Seats
from helpers.room.limits import Budget, Budgets
from helpers.room.telling import told
from helpers.room.view import Board as Shown
from helpers.streams.clock import ms_of, utc_now

WRONG_CODES, WRONG_CODES_S = 30, 0.5  # of an address, then so many a second
JOINS, JOINS_S = 250, 0.2  # of an address, which a whole class may share
AGAIN_MS = 5000  # after which it is told again: someone is stuck for longer
SHARE = 6  # to read the board takes a sixth of the time at most: seats come first
SAYINGS, SAYINGS_S = 5, 0.05  # sentences for the instructor, then so many a second
Asked = tuple[tuple[str, str], ...]


@dataclass
class Board:
    """A board at work: what the handlers share.

    Attributes:
        room: the class.
        catalogue: exercise → number → what a mistake is.
        routes: the run-sheets that the class may follow.
        join: the command with which a seat joins.
        names: by which this machine may be called, besides its addresses.
        secure: whether it is spoken to over TLS.
        say: what to do with a sentence for the instructor.
    """

    room: Class
    seats: Seats
    client: redis.asyncio.Redis
    exercises: Sequence[Exercise]
    catalogue: dict[str, dict[int, str]]
    routes: Sequence[Route] = ()
    join: str = ""
    names: Collection[str] = ()
    secure: bool = False
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.commits = Commits(self.client, self.tell)
        known = {one.id: self.catalogue.get(one.id, {}) for one in self.exercises}
        self.counting = Counting(self.client, self.room.keys, known)
        self.wrong_codes = Budgets(WRONG_CODES, WRONG_CODES_S)
        self.joins = Budgets(JOINS, JOINS_S)
        self.closed = self.room.closed is not None
        self.live = 0  # pages that are told
        self.changes = 0  # grows with what the page shows, but for the counts
        self._shown: Shown
        self._version: object = None
        self._told: dict[Asked, str] = {}
        self._next_at = 0.0
        self._reading = asyncio.Lock()
        self._sayings = Budget(SAYINGS, SAYINGS_S)

    def tell(self, sentence: str) -> None:
        """Say something to the instructor, unless much was said already."""
        if self._sayings.spend():
            self.say(sentence)

    async def said(self, asked: Asked = ()) -> str:
        """The board as JSON, as a page asked for it; it is read when it has changed, or is old."""
        async with self._reading:
            version = self.changes, self.counting.version, ms_of(utc_now()) // AGAIN_MS
            begun = time.monotonic()
            if self._version != version and begun >= self._next_at:
                self._shown, self._told, self._version = await self.now(), {}, version
                self._next_at = begun + SHARE * (time.monotonic() - begun)
            if asked not in self._told:
                data = told(self._shown, self.catalogue, self.routes, dict(asked))
                self._told[asked] = json.dumps(data, separators=(",", ":"))
            return self._told[asked]

    async def now(self) -> Shown:
        """What the board shows."""
        now_ms = ms_of(utc_now())
        counts = await counted(self.client, self.room.keys, now_ms)
        self.closed = counts.closed is not None
        seats = [seat for seat in self.seats.all.values() if seat.kept]
        board = shown(self.room, self.exercises, seats, counts, now_ms) | {"join": self.join}
        return cast(Shown, board)

    async def run(self) -> None:
        """Keep and count until cancelled."""
        both = [asyncio.create_task(self.commits.run()), asyncio.create_task(self.counting.run())]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
