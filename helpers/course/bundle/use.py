"""Take this machine's wheels out of a bundle: python use.py BUNDLE FOLDER

BUNDLE is what `make bundle` made: the archive, the folder that it unpacks to, or the address of a
web server that shows that folder. `make lab` runs this before there is an environment, so it
needs only the standard library. It prints one sentence and fails if the bundle does not fit this
machine or this version of the course.

    python use.py --fits BUNDLE     only by its exit code, whether it fits
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import shutil
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

MANIFEST = "redis-streams-bundle.json"
CHECKOUT = Path(__file__).resolve().parents[3]
CHUNK = 1 << 20
WAIT_S = 20  # for a web server's answer
MACHINES = {"amd64": "x86_64", "aarch64": "arm64"}
SYSTEMS = {"Linux": "linux", "Darwin": "macos"}

Open = Callable[[str], IO[bytes]]  # a file of the bundle by its name


class Unfit(Exception):
    """Why a bundle cannot be used; one sentence."""


def main() -> int:
    """Fetch the wheels, or only say whether they fit."""
    only_look = sys.argv[1] == "--fits"
    source = sys.argv[2 if only_look else 1]
    try:
        with opened(source) as read:
            manifest = read_manifest(source, read)
            wheels = fitting(manifest, this_machine(), pins(CHECKOUT))
            if not only_look:
                fetch(read, {name: manifest["wheels"][name] for name in wheels}, Path(sys.argv[2]))
    except (Unfit, OSError, tarfile.TarError) as error:
        if not only_look:
            said = error if isinstance(error, Unfit) else f"{source} cannot be read: {error}."
            print(f"The bundle cannot be used: {said}", file=sys.stderr)
        return 1
    return 0


# ------------------------------------------------------------------ where it is


@contextlib.contextmanager
def opened(source: str) -> Iterator[Open]:
    """A bundle, wherever it is."""
    if re.match(r"https?://", source):
        address = source.removesuffix(MANIFEST).rstrip("/")
        # It is in the same room: a proxy would not find it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        yield lambda name: opener.open(f"{address}/{name}", timeout=WAIT_S)
        return
    path = Path(source).expanduser()
    if path.is_file() and path.name != MANIFEST:
        with tarfile.open(path, "r:") as archive:
            yield lambda name: _member(archive, name)
        return
    folder = path.parent if path.name == MANIFEST else path
    inner = folder / "bundle"
    folder = inner if (inner / MANIFEST).exists() else folder
    yield lambda name: (folder / name).open("rb")


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        file = archive.extractfile(f"bundle/{name}")
    except KeyError:
        file = None
    if file is None:
        raise Unfit(f"it has no file {name}; was it copied as a whole?")
    return file


def read_manifest(source: str, read: Open) -> dict[str, Any]:
    """What a bundle says that it holds."""
    try:
        with read(MANIFEST) as file:
            manifest = json.load(file)
        return {"targets": manifest["targets"], "wheels": manifest["wheels"]}
    except (OSError, ValueError, LookupError, TypeError, Unfit) as error:
        raise Unfit(f"{source} holds no bundle of this course ({error}).") from error


# ------------------------------------------------------------------ whether it fits


def this_machine() -> dict[str, Any]:
    """What decides which wheels run here."""
    machine = platform.machine().lower()
    return {
        "system": SYSTEMS.get(platform.system(), platform.system()),
        "machine": MACHINES.get(machine, machine),
        "python": ".".join(map(str, sys.version_info[:2])),
        "plain": platform.python_implementation() == "CPython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
        "library": _library(),
    }


def _library() -> tuple[str, list[int]]:
    """What wheels are built for: the C library, or macOS, and its version."""
    if platform.system() == "Darwin":
        name, version = "macOS", platform.mac_ver()[0]
    else:
        name, version = platform.libc_ver()
    return name, [int(part) for part in re.findall(r"\d+", version)[:2]]


def pins(checkout: Path) -> dict[str, str]:
    """The version of each package that this version of the course takes."""
    lines = (checkout / "constraints.txt").read_text().splitlines()
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    pairs = [line.split(";")[0].split("==") for line in [*lines, *project["dependencies"]]]
    return {plain(pair[0]): pair[1].strip() for pair in pairs if len(pair) == 2}


def plain(name: str) -> str:
    """A package's name as installers compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def fitting(manifest: dict[str, Any], machine: dict[str, Any], wanted: dict[str, str]) -> list[str]:
    """The wheels of a bundle that a machine needs.

    Raises:
        Unfit: it has none for this machine, or not those that the course needs now.
    """
    target = _target(manifest["targets"], machine)
    if target["missing"]:
        raise Unfit(f"there is no wheel of {', '.join(target['missing'])} for this machine.")
    name, least = target["library"]
    found, version = machine["library"]
    if name and (found != name or version < least):
        has = f"{found} {_dotted(version)}" if found else "another C library"
        raise Unfit(
            f"its wheels need {name} {_dotted(least)} or newer, and this machine has {has}."
        )
    held = {plain(one.split("-")[0]): one.split("-")[1] for one in target["wheels"]}
    for package, pinned in wanted.items():
        if held.get(package, pinned) != pinned:
            raise Unfit(
                f"it has {package} {held[package]}, and this version of the course needs {pinned}: "
                "make the bundle again with `make bundle`."
            )
    lacks = sorted(_direct() - set(held))
    if lacks:
        raise Unfit(
            f"it lacks {lacks[0]}, which this version of the course needs: make the bundle again "
            "with `make bundle`."
        )
    return list(target["wheels"])


def _target(targets: list[dict[str, Any]], machine: dict[str, Any]) -> dict[str, Any]:
    """The part of a bundle that is for this machine and its Python."""
    system = (machine["system"], machine["machine"])
    same = [one for one in targets if (one["system"], one["machine"]) == system]
    if not same:
        has = _list(targets, "system", "machine")
        raise Unfit(f"it has wheels for {has}, and this is {' on '.join(system)}.")
    for one in same:
        if one["python"] == machine["python"] and machine["plain"]:
            return one
    kind = "" if machine["plain"] else ", not the usual CPython"
    raise Unfit(
        f"it has wheels for Python {_list(same, 'python')}, and this is {machine['python']}{kind}: "
        "run make with PYTHON= and the path of one of those."
    )


def _direct() -> set[str]:
    """What the course itself asks for on every system."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return {plain(line.split("==")[0]) for line in project["dependencies"] if ";" not in line}


def _list(targets: list[dict[str, Any]], *names: str) -> str:
    return ", ".join(dict.fromkeys(" on ".join(one[name] for name in names) for one in targets))


def _dotted(version: list[int]) -> str:
    return ".".join(map(str, version))


# ------------------------------------------------------------------ taking it


def fetch(read: Open, wheels: dict[str, dict[str, Any]], folder: Path) -> None:
    """Copy wheels into a folder, and compare each with what the bundle says of it.

    Raises:
        Unfit: one is missing or damaged.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, about in wheels.items():
        known = hashlib.sha256()
        try:
            with read(f"wheels/{name}") as source, open(folder / name, "wb") as copy:
                while chunk := source.read(CHUNK):
                    known.update(chunk)
                    copy.write(chunk)
        except FileNotFoundError as error:
            raise Unfit(f"{name} is missing; copy it again as a whole.") from error
        if known.hexdigest() != about["sha256"]:
            raise Unfit(f"{name} is damaged; copy it again as a whole.")


if __name__ == "__main__":
    sys.exit(main())
