"""A server that is silent: all classes at work beside it wait, are stopped, or give up, exactly.

All of them work at once on one server. It is silent three times: for less long than their
patience lasts, so that they must go on; then they are asked to stop while it is; then for longer
than their patience. After each silence they go on. In the end nothing is lost or doubled.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import (
    AsyncConsumer,
    AsyncGroup,
    AsyncProducer,
    AsyncReader,
    BulkProducer,
    Consumer,
    Entry,
    Group,
    Producer,
    Reader,
    connect_async,
)
from helpers.averages import AveragesConsumer, aggregating, display
from helpers.chaos import SpareServer
from helpers.chaos.front import Front
from helpers.chaos.link import Stream
from helpers.course.connect import async_client_of, client_of
from helpers.course.pace import patient
from helpers.partitions import PartitionProducer, Reading
from helpers.streams import patience
from helpers.streams.errors import NotConfirmedError
from helpers.wiki import Counters, Publisher, Replay, Subscriber
from helpers.wiki import subscriber as subscribing
from tests.averages import Watch, at, consumer, published, silent, truth
from tests.blocking import Blocking
from tests.test_server import crash, saved
from tests.waiting import until
from tests.wiki import changes_of, counted, feed_of, total
from tests.wiki import until as arrive

REPLY_S = patient(0.2)  # a reply's time-out
PATIENCE_S = patient(3)
SHORT_S = patient(0.5)  # a silence that patience outlasts
LONG_S = 60.0  # patience that must not be needed
BLOCK_MS = 50
LOST = (redis_py.ConnectionError, redis_py.TimeoutError)
ENDS = (NotConfirmedError, *LOST)

ADDING = {"Producer", "AsyncProducer", "BulkProducer", "PartitionProducer"}
PUBLISHING = {"Publisher of stream", "Publisher of pubsub"}


class Hole(Front):
    """Passes on all that comes, or swallows it, both ways, and closes nothing."""

    swallows = False

    async def _converse(self, client: Stream) -> None:
        server = await self._reach()
        ways = ((client[0], server[1]), (server[0], client[1]))
        try:
            async with asyncio.TaskGroup() as group:
                for source, target in ways:
                    group.create_task(self._carry(source, target))
        finally:
            server[1].close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            if not self.swallows:
                target.write(chunk)
        raise EOFError


class World:
    """What all who work share: the server, whether it is silent, how far each has come."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard = threading.Event()  # the server is not silent
        self.heard.set()
        self.closing = threading.Event()  # nothing more is produced
        self.done = threading.Event()  # all that was produced has arrived
        self.count: Counter[str] = Counter()  # how much each has done
        self.ended: defaultdict[str, list[BaseException | None]] = defaultdict(list)
        self.at_work: dict[str, Any] = {}  # those that can be asked to stop
        self.seen: defaultdict[str, list[Any]] = defaultdict(list)
        self.blocking: dict[str, list[str]] = {}
        self.patience_s = LONG_S  # of those that can be asked to stop
        self.clock = Watch(at(0))
        self.replay = Replay(rate=100)

    def client(self) -> redis_py.Redis:
        return client_of(self.url, socket_timeout=REPLY_S, socket_connect_timeout=REPLY_S)

    def async_client(self) -> Any:
        return async_client_of(self.url, socket_timeout=REPLY_S, socket_connect_timeout=REPLY_S)

    def over(self, name: str, error: BaseException | None) -> None:
        """Somebody was stopped, or has given up: it goes on when the server is heard."""
        self.ended[name].append(error)
        self.heard.wait()

    def arrived(self, name: str) -> Callable[[Any], None]:
        """Something that notes what has arrived."""

        def note(what: Any) -> None:
            self.seen[name].append(what)
            self.count[name] += 1

        return note

    # ------------------------------------------------------------ one thread each

    def produce(self, name: str, add: Callable[[int], Any], flush: Callable[[], Any]) -> None:
        """Add one after the other; what was not confirmed is settled by flush()."""
        while not self.closing.is_set():
            work: Callable[[], Any] = partial(add, self.count[name])
            while True:
                try:
                    work()
                    break
                except ENDS as error:
                    self.over(name, error)
                    work = flush
            self.count[name] += 1
            time.sleep(0.005)

    def consume(self, name: str, make: Callable[..., Any], run: Callable[[Any], Any]) -> None:
        """Work until all has arrived, again after each end."""
        while not self.done.is_set():
            self.at_work[name] = one = make(patience_s=self.patience_s)
            try:
                run(one)
            except ENDS as error:
                self.over(name, error)
            else:
                self.over(name, None)

    async def consume_async(
        self,
        name: str,
        make: Callable[..., Any],
        run: Callable[[Any], Awaitable[Any]] = lambda one: one.run(),
    ) -> None:
        while not (self.closing if name in PUBLISHING else self.done).is_set():
            self.at_work[name] = one = make(patience_s=self.patience_s)
            error: BaseException | None = None
            try:
                await run(one)
            except ENDS as raised:
                error = raised
            await asyncio.to_thread(self.over, name, error)


