"""The averages' soak: all are killed, the server too, while ten days become 240 averages.

A producer fills daily partitions, the aggregating consumer publishes the mean of each hour, the
averages consumer notes what it is shown; each is a real process, and so is the server, which has
`appendfsync always`. All are killed by kill -9, at any moment or while a command stands still.
Replies and connections are lost. Successors begin while their predecessor is paused or at work.
Once the server stays away until all give up; and for a moment it is silent, demoted, or full, or
closes all connections. In the end every reading must be there, and every
hour published once, with the mean of the readings that were generated.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import zip_longest
from typing import Any

from helpers.averages import AGGREGATING_STATE, AVERAGES, KEPT, SET_ASIDE
from helpers.partitions import (
    DEMO_START,
    RETENTION_S,
    partition_key,
    readings_of,
    start_of,
    temperatures,
)
from helpers.partitions.readings import SECONDS_A_DAY
from tests.soaks import stage
from tests.soaks.havoc import Havoc
from tests.soaks.workers import DAYS, REPEATED, SAID, SHOWN


@dataclass(frozen=True)
class Plan:
    """What a soak does. The same seed makes the same choices."""

    seed: int
    faults: int = 453
    days: int = 10  # at least
    limit_s: float = stage.LIMIT_S


class Averages(Havoc):
    """The stage, with what there must be in the end."""

    PLAN = Plan

    def inspect(self) -> None:
        report, client = self.report, self.client
        report.more["days"] = days = int(client.get(DAYS))
        dates = [DEMO_START + timedelta(days=number) for number in range(days)]
        for day in dates:
            report.wrong += _wrong_readings(client, day)
        truth = [hour for day in dates for hour in _means(day)]
        noted = {entry_id: json.loads(text) for entry_id, text in client.hgetall(SHOWN).items()}
        self._inspect_averages(truth, [noted[one] for one in sorted(noted, key=_order)])
        report.more["averages shown again"] = client.scard(REPEATED)
        kept = client.xrange(AVERAGES)
        last = [fields for _, fields in kept] == truth[-KEPT:] and {one for one, _ in kept} <= {
            *noted
        }
        report.expect(last, f"the stream of averages does not hold the last {KEPT}")
        added = client.xinfo_stream(AVERAGES)["entries-added"] if kept else 0
        report.expect(added == len(truth), f"{added} averages were published, not {len(truth)}")
        state = client.hgetall(AGGREGATING_STATE)
        counts = [int(state.get(f"num_{name}", -1)) for name in ("averages", "set_aside", "lost")]
        right = counts == [len(truth), 0, 0] and not client.exists(SET_ASIDE)
        report.expect(right, f"the state counts {counts} averages, set aside, and lost")
        report.wrong += sorted(client.smembers(SAID))

    def _inspect_averages(self, truth: list[dict[str, str]], shown: list[dict[str, str]]) -> None:
        """Compare the averages that were shown, in the order of their IDs, with the truth."""
        times = Counter(f"{one['date']} {one['hour']}" for one in shown)
        self.report.lost = sum(not times[f"{one['date']} {one['hour']}"] for one in truth)
        self.report.twice = sum(number - 1 for number in times.values())
        for wanted, found in zip_longest(truth, shown):
            if wanted != found:
                self.report.wrong.append(f"instead of the average {wanted} came {found}")
                return


def _wrong_readings(client: Any, day: date) -> Iterator[str]:
    key = partition_key(day)
    wanted = [(f"{one.at}-0", {"temp_f": str(one.temp_f)}) for one in readings_of(day)]
    if client.xrange(key) != wanted:
        yield f"the {client.xlen(key):,} readings of {key} are not those that were generated"
    newest = start_of(day) // 1000 + SECONDS_A_DAY - 1
    if client.expiretime(key) != newest + RETENTION_S:
        yield f"{key} expires at {client.expiretime(key)}"


def _means(day: date) -> Iterator[dict[str, str]]:
    """The averages of a day, computed from the readings that are generated for it."""
    degrees = temperatures(day)
    for hour in range(24):
        part = degrees[hour * 3600 : (hour + 1) * 3600]
        mean = round(Fraction(sum(part), len(part)), 2)  # half to even
        yield {
            "date": f"{day:%Y/%m/%d}",
            "hour": str(hour),
            "average_temp_f": f"{float(mean):.2f}",
            "num_observations": str(len(part)),
        }


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
