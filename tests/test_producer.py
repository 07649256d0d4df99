"""A producer appends each entry exactly once, whatever becomes of connections and processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers import (
    AsyncProducer,
    BulkProducer,
    Entry,
    EntryId,
    Producer,
    connect,
    connect_async,
    scan,
)
from helpers.chaos import LOSSES, Fault, Proxy
from helpers.course.server import OwnServer
from helpers.streams.entry import FIRST
from helpers.streams.errors import EntryIdError, NotConfirmedError, StreamsError
from helpers.streams.outbox import APPEND, Added, sends_again
from helpers.streams.patience import Patience
from tests.points import call_of

MEMORY = "{s}:producers"
OPENING = ("HELLO", "CLIENT SETINFO", ("CLIENT SETINFO", 2))  # with which redis-py connects


@pytest.fixture
def proxy(redis, monkeypatch):
    """A proxy in front of this run's server, through which `connect()` goes from now on."""
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        yield proxy


def numbers(redis, stream="s"):
    return [int(entry.fields["n"]) for entry in scan(redis, stream)]


def readings(count, start=0):
    return ({"n": number} for number in range(start, start + count))


# ------------------------------------------------------------------ lost, cut and late commands


def arm(proxy, faults, deliver_at=None):
    for at, fault in faults.items():
        proxy.arm(fault, at=at)
    if deliver_at:
        proxy.deliver_at(deliver_at)


def produce(proxy, faults, *, retries=0, deliver_at=None):
    """Two entries one by one and seven in three batches, under faults; all that was added."""
    with connect(retries=retries) as client, Producer(client, "s") as producer:
        arm(proxy, faults, deliver_at)
        one, two = producer.add({"n": 0}), producer.add({"n": 1})
        return [Added(1, one, one), Added(1, two, two), producer.add_many(readings(7, 2), batch=3)]


def produce_async(proxy, faults, *, retries=0, deliver_at=None):
    async def run():
        client = connect_async(retries=retries)
        async with client, AsyncProducer(client, "s") as producer:
            arm(proxy, faults, deliver_at)
            one, two = await producer.add({"n": 0}), await producer.add({"n": 1})
            rest = await producer.add_many(readings(7, 2), batch=3)
            return [Added(1, one, one), Added(1, two, two), rest]

    return asyncio.run(run())


def assert_exactly_once(redis, proxy, run, faults, **options):
    """Every entry is there once, in order, with the IDs that the producer said."""
    proxy.reset()
    redis.delete("s", MEMORY)
    redis.script_flush()
    added = run(proxy, faults, **options)
    proxy.deliver()
    assert numbers(redis) == list(range(9)), (faults, proxy.commands)
    ids = [entry.id for entry in scan(redis, "s")]
    assert [(one.first, one.last) for one in added] == [
        (ids[0], ids[0]), (ids[1], ids[1]), (ids[2], ids[8])
    ]  # fmt: skip
    assert [one.count for one in added] == [1, 1, 7]


@pytest.mark.parametrize(("run", "retries"), [(produce, 0), (produce_async, 10)])
@pytest.mark.parametrize("fault", LOSSES)
def test_exactly_once_with_a_real_connection_lost(redis, proxy, run, retries, fault):
    """At one command, or as it is opened; for all others see `tests.steps`."""
    for at in (call_of(APPEND, 3), *OPENING):
        assert_exactly_once(redis, proxy, run, {at: fault}, retries=retries)


def test_without_the_producer_a_lost_reply_makes_two_entries(redis, proxy):
    with connect(retries=10) as client:
        client.ping()
        proxy.arm(Fault.LOSE_REPLY)
        client.xadd("s", {"n": 0})
    assert numbers(redis) == [0, 0]


def test_a_cancelled_add_is_settled_by_the_next_call(redis, proxy):
    async def run():
        async with connect_async() as client:
            async with AsyncProducer(client, "s") as producer:
                await producer.add({"n": 0})
                redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
                task = asyncio.create_task(producer.add({"n": 1}))
                await asyncio.to_thread(wait_until, lambda: blocked(redis))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                redis.execute_command("CLIENT", "UNPAUSE")
                await producer.add({"n": 2})
            assert redis.exists(MEMORY)  # for a copy may be under way

    asyncio.run(run())
    assert numbers(redis) == [0, 1, 2]


