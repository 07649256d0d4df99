"""The board's HTTP: what seats ask, and the instructor's page. It decides who may ask what.

    POST /join, /events, /leave       for seats: JSON, by the class code or a seat's secret
    GET  /, /projector, /board.json   for the instructor, by the key: `?key=…` once, then a cookie
         /live, /export.csv, /export.json

A body is read only if it may be one, up to a limit. A browser's page of another origin, and a
name that is not this machine's, get nothing: so no web page can ask in the instructor's name.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import logging
import mimetypes
import socket
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

import redis
import redis.asyncio
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Application, Finish, HTTPError, RequestHandler, stream_request_body

from helpers.course.authoring.routes import Route
from helpers.room import export
from helpers.room.board import Exercise, counted, shown
from helpers.room.classes import Class
from helpers.room.commits import Commits, UnkeptError
from helpers.room.counting import Counting
from helpers.room.events import Handed, MalformedError, json_of
from helpers.room.keeping import Seat, Seats
from helpers.room.limits import Budgets
from helpers.room.names import NameRefusedError, digest, is_code, is_key, seat_name, secret_of_seat
from helpers.room.telling import told
from helpers.room.view import Board as Shown
from helpers.streams.clock import ms_of, utc_now

PAGE = Path(__file__).with_name("page")
LARGEST_BODY = 128 * 1024  # 500 events have some 50 KiB
LARGEST_DRAINED = 1024 * 1024  # a body up to this is read, and dropped, before it is refused
LARGEST_HEADER = 16 * 1024
BODY_S = 15.0  # a body has to be here by then
IDLE_S = 120.0  # a connection may be silent for so long
CONNECTIONS, CONNECTIONS_AN_ADDRESS = 4000, 2000
WRONG_CODES, WRONG_CODES_S = 30, 0.5  # of an address, then so many a second
LIVE = 20  # pages that are told
TELL_S = 0.5
AGAIN_MS = 5000  # after which it is told again: someone is stuck for longer
WORDS = ("route", "began", "projector")  # what a page may ask for
Asked = tuple[tuple[str, str], ...]

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


@dataclass
class Board:
    """A board at work: what the handlers share.

    Attributes:
        room: the class.
        catalogue: exercise → number → what a mistake is.
        routes: the run-sheets that the class may follow.
        join: the command with which a seat joins.
        names: by which this machine may be called, besides its addresses.
        secure: whether it is spoken to over TLS.
        say: what to do with a sentence for the instructor.
    """

    room: Class
    seats: Seats
    client: redis.asyncio.Redis
    exercises: Sequence[Exercise]
    catalogue: dict[str, dict[int, str]]
    routes: Sequence[Route] = ()
    join: str = ""
    names: Collection[str] = ()
    secure: bool = False
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.commits = Commits(self.client)
        self.counting = Counting(self.client, self.room.keys, [one.id for one in self.exercises])
        self.wrong_codes = Budgets(WRONG_CODES, WRONG_CODES_S)
        self.closed = self.room.closed is not None
        self.live = 0  # pages that are told
        self.changes = 0  # grows with what the page shows, but for the counts
        self._shown: Shown
        self._version: object = None
        self._told: dict[Asked, str] = {}
        self._reading = asyncio.Lock()

    async def said(self, asked: Asked = ()) -> str:
        """The board as JSON, as a page asked for it; it is read when it has changed, or is old."""
        async with self._reading:
            version = self.changes, self.counting.version, ms_of(utc_now()) // AGAIN_MS
            if self._version != version:
                self._shown, self._told, self._version = await self.now(), {}, version
            if asked not in self._told:
                data = told(self._shown, self.catalogue, self.routes, dict(asked))
                self._told[asked] = json.dumps(data, separators=(",", ":"))
            return self._told[asked]

    async def now(self) -> Shown:
        """What the board shows."""
        now_ms = ms_of(utc_now())
        counts = await counted(self.client, self.room.keys, now_ms)
        seats = list(self.seats.all.values())
        board = shown(self.room, self.exercises, seats, counts, now_ms) | {"join": self.join}
        return cast(Shown, board)

    async def run(self) -> None:
        """Keep and count until cancelled."""
        committing = asyncio.create_task(self.commits.run())
        try:
            await self.counting.run()
        finally:
            committing.cancel()


def application(board: Board) -> Application:
    """The handlers."""
    shared = {"board": board}
    return Application(
        [
            ("/join", _Join, shared),
            ("/events", _Events, shared),
            ("/leave", _Leave, shared),
            ("/board.json", _BoardJson, shared),
            ("/live", _Live, shared),
            ("/export.(csv|json)", _Export, shared),
            ("/(projector)?", _Page, shared),
            ("/page/([a-z0-9._-]+)", _Static, shared),
        ],
        default_handler_class=_Nothing,
        default_handler_args=shared,
        log_function=lambda _: None,  # a log would have the key in it
    )


class Server(HTTPServer):
    """Takes so many connections, from all and from one address: more are closed at once."""

    def initialize(self, *args: Any, **more: Any) -> None:
        """Prepare: see HTTPServer."""
        super().initialize(*args, **more)
        self._open: Counter[str] = Counter()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Take a connection, or close it."""
        who = str(address[0])
        if self._open.total() >= CONNECTIONS or self._open[who] >= CONNECTIONS_AN_ADDRESS:
            stream.close()
            return
        self._open[who] += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        """A connection is gone."""
        super().on_close(server_conn)
        who = str(server_conn.context.address[0])
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]


