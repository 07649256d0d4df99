"""What all commands share: where they print, and how they say things."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helpers.streams.entry import Entry

out = Console(highlight=False, soft_wrap=True, emoji=False)  # `:sun:` may be part of a key
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def commands(help: str) -> typer.Typer:
    """A set of commands of which one must be named."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def many(count: int, what: str) -> str:
    """A number of things in words, such as `1 reading` and `2 readings`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def fields_of(entry: Entry) -> str:
    """An entry's fields on one line, safe to print."""
    return escape(" ".join(f"{field}={value}" for field, value in entry.fields.items()))


def table(*names: str) -> Table:
    """A table with these headings; what is below the first one stands to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place and name != "consumer" else "left")
    return table


class _Lines(logging.Handler):
    """Prints each record as one line on stderr, without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        style = {logging.INFO: "dim", logging.WARNING: "yellow"}.get(record.levelno, "red")
        err.print(f"[{style}]{escape(' '.join(record.getMessage().split()))}[/]")


@contextlib.contextmanager
def showing_log(least: int = logging.INFO) -> Iterator[None]:
    """Show on stderr what consumers survive: failures, dead letters, claims, lost connections.

    Args:
        least: the level from which on it is shown.
    """
    log, lines = logging.getLogger("helpers"), _Lines(least)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
