"""Class boards that misbehave: what no real one does, or does only while something is broken."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "a-secret-of-24-characters"

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


class Board:
    """A board that keeps what it is sent, until it is told to misbehave.

    Attributes:
        url: where it listens.
        requests: the paths and bodies of all requests, in order.
        kept: the events that it has, by number.
        misbehave: what answers a request for events instead; None to be well.
        at_once: the most requests for events that were answered at the same time.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, Any], str]] = []
        self.kept: dict[int, dict[str, Any]] = {}
        self.misbehave: Callable[[BaseHTTPRequestHandler], Answer | None] | None = None
        self.join: Answer = answer(201, {"class": "k1", "seat": "seat 12", "secret": SECRET})
        self.at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Board:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def events(self) -> list[dict[str, Any]]:
        """What it has, in order."""
        return [self.kept[n] for n in sorted(self.kept)]

    def taken(self, body: dict[str, Any]) -> Answer:
        """Keep events, as a board that is well does."""
        for event in body["events"]:
            self.kept.setdefault(event["n"], event)
        return answer(200, {"upto": max(self.kept, default=0)})

    def _handler(board) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                board.requests.append((self.path, body, self.headers.get("Authorization", "")))
                with board._busy(self.path), contextlib.suppress(OSError):
                    given = board._answer(self, body)
                    if given is not None:
                        self._send(*given)

            def _send(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(more or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> Answer | None:
        if handler.path == "/join":
            return self.join
        if handler.path == "/leave":
            return answer(200, {})
        if self.misbehave:
            return self.misbehave(handler)
        return self.taken(body)

    @contextlib.contextmanager
    def _busy(self, path: str) -> Iterator[None]:
        with self._lock:
            self._now += path == "/events"
            self.at_once = max(self.at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= path == "/events"


def answer(status: int, says: object, **headers: str) -> Answer:
    """An answer in JSON."""
    return status, json.dumps(says).encode(), headers


def silent(board: Board) -> Callable[[BaseHTTPRequestHandler], None]:
    """Accepts, reads, and never says a word."""

    def wait(_: BaseHTTPRequestHandler) -> None:
        board.ended.wait()

    return wait


def dripping(board: Board) -> Callable[[BaseHTTPRequestHandler], None]:
    """Sends a byte now and then, and never a whole line."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-")
        while not board.ended.is_set():
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return drip
