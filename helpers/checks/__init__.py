"""What a lab calls: `lab = open_lab(1)`, then `lab.check(3, answer)` and `lab.hint(3)`."""

from __future__ import annotations

import importlib

from helpers.checks.lab import Lab
from helpers.course.errors import CourseError
from helpers.room import noting

__all__ = ["Lab", "open_lab"]

LABS = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09")


def open_lab(number: int | str) -> Lab:
    """The exercises of a lab.

    Raises:
        CourseError: there is no lab of this number.
    """
    name = f"{number:>02}"
    if name not in LABS:
        raise CourseError(f"There is no lab {number}: choose one of {', '.join(LABS)}.")
    lab = importlib.import_module(f"helpers.checks.lab{name}").lab
    assert isinstance(lab, Lab)
    lab.opened()
    noting.open_lab(name)
    return lab
