"""A cluster of one's own: it is up at once, survives what befalls it, and ends with its maker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.chaos import LocalCluster, remote
from helpers.chaos.gate import sender_of
from helpers.course.errors import CourseError
from tests.waiting import until

pytestmark = pytest.mark.early

KEY = "chennai"


@pytest.fixture(scope="module")
def one():
    with LocalCluster(gates=True, node_timeout_ms=1000) as cluster:
        yield cluster


@pytest.fixture
def cluster(one):
    """The cluster of this file, whole again, and its slots with the primaries that began."""
    yield one
    one.heal()
    for node in one.nodes:
        one.resume(node)
        one.revive(node)
    one.wait_until_serving()
    one.wait_until_linked()


def added(client, value):
    """Add an entry, however often the client has to ask."""
    while True:
        try:
            return client.xadd(KEY, {"n": value})
        except redis_py.RedisError:
            time.sleep(0.02)


def succeeded(cluster, primary):
    """Whether another node serves the key instead."""
    with suppress(CourseError):  # none does for a while
        return cluster.primary_of(KEY) is not primary
    return False


def follows(cluster, node):
    """Whether a node follows the one that serves the key."""
    with suppress(CourseError):
        return node in cluster.replicas_of(cluster.primary_of(KEY))
    return False


def test_it_serves_and_every_replica_is_linked(cluster):
    looks = cluster.status()
    assert sorted(one.role for one in looks) == ["primary"] * 3 + ["replica"] * 3
    assert sum(high - low + 1 for one in looks for low, high in one.slots) == 16_384
    assert all(one.linked and one.behind == 0 for one in looks if one.role == "replica")
    with cluster.connect() as redis:
        for number in range(50):
            redis.set(f"key {number}", number)
        assert redis.get("key 49") == "49"
    other = next(one for one in cluster.nodes[:3] if one is not cluster.primary_of(KEY))
    with pytest.raises(redis_py.exceptions.MovedError):  # the client of a node follows nothing
        cluster.client(other).xlen(KEY)


def test_it_asks_for_a_password_and_listens_on_loopback_alone(cluster):
    node = cluster.nodes[0]
    with pytest.raises(redis_py.AuthenticationError):
        redis_py.Redis(port=node.listens, retry=Retry(NoBackoff(), 0)).ping()
    listening = {
        one.laddr.ip
        for one in psutil.Process(node.process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("how", ["kill", "pause", "cut"])
def test_a_replica_takes_over_from_a_primary_that_is_gone(cluster, how):
    with cluster.connect() as redis:
        before = added(redis, "before")
        primary = cluster.primary_of(KEY)
        assert cluster.client(primary).wait(1, 5000) == 1
        getattr(cluster, how)(primary)
        assert until(lambda: succeeded(cluster, primary))
        successor = cluster.client(cluster.primary_of(KEY))
        assert until(lambda: "cluster_state:ok" in successor.execute_command("CLUSTER", "INFO"))
        assert [entry_id for entry_id, _ in successor.xrange(KEY)][-1] == before
        successor.xadd(KEY, {"n": "after"})
    cluster.heal()
    cluster.resume(primary)
    cluster.revive(primary)
    assert until(lambda: follows(cluster, primary))
    cluster.wait_until_linked()
    assert cluster.client(primary).dbsize() > 0


def test_what_a_node_confirms_while_it_is_alone_is_lost(cluster):
    primary = cluster.primary_of(KEY)
    with cluster.client(primary) as alone:
        cluster.cut(primary, clients=False)
        kept = alone.xadd(KEY, {"n": "confirmed"})
        assert until(lambda: succeeded(cluster, primary))
        cluster.heal()
        cluster.wait_until_serving()
        cluster.wait_until_linked()
        assert cluster.client(cluster.primary_of(KEY)).xrange(KEY, kept, kept) == []


def test_a_failover_on_request_loses_nothing_that_was_confirmed(cluster):
    primary = cluster.primary_of(KEY)
    replica = cluster.replicas_of(primary)[0]
    with cluster.connect() as redis:
        redis.delete(KEY)
        ids = [added(redis, number) for number in range(50)]
        cluster.failover(replica)
        ids += [added(redis, number) for number in range(50)]
        assert cluster.primary_of(KEY) is replica, cluster.status()
        there = [entry_id for entry_id, _ in redis.xrange(KEY)]
    assert set(ids) <= set(there)


def test_a_slot_moves_with_its_stream_while_it_is_written_to(cluster):
    source = cluster.primary_of(KEY)
    nodes = [cluster.node(one.name) for one in cluster.status() if one.role == "primary"]
    target = next(node for node in nodes if node is not source)
    ids, moved = [], threading.Event()
    with cluster.connect() as redis:
        redis.delete(KEY)
        first = added(redis, "first")

        def write():
            while not moved.is_set():
                ids.append(added(redis, "n"))

        writing = threading.Thread(target=write)
        writing.start()
        assert until(lambda: len(ids) > 5)
        assert cluster.move(KEY, target) == 1
        moved.set()
        writing.join()
        assert cluster.primary_of(KEY) is target
        there = [entry_id for entry_id, _ in redis.xrange(KEY)]
    assert there == [first, *ids]


def test_bad_input_is_told_in_a_sentence(cluster):
    with pytest.raises(CourseError, match="three primaries at least"):
        LocalCluster(2)
    with pytest.raises(CourseError, match=r"no node 'n9'.*n1, n2"):
        cluster.kill("n9")
    replica = next(one.name for one in cluster.status() if one.role == "replica")
    with pytest.raises(CourseError, match="no primary"):
        cluster.move(KEY, replica)


@pytest.mark.parametrize(
    ("data", "sender"),
    [
        (b"RCmb" + bytes(36) + b"a" * 40 + bytes(99), "a" * 40),
        (b"*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$4\r\n7001\r\n", "7001"),
        (b"*1\r\n$4\r\nPING\r\n", "client"),
        (b"RCmb", "client"),
    ],
)
def test_a_gate_knows_who_sends(data, sender):
    assert sender_of(data) == sender


# ------------------------------------------------------------------ from a terminal


def course(*words):
    done = subprocess.run(
        [sys.executable, "-m", "helpers.cli", "cluster", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def test_other_terminals_ask_the_one_that_has_the_cluster(cluster, home):
    assert course("status") == (1, f"CourseError: {remote.START_IT}")
    with remote.Served(cluster) as served:
        code, table = course("status")
        assert code == 0
        assert [line.split()[0] for line in table.splitlines()[1:]] == [
            node.name for node in cluster.nodes
        ]
        assert course("start") == (
            1, "CourseError: A cluster is already running: `course cluster stop` ends it.",
        )  # fmt: skip
        replica = cluster.replicas_of(cluster.primary_of(KEY))[0].name
        assert course("failover", replica) == (0, f"{replica} is a primary now.")
        assert "There is no node 'n9'" in course("kill", "n9")[1]
        assert course("url") == (0, cluster.url)
        assert not served.stopped.is_set()
        assert course("stop")[0] == 0
        assert served.stopped.wait(5)
    assert not remote.runs()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_node_outlives_the_process_that_started_it(home, ending):
    terminal = subprocess.Popen(
        [sys.executable, "-m", "helpers.cli", "cluster", "start", "--replicas", "0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert terminal.stdout
    assert "3 nodes up" in terminal.stdout.readline()
    nodes = [one for one in psutil.Process(terminal.pid).children(True) if "server" in one.name()]
    assert len(nodes) == 3
    os.kill(terminal.pid, ending)
    terminal.wait(20)
    assert until(lambda: not any(one.is_running() and one.status() != "zombie" for one in nodes))
    if ending == signal.SIGINT:
        assert not (home / "cluster.json").exists()
