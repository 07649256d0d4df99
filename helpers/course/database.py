"""Whose database it is: a checkout marks the one it may use, and cleans no other.

The lessons use plain key names, such as `chennai`. So that they never touch anybody else's
keys, the course takes a database only while it is empty, and leaves a mark in it, with the ID of
the checkout: two learners on one server need a database each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import redis

from helpers.course.checkout import Mark, checkout_id, mark_of
from helpers.course.errors import CourseError, ForeignDatabaseError, ServerError
from helpers.course.keys import MARK, STREAMS, made_by_the_course
from helpers.course.rights import expect_rights
from helpers.course.server.identity import Server, hide_password, probe
from helpers.streams.keys import sibling_key
from helpers.streams.states import STATES, state_of, unreachable

_CLAIM = """
-- Mark an empty database. Give back how many keys stand in one without a mark, or else its mark.
local mark = redis.pcall('GET', KEYS[1])
if type(mark) == 'table' then mark = 'no string' end
if ARGV[1] == 'own' then
  if not mark then redis.call('SET', KEYS[1], ARGV[3])
  -- A full server refuses it, and may be used all the same.
  elseif not string.find(mark, ARGV[2], 1, true) then redis.pcall('SET', KEYS[1], ARGV[3]) end
  return {0, ARGV[3]}
end
if mark then return {0, mark} end
local keys = redis.call('DBSIZE')
if keys == 0 then redis.call('SET', KEYS[1], ARGV[3]) end
return {keys, ARGV[3]}
"""

_ADOPT = """
-- Replace a mark, if it is still the one that was shown.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

DATABASES = 64  # of a server, in which to look for a free one; most have 16


def claim(url: str, *, own: bool = False) -> None:
    """Take the database at a URL for this checkout, if it is empty or was taken by it before.

    Args:
        url: the database's URL.
        own: the course started this server itself, so all that is in it is this checkout's.

    Raises:
        ForeignDatabaseError: it holds keys that the course did not make, or is another checkout's.
        ServerError: it cannot be written, or its user may not do what every lesson needs.
    """
    with probe(url) as client:
        checkout = _own_id() if own else checkout_id()
        try:
            if not own:
                expect_rights(client, hide_password(url))
            words = "own" if own else "shared", checkout, mark_of(checkout)
            foreign, said = cast(list[Any], client.eval(_CLAIM, 1, MARK, *words))
        except redis.RedisError as error:
            raise ServerError(_unwritable(url, error, own)) from error
        mark = Mark.read(said)
        if own or (not foreign and mark.checkout == checkout):
            return
        which = f"Database {_number(client)} of {hide_password(url)}"
        elsewhere = _another(client, checkout)
        if foreign:
            what = f"holds {foreign} keys that this course did not make"
            raise ForeignDatabaseError(f"{which} {what}. {elsewhere}")
        raise ForeignDatabaseError(
            f"{which} {taken_by(mark)}. {elsewhere} If this one is yours too, `course adopt` "
            "takes it over."
        )


def taken_by(mark: Mark) -> str:
    """Whose a database is, as the end of a sentence; no more is told than tells two apart."""
    if not mark.checkout:
        return "was taken by an earlier version of the course, which didn't note for whom"
    since = f", since {mark.since:%d %B %Y}" if mark.since else ""
    return f"belongs to another checkout of the course ({mark.checkout}{since})"


def others_mark(url: str) -> str | None:
    """The mark of a database that another checkout has taken; None if there is no such mark."""
    with probe(url) as client:
        said = client.get(MARK)
    return None if said is None or Mark.read(said).checkout == checkout_id() else said


def size(url: str) -> tuple[int, int]:
    """The number of the database at a URL, and how many keys it holds beside the mark."""
    with probe(url) as client:
        return _number(client), client.dbsize() - client.exists(MARK)


def adopt(url: str, seen: str) -> None:
    """Take over a database from the checkout whose mark was seen. Its keys stay.

    Raises:
        ForeignDatabaseError: it has another mark by now.
        ServerError: it cannot be written.
    """
    with probe(url) as client:
        try:
            done = client.eval(_ADOPT, 1, MARK, seen, mark_of(checkout_id()))
        except redis.RedisError as error:
            raise ServerError(_unwritable(url, error, own=False)) from error
    if not done:
        raise ForeignDatabaseError(
            "Another checkout has taken this database meanwhile: run `course adopt` again to see "
            "which."
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
        ForeignDatabaseError: the course never took this database, or another checkout has it.
    """
    mark = client.get(MARK)
    whose = Mark.read(mark or "").checkout
    if mark is None or (whose and whose != checkout_id()):
        raise ForeignDatabaseError(
            "This checkout of the course does not own this database, so nothing in it was deleted: "
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


def _own_id() -> str:
    """This checkout's ID, or none if it can't be kept: its own server works all the same."""
    with contextlib.suppress(CourseError):
        return checkout_id()
    return ""


def _number(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs.get("db", 0))


def _another(client: redis.Redis, checkout: str) -> str:
    """Which database to take instead: one that is this checkout's, or else one that is empty.

    The client's connection is in another database then.
    """
    empty, looked = None, False
    with client.pipeline(transaction=False) as pipeline:
        for number in range(DATABASES):
            pipeline.execute_command("SELECT", number).dbsize().get(MARK)
        said = pipeline.execute(raise_on_error=False)
    for number in range(DATABASES):
        selected, size, mark = said[3 * number : 3 * number + 3]
        if isinstance(selected, Exception) or isinstance(size, Exception):
            continue  # there may be fewer, or this one is forbidden
        looked = True
        if isinstance(mark, str) and Mark.read(mark).checkout == checkout:
            return f"Database {number} is yours: end REDIS_URL with /{number}."
        empty = number if empty is None and not size else empty
    if empty is not None:
        return f"Database {empty} is empty: end REDIS_URL with /{empty}."
    if not looked:
        return "Name an empty one in REDIS_URL, or unset it to use the course's own server."
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
