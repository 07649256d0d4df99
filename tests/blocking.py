"""Watches what an event loop's thread calls, and notes each call that waits there.

Time proves little on a busy machine, so the cause is looked for: a call into C that waits while no
task can go on. Nothing is patched: Python's profiler reports each call before it is made.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
import traceback
from concurrent.futures import thread
from typing import Any, Self

WAITS = {time.sleep, select.select, os.wait, os.waitpid, os.system}
NAMED = {"fork_exec", "flock", "getaddrinfo", "fsync"}
ON_SOCKETS = {"connect", "accept", "recv", "recv_into", "send", "sendall", "do_handshake"}
LOCK = type(threading.Lock())


class Blocking:
    """In its block, calls of this thread that wait are noted, each with where it came from."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def _look(self, frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and _waits(called, frame):
            calls = traceback.extract_stack(frame, limit=6)
            path = " > ".join(f"{os.path.basename(one.filename)}:{one.lineno}" for one in calls)
            self.found.append(f"{called.__name__}, at {path}")

    def __enter__(self) -> Self:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def _waits(called: Any, frame: Any) -> bool:
    name, of = called.__name__, getattr(called, "__self__", None)
    if isinstance(of, socket.socket):
        return name in ON_SOCKETS and of.gettimeout() != 0
    if isinstance(of, LOCK):
        return name == "acquire" and of.locked() and not _soon(frame)
    return called in WAITS or name in NAMED


def _soon(frame: Any) -> bool:
    """Whether it is a thread that begins, or an import: those end by themselves."""
    while frame:
        if frame.f_code.co_filename in (thread.__file__, "<frozen importlib._bootstrap>"):
            return True
        frame = frame.f_back
    return False
