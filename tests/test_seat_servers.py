"""A server for each seat: one for one learner, with its own password, data and limit."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import redis as redis_py

from helpers import connect
from helpers.course.authoring.rule import LESSONS
from helpers.course.errors import CourseError
from helpers.course.keys import MARK
from helpers.course.server.identity import probe
from helpers.room import servers
from tests.test_cli import course, refused, told
from tests.test_times import run

pytestmark = pytest.mark.once

ELSEWHERE = "127.0.0.2"  # another address of this machine, where the system has it


@pytest.fixture(autouse=True)
def all_ended(home: Path) -> Iterator[None]:
    yield
    servers.stop()


def test_each_seat_has_a_server_of_its_own(home, tmp_path, monkeypatch):
    file = tmp_path / "seats.csv"
    told("class", "servers", "--seats", "2", "--csv", str(file))
    assert file.stat().st_mode & 0o77 == 0
    with file.open() as lines:
        first, second = csv.DictReader(lines)
    assert [first["seat"], second["seat"]] == ["seat 1", "seat 2"]
    urls = [first["REDIS_URL"], second["REDIS_URL"]]
    monkeypatch.setenv("REDIS_URL", urls[0])
    with connect() as client, probe(urls[1]) as other:
        assert client.xadd("chennai", {"temperature": "26"})
        assert other.dbsize() == 0
        assert client.info("memory")["maxmemory"] == servers.MOST_MB * 2**20
        password = other.connection_pool.connection_kwargs["password"]
        port = client.connection_pool.connection_kwargs["port"]
        with pytest.raises(redis_py.AuthenticationError):
            probe(f"redis://:{password}@127.0.0.1:{port}").ping()
    assert told("class", "servers", "--stop") == "Stopped 2 servers.\n"
    again = told("class", "servers", "--seats", "2").splitlines()
    assert again[0] == f"seat 1   REDIS_URL={urls[0]}"  # so what learners have set is still right
    with connect() as client:
        assert client.xlen("chennai") == 1
    begun = [one.url for one in servers.start(2, new=True)]
    assert not {*begun} & {*urls}
    with probe(begun[0]) as client:
        assert client.dbsize() == 0


def test_a_lesson_runs_on_a_seats_server(home, monkeypatch, request):
    if not request.config.getoption("--all-answers"):
        pytest.skip("a whole lesson runs on a seat's server in `make test-all`")
    (one,) = servers.start(1)
    monkeypatch.setenv("REDIS_URL", one.url)
    run(nbformat.read(LESSONS / "03_consumer_groups.ipynb", as_version=4).cells)
    with probe(one.url) as client:
        assert client.info("commandstats")["cmdstat_xreadgroup"]["calls"] > 10
        assert client.keys() == [MARK]  # it tidies up


@pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED, only Linux has all of 127.*")
def test_it_listens_where_it_is_told_and_nowhere_else(home):
    (one,) = servers.start(1, ELSEWHERE)
    assert f"@{ELSEWHERE}:" in one.url
    with probe(one.url) as client, probe(one.url.replace(ELSEWHERE, "127.0.0.1")) as near:
        assert client.ping()
        assert near.ping()
    with pytest.raises(redis_py.ConnectionError):
        probe(one.url.replace(ELSEWHERE, "127.0.0.3")).ping()
    (moved,) = servers.start(1)
    with pytest.raises(redis_py.ConnectionError):
        probe(moved.url.replace("127.0.0.1", ELSEWHERE)).ping()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seats", "0"], "There can be 1 to 200 seats"),
        (["--address", "0.0.0.0"], "stands for all addresses of this machine"),
        (["--address", "192.0.2.77"], "isn't an address of this machine"),
        (["--address", "localhost"], "isn't an address of this machine (it is a name)"),
    ],
)
def test_what_cannot_be_had_is_told(words, said, home):
    (home / "seats" / "seat-01.bak").mkdir(parents=True, exist_ok=True)
    assert said in refused("class", "servers", *words)
    assert told("class", "servers", "--stop") == "Stopped 0 servers.\n"


def test_a_file_that_holds_something_else_stays(home, tmp_path):
    file = tmp_path / "notes.csv"
    for mine in (b"mine", b"\xff\xfe"):
        file.write_bytes(mine)
        with pytest.raises(CourseError, match="holds something else"):
            servers.write_csv(file, [])
        assert file.read_bytes() == mine
    done = course("class", "servers", "--seats", "1", "--csv", str(file))
    assert "holds something else" in done.stderr
