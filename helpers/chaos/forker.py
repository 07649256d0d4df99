"""The process behind `warm`: it has done the imports of `worker`, and forks itself on order.

Takes orders from the socket whose file descriptor is its first argument. It never runs a
function itself, and has neither threads nor connections that a fork would share with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import sys
import time

from helpers.chaos import worker
from helpers.chaos.orders import ALIVE, REFUSED, End, Life, answer, take


def main() -> None:
    """Obey until the other end of the socket is closed."""
    gc.freeze()  # a fork that collects garbage need not look through what was there before it
    with socket.socket(fileno=int(sys.argv[1])) as orders, contextlib.suppress(EOFError, OSError):
        while True:
            order, fds = take(orders)
            answer(orders, _end(order) if isinstance(order, End) else _fork(order, fds, orders))


def _fork(order: Life, fds: list[int], orders: socket.socket) -> int:
    try:
        pid = os.fork()
    except OSError:
        return REFUSED
    if not pid:
        try:
            orders.close()
            _live(order, *fds)
        finally:
            os._exit(1)
    with contextlib.suppress(OSError):  # it has done so itself, or its guardian is gone
        os.setpgid(pid, order.group)
    for fd in fds:
        os.close(fd)
    return pid


def _live(order: Life, given: int, output: int, report: int) -> None:
    """Become in this fork what a fresh Python would have been; does not return."""
    os.setpgid(0, order.group)  # fails if the guardian is gone: then it never runs
    for target, fd in ((0, given), (1, output), (2, output)):
        os.dup2(fd, target)
    os.close(given)
    os.close(output)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.chdir(order.folder)
    sys.path[:] = order.path
    importlib.invalidate_caches()
    sys.argv = [worker.__file__, str(report)]
    worker.main()


def _end(order: End) -> int:
    try:
        pid, status = os.waitpid(order.pid, os.WNOHANG)
    except ChildProcessError:  # it was asked before, by a thread that did not hear the answer
        return 0
    return os.waitstatus_to_exitcode(status) if pid else ALIVE


if __name__ == "__main__":
    main()
