"""The averages' soak: everybody is killed, the server too, while ten days become 240 averages.

python -m tests.soak_averages [--seed N --days 10 --kills 300 --losses 90 --pauses 30 …]

A producer fills daily partitions, the aggregating consumer publishes the mean of each hour, the
averages consumer notes what it is shown; each is a real process, and so is the server, which has
a folder of its own and `appendfsync always`. All are killed by kill -9, at any moment or while a
command stands still. Replies and connections are lost. Successors begin while their predecessor
is paused or at work. Once the server stays away until all give up. In the end every reading must
be there, and every hour published once, with the mean of the readings that were generated.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from itertools import cycle, islice, product
from typing import Any, NamedTuple

from helpers.averages import AGGREGATING_STATE, AVERAGES, KEPT, SET_ASIDE
from helpers.chaos import LOSSES, Fault, SpareServer
from helpers.course.database import claim
from helpers.partitions import (
    DEMO_START,
    RETENTION_S,
    partition_key,
    readings_of,
    start_of,
    temperatures,
)
from helpers.partitions.readings import SECONDS_A_DAY
from tests.soak_havoc import SERVER, Havoc
from tests.soak_workers import (
    AGGREGATING,
    PRODUCER,
    REPEATED,
    ROLES,
    SAID,
    SHOWING,
    SHOWN,
    directly,
)
from tests.soaking import in_own_process, main

# A small append-only file is rewritten often: kills hit that too, and a start takes no second.
PERSISTENCE = ("--appendonly yes", "--appendfsync always", "--auto-aof-rewrite-min-size 1mb")
MUCH = 20  # that is wrong: the soak ends

KILLS = (AGGREGATING, PRODUCER, AGGREGATING, SHOWING, SERVER)  # in turn
FREEZES = (Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER)
DOUBLES = (
    ("pause", AGGREGATING),
    ("pause", SHOWING),
    ("twin", AGGREGATING),
    ("pause", PRODUCER),
    ("twin", SHOWING),
    ("pause", AGGREGATING),
)


@dataclass(frozen=True)
class Plan:
    """What a soak does. The same seed makes the same choices."""

    seed: int
    days: int = 10
    kills: int = 300
    losses: int = 90
    pauses: int = 30  # every third is none: somebody is started by mistake
    outages: int = 1
    limit_s: float = 600.0

    @property
    def dates(self) -> list[date]:
        return [DEMO_START + timedelta(days=number) for number in range(self.days)]


class Act(NamedTuple):
    """Something that shall befall somebody."""

    at: float  # when so much of the work is done, from 0 to 1
    role: str
    what: str
    fault: Fault | None = None
    target: tuple[str, int] = ("", 1)  # the first command that comes then, or the second EVALSHA
    rest_s: float = 0.0
    early: bool = False  # also somebody who has not begun to work

    @property
    def last(self) -> bool:
        """Whether somebody else does the work afterwards."""
        return self.what != "lose"


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    kills: Counter[str] = field(default_factory=Counter)
    standing: int = 0  # of these, while a command stood still
    late: int = 0  # of these, when the work was done
    losses: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    twins: Counter[str] = field(default_factory=Counter)
    outages: int = 0
    gave_up: int = 0
    found_none: int = 0
    lives: int = 0
    proxied: int = 0
    repeated: int = 0
    away_s: float = 0.0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        days = self.plan.days
        right = f"{days * 24} hours published once each, all means exact, no reading missing"
        wrong = "; ".join(self.wrong[:MUCH])
        more = f"; and {len(self.wrong) - MUCH} more" if len(self.wrong) > MUCH else ""
        return (
            f"seed {self.plan.seed}: {wrong or right}{more}\n"
            f"  {days * SECONDS_A_DAY:,} readings in {self.seconds:.1f} s by {self.lives} "
            f"processes, {self.proxied} of them behind a proxy\n"
            f"  {_listed(self.kills)} killed by kill -9: {self.standing} while a command stood "
            f"still, {self.late} when their work was done\n"
            f"  {_listed(self.losses)} connections lost\n"
            f"  {_listed(self.pauses)} paused until a successor had gone on\n"
            f"  {_listed(self.twins)} at work when another one was started\n"
            f"  the server was away for {self.away_s:.1f} s: {self.found_none} found none at "
            f"their start, and in {self.outages} long outages {self.gave_up} gave up\n"
            f"  {self.repeated} averages were shown more than once"
        )


def _listed(counter: Counter[str]) -> str:
    parts = ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))
    return f"{counter.total()} ({parts})" if parts else "none"


def draw(plan: Plan) -> list[Act]:
    """All that shall happen, in the order of when."""
    rng = random.Random(plan.seed)
    acts = [_kill(rng, role) for role in islice(cycle(KILLS), plan.kills)]
    for fault, role in islice(cycle(product(LOSSES, ROLES)), plan.losses):
        acts.append(Act(_when(rng), role, "lose", fault, _target(rng)))
    for what, role in islice(cycle(DOUBLES), plan.pauses):
        acts.append(Act(_when(rng), role, what))
    for _ in range(plan.outages):
        acts.append(Act(rng.uniform(0.2, 0.6), SERVER, "outage"))
    return sorted(acts, key=lambda act: act.at)


def _kill(rng: random.Random, role: str) -> Act:
    stands = role != SERVER and rng.random() < 0.5
    fault, target = rng.choice(FREEZES), _target(rng)
    rest_s, early = rng.uniform(0, 0.02), rng.random() < 0.1
    return Act(_when(rng), role, "kill", fault if stands else None, target, rest_s, early)


def _when(rng: random.Random) -> float:
    return rng.uniform(0, 0.9)


def _target(rng: random.Random) -> tuple[str, int]:
    """A command of a worker; mostly one of its scripts, by which all is written."""
    return ("EVALSHA", rng.randint(1, 2)) if rng.random() < 0.7 else ("", rng.randint(1, 4))


def soak(plan: Plan, folder: str) -> Report:
    """Do it all, with a server of its own, whose data is in a folder."""
    tempfile.tempdir = folder
    report = Report(plan)
    with SpareServer(*PERSISTENCE) as server:
        claim(server.url)
        havoc = Havoc(report, draw(plan), server)
        begun = time.monotonic()
        try:
            havoc.open()
            go_on(report, havoc)
            havoc.close()
        finally:
            havoc.kill_all()
        report.seconds = time.monotonic() - begun
        inspect(report, directly(server.url))
    return report


def go_on(report: Report, havoc: Havoc) -> None:
    """Do this and that until nothing is left to be done."""
    plan = report.plan
    rng = random.Random(f"steps {plan.seed}")
    deadline = time.monotonic() + plan.limit_s
    while not havoc.over and len(report.wrong) < MUCH:
        if time.monotonic() > deadline:
            report.wrong.append(f"not finished after {plan.limit_s:.0f} s ({havoc})")
            return
        havoc.step()
        time.sleep(rng.uniform(0, 0.01))


# ------------------------------------------------------------------ what there must be


def inspect(report: Report, client: Any) -> None:
    """Compare what is there with what must be."""
    for day in report.plan.dates:
        report.wrong += _wrong_readings(client, day)
    truth = [hour for day in report.plan.dates for hour in _means(day)]
    noted = {entry_id: json.loads(text) for entry_id, text in client.hgetall(SHOWN).items()}
    report.wrong += _wrong_averages(truth, [noted[one] for one in sorted(noted, key=_order)])
    report.repeated = client.scard(REPEATED)
    kept = client.xrange(AVERAGES)
    if [fields for _, fields in kept] != truth[-KEPT:] or any(one not in noted for one, _ in kept):
        report.wrong.append(f"the stream of averages does not hold the last {KEPT}")
    added = client.xinfo_stream(AVERAGES)["entries-added"] if kept else 0
    if added != len(truth):
        report.wrong.append(f"{added} averages were published, and not {len(truth)}")
    state = client.hgetall(AGGREGATING_STATE)
    told = [int(state.get(name, -1)) for name in ("num_averages", "num_set_aside", "num_lost")]
    if told != [len(truth), 0, 0] or client.exists(SET_ASIDE):
        report.wrong.append(f"the state counts {told} averages, set aside, and lost")
    report.wrong += sorted(client.smembers(SAID))


def _wrong_readings(client: Any, day: date) -> Iterator[str]:
    key = partition_key(day)
    wanted = [(f"{one.at}-0", {"temp_f": str(one.temp_f)}) for one in readings_of(day)]
    if client.xrange(key) != wanted:
        yield f"the {client.xlen(key):,} readings of {key} are not those that were generated"
    newest = start_of(day) // 1000 + SECONDS_A_DAY - 1
    if client.expiretime(key) != newest + RETENTION_S:
        yield f"{key} expires at {client.expiretime(key)}"


def _wrong_averages(truth: list[dict[str, str]], noted: list[dict[str, str]]) -> Iterator[str]:
    """How the averages that were shown differ from the truth."""
    times = Counter(_hour(one) for one in noted)
    wanted = {_hour(one): one for one in truth}
    for hour in wanted:
        if times[hour] != 1:
            yield f"{hour} was published {times[hour]} times"
    for one in noted:
        if one != wanted.get(_hour(one)):
            yield f"{_hour(one)} has {one}, and not {wanted.get(_hour(one))}"
    if sorted(noted, key=_moment) != noted:
        yield "the averages are not in the order of their hours"


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


def _hour(average: dict[str, str]) -> str:
    return f"{average['date']} {average['hour']}"


def _moment(average: dict[str, str]) -> tuple[str, int]:
    return average["date"], int(average["hour"])


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


# ------------------------------------------------------------------ the command


def run(plan: Plan) -> Report:
    """A soak in a process of its own, with a server of its own."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report: Report = in_own_process(soak, plan, folder)
    return report


if __name__ == "__main__":
    sys.exit(main("tests.soak_averages"))
