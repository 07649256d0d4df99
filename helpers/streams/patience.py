"""How long to wait: for a reply, before a lost connection is tried again, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from .errors import ArgumentError

LIMIT_S = 10.0
STOP_S = 1.0  # how long the server may be out of reach, once we were asked to stop
SHORTEST_S = 0.01
LONGEST_S = 0.2
MARGIN_MS = 200  # a server that idles looks at its clock ten times a second, so BLOCK may end late


class Patience:
    """Back-off with jitter for one connection: waits grow from 10 ms to a fifth of a second."""

    def __init__(
        self, limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """The server answered: the next failure is a first one again."""
        self._failures = 0
        self._since = 0.0

    @property
    def lasts_s(self) -> float:
        """For how many seconds the server has been out of reach."""
        return self._clock() - self._since if self._failures else 0.0

    @property
    def exhausted(self) -> bool:
        """Whether the server has been out of reach for longer than the limit."""
        return self._failures > 0 and self.lasts_s > self.limit_s

    def ended(self, *, stopped: bool) -> bool:
        """Whether to give up: at the limit, or soon where we were asked to stop."""
        return self.exhausted or (stopped and self.lasts_s > STOP_S)

    def failed(self, since: float | None = None) -> float:
        """Note a failure, and say how many seconds to wait before the next attempt.

        Args:
            since: when what failed was sent, by this object's clock; now by default. A server
                that is silent has been out of reach since then. But perhaps it was this process
                that stood still: so at most half of the limit counts, and it tries once more.
        """
        self._failures += 1
        if self._failures == 1:
            now = self._clock()
            self._since = now if since is None else max(since, now - self.limit_s / 2)
        longest = min(LONGEST_S, SHORTEST_S * 2 ** min(self._failures, 10))
        return longest * random.uniform(0.5, 1.0)  # so that clients do not return in step


def expect_patience(client: Any, block_ms: int) -> None:
    """Make sure that a client waits for a reply as long as BLOCK lasts, and not forever.

    Raises:
        ArgumentError: its socket time-out is too short, as redis-py's default of 5 s may be, or it
            has none.
    """
    pool = client.connection_pool
    timeout_s = pool.connection_kwargs.get("socket_timeout", 5)
    if timeout_s is None:
        raise ArgumentError(
            "This client waits forever for a server that does not answer: give it a "
            "socket_timeout, such as 5 s, and call `patient(client.connection_pool)`."
        )
    follows_block = getattr(pool.connection_class, "follows_block", False)
    if not follows_block and block_ms + MARGIN_MS > timeout_s * 1000:
        raise ArgumentError(
            f"BLOCK {block_ms} ms may end after this client stops waiting for a reply "
            f"({timeout_s:g} s): call `patient(client.connection_pool)`, or raise its "
            "socket_timeout."
        )
