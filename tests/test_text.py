"""Entries that another program wrote in bytes that are no UTF-8 are passed as the reader wants."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from helpers import AsyncReader, EntryId, Reader, connect_async, scan, scan_async
from helpers.course.connect import async_client_of, client_of
from helpers.course.server import find_server
from helpers.streams.errors import ArgumentError, NotTextError

BAD = {"n": b"\xff\0", b"\xfe": "a"}
FAST: dict[str, Any] = {"block_ms": 20}
SHOWN = {  # what stands for the bytes ff and fe
    "replace": ("\ufffd", "\ufffd"),
    "backslashreplace": (r"\xff", r"\xfe"),
    "surrogateescape": ("\udcff", "\udcfe"),
}
WAYS = ["skip", "bytes", *SHOWN]


@pytest.fixture(autouse=True)
def stream(redis):
    """Two good entries, a bad one, a good one, and two bad ones at the end."""
    for number in (1, 2, 4):
        redis.xadd("s", {"n": number, "city": "é"}, id=f"{number}-0")
        if number == 2:
            redis.xadd("s", BAD, id="3-0")
    for number in (5, 6):
        redis.xadd("s", BAD, id=f"{number}-0")


def expected(errors: str) -> list[tuple[EntryId, dict[Any, Any]]]:
    found: list[Any] = []
    for number in range(1, 7):
        good = {"n": str(number), "city": "é"}
        if number in (1, 2, 4):
            fields: Any = good
            if errors == "bytes":
                fields = {name.encode(): value.encode() for name, value in good.items()}
        elif errors == "skip":
            continue
        elif errors == "bytes":
            fields = {b"n": b"\xff\0", b"\xfe": b"a"}
        else:
            ff, fe = SHOWN[errors]
            fields = {"n": ff + "\0", fe: "a"}
        found.append((EntryId(number), fields))
    return found


def both(ask: Any, ask_async: Any) -> list[Any]:
    return [ask(), asyncio.run(ask_async())]


@pytest.mark.parametrize("decodes", [True, False])
@pytest.mark.parametrize("errors", WAYS)
def test_scan_and_readers_pass_it_in_the_way_that_is_wanted(redis, errors, decodes):
    """Whether the client decodes replies or not."""
    url, settings = find_server().url, {"decode_responses": decodes}

    def read() -> Any:
        with (
            client_of(url, **settings) as client,
            Reader(client, ["s", "none"], start="0", name="a", errors=errors) as reader,
        ):
            found = reader.read(count=2, **FAST)
            while more := reader.read(count=2, **FAST):
                found += more
            assert reader.positions["s"] == EntryId(6)
            return [(entry.id, entry.fields) for stream, entry in found if stream == "s"]

    async def read_async() -> Any:
        async with (
            async_client_of(url, **settings) as client,
            AsyncReader(client, "s", start="0", name="b", errors=errors) as reader,
        ):
            found = await reader.read(count=2, **FAST)
            while more := await reader.read(count=2, **FAST):
                found += more
            return [(entry.id, entry.fields) for _, entry in found]

    def scanned() -> Any:
        with client_of(url, **settings) as client:
            found = [(one.id, one.fields) for one in scan(client, "s", page=2, errors=errors)]
            back = scan(client, "s", page=2, errors=errors, reverse=True)
            assert [(one.id, one.fields) for one in back] == found[::-1]
            return found

    async def scanned_async() -> Any:
        async with async_client_of(url, **settings) as client:
            pages = scan_async(client, "s", page=2, errors=errors)
            return [(one.id, one.fields) async for one in pages]

    for found in both(read, read_async) + both(scanned, scanned_async):
        assert found == expected(errors)
    assert redis.hget("reader:a", "s") == redis.hget("reader:b", "s") == "6-0"


def test_a_strict_reader_hands_over_what_is_before_it_and_says_which_it_is(redis):
    """Finding B8: a bare UnicodeDecodeError, and the good entry before it was never handed over."""
    redis.xadd("t", {"n": "9"}, id="9-0")
    seen = []

    def read() -> None:
        with Reader(redis, ["s", "t"], start="0", name="a") as reader:
            for _, entry in reader:
                seen.append(entry.fields["n"])

    async def read_async() -> None:
        async with (
            connect_async() as client,
            AsyncReader(client, "s", start="0", name="b") as reader,
        ):
            async for _, entry in reader:
                seen.append(entry.fields["n"])

    for _ in range(2):
        with pytest.raises(NotTextError, match=r"entry 3-0 of 's'.*errors='bytes'") as told:
            read()
        [entry] = told.value.entries
        assert entry == (EntryId(3), {b"n": b"\xff\0", b"\xfe": b"a"})
    with pytest.raises(NotTextError):
        asyncio.run(read_async())
    assert seen == ["1", "2"] * 2
    assert redis.hget("reader:a", "s") == redis.hget("reader:b", "s") == "2-0"
    with Reader(redis, ["s", "t"], name="a", errors="skip") as reader:
        assert [entry.fields["n"] for _, entry in reader.read()] == ["4", "9"]


def test_a_strict_scan_gives_what_is_before_it(redis):
    found = scan(redis, "s")
    assert [next(found).id, next(found).id] == [EntryId(1), EntryId(2)]
    with pytest.raises(NotTextError, match="entry 3-0 of 's'"):
        next(found)


def test_the_end_of_a_stream_that_is_no_text_is_found(redis):
    with Reader(redis, "s") as reader:
        assert reader.positions == {"s": EntryId(6)}


@pytest.mark.once
def test_a_way_that_is_none_is_refused(redis):
    wrong: Any = "ignore"
    with pytest.raises(ArgumentError, match="errors is one of strict, skip"):
        Reader(redis, "s", errors=wrong)
    with pytest.raises(ArgumentError, match="errors is one of"):
        list(scan(redis, "s", errors=wrong))
