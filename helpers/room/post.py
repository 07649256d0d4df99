"""One request to a class board: bounded in time and size, and each failure a sentence.

The board is in the same room, so an address of a private network is reached directly; for others
the environment's proxies count.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from helpers.course.errors import CourseError
from helpers.course.loopback import is_loopback

SILENCE_S = 5.0
DEADLINE_S = 15.0  # for a board that sends a byte now and then
LONGEST_REPLY = 64 * 1024
UNTRUSTED = {  # what OpenSSL finds wrong with a certificate, and what to do
    "has expired": "has expired: tell your instructor, if this machine's clock is right",
    "not yet valid": "isn't valid yet: tell your instructor, if this machine's clock is right",
    "mismatch": "is for another name than this address: ask your instructor for that name",
}


class BoardError(CourseError):
    """A class board that cannot be reached, or that does not do what it was asked for."""


class Reply(NamedTuple):
    """What a board answered."""

    status: int
    says: dict[str, Any]
    retry_after_s: float = 0.0

    @property
    def error(self) -> str:
        """Its own sentence about what is wrong, made fit for a terminal."""
        said = str(self.says.get("error") or f"it answers with status {self.status}")
        return "".join(one if one.isprintable() else " " for one in said)[:300].rstrip(". ")


def board_url(text: str) -> str:
    """The address of a board as it is kept: without what an instructor's link has beyond it.

    Raises:
        BoardError: it is no address of the web.
    """
    text = text.strip()
    with contextlib.suppress(ValueError):
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
        if parts.scheme in ("http", "https") and host and "@" not in parts.netloc:
            return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
    raise BoardError(
        f"{text!r} isn't the address of a class board: write it as your instructor shows it, such "
        "as http://192.168.1.20:8765."
    )


def post(
    url: str, path: str, says: Mapping[str, Any], *, secret: str = "", authority: str = ""
) -> Reply:
    """Send something to a board and return its answer, whatever its status is.

    Args:
        url: the board's, from `board_url`.
        path: such as `/events`.
        says: what becomes the JSON of the request.
        secret: the seat's.
        authority: the certificate to trust, as PEM; the system's ones without it.

    Raises:
        BoardError: nothing answers, or something that is not a board.
    """
    import httpx  # it takes a fifth of a second, which only those who joined a class wait for

    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    try:
        with (
            httpx.Client(
                timeout=SILENCE_S,
                trust_env=not _in_the_room(url),
                verify=_trusting(authority) if authority else url.startswith("https:"),
            ) as client,
            _until(DEADLINE_S, client.close),
            client.stream("POST", url + path, json=says, headers=headers) as response,
        ):
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LONGEST_REPLY:
                    break
            return _reply(url, response.status_code, body, response.headers.get("Retry-After", ""))
    except httpx.TimeoutException as error:
        # A board without TLS waits for the end of what it takes for a line.
        tls = " If its address begins with http://, write that." if url.startswith("https:") else ""
        raise BoardError(f"The class board at {url} doesn't answer.{tls}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError) as error:
        raise BoardError(_why(url, error)) from error


def _reply(url: str, status: int, body: bytes, retry_after: str) -> Reply:
    try:
        says = json.loads(body)
    except (ValueError, RecursionError):
        says = None
    if not isinstance(says, dict):
        raise BoardError(no_board(url))
    with contextlib.suppress(ValueError):
        return Reply(status, says, max(0.0, float(retry_after)))
    return Reply(status, says)


def no_board(url: str) -> str:
    """What to say of an address where something else answers."""
    return f"What answers at {url} isn't a class board: check the address."


def _why(url: str, error: Exception) -> str:
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        for part, remedy in UNTRUSTED.items():
            if part in said:
                return f"The certificate of the class board at {url} {remedy}."
        return (
            f"The certificate of the class board at {url} can't be trusted: ask your instructor "
            "for the file with the certificate, and add `--certificate FILE`."
        )
    if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
        return f"What answers at {url} uses no TLS: begin the address with http://."
    remedy = "check the address, and that you are in the same network"
    if _hung_up(url, error):
        remedy = "if its address begins with https://, write that"
    return f"The class board at {url} can't be reached ({said or type(error).__name__}): {remedy}."


def _hung_up(url: str, error: Exception) -> bool:
    """Whether what answers may expect TLS: it ends a connection that begins without."""
    import httpx

    ended = isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError))
    return ended and url.startswith("http:")


def _in_the_room(url: str) -> bool:
    """Whether a proxy would only be in the way."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return not address.is_global
    return is_loopback(url) or host.endswith(".local") or "." not in host


def _trusting(authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it may be the board's own certificate
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


@contextlib.contextmanager
def _until(limit_s: float, close: Callable[[], None]) -> Iterator[None]:
    """Close a client that is not done in time, from another thread."""
    timer = threading.Timer(limit_s, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
