"""Run a coroutine on an event loop of its own: asyncio's, or uvloop's.

In a thread of its own too, because a notebook's thread has a running loop already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import uvloop

T = TypeVar("T")
Loop = Literal["asyncio", "uvloop"]


def run_on(loop: Loop, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, and give what it returns.

    Args:
        loop: whose event loop.
        main: makes the coroutine; a client for it is made in there, for this loop.
    """

    def run() -> T:
        with runner_on(loop) as runner:
            return runner.run(main())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def runner_on(loop: Loop) -> asyncio.Runner:
    """What runs coroutines on such a loop, in the thread that calls it."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    return asyncio.Runner(loop_factory=factory)
