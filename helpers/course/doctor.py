"""Which server answers and why, and what is wrong: a report as plain data."""

from __future__ import annotations

import platform
from typing import Any

import redis

from helpers.course.connect import connect
from helpers.course.errors import EXPECTED
from helpers.course.home import CHECKOUT, hidden_folder
from helpers.course.server import find_server


def examine() -> dict[str, Any]:
    """Connect as a lesson would, and report what was found.

    Returns:
        `ok` and `problems`, a sentence each; `warnings` of what may go wrong later; `server`, if
        one answers, with its `product`, `version`, `source`, `url` without the password, and `why`
        it is the one; `python`, `redis_py`, `checkout` and `hidden_folder`.
    """
    report: dict[str, Any] = {
        "ok": True,
        "server": None,
        "python": platform.python_version(),
        "redis_py": redis.__version__,
        "checkout": str(CHECKOUT),
        "problems": [],
        "warnings": [],
    }
    try:
        report["hidden_folder"] = str(hidden_folder())
        server = find_server()
        report["server"] = {
            "product": server.product,
            "version": server.version,
            "source": server.source,
            "url": server.safe_url,
            "why": server.why,
        }
        with connect() as client:
            client.ping()
            report["warnings"] += _evicts(client)
    except EXPECTED as error:
        report["ok"] = False
        report["problems"].append(str(error))
    return report


def _evicts(client: redis.Redis) -> list[str]:
    """Whether the server may evict streams, or what is noted beside them, by INFO MEMORY."""
    memory = client.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if not memory.get("maxmemory") or policy == "noeviction":
        return []
    return [
        f"This server may evict streams and what is noted beside them: its maxmemory-policy is "
        f"{policy}. Set it to noeviction, and trim streams instead."
    ]
