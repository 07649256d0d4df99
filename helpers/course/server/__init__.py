"""Find the Redis server that the course talks to, or start one.

REDIS_URL, when set, names it. Otherwise the course runs a server of its own, one for the
checkout: see `own`. Which program that is, `program` decides.
"""

from __future__ import annotations

import os
from pathlib import Path

from helpers.course.home import hidden_folder
from helpers.course.server.identity import Server, describe
from helpers.course.server.own import OwnServer

__all__ = ["OwnServer", "Server", "find_server", "named_url"]


def named_url() -> str:
    """The URL in REDIS_URL; '' where the course has a server of its own."""
    return os.environ.get("REDIS_URL", "").strip()


def find_server(url: str | None = None, home: Path | None = None) -> Server:
    """The server of this course, started if need be.

    Args:
        url: in place of `named_url()`.
        home: in place of `hidden_folder()`.

    Raises:
        ServerError: REDIS_URL is unusable, or no server could be started.
    """
    url = named_url() if url is None else url
    if url:
        return describe(url, "url", "REDIS_URL is set")
    return OwnServer(home or hidden_folder()).ensure()