def http_server(board: Board, ssl_options: Any = None) -> Server:
    """The server of a board, which listens nowhere yet."""
    for name in ("access", "application", "general"):  # what a stranger sends is no news
        log = logging.getLogger(f"tornado.{name}")
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return Server(
        application(board), ssl_options=ssl_options, max_header_size=LARGEST_HEADER,
        idle_connection_timeout=IDLE_S, body_timeout=BODY_S, max_body_size=2**40,
        max_buffer_size=LARGEST_DRAINED,
    )  # fmt: skip


@stream_request_body
class _Handler(RequestHandler):
    """What all have in common. None has a body read that it does not want."""

    TAKES = 0  # bytes of a body
    board: Board

    def initialize(self, board: Board) -> None:
        self.board = board

    def set_default_headers(self) -> None:
        for name, value in {
            "Server": "class board", "Cache-Control": "no-store", "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():  # fmt: skip
            self.set_header(name, value)

    def prepare(self) -> None:
        host, origin = self.request.host, self.request.headers.get("Origin")
        if not _is_ours(host, self.board.names):
            name = urlsplit(f"//{host}").hostname or "no name"
            self.refuse(
                421, f"This board isn't called {name!r:.60}: use the machine's address, or open "
                f"the class with --name and that name."
            )  # fmt: skip
        if origin is not None and origin != f"{self.request.protocol}://{host}":
            self.refuse(403, "A page of another site may not ask this board.")
        self._length()

    def _length(self) -> None:
        """Look how long the body is, before it is read."""
        self.body = bytearray()
        if "Transfer-Encoding" in self.request.headers:
            self.refuse(411, "The length of the body must be sent first, as Content-Length.")
        length = int(self.request.headers.get("Content-Length", 0))
        self.too_large = length > self.TAKES
        if length > LARGEST_DRAINED:
            self.expect_small()

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body, if it may be one."""
        if not self.too_large:
            self.body += chunk

    def expect_small(self) -> None:
        if self.too_large:
            self.refuse(413, f"The body is too large: {self.TAKES // 1024} KiB at most.")

    def refuse(self, status: int, sentence: str, wait_s: int | None = None) -> NoReturn:
        """Answer with a sentence, and end."""
        self.set_status(status)
        if wait_s:
            self.set_header("Retry-After", wait_s)
        self.finish({"error": sentence})
        raise Finish

    def write_error(self, status_code: int, **about: Any) -> None:
        error = about.get("exc_info", (None, None, None))[1]
        if not isinstance(error, HTTPError):
            self.board.say(f"The board could not answer {self.request.path}: {error!r:.300}")
        said = {
            404: "This board has no such page.", 405: "That can't be done at this address.",
        }.get(status_code, "The board could not answer: ask again.")  # fmt: skip
        self.finish({"error": said})

    def log_exception(self, *_: Any) -> None:
        """Said by `write_error`."""


class _Nothing(_Handler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404)


# ------------------------------------------------------------------ for seats


class _Post(_Handler):
    """A small JSON body."""

    TAKES = LARGEST_BODY

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST":
            raise HTTPError(405)
        self.admit()
        sort = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if sort != "application/json":
            self.refuse(415, "The body must be sent as application/json.")

    def admit(self) -> None:
        """Look who asks, before the body is read."""

    def secret(self) -> str:
        """The secret in the headers, or nothing."""
        kind, _, secret = self.request.headers.get("Authorization", "").partition(" ")
        return secret.strip() if kind.lower() == "bearer" else ""

    async def post(self) -> None:
        self.expect_small()
        try:
            await self.answer()
        except (MalformedError, NameRefusedError) as error:
            self.refuse(400, str(error))
        except UnkeptError as error:
            self.refuse(503, str(error), 1)
        except redis.ResponseError as error:
            self.board.say(f"The board's server refuses: {error}")
            self.refuse(503, "The board's server refuses this at the moment: send it again.", 5)

    async def answer(self) -> None:
        """Do what is asked."""
        raise NotImplementedError

    def expect_open(self) -> None:
        if self.board.closed:
            self.refuse(410, "This class is over: the board takes no more events.")


class _Join(_Post):
    """POST /join: a seat is taken, and gets its secret."""

    async def answer(self) -> None:
        said = json_of(bytes(self.body))
        if not set(said) <= {"code", "as", "secret"}:
            raise MalformedError("To join, send code, as, and a secret if you like; nothing else.")
        self._expect_code(said.get("code"))
        self.expect_open()
        name, secret = seat_name(said.get("as")), secret_of_seat(said.get("secret"))
        seat = self._seat(name, digest(secret))
        if not seat.kept:
            await self._keep(seat)
        self.board.changes += 1
        self.set_status(201)
        self.finish({"class": self.board.room.id, "seat": seat.name, "secret": secret})

    def _expect_code(self, code: object) -> None:
        """A right code always gets in, whatever others behind the same address have tried."""
        its = self.board.room
        if not its.code or is_code(code, its.code):
            return
        tries = self.board.wrong_codes.of(str(self.request.remote_ip))
        if not tries.spend():
            self.refuse(429, "Too many wrong codes came from here: wait a little.", tries.wait_s())
        self.refuse(403, "That isn't the class code: ask your instructor for it.")

    def _seat(self, name: str, its_digest: str) -> Seat:
        """The seat of this name, if it is free or the caller's own."""
        seats, now_ms = self.board.seats, ms_of(utc_now())
        seat = seats.called(name)
        if seat is None:
            if seats.full:
                self.refuse(429, f"This class is full: it has {len(seats.all)} seats.", 60)
            number = max(seats.all, default=0) + 1
            return seats.add(Seat(number, name, its_digest, now_ms, kept=False))
        if seat.digest == its_digest and seat.left is None and not seat.busy:
            return seat  # it asks again, since it has not heard the answer
        if seat.kept or seat.busy:
            self.refuse(409, f"There is a seat called {seat.name!r} already: choose another name.")
        return seats.add(Seat(seat.number, name, its_digest, now_ms, kept=False))

    async def _keep(self, seat: Seat) -> None:
        seat.busy = True
        try:
            *_, closed = await self.board.commits.commit(self.board.seats.join(seat))
        finally:
            seat.busy = False
        seat.kept = True
        if closed:
            self.board.closed = True
            self.expect_open()


class _OfSeat(_Post):
    """What a seat asks with its secret."""

    def admit(self) -> None:
        seat = self.board.seats.with_secret(self.secret())
        if seat is None or not seat.kept:
            self.set_header("WWW-Authenticate", "Bearer")
            self.refuse(401, "No seat of this class has that secret: join the class again.")
        self.seat = seat
        if not seat.requests.spend():
            self.refuse(429, "This seat asks too often: wait a little.", seat.requests.wait_s())
        if seat.left is not None:
            self.refuse(410, "This seat has left the class: join it again under another name.")
        self.expect_open()


class _Events(_OfSeat):
    """POST /events: they are confirmed when they are on the disk."""

    async def answer(self) -> None:
        seat, handed = self.seat, Handed.read(bytes(self.body))
        fresh = sum(one.n > seat.upto for one in handed.events)
        if not seat.events.allows(fresh):
            wait_s = seat.events.wait_s(fresh)
            self.refuse(429, "This seat sends too many events: wait a little.", wait_s)
        now_ms = ms_of(utc_now())
        [(how, upto)] = await self.board.commits.commit(
            self.board.seats.append(seat, handed, now_ms)
        )
        self._expect_kept(how)
        seat.events.spend(fresh)
        seat.upto, seat.seen = max(seat.upto, upto), now_ms
        seat.dropped, seat.waiting = handed.dropped, handed.waiting
        self.board.changes += 1
        self.finish({"upto": upto})

    def _expect_kept(self, how: str) -> None:
        if how == "full":
            self.refuse(503, "The board has to count first: send it again soon.", 2)
        if how == "closed":
            self.board.closed = True
            self.board.changes += 1
            self.expect_open()
        if how != "kept":
            self.refuse(410, "This seat has left the class: join it again under another name.")


class _Leave(_OfSeat):
    """POST /leave: the secret is void from then on, and the counts stay."""

    async def answer(self) -> None:
        now_ms = ms_of(utc_now())
        await self.board.commits.commit(self.board.seats.leave(self.seat, now_ms))
        self.seat.left = now_ms
        self.board.changes += 1
        self.finish({})


# ------------------------------------------------------------------ for the instructor


class _Instructors(_Handler):
    """What takes the key."""

    def prepare(self) -> None:
        super().prepare()
        key, given = self.board.room.key, self.get_query_argument("key", "")
        cookie = self.get_cookie(self.cookie_name, "") or ""
        if not is_key(given or cookie, key):
            self.refuse(
                403, "This page is the instructor's: open it at the address that `course class "
                "open` prints."
            )  # fmt: skip

    @property
    def cookie_name(self) -> str:
        """One for each port: browsers give a machine's cookies to all of them."""
        return f"board-{self.board.room.port}"


class _Page(_Instructors):
    """The page itself; the key goes from its address into a cookie."""

    def get(self, name: str | None) -> None:
        if self.get_query_argument("key", ""):
            self.set_cookie(
                self.cookie_name, self.board.room.key, httponly=True, samesite="Lax", path="/",
                secure=self.board.secure,
            )  # fmt: skip
            self.redirect(f"/{name or ''}")
            return
        file = PAGE / f"{name or 'index'}.html"
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(file.read_bytes())


class _Told(_Instructors):
    """What shows the board as a page asks for it."""

    def asked(self) -> Asked:
        """The words of the address that say how."""
        return tuple((word, self.get_query_argument(word, "")) for word in WORDS)


class _BoardJson(_Told):
    async def get(self) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(await self.board.said(self.asked()))


class _Live(_Told):
    """GET /live: the board when it has changed, at most twice a second, and every few seconds."""

    async def get(self) -> None:
        if self.board.live >= LIVE:
            self.refuse(429, f"{LIVE} pages are open already: close some.", 10)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        self.board.live += 1
        try:
            with suppress(StreamClosedError):
                await self._tell()
        finally:
            self.board.live -= 1

    async def _tell(self) -> None:
        last, asked = "", self.asked()
        self.write("retry: 1000\n\n")
        while not self.request.connection.stream.closed():  # type: ignore[union-attr]
            with suppress(redis.RedisError):  # the next look tells
                said = await self.board.said(asked)
                if said != last:
                    self.write(f"data: {said}\n\n")
                    last = said
            await self.flush()
            await asyncio.sleep(TELL_S)


class _Export(_Instructors):
    """GET /export.csv, /export.json: as a file."""

    async def get(self, kind: str) -> None:
        its = self.board.room
        self.set_header("Content-Disposition", f'attachment; filename="class-{its.id}.{kind}"')
        said = await self.board.now()
        if kind == "json":
            self.finish(export.to_json(said))
            return
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        write = export.summary_csv if self.get_query_argument("summary", "") else export.to_csv
        self.finish(write(said))


class _Static(_Handler):
    """What the page is made of: nothing secret."""

    def get(self, name: str) -> None:
        file = PAGE / name
        if file.suffix == ".html" or not file.is_file():
            raise HTTPError(404)
        body = file.read_bytes()
        sort = mimetypes.guess_type(name)[0] or "application/octet-stream"
        text = sort.startswith("text/") or sort.endswith("javascript")
        self.set_header("Content-Type", f"{sort}; charset=utf-8" if text else sort)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.finish(body)


def _is_ours(host: str, names: Collection[str]) -> bool:
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
