"""A stream in parts, on a cluster of three: what it adds to one server, and what a death costs.

All run on one machine. So three nodes show here what the parts cost; what they bring shows where
each node has a machine of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import redis
import redis.asyncio
from redis.cluster import RedisCluster

from helpers.bench.rounds import Figure, Part, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.chaos.cluster import LocalCluster, Node, free_ports
from helpers.chaos.crew import start
from helpers.chaos.spare import SpareServer
from helpers.cluster import Parts, PartsProducer, PartsWorker
from helpers.course.connect import client_of, settings
from helpers.course.errors import CourseError
from helpers.course.pace import patient
from helpers.course.weather import CITIES, measurements
from helpers.streams.bulk import BulkProducer
from helpers.streams.consumer.consumer import Consumer
from helpers.streams.entry import Entry
from helpers.streams.group import Group
from helpers.streams.producer import Producer

STREAM, PAIR, GROUP = "weather", "chennai", "bench"
KEYS, PARTS = 1000, 6
DAYS = 5  # so many times the readings of other parts
NODE_TIMEOUT_MS = 500
LEASE_MS = 2000
LOOK_S = 0.005
LIMIT_S = patient(30.0)
ONE_SERVER, THREE_NODES = "BulkProducer, one server", "PartsProducer, three nodes"
PRODUCER, CONSUMER = "a producer confirms again", "a consumer reads again"
SERVER = "the replica has taken over"
SERVES_ON = "--cluster-require-full-coverage no"  # the slots that have a primary


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> tuple[Part, Part, Part]:
    """The producer over the parts, a failover, and the hand-over of a part.

    Args:
        client: the course's server, which takes no part in this.
        scale: how often and how much.
        tick: is told of each path before it goes.

    Raises:
        CourseError: something did not go on.
        ServerError: there is no server program.
    """
    append = measure_append(scale, tick)
    with LocalCluster(node_timeout_ms=NODE_TIMEOUT_MS, options=(SERVES_ON,)) as cluster:
        tick("failover")
        failover = measure_failover(cluster, scale)
        tick("handover")
        return append, failover, measure_handover(cluster, scale)


def stations(count: int) -> list[dict[str, str]]:
    """Readings of many stations, in turn."""
    sources = [measurements(city) for city in CITIES]
    return [{"station": f"s{n % KEYS}", **next(sources[n % len(sources)])} for n in range(count)]


def measure_append(scale: Scale, tick: Tick = silent) -> Part:
    """The same readings to one stream on one server, and to parts on three nodes."""
    entries = stations(DAYS * scale.readings)
    with free_ports(1) as ports:
        (port,) = ports
    with (
        SpareServer(f"--port {port}", "--bind 127.0.0.1"),
        LocalCluster(replicas=0) as cluster,
        _clients(cluster) as nodes,
    ):
        alone = client_of(f"redis://127.0.0.1:{port}")

        def one_server() -> float:
            with stopwatch() as watch, BulkProducer(alone, PAIR) as producer:
                producer.add_many(entries)
            alone.unlink(PAIR)
            return len(entries) / watch.seconds

        def three_nodes() -> float:
            make = partial(PartsProducer, key="station", parts=PARTS)
            with stopwatch() as watch, make(nodes, STREAM) as producer:
                producer.add_many(entries)
            for stream in producer.parts.streams:
                nodes.unlink(stream)
            return len(entries) / watch.seconds

        rounds = Rounds.take({ONE_SERVER: one_server, THREE_NODES: three_nodes}, scale.rounds, tick)
        alone.close()
    return Part(
        unit="entries a second",
        figures=rounds.figures(),
        ratios={"ratio_to_one_server": rounds.ratio(THREE_NODES, ONE_SERVER)},
        setup=(
            f"{len(entries):,} readings of {KEYS:,} stations; {PARTS} parts; TCP.",
            "No persistence, no replicas; all on one machine.",
        ),
    )


def measure_failover(cluster: LocalCluster, scale: Scale) -> Part:
    """How long after kill -9 of a primary its replica serves, a producer confirms, one reads."""
    runs = []
    with _clients(cluster) as writing, _clients(cluster) as reading:
        Group(reading, PAIR, GROUP).create("0", make_stream=True)
        with _at_work(writing, reading) as seen:
            for _ in range(scale.rounds):
                seen.wait_for_more()
                victim = cluster.primary_of(PAIR)
                (replica,) = cluster.replicas_of(victim)
                cluster.kill(victim)
                with ThreadPoolExecutor(1) as pool:
                    taken = pool.submit(_take_over, cluster, replica)
                    runs.append((*seen.wait_for_more(), taken.result()))
                cluster.revive(victim)
                cluster.wait_until_serving()
                cluster.wait_until_linked()
    rounds = Rounds(dict(zip((PRODUCER, CONSUMER, SERVER), zip(*runs, strict=True), strict=True)))
    return Part(
        unit="seconds",
        figures=rounds.figures(),
        ratios={
            "producer_to_server": rounds.ratio(PRODUCER, SERVER),
            "consumer_to_server": rounds.ratio(CONSUMER, SERVER),
        },
        setup=(
            f"cluster-node-timeout {NODE_TIMEOUT_MS}, cluster-require-full-coverage no.",
            "The primary is ended by kill -9.",
        ),
    )


def _take_over(cluster: LocalCluster, replica: Node) -> float:
    """Wait until a replica says that it is the primary, and say how many seconds that took."""
    with stopwatch() as watch, cluster.client(replica) as client:
        _wait(lambda: client.info("replication")["role"] == "master", "No replica took over")
    return watch.seconds


class _Seen:
    """When an entry was first confirmed and handled that was added after a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0.0
        self._times: dict[str, float] = {}
        self.failed: BaseException | None = None

    def note(self, who: str, added: float) -> None:
        """Note that the producer or the consumer is done with an entry, by when it was added."""
        with self._lock:
            if added >= self._since:
                self._times.setdefault(who, time.monotonic())

    def wait_for_more(self) -> tuple[float, float]:
        """From now on: seconds until an entry is confirmed, and until one is handled.

        Raises:
            CourseError: it lasts too long.
        """
        with self._lock:
            self._since, self._times = time.monotonic(), {}
        _wait(lambda: len(self._times) == 2 or self.failed is not None, "Nothing goes on")
        if self.failed:
            raise CourseError(f"Those at work have ended: {self.failed}")
        return self._times[PRODUCER] - self._since, self._times[CONSUMER] - self._since


