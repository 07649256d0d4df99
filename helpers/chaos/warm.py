"""Functions that begin at once: forked from one Python that has done its imports.

To start Python takes up to half a second, most of it for imports. So one process, the forker,
does them once, and is kept for whoever comes next. It is started when it is needed, started
anew if somebody has killed it, and ends with this process, as every `Process` does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from helpers.chaos.orders import ALIVE, REFUSED, End, Life, Order, give
from helpers.chaos.process import Process
from helpers.course.errors import CourseError

LIMIT_S = 15.0  # for a fresh Python with its imports, on a slow and busy machine
LOOK_S = 0.002


class _Forker:
    """The process at work in `helpers.chaos.forker`, and the socket that leads to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair()
        self._orders.settimeout(LIMIT_S)
        with theirs:
            words = [sys.executable, "-m", "helpers.chaos.forker", str(theirs.fileno())]
            self._process = Process(words, name="forker", pass_fds=[theirs.fileno()])

    @property
    def alive(self) -> bool:
        return self._process.alive

    def ask(self, order: Order, fds: Sequence[int] = ()) -> int:
        """Give an order. Whoever is interrupted here leaves an answer behind: so it ends then.

        Raises:
            EOFError, OSError: it has ended.
        """
        with self._lock:
            try:
                return give(self._orders, order, fds)
            except BaseException:
                self._process.kill()
                raise

    def close(self) -> None:
        self._orders.close()


class Fork:
    """A process that the forker has forked, with what `subprocess.Popen` has for one of ours."""

    def __init__(self, pid: int, forker: _Forker) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forker = forker

    def poll(self) -> int | None:
        """Its exit code, or None while it is alive."""
        if self.returncode is None:
            try:
                code = self._forker.ask(End(self.pid))
            except (EOFError, OSError):  # nobody knows; its guardian ends it if it still lives
                code = -signal.SIGKILL
            self.returncode = None if code == ALIVE else code
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most so many seconds.

        Raises:
            subprocess.TimeoutExpired: it is still alive.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0.0)
            time.sleep(LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended: its number is its own until `poll` says so."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


_lock = threading.Lock()
_forkers: list[_Forker] = []  # one, or none yet


def fork(fds: Sequence[int], group: int, environment: Mapping[str, str]) -> Fork:
    """A process that runs the function which its standard input holds, as `worker` does.

    Args:
        fds: its standard input, what it prints to, and what it reports to.
        group: the process group that it joins, led by its guardian.
        environment: its environment variables.

    Raises:
        CourseError: no process can be started.
    """
    path = [os.getcwd(), *filter(None, sys.path)]
    life = Life(group, dict(environment), path[0], path)
    for _ in range(2):  # the one at hand may have been killed
        forker = _forker()
        with contextlib.suppress(EOFError, OSError):
            pid = forker.ask(life, fds)
            if pid != REFUSED:
                return Fork(pid, forker)
    raise CourseError("No process could be started for the function: end some others, and retry.")


def _forker() -> _Forker:
    with _lock:
        if _forkers and not _forkers[0].alive:
            _forkers.pop().close()
        if not _forkers:
            _forkers.append(_Forker())
        return _forkers[0]


def _after_fork() -> None:
    """In a fork of this process: the forker is not ours."""
    global _lock
    _lock = threading.Lock()
    while _forkers:
        _forkers.pop().close()


os.register_at_fork(after_in_child=_after_fork)
