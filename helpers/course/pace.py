"""How much longer everything may take here: on a slow or busy machine, COURSE_PATIENCE says so."""

from __future__ import annotations

import os

VARIABLE = "COURSE_PATIENCE"


def patience() -> float:
    """By how much to multiply a limit: COURSE_PATIENCE, and never less than 1."""
    try:
        return max(1.0, float(os.environ.get(VARIABLE, "1")))
    except ValueError:
        return 1.0


def patient(limit_s: float) -> float:
    """A limit in seconds, or in any other unit, for this machine."""
    return limit_s * patience()
