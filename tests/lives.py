"""Workers that live short lives: real processes, forked in 10 ms from one that has it all imported.

`helpers.chaos` starts a fresh Python for each, which takes half a second: too long where
hundreds are to be killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any, Self

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.consumers", "tests.soaks.groups", "tests.soaks.workers", "tests.wiki"]
)


class Life:
    """A function at work in a process of its own, with the server at a URL; it dies with us."""

    def __init__(self, function: Callable[..., None], *arguments: Any, url: str) -> None:
        self._process = _context.Process(target=_live, args=(function, arguments, url), daemon=True)
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """None while it is alive; -9 after kill -9."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it as a crash would, also if it is paused: kill -9."""
        self._signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end: SIGTERM."""
        self._signal(signal.SIGTERM)
        self.resume()

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait for its end; whether it has ended."""
        self._process.join(limit_s)
        return self.exit_code is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _signal(self, number: int) -> None:
        if self.exit_code is None:
            assert self._process.pid
            os.kill(self._process.pid, number)


def _live(function: Callable[..., None], arguments: tuple[Any, ...], url: str) -> None:
    os.environ["REDIS_URL"] = url
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    wait([parent.sentinel])
    os._exit(1)
