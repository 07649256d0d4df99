"""What the soaks share: each runs in a process of its own, as its plan says."""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from helpers.chaos import Returned, start
from helpers.course.server import OwnServer
from tests.servers import SERVERS, program

KILLED, REPLACED = -signal.SIGKILL, 7  # how a worker ends; 7: another one took its place


def in_own_process(soak: Callable[..., Any], plan: Any, *arguments: Any) -> Any:
    """The report of `soak(plan, …)`, of which nothing is left, however it ends."""
    with start(soak, plan, *arguments, name="soak") as process:
        outcome = process.outcome(plan.limit_s + 60)
        if not isinstance(outcome, Returned):
            raise RuntimeError(f"seed {plan.seed}: {outcome}\n{process.output()}")
    report = outcome.value
    if printed := process.output():
        report.wrong.append(f"this was printed: {printed}")
    return report


def main(name: str) -> int:
    """Run a module's soak as the command line says; the exit code is 1 if something is wrong."""
    module = importlib.import_module(name)  # what `__main__` defines could not be sent
    about = str(module.__doc__).splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--server", choices=SERVERS, default="valkey")
    for one in fields(module.Plan):
        if one.name != "seed":
            option = f"--{one.name.replace('_', '-')}"
            parser.add_argument(option, type=type(one.default), default=one.default)
    given = vars(parser.parse_args())
    home = Path(tempfile.mkdtemp(prefix="course-soak-"))
    os.environ.pop("REDIS_URL", None)
    os.environ["COURSE_HOME"] = str(home)
    os.environ["COURSE_SERVER"] = program(given.pop("server")) or "missing"
    print(f"{name}, seed {given['seed']} …", flush=True)
    try:
        report = module.run(module.Plan(**given))
        print(report)
        return bool(report.wrong)
    finally:
        OwnServer(home).stop()
        shutil.rmtree(home, ignore_errors=True)