def test_a_server_that_is_busy_with_a_script_is_waited_for(redis):
    [(name, before)] = redis.config_get("busy-reply-threshold").items()
    redis.config_set(name, 1)
    with connect() as client, Producer(client, "s") as producer, connect() as other:
        client.ping()
        looping = threading.Thread(target=ended, args=(other, "while true do end"))
        adding = threading.Thread(target=producer.add, args=({"n": 0},))
        try:
            looping.start()
            wait_until(lambda: "BUSY" in said(redis))
            adding.start()
            wait_until(lambda: producer._outbox._patience.lasts_s)
        finally:
            redis.script_kill()
            looping.join()
            adding.join()
            redis.config_set(name, before)
    assert numbers(redis) == [0]


def ended(client, script):
    with pytest.raises(redis_py.ResponseError, match="killed"):
        client.eval(script, 0)


def said(client):
    try:
        return str(client.ping())
    except redis_py.ResponseError as error:
        return str(error)


def blocked(client):
    return int(client.info("clients")["blocked_clients"])


def wait_until(condition):
    while not condition():
        time.sleep(0.001)


# ------------------------------------------------------------------ the server out of reach


def impatient(producer):
    """Let a producer give up at its first failure."""
    producer._outbox._patience = Patience(limit_s=-1)
    return producer


def test_a_call_after_an_unsettled_one_takes_nothing_until_that_is_settled(redis, proxy):
    async def run():
        client = connect_async()
        async with client, impatient(AsyncProducer(client, "s")) as producer:
            await producer.add({"n": 0})
            arm(proxy, {1: Fault.CUT_BEFORE, 2: Fault.CUT_BEFORE})
            with pytest.raises(NotConfirmedError) as caught:
                await producer.add({"n": 1})
            assert caught.value.confirmed == 0
            with pytest.raises(StreamsError, match="Nothing was sent") as refused:
                await producer.add({"n": 2})
            assert not isinstance(refused.value, NotConfirmedError)
            await producer.add({"n": 3})

    asyncio.run(run())
    assert numbers(redis) == [0, 1, 3]


@pytest.mark.parametrize("kind", [Producer, BulkProducer])
def test_a_server_killed_in_the_middle_comes_back_with_each_entry_once(home, kind):
    def killing():
        """Kill the server between two batches, and twice at any moment."""
        for fields in readings(60_000):
            if fields["n"] == 10_500:
                kill_server(home)
            if fields["n"] in (20_000, 40_000):
                threading.Timer(0.005, kill_server, [home]).start()
            yield fields

    with connect() as client:
        first = server_pid(home)
        with kind(client, "s") as producer:
            assert producer.add_many(killing(), batch=500).count == 60_000
        assert server_pid(home) != first
        assert numbers(client) == list(range(60_000))


def test_a_server_killed_under_asyncio_comes_back_too(home):
    def killing():
        for fields in readings(3000):
            if fields["n"] % 1000 == 500:
                kill_server(home)
            yield fields

    async def run():
        async with connect_async() as client, AsyncProducer(client, "s") as producer:
            await producer.add_many(killing(), batch=100)

    asyncio.run(run())
    with connect() as client:
        assert numbers(client) == list(range(3000))


def server_pid(home):
    state = OwnServer(home).running()
    return state.pid if state else None


def kill_server(home):
    if pid := server_pid(home):
        os.kill(pid, signal.SIGKILL)


BATCHES = """
import itertools, sys, helpers
with getattr(helpers, sys.argv[1])(helpers.connect(), "s") as producer:
    for number in itertools.count():
        producer.add_many([{"n": number}] * 200, batch=200)
"""


