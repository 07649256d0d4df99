"""How much the benchmark measures: the whole of it, or `--quick`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Scale:
    """How often and how much.

    Attributes:
        rounds: how often each path is taken.
        readings: weather readings on the stream that is written or read.
        some: as many of them for a path that is not the fastest.
        slow: as many for one that takes them one by one.
        pairs: SETs and GETs a path.
        wakes: how often a blocked reader is woken.
        kept: entries of which the memory is measured.
        loads: how often they are loaded; hardly anything of their size is chance.
        days: partitions of 86,400 readings that are filled and aggregated.
        passes: how often that is done.
    """

    rounds: int
    readings: int
    some: int
    slow: int
    pairs: int
    wakes: int
    kept: int
    loads: int
    days: int
    passes: int

    @classmethod
    def full(cls) -> Self:
        """A day of readings, ten days of partitions."""
        return cls(
            rounds=3,
            readings=86_400,
            some=20_000,
            slow=2000,
            pairs=500,
            wakes=1000,
            kept=86_400,
            loads=1,
            days=10,
            passes=3,
        )

    @classmethod
    def quick(cls) -> Self:
        """What is over in seconds, and less exact."""
        return cls(
            rounds=3,
            readings=20_000,
            some=5000,
            slow=500,
            pairs=100,
            wakes=300,
            kept=20_000,
            loads=1,
            days=1,
            passes=1,
        )

    @classmethod
    def lesson(cls) -> Self:
        """What a cell of a lesson can wait for."""
        return cls(
            rounds=2,
            readings=5000,
            some=5000,
            slow=200,
            pairs=100,
            wakes=200,
            kept=5000,
            loads=1,
            days=1,
            passes=1,
        )
