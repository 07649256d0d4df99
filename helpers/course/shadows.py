"""Modules that would take the place of the course's: found on the path, and left out of it.

PYTHONPATH and the user's own site-packages come before an environment's. A `redis.py` there is
imported instead of redis-py, in each notebook. It needs the standard library only, since what it
looks for may be in the place of anything else.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, MutableMapping
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import NamedTuple

# Modules of the standard library that neither the course nor Jupyter imports.
_UNUSED = {"antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"}


class Shadow(NamedTuple):
    """A folder of the path that holds modules of the same name as some that the course needs."""

    where: str  # PYTHONPATH, or what else names it
    folder: str
    files: tuple[str, ...]


LEFT_OUT: list[Shadow] = []  # by this process, when it began


def leave_out(environment: MutableMapping[str, str] = os.environ) -> None:
    """Leave out, for this process and all that it starts, what shadows the course's modules."""
    LEFT_OUT.extend(found := spare(environment))
    folders = {os.path.realpath(one.folder) for one in found} | _before_ours()
    sys.path[:] = [one for one in sys.path if os.path.realpath(one) not in folders]


def _before_ours() -> set[str]:
    """What else a file of site-packages put on this process's path, before the course's modules."""
    ours, found = names(), set()
    for folder in sys.path:
        if os.path.realpath(folder) in {os.path.realpath(one) for one in homes()}:
            break
        if not folder.startswith(sys.base_prefix) and shadowing("", folder, ours):
            found.add(os.path.realpath(folder))
    return found


def spare(environment: MutableMapping[str, str]) -> list[Shadow]:
    """Take out of an environment what shadows the course's modules; what it was is returned."""
    ours = names()
    folders = [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
    found = [shadow for one in folders if (shadow := shadowing("PYTHONPATH", one, ours))]
    kept = [one for one in folders if one not in {shadow.folder for shadow in found}]
    if found:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
        if not kept:
            del environment["PYTHONPATH"]
    users = user_site()
    if users and (shadow := shadowing("your own site-packages", users, ours)):
        environment["PYTHONNOUSERSITE"] = "1"
        found.append(shadow)
    return found


def shadowing(where: str, folder: str, ours: Iterable[str]) -> Shadow | None:
    """What a folder has of the names that the course needs; None if it has nothing of them."""
    if os.path.realpath(folder) in {os.path.realpath(one) for one in (*homes(), _checkout())}:
        return None
    has = modules_in(folder)
    files = tuple(sorted(has[name] for name in has.keys() & set(ours)))
    return Shadow(where, folder, files) if files else None


def modules_in(folder: str) -> dict[str, str]:
    """The modules that can be imported from a folder, by name, with their files' names."""
    found = {}
    for entry in _listed(folder):
        name, dot, suffix = entry.partition(".")
        whole = os.path.join(folder, entry)
        if dot and f".{suffix}" in all_suffixes() and os.path.isfile(whole):
            found[name] = entry
        # A folder without an `__init__` comes after all modules, but for those of an editable
        # installation, which `helpers` is.
        elif os.path.isfile(f"{whole}/__init__.py") or (name == "helpers" and os.path.isdir(whole)):
            found[name] = f"{entry}/"
    return found


def names() -> set[str]:
    """The names of the modules that the course needs, of all that are installed here."""
    installed = {name for one in homes() for name in modules_in(one)} if _is_here() else set()
    return installed | (sys.stdlib_module_names - _UNUSED) | {"helpers"}


def user_site() -> str:
    """The user's own site-packages, if this Python looks there and the course is not in them."""
    return site.getusersitepackages() if site.ENABLE_USER_SITE and _is_here() else ""


def homes() -> set[str]:
    """Where this Python has its packages."""
    return {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}


def _checkout() -> str:
    return str(Path(__file__).resolve().parents[2])


def _is_here() -> bool:
    """Whether the course is installed where this Python has its packages, not in the user's own."""
    return any(one.startswith("redis_streams_course-") for home in homes() for one in _listed(home))


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
