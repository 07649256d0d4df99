"""What the version before has written goes on, also while it still works beside this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers import Consumer, Reader, connect_async
from helpers.averages import AVERAGES, AveragesConsumer
from helpers.chaos import SpareServer
from helpers.course.home import CHECKOUT
from helpers.partitions import DEMO_START, PartitionProducer, Reading, start_of
from helpers.wiki import Counters, Publisher, Replay, Subscriber
from helpers.wiki.names import place_key
from tests import before, upgrade
from tests.averages import aggregate, published, silent, truth
from tests.waiting import until
from tests.wiki import TEN_AM, changes_of, counted, feed_of, running, total
from tests.wiki import until as arrive

TURNS = [("old", "alice"), ("new", "alice"), ("old", "bob"), ("new", "carol")]
LAST = "carol"
REPLACED = "took over"  # what one says that was replaced


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helpers of the version before."""
    folder = tmp_path_factory.mktemp("old")
    if not before.extract(folder):
        pytest.skip(f"the history of this checkout does not reach back to {before.COMMIT}")
    return folder


class Crew:
    """Processes at work, of both versions."""

    def __init__(self, url: str, old: Path, replay: Replay, folder: Path) -> None:
        self.url, self.old, self.replay, self.folder = url, old, replay, folder
        self.lives: list[subprocess.Popen[bytes]] = []
        self.publishers: list[subprocess.Popen[bytes]] = []

    def begin(self, version: str, role: str, *words: str) -> subprocess.Popen[bytes]:
        path = self.old if version == "old" else CHECKOUT
        command = [sys.executable, "-P", upgrade.__file__, role, self.url, *words]
        environment = os.environ | {"PYTHONPATH": str(path)}
        with self._errors(len(self.lives)).open("wb") as errors:
            self.lives.append(subprocess.Popen(command, env=environment, stderr=errors))
        return self.lives[-1]

    def begin_all(self, version: str, name: str) -> None:
        """One of each role that takes over from the one before, or works beside it."""
        moment = TEN_AM.isoformat()
        self.begin(version, "consume", name)
        self.begin(version, "subscribe", name, moment)
        for role in ("read", "aggregate", "show"):
            self.begin(version, role)
        self.publishers.append(self.begin(version, "publish", self.replay.url, moment))

    def failed(self) -> list[str]:
        """What those said that have ended with an error."""
        return [self._errors(number).read_text() for number, one in enumerate(self.lives)
                if one.poll() == 1]  # fmt: skip

    def kill(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            process.kill()
            process.wait()

    def _errors(self, number: int) -> Path:
        return self.folder / f"{number}.txt"


def reading(number: int) -> Reading:
    return Reading(start_of(DEMO_START) + number * 300_000, (7 * number) % 100)


def test_this_version_goes_on_from_what_the_one_before_has_left(redis):
    before.load(redis)
    there = [fields["n"] for _, fields in redis.xrange("s")]
    assert (redis.xpending("s", "g")["pending"], redis.xpending("wiki", "counters")["pending"]) > (
        0, 0
    )  # fmt: skip

    handle = upgrade.counting(redis)
    Consumer(redis, "s", "g", handle, name="alice", batch=7).run(drain=True)
    assert redis.hgetall("counted") == dict.fromkeys(there, "1")
    assert redis.xpending("s", "g")["pending"] == 0

    read = redis.lrange("read", 0, -1)
    with Reader(redis, "s", name="r") as reader:
        rest = [entry.fields["n"] for _, entry in reader.read(block_ms=1, count=10_000)]
    assert read[: len(there) - len(rest)] + rest == there

    with PartitionProducer(redis, name="filler") as producer:
        filled = sum(producer.written(DEMO_START + timedelta(days=day)) for day in range(3))
        producer.add_many(map(reading, range(filled, filled + 20)))
    now = reading(filled + 20).at + 7_200_000
    aggregate(redis, now, grace_s=60.0)
    assert published(redis) == truth(map(reading, range(filled + 20)))

    shown = redis.lrange("shown", 0, -1)
    AveragesConsumer(redis, show=lambda one: shown.append(str(one.id)), say=silent).run(drain=True)
    assert list(dict.fromkeys(shown)) == [one for one, _ in redis.xrange(AVERAGES)]
    asyncio.run(go_on_publishing(redis))


async def go_on_publishing(redis: Any) -> None:
    """The publisher in its feed, and the subscriber from its group."""
    wanted = redis.xlen("wiki") + 20
    with Replay(rate=50, speed=1000, start=TEN_AM, total=wanted) as replay:
        assert redis.hset(place_key("wiki"), "feed", replay.url) == 0  # it has another port now
        async with connect_async() as client, connect_async() as other:
            given: Any = {"through": "stream", "clock": lambda: TEN_AM, "name": "alice"}
            subscriber = Subscriber(other, **given)
            publisher = Publisher(client, feed_of(replay), through="stream")
            async with running(publisher):
                await arrive(lambda: redis.xlen("wiki") == wanted)
            async with running(subscriber):
                await arrive(lambda: total(redis) >= wanted)
        changes = changes_of(replay, wanted)
    assert [fields["title"] for _, fields in redis.xrange("wiki")] == [one.title for one in changes]
    assert counted(redis) == Counters().tally(changes)
    assert redis.xpending("wiki", "counters")["pending"] == 0


@pytest.mark.once
def test_old_and_new_side_by_side_lose_and_repeat_nothing(old, request, tmp_path):
    """Old ones, then new ones beside them, back to old ones, and on to new ones."""
    if not request.config.getoption("--all-answers"):
        pytest.skip("old and new side by side: make test-all")
    with (
        SpareServer() as server,
        server.connect() as admin,
        Replay(rate=100, start=TEN_AM) as replay,
    ):
        admin.xgroup_create("s", "g", "0", mkstream=True)
        crew = Crew(server.url, old, replay, tmp_path)

        def moved() -> Iterator[int]:
            yield admin.hlen("counted")
            yield admin.llen("read")
            yield admin.llen("shown")
            yield total(admin)

        def goes_on() -> None:
            """Wait until each has gone on."""
            since = tuple(moved())
            assert until(lambda: all(now > then for now, then in zip(moved(), since, strict=True)))

        try:
            crew.begin("old", "produce", "0")
            crew.begin("new", "produce", "1000000")
            for version, name in TURNS:
                filler = crew.begin(version, "fill")
                crew.begin_all(version, name)
                goes_on()
                goes_on()
                if name != LAST:
                    crew.kill(filler)
            admin.set("enough", 1)
            assert until(
                lambda: admin.exists("filled") and admin.scard("produced") == admin.xlen("s")
            )
            produced, filled = admin.smembers("produced"), int(admin.get("filled"))
            admin.set("clock", reading(filled).at + 7_200_000)
            means = truth(map(reading, range(filled)))
            assert until(lambda: len(set(admin.lrange("shown", 0, -1))) == len(means))
            assert until(lambda: admin.hlen("counted") == len(produced))
            assert until(lambda: len(set(admin.lrange("read", 0, -1))) == len(produced))
            crew.kill(*crew.publishers)
            assert until(lambda: total(admin) == admin.xlen("wiki"))
            assert crew.failed()
            assert all(REPLACED in said for said in crew.failed()), crew.failed()
        finally:
            crew.kill(*crew.lives)
        assert admin.hgetall("counted") == dict.fromkeys(produced, "1")
        assert set(admin.lrange("read", 0, -1)) == produced
        assert published(admin) == means
        there = [fields["title"] for _, fields in admin.xrange("wiki")]
        changes = changes_of(replay, len(there))
        assert there == [change.title for change in changes]
        assert counted(admin) == Counters().tally(changes)
        assert (
            not admin.xpending("s", "g")["pending"] + admin.xpending("wiki", "counters")["pending"]
        )