# ------------------------------------------------------------------ who works


def produce(world: World) -> None:
    with world.client() as client, Producer(client, "s", patience_s=PATIENCE_S) as one:
        world.produce("Producer", lambda n: one.add({"n": n}), one.flush)


async def produce_async(world: World) -> None:
    name = "AsyncProducer"
    async with (
        world.async_client() as client,
        AsyncProducer(client, "a", patience_s=PATIENCE_S) as one,
    ):
        while not world.closing.is_set():
            work: Callable[[], Awaitable[Any]] = partial(one.add, {"n": world.count[name]})
            while True:
                try:
                    await work()
                    break
                except ENDS as error:
                    await asyncio.to_thread(world.over, name, error)
                    work = one.flush
            world.count[name] += 1
            await asyncio.sleep(0.005)


def produce_bulk(world: World) -> None:
    with world.client() as client, BulkProducer(client, "b", patience_s=PATIENCE_S) as one:
        world.produce("BulkProducer", lambda n: one.add_many([{"n": n}]), one.flush)


def reading(number: int) -> Reading:
    """One every five minutes."""
    return Reading(at(0) + number * 300_000, (7 * number) % 100)


def produce_partitions(world: World) -> None:
    with world.client() as client, PartitionProducer(client, patience_s=PATIENCE_S) as one:

        def add(number: int) -> None:
            one.add_many([reading(number)])
            world.clock.ms = reading(number).at

        world.produce("PartitionProducer", add, one.flush)


def read(world: World) -> None:
    note = world.arrived("Reader")

    def run(reader: Reader) -> None:
        with reader:
            for _, entry in reader:
                note(int(entry.fields["n"]))

    with world.client() as client:
        world.consume("Reader", partial(Reader, client, "b", start="0", name="r"), run)


async def read_async(world: World) -> None:
    note = world.arrived("AsyncReader")

    async def run(reader: AsyncReader) -> None:
        async with reader:
            async for _, entry in reader:
                note(int(entry.fields["n"]))

    async with world.async_client() as client:
        make = partial(AsyncReader, client, "b", start="0", name="a")
        await world.consume_async("AsyncReader", make, run)


def counting(world: World, name: str) -> Callable[[Entry], Any]:
    """A handler whose effect counts how often each entry was handled."""
    note = world.arrived(name)

    def handle(entry: Entry) -> Any:
        note(int(entry.fields["n"]))
        return ("HINCRBY", f"counted:{name}", entry.fields["n"], 1)

    return handle


def consume(world: World) -> None:
    handle = counting(world, "Consumer")
    given: Any = {"name": "alice", "batch": 5, "block_ms": BLOCK_MS}
    with world.client() as client:
        make = partial(Consumer, client, "s", "g", handle, **given)
        world.consume("Consumer", make, lambda one: one.run(signals=False))


async def consume_async(world: World) -> None:
    handle = counting(world, "AsyncConsumer")

    async def handler(entry: Entry) -> Any:
        await asyncio.sleep(0.001)
        return handle(entry)

    given: Any = {"name": "bob", "concurrency": 3, "batch": 5, "block_ms": BLOCK_MS}
    async with world.async_client() as client:
        make = partial(AsyncConsumer, client, "a", "g", handler, **given)
        await world.consume_async("AsyncConsumer", make)


def aggregate(world: World) -> None:
    with world.client() as client:
        make = partial(consumer, client, world.clock)
        world.consume("AggregatingConsumer", make, lambda one: one.run(signals=False))


def show(world: World) -> None:
    note = world.arrived("AveragesConsumer")
    with world.client() as client:
        make = partial(AveragesConsumer, client, show=lambda one: note(one.id), say=silent)
        world.consume("AveragesConsumer", make, lambda one: one.run(signals=False))


def counters(through: str) -> Counters:
    return Counters(prefix=f"{through}:")


