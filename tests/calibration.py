"""How much slower this machine is now than a quiet one: its time limits are longer by as much."""

from __future__ import annotations

import subprocess
import sys
import time

QUIET_S = 0.25  # what the slowest of five takes on two quiet cores
WORK = """
import hashlib, redis
for number in range(200_000):
    hashlib.sha1(b"%d" % number).hexdigest()
"""


def slowness(times: int = 5) -> float:
    """How much longer a Python takes to start and to do a fixed piece of work; 1 at least.

    The slowest of a few counts: a limit must hold for every test.
    """
    return max(1.0, max(_took() for _ in range(times)) / QUIET_S)


def _took() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", WORK], check=True)
    return time.monotonic() - began
