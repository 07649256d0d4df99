"""What the soaks share: the table of faults, the play of them, the report, a process of its own.

A soak is a `Stage`: it starts processes that work, adds work while faults are still to come, and
in the end compares what there is with what there must be. Its faults are a table of `Fault`s.
Each fault of the plan must strike: until then the work goes on, on any machine. One that cannot
strike in `limit_s` seconds is a failure that says its name.
"""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from typing import Any, ClassVar, NamedTuple

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from helpers.chaos import Returned, SpareServer, start
from helpers.course.connect import settings
from helpers.course.database import claim
from tests.lives import Life

KILLED, REPLACED = -signal.SIGKILL, 7  # how a worker ends; 7: another one took its place
NO_SERVER = 9  # the same: without a server at its start
LIVES_A_LIMIT = 1000  # where it is lives that take the time: so many while one fault may be due
LIMIT_S = 100.0  # how long a fault may need until it strikes, and the work may stand still
SHOWN = 20  # that is wrong
END_S = 15.0  # how long an interrupted soak may need to end its processes
LOOK_S = 0.02  # the longest time between two steps
PASSING = (
    redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError
)  # fmt: skip

Strike = Generator[None, None, Any]  # the steps of a fault; returns what it hit


def _nothing(*_: Any, **__: Any) -> None: ...


class Fault(NamedTuple):
    """A kind of fault: one entry in the table of a soak.

    Attributes:
        name: what it is called.
        share: how often it strikes, compared with the others of the table.
        whom: whom it strikes, in turn. Each of them is struck by one fault at a time.
        strike: what strikes, step by step: `strike(stage, act)`; it returns what it hit.
        shown: what shows that it has struck: `shown(stage, hit)` is asked until it is True.
            None: it missed, and strikes again.
        heal: what must be put right afterwards: `heal(stage, hit)`.
        aim: draws what must be known before it strikes: `aim(rng=rng)`, which becomes `act.aim`.
    """

    name: str
    share: int
    whom: tuple[str, ...]
    strike: Callable[[Any, Act], Strike]
    shown: Callable[[Any, Any], bool | None]
    heal: Callable[[Any, Any], object] = _nothing
    aim: Callable[..., Any] = _nothing


class Act(NamedTuple):
    """A fault that is to strike when so much of the plan's work is done, from 0 to 1."""

    at: float
    fault: Fault
    whom: str
    aim: Any


@dataclass
class Lane:
    """What is to befall one of them, and what does at the moment."""

    acts: deque[Act]
    act: Act | None = None
    doing: Strike | None = None
    since: float = 0.0

    @property
    def open(self) -> bool:
        """Whether a fault is under way, or still to come."""
        return bool(self.acts or self.act)


