"""What a seat says of a check: five values and nothing else, read with distrust."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from helpers.course.errors import CourseError

OUTCOMES = ("passed", "wrong", "blank", "error")
MOST_EVENTS = 500  # a request
MOST_HINT = 999  # the number of a mistake; 0 is none
MOST_N = 2**40 - 1
MOST_COUNT = 2**40 - 1  # dropped or waiting
MOST_SECONDS = 10_000_000

_EXERCISE = re.compile(r"[0-9]{2}\.[1-9][0-9]?")
_WHOLE = {"hint": (0, MOST_HINT), "seconds": (0, MOST_SECONDS), "n": (1, MOST_N)}


class MalformedError(CourseError):
    """What a seat sent is not what a board takes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One check of one exercise.

    Attributes:
        n: the seat's own number of it: 1, 2, 3 …
        exercise: the numbers of lab and exercise, such as `03.2`.
        outcome: passed, wrong, blank or error.
        hint: the number of the mistake that the check named; 0 for none.
        seconds: since the seat first opened the exercise's lab.
    """

    n: int
    exercise: str
    outcome: str
    hint: int
    seconds: int

    @classmethod
    def read(cls, said: Any) -> Event:
        """The event in a JSON value.

        Raises:
            MalformedError: it is none.
        """
        if not isinstance(said, dict) or set(said) != set(cls.__slots__):
            _refuse(f"an event has {', '.join(cls.__slots__)} and nothing else")
        exercise, outcome = said["exercise"], said["outcome"]
        if not isinstance(exercise, str) or not _EXERCISE.fullmatch(exercise):
            _refuse("an exercise is named like 03.2")
        if outcome not in OUTCOMES:
            _refuse(f"an outcome is one of {', '.join(OUTCOMES)}")
        for name, (least, most) in _WHOLE.items():
            _expect_whole(name, said[name], least, most)
        return cls(said["n"], exercise, outcome, said["hint"], said["seconds"])


@dataclass(frozen=True)
class Handed:
    """What a seat hands over at once.

    Attributes:
        events: some of those that the board has not confirmed, from the oldest on.
        dropped: how many the seat has dropped, since it could not keep them.
        waiting: how many it keeps until the board confirms them.
    """

    events: tuple[Event, ...]
    dropped: int
    waiting: int

    @classmethod
    def read(cls, body: bytes) -> Handed:
        """What stands in the body of a request.

        Raises:
            MalformedError: something else.
        """
        said = json_of(body)
        if set(said) != {"events", "dropped", "waiting"} or not isinstance(said["events"], list):
            _refuse("it must have events (a list), dropped and waiting, and nothing else")
        if len(said["events"]) > MOST_EVENTS:
            _refuse(f"it may have {MOST_EVENTS} events at most")
        for name in ("dropped", "waiting"):
            _expect_whole(name, said[name], 0, MOST_COUNT)
        events = tuple(map(Event.read, said["events"]))
        if any(one.n >= after.n for one, after in pairwise(events)):
            _refuse("the numbers of events must rise")
        return cls(events, said["dropped"], said["waiting"])


def json_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        MalformedError: there is none.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):  # also of a number with too many digits
        _refuse("the body must be JSON")
    if not isinstance(said, dict):
        _refuse("the body must be a JSON object")
    return said


def _expect_whole(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        _refuse(f"{name} must be a whole number from {least} to {most}")


def _refuse(why: str) -> NoReturn:
    raise MalformedError(f"This isn't what a class board takes: {why}.")
