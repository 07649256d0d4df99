"""Each hour is published once and right, and its state moves with it, under any fault."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import redis as redis_py

from helpers import Entry, EntryId
from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    SET_ASIDE,
    AveragesConsumer,
    display,
)
from helpers.averages.state import Behind, Publish, State
from helpers.streams.errors import CheckpointError
from helpers.streams.patience import Patience
from tests.averages import (
    aggregate,
    aside,
    at,
    hour_of,
    late,
    published,
    silent,
    state,
    truth,
    write,
)
from tests.points import points, times
from tests.steps.faults import LOSING, Copy, Fault, How, Killed, Wire, every_fault, told

STATE, STREAM = "{s}:state", "s"
ONCE = (How.LOST, How.UNANSWERED, How.HELD)
LAST = 3  # the last change of a state
KEYS = (AGGREGATING_STATE, AVERAGES, SET_ASIDE)


# ------------------------------------------------------------------ a state


@contextmanager
def wired(redis: Any, *faults: Fault) -> Iterator[Wire]:
    """No state, and a wire. What is published is where the state is, after each step."""

    def look() -> None:
        place = int(redis.hget(STATE, "place") or 0)
        assert entries(redis) == list(range(1, place + 1))

    redis.unlink(STATE, STREAM)
    with Wire(redis, faults) as wire:
        wire.watch(look)
        yield wire


def entries(redis: Any) -> list[int]:
    return [int(fields["n"]) for _, fields in redis.xrange(STREAM)]


def work(client: Any, *, over: bool = False, last: int = LAST) -> None:
    """Make the first state, or go on from the one that is there; publish as far as the last."""
    state = State(client, STATE, ("place",))
    if over:
        state.begin({"place": "0"}, STREAM, anew=True)
    found = state.take_over()
    if found is None:
        state.begin({"place": "0"})
        found = state.take_over() or {}
    while (place := int(found["place"])) < last:
        found = {"place": str(place + 1)}
        try:
            state.commit(found, [Publish(STREAM, {"n": found["place"]})])
        except Behind:
            found = state.take_over() or {}


def steps_of(redis: Any, live: Any) -> list[str]:
    """The steps of a run that nothing befalls."""
    with wired(redis) as wire:
        live(wire.client())
    return wire.steps


def begun(steps: list[str]) -> int:
    """The first step at which there is a state."""
    return steps.index("EVALSHA") + 2


def test_each_change_is_made_once_under_any_fault_at_any_step(redis):
    for fault in every_fault(steps_of(redis, work)):
        with wired(redis, fault) as wire:
            work(wire.client())
        assert entries(redis) == [1, 2, 3], (fault, wire.steps)
        assert redis.hget(STATE, "commits") == "3", (fault, wire.steps)


def test_a_successor_goes_on_whatever_is_still_under_way(redis):
    steps = steps_of(redis, work)
    for fault in every_fault(steps, LOSING, extra=len(steps), kill=True):
        with wired(redis, fault) as wire:
            with pytest.raises(Killed):
                work(wire.client())
            work(wire.client())
        assert entries(redis) == [1, 2, 3], (fault, wire.steps)


def test_who_gives_up_at_each_loss_may_ask_again(redis):
    for fault in every_fault(LAST + 2, LOSING):
        lost = 0

        def insist(ask: Any) -> Any:
            nonlocal lost
            try:
                return ask()
            except redis_py.ConnectionError:
                lost += 1
                return ask()

        with wired(redis, fault) as wire:
            state = State(wire.client(), STATE, ("place",))
            state._patience = Patience(limit_s=-1)
            insist(partial(state.begin, {"place": "0"}))
            insist(state.take_over)
            for n in map(str, range(1, LAST + 1)):
                insist(partial(state.commit, {"place": n}, [Publish(STREAM, {"n": n})]))
        assert lost == 1
        assert entries(redis) == [1, 2, 3], (fault, wire.steps)
        assert redis.hget(STATE, "commits") == "3", (fault, wire.steps)


def take_over(redis: Any, client: Any, last: int, stood: list[str | None]) -> None:
    """Let another consumer take the state over, and note where it stands then."""
    work(client, last=last)
    stood.append(redis.hget(STATE, "place"))


@pytest.mark.early
@pytest.mark.parametrize("changes", [1, LAST])
@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_paused_and_replaced_changes_nothing_and_is_told(redis, pause, changes):
    """Another one takes the state over while it stands still at any step."""
    steps, fenced = steps_of(redis, work), 0
    for step in range(1, len(steps) + 1):
        with wired(redis) as wire:
            stood: list[str | None] = []
            pause(wire, step, partial(take_over, redis, wire.client(), changes, stood))
            if error := told(work, wire.client()):
                fenced += 1
                assert isinstance(error, CheckpointError)
                assert "took over the state" in str(error)
                assert [redis.hget(STATE, "place")] == stood, (step, wire.steps)
            work(wire.client())
        assert entries(redis) == [1, 2, 3], (step, wire.steps)
    assert fenced >= LAST - 1


def test_a_server_that_has_lost_changes_is_gone_on_with_from_what_it_has(redis):
    """A copy of it is made before any step, and put back before any later one."""
    steps = steps_of(redis, work)
    for early in range(begun(steps), len(steps) + 1):
        for later in range(early + 1, len(steps) + 2):
            with wired(redis) as wire:
                copy = Copy(redis, [STATE, STREAM])
                wire.before(early, copy.take)
                wire.before(later, copy.restore)
                work(wire.client())
                if later > len(steps):  # there was no commit left that would have found out
                    work(wire.client())
            assert entries(redis) == [1, 2, 3], (early, later, wire.steps)


def start_over(client: Any) -> None:
    work(client, over=True)


def test_to_start_over_happens_once_under_any_fault_at_any_step(redis):
    for fault in every_fault(steps_of(redis, start_over)):
        with wired(redis, fault) as wire:
            work(redis)
            start_over(wire.client())
        assert entries(redis) == [1, 2, 3], (fault, wire.steps)
        assert redis.hget(STATE, "commits") == "3", (fault, wire.steps)


def expect_begun_again(redis: Any, fault: Fault) -> None:
    """Its caller is killed, and it is done again."""
    with wired(redis, fault) as wire:
        work(redis)
        with pytest.raises(Killed):
            start_over(wire.client())
        start_over(wire.client())
    assert entries(redis) == [1, 2, 3], (fault, wire.steps)


def test_to_start_over_can_be_done_again(redis):
    for fault in every_fault(steps_of(redis, start_over), LOSING, kill=True):
        expect_begun_again(redis, fault)


# ------------------------------------------------------------------ the aggregating consumer

NOW = at(1, 2)  # everything is over
LATE_ONE = late(at(0, 23, 50), 1000, after=at(0, 23, 59))  # within its grace period
GIVEN = [*hour_of(0, 22, 2), *hour_of(0, 23, 1), *LATE_ONE, *hour_of(1, 0, 1)]
TRUTH = truth(GIVEN)


def aggregating(client: Any) -> None:
    aggregate(client, NOW, page=3)


@contextmanager
def wired_averages(redis: Any, *faults: Fault) -> Iterator[Wire]:
    """Nothing is published yet, and a wire. What is published is true after each step."""

    def look() -> None:
        found = published(redis)
        assert found == TRUTH[: len(found)]
        assert len(found) == int(state(redis).get("num_averages", 0))
        assert not aside(redis)

    redis.unlink(*KEYS)
    with Wire(redis, faults) as wire:
        wire.watch(look)
        yield wire
    assert published(redis) == TRUTH, (faults, wire.steps)


@pytest.fixture
def steps(redis):
    """Those of a consumer that nothing befalls, with readings to work on."""
    write(redis, GIVEN)
    with wired_averages(redis) as wire:
        aggregating(wire.client())
    assert wire.steps.count("EVALSHA") > 5
    return wire.steps


def test_each_hour_is_published_once_under_any_fault_at_any_step(redis, steps):
    for fault in every_fault(steps):
        with wired_averages(redis, fault) as wire:
            aggregating(wire.client())


def test_each_hour_is_published_once_though_one_is_killed_at_any_step(redis, steps):
    for fault in every_fault(steps, ONCE, extra=6, kill=True):
        with wired_averages(redis, fault) as wire:
            with pytest.raises(Killed):
                aggregating(wire.client())
            aggregating(wire.client())


def test_each_hour_is_published_once_under_several_faults(redis, steps):
    chance = random.Random(13)
    possible = every_fault(steps, extra=6)
    for _ in range(times(100)):
        with wired_averages(redis, *chance.sample(possible, 3)) as wire:
            aggregating(wire.client())


@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_replaced_by_one_that_finished_publishes_nothing(redis, steps, pause):
    """At a commit it learns of the other one."""
    for step, name in enumerate(steps, 1):
        with wired_averages(redis) as wire:
            pause(wire, step, partial(aggregating, wire.client()))
            error = told(aggregating, wire.client())
            assert error is None or isinstance(error, CheckpointError)
            if name == "EVALSHA" and step > begun(steps) + 1 and pause is Wire.before:
                assert error, (step, wire.steps)


def test_a_server_that_has_lost_confirmed_averages_gets_them_again(redis, steps):
    """A copy of it is made before any commit, and put back before any later one, or at the end."""
    commits = [step for step, name in enumerate(steps, 1) if name == "EVALSHA"][2:]
    for early in commits:
        for later in points([*(one for one in commits if one > early), len(steps) + 1]):
            with wired_averages(redis) as wire:
                copy = Copy(redis, KEYS)
                wire.before(early, copy.take)
                wire.before(later, copy.restore)
                aggregating(wire.client())
                if later > len(steps):  # there was no commit left that would have found out
                    aggregating(wire.client())


def test_a_state_that_is_deleted_under_it_ends_it(redis, steps):
    ended = 0
    for step in range(begun(steps) + 2, len(steps) + 1):
        with wired_averages(redis) as wire:
            wire.before(step, partial(redis.unlink, *KEYS))
            if error := told(aggregating, wire.client()):
                ended += 1
                assert "was deleted while a consumer worked with it: start it again" in str(error)
                assert not redis.exists(*KEYS)
            else:
                assert "EVALSHA" not in steps[step - 1 :], (step, wire.steps)
            aggregating(wire.client())
    assert ended


# ------------------------------------------------------------------ the averages consumer

PAGE, SHOWN = 2, 5


class Board:
    """What averages consumers show, and a look at their place after each step."""

    def __init__(self, redis: Any, wire: Wire) -> None:
        self._redis = redis
        self._stood = EntryId(0)
        self.shown: list[int] = []
        wire.watch(self.look)

    def show(self, one: Entry) -> None:
        self.shown.append(one.id.ms)

    def look(self) -> None:
        """The place is not beyond what was shown, and not behind where it was."""
        place = EntryId.parse(self._redis.hget(AVERAGES_STATE, "last_message_id") or "0-0")
        assert self._stood <= place
        assert place.ms <= max(self.shown, default=0)
        self._stood = place

    def run(self, client: Any) -> None:
        AveragesConsumer(client, show=self.show, say=silent).run(drain=True)

    def expect_all(self, note: Any, *, again: int = 0) -> None:
        """Each was shown in its order, and so many came again at most."""
        first = list(dict.fromkeys(self.shown))
        assert first == list(range(1, SHOWN + 1)), note
        assert len(self.shown) <= SHOWN + again, note
        assert all(later > earlier - PAGE for earlier, later in pairwise(self.shown)), note
        assert self._redis.hget(AVERAGES_STATE, "last_message_id") == f"{SHOWN}-0", note


@contextmanager
def wired_board(redis: Any, *faults: Fault) -> Iterator[tuple[Wire, Board]]:
    """Averages that were not shown yet, and a wire to them."""
    redis.unlink(AVERAGES, AVERAGES_STATE)
    for n in range(1, SHOWN + 1):
        redis.xadd(AVERAGES, {"hour": n}, id=f"{n}-0")
    with Wire(redis, faults) as wire:
        yield wire, Board(redis, wire)


@pytest.fixture
def board_steps(redis, monkeypatch):
    """Those of an averages consumer that nothing befalls, in small pages."""
    monkeypatch.setattr(display, "PAGE", PAGE)
    with wired_board(redis) as (wire, board):
        board.run(wire.client())
    board.expect_all(wire.steps)
    return wire.steps


def test_each_average_is_shown_once_under_any_fault_at_any_step(redis, board_steps):
    for fault in every_fault(board_steps):
        with wired_board(redis, fault) as (wire, board):
            board.run(wire.client())
        board.expect_all((fault, wire.steps))


def test_each_average_is_shown_though_one_is_killed_at_any_step(redis, board_steps):
    for fault in every_fault(board_steps, LOSING, extra=len(board_steps), kill=True):
        with wired_board(redis, fault) as (wire, board):
            with pytest.raises(Killed):
                board.run(wire.client())
            board.run(wire.client())
        board.expect_all((fault, wire.steps), again=PAGE)


@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_replaced_while_it_showed_moves_the_place_no_more(redis, board_steps, pause):
    fenced = 0
    for step in range(1, len(board_steps) + 1):
        with wired_board(redis) as (wire, board):
            pause(wire, step, partial(board.run, wire.client()))
            if error := told(board.run, wire.client()):
                fenced += 1
                assert isinstance(error, CheckpointError)
        assert set(board.shown) == set(range(1, SHOWN + 1)), (step, wire.steps)
        assert redis.hget(AVERAGES_STATE, "last_message_id") == f"{SHOWN}-0"
    assert fenced > SHOWN // PAGE
