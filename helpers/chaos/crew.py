"""Start processes, one or several under names, so that each can be killed, paused, revived."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from helpers.chaos.process import STOP_LIMIT_S, Process, program_words
from helpers.chaos.running import Running
from helpers.course.errors import CourseError

Program = Callable[..., Any] | Sequence[str]


class NoSuchProcessError(CourseError, KeyError):
    """Nobody of this name was started."""

    __str__ = Exception.__str__  # KeyError's own shows the sentence in quotes


@overload
def start(
    program: Callable[..., Any],
    *arguments: Any,
    name: str | None = ...,
    url: str | None = ...,
    output: Path | str | None = ...,
) -> Running: ...


@overload
def start(
    program: Sequence[str],
    *arguments: Any,
    name: str | None = ...,
    url: str | None = ...,
    output: Path | str | None = ...,
) -> Process: ...


def start(
    program: Program,
    *arguments: Any,
    name: str | None = None,
    url: str | None = None,
    output: Path | str | None = None,
) -> Process:
    """Start a function or a program in a process of its own.

    It ends when you say so, with its `with` block, or together with this process, however
    that ends: so a kernel that is restarted leaves nothing behind.

    Args:
        program: a function, `def` or `async def`, which travels with what it uses; or the
            words of a command line, as a list.
        arguments: what the function is called with, where `CLIENT` becomes a Redis client of
            the kind that fits; or more words.
        name: how it shows itself; by default the function's or the program's.
        url: the server that its `connect()` leads to; by default the course's.
        output: a file to add what it prints to; by default one that only `output()` reads.

    Raises:
        CannotTravel: the function uses something that cannot leave this process.
        CourseError: there is no such program.
    """
    if callable(program):
        called = name or str(getattr(program, "__name__", type(program).__name__))
        return Running(program, *arguments, name=called, url=url, output=output)
    words = program_words(program, arguments)
    return Process(words, name=name or Path(words[0]).name, url=url, output=output)


def course(*words: str) -> list[str]:
    """The command line that runs `course` with these words, also where it is not on PATH."""
    return [sys.executable, "-m", "helpers.cli", *words]


class Crew(Mapping[str, Process]):
    """Processes by name. Those that are left are killed at the end of its `with` block.

    with Crew() as crew:
        crew.start("alice", consume, CLIENT, "chennai")
        crew["alice"].kill()
        crew.revive("alice")
    """

    def __init__(self) -> None:
        self._members: dict[str, Process] = {}
        self._recipes: dict[str, Callable[[], Process]] = {}

    def start(
        self,
        name: str,
        program: Program,
        *arguments: Any,
        url: str | None = None,
        output: Path | str | None = None,
    ) -> Process:
        """Start somebody, as `start()` does, in place of a dead one of the same name.

        Raises:
            CourseError: somebody of this name is alive, or there is no such program.
            CannotTravel: the function uses something that cannot leave this process.
        """

        def recipe() -> Process:
            return start(program, *arguments, name=name, url=url, output=output)

        self._refuse_living(name)
        process = recipe()
        self._members[name], self._recipes[name] = process, recipe
        return process

    def revive(self, name: str) -> Process:
        """Start somebody again, with what they were started with.

        Raises:
            CourseError: they are alive, or were never started.
        """
        dead = self[name]
        self._refuse_living(name)
        self._members[dead.name] = process = self._recipes[name]()
        return process

    def stop(self, limit_s: float = STOP_LIMIT_S) -> bool:
        """Ask all to end, by SIGTERM, also the paused ones; kill those that do not in time.

        Returns:
            Whether all ended without being killed.
        """
        left = [process for process in self.values() if process.alive]
        for process in left:
            process._ask_to_end()
        deadline = time.monotonic() + limit_s
        late = [one for one in left if not one.wait(max(0.0, deadline - time.monotonic()))]
        for process in late:
            process.kill()
        return not late

    def kill(self) -> None:
        """Kill all that are left, also the paused ones: kill -9."""
        for process in self.values():
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def __getitem__(self, name: str) -> Process:
        if name not in self._members:
            known = ", ".join(self._members) or "no process yet"
            raise NoSuchProcessError(f"No process named {name!r} was started; there is {known}.")
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values())) or "an empty crew"

    def _refuse_living(self, name: str) -> None:
        if name in self._members and self._members[name].alive:
            raise CourseError(
                f"{name} is at work already (process {self[name].pid}): "
                f"end it first, with crew[{name!r}].kill()."
            )
