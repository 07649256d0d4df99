"""What the tests of the event pipeline share: bad feeds, the truth, what was counted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from helpers import connect_async
from helpers.course.pace import patient
from helpers.streams.clock import moment_of
from helpers.wiki import Change, Counters, Feed, Publisher, Replay, Subscriber, change_of
from helpers.wiki import publisher as publishing
from helpers.wiki.counters import Bucket
from helpers.wiki.feed import Event

LIMIT_S = patient(20.0)  # of any wait
TEN_AM = datetime(2026, 5, 1, 10, tzinfo=UTC)
TEN_AM_MS = int(TEN_AM.timestamp()) * 1000

EDIT: dict[str, Any] = {
    "$schema": "/mediawiki/recentchange/1.0.0",
    "meta": {
        "uri": "https://en.wikipedia.org/wiki/Ooty",
        "request_id": "7d3cbc3c-1ff6-4a2f-9ab3-1d0d5b8c29a0",
        "id": "b1b7ae1c-2a9b-4bd6-a0a3-ed6a9d9d7a1f",
        "dt": "2026-05-01T10:00:00.123Z",
        "domain": "en.wikipedia.org",
        "stream": "mediawiki.recentchange",
    },
    "id": 1,
    "type": "edit",
    "namespace": 0,
    "title": "Ooty",
    "comment": "",
    "timestamp": 1777629600,
    "user": "Ann",
    "bot": False,
    "minor": False,
    "length": {"old": 100, "new": 142},
    "revision": {"old": 1, "new": 2},
    "server_url": "https://en.wikipedia.org",
    "server_name": "en.wikipedia.org",
    "server_script_path": "/w",
    "wiki": "enwiki",
    "parsedcomment": "",
}


def ten_am() -> datetime:
    """A clock that stands still."""
    return TEN_AM


def change(number: int = 0, **more: Any) -> Change:
    """A change, so many seconds before ten."""
    given: dict[str, Any] = {"domain": "en.wikipedia.org", "at_ms": TEN_AM_MS - 1000 * number}
    return Change(**(given | more))


# ------------------------------------------------------------------ a feed


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def sse(number: int, says: Any = None, *, end: str = "\n") -> bytes:
    """An event with an ID."""
    text = says if isinstance(says, str) else json.dumps(says or {"n": number}, ensure_ascii=False)
    return f"id: {number}{end}data: {text}{end}{end}".encode()


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer of a server."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class BadServer:
    """Gives each connection the next answer, and the last one to all further ones."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, str]] = []  # the headers of each request
        self.lines: list[str] = []  # the first line of each
        self.url = ""

    async def __aenter__(self) -> BadServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/feed"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        self.lines.append(first)
        self.asked.append({name.lower(): value for name, _, value in pairs})
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        try:
            if isinstance(given, bytes):
                writer.write(given)
                await writer.drain()
            else:
                await given(writer)
        except ConnectionError:
            pass  # who asked has gone
        finally:
            writer.close()


async def silence(writer: asyncio.StreamWriter) -> None:
    """Say that it is a feed, and nothing more."""
    writer.write(HEAD)
    await asyncio.sleep(LIMIT_S)


def then_silence(said: bytes) -> Answer:
    """Say this, and nothing more."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + said)
        await writer.drain()
        await asyncio.sleep(LIMIT_S)

    return speak


async def take(feed: Feed, count: int) -> list[Event]:
    """The next events of a feed."""
    found: list[Event] = []
    async with asyncio.timeout(LIMIT_S), aclosing(feed.events()) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.003)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A publisher's or a subscriber's run, which is stopped at the end, and must end then."""
    task = asyncio.create_task(work.run())
    try:
        yield task
        work.stop()
        async with asyncio.timeout(LIMIT_S):
            await task
    finally:
        task.cancel()
        await asyncio.wait([task])


# ------------------------------------------------------------------ the truth


def feed_of(replay: Replay, **more: Any) -> Feed:
    """A feed that begins with the first event of a replay."""
    return Feed(replay.url, since=moment_of(replay.start_ms), **more)


def changes_of(replay: Replay, count: int) -> list[Change]:
    """What the first events of a replay tell of."""
    return list(map(change_of, replay.events(count)))


def tally(changes: Iterable[Change], counters: Counters | None = None) -> dict[Bucket, int]:
    """How often each bucket of each domain must be counted."""
    return dict((counters or Counters()).tally(changes))


def counted(client: Any, counters: Counters | None = None) -> dict[Bucket, int]:
    """How often each bucket of each domain was counted; all together must be the same."""
    counters = counters or Counters()
    found = {
        (domain, int(bucket)): int(count)
        for domain in client.smembers(counters.known_domains)
        for bucket, count in client.hgetall(counters.of(domain)).items()
    }
    together: Counter[int] = Counter()
    for (_, bucket), count in found.items():
        together[bucket] += count
    everything = client.hgetall(counters.all_domains)
    assert {int(bucket): int(count) for bucket, count in everything.items()} == dict(together)
    return found


def total(client: Any, counters: Counters | None = None) -> int:
    """How many changes were counted."""
    return sum(map(int, client.hvals((counters or Counters()).all_domains)))


def everlasting(client: Any) -> list[str]:
    """The keys of the pipeline that would stay for ever."""
    keys = [*client.scan_iter("*ev*"), *client.scan_iter("*known_domains"),
            *client.scan_iter("*:place")]  # fmt: skip
    return [key for key in keys if client.ttl(key) == -1]


@contextmanager
def flowing(rate: float = 100) -> Iterator[Replay]:
    """A feed that flows into the counters: publisher and subscriber work in a thread."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def work(feed: str) -> None:
        async with connect_async() as client, connect_async() as other:
            subscriber = Subscriber(client, counters=Counters(interval_s=1, history_s=120))
            publisher = Publisher(other, Feed(feed))
            working = asyncio.gather(subscriber.run(), publisher.run())
            await stop.wait()
            publisher.stop()
            subscriber.stop()
            await working

    with Replay(rate=rate) as replay:
        thread = threading.Thread(target=loop.run_until_complete, args=[work(replay.url)])
        thread.start()
        try:
            yield replay
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


# ------------------------------------------------------------------ for processes of their own


def publish_for_ever(url: str, since_ms: int, through: Any, target: str, batch: int) -> None:
    """A publisher's life, in small batches."""
    publishing.BATCH = batch

    async def live() -> None:
        feed = Feed(url, since=moment_of(since_ms))
        await Publisher(connect_async(), feed, target, through=through).run()

    asyncio.run(live())


def subscribe_for_ever(name: str, batch: int) -> None:
    """A subscriber's life, on a stream."""

    async def live() -> None:
        terms: dict[str, Any] = {"name": name, "batch": batch, "block_ms": 20}
        one = Subscriber(connect_async(), through="stream", clock=ten_am, **terms)
        await one.run()

    asyncio.run(live())
