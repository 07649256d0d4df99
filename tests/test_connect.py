"""Connections: what they are set to, and what becomes of them when the server goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
import redis as redis_py

from helpers import connect, connect_async
from helpers.course.connect import connect_raw
from helpers.course.errors import ServerError
from helpers.course.pace import patient
from helpers.course.server import OwnServer, find_server, identity
from helpers.streams.connection import REPLY_TIMEOUT_S
from tests.test_server import crash, saved, serving, taken_port

# ------------------------------------------------------------------ small tools


@contextlib.contextmanager
def strange_server(port: int, *settings: str) -> Iterator[redis_py.Redis]:
    """A server that is not the course's: no password, no data. Yields a client of it."""
    program = os.environ["COURSE_SERVER"]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", *settings]
    with subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            with redis_py.Redis(port=port, decode_responses=True) as client:
                client.ping()  # redis-py's default of 10 retries lasts until the server is up
                yield client
        finally:
            process.kill()


@contextlib.contextmanager
def losing_replies(monkeypatch: pytest.MonkeyPatch, to: str, number: int = 1) -> Iterator[None]:
    """Let REDIS_URL lead through a proxy that hangs up instead of passing on an XADD's reply."""
    lost: list[bytes] = []

    def pass_on(client: socket.socket) -> None:
        losing = False
        with socket.create_connection(("127.0.0.1", urlsplit(to).port or 0)) as upstream:
            while True:
                for ready in select.select([client, upstream], [], [])[0]:
                    data = ready.recv(65536)
                    if ready is client and b"XADD" in data and len(lost) < number:
                        losing = True
                    elif ready is upstream and losing:
                        lost.append(data)
                        return
                    if not data:
                        return
                    (upstream if ready is client else client).sendall(data)

    with serving(pass_on) as port:
        monkeypatch.setenv("REDIS_URL", to.replace(f":{urlsplit(to).port}", f":{port}"))
        yield
    assert len(lost) == number


# ------------------------------------------------------------------ how they are set


def test_text_is_text_and_streams_have_one_shape(redis):
    redis.xadd("chennai", {"temperature": "26"}, id="1-0")
    entries = {"chennai": [("1-0", {"temperature": "26"})]}
    assert redis.xread({"chennai": "0"}) == entries
    assert redis.xread({"chennai": "$"}, block=1) == {}
    redis.xgroup_create("chennai", "group", "0")
    assert redis.xreadgroup("group", "alice", {"chennai": ">"}) == entries
    assert redis.xreadgroup("group", "alice", {"chennai": ">"}, block=1) == {}


def test_asyncio_gives_the_same_shape(redis):
    async def read() -> tuple[object, object]:
        async with connect_async() as client:
            await client.xadd("chennai", {"temperature": "26"}, id="1-0")
            return await client.xread({"chennai": "0"}), await client.xread(
                {"chennai": "$"}, None, 1
            )

    assert asyncio.run(read()) == ({"chennai": [("1-0", {"temperature": "26"})]}, {})


def test_a_client_waits_as_long_as_block_says(redis):
    for client in (redis, connect_async()):
        assert client.connection_pool.connection_kwargs["socket_timeout"] == REPLY_TIMEOUT_S
        assert getattr(client.connection_pool.connection_class, "follows_block")  # noqa: B009


def test_a_raw_client_shows_what_the_server_sent(redis):
    redis.xadd("chennai", {"temperature": "26"}, id="1-0")
    with connect_raw() as client:
        entry = [b"1-0", [b"temperature", b"26"]]
        assert client.execute_command("XREAD", "STREAMS", "chennai", "0") == [[b"chennai", [entry]]]
        assert client.execute_command("XREAD", "STREAMS", "chennai", "$") is None
        assert client.execute_command("MULTI") == b"OK"
        assert client.execute_command("PING") == b"QUEUED"
        assert client.execute_command("EXEC") == [b"PONG"]


# ------------------------------------------------------------------ lost replies


def test_a_command_whose_reply_is_lost_is_not_sent_again(redis, monkeypatch):
    with (
        losing_replies(monkeypatch, find_server().url),
        connect() as client,
        pytest.raises(redis_py.ConnectionError),
    ):
        client.xadd("chennai", {"temperature": 26})
    assert redis.xlen("chennai") == 1


