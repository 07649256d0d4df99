"""What learners answer, run as a notebook would: functions belong to `__main__`."""

from __future__ import annotations

import linecache
from itertools import count
from textwrap import dedent
from typing import Any, NamedTuple

from helpers.blank import BLANK

_numbers = count()


class Case(NamedTuple):
    """An answer to an exercise, as source, and a part of the sentence that it must draw."""

    exercise: int
    says: str
    source: str


def answer(source: str, **known: Any) -> Any:
    """Run a cell that binds `answer`, and give what it is."""
    source = dedent(source)
    file = f"<cell {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "__main__", "____": BLANK, **known}
    exec(compile(source, file, "exec"), namespace)
    return namespace["answer"]


def function(signature: str, body: str) -> str:
    """The source of a cell that defines a function as the answer."""
    lines = "\n".join(f"    {line}" for line in dedent(body).strip().splitlines())
    return f"{signature}:\n{lines}\n"
