"""The event pipeline's soak: 6,000 changes a second, from a replay to the counters.

Replay, publisher and subscriber are processes of their own, and so is the server. On the stream
the subscriber is killed by kill -9 now and then, and the server is silent for a moment, demoted,
or full, closes all connections, or has evicted what the group notes. In the end every change
must be counted in its bucket: on the stream all of them; on the channel, where nothing is struck,
none twice. Meanwhile a probe is sent now and then, to see how long it takes from there to its
counter.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from helpers import connect_async
from helpers.chaos import Crew, SpareServer
from helpers.chaos.process import Process
from helpers.streams.clock import moment_of, ms_of, utc_now
from helpers.streams.keys import sibling_key
from helpers.wiki import Change, Counters, Feed, Publisher, Replay, Subscriber, change_of
from helpers.wiki.names import GROUP, KEPT, WIKI, place_key
from helpers.wiki.synthetic import synthetic_event
from tests.soaks import stage
from tests.soaks.server import SERVER, server_faults, struck
from tests.soaks.stage import KILLED, Act, Fault, Stage, Strike, client_of
from tests.wiki import counted, everlasting, total

PROBE = "probe.org"
PROBE_S = 0.05
LIMIT_BYTES = 300_000_000  # of the server; the stream takes most of it
LONGEST, MOST_BYTES = "most entries on the stream", "most bytes in the server"
EVICTED = [sibling_key(WIKI, f"{GROUP}:{name}") for name in ("names", "failures", "sweep")]
TOTAL = "soak:total"  # how many changes the feed has: those of the plan, and more if they run out


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    seed: int
    faults: int = 18
    time_s: int = 60  # at least
    rate: int = 6000
    through: str = "stream"
    keep: int = KEPT
    limit_s: float = stage.LIMIT_S


# ------------------------------------------------------------------ the processes


def serve(plan: Plan, start: datetime, url: str) -> None:
    """The feed, which may become longer."""
    client = client_of(url)
    replay = Replay(rate=plan.rate, seed=plan.seed, start=start, total=0)
    print(replay.url, flush=True)
    while True:
        replay.total = int(client.get(TOTAL) or 0)
        time.sleep(0.05)


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


# ------------------------------------------------------------------ the stage


class Hit(NamedTuple):
    """A subscriber that was killed, and how many changes had been counted when it was."""

    process: Process
    counted: int


class Wiki(Stage):
    """The pipeline at work, and the probes that are sent through it."""

    plan: Plan

    def __init__(self, plan: Plan, server: SpareServer) -> None:
        super().__init__(plan, server)
        self._crew = Crew()
        self._probes: Counter[int] = Counter()  # of each bucket
        self._probe_at = 0.0
        self._total = 0  # how many changes the feed has
        self._delays_ms: list[int] = []  # from each probe to its counter
        self._start = moment_of(ms_of(utc_now()) + 3000)  # until then all have begun

    def open(self) -> None:
        plan, crew, url = self.plan, self._crew, self.server.url
        self._add(plan.time_s * plan.rate)
        crew.start("subscriber", subscribe, plan, url=url)
        self._wait("subscriber", self._listening)
        crew.start("replay", serve, plan, self._start, url, url=url)
        self._wait("replay", lambda: "\n" in crew["replay"].output())
        self._begun = time.monotonic()
        feed = crew["replay"].output().strip()
        crew.start("publisher", publish, feed, self._start, plan, url=url)

    def _wait(self, name: str, begun: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.plan.limit_s
        while not begun():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the {name} did not begin: {self._crew[name].output()}")
            time.sleep(0.01)

    def _listening(self) -> bool:
        if self.plan.through == "stream":
            return bool(self.client.exists("{wiki}:counters:names"))
        return bool(self.client.pubsub_numsub(WIKI)[0][1])

    def tend(self) -> None:
        for name, process in self._crew.items():
            self.report.expect(process.alive, f"the {name} ended: {process.output()}")
        if time.monotonic() >= self._probe_at and not self.report.wrong:
            self._probe()
            self._probe_at = time.monotonic() + PROBE_S
        if not self.all_struck and self._published() > self._total - self.plan.rate:
            self._add(self.plan.rate)

    def _add(self, number: int) -> None:
        """Make the feed longer."""
        self._total += number
        self.client.set(TOTAL, self._total)

    def _published(self) -> int:
        place = str(self.client.hget(place_key(WIKI), "event") or '"offset": -1,')
        return int(place.partition('"offset": ')[2].partition(",")[0]) + 1

    def _probe(self) -> None:
        """Publish a change, and wait until its counter says so."""
        number = self._probes.total() + 1
        probe = Change(PROBE, ms_of(utc_now()), title=f"probe {number}")
        self._probes[Counters().bucket(probe.at_ms)] += 1
        sent_at = time.monotonic()
        if self.plan.through == "stream":
            self.client.xadd(WIKI, probe.fields())
        else:
            self.client.publish(WIKI, probe.message())
        while sum(map(int, self.client.hvals(Counters().of(PROBE)))) < number:
            if time.monotonic() - sent_at > self.plan.limit_s:
                self.report.stuck += 1
                self.report.wrong.append(f"a probe was not counted in {self.plan.limit_s:.0f} s")
                return
            time.sleep(0.002)
        self._delays_ms.append(round(1000 * (time.monotonic() - sent_at)))
        memory = self.client.info("memory")["used_memory"]
        for name, size in ((LONGEST, self.client.xlen(WIKI)), (MOST_BYTES, memory)):
            self.report.more[name] = max(self.report.more[name], size)

    def far(self, whom: str) -> float:
        return total(self.client) / (self.plan.time_s * self.plan.rate)

    @property
    def over(self) -> bool:
        """Whether all is published, and all counted.

        On the channel some may be lost; but when a later probe is counted, no more will come.
        """
        if self._published() < self._total:
            return False
        if self.plan.through == "pubsub":
            self._probe()
            return True
        return total(self.client) >= self._total + self._probes.total()

    def close(self) -> None:
        due_s = self._total / self.plan.rate
        self.report.more["ms late at the end"] = round(
            1000 * max(0.0, time.monotonic() - self._begun - due_s)
        )
        for name in ("publisher", "subscriber"):
            text = self._crew[name].output()
            self.report.expect(not text, f"the {name} said: {text}")

    def kill_all(self) -> None:
        self._crew.kill()

    # ------------------------------------------------------------ the faults

    def kill(self, _: Act) -> Strike:
        """Kill the subscriber, and start it again."""
        yield
        process, before = self._crew["subscriber"], total(self.client)
        process.kill()
        self._crew.revive("subscriber")
        return Hit(process, before)

    def succeeded(self, hit: Hit) -> bool:
        """Whether its successor counts."""
        return hit.process.exit_code == KILLED and total(self.client) > hit.counted

    def evict(self, _: Act) -> Strike:
        """Delete what the group notes beside the stream; gives how many keys there were."""
        yield
        return self.client.delete(*EVICTED)

    FAULTS: ClassVar[Sequence[Fault]] = (
        Fault("kill", 1, ("subscriber",), kill, succeeded),
        *server_faults(1),
        Fault("evict", 1, (SERVER,), evict, struck),
    )
    PLAN, MUCH = Plan, 1

    # ------------------------------------------------------------ what there must be

    def inspect(self) -> None:
        plan, report, at_ms = self.plan, self.report, ms_of(self._start)
        events = (
            synthetic_event(plan.seed, number, at_ms + int(number * 1000 / plan.rate))
            for number in range(self._total)
        )
        wanted: Counter[Any] = Counter(Counters().tally(map(change_of, events)))
        wanted.update({(PROBE, bucket): number for bucket, number in self._probes.items()})
        found = Counter(counted(self.client))
        report.more["changes"] = found.total() - self._probes.total()
        report.more["probes"] = len(self._delays_ms)
        if ordered := sorted(self._delays_ms):
            report.more["median ms to the counter"] = ordered[len(ordered) // 2]
            report.more["most ms to the counter"] = ordered[-1]
        report.lost, report.twice = (wanted - found).total(), (found - wanted).total()
        if plan.through == "stream":
            report.expect(not report.lost, f"{report.lost:,} were not counted")
            left = self.client.xpending(WIKI, GROUP)["pending"]
            report.stuck += left
            report.expect(not left, f"{left} entries are still pending")
        report.expect(not report.twice, f"{report.twice:,} were counted more than once")
        report.wrong += [f"{key} would stay forever" for key in everlasting(self.client)]
        small = report.more[MOST_BYTES] <= LIMIT_BYTES
        report.expect(small, "the server's memory is not bounded")
        report.expect(report.more[LONGEST] <= 1.1 * plan.keep, "the stream is not bounded")
