"""What runs on this machine is reached directly, whatever proxy its environment names."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import MutableMapping
from urllib.parse import urlsplit

HERE = ("localhost", "127.0.0.1", "::1")


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Except this machine from proxies, for this process and all that it starts.

    Without it, JupyterLab, the feed and the dashboard are looked for at the proxy, which has none
    of them. Other addresses go through the proxy as before.
    """
    for name in ("NO_PROXY", "no_proxy"):  # programs read either, some in this order
        named = [one for one in environment.get(name, "").split(",") if one.strip()]
        missing = [one for one in HERE if one not in map(str.strip, named)]
        environment[name] = ",".join([*named, *missing])


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
