"""A dead letter comes back to its group once, and stays until it does, under any fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis as redis_py

from helpers import DeadLetters
from tests.consumers import GROUP, STREAM, fill
from tests.steps.faults import LOSING, Fault, Killed, Wire, every_fault

DEAD = "{s}:g:dead"
MOST = 3
TRIMMED = 2  # the number of an entry that is no longer on the stream
STEPS = 2 + MOST  # XLEN, XRANGE, and a call for each


@contextmanager
def wired(redis: Any, *faults: Fault) -> Iterator[Wire]:
    """All entries are dead letters; after each step each is in one place, dead or handled."""
    redis.unlink(STREAM, DEAD)
    fill(redis, MOST)
    redis.xreadgroup(GROUP, "ann", {STREAM: ">"})
    for n in range(1, MOST + 1):
        redis.xack(STREAM, GROUP, f"{n}-0")
        about = {"id": f"{n}-0", "group": GROUP, "consumer": "ann", "deliveries": 5,
                 "reason": "it broke", "failures": ""}  # fmt: skip
        redis.xadd(DEAD, {**{f"dead:{name}": it for name, it in about.items()}, "n": n})
    redis.xdel(STREAM, f"{TRIMMED}-0")
    handled: list[int] = []

    def handle() -> None:
        """A consumer works off what comes back; what it has handled does not come once more."""
        found = redis.xautoclaim(STREAM, GROUP, "bob", 0)[1]
        found += redis.xreadgroup(GROUP, "bob", {STREAM: ">"}).get(STREAM, [])
        for entry_id, fields in found:
            handled.append(int(fields["n"]))
            redis.xack(STREAM, GROUP, entry_id)
        dead = [int(fields["n"]) for _, fields in redis.xrange(DEAD)]
        assert sorted(dead + handled) == list(range(1, MOST + 1))

    with Wire(redis, faults) as wire:
        wire.watch(handle)
        yield wire
    assert sorted(handled) == list(range(1, MOST + 1)), (faults, wire.steps)


def replay(client: Any) -> None:
    """Replay all of them, and again after a loss."""
    dead = DeadLetters(client, STREAM, GROUP)
    for _ in range(3):
        with suppress(redis_py.ConnectionError):
            if len(dead):
                dead.replay_all()


def test_each_comes_back_once_under_any_fault_at_any_step(redis):
    for fault in every_fault(STEPS, extra=4):
        with wired(redis, fault) as wire:
            replay(wire.client())


def test_each_comes_back_once_though_the_caller_is_killed_at_any_step(redis):
    for fault in every_fault(STEPS, LOSING, extra=STEPS, kill=True):
        with wired(redis, fault) as wire:
            with pytest.raises(Killed):
                replay(wire.client())
            replay(wire.client())
