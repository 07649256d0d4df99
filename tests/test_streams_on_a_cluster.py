"""Streams on a Redis Cluster: the promises hold while nodes die and slots move."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import pytest
import redis.asyncio
from redis.crc import key_slot

from helpers.averages import AggregatingConsumer
from helpers.averages.aggregating import begin_anew
from helpers.averages.names import AVERAGES
from helpers.chaos import LocalCluster
from helpers.cluster import Parts, PartsProducer, PartsWorker
from helpers.course.errors import CourseError
from helpers.partitions.producer import PartitionProducer
from helpers.partitions.readings import Reading
from helpers.streams import (
    AsyncConsumer,
    AsyncGroup,
    AsyncProducer,
    AsyncReader,
    BulkProducer,
    Consumer,
    DeadLetters,
    EntryId,
    Group,
    Producer,
    Reader,
    scan,
    scan_async,
)
from helpers.streams.errors import ArgumentError, NotConfirmedError
from helpers.streams.keys import group_key, sibling_key
from helpers.streams.slots import Slot, client_for
from helpers.views.nodes import look, text
from helpers.wiki import Counters
from helpers.wiki.subscriber import Subscriber
from tests.steps.faults import LOSING, Wire, every_fault
from tests.waiting import until

pytestmark = pytest.mark.early

STREAM = "chennai"
SEEN = sibling_key(STREAM, "seen")  # entry → how often its effect happened


@pytest.fixture(scope="module")
def nodes():
    with LocalCluster(node_timeout_ms=1000) as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes):
    """The cluster of this file, whole again, and empty."""
    yield nodes
    for node in nodes.nodes:
        nodes.resume(node)
        nodes.revive(node)
    nodes.wait_until_serving()
    nodes.wait_until_linked()
    with nodes.connect() as client:
        client.flushall(target_nodes="primaries")


@pytest.fixture
def client(cluster):
    with cluster.connect(socket_timeout=1.0) as client:
        yield client


def succeeded(cluster, victim, key):
    """Whether another node serves a key by now."""
    with suppress(CourseError):  # none does for a while
        return cluster.primary_of(key) is not victim
    return False


def other_primary(cluster):
    """A primary that does not serve the stream."""
    serving = cluster.primary_of(STREAM).name
    return next(
        one.name for one in cluster.status() if one.role == "primary" and one.name != serving
    )


def seen(entry):
    return ("HINCRBY", SEEN, str(entry.id), 1)


@contextmanager
def at_work(client, **settings):
    """A producer that appends numbers, and a consumer that counts each entry by an effect."""
    confirmed: list[EntryId] = []
    failed: list[Exception] = []
    stopped = threading.Event()
    consumer = Consumer(client, STREAM, "g", seen, block_ms=100, **settings)

    def produce():
        try:
            with Producer(client, STREAM, patience_s=20) as producer:
                while not stopped.is_set():
                    confirmed.append(producer.add({"n": len(confirmed)}))
        except Exception as error:
            failed.append(error)

    def consume():
        try:
            consumer.run(signals=False)
        except Exception as error:
            failed.append(error)

    Group(client, STREAM, "g").create("0", make_stream=True)
    threads = [threading.Thread(target=one) for one in (produce, consume)]
    for thread in threads:
        thread.start()
    try:
        yield confirmed
    finally:
        stopped.set()
        threads[0].join()
        consumer.stop()
        threads[1].join()
        assert not failed, failed


def settled(client):
    """What is on the stream, once all of it is handled; each entry's effect happened once."""
    Consumer(client, STREAM, "g", seen, name="last", min_idle_ms=1).run(drain=True, signals=False)
    entries = list(scan(client, STREAM))
    assert client.hgetall(SEEN) == {str(one.id): "1" for one in entries}
    return [int(one.fields["n"]) for one in entries]


def added_more(confirmed, count=20):
    """Wait until the producer has gone on."""
    before = len(confirmed)
    until(lambda: len(confirmed) >= before + count, limit_s=20)


