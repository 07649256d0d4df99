"""Connections to the course's server, for synchronous code and for asyncio.

`settings()` says how they differ from a plain `redis.Redis()`, and lesson 02 shows why. And
they send a command once: redis-py's own default sends it again when the reply is lost, XADD
too, and that makes two entries of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import HiredisRespSerializer
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from helpers.course.database import claim
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder
from helpers.course.server import OwnServer, find_server
from helpers.course.server.own import COURSE, Purpose, State
from helpers.streams.connection import (
    REPLY_TIMEOUT_S,
    AsyncPatientConnection,
    PatientConnection,
    patient,
)

CONNECT_TIMEOUT_S = 5.0

_DRIVER = DriverInfo()  # else redis-py looks its own version up on disk for every connection


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
    url, own = _address()
    return client_of(url, retries=retries, **_connection(own, _OwnConnection))


def connect_async(*, retries: int = 0) -> redis.asyncio.Redis:
    """The same for asyncio: a client whose commands are awaited.

    Call it where you await it: a client belongs to one event loop.
    """
    url, own = _address()
    return async_client_of(url, retries=retries, **_connection(own, _OwnAsyncConnection))


def client_of(url: str, *, retries: int = 0, **more: Any) -> redis.Redis:
    """A client of any server, with the course's settings; nothing is sent yet."""
    retry = Retry(ExponentialWithJitterBackoff(), retries)
    pool = redis.ConnectionPool.from_url(
        url, **settings() | more, retry=retry, command_packer=_Packer()
    )
    return redis.Redis.from_pool(patient(pool))


def async_client_of(url: str, *, retries: int = 0, **more: Any) -> redis.asyncio.Redis:
    """The same for asyncio."""
    retry = AsyncRetry(ExponentialWithJitterBackoff(), retries)
    pool = redis.asyncio.ConnectionPool.from_url(url, **settings() | more, retry=retry)
    if pool.connection_class is redis.asyncio.Connection:
        pool.connection_class = _AsyncConnection
    return redis.asyncio.Redis.from_pool(patient(pool))


def connect_own(server: OwnServer) -> redis.asyncio.Redis:
    """A client for asyncio of a server of our own, which is started again whenever it died.

    Raises:
        ServerError: it does not start.
    """
    ours: dict[str, Any] = {"folder": server.home, "purpose": server.purpose}
    return async_client_of(
        server.ensure().url, connection_class=_OwnAsyncConnection, driver_info=_DRIVER, **ours
    )


def connect_raw() -> redis.Redis:
    """A client over one connection whose replies are RESP2 as the server sent it.

    RESP2 is redis-cli's own default, and the shape that the manual shows. One connection for
    all commands: so MULTI and SELECT last from one to the next, as in redis-cli.
    """
    url, own = _address()
    raw = {"decode_responses": False, "protocol": 2, "max_connections": 1}
    client = client_of(url, **raw, **_connection(own, _OwnConnection))
    client.response_callbacks.clear()
    return client


def settings() -> dict[str, Any]:
    """How our clients differ from a plain `redis.Redis()`; they never send a command twice."""
    return {
        # Strings come back as str. redis-py's default is bytes.
        "decode_responses": True,
        # XREAD replies {stream: [(id, fields), …]}, and {} when BLOCK runs out.
        "legacy_responses": False,
        # How long to wait for a reply; our connections add the BLOCK of the command to it.
        "socket_timeout": REPLY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        # A feature of Redis Enterprise. While it's on, an idle asyncio connection that the
        # server has closed still counts as open, and the next command is lost on it.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def _connection(own: bool, kind: type) -> dict[str, Any]:
    ours = {"connection_class": kind, "folder": hidden_folder()} if own else {}
    return {"driver_info": _DRIVER} | ours


def _address() -> tuple[str, bool]:
    """The URL of a server in working order, and whether it is the course's own."""
    server = find_server()
    own = server.source != "url"
    claim(server.url, own=own)
    return server.url, own


class _Packer(HiredisRespSerializer):
    """Packs numbers as text: hiredis 3.5 crashes Python if Ctrl-C comes while it converts one."""

    def pack(self, *args: Any) -> Any:
        texts: list[Any] = [repr(arg) if type(arg) in (int, float) else arg for arg in args]
        return super().pack(*texts)


_PACKER = _Packer()


class _OwnConnection(PatientConnection):
    """A connection to the course's own server, which it starts again if it died.

    It asks for the port each time: the server may have another one since, and the old one
    may by now belong to somebody else's Redis.
    """

    def __init__(self, folder: Path, purpose: Purpose = COURSE, **settings: Any) -> None:
        super().__init__(**settings)
        self._server = OwnServer(folder, purpose)

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        state = None
        if not self.is_connected:
            state = self._server.alive() or _revived(self._server)
            self.port = state.port
        with _saying_who_is_silent(self._server, state):
            super().connect_check_health(*args, **kwargs)


class _AsyncConnection(AsyncPatientConnection):
    """Packs commands by hiredis, as a synchronous connection does: redis-py packs in Python."""

    def pack_command(self, *args: Any) -> Any:
        return _PACKER.pack(*args)


class _OwnAsyncConnection(_AsyncConnection):
    """An `_OwnConnection` for asyncio: a server is started in a thread, and the loop goes on."""

    def __init__(self, folder: Path, purpose: Purpose = COURSE, **settings: Any) -> None:
        super().__init__(**settings)
        self._server = OwnServer(folder, purpose)

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        state = None
        if not self.is_connected:
            state = self._server.alive()
            if state is None:
                state = await asyncio.to_thread(_revived, self._server)
            self.port = state.port
        with _saying_who_is_silent(self._server, state):
            await super().connect_check_health(*args, **kwargs)


def _revived(server: OwnServer) -> State:
    """The course's own server, which is started if it does not run.

    Raises:
        redis.ConnectionError: that failed. To a caller with patience it is a lost connection.
    """
    try:
        return server.revive()
    except CourseError as error:
        raise redis.ConnectionError(str(error)) from error


@contextmanager
def _saying_who_is_silent(server: OwnServer, state: State | None) -> Iterator[None]:
    try:
        yield
    except redis.TimeoutError as error:
        if state is None:
            raise
        raise redis.TimeoutError(server.silent(state.pid)) from error
