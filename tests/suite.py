"""Runs the suite: all on the first server, the contract on the others, and last what measures.

The contracts run side by side, since they wait more than they compute; the others by themselves.

python -m tests.suite [--everything] [--on SERVER] [pytest arguments]

The report at the end says how long each part took, and what the contract leaves out.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from helpers.course.pace import VARIABLE as PATIENCE
from helpers.course.server.program import program_version
from tests import parts, report
from tests.calibration import slowness
from tests.leftovers import run_folder
from tests.seen import Seen
from tests.servers import SERVERS, program

CORES = os.cpu_count() or 1
PYTEST = [sys.executable, "-m", "pytest", "--quiet", "--nbval"]
SPREAD = ["--dist=loadfile", "--no-loadscope-reorder"]
OPTIONS = {  # of pytest, for each part
    parts.TOGETHER: [*SPREAD, f"-n{CORES + 5}"],  # these tests wait more than they compute
    parts.CONTRACT: [*SPREAD, f"-n{CORES + 2}"],
    parts.CLUSTER: [*SPREAD, f"-n{CORES + 1}"],
    parts.ALONE: [],
}
TEST_LIMIT_S, CELL_LIMIT_S = 120, 60  # on a quiet machine
NO_TESTS = 5  # pytest's exit code where its arguments leave none
SLOWEST = 12  # files to name


@dataclass
class Part:
    """One part of the suite on one server, and what came of it."""

    server: str
    kind: str
    first: bool
    folder: Path
    code: int = 0
    took_s: float = 0.0
    slow: float = 1.0

    @property
    def label(self) -> str:
        """What to call it."""
        return f"{parts.PARTS[self.kind]}: {SERVERS[self.server]} ({_version(self.server)})"

    def start(self, slow: float, arguments: Sequence[str], output: IO[bytes] | None) -> None:
        """Start it; what it prints goes to a file, or is seen at once."""
        self.folder.mkdir()
        self.slow = slow
        words = [*PYTEST, f"--server={self.server}"]
        words += [f"--part={self.kind}", f"--report={self.folder}", *OPTIONS[self.kind]]
        words += [] if self.first else ["--not-first"]
        words += [*_more_time(slow), *arguments]
        self._began = time.monotonic()
        self._process = subprocess.Popen(words, stdout=output, stderr=output)

    def wait(self) -> None:
        """Wait until it has ended."""
        self.code = self._process.wait()
        self.took_s = time.monotonic() - self._began

    @property
    def outcome(self) -> str:
        """In a word; to find no test is no failure."""
        return {0: "passed", NO_TESTS: "no tests"}.get(self.code, "FAILED")

    @functools.cached_property
    def found(self) -> report.Found:
        """What its tests have left behind."""
        return report.read(self.folder)


def main() -> int:
    """Check the style, run all parts, and report."""
    parser = argparse.ArgumentParser("python -m tests.suite", allow_abbrev=False)
    parser.add_argument("--everything", action="store_true", help="give each server everything")
    parser.add_argument("--on", choices=SERVERS, help="only one server, and everything")
    options, arguments = parser.parse_known_args()
    began = time.monotonic()
    if not style_is_right():
        return 1
    lint_s = time.monotonic() - began
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        those = list(_parts(Path(folder), options.on, options.everything))
        for _, group in itertools.groupby(those, _side_by_side):
            run(list(group), arguments)
        print("\nWall time of each part, and by how much the machine lengthened its limits:")
        print(f"{lint_s:8.1f} s         passed    style and types")
        _print_times(those)
        complete = _compare(those)
    for name in SERVERS:
        if not _version(name):
            print(f"SKIPPED, missing: {SERVERS[name]}")
    passed = those and all(part.outcome != "FAILED" for part in those)
    return 0 if passed and complete else 1


def style_is_right() -> bool:
    """Check style and types, while a first look at the tests compiles them for all workers."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    look = subprocess.Popen([*PYTEST, "--collect-only", "-q"], stdout=subprocess.DEVNULL)
    lint = subprocess.run(["make", "--no-print-directory", "lint"], check=False)
    look.wait()
    return lint.returncode == 0


def _side_by_side(part: Part) -> str:
    """What is alike for parts that run at the same time: the contracts wait more than they work."""
    waits = part.kind in (parts.CONTRACT, parts.CLUSTER)
    return parts.CONTRACT if waits else f"{part.kind} {part.server}"


def run(those: Sequence[Part], arguments: Sequence[str]) -> None:
    """Run parts side by side, show what they print one after the other, and tidy up."""
    slow = slowness()  # it may have become busy since the last parts
    with run_folder() as folder, contextlib.ExitStack() as files:
        outputs = [files.enter_context((folder / f"{n}").open("w+b")) for n in range(1, len(those))]
        for part, output in zip(those, [None, *outputs], strict=True):
            part.start(slow, arguments, output)
        for part, output in zip(those, [None, *outputs], strict=True):
            print(f"\n=== {part.label}", flush=True)
            part.wait()
            if output:
                output.seek(0)
                print(output.read().decode(errors="replace"), end="", flush=True)


def _more_time(slow: float) -> list[str]:
    """Give everything more time where the machine is slow: by the environment, and to pytest."""
    os.environ[PATIENCE] = f"{slow:.2f}"
    return [
        f"--timeout={TEST_LIMIT_S * slow:.0f}",
        f"--nbval-cell-timeout={CELL_LIMIT_S * slow:.0f}",
    ]


@functools.cache
def _version(name: str) -> str:
    """The version of a server's program; empty where the machine has none."""
    path = program(name)
    return ".".join(map(str, program_version(path))) if path else ""


def _parts(folder: Path, only: str | None, everything: bool) -> Iterator[Part]:
    """What to run, in order: what measures comes last, when nothing runs beside it."""
    there = [name for name in SERVERS if _version(name) and only in (None, name)]
    full = there if everything else there[:1]
    kinds = [(name, parts.TOGETHER if name in full else parts.CONTRACT) for name in there]
    kinds += [(name, parts.CLUSTER) for name in full]
    kinds += [(name, parts.ALONE) for name in full]
    for name, kind in kinds:
        yield Part(name, kind, name == there[0], folder / f"{kind}-{name}")


def _print_times(those: list[Part]) -> None:
    for part in those:
        print(f"{part.took_s:8.1f} s  x {part.slow:3.1f}  {part.outcome:8}  {part.label}")
    files: Counter[str] = Counter()
    for part in those:
        for file, seconds in part.found.seconds.items():
            files[f"{file}, {parts.PARTS[part.kind]} on {part.server}"] = round(seconds)
    print("The files that took longest, as the sum of their tests:")
    for name, seconds in files.most_common(SLOWEST):
        print(f"{seconds:6} s  {name}")


def _compare(those: Sequence[Part]) -> bool:
    """Whether the contract covers what the first server was sent; says what it does not."""
    contracts = [part for part in those if part.kind == parts.CONTRACT]
    if contracts and not all(part.found.whole for part in those):
        print("Only some tests ran, so what the servers were sent is not compared.")
        return True
    first = Seen.together(part.found.seen for part in those if part not in contracts)
    complete = True
    for part in contracts:
        missing, excused = first.missing(part.found.seen)
        complete = complete and not missing
        for heading, names in (("MISSING in", missing), ("No such command, so not in", excused)):
            if names:
                print(f"{heading} {part.label}: {', '.join(names)}")
    return complete


if __name__ == "__main__":
    sys.exit(main())
