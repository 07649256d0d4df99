"""Whose database it is: the course takes an empty one, and deletes only what it made."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as redis_py
from hypothesis import assume, example, given
from hypothesis import strategies as st
from redis.crc import key_slot

import helpers
from helpers import Consumer, DeadLetters, Entry, Group, Producer, Reader, clean, connect
from helpers.averages.names import AGGREGATING_STATE, AVERAGES, AVERAGES_STATE, SET_ASIDE
from helpers.chaos import Fault, Proxy
from helpers.course import keys as course_keys
from helpers.course.checkout import Mark, checkout_id, mark_of
from helpers.course.database import adopt, claim, others_mark, reset
from helpers.course.errors import ForeignDatabaseError, ServerError
from helpers.course.keys import MARK
from helpers.course.pace import patient
from helpers.course.server import find_server
from helpers.course.server.identity import probe
from helpers.partitions.producer import PartitionProducer
from helpers.streams import keys as stream_keys
from helpers.streams.keys import sibling_key
from helpers.wiki.counters import Counters
from helpers.wiki.names import WIKI, place_key
from tests.test_cli import course, refused, told
from tests.test_connect import strange_server
from tests.test_server import taken_port

# ------------------------------------------------------------------ small tools


@pytest.fixture
def elsewhere(redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis_py.Redis]:
    """A client of a database that REDIS_URL names, and that is empty and without a mark."""
    url = find_server().url.removesuffix("/0") + "/3"
    with probe(url) as client:
        assert client.dbsize() == 0
        monkeypatch.setenv("REDIS_URL", url)
        yield client
        for key in client.scan_iter():
            client.delete(key)


def keys(client: redis_py.Redis) -> set[str]:
    """All keys but the course's mark."""
    return set(client.scan_iter()) - {MARK}


def fill(client: redis_py.Redis, *names: str) -> None:
    client.mset(dict.fromkeys(names, "1"))


# ------------------------------------------------------------------ taking a database


def test_an_empty_database_is_taken_and_marked(elsewhere):
    with connect() as client:
        assert client.dbsize() == 1
        assert "belongs to the Redis Streams course" in elsewhere.get(MARK)


def test_a_marked_database_is_taken_again_with_what_is_in_it(elsewhere):
    connect().close()
    fill(elsewhere, "chennai", "whatever")
    with connect() as client:
        assert keys(client) == {"chennai", "whatever"}


def test_somebody_elses_database_is_refused_and_ones_own_named(elsewhere):
    fill(elsewhere, "chennai", "customers")
    with pytest.raises(ForeignDatabaseError) as caught:
        connect()
    said = str(caught.value)
    assert said.startswith("Database 3 of redis://***@127.0.0.1:")
    assert "/3 holds 2 keys that this course did not make." in said
    assert said.endswith("Database 0 is yours: end REDIS_URL with /0.")
    assert set(elsewhere.keys()) == {"chennai", "customers"}


def test_a_server_without_an_empty_database_is_refused(monkeypatch):
    with taken_port() as port:
        pass
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}")
    with strange_server(port, "--databases", "2") as stranger:
        fill(stranger, "customers")
        with pytest.raises(ForeignDatabaseError, match=r"Database 1 is empty: end REDIS_URL wi"):
            connect()
        with redis_py.Redis(port=port, db=1) as second:
            fill(second, "customers")
        with pytest.raises(ForeignDatabaseError, match=r"None .* is empty: unset REDIS_URL"):
            connect()


def test_a_database_that_was_lost_meanwhile_is_marked_anew(elsewhere):
    connect().close()
    elsewhere.delete(MARK)
    with connect() as client:
        clean(client, "chennai")


def test_a_database_that_cannot_be_written_is_told(redis, elsewhere, monkeypatch):
    redis.acl_setuser(
        "reader",
        enabled=True,
        passwords=["+secret"],
        keys="*",
        categories=["+@all", "-@write", "-@scripting"],
    )
    try:
        port = redis.connection_pool.connection_kwargs["port"]
        monkeypatch.setenv("REDIS_URL", f"redis://reader:secret@127.0.0.1:{port}/3")
        with pytest.raises(ServerError, match=r"'reader' .* may not do what every") as caught:
            connect()
        assert "secret" not in str(caught.value)
    finally:
        redis.acl_deluser("reader")


def test_a_server_that_is_lost_meanwhile_is_told_in_a_sentence(elsewhere):
    with Proxy(find_server().url) as proxy:
        proxy.arm(Fault.CUT_BEFORE, at=("ACL", 1))
        with pytest.raises(ServerError, match="was lost while the course looked at its database"):
            claim(proxy.url)


