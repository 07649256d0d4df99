"""The line with distance: all arrives in its order, late by as much as was asked, and at once."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import warnings
from urllib.parse import urlsplit

import psutil
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as LostError

from helpers.chaos.distance import Distance
from helpers.course.errors import CourseError
from helpers.course.server import OwnServer
from tests.test_chaos_proxy import blocked, free_port, in_background, until

pytestmark = pytest.mark.once

LIMIT_S = 15.0
ROUND_TRIP_MS = 10


@pytest.fixture
def distance(redis):
    with Distance(ROUND_TRIP_MS) as distance:
        yield distance


@pytest.fixture
def client(distance):
    with distance.connect() as client:
        client.ping()  # its connection is open
        yield client


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """What fails unseen in the line's thread, asyncio writes to its log."""
    yield
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert [record.getMessage() for record in records] == []


def took_ms(work):
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def ping_one_by_one(client, count):
    for _ in range(count):
        client.ping()


def log_in(raw, url):
    password = urlsplit(url).password or ""
    raw.sendall(f"*2\r\n$4\r\nAUTH\r\n${len(password)}\r\n{password}\r\n".encode())


# ------------------------------------------------------------------ what it costs


def test_each_command_waits_the_whole_way(distance, client):
    before = distance.turns
    assert took_ms(lambda: ping_one_by_one(client, 10)) >= 10 * ROUND_TRIP_MS
    assert distance.turns - before == 10


def test_a_pipeline_waits_once(distance, client):
    before = distance.turns
    with client.pipeline(transaction=False) as pipeline:
        for number in range(100):
            pipeline.rpush("list", number)
        assert pipeline.execute() == list(range(1, 101))
    assert distance.turns - before == 1
    assert client.lrange("list", 0, -1) == [str(number) for number in range(100)]


def test_the_wait_is_not_over_before_half_of_it_is_on_each_way(redis):
    with Distance(60) as far, far.connect() as client:
        client.ping()
        began = time.perf_counter()
        writing, _ = in_background(lambda: client.set("k", "v"))
        assert until(lambda: redis.exists("k"))
        there_ms = 1000 * (time.perf_counter() - began)
        writing.join()
        assert there_ms >= 30


def test_asyncio_and_tasks_at_once(redis, distance):
    async def run():
        async with distance.connect_async() as client:
            await asyncio.gather(*(client.incr("n") for _ in range(20)))
            await client.xadd("s", {"a": "ö"}, id="1-0")
            return await client.xread({"s": "0"})

    assert asyncio.run(run()) == {"s": [("1-0", {"a": "ö"})]}
    assert redis.get("n") == "20"


def test_two_clients_do_not_wait_for_each_other(redis, distance, client):
    with distance.connect() as other:
        reading, found = in_background(lambda: client.xread({"s": "$"}, block=0))
        assert until(lambda: blocked(redis) == 1)
        other.xadd("s", {"a": "1"}, id="1-0")
        reading.join()
    assert found == [{"s": [("1-0", {"a": "1"})]}]
    assert client.xread({"s": "$"}, block=1) == {}


def test_big_values_pass_both_ways(redis, client):
    big = os.urandom(500_000).hex()
    client.set("big", big)
    assert redis.get("big") == big
    assert client.get("big") == big


def test_a_pipeline_may_be_larger_than_what_the_connections_hold(client):
    text = "x" * 10_000
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(1_000):
            pipeline.echo(text)
        assert pipeline.execute() == [text] * 1_000


def test_no_distance_at_all_is_a_distance(redis):
    with Distance(0) as near, near.connect() as client:
        assert client.ping()


@pytest.mark.parametrize("wrong", [-1, float("nan"), 1e9, "10", None])
def test_a_distance_that_cannot_be_is_one_sentence(wrong):
    with pytest.raises(CourseError, match="A round trip takes 0 to 10,000 milliseconds"):
        Distance(wrong)


def test_a_tls_server_is_refused():
    with pytest.raises(CourseError, match="TLS"):
        Distance(url="rediss://localhost:6379")


def test_it_says_what_it_is_and_listens_on_loopback_alone(distance):
    assert repr(distance) == f"a line of 10 ms there and back, on port {distance.port}"
    listening = [
        one.laddr.ip
        for one in psutil.Process().net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == distance.port
    ]
    assert listening == ["127.0.0.1"]


# ------------------------------------------------------------------ ends


def test_who_has_said_all_still_hears_the_answers(redis, distance):
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 100)
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(LIMIT_S)
        heard = b""
        while chunk := raw.recv(65536):
            heard += chunk
    assert heard == b"+OK\r\n" + b"".join(b":%d\r\n" % n for n in range(1, 101))


def test_what_a_client_sent_before_it_hung_up_reaches_the_server(redis, distance):
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 100)
    assert until(lambda: redis.get("n") == "100")


def test_a_client_that_hangs_up_leaves_no_blocked_read_behind(redis, distance):
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n")
        raw.sendall(b"$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n$\r\n")
        assert until(lambda: blocked(redis) == 1)
    assert until(lambda: blocked(redis) == 0)


def test_who_does_not_read_is_cut_at_the_end(redis, distance):
    redis.set("big", "x" * 1_000_000)
    before = {one["id"] for one in redis.client_list()}  # an earlier test may have left some
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 50 + b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
        assert until(lambda: redis.exists("n"))
        distance.close()
        assert until(lambda: {one["id"] for one in redis.client_list()} <= before)


def test_cut_breaks_every_connection_and_the_next_ones_work(redis, distance, client):
    waiting, told = in_background(lambda: client.xread({"s": "$"}, block=0))
    assert until(lambda: blocked(redis) == 1)
    distance.cut()
    waiting.join()
    assert isinstance(told[0], LostError)
    assert until(lambda: blocked(redis) == 0)
    assert client.ping()


def test_a_server_that_is_started_again(home):
    own = OwnServer(home)
    with Distance(ROUND_TRIP_MS) as distance, distance.connect() as client:
        client.set("k", "v")
        waiting, told = in_background(lambda: client.xread({"s": "$"}, block=0))
        state = own.running()
        assert state
        with Redis.from_url(state.url) as beside:
            assert until(lambda: blocked(beside) == 1)
        os.kill(state.pid, signal.SIGKILL)
        waiting.join()
        assert isinstance(told[0], LostError)
        assert client.get("k") == "v"


def test_a_server_that_is_away_is_a_lost_connection():
    with (
        Distance(url=f"redis://127.0.0.1:{free_port()}") as distance,
        distance.connect() as client,
        pytest.raises(LostError),
    ):
        client.ping()


def test_it_ends_with_its_block_and_leaves_nothing_open(redis):
    def everything():
        with Distance(2000) as far, far.connect() as slow:
            under_way, _ = in_background(lambda: slow.ping())
            with Distance(1) as distance, distance.connect() as client:
                waiting, _ = in_background(lambda: client.xread({"s": "$"}, block=0))
                assert until(lambda: blocked(redis) == 1)
            assert until(lambda: far.turns == 1)
        waiting.join()
        under_way.join()
        distance.close()
        distance.cut()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", distance.port))
        del waiting, under_way
        gc.collect()

    everything()
    threads, before = threading.active_count(), psutil.Process().num_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything()
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() == before
    assert until(lambda: blocked(redis) == 0)
