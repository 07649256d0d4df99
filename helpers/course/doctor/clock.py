"""The clock: years behind, jumping, or another than the server's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from helpers.course.doctor.finding import Finding, warning
from helpers.course.home import CHECKOUT

JUMP_S = 0.5
APART_S = 2.0
DAY_S = 86_400


@dataclass(frozen=True)
class Clock:
    """What two looks at the clocks have in common."""

    now_s: float
    files_s: float  # when the youngest of the course's own files was written
    jumped_s: float  # how much more the wall clock went on than the monotonic one
    ahead_s: float  # the server's, of this machine's


def begin() -> tuple[float, float]:
    """The first look: the wall clock and the monotonic one."""
    return time.time(), time.monotonic()


def look(began: tuple[float, float], ahead_s: float) -> Clock:
    """The second look."""
    now, ticks = time.time(), time.monotonic()
    files = [CHECKOUT / "pyproject.toml", CHECKOUT / "constraints.txt", *CHECKOUT.glob("helpers/*")]
    written = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
    return Clock(now, written, (now - began[0]) - (ticks - began[1]), ahead_s)


def findings(clock: Clock) -> Iterator[Finding]:
    """What is wrong with the clocks."""
    if clock.now_s < clock.files_s - DAY_S:
        now, files = (datetime.fromtimestamp(one, UTC) for one in (clock.now_s, clock.files_s))
        yield warning(
            "clock",
            f"This machine's clock says {now:%d %B %Y}, and the course's files were written on "
            f"{files:%d %B %Y}: set the clock, since IDs and expiry follow it.",
        )
    if abs(clock.jumped_s) > JUMP_S:
        yield warning(
            "clock",
            f"This machine's clock jumped by {clock.jumped_s:+.1f} s within a few seconds: let the "
            "system set the clock, and start the lesson again when it stands still.",
        )
    if abs(clock.ahead_s) > APART_S:
        way = "ahead of" if clock.ahead_s > 0 else "behind"
        yield warning(
            "clock",
            f"The server's clock is {abs(clock.ahead_s):,.0f} s {way} this machine's: set both "
            "clocks, since the IDs that the server makes are compared with the time here.",
        )


def ahead_s(client: redis.Redis) -> float:
    """How far the server's clock is ahead of this machine's, by TIME; 0 if it may not be asked."""
    try:
        before = time.time()
        said: Any = client.time()
    except redis.exceptions.NoPermissionError:
        return 0.0
    return float(said[0] + said[1] / 1e6) - (before + time.time()) / 2
