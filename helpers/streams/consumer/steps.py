"""The steps of a delivery loop: what a driver does for it, and sends back the answer of."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from ..entry import Entry
from ..steps import Run as Run
from ..steps import Wait as Wait

Entries = Iterator[tuple[str, Entry]]  # each with its ID as the server writes it


class Send(NamedTuple):
    """Send these commands in one pipeline, without MULTI, and send back their replies."""

    commands: list[tuple[Any, ...]]


class Read(NamedTuple):
    """XREADGROUP with these arguments, and send back its reply."""

    arguments: dict[str, Any]


class Handle(NamedTuple):
    """Give the entries to the handler, one after the other, until it is time to stop.

    That is after one for which it does not return None, once it is `until` by the loop's clock, or
    when the loop was stopped. A driver may stop earlier, but not before the first.
    """

    entries: Entries  # those that are not given to it now come with a later step
    until: float


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
    """Handlers are at work on the entries; what comes of them is the answer to a Collect."""


Step = Run | Send | Read | Handle | Wait | Collect
Steps = Generator[Step, Any, Any]
