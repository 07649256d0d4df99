"""Run the soaks, all of them even if one fails; the exit code is 1 if one did."""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import fields

from helpers.course.pace import VARIABLE as PATIENCE
from helpers.course.pace import patient
from tests.calibration import slowness
from tests.servers import SERVERS, program
from tests.soaks.averages import Averages
from tests.soaks.board import Class
from tests.soaks.cluster import Cluster, Tail
from tests.soaks.groups import Groups
from tests.soaks.lives import Lives
from tests.soaks.room import Room
from tests.soaks.stage import LIMIT_S, Stage, end_on_signals, run
from tests.soaks.wiki import Wiki

SOAKS: dict[str, type[Stage]] = {
    "groups": Groups,
    "averages": Averages,
    "wiki": Wiki,
    "lives": Lives,
    "cluster": Cluster,
    "tail": Tail,
    "board": Class,
    "class": Room,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run those that the command line names, with what it says of their plans."""
    parser = argparse.ArgumentParser(prog="python -m tests.soaks", description=__doc__)
    parser.add_argument("soaks", nargs="*", metavar="soak", help=", ".join(SOAKS))
    parser.add_argument("--server", choices=SERVERS, default="valkey")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    known = {one.name: type(one.default) for soak in SOAKS.values() for one in fields(soak.PLAN)}
    for name, kind in known.items():
        if name != "seed":
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    given = {
        name: value for name, value in vars(parser.parse_args(words)).items() if value is not None
    }
    chosen = given.pop("soaks") or list(SOAKS)
    if unknown := set(chosen) - set(SOAKS):
        parser.error(f"there is no soak {', '.join(unknown)}: choose from {', '.join(SOAKS)}")
    os.environ["COURSE_SERVER"] = program(given.pop("server")) or "missing"
    failed = False
    for name in chosen:
        if PATIENCE not in os.environ:  # limits are longer on a busy machine
            os.environ[PATIENCE] = f"{slowness():.2f}"
        given.setdefault("limit_s", patient(LIMIT_S))
        soak, mine = SOAKS[name], {one.name for one in fields(SOAKS[name].PLAN)}
        print(f"{name}, seed {given['seed']} …", flush=True)
        report = run(soak, soak.PLAN(**{k: v for k, v in given.items() if k in mine}))
        print(report, flush=True)
        failed |= bool(report.wrong)
    return failed


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
