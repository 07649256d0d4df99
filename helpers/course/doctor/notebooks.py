"""The lessons and labs as files: whether JupyterLab can open each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.course.doctor.finding import Finding, problem

FOLDERS = ("notebooks", "labs")
DENIED = "it can't be read"
FIRST = "00_start_here.ipynb"  # the lesson without a lab's solutions
_MARKERS = ("<<<<<<< ", ">>>>>>> ")  # what git writes around a conflict


@dataclass(frozen=True)
class Broken:
    """A notebook that can't be opened, and why; without a reason, it isn't there."""

    name: str  # such as `labs/01_append_and_range.ipynb`
    why: str
    git: bool = True  # knows it


def look(checkout: Path, folders: tuple[str, ...] = FOLDERS) -> list[Broken]:
    """Read each notebook of the course; a lab may have another name by now, a lesson may not."""
    names = {FIRST, *(path.name for path in checkout.glob("solutions/*.ipynb"))}
    gone = (f"notebooks/{name}" for name in sorted(names))
    found = [Broken(name, "") for name in gone if not (checkout / name).exists()]
    for folder in folders:
        for path in sorted(Path(checkout, folder).glob("*.ipynb")):
            if why := _why(path):
                found.append(Broken(f"{folder}/{path.name}", why))
    return [replace(one, git=(checkout / ".git").exists()) for one in found]


def findings(broken: list[Broken]) -> Iterator[Finding]:
    """A sentence for each; what a learner wrote in it may still be in the file."""
    for one in broken:
        take = f"with `git checkout HEAD -- {one.name}`" if one.git else "from a new download"
        state = "isn't there: "
        if one.why.startswith(DENIED):
            yield problem(
                "notebook", f"{one.name} can't be opened, because {one.why}: make it readable."
            )
            continue
        if one.why:
            state = f"can't be opened, because {one.why}: copy it if your answers are in it, then "
        yield problem("notebook", f"{one.name} {state}take the course's version {take}.")


def _why(path: Path) -> str:
    """Why a file is no notebook, or nothing if it is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return f"{DENIED} ({error.strerror})"
    except UnicodeDecodeError:
        return "it isn't UTF-8"
    if not text.strip():
        return "it's empty"
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        if marked := [n for n, line in enumerate(lines, 1) if line.startswith(_MARKERS)]:
            return f"git left the marks of a conflict in it (line {marked[0]})"
        return f"line {error.lineno} isn't JSON"
    return "" if isinstance(content, dict) and "cells" in content else "it has no cells"
