"""Which machine this is, and where a process number means the same process.

A home may be shared: by machines over a network, by containers on one machine. So each machine
has a folder of its own for its server. Where two look like one machine, as two containers of the
same host name do, it is the boot and the namespace of process numbers that tell them apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import NamedTuple

_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_RANDOM_NODE = 1 << 40  # the bit that says that `uuid.getnode` found no network card


class Place(NamedTuple):
    """Where a process number has a meaning: one boot of one machine, one namespace."""

    boot: str
    pids: str


@functools.cache
def here() -> Place:
    """The place of this process."""
    if sys.platform == "linux":
        return Place(_read("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid"))
    words = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
        return Place(done.stdout.strip(), "")
    return Place("", "")


@functools.cache
def machine_name() -> str:
    """A name for this machine that is fit for a folder, and the same after a restart.

    Machines made from one image may have the same ID, and containers often have none: so it is
    the host name with the ID, or else with the boot.
    """
    if sys.platform == "linux":
        host, number = platform.node(), next(filter(None, map(_read, _MACHINE_IDS)), "")
    else:  # a laptop's host name changes with its network
        node = uuid.getnode()
        host, number = sys.platform, "" if node & _RANDOM_NODE else f"{node:x}"
    mark = hashlib.sha256("\0".join([host, number or here().boot]).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', host)[:40] or 'machine'}-{mark}"


def locks_work(folder: Path) -> bool:
    """Whether a lock in this folder keeps others out: on some network drives it does nothing."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".lock-") as one, open(one.name) as two:
        return lock(one.fileno()) and not lock(two.fileno())


def lock(number: int, *, shared: bool = False) -> bool:
    """Lock an open file for this process and those that inherit it; False if it is locked.

    Where a file system has no locks, none is held.
    """
    try:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""
