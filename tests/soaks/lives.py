"""The soak of short lives: thousands of producers, consumers and readers, each under a new name.

Each life adds an entry or two, works off what there is, or reads a little. Then it ends as it
should, or is gone at once, as by kill -9: without a farewell, and perhaps with an entry in hand.
Some are forks or copies of one that is at work already: see `ways`.
Nothing may be lost or doubled, and nothing may grow: in the end a few keys are left, and no names.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from helpers.chaos import SpareServer
from helpers.course.keys import MARK
from helpers.streams import (
    AsyncConsumer,
    AsyncProducer,
    AsyncReader,
    BulkProducer,
    Consumer,
    Entry,
    Producer,
    Reader,
)
from tests.soaks import stage
from tests.soaks.stage import Lane, Stage
from tests.soaks.ways import (
    GROUP,
    NAMED,
    SETTINGS,
    STREAM,
    WAYS,
    LifeError,
    Way,
    count,
    forget_soon,
    make,
    use,
)

PORTION = 20  # lives between two looks at the server
MOST = 1000  # notes, and names, at any time
MOST_NOTES, MOST_NAMES = "most notes of producers", "most consumers in the group"


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    seed: int
    faults: int = 0
    lives: int = 20_000
    limit_s: float = stage.LIMIT_S


class Gone(BaseException):
    """A life ends here, as by kill -9."""


class Lives(Stage):
    """One life after the other, each with connections of its own."""

    FAULTS: ClassVar[Any] = ()
    PLAN = Plan
    plan: Plan

    def __init__(self, plan: Plan, server: SpareServer) -> None:
        super().__init__(plan, server)
        self.lanes = {"lives": Lane(deque())}  # nothing befalls them, and they are counted
        forget_soon()
        self._lives = self._added = 0
        self._kinds: list[Callable[[], None]] = [
            self._produce, self._produce_in_bulk, self._consume, self._read, self._live_async
        ]  # fmt: skip

    def open(self) -> None:
        self.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)

    def tend(self) -> None:
        for _ in range(PORTION):
            self._lives += 1
            self.rng.choice(self._kinds)()
            for number, way in enumerate(WAYS):
                if self._lives % way.every == number:
                    self._multiply(way)
        self._note(MOST_NOTES, self.client.hlen("{s}:producers"))
        self._note(MOST_NAMES, len(self.client.xinfo_consumers(STREAM, GROUP)))

    def far(self, whom: str) -> float:
        return self._lives / self.plan.lives

    @property
    def over(self) -> bool:
        return self._lives >= self.plan.lives

    def close(self) -> None:
        """What the dead have left behind is taken over, and they are forgotten."""
        deadline = time.monotonic() + self.plan.limit_s
        while time.monotonic() < deadline and len(self._left()) > 1:
            time.sleep(0.1)
            with self.server.connect() as client:
                Consumer(client, STREAM, GROUP, count, **SETTINGS).run(drain=True)

    def _left(self) -> dict[str, Any]:
        """All keys but the course's mark and the counts."""
        sizes = {"hash": self.client.hlen, "stream": self.client.xlen}
        left = {GROUP: len(self.client.xinfo_consumers(STREAM, GROUP))}
        for key in set(self.client.keys()) - {MARK, "counted"}:
            left[key] = sizes.get(self.client.type(key), self.client.exists)(key)
        return {key: size for key, size in left.items() if size}

    def inspect(self) -> None:
        found = self.client.hgetall("counted")
        wanted = set(map(str, range(self._added)))
        self.report.lost = len(wanted - set(found))
        self.report.twice = sum(int(count) > 1 for count in found.values())
        self.report.expect(not self.report.lost, f"{self.report.lost} were lost")
        self.report.expect(not self.report.twice, f"{self.report.twice} were counted twice")
        self.report.more |= {"lives": self._lives, "entries": self._added}
        self.report.expect(len(left := self._left()) <= 1, f"too much is left: {left}")
        for name in (MOST_NOTES, MOST_NAMES):
            self.report.expect(self.report.more[name] < MOST, f"there were too many {name[5:]}")
        for way in WAYS:
            self.report.expect(self.report.more[way.name], f"none lived that was {way.name}")

    def _note(self, name: str, size: int) -> None:
        self.report.more[name] = max(self.report.more[name], size)

    # ------------------------------------------------------------ the lives

    def _entry(self) -> dict[str, int]:
        self._added += 1
        return {"n": self._added - 1}

    def _gone(self) -> bool:
        return self.rng.random() < 0.3

    def _name(self) -> str | None:
        return self.rng.choice([None, f"{NAMED}{self._lives}"])

    def _produce(self) -> None:
        with self.server.connect() as client:
            one = Producer(client, STREAM)
            one.add(self._entry())
            if not self._gone():
                one.close()

    def _produce_in_bulk(self) -> None:
        with self.server.connect() as client:
            one = BulkProducer(client, STREAM)
            one.add_many([self._entry(), self._entry()])
            if self._gone():
                one._outbox._release()
            else:
                one.close()

    def _consume(self) -> None:
        gone = self._gone()

        def handle(entry: Entry) -> Any:
            if gone:
                raise Gone
            return count(entry)

        with self.server.connect() as client:
            one = Consumer(client, STREAM, GROUP, handle, name=self._name(), **SETTINGS)
            with suppress(Gone):
                one.run(drain=True)

    def _read(self) -> None:
        with self.server.connect() as client:
            one = Reader(client, STREAM, start="0", name=self._name())
            with one:
                one.read(block_ms=1, count=2)
            one.forget()

    def _live_async(self) -> None:
        asyncio.run(self._all_async())

    async def _all_async(self) -> None:
        async with self.server.connect_async() as client:
            async with AsyncProducer(client, STREAM) as one:
                await one.add(self._entry())
            async with AsyncReader(client, STREAM, start="$", name=self._name()) as reader:
                pass
            await reader.forget()
            worker = AsyncConsumer(client, STREAM, GROUP, count, name=self._name(), **SETTINGS)
            await worker.run(drain=True)

    def _multiply(self, way: Way) -> None:
        """Others begin from one that is at work already, and all of them go on."""
        kind = self.rng.choice(way.kinds)
        mine, *theirs = ([self._entry() for _ in range(3)] for _ in range(1 + way.others))
        with self.server.connect() as client:
            one = make(kind, client, self._name())
            if kind in (Consumer, Reader):  # needs some work
                with Producer(client, STREAM) as source:
                    source.add_many([*mine, *(entry for part in theirs for entry in part)])
            if kind is Consumer:
                one.run(limit=1)
            elif kind is not Reader:
                use(one, [self._entry()])
            try:
                way.live(one, mine, *theirs)
                self.report.more[way.name] += way.others
            except LifeError as error:
                self.report.wrong.append(f"{kind.__name__}, {way.name}: {error}")
            if kind is Reader:
                one.forget()
            elif kind is not Consumer:
                one.close()
