"""The board's HTTP server: where each request goes, and how many connections there may be.

POST /join, /events, /leave       for seats: JSON, by the class code or a seat's secret
GET  /, /projector, /board.json   for the instructor, by the key: `?key=…` once, then a cookie
     /live, /export.csv, /export.json
"""

from __future__ import annotations

import logging
import resource
import ssl
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from helpers.room.at_work import Board
from helpers.room.handler import LARGEST_DRAINED, Nothing
from helpers.room.pages import BoardJson, Export, Live, Page, Static
from helpers.room.seat_requests import Events, Join, Leave

LARGEST_HEADER = 16 * 1024
BODY_S = 15.0  # a body has to be here by then
IDLE_S = 120.0  # a connection may be silent for so long
CONNECTIONS = 4000  # then the oldest is closed for each that comes: a flood shuts no one out
SPARE_FILES = 100  # that are open besides
ANY_SIZE = 2**40  # of a body: each handler knows what it reads


def application(board: Board) -> Application:
    """The handlers."""
    shared = {"board": board}
    return Application(
        [
            ("/join", Join, shared),
            ("/events", Events, shared),
            ("/leave", Leave, shared),
            ("/board.json", BoardJson, shared),
            ("/live", Live, shared),
            ("/export.(csv|json)", Export, shared),
            ("/(projector)?", Page, shared),
            ("/page/([a-z0-9._-]+)", Static, shared),
        ],
        default_handler_class=Nothing,
        default_handler_args=shared,
        log_function=lambda _: None,  # a log would have the key in it
    )


class Server(HTTPServer):
    """Has so many connections at most; when one more comes, the oldest is closed."""

    def initialize(self, *args: Any, **more: Any) -> None:
        """Prepare: see HTTPServer."""
        super().initialize(*args, **more)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(CONNECTIONS, max(1, files - SPARE_FILES))
        self._by_age: dict[IOStream, None] = {}

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Take a connection."""
        while len(self._by_age) >= self._most:
            oldest = next(iter(self._by_age))
            del self._by_age[oldest]
            oldest.close()
        self._by_age[stream] = None
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        """A connection is gone."""
        super().on_close(server_conn)
        self._by_age.pop(server_conn.stream, None)


def http_server(board: Board, tls: ssl.SSLContext | None = None) -> Server:
    """The server of a board, which listens nowhere yet."""
    for name in ("access", "application", "general"):  # what a stranger sends is no news
        log = logging.getLogger(f"tornado.{name}")
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return Server(
        application(board), ssl_options=tls, max_header_size=LARGEST_HEADER,
        idle_connection_timeout=IDLE_S, body_timeout=BODY_S, max_body_size=ANY_SIZE,
        max_buffer_size=LARGEST_DRAINED,
    )  # fmt: skip
