"""Redis Streams, hands on: the front door of the house. What it names is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from helpers.course import weather
    from helpers.course.connect import connect, connect_async
    from helpers.course.database import clean
    from helpers.course.show import show
    from helpers.partitions import ru202
    from helpers.streams import (
        AsyncConsumer,
        AsyncGroup,
        AsyncProducer,
        AsyncReader,
        BulkProducer,
        Consumer,
        DeadLetters,
        Entry,
        EntryId,
        Group,
        Producer,
        Reader,
        StreamsError,
        scan,
        scan_async,
    )

__all__ = [
    "AsyncConsumer",
    "AsyncGroup",
    "AsyncProducer",
    "AsyncReader",
    "BulkProducer",
    "Consumer",
    "DeadLetters",
    "Entry",
    "EntryId",
    "Group",
    "Producer",
    "Reader",
    "StreamsError",
    "clean",
    "connect",
    "connect_async",
    "ru202",
    "scan",
    "scan_async",
    "show",
    "weather",
]

_ELSEWHERE = {
    "clean": "helpers.course.database",
    "connect": "helpers.course.connect",
    "connect_async": "helpers.course.connect",
    "ru202": "helpers.partitions",
    "show": "helpers.course.show",
    "weather": "helpers.course",
}


if not TYPE_CHECKING:  # a type checker should see the imports above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _ELSEWHERE.get(name, "helpers.streams")
        try:
            value = getattr(import_module(home), name)
        except AttributeError:  # a module of that package, not imported yet
            value = import_module(f"{home}.{name}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext helpers`: see `helpers.course.notebook`."""
    from helpers.course.notebook import load  # IPython takes half a second

    load(shell)
