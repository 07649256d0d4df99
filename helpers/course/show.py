"""Show the source of this package in a lesson, so that lesson and package cannot drift apart."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from helpers.course.home import CHECKOUT


def show(*things: Any) -> Markdown:
    """The source of functions, classes and methods, read from the module itself.

    Of each docstring only the first paragraph is shown: the lesson says the rest.
    """
    return Markdown("\n\n".join(_source(thing) for thing in things))


def _source(thing: Any) -> str:
    file = Path(inspect.getsourcefile(thing) or "")
    place = file.relative_to(CHECKOUT) if file.is_relative_to(CHECKOUT) else file.name
    code = abridged(inspect.cleandoc("\n" + inspect.getsource(thing)))
    return f"From `{place}`:\n\n```python\n{code.rstrip()}\n```"


def abridged(code: str) -> str:
    """Source with each docstring cut after its first paragraph."""
    lines: list[str | None] = list(code.splitlines())
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node, clean=False)
        if docstring is None or "\n\n" not in docstring:
            continue
        first, last = node.body[0].lineno - 1, node.body[0].end_lineno or 0
        end = first + docstring.split("\n\n")[0].count("\n")
        lines[end] = f'{lines[end]}"""'
        lines[end + 1 : last] = [None] * (last - end - 1)
    return "\n".join(line for line in lines if line is not None)
