"""Runs the suite: all on the first server, the contract on the others, and last what measures.

python -m tests.suite [--everything] [pytest arguments]

With --everything, each server is given everything. The report at the end says how long each part
took, and what the contract leaves out.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from helpers.course.pace import VARIABLE as PATIENCE
from helpers.course.server.program import program_version
from tests import parts, report
from tests.calibration import slowness
from tests.leftovers import run_folder
from tests.seen import Seen
from tests.servers import SERVERS, program

EVERYTHING = "--everything"
TOGETHER = ["-n", str((os.cpu_count() or 1) + 3), "--dist", "loadfile", "--no-loadscope-reorder"]
TEST_LIMIT_S, CELL_LIMIT_S = 120, 60  # on a quiet machine
NO_TESTS = 5  # pytest's exit code where its arguments leave none
SLOWEST = 12  # files to name


@dataclass
class Part:
    """One part of the suite on one server, and what came of it."""

    server: str
    kind: str
    label: str
    options: list[str]
    folder: Path
    code: int = 0
    took_s: float = 0.0

    def run(self, arguments: list[str]) -> None:
        """Run it, and end what it leaves behind."""
        print(f"\n=== {self.label}", flush=True)
        began = time.monotonic()
        self.folder.mkdir()
        words = [sys.executable, "-m", "pytest", "--quiet", "--nbval", f"--server={self.server}"]
        words += [f"--report={self.folder}", *self.options, *arguments]
        with run_folder():
            self.code = subprocess.run(words, check=False).returncode
        self.took_s = time.monotonic() - began

    @functools.cached_property
    def found(self) -> report.Found:
        """What its tests have left behind."""
        return report.read(self.folder)

    @property
    def failed(self) -> bool:
        """Whether it has; to find no test is no failure."""
        return self.code not in (0, NO_TESTS)


def main() -> int:
    """Run all parts, and report."""
    arguments = [one for one in sys.argv[1:] if one != EVERYTHING]
    slow = _make_patient(arguments)
    # Hundreds of processes import the helpers: each would compile them again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        those = _parts(Path(folder), everything=EVERYTHING in sys.argv)
        for part in those:
            part.run(arguments)
        print(f"\nTime limits were {slow:.1f} times those of a quiet machine.")
        _print_times(those)
        gaps = _compare(those)
    missing = [what for name, what in SERVERS.items() if not _version(name)]
    for what in missing:
        print(f"SKIPPED, missing: {what}")
    return 1 if gaps or not those or any(part.failed for part in those) else 0


def _make_patient(arguments: list[str]) -> float:
    """Give everything more time where the machine is slow; by how much?"""
    slow = slowness()
    os.environ[PATIENCE] = str(slow)
    arguments[:0] = [
        f"--timeout={TEST_LIMIT_S * slow:.0f}",
        f"--nbval-cell-timeout={CELL_LIMIT_S * slow:.0f}",
    ]
    return slow


def _version(name: str) -> str:
    """The version of a server's program; empty where the machine has none."""
    path = program(name)
    return ".".join(map(str, program_version(path))) if path else ""


def _parts(folder: Path, everything: bool) -> list[Part]:
    """What to run, in order; what measures comes last, when nothing runs beside it."""
    there = [name for name in SERVERS if _version(name)]
    measured = there if everything else there[:1]
    plan = [
        (name, parts.TOGETHER if everything or name == there[0] else parts.CONTRACT, TOGETHER)
        for name in there
    ]
    plan += [(name, parts.ALONE, []) for name in measured]
    return [
        Part(
            name,
            part,
            f"{parts.PARTS[part]}: {SERVERS[name]} ({_version(name)})",
            [f"--part={part}", *options, *(["--not-first"] if name != there[0] else [])],
            folder / f"{name}-{part}",
        )
        for name, part, options in plan
    ]


def _print_times(those: list[Part]) -> None:
    print("Wall time of each part:")
    for part in those:
        outcome = "FAILED" if part.failed else "no tests" if part.code else "passed"
        print(f"{part.took_s:8.1f} s  {outcome}  {part.label}")
    files = Counter({(file, part.label): seconds for part in those
                     for file, seconds in part.found.seconds.items()})  # fmt: skip
    print("The slowest files, as the sum of their tests:")
    for (file, label), seconds in files.most_common(SLOWEST):
        print(f"{seconds:8.1f} s  {file}, {label.lower()}")


def _compare(those: list[Part]) -> bool:
    """Name what only the first server was sent; True if another one has it too."""
    contracts = [part for part in those if part.kind == parts.CONTRACT]
    if not all(part.found.whole for part in those):
        print("Not all tests ran, so what the servers were sent is not compared.")
        return False
    first = Seen.together(part.found.seen for part in those if part not in contracts)
    gaps = False
    for part in contracts:
        missing, excused = first.missing(part.found.seen)
        for heading, names in (("MISSING in", missing), ("It has no such command in", excused)):
            if names:
                print(f"{heading} {part.label}: {', '.join(names)}")
        gaps = gaps or bool(missing)
    return gaps


if __name__ == "__main__":
    sys.exit(main())
