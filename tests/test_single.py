"""A fork, a thread or a copy never shares the number, the token or the connection of another."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
from datetime import date
from typing import Any

import pytest

from helpers import (
    AsyncConsumer,
    AsyncProducer,
    AsyncReader,
    BulkProducer,
    Consumer,
    Group,
    Producer,
    Reader,
    connect,
    connect_async,
)
from helpers.averages import AggregatingConsumer, AveragesConsumer
from helpers.averages.state import State
from helpers.partitions import PartitionProducer, Reading, partition_key, start_of
from helpers.streams.consumer.loop import DeliveryLoop
from helpers.streams.consumer.settings import ConsumerSettings
from helpers.streams.errors import ArgumentError, CheckpointError, ConsumerError
from helpers.streams.outbox import ScriptOutbox
from helpers.streams.reader import Place
from helpers.wiki.place import FeedPlace

DAY = date(2100, 1, 1)
SENT = "cannot be sent to another process: make one there"

# A web server's way: all is made, and used, before it forks; then parent and children work on.
PREFORK = """
import asyncio, os, sys, threading, traceback
from helpers import *
from helpers.partitions import PartitionProducer, Reading

kind, count = sys.argv[1], int(sys.argv[2])
begin = 4102444800000  # 2100-01-01
loop = asyncio.new_event_loop()

def add(number):
    if kind == "partition":
        producer.add_many([Reading(begin + number, number)])
    elif kind == "AsyncProducer":
        loop.run_until_complete(producer.add({"n": number}))
    else:
        producer.add_many([{"n": number}])

def source():  # forks while a batch is under way: parent and children go on with the rest
    for number in range(4):
        if number == 2:
            fork(inner=True)
        yield {"n": 1000 * here + number}

def fork(inner=False):
    global here, loop
    for child in range(1, count + 1):
        if pid := os.fork():
            children.append(pid)
            continue
        children.clear()
        here = child
        if inner:
            return
        try:
            loop = asyncio.new_event_loop()  # the parent's stays as it is
            for number in range(5):
                add(10 * child + number)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

here, children = 0, []
client = connect_async() if kind == "AsyncProducer" else connect()
named = {"partition": lambda: PartitionProducer(client), "generator": lambda: Producer(client, "s"),
         "bulk generator": lambda: BulkProducer(client, "s")}
producer = named.get(kind, lambda: globals()[kind](client, "s"))()
if kind.endswith("generator"):
    producer.add_many(source(), batch=int(sys.argv[3]))
    if here:
        os._exit(0)
else:
    add(0)
    busy = threading.Event()
    def hold():  # another thread is in the producer while it forks
        with producer._lock:
            busy.wait()
    if kind != "AsyncProducer":
        threading.Thread(target=hold, daemon=True).start()
    fork()
    busy.set()
    for number in range(1, 6):
        add(number)
sys.exit(sum(os.waitpid(pid, 0)[1] for pid in children))
"""


# From 3.12 on, Python warns of a fork while there are threads, which is what is tried here.
QUIET = ["-W", "ignore:This process:DeprecationWarning"]


def run(program: str, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, *QUIET, "-c", program, *arguments], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr


@pytest.mark.once
@pytest.mark.parametrize("kind", ["Producer", "BulkProducer", "AsyncProducer", "partition"])
def test_each_process_of_a_fork_adds_its_own(redis, kind):
    """Finding C1: 11 adds returned an ID, 6 entries were there, and a child could hang."""
    run(PREFORK, kind, "4")
    key, field = (partition_key(DAY), "temp_f") if kind == "partition" else ("s", "n")
    found = sorted(int(fields[field]) for _, fields in redis.xrange(key))
    children = [10 * child + number for child in range(1, 5) for number in range(5)]
    assert found == [*range(6), *children]


@pytest.mark.once
@pytest.mark.parametrize("kind", ["generator", "bulk generator"])
@pytest.mark.parametrize("batch", ["2", "3", "100"])  # the fork comes between two, or in the midst
def test_a_generator_that_forks_goes_on_in_each_process(redis, kind, batch):
    run(PREFORK, kind, "2", batch)
    found = sorted(int(fields["n"]) for _, fields in redis.xrange("s"))
    assert found == [0, 1, 2, 3, 1002, 1003, 2002, 2003]


WORKERS = """
import os, sys, traceback
from helpers import *
from helpers.streams.errors import ConsumerError

def handle(entry):
    return ("HINCRBY", "{s}:totals", entry.fields["n"], 1)

