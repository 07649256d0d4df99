"""Each hour is published once with its true mean, whatever is cut, killed, paused or lost."""

from __future__ import annotations

import os
import signal
import threading
from itertools import product
from typing import Any

import pytest

from helpers import connect
from helpers.averages import AGGREGATING_STATE, AVERAGES, SET_ASIDE, aggregating
from helpers.averages.state import COMMIT
from helpers.chaos import LOSSES, Fault, Proxy
from helpers.course.server import OwnServer, find_server
from helpers.partitions import Reading, ReadingsClock
from helpers.streams.errors import CheckpointError
from tests.averages import (
    REPLACED,
    aggregate,
    aside,
    at,
    consumer,
    forget,
    hour_of,
    late,
    published,
    standing,
    state,
    truth,
    work_until_drained,
    write,
)
from tests.consumers import blocked, until
from tests.lives import Life
from tests.points import call_of
from tests.steps.faults import Copy, Wire

LATER = at(4)
PAGE = {"page": 12}


@pytest.fixture
def readings(redis):
    """Two days and a missing one between them; some readings come a little late."""
    first = [*hour_of(0, 22), *hour_of(0, 23), *late(at(0, 23, 50), 1000, after=at(0, 23, 59))]
    second = [*hour_of(2, 0), *late(at(2, 0, 57), 2000, after=at(2, 1, 5)), *hour_of(2, 1, 4)[1:]]
    return write(redis, [*first, *second])


@pytest.fixture
def proxy(redis):
    with Proxy() as proxy:
        yield proxy


def run(proxy: Proxy, now: Any = LATER, **terms: Any) -> None:
    """Work through the proxy until nothing is left."""
    with proxy.connect() as client:
        aggregate(client, now, **PAGE, **terms)


def outcome(proxy: Proxy, told: list[CheckpointError | None]) -> threading.Thread:
    """The same in a thread, which tells whether another one took over."""

    def work() -> None:
        try:
            run(proxy)
        except CheckpointError as error:
            told.append(error)
        else:
            told.append(None)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def expect_exact(redis: Any, readings: list[Reading], note: Any = None) -> None:
    assert published(redis) == truth(readings), note
    assert not aside(redis), note


# ------------------------------------------------------------------ lost connections


@pytest.mark.parametrize("fault", LOSSES)
def test_a_real_connection_lost_costs_nothing(redis, readings, proxy, fault):
    """At one read and one commit; for all others see `tests.steps`."""
    for command in (("XREAD", 2), call_of(COMMIT, 3)):
        forget(redis)
        proxy.reset()
        proxy.arm(fault, command)
        run(proxy)
        proxy.deliver()
        expect_exact(redis, readings, (command, proxy.commands))


def test_a_connection_may_be_lost_while_the_readings_are_the_clock(redis, readings, proxy):
    for name, number in product(("SCAN", "XREVRANGE"), (1, 2, 3)):
        forget(redis)
        proxy.reset()
        proxy.arm(Fault.CUT_BEFORE, (name, number))
        with proxy.connect() as client:
            run(proxy, ReadingsClock(client))
        assert proxy.names.count(name) > number
        assert published(redis) == truth(readings)[:-1], (name, number, proxy.commands)
    aggregate(redis, LATER)
    expect_exact(redis, readings)


def test_connections_that_are_cut_while_it_waits_are_made_anew(redis, readings, proxy, monkeypatch):
    monkeypatch.setattr(aggregating, "BLOCK_MS", 50)
    with proxy.connect() as client:
        one = consumer(client, at(2, 1, 59))
        thread = threading.Thread(target=one.run)
        thread.start()
        for hour in (2, 3):
            until(lambda: blocked(redis))
            proxy.cut()
            readings += write(redis, hour_of(2, hour))
            until(lambda: state(redis)["last_message_id"] == f"{at(2, hour, 54)}-0")  # noqa: B023
        one.stop()
        thread.join()
    aggregate(redis, LATER)
    expect_exact(redis, readings)