def draw(table: Sequence[Fault], count: int, seed: int) -> list[Act]:
    """So many faults, of each kind its share, in the order in which they are to strike."""
    rng = random.Random(seed)
    total = sum(fault.share for fault in table) or 1
    ends = [count * sum(one.share for one in table[:n]) // total for n in range(len(table) + 1)]
    acts = [
        Act(rng.uniform(0, 0.9), fault, whom, fault.aim(rng=rng))
        for fault, (first, end) in zip(table, pairwise(ends), strict=True)
        for whom in islice(cycle(fault.whom), end - first)
    ]
    return sorted(acts, key=lambda act: act.at)


@dataclass
class Report:
    """What came of it."""

    plan: Any
    struck: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    stuck: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    more: Counter[str] = field(default_factory=Counter)  # figures of this soak alone

    def __str__(self) -> str:
        plan, kinds = self.plan, ", ".join(f"{kind} {n}" for kind, n in self.struck.items())
        head = "; ".join(self.wrong[:SHOWN]) or "everything is exact"
        head += f"; and {len(self.wrong) - SHOWN} more" if len(self.wrong) > SHOWN else ""
        figures = (
            f"{self.struck.total()} of {plan.faults} faults struck ({kinds or 'none'}): "
            f"{self.lost} lost, {self.twice} twice, {self.stuck} stuck, in {self.seconds:.1f} s"
        )
        more = ", ".join(f"{name}: {number:,}" for name, number in self.more.items())
        return "\n  ".join([f"seed {plan.seed}: {head}", figures, more])

    def expect(self, right: object, sentence: str) -> None:
        """Note a sentence if something is not right."""
        if not right:
            self.wrong.append(sentence)


class Stage(ABC):
    """The processes at work, the faults that strike them, and the server of their own."""

    FAULTS: ClassVar[Sequence[Fault]]
    PLAN: ClassVar[type[Any]]
    OPTIONS: ClassVar[Sequence[str]] = ()  # of the server
    MUCH: ClassVar[int] = 20  # that is wrong: the soak ends

    def __init__(self, plan: Any, server: Any) -> None:
        self.plan, self.server = plan, server
        self.report = Report(plan)
        self.client = self.connect()
        self.rng = random.Random(f"stage {plan.seed}")
        self.lives: list[Life] = []
        acts = draw(self.FAULTS, plan.faults, plan.seed)
        targets = dict.fromkeys(whom for fault in self.FAULTS for whom in fault.whom)
        self.at = dict.fromkeys(targets, 0.0)  # how far each is
        self.lanes = {w: Lane(deque(act for act in acts if act.whom == w)) for w in targets}

    @classmethod
    def serve(cls, plan: Any) -> Any:
        """The server of its own, up."""
        server = SpareServer(*cls.OPTIONS)
        claim(server.url)
        return server

    def connect(self) -> Any:
        """The stage's own client."""
        return client_of(self.server.url)

    @abstractmethod
    def open(self) -> None:
        """Begin to work."""

    @abstractmethod
    def tend(self) -> None:
        """Before each step: replace the processes that ended, add work if there is too little."""

    @abstractmethod
    def far(self, whom: str) -> float:
        """How much of the plan's work is done: 1 is all of it, and it may become more."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether all the work there is is done. Asked when all faults have struck."""

    @abstractmethod
    def close(self) -> None:
        """Ask the processes to end, and look how they do."""

    def begin(self, work: Callable[..., None], *arguments: Any, url: str = "") -> Life:
        """Begin a life, by default with this server."""
        self.report.more["processes"] += 1
        self.lives.append(Life(work, *arguments, url=url or self.server.url))
        return self.lives[-1]

    def kill_all(self) -> None:
        """Leave no process behind."""
        for life in self.lives:
            life.kill()

    @abstractmethod
    def inspect(self) -> None:
        """Compare what there is with what there must be."""

    def due(self, whom: str) -> bool:
        """Whether the next fault may strike."""
        return self.lanes[whom].acts[0].at <= self.at[whom]

    @property
    def all_struck(self) -> bool:
        """Whether no fault is still to come."""
        return not any(lane.open for lane in self.lanes.values())

    def play(self) -> None:
        """Let the faults strike until all have, and the work go on until all is done."""
        before, since = None, time.monotonic()
        while not (self.all_struck and self.over) and len(self.report.wrong) < self.MUCH:
            self.tend()
            self.at = {whom: self.far(whom) for whom in self.lanes}
            for whom, lane in self.lanes.items():
                self._step(whom, lane)
            moved = self.at, [len(lane.acts) for lane in self.lanes.values()]
            if moved != before:
                before, since = moved, time.monotonic()
            elif time.monotonic() - since > self.plan.limit_s:
                self.report.stuck += 1
                self.report.wrong.append(f"stuck for {self.plan.limit_s:.0f} s ({self})")
                return
            time.sleep(self.rng.uniform(0, LOOK_S))

    def __str__(self) -> str:
        return "; ".join(
            f"{whom} at {self.at[whom]:.3f}, {len(lane.acts)} faults to come"
            f"{f', {lane.act.fault.name} under way' if lane.act else ''}"
            for whom, lane in self.lanes.items()
        )

    def _step(self, whom: str, lane: Lane) -> None:
        if lane.act is None and lane.acts and self.due(whom):
            lane.act, lane.since = lane.acts.popleft(), time.monotonic()
            lane.doing = self._befall(lane.act)
        if lane.act is None or lane.doing is None:
            return
        fault, waited_s = lane.act.fault, time.monotonic() - lane.since
        if next(lane.doing, self):  # each step yields None
            self.report.struck[fault.name] += 1
        elif waited_s <= self.plan.limit_s:
            return
        else:
            self.report.wrong.append(f"{fault.name} could not strike in {waited_s:.0f} s ({self})")
            lane.doing.close()
            lane.acts = deque(act for act in lane.acts if act.fault is not fault)
        lane.act = lane.doing = None

    def _befall(self, act: Act) -> Strike:
        struck: bool | None = None
        while not struck:
            hit = yield from act.fault.strike(self, act)
            try:
                while (struck := act.fault.shown(self, hit)) is False:
                    yield
            finally:
                act.fault.heal(self, hit)
            if not struck:
                yield


def client_of(url: str, tries: int = 200) -> Any:
    """A client that asks again while the server is away or refuses, by default for 10 s."""
    retry = Retry(ConstantBackoff(0.05), tries, supported_errors=PASSING)
    return redis.Redis.from_url(url, **settings(), retry=retry)


# ------------------------------------------------------------------ a process of its own


def run(stage: type[Stage], plan: Any) -> Any:
    """The report of a soak in a process and a folder of its own, of which nothing is left."""
    with _folder() as folder, start(soak, stage, plan, folder, name="soak") as process:
        try:
            most = plan.faults + getattr(plan, "lives", 0) / LIVES_A_LIMIT + 5
            outcome = process.outcome(most * plan.limit_s)
        finally:
            process.stop(END_S)
    broken = f"it broke off: {outcome}"
    report = outcome.value if isinstance(outcome, Returned) else Report(plan, wrong=[broken])
    printed = process.output()
    report.expect(not printed, f"this was printed: {printed}")
    return report


def soak(stage: type[Stage], plan: Any, folder: str) -> Report:
    """Do it all, with a server of its own, whose data is in the folder."""
    end_on_signals()
    tempfile.tempdir = folder
    with stage.serve(plan) as server:
        played = stage(plan, server)
        begun = time.monotonic()
        try:
            played.open()
            played.play()
            played.close()
        finally:
            played.kill_all()
        played.report.seconds = time.monotonic() - begun
        played.inspect()
    return played.report


def end_on_signals() -> None:
    """Take Ctrl-C, SIGTERM and SIGHUP for an exit that still tidies up; only the first of them."""

    def leave(number: int, _: object) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in signals:
        signal.signal(one, leave)


@contextmanager
def _folder() -> Iterator[str]:
    """A folder that goes when this process ends, however it does."""
    folder = tempfile.mkdtemp(prefix="soak-")
    # Until it is gone: a server that is dying may still write.
    words = 'trap "" HUP INT TERM; read _; until rm -rf "$0"; do sleep 0.1; done'
    command = ["/bin/sh", "-c", words, folder]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    ):
        yield folder
