"""Connections that wait for a reply as long as BLOCK lasts, and not forever.

redis-py has one time-out for all replies. Shorter than BLOCK it gives up on a healthy server, and
without one a server that is stopped, or a network that swallows packets, hangs the client for
good: the kernel at the other end still answers keepalives. Here each command has its own: the
socket_timeout, and for a command that blocks so much more as it asked to block.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.utils import SENTINEL

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)
Pool = TypeVar("Pool", redis.ConnectionPool, redis.asyncio.ConnectionPool)

REPLY_TIMEOUT_S = 5.0  # for a reply that does not block; a server may be slow for some seconds

_LAST, _FIRST = (-1, 1), (1, 1)  # where in the command the time stands, and its units a second
_TIMES = {
    "WAIT": (-1, 1000), "WAITAOF": (-1, 1000),
    "BLPOP": _LAST, "BRPOP": _LAST, "BRPOPLPUSH": _LAST, "BLMOVE": _LAST,
    "BZPOPMIN": _LAST, "BZPOPMAX": _LAST, "BLMPOP": _FIRST, "BZMPOP": _FIRST,
}  # fmt: skip


def block_s(command: tuple[Any, ...]) -> float:
    """For how many seconds a command may block; 0 if it does not, infinity for BLOCK 0."""
    name = _word(command[0])
    if name in ("XREAD", "XREADGROUP"):
        words = [_word(one) for one in command[1:9]]  # BLOCK stands before the streams
        at = words.index("BLOCK") + 1 if "BLOCK" in words else 0
        return _seconds(words[at], 1000) if at else 0.0
    if name not in _TIMES:
        return 0.0
    at, per_second = _TIMES[name]
    return _seconds(command[at], per_second)


def _word(part: Any) -> str:
    return part.decode(errors="replace").upper() if isinstance(part, bytes) else str(part).upper()


def _seconds(number: Any, per_second: int) -> float:
    try:
        return float(number) / per_second or math.inf
    except (TypeError, ValueError):
        return 0.0  # the server will refuse it


class _FollowsBlock:
    """For connections of redis.Connection's kind."""

    follows_block = True
    socket_timeout: float | None
    _blocks_s = 0.0

    def send_command(self, *args: Any, **options: Any) -> None:
        self._blocks_s = block_s(args)
        super().send_command(*args, **options)  # type: ignore[misc]

    def read_response(
        self, disable_decoding: bool = False, *, timeout: Any = SENTINEL, **options: Any
    ) -> Any:
        blocks_s, self._blocks_s = self._blocks_s, 0.0
        if blocks_s and timeout is SENTINEL and self.socket_timeout is not None:
            timeout = None if blocks_s == math.inf else blocks_s + self.socket_timeout
        try:
            return super().read_response(disable_decoding, timeout=timeout, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            self.heard(error)
            raise

    def heard(self, error: redis.RedisError) -> None:
        """Take note of an error. Here, since one more layer would cost each reply time."""


class PatientConnection(_FollowsBlock, redis.Connection):
    """Over TCP."""


class PatientSSLConnection(_FollowsBlock, redis.SSLConnection):
    """Over TLS."""


class PatientUnixConnection(_FollowsBlock, redis.UnixDomainSocketConnection):
    """Over a socket file."""


class _AsyncFollowsBlock:
    """The same for those of redis.asyncio.Connection's kind."""

    follows_block = True
    socket_timeout: float | None
    is_connected: bool
    health_check_interval: float
    _writer: Any
    _blocks_s = 0.0

    async def send_command(self, *args: Any, **options: Any) -> None:
        self._blocks_s = block_s(args)
        await super().send_command(*args, **options)  # type: ignore[misc]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        # redis-py gives each write a time-out, for which Python 3.11 makes a task. What the socket
        # takes at once needs none.
        if self.is_connected and not self.health_check_interval and isinstance(command, list):
            # Not writelines: on a connection that is reset meanwhile, Python 3.12's trips over it.
            self._writer.write(b"".join(command))
            if not self._writer.transport.get_write_buffer_size():
                return
            command = []  # what is left over waits as redis-py has it
        await super().send_packed_command(command, check_health)  # type: ignore[misc]

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  as redis-py has it
        **options: Any,
    ) -> Any:
        blocks_s, self._blocks_s = self._blocks_s, 0.0
        usual_s = self.socket_timeout
        if blocks_s and timeout is None and usual_s is not None:
            if blocks_s == math.inf:
                timeout = math.inf
            else:
                self.socket_timeout = blocks_s + usual_s
        try:
            return await super().read_response(disable_decoding, timeout, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            self.heard(error)
            raise
        finally:
            self.socket_timeout = usual_s

    def heard(self, error: redis.RedisError) -> None:
        """The same."""


class AsyncPatientConnection(_AsyncFollowsBlock, redis.asyncio.Connection):
    """Over TCP."""


class AsyncPatientSSLConnection(_AsyncFollowsBlock, redis.asyncio.SSLConnection):
    """Over TLS."""


class AsyncPatientUnixConnection(_AsyncFollowsBlock, redis.asyncio.UnixDomainSocketConnection):
    """Over a socket file."""


PATIENT: dict[type, type] = {
    redis.Connection: PatientConnection,
    redis.SSLConnection: PatientSSLConnection,
    redis.UnixDomainSocketConnection: PatientUnixConnection,
    redis.asyncio.Connection: AsyncPatientConnection,
    redis.asyncio.SSLConnection: AsyncPatientSSLConnection,
    redis.asyncio.UnixDomainSocketConnection: AsyncPatientUnixConnection,
}


def patient(pool: Pool) -> Pool:
    """The same pool, whose connections wait as long as BLOCK lasts, and not forever."""
    pool.connection_class = PATIENT.get(pool.connection_class, pool.connection_class)
    return pool
