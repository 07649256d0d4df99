"""Join a class and leave it: what a learner asks for, and a class board answers."""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from pathlib import Path

from filelock import Timeout

from helpers.room import seat as seats
from helpers.room.post import BoardError, Reply, board_url, no_board, post
from helpers.room.seat import Seat
from helpers.room.sending import lock_of

_SECRET = re.compile(r"[\w.~+/=-]{16,200}", re.ASCII)
_IN_FLIGHT_S = 3.0  # how long to wait for what another kernel is sending


def join(url: str, name: str, code: str | None = None, certificate: Path | None = None) -> Seat:
    """Ask for a seat in a class, and keep it.

    Args:
        url: the board's address.
        name: what the seat is called on the board, such as `seat 12`.
        code: the code of the class, if it asks for one.
        certificate: a file with the certificate to trust.

    Raises:
        BoardError: the board cannot be reached, or refuses; the sentence says why.
        CourseError: there is a seat already, or it cannot be kept.
    """
    url, authority = board_url(url), _authority(certificate)
    with seats.taking(name) as file:
        asked = {"code": code, "as": name, "secret": seats.proposed(url, name)}
        try:
            reply = post(url, "/join", asked, authority=authority)
        except BoardError:  # if the answer was lost, the board knows by the secret who asks again
            reply = post(url, "/join", asked, authority=authority)
        if reply.status < 500:
            seats.answered()
        class_id, given, secret = _given(url, name, code, reply)
        seat = Seat(url, class_id, given, secret, time.time(), file.name, authority)
        try:
            seats.keep(seat)
        except BaseException:
            with contextlib.suppress(BoardError):  # no one could ever send in its name
                post(url, "/leave", {}, secret=secret, authority=authority)
            raise
        return seat


def leave(seat: Seat) -> str:
    """Give a seat back. Nothing more is sent, whether the board can be told or not.

    Returns:
        Why the board could not be told; empty if it was.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Timeout):
            stack.enter_context(seats.alone(lock_of(seat), _IN_FLIGHT_S))
        seats.forget()
        try:
            reply = post(seat.url, "/leave", {}, secret=seat.secret, authority=seat.authority)
        except BoardError as error:
            return str(error)
        told = reply.status == 200 or reply.status in (401, 410)  # it may have closed before
        return "" if told else f"The class board at {seat.url} says: {reply.error}."


def _given(url: str, name: str, code: str | None, reply: Reply) -> tuple[str, str, str]:
    """The class's ID, and the seat's name and secret.

    Raises:
        BoardError: there are none.
    """
    if reply.status == 403:
        what = "rejects this code" if code else "asks for a code"
        raise BoardError(
            f"The class at {url} {what}: add `--code` with the one that your instructor shows."
        )
    if reply.status == 409:
        raise BoardError(f"The class already has a {name!r}: choose another name with `--as`.")
    if reply.status not in (200, 201):
        raise BoardError(f"The class board at {url} says: {reply.error}.")
    class_id, given, secret = (reply.says.get(one) for one in ("class", "seat", "secret"))
    known = isinstance(class_id, str) and isinstance(given, str) and isinstance(secret, str)
    if not known or not _SECRET.fullmatch(str(secret)) or not class_id or not given:
        raise BoardError(no_board(url))
    return str(class_id), str(given), str(secret)


def _authority(certificate: Path | None) -> str:
    if certificate is None:
        return ""
    try:
        pem = certificate.read_text("ascii", "ignore")
        ssl.create_default_context(cadata=pem)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise BoardError(f"{certificate} holds no certificate in PEM ({error}).") from error
    return pem
