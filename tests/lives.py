"""Workers that live short lives: real processes, forked from one that has it all imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from helpers.chaos import Running, warm

warm.preload(
    "tests.consumers",
    "tests.room_lives",
    "tests.soaks.groups",
    "tests.soaks.parts",
    "tests.soaks.seats",
    "tests.soaks.workers",
    "tests.wiki",
)


class Life:
    """A function at work in a process of its own, with the server at a URL; it dies with us."""

    def __init__(self, function: Callable[..., None], *arguments: Any, url: str) -> None:
        self._process = Running(function, *arguments, name="life", url=url, forked=True)

    @property
    def exit_code(self) -> int | None:
        """None while it is alive; -9 after kill -9."""
        return self._process.exit_code

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._process.output()

    def kill(self) -> None:
        """End it as a crash would, also if it is paused: kill -9."""
        self._process.kill()

    def pause(self) -> None:
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def stop(self) -> None:
        """Ask it to end: SIGTERM."""
        self._process._ask_to_end()

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait for its end; whether it has ended."""
        return self._process.wait(limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
