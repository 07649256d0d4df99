"""The feed: events from a server that sends them one after the other, over one HTTP request.

The protocol is Server-Sent Events. Each event has an ID; who comes back with `Last-Event-ID`
gets what came after it. So a reader that keeps the last ID it has dealt with misses nothing,
for as long as the server remembers (Wikimedia's: some days).
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from helpers.course.errors import CourseError
from helpers.course.loopback import is_loopback
from helpers.wiki.bounded import CUT_OFF, Bounded
from helpers.wiki.names import WIKIMEDIA

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 30.0
SILENCE_S = 30.0  # Wikimedia's feed is never silent for so long
LONGEST_ASKED_S = 300.0  # a feed may ask for a pause, but not for ever
CONNECT_S = 10.0
LONGEST_EVENT = 1_000_000  # bytes; a change has some two thousand

PLACE_REFUSED = (400, 431)  # 431: the ID is too long for it

Say = Callable[[str], None]


class FeedError(CourseError):
    """A feed that cannot be read the way it was asked for."""


class Event(NamedTuple):
    """An event of the feed: what it says, and the ID to come back with."""

    id: str
    says: dict[str, Any]


@dataclass
class FeedCounts:
    """What a feed has done since it began.

    Attributes:
        events: those that it handed on.
        skipped: those that it could not read, by what was wrong with them.
        connections: how often it connected.
    """

    events: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    connections: int = 0


class Feed:
    """Reads events, and comes back after every loss, until its task is cancelled.


    No failure of the feed ends it: each is told to `say` in one sentence, and after a while,
    longer each time, it tries again. What was sent meanwhile it gets then.
    """

    def __init__(
        self,
        url: str = WIKIMEDIA,
        *,
        last_event_id: str = "",
        since: datetime | None = None,
        contact: str = "",
        say: Say = lambda sentence: None,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: where the feed is; a replay server and Wikimedia differ in nothing else.
            last_event_id: go on after the event with this ID.
            since: without an ID, begin with the events of this moment; otherwise with the next.
            contact: a mail address or a web page. Wikimedia asks its readers for one.
            say: what to do with a sentence about a failure.
            silence_s: after so many seconds without a word the connection is taken for dead.

        Raises:
            FeedError: it is no URL, or Wikimedia would not know whom to write to.
        """
        self.url = url
        self.last_event_id = last_event_id
        self.counts = FeedCounts()
        self._since = since
        self._say = say
        self._silence_s = silence_s
        self._failures = 0
        self._asked_s = 0.0  # how long the feed itself asks us to wait
        self._headers = {"User-Agent": user_agent(url, contact), "Accept-Encoding": "identity"}

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events from here on, whatever happens to the connection."""
        async with self._client() as client:
            while True:
                try:
                    async with aclosing(self._one_connection(client)) as events:
                        async for event in events:
                            yield event
                    why = "The feed ended the connection"
                except (httpx.HTTPError, SSEError, FeedError) as error:
                    why = explain(error, self.url)
                wait_s = self._wait_s()
                self._say(f"{why}. Trying again in {wait_s:.1f} s.")
                await asyncio.sleep(wait_s)

    async def _one_connection(self, client: httpx.AsyncClient) -> AsyncGenerator[Event, None]:
        self.counts.connections += 1
        async with client.stream("GET", self.url, **self._place()) as response:
            if response.status_code in PLACE_REFUSED and self.last_event_id:
                self.last_event_id = ""
                raise FeedError("The feed no longer knows our place, so we go on from now")
            expect_feed(response)
            response.encoding = "utf-8"  # by definition
            response.stream = Bounded(response.stream, LONGEST_EVENT)
            async with aclosing(EventSource(response).aiter_sse()) as messages:
                async for message in messages:
                    if event := self._event(message):
                        yield event

    def _place(self) -> dict[str, Any]:
        """What to ask for, so that nothing is missed."""
        asked: dict[str, Any] = {"headers": {"Accept": "text/event-stream"}}
        if self.last_event_id:
            asked["headers"]["Last-Event-ID"] = self.last_event_id.strip().encode()
        elif self._since:
            asked["params"] = {"since": self._since.isoformat()}
        return asked

    def _event(self, message: ServerSentEvent) -> Event | None:
        """The event in a message, or None if there is none that can be read."""
        if message.retry is not None:
            self._asked_s = min(max(message.retry, 0), 1000 * LONGEST_ASKED_S) / 1000
        if not message.data:
            return None
        self._failures = 0
        if message.event == CUT_OFF:
            self._skip(f"longer than {LONGEST_EVENT:,} bytes")
            return None  # its ID may be cut off too
        self.last_event_id = message.id or self.last_event_id
        try:
            says = json.loads(message.data)
        except (ValueError, RecursionError):
            self._skip("not JSON")
            return None
        if not isinstance(says, dict):
            self._skip("not a JSON object")
            return None
        self.counts.events += 1
        return Event(self.last_event_id, says)

    def _skip(self, reason: str) -> None:
        self.counts.skipped[reason] += 1
        self._say(f"Skipped an event of the feed: {reason}.")

    def _client(self) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                timeout=httpx.Timeout(CONNECT_S, read=self._silence_s),
                headers=self._headers,
                verify=self.url.startswith("https:") and _authorities(),
                trust_env=not is_loopback(self.url),  # a proxy has no feed of this machine's
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:  # SOCKS, for one
            raise FeedError(
                f"The proxy that the environment names cannot be used ({error}): set HTTPS_PROXY "
                "to an http:// address, or unset ALL_PROXY and HTTPS_PROXY."
            ) from error

    def _wait_s(self) -> float:
        """How long to wait before the next attempt, with jitter, so that readers come apart."""
        longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures, 20))
        self._failures += 1
        return max(longest * random.uniform(0.5, 1.0), self._asked_s)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Whose certificates are trusted: 20 ms of the processor to read, so once a process."""
    return httpx.create_ssl_context()


