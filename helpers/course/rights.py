"""What a user of a server may do, and what the course needs: asked without doing any of it.

Most users may do everything, and ACL GETUSER says so. Of others it is asked for each command: a
server checks the right to it when it is queued in a MULTI. So each is queued, and the connection
closed instead of an EXEC: nothing was executed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import redis

from helpers.course.errors import ServerError
from helpers.course.keys import BENCH, COUNTERS, DOMAINS, MARK, PARTITION, STREAMS, WIKI
from helpers.streams.keys import CHECKPOINT, PRODUCERS, sibling_key
from helpers.streams.states import state_of

KEYS = (
    MARK, STREAMS, "chennai", "coimbatore", sibling_key("chennai", PRODUCERS), "lesson01:a",
    "lab01:a", f"{CHECKPOINT}display", f"{PARTITION}:20250101", WIKI, COUNTERS,
    f"{COUNTERS}:en.wikipedia.org", DOMAINS, f"{BENCH}a",
)  # fmt: skip
CHANNELS = (WIKI, "lesson07:a")

# As the servers counted them in INFO commandstats, in a run of each.
EVERYWHERE = (
    "dbsize", "del", "eval", "evalsha", "exec", "exists", "expire", "get", "hdel", "hget", "hset",
    "multi", "ping", "sadd", "scan", "script|load", "set", "smembers", "time", "type", "unlink",
    "xack", "xadd", "xgroup|create", "xinfo|consumers", "xinfo|groups", "xinfo|stream", "xlen",
    "xpending", "xrange", "xreadgroup", "xrevrange",
)  # fmt: skip
NEEDS = {
    "lesson 01": "hrandfield info memory|usage rpush xdel xtrim zadd",
    "lesson 02": "hgetall xread",
    "lesson 03": "command|list hkeys hrandfield pttl xdel xgroup|createconsumer xgroup|setid",
    "lesson 04": "command|list hkeys hlen hrandfield incr incrby lrange rpush xautoclaim "
                 "xclaim xdel xgroup|createconsumer xgroup|delconsumer",
    "lesson 05": "config|get expireat expiretime hrandfield memory|usage pexpireat ttl xtrim",
    "lesson 06": "expireat hgetall hmget xread",
    "lesson 07": "client|kill client|list command|list config|get config|set expireat "
                 "expiretime hgetall hincrby hkeys hvals pexpire psubscribe pttl publish "
                 "pubsub|channels pubsub|numsub select subscribe ttl xgroup|createconsumer "
                 "xgroup|delconsumer xread",
    "lesson 08": "acl|deluser acl|setuser client|id client|kill client|list command|list "
                 "hkeys hrandfield info memory|usage rpush xdel xgroup|createconsumer "
                 "xgroup|destroy xread zadd",
    "lab 01": "echo monitor",
    "lab 02": "client|list client|unblock echo lrange monitor rpush xread",
    "lab 03": "echo llen lrange monitor rpush xdel xtrim",
    "lab 04": "hincrby lrange rpush xautoclaim xclaim xdel xgroup|createconsumer "
              "xgroup|delconsumer",
    "lab 05": "expireat expiretime pexpiretime ttl xtrim",
    "lab 06": "dump hgetall",
    "lab 07": "echo hgetall hincrby hkeys monitor psubscribe publish pubsub|numpat "
              "pubsub|numsub select subscribe ttl xread",
    "lab 08": "client|id client|kill echo info monitor",
}  # fmt: skip
_NOT_QUEUED = ("exec", "multi")  # a MULTI executes these at once


def expect_rights(client: redis.Redis, shown: str) -> None:
    """Make sure that a user may do what every lesson needs.

    Args:
        client: a client that speaks RESP2.
        shown: the server's URL, fit for a screen.

    Raises:
        ServerError: it may not; the sentence says what to allow.
    """
    lacks = [] if may_do_everything(client) else lacking(client, EVERYWHERE, KEYS)
    if lacks:
        who = user(client)
        raise ServerError(
            f"The user {who!r} of the server at {shown} may not do what every lesson needs: "
            f"allow it with `ACL SETUSER {who} {' '.join(lacks)}`, or set REDIS_URL to another "
            "server, or unset it."
        )


def needs_that_are_lacking(client: redis.Redis) -> dict[str, list[str]]:
    """For each lesson and lab what its user may not do, as ACL SETUSER would allow it."""
    if may_do_everything(client):
        return {}
    wanted = {name: words.split() for name, words in NEEDS.items()}
    lacks = set(lacking(client, sorted({one for some in wanted.values() for one in some})))
    channels = lacking(client, (), (), CHANNELS)
    found = {
        name: [f"+{one}" for one in some if f"+{one}" in lacks]
        + (channels if "publish" in some else [])
        for name, some in wanted.items()
    }
    return {name: some for name, some in found.items() if some}


def may_do_everything(client: redis.Redis) -> bool:
    """Whether nothing is forbidden to a user; False too if it may not even ask."""
    try:
        about: Any = client.acl_getuser(str(client.acl_whoami()))
    except redis.ResponseError:
        return False
    rules = [about.get(name) for name in ("categories", "commands", "keys", "channels")]
    everywhere = about.get("databases", "alldbs") == "alldbs"
    return everywhere and rules == [["+@all"], [], ["~*"], ["&*"]]


def user(client: redis.Redis) -> str:
    """The name of the user, by ACL WHOAMI, or as the URL has it."""
    with contextlib.suppress(redis.exceptions.NoPermissionError):
        return str(client.acl_whoami())
    return client.connection_pool.connection_kwargs.get("username") or "default"


def lacking(
    client: redis.Redis,
    commands: Iterable[str],
    keys: Iterable[str] = (),
    channels: Iterable[str] = (),
) -> list[str]:
    """What of this a user may not do, as words of ACL SETUSER: `+xadd`, `~chennai`, `&wiki`."""
    connection = client.connection_pool.get_connection()
    try:
        return list(_lacking(connection, list(commands), keys, channels))
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)


def _lacking(
    connection: Any, commands: list[str], keys: Iterable[str], channels: Iterable[str]
) -> Iterator[str]:
    tries = [(f"+{name}", [name.upper()]) for name in _NOT_QUEUED if name in commands][:1]
    tries += [("+multi", ["MULTI"])]
    tries += [(f"+{name}", words) for name, words in _shortest(connection, commands)]
    tries += [(f"~{key}", ["DEL", key]) for key in keys]
    tries += [(f"&{channel}", ["PUBLISH", channel, "m"]) for channel in channels]
    for _, words in tries:
        connection.send_command(*words)
    for right, _ in tries:
        said = _refusal(connection)
        about = "~" if " key" in said else "&" if "channel" in said else "+"
        if said and right.startswith(about):
            yield right


def _shortest(connection: Any, commands: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each command with as few words as it takes; those that a server has not are left out."""
    asked = [name for name in commands if name not in _NOT_QUEUED]
    if not asked:
        return
    connection.send_command("COMMAND", "INFO", *asked)
    for name, about in zip(asked, connection.read_response(), strict=True):
        if about:
            words = name.split("|")
            yield name, words + [MARK] * (abs(about[1]) - len(words))


def _refusal(connection: Any) -> str:
    """What a server says to a command that this user may not send; empty, if it may."""
    try:
        connection.read_response()
    except redis.ResponseError as error:
        return str(error) if state_of(error) == "NOPERM" else ""
    return ""
