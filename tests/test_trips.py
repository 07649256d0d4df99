"""The counter of round trips counts what a client sends, and how often it waits for replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import BlockingConnectionPool, ConnectionPool, Redis, ResponseError

from helpers import BulkProducer, connect, connect_async
from helpers.bench.trips import Trips, counted, counted_async
from helpers.chaos import Fault, Proxy
from helpers.course.connect import connect_raw
from helpers.course.pace import patient


@pytest.fixture
def line(redis):
    """A client that counts, and its count."""
    client, trips = counted(redis)
    with client:
        yield SimpleNamespace(client=client, trips=trips)


def figures(trips: Trips) -> tuple[int, int, int]:
    return trips.trips, trips.commands, trips.most


def test_a_command_is_a_trip(line):
    for n in range(5):
        line.client.xadd("s", {"n": n})
    assert figures(line.trips) == (5, 5, 1)
    assert line.trips.sent_bytes == 5 * len(
        b"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nn\r\n$1\r\n0\r\n"
    )


@pytest.mark.parametrize(("transaction", "beside"), [(False, 0), (True, 2)])
def test_a_pipeline_is_one_trip(line, transaction, beside):
    pipeline = line.client.pipeline(transaction=transaction)
    for n in range(3000):  # more than one piece for the socket
        pipeline.xadd("s", {"n": n})
    assert figures(line.trips) == (0, 0, 0)
    pipeline.execute()
    assert figures(line.trips) == (1, 3000 + beside, 3000 + beside)
    line.client.xlen("s")
    assert figures(line.trips) == (2, 3001 + beside, 3000 + beside)


def test_big_values_and_several_values_in_one_command(line):
    line.client.xadd("s", {"text": "x" * 100_000})
    line.client.sadd("set", *range(100))
    assert figures(line.trips) == (2, 2, 1)
    assert line.trips.sent_bytes > 100_000


def test_a_refusal_is_an_answer(line):
    line.client.set("text", "no stream")
    with pytest.raises(ResponseError):
        line.client.xadd("text", {"n": 1})
    pipeline = line.client.pipeline()
    pipeline.xadd("text", {"n": 1}).xadd("s", {"n": 1})
    pipeline.execute(raise_on_error=False)
    line.client.ping()
    assert figures(line.trips) == (4, 7, 4)


def test_a_read_that_blocks_is_one_trip(line):
    assert line.client.xread({"s": "0"}, block=5) == {}
    assert figures(line.trips) == (1, 1, 1)


def test_what_opens_a_connection_does_not_count(line):
    line.client.connection_pool.disconnect()
    line.client.ping()
    line.client.connection_pool.disconnect()
    line.client.ping()
    assert figures(line.trips) == (2, 2, 1)


def test_reset(line):
    line.client.pipeline(transaction=False).ping().ping().execute()
    line.trips.reset()
    assert (*figures(line.trips), line.trips.sent_bytes) == (0, 0, 0, 0)
    line.client.ping()
    assert figures(line.trips) == (1, 1, 1)


def test_messages_of_a_channel_are_no_answers(line, redis):
    with line.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5) is None
        redis.publish("news", "one")
        redis.publish("news", "two")
        assert [pubsub.get_message(timeout=5)["data"] for _ in range(2)] == ["one", "two"]
        assert figures(line.trips) == (1, 1, 1)
        line.client.ping()
    assert figures(line.trips)[:2] == (2, 2)


def test_commands_packed_by_hand_are_counted(line):
    pool = line.client.connection_pool
    connection = pool.get_connection()
    packed = b"".join(connection.pack_commands([("XADD", "s", "*", "n", n) for n in range(50)]))
    for piece in (packed[:1001], packed[1001:]):  # the cut is inside a command
        connection.send_packed_command([piece], check_health=False)
    assert figures(line.trips) == (0, 50, 50)
    assert len({connection.read_response() for _ in range(50)}) == 50
    pool.release(connection)
    assert figures(line.trips) == (1, 50, 50)
    assert line.trips.sent_bytes == len(packed)


def test_the_bulk_producer_makes_a_trip_a_batch(line):
    with BulkProducer(line.client, "s") as producer:
        producer.add_many({"n": n} for n in range(1000))
        line.trips.reset()
        producer.add_many({"n": n} for n in range(3000))
        assert line.trips.trips == 3
        assert line.trips.commands > 3000


def test_a_retry_counts_and_what_was_lost_is_under_way_no_more(redis, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        with connect(retries=1) as plain:
            client, trips = counted(plain)
            client.ping()
            trips.reset()
            proxy.arm(Fault.LOSE_REPLY, at="XADD")
            with client:
                client.xadd("s", {"n": 1})
                assert redis.xlen("s") == 2
                assert figures(trips) == (2, 2, 1)


def test_the_other_client_has_the_same_settings_and_pool_of_its_own(redis):
    raw = connect_raw()
    client, trips = counted(raw)
    assert client.connection_pool is not raw.connection_pool
    with raw, client:
        client.xadd("s", {"n": 1})
        assert client.execute_command("XRANGE", "s", "-", "+")[0][1] == [b"n", b"1"]  # RESP2, bytes
        assert raw.ping()
        assert len({one["id"] for one in redis.client_list()}) >= 3
    assert figures(trips) == (2, 2, 1)
    assert not client.connection_pool._available_connections[0].is_connected


@pytest.mark.parametrize("kind", [ConnectionPool, BlockingConnectionPool])
def test_any_pool(redis, kind):
    settings = {**redis.connection_pool.connection_kwargs, "max_connections": 1}
    pool = kind(connection_class=redis.connection_pool.connection_class, **settings)
    client, trips = counted(Redis.from_pool(pool))
    with client:
        client.ping()
        assert type(client.connection_pool) is kind
        assert client.connection_pool.max_connections == 1
    assert figures(trips) == (1, 1, 1)


# ------------------------------------------------------------------ asyncio


def run(work: Callable[..., Any]) -> None:
    """Await `work(client, trips)`, with a client that counts."""

    async def main() -> None:
        async with connect_async() as plain:
            client, trips = counted_async(plain)
            async with client:
                await work(client, trips)

    asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(10)):
        while not true():  # noqa: ASYNC110 - what it waits for is on the server
            await asyncio.sleep(0.001)


def test_awaited_commands_and_pipelines(redis):
    async def work(client, trips):
        for n in range(3):
            await client.xadd("s", {"n": n})
        assert figures(trips) == (3, 3, 1)
        async with client.pipeline(transaction=False) as pipeline:
            for n in range(100):
                pipeline.xadd("s", {"n": n})
            await pipeline.execute()
        assert figures(trips) == (4, 103, 100)
        async with client.pipeline(transaction=True) as pipeline:
            await pipeline.xadd("s", {"n": 1}).execute()
        assert figures(trips) == (5, 106, 100)
        with pytest.raises(ResponseError):
            await client.execute_command("NO_SUCH_COMMAND")
        assert figures(trips) == (6, 107, 100)

    run(work)


def test_gathered_tasks_are_under_way_at_once(redis):
    async def work(client, trips):
        reads = [asyncio.create_task(client.xread({"s": "$"}, block=0)) for _ in range(7)]
        await until(lambda: redis.info("clients")["blocked_clients"] == 7)
        assert figures(trips) == (7, 7, 7)
        await client.xadd("s", {"n": 1})
        assert trips.most == 8
        await asyncio.gather(*reads)
        trips.reset()
        await client.ping()
        assert figures(trips) == (1, 1, 1)

    run(work)


def test_a_cancelled_command_is_under_way_no_more(redis):
    async def work(client, trips):
        read = asyncio.create_task(client.xread({"s": "$"}, block=0))
        await until(lambda: trips.trips == 1)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        await client.ping()
        assert figures(trips) == (2, 2, 1)

    run(work)
