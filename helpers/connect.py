"""Connections to the course's server, for synchronous code and for asyncio.

They differ from a plain `redis.Redis()` in four settings, and lesson 02 shows why:

* `decode_responses=True`: text comes back as `str`, not `bytes`.
* `socket_timeout=None`: the client waits as long as BLOCK says. redis-py's own default of
  5 seconds gives up before a longer BLOCK does.
* no retries: a command is sent once. redis-py's own default sends a command again when the
  reply is lost, XADD too, and that makes two entries of one.
* `legacy_responses=False`: XREAD and XREADGROUP reply `{stream: [(id, fields), …]}`, and
  `{}` when BLOCK runs out, whatever the protocol.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from helpers.database import claim
from helpers.home import hidden_folder
from helpers.server import OwnServer, find_server

CONNECT_TIMEOUT_S = 5.0


def connect(*, retries: int = 0) -> redis.Redis:
    """A client of the course's server, which is started if it does not run.

    Args:
        retries: how often redis-py may send a command again after a lost connection. More
            than 0 suits commands that can be repeated, such as reads: a repeated XADD
            makes a second entry.

    Raises:
        ServerError: no server can be used, with the remedy.
        ForeignDatabaseError: the database holds keys that the course did not make.
    """
    backoff = ExponentialWithJitterBackoff()
    url, own = _address()
    pool = redis.ConnectionPool.from_url(
        url, **_settings(), retry=Retry(backoff, retries), **_reviving(own, _RevivingConnection)
    )
    return redis.Redis.from_pool(pool)


def connect_async(*, retries: int = 0) -> redis.asyncio.Redis:
    """The same for asyncio: a client whose commands are awaited.

    Call it where you await it: a client belongs to one event loop.
    """
    backoff = ExponentialWithJitterBackoff()
    url, own = _address()
    pool = redis.asyncio.ConnectionPool.from_url(
        url,
        **_settings(),
        retry=AsyncRetry(backoff, retries),
        **_reviving(own, _RevivingAsyncConnection),
    )
    return redis.asyncio.Redis.from_pool(pool)


def connect_raw() -> redis.Redis:
    """A client over one connection whose replies are RESP2 as the server sent it.

    RESP2 is redis-cli's own default, and the shape that the manual shows. One connection for
    all commands: so MULTI and SELECT last from one to the next, as in redis-cli.
    """
    url, own = _address()
    settings = _settings() | {"decode_responses": False, "protocol": 2, "max_connections": 1}
    retry = Retry(ExponentialWithJitterBackoff(), 0)
    pool = redis.ConnectionPool.from_url(
        url, **settings, retry=retry, **_reviving(own, _RevivingConnection)
    )
    client = redis.Redis.from_pool(pool)
    client.response_callbacks.clear()
    return client


def _settings() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "legacy_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        # A feature of Redis Enterprise. While it is on, an idle asyncio connection that the
        # server has closed is taken for a good one, and the next command is lost on it.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def _reviving(own: bool, connection: type) -> dict[str, Any]:
    return {"connection_class": connection} if own else {}


def _address() -> tuple[str, bool]:
    """The URL of a server in working order, and whether it is the course's own."""
    server = find_server()
    _claim_once(server.url, server.source != "url")
    return server.url, server.source != "url"


@lru_cache
def _claim_once(url: str, own: bool) -> None:
    claim(url, own=own)


class _RevivingConnection(redis.Connection):
    """A connection to the course's own server, which starts it again if it died."""

    def connect(self) -> None:
        try:
            super().connect()
        except redis.ConnectionError:
            self.port = _revive()
            super().connect()


class _RevivingAsyncConnection(redis.asyncio.Connection):
    """The same for asyncio. Starting takes some 50 ms, in which the loop stands still."""

    async def connect(self) -> None:
        try:
            await super().connect()
        except redis.ConnectionError:
            self.port = _revive()
            await super().connect()


def _revive() -> int:
    own = OwnServer(hidden_folder())
    own.ensure()
    state = own.running()
    if state is None:
        raise redis.ConnectionError("The course's server ended as soon as it had started.")
    return state.port
