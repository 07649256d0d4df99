"""Proxies: loopback is spared from them, so what is left is Wikipedia's live feed."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from helpers.course.doctor.finding import Finding, warning
from helpers.course.lab.environment import instead

FEED = "stream.wikimedia.org"
ANSWER_S = 2.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxies:
    """What the environment names for the feed, and what came of trying it."""

    used: str = ""  # the proxy, without a password
    unusable: str = ""  # why it cannot be one
    exceptions: str = ""  # why NO_PROXY cannot be read
    silent: str = ""  # what the system says of its port


def look(environment: Mapping[str, str]) -> Proxies:
    """Make a client as the feed does, and knock at the proxy's port."""
    with instead(environment):
        refusal = _refusal()
        named = urllib.request.getproxies_environment()
        spared = not refusal and urllib.request.proxy_bypass(FEED)
    if refusal:
        with instead({k: v for k, v in environment.items() if k.lower() != "no_proxy"}):
            unusable = _refusal()
        return Proxies(unusable=unusable) if unusable else Proxies(exceptions=refusal)
    proxy = named.get("https") or named.get("all")
    if not proxy or spared:
        return Proxies()
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 1080)
    except ValueError as error:
        return Proxies(unusable=str(error))
    return _tried(host, port) if host else Proxies(unusable="it has no host name")


def _tried(host: str, port: int) -> Proxies:
    try:
        socket.create_connection((host, port), ANSWER_S).close()
    except (OSError, UnicodeError) as error:
        return Proxies(used=f"{host}:{port}", silent=getattr(error, "strerror", "") or str(error))
    return Proxies(used=f"{host}:{port}")


def _refusal() -> str:
    """Why no client can be made with the proxies that the environment names."""
    try:
        httpx.Client(verify=False).close()  # nothing is sent
    except (ImportError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error)
    return ""


def findings(proxies: Proxies) -> Iterator[Finding]:
    """What lesson 07 will miss."""
    only = "Only Wikipedia's live feed in lesson 07 needs it; its recording does not"
    if proxies.unusable:
        yield warning(
            "proxies",
            f"The proxy that your environment names cannot be used ({proxies.unusable.rstrip('.')}"
            f"): set HTTPS_PROXY to an http:// address and unset ALL_PROXY. {only}.",
        )
    elif proxies.exceptions:
        yield warning(
            "proxies",
            f"NO_PROXY cannot be read ({proxies.exceptions.rstrip('.')}): name hosts and addresses "
            f"in it, with commas between them. {only}.",
        )
    elif proxies.silent:
        yield warning(
            "proxies",
            f"The proxy {proxies.used} that your environment names does not answer "
            f"({proxies.silent}): correct HTTPS_PROXY or ALL_PROXY, or unset it. {only}.",
        )
