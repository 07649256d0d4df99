"""The groups' soak: three workers are killed and paused while they handle a day of readings.

The workers are real processes in one consumer group. Each entry has an effect on totals in
Redis, in one step with its acknowledgement, and a plain effect, which the handler writes by
itself. A few entries always raise, a few kill the process that handles them, some raise once.
For a moment the server is silent, demoted, or full, closes all connections, or has evicted what
is noted beside the stream. In the end every entry must be handled or a dead letter, and the
totals exact.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, ClassVar, NamedTuple

from helpers import Consumer, DeadLetters, Entry, Producer, connect
from helpers.chaos import SpareServer
from helpers.course.errors import ServerError
from helpers.course.weather import readings
from helpers.streams.entry import EntryId
from helpers.streams.errors import ConsumerError, NotConfirmedError
from helpers.streams.keys import sibling_key
from tests.lives import Life
from tests.soaks import stage
from tests.soaks.server import SERVER, server_faults, struck
from tests.soaks.stage import KILLED, NO_SERVER, REPLACED, Act, Fault, Stage, Strike, client_of

STREAM, GROUP = "soak", "totals"
TOTALS, PLAIN, STUMBLED = "soak:totals", "soak:plain", "soak:stumbled"
NAMES, FAILURES = sibling_key(STREAM, f"{GROUP}:names"), sibling_key(STREAM, f"{GROUP}:failures")
EVICTED = (NAMES, FAILURES, sibling_key(STREAM, f"{GROUP}:sweep"), sibling_key(STREAM, "producers"))
WORKERS = 3
AWAY = ("one away", "another away")  # so many may be paused at once
MAX_DELIVERIES = 8  # so many kills in a row hit no innocent entry by chance
SETTINGS = {"batch": 50, "block_ms": 100, "min_idle_ms": 400, "max_deliveries": MAX_DELIVERIES}
FEW, MORE = 1000, 3000  # while faults are to come and so few entries are left, add so many more
ENDLESS = 10**9
RAISING, DEADLY, STUMBLING = "raising", "deadly", "stumbling"  # the last one raises once
POISON = (RAISING, DEADLY)
ENDS = (KILLED, REPLACED, NO_SERVER)  # of a worker, before it is asked to end


# ------------------------------------------------------------------ the work


def work(name: str, url: str) -> None:
    """A worker: what its process does until SIGTERM."""
    notes = client_of(url)  # a handler that fails for the server's sake would spend deliveries

    def handle(entry: Entry) -> Any:
        ms, fate = entry.id.ms, entry.fields.get("fate")
        if fate == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == RAISING or (fate == STUMBLING and notes.sadd(STUMBLED, ms)):
            raise RuntimeError("as planned")
        notes.rpush(PLAIN, ms)
        return effect(entry)

    try:
        Consumer(connect(), STREAM, GROUP, handle, name=name, **SETTINGS).run()
    except ConsumerError:
        os._exit(REPLACED)
    except ServerError:
        os._exit(NO_SERVER)


def effect(entry: Entry) -> list[tuple[str, str, str, int]]:
    """Two totals an hour: how many readings, and the sum of their temperatures."""
    hour = f"{entry.id.time:%H}"
    return [
        ("HINCRBY", TOTALS, f"{hour} readings", 1),
        ("HINCRBY", TOTALS, f"{hour} degrees", int(entry.fields["temperature"])),
    ]


# ------------------------------------------------------------------ the stage


@dataclass(frozen=True)
class Plan:
    """What a soak does. The same seed makes the same choices."""

    seed: int
    faults: int = 300
    entries: int = 86_400  # at least
    limit_s: float = stage.LIMIT_S


class Worker(NamedTuple):
    """A process in the group."""

    name: str
    life: Life
    before: str | None  # the token of the name when it was started


class Away(NamedTuple):
    """A paused worker, and the IDs of the first and the last entry that it holds."""

    worker: Worker
    first: str
    last: str


class Groups(Stage):
    """The workers, and what is done to them."""

    plan: Plan

    def __init__(self, plan: Plan, server: SpareServer) -> None:
        super().__init__(plan, server)
        self._numbers = count(1)
        self._workers: dict[str, Worker] = {}
        self._paused: list[Worker] = []
        self._replaced: list[Worker] = []
        self._readings = readings("chennai", ENDLESS)
        self._entries: list[Entry] = []
        self._producer = Producer(server.connect(), STREAM)
        # Six entries that raise, three that kill, and three in a thousand that stumble once.
        fates = [RAISING] * 6 + [DEADLY] * 3 + [STUMBLING] * (plan.entries * 3 // 1000)
        places = self.rng.sample(range(plan.entries), len(fates))
        self._fates = dict(zip(places, fates, strict=True))

    def open(self) -> None:
        self._add(self.plan.entries)
        self.client.xgroup_create(STREAM, GROUP, "0")
        for _ in range(WORKERS):
            self._hire(self._new_name())

    def tend(self) -> None:
        for worker in [one for one in self._workers.values() if one.life.exit_code is not None]:
            name, code = worker.name, worker.life.exit_code
            self.report.more["found no server"] += code == NO_SERVER
            self.report.expect(code in (KILLED, NO_SERVER), f"{name} ended with {code}")
            del self._workers[name]
            contested = any(name == one.name for one in self._replaced if one in self._paused)
            self._hire(name if contested or self.rng.random() < 0.5 else self._new_name())
        if not self.all_struck and len(self._entries) - self._handled() < FEW:
            self._add(MORE)

    def far(self, whom: str) -> float:
        return self._handled() / self.plan.entries

    @property
    def over(self) -> bool:
        (group,) = self.client.xinfo_groups(STREAM)
        last = self.client.xinfo_stream(STREAM)["last-generated-id"]
        return bool(group["last-delivered-id"] == last and group["pending"] == 0)

    def close(self) -> None:
        for life in self.lives:
            life.stop()
        for life in self.lives:
            fine = life.wait(10) and life.exit_code in (0, *ENDS)
            self.report.expect(fine, f"a worker ended with {life.exit_code}")

    def _add(self, number: int) -> None:
        """More readings on the stream, some of them with a fate."""
        first = len(self._entries)
        for place, (entry_id, fields) in enumerate(islice(self._readings, number), first):
            fate = {"fate": self._fates[place]} if place in self._fates else {}
            self._entries.append(Entry(entry_id, fields | fate))
        self._append(self._entries[first:])

    def _append(self, entries: list[Entry]) -> None:
        """Append entries; and look before adding any again, if the producer cannot know."""
        while entries:
            try:
                self._producer.add_many(entries)
                return
            except NotConfirmedError:
                last = EntryId.parse(self.client.xinfo_stream(STREAM)["last-generated-id"])
                entries = [one for one in entries if one.id > last]
                self.report.more["looked before adding again"] += 1

    def _handled(self) -> int:
        return int(self.client.llen(PLAIN))

    def _hire(self, name: str) -> None:
        before = self.client.hget(NAMES, name)
        self._workers[name] = Worker(name, self.begin(work, name, self.server.url), before)

    def _new_name(self) -> str:
        return f"worker-{next(self._numbers)}"

    def _begun(self, worker: Worker) -> bool:
        return bool(self.client.hget(NAMES, worker.name) != worker.before)

    def _held(self, away: Away) -> bool:
        """Whether something that a worker held when it was paused is pending for it still."""
        worker, first, last = away
        return bool(self.client.xpending_range(STREAM, GROUP, first, last, 1, worker.name))

    # ------------------------------------------------------------ the faults

    def kill(self, _: Act) -> Strike:
        """Kill one of the workers, whatever it does at the moment; seldom a paused one."""
        while True:
            yield
            worker = self.rng.choice(list(self._workers.values()))
            if worker.life.exit_code is None and (
                worker not in self._paused or self.rng.random() < 0.1
            ):
                worker.life.kill()
                return worker

    def killed(self, worker: Worker) -> bool | None:
        return True if worker.life.exit_code == KILLED else None

    def pause(self, _: Act) -> Strike:
        """Pause a worker while it holds entries."""
        while True:
            yield
            worker = self.rng.choice([w for w in self._workers.values() if w not in self._paused])
            if worker.life.exit_code is not None or not self._begun(worker):
                continue
            worker.life.pause()
            held = self.client.xpending_range(STREAM, GROUP, "-", "+", 1000, worker.name)
            if held and worker.life.exit_code is None:
                self._paused.append(worker)
                return Away(worker, held[0]["message_id"], held[-1]["message_id"])
            worker.life.resume()

    def claimed(self, away: Away) -> bool | None:
        """Whether others have all that it held."""
        return None if away.worker.life.exit_code is not None else not self._held(away)

    def resume(self, away: Away) -> None:
        self._paused.remove(away.worker)
        away.worker.life.resume()

    def replace(self, act: Act) -> Strike:
        """Pause a worker while it holds entries, and let another one take its name."""
        away = yield from self.pause(act)
        self._replaced.append(away.worker)
        self._hire(away.worker.name)
        while not self._begun(self._workers[away.worker.name]):
            yield
        away.worker.life.resume()
        return away

    def replaced(self, away: Away) -> bool | None:
        """Whether it has noticed; it may also have come upon a deadly entry before that."""
        code = away.worker.life.exit_code
        return False if code is None else True if code == REPLACED else None

    def evict(self, _: Act) -> Strike:
        """Delete all that is noted beside the stream; gives how many keys there were.

        Not while two processes have one name: the first of them to come would have it.
        """
        while any(lane.act and lane.act.fault.name == "replace" for lane in self.lanes.values()):
            yield
        return self.client.delete(*EVICTED)

    FAULTS: ClassVar[Sequence[Fault]] = (
        Fault("kill", 200, ("worker",), kill, killed),
        Fault("pause", 38, AWAY, pause, claimed, resume),
        Fault("replace", 12, AWAY, replace, replaced, resume),
        *server_faults(10),
        Fault("evict", 10, (SERVER,), evict, struck),
    )
    PLAN = Plan

    # ------------------------------------------------------------ what there must be

    def inspect(self) -> None:
        report, client = self.report, self.client
        report.more["entries"] = len(self._entries)
        poison = {one.id.ms for one in self._entries if one.fields.get("fate") in POISON}
        fine = [one for one in self._entries if one.id.ms not in poison]
        wanted: Counter[str] = Counter()
        for entry in fine:
            for _, _, name, amount in effect(entry):
                wanted[name] += amount
        found = Counter({name: int(value) for name, value in client.hgetall(TOTALS).items()})
        report.expect(found == wanted, "the totals are wrong")
        plain = Counter(map(int, client.lrange(PLAIN, 0, -1)))
        missing = {one.id.ms for one in fine} - set(plain)
        report.lost = max(_readings(wanted - found), len(missing))
        report.twice = _readings(found - wanted)
        report.expect(not missing, f"{len(missing)} entries were not handled")
        report.expect(not set(plain) & poison, "poison was handled")
        report.more["plain effects repeated"] = sum(times > 1 for times in plain.values())
        report.more["most repeats of one"] = most = max(plain.values(), default=0)
        report.expect(most <= MAX_DELIVERIES, f"one was handled {most} times")
        self._inspect_dead(poison)
        left = client.xpending(STREAM, GROUP)["pending"]
        report.stuck += left
        report.expect(not left, f"{left} entries are still pending")
        report.expect(not client.exists(FAILURES), "failures of settled entries are remembered")

    def _inspect_dead(self, poison: set[int]) -> None:
        report, dead = self.report, list(DeadLetters(self.client, STREAM, GROUP))
        report.more["dead letters"] = len(dead)
        same = sorted(one.entry.id.ms for one in dead) == sorted(poison)
        report.expect(same, "the dead letters are not the poison")
        often = all(one.deliveries == MAX_DELIVERIES for one in dead)
        report.expect(often, "a dead letter was not delivered as often as it should be")


def _readings(totals: Counter[str]) -> int:
    return sum(number for name, number in totals.items() if name.endswith("readings"))
