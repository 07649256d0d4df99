"""The ladder as a lesson climbs it: rung by rung, timed live, into one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis
from matplotlib.figure import Figure as Picture

from helpers.bench.ladder import LADDER, LIMIT, Entries, Rung, rate
from helpers.bench.limit import limit_of
from helpers.bench.rounds import Figure, Path, Rounds
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.views.figures import ladder

ROUNDS = 3
SLOW = 400  # entries that go one by one


class Climb:
    """Times rungs of the ladder, and remembers them.

    climb = Climb(redis, "chennai", entries)
    climb.take("redis-py, one at a time", "pipelines of 10")
    climb.picture()
    """

    def __init__(
        self,
        client: redis.Redis,
        stream: str,
        entries: Entries,
        *,
        slow: int = SLOW,
        rungs: Sequence[Rung] = LADDER,
    ) -> None:
        """Prepare to climb; the server's own limit is measured once.

        Args:
            client: a client from `connect()`.
            stream: the key of a stream, which each rung writes anew.
            entries: what a rung appends; a slow one only the first of them.
            slow: so many.
            rungs: the ladder.
        """
        self._client, self._stream, self._entries, self._slow = client, stream, entries, slow
        self._rungs = {rung.name: rung for rung in rungs}
        self._measure_limit, self.limit_is = limit_of(client)
        self.limit = 0.0
        self._go_to_limit()
        self.taken: dict[str, Figure] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The rungs, from the lowest up."""
        return tuple(self._rungs)

    def take(self, *names: str, rounds: int = ROUNDS, say: bool = True) -> Rounds:
        """Time rungs beside each other, and say what came out; `LIMIT` is one of them.

        Args:
            names: the rungs.
            rounds: how often each is timed.
            say: whether to print a line for each, or leave that to the picture.

        Raises:
            CourseError: there is no such rung.
        """
        paths = {name: self._path(rung) for name, rung in self._rungs.items()}
        paths[LIMIT] = self._go_to_limit
        if unknown := [name for name in names if name not in paths]:
            raise CourseError(f"There is no rung {unknown[0]!r}: choose {', '.join(paths)}.")
        taken = Rounds.take({name: paths[name] for name in names}, rounds)
        self.taken |= taken.figures()
        for name in names if say else ():
            print(f"{name:28}{taken[name].median:10,.0f} entries a second")
        return taken

    def picture(
        self,
        rates: Mapping[str, float] | None = None,
        *,
        title: str = "How many readings a second?",
    ) -> Picture:
        """All rungs that were taken, or these rates, with the server's own limit."""
        if rates is None:
            taken = [name for name in self._rungs if name in self.taken]
            bars = {name: _spread(self.taken[name]) for name in taken}
        else:
            bars = {name: (rate, rate, rate) for name, rate in rates.items()}
        return ladder(bars, limit=(LIMIT, self.limit), unit="entries a second", title=title)

    def _path(self, rung: Rung) -> Path:
        share = self._entries[: self._slow] if rung.share == "slow" else self._entries

        def go() -> float:
            clean(self._client, self._stream)
            return rate(rung, self._stream, share)

        return go

    def _go_to_limit(self) -> float:
        clean(self._client, self._stream)
        rate = self._measure_limit(self._stream, self._entries[0])
        self.limit = max(self.limit, rate)  # a busy moment is no limit
        clean(self._client, self._stream)
        return rate


def _spread(figure: Figure) -> tuple[float, float, float]:
    return figure.median, figure.low, figure.high