def test_nor_is_it_by_asyncio(redis, monkeypatch):
    async def add() -> None:
        async with connect_async() as client:
            await client.xadd("chennai", {"temperature": 26})

    with losing_replies(monkeypatch, find_server().url), pytest.raises(redis_py.ConnectionError):
        asyncio.run(add())
    assert redis.xlen("chennai") == 1


def test_retries_that_were_asked_for_send_it_again(redis, monkeypatch):
    with losing_replies(monkeypatch, find_server().url, 2), connect(retries=2) as client:
        client.xadd("chennai", {"temperature": 26})
    assert redis.xlen("chennai") == 3


def test_and_so_they_do_by_asyncio(redis, monkeypatch):
    async def add() -> None:
        async with connect_async(retries=1) as client:
            await client.xadd("chennai", {"temperature": 26})

    with losing_replies(monkeypatch, find_server().url):
        asyncio.run(add())
    assert redis.xlen("chennai") == 2


# ------------------------------------------------------------------ the server goes away


@pytest.mark.parametrize("retries", [0, 3])
def test_a_client_goes_on_after_the_server_was_killed(home, retries):
    with connect(retries=retries) as client:
        client.set("course:kept", "1")
        crash(saved(home).pid)
        assert client.get("course:kept") == "1"


def test_an_asyncio_client_goes_on_after_the_server_was_killed(home):
    async def live_through_a_crash() -> object:
        async with connect_async() as client:
            await client.set("course:kept", "1")
            await asyncio.to_thread(crash, saved(home).pid)  # the loop sees the connection close
            return await client.get("course:kept")

    assert asyncio.run(live_through_a_crash()) == "1"


def test_a_raw_client_goes_on_after_the_server_was_killed(home):
    with connect_raw() as client:
        client.execute_command("SET", "course:kept", "1")
        crash(saved(home).pid)
        assert client.execute_command("GET", "course:kept") == b"1"


def test_a_retry_starts_the_server_that_was_killed_under_a_command(home):
    with connect(retries=3) as client:
        client.set("course:kept", "1")
        connection = client.connection_pool.get_connection()
        crash(saved(home).pid)
        connection.disconnect()  # so it is the command that finds the server gone
        connection.send_command("GET", "course:kept")
        assert connection.read_response() == "1"
        client.connection_pool.release(connection)


def test_a_client_never_writes_to_a_stranger_on_the_old_port(home):
    with connect() as client:
        client.set("course:kept", "1")
        port = saved(home).port
        crash(saved(home).pid)
        with strange_server(port) as stranger:
            assert client.incr("course:kept") == 2
            assert stranger.dbsize() == 0
        assert saved(home).port != port


def test_an_asyncio_client_does_not_mind_a_silent_peer_on_the_old_port(home):
    async def live_through_a_crash() -> object:
        async with connect_async() as client:
            await client.set("course:kept", "1")
            await asyncio.to_thread(crash, saved(home).pid)
            with taken_port(saved(home).port):
                return await client.get("course:kept")

    assert asyncio.run(live_through_a_crash()) == "1"


def test_a_client_stays_with_its_own_hidden_folder(redis, home):
    redis.set("course:where", "here")
    redis.connection_pool.disconnect()  # COURSE_HOME now names another folder
    assert redis.get("course:where") == "here"
    assert OwnServer(home).running() is None


def test_a_paused_server_is_told_to_those_who_connect(home, monkeypatch):
    with connect() as client:
        psutil.Process(saved(home).pid).suspend()
        monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", 0.2)
        with pytest.raises(ServerError, match="does not answer: `course server stop`"):
            connect()
        client.connection_pool.disconnect()
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        client.connection_pool.reset()
        with pytest.raises(redis_py.TimeoutError, match="does not answer: `course server stop`"):
            client.ping()
        OwnServer(home).stop()
        monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", patient(5.0))
        connect().close()
        assert client.ping()


def test_a_server_that_redis_url_names_is_not_replaced(home, monkeypatch):
    with taken_port() as port:
        pass
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}")
    with strange_server(port), connect() as client:
        client.set("course:kept", "1")
    with pytest.raises(redis_py.ConnectionError):
        client.get("course:kept")
    assert {one.name for one in home.iterdir()} == {"checkout.id"}
