"""Servers that REDIS_URL may name: TLS, a node of a cluster, a replica, a user with few rights."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from functools import cache
from urllib.parse import urlsplit

import pytest
import redis as redis_py

from helpers import (
    Consumer,
    Group,
    Producer,
    connect,
    connect_async,
)
from helpers.chaos import Distance, Proxy
from helpers.course import keys, rights
from helpers.course.connect import client_of
from helpers.course.doctor import examine
from helpers.course.errors import ServerError
from helpers.course.server import find_server
from helpers.course.server.identity import probe
from helpers.streams.errors import ArgumentError
from tests.test_cli import course, refused, told
from tests.test_connect import strange_server
from tests.test_server import taken_port
from tests.tls import tls_server

# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that speaks TLS."""
    with tls_server(tmp_path_factory.mktemp("tls")) as url:
        yield url


@pytest.mark.once
def test_tls_works_two_hundred_times_in_a_row(tls, monkeypatch):
    async def add() -> None:
        async with connect_async() as client:
            await client.xadd("chennai", {"temperature": "26"})

    # redis-py reads all authorities of the system for every connection: once is enough here.
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
    monkeypatch.setenv("REDIS_URL", tls)
    for _ in range(200):
        with probe(tls) as client:
            assert client.ping()
    for _ in range(5):
        asyncio.run(add())
        with connect() as client:
            client.xadd("chennai", {"temperature": "26"})
    assert examine()["ok"]


@pytest.mark.once
@pytest.mark.parametrize("kind", [Proxy, Distance])
def test_what_stands_in_front_of_a_server_reaches_it_by_tls(tls, monkeypatch, kind):
    monkeypatch.setenv("REDIS_URL", tls)
    with kind() as front, front.connect() as client, connect() as direct:
        direct.delete("chennai")
        client.xadd("chennai", {"temperature": "26" * 50_000})
        assert direct.xlen("chennai") == 1
        assert client.xread({"chennai": "$"}, block=20) == {}


@pytest.mark.once
def test_what_is_wrong_with_tls_is_named(tls, monkeypatch):
    def said(url: str) -> str:
        monkeypatch.setenv("REDIS_URL", url)
        with pytest.raises(ServerError) as caught:
            connect()
        return str(caught.value)

    bare, _, authority = tls.partition("?")
    assert "cannot be trusted (self-signed certificate in certificate chain): end" in said(bare)
    assert "if it uses TLS, begin REDIS_URL with rediss://" in said(bare.replace("ss:", "s:"))
    assert "that REDIS_URL names for TLS does not exist" in said(f"{bare}?ssl_ca_certs=/no/ca.crt")
    port = urlsplit(tls).port
    assert "name the host as the certificate does" in said(f"rediss://127.0.0.1:{port}?{authority}")


# ------------------------------------------------------------------ a part of the keys, or a copy


@pytest.fixture
def port() -> int:
    """A port on which nothing listens."""
    with taken_port() as number:
        return number


