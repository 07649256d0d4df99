"""What the forker is told and answers: see `warm` and `forker`, two ends of a socket."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

ALIVE = 1 << 20  # instead of an exit code, which is smaller
REFUSED = -1  # instead of a process ID: the machine has no room for another process

_NUMBER = struct.Struct("!q")
_MOST_FDS = 3


class Life(NamedTuple):
    """Fork, and be the other side of a `Running`. The answer is a process ID.

    With it come three files: the standard input, what it prints to, and its report.
    """

    group: int
    environment: dict[str, str]
    folder: str
    path: list[str]


class End(NamedTuple):
    """The answer is the exit code of a fork, whose number is then free; or `ALIVE`."""

    pid: int


Order = Life | End


def give(orders: socket.socket, order: Order, fds: Sequence[int] = ()) -> int:
    """Give an order, and the answer to it.

    Raises:
        OSError: the other end is closed, or does not answer in time.
        EOFError: the other end is closed.
    """
    told = pickle.dumps(order)
    socket.send_fds(orders, [_NUMBER.pack(len(told))], fds)
    orders.sendall(told)
    return _number(_exactly(orders, _NUMBER.size))


def take(orders: socket.socket) -> tuple[Order, list[int]]:
    """Wait for an order, with its files.

    Raises:
        EOFError: the other end is closed.
    """
    head, fds, _, _ = socket.recv_fds(orders, _NUMBER.size, _MOST_FDS)
    if not head:
        raise EOFError
    size = _number(head + _exactly(orders, _NUMBER.size - len(head)))
    return pickle.loads(_exactly(orders, size)), fds


def answer(orders: socket.socket, number: int) -> None:
    """Answer an order."""
    orders.sendall(_NUMBER.pack(number))


def _exactly(orders: socket.socket, size: int) -> bytes:
    told = b""
    while len(told) < size:
        chunk = orders.recv(size - len(told))
        if not chunk:
            raise EOFError
        told += chunk
    return told


def _number(told: bytes) -> int:
    return int(_NUMBER.unpack(told)[0])
