"""Open a class: its server, its sockets, and the board at work until it is asked to end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import re
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from tornado.netutil import bind_sockets

from helpers.course.authoring.runsheet import Route
from helpers.course.errors import CourseError
from helpers.room import classes
from helpers.room.at_work import Board
from helpers.room.board import Exercise
from helpers.room.classes import Class
from helpers.room.handler import own_names
from helpers.room.names import expect_code, new_code
from helpers.room.service import http_server
from helpers.wiki.replay import expect_port

LOOPBACK, PORT = "127.0.0.1", 8750
END_S = 5.0  # for what is in hand at the end
FILES = 8192  # that may be open at once, where the system allows it
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How a class is to be opened; None is what it was before.

    Attributes:
        address: where to listen; loopback if it never was another.
        port: the port there; 0 is any.
        code: what a seat has to know.
        certificate, certificate_key: files for TLS.
        new: whether another class begins.
        title: what it is called.
        names: by which the machine may be called, besides its own.
    """

    address: str | None = None
    port: int | None = None
    code: str | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    new: bool = False
    title: str | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Opened:
    """A class that is open.

    Attributes:
        room: the class.
        again: whether it was open before.
        urls: where seats reach it.
        page: where the instructor's page is, with its key.
        warnings: sentences for the instructor.
    """

    room: Class
    again: bool
    seats: int
    urls: tuple[str, ...]
    page: str
    warnings: tuple[str, ...]


async def open_class(
    wanted: Wanted,
    exercises: Sequence[Exercise],
    catalogue: dict[str, dict[int, str]],
    routes: Sequence[Route],
    *,
    stop: asyncio.Event,
    ready: Callable[[Opened], None],
    say: Say,
) -> bool:
    """Be the board of a class until `stop` is set; its server ends then, and keeps the class.

    Returns:
        Whether the class goes on: it wasn't closed meanwhile.

    Raises:
        CourseError: it cannot be opened so, or is open already.
    """
    tls_of(as_wanted(classes.new_class(), wanted))  # what is wrong is said before a server starts
    server = classes.board_server()
    with classes.alone(server):
        async with classes.connected(server, stop=True) as client:
            before = None if wanted.new else await classes.current(client)
            before = None if before and before.closed else before
            room = as_wanted(before or classes.new_class(), wanted)
            tls = tls_of(room)
            sockets = _listen(room, wanted.port, again=before is not None)
            room = replace(room, port=sockets[0].getsockname()[1])
            await classes.keep(client, room)
            seats = await classes.seats_of(client, room)
            names = own_names() | {name.lower() for name in (room.address, *wanted.names)}
            reached = urls(room, wanted.names)
            board = Board(
                room, seats, client, exercises, catalogue, routes, join(room, reached[0]), names,
                tls is not None, say,
            )  # fmt: skip
            opened = Opened(
                room, before is not None, len(seats.all), reached, page(room),
                warnings(room, wanted.names),
            )  # fmt: skip
            await _work(board, sockets, tls, stop, lambda: ready(opened))
            room = await classes.expect_class(client, room.id)
            return room.closed is None


