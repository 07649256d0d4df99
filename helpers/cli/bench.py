"""`course bench`: the measurements of lessons 08 and 09."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from helpers.bench import ONE_SERVER, PARTS
from helpers.cli.console import err, out, table
from helpers.course.connect import connect

if TYPE_CHECKING:
    from helpers.bench.report import Found
    from helpers.bench.rounds import Part


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Under 30 s, less exact, and without a cluster.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this part; may be repeated. Parts: {', '.join(PARTS)}."),
    ] = None,
) -> None:
    """Measure on the server in use how fast everything goes, each figure beside its baseline."""
    # Only here: what is measured needs all of `helpers`, and no other command does.
    from helpers.bench.report import Report, run, settings
    from helpers.bench.scale import Scale

    wanted = only or list(ONE_SERVER if quick else PARTS)
    found: dict[str, Found] = {}
    with connect() as client, _progress() as progress:
        bar = progress.add_task("", total=len(wanted))

        def tick(part: str, path: str) -> None:
            progress.update(bar, description=f"{part}: {path}", completed=len(found))

        where = settings(client)
        if not as_json:
            with _standing(progress):
                _print_settings(where)
        for name, part in run(
            client, Scale.quick() if quick else Scale.full(), only=wanted, tick=tick
        ):
            found[name] = part
            if not as_json:
                with _standing(progress):
                    _print_found(name, part)
    if as_json:
        print(json.dumps(Report(where, found).plain(), indent=2), flush=True)
    elif not quick:
        _print_wanted(found)


def _progress() -> Progress:
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def _standing(progress: Progress) -> Iterator[None]:
    """Take the progress bar away, so that something can be printed."""
    progress.stop()
    yield
    out.file.flush()
    progress.start()


def _print_settings(settings: dict[str, str]) -> None:
    for name, what in settings.items():
        out.print(f"[dim]{name:12}[/] {escape(what)}")


def _print_found(name: str, part: Found) -> None:
    out.print()
    if isinstance(part, str):
        out.print(f"[yellow]{name} was left out:[/] {escape(part)}")
    else:
        _print_part(name, part)


def _print_part(name: str, part: Part) -> None:
    listed = table(f"{name}, in {part.unit}", "median", "least", "most", "runs")
    for path, figure in part.figures.items():
        values = (_short(value) for value in (figure.median, figure.low, figure.high))
        listed.add_row(escape(path), *values, str(figure.runs))
    for path, ratio in part.ratios.items():
        values = (f"{value:.2f}" for value in (ratio.median, ratio.low, ratio.high))
        listed.add_row(path, *values, str(ratio.runs), style="bold")
    out.print(listed)
    for sentence in part.setup:
        out.print(f"[dim]{escape(sentence)}[/]")


def _print_wanted(found: dict[str, Found]) -> None:
    """What the course wants of its helpers: only of a full run, for a quick one is not exact."""
    from helpers.bench.report import GOALS

    listed = table("what the course expects of its helpers", "here", "wanted", "")
    for (name, ratio), goal in GOALS.items():
        part = found.get(name)
        if part is None or isinstance(part, str):
            continue
        one = part.ratios[ratio]
        mark = "[green]✓[/]" if goal.reached(one) else "[red]✗[/]"
        listed.add_row(f"{name}: {ratio}", f"{one.median:.2f}", str(goal), mark)
    if listed.rows:
        out.print()
        out.print(listed)
        out.print("[dim]Median of the runs, on a machine that does nothing else.[/]")


def _short(value: float) -> str:
    """A number with about three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
