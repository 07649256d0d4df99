"""The steps of a delivery loop: what a driver does for it, and sends back the answer of."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from ..entry import Entry


class Run(NamedTuple):
    """Run a script on the server, and send back its reply."""

    script: str
    keys: list[Any]
    args: list[Any]


class Read(NamedTuple):
    """XREADGROUP with these arguments, and send back its reply."""

    arguments: dict[str, Any]


class Wait(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


class Collect(NamedTuple):
    """Wait until a handler that is at work returns, so many seconds at most."""

    seconds: float


class Failed(NamedTuple):
    """The handler raised."""

    error: BaseException

    def __str__(self) -> str:
        lines = str(self.error).splitlines() or [""]
        said = f"{type(self.error).__name__}: {lines[0]}"[:200].removesuffix(": ")
        return said.encode(errors="replace").decode()


class Underway(NamedTuple):
    """The handler is at work on the entry; what comes of it is the answer to a Collect."""


Step = Run | Read | Wait | Entry | Collect
Steps = Generator[Step, Any, Any]
