"""What goes to a function in another process, and what comes back from it."""

from __future__ import annotations

import io
import linecache
from typing import Any, NamedTuple

import cloudpickle
import redis
import redis.asyncio

from helpers.course.connect import connect, connect_async, settings
from helpers.course.errors import CourseError


class Client(NamedTuple):
    """An argument that stands for a client: made in the other process, sync or asyncio."""


CLIENT = Client()


class Returned(NamedTuple):
    """The function returned."""

    value: Any


class Failure(NamedTuple):
    """The function raised."""

    kind: str
    message: str
    file: str
    line: int

    @property
    def source(self) -> str:
        """The line of the function's author in which it happened, if it is known."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        where = f" in line {self.line}: `{self.source}`" if self.source else ""
        return f"{self.kind}: {self.message}{where}"


class Unfinished(NamedTuple):
    """The function did not return: it is still at work, or its process has ended."""

    ended: bool = False


Outcome = Returned | Failure | Unfinished


class CannotTravel(CourseError):
    """A function uses something that exists only in the process in which it was defined.

    Attributes:
        reason: what pickling said of it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The function uses something that cannot leave this process: use only its "
            f"arguments, imports and functions of your own ({reason})."
        )
        self.reason = reason


def packed(payload: Any) -> bytes:
    """Pickle by value what a notebook defines, and each Redis client as a recipe for a new one.

    Raises:
        CannotTravel: something in it cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(payload)
    except Exception as error:  # whatever a foreign object's own pickling raises
        raise CannotTravel(str(error)) from error
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, redis.Redis):
            return connect, ()
        if isinstance(obj, redis.asyncio.Redis):
            return connect_async, ()
        if isinstance(obj, redis.RedisCluster):
            nodes = [(one.host, one.port) for one in obj.get_nodes()]
            return _connect_cluster, (nodes, obj.get_connection_kwargs().get("password"))
        return super().reducer_override(obj)


def _connect_cluster(nodes: list[tuple[str, int]], password: str | None) -> redis.RedisCluster:
    """A client of the same cluster, with the course's settings."""
    known = [redis.cluster.ClusterNode(*one) for one in nodes]
    return redis.RedisCluster(startup_nodes=known, password=password, **settings())
