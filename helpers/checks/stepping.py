"""A learner's function, one command at a time, and far from Greenwich."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.chaos import Fault, Proxy
from helpers.checks.lives import Life

MOST_GAPS = 6  # each costs a life or two
MOST_STEPS = 12  # then it goes on undisturbed


@contextmanager
def far_from_utc() -> Iterator[None]:
    """Begin processes whose local time is that of Chennai, 5 h 30 min ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "IST-5:30"  # as POSIX has it: needs no table of time zones
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before


def gaps(names: list[str]) -> list[int]:
    """Between which commands of a function a fault makes a difference: before the 2nd, the 5th, …

    Between MULTI and EXEC the server only queues, so nothing changes before EXEC.

    >>> gaps(["TTL", "MULTI", "XADD", "EXPIREAT", "EXEC"])
    [2, 5]
    """
    places, queued = [], False
    for place, name in enumerate(names, 1):
        if name in ("EXEC", "DISCARD"):
            queued = False
        if place > 1 and not queued:
            places.append(place)
        queued = queued or name == "MULTI"
    return places[:MOST_GAPS]


def steps(life: Life, proxy: Proxy) -> Iterator[int]:
    """Yield each time that a life stands before a command of its own, counted from 0.

    Arm `Fault.FREEZE_BEFORE` before the life begins.
    """
    try:
        for number in range(MOST_STEPS):
            if not life.stands(proxy):
                break
            yield number
            proxy.arm(Fault.FREEZE_BEFORE)  # the next one, before this one goes on
            proxy.thaw()
    finally:
        proxy.reset()
        proxy.thaw()