client, name = connect(), sys.argv[1] or None
consumer = Consumer(client, "s", "g", handle, name=name, batch=5)
client.ping()
for child in range(3):
    if not os.fork():
        try:
            consumer.run(drain=True)
            client.sadd("names", consumer.name)
        except ConsumerError:
            client.incr("replaced")
        except BaseException:
            traceback.print_exc()
        os._exit(0)
try:
    consumer.run(drain=True)
except ConsumerError:
    pass
client.sadd("names", consumer.name)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
consumer.run(drain=True)
"""


@pytest.mark.once
@pytest.mark.parametrize("name", ["", "alice"])
def test_a_consumer_made_before_forks_is_another_in_each_process(redis, name):
    for number in range(300):
        redis.xadd("s", {"n": number})
    Group(redis, "s", "g").create("0")
    run(WORKERS, name)
    assert set(redis.hvals("{s}:totals")) == {"1"}
    assert redis.hlen("{s}:totals") == 300
    assert len(redis.smembers("names")) == (1 if name else 4)


CHILD_OF_A_HANDLER = """
import os, sys
from helpers import *
from helpers.streams.errors import ArgumentError, StreamsError

def handle(entry):
    global child
    if entry.fields["n"] == "1" and not child:
        child = os.fork()
        here.append("parent" if child else "child")
    client.rpush("handled:" + here[-1], entry.fields["n"])
    return ("HINCRBY", "{s}:totals", entry.fields["n"], 1)

here, child, client = ["parent"], 0, connect()
with Reader(client, "s", start="0", name="me") as reader:
    for _, entry in reader:
        if not (pid := os.fork()):
            try:  # the checkpoint is the parent's
                next(iter(reader))
            except ArgumentError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        break
try:
    Consumer(client, "s", "g", handle, name="alice").run(drain=True)
except StreamsError as error:
    client.set("told:" + here[-1], str(error))
if here[-1] == "child":
    os._exit(0)
os.wait()
"""


@pytest.mark.once
def test_a_child_that_comes_back_from_a_handler_takes_nothing_from_its_parent(redis):
    for number in range(50):
        redis.xadd("s", {"n": number})
    Group(redis, "s", "g").create("0")
    run(CHILD_OF_A_HANDLER)
    assert redis.lrange("handled:parent", 0, -1) == [str(n) for n in range(50)]
    assert redis.lrange("handled:child", 0, -1) == ["1"]
    assert redis.hlen("{s}:totals") == 50
    assert set(redis.hvals("{s}:totals")) == {"1"}
    assert not redis.exists("told:parent")
    assert redis.xpending("s", "g")["pending"] == 0


PREFORK_AT_WORK = """
import os, threading
from helpers import *

def handle(entry):
    at_work.set()
    forked.wait(10)
    return ("HINCRBY", "{s}:totals", entry.fields["n"], 1)

