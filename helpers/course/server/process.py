"""The server as a process of this machine: whether it lives, which one it is, how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import psutil

_NAMES = ("redis-server", "valkey-server")


def works_in(pid: int, folder: Path) -> bool:
    """Whether a process is alive and works in a folder.

    A pid alone proves nothing: after a crash it may belong to another program. And one folder
    may have two names, where a container gives it another.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if sys.platform == "linux":
            return os.path.samefile(f"/proc/{pid}/cwd", folder)
        return os.path.samefile(process.cwd(), folder)
    except (psutil.Error, OSError, ValueError):
        return False


def servers_in(folder: Path) -> set[int]:
    """The servers among all processes of this user that work in a folder."""
    found = psutil.process_iter(["name"])
    return {one.pid for one in found if one.info["name"] in _NAMES and works_in(one.pid, folder)}


def end(pid: int, limit_s: float) -> None:
    """Ask a process to end, and kill it if it does not within some seconds."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.resume()  # one that was paused could not hear the next line
        process.terminate()  # SIGTERM: the server writes its append-only file and exits
        deadline = time.monotonic() + limit_s
        while not has_ended(pid):
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie, which in some containers nobody collects.

    A zombie of which other threads are left may still hold its port.
    """
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True