# ------------------------------------------------------------------ kill -9


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_kill_9_costs_nothing(redis, readings, proxy, fault):
    """Its process stands still at a commit, and is killed there."""
    proxy.arm(fault, call_of(COMMIT, 3))
    with Life(work_until_drained, LATER, PAGE, url=proxy.url) as life:
        assert standing(proxy, lambda: life.exit_code is not None)
    proxy.thaw()
    aggregate(redis, LATER, **PAGE)
    expect_exact(redis, readings, proxy.commands)


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_it_survives_kill_9_of_its_server_at_a_commit(home, fault):
    with connect() as redis, Proxy() as proxy:
        readings = write(redis, [*hour_of(0, 1), *hour_of(0, 5), *hour_of(2, 1)])
        proxy.arm(fault, call_of(COMMIT, 3))
        told: list[CheckpointError | None] = []
        thread = outcome(proxy, told)
        assert proxy.frozen(60)
        found = OwnServer(home).running()
        assert found
        os.kill(found.pid, signal.SIGKILL)
        proxy.thaw()
        thread.join()
        assert told == [None]
        expect_exact(redis, readings)


# ------------------------------------------------------------------ two at once


def test_a_zombie_that_comes_back_after_its_successor_finished_changes_nothing(
    redis, readings, proxy
):
    """It is paused before a commit, and learns there of the other one."""
    proxy.arm(Fault.FREEZE_BEFORE, call_of(COMMIT, 3))
    told: list[CheckpointError | None] = []
    thread = outcome(proxy, told)
    assert proxy.frozen(60)
    aggregate(redis, LATER)
    expect_exact(redis, readings)
    before = state(redis)
    proxy.thaw()
    thread.join()
    expect_exact(redis, readings, proxy.commands)
    assert isinstance(told[0], CheckpointError)
    assert state(redis) == before


def test_of_two_at_once_the_one_that_began_later_goes_on(redis, readings, proxy, monkeypatch):
    monkeypatch.setattr(aggregating, "BLOCK_MS", 50)
    told: list[CheckpointError | None] = []

    def work(one: Any) -> None:
        try:
            one.run()
        except CheckpointError as error:
            told.append(error)

    with connect() as one, connect() as other:
        old, new = (consumer(client, at(2, 1, 59)) for client in (one, other))
        first, second = (threading.Thread(target=work, args=[each]) for each in (old, new))
        first.start()
        until(lambda: blocked(redis) == 1)
        second.start()
        until(lambda: blocked(redis) == 2)
        readings += write(redis, hour_of(2, 2))
        first.join()
        new.stop()
        second.join()
    (error,) = told
    assert str(error) == (
        f"Another consumer took over the state '{AGGREGATING_STATE}', so this one stops. "
        "Run only one of the two."
    )
    aggregate(redis, LATER)
    expect_exact(redis, readings)


def test_two_processes_at_once_publish_each_hour_once(redis):
    readings = write(redis, [one for hour in range(24) for one in hour_of(0, hour, 12)])
    with (
        Life(work_until_drained, LATER, {"page": 1}, url=find_server().url) as one,
        Life(work_until_drained, LATER, {"page": 1}, url=find_server().url) as other,
    ):
        one.wait()
        other.wait()
        assert {one.exit_code, other.exit_code} <= {0, REPLACED}
        assert 0 in (one.exit_code, other.exit_code)
    expect_exact(redis, readings)


# ------------------------------------------------------------------ what the server loses


def test_a_server_that_has_lost_who_took_over_is_told_again(redis):
    readings = write(redis, [*hour_of(0, 1), *hour_of(0, 2)])
    aggregate(redis, at(0, 2, 59), page=3)
    copy = Copy(redis, (AGGREGATING_STATE, AVERAGES, SET_ASIDE))
    readings += write(redis, hour_of(0, 5))
    said: list[str] = []
    with Wire(redis) as wire:
        wire.before(("XREAD", 3), copy.restore)
        aggregate(wire.client(), LATER, page=3, say=said.append)
    expect_exact(redis, readings)
    assert "The server has lost what it had confirmed: continuing from what it has." in said
    assert len([text for text in said if text.startswith("Starting")]) == 2