def test_every_class_takes_a_cluster_s_client(client):
    with BulkProducer(client, STREAM) as bulk:
        assert bulk.add_many({"n": n} for n in range(2500)).count == 2500
    with Producer(client, STREAM) as producer:
        last = producer.add({"n": 2500})
    assert [one.fields["n"] for one in scan(client, STREAM)] == [str(n) for n in range(2501)]
    group = Group(client, STREAM, "g")
    assert group.create("0")
    assert group.info().lag == 2501

    def handle(entry):
        if entry.fields["n"] == "7":
            raise ValueError("seven")
        return seen(entry)

    counts = Consumer(client, STREAM, "g", handle, max_deliveries=2).run(drain=True)
    assert (counts.acked, counts.dead) == (2500, 1)
    letters = DeadLetters(client, STREAM, "g")
    assert [one.how for one in letters.replay_all()] == ["pending"]
    counts = Consumer(client, STREAM, "g", seen, min_idle_ms=1).run(drain=True)
    assert counts.acked == 1
    assert Counter(client.hvals(SEEN)) == {"1": 2501}
    assert group.info().last_delivered == last
    with Reader(client, STREAM, start="0", name="display") as reader:
        assert [entry.fields["n"] for _, entry in reader.read(count=3)] == ["0", "1", "2"]
    with Reader(client, STREAM, name="display") as reader:  # its checkpoint lies in the slot too
        assert reader.read(count=1)[0][1].fields["n"] == "3"


def test_so_do_those_for_asyncio(cluster):
    async def work():
        async with cluster.connect_async() as client:
            async with AsyncProducer(client, STREAM) as producer:
                await producer.add_many({"n": n} for n in range(300))
            assert len([one async for one in scan_async(client, STREAM)]) == 300
            group = AsyncGroup(client, STREAM, "g")
            assert await group.create("0")
            counts = await AsyncConsumer(client, STREAM, "g", seen, concurrency=3).run(drain=True)
            assert counts.acked == 300
            assert (await group.info()).pending == 0
            async with AsyncReader(client, STREAM, start="0", name="display") as reader:
                assert len(await reader.read(count=100)) == 100

    asyncio.run(work())


def test_streams_of_several_slots_are_refused_before_anything_is_sent(client):
    with pytest.raises(ArgumentError, match=r"different hash slots .*'a' in 15495, 'b' in 3300"):
        Reader(client, ["a", "b"])
    with Reader(client, ["{c}a", "{c}b"], start="0") as reader:
        assert reader.read(block_ms=1) == []
    with pytest.raises(ArgumentError, match="different hash slots"):
        DeadLetters(client, STREAM, "g", key="elsewhere")


def test_an_effect_in_another_slot_costs_its_own_entry_and_no_other(client):
    def handle(entry):
        return ("INCR", "elsewhere") if entry.fields["n"] == "3" else seen(entry)

    with Producer(client, STREAM) as producer:
        producer.add_many({"n": n} for n in range(10))
    Group(client, STREAM, "g").create("0")
    counts = Consumer(client, STREAM, "g", handle, max_deliveries=2).run(drain=True)
    assert (counts.acked, counts.dead) == (9, 1)
    (letter,) = DeadLetters(client, STREAM, "g")
    assert letter.entry.fields == {"n": "3"}
    assert "another hash slot" in letter.reason


def test_a_client_of_the_wrong_node_is_told(cluster):
    wrong = next(one for one in cluster.nodes[:3] if one is not cluster.primary_of(STREAM))
    with cluster.client(wrong) as client, pytest.raises(NotConfirmedError, match="RedisCluster"):
        Producer(client, STREAM, patience_s=0.1).add({"n": 1})


def test_a_primary_dies(cluster, client):
    """What was confirmed and not replicated is lost; all else is there once, and handled once."""
    with at_work(client) as confirmed:
        added_more(confirmed)
        cluster.kill(cluster.primary_of(STREAM))
        added_more(confirmed)
    numbers = settled(client)
    lost = sorted({*range(len(confirmed))} - {*numbers})
    assert len(numbers) == len({*numbers})
    assert numbers == sorted(numbers)
    assert not lost or lost == list(range(lost[0], lost[-1] + 1))  # one tail, and nothing else


