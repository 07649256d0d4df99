"""A bar that fills up in a notebook while a cell is at work."""

from __future__ import annotations

import threading
from typing import Any

from ipywidgets import HBox, IntProgress, Label, Layout  # type: ignore[import-untyped]

STEPS = 100  # it moves so often at most: each move is a message to the browser


class ProgressBar:
    """Shows how much of something is done. Display it first, then call `advance`.

    Threads may share it. Where there is no kernel, a text takes its place.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._lock = threading.Lock()
        self._bar = IntProgress(max=STEPS, layout=Layout(width="50%"))
        self._label = Label()
        self._box = HBox([self._bar, self._label])
        self._move(0)

    def advance(self, count: int) -> None:
        """Say that so many more are done."""
        with self._lock:
            before = self._step
            self.done += count
            if self._step != before:
                self._move(self._step)

    @property
    def _step(self) -> int:
        return STEPS * self.done // self.total

    def _move(self, step: int) -> None:
        self._bar.value = step
        self._label.value = f"{self.done:,} of {self.total:,} {self.unit}"

    def __repr__(self) -> str:
        return f"A bar that fills up, live: {self.total:,} {self.unit}."

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        return self._box._repr_mimebundle_(**more) | {"text/plain": repr(self)}
