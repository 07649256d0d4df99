"""The cluster's soak: nodes and workers die, fall silent, are cut off; slots move; all at work.

Three primaries and their replicas are real servers, each behind a gate. Two producers add numbers,
to a stream in parts and to another one, and wait for a replica each time. Workers share the parts,
two consumers the other stream; each is a real process. One fault strikes at a time: the next one
waits until all slots are served and all replicas have what their primaries had.

In the end each number that was confirmed must be there, once, with its effect; and effects in the
order of each key. `Tail` does without replicas' word. There every fault may cost what was not yet
replicated: one run of numbers of a stream, all of them later than what a replica had before.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import redis

from helpers.chaos import LocalCluster
from helpers.chaos.cluster import NodeStatus
from helpers.course.errors import CourseError
from helpers.streams import Group, scan
from helpers.streams.entry import EntryId
from helpers.streams.keys import DEAD, group_key
from tests.lives import Life
from tests.soaks import parts, stage
from tests.soaks.parts import GROUP, LEASE_MS, MIN_IDLE_MS, PAIR, SEEN, WEATHER, Nodes, Task
from tests.soaks.stage import KILLED, Act, Fault, Stage, Strike

CLUSTER = "cluster"
WORKERS, CONSUMERS = 3, ("ann", "bob")
LOOK_S = 0.2
LATE_S = 60.0  # how long one that is asked to end may need
PRIMARY, REPLICA = "primary", "replica"


@dataclass(frozen=True)
class Plan:
    """What a soak does. The same seed makes the same choices."""

    seed: int
    faults: int = 100
    keys: int = 20
    rounds: int = 100  # at least; each has an entry of every key
    rate: int = 10  # rounds a second; 0 for as many as it can
    replicas: int = 1  # that must have what is confirmed
    node_timeout_ms: int = 3000
    limit_s: float = stage.LIMIT_S


@dataclass(frozen=True)
class TailPlan(Plan):
    """The same without a word of replicas."""

    faults: int = 20
    replicas: int = 0


class Window(NamedTuple):
    """A fault may have cost rounds from the first one that no replica had, up to the last one."""

    first: int
    last: int


Harm = Callable[[Any, Act], Strike]


def _fault(name: str, share: int, harm: Harm, heal: Callable[[Any, Any], None]) -> Fault:
    def strike(one: Cluster, act: Act) -> Strike:
        return one.befall(harm, heal, act)

    return Fault(name, share, (CLUSTER,), strike, lambda one, hit: True)


class Cluster(Stage):
    """The cluster, those at work on it, and what is done to them."""

    plan: Plan
    server: LocalCluster
    MUCH = 1

    def __init__(self, plan: Plan, server: LocalCluster) -> None:
        super().__init__(plan, server)
        folder = Path(tempfile.gettempdir())
        ports = tuple(node.port for node in server.nodes)
        self._nodes = Nodes(ports, server.password)
        self._tasks = {
            name: Task(self._nodes, plan.keys, plan.rate, plan.replicas, folder / name)
            for name in (WEATHER.name, PAIR)
        }
        self._work: dict[str, tuple[Callable[..., None], Any]] = {
            WEATHER.name: (parts.fill_parts, (self._tasks[WEATHER.name],)),
            PAIR: (parts.fill_pair, (self._tasks[PAIR],)),
        }
        for number in range(WORKERS):
            self._work[f"worker {number}"] = parts.work_on_parts, (self._nodes,)
        for name in CONSUMERS:
            self._work[name] = parts.consume_pair, (self._nodes, name)
        self._at_work: dict[str, Life] = {}
        self._ending = False  # the producers are asked to end
        self._windows: dict[str, list[Window]] = {name: [] for name in self._tasks}
        self._floor: dict[str, int] = {}

    @classmethod
    def serve(cls, plan: Plan) -> LocalCluster:
        return LocalCluster(node_timeout_ms=plan.node_timeout_ms, gates=True)

    def connect(self) -> Any:
        return self.server.connect(socket_timeout=parts.SILENT_S)

    def open(self) -> None:
        Group(self.client, PAIR, GROUP).create("0", make_stream=True)
        for name in self._work:
            self._begin(name)
        deadline = time.monotonic() + self.plan.limit_s
        while not all(self._rounds(name) for name in self._tasks):  # all have begun
            self.tend()
            if self.report.wrong or time.monotonic() > deadline:
                raise TimeoutError(f"the producers did not begin: {self.report.wrong}")
            time.sleep(stage.LOOK_S)

    def _begin(self, name: str) -> None:
        function, arguments = self._work[name]
        self._at_work[name] = self.begin(function, *arguments, url=self.server.url)

    def tend(self) -> None:
        for name, life in list(self._at_work.items()):
            code = life.exit_code
            if code is None or (name in self._tasks and self._ending):
                continue
            fine = code == KILLED and name not in self._tasks
            self.report.expect(fine, f"{name} ended with {code}: {life.output[-2000:]}")
            self._begin(name)
        if self.all_struck and not self._ending and self.far(CLUSTER) >= 1:
            self._ending = True
            for name in self._tasks:
                self._at_work[name].stop()

    def far(self, whom: str) -> float:
        return min(map(self._rounds, self._tasks)) / self.plan.rounds

    def _rounds(self, name: str) -> int:
        """How many rounds of a producer are confirmed."""
        return self._tasks[name].noted()

    @property
    def over(self) -> bool:
        if not self._ending or any(self._at_work[one].exit_code is None for one in self._tasks):
            return False
        time.sleep(LOOK_S)
        return self._now(self._all_done)

    def _all_done(self) -> bool:
        """Whether the cluster is whole, so that it can say what there is, and all is handled."""
        if not self._whole():
            return False
        done = self._handled()
        return all(done[stream] == self._last(stream) for stream in WEATHER.streams) and (
            self._drained()
        )

    def close(self) -> None:
        for life in self._at_work.values():
            life.stop()
        for name, life in self._at_work.items():
            fine = life.wait(LATE_S) and life.exit_code == 0
            self.report.expect(fine, f"{name} ended with {life.exit_code}: {life.output[-2000:]}")

    # ------------------------------------------------------------ how far all are

    def _handled(self) -> dict[str, EntryId]:
        """The position of the workers in each part."""
        found = {}
        for stream in WEATHER.streams:
            position = self.client.hget(group_key(stream, GROUP, "state"), "position")
            found[stream] = EntryId.parse(position or "0-0")
        return found

    def _last(self, stream: str) -> EntryId:
        newest = self.client.xrevrange(stream, count=1)
        return EntryId.parse(newest[0][0] if newest else "0-0")

    def _drained(self) -> bool:
        (group,) = self.client.xinfo_groups(PAIR)
        last = EntryId.parse(group["last-delivered-id"])
        return bool(last == self._last(PAIR) and group["pending"] == 0)

    def _progress(self) -> dict[str, Any]:
        confirmed = {name: self._rounds(name) for name in self._tasks}
        return {**confirmed, **self._handled(), SEEN: self.client.hlen(SEEN)}

    def _until(self, true: Callable[[], bool]) -> Strike:
        """Step until something is so."""
        while not self._now(true):
            at = time.monotonic() + LOOK_S
            while time.monotonic() < at:
                yield

    def _now(self, true: Callable[[], bool]) -> bool:
        try:
            return true()
        except (redis.RedisError, CourseError):  # a node is away, or no other one has its slots yet
            return False

    def _all_go_on(self) -> Strike:
        """Wait until both producers, every part and the consumers have come farther."""
        before: dict[str, Any] = {}

        def farther() -> bool:
            now = self._progress()
            if not before:
                before.update(now)
            return all(now[one] > before[one] for one in now)

        yield from self._until(farther)

    # ------------------------------------------------------------ the state of the cluster

    def _whole(self) -> bool:
        """Whether all slots are served, and each primary has a replica that hears it."""
        found = self.server.status()
        replicas = [one for one in found if one.role == REPLICA and one.linked]
        followed = {one.primary for one in replicas}
        primaries = {one.name for one in found if one.role == PRIMARY and one.slots}
        return len(replicas) * 2 == len(found) and followed == primaries and self.server.serving

    def _settled(self) -> Strike:
        """Wait until it is whole, and replicas have all that was confirmed until then."""
        yield from self._until(self._whole)
        self._floor = {name: self._rounds(name) for name in self._tasks}
        wanted = {one.name: one.offset for one in self.server.status()}

        def caught_up() -> bool:
            replicas = [one for one in self.server.status() if one.role == REPLICA]
            return all(one.offset >= wanted[one.primary] for one in replicas)

        yield from self._until(caught_up)

    def _victim(self, role: str) -> NodeStatus:
        return self.rng.choice([one for one in self.server.status() if one.role == role])

    def _succeeded(self, victim: NodeStatus) -> Strike:
        """Wait until another node serves what a primary did."""

        def by_another() -> bool:
            return any(
                one.up and one.role == PRIMARY and {*victim.slots} <= {*one.slots}
                for one in self.server.status()
                if one.name != victim.name
            )

        yield from self._until(by_another)

    def _rest(self, timeouts: float) -> Strike:
        """Wait for so many node time-outs."""
        end = time.monotonic() + timeouts * self.plan.node_timeout_ms / 1000
        yield from self._until(lambda: time.monotonic() > end)

    # ------------------------------------------------------------ the faults

    def kill_primary(self, _: Act) -> Strike:
        """Kill a primary; it comes back when another node has its slots, else it would be empty."""
        victim = self._victim(PRIMARY)
        self.server.kill(victim.name)
        yield from self._succeeded(victim)
        return victim

    def kill_replica(self, _: Act) -> Strike:
        """Kill a replica: meanwhile no one confirms what its primary writes."""
        victim = self._victim(REPLICA)
        self.server.kill(victim.name)
        yield from self._rest(self.rng.uniform(0, 1.5))
        return victim

    def revive(self, victim: NodeStatus) -> None:
        self.server.revive(victim.name)

    def pause_primary(self, _: Act) -> Strike:
        """Pause a primary until another node has its slots."""
        victim = self._victim(PRIMARY)
        self.server.pause(victim.name)
        yield from self._succeeded(victim)
        return victim

    def pause_node(self, _: Act) -> Strike:
        """Pause any node for less than the node time-out."""
        victim = self._victim(self.rng.choice([PRIMARY, REPLICA]))
        self.server.pause(victim.name)
        yield from self._rest(self.rng.uniform(0.1, 0.6))
        return victim

    def resume(self, victim: NodeStatus) -> None:
        self.server.resume(victim.name)

    def cut(self, _: Act) -> Strike:
        """Cut a primary off from all others and from clients."""
        victim = self._victim(PRIMARY)
        self.server.cut(victim.name)
        yield from self._succeeded(victim)
        return victim

    def isolate(self, _: Act) -> Strike:
        """Cut a primary off from the other nodes alone: clients write to it on."""
        victim = self._victim(PRIMARY)
        self.server.cut(victim.name, clients=False)
        yield from self._succeeded(victim)
        return victim

    def heal(self, _: NodeStatus) -> None:
        self.server.heal()

    def nothing(self, _: Any) -> None:
        """All is well again by itself."""

    def move(self, _: Act) -> Strike:
        """Move a stream's slot to another primary."""
        yield
        stream = self.rng.choice([*WEATHER.streams, PAIR])
        begin = self.server.primary_of(stream)
        others = [one.name for one in self.server.status() if one.role == PRIMARY]
        self.server.move(stream, self.rng.choice([one for one in others if one != begin.name]))
        return begin

    def fail_over(self, _: Act) -> Strike:
        """Ask a replica to take over."""
        yield
        victim = self._victim(REPLICA)
        self.server.failover(victim.name)
        return victim

    def kill_worker(self, _: Act) -> Strike:
        """Kill a worker or a consumer, whatever it does at the moment."""
        yield
        life = self._worker()
        life.kill()
        return life

    def pause_worker(self, _: Act) -> Strike:
        """Pause one for longer than its lease lasts."""
        life = self._worker()
        life.pause()
        end = time.monotonic() + max(LEASE_MS, MIN_IDLE_MS) / 1000 * self.rng.uniform(0.5, 2)
        yield from self._until(lambda: time.monotonic() > end)
        return life

    def wake(self, life: Life) -> None:
        life.resume()

    def befall(self, harm: Harm, heal: Callable[[Any, Any], None], act: Act) -> Strike:
        """Do harm to a cluster that is whole, undo it, and wait until all go on."""
        yield from self._settled()
        victim = yield from harm(self, act)
        heal(self, victim)
        yield from self._all_go_on()
        for name, windows in self._windows.items():
            windows.append(Window(self._floor[name], self._rounds(name)))
        return victim

    def _worker(self) -> Life:
        names = [name for name in self._at_work if name not in self._tasks]
        return self._at_work[self.rng.choice(names)]

    FAULTS: ClassVar[Sequence[Fault]] = (
        _fault("kill a primary", 20, kill_primary, revive),
        _fault("kill a replica", 10, kill_replica, revive),
        _fault("pause a primary", 10, pause_primary, resume),
        _fault("pause a node", 8, pause_node, resume),
        _fault("cut off", 8, cut, heal),
        _fault("isolate", 8, isolate, heal),
        _fault("move", 10, move, nothing),
        _fault("fail over", 4, fail_over, nothing),
        _fault("kill a worker", 12, kill_worker, nothing),
        _fault("pause a worker", 10, pause_worker, wake),
    )
    PLAN: ClassVar[type[Any]] = Plan

    # ------------------------------------------------------------ what there must be

    def inspect(self) -> None:
        if self.report.wrong:
            return  # a cluster that is not whole may be unable to say
        rounds = {name: self._rounds(name) for name in self._tasks}
        self.report.more.update({f"rounds of {name}": number for name, number in rounds.items()})
        cities = parts.cities(self.plan.keys)
        for stream in WEATHER.streams:
            own = [city for city in cities if WEATHER.of(city) == stream]
            self._inspect_part(stream, own, rounds[WEATHER.name])
        self._inspect_pair(rounds[PAIR])

    def _inspect_part(self, stream: str, own: list[str], rounds: int) -> None:
        found = [(int(one.fields["n"]), one.fields["city"]) for one in scan(self.client, stream)]
        wanted = [(n, city) for n in range(rounds) for city in own]
        self._compare(stream, WEATHER.name, wanted, found)
        for city in own:
            effects = [int(n) for n in self.client.lrange(parts.order_key(city), 0, -1)]
            right = [n for n, one in found if one == city]
            self.report.twice += (Counter(effects) - Counter(right)).total()
            self.report.expect(
                effects == right, f"the effects of {city} in {stream} are {_odd(effects, right)}"
            )
        dead = self.client.xlen(group_key(stream, GROUP, DEAD))
        self.report.expect(not dead, f"{stream} has {dead} dead letters")

    def _inspect_pair(self, rounds: int) -> None:
        found = [(int(one.fields["n"]), "") for one in scan(self.client, PAIR)]
        self._compare(PAIR, PAIR, [(n, "") for n in range(rounds)], found)
        seen = {int(n): int(times) for n, times in self.client.hgetall(SEEN).items()}
        self.report.twice += sum(seen.values()) - len(seen)
        right = seen == dict.fromkeys((n for n, _ in found), 1)
        self.report.expect(right, f"the effects of {PAIR} are not one for each of its entries")
        dead = self.client.xlen(group_key(PAIR, GROUP, DEAD))
        self.report.expect(not dead, f"{PAIR} has {dead} dead letters")

    def _compare(self, stream: str, producer: str, wanted: list[Any], found: list[Any]) -> None:
        """What is on a stream with what was confirmed; nothing else may be there but its end."""
        there = {*found}
        self.report.expect(len(there) == len(found), f"{stream} has entries twice")
        self.report.twice += len(found) - len(there)
        self.report.expect(found == sorted(found, key=_by_round), f"{stream} is not in order")
        runs = list(_missing(wanted, there))
        self.report.lost += sum(map(len, runs))
        if self.plan.replicas:
            self.report.expect(not runs, f"{stream} lacks {runs[:3]}")
            return
        windows = list(self._windows[producer])
        for run in runs:
            first, last = run[0][0], run[-1][0]
            cost = next((one for one in windows if one.first <= first and last <= one.last), None)
            self.report.expect(cost, f"{stream} lacks {first} to {last}, of no tail: {windows}")
            if cost:
                windows.remove(cost)  # one run a fault


def _by_round(one: tuple[int, str]) -> int:
    return one[0]


def _missing(wanted: Iterable[Any], there: set[Any]) -> Iterator[list[Any]]:
    """The runs of those that are not there."""
    for lost, run in groupby(wanted, key=lambda one: one not in there):
        if lost:
            yield list(run)


def _odd(found: list[int], right: list[int]) -> str:
    """Where two lists begin to differ."""
    pairs = zip(found, right, strict=False)
    at = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    if at is None:
        return f"{len(found)} and not {len(right)}"
    return f"{found[at : at + 5]} and not {right[at : at + 5]} at {at}"


class Tail(Cluster):
    """The same without a word of replicas, and with those faults alone that cost something."""

    FAULTS = (
        _fault("kill a primary", 10, Cluster.kill_primary, Cluster.revive),
        _fault("pause a primary", 2, Cluster.pause_primary, Cluster.resume),
        _fault("isolate", 6, Cluster.isolate, Cluster.heal),
        _fault("move", 2, Cluster.move, Cluster.nothing),
    )
    PLAN = TailPlan
