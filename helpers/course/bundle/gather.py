"""Write bundle.tar, with wheels for every machine and the course: `make bundle`

The archive unpacks to a folder `bundle`, which can lie on a memory stick or behind a web server.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.course.bundle.targets import (
    MACHINES,
    PYTHONS,
    Target,
    best,
    every_target,
    least_library,
)
from helpers.course.bundle.use import MANIFEST, pins, this_machine
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from helpers.streams.errors import StreamsError

NO_WHEEL = re.compile(r"No matching distribution found for ([\w.-]+)==")
READ_ME = """\
Redis Streams, hands on: everything for a room without a network.

You need Python {pythons} and make. In a terminal, in this folder:

    tar xf course.tar
    cd redis-streams-course
    make lab

Copy the folder to your disk first if it is on a memory stick. `make lab` finds the packages in the
folder above; if they are elsewhere, name the place:

    make lab BUNDLE=/path/to/bundle          a folder, or bundle.tar itself
    make lab BUNDLE=http://192.0.2.1:8000    a server in the room

To be that server:  python3 -m http.server 8000 --directory .
With git, `git clone course.gitbundle redis-streams-course` also brings the history.

Wheels for: {targets}.
"""


def main() -> None:
    """Gather a bundle."""
    here = this_machine()
    own = f"{here['system']}-{here['machine']}"
    parser = argparse.ArgumentParser("make bundle", description=__doc__.splitlines()[0])
    parser.add_argument("--machine", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--python", nargs="+", default=list(PYTHONS), metavar="3.x")
    parser.add_argument("--here", action="store_true", help="for this machine and its Python only")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "bundle.tar")
    options = parser.parse_args()
    chosen = ([own], [here["python"]]) if options.here else (options.machine, options.python)
    bundle(every_target(*chosen), options.output)


def bundle(targets: list[Target], output: Path) -> None:
    """Write the archive.

    Raises:
        CourseError: a package is not pinned, or the registry is out of reach.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bundle-") as name:
        folder = Path(name) / "bundle"
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        described = []
        for target in targets:
            missing = gather(target, wheels)
            described.append(describe(target, wheels, missing))
            print(f"{target}: {len(described[-1]['wheels'])} packages"
                  + "".join(f", no wheel of {one}" for one in missing), flush=True)  # fmt: skip
        version = _add_course(folder)
        _write_manifest(folder, described, version)
        whole = ", ".join(map(str, targets))
        pythons = ", ".join(dict.fromkeys(target.python for target in targets))
        (folder / "README.txt").write_text(READ_ME.format(targets=whole, pythons=pythons))
        draft = Path(name) / "bundle.tar"
        with tarfile.open(draft, "w") as archive:
            archive.add(folder, "bundle", filter=_of_nobody)
        shutil.move(draft, output)
    size = output.stat().st_size / 1e6
    print(
        f"{output.name} is written: {size:,.0f} MB. Take it to the room; its README.txt says how."
    )


# ------------------------------------------------------------------ packages


def gather(target: Target, wheels: Path) -> list[str]:
    """Download what a target needs; the packages that have no wheel for it."""
    versions = pins(CHECKOUT)
    missing: set[str] = set()
    tried: list[str] = []
    while True:
        needed = closure(target, wheels)
        unpinned = sorted(needed - set(versions))
        if unpinned:
            raise CourseError(f"{unpinned[0]} isn't pinned: add it to constraints.txt.")
        held = set(best(target, [file.name for file in wheels.iterdir()]))
        wanted = sorted(needed - held - missing)
        if not wanted:
            return sorted(missing & needed)
        if wanted == tried:
            raise CourseError(f"pip gave no wheel of {wanted[0]} that runs on {target}.")
        tried = wanted
        missing |= _download(target, [f"{one}=={versions[one]}" for one in wanted], wheels)


def closure(target: Target, wheels: Path) -> set[str]:
    """The packages that a target needs, as far as the wheels at hand say."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    files = best(target, [file.name for file in wheels.iterdir()])
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    waiting = [one for line in asked if target.wants(one := Requirement(line), ())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name in files:
            lines = _requirements(wheels / files[name])
            waiting += [one for line in lines if target.wants(one := Requirement(line), extras)]
    return {name for name, _ in seen}


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [
            one for one in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one)
        ]
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])


def _download(target: Target, wanted: list[str], wheels: Path) -> set[str]:
    """Let pip download wheels; the packages that have none."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={wheels}",
        f"--python-version={target.python}", *(f"--platform={one}" for one in target.platforms),
    ]  # fmt: skip
    missing: set[str] = set()
    while wanted:
        done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        lacks = NO_WHEEL.search(done.stderr)
        if lacks is None or "onnection" in done.stderr:
            said = done.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
            raise CourseError(f"pip could not download the packages: {said[0]}")
        name = canonicalize_name(lacks[1])
        missing.add(name)
        wanted = [one for one in wanted if canonicalize_name(one.split("==")[0]) != name]
    return missing


# ------------------------------------------------------------------ what describes it


def describe(target: Target, wheels: Path, missing: Iterable[str]) -> dict[str, Any]:
    """What the manifest says of a target."""
    files = best(target, [file.name for file in wheels.iterdir()])
    names = sorted(files[package] for package in closure(target, wheels) & set(files))
    return {
        "system": target.system,
        "machine": target.machine,
        "python": target.python,
        "library": least_library(target, names),
        "wheels": names,
        "missing": sorted(missing),
    }


def _write_manifest(folder: Path, targets: list[dict[str, Any]], version: str | None) -> None:
    wheels = {}
    for file in sorted((folder / "wheels").iterdir()):
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        wheels[file.name] = {"sha256": digest, "size": file.stat().st_size}
    whole = {"course": version, "targets": targets, "wheels": wheels}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1) + "\n")


def _add_course(folder: Path) -> str | None:
    """Add the course as it is committed; its commit, None where there is no git."""
    if not (CHECKOUT / ".git").exists():
        print("This copy of the course isn't a git checkout, so the bundle holds only packages.")
        return None
    git = ["git", "-C", str(CHECKOUT)]
    prefix = "--prefix=redis-streams-course/"
    subprocess.run([*git, "archive", prefix, f"--output={folder}/course.tar", "HEAD"], check=True)
    branch = subprocess.run(
        [*git, "symbolic-ref", "--short", "-q", "HEAD"], capture_output=True, text=True
    )
    refs = ["HEAD", *branch.stdout.split()]
    subprocess.run(
        [*git, "bundle", "create", "-q", f"{folder}/course.gitbundle", *refs], check=True
    )
    if subprocess.run([*git, "diff-index", "--quiet", "HEAD"]).returncode:
        print("The bundle holds the course as committed, without your latest changes.")
    return subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()


def _of_nobody(file: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry without its owner."""
    file.uid = file.gid = 0
    file.uname = file.gname = ""
    return file


if __name__ == "__main__":
    try:
        main()
    except StreamsError as error:
        sys.exit(str(error))
