"""What `%load_ext helpers` does in a notebook: the `%redis` magic, and errors that help.

A handler that fails in a consumer raises nothing in the cell, since its entry is tried again: a
line in the cell's output says what happened.

An error of Redis is shown as the line of the cell that caused it and what the server said,
without the forty lines of redis-py in between. Errors of the learner's own code keep Python's
traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections import defaultdict
from types import TracebackType
from typing import Any

import redis
from IPython.core.interactiveshell import InteractiveShell

from helpers.course.blank import BLANK
from helpers.course.certificates import leave_out_unusable
from helpers.course.loopback import spare_loopback
from helpers.course.magic import RedisMagics
from helpers.streams.errors import StreamsError

SHORT = (redis.RedisError, StreamsError, KeyboardInterrupt, asyncio.CancelledError)
TICK_S = 0.2
MOST_FAILURES = 5  # of each consumer, in a cell's output


def load(shell: InteractiveShell) -> None:
    """Set up a notebook."""
    spare_loopback()
    leave_out_unusable()
    shell.register_magics(RedisMagics)
    shell.set_custom_exc(SHORT, _show_short)
    _show_failures(shell)
    _keep_awake(shell)
    shell.push({"____": BLANK}, interactive=False)


class _Failures(logging.Handler):
    """Prints one line for each failure of a handler; one that repeats is printed once a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.set_name(__name__)
        self._seen: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)

    def begin(self, *_: object) -> None:
        """Another cell begins."""
        self._seen.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Print it, if it is one, and new in this cell."""
        if not (why := getattr(record, "why", None)):
            return
        consumer, entry = record.consumer, record.entry  # type: ignore[attr-defined]
        seen = self._seen[consumer]
        if (entry, why) in seen or len(seen) > MOST_FAILURES:
            return
        seen.add((entry, why))
        if len(seen) > MOST_FAILURES:
            print(f"{consumer} failed on more entries: this cell shows the first {MOST_FAILURES}")
            return
        place = _where(record.exc_info[2]) if record.exc_info and record.exc_info[2] else ""
        print(f"{consumer} failed on {entry}: {why}" + (f" ({place})" if place else ""))


def _show_failures(shell: Any) -> None:
    log, failures = logging.getLogger("helpers.streams"), _Failures()
    for earlier in [one for one in log.handlers if one.name == failures.name]:
        log.removeHandler(earlier)  # of %reload_ext
    log.addHandler(failures)
    shell.events.register("pre_run_cell", failures.begin)


def _keep_awake(shell: Any) -> None:
    """Wake the event loop now and then, if there is one.

    The stop button reaches a cell that awaits only when the loop wakes: a cell that waits
    for an entry on a quiet stream could not be stopped otherwise.
    """
    with contextlib.suppress(RuntimeError):  # a terminal's IPython has no loop at work
        shell.course_tick = asyncio.get_running_loop().create_task(_tick())


async def _tick() -> None:
    while True:  # noqa: ASYNC110  nothing is waited for: to wake is the purpose
        await asyncio.sleep(TICK_S)


def _show_short(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> list[str]:
    lines = [_where(trace), _what(error)]
    shell._showtraceback(kind, error, [line for line in lines if line])
    return lines


def _where(trace: TracebackType) -> str:
    """The last line of the notebook itself that the error came through."""
    for frame in reversed(traceback.extract_tb(trace)):
        if "ipykernel" in frame.filename and frame.line and "site-packages" not in frame.filename:
            return f"line {frame.lineno}: {frame.line}"
    return ""


def _what(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        return "Interrupted. Nothing is broken: run the cell again, or continue with the next one."
    if isinstance(error, redis.ConnectionError):
        return (
            f"{type(error).__name__}: the connection to the server was lost ({error}). "
            "Run the cell again: if the course's own server died, that restarts it."
        )
    return f"{type(error).__name__}: {error}"
