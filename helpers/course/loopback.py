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
    names = ("NO_PROXY", "no_proxy")  # programs read either, in this order or the other
    given = [environment[name] for name in names if environment.get(name)]
    for name in names:
        named = [one for one in (environment.get(name) or next(iter(given), "")).split(",") if one]
        if "*" in map(str.strip, named):
            continue  # everything is excepted, and some programs know the sign only if it is alone
        missing = [one for one in HERE if one not in map(str.strip, named)]
        environment[name] = ",".join([*named, *missing])


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
