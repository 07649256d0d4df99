"""The class board's stream and its counts: each event once, whatever is lost or killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from helpers import connect_async
from helpers.bench.trips import counted_async
from helpers.chaos import Fault, Proxy
from helpers.course.errors import CourseError
from helpers.course.server import find_server
from helpers.room import commits as committing
from helpers.room.board import Exercise, counted, shown
from helpers.room.classes import CURRENT, Visit, close, expect_over, keep, new_class, seats_of
from helpers.room.commits import Commits, UnkeptError
from helpers.room.counting import Counting, rank, unranked
from helpers.room.events import MOST_HINT, MOST_N, OUTCOMES, Event, Handed
from helpers.room.keeping import Seat, Seats
from helpers.room.names import digest
from helpers.streams import Entry, EntryId
from tests.lives import Life
from tests.room_lives import count_and_die

SHEET = [Exercise("03.1", "Who gets what?", True, 4), Exercise("03.2", "The group", False, 7)]
KNOWN = {one.id: (2, 7) for one in SHEET}


def events(*numbers: int, exercise: str = "03.1", outcome: str = "wrong", hint: int = 2) -> Handed:
    """A request with the events of these numbers."""
    return Handed(tuple(Event(n, exercise, outcome, hint, 10 * n) for n in numbers), 0, 0)


class Room:
    """A class with a seat, its counting held back until it is asked for."""

    def __init__(self, client: Any) -> None:
        self.client, self.its = client, new_class()
        self.commits, self.seats = Commits(client), Seats(self.its.keys)

    async def join(self, name: str = "seat 1") -> Seat:
        seat = self.seats.add(Seat(len(self.seats.all) + 1, name, digest(name), 1))
        await self.commits.commit(self.seats.join(seat))
        return seat

    async def send(self, seat: Seat, handed: Handed) -> tuple[str, int]:
        [(how, upto)] = await self.commits.commit(self.seats.append(seat, handed, 5))
        return how, upto

    async def count(self) -> dict[str, Any]:
        """What the board shows when all is counted."""
        counting = Counting(self.client, self.its.keys, KNOWN)
        run = asyncio.create_task(counting.run())
        try:
            async with asyncio.timeout(30):
                while await self.client.xlen(self.its.keys.events):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                counts = await counted(self.client, self.its.keys, 10**12)
        finally:
            counting.stop()
            await run
        return shown(self.its, SHEET, self.seats.all.values(), counts, 10**12)


@asynccontextmanager
async def room(client: Any = None) -> AsyncIterator[Room]:
    """A class on this run's server."""
    client = client or connect_async()
    one = Room(client)
    await keep(client, one.its)
    work = asyncio.create_task(one.commits.run())
    try:
        yield one
    finally:
        work.cancel()
        await client.aclose()


def cell(board: dict[str, Any], exercise: str = "03.1", seat: int = 0) -> dict[str, Any]:
    return board["seats"][seat]["cells"][exercise]


# ------------------------------------------------------------------ added once


def test_an_event_that_is_sent_again_is_on_the_stream_once(redis):
    async def play() -> None:
        async with room() as one:
            seat = await one.join()
            assert await one.send(seat, events(1, 2, 3)) == ("kept", 3)
            assert await one.send(seat, events(1, 2, 3)) == ("kept", 3)
            assert await one.send(seat, events(2, 3, 4)) == ("kept", 4)
            assert await one.send(seat, events(1)) == ("kept", 4)  # a late copy
            assert await one.send(seat, events()) == ("kept", 4)
            other = await one.join("seat 2")
            assert await one.send(other, events(1)) == ("kept", 1)
            kept = await one.client.xrange(one.its.keys.events)
            assert [(entry["seat"], entry["n"]) for _, entry in kept] == [
                *(("1", str(n)) for n in (1, 2, 3, 4)),
                ("2", "1"),
            ]
            board = await one.count()
            assert (board["totals"]["events"], cell(board)["tries"]) == (5, 4)

    asyncio.run(play())


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.CUT_BEFORE])
def test_a_request_whose_reply_is_lost_on_the_way_to_the_server_is_kept_once(redis, fault):
    async def play() -> None:
        with Proxy(find_server().url) as proxy:
            async with room(proxy.connect_async()) as one:
                seat = await one.join()
                proxy.arm(fault, "EVAL")
                both = one.send(seat, events(1, 2)), one.send(seat, events(1, 2, 3))
                assert [*await asyncio.gather(*both)] == [("kept", 2), ("kept", 3)]
                assert await one.client.xlen(one.its.keys.events) == 3

    asyncio.run(play())


def test_requests_that_wait_share_a_round_trip_and_are_kept_in_their_order(redis):
    async def play() -> None:
        client, trips = counted_async(connect_async())
        async with room(client) as one:
            seats = [await one.join(f"seat {n}") for n in range(20)]
            trips.reset()
            sent = [one.send(seat, events(n)) for n in (1, 2) for seat in seats]
            assert await asyncio.gather(*sent) == 20 * [("kept", 1)] + 20 * [("kept", 2)]
            assert (trips.commands, trips.trips) == (40, 1)

    asyncio.run(play())


def test_what_the_server_does_not_take_in_time_is_given_back(redis, monkeypatch):
    monkeypatch.setattr(committing, "PATIENCE_S", 0.05)

    async def play() -> None:
        with Proxy(find_server().url) as proxy:
            async with room(proxy.connect_async()) as one:
                seat = await one.join()
                for time in range(1, 50):
                    proxy.arm(Fault.CUT_BEFORE, ("EVAL", time))
                with pytest.raises(UnkeptError):
                    await one.send(seat, events(1))
                proxy.reset()
                assert await one.send(seat, events(1, 2)) == ("kept", 2)
                monkeypatch.setattr(committing, "MOST_WAITING", 0)
                with pytest.raises(UnkeptError):
                    await one.send(seat, events(3))

    asyncio.run(play())