@contextmanager
def _at_work(writing: RedisCluster, reading: RedisCluster) -> Iterator[_Seen]:
    """A producer and a consumer, each in a thread."""
    seen, ended = _Seen(), threading.Event()

    def produce() -> None:
        with Producer(writing, PAIR) as producer:
            while not ended.wait(LOOK_S):
                began = time.monotonic()
                producer.add({"at": began})
                seen.note(PRODUCER, began)

    def handle(entry: Entry) -> None:
        seen.note(CONSUMER, float(entry.fields["at"]))

    consumer = Consumer(reading, PAIR, GROUP, handle, block_ms=100)

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # it is told by the one that waits
            seen.failed = error

    threads = [
        threading.Thread(target=guarded, args=(work,), daemon=True)
        for work in (produce, partial(consumer.run, signals=False))
    ]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        consumer.stop()
        for thread in threads:
            thread.join()


def measure_handover(cluster: LocalCluster, scale: Scale) -> Part:
    """How long after kill -9 of a worker another one goes on with its parts."""
    return asyncio.run(_measure_handover(cluster, scale))


async def _measure_handover(cluster: LocalCluster, scale: Scale) -> Part:
    parts, runs, handled = Parts(STREAM, PARTS), [], dict[str, float]()

    def note(entry: Entry) -> None:
        handled[parts.of(entry.fields["station"])] = time.monotonic()

    with _clients(cluster) as writing, PartsProducer(
        writing, STREAM, key="station", parts=parts.count
    ) as producer:  # fmt: skip
        async with cluster.connect_async() as client:
            mine = PartsWorker(client, parts, GROUP, note, lease_ms=LEASE_MS)
            work = asyncio.create_task(mine.run())
            try:
                for _ in range(scale.rounds):
                    with start(_work, cluster.url, name="worker") as other:
                        await _until(lambda: len(mine.owned) == parts.count // 2)
                        theirs = set(parts.streams) - set(mine.owned)
                        await asyncio.sleep(LEASE_MS / 1000)  # its leases are in mid-life
                        killed = time.monotonic()
                        other.kill()
                    handled.clear()
                    await asyncio.to_thread(producer.add_many, stations(KEYS))
                    await _until(partial(theirs.issubset, handled))
                    runs.append(max(handled[one] for one in theirs) - killed)
            finally:
                mine.stop()
                await work
    lease = LEASE_MS / 1000
    return Part(
        unit="seconds",
        figures={"another worker has all its parts": Figure.of(runs)},
        ratios={"in_leases": Figure.of([one / lease for one in runs])},
        setup=(f"A lease of {lease:g} s; {parts.count} parts; the worker is ended by kill -9.",),
    )


def _work(url: str) -> None:
    """A worker of the parts, until it is killed."""

    async def live() -> None:
        async with redis.asyncio.RedisCluster.from_url(url, **settings()) as client:
            await PartsWorker(
                client, Parts(STREAM, PARTS), GROUP, _nothing, lease_ms=LEASE_MS
            ).run()  # fmt: skip

    asyncio.run(live())


def _nothing(entry: Entry) -> None:
    """Handle an entry."""


@contextmanager
def _clients(cluster: LocalCluster) -> Iterator[RedisCluster]:
    client = cluster.connect()
    try:
        yield client
    finally:
        client.close()


def _wait(true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > deadline:
            raise CourseError(f"{otherwise} for {LIMIT_S:.0f} s.")
        time.sleep(LOOK_S)


async def _until(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(_wait, true, "Nothing goes on")
