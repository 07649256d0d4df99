"""Run the soaks, all of them even if one fails; the exit code is 1 if one did."""

from __future__ import annotations

import argparse
import os
import random
import sys
from dataclasses import fields
from typing import Any

from tests.servers import SERVERS, program
from tests.soaks.averages import Averages
from tests.soaks.groups import Groups
from tests.soaks.stage import Stage, end_on_signals, run
from tests.soaks.wiki import Wiki

SOAKS: dict[str, type[Stage]] = {"groups": Groups, "averages": Averages, "wiki": Wiki}


def main() -> int:
    """Run those that the command line names, with what it says of their plans."""
    parser = argparse.ArgumentParser(prog="python -m tests.soaks", description=__doc__)
    parser.add_argument("soaks", nargs="*", metavar="soak", help=", ".join(SOAKS))
    parser.add_argument("--server", choices=SERVERS, default="valkey")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    known = {one.name: type(one.default) for soak in SOAKS.values() for one in fields(soak.PLAN)}
    for name, kind in known.items():
        if name != "seed":
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    chosen = given.pop("soaks") or list(SOAKS)
    if unknown := set(chosen) - set(SOAKS):
        parser.error(f"there is no soak {', '.join(unknown)}: choose from {', '.join(SOAKS)}")
    os.environ["COURSE_SERVER"] = program(given.pop("server")) or "missing"
    end_on_signals()
    return max([_one(name, given) for name in chosen])


def _one(name: str, given: dict[str, Any]) -> bool:
    """Run one with those options that mean something to it; whether it failed."""
    soak = SOAKS[name]
    mine = {one.name for one in fields(soak.PLAN)}
    print(f"{name}, seed {given['seed']} …", flush=True)
    try:
        report = run(soak, soak.PLAN(**{k: v for k, v in given.items() if k in mine}))
    except RuntimeError as error:
        print(f"{name} broke off: {error}", flush=True)
        return True
    print(report, flush=True)
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
