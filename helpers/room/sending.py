"""Sends a seat's events to its class board: in the background, by one process at a time.

An event is forgotten only when the board's `upto` covers it, so what is lost on the way, or sent
twice, does no harm: the board knows events by their numbers.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
from pathlib import Path

from filelock import Timeout

from helpers.room import seat as seats
from helpers.room.post import BoardError, Reply, no_board, post
from helpers.room.seat import Seat

BATCH = 500  # events in a request, at most
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
LONGEST_ASKED_S = 300.0  # a board may ask for a pause
GIVEN_UP_S = 30 * 24 * 3600.0  # by then the address may be another machine's
FINISHED = (401, 410)  # the class is closed, or the seat was left

_GONE = "The class board has not been reached for a month."
_LOG = logging.getLogger(__name__)
_NAME = "class board"  # of the thread
_awake = threading.Event()
_starting = threading.Lock()
_thread: threading.Thread | None = None


class SeatEndedError(BoardError):
    """The board does not know the seat any more, or its class is closed."""


class BusyBoardError(BoardError):
    """The board asks for a pause."""

    def __init__(self, sentence: str, pause_s: float) -> None:
        super().__init__(sentence)
        self.pause_s = min(pause_s, LONGEST_ASKED_S)


def wake() -> None:
    """Let the background thread send what waits; it is a daemon, so Python ends without it."""
    global _thread
    _awake.set()
    if _thread is None or not _thread.is_alive():  # a fork has none
        with _starting:
            if _thread is None or not _thread.is_alive():
                # A learner's log is no place for what is sent in the background.
                logging.getLogger("httpx").addFilter(lambda one: one.threadName != _NAME)
                _thread = threading.Thread(target=_work, name=_NAME, daemon=True)
                _thread.start()


def lock_of(seat: Seat) -> Path:
    """The file whose lock those hold who send."""
    return seat.spool.file.with_suffix(".lock")


def hand_over(seat: Seat) -> None:
    """Send what waits, if no other process does so just now, and note how that went.

    Raises:
        Timeout: another process is at it.
        SeatEndedError: nothing is noted any more from now on.
        BoardError: the board did not take it. The events are kept.
        sqlite3.Error: the spool cannot be used.
    """
    with seats.alone(lock_of(seat)):
        try:
            _send(seat)
        except SeatEndedError as error:
            seat.spool.tell(ended=str(error))
            raise
        except BoardError as error:
            with contextlib.suppress(sqlite3.Error):
                state = seat.spool.standing()
                gone = bool(state.trouble) and time.time() - state.since > GIVEN_UP_S
                seat.spool.tell(str(error), ended=_GONE if gone else "")
            raise


def _send(seat: Seat) -> None:
    most, renumbered = BATCH, False
    while True:
        events = seat.spool.waiting(most)
        standing = seat.spool.standing()
        reply = post(
            seat.url, "/events",
            {
                "events": [event.sent for event in events],
                "dropped": standing.dropped,
                "waiting": standing.waiting - len(events),
            },
            secret=seat.secret, authority=seat.authority,
        )  # fmt: skip
        if reply.status == 413 and len(events) > 1:
            most = len(events) // 2
            continue
        upto = _upto(seat, reply)
        ahead = upto > standing.numbered
        if (events and upto < events[0].n) or (ahead and renumbered):
            raise BoardError(f"The class board at {seat.url} doesn't take what is sent to it.")
        seat.spool.settle(upto)
        renumbered = ahead
        if not seat.spool.standing().waiting:
            return


def _upto(seat: Seat, reply: Reply) -> int:
    """What the board has, by its answer.

    Raises:
        BoardError: it refused.
    """
    if reply.status == 200:
        upto = reply.says.get("upto")
        if type(upto) is int and 0 <= upto < 2**53:
            return upto
        raise BoardError(no_board(seat.url))
    sentence = f"The class board at {seat.url} says: {reply.error}."
    if reply.status in FINISHED:
        raise SeatEndedError(sentence)
    if reply.retry_after_s:
        raise BusyBoardError(sentence, reply.retry_after_s)
    raise BoardError(sentence)


def _work() -> None:
    """Send whenever there is something to send; after a failure, wait longer each time."""
    failures = 0
    while True:
        _awake.wait()
        _awake.clear()
        while (pause_s := _try(failures)) is not None:
            failures += 1
            threading.Event().wait(pause_s)
        failures = 0


def _try(failures: int) -> float | None:
    """Send once; how many seconds to wait before the next attempt, or None if all is done."""
    longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures, 16))
    pause_s = random.uniform(longest_s / 2, longest_s)
    try:
        seat = seats.current()
        if seat is None:
            return None
        seat.spool.write()
        if seat.spool.standing().ended or not seat.spool.standing().waiting:
            return None
        hand_over(seat)
    except SeatEndedError:
        return None
    except BusyBoardError as error:
        return max(pause_s, error.pause_s)
    except Timeout:  # another kernel may end before it is done
        return pause_s
    except Exception:
        _LOG.debug("events were not sent to the class board", exc_info=True)
        return pause_s
    return None
