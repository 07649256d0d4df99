"""The lessons and labs as files: whether JupyterLab can open each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.course.doctor.finding import Finding, problem

FOLDERS = ("notebooks", "labs")
_MARKERS = ("<<<<<<< ", ">>>>>>> ")  # what git writes around a conflict


@dataclass(frozen=True)
class Broken:
    """A notebook that can't be opened, and why."""

    name: str  # such as `labs/01_append_and_range.ipynb`
    why: str


def look(checkout: Path) -> list[Broken]:
    """Read each notebook of the course."""
    found = []
    for folder in FOLDERS:
        for path in sorted(Path(checkout, folder).glob("*.ipynb")):
            if why := _why(path):
                found.append(Broken(f"{folder}/{path.name}", why))
    return found


def findings(broken: list[Broken]) -> Iterator[Finding]:
    """A sentence for each; what a learner wrote in it may still be in the file."""
    for one in broken:
        yield problem(
            "notebook",
            f"{one.name} can't be opened, because {one.why}: copy it if your answers are in it, "
            f"then take the course's version with `git checkout HEAD -- {one.name}`.",
        )


def _why(path: Path) -> str:
    """Why a file is no notebook, or nothing if it is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return f"it can't be read ({error.strerror})"
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