async def _work(
    board: Board,
    sockets: list[socket.socket],
    tls: Any,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    _raise_file_limit()
    http = http_server(board, tls)
    working = asyncio.create_task(board.run())
    asked = asyncio.create_task(stop.wait())
    http.add_sockets(sockets)
    try:
        ready()
        await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
        http.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(board.commits.idle(), END_S)
    finally:
        asked.cancel()
        board.counting.stop()
        await asyncio.wait([working], timeout=END_S)
        working.cancel()
        await http.close_all_connections()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    if address == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


def urls(room: Class, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Where seats reach a class: by names, and at each address if it listens to all."""
    scheme = "https" if room.certificate else "http"
    hosts = [*names, *map(_host, _addresses(room.address))]
    return tuple(f"{scheme}://{host}:{room.port}" for host in hosts)


def join(room: Class, url: str = "", seat: str = "seat 1") -> str:
    """The command with which a seat joins a class."""
    code = f" --code {room.code}" if room.code else ""
    return f'course class join {url or urls(room)[0]}{code} --as "{seat}"'


def page(room: Class) -> str:
    """Where the instructor reaches it."""
    known, host = ipaddress_of(room.address), room.address
    if known is not None and known.is_unspecified:
        host = LOOPBACK if known.version == 4 else "::1"
    scheme = "https" if room.certificate else "http"
    return f"{scheme}://{_host(host)}:{room.port}/?key={room.key}"


def warnings(room: Class, names: Sequence[str] = ()) -> tuple[str, ...]:
    """What an instructor should know of a class that others than this machine reach."""
    if room.certificate:
        url = urls(room, names)[0]
        why = refused_by_seats(room, urlsplit(url).hostname or "")
        said = f"Seats will refuse the certificate at {url} ({why}): give another, or open the "
        return (f"{said}class with --name and a name that it is for.",) if why else ()
    if is_loopback(room.address):
        return ()
    return (
        "Without a certificate, anyone on this network can read the class code and what seats "
        "send: which exercise, and whether it passed. Give --cert and --key if you mind, and open "
        "your own page on this machine only.",
    )


def refused_by_seats(room: Class, host: str) -> str:
    """Why a seat that trusts a class's certificate would refuse it at an address; empty if not."""
    client = ssl.create_default_context(cafile=room.certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    server, there, back = tls_of(room), ssl.MemoryBIO(), ssl.MemoryBIO()
    assert server
    seat = client.wrap_bio(back, there, server_hostname=host)
    board = server.wrap_bio(there, back, server_side=True)
    for side in (seat, board, seat):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return str(getattr(error, "verify_message", "") or error).rstrip(".")
    return ""


def ipaddress_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, unless it is a name."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address)
    return None


def as_wanted(room: Class, wanted: Wanted) -> Class:
    """A class as it is to be opened now.

    Raises:
        CourseError: half of a certificate, a code that would be guessed, no name, or no port.
    """
    if wanted.port is not None:
        expect_port(wanted.port)
    for name in wanted.names:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            raise CourseError(f"{name!r} isn't a host name: give one such as board.example.org.")
    address = wanted.address or room.address or LOOPBACK
    code = room.code if wanted.code is None else expect_code(wanted.code)
    if not code and not is_loopback(address):
        code = new_code()
    if (wanted.certificate is None) != (wanted.certificate_key is None):
        raise CourseError("A certificate has two files: give both --cert and --key, or neither.")
    if wanted.certificate and wanted.certificate_key:
        room = replace(
            room,
            certificate=str(wanted.certificate.absolute()),
            certificate_key=str(wanted.certificate_key.absolute()),
        )
    title = room.title if wanted.title is None else classes.expect_title(wanted.title)
    return replace(room, address=address, code=code, title=title)


def tls_of(room: Class) -> ssl.SSLContext | None:
    """How it is spoken to over TLS.

    Raises:
        CourseError: the files are no certificate and its key.
    """
    if not room.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(room.certificate, room.certificate_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise CourseError(
            f"The certificate {room.certificate} and its key {room.certificate_key} can't be used "
            f"({error}): give PEM files that belong together, without a password."
        ) from error
    return context


def _listen(room: Class, port: int | None, *, again: bool) -> list[socket.socket]:
    """Sockets at the class's address.

    Raises:
        CourseError: there are none to be had there.
    """
    tries = [port] if port is not None else [room.port] if again else [PORT, 0]
    for one in tries:
        try:
            return bind_sockets(one, room.address)
        except (OSError, OverflowError) as error:
            why = error
    if isinstance(why, socket.gaierror) or getattr(why, "errno", 0) == errno.EADDRNOTAVAIL:
        raise CourseError(
            f"{room.address} isn't an address of this machine: use 0.0.0.0 for all that it has."
        ) from why
    raise CourseError(
        f"The board can't listen on port {tries[0]} of {room.address} ({why}): end what uses it, "
        "or name another with --port, and let seats join again there."
    ) from why


def _addresses(address: str) -> list[str]:
    known = ipaddress_of(address)
    if known is None or not known.is_unspecified:
        return [address]
    family = socket.AF_INET if known.version == 4 else socket.AF_INET6
    found = [
        one.address
        for of_card in psutil.net_if_addrs().values()
        for one in of_card
        if one.family == family and not is_loopback(one.address) and "%" not in one.address
    ]
    first = _towards_others(family)
    return sorted(found, key=lambda one: one != first) or [
        LOOPBACK if known.version == 4 else "::1"
    ]


def _towards_others(family: socket.AddressFamily) -> str:
    """The address that this machine has for most others: a container's bridge is none of those."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect(
            ("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 9)
        )  # sends nothing
        return str(one.getsockname()[0])
    return ""


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _raise_file_limit() -> None:
    """Each seat's connection is an open file, and systems allow 256 or 1024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
