"""Figures from rounds: each round takes every path once, so that what disturbs one disturbs all.

A ratio is taken within a round, and then the median over the rounds: of two medians from
different moments nobody knows what the machine was doing in each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helpers.course.errors import CourseError

Path = Callable[[], float]  # goes once, and says its rate or its size
Tick = Callable[[str], object]  # is told of each path before it goes


def silent(path: str) -> None:
    """The tick of those who watch nothing."""


@dataclass(frozen=True)
class Figure:
    """What some runs gave: their median, the least, the most, and how many they were."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure of some runs.

        Raises:
            CourseError: there are none.
        """
        if not values:
            raise CourseError("A figure needs at least one run.")
        return cls(statistics.median(values), min(values), max(values), len(values))

    def plain(self) -> dict[str, float]:
        """As JSON takes it."""
        return {"median": self.median, "low": self.low, "high": self.high, "runs": self.runs}


class Rounds:
    """Values of several paths, round by round."""

    def __init__(self, values: Mapping[str, Sequence[float]]) -> None:
        lengths = {len(runs) for runs in values.values()}
        if len(lengths) > 1:
            raise CourseError("Each round takes every path once, so all have as many values.")
        self._values = {name: list(runs) for name, runs in values.items()}

    @classmethod
    def take(cls, paths: Mapping[str, Path], rounds: int, tick: Tick = silent) -> Rounds:
        """Take every path once a round, in the order given."""
        values: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(rounds):
            for name, path in paths.items():
                tick(name)
                values[name].append(path())
        return cls(values)

    def __getitem__(self, name: str) -> Figure:
        return Figure.of(self._values[name])

    def figures(self) -> dict[str, Figure]:
        """Each path's own figure."""
        return {name: self[name] for name in self._values}

    def ratio(self, path: str, to: str) -> Figure:
        """How many times another path's value one is, taken within each round.

        Raises:
            CourseError: a round of the other one gave nothing.
        """
        pairs = list(zip(self._values[path], self._values[to], strict=True))
        if any(not other for _, other in pairs):
            raise CourseError(f"{to} gave 0 in a round: nothing can be compared with that.")
        return Figure.of([value / other for value, other in pairs])


@dataclass(frozen=True)
class Part:
    """What a part of the benchmark found.

    Attributes:
        unit: of the figures, such as `entries a second`.
        figures: what was measured.
        ratios: figures of this part against others of it, the names as in the JSON.
        setup: what a reader must know to judge them, a sentence each.
        samples: single values where their distribution matters, in the unit.
    """

    unit: str
    figures: Mapping[str, Figure]
    ratios: Mapping[str, Figure] = field(default_factory=dict)
    setup: Sequence[str] = ()
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it: the median of each ratio by its name, and the rest below it."""
        return {
            **{name: ratio.median for name, ratio in self.ratios.items()},
            "spread": {name: [one.low, one.high] for name, one in self.ratios.items()},
            "unit": self.unit,
            "figures": {name: figure.plain() for name, figure in self.figures.items()},
            "setup": list(self.setup),
        }


class Watch:
    """How long something took, in seconds."""

    seconds = 0.0


@contextmanager
def stopwatch() -> Iterator[Watch]:
    """Time what stands in a `with` block."""
    watch, begin = Watch(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - begin
