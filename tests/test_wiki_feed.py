"""The feed: whatever becomes of its connection, each event comes once, and it says what failed."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
import warnings
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.wiki import Faults, Feed, FeedError, Replay, feed
from helpers.wiki.bounded import CUT_OFF, Bounded
from helpers.wiki.names import WIKIMEDIA
from tests.wiki import (
    HEAD,
    LIMIT_S,
    TEN_AM,
    BadServer,
    answer,
    feed_of,
    silence,
    sse,
    take,
    then_silence,
    until,
)

pytestmark = pytest.mark.once

GOOD = then_silence(sse(1) + sse(2))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again after 2, 4, 8 … ms."""
    monkeypatch.setattr(feed, "FIRST_RETRY_S", 0.002)


def numbers(events: Any) -> list[int]:
    return [event.says["n"] for event in events]


async def read(server: BadServer, count: int, **more: Any) -> tuple[list[int], list[str]]:
    """The numbers of the next events, and what the feed said."""
    said: list[str] = []
    events = await take(Feed(server.url, say=said.append, **more), count)
    return numbers(events), said


# ------------------------------------------------------------------ a replay


def test_each_event_comes_once_and_in_order_whatever_breaks():
    faults = Faults(cut=70, malformed=90, huge=250)
    said: list[str] = []
    with Replay(rate=20_000, total=600, faults=faults) as replay:
        one = feed_of(replay, say=said.append)
        events = asyncio.run(take(one, 600))
        assert [event.says for event in events] == list(replay.events(600))
    assert one.counts.events == 600
    assert one.counts.connections == 9
    assert one.counts.skipped["longer than 1,000,000 bytes"] >= 2
    assert one.counts.skipped["not JSON"] >= 6
    assert len([text for text in said if text.startswith("The feed broke off. Trying ag")]) == 8


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9"])
def test_a_feed_on_this_machine_is_read_without_a_proxy(proxy, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv(name.lower(), proxy)
    with Replay(rate=20_000, total=5) as replay:
        events = asyncio.run(take(feed_of(replay), 5))
        assert [event.says for event in events] == list(replay.events(5))


def test_a_proxy_that_cannot_be_used_is_told(monkeypatch):
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "socks5h://127.0.0.1:9")
    feed = Feed("https://stream.wikimedia.org/v2/stream/recentchange", contact="me@example.org")
    with pytest.raises(FeedError, match="unset ALL_PROXY"):
        asyncio.run(anext(feed.events()))


def test_a_feed_that_refuses_for_a_while_is_read_on():
    with Replay(rate=500) as replay:

        async def main() -> list[int]:
            one = feed_of(replay)
            async with asyncio.timeout(LIMIT_S), aclosing(one.events()) as events:
                found = []
                async for event in events:
                    found.append(event.says["meta"]["offset"])
                    if len(found) == 20:
                        replay.cut(for_s=0.2)
                    if len(found) == 200:
                        return found
            raise AssertionError

        assert asyncio.run(main()) == list(range(200))


# ------------------------------------------------------------------ bad servers


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (answer("503 Service Unavailable"), "The feed answered 503 Service Unavailable."),
        (answer("404 Not Found"), "The feed answered 404 Not Found."),
        (answer("429 Too Many Requests"), "The feed answered 429 Too Many Requests."),
        (answer("301 Moved", "Location: https://x.org/y"),
         "The feed has moved to https://x.org/y: use that URL."),
        (answer("302 Found", "Location: " + "y" * 5000), f"The feed has moved to {'y' * 200}: use"),
        (answer("200 OK", "Content-Type: text/html", body=b"<html>"),
         "{url} is no feed: it sent text/html, not text/event-stream."),
        (answer("200 OK", body=b"x"), "{url} is no feed: it sent no content type, not text/event"),
        (answer("204 No Content"), "The feed answered 204 No Content."),
        (answer("200 OK", "Content-Type: text/event-stream"), "The feed ended the connection."),
        (answer("200 OK", "Content-Type: text/event-stream", "Content-Encoding: gzip", body=b"x"),
         "The feed sends gzip, though it was asked for plain text."),
        (b"", "The feed broke off."),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "The feed broke off."),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-st", "The feed broke off."),
        (HEAD + sse(0)[:-2], "The feed ended the connection."),
    ],
)  # fmt: skip
def test_a_bad_server_is_named_in_one_sentence_and_asked_again(given, sentence):
    async def main() -> None:
        async with BadServer(given, given, GOOD) as server:
            found, said = await read(server, 2)
            assert found == [1, 2]
            assert len(said) == 2
            assert said[0].startswith(sentence.format(url=server.url)), said
            assert said[0].count("Trying again in 0.0 s.") == 1

    asyncio.run(main())


