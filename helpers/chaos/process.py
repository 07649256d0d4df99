"""A process that can be killed and paused, and that never outlives the one that started it."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, Self

import psutil

from helpers.chaos import launcher
from helpers.course.errors import CourseError
from helpers.course.pace import patient

STOP_LIMIT_S = patient(5.0)
PAUSE_LIMIT_S = patient(1.0)
KEPT_BYTES = 1_000_000  # of what a process prints, the end

# Waits for the end of its standard input, a pipe that only the parent holds open: so for the
# parent's end, however it comes. Then it kills its own process group, paused processes too.
_GUARDIAN = 'trap "" HUP INT TERM; read _; kill -9 0'

_running: set[Process] = set()


class Child(Protocol):
    """What `subprocess.Popen` and `warm.Fork` have in common."""

    @property
    def pid(self) -> int: ...  # noqa: D102

    @property
    def returncode(self) -> int | Any: ...  # noqa: D102

    def poll(self) -> int | None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102
    def send_signal(self, sig: int) -> None: ...  # noqa: D102


class Process:
    """A program at work. Made by `start()`.

    Each has a process group of its own, led by a guardian: a shell that does nothing but
    wait, and that kills the group when this process, the parent, ends. Ctrl-C in a terminal
    and the Stop button of a notebook send SIGINT to the parent's group. So they interrupt the
    cell that waits, and not the consumer that it started. For the same reason the guardian
    lives on when Jupyter kills a kernel's whole group. While the guardian lives, the number
    of the group belongs to nobody else, so nothing is hit that was not started here.

    No method raises because the process has ended already.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        name: str,
        url: str | None = None,
        output: Path | str | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._lock = threading.RLock()
        self._printed: bytes | None = None
        self._file = open(output, "a+b") if output else tempfile.TemporaryFile()  # noqa: SIM115
        self._begin = self._heard = os.fstat(self._file.fileno()).st_size
        self._unsaid = b""  # heard, and not yet given by `news`
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            environment = _environment(words, url)
            self._process = self._spawn(words, stdin, pass_fds, environment)
            _running.add(self)
        except BaseException:
            self._dismiss_guardian()
            self._file.close()
            raise

    def _spawn(
        self,
        words: Sequence[str],
        stdin: int | IO[bytes],
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
    ) -> Child:
        """Start it, in the group before it runs: if the guardian is gone by then, it never runs."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", launcher.__file__, *words],
            stdin=stdin,
            stdout=self._file,
            stderr=self._file,
            pass_fds=pass_fds,
            env=environment,
            process_group=self._guardian.pid,
        )

    @property
    def pid(self) -> int:
        """The process ID, also after the end."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended; a paused process is alive."""
        with self._lock:
            if self._process.poll() is None:
                return True
            if self in _running:
                _running.discard(self)
                self._close()
            return False

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        try:
            return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    @property
    def exit_code(self) -> int | None:
        """None while it is alive; -9 if SIGKILL ended it, and so on for each signal."""
        return None if self.alive else self._process.returncode

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self._signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Stop it in its tracks, as a swapped-out machine would; returns when it stands still."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + PAUSE_LIMIT_S
        while self.alive and not self.paused and time.monotonic() < deadline:
            time.sleep(0.001)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self, limit_s: float = STOP_LIMIT_S) -> bool:
        """Ask it to end, by SIGTERM, also if it is paused; kill it if it does not in time.

        Returns:
            Whether it ended without being killed.
        """
        self._ask_to_end()
        if self.wait(limit_s):
            return True
        self.kill()
        return False

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait until it has ended, at most `limit_s` seconds. Whether it has."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return not self.alive

    def output(self) -> str:
        """What it has printed so far, on stdout and stderr; if that is a lot, the end of it."""
        with self._lock:
            printed = self._read() if self._printed is None else self._printed
        return printed.decode(errors="replace")

    def news(self) -> list[str]:
        """The whole lines that it has printed since this was last called; after its end, all."""
        with self._lock:
            ended = not self.alive
            if not ended:
                self._hear()
            *lines, rest = self._unsaid.split(b"\n")
            self._unsaid = b"" if ended else rest
            lines += [rest] if ended and rest else []
            return [line.decode(errors="replace") for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def __repr__(self) -> str:
        return f"{self.name}: {self._state()}, process {self.pid}"

    def _state(self) -> str:
        code = self.exit_code
        if code is None:
            return "paused" if self.paused else "running"
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):  # a signal that Python has no name for
            return f"ended by {signal.Signals(-code).name}"
        return f"ended by signal {-code}"

    def _ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused one hears it now, before all else

    def _signal(self, number: int) -> None:
        with self._lock:
            if self.alive:
                self._process.send_signal(number)

    def _read(self) -> bytes:
        """The end of the output. The file's offset is the process's own, and stays."""
        size = os.fstat(self._file.fileno()).st_size
        start = max(self._begin, size - KEPT_BYTES)
        return os.pread(self._file.fileno(), size - start, start) if size > start else b""

    def _hear(self) -> None:
        fresh = os.pread(self._file.fileno(), KEPT_BYTES, self._heard)
        self._heard += len(fresh)
        self._unsaid += fresh

    def _close(self) -> None:
        """It has ended: end what it has left behind in its group, and keep what it said."""
        self._dismiss_guardian()
        self._printed = self._read()
        self._heard = max(self._heard, os.fstat(self._file.fileno()).st_size - KEPT_BYTES)
        self._hear()
        self._file.close()

    def _dismiss_guardian(self) -> None:
        with contextlib.suppress(OSError):  # macOS: EPERM if only zombies are left
            os.killpg(self._guardian.pid, signal.SIGKILL)
        assert self._guardian.stdin
        self._guardian.stdin.close()
        self._guardian.wait()

    def _forget(self) -> None:
        """In a fork of the parent: let go of the pipe, which shall say when the parent ends."""
        assert self._guardian.stdin
        self._guardian.stdin.close()


def program_words(program: Sequence[str], arguments: Sequence[Any]) -> list[str]:
    """The words of a command line, whose first one names a program of this machine.

    Raises:
        CourseError: it does not.
    """
    if isinstance(program, str) or not program:
        raise CourseError(
            f"{program!r} is no list of words: write a program and its arguments as a list, "
            "such as [sys.executable, 'consumer.py'], or give a function."
        )
    words = [str(word) for word in (*program, *arguments)]
    if not shutil.which(words[0]):
        raise CourseError(f"There is no program {words[0]!r} on this machine: correct its name.")
    return words


def _environment(words: Sequence[str], url: str | None) -> dict[str, str]:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # so that output() shows it at once
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        environment.pop(name, None)  # a kernel asks for colours, and output() is plain text
    if words[0] == sys.executable:  # what can be imported here, can be imported there
        environment["PYTHONPATH"] = os.pathsep.join([*filter(None, sys.path), os.getcwd()])
        if words[1:2] in (["-c"], ["-m"]):  # a learner's `random.py` beside the notebook comes last
            environment["PYTHONSAFEPATH"] = "1"
    if url:
        environment["REDIS_URL"] = url
    return environment


@atexit.register
def _end_all() -> None:
    for process in list(_running):
        process.kill()


def _after_fork() -> None:
    for process in _running:
        process._forget()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork)
