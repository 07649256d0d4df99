"""Which server answers and why, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import redis

from helpers.course.checkout import checkout_id
from helpers.course.connect import connect
from helpers.course.doctor.clock import ahead_s
from helpers.course.doctor.finding import Finding, problem, warning
from helpers.course.errors import EXPECTED, in_words
from helpers.course.home import hidden_folder
from helpers.course.rights import needs_that_are_lacking, user
from helpers.course.server import OwnServer, Server, find_server
from helpers.course.server.identity import probe


def look() -> tuple[dict[str, Any], list[Finding]]:
    """Connect as a lesson would: facts of the server that answers, if one does, and what is wrong.

    The facts are its `product`, `version`, `source`, `url` without the password, `why` it is the
    one; `database`, if REDIS_URL names one: whose it is; and `ahead_s`: how far its clock is ahead
    of this machine's.
    """
    found: list[Finding] = []
    facts: dict[str, Any] = {}
    try:
        server = find_server()
        facts = {
            "product": server.product,
            "version": server.version,
            "source": server.source,
            "url": server.safe_url,
            "why": server.why,
        }
        said = _of_the_home() if server.source != "url" else _of_the_user(server)
        with connect() as client:
            if server.source == "url":
                number = client.connection_pool.connection_kwargs.get("db", 0)
                facts["database"] = f"{number}, taken by this checkout ({checkout_id()})"
            found += [problem("server", one) for one in _full(client, server)]
            said += _evicts(client)
            facts["ahead_s"] = ahead_s(client)
        found += [warning("server", one) for one in said]
    except EXPECTED as error:
        found.append(problem("server", in_words(error)))
    return facts, found


def _full(client: redis.Redis, server: Server) -> list[str]:
    """Whether there is no room for what is added; while there is none, PING is refused too."""
    said = OwnServer(hidden_folder()).lacks() if server.source != "url" else None
    if not said:
        client.ping()
    return [said] if said else []


def _of_the_home() -> list[str]:
    """What other machines keep in the same hidden folder."""
    own = OwnServer(hidden_folder())
    return [
        f"The machine or container {name} shares this folder: it keeps its own data in "
        f"{own.folder.parent / name}, and neither sees what the other adds."
        for name in own.others()
    ]


def _of_the_user(server: Server) -> list[str]:
    """What the user of a server may not do, and which lessons and labs need it."""
    with probe(server.url) as client:
        lacks = needs_that_are_lacking(client)
        who = user(client) if lacks else ""
    words = sorted({one for some in lacks.values() for one in some})
    if not lacks:
        return []
    parts = "; ".join(f"{name}: {' '.join(some)}" for name, some in lacks.items())
    return [
        f"The user {who!r} may not do what some lessons and labs need ({parts}): allow it with "
        f"`ACL SETUSER {who} {' '.join(words)}`, or use the course's own server for those."
    ]


def _evicts(client: redis.Redis) -> list[str]:
    """Whether the server may evict streams, or what is noted beside them, by INFO MEMORY."""
    try:
        memory = client.info("memory")
    except redis.exceptions.NoPermissionError:
        return []
    policy = memory.get("maxmemory_policy", "noeviction")
    if not memory.get("maxmemory") or policy == "noeviction":
        return []
    return [
        f"This server may evict streams and the course's other keys: its maxmemory-policy is "
        f"{policy}. Set it to noeviction, and trim streams instead."
    ]
