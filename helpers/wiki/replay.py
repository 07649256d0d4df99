"""A replay of the feed on this machine: the same protocol as Wikimedia's, with synthetic events.

Its events are numbered, and event n is due n / rate seconds after the start, or sooner where the
replay is faster than its events. So whoever comes later, or comes back, gets what it has missed,
as from Wikimedia: by `Last-Event-ID`, or by `?since=`; without either, what is due from then on.
Faults come on demand.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from helpers.course.errors import CourseError
from helpers.streams.clock import ms_of, utc_now
from helpers.wiki.names import RATE
from helpers.wiki.synthetic import TOPIC, synthetic_event

PATH = "/v2/stream/recentchange"
TICK_S = 0.02
PORTION = 500  # events a write
KEEP_ALIVE_S = 5.0
HUGE = 10_000_000  # bytes of an event that is too long


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a replay, and how often: before each n-th event; 0 is never.

    Attributes:
        cut: the connection breaks off in the middle of an event.
        malformed: an event is no JSON.
        without_meta: an event has no `meta`.
        absurd: an event has a time and a domain that cannot be.
        huge: an event has ten million bytes.
        burst_s: events are held back, and sent all at once every so many seconds.
    """

    cut: int = 0
    malformed: int = 0
    without_meta: int = 0
    absurd: int = 0
    huge: int = 0
    burst_s: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) < 0:
                raise CourseError(
                    f"How often the fault {one.name} comes is 0 or more, not "
                    f"{getattr(self, one.name)}."
                )


