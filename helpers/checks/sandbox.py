"""Run a learner's function in a process of its own, which can be timed, paused and killed.

The function travels by value, with what it uses of the notebook. A Redis client that it uses
is made anew on the other side, where it leads to the server that the check has chosen.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import cloudpickle
import redis
import redis.asyncio

from helpers.connect import connect, connect_async

START_LIMIT_S = 15.0  # a fresh Python with its imports, on a slow and busy machine


class Client(NamedTuple):
    """An argument that stands for a client: made in the other process, sync or asyncio."""


CLIENT = Client()


class Returned(NamedTuple):
    """The function returned."""

    value: Any


class Failure(NamedTuple):
    """The function raised."""

    kind: str
    message: str
    file: str
    line: int

    @property
    def source(self) -> str:
        """The learner's own line in which it happened, if it is known."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        where = f" in line {self.line}: `{self.source}`" if self.source else ""
        return f"{self.kind}: {self.message}{where}"


class Unfinished(NamedTuple):
    """The function did not return: it is still at work, or its process has ended."""

    ended: bool = False


class CannotTravel(Exception):
    """The function uses something that exists only inside the notebook."""


Outcome = Returned | Failure | Unfinished


class Running:
    """A function at work in another process."""

    def __init__(self, process: subprocess.Popen[bytes], report: IO[bytes]) -> None:
        self._process = process
        self._report = report
        self._told = b""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def begun(self, limit_s: float = START_LIMIT_S) -> bool:
        """Wait until the function is about to run."""
        return self._read_until(lambda: bool(self._told), limit_s)

    def outcome(self, limit_s: float) -> Outcome:
        """Wait for the function to return, at most `limit_s` seconds from when it began."""
        self.begun()
        ended = self._read_until(lambda: False, limit_s)
        if not ended or len(self._told) < 2:
            return Unfinished(ended)
        outcome = pickle.loads(self._told[1:] if self._told[:1] == b"R" else self._told)
        assert isinstance(outcome, Returned | Failure)
        return outcome

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Stop it in its tracks, as a long garbage collection or a swapped-out machine would."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.alive:
            self._process.send_signal(number)

    def _read_until(self, enough: Callable[[], bool], limit_s: float) -> bool:
        """Read the report until it is enough or has ended; False if time runs out first."""
        deadline = time.monotonic() + limit_s
        while not enough():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._report], [], [], left)[0]:
                return False
            chunk = os.read(self._report.fileno(), 65536)
            if not chunk:
                return True
            self._told += chunk
        return True


@contextlib.contextmanager
def running(function: Any, *arguments: Any, url: str) -> Iterator[Running]:
    """Start a function in another process; the process ends with the block.

    Args:
        function: of the learner, synchronous or a coroutine function.
        arguments: `CLIENT` becomes a client of the kind that fits.
        url: the server that its clients shall use.

    Raises:
        CannotTravel: it uses something that cannot leave the notebook.
    """
    payload = _packed((function, arguments))
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as printed, os.fdopen(reading, "rb") as report:
        environment = os.environ | {
            "REDIS_URL": url,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.checks.worker", str(writing)],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=printed,
            pass_fds=[writing],
            env=environment,
        )
        os.close(writing)
        try:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(payload)
            yield Running(process, report)
        finally:
            process.kill()  # ours alone, and not yet waited for: the pid cannot be another's
            process.wait()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles by value what the notebook defines, and clients as a recipe for a new one."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, redis.Redis):
            return connect, ()
        if isinstance(obj, redis.asyncio.Redis):
            return connect_async, ()
        return super().reducer_override(obj)


def _packed(payload: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(payload)
    except Exception as error:  # whatever a foreign object's own pickling raises
        raise CannotTravel(str(error)) from error
    return buffer.getvalue()
