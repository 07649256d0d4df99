"""Lives of workers, of this version or of the one before, each a process: `python upgrade.py …`.

It imports only what both have, from the `helpers` that PYTHONPATH names, and makes its clients
itself. Each life goes on from what it finds on the server, until it is killed or has all done.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers import BulkProducer, Consumer, Producer, Reader

STREAM, GROUP = "s", "g"
SETTINGS: dict[str, Any] = {"decode_responses": True, "legacy_responses": False,
                            "socket_timeout": 5.0}  # fmt: skip


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, **SETTINGS, retry=Retry(NoBackoff(), 0))


def clock(client: redis.Redis) -> datetime:
    """Until when all readings are there."""
    return datetime.fromtimestamp(int(client.get("clock") or 0) / 1000, UTC)


def produce(client: redis.Redis, first: str) -> None:
    """Entries with numbers from here on, every other one in bulk, until it is enough."""
    number = int(first)
    with Producer(client, STREAM) as one, BulkProducer(client, STREAM) as other:
        while not client.exists("enough"):
            one.add({"n": number})
            other.add_many([{"n": number + 1}])
            number += 2
            time.sleep(0.01)
    client.sadd("produced", *range(int(first), number))


def counting(client: redis.Redis) -> Any:
    """A handler that counts each entry, as an effect; every tenth fails at first."""

    def handle(entry: Any) -> Any:
        time.sleep(0.001)
        number = int(entry.fields["n"])
        if number % 10 == 3 and client.sadd("failed", number):
            raise RuntimeError("at first")
        return ("HINCRBY", "counted", str(number), 1)

    return handle


def consume(client: redis.Redis, name: str) -> None:
    settings: Any = {"batch": 7, "block_ms": 50, "min_idle_ms": 600, "max_deliveries": 20}
    Consumer(client, STREAM, GROUP, counting(client), name=name, **settings).run()


def read(client: redis.Redis) -> None:
    with Reader(client, STREAM, start="0", name="r") as reader:
        for _, entry in reader:
            client.rpush("read", entry.fields["n"])


def fill(client: redis.Redis) -> None:
    """A reading every five minutes, on from those that a life before has written."""
    from helpers.partitions import DEMO_START, PartitionProducer, Reading, start_of

    with PartitionProducer(client, name="filler") as producer:
        days = [DEMO_START + timedelta(days=day) for day in range(20)]
        number = sum(map(producer.written, days))
        while not client.exists("enough"):
            at = start_of(DEMO_START) + number * 300_000
            producer.add_many([Reading(at, (7 * number) % 100)])
            client.set("clock", at)
            number += 1
            time.sleep(0.01)
    client.set("filled", number)


def aggregate(client: redis.Redis) -> None:
    from helpers.averages import AggregatingConsumer
    from helpers.partitions import DEMO_START, partition_key

    start, now = partition_key(DEMO_START), lambda: clock(client)
    AggregatingConsumer(client, start=start, clock=now, say=len, page=20).run()


def show(client: redis.Redis) -> None:
    from helpers.averages import AveragesConsumer

    AveragesConsumer(client, show=lambda one: client.rpush("shown", str(one.id)), say=len).run()


def publish(client: redis.Redis, feed: str, since: str) -> None:
    from helpers.wiki import Feed, Publisher

    async def live() -> None:
        async with async_client_of(client) as other:
            given = Feed(feed, since=datetime.fromisoformat(since))
            await Publisher(other, given, through="stream").run()

    asyncio.run(live())


def subscribe(client: redis.Redis, name: str, now: str) -> None:
    from helpers.wiki import Subscriber

    async def live() -> None:
        given: dict[str, Any] = {"name": name, "batch": 20, "block_ms": 50, "min_idle_ms": 600}
        async with async_client_of(client) as other:
            moment = datetime.fromisoformat(now)
            await Subscriber(other, through="stream", clock=lambda: moment, **given).run()

    asyncio.run(live())


def async_client_of(client: redis.Redis) -> redis.asyncio.Redis:
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    return redis.asyncio.Redis.from_url(url, **SETTINGS, retry=retry)


if __name__ == "__main__":
    role, url, *words = sys.argv[1:]
    vars()[role](client_of(url), *words)