def test_a_closed_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said: list[str] = []

    async def main() -> None:
        one = Feed(f"http://127.0.0.1:{port}/feed", say=said.append)
        task = asyncio.create_task(take(one, 1))
        await until(lambda: len(said) > 2)
        task.cancel()

    asyncio.run(main())
    assert said[0].startswith(
        f"No server answers at http://127.0.0.1:{port}/feed. Trying again in "
    )


def test_a_feed_that_falls_silent_is_taken_for_dead():
    async def main() -> None:
        async with BadServer(silence, then_silence(sse(1)), GOOD) as server:
            found, said = await read(server, 3, silence_s=0.1)
            assert found == [1, 1, 2]  # this server does not heed Last-Event-ID
            assert [text.partition(".")[0] for text in said] == ["The feed fell silent"] * 2
            assert [asked.get("last-event-id") for asked in server.asked] == [None, None, "1"]

    asyncio.run(main())


def test_keep_alives_alone_are_no_silence():
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _ in range(10):
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.05)
        writer.write(sse(1))
        await asyncio.sleep(LIMIT_S)

    async def main() -> None:
        async with BadServer(speak) as server:
            assert await read(server, 1, silence_s=0.3) == ([1], [])

    asyncio.run(main())


def test_an_event_that_was_cut_in_two_comes_whole_after_the_reconnect():
    half = HEAD + sse(1) + sse(2, {"n": 2, "title": "ஊட்டி"})[:-9]

    async def main() -> None:
        async with BadServer(half, then_silence(sse(2) + sse(3))) as server:
            found, said = await read(server, 3)
            assert found == [1, 2, 3]
            assert said == [said[0]]
            assert server.asked[1]["last-event-id"] == "1"

    asyncio.run(main())


def test_line_ends_may_be_of_any_kind_and_come_in_any_pieces():
    odd = {"n": 4, "title": "a\u2028b\u2029c\x85d\x0be"}
    said = b"".join(
        [
            sse(1, end="\r"),
            sse(2, end="\r\n"),
            sse(3),
            sse(4, odd),
            b'id: 5\ndata: {\ndata:"n":\ndata: 5}\n\n',
            b'event: x\nid:6\ndata:{"n":6}\nnew: field\n\n',
        ]
    )

    async def in_pieces(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for at in range(len(said)):
            writer.write(said[at : at + 1])
            await asyncio.sleep(0)
        await asyncio.sleep(LIMIT_S)

    async def main() -> None:
        for way in (in_pieces, then_silence(said)):
            async with BadServer(way) as server:
                one = Feed(server.url)
                events = await take(one, 6)
                assert numbers(events) == [1, 2, 3, 4, 5, 6]
                assert events[3].says == odd
                assert [event.id for event in events] == ["1", "2", "3", "4", "5", "6"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("{", "not JSON"),
        ("", None),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "not JSON"),
        ('"' + "x" * 999_000 + '"', "not a JSON object"),
        ('{"n": "' + "x" * 1_000_000 + '"}', "longer than 1,000,000 bytes"),
    ],
)
def test_an_event_that_cannot_be_read_is_skipped_and_counted(said, reason):
    async def main() -> None:
        async with BadServer(then_silence(sse(1) + sse(2, said) * bool(said) + sse(3))) as server:
            one = Feed(server.url)
            assert numbers(await take(one, 2)) == [1, 3]
            assert one.counts.skipped == ({reason: 1} if reason else {})

    asyncio.run(main())