async def publish(world: World, through: Any) -> None:
    async with world.async_client() as client:

        def make(**given: Any) -> Publisher:
            return Publisher(client, feed_of(world.replay), through, through=through, **given)

        await world.consume_async(f"Publisher of {through}", make)


async def subscribe(world: World, through: Any) -> None:
    given: Any = {"through": through, "counters": counters(through)}
    given |= {"name": "ann", "block_ms": BLOCK_MS} if through == "stream" else {}
    async with world.async_client() as client:
        make = partial(Subscriber, client, through, **given)
        await world.consume_async(f"Subscriber of {through}", make)


WORK: dict[str, Callable[[World], Any]] = {
    "Producer": produce,
    "AsyncProducer": produce_async,
    "BulkProducer": produce_bulk,
    "PartitionProducer": produce_partitions,
    "Reader": read,
    "AsyncReader": read_async,
    "Consumer": consume,
    "AsyncConsumer": consume_async,
    "AggregatingConsumer": aggregate,
    "AveragesConsumer": show,
    "Publisher of stream": lambda world: publish(world, "stream"),
    "Publisher of pubsub": lambda world: publish(world, "pubsub"),
    "Subscriber of stream": lambda world: subscribe(world, "stream"),
    "Subscriber of pubsub": lambda world: subscribe(world, "pubsub"),
}
IN_LOOPS = {name for name in WORK if name.startswith(("Async", "Publisher", "Subscriber"))}


def live(world: World, name: str, work: Callable[[World], Any]) -> None:
    """A thread's life; in one with an event loop it is watched what blocks that."""

    async def main() -> None:
        with Blocking() as blocking:
            await coroutine
        world.blocking[name] = blocking.found

    if name in IN_LOOPS:
        coroutine = work(world)
        asyncio.run(main())
    else:
        work(world)


def came_far(world: World, admin: Any) -> Callable[[], bool]:
    """Whether each has done more, from now on."""
    watched = {name for name in WORK if not name.startswith(("Agg", "Pub", "Sub"))}

    def far() -> Counter[str]:
        more = {through: total(admin, counters(through)) for through in ("stream", "pubsub")}
        return world.count + Counter(more)

    before = far()
    return lambda: all(far()[name] > before[name] + 1 for name in {*watched, "stream", "pubsub"})


def inspect(world: World, admin: Any) -> None:
    """Nothing is lost, and nothing is there twice."""
    for name, stream in (("Producer", "s"), ("AsyncProducer", "a"), ("BulkProducer", "b")):
        numbers = [int(fields["n"]) for _, fields in admin.xrange(stream)]
        assert numbers == list(range(world.count[name])), name
    for name, source in (("Consumer", "Producer"), ("AsyncConsumer", "AsyncProducer")):
        once = {str(number): "1" for number in range(world.count[source])}
        assert admin.hgetall(f"counted:{name}") == once, name
    for name in ("Reader", "AsyncReader"):  # what was not stored comes again
        assert sorted(set(world.seen[name])) == list(range(world.count["BulkProducer"])), name
    readings = list(map(reading, range(world.count["PartitionProducer"])))
    assert published(admin) == truth(readings)
    assert len(set(world.seen["AveragesConsumer"])) == len(published(admin))
    offered = changes_of(world.replay, 10_000)
    for through in ("stream", "pubsub"):
        found = counted(admin, counters(through))
        if through == "stream":
            there = [fields["title"] for _, fields in admin.xrange("stream")]
            assert there == [one.title for one in offered[: len(there)]]
            assert found == counters(through).tally(offered[: len(there)])
        else:
            wanted = counters(through).tally(offered)
            assert all(count <= wanted[bucket] for bucket, count in found.items())


