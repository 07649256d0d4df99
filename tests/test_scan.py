"""Scanning a stream in pages gives what one XRANGE gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_py
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import connect_async
from helpers.streams.entry import LAST, EntryId, entries
from helpers.streams.errors import EntryIdError, StreamsError
from helpers.streams.scan import scan, scan_async
from helpers.streams.size import CUTS, SIZE, Portion

# Few milliseconds, so that many IDs share one; and the largest ID there is.
ids = st.builds(EntryId, st.integers(1, 4), st.integers(0, 6)) | st.just(LAST)
streams = st.sets(ids, max_size=25).map(sorted)
bounds = (
    ids | ids.map(str) | ids.map(lambda i: f"({i}") | st.sampled_from(["-", "+", "2", "(2", "9"])
)
on_the_server = settings(
    max_examples=60,
)


def fill(redis, some):
    redis.delete("s")
    for entry_id in some:
        redis.xadd("s", {"n": 1}, id=str(entry_id))


async def collect_async(*args, **options):
    async with connect_async() as client:
        return [entry async for entry in scan_async(client, *args, **options)]


@on_the_server
@given(streams, bounds, bounds, st.integers(1, 12))
def test_pages_give_what_one_range_gives(redis, some, low, high, page):
    fill(redis, some)
    if f"({LAST}" == low:  # nothing lies above it, and Redis says so with an error
        return
    everything = entries(redis.xrange("s", str(low), str(high)))
    assert list(scan(redis, "s", low, high, page=page)) == everything
    assert list(scan(redis, "s", low, high, page=page, reverse=True)) == everything[::-1]


@settings(on_the_server, max_examples=10)
@given(streams, st.integers(1, 8), st.booleans())
def test_asyncio_gives_the_same(redis, some, page, reverse):
    fill(redis, some)
    found = asyncio.run(collect_async("s", "2", page=page, reverse=reverse))
    assert found == list(scan(redis, "s", "2", page=page, reverse=reverse))


def test_a_moment_is_its_whole_millisecond_at_both_ends(redis):
    moment = datetime(2018, 8, 15, 12, tzinfo=UTC)
    ms = EntryId.at(moment).ms
    inside = [EntryId(ms, 0), EntryId(ms, 7), EntryId(ms + 1, 0), EntryId(ms + 1, 2**64 - 1)]
    fill(redis, [EntryId(ms - 1, 9), *inside, EntryId(ms + 2, 0)])
    end = moment + timedelta(milliseconds=1, microseconds=999)
    assert [entry.id for entry in scan(redis, "s", moment, end, page=2)] == inside
    with pytest.raises(EntryIdError, match="time zone"):
        list(scan(redis, "s", moment.replace(tzinfo=None)))


def test_entries_added_meanwhile_are_seen(redis):
    fill(redis, [EntryId(1, 1), EntryId(1, 2)])
    found = scan(redis, "s", page=2)
    first = next(found)
    redis.xadd("s", {"n": 1}, id="1-3")
    assert [entry.id for entry in (first, *found)] == [(1, 1), (1, 2), (1, 3)]


def test_a_missing_stream_has_no_entries(redis):
    assert list(scan(redis, "missing")) == []
    assert asyncio.run(collect_async("missing")) == []


def test_what_cannot_be_scanned_says_so(redis):
    redis.set("text", "no stream")
    for reverse in (False, True):
        with pytest.raises(StreamsError, match="'text' is not a stream"):
            list(scan(redis, "text", reverse=reverse))
    with pytest.raises(StreamsError, match="'text' is not a stream"):
        asyncio.run(collect_async("text"))
    with pytest.raises(StreamsError, match="Invalid stream ID"):
        list(scan(redis, "s", "yesterday"))
    for page in (0, -1):
        with pytest.raises(StreamsError, match="page"):
            list(scan(redis, "s", page=page))


# ------------------------------------------------------------------ replies that do not come


def test_the_next_entries_tell_their_size_without_being_sent(redis):
    redis.xadd("s", {"a": "x" * 10, "b": "1"}, id="1-0")
    redis.xadd("s", {"a": "é"}, id="2-0")
    size = redis.register_script(SIZE)
    assert size(["s"] * 3 + ["none"], ["-", "(1-0", "(2-0", "-"]) == [
        ["1-0", 13], ["2-0", 3], ["", 0], ["", 0]
    ]  # fmt: skip


def test_an_entry_is_too_large_only_if_it_is_cut_off_while_the_server_answers():
    lost, starts, large = redis_py.ConnectionError(), {"s": "1-0"}, [["2-0", 50_000]]
    away, cut = Portion(), Portion()
    for count in (100, 50, 25, 12, 6, 3, 1, 1, 1, 1, 1):  # the server is away: it answers nothing
        assert away.of(100) == count
        away.cut(lost, count)
    away.looked(starts, large)
    cut.cut(lost, 1)
    for _ in range(CUTS):
        assert cut.look(starts) == {"keys": ["s"], "args": ["(1-0"]}
        cut.looked(starts, large)
        cut.cut(lost, 1)
    with pytest.raises(StreamsError, match="The entry 2-0 of 's' holds 50,000 bytes"):
        cut.looked(starts, large)
    cut.came()
    assert (cut.of(100), cut.look(starts)) == (2, None)
