"""The replay: the same feed for the same seed, from any place, with whatever faults are wanted."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

import httpx
import pytest

from helpers.course.errors import CourseError
from helpers.wiki import Faults, NotAChangeError, Replay, change_of
from helpers.wiki.synthetic import LATEST_S, SHARES, TYPES
from tests.wiki import TEN_AM, TEN_AM_MS, feed_of, take

pytestmark = pytest.mark.once


def lines(url: str, **asked: Any) -> Any:
    """The lines that a server sends, as they are."""
    with httpx.stream("GET", url, timeout=10, **asked) as response:
        assert response.status_code == 200, response.status_code
        yield from response.iter_lines()


def offsets(url: str, count: int, **asked: Any) -> list[int]:
    """The numbers of the next events."""
    with closing(lines(url, **asked)) as found:
        data = (line[6:] for line in found if line.startswith("data: "))
        return [json.loads(text)["meta"]["offset"] for text in islice(data, count)]


@pytest.fixture(scope="module")
def replay():
    with Replay(rate=100_000, total=3000, start=TEN_AM) as replay:
        offsets(replay.url, 1, params={"since": TEN_AM.isoformat()})
        while replay.due < 3000:
            threading.Event().wait(0.01)
        yield replay


# ------------------------------------------------------------------ what it sends


def test_a_seed_is_a_feed(replay):
    with (
        Replay(rate=100_000, start=TEN_AM) as same,
        Replay(rate=100_000, start=TEN_AM, seed=2) as other,
    ):
        assert list(same.events(500)) == list(replay.events(500))
        assert list(other.events(500)) != list(replay.events(500))


def test_its_events_are_what_the_schema_says_and_say_that_they_are_synthetic(replay):
    events = list(replay.events(3000))
    changes = [change_of(event) for event in events]
    assert {one.domain for one in changes} == set(SHARES)
    assert {one.type for one in changes} == set(TYPES)
    assert 0.25 < sum(one.bot for one in changes) / 3000 < 0.45
    assert len({one.id for one in changes}) == 3000
    assert {event["synthetic"] for event in events} == {True}
    assert {event["meta"]["stream"] for event in events} == {"mediawiki.recentchange"}
    assert all("Synthetic" in event["comment"] and "Synthetic" in event["user"] for event in events)
    late = [replay._at_ms(n) - one.at_ms for n, one in enumerate(changes)]
    assert 0.01 < sum(map(bool, late)) / 3000 < 0.06
    assert 0 <= min(late) <= max(late) < 1000 * LATEST_S
    grown = {one.type for one in changes if one.grown is not None}
    assert grown == {"edit", "new"}


def test_event_time_follows_the_rate():
    with Replay(rate=30, start=TEN_AM) as one:
        moments = [one._at_ms(number) for number in (0, 1, 30, 3000)]
    assert [moment - TEN_AM_MS for moment in moments] == [0, 33, 1000, 100_000]


def test_the_client_reads_what_it_says_that_it_sends(replay):
    events = asyncio.run(take(feed_of(replay), 3000))
    assert [event.says for event in events] == list(replay.events(3000))
    assert [event.id for event in events] == [replay.id_of(number) for number in range(3000)]


# ------------------------------------------------------------------ places


def test_who_comes_back_goes_on_behind_the_event_that_it_names(replay):
    for number in (0, 1, 498, 2990):
        asked = {"Last-Event-ID": replay.id_of(number)}
        wanted = list(range(number + 1, number + 6))
        assert offsets(replay.url, 5, headers=asked) == wanted


def test_since_begins_with_the_events_of_a_moment(replay):
    for ms, first in ((0, 0), (10, 1000), (-5000, 0), (29, 2900)):
        since = (TEN_AM + timedelta(milliseconds=ms)).isoformat()
        assert offsets(replay.url, 2, params={"since": since}) == [first, first + 1]


def test_without_a_place_it_begins_with_what_comes_then():
    with Replay(rate=1000) as one:
        while one.due < 100:
            threading.Event().wait(0.01)
        due = one.due
        assert offsets(one.url, 1)[0] >= due


@pytest.mark.parametrize(
    "place",
    ["x", "[]", "{}", "5", "null", "[5]", '[{"topic": "x"}]', "[[", "[" * 9000, '[{"offset": 5}]'],
)
def test_a_place_that_is_none_of_its_own_is_refused(replay, place):
    assert httpx.get(replay.url, headers={"Last-Event-ID": place}).status_code == 400


@pytest.mark.parametrize(
    "differs", [{"seed": 9}, {"start": 1}, {"offset": -1}, {"offset": 3000}, {"topic": "eqiad"}]
)
def test_the_place_of_another_feed_is_refused(replay, differs):
    place = json.dumps([replay._place(7) | differs])
    assert httpx.get(replay.url, headers={"Last-Event-ID": place}).status_code == 400


@pytest.mark.parametrize("since", ["x", "2026", "9999-99-99", "0001-01-01"])
def test_a_moment_that_is_none_is_refused(replay, since):
    assert httpx.get(replay.url, params={"since": since}).status_code in (200, 400)


# ------------------------------------------------------------------ faults


def test_bursts_come_all_at_once():
    with Replay(rate=1000, faults=Faults(burst_s=0.2)) as one:
        seen = set()
        for _ in range(100):
            seen.add(one.due)
            threading.Event().wait(0.005)
    assert {due % 200 for due in seen} == {0}
    assert len(seen) >= 2


def test_every_fault_comes_as_often_as_it_was_asked_for():
    faults = Faults(malformed=10, without_meta=20, absurd=25)
    with Replay(rate=100_000, total=100, faults=faults) as one:
        sent, number, breaks = one.chunk(0, 100)
        assert (number, breaks) == (100, False)
    texts = [line[6:] for line in sent.decode().split("\n") if line.startswith("data: ")]
    wrong = [text for text in texts if not readable(text)]
    assert len(texts) == 100 + 9 + 4 + 3
    assert len(wrong) == 9 + 4 + 3


def readable(text: str) -> bool:
    try:
        change_of(json.loads(text))
    except (ValueError, NotAChangeError):
        return False
    return True


def test_it_breaks_off_in_the_middle_of_an_event_once():
    with Replay(rate=100_000, total=100, faults=Faults(cut=40)) as one:
        sent, number, breaks = one.chunk(0, 100)
        assert (number, breaks) == (40, True)
        assert not sent.endswith(b"\n")
        assert one.chunk(40, 100)[1:] == (80, True)
        assert one.chunk(80, 100)[1:] == (100, False)
        assert one.chunk(0, 100)[1:] == (100, False)


def test_everybody_is_cut_off_and_refused_for_a_while():
    with Replay(rate=1000) as one:
        found = lines(one.url)
        next(found)
        one.cut(for_s=600)
        with pytest.raises(httpx.RemoteProtocolError):
            list(found)
        assert httpx.get(one.url).status_code == 503
        one.cut()
        assert offsets(one.url, 1)


# ------------------------------------------------------------------ the server


def test_two_readers_get_all_of_it(replay):
    async def main() -> None:
        found = await asyncio.gather(take(feed_of(replay), 3000), take(feed_of(replay), 3000))
        assert found[0] == found[1]

    asyncio.run(main())


def test_it_listens_on_loopback_alone_and_nowhere_else(replay):
    assert {found.getsockname()[0] for found in replay._sockets} == {"127.0.0.1"}
    assert httpx.get(replay.url + "/other").status_code == 404


@pytest.mark.parametrize("read", [True, False])
def test_it_ends_quietly_with_readers_there_also_with_one_that_does_not_read(read, caplog, capfd):
    threads = threading.active_count()
    one = Replay(rate=1_000_000)
    with socket.create_connection(("127.0.0.1", one.port)) as reader:
        reader.sendall(b"GET /v2/stream/recentchange HTTP/1.1\r\nHost: x\r\n\r\n")
        reader.recv(1000)
        if not read:
            threading.Event().wait(0.3)  # until the sockets' buffers are full
        one.close()
        one.close()
    assert threading.active_count() == threads
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_named(replay):
    for port in (replay.port, 70_000):
        with pytest.raises(CourseError, match=f"The port {port} is (taken|none).*: name "):
            Replay(port=port)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(CourseError, match="of a feed must be above 0, not "):
        Replay(rate=rate)
    with pytest.raises(CourseError, match="How often the fault cut comes is 0 or more, not -1"):
        Faults(cut=-1)
