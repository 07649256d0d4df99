"""Show the source of this package in a lesson, so that lesson and package cannot drift apart."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from helpers.home import CHECKOUT


def show(*things: Any) -> Markdown:
    """The source of functions, classes and methods, read from the module itself."""
    return Markdown("\n\n".join(_source(thing) for thing in things))


def _source(thing: Any) -> str:
    file = Path(inspect.getsourcefile(thing) or "")
    place = file.relative_to(CHECKOUT) if file.is_relative_to(CHECKOUT) else file.name
    code = inspect.cleandoc("\n" + inspect.getsource(thing))
    return f"From `{place}`:\n\n```python\n{code.rstrip()}\n```"