@pytest.mark.parametrize("kind", ["Producer", "BulkProducer"])
def test_a_producer_that_is_killed_leaves_whole_batches(redis, kind):
    for _ in range(3):
        redis.delete("s")
        process = subprocess.Popen([sys.executable, "-c", BATCHES, kind])
        try:
            wait_until(lambda: redis.xlen("s") > 2000)
        finally:
            process.kill()
            process.wait()
        found = numbers(redis)
        assert found == [n for n in range(len(found) // 200) for _ in range(200)]


# ------------------------------------------------------------------ several at once


def test_several_producers_share_a_stream(redis):
    async def run():
        async with connect_async() as client:
            await asyncio.gather(*(fill(client, start) for start in range(0, 400, 100)))

    async def fill(client, start):
        async with AsyncProducer(client, "s") as producer:
            for number in range(start, start + 50):
                await producer.add({"n": number})
            await producer.add_many(readings(50, start + 50), batch=7)

    asyncio.run(run())
    found = numbers(redis)
    for start in range(0, 400, 100):
        assert [n for n in found if start <= n < start + 100] == list(range(start, start + 100))
    assert not redis.exists(MEMORY)


def test_tasks_may_share_a_producer(redis, proxy):
    async def run():
        async with connect_async() as client, AsyncProducer(client, "s") as producer:
            arm(proxy, {5: Fault.LOSE_REPLY, 12: Fault.CUT_BEFORE})
            return await asyncio.gather(*(producer.add({"n": n}) for n in range(20)))

    ids = asyncio.run(run())
    assert [entry.id for entry in scan(redis, "s")] == ids
    assert numbers(redis) == list(range(20))


def test_threads_may_share_a_producer(redis):
    with connect() as client, Producer(client, "s") as producer:
        threads = [
            threading.Thread(target=lambda: [producer.add({"n": n}) for n in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(numbers(redis)) == sorted(4 * list(range(50)))


# ------------------------------------------------------------------ what is appended


def test_an_explicit_id_is_kept(redis):
    with Producer(redis, "s") as producer:
        assert producer.add({"n": 0}, id="5-3") == EntryId(5, 3)
        assert producer.add({"n": 1}, id=EntryId(6)) == EntryId(6, 0)
        added = producer.add_many(Entry(EntryId(7, n), {"n": str(n)}) for n in range(5))
    assert added == Added(5, EntryId(7, 0), EntryId(7, 4))
    assert [str(entry.id) for entry in scan(redis, "s")][:3] == ["5-3", "6-0", "7-0"]


def test_the_ids_of_a_batch_follow_each_other(redis):
    redis.xadd("s", {"n": 0}, id="99999999999999-5")  # the clock is behind the stream
    with Producer(redis, "s") as producer:
        added = producer.add_many(readings(3, 1))
    assert added == Added(3, EntryId(99999999999999, 6), EntryId(99999999999999, 8))


def test_an_id_that_is_on_the_stream_already_is_refused(redis):
    with Producer(redis, "s") as producer:
        producer.add({"n": 0}, id="5-0")
        for taken in ("5-0", "4-9"):
            with pytest.raises(EntryIdError, match="'s' already has an entry with this ID or a la"):
                producer.add({"n": 1}, id=taken)
        assert producer.add({"n": 2}, id="5-1") == EntryId(5, 1)
    assert numbers(redis) == [0, 2]


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize(
    "items",
    [
        [Entry(EntryId(5), {"n": "0"}), Entry(EntryId(5), {"n": "1"})],
        [Entry(EntryId(5), {"n": "0"}), Entry(EntryId(4, 9), {"n": "1"})],
        [Entry(EntryId(5), {"n": "0"}), {"n": 1}],
        [{"n": 0}, Entry(EntryId(2**63), {"n": "1"})],
    ],
    ids=["equal", "backwards", "own, then the server's", "the server's, then own"],
)
def test_ids_that_do_not_grow_or_mix_are_refused(redis, items, batch):
    with Producer(redis, "s") as producer, pytest.raises(EntryIdError):
        producer.add_many(items, batch=batch)
    assert numbers(redis) == ([0] if batch == 1 else [])  # what came before is there


@pytest.mark.parametrize("id", ["0-0", "5-*", "$", "", "yesterday", "18446744073709551616-0"])
def test_what_is_no_id_is_refused(redis, id):
    with Producer(redis, "s") as producer, pytest.raises(EntryIdError):
        producer.add({"n": 0}, id=id)
    assert redis.keys("*s*") == [] or not redis.exists("s")


@pytest.mark.parametrize("id", ["*", "5-0"])
@pytest.mark.parametrize(
    "fields", [{}, "text", None, ["n", 0], {"n": None}, {"n": [1]}, {"n": True},
               {str(n): n for n in range(1001)}],
    ids=["none", "text", "None", "list", "value None", "value list", "value bool", "too many"],
)  # fmt: skip
def test_what_is_no_entry_is_refused_and_nothing_written(redis, fields, id):
    with Producer(redis, "s") as producer:
        with pytest.raises(StreamsError, match=r"pass a dict of 1 to 1000 fields|text or numbers"):
            producer.add(fields, id=id)
        producer.add({"n": 0}, id=id)  # and the producer is as good as before
    assert numbers(redis) == [0]


def test_as_many_fields_as_promised_arrive(redis):
    fields = {str(n): str(n) for n in range(1000)}
    with Producer(redis, "s") as producer:
        producer.add_many([fields] * 3)
    assert [entry.fields for entry in scan(redis, "s")] == [fields] * 3


def test_a_key_that_holds_no_stream_is_left_alone(redis):
    redis.set("s", "no stream")
    with (
        pytest.raises(StreamsError, match="'s' is not a stream"),
        Producer(redis, "s") as producer,
    ):
        producer.add({"n": 0})
    assert redis.get("s") == "no stream"
    assert not redis.exists(MEMORY)


def test_nothing_to_add_adds_nothing(redis):
    with Producer(redis, "s") as producer:
        assert producer.add_many([]) == Added(0, FIRST, FIRST)
    assert not redis.exists("s")


def test_a_generator_is_read_as_the_batches_go(redis):
    seen = []

    def items():
        for fields in readings(10):
            seen.append(redis.xlen("s"))
            yield fields

    with Producer(redis, "s") as producer:
        producer.add_many(items(), batch=4)
    assert seen == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_a_generator_that_fails_leaves_the_batches_before_it(redis):
    def items():
        yield from readings(5)
        raise RuntimeError("the sensor broke")

    with pytest.raises(RuntimeError), Producer(redis, "s") as producer:
        producer.add_many(items(), batch=2)
    assert numbers(redis) == [0, 1, 2, 3]
    assert not redis.exists(MEMORY)


@pytest.mark.parametrize("rate", [50, 2000, 1e9])
def test_a_rate_changes_neither_count_nor_order(redis, rate):
    with Producer(redis, "s") as producer:
        assert producer.add_many(readings(12), rate=rate).count == 12
    assert numbers(redis) == list(range(12))


@pytest.mark.parametrize(
    "pace", [{"batch": 0}, {"batch": -1}, {"rate": 0}, {"rate": -5}, {"rate": float("nan")},
             {"rate": float("inf")}],
    ids=str,
)  # fmt: skip
def test_a_pace_that_is_none_is_refused(redis, pace):
    with Producer(redis, "s") as producer, pytest.raises(StreamsError, match="above zero"):
        producer.add_many(readings(1), **pace)
    assert not redis.exists("s")


# ------------------------------------------------------------------ what the server remembers


def test_the_server_remembers_a_producer_until_it_is_closed(redis):
    producer = Producer(redis, "s")
    producer.add({"n": 0})
    assert redis.hlen(MEMORY) == 1
    assert 0 < redis.ttl(MEMORY) <= 86_400
    producer.close()
    assert not redis.exists(MEMORY)


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings", "again"),
    [
        ({}, True),  # redis-py's default
        ({"retry": Retry(NoBackoff(), 0)}, False),
        ({"retry": None}, False),
        ({"retry": None, "retry_on_error": [redis_py.TimeoutError]}, True),
    ],
    ids=["default", "no retries", "none", "on time-outs"],
)
def test_it_is_known_which_clients_send_again(settings, again):
    assert sends_again(redis_py.Redis(**settings)) is again
    assert sends_again(redis_py.asyncio.Redis(**settings)) is again


# ------------------------------------------------------------------ a note that is gone


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("kind", [Producer, BulkProducer])
def test_without_its_note_nothing_is_added_twice_and_the_producer_says_so(
    redis, kind, at, monkeypatch
):
    """Finding A4: the note was evicted before a batch was sent again."""
    redis.script_load(APPEND)
    with Proxy() as proxy, proxy.connect() as client:
        producer = kind(client, "s")
        for number in range(1, at):
            producer.add_many([{"n": number}])
        proxy.arm(Fault.LOSE_REPLY, ("EVALSHA", 3 - at) if kind is Producer else "EXEC")
        with monkeypatch.context() as patch:  # while it waits before it tries again
            patch.setattr(time, "sleep", lambda _: redis.delete("{s}:producers"))
            with pytest.raises(NotConfirmedError, match="lost what it noted of this prod") as lost:
                producer.add_many([{"n": at}])
        assert (lost.value.confirmed, lost.value.stream) == (0, "s")
        producer.add_many([{"n": at + 1}])
        producer.close()
    assert numbers(redis) == list(range(1, at + 2))


def test_old_notes_go_one_by_one(redis):
    """Finding B4: 300 producers that were never closed stayed as long as another one wrote."""
    for number in range(300):
        redis.hset("{s}:producers", f"old {number}", f"1 1-0 @{1_700_000_000 + number}")
    with Producer(redis, "s") as producer:
        for number in range(600):
            producer.add({"n": number})
        assert redis.hlen("{s}:producers") < 30