def test_a_primary_dies_and_replicas_have_what_was_confirmed(cluster, client):
    """With one replica that is linked, `replicas=1` loses nothing."""
    confirmed = []
    with Producer(client, STREAM, replicas=1, patience_s=20) as producer:
        for n in range(20):
            confirmed.append(str(producer.add({"n": n})))
        cluster.kill(cluster.primary_of(STREAM))
        with pytest.raises(NotConfirmedError, match="0 of 1 replicas confirm"):
            Producer(client, STREAM, replicas=1, patience_s=3).add({"n": "alone"})
        cluster.revive(next(one for one in cluster.nodes if not one.alive))
        cluster.wait_until_linked()
        producer.add({"n": 20})
    with BulkProducer(client, STREAM, replicas=1) as bulk:
        assert bulk.add_many({"n": n} for n in range(21, 3000)).count == 2979
    found = [one for one in scan(client, STREAM) if one.fields["n"] != "alone"]
    assert [one.fields["n"] for one in found] == [str(n) for n in range(3000)]
    assert [str(one.id) for one in found[:20]] == confirmed


def test_who_waits_for_replicas_adds_each_entry_once_under_any_fault_at_any_step(cluster, client):
    sync = client_for(client, ["s"])

    async def produce(faults=()):
        sync.unlink("s", "{s}:producers")
        async with cluster.connect_async() as nodes:
            with Wire(sync, faults) as wire:
                wired = wire.async_client(client_for(nodes, ["s"]))
                async with AsyncProducer(wired, "s", replicas=1) as producer:
                    await producer.add({"n": 0})
                    await producer.add_many([{"n": 1}, {"n": 2}, {"n": 3}], batch=2)
        assert [one.fields["n"] for one in scan(sync, "s")] == list("0123"), (faults, wire.steps)
        return wire.steps

    async def work():
        steps = await produce()
        assert steps.count("MULTI") == 3  # the pipelines that ask the replicas
        for fault in every_fault(len(steps), LOSING, extra=1)[::3]:
            await produce([fault])

    asyncio.run(work())


def test_a_primary_is_silent(cluster, client):
    """A paused one still takes connections: so another node is asked."""
    with at_work(client) as confirmed:
        added_more(confirmed)
        cluster.pause(cluster.primary_of(STREAM))
        added_more(confirmed)
    settled(client)


def test_a_slot_moves_with_its_stream(cluster, client):
    before, other = cluster.primary_of(STREAM), other_primary(cluster)
    with at_work(client) as confirmed:
        added_more(confirmed)
        cluster.move(STREAM, other)
        added_more(confirmed)
        cluster.move(STREAM, before)
        added_more(confirmed)
    assert settled(client) == list(range(len(confirmed)))


def test_those_that_wait_for_entries_go_on_where_their_stream_is_moved(cluster, client):
    """Redis 7.0 says UNBLOCKED then, as if the stream had been deleted."""
    Group(client, STREAM, "g").create("0", make_stream=True)
    handled: list[str] = []

    def handle(entry):
        handled.append(entry.fields["n"])

    def waits():
        node = cluster.primary_of(STREAM)
        return cluster.client(node).info("clients")["blocked_clients"] == 2

    async def work():
        async with cluster.connect_async() as nodes:
            waiting = AsyncConsumer(nodes, STREAM, "g", handle, name="ann", block_ms=5000)
            running = asyncio.create_task(waiting.run(signals=False))
            assert await asyncio.to_thread(until, waits)
            cluster.move(STREAM, other_primary(cluster))
            for n in range(20):
                client.xadd(STREAM, {"n": n})
            assert await asyncio.to_thread(until, lambda: len(handled) == 20)
            waiting.stop()
            await running

    other = Consumer(client, STREAM, "g", handle, name="bob", block_ms=5000)
    thread = threading.Thread(target=partial(other.run, signals=False))
    thread.start()
    asyncio.run(work())
    other.stop()
    thread.join()
    assert sorted(map(int, handled)) == list(range(20))