@pytest.mark.parametrize("line", [b"data: " + b"x" * 64_000, b"data: y", b": " + b"x" * 999])
def test_an_event_of_ten_million_bytes_fills_no_memory(line):
    """One line, or many of them, or comments; its neighbours come."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + sse(1) + b"id: 2\ndata: ")
        text = (line.rstrip(b"\n") + b"\n") * (64_000 // len(line) + 1)
        for _ in range(10_000_000 // len(text)):
            writer.write(text)
            await writer.drain()
        writer.write(b"\n\n" + sse(3))
        await asyncio.sleep(LIMIT_S)

    async def main() -> None:
        async with BadServer(speak) as server:
            one = Feed(server.url)
            tracemalloc.start()
            try:
                assert numbers(await take(one, 2)) == [1, 3]
                assert tracemalloc.get_traced_memory()[1] < 8_000_000
            finally:
                tracemalloc.stop()
            assert one.counts.skipped == {"longer than 1,000,000 bytes": 1}

    asyncio.run(main())


# ------------------------------------------------------------------ coming back


def test_it_comes_back_with_the_id_of_the_last_event_that_it_dealt_with():
    async def main() -> None:
        events = [sse(n) for n in range(1, 5)]
        async with BadServer(HEAD + b"".join(events), then_silence(b"".join(events[2:]))) as server:
            one = Feed(server.url)
            assert numbers(await take(one, 2)) == [1, 2]  # 3 and 4 had been read, and nobody asked
            assert one.last_event_id == "2"
            assert numbers(await take(one, 2)) == [3, 4]
            assert server.asked[1]["last-event-id"] == "2"

    asyncio.run(main())


@pytest.mark.parametrize("status", ["400 Bad Request", "431 Request Header Fields Too Large"])
def test_a_place_that_the_feed_no_longer_knows_is_given_up(status):
    async def main() -> None:
        async with BadServer(answer(status), GOOD) as server:
            found, said = await read(server, 2, last_event_id="old")
            assert found == [1, 2]
            assert said[0].startswith("The feed no longer knows our place, so we go on from now.")
            assert [asked.get("last-event-id") for asked in server.asked] == ["old", None]

    asyncio.run(main())


@pytest.mark.parametrize("place", ['[{"topic":"ü"}]', " 7 ", "\u2028", "a\x01b", "x" * 60_000])
def test_a_place_may_be_any_text(place):
    async def main() -> None:
        said = f"id: {place}\ndata: {{}}\n\n".encode()
        async with BadServer(HEAD + said, GOOD) as server:
            assert len(await take(Feed(server.url), 3)) == 3

    asyncio.run(main())


def test_it_waits_as_long_as_the_feed_asks_but_not_for_ever():
    async def main() -> None:
        for retry, least, most in ((b"700", 0.7, 0.7), (b"9" * 4000, 300, 300), (b"-5", 0, 0.01)):
            async with BadServer(HEAD + b"retry: " + retry + b"\n\n" + sse(1), GOOD) as server:
                one = Feed(server.url)
                await take(one, 1)
                assert least <= one._wait_s() <= most

    asyncio.run(main())


def test_the_pauses_grow_with_jitter_and_begin_anew_after_an_event(monkeypatch):
    monkeypatch.setattr(feed, "FIRST_RETRY_S", 0.1)
    one = Feed("http://127.0.0.1/")
    waits = [one._wait_s() for _ in range(40)]
    for number, wait_s in enumerate(waits):
        longest = min(feed.LONGEST_RETRY_S, 0.1 * 2**number)
        assert longest / 2 <= wait_s <= longest
    assert len(set(waits)) == 40

    async def main() -> None:
        async with BadServer(GOOD) as server:
            one.url = server.url
            await take(one, 1)
            assert one._wait_s() <= 0.1

    asyncio.run(main())


@pytest.mark.parametrize("given", [silence, GOOD, answer("503 X"), b"", asyncio.sleep])
def test_it_can_be_cancelled_in_each_phase(given, recwarn, monkeypatch):
    """While it connects, while it waits for a word, for an event, and between two attempts."""
    monkeypatch.setattr(feed, "FIRST_RETRY_S", 60.0)

    async def mute(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LIMIT_S)

    async def main() -> None:
        async with BadServer(mute if given is asyncio.sleep else given) as server:
            others = asyncio.all_tasks()
            one = Feed(server.url)
            for pause_s in (0.0, 0.05):
                task = asyncio.create_task(take(one, 9))
                await asyncio.sleep(pause_s)
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=1)
                assert done
                assert task.cancelled()
            mine = asyncio.all_tasks() - others
            assert not [left for left in mine if "serve" not in repr(left)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
    assert not recwarn.list


# ------------------------------------------------------------------ who asks


def test_it_says_who_it_is():
    async def main() -> None:
        async with BadServer(GOOD) as server:
            await take(Feed(server.url, contact="ann@example.org"), 1)
            asked = server.asked[0]
            assert asked["accept"] == "text/event-stream"
            program, contact, library = asked["user-agent"].split()
            assert program.startswith("redis-streams-course/")
            assert contact == "(ann@example.org)"
            assert library.startswith("httpx/")

    asyncio.run(main())


def test_wikimedia_is_told_whom_to_write_to():
    for url, contact in ((WIKIMEDIA, ""), ("https://wikimedia.org/feed", ""), (WIKIMEDIA, "me")):
        with pytest.raises(FeedError, match="Wikimedia asks who reads its feed: give a mail addr"):
            Feed(url, contact=contact)
    assert Feed(WIKIMEDIA, contact="ann@example.org").url == WIKIMEDIA
    Feed("https://notwikimedia.org/feed")
    for contact in ("żółć@example.org", "ann\r\nX: y"):
        with pytest.raises(FeedError, match="cannot be sent as contact: write it in plain"):
            Feed(WIKIMEDIA, contact=contact)


@pytest.mark.parametrize(
    "url", ["", "wiki", "ftp://x.org", "redis://x.org", "http://", "http://[::1", "http://x:99999",
            "http://x:port/", None, 7, "http://x.org/\x00"],
)  # fmt: skip
def test_a_wrong_url_is_refused(url):
    with pytest.raises(FeedError, match="is no URL of a feed: it begins with http:// or https://"):
        Feed(url)


def test_since_is_asked_for_until_there_is_an_id():
    async def main() -> None:
        async with BadServer(HEAD, HEAD + sse(1), GOOD) as server:
            await take(Feed(server.url, since=TEN_AM), 3)
            assert [line.split()[1].partition("?")[2] for line in server.lines] == [
                "since=2026-05-01T10%3A00%3A00%2B00%3A00",
                "since=2026-05-01T10%3A00%3A00%2B00%3A00",
                "",
            ]

    asyncio.run(main())


# ------------------------------------------------------------------ the bound


def bounded(chunks: list[bytes], longest: int) -> bytes:
    one = Bounded(None, longest)
    return b"".join(map(one.bound, chunks))


LINES = st.binary(max_size=12).map(lambda text: text.translate(None, b"\r\n") or b"x")
LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: Any, most_lines: int) -> tuple[list[bytes], list[bytes]]:
    """Events, each with its empty line, and the same bytes in chunks."""
    events = []
    for _ in range(draw(st.integers(1, 5))):
        lines = draw(st.lists(LINES, min_size=1, max_size=most_lines))
        ends = [draw(LINE_ENDS) for _ in range(len(lines) + 1)]
        # CR, then an empty line that ends with LF, would read as one CR LF.
        if ends[-2] == b"\r" and ends[-1] == b"\n":
            ends[-1] = b"\r"
        events.append(b"".join(a + b for a, b in zip([*lines, b""], ends, strict=True)))
    said, chunks = b"".join(events), []
    while said:
        size = draw(st.integers(1, 30))
        chunks.append(said[:size])
        said = said[size:]
    return events, chunks


@given(streams(4))
def test_what_is_short_passes_unchanged_in_whatever_chunks_it_comes(stream):
    events, chunks = stream
    longest = max(map(len, events)) + 2
    assert bounded(chunks, longest) == b"".join(events)


@given(streams(12), st.integers(1, 60))
def test_where_it_is_cut_off_does_not_depend_on_the_chunks(stream, longest):
    events, chunks = stream
    assert bounded(chunks, longest) == bounded([b"".join(events)], longest)


@given(st.lists(st.integers(1, 40), max_size=6), st.integers(1, 60), st.integers(1, 30))
def test_what_is_long_is_cut_off_and_nothing_else(sizes, longest, size):
    events = [b"x" * (number % 7 + 1) + b"\n" + b"y" * number + b"\n\n" for number in sizes]
    said = b"".join(events)
    chunks = [said[at : at + size] for at in range(0, len(said), size)]
    mark = f"\nevent: {CUT_OFF}\n\n".encode()
    wanted = [one if len(one) <= longest else one[:longest] + mark for one in events]
    assert bounded(chunks, longest) == b"".join(wanted)
