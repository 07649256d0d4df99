"""Objects of which there must not be two: the server knows each by a name, a number or a token.

`os.fork` makes two of one, and so does `copy.copy`. With one number both would go on, and the
server take a batch of the one for a batch of the other that it has already; and on one connection
each would read the other's replies. So a forked child and a copy begin with an identity of their
own, with nothing under way, and with connections of their own.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterator
from itertools import islice
from typing import Any, Self, TypeVar

from .errors import ArgumentError

T = TypeVar("T")

_ALL: weakref.WeakSet[Single] = weakref.WeakSet()
_forks = 0  # that lie between the first process and this one
_LEFT: list[Any] = []  # connections that are the parent's; closing them here would disturb it


class Single:
    """An object with an identity. A subclass says in `_reset` how another one of it begins."""

    def __init__(self) -> None:
        _ALL.add(self)

    def _reset(self) -> None:
        raise NotImplementedError

    def _forked(self) -> None:
        """What the object that was made before a fork does in the child."""
        self._reset()

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._reset()
        _ALL.add(twin)
        return twin

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()  # a client is shared by all that use it

    def __reduce_ex__(self, protocol: object) -> Any:
        raise ArgumentError(
            f"{type(self).__name__} cannot be sent to another process: make one there, with a "
            "client of that process."
        )


def portion(items: Iterator[T], size: int) -> list[T]:
    """The next items, so many at most.

    If their source forks meanwhile, those before are the parent's: the child leaves them out.
    """
    chunk: list[T] = []
    forks = _forks
    for item in islice(items, size):
        if forks != _forks:
            chunk.clear()
            forks = _forks
        chunk.append(item)
    return chunk


def _in_child() -> None:
    """Before anything else runs in a forked child."""
    global _forks
    _forks += 1
    for one in list(_ALL):
        if hasattr(client := getattr(one, "_client", None), "connection_pool"):
            _leave_connections(client)
        one._forked()


def _leave_connections(client: Any) -> None:
    """Connect anew. redis-py does so too, but not in asyncio, nor where a thread held its lock."""
    pool = client.connection_pool
    _LEFT.append((client.connection, vars(pool).copy()))
    client.connection = None
    for name in {"_lock", "_fork_lock"} & vars(pool).keys():
        lock = asyncio.Lock if isinstance(getattr(pool, name), asyncio.Lock) else threading.RLock
        setattr(pool, name, lock())
    pool.reset()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
