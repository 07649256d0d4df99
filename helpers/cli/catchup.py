"""`course catchup`: for a learner who comes late, the lessons so far in one notebook."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from helpers.cli.console import out
from helpers.course.home import CHECKOUT


def catchup(
    lesson: Annotated[str, typer.Argument(help="The last lesson that the class has done: 03.")],
) -> None:
    """Make a notebook with what the lessons so far have said, for a learner who comes late.

    Your labs and their answers stay as they are.
    """
    from helpers.course.catchup import write  # reading notebooks takes a moment to load

    file, fresh = write(lesson)
    place = escape(str(file.relative_to(CHECKOUT)))
    if fresh:
        out.print(f"{place} is ready: open it in JupyterLab.")
    else:
        out.print(
            f"{place} has changes of yours, so it stays as it is. To get it as it was made, "
            "delete it and try again."
        )