def amiss(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What connect(), the doctor and a command say of a server, all the same."""
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ServerError) as caught:
        connect()
    report = examine()
    assert (report["ok"], report["problems"]) == (False, [str(caught.value)])
    assert str(caught.value) in refused("produce", "chennai", REDIS_URL=url)
    assert str(caught.value) in course("doctor", REDIS_URL=url).stdout
    return str(caught.value)


def test_a_node_of_a_cluster_is_named(port, tmp_path, monkeypatch):
    options = ["--cluster-enabled", "yes", "--dir", str(tmp_path)]
    with strange_server(port, *options) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        said = amiss(f"redis://127.0.0.1:{port}", monkeypatch)
    assert "is a node of a Redis Cluster, which holds only some of the keys: set REDIS_URL" in said


@pytest.mark.once
def test_a_cluster_of_one_node_serves_a_cluster_client_and_a_plain_one(port, tmp_path):
    options = ["--cluster-enabled", "yes", "--dir", str(tmp_path)]
    with strange_server(port, *options) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        until_served(node)
        with redis_py.RedisCluster(host="127.0.0.1", port=port) as cluster:
            with Producer(cluster, "chennai") as producer:
                producer.add({"temperature": 26})
            with pytest.raises(ArgumentError, match="returns bytes"):
                Consumer(cluster, "chennai", "g", print)
            assert Group(cluster, "chennai", "g").create()
        with client_of(f"redis://127.0.0.1:{port}") as client:
            assert client.xlen("chennai") == 1


def until_served(node: redis_py.Redis) -> None:
    while "cluster_state:ok" not in str(node.execute_command("CLUSTER", "INFO")):
        time.sleep(0.01)


def test_a_replica_is_named_with_its_primary(port, monkeypatch):
    main = find_server()
    with strange_server(port) as other:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}")
        connect().close()  # it is marked, and then it becomes a replica
        place = urlsplit(main.url)
        other.execute_command("REPLICAOF", "127.0.0.1", "1")
        said = amiss(f"redis://127.0.0.1:{port}", monkeypatch)
        assert "is a replica, to which only its primary (127.0.0.1:1) may write: set" in said
        assert place.port != port


# ------------------------------------------------------------------ few rights

LIMITED = ("+@all", "-@admin", "-@dangerous")


@pytest.fixture
def bob(redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis_py.Redis]:
    """A user of few rights on this run's server, in a database of its own that REDIS_URL names."""
    redis.execute_command("ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", *LIMITED)
    port = redis.connection_pool.connection_kwargs["port"]
    monkeypatch.setenv("REDIS_URL", f"redis://bob:pw@127.0.0.1:{port}/6")
    try:
        yield redis
    finally:
        monkeypatch.undo()
        redis.execute_command("ACL", "DELUSER", "bob")
        with probe(find_server().url.removesuffix("/0") + "/6") as client:
            for key in client.scan_iter():
                client.delete(key)


def allow(admin: redis_py.Redis, *rules: str) -> None:
    admin.execute_command("ACL", "SETUSER", "bob", *rules)


def test_a_user_who_may_not_ask_for_info_can_use_the_course(bob):
    with connect() as client:
        client.xadd("chennai", {"temperature": "26"})
    report = examine()
    assert report["ok"]
    assert report["server"]["version"] == find_server().version
    (warning,) = report["warnings"]
    assert warning.startswith("The user 'bob' may not do what some lessons and labs need (")
    assert "lesson 07: +client|kill +client|list +config|get +config|set" in warning
    assert "allow it with `ACL SETUSER bob +" in warning
    allow(bob, *warning.partition("ACL SETUSER bob ")[2].partition("`")[0].split())
    assert examine()["warnings"] == []
    told("reset", "--yes")


@pytest.mark.parametrize(
    ("rules", "lacks"),
    [
        (["-xadd", "-xreadgroup"], "+xadd +xreadgroup`"),
        (["-@transaction"], "+exec +multi`"),
        (["-multi"], "+multi`"),
        (["resetkeys", "~lesson*", "~lab*"], "~course:database ~course:streams ~chennai"),
        (["resetkeys", "%R~*"], "~course:database"),
        (["-@all", "+@connection", "+@read", "+@stream"], "+del"),
    ],
)
def test_a_user_who_may_not_do_what_every_lesson_needs_is_told(bob, rules, lacks, monkeypatch):
    allow(bob, *rules)
    url = f"redis://bob:pw@127.0.0.1:{bob.connection_pool.connection_kwargs['port']}/6"
    said = amiss(url, monkeypatch)
    assert "The user 'bob' of the server at redis://***@127.0.0.1:" in said
    assert lacks in said
    assert bob.dbsize() == 1
    allow(bob, *said.partition("ACL SETUSER bob ")[2].partition("`")[0].split())
    connect().close()


def test_a_channel_that_a_user_may_not_use_is_told(bob):
    allow(bob, "resetchannels")
    connect().close()
    (warning,) = examine()["warnings"]
    assert (
        "lesson 07: +client|kill +client|list +config|get +config|set &wiki &lesson07:a;" in warning
    )


def test_to_ask_for_rights_does_nothing(redis):
    before = redis.info("commandstats")
    with probe(find_server().url) as client:
        every = [one for words in rights.NEEDS.values() for one in words.split()]
        assert rights.lacking(client, [*rights.EVERYWHERE, *every], rights.KEYS, ["a"]) == []
    new = set(redis.info("commandstats")) - set(before)
    assert redis.keys() == [keys.MARK]
    assert {name.removeprefix("cmdstat_") for name in new} <= {"multi", "exec", "command|info"}
