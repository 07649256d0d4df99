"""Run a function in a process of its own, and learn what became of it.

The function travels by value, with what it uses of the notebook. A Redis client that it uses
is made anew on the other side.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from helpers.chaos import warm
from helpers.chaos.outcome import Failure, Outcome, Returned, Unfinished, packed
from helpers.chaos.process import Child, Process
from helpers.course.pace import patient

START_LIMIT_S = patient(15.0)  # a fresh Python with its imports
_WORK = "from helpers.chaos.worker import work; work"
GLANCE_S = 0.05  # how soon a thread sees what another one has read


class Running(Process):
    """A function at work in another process. Made by `start()`.

    Where it is `forked`, it is a fork of one Python that has done its imports, and begins at
    once; else it is a fresh Python, as every other program is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        name: str,
        url: str | None = None,
        output: Path | str | None = None,
        forked: bool = False,
    ) -> None:
        self._forked = forked
        payload = packed((function, arguments))
        reading, writing = os.pipe()
        self._report = os.fdopen(reading, "rb", buffering=0)
        self._reported = b""
        self._complete = False
        try:
            with tempfile.TemporaryFile() as given:
                given.write(payload)
                given.seek(0)
                super().__init__(
                    [sys.executable, "-c", f"{_WORK}({writing})"],
                    name=name,
                    url=url,
                    output=output,
                    stdin=given,
                    pass_fds=[writing],
                )
        except BaseException:
            self._report.close()
            raise
        finally:
            os.close(writing)

    def _spawn(
        self,
        words: Sequence[str],
        stdin: int | IO[bytes],
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
    ) -> Child:
        if not self._forked or isinstance(stdin, int):
            return super()._spawn(words, stdin, pass_fds, environment)
        fds = (stdin.fileno(), self._file.fileno(), *pass_fds)
        return warm.fork(fds, self._guardian.pid, environment)

    def begun(self, limit_s: float = START_LIMIT_S) -> bool:
        """Wait until the function is about to run; False if it never does."""
        self._read_until(lambda: bool(self._reported), limit_s)
        return self._reported[:1] == b"R"

    def outcome(self, limit_s: float) -> Outcome:
        """Wait for the function to return, at most `limit_s` seconds from when it began."""
        self.begun()
        ended = self._read_until(lambda: False, limit_s)
        if not ended or len(self._reported) < 2:
            return Unfinished(ended)
        outcome = pickle.loads(self._reported.removeprefix(b"R"))
        assert isinstance(outcome, Returned | Failure)
        return outcome

    def _read_until(self, enough: Callable[[], bool], limit_s: float) -> bool:
        """Read the report until it is enough or has ended; False if time runs out first."""
        deadline = time.monotonic() + limit_s
        while not self._complete and not enough():
            left = max(0.0, deadline - time.monotonic())
            if self._readable(min(left, GLANCE_S)):
                with self._lock:
                    self._read_report()
            elif left <= GLANCE_S:
                return False
        return True

    def _readable(self, limit_s: float) -> bool:
        try:
            return bool(select.select([self._report], [], [], limit_s)[0])
        except (OSError, ValueError):  # another thread saw the end, and has read all there was
            return True

    def _read_report(self) -> None:
        if not self._complete and self._readable(0):
            chunk = self._report.read(65536)
            self._reported += chunk or b""
            self._complete = not chunk

    def _close(self) -> None:
        super()._close()
        while not self._complete and self._readable(0):  # a fork may hold the other end open
            self._read_report()
        self._complete = True
        self._report.close()
