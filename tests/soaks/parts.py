"""What the processes of the cluster's soak do: two producers, the workers of parts, consumers.

A producer adds rounds, and notes in a file how many are confirmed: 12 digits, always in one place.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from helpers.chaos.cluster import RETRIES
from helpers.cluster import Parts, PartsProducer, PartsWorker
from helpers.course.connect import settings
from helpers.streams import Consumer, Entry, Producer
from helpers.streams.keys import sibling_key
from helpers.streams.signals import stopping

WEATHER, GROUP = Parts("weather", 6), "g"
PAIR = "chennai"
SEEN = sibling_key(PAIR, "seen")  # number → how often its effect happened
LEASE_MS, MIN_IDLE_MS = 2000, 2000
DELIVERIES = 10  # so many deaths in a row hit no entry by chance
SILENT_S = 2.0  # so long a reply is waited for
PATIENCE_S = 100.0


@dataclass(frozen=True)
class Nodes:
    """Where a cluster is."""

    ports: tuple[int, ...]
    password: str

    def connect(self) -> redis.RedisCluster:
        """A client of it."""
        nodes = [redis.cluster.ClusterNode("127.0.0.1", one) for one in self.ports]
        retry = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), RETRIES)
        return redis.RedisCluster(startup_nodes=nodes, retry=retry, **self._settings())

    def connect_async(self) -> redis.asyncio.RedisCluster:
        """The same for asyncio."""
        nodes = [redis.asyncio.cluster.ClusterNode("127.0.0.1", one) for one in self.ports]
        retry = AsyncRetry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), RETRIES)
        return redis.asyncio.RedisCluster(startup_nodes=nodes, retry=retry, **self._settings())

    def _settings(self) -> dict[str, Any]:
        mine = {"password": self.password, "require_full_coverage": False}
        return settings() | mine | {"socket_timeout": SILENT_S}


@dataclass(frozen=True)
class Task:
    """What a producer is told.

    Attributes:
        keys: how many there are; each round has one entry of each.
        rate: rounds a second; 0 for as many as it can.
        replicas: how many must have a round.
        file: where it notes how many rounds are confirmed.
    """

    nodes: Nodes
    keys: int
    rate: int
    replicas: int
    file: Path

    def noted(self) -> int:
        """How many rounds are confirmed."""
        return int(self.file.read_text() or 0) if self.file.exists() else 0


def cities(count: int) -> list[str]:
    """The keys."""
    return [f"c{n}" for n in range(count)]


def fill_parts(task: Task) -> None:
    """Add a reading of each city, and one again, until SIGTERM."""
    every = cities(task.keys)
    wanted: dict[str, Any] = {"key": "city", "parts": WEATHER.count, "replicas": task.replicas}
    with PartsProducer(
        task.nodes.connect(), WEATHER.name, patience_s=PATIENCE_S, **wanted
    ) as producer:
        _rounds(task, lambda n: producer.add_many({"city": one, "n": n} for one in every))


def fill_pair(task: Task) -> None:
    """Add an entry, and one again, until SIGTERM."""
    with Producer(
        task.nodes.connect(), PAIR, patience_s=PATIENCE_S, replicas=task.replicas
    ) as producer:
        _rounds(task, lambda n: producer.add({"n": n}))


def _rounds(task: Task, add: Callable[[int], Any]) -> None:
    stopped = threading.Event()
    file, done = os.open(task.file, os.O_CREAT | os.O_WRONLY), 0
    with stopping(stopped.set):
        while not stopped.is_set():
            due = time.monotonic() + (1 / task.rate if task.rate else 0)
            add(done)
            done += 1
            os.pwrite(file, b"%012d" % done, 0)
            stopped.wait(max(0.0, due - time.monotonic()))


def effect(entry: Entry) -> tuple[str, str, str]:
    """The readings of a city, in the order in which they took effect."""
    city = entry.fields["city"]
    return ("RPUSH", order_key(city), entry.fields["n"])


def order_key(city: str) -> str:
    """Where that order is kept: in the slot of the city's part."""
    return sibling_key(WEATHER.of(city), city)


def work_on_parts(nodes: Nodes) -> None:
    """A worker of the parts, until SIGTERM."""

    async def live() -> None:
        async with nodes.connect_async() as client:
            await PartsWorker(
                client, WEATHER, GROUP, effect,
                lease_ms=LEASE_MS, max_deliveries=DELIVERIES, patience_s=PATIENCE_S,
            ).run(signals=True)  # fmt: skip

    asyncio.run(live())


def consume_pair(nodes: Nodes, name: str) -> None:
    """A consumer of the other stream, until SIGTERM."""
    Consumer(
        nodes.connect(), PAIR, GROUP, lambda entry: ("HINCRBY", SEEN, entry.fields["n"], 1),
        name=name, block_ms=200, min_idle_ms=MIN_IDLE_MS, max_deliveries=DELIVERIES,
        patience_s=PATIENCE_S,
    ).run()  # fmt: skip
