"""Whose database it is: the course marks the one it may use, and cleans no other.

The lessons use plain key names, such as `chennai`. So that they never touch anybody else's
keys, the course takes a database only while it is empty, and leaves a mark in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

from helpers.course.errors import ForeignDatabaseError, ServerError
from helpers.course.keys import MARK, STREAMS, made_by_the_course
from helpers.course.rights import expect_rights
from helpers.course.server.identity import Server, hide_password, probe
from helpers.streams.keys import sibling_key
from helpers.streams.states import STATES, state_of, unreachable

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
        ServerError: it cannot be written, or its user may not do what every lesson needs.
    """
    with probe(url) as client:
        try:
            if not own:
                expect_rights(client, hide_password(url))
            foreign = client.eval(_CLAIM, 1, MARK, "own" if own else "shared")
        except redis.RedisError as error:
            raise ServerError(_unwritable(url, error, own)) from error
        if not foreign:
            return
        number = client.connection_pool.connection_kwargs.get("db", 0)
        raise ForeignDatabaseError(
            f"Database {number} of {hide_password(url)} holds {foreign} keys that this course "
            f"did not make. {_another(client)}"
        )


def note_streams(client: redis.Redis, *streams: str) -> None:
    """Note streams that a learner has named to a command, so that `reset` knows them."""
    strange = [one for one in streams if not made_by_the_course(one)]
    if strange:
        client.sadd(STREAMS, *strange)


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
            "The course does not own this database, so nothing in it was deleted: "
            "connect with `connect()` from helpers."
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
    named = frozenset(map(str, client.smembers(STREAMS)))
    unknown = [key for key in keys if not made_by_the_course(key, named)]
    if unknown and server.source == "url":
        names = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise ForeignDatabaseError(
            f"{len(unknown)} keys at {server.safe_url} are not the course's ({names}), so "
            "nothing was deleted. If you don't need them, delete them yourself."
        )
    for chunk in _chunks(keys, 500):
        client.unlink(*chunk)
    return len(keys)


def _unwritable(url: str, error: redis.RedisError, own: bool) -> str:
    """Why a database cannot be taken, and what to do."""
    if unreachable(error):
        return (
            f"The server at {hide_password(url)} was lost while the course looked at its database "
            f"({error}): try again. If it happens again, run `course doctor`."
        )
    code = state_of(error)
    if code == "MISCONF" or own:  # it is the server's own trouble, and may pass
        remedy = STATES[code][1] if code else "run `course doctor` to see why"
        return f"The server at {hide_password(url)} rejects writes ({error}): {remedy}."
    return (
        f"The course cannot write to the database at {hide_password(url)} ({error}): "
        "set REDIS_URL to one that it may write to, or unset it."
    )


def _another(client: redis.Redis) -> str:
    with contextlib.suppress(redis.ResponseError):  # there may be fewer than the usual 16
        for number in range(16):
            client.execute_command("SELECT", number)
            if not client.dbsize():
                return f"Database {number} is empty: end REDIS_URL with /{number}."
    return "None of its databases is empty: unset REDIS_URL to use the course's own server."


def _matching(client: redis.Redis, name: str) -> Iterator[str]:
    """The keys of a name or a pattern, and those beside them, also of a stream that is gone."""
    if _is_pattern(name):
        yield from client.scan_iter(match=name, count=1000)
    else:
        yield name
    yield from client.scan_iter(match=sibling_key(name, "*"), count=1000)


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
