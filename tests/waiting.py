"""Waiting until something is so, for as long as this machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from helpers.course.pace import patient

LIMIT_S = patient(15.0)  # of any wait


def until(true: Callable[..., Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition, and give back what it was last: false if it never came."""
    deadline = time.monotonic() + limit_s
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found