def test_all_that_is_on_its_own_server_is_the_courses(elsewhere):
    fill(elsewhere, "left", "over")
    with pytest.raises(ForeignDatabaseError):
        claim(find_server().url)
    claim(find_server().url, own=True)
    assert elsewhere.exists(MARK)


# ------------------------------------------------------------------ two checkouts

OLD_MARK = "This database belongs to the Redis Streams course."


@pytest.fixture
def another(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """Makes this process another checkout of the course, for a while."""

    @contextmanager
    def other() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COURSE_HOME", str(tmp_path / "another"))
            yield

    return other


def test_another_checkout_is_refused_and_told_whose_it_is(elsewhere, another):
    with connect() as client:
        fill(client, "chennai")
        with another():
            with pytest.raises(ForeignDatabaseError) as caught:
                connect()
            with pytest.raises(ForeignDatabaseError, match="does not own this database"):
                clean(client, "chennai")
            assert "belongs to another checkout" in refused("reset", "--yes")
        assert keys(client) == {"chennai"}
    assert re.fullmatch(
        rf"Database 3 of redis://\*\*\*@127.0.0.1:\d+/3 belongs to another checkout of the course "
        rf"\({checkout_id()}, since \d\d \w+ \d{{4}}\)\. "
        r"Database 1 is empty: end REDIS_URL with /1\. "
        r"If this one is yours too, `course adopt` takes it over\.",
        str(caught.value),
    )


def test_to_adopt_takes_over_after_asking(elsewhere, another):
    with connect() as client:
        fill(client, "chennai")
        with another():
            done = course("adopt", answer="n\n")
            assert done.returncode == 1
            assert "another checkout of the course" in done.stdout
            assert "holds 1 key" in done.stdout
            with pytest.raises(ForeignDatabaseError):
                connect()
            assert "Database 3" in course("adopt", answer="y\n").stdout
            assert told("adopt", "--yes").startswith("It is this checkout's already")
            connect().close()
            assert keys(client) == {"chennai"}
        with pytest.raises(ForeignDatabaseError, match="does not own"):
            clean(client, "chennai")
        with pytest.raises(ForeignDatabaseError, match="belongs to another checkout"):
            connect()


def test_only_the_mark_that_was_shown_is_replaced(elsewhere, another):
    connect().close()
    url = os.environ["REDIS_URL"]
    with another():
        seen = others_mark(url) or ""
        elsewhere.set(MARK, mark_of("00000000"))  # a third one was faster
        with pytest.raises(ForeignDatabaseError, match="taken this database meanwhile"):
            adopt(url, seen)
    assert Mark.read(elsewhere.get(MARK)).checkout == "00000000"


def test_to_adopt_takes_an_empty_database_and_no_strangers(elsewhere, monkeypatch):
    fill(elsewhere, "customers")
    assert "holds 1 keys that this course did not make" in refused("adopt", "--yes")
    elsewhere.delete("customers")
    assert told("adopt", "--yes").startswith("It is this checkout's already")
    monkeypatch.delenv("REDIS_URL")
    assert told("adopt", "--yes").startswith("The course's own server is always this checkout's")


def test_a_mark_of_an_earlier_version_is_adopted_on_request_and_at_home_silently(elsewhere, redis):
    elsewhere.set(MARK, OLD_MARK)
    with pytest.raises(ForeignDatabaseError, match="by an earlier version of the course, which"):
        connect()
    assert course("adopt", answer="y\n").returncode == 0
    connect().close()
    own = os.environ["REDIS_URL"].removesuffix("/3") + "/0"
    redis.set(MARK, OLD_MARK)
    clean(redis, "chennai")
    claim(own, own=True)
    claim(own)  # as REDIS_URL="$(course server url)" does
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", own)
        connect().close()


@pytest.mark.parametrize("kind", ["list", "bytes"])
def test_a_key_of_the_marks_name_that_is_no_mark_is_refused(kind, elsewhere):
    if kind == "list":
        elsewhere.rpush(MARK, "a")
    else:
        elsewhere.set(MARK, "checkout 12345678, since soon.")
    with pytest.raises(ForeignDatabaseError):
        connect()
    assert "\n✗ Database 3 of" in course("doctor").stdout


@pytest.mark.once
def test_of_two_who_claim_at_once_one_gets_it(elsewhere, tmp_path):
    """Two processes of one checkout, and one of another, begin at the same moment."""
    code = (
        "import os, sys; from helpers.course.database import claim; "
        "from helpers.course.errors import ForeignDatabaseError; sys.stdin.readline()\n"
        "try: claim(os.environ['REDIS_URL'])\n"
        "except ForeignDatabaseError as error: print(error)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"COURSE_HOME": str(tmp_path / str(home))},
        )
        for home in (1, 1, 2)
    ]  # fmt: skip
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=patient(60))[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    owner = Mark.read(elsewhere.get(MARK)).checkout
    ids = [(tmp_path / str(home) / "checkout.id").read_text() for home in (1, 1, 2)]
    assert owner in ids
    assert len(set(ids)) == 2
    for its, sentence in zip(ids, said, strict=True):
        assert ("belongs to another checkout" in sentence) == (its != owner)
        assert owner in sentence or not sentence


def test_the_folder_carries_the_id_and_the_doctor_says_whose_database_it_is(
    elsewhere, tmp_path, monkeypatch
):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "here"))
    connect().close()
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "there"))
    connect().close()
    report = json.loads(told("doctor", "--json"))
    assert report["server"]["database"] == f"3, taken by this checkout ({checkout_id()})"
    assert checkout_id() in told("doctor")
    (tmp_path / "there" / "checkout.id").write_text("spoilt")
    with pytest.raises(ForeignDatabaseError):
        connect()