at_work, forked = threading.Event(), threading.Event()
consumer = Consumer(connect(), "s", "g", handle, batch=5)
thread = threading.Thread(target=lambda: consumer.run(drain=True, signals=False))
thread.start()
at_work.wait(10)
children = []
for child in range(2):
    if not (pid := os.fork()):
        forked.set()
        consumer.run(drain=True)
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
forked.set()
thread.join()
raise SystemExit(sum(codes))
"""


@pytest.mark.once
def test_a_consumer_that_is_at_work_in_a_thread_is_another_in_each_fork(redis):
    for number in range(50):
        redis.xadd("s", {"n": number})
    Group(redis, "s", "g").create("0")
    run(PREFORK_AT_WORK)
    assert redis.hlen("{s}:totals") == 50
    assert set(redis.hvals("{s}:totals")) == {"1"}
    assert redis.xpending("s", "g")["pending"] == 0


# ------------------------------------------------------------------ copies


def singles() -> list[Any]:
    client, asyncio_client = connect(), connect_async()
    settings = ConsumerSettings()
    return [
        Producer(client, "s"), AsyncProducer(asyncio_client, "s"), BulkProducer(client, "s"),
        PartitionProducer(client, name="me"), ScriptOutbox(client, "s"),
        Reader(client, "s", name="me"), AsyncReader(asyncio_client, "s", name="me"),
        Place(client, "s", start="0", name="me"), Consumer(client, "s", "g", print),
        AsyncConsumer(asyncio_client, "s", "g", print), DeliveryLoop("s", "g", None, settings),
        State(client, "state", ()), AggregatingConsumer(client), FeedPlace("s", "stream", "url", 1),
        AveragesConsumer(client, show=print),
    ]  # fmt: skip


def identities(one: Any) -> set[str]:
    """All the names and tokens in an object and in what it holds."""
    found, seen, left = set(), set(), [one]
    while left:
        thing = left.pop()
        if id(thing) in seen or not type(thing).__module__.startswith("helpers."):
            continue
        seen.add(id(thing))
        for name, value in vars(thing).items() if hasattr(thing, "__dict__") else ():
            if name in ("name", "_name", "_token", "_epoch") and isinstance(value, str) and value:
                found.add(f"{type(thing).__name__}.{name} {value}")
            left.append(value)
    return found


@pytest.mark.once
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_has_an_identity_of_its_own(redis, copied):
    for one in singles():
        twin = copied(one)
        shared = {held for held in identities(one) & identities(twin) if not held.endswith(" me")}
        assert not shared, one
        assert type(twin) is type(one)


@pytest.mark.once
def test_none_can_be_sent_to_another_process_and_a_sentence_says_so(redis):
    for one in singles():
        with pytest.raises(ArgumentError, match=SENT):
            pickle.dumps(one)


def work_with(producer: Any) -> None:
    producer.add({"n": 1})


@pytest.mark.once
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_is_refused_a_producer_before_it_begins(redis, method):
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=work_with, args=(Producer(redis, "s"),))
    with pytest.raises(ArgumentError, match=SENT):
        process.start()


@pytest.mark.parametrize("kind", [Producer, BulkProducer])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copies_add_each_its_own_in_threads_of_their_own(redis, kind, copied):
    producer: Any = kind(redis, "s")
    producer.add_many([{"n": 0}])
    twins = [producer, copied(producer), copied(producer)]

    def work(one: Any, start: int) -> None:
        for number in range(start, start + 30):
            one.add_many([{"n": number}])

    threads = [
        threading.Thread(target=work, args=(one, 100 * n + 1)) for n, one in enumerate(twins * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(int(fields["n"]) for _, fields in redis.xrange("s"))
    assert found == sorted([0, *(100 * n + 1 + m for n in range(6) for m in range(30))])
    assert producer.add_many([{"n": 1}]).count == 1
    for one in twins:
        one.close()


def test_threads_may_share_a_producer_of_partitions(redis):
    begin = start_of(DAY)
    with PartitionProducer(redis) as producer:

        def work(start: int) -> None:
            for number in range(start, start + 50):
                producer.add_many([Reading(begin + number, number)])

        threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = sorted(int(fields["temp_f"]) for _, fields in redis.xrange(partition_key(DAY)))
    assert found == [100 * n + m for n in range(4) for m in range(50)]


def test_of_a_named_consumer_and_its_copy_the_one_that_began_later_goes_on(redis):
    for number in range(20):
        redis.xadd("s", {"n": number})
    Group(redis, "s", "g").create("0")
    twins: list[Any] = []

    def handle(entry: Any) -> Any:
        if len(twins) == 1:
            twins.append(copy.copy(twins[0]))
            twins[1].run(limit=5)
        return ("HINCRBY", "{s}:totals", entry.fields["n"], 1)

    twins.append(Consumer(redis, "s", "g", handle, name="alice", batch=5))
    with pytest.raises(ConsumerError, match="'alice' took over"):
        twins[0].run(drain=True)
    assert twins[1].run(drain=True)
    assert set(redis.hvals("{s}:totals")) == {"1"}
    assert redis.hlen("{s}:totals") == 20


def test_a_copy_of_a_reader_is_opened_for_itself_and_takes_the_place_over(redis):
    for number in range(4):
        redis.xadd("s", {"n": number})
    reader = Reader(redis, "s", start="0", name="me")
    reader.open()
    assert len(reader.read(count=2)) == 2
    reader.commit()
    twin = copy.deepcopy(reader)
    with pytest.raises(ArgumentError, match="Open the reader first"):
        twin.read()
    with twin:
        assert [entry.fields["n"] for _, entry in twin.read()] == ["2", "3"]
    reader.read()
    with pytest.raises(CheckpointError):
        reader.commit()


def test_an_asyncio_producer_that_is_copied_is_another(redis):
    async def main() -> None:
        async with connect_async() as client, AsyncProducer(client, "s") as producer:
            await producer.add({"n": 0})
            twin = copy.copy(producer)
            await asyncio.gather(*(one.add({"n": 1}) for one in (twin, producer) * 5))

    asyncio.run(main())
    assert redis.xlen("s") == 11
