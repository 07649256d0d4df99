"""The process behind `warm`: it has done the imports of `worker`, and forks itself on order.

It never runs a function itself, and has neither threads nor connections to a server that a
fork would share with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import NamedTuple, NoReturn

from helpers.chaos.worker import work

FILES = 3  # that come with a `Life`: its standard input, what it prints to, and its report


class Life(NamedTuple):
    """Fork, and be the other side of a `Running`.

    The answer is a process ID, or None if the machine has no room for another process.
    """

    group: int
    environment: dict[str, str]
    folder: str
    path: list[str]


class End(NamedTuple):
    """The answer is the exit code of a fork, whose number is then free; None if it is alive."""

    pid: int


Order = Life | End


def serve(number: int, preload: Iterable[str]) -> None:
    """Obey until the other end of the socket is closed.

    Args:
        number: the file descriptor of a socket, which leads to `warm`.
        preload: modules to import besides those of `worker`, if they are there.
    """
    for module in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.freeze()  # a fork that collects garbage need not look through what was there before it
    with Connection(number) as orders, contextlib.suppress(EOFError, OSError):
        while True:
            order = orders.recv()
            orders.send(_end(order) if isinstance(order, End) else _fork(order, orders))


def _fork(order: Life, orders: Connection) -> int | None:
    files = [recv_handle(orders) for _ in range(FILES)]
    try:
        pid = os.fork()
        if not pid:
            _begin(order, files, orders)
    except OSError:
        return None
    finally:
        for file in files:
            os.close(file)
    with contextlib.suppress(OSError):  # it has done so itself, or its guardian is gone
        os.setpgid(pid, order.group)
    return pid


def _begin(order: Life, files: list[int], orders: Connection) -> NoReturn:
    """Go on as the fork, and never come back from here."""
    try:
        orders.close()
        _live(order, *files)
    finally:
        os._exit(1)


def _live(order: Life, given: int, output: int, report: int) -> NoReturn:
    """Become in this fork what a fresh Python would have been."""
    os.setpgid(0, order.group)  # fails if the guardian is gone: then it never runs
    for target, file in ((0, given), (1, output), (2, output)):
        os.dup2(file, target)
    os.close(given)
    os.close(output)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.chdir(order.folder)
    sys.path[:] = order.path
    importlib.invalidate_caches()
    work(report)


def _end(order: End) -> int | None:
    try:
        pid, status = os.waitpid(order.pid, os.WNOHANG)
    except ChildProcessError:  # it was asked before, by a thread that did not hear the answer
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None