def test_a_user_who_may_not_select_is_named_no_database(elsewhere, another):
    connect().close()
    elsewhere.acl_setuser(
        "carol", enabled=True, passwords=["+pw"], keys="*", channels="*",
        categories=["+@all"], commands=["-select"],
    )  # fmt: skip
    try:
        url = re.sub("//.*@", "//carol:pw@", os.environ["REDIS_URL"].removesuffix("/3"))
        elsewhere.select(0)
        with another(), pytest.raises(ForeignDatabaseError, match="Name an empty one in REDIS_"):
            claim(url)
    finally:
        elsewhere.select(3)
        elsewhere.acl_deluser("carol")


# ------------------------------------------------------------------ cleaning


def test_clean_deletes_what_it_is_told_and_no_more(redis):
    fill(redis, "chennai", "chennai2", "lab01:a", "lab01:b", "lab02:a", "a?", "ab")
    clean(redis, "chennai", "lab01:*", "not there")
    assert keys(redis) == {"chennai2", "lab02:a", "a?", "ab"}
    clean(redis)
    assert len(keys(redis)) == 4


@pytest.mark.parametrize("stream", ["lab01:a", "lab01:{a}"])
@pytest.mark.parametrize("name", ["lab01:*", None])
@pytest.mark.parametrize("gone", [False, True])
def test_clean_deletes_what_producers_remember_beside(redis, stream, name, gone):
    for one in (stream, "chennai"):
        Producer(redis, one).add({"temperature": 26})  # never closed: it may have been killed
    if gone:
        redis.delete(stream)
    clean(redis, name or stream)
    assert keys(redis) == {"chennai", "{chennai}:producers"}


def test_clean_leaves_the_mark(redis):
    fill(redis, "chennai")
    clean(redis, "*", MARK)
    assert redis.keys() == [MARK]


def test_clean_refuses_a_database_that_the_course_never_took(elsewhere):
    fill(elsewhere, "chennai")
    with pytest.raises(ForeignDatabaseError, match=r"nothing in it was deleted.*`connect\(\)`"):
        clean(elsewhere, "chennai")
    assert elsewhere.exists("chennai")


# ------------------------------------------------------------------ starting anew


def test_reset_deletes_all_that_is_on_the_courses_own_server_but_the_mark(redis):
    fill(redis, *(f"key {number}" for number in range(1200)), "chennai", "lab01:a")
    assert reset(redis, find_server()) == 1202
    assert redis.keys() == [MARK]
    assert reset(redis, find_server()) == 0


def test_reset_elsewhere_refuses_when_there_are_keys_it_does_not_know(elsewhere):
    with connect() as client:
        fill(client, "chennai", "d", "c", "b", "a")
        with pytest.raises(ForeignDatabaseError) as caught:
            reset(client, find_server())
        assert keys(client) == {"chennai", "a", "b", "c", "d"}
    said = str(caught.value)
    assert said.startswith("4 keys at redis://***@127.0.0.1:")
    assert "are not the course's (a, b, c, …), so nothing was deleted." in said


def test_reset_elsewhere_deletes_the_courses_keys(elsewhere):
    with connect() as client:
        Producer(client, "chennai").add({"temperature": 26})
        fill(client, "coimbatore", "course:a", "lesson01:a", "lab01:a", "reader:a")
        assert reset(client, find_server()) == 7
        assert client.keys() == [MARK]