def user_agent(url: str, contact: str) -> str:
    """Who we are, in the words that Wikimedia asks for: program, contact, library.

    Raises:
        FeedError: it is no URL, or Wikimedia's and nobody to write to.
    """
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        parts = httpx.URL()
    real = parts.host and (parts.port or 0) < 65536
    if parts.scheme not in ("http", "https") or not real:
        raise FeedError(f"{url!r} is no URL of a feed: it begins with http:// or https://.")
    if not (contact.isascii() and contact.isprintable()):
        raise FeedError(f"{contact!r} cannot be sent as contact: write it in plain letters.")
    if f".{parts.host}".endswith(".wikimedia.org") and not {"@", "."} & set(contact):
        raise FeedError(
            "Wikimedia asks who reads its feed: give a mail address or a web page, with "
            "contact=… or --contact."
        )
    whom = f" ({contact})" if contact else ""
    return f"redis-streams-course/{version('redis-streams-course')}{whom} httpx/{httpx.__version__}"


def expect_feed(response: httpx.Response) -> None:
    """Make sure that a response is a feed.

    Raises:
        FeedError: it is something else.
    """
    if response.is_redirect:
        to = response.headers.get("location", "nowhere")
        raise FeedError(f"The feed has moved to {to:.200}: use that URL")
    if response.status_code != httpx.codes.OK:
        raise FeedError(
            f"The feed answered {response.status_code} {response.reason_phrase}".rstrip()
        )
    kind = response.headers.get("content-type", "").partition(";")[0]
    if kind != "text/event-stream":
        raise FeedError(
            f"{response.url} is no feed: it sent {kind or 'no content type'}, not text/event-stream"
        )
    if (coding := response.headers.get("content-encoding", "identity")) != "identity":
        raise FeedError(f"The feed sends {coding}, though it was asked for plain text")


def explain(error: Exception, url: str) -> str:
    """What went wrong with a connection, in words."""
    if isinstance(error, FeedError):
        return str(error)
    if isinstance(error, httpx.ReadTimeout):
        return "The feed fell silent"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"No server answers at {url}"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return "The feed broke off"
    return f"The feed failed ({error or type(error).__name__})"
