"""The soak: three workers are killed and paused at random while they handle a day of readings.

python -m tests.soak [--seed N --kills 200 --pauses 50 --entries 86400 --server valkey]

The workers are real processes in one consumer group. Each entry has an effect on totals in
Redis, in one step with its acknowledgement, and a plain effect, which the handler writes by
itself. A few entries always raise, a few kill the process that handles them, some raise once.
In the end every entry must be handled or a dead letter, and the totals exact.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import redis

from helpers import Consumer, DeadLetters, Entry, Producer, connect
from helpers.course.server import find_server
from helpers.course.weather import readings
from helpers.streams.errors import ConsumerError
from tests.lives import Life
from tests.soaking import KILLED, REPLACED, in_own_process, main

STREAM, GROUP = "soak", "totals"
TOTALS, PLAIN, STUMBLED, CLAIMS = "soak:totals", "soak:plain", "soak:stumbled", "soak:claims"
WORKERS = 3
AWAY = 2  # so many may be paused at once
MIN_IDLE_S = 0.4
PAUSE_S = 3.0  # the longest; a pause ends when others have claimed what the paused one held
MAX_DELIVERIES = 8  # so many kills in a row hit no innocent entry by chance
TERMS = {
    "batch": 50,
    "block_ms": 100,
    "min_idle_ms": int(MIN_IDLE_S * 1000),
    "max_deliveries": MAX_DELIVERIES,
}


@dataclass(frozen=True)
class Plan:
    """What a soak does. The same seed makes the same choices."""

    seed: int
    entries: int = 86_400
    kills: int = 200
    pauses: int = 50
    limit_s: float = 240.0


@dataclass(frozen=True)
class Fates:
    """Entries that something is the matter with, by the milliseconds of their IDs."""

    raising: frozenset[int]
    deadly: frozenset[int]
    stumbling: frozenset[int]  # raise once

    @property
    def poison(self) -> frozenset[int]:
        return self.raising | self.deadly


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    kills: int = 0
    suicides: int = 0
    pauses: int = 0
    zombies: int = 0
    replaced: int = 0
    workers: int = 0
    claims: int = 0
    repeated: int = 0
    most: int = 0
    dead: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "; ".join(self.wrong) or "every entry handled or dead, all totals exact"
        return (
            f"seed {self.plan.seed}: {verdict}\n"
            f"  {self.plan.entries:,} entries in {self.seconds:.1f} s "
            f"({self.plan.entries / self.seconds:,.0f} a second) by {self.workers} processes\n"
            f"  {self.kills} killed by kill -9, {self.suicides} by an entry\n"
            f"  {self.pauses} paused: {self.zombies} until others had claimed what they held, "
            f"{self.replaced} while another one took their name\n"
            f"  {self.claims:,} entries claimed, {self.dead} dead letters\n"
            f"  {self.repeated:,} plain effects happened more than once, at most {self.most} times"
        )


# ------------------------------------------------------------------ the work


def work(name: str, fates: Fates) -> None:
    """A worker: what its process does until SIGTERM."""
    client = connect()
    claimed = 0

    def handle(entry: Entry) -> Any:
        nonlocal claimed
        ms = entry.id.ms
        if consumer.counts.claimed > claimed:
            claimed = consumer.counts.claimed
            client.hset(CLAIMS, f"{name}:{os.getpid()}", claimed)
        if ms in fates.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if ms in fates.raising or (ms in fates.stumbling and client.sadd(STUMBLED, ms)):
            raise RuntimeError("as planned")
        client.rpush(PLAIN, ms)
        return effect(entry)

    consumer = Consumer(client, STREAM, GROUP, handle, name=name, **TERMS)
    try:
        consumer.run()
    except ConsumerError:
        os._exit(REPLACED)


def effect(entry: Entry) -> list[tuple[str, str, str, int]]:
    """Two totals an hour: how many readings, and the sum of their temperatures."""
    hour = f"{entry.id.time:%H}"
    return [
        ("HINCRBY", TOTALS, f"{hour} readings", 1),
        ("HINCRBY", TOTALS, f"{hour} degrees", int(entry.fields["temperature"])),
    ]


# ------------------------------------------------------------------ those who disturb it


class Shop:
    """The workers, and what is done to them."""

    def __init__(self, plan: Plan, fates: Fates, client: redis.Redis) -> None:
        self.report = Report(plan)
        self._fates, self._client = fates, client
        self._random = random.Random(plan.seed)
        self._url = find_server().url
        self._numbers = count(1)
        self._workers: dict[str, Life] = {}
        self._paused: dict[str, tuple[Life, float]] = {}  # and since when
        self._replaced: list[Life] = []
        self._contested: set[str] = set()

    def open(self) -> None:
        """Begin with three workers."""
        for _ in range(WORKERS):
            self._hire(self._new_name())

    def tend(self) -> None:
        """Start somebody in place of each worker that ended, and resume who was away for long."""
        for name, life in list(self._workers.items()):
            if life.exit_code is not None:
                self._bury(name, life)
                self._hire(name if self._random.random() < 0.5 else self._new_name())
        for name, (life, since) in list(self._paused.items()):
            away_s, holds = time.monotonic() - since, self._holds(name)
            if away_s > PAUSE_S or (away_s > MIN_IDLE_S and not holds):
                del self._paused[name]
                self.report.zombies += not holds
                life.resume()

    def kill(self) -> bool:
        """Kill one of the workers, whatever it does at the moment; seldom a paused one."""
        name = self._random.choice(list(self._workers))
        life = self._workers[name]
        if life.exit_code is not None or (name in self._paused and self._random.random() < 0.9):
            return False
        life.kill()
        self.report.kills += 1
        return True

    def pause(self) -> bool:
        """Pause one that holds entries; in one case of four, somebody else takes its name."""
        awake = [name for name in self._workers if name not in self._paused]
        if len(self._paused) >= AWAY:
            return False
        name = self._random.choice(awake)
        life = self._workers[name]
        life.pause()
        if life.exit_code is not None or not self._holds(name):
            life.resume()
            return False
        self.report.pauses += 1
        self._paused[name] = life, time.monotonic()
        if self._random.random() < 0.25:
            self.report.replaced += 1
            self._contested.add(name)
            self._replaced.append(life)
            self._hire(name)
        return True

    def close(self) -> None:
        """Ask all to end."""
        lives = [*self._workers.values(), *self._replaced]
        for life in lives:
            life.stop()
        for life in lives:
            if not life.wait(10) or life.exit_code not in (0, KILLED, REPLACED):
                self.report.wrong.append(f"a worker ended with {life.exit_code}")

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for life in [*self._workers.values(), *self._replaced]:
            life.kill()

    def _hire(self, name: str) -> None:
        self.report.workers += 1
        self._workers[name] = Life(work, name, self._fates, url=self._url)

    def _bury(self, name: str, life: Life) -> None:
        del self._workers[name]
        paused = self._paused.get(name)
        if paused and paused[0] is life:
            del self._paused[name]
        if life.exit_code == REPLACED and name in self._contested:
            return
        if life.exit_code != KILLED:
            self.report.wrong.append(f"{name} ended with {life.exit_code}")

    def _new_name(self) -> str:
        return f"worker-{next(self._numbers)}"

    def _holds(self, name: str) -> bool:
        return bool(self._client.xpending_range(STREAM, GROUP, "-", "+", 1, name))


def soak(plan: Plan) -> Report:
    """Do it all, on the course's server; the database must be the soak's own."""
    client = connect()
    client.unlink(STREAM, PLAIN, TOTALS, STUMBLED, CLAIMS, *client.scan_iter(f"{{{STREAM}}}:*"))
    day = list(readings("chennai", plan.entries))
    fates = draw_fates(plan, day)
    with Producer(client, STREAM) as producer:
        producer.add_many(day)
    client.xgroup_create(STREAM, GROUP, "0")
    shop = Shop(plan, fates, client)
    begun = time.monotonic()
    try:
        shop.open()
        disturb(plan, shop, client)
        shop.close()
    finally:
        shop.kill_all()
    report = shop.report
    report.seconds = time.monotonic() - begun
    report.suicides = sum(one.deliveries for one in DeadLetters(client, STREAM, GROUP)
                          if one.entry.id.ms in fates.deadly)  # fmt: skip
    inspect(report, client, day, fates)
    return report


def draw_fates(plan: Plan, day: list[Entry]) -> Fates:
    """Six entries that raise, three that kill, and three in a thousand that stumble once."""
    rng = random.Random(f"fates {plan.seed}")
    drawn = rng.sample([entry.id.ms for entry in day], 9 + plan.entries * 3 // 1000)
    return Fates(frozenset(drawn[:6]), frozenset(drawn[6:9]), frozenset(drawn[9:]))


def disturb(plan: Plan, shop: Shop, client: redis.Redis) -> None:
    """Kill and pause, spread over the whole work, until nothing is left to be done."""
    rng = random.Random(f"schedule {plan.seed}")
    acts = [shop.kill] * plan.kills + [shop.pause] * plan.pauses
    rng.shuffle(acts)
    steps = len(acts)
    deadline = time.monotonic() + plan.limit_s
    while acts or not over(client):
        if time.monotonic() > deadline:
            shop.report.wrong.append(f"not finished after {plan.limit_s:.0f} s")
            return
        shop.tend()
        time.sleep(rng.uniform(0.0, 0.03))
        if acts and client.llen(PLAIN) >= 0.95 * plan.entries * (1 - len(acts) / steps):
            rng.shuffle(acts)
            if acts[-1]():
                acts.pop()


def over(client: redis.Redis) -> bool:
    """Whether everything is read, and nothing pending."""
    (group,) = client.xinfo_groups(STREAM)
    last = client.xinfo_stream(STREAM)["last-generated-id"]
    return group["last-delivered-id"] == last and group["pending"] == 0


def inspect(report: Report, client: redis.Redis, day: list[Entry], fates: Fates) -> None:
    """Compare what is there with what must be."""
    fine = [entry for entry in day if entry.id.ms not in fates.poison]
    totals: Counter[str] = Counter()
    for entry in fine:
        for _, _, name, amount in effect(entry):
            totals[name] += amount
    if {name: int(value) for name, value in client.hgetall(TOTALS).items()} != totals:
        report.wrong.append("the totals are wrong")
    plain = Counter(map(int, client.lrange(PLAIN, 0, -1)))
    if set(plain) != {entry.id.ms for entry in fine}:
        report.wrong.append(f"{len(fine) - len(plain)} entries were not handled")
    report.repeated = sum(times > 1 for times in plain.values())
    report.most = max(plain.values(), default=0)
    if report.most > MAX_DELIVERIES:
        report.wrong.append(f"an entry was handled {report.most} times")
    report.claims = sum(map(int, client.hvals(CLAIMS)))
    dead = list(DeadLetters(client, STREAM, GROUP))
    report.dead = len(dead)
    if sorted(one.entry.id.ms for one in dead) != sorted(fates.poison):
        report.wrong.append("the dead letters are not the poison")
    if any(one.deliveries != MAX_DELIVERIES for one in dead):
        report.wrong.append("a dead letter was not delivered as often as it should be")
    if left := client.xpending(STREAM, GROUP)["pending"]:
        report.wrong.append(f"{left} entries are still pending")
    if client.exists(f"{{{STREAM}}}:{GROUP}:failures"):
        report.wrong.append("failures are remembered of entries that are done with")


# ------------------------------------------------------------------ the command


def run(plan: Plan) -> Report:
    """A soak in a process of its own, on the course's server."""
    report: Report = in_own_process(soak, plan)
    return report


if __name__ == "__main__":
    sys.exit(main("tests.soak"))