def test_reset_elsewhere_knows_all_that_the_course_makes(elsewhere, monkeypatch):
    """Producers, groups, dead letters, checkpoints, partitions, averages, counters, commands."""

    def handle(entry: Entry) -> None:
        if entry.fields["temperature"] == "26":
            raise ValueError("too warm")

    with connect() as client:
        for stream in ("chennai", "lab01:{a}", "temps:{b}"):
            producer = Producer(client, stream)
            producer.add_many([{"temperature": 26}, {"temperature": 27}])
            for group in ("mygroup", "a:b", "{c}:d"):
                Group(client, stream, group).create("0")
                one = Consumer(client, stream, group, handle, name="alice", max_deliveries=2)
                one.run(drain=True)
                assert len(DeadLetters(client, stream, group)) == 1
            client.set(sibling_key(stream, "mygroup:sweep"), "1")
        with Reader(client, "chennai", start="0", name="display") as reader:
            next(iter(reader))
        told("produce", "my own", "--count", "3")
        told("consume", "alice", "--drain", "--stream", "my own")
        with PartitionProducer(client, clock=lambda: datetime(2100, 1, 1, tzinfo=UTC)) as days:
            days.add(73)
        counters = Counters()
        client.hset(counters.of("en.wikipedia.org"), "1", "1")
        for key in (counters.all_domains, counters.counted, AGGREGATING_STATE, AVERAGES_STATE):
            client.hset(key, "1", "1")
        for key in (AVERAGES, SET_ASIDE, place_key(WIKI), counters.known_domains):
            client.set(key, "1")
        assert len(keys(client)) > 40
        assert client.smembers("course:streams") == {"my own"}
        client.set("{theirs}:producers", "1")  # beside a key that is not the course's
        with pytest.raises(ForeignDatabaseError, match=r"1 keys at .*\({theirs}:producers\)"):
            reset(client, find_server())
        client.delete("{theirs}:producers")
        told("reset", "--yes")
        assert client.keys() == [MARK]


@pytest.mark.once
def test_who_makes_a_key_beside_another_takes_its_name_from_the_list():
    """A name that is written where the key is made would be missing in the list."""
    calls = [
        (file.name, ast.unparse(call.args[-1]))
        for file in Path(helpers.__file__).parent.rglob("*.py")
        if "checks" not in file.parts  # those delete their own keys
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        and call.func.id in ("sibling_key", "group_key")
    ]  # fmt: skip
    listed = {name for module in (stream_keys, course_keys) for name in vars(module)}
    others = {"one", "kind", "'*'", "name", "f'{group}:{kind}'"}  # from the list, or any at all
    assert len(calls) > 12
    assert {name for _, name in calls if name.removeprefix("keys.") not in listed} <= others


# ------------------------------------------------------------------ never more than that


def test_no_flush_is_ever_sent(home):
    with connect() as client:
        fill(client, "chennai")
        clean(client, "*")
        reset(client, find_server())
        assert not [name for name in client.info("commandstats") if "flush" in name]


@pytest.mark.once
def test_no_flush_is_in_the_source_but_where_the_magic_refuses_it():
    folder = Path(helpers.__file__).parent
    named = {
        (file.name, word.upper())
        for file in folder.rglob("*.py")
        for word in words(ast.parse(file.read_text()))
        if word.upper() in ("FLUSHALL", "FLUSHDB")
    }
    assert named == {("magic.py", "FLUSHALL"), ("magic.py", "FLUSHDB")}


def words(tree: ast.Module) -> Iterator[str]:
    """Every word that a module could send: its attributes, and its strings but for docstrings."""
    told = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        ast.get_docstring(node, False) for node in ast.walk(tree) if isinstance(node, told)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value not in docstrings
        ):
            yield from re.findall(r"\w+", node.value)


# ------------------------------------------------------------------ names


@given(st.text("ab{}:\N{SNOWMAN}", min_size=1), st.text("ab{}", min_size=1))
@example("chennai", "producers")
@example("temps:{chennai}:20250101", "producers")
@example("a{b", "x")
@pytest.mark.once
def test_a_key_and_what_is_beside_it_live_in_one_slot(key, name):
    tag = key.partition("{")[2].partition("}")[0]
    assume("}" not in key or (tag and "}" in key.partition("{")[2]))  # no name can do it then
    assert key_slot(key.encode()) == key_slot(sibling_key(key, name).encode())


@given(st.text(), st.text(), st.text(), st.text())
@pytest.mark.once
def test_different_keys_have_different_names_beside(key, other, name, second):
    assume(":" not in name + second)
    if (key, name) != (other, second):
        assert sibling_key(key, name) != sibling_key(other, second)
