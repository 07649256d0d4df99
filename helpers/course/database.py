"""Whose database it is: the course marks the one it may use, and cleans no other.

The lessons use plain key names, such as `chennai`. So that they never touch anybody else's
keys, the course takes a database only while it is empty, and leaves a mark in it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import redis

from helpers.course.errors import ForeignDatabaseError, ServerError
from helpers.course.server.identity import Server, hide_password, probe
from helpers.streams.keys import sibling_key

MARK = "course:database"

# Every key that a lesson, a lab or a `course` command makes by default.
COURSE_KEYS = (
    "chennai",
    "coimbatore",
    "madurai",
    "ooty",
    "course:*",
    "lesson*",
    "lab[0-9][0-9]:*",
    "bench:*",
    "reader:*",
    "temps:*",
    "{temps:averages}:*",
    "wiki",
    "ev",
    "ev:*",
    "known_domains",
    "{wiki}:*",
    "{ev}:*",
    "{*}:written",
    "{*}:producers",
    "{*}:names",
    "{*}:failures",
    "{*}:sweep",
    "{reader:*}:known",
    "{*}:dead",
)

_CLAIM = """
-- Mark an empty database; say how many keys stand in one that has no mark.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local keys = redis.call('DBSIZE')
if keys == 0 or ARGV[1] == 'own' then
  redis.call('SET', KEYS[1], 'This database belongs to the Redis Streams course.')
  return 0
end
return keys
"""


def claim(url: str, *, own: bool = False) -> None:
    """Take the database at a URL for the course, if it is empty or taken already.

    Args:
        url: the database's URL.
        own: the course started this server itself, so all that is in it is the course's.

    Raises:
        ForeignDatabaseError: it holds keys that the course did not make.
        ServerError: it cannot be written.
    """
    with probe(url) as client:
        try:
            foreign = client.eval(_CLAIM, 1, MARK, "own" if own else "shared")
        except redis.RedisError as error:
            raise ServerError(
                f"The course cannot write to the database at {hide_password(url)} ({error}): "
                "set REDIS_URL to one that it may write to, or unset it."
            ) from error
        if not foreign:
            return
        number = client.connection_pool.connection_kwargs.get("db", 0)
        raise ForeignDatabaseError(
            f"Database {number} of {hide_password(url)} holds {foreign} keys that this course "
            f"did not make. {_another(client)}"
        )


def clean(client: redis.Redis, *names: str) -> None:
    """Delete keys of a lesson, and what producers and groups keep beside them.

    Args:
        client: a client from `connect()`.
        names: key names, or patterns such as `lab01:*`.

    Raises:
        ForeignDatabaseError: the course never took this database.
    """
    if not client.exists(MARK):
        raise ForeignDatabaseError(
            "This database was not made by the course, so nothing in it was deleted: "
            "connect with `connect()` of helpers."
        )
    for name in names:
        for key in _matching(client, name):
            if key != MARK:
                client.unlink(key)


def reset(client: redis.Redis, server: Server) -> int:
    """Delete every key of the course, and say how many there were. Sends no FLUSHALL.

    Raises:
        ForeignDatabaseError: on a server that is not the course's own there are keys whose
            names the course does not know. Nothing was deleted.
    """
    keys = sorted(set(client.scan_iter(count=1000)) - {MARK})  # SCAN may name one twice
    unknown = [key for key in keys if not _known(key)]
    if unknown and server.source == "url":
        names = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise ForeignDatabaseError(
            f"{len(unknown)} keys at {server.safe_url} are not the course's ({names}), so "
            "nothing was deleted. Delete those yourself if they are yours to delete."
        )
    for chunk in _chunks(keys, 500):
        client.unlink(*chunk)
    return len(keys)


def _another(client: redis.Redis) -> str:
    used = {int(name.removeprefix("db")) for name in client.info("keyspace")}
    try:
        free = next(number for number in range(16) if number not in used)
        client.execute_command("SELECT", free)  # there may be fewer than the usual 16
    except (StopIteration, redis.ResponseError):
        return "None of its databases is empty: unset REDIS_URL to use the course's own server."
    return f"Database {free} is empty: end REDIS_URL with /{free}."


def _matching(client: redis.Redis, name: str) -> Iterator[str]:
    """The keys of a name or a pattern, and those beside them, also of a stream that is gone."""
    if _is_pattern(name):
        yield from client.scan_iter(match=name, count=1000)
    else:
        yield name
    yield from client.scan_iter(match=sibling_key(name, "*"), count=1000)


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _known(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in COURSE_KEYS)


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
