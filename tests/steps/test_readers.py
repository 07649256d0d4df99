"""A checkpoint never passes what was not handled and never moves back, under any fault."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import AsyncReader, EntryId, Reader, connect_async
from helpers.streams.errors import CheckpointError
from helpers.streams.patience import Patience
from tests.points import times
from tests.steps.faults import LOSING, Fault, How, Killed, Wire, every_fault, live_again

CHECKPOINT, KNOWN = "reader:me", "{reader:me}:known"
MOST = 4  # entries of s; t has as many
REPLY = 2  # entries of each stream a reply
OPEN, STEPS = 1, 6  # OPEN, MOVE, twice XREAD and MOVE

Pair = tuple[str, int]
END = {"s": EntryId(MOST), "t": EntryId(MOST)}
ALL = [(stream, n) for stream in "st" for n in range(1, MOST + 1)]


class Desk:
    """What readers of one name have handled, and a look at their checkpoint after each step."""

    def __init__(self, redis: Any, wire: Wire) -> None:
        self._redis = redis
        self._stood = {"s": EntryId(0), "t": EntryId(0)}
        self.handled: list[Pair] = []
        wire.watch(self.look)

    def handle(self, stream: str, entry: Any) -> None:
        self.handled.append((stream, entry.id.ms))

    def look(self) -> None:
        """The checkpoint is where something was handled, and not behind where it was."""
        for stream, stood in self._stood.items():
            at = EntryId.parse(self._redis.hget(CHECKPOINT, stream) or "0-0")
            done = max([ms for one, ms in self.handled if one == stream], default=0)
            assert at >= stood, f"{stream} moved back from {stood} to {at}"
            assert at.ms <= done, f"{stream} is at {at}, and {done} is the last one handled"
            self._stood[stream] = at

    def expect_all(self, note: Any, *, again: int = 0) -> None:
        """Each entry was handled, in order, at most so many came again, and the place says so."""
        first = list(dict.fromkeys(self.handled))
        assert sorted(first) == ALL, note
        for stream in "st":
            mine = [pair for pair in first if pair[0] == stream]
            assert mine == sorted(mine), note
        assert len(self.handled) <= len(ALL) + again, (note, self.handled)
        stored = self._redis.hmget(CHECKPOINT, "s", "t")
        assert stored == [f"{MOST}-0", f"{MOST}-0"], note


@contextmanager
def wired(redis: Any, *faults: Fault) -> Iterator[tuple[Wire, Desk]]:
    """No checkpoint, two full streams, and a wire to them."""
    redis.unlink(CHECKPOINT, KNOWN, "s", "t")
    for stream, n in ALL:
        redis.xadd(stream, {"n": n}, id=f"{n}-0")
    with Wire(redis, faults) as wire:
        yield wire, Desk(redis, wire)


def follow(client: Any, desk: Desk, most: int = len(ALL)) -> None:
    """Read in pages, and store where it is after each, until all of it is there."""
    with Reader(client, ["s", "t"], start="0", name="me") as reader:
        pages = 0
        while reader.positions != END and pages < most:
            found = reader.read(block_ms=20, count=REPLY)
            for stream, entry in found:
                desk.handle(stream, entry)
            pages += bool(found)
            if reader.positions != END:  # the last page is stored as the reader is closed
                reader.commit()


async def follow_async(client: Any, desk: Desk) -> None:
    async with AsyncReader(client, ["s", "t"], start="0", name="me") as reader:
        while reader.positions != END:
            for stream, entry in await reader.read(block_ms=20, count=REPLY):
                desk.handle(stream, entry)
            await reader.commit()


# ------------------------------------------------------------------ one fault, at any step


def expect_once(redis: Any, fault: Fault) -> None:
    with wired(redis, fault) as (wire, desk):
        follow(wire.client(), desk)
    desk.expect_all((fault, wire.steps))


def test_each_entry_is_handled_once_under_any_fault_at_any_step(redis):
    for fault in every_fault(STEPS):
        expect_once(redis, fault)


def test_the_same_for_asyncio(redis):
    async def main() -> None:
        async with connect_async() as settings:
            for fault in every_fault(STEPS):
                with wired(redis, fault) as (wire, desk):
                    await follow_async(wire.async_client(settings), desk)
                desk.expect_all((fault, wire.steps))

    asyncio.run(main())


def test_each_entry_is_handled_once_under_several_faults(redis):
    chance = random.Random(13)
    possible = every_fault(STEPS + 3)
    for _ in range(times(200)):
        faults = chance.sample(possible, 3)
        with wired(redis, *faults) as (wire, desk):
            follow(wire.client(), desk)
        desk.expect_all((faults, wire.steps))


def test_who_gives_up_at_each_loss_may_ask_again(redis):
    def insist(ask: Callable[[], Any]) -> Any:
        for _ in range(5):
            try:
                return ask()
            except redis_py.ConnectionError:
                lost.append(wire.steps[-1])
        raise AssertionError("it does not answer")

    for fault in every_fault(STEPS, LOSING):
        lost: list[str] = []
        with wired(redis, fault) as (wire, desk):
            reader = Reader(wire.client(), ["s", "t"], start="0", name="me")
            reader._patience = Patience(limit_s=-1)
            insist(reader.open)
            while reader.positions != END:
                for stream, entry in insist(partial(reader.read, block_ms=20, count=REPLY)):
                    desk.handle(stream, entry)
                insist(reader.commit)
        assert len(lost) == 1, (fault, wire.steps)
        desk.expect_all((fault, wire.steps))


# ------------------------------------------------------------------ where it starts


def added(redis: Any, first: int, count: int = 3) -> list[Pair]:
    """New entries on an old stream and on one that did not exist."""
    pairs = [(stream, n) for n in range(first, first + count) for stream in ("s", "new")]
    for stream, n in pairs:
        redis.xadd(stream, {"n": n}, id=f"{n}-0")
    return pairs


def tail(redis: Any, client: Any, desk: Desk) -> None:
    """Handle what is added as soon as a reader of new entries is open."""
    desk.handled = list(ALL)  # what is there is not for this reader
    with Reader(client, ["s", "new"], name="me") as reader:
        wanted = added(redis, 10)
        while len(desk.handled) < len(ALL) + len(wanted):
            for stream, entry in reader.read(block_ms=20, count=REPLY):
                desk.handle(stream, entry)
            reader.commit()


def test_what_came_once_it_was_open_is_handled_and_nothing_before(redis):
    for fault in every_fault(10):
        redis.unlink("new")
        with wired(redis, fault) as (wire, desk):
            tail(redis, wire.client(), desk)
        wanted = [(stream, n) for n in (10, 11, 12) for stream in ("new", "s")]
        assert sorted(desk.handled[len(ALL) :]) == sorted(wanted), (fault, wire.steps)


def test_what_came_after_a_crash_is_handled_if_it_was_open_once(redis):
    steps_to_open = 4  # OPEN, twice XINFO, MOVE
    for fault in every_fault(8, LOSING, extra=8, kill=True):
        if fault.at <= steps_to_open:
            continue
        redis.unlink("new")
        with wired(redis, fault) as (wire, desk):
            with pytest.raises(Killed):
                tail(redis, wire.client(), desk)
            wanted = added(redis, 20)
            with Reader(wire.client(), ["s", "new"], name="me") as reader:
                for _ in range(9):
                    if reader.positions == dict.fromkeys(("s", "new"), EntryId(22)):
                        break
                    for stream, entry in reader.read(block_ms=20, count=REPLY):
                        desk.handle(stream, entry)
                    reader.commit()
        assert set(desk.handled) >= {*wanted, ("s", 12), ("new", 12)}, (fault, wire.steps)


# ------------------------------------------------------------------ several lives


def loop(redis: Any, client: Any, desk: Desk) -> None:
    """Iterate. To handle an entry is a step too, and brings the one after the next."""
    with Reader(client, ["s", "t"], start="0", name="me") as reader:
        if reader.positions == END:
            return
        for stream, entry in reader:
            client.rpush("seen", f"{stream} {entry.id}")
            desk.handle(stream, entry)
            if entry.id.ms + REPLY <= MOST and desk.handled.count((stream, entry.id.ms)) == 1:
                redis.xadd(stream, {"n": 0}, id=f"{entry.id.ms + REPLY}-0")
            if {**reader.positions, stream: entry.id} == END:
                reader.stop()


@contextmanager
def wired_loop(redis: Any, *faults: Fault) -> Iterator[tuple[Wire, Desk]]:
    """The same with the first entries alone; the others come as those are handled."""
    with wired(redis, *faults) as (wire, desk):
        for stream in "st":
            redis.unlink(stream)
            for n in range(1, REPLY + 1):
                redis.xadd(stream, {"n": n}, id=f"{n}-0")
        yield wire, desk


@pytest.mark.early
@pytest.mark.parametrize(
    ("kill", "hows"),
    [(True, [How.LOST, How.UNANSWERED, How.HELD]), (False, [How.LOST, How.UNANSWERED])],
    ids=["kill -9", "an error in the loop"],
)
def test_a_loop_that_ends_at_any_step_is_gone_on_with(redis, kill, hows):
    with wired_loop(redis) as (wire, desk):
        loop(redis, wire.client(), desk)
    steps = len(wire.steps)
    assert steps > 2 * MOST + STEPS - 1
    ended = 0
    for fault in every_fault(steps, hows, extra=6, kill=kill):
        with wired_loop(redis, fault) as (wire, desk):
            ended += live_again(lambda: loop(redis, wire.client(), desk)) > 1
        desk.expect_all((fault, wire.steps), again=2 * REPLY)
    assert ended >= times(REPLY * MOST)


def expect_goes_on(redis: Any, fault: Fault) -> None:
    with wired(redis, fault) as (wire, desk):
        with pytest.raises(Killed):
            follow(wire.client(), desk)
        follow(wire.client(), desk)
    desk.expect_all((fault, wire.steps), again=2 * REPLY)


def test_a_successor_goes_on_whatever_is_still_under_way(redis):
    for fault in every_fault(STEPS, LOSING, extra=STEPS, kill=True):
        expect_goes_on(redis, fault)


@pytest.mark.parametrize("pages", [1, 9])
@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_paused_and_replaced_moves_nothing_and_is_told(redis, pause, pages):
    """The other one begins while it stands still at any step, and reads one page, or all."""
    for step in range(1, STEPS + 1):
        with wired(redis) as (wire, desk):
            pause(wire, step, lambda: follow(wire.client(), desk, pages))
            older = pause is Wire.after or step > OPEN
            moves = pause is Wire.before or step < STEPS
            if older and moves:
                with pytest.raises(CheckpointError, match="'me' took over"):
                    follow(wire.client(), desk)
            else:
                follow(wire.client(), desk)
            follow(wire.client(), desk)
        desk.expect_all((step, wire.steps), again=len(ALL))