class Replay:
    """A feed of synthetic changes, from an HTTP server on loopback, in a thread of its own.

    with Replay(rate=200) as replay:
        Feed(replay.url)
    """

    def __init__(
        self,
        *,
        rate: float = RATE,
        speed: float = 1.0,
        seed: int = 1,
        total: int | None = None,
        start: datetime | None = None,
        faults: Faults | None = None,
        port: int = 0,
    ) -> None:
        """Start the server.

        Args:
            rate: events a second of event time.
            speed: how much faster than that they are sent.
            seed: another seed is another feed.
            total: how many events there are; then the feed only keeps the connection.
            start: the event time of the first one; by default now.
            faults: what goes wrong.
            port: where it listens; 0 is any free port.

        Raises:
            CourseError: a rate that is none, or the port is taken.
        """
        for name, value in (("rate", rate), ("speed", speed)):
            if not 0 < value < math.inf:
                raise CourseError(f"The {name} of a feed must be above 0, not {value!r}.")
        self.rate, self.speed, self.seed, self.total = rate, speed, seed, total
        self.faults = faults or Faults()
        self.start_ms = ms_of(start or utc_now())
        self.connections = 0  # how often somebody came
        self._readers = 0  # how many are here
        self._began = time.monotonic()
        self._cuts = 0  # how often everybody was cut off
        self._refuses_until = 0.0
        self._cut_before: set[int] = set()
        self._ready = threading.Event()
        try:
            self._sockets = bind_sockets(expect_port(port), "127.0.0.1")
        except OSError as error:
            raise CourseError(
                f"The port {port} is taken, or may not be used: name another."
            ) from error
        self.port: int = self._sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="replay", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        """Where the feed is."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def due(self) -> int:
        """How many events are due by now."""
        passed_s = time.monotonic() - self._began
        if self.faults.burst_s:
            passed_s -= passed_s % self.faults.burst_s
        due = int(passed_s * self.speed * self.rate)
        return due if self.total is None else min(due, self.total)

    def events(self, count: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The events that it sends, those that faults add left out."""
        for number in range(first, first + count):
            yield synthetic_event(self.seed, number, self._at_ms(number))

    def cut(self, for_s: float = 0.0) -> None:
        """Break all connections, and let nobody in for so many seconds."""
        self._refuses_until = time.monotonic() + for_s
        self._cuts += 1

    def close(self) -> None:
        """End the server."""
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at_ms(self, number: int) -> int:
        return self.start_ms + int(number * 1000 / self.rate)

    def _serve(self) -> None:
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(Application([(PATH, _Stream, {"replay": self})], log_function=_quiet))
        server.add_sockets(self._sockets)
        self._ready.set()
        await self._end.wait()
        server.stop()
        self._cuts += 1
        await asyncio.sleep(2 * TICK_S)  # each sees within a tick that it is cut off
        await server.close_all_connections()  # also of those who do not read
        while self._readers:  # noqa: ASYNC110 (they end by themselves)
            await asyncio.sleep(TICK_S)

    def first_for(self, last_event_id: str, since: str) -> int:
        """The number of the event with which to begin for somebody who asks so.

        Raises:
            ValueError: it is no ID of this feed, or no time.
        """
        if last_event_id:
            (place,) = json.loads(last_event_id)
            number = int(place["offset"])
            if place != self._place(number) or not 0 <= number < self.due:
                raise ValueError(last_event_id)
            return number + 1
        if since:
            moment = datetime.fromisoformat(since)
            at_ms = ms_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
            return max(0, -int((self.start_ms - at_ms) * self.rate // 1000))
        return self.due

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Count somebody in, and out at the end."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    @property
    def refuses(self) -> bool:
        """Whether nobody is let in just now."""
        return time.monotonic() < self._refuses_until

    @property
    def cuts(self) -> int:
        """Grows when everybody is cut off."""
        return self._cuts

    def chunk(self, first: int, due: int) -> tuple[bytes, int, bool]:
        """What to send next: bytes, the number behind them, and whether the connection breaks."""
        sent = bytearray()
        for number, event in enumerate(self.events(min(due - first, PORTION), first), first):
            sent += b"".join(self._added_before(number, event))
            message = self._message(number, event)
            if self._comes(self.faults.cut, number) and number not in self._cut_before:
                self._cut_before.add(number)
                return bytes(sent + message[: len(message) // 2]), number, True
            sent += message
        return bytes(sent), min(due, first + PORTION), False

    def _place(self, number: int) -> dict[str, Any]:
        """What its ID says of an event; another seed or another start is another feed."""
        ours = {"seed": self.seed, "start": self.start_ms}
        return {"topic": TOPIC, "partition": 0, "offset": number} | ours

    def id_of(self, number: int) -> str:
        """The ID of an event, as it is sent."""
        return json.dumps([self._place(number)])

    def _message(self, number: int, event: Any) -> bytes:
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        return f"event: message\nid: {self.id_of(number)}\ndata: {text}\n\n".encode()

    def _added_before(self, number: int, event: dict[str, Any]) -> Iterator[bytes]:
        """The broken events that stand before an event, under the ID of the one before that."""
        faults, before = self.faults, number - 1
        if self._comes(faults.malformed, number):
            yield self._message(before, '{"meta": {"domain": "en.wikipe')
        if self._comes(faults.without_meta, number):
            yield self._message(before, {k: v for k, v in event.items() if k != "meta"})
        if self._comes(faults.absurd, number):
            absurd = {"dt": "9999-99-99T99:99:99Z", "domain": "no domain!", "stream": "?"}
            yield self._message(before, event | {"meta": absurd})
        if self._comes(faults.huge, number):
            yield self._message(before, event | {"comment": "x" * HUGE})

    @staticmethod
    def _comes(every: int, number: int) -> bool:
        return bool(every and number and number % every == 0)


def expect_port(port: int) -> int:
    """The port, if it can be one.

    Raises:
        CourseError: it cannot.
    """
    if not isinstance(port, int) or not 0 <= port < 65536:
        raise CourseError(f"The port {port!r} is none: name one from 0 to 65535.")
    return port


class _Stream(RequestHandler):
    """One reader's connection."""

    def initialize(self, replay: Replay) -> None:
        self._replay = replay

    async def get(self) -> None:
        replay = self._replay
        replay.connections += 1
        asked = self.request.headers.get("Last-Event-ID", "")
        try:
            number = replay.first_for(asked, self.get_query_argument("since", ""))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self.send_error(400, reason="This feed has no such place")
            return
        if replay.refuses:
            self.send_error(503, reason="The replay was told to refuse")
            return
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Synthetic", "yes")
        with self._replay.reader(), suppress(StreamClosedError):
            await self._send(number)

    async def _send(self, number: int) -> None:
        replay, cuts = self._replay, self._replay.cuts
        spoke_at = 0.0
        while replay.cuts == cuts:
            due = replay.due
            if number < due:
                said, number, breaks = replay.chunk(number, due)
                self.write(said)
                await self.flush()
                spoke_at = time.monotonic()
                if breaks:
                    break
            else:
                if time.monotonic() - spoke_at > KEEP_ALIVE_S:
                    self.write(b": still here\n\n")
                    await self.flush()
                    spoke_at = time.monotonic()
                await asyncio.sleep(TICK_S)
        self._break_off()

    def _break_off(self) -> None:
        stream = self.detach() if self._headers_written else None
        if stream:
            stream.close()


def _quiet(_: RequestHandler) -> None:
    """Write no log: a lesson's cells are no place for one."""
