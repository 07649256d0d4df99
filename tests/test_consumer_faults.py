"""A consumer loses nothing, whatever becomes of its connection, its server and its process."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import Consumer, connect
from helpers.chaos import CLIENT, LOSSES, Crew, Failure, Fault, Proxy, start
from helpers.course.server import OwnServer, find_server
from helpers.streams import patience
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    NAMES,
    STREAM,
    add_up,
    blocked,
    both,
    drain_with_everything,
    drain_with_poison,
    everything,
    fill,
    give,
    ignore,
    letters,
    number,
    pending,
    totals,
    until,
    work,
    work_async,
    work_when_told,
    work_when_told_async,
)
from tests.lives import Life

pytestmark = pytest.mark.usefixtures("soon")


# ------------------------------------------------------------------ a little of everything

TERMS: dict[str, Any] = {"batch": 3, "max_deliveries": 3}
STRUCK = (2, 6, 9, 13)  # the commands at which a fault strikes


def set_out(redis):
    """Own history, idle entries of others, and new ones, some of them deleted."""
    redis.delete(*{STREAM, NAMES, FAILURES, "{s}:g:dead", "{s}:totals", "flaky"})
    fill(redis, 8)
    give(redis, "alice", 1)
    give(redis, "bob", 3, idle_ms=AGES)
    redis.xdel(STREAM, "2-0", "6-0")


def assert_all_is_well(redis, note):
    assert not pending(redis), note
    assert totals(redis) == {"count": "5", "sum": str(1 + 4 + 5 + 7 + 8)}, note
    (letter,) = letters(redis).values()
    assert (letter.entry.id.ms, letter.deliveries) == (3, 3), note
    assert len(set(letter.failures)) == len(letter.failures), note
    assert not redis.exists(FAILURES), note


# ------------------------------------------------------------------ lost connections


@pytest.mark.parametrize(
    ("fault", "work"),
    [*((fault, work) for fault in LOSSES), (Fault.LOSE_REPLY, work_async)],
)
def test_a_lost_connection_costs_nothing(redis, work, fault):
    """One pass through a real proxy; tests/steps tries each fault at each step."""
    with Proxy() as proxy:
        for at in STRUCK:
            set_out(redis)
            proxy.reset()
            proxy.arm(fault, at)
            work(partial(everything, client=redis), proxy=proxy, **TERMS)
            assert len(proxy.commands) >= at
            proxy.deliver()
            work(partial(everything, client=redis), **TERMS)  # a late XREADGROUP found something
            assert_all_is_well(redis, (fault, at, proxy.names))


@both
def test_entries_in_a_reply_that_was_lost_are_its_own_history(redis, work):
    fill(redis, 5)
    seen = []
    with Proxy() as proxy:
        proxy.arm(Fault.LOSE_REPLY, "XREADGROUP")
        counts = work(lambda entry: seen.append(number(entry)), proxy=proxy, batch=3)
    assert seen == [1, 2, 3, 4, 5]
    assert (counts.new, counts.again, counts.acked, counts.reconnects) == (2, 3, 5, 1)


@both
def test_what_was_acknowledged_in_a_reply_that_was_lost_is_not_handled_again(redis, work):
    fill(redis, 3)
    seen = []
    with Proxy() as proxy:
        work(ignore, proxy=proxy)
        fill(redis, 3, start=4)
        proxy.arm(Fault.LOSE_REPLY, "XACK")
        counts = work(lambda entry: seen.append(number(entry)), proxy=proxy, limit=3)
    assert [words for words in proxy.commands if words[0] == "XACK"][-2:] == 2 * [
        ["XACK", STREAM, GROUP, "4-0", "5-0", "6-0"]
    ]
    assert seen == [4, 5, 6]
    assert (counts.acked, counts.lost) == (0, 3)


@both
def test_connections_that_are_cut_while_it_waits_are_made_anew(redis, work):
    fill(redis, 0)
    seen = []
    with Proxy() as proxy:
        run = partial(work, lambda entry: seen.append(number(entry)), proxy=proxy)
        waiting = threading.Thread(target=lambda: run(drain=False, limit=2))
        waiting.start()
        for one in (1, 2):
            until(partial(blocked, redis))
            proxy.cut()
            fill(redis, 1, start=one)
            until(lambda: len(seen) == one)  # noqa: B023
        waiting.join()
    assert seen == [1, 2]


@both
def test_it_gives_up_when_the_server_stays_away(redis, work):
    fill(redis, 1)
    with Proxy() as proxy:
        proxy.arm(Fault.CUT_BEFORE, ("EVALSHA", 3))
        with pytest.raises(redis_py.ConnectionError):
            work(ignore, proxy=proxy, patience_s=0)


def test_it_stops_soon_although_the_server_stays_away(redis, monkeypatch):
    monkeypatch.setattr(patience, "STOP_S", 0.0)
    fill(redis, 2)
    with Proxy() as proxy, proxy.connect() as client:

        def handle(entry):
            consumer.stop()
            for at in (1, 2, 3):
                proxy.arm(Fault.CUT_BEFORE, at)

        consumer = Consumer(client, STREAM, GROUP, handle, name="alice")
        with pytest.raises(redis_py.ConnectionError):
            consumer.run()
    assert pending(redis) == {1: ("alice", 1), 2: ("alice", 1)}


@both
def test_a_stop_while_the_connection_is_lost_is_no_error(redis, work):
    fill(redis, 0)
    with Proxy() as proxy, proxy.connect() as client:
        consumer = Consumer(client, STREAM, GROUP, ignore)
        waiting = threading.Thread(target=consumer.run)
        waiting.start()
        until(partial(blocked, redis))
        consumer.stop()
        proxy.cut()
        waiting.join()
    assert consumer.counts.new == 0


@both
def test_it_survives_its_server(home, work):
    own = OwnServer(home)
    killed = []

    def handle(entry):
        if number(entry) in (2, 4, 9) and number(entry) not in killed:
            killed.append(number(entry))
            state = own.running()
            assert state
            os.kill(state.pid, signal.SIGKILL)
        return add_up(entry)

    with connect() as client:
        fill(client, 10)
        give(client, "alice", 3)
        work(handle, batch=3)
        assert killed == [2, 4, 9]
        assert totals(client) == {"count": "10", "sum": "55"}
        assert not pending(client)


# ------------------------------------------------------------------ kill -9


@pytest.mark.parametrize("reborn", ["under its name", "under another"])
def test_kill_9_costs_nothing(redis, reborn):
    """Its process stands still before some of its commands, and is killed there."""
    terms = {**TERMS, "min_idle_ms": 1} if reborn == "under another" else TERMS
    with Proxy() as proxy:
        for at in STRUCK:
            set_out(redis)
            proxy.reset()
            proxy.arm(Fault.FREEZE_BEFORE, at)
            with Life(drain_with_everything, TERMS, url=proxy.url):
                until(partial(proxy.frozen, 0.005))
            proxy.thaw()
            name = "alice" if reborn == "under its name" else "carol"
            work(partial(everything, client=redis), name=name, **terms)
            assert_all_is_well(redis, (at, proxy.names))


@pytest.mark.parametrize("name", ["alice", None])
def test_what_kills_its_process_is_a_dead_letter_and_its_neighbours_are_not_blamed(redis, name):
    fill(redis, 12)
    poison, terms = [4, 5], {"batch": 10, "max_deliveries": 3}
    deaths = 0
    while True:
        with Life(drain_with_poison, poison, name, terms, url=find_server().url) as life:
            life.wait()
        if life.exit_code == 0:
            break
        deaths += 1
        for n, (owner, _) in pending(redis).items():
            redis.xclaim(STREAM, GROUP, owner, 0, [f"{n}-0"], idle=AGES, justid=True)
        survivors = [times for n, (_, times) in pending(redis).items() if n not in poison]
        assert max(survivors) <= 2
    # 5 was delivered once in a batch, or twice, and did not come to be handled.
    assert deaths == 3 + (2 if name else 1)
    assert not pending(redis)
    assert totals(redis) == {"count": "10", "sum": str(78 - 9)}
    for letter in letters(redis).values():
        assert (letter.deliveries, letter.failures) == (3, ())
        assert letter.reason == "No answer: its consumer died, or took too long"
    assert set(letters(redis)) == set(poison)
    seen = redis.lrange("seen", 0, -1)
    assert all(seen.count(str(n)) <= 3 for n in range(1, 13) if n not in poison)


# ------------------------------------------------------------------ signals


told = pytest.mark.parametrize(
    "program", [work_when_told, work_when_told_async], ids=["sync", "asyncio"]
)


@told
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_with_the_entry_in_hand_done_and_the_rest_pending(redis, program, number):
    fill(redis, 6)
    with start(program, CLIENT, "alice", {}) as process:
        until(lambda: redis.llen("begun") == 1)
        redis.rpush("go", 1)
        until(lambda: redis.llen("begun") == 2)
        os.kill(process.pid, number)
        redis.rpush("go", 1)
        assert process.outcome(5).value.acked == 2
    assert redis.lrange("seen", 0, -1) == ["1", "2"]
    assert totals(redis) == {"count": "2", "sum": "3"}
    assert pending(redis) == dict.fromkeys((3, 4, 5, 6), ("alice", 1))


@told
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_while_it_waits(redis, program, number):
    fill(redis, 0)
    with start(program, CLIENT, "alice", {"block_ms": 300}) as process:
        until(partial(blocked, redis))
        os.kill(process.pid, number)
        assert process.outcome(5).value.acked == 0


@told
def test_the_second_signal_ends_it_at_once(redis, program):
    fill(redis, 2)
    with start(program, CLIENT, "alice", {}) as process:
        until(lambda: redis.llen("begun") == 1)
        os.kill(process.pid, signal.SIGINT)
        until(lambda: process.alive)
        os.kill(process.pid, signal.SIGTERM)
        outcome = process.outcome(5)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "KeyboardInterrupt"
    assert pending(redis) == {1: ("alice", 1), 2: ("alice", 1)}


def test_signals_are_as_before_when_it_has_ended(redis):
    fill(redis, 1)
    before = signal.getsignal(signal.SIGTERM)
    inside = []
    with connect() as client:
        for wanted in (True, False):
            Consumer(
                client, STREAM, GROUP, lambda entry: inside.append(signal.getsignal(signal.SIGTERM))
            ).run(drain=True, signals=wanted)
            fill(redis, 1, start=2 if wanted else 3)
    assert signal.getsignal(signal.SIGTERM) is before
    assert inside[0] is not before
    assert inside[1] is before


# ------------------------------------------------------------------ a crew


def test_what_a_dead_neighbour_held_is_claimed_by_those_who_live(redis):
    fill(redis, 3)
    with Crew() as crew:
        crew.start("bob", work_when_told, CLIENT, "bob", {"batch": 3})
        until(lambda: redis.llen("begun"))
        crew["bob"].kill()
        counts = work(add_up, min_idle_ms=20, drain=False, limit=3)
    assert (counts.claimed, counts.acked) == (3, 3)
    assert totals(redis) == {"count": "3", "sum": "6"}
