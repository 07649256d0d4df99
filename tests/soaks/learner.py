"""A learner of the class's soak: joins by command, and works through labs by their real checks."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from helpers.chaos import course
from helpers.course.authoring.runsheet import exercises
from helpers.course.blank import BLANK

LABS = ("01", "02", "03")
FIRST = "00.1"  # how many entries lesson 00 has made
MADE = "for _ in range(3 - redis.xlen('chennai')): redis.xadd('chennai', {'temperature': 26})\n"
FIRST_RIGHT = (f"{MADE}answer = 3", f"{MADE}answer = redis.xlen('chennai')")
FIRST_WRONG = (f"{MADE}answer = 6", f"{MADE}answer = '3'", f"{MADE}answer = 1")
AT_ONCE = 3  # checks, on all laptops of the room: here they share two processors
SELDOM = 0.1  # how often an exercise is done that isn't a must


class Try(NamedTuple):
    """One check to come: of which exercise, with which answer; None is a blank."""

    exercise: str
    source: str | None


class Said(NamedTuple):
    """What one check has said: its verdict's outcome, and its hint."""

    exercise: str
    outcome: str
    hint: str


def plan(seat: str, seed: int, last: str = LABS[-1]) -> list[Try]:
    """What a seat will try: the mistakes that learners make, and then what is right."""
    dice = random.Random(f"{seed} {seat}")
    error = min(0.75, dice.betavariate(4, 4))
    labs = [
        exercise
        for lab in LABS
        if lab <= last
        for exercise, (must, _) in exercises_of(lab).items()
        if must or dice.random() < SELDOM
    ]
    return [one for exercise in [FIRST, *labs] for one in _tries(exercise, error, dice)]


@cache
def exercises_of(lab: str) -> dict[str, tuple[bool, int]]:
    """Those of a lab: whether each is a must, and its minutes."""
    return {one: about for one, about in exercises().items() if one.startswith(lab)}


def _tries(exercise: str, error: float, dice: random.Random) -> Iterator[Try]:
    right, wrong = _answers(exercise)
    if dice.random() < 0.2:
        yield Try(exercise, None)
    while wrong and dice.random() < error:
        # The first ones come most often, as in a room one mistake does.
        weights = [1.5**-place for place in range(len(wrong))]
        yield Try(exercise, dice.choices(wrong, weights)[0])
    yield Try(exercise, dice.choice(right))


def _answers(exercise: str) -> tuple[Sequence[str], Sequence[str]]:
    """The right and the wrong ones that the checks are tested with."""
    if exercise == FIRST:
        return FIRST_RIGHT, FIRST_WRONG
    lab, number = exercise.split(".")
    rows = importlib.import_module(f"tests.checks.test_lab{lab}")
    right, wrong = (
        [case.source for case in cases if case.exercise == int(number)]
        for cases in (rows.RIGHT, rows.WRONG)
    )
    return right, wrong


def learn(seat: str, tries: list[Try], home: str, board: list[str], slots: str, file: str) -> None:
    """Join, check each answer, and hand over what waits; each verdict goes into a file at once.

    Args:
        seat: the name.
        tries: what to check.
        home: the hidden folder of this seat's course.
        board: the address of the board and what else `course class join` needs.
        slots: the folder of the room's processors.
        file: where the verdicts go.
    """
    from helpers.checks import open_lab
    from helpers.course.connect import connect
    from tests.checks.answers import answer

    os.environ["COURSE_HOME"] = home
    _run("join", *board, "--as", seat)
    dice = random.Random(seat)
    with connect() as redis, Path(file).open("a") as said:
        for one in tries:
            lab, number = one.exercise.split(".")
            time.sleep(dice.uniform(0, 1))
            given = answer(one.source, redis=redis) if one.source is not None else BLANK
            with _slot(Path(slots)):
                verdict = open_lab(lab).check(int(number), given)
            hint = dict(verdict.lines).get("Hint", "")
            print(one.exercise, verdict.outcome, hint, sep="\t", file=said, flush=True)
    while "none waits" not in _run("status"):  # the board may be away just now
        time.sleep(1)


def verdicts(file: Path) -> list[Said]:
    """What a seat's checks have said so far."""
    if not file.exists():
        return []
    lines = file.read_text().splitlines(keepends=True)
    return [Said(*line[:-1].split("\t")) for line in lines if line.endswith("\n")]


def _run(*words: str) -> str:
    """What `course class …` prints."""
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        course("class", *words), capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def _slot(folder: Path) -> Iterator[None]:
    """Hold one of a few locks, as soon as one is free."""
    while True:
        for number in range(AT_ONCE):
            with suppress(Timeout), FileLock(folder / f"{number}.lock", timeout=0):
                yield
                return
        time.sleep(0.02)
