"""A class that works through the course: seats of different speed, with the mistakes that come.

`Learner.works` is one seat's day as events, each with the second at which it happens; `board_of`
counts events the plainest way, for a page to show and for the board's own counts to be compared.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import cast

from helpers.cli.room import exercises
from helpers.course.authoring.runsheet import Route, routes
from helpers.room.view import RECENT, Board, Catalogue, Cell, Exercise, Seat

OPENED = 1_795_770_000_000  # ms: 09:00 on a day in November 2026, somewhere in Europe


@dataclass(frozen=True)
class Happened:
    """What one check sent, and when: seconds since the class began."""

    at: float
    seat: str
    exercise: str
    outcome: str
    hint: int
    seconds: int


@dataclass(frozen=True)
class Learner:
    """A seat: how long it takes for everything, and how often it is wrong."""

    seat: str
    slowness: float
    error: float

    def works(self, route: Route, catalogue: Catalogue, seed: int) -> Iterator[Happened]:
        """What its checks send along a route."""
        dice = random.Random(f"{seed} {self.seat}")
        now = opened = 0.0
        for step in route.steps:
            if not step.exercise:
                now += 60 * step.minutes * dice.uniform(0.7, 1.0) * self.slowness
                opened = now
                continue
            for outcome, hint in self._tries(step.exercise, catalogue, dice):
                now += 60 * step.minutes * dice.uniform(0.25, 0.8) * self.slowness
                yield Happened(now, self.seat, step.exercise, outcome, hint, int(now - opened))

    def _tries(
        self, exercise: str, catalogue: Catalogue, dice: random.Random
    ) -> Iterator[tuple[str, int]]:
        if dice.random() < 0.15:
            yield "blank", 0
        numbers = sorted(catalogue.get(exercise, {}))[:6]
        while dice.random() < self.error:
            # The first mistakes of the catalogue come most often, as in a real class one does.
            weights = [3.0**-place for place in range(len(numbers))]
            yield "wrong", dice.choices(numbers, weights)[0] if numbers else 0
        if dice.random() < 0.02:
            yield "error", 0
        yield "passed", 0


def learners(number: int, seed: int = 7) -> list[Learner]:
    """A class: most are about as quick as the sheet says, and a few are lost."""
    dice = random.Random(seed)
    return [
        Learner(f"seat {n}", dice.lognormvariate(0, 0.25), min(0.85, dice.betavariate(4, 3)))
        for n in range(1, number + 1)
    ]


def route(name: str = "half a day") -> Route:
    """The run-sheet of this name."""
    return next(one for one in known_routes() if one.name == name)


@cache
def known_routes() -> list[Route]:
    """All run-sheets."""
    return routes()


def day(
    people: Sequence[Learner], along: Route, catalogue: Catalogue, seed: int = 7
) -> list[Happened]:
    """What a whole class sends, in the order in which it happens."""
    events = [one for learner in people for one in learner.works(along, catalogue, seed)]
    return sorted(events, key=lambda one: one.at)


@cache
def course() -> tuple[Exercise, ...]:
    """The exercises as the board shows them."""
    return tuple(cast(Exercise, asdict(one)) for one in exercises())


def board_of(
    seats: Sequence[str], events: Iterable[Happened], now_s: float, opened: int = OPENED
) -> Board:
    """What the board must know at a second of the class, counted one event after another."""
    now = opened + int(now_s * 1000)
    cells: dict[str, dict[str, Cell]] = {seat: {} for seat in seats}
    mistakes: dict[str, dict[str, list[tuple[str, int]]]] = defaultdict(lambda: defaultdict(list))
    for one in events:
        at = opened + int(one.at * 1000)
        if at > now:
            break
        new = Cell(state="", hint=0, tries=0, wrong=0, seconds=0, since=at, at=at)
        cell = cells[one.seat].setdefault(one.exercise, new)
        cell |= {"state": one.outcome, "hint": one.hint, "seconds": one.seconds, "at": at}
        cell["tries"] += 1
        cell["wrong"] += one.outcome == "wrong"
        if one.hint:
            mistakes[one.exercise][str(one.hint)].append((one.seat, at))
    return Board(
        opened=opened,
        now=now,
        exercises=list(course()),
        seats=[_seat(seat, cells[seat], opened) for seat in seats],
        mistakes={
            exercise: {
                number: {
                    "count": len(made),
                    "seats": len({seat for seat, _ in made}),
                    "recent": sum(now - at <= RECENT for _, at in made),
                }
                for number, made in numbers.items()
            }
            for exercise, numbers in mistakes.items()
        },
    )


def _seat(name: str, cells: dict[str, Cell], opened: int) -> Seat:
    seen = max((cell["at"] for cell in cells.values()), default=opened)
    return Seat(seat=name, left=False, seen=seen, dropped=0, waiting=0, cells=cells)
