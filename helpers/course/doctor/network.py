"""Loopback, free ports and the name `localhost`: what kernels, JupyterLab and the server use."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from helpers.course.doctor.finding import Finding, problem, warning

SLOW_S = 2.0


@dataclass(frozen=True)
class Network:
    """What was seen of it; what cannot be done, with the system's own words."""

    loopback: str = ""
    addresses: tuple[str, ...] = ()  # of `localhost`
    unresolved: str = ""
    unusable: tuple[str, ...] = ()  # of these addresses: none can listen there
    took_s: float = 0.0


def look() -> Network:
    """Listen on loopback and connect to it; look `localhost` up, twice if it takes long."""
    addresses, unresolved, took_s = _looked_up()
    if took_s > SLOW_S:  # a busy machine may be slow once
        took_s = min(took_s, _looked_up()[2])
    unusable = tuple(one for one in addresses if _is_loopback(one) and _refusal(one))
    return Network(_refusal("127.0.0.1"), addresses, unresolved, unusable, took_s)


def findings(network: Network) -> Iterator[Finding]:
    """What is wrong with it."""
    if network.loopback:
        yield problem(
            "network",
            f"Nothing can be reached at 127.0.0.1 ({network.loopback}): enable the loopback "
            "interface, or allow it in your firewall.",
        )
    if network.unresolved:
        yield warning(
            "network",
            f"The name localhost leads nowhere ({network.unresolved}): add the line "
            "`127.0.0.1 localhost` to /etc/hosts. `course lab` uses 127.0.0.1 until then.",
        )
    elif strangers := [one for one in network.addresses if not _is_loopback(one)]:
        yield warning(
            "network",
            f"The name localhost leads to {', '.join(strangers)}, which isn't this machine's "
            "loopback: correct the line of localhost in /etc/hosts to `127.0.0.1 localhost`. "
            "`course lab` uses 127.0.0.1 until then.",
        )
    elif network.addresses == network.unusable and network.addresses and not network.loopback:
        yield warning(
            "network",
            f"The name localhost leads to {', '.join(network.unusable)} alone, where nothing can "
            "listen: add the line `127.0.0.1 localhost` to /etc/hosts. `course lab` uses "
            "127.0.0.1 until then.",
        )
    if network.took_s > SLOW_S:
        yield warning(
            "network",
            f"It takes {network.took_s:.1f} s to look the name localhost up: add the line "
            "`127.0.0.1 localhost` to /etc/hosts, so that no other machine is asked for it.",
        )


def _looked_up() -> tuple[tuple[str, ...], str, float]:
    """The addresses of `localhost`, why there are none, and how long it took in seconds."""
    began = time.monotonic()
    try:
        found = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    except OSError as error:
        return (), str(error), time.monotonic() - began
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    return addresses, "", time.monotonic() - began


def _refusal(address: str) -> str:
    """Why no program can listen at an address and be reached there; empty if one can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.socket(family))
            server.bind((address, 0))
            server.listen()
            client = stack.enter_context(socket.socket(family))
            client.settimeout(2)
            client.connect(server.getsockname())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
