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
    unusable: str = ""  # what httpx says of it
    silent: str = ""  # what the system says of its port


def look(environment: Mapping[str, str]) -> Proxies:
    """Make a client as the feed does, and knock at the proxy's port."""
    with instead(environment):
        try:
            httpx.Client(verify=False).close()  # nothing is sent
        except (ImportError, ValueError, httpx.HTTPError) as error:
            return Proxies(unusable=str(error))
        named = urllib.request.getproxies_environment()
        if urllib.request.proxy_bypass(FEED):
            return Proxies()
    proxy = named.get("https") or named.get("all")
    if not proxy:
        return Proxies()
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    shown = f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 1080)}"
    try:
        port = parts.port or _PORTS.get(parts.scheme, 1080)
        socket.create_connection((parts.hostname or "", port), ANSWER_S).close()
    except OSError as error:
        return Proxies(used=shown, silent=error.strerror or str(error))
    return Proxies(used=shown)


def findings(proxies: Proxies) -> Iterator[Finding]:
    """What lesson 07 will miss."""
    only = "Only Wikipedia's live feed in lesson 07 needs it; its recording does not"
    if proxies.unusable:
        yield warning(
            "proxies",
            f"The proxy that your environment names cannot be used ({proxies.unusable.rstrip('.')}"
            f"): set HTTPS_PROXY to an http:// address and unset ALL_PROXY. {only}.",
        )
    elif proxies.silent:
        yield warning(
            "proxies",
            f"The proxy {proxies.used} that your environment names does not answer "
            f"({proxies.silent}): correct HTTPS_PROXY or ALL_PROXY, or unset it. {only}.",
        )