def test_a_class_that_is_over_a_seat_that_left_and_a_full_stream_take_nothing(redis, monkeypatch):
    async def play() -> None:
        async with room() as one:
            seat, gone = await one.join(), await one.join("seat 2")
            await one.commits.commit(one.seats.leave(gone, 7))
            assert await one.send(gone, events(1)) == ("left", 0)
            stranger = Seat(3, "seat 3", "", 1)
            assert await one.send(stranger, events(1)) == ("unknown", 0)
            monkeypatch.setattr("helpers.room.keeping.MOST_UNCOUNTED", 2)
            assert await one.send(seat, events(1, 2)) == ("kept", 2)
            assert await one.send(seat, events(2, 3)) == ("full", 2)
            assert cell(await one.count())["tries"] == 2
            assert await one.send(seat, events(2, 3)) == ("kept", 3)
            await close(one.client, one.its)
            assert await one.send(seat, events(4)) == ("closed", 3)
            kept = await seats_of(one.client, one.its)
            assert [(s.name, s.upto, s.left) for s in kept.all.values()] == [
                ("seat 1", 3, None), ("seat 2", 0, 7),
            ]  # fmt: skip

    asyncio.run(play())


# ------------------------------------------------------------------ counted once


def test_what_can_be_forgotten_is_over_and_no_board_has_it(redis):
    async def work() -> list[str]:
        async with room() as now:
            before, client = replace(new_class(), title="Monday", opened=1), now.client
            await keep(client, before)
            await keep(client, now.its)  # --new: the one before is over, though none closed it
            assert (await expect_over(Visit(client, at_work=True), before.id)).id == before.id
            said = []
            for at_work, name in ((False, now.its.id), (True, now.its.id), (False, "")):
                with pytest.raises(CourseError) as refused:
                    await expect_over(Visit(client, at_work), name)
                said.append(str(refused.value))
                await close(client, now.its)
            await client.delete(CURRENT, now.its.keys.about)  # as `forget` does
            with pytest.raises(CourseError) as refused:
                await expect_over(Visit(client, at_work=False))
            return [*said, str(refused.value)]

    goes_on, has_it, none, latest = asyncio.run(work())
    assert "isn't over" in goes_on
    assert "board is still open" in has_it
    assert "no class '' on this machine" in none
    assert latest.endswith("(Monday).")


def test_a_board_killed_between_append_and_count_counts_each_event_once(redis):
    async def play() -> None:
        async with room() as one:
            seat = await one.join()
            for first in range(1, 401, 100):
                await one.send(seat, events(*range(first, first + 100)))
            # It dies with entries delivered and not counted, and with some that are.
            for after in (1, 1, 1, 1, 1, 250):  # as often as an entry is delivered by default
                with Life(count_and_die, one.its.id, KNOWN, after, url=find_server().url) as life:
                    assert await asyncio.to_thread(life.wait, 30)
                    assert life.exit_code == -signal.SIGKILL, life.output
            board = await one.count()
            assert cell(board) | {"since": 0, "at": 0} == {
                "state": "wrong", "hint": 2, "tries": 400, "wrong": 400, "seconds": 4000,
                "since": 0, "at": 0,
            }  # fmt: skip
            assert board["totals"]["events"] == 400
            assert board["mistakes"]["03.1"]["2"] == {"count": 400, "seats": 1, "recent": 0}

    asyncio.run(play())


def test_what_is_shown_does_not_depend_on_the_order_in_which_events_are_counted(redis):
    """An entry that is delivered again comes after those behind it."""
    told = [Event(1, "03.1", "blank", 0, 5), Event(2, "03.1", "wrong", 7, 30),
            Event(3, "03.1", "passed", 0, 60), Event(4, "03.1", "wrong", 9, 90),
            Event(1, "03.2", "error", 0, 1), Event(9, "09.9", "wrong", 1, 1)]  # fmt: skip

    async def play(order: list[Event]) -> dict[str, Any]:
        async with room() as one:
            await one.join()
            counting = Counting(one.client, one.its.keys, KNOWN)
            for event in order:
                fields = {name: str(getattr(event, name)) for name in Event.__slots__}
                entry = Entry(EntryId(1000 + event.n), fields | {"seat": "1"})
                for command in counting.effect_of(entry):
                    await one.client.execute_command(*command)
            return await one.count()

    boards = [asyncio.run(play(order)) for order in (told, told[::-1], told[3:] + told[:3])]
    for board in boards:
        assert cell(board) == {
            "state": "passed", "hint": 0, "tries": 4, "wrong": 2, "seconds": 90,
            "since": 1001, "at": 1004,
        }  # fmt: skip
        assert cell(board, "03.2")["state"] == "error"
        assert board["totals"]["events"] == 6  # an exercise that is unknown has no cell
        assert set(board["seats"][0]["cells"]) == {"03.1", "03.2"}
        assert board["totals"]["03.1"] == {"tried": 1, "passed": 1, "tries": 4, "wrong": 2}
        assert set(board["mistakes"]["03.1"]) == {"7"}  # nor has a mistake that is unknown
        assert board["mistakes"] == boards[0]["mistakes"]


def test_a_rank_is_exact_as_a_score():
    for outcome in OUTCOMES:
        largest = rank(MOST_N, outcome, MOST_HINT)
        assert int(float(largest)) == largest < 2**53
        assert unranked(largest) == (outcome, MOST_HINT)
    assert rank(1, "passed", 0) > rank(MOST_N, "wrong", MOST_HINT)
