"""All runs unchanged on a Redis Cluster: keys that are changed together share a hash slot.

A real cluster of one node, which refuses what names keys of two slots. What it lets pass, a
script that touches keys it does not name, is looked for in what MONITOR saw.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import NamedTuple

import pytest
import redis as redis_py

from helpers import Consumer, DeadLetters, Group, Producer, Reader
from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    SET_ASIDE,
    AggregatingConsumer,
    AveragesConsumer,
    begin_anew,
)
from helpers.chaos import Proxy, SpareServer
from helpers.course.database import claim, clean
from helpers.course.errors import ServerError
from helpers.course.keys import MARK
from helpers.partitions import (
    PartitionProducer,
    Reading,
    fill,
    filling,
    partitions,
    start_of,
)
from helpers.partitions import readings as demo

SHORT = 100  # seconds of a day
FILLED, WRITTEN = date(2100, 2, 1), date(2100, 1, 1)
HOUR = 3_600_000
TRIES = 3


class Seen(NamedTuple):
    """What passed while everything was at work: commands, and what scripts did, by MONITOR."""

    commands: list[list[str]]
    monitored: list[tuple[bool, list[str]]]


# ------------------------------------------------------------------ the cluster


@pytest.fixture(scope="module")
def server():
    """A cluster of one node, which has all slots."""
    for left in reversed(range(TRIES)):
        with suppress(*([ServerError] if left else [])):  # somebody else took the port
            server = SpareServer("--cluster-enabled yes", f"--cluster-port {free_port()}")
            break
    with server:
        with server.connect() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
                time.sleep(0.02)
        yield server


@pytest.fixture(scope="module")
def cluster(server):
    """A plain client of the cluster, which the course has taken."""
    claim(server.url)
    with server.connect() as client:
        yield client


@pytest.fixture(scope="module")
def seen(server, cluster):
    """Everything was at work once, and this is what passed."""
    end = "that was everything"
    with Proxy(server.url) as proxy, cluster.monitor() as monitor:
        with proxy.connect() as client, pytest.MonkeyPatch.context() as patch:
            for module in (filling, demo):
                patch.setattr(module, "SECONDS_A_DAY", SHORT)
            write_partitions(client)
            average(client)
            consume(client)
        cluster.echo(end)
        monitored = []
        while end not in (one := monitor.next_command())["command"]:
            name, *words = one["command"].split(" ")
            monitored.append((one["client_type"] == "lua", [name.upper(), *words]))
        return Seen(proxy.commands, monitored)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


# ------------------------------------------------------------------ everything at work


def write_partitions(client: redis_py.Redis) -> None:
    """Two days of readings, of which one is late and one is broken; and two days of a fill."""
    begins = start_of(WRITTEN)
    with PartitionProducer(client, name="roof") as producer:
        producer.add_many(Reading(begins + HOUR * n, n, "roof") for n in range(30))
        producer.add_many([Reading(begins + 24 * HOUR, 1), Reading(begins + 30 * HOUR, "warm")])
        assert producer.written(WRITTEN) == 24
    assert [one.length for one in fill(client, start=FILLED, days=2)] == [SHORT, SHORT]
    assert [one.length for one in fill(client, start=FILLED, days=2)] == [SHORT, SHORT]


def average(client: redis_py.Redis) -> None:
    """All the averages there are, from the beginning and once more."""

    def late() -> datetime:
        return datetime(2100, 2, 4, tzinfo=UTC)

    for _ in range(2):
        AggregatingConsumer(client, start="temps:21000101", clock=late, say=ignore).run(drain=True)
        AveragesConsumer(client, show=ignore, say=ignore).run(drain=True)
    begin_anew(client, "temps:21000102")
    AggregatingConsumer(client, page=7, clock=late, say=ignore).run(drain=True)
    AveragesConsumer(client, show=ignore, say=ignore).run(drain=True)


def consume(client: redis_py.Redis) -> None:
    """Entries of a stream, read by name and in a group, with an effect and a dead letter."""

    def handle(entry):
        if entry.fields["n"] == "3":
            raise ValueError(entry.id)
        return [("HINCRBY", "{chennai}:totals", "count", 1)]

    with Producer(client, "chennai") as producer:
        producer.add_many({"n": n} for n in range(5))
    with Reader(client, "chennai", start="0", name="display") as reader:
        assert len(reader.read()) == 5
        reader.commit()
    Group(client, "chennai", "mygroup").create("0")
    Consumer(client, "chennai", "mygroup", handle, name="alice", max_deliveries=1, batch=1).run(
        drain=True
    )
    letters = DeadLetters(client, "chennai", "mygroup")
    assert len(letters) == 1
    letters.replay_all()


def ignore(_: object) -> None:
    pass


# ------------------------------------------------------------------ the tests


def keys_of(cluster: redis_py.Redis, command: list[str]) -> list[str]:
    """The keys that a command names, by COMMAND GETKEYS."""
    try:
        return list(map(str, cluster.command_getkeys(*command)))
    except redis_py.ResponseError as error:
        if "no key arguments" not in str(error):
            raise
        return []


def touched_by(command: list[str]) -> list[str]:
    """The same of a command that MONITOR saw, of which the spaces may be lost."""
    match command:
        case ["TIME" | "COMMAND" | "INFO", *_]:
            return []
        case ["DEL", *keys]:
            return keys
        case ["XINFO" | "XGROUP", _, key, *_]:
            return [key]
    return command[1:2]


def test_a_cluster_does_all_that_one_server_does(cluster, seen):
    assert partitions(cluster) == [
        *("temps:21000101", "temps:21000102"), *("temps:21000201", "temps:21000202"),
    ]  # fmt: skip
    days = [cluster.xrange(key) for key in partitions(cluster)]
    assert [len(day) for day in days] == [24, 8, SHORT, SHORT]
    assert days[1][-2][1] == {"at": str(start_of(WRITTEN) + 24 * HOUR), "temp_f": "1"}
    hours = [int(one["hour"]) for _, one in cluster.xrange(AVERAGES)]
    assert hours == [*range(6), 0, 0]
    aside = [one["temp_f"] for _, one in cluster.xrange(SET_ASIDE)]
    assert aside == ["1", "warm"]
    assert cluster.hget(AGGREGATING_STATE, "num_averages") == "8"
    assert cluster.hget(AVERAGES_STATE, "last_message_id") == cluster.xrevrange(AVERAGES)[0][0]
    assert cluster.hgetall("{chennai}:totals") == {"count": "4"}
    assert cluster.xpending("chennai", "mygroup")["pending"] == 1


def test_the_keys_of_a_command_share_a_hash_slot(cluster, seen):
    together = set()
    for command in seen.commands:
        keys = keys_of(cluster, command)
        assert len({cluster.execute_command("CLUSTER KEYSLOT", key) for key in keys}) <= 1, command
        if len(keys) > 1:
            together.add(tuple(keys))
    for key in ("temps:21000101", "temps:21000202"):
        assert (key, f"{{{key}}}:written") in together
    assert (AGGREGATING_STATE, AVERAGES) in together
    assert (AGGREGATING_STATE, AVERAGES, SET_ASIDE) in together or (
        AGGREGATING_STATE, SET_ASIDE, AVERAGES) in together  # fmt: skip
    assert (AGGREGATING_STATE, AVERAGES, AVERAGES_STATE, SET_ASIDE) in together
    assert any("chennai" in keys and "{chennai}:totals" in keys for keys in together)


def test_a_transaction_stays_in_one_hash_slot(cluster, seen):
    """None of what was at work sends one today; whatever will, is looked at."""
    slots: set[int] = set()
    for command in seen.commands:
        if command[0] in ("MULTI", "WATCH"):
            slots = set()
        slots |= {
            cluster.execute_command("CLUSTER KEYSLOT", key) for key in keys_of(cluster, command)
        }
        assert command[0] != "EXEC" or len(slots) <= 1


def test_a_script_touches_no_key_but_those_that_it_names(seen):
    named: list[str] = []
    touched = set()
    for by_script, command in seen.monitored:
        if by_script:
            keys = touched_by(command)
            assert set(keys) <= set(named), command
            touched.update(keys)
        elif command[0] == "EVALSHA":
            named = command[3 : 3 + int(command[2])]
    assert {"temps:21000101", "{temps:21000101}:written", AGGREGATING_STATE, AVERAGES} <= touched


def test_a_cluster_is_cleaned_like_one_server(cluster, seen):
    clean(cluster, *partitions(cluster), AVERAGES, "chennai")
    left = set(cluster.scan_iter()) - {MARK, "reader:display", "{reader:display}:known"}
    assert left == set()
