"""Functions that begin at once: forked from one Python that has done its imports.

To start Python takes up to half a second, most of it for imports. So one process, the forker,
does them once, and is kept for the next function. It is started when it is needed, started
again if it was killed, and ends with this process, as every `Process` does.

The standard library's forkserver promises less. It runs a script's `__main__` again in each
fork, leaves its socket's folder behind and its forks alive if this process is killed, cannot be
used from a fork of this process, and never recovers if its own process was waited for elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Pipe
from multiprocessing.reduction import send_handle

from helpers.chaos.forker import End, Life, Order
from helpers.chaos.process import Process
from helpers.course.errors import CourseError
from helpers.course.pace import patient

LIMIT_S = patient(15.0)  # for a fresh Python with its imports
LOOK_S = 0.002


class _Forker:
    """The process at work in `helpers.chaos.forker`, and the connection that leads to it."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = Pipe()
        with theirs:
            code = f"from helpers.chaos.forker import serve; serve({theirs.fileno()}, {preload!r})"
            words = [sys.executable, "-c", code]
            self._process = Process(words, name="forker", pass_fds=[theirs.fileno()])

    @property
    def alive(self) -> bool:
        return self._process.alive

    def ask(self, order: Order, files: Sequence[int] = ()) -> int | None:
        """Give an order. If this is interrupted, the answer is left behind: so the forker ends.

        Raises:
            EOFError, OSError: it has ended, or does not answer in time.
        """
        with self._lock:
            try:
                self._orders.send(order)
                for file in files:
                    send_handle(self._orders, file, self._process.pid)
                if not self._orders.poll(LIMIT_S):
                    raise TimeoutError
                answer: int | None = self._orders.recv()
                return answer
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
                self.returncode = self._forker.ask(End(self.pid))
            except (EOFError, OSError):  # not to be known; its guardian ends it if it is alive
                self.returncode = -signal.SIGKILL
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
_preload: list[str] = []


def preload(*modules: str) -> None:
    """Let the forker import these modules too, so that no fork has to, from its next start on."""
    _preload.extend(modules)


def fork(files: Sequence[int], group: int, environment: Mapping[str, str]) -> Fork:
    """A process that runs the function which its standard input holds, as `worker` does.

    Args:
        files: its standard input, what it prints to, and what it reports to.
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
            if pid := forker.ask(life, files):
                return Fork(pid, forker)
    raise CourseError("No process could be started for the function: end some others, and retry.")


def _forker() -> _Forker:
    with _lock:
        if _forkers and not _forkers[0].alive:
            _forkers.pop().close()
        if not _forkers:
            _forkers.append(_Forker(_preload))
        return _forkers[0]


def _after_fork() -> None:
    """In a fork of this process: the forker is not ours."""
    global _lock
    _lock = threading.Lock()
    while _forkers:
        _forkers.pop().close()


os.register_at_fork(after_in_child=_after_fork)
