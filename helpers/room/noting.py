"""Notes each check for the class board, if a class was joined. Nothing here reaches a check.

A note that cannot be written yet waits in memory; one that cannot be kept is counted, and
`course class status` says why.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from helpers.room import seat

OUTCOMES = {"right": "passed", "wrong": "wrong", "blank": "blank", "trouble": "error"}

_LOG = logging.getLogger(__name__)
_opened: dict[str, float] = {}  # when this process opened each lab


def open_lab(lab: str) -> None:
    """Note that a lab was opened. Raises nothing."""
    _opened.setdefault(lab, time.time())
    with _harmless():
        if seat.is_joined() and (here := seat.current()):
            here.spool.open(lab, max(_opened[lab], here.joined))
            _hand_over()


def note(exercise: str, outcome: str, hint: Callable[[], int]) -> None:
    """Note a check for the class board, if a class was joined, and let it be sent. Raises nothing.

    Args:
        exercise: such as `03.2`.
        outcome: the verdict's.
        hint: gives the number of the mistake; 0 for none.
    """
    with _harmless():
        if seat.is_joined() and (here := seat.current()):
            opened = max(_opened.get(exercise.partition(".")[0], time.time()), here.joined)
            try:
                here.spool.note(exercise, OUTCOMES[outcome], hint(), opened)
            finally:  # what could not be written is, as soon as it can be
                _hand_over()


def news() -> str:
    """What there is to say of the seat beside a lab's progress; empty while no class is joined."""
    with _harmless():
        if seat.is_joined() and (here := seat.current()):
            standing = here.spool.standing()
            if standing.ended or standing.dropped:
                return "`course class status` has news of your class"
            if standing.waiting:
                return f"{standing.waiting:,} not on the class board yet"
            return "the class board has all of it"
    return ""


def _hand_over() -> None:
    from helpers.room.sending import wake  # SQLite, too, is loaded only where a class was joined

    wake()


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Whatever goes wrong with a note is no affair of the check that made it."""
    try:
        yield
    except Exception:
        _LOG.debug("the check was not noted for the class board", exc_info=True)
