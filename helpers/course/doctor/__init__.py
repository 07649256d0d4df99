"""Which server answers and why, what the environment is, and what is wrong: as plain data.

Each module looks at one kind of thing: `look` sees, and `findings` says what is wrong with what
was seen. A finding names a cause that was looked at, and the remedy.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import redis

from helpers.course.doctor import (
    clock,
    folders,
    interpreter,
    jupyter,
    keeping,
    kernel,
    limits,
    modules,
    network,
    notebooks,
    proxies,
    server,
)
from helpers.course.doctor.finding import Finding, problem
from helpers.course.doctor.fixes import repair
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT, hidden_folder
from helpers.course.lab import environment as lab_environment

__all__ = ["Finding", "examine"]

Ask = Callable[[Mapping[str, str], list[str]], kernel.Answer]


def examine(*, fix: bool = False, ask: Ask = kernel.ask) -> dict[str, Any]:
    """Look at the server as a lesson would, and at all that is around it.

    Args:
        fix: do what is safe about what was found, and look again.
        ask: starts a kernel and asks it.

    Returns:
        `ok`; `problems`, `warnings` and `notes`, a sentence each, and `findings` with what each is
        about; `fixed`, what was done; `server`, if one answers, with its `product`, `version`,
        `source`, `url` without the password, and `why` it is the one; `kernel`, with its
        `executable`, and where `helpers` and `redis` come from in a notebook; `python`,
        `redis_py`, `checkout` and `hidden_folder`.
    """
    report: dict[str, Any] = {
        "ok": True,
        "server": None,
        "kernel": None,
        "python": platform.python_version(),
        "redis_py": redis.__version__,
        "checkout": str(CHECKOUT),
        "fixed": [],
    }
    found = _look(report, ask)
    if fix and (done := repair(found, hidden_folder())):
        report["fixed"] = done
        found = _look(report, ask)
    for level in ("problem", "warning", "note"):
        report[f"{level}s"] = [one.sentence for one in found if one.level == level]
    report["findings"] = [asdict(one) for one in found]
    report["ok"] = not report["problems"]
    return report


def _look(report: dict[str, Any], ask: Ask) -> list[Finding]:
    began = clock.begin()
    found = list(network.findings(seen := network.look()))
    if seen.loopback:  # then neither a server nor a kernel can be reached, and that is why
        return found
    facts, of_the_server = server.look()
    found += of_the_server
    ahead_s = facts.pop("ahead_s", 0.0)
    report["server"] = facts or None
    try:
        home = hidden_folder()
    except CourseError as error:
        if str(error) not in {one.sentence for one in found}:
            found.append(problem("rights", str(error)))
        return _once(found)
    report["hidden_folder"] = str(home)
    found += _environment(report, ask)
    found += keeping.findings(keeping.look(home, os.environ))
    found += folders.findings(folders.look(home))
    found += notebooks.findings(notebooks.look(CHECKOUT))
    found += clock.findings(clock.look(began, ahead_s))
    return _once(found)


def _environment(report: dict[str, Any], ask: Ask) -> Iterator[Finding]:
    environment, told = lab_environment()
    yield from interpreter.findings(interpreter.look())
    seen = modules.look(environment, ask)
    if not seen.answer.silent:
        report["kernel"] = {
            "executable": seen.answer.executable,
            "python": seen.answer.version,
            "helpers": seen.answer.origins["helpers"],
            "redis": seen.answer.origins["redis"],
        }
    yield from modules.findings(seen)
    yield from jupyter.findings(jupyter.look(environment, told))
    yield from proxies.findings(proxies.look(environment))
    yield from limits.findings(limits.look())


def _once(found: list[Finding]) -> list[Finding]:
    """Without what was said already: a full disk is noticed in several places."""
    full = [one for one in found if one.about == "disk" and one.level == "problem"]
    said = {one.sentence.partition(",")[0] for one in found if one.about != "disk"}
    dropped = {id(one) for one in full if one.sentence.partition(",")[0] in said}
    return list(dict.fromkeys(one for one in found if id(one) not in dropped))