def test_parts_keep_the_order_of_each_key_while_a_primary_dies(cluster, client):
    """Replicas have what was confirmed, so nothing is lost; workers go on with other nodes."""
    cities = [f"c{n}" for n in range(20)]
    parts = Parts("weather", 6)

    def effect(entry):
        city = entry.fields["city"]
        return ("RPUSH", sibling_key(parts.of(city), city), entry.fields["n"])

    def orders():
        return [client.lrange(sibling_key(parts.of(one), one), 0, -1) for one in cities]

    def append(producer, begin, end):
        for n in range(begin, end):
            producer.add_many({"city": one, "n": n} for one in cities)

    async def work():
        async with cluster.connect_async(socket_timeout=1.0) as nodes:
            workers = [PartsWorker(nodes, parts, "g", effect, lease_ms=1000) for _ in range(2)]
            tasks = [asyncio.create_task(worker.run()) for worker in workers]
            with PartsProducer(client, "weather", key="city", parts=6, replicas=1) as producer:
                await asyncio.to_thread(append, producer, 0, 10)
                victim = cluster.primary_of(parts.stream(0))
                cluster.kill(victim)
                await asyncio.to_thread(until, lambda: succeeded(cluster, victim, parts.stream(0)))
                await asyncio.to_thread(cluster.revive, victim)  # before that it would be empty
                await asyncio.to_thread(append, producer, 10, 20)
            await asyncio.to_thread(until, lambda: sum(map(len, orders())) == 400)
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks)

    asyncio.run(work())
    assert orders() == [[str(n) for n in range(20)]] * 20


def test_the_theatre_shows_nodes_parts_and_owners(cluster, client):
    with PartsProducer(client, "weather", key="city", parts=6) as producer:
        producer.add_many({"city": f"c{n}", "n": n} for n in range(60))
    stream = producer.parts.stream(0)
    client.set(sibling_key(stream, "g:lease"), "token")
    seen = look(cluster, producer.parts, "g", {"token": "alice"})
    assert [one.up for one in seen.nodes] == [True] * 6
    assert sum(one.length or 0 for one in seen.parts) == 60
    assert [one.owner for one in seen.parts] == ["alice", "", "", "", "", ""]
    for part in seen.parts:
        assert part.node == cluster.primary_of(part.stream).name
    cluster.kill(seen.parts[0].node)
    assert f"{seen.parts[0].node}  doesn't answer" in text(look(cluster, producer.parts, "g"))
    until(lambda: look(cluster, producer.parts, "g").parts[0].length == seen.parts[0].length)


def test_partitions_and_averages(client):
    """Two days lie in two slots, and the averages in a third."""
    days = [datetime(2100, 1, day, tzinfo=UTC) for day in (1, 2)]
    begins = [int(day.timestamp() * 1000) for day in days]
    with PartitionProducer(client) as producer:
        producer.add_many(
            Reading(begin + hour * 3_600_000, hour, None) for begin in begins for hour in range(24)
        )
    assert key_slot(b"temps:21000101") != key_slot(b"temps:21000102")
    begin_anew(client, "temps:21000101")
    over = datetime(2100, 1, 3, 1, tzinfo=UTC)
    AggregatingConsumer(client, clock=lambda: over, say=lambda said: None).run(drain=True)
    assert client.xlen(AVERAGES) == 48


def test_wiki_counts_beside_the_stream(cluster):
    async def work():
        async with cluster.connect_async() as client:
            subscriber = Subscriber(client, through="stream")
            assert subscriber.counters.prefix == "{wiki}:"
            running = asyncio.create_task(subscriber.run())
            async with AsyncProducer(client, "wiki") as producer:
                now = int(time.time())
                await producer.add({"domain": "en.wikipedia.org", "at": now * 1000, "user": "x"})
            await asyncio.sleep(0.5)
            subscriber.stop()
            await running
            return await client.hvals("{wiki}:ev")

    assert asyncio.run(work()) == ["1"]
    with pytest.raises(ArgumentError, match="different hash slots"):
        Subscriber(cluster.connect_async(), through="stream", counters=Counters())


def test_where_a_slot_is():
    a, b, c = ("h", 1), ("h", 2), ("h", 3)
    slot = Slot([a])
    slot.learn([[0, 1, ["h", 1, "id", {}], ["", 2, "id", {}]]])
    slot.heard(a, redis.exceptions.MovedError("5 :3"))  # without a host: that of the node asked
    assert slot.node == c
    assert not slot.settled
    slot.heard(a, redis.ConnectionError("late"))  # of a node that was left already
    assert slot.node == c
    slot.heard(c, redis.exceptions.ResponseError("ERR no"))
    assert slot.node == c
    slot.heard(c, redis.TimeoutError("silent"))
    assert slot.node in (a, b)


def test_the_keys_beside_a_stream_share_its_slot():
    for stream in ("chennai", "weather:{3}", "a{b"):
        for key in (sibling_key(stream, "x"), group_key(stream, "g", "dead")):
            assert key_slot(key.encode()) == key_slot(stream.encode())
