"""The proxy: each fault hits the command that it is meant for, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import warnings

import psutil
import pytest
import redis as redis_py
from redis.exceptions import ConnectionError as LostError

from helpers import connect
from helpers.chaos import CLIENT, LOSSES, Fault, Proxy, Returned, start
from helpers.course.errors import CourseError
from tests import fronts
from tests.fronts import blocked, in_background
from tests.waiting import LIMIT_S, until

pytestmark = pytest.mark.once


@pytest.fixture
def proxy(redis):
    with Proxy() as proxy:
        yield proxy


quiet = fronts.quiet


@pytest.fixture
def client(proxy):
    with proxy.connect() as client:
        yield client


def group(redis):
    redis.xgroup_create("s", "g", "0", mkstream=True)


# ------------------------------------------------------------------ without faults


def test_without_faults_nothing_changes(redis, client):
    assert client.set("k", "ö")
    assert client.get("k") == "ö"
    assert client.get("nothing") is None
    client.xadd("s", {"a": "1"}, id="1-0")
    assert client.xread({"s": "0"}) == {"s": [("1-0", {"a": "1"})]}
    with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
        client.lpop("s")
    big = "x" * 3_000_000
    client.set("big", big)
    assert client.get("big") == big
    assert client.hgetall("nothing") == {}
    assert client.eval("redis.setresp(3); return false", 0) is False


def test_a_plain_client_of_its_url_goes_through_it(redis, proxy):
    with redis_py.Redis.from_url(proxy.url) as plain:
        plain.xlen("s")
    assert proxy.names == ["XLEN"]


def test_it_sees_the_commands_of_an_asyncio_client(redis, proxy):
    async def run():
        async with proxy.connect_async() as client:
            await client.xadd("s", {"a": "1"}, id="1-0")
            await client.xread({"s": "0"})

    asyncio.run(run())
    assert proxy.names == ["XADD", "XREAD"]


def test_pipelines_and_transactions_work_and_each_of_their_commands_counts(redis, proxy, client):
    for transaction in (False, True):
        proxy.reset()
        with client.pipeline(transaction=transaction) as pipeline:
            pipeline.set("n", 1).incrby("n").get("n")
            assert pipeline.execute() == [True, 2, "2"]
        names = ["SET", "INCRBY", "GET"]
        assert proxy.names == (["MULTI", *names, "EXEC"] if transaction else names)


def test_a_transaction_that_another_client_disturbs_is_refused(redis, client):
    with client.pipeline() as pipeline:
        pipeline.watch("n")
        redis.set("n", 1)
        pipeline.multi()
        pipeline.set("n", 2)
        with pytest.raises(redis_py.WatchError):
            pipeline.execute()


def test_published_messages_and_monitored_commands_pass(redis, client):
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=LIMIT_S)["type"] == "subscribe"
        redis.publish("news", "hello")
        assert pubsub.get_message(timeout=LIMIT_S)["data"] == "hello"
        pubsub.subscribe("more")
        assert pubsub.get_message(timeout=LIMIT_S)["channel"] == "more"
    with client.monitor() as monitor:
        redis.echo("heard")
        assert until(lambda: "heard" in monitor.next_command()["command"])


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b":1\r\n", b"*1\r\n*0\r\n", b"*0\r\n"])
def test_what_is_no_command_is_hung_up_on(proxy, said):
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(said)
        raw.settimeout(LIMIT_S)
        assert raw.recv(100) == b""


# ------------------------------------------------------------------ which command


def test_a_number_means_that_command_from_now_on_whatever_opens_the_connection(redis, proxy):
    proxy.arm(Fault.CUT_BEFORE, at=3)
    with connect_through(proxy) as client:
        client.set("a", 1)
        client.set("b", 1)
        with pytest.raises(LostError):
            client.set("c", 1)
        client.set("d", 1)
    assert sorted(redis.keys("?")) == ["a", "b", "d"]
    assert proxy.commands == [["SET", one, "1"] for one in "abcd"]
    proxy.arm(Fault.CUT_BEFORE, at=2)
    with connect_through(proxy) as client:
        assert client.get("a") == "1"
        with pytest.raises(LostError):
            client.get("a")


def connect_through(proxy):
    """A client as `connect()` makes it, which asks the server who it is first."""
    before = os.environ.get("REDIS_URL")
    os.environ["REDIS_URL"] = proxy.url
    try:
        return connect()
    finally:
        os.environ.pop("REDIS_URL")
        if before:
            os.environ["REDIS_URL"] = before


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("XADD", ["2-0", "3-0"]),
        ("xadd", ["2-0", "3-0"]),
        (("XADD", 2), ["1-0", "3-0"]),
        (1, ["1-0", "2-0", "3-0"]),
        (3, ["1-0", "3-0"]),
        ("XGROUP", ["1-0", "2-0", "3-0"]),
        ("XGROUP CREATE", ["1-0", "2-0", "3-0"]),
        (("XADD", 4), ["1-0", "2-0", "3-0"]),
        ("XGROUP DESTROY", ["1-0", "2-0", "3-0"]),
        ("DEL", ["1-0", "2-0", "3-0"]),
    ],
)
def test_a_name_means_that_command(redis, proxy, client, at, left):
    proxy.arm(Fault.CUT_BEFORE, at=at)
    with contextlib.suppress(LostError):
        client.xgroup_create("s", "g", mkstream=True)
    for number in (1, 2, 3):
        with contextlib.suppress(LostError):
            client.xadd("s", {"a": "1"}, id=f"{number}-0")
    assert [entry_id for entry_id, _ in redis.xrange("s")] == left


def test_a_name_may_mean_what_opens_a_connection(redis, proxy):
    for at in ("HELLO", "CLIENT SETINFO", ("CLIENT SETINFO", 2)):
        proxy.arm(Fault.CUT_BEFORE, at=at)
        with proxy.connect() as client:
            with pytest.raises(LostError):
                client.ping()
            assert client.ping()


def test_several_faults_strike_one_after_the_other_and_each_once(redis, proxy, client):
    proxy.arm(Fault.LOSE_REPLY, at=1)
    proxy.arm(Fault.CUT_BEFORE, at=2)
    proxy.arm(Fault.LOSE_REPLY, at=("INCRBY", 3))
    for _ in range(3):
        with pytest.raises(LostError):
            client.incr("n")
    assert client.incr("n") == 3


def test_reset_disarms_and_forgets(redis, proxy, client):
    client.ping()
    proxy.arm(Fault.LOSE_REPLY, at="PING")
    proxy.reset()
    assert client.ping()
    assert proxy.names == ["PING"]
    assert repr(proxy) == f"a proxy on port {proxy.port}, 1 commands seen"


@pytest.mark.parametrize("at", [0, -1, ("XADD", 0)])
def test_a_command_that_cannot_come_is_refused(proxy, at):
    with pytest.raises(CourseError, match="counted from 1"):
        proxy.arm(Fault.LOSE_REPLY, at=at)


# ------------------------------------------------------------------ the faults


@pytest.mark.parametrize("fault", LOSSES)
def test_a_lost_connection_and_what_the_server_knows_of_the_command(redis, proxy, client, fault):
    proxy.arm(fault, at="XADD")
    with pytest.raises(LostError):
        client.xadd("s", {"a": "1"}, id="1-0")
    assert redis.xlen("s") == (1 if fault is Fault.LOSE_REPLY else 0)
    assert client.ping()
    assert proxy.deliver() == (["1-0"] if fault is Fault.HOLD else [])
    assert redis.xlen("s") == (0 if fault is Fault.CUT_BEFORE else 1)
    assert proxy.deliver() == []


def test_what_is_held_can_be_delivered_before_another_command(redis, proxy, client):
    proxy.arm(Fault.HOLD, at="XADD")
    proxy.deliver_at("XLEN")
    with pytest.raises(LostError):
        client.xadd("s", {"a": "1"}, id="1-0")
    assert not client.exists("s")
    assert client.xlen("s") == 1


def test_a_fault_inside_a_transaction_and_one_inside_a_pipeline(redis, proxy, client):
    for transaction, count in ((True, 0), (False, 1)):
        proxy.arm(Fault.CUT_BEFORE, at=("INCRBY", 2))
        with client.pipeline(transaction=transaction) as pipeline:
            pipeline.incr("n").incr("n").incr("n")
            with pytest.raises(LostError):
                pipeline.execute()
        assert int(redis.get("n") or 0) == count


def test_a_lost_exec_reply_leaves_all_done(redis, proxy, client):
    proxy.arm(Fault.LOSE_REPLY, at="EXEC")
    with client.pipeline() as pipeline:
        pipeline.incr("n").incr("n")
        with pytest.raises(LostError):
            pipeline.execute()
    assert redis.get("n") == "2"


def test_a_delayed_reply_comes_late_and_the_command_at_once(redis, proxy, client):
    proxy.arm(Fault.DELAY, at="INCRBY", seconds=600)
    late, told = in_background(lambda: client.incr("n"))
    assert until(lambda: redis.get("n") == "1")
    assert client.ping()
    assert told == []
    proxy.cut()
    late.join()
    assert isinstance(told[0], LostError)
    proxy.arm(Fault.DELAY, at="INCRBY", seconds=0.01)
    assert client.incr("n") == 2


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_a_frozen_command_waits_and_others_go_on(redis, proxy, client, fault):
    proxy.arm(fault, at="INCRBY")
    assert not proxy.frozen(0.01)
    waiting, told = in_background(lambda: client.incr("n"))
    assert proxy.frozen()
    assert redis.exists("n") == (fault is Fault.FREEZE_AFTER)
    assert client.ping()
    assert told == []
    proxy.thaw()
    waiting.join()
    assert told == [1]
    assert not proxy.frozen(0)
    assert client.incr("n") == 2


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_a_process_can_be_killed_between_any_two_commands(redis, proxy, fault):
    def three_steps(client):
        for number in (1, 2, 3):
            client.rpush("steps", number)

    for number in (1, 2, 3):
        redis.delete("steps")
        proxy.reset()
        proxy.arm(fault, at=number)
        with start(three_steps, CLIENT, url=proxy.url) as process:
            assert proxy.frozen()
            process.kill()
        proxy.thaw()
        assert len(proxy.names) == number
        done = number if fault is Fault.FREEZE_AFTER else number - 1
        assert redis.lrange("steps", 0, -1) == [str(n) for n in range(1, done + 1)]


def test_a_zombie_can_act_after_its_work_was_claimed(redis, proxy):
    def handle(client):
        [(entry_id, _)] = client.xreadgroup("g", "bob", {"s": ">"})["s"]
        client.rpush("done", entry_id)
        return client.xack("s", "g", entry_id)

    group(redis)
    redis.xadd("s", {"a": "1"}, id="1-0")
    proxy.arm(Fault.FREEZE_BEFORE, at="RPUSH")
    with start(handle, CLIENT, url=proxy.url) as bob:
        assert proxy.frozen()
        assert redis.xclaim("s", "g", "alice", 0, ["1-0"]) == [("1-0", {"a": "1"})]
        redis.rpush("done", "1-0")
        assert redis.xack("s", "g", "1-0") == 1
        proxy.thaw()
        assert bob.outcome(LIMIT_S) == Returned(0)
    assert redis.lrange("done", 0, -1) == ["1-0", "1-0"]


def test_a_client_that_gives_up_while_frozen_has_sent_nothing(redis, proxy, client):
    proxy.arm(Fault.FREEZE_BEFORE, at="INCRBY")
    waiting, told = in_background(lambda: client.incr("n"))
    assert proxy.frozen()
    client.connection_pool.disconnect()
    waiting.join()
    assert isinstance(told[0], LostError)
    proxy.thaw()
    assert client.ping()
    assert not redis.exists("n")


# ------------------------------------------------------------------ the server, and the end


def test_it_ends_with_its_block_and_leaves_nothing_open(redis):
    def everything():
        with Proxy() as proxy, proxy.connect() as client, proxy.connect() as other:
            waiting, _ = in_background(lambda: client.xread({"s": "$"}, block=0))
            assert until(lambda: proxy.names == ["XREAD"])
            proxy.arm(Fault.HOLD, at="XADD")
            with pytest.raises(LostError):
                other.xadd("s", {"a": "1"})
            proxy.arm(Fault.FREEZE_AFTER, at="PING")
            frozen, _ = in_background(other.ping)
            assert proxy.frozen()
        waiting.join()
        frozen.join()
        proxy.close()
        proxy.cut()
        assert proxy.deliver() == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port))
        del waiting, frozen
        gc.collect()

    everything()
    threads, before = threading.active_count(), psutil.Process().num_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything()
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() == before
    assert blocked(redis) == 0


def test_many_connections_at_once(redis, proxy):
    def work():
        with proxy.connect() as client:
            for _ in range(50):
                client.incr("n")

    workers = [in_background(work)[0] for _ in range(8)]
    for worker in workers:
        worker.join()
    assert redis.get("n") == "400"
    assert proxy.names == ["INCRBY"] * 400


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit", "del proxy"])
def test_one_that_was_never_closed_ends_quietly_with_python(redis, ending):
    source = (
        "from helpers.chaos import Proxy\n"
        "proxy = Proxy(); redis = proxy.connect(); redis.ping(); pubsub = redis.pubsub()\n"
        f"pubsub.subscribe('news'); pubsub.get_message(timeout=5)\n{ending}\n"
    )
    told = subprocess.run(
        [sys.executable, "-W", "always", "-c", source],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert (told.stdout, told.stderr) == ("", "")
