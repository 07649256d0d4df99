"""Commands of `course` at work side by side, each in a process, with one terminal for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from helpers.chaos import Crew, course
from helpers.course.errors import CourseError

RESTART_S = 0.5


class Together:
    """Runs commands until its `with` block ends, or this process does.

    with Together(say) as together:
        together.start("avg", "partitions", "average")
        while not asked.is_set():
            together.look()
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        """Start with none; `say` shows a command's name and a line that it has printed."""
        self._say = say
        self._crew = Crew()

    def start(self, name: str, *words: str) -> None:
        """Start `course` with these words."""
        self._crew.start(name, course(*words))

    def look(self) -> None:
        """Show what is new, and start again what was killed.

        Raises:
            CourseError: one has ended by itself, with the last line that it printed.
        """
        for name, process in self._crew.items():
            code = process.exit_code
            self._pass_on(name)
            if code is not None and code >= 0:
                lines = process.output().strip().splitlines() or ["it said nothing"]
                raise CourseError(f"{name} ended: {lines[-1]}")
            if code is not None:
                again = (
                    f"Killed by signal {-code}. Starting it again: it continues where it stopped."
                )
                self._say(name, again)
                time.sleep(RESTART_S)
                self._crew.revive(name)

    def _pass_on(self, name: str) -> None:
        for line in self._crew[name].news():
            self._say(name, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ask all to end, and show what they say to that."""
        self._crew.stop()
        for name in self._crew:
            self._pass_on(name)
