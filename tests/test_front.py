"""What stands in front of the server, be it a proxy or a line with distance: it passes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import psutil
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as LostError

from helpers import connect
from helpers.chaos import CLIENT, Distance, Proxy, start
from helpers.chaos.front import _leading_to
from helpers.course.server import OwnServer, find_server
from tests import fronts
from tests.fronts import blocked, free_port, in_background, log_in
from tests.test_connect import strange_server
from tests.waiting import until

pytestmark = pytest.mark.once

FRONTS = {"proxy": lambda url=None: Proxy(url), "distance": lambda url=None: Distance(10, url)}


@pytest.fixture(params=FRONTS)
def kind(request):
    """Makes what stands in front, as it would be made without an address or with one."""
    return FRONTS[request.param]


@pytest.fixture
def front(redis, kind):
    with kind() as front:
        yield front


@pytest.fixture
def client(front):
    with front.connect() as client:
        yield client


quiet = fronts.quiet


# ------------------------------------------------------------------ what passes


def test_asyncio_and_tasks_at_once(redis, front):
    async def run():
        async with front.connect_async() as client:
            await asyncio.gather(*(client.incr("n") for _ in range(20)))
            await client.xadd("s", {"a": "ö"}, id="1-0")
            return await client.xread({"s": "0"})

    assert asyncio.run(run()) == {"s": [("1-0", {"a": "ö"})]}
    assert redis.get("n") == "20"


def test_a_blocking_read_waits_for_news_and_holds_up_no_other_connection(redis, front, client):
    reading, found = in_background(lambda: client.xread({"s": "$"}, block=0))
    assert until(lambda: blocked(redis) == 1)
    with front.connect() as other:
        other.xadd("s", {"a": "1"}, id="1-0")
        reading.join()
    assert found == [{"s": [("1-0", {"a": "1"})]}]
    assert client.xread({"s": "$"}, block=1) == {}


def test_a_pipeline_may_be_larger_than_what_the_connections_hold(client):
    value = "x" * 10_000
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(2_000):
            pipeline.echo(value)
        assert pipeline.execute() == [value] * 2_000


def test_what_a_client_sent_before_it_hung_up_reaches_the_server(redis, front):
    with socket.create_connection(("127.0.0.1", front.port)) as raw:
        log_in(raw, front.url)
        raw.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 100)
    assert until(lambda: redis.get("n") == "100")


def test_a_client_that_hangs_up_leaves_no_blocked_read_behind(redis, front):
    redis.xgroup_create("s", "g", "0", mkstream=True)

    def read(client):
        client.xreadgroup("g", "bob", {"s": ">"}, block=0)

    with start(read, CLIENT, url=front.url) as bob:
        assert until(lambda: blocked(redis) == 1)
        bob.kill()
        assert until(lambda: blocked(redis) == 0)
    redis.xadd("s", {"a": "1"})
    assert redis.xpending("s", "g")["pending"] == 0


# ------------------------------------------------------------------ the server behind it


def test_cut_breaks_every_connection_and_the_next_ones_work(redis, front, client):
    waiting, results = in_background(lambda: client.xread({"s": "$"}, block=0))
    assert until(lambda: blocked(redis) == 1)
    front.cut()
    waiting.join()
    assert isinstance(results[0], LostError)
    assert until(lambda: blocked(redis) == 0)
    assert client.ping()


def test_it_survives_the_course_s_server_which_is_started_again(home, kind):
    own = OwnServer(home)
    with kind() as front, front.connect() as client:
        client.set("k", "v")
        waiting, results = in_background(lambda: client.xread({"s": "$"}, block=0))
        state = own.running()
        assert state
        with Redis.from_url(state.url) as beside:
            assert until(lambda: blocked(beside) == 1)
        os.kill(state.pid, signal.SIGKILL)
        waiting.join()
        assert isinstance(results[0], LostError)
        assert client.get("k") == "v"


def test_a_server_that_is_away_is_a_lost_connection(kind):
    with kind(f"redis://127.0.0.1:{free_port()}") as front, front.connect() as client:
        for _ in range(2):
            with pytest.raises(LostError):
                client.ping()


def test_a_server_on_a_unix_socket_will_do(tmp_path, kind):
    path = tmp_path / "server.sock"
    with strange_server(free_port(), "--unixsocket", str(path)), kind(f"unix://{path}") as front:
        with front.connect() as client:
            assert client.ping()
        assert front.url == f"redis://127.0.0.1:{front.port}/0"


def test_its_server_is_the_one_that_redis_url_names(redis, kind, monkeypatch):
    monkeypatch.setenv("REDIS_URL", find_server().url)
    with kind() as front, front.connect() as client, connect() as direct:
        client.set("k", "v")
        assert direct.get("k") == "v"


@pytest.mark.parametrize(
    ("server", "in_front"),
    [
        ("redis://localhost", "redis://127.0.0.1:1/0"),
        ("redis://:p%40ss@localhost:6379/3", "redis://:p%40ss@127.0.0.1:1/3"),
        ("redis://me:pw@h:1/?client_name=x&db=2", "redis://me:pw@127.0.0.1:1/2?client_name=x"),
        ("unix:///s.sock?db=4&password=pw", "redis://:pw@127.0.0.1:1/4"),
        ("unix://me@/s.sock?password=pw", "redis://me:pw@127.0.0.1:1/0"),
    ],
)
def test_its_url_keeps_user_database_and_settings(server, in_front):
    assert _leading_to(1, server) == in_front


def test_it_listens_on_loopback_alone(front):
    listening = [
        one.laddr.ip
        for one in psutil.Process().net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == front.port
    ]
    assert listening == ["127.0.0.1"]