@contextmanager
def at_work(world: World) -> Iterator[None]:
    """A thread for each of them; at the end all are stopped, and none may have failed."""
    failed: list[BaseException] = []

    def run(name: str) -> None:
        try:
            live(world, name, WORK[name])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=[name], daemon=True) for name in WORK]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        world.heard.set()
        for event in (world.closing, world.done):
            event.set()
        for one in world.at_work.values():
            one.stop()
        for thread in threads:
            thread.join(patient(20))
    assert not failed
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.once
@pytest.mark.early
@pytest.mark.parametrize("how", ["stopped", "swallowed"])
def test_beside_a_silent_server_all_wait_are_stopped_or_give_up_and_nothing_is_lost_or_doubled(
    how, monkeypatch
):
    for module in (aggregating, display):
        monkeypatch.setattr(module, "BLOCK_MS", BLOCK_MS)
    monkeypatch.setattr(subscribing, "QUIET_S", 0.1)
    monkeypatch.setattr(patience, "STOP_S", 0.1)
    with (
        SpareServer() as server,
        Hole(server.url) as hole,
        server.connect() as admin,
    ):
        for stream in ("s", "a"):
            Group(admin, stream, "g").create("0", make_stream=True)
        world = World(hole.url if how == "swallowed" else server.url)

        @contextmanager
        def silence() -> Iterator[None]:
            far = came_far(world, admin)
            assert until(far), world.count
            world.ended.clear()
            world.heard.clear()
            hole.swallows = how == "swallowed"
            if how == "stopped":
                server.pause()
            try:
                yield
            finally:
                server.resume()
                hole.swallows = False
                world.heard.set()
            assert until(came_far(world, admin)), world.count

        with world.replay, at_work(world):
            with silence():
                time.sleep(SHORT_S)
            assert not world.ended, "somebody gave up too soon"

            with silence():
                for one in world.at_work.values():
                    one.stop()
                assert until(lambda: set(world.ended) >= set(WORK) - ADDING), world.ended
                world.patience_s = PATIENCE_S

            with silence():
                assert until(lambda: set(world.ended) == set(WORK)), world.ended
                for name, (error, *_) in world.ended.items():
                    kind = NotConfirmedError if name in ADDING else LOST
                    assert isinstance(error, kind), (name, error)
                    # Which of the two it is depends on whether it was connected just then.
                    silent = ("Timeout reading from", "Timeout connecting to")
                    assert any(one in str(error) for one in silent), (name, error)

            finish(world, admin)
        inspect(world, admin)
    assert set(world.blocking) == IN_LOOPS
    assert not [found for found in world.blocking.values() if found]


def finish(world: World, admin: Any) -> None:
    """Nothing more is produced; wait until all has arrived."""
    world.closing.set()
    for through in ("stream", "pubsub"):
        world.at_work[f"Publisher of {through}"].stop()
    quiet, length = world.count["PartitionProducer"], admin.xlen("stream")
    time.sleep(patient(0.3))
    while (world.count["PartitionProducer"], admin.xlen("stream")) != (quiet, length):
        quiet, length = world.count["PartitionProducer"], admin.xlen("stream")
        time.sleep(patient(0.3))
    world.clock.ms += 2 * 3_600_000
    readings = list(map(reading, range(quiet)))

    def arrived() -> bool:
        counts = world.count
        return (
            admin.hlen("counted:Consumer") == counts["Producer"]
            and admin.hlen("counted:AsyncConsumer") == counts["AsyncProducer"]
            and len(set(world.seen["Reader"])) == counts["BulkProducer"]
            and len(set(world.seen["AsyncReader"])) == counts["BulkProducer"]
            and len(set(world.seen["AveragesConsumer"])) >= len(truth(readings))
            and total(admin, counters("stream")) == admin.xlen("stream")
        )

    assert until(arrived), world.count


# ------------------------------------------------------------------ the event loop goes on


def test_the_event_loop_goes_on_while_the_courses_server_is_started_again(home):
    async def live_through_crashes() -> list[str]:
        async with connect_async() as client:
            await AsyncGroup(client, "s", "g").create("0", make_stream=True)
            with Blocking() as blocking:
                one = AsyncConsumer(client, "s", "g", lambda _: None, block_ms=BLOCK_MS)
                running = asyncio.create_task(one.run())
                async with AsyncProducer(client, "s") as producer:
                    for number in range(3):
                        await producer.add({"n": number})
                        await asyncio.to_thread(crash, saved(home).pid)
                await arrive(lambda: one.counts.acked + one.counts.lost == 3)
                one.stop()
                await running
            assert one.counts.reconnects
            return blocking.found

    assert asyncio.run(live_through_crashes()) == []


def hold_up() -> None:
    with SpareServer() as server, server.connect() as client:
        client.ping()
    subprocess.run(["true"], check=True)
    threading.Event().wait(0.001)


def test_what_holds_up_an_event_loop_is_found():
    async def main() -> list[str]:
        with Blocking() as blocking:
            hold_up()
        return blocking.found

    found = {name.partition(",")[0] for name in asyncio.run(main())}
    assert found == {"connect", "sendall", "recv_into", "sleep", "fork_exec", "waitpid", "acquire"}
