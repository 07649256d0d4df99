"""States of a server, as its error replies name them, and what each asks of a client.

The codes are those of `createSharedObjects` and of the checks in `processCommand` (server.c), of
`scriptPrepareForRun` and `scriptCall` (script.c), of ACL (acl.c), blocked clients (blocked.c) and
cluster redirections (cluster.c), in Valkey 9 and Redis 7 and 8. redis-py takes some codes off the
message and keeps them as `status_code`.

A reply that is not here says something of the command or of its keys, and not of the server.
"""

from __future__ import annotations

import redis
import redis.asyncio

# What a client should do about a reply.
WAIT = "wait and try again"
RECONNECT = "connect again, perhaps to another server, and try again"

# By its code: that, and what the state is and what to do about it, for people.
STATES: dict[str, tuple[str, str]] = {
    "LOADING": (WAIT, "it is loading its data: wait until it has finished"),
    "BUSY": (WAIT, "a script keeps it busy: wait, or end that script with SCRIPT KILL"),
    "MASTERDOWN": (WAIT, "it is a replica that has lost its primary: wait for a failover"),
    "CLUSTERDOWN": (WAIT, "some slots of the cluster have no node: bring their node back"),
    "TRYAGAIN": (WAIT, "a slot of the cluster is being moved: wait until the move is done"),
    "MISCONF": (WAIT, "it cannot write its data to disk: free some space there, and see its log"),
    "NOREPLICAS": (WAIT, "too few replicas are linked: bring them back, or lower"
                         " min-replicas-to-write"),
    "OOM": (WAIT, "its memory is full: raise maxmemory, or trim streams and delete keys"),
    "NOPERM": (WAIT, "this user may not do that: see ACL SETUSER"),
    "NOAUTH": (WAIT, "it asks for a password: put it into the URL"),
    "WRONGPASS": (WAIT, "it rejects this password: put the right one into the URL"),
    "MAXCLIENTS": (WAIT, "it has as many clients as maxclients allows: close some"),
    "NOSCRIPT": (WAIT, "it restarted between a script and its call: send both again"),
    "UNBLOCKED": (WAIT, "the wait was ended by CLIENT UNBLOCK"),
    "READONLY": (RECONNECT, "it is a replica: connect to the primary"),
    "DEMOTED": (RECONNECT, "it has become a replica: connect to the primary"),
    "MOVED": (RECONNECT, "this key is on another node of a cluster: give a client of the whole"
                          " cluster, a RedisCluster"),
    "ASK": (RECONNECT, "this key moves to another node of a cluster: wait until it has moved"),
}  # fmt: skip

# What some replies say in place of a code of their own, or behind a code that says less.
_PHRASES = (
    ("UNBLOCKED force unblock", "DEMOTED"),  # instance state changed
    ("max number of clients", "MAXCLIENTS"),
    ("ACL failure in script", "NOPERM"),
    ("The user executing the script can't", "NOPERM"),  # Redis 7.0
    ("has no permissions", "NOPERM"),
    ("invalid username-password pair", "WRONGPASS"),
    ("UNBLOCKED the stream key", ""),  # of the key, and not of the server
)


def state_of(error: BaseException) -> str | None:
    """The state that an error reply names; None for any other error."""
    said = str(error)
    for phrase, code in _PHRASES:
        if phrase in said:
            return code or None
    code = getattr(error, "status_code", None) or said.split(" ", 1)[0]
    return code if code in STATES else None


def unreachable(error: BaseException) -> bool:
    """Whether an error means that no answer came, so that the command's fate is unknown."""
    lost = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return lost and state_of(error) is None


def passes(error: BaseException) -> bool:
    """Whether the same command may go through later: no answer came, or a state that passes."""
    return unreachable(error) or state_of(error) is not None


def fate_unknown(error: BaseException) -> bool:
    """Whether the command may have been executed, or may still be.

    BUSY is no answer either: the script that keeps the server busy may be an earlier copy.
    """
    return unreachable(error) or state_of(error) == "BUSY"


def wants_reconnect(error: BaseException) -> bool:
    """Whether another connection may lead to a server that can do it."""
    code = state_of(error)
    return code is not None and STATES[code][0] == RECONNECT


def reconnect(client: redis.Redis, error: BaseException) -> None:
    """Let the next command connect anew, where that may help."""
    if wants_reconnect(error):
        client.connection_pool.disconnect(inuse_connections=False)


async def reconnect_async(client: redis.asyncio.Redis, error: BaseException) -> None:
    """The same for asyncio."""
    if wants_reconnect(error):
        await client.connection_pool.disconnect(inuse_connections=False)
