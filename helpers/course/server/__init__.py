"""Find the Redis server that the course talks to, or start one.

REDIS_URL, when set, names it. Otherwise the course runs a server of its own, one for the
checkout: see `own`. Which program that is, `program` decides.
"""

from __future__ import annotations

import os

from helpers.course.home import hidden_folder
from helpers.course.server.identity import Server, describe
from helpers.course.server.own import OwnServer

__all__ = ["OwnServer", "Server", "find_server"]


def find_server() -> Server:
    """The server of this course, started if need be.

    Raises:
        ServerError: REDIS_URL is unusable, or no server could be started.
    """
    url = os.environ.get("REDIS_URL", "").strip()
    if url:
        return describe(url, "url", "REDIS_URL is set")
    return OwnServer(hidden_folder()).ensure()
