"""What the doctor finds: a sentence that names a cause that was looked at, and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["problem", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    about: str  # what was looked at, such as `kernel`
    level: Level  # the course does not work; may fail later; works, since the course sees to it
    sentence: str
    fix: str = ""  # the name of what `course doctor --fix` does about it, if it is safe


def problem(about: str, sentence: str, fix: str = "") -> Finding:
    """What keeps the course from working."""
    return Finding(about, "problem", sentence, fix)


def warning(about: str, sentence: str, fix: str = "") -> Finding:
    """What may go wrong later, or in some lessons."""
    return Finding(about, "warning", sentence, fix)


def note(about: str, sentence: str) -> Finding:
    """What would break the course, and what `course lab` does about it."""
    return Finding(about, "note", sentence)
