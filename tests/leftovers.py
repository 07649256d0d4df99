"""The one folder of a run: all that its tests write is in it, and goes with it.

A worker that is ended early tidies nothing up. So every temporary folder of a run, and with it
the home of every server, is made in one place, and what still runs there is ended at last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from helpers.course.errors import ServerError
from helpers.course.server import OwnServer

VARIABLE = "COURSE_TEST_RUN"  # the folder; whoever has set it sweeps it
SWEEP_LIMIT_S = 30.0  # what ends by itself when its worker has ended may still write


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Make the folder for this process and all that it starts; at the end nothing is left of it."""
    before = {name: os.environ.get(name) for name in (VARIABLE, "TMPDIR")}
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    try:
        _set(dict.fromkeys(before, str(folder)))
        yield folder
    finally:
        _set(before)
        sweep(folder)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None  # it is looked up again


def sweep(folder: Path) -> None:
    """End the servers whose homes are in a folder, and remove the folder.

    Raises:
        OSError: it cannot be removed.
    """
    deadline = time.monotonic() + SWEEP_LIMIT_S
    while folder.exists():
        for pid_file in folder.rglob("server.pid"):
            with contextlib.suppress(ServerError, OSError):
                OwnServer(pid_file.parents[2]).stop()
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)
        time.sleep(0.02)
