"""The Python that runs the course: how it was built, what is installed, what else is active."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import Requirement

from helpers.course.doctor.finding import Finding, problem, warning
from helpers.course.home import CHECKOUT

OLDEST = (3, 11)
NEEDED = {  # what Python was built with, and who needs it
    "ssl": "TLS and Wikipedia's feed",
    "ctypes": "Jupyter and NumPy",
    "zlib": "NumPy and pictures",
}


@dataclass(frozen=True)
class Interpreter:
    """What was seen of it."""

    executable: str
    version: tuple[int, int]
    bits: int
    free_threaded: bool
    debug: bool
    without: tuple[str, ...]  # modules that it was built without
    pins: Mapping[str, str]  # of the packages that the course names
    installed: Mapping[str, str]  # of those, what is here
    prefix: str
    conda: str = ""  # the active environment
    virtual: str = ""  # the active environment
    python: str = ""  # what `python` is in a terminal


def look(environment: Mapping[str, str] = os.environ) -> Interpreter:
    """Look at this Python, which is that of the kernels too."""
    pins, path = _pins(), environment.get("PATH")
    return Interpreter(
        executable=sys.executable,
        version=sys.version_info[:2],
        bits=struct.calcsize("P") * 8,
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        debug=hasattr(sys, "gettotalrefcount"),
        without=tuple(name for name in NEEDED if not _has(name)),
        pins=pins,
        installed={name: version for name in pins if (version := _version(name))},
        prefix=os.path.realpath(sys.prefix),
        conda=environment.get("CONDA_PREFIX", ""),
        virtual=environment.get("VIRTUAL_ENV", ""),
        python=next(
            filter(None, (shutil.which(one, path=path) for one in ("python", "python3"))), ""
        ),
    )


def findings(python: Interpreter) -> Iterator[Finding]:
    """What is wrong with it."""
    named = f"Python {python.version[0]}.{python.version[1]}"
    if python.version < OLDEST:
        yield problem("python", f"{named} is too old: run `make env` with Python 3.11 or newer.")
    if python.bits < 64:
        yield problem(
            "python",
            f"{python.executable} is a {python.bits}-bit Python, for which no server and few "
            "packages are built: install a 64-bit Python, then run `make clean lab`.",
        )
    if python.free_threaded:
        yield warning(
            "python",
            f"{python.executable} is a free-threaded build, with which the course was not tested: "
            "install the usual build, then run `make clean lab`.",
        )
    if python.debug:
        yield warning(
            "python",
            f"{python.executable} is a debug build, several times slower: install the usual "
            "build, then run `make clean lab`.",
        )
    for name in python.without:
        yield problem(
            "python",
            f"{python.executable} was built without the module {name}, which {NEEDED[name]} need: "
            "install another Python, then run `make clean lab`.",
        )
    yield from _packages(python)
    yield from _environments(python)


def _packages(python: Interpreter) -> Iterator[Finding]:
    again = f'`cd "{CHECKOUT}" && "{python.executable}" -m pip install -c constraints.txt -e .`'
    missing = [name for name in python.pins if name not in python.installed]
    if missing:
        yield problem("packages", f"These packages are missing: {', '.join(missing)}. Run {again}.")
    others = [
        f"{name} {python.installed[name]} (not {pin})"
        for name, pin in python.pins.items()
        if python.installed.get(name, pin) != pin
    ]
    if others:
        yield warning(
            "packages",
            f"These packages have another version than the course was tested with: "
            f"{', '.join(others)}. Run {again}.",
        )


def _environments(python: Interpreter) -> Iterator[Finding]:
    active = [python.conda, python.virtual]
    if not all(active) or not python.python:
        return
    ours = python.prefix in map(os.path.realpath, active)
    theirs = os.path.realpath(Path(python.python).parent.parent)
    if ours and theirs != python.prefix:
        yield warning(
            "python",
            f"A conda environment ({python.conda}) and a virtual one ({python.virtual}) are active "
            f"at once, and `{Path(python.python).name}` is {python.python}, without the course: "
            "run `conda deactivate`, then activate the course's environment again.",
        )


def _pins() -> dict[str, str]:
    """The packages that pyproject.toml pins; none, where the course was installed without it."""
    try:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    except (OSError, ValueError, KeyError):
        return {}
    wanted = [Requirement(one) for one in project["dependencies"]]
    here = [one for one in wanted if not one.marker or one.marker.evaluate()]
    return {one.name: str(one.specifier).removeprefix("==") for one in here}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _has(name: str) -> bool:
    if util.find_spec(f"_{name}") is None and util.find_spec(name) is None:
        return False
    try:
        __import__(name)
    except ImportError:
        return False
    return True
