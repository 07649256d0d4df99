"""What stands in front of the real server: it listens on loopback, and passes on what comes.

How it passes it on is up to those who derive from it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import redis
import redis.asyncio
from redis.asyncio.connection import parse_url

from helpers.chaos.link import HungUpError, Stream
from helpers.course.connect import async_client_of, client_of
from helpers.course.database import claim
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder
from helpers.course.server import OwnServer, find_server


class Front(ABC):
    """Listens in a thread with a loop of its own, until it is closed or its block ends."""

    def __init__(self, url: str | None = None) -> None:
        """Begin to listen.

        Args:
            url: the server behind it; by default the course's, which a new connection
                starts again if it died.

        Raises:
            ServerError: no server can be used, with the remedy.
        """
        server, self._locate = _server(url)
        self._conversations: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()
        self._closed = False
        listener = socket.create_server(("127.0.0.1", 0))  # connections wait until it is served
        # Its connections inherit this. Without it the kernel holds small replies back for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = listener.getsockname()[1]
        self.url = _leading_to(self.port, server)
        self._loop = self._new_loop()
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def connect(self) -> redis.Redis:
        """A client of what stands here, with the course's settings; it sends nothing twice."""
        return client_of(self.url)

    def connect_async(self) -> redis.asyncio.Redis:
        """The same for asyncio."""
        return async_client_of(self.url)

    def cut(self) -> None:
        """Break every connection."""
        self._call(self._cut)

    def close(self) -> None:
        """Break every connection, and listen no more."""
        self._call(self._end)
        self._closed = True
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ in the thread

    @abstractmethod
    async def _converse(self, client: Stream) -> None:
        """Pass on what a client and the server say, until one of them hangs up."""

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _run(self, listener: socket.socket) -> None:
        # Not by asyncio.Runner: at its end it may start a thread, which an ending Python refuses.
        try:
            self._loop.run_until_complete(self._listen(listener))
        finally:
            self._loop.close()

    def _call(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something in the thread, and wait for it; nothing if all is closed."""
        if self._closed:
            return None
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _listen(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._serve, sock=listener)
        await self._closing.wait()
        server.close()
        await asyncio.sleep(0)  # a connection that was just accepted begins its conversation
        # All others, also one that is being accepted and has not begun its conversation.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # a transport closes its socket in the next round

    async def _end(self) -> None:
        self._closing.set()

    async def _cut(self) -> None:
        conversations = list(self._conversations)
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._conversations.add(task)
        try:
            with contextlib.suppress(OSError, HungUpError, CourseError, asyncio.CancelledError):
                await self._converse((reader, writer))
        finally:
            self._conversations.discard(task)
            writer.close()

    async def _reach(self) -> Stream:
        """A new connection to the server."""
        return await _connect(await asyncio.to_thread(self._locate))


def _server(url: str | None) -> tuple[str, Callable[[], str]]:
    """The server's URL, and how to find it again for each connection."""
    if url is None:
        server = find_server()
        claim(server.url, own=server.source != "url")
        if server.source != "url":
            own = OwnServer(hidden_folder())
            return server.url, lambda: own.revive().url
        url = server.url
    return url, lambda: url


async def _connect(url: str) -> Stream:
    parts = parse_url(url)
    if "path" in parts:
        return await asyncio.open_unix_connection(parts["path"])
    address = parts.get("host", "localhost"), parts.get("port", 6379)
    return await asyncio.open_connection(*address, ssl=_tls(url))


@functools.lru_cache(maxsize=8)
def _tls(url: str) -> ssl.SSLContext | None:
    """How a URL says that a server is to be trusted; None without TLS."""
    parts: dict[str, Any] = dict(parse_url(url))
    kind = parts.pop("connection_class", redis.asyncio.Connection)
    return kind(**parts).ssl_context.get() if kind is redis.asyncio.SSLConnection else None


def _leading_to(port: int, url: str) -> str:
    """The URL of a port here: with the user, the database and the settings of the server's.

    Behind it a server may want TLS; the way from a client to here stays on this machine.
    """
    parts: dict[str, Any] = dict(parse_url(url))
    user, password = (quote(parts.get(name) or "", safe="") for name in ("username", "password"))
    address = f"{user}:{password}@" if password else ""
    moved = ("db", "username", "password", "ssl_")
    query = [pair for pair in parse_qsl(urlsplit(url).query) if not pair[0].startswith(moved)]
    tail = f"?{urlencode(query)}" if query else ""
    return f"redis://{address}127.0.0.1:{port}/{parts.get('db', 0)}{tail}"
