"""The event pipeline's soak: 6,000 changes a second, from a replay to the counters.

python -m tests.soak_wiki [--seconds 60 --rate 6000 --through stream --kills 3 --server valkey …]

Replay, publisher and subscriber are processes of their own, and so is the server. On the stream
the subscriber is killed by kill -9 now and then. In the end every change must be counted in its
bucket: on the stream all of them; on the channel, where nobody is killed, none twice. Meanwhile a
probe is sent now and then, to see how long it takes from there to its counter.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psutil
import redis as redis_py

from helpers import connect_async
from helpers.chaos import Crew, SpareServer
from helpers.course.database import claim
from helpers.streams.clock import moment_of, ms_of, utc_now
from helpers.wiki import Change, Counters, Feed, Publisher, Replay, Subscriber, change_of
from helpers.wiki.names import KEPT
from helpers.wiki.synthetic import synthetic_event
from tests.soak_workers import directly
from tests.soaking import in_own_process, main
from tests.wiki import counted, everlasting

PROBE = "probe.org"
PROBE_S = 0.05
CALM_S = 5.0  # after a kill, a probe says how long the recovery takes, not how long a change does
LOST_S = 60.0
SAMPLE_S = 1.0
MOST_BYTES = 300_000_000  # of the server; the stream takes most of it
MB = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    seed: int
    seconds: int = 60
    rate: int = 6000
    through: str = "stream"
    kills: int = 3
    keep: int = KEPT
    limit_s: float = 240.0

    @property
    def total(self) -> int:
        return self.seconds * self.rate


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    counted: int = 0
    late_s: float = 0.0  # from when the last change was due until it was counted
    calm: list[float] = field(default_factory=list)  # seconds from a probe to its counter
    disturbed: list[float] = field(default_factory=list)  # those that were sent around a kill
    kills: int = 0
    longest: int = 0  # entries on the stream
    sizes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # bytes
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        plan = self.plan
        right = f"all {plan.total:,} changes in {plan.seconds} s counted exactly"
        if plan.through == "pubsub":
            right = f"{plan.total - self.counted:,} of {plan.total:,} changes lost, none twice"
        sizes = ", ".join(f"{name} {_grown(sizes)}" for name, sizes in self.sizes.items())
        after = f", {max(self.disturbed):.1f} s at most around a kill" if self.disturbed else ""
        return (
            f"{plan.through}, {plan.rate:,} a second: {'; '.join(self.wrong) or right}; "
            f"the last one {self.late_s:.1f} s after it was due; publish to counter p50 "
            f"{_percentile(self.calm, 50)} ms, p99 {_percentile(self.calm, 99)} ms of "
            f"{len(self.calm)} probes{after}; {self.kills} kills; at most {self.longest:,} entries "
            f"on the stream; MB after a third and at the end, and at most: {sizes}"
        )


def _percentile(seconds: list[float], percent: int) -> str:
    ordered = sorted(seconds)
    return f"{1000 * ordered[len(ordered) * percent // 100]:.0f}" if ordered else "?"


def _grown(sizes: list[int]) -> str:
    return f"{sizes[len(sizes) // 3] / MB:.0f}-{sizes[-1] / MB:.0f} ({max(sizes) / MB:.0f})"


# ------------------------------------------------------------------ the processes


def serve(plan: Plan, start: datetime) -> None:
    """The feed."""
    replay = Replay(rate=plan.rate, total=plan.total, seed=plan.seed, start=start)
    print(replay.url, flush=True)
    threading.Event().wait()


def publish(url: str, start: datetime, plan: Plan) -> None:
    """The publisher, until it is killed."""

    async def live() -> None:
        feed = Feed(url, since=start, say=print)
        through: Any = plan.through
        await Publisher(connect_async(), feed, through=through, keep=plan.keep, say=print).run()

    asyncio.run(live())


def subscribe(plan: Plan) -> None:
    """The subscriber, until it is killed."""

    async def live() -> None:
        name: dict[str, Any] = {"name": "ann"} if plan.through == "stream" else {}
        through: Any = plan.through
        await Subscriber(connect_async(), through=through, say=print, **name).run()

    asyncio.run(live())


# ------------------------------------------------------------------ the soak


def soak(plan: Plan, folder: str) -> Report:
    """Do it all, with a server of its own."""
    tempfile.tempdir = folder
    report = Report(plan)
    with SpareServer() as server, Crew() as crew:
        claim(server.url)
        client = directly(server.url)
        start = moment_of(ms_of(utc_now()) + 3000)  # until then all have begun
        crew.start("subscriber", subscribe, plan, url=server.url)
        _wait(lambda: client.client_list() and _listening(client, plan))
        crew.start("replay", serve, plan, start)
        _wait(lambda: "\n" in crew["replay"].output())
        begun = time.monotonic()
        url = crew["replay"].output().strip()
        crew.start("publisher", publish, url, start, plan, url=server.url)
        probes = _watch(report, crew, client, begun)
        report.late_s = max(0.0, time.monotonic() - begun - plan.seconds)
        _inspect(report, client, start, probes)
        said = {name: crew[name].output() for name in ("publisher", "subscriber")}
        report.wrong += [f"the {name} said: {text}" for name, text in said.items() if text]
    return report


def _watch(report: Report, crew: Crew, client: redis_py.Redis, begun: float) -> dict[int, int]:
    """Send probes, kill and measure until all is counted; gives the probes of each bucket."""
    plan, counters = report.plan, Counters()
    kills = [plan.seconds * (n + 1) / (plan.kills + 1) for n in range(plan.kills)]
    if plan.through == "pubsub":
        kills = []
    probes: dict[int, int] = defaultdict(int)
    sample_at, killed_at, number = 0.0, -CALM_S, 0
    while (now := time.monotonic() - begun) < plan.limit_s:
        if kills and now >= kills[0]:
            kills.pop(0)
            crew["subscriber"].kill()
            crew.revive("subscriber")
            report.kills, killed_at = report.kills + 1, now
        if now >= sample_at:
            sample_at = now + SAMPLE_S
            _sample(report, crew, client)
        if _place(client) + 1 >= plan.total and _total(client, counters.all_domains) >= (
            plan.total + sum(probes.values())
        ):
            break
        if now > plan.seconds + 10 and plan.through == "pubsub":
            break
        if report.wrong:
            break
        number += 1
        probe = Change(PROBE, ms_of(utc_now()), title=f"probe {number}")
        probes[counters.bucket(probe.at_ms)] += 1
        latency_s = _latency(client, plan, probe, sum(probes.values()))
        if latency_s > LOST_S:
            report.wrong.append(f"a probe was not counted after {LOST_S:.0f} s")
        calm = now - killed_at > CALM_S
        (report.calm if calm else report.disturbed).append(latency_s)
        time.sleep(PROBE_S)
    return probes


def _latency(client: redis_py.Redis, plan: Plan, probe: Change, wanted: int) -> float:
    """How long it takes from publishing a change until its counter says so, in seconds."""
    fields: Any = probe.fields()
    sent_at = time.monotonic()
    if plan.through == "stream":
        client.xadd("wiki", fields)
    else:
        client.publish("wiki", probe.message())
    while _total(client, Counters().of(PROBE)) < wanted:
        if (waited_s := time.monotonic() - sent_at) > LOST_S:
            return waited_s
        time.sleep(0.002)
    return time.monotonic() - sent_at


def _sample(report: Report, crew: Crew, client: redis_py.Redis) -> None:
    for name, process in crew.items():
        try:
            if rss := psutil.Process(process.pid).memory_info().rss:  # it may not have begun
                report.sizes[name].append(rss)
        except psutil.Error:
            report.wrong.append(f"the {name} ended: {process.output()}")
    report.sizes["server"].append(client.info("memory")["used_memory"])
    report.longest = max(report.longest, client.xlen("wiki"))


def _inspect(
    report: Report, client: redis_py.Redis, start: datetime, probes: dict[int, int]
) -> None:
    """Compare what was counted with what was sent."""
    plan, at_ms = report.plan, ms_of(start)
    events = (
        synthetic_event(plan.seed, n, at_ms + int(n * 1000 / plan.rate)) for n in range(plan.total)
    )
    wanted: Any = Counters().tally(map(change_of, events))
    wanted.update({(PROBE, bucket): count for bucket, count in probes.items()})
    found = counted(client)
    report.counted = sum(found.values()) - sum(probes.values())
    if plan.through == "stream" and found != dict(wanted):
        report.wrong.append(f"{report.counted:,} were counted, and not {plan.total:,}")
    twice = [bucket for bucket, count in found.items() if count > wanted[bucket]]
    if twice:
        report.wrong.append(f"counted more than was sent: {twice[:3]}")
    report.wrong += [f"{key} would stay for ever" for key in everlasting(client)]
    if max(report.sizes["server"]) > MOST_BYTES:
        report.wrong.append("the server's memory is not bounded")
    if report.longest > 1.1 * plan.keep:
        report.wrong.append("the stream is not bounded")


def _place(client: redis_py.Redis) -> int:
    """The number of the last event that was published."""
    place = str(client.hget("{wiki}:place", "event") or '"offset": -1,')
    return int(place.partition('"offset": ')[2].partition(",")[0])


def _total(client: redis_py.Redis, key: str) -> int:
    return sum(map(int, client.hvals(key)))


def _listening(client: redis_py.Redis, plan: Plan) -> bool:
    if plan.through == "stream":
        return bool(client.exists("{wiki}:counters:names"))
    return bool(client.pubsub_numsub("wiki")[0][1])


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("somebody did not begin")
        time.sleep(0.01)


def run(plan: Plan) -> Report:
    """A soak in a process of its own, with a server of its own."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report: Report = in_own_process(soak, plan, folder)
    return report


if __name__ == "__main__":
    sys.exit(main("tests.soak_wiki"))
