"""What all requests to a board have in common: who may ask, how much, and one sentence for a no.

A body is read only if it may be one, up to a limit. A browser's page of another origin, and a
name that is not this machine's, get nothing: so no web page can ask in the instructor's name.
A refusal waits until a small body has been read: a connection that is closed before takes the
answer with it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler, stream_request_body

from helpers.room.at_work import Board

LARGEST_DRAINED = 1024 * 1024  # a body up to this is read, and dropped, before it is refused
MOST_DIGITS = 12  # of its length

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Server": "class board",
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request is not answered: with which status, why, and when it may come again."""

    def __init__(self, status: int, sentence: str, wait_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.wait_s = status, sentence, wait_s


def refuse(status: int, sentence: str, wait_s: int | None = None) -> NoReturn:
    """Answer a request with a sentence, and do nothing else.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(status, sentence, wait_s)


@stream_request_body
class Handler(RequestHandler):
    """A request. One class for each thing that can be asked."""

    METHOD: ClassVar[str] = "GET"
    LARGEST: ClassVar[int] = 0  # bytes of a body

    def initialize(self, board: Board) -> None:
        """Called by tornado."""
        self.board = board
        self.body = bytearray()
        self._refused: RefusedError | None = None
        self._drops = False  # what comes of the body

    def admit(self) -> None:
        """Look who asks, before the body is read.

        Raises:
            RefusedError: someone who may not.
        """

    async def answer(self, *words: Any) -> None:
        """Do what is asked; the words are those of the path.

        Raises:
            RefusedError: it can't be done.
        """
        raise NotImplementedError

    def set_default_headers(self) -> None:
        """Called by tornado."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Look at the request, before its body is read."""
        try:
            self._expect_body_that_ends()
            self._expect_our_own()
            if self.request.method != self.METHOD:
                refuse(405, "That can't be done at this address.")
            self.admit()
            if self._drops:
                refuse(413, f"The body is too large: {self.LARGEST // 1024} KiB at most.")
        except RefusedError as error:
            self._refused, self._drops = error, True

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body, unless it is refused anyway."""
        if not self._drops:
            self.body += chunk

    async def get(self, *words: Any) -> None:
        """Answer, now that the body is here, or refuse."""
        try:
            if self._refused:
                raise self._refused
            await self.answer(*words)
        except RefusedError as error:
            self._say(error)

    head = post = put = patch = delete = options = get

    def _expect_body_that_ends(self) -> None:
        """Look how long the body is; one that is far too long is never read."""
        headers = self.request.headers
        stated = headers.get("Content-Length", "0")
        if "Transfer-Encoding" in headers or not (stated.isascii() and stated.isdigit()):
            self._hang_up(411, "The length of the body must be sent first, as Content-Length.")
        elif len(stated) > MOST_DIGITS or int(stated) > LARGEST_DRAINED:
            self._hang_up(413, f"The body is too large: {self.LARGEST // 1024} KiB at most.")
        else:
            self._drops = int(stated) > self.LARGEST

    def _expect_our_own(self) -> None:
        host, origin = self.request.host, self.request.headers.get("Origin")
        if not is_ours(host, self.board.names):
            refuse(
                421,
                f"This board isn't called {host!r:.60}: use the machine's address, or open the "
                "class with --name and that name.",
            )
        if origin is not None and origin != f"{self.request.protocol}://{host}":
            refuse(403, "A page of another site may not ask this board.")

    def _say(self, error: RefusedError) -> None:
        self.set_status(error.status)
        if error.wait_s:
            self.set_header("Retry-After", error.wait_s)
        if error.status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish({"error": error.sentence})

    def _hang_up(self, status: int, sentence: str) -> NoReturn:
        """Refuse at once, and close the connection."""
        self.set_header("Connection", "close")
        self._say(RefusedError(status, sentence))
        refuse(status, sentence)

    def write_error(self, status_code: int, **about: Any) -> None:
        """Called by tornado when something else is wrong."""
        error = about.get("exc_info", (None, None, None))[1]
        if not isinstance(error, HTTPError):
            self.board.tell(f"The board could not answer {self.request.path!r:.60}: {error!r:.300}")
        self.finish({"error": "The board can't answer this."})

    def log_exception(self, *_: Any) -> None:
        """Said by `write_error`."""


class Nothing(Handler):
    """Where there is nothing."""

    def admit(self) -> None:
        """Refuse."""
        refuse(404, "This board has no such page.")


def is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a request's Host can be this machine: an address, or one of its names."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name == "localhost" or name.rstrip(".") in names


def own_names() -> set[str]:
    """What this machine is called in its network."""
    found = socket.gethostname().lower()
    first = found.partition(".")[0]
    return {found, first, f"{first}.local"} - {""}
