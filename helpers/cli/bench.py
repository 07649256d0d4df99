"""`course bench`: the measurements of lesson 08."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from helpers.cli.console import err, out, table
from helpers.connect import connect

if TYPE_CHECKING:
    from helpers.bench.report import Report
    from helpers.bench.rounds import Part


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Under 30 s, and less exact.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this part, such as append; may be repeated.")
    ] = None,
) -> None:
    """Measure on the server in use how fast everything goes, each figure beside its baseline."""
    # Only here: what is measured needs all of `helpers`, and no other command does.
    from helpers.bench.report import NAMES, PARTS, run
    from helpers.bench.scale import Scale

    wanted = only or list(NAMES)
    with connect() as client, _progress() as progress:
        bar = progress.add_task("", total=sum(bool(set(names) & set(wanted)) for names in PARTS))
        begun: list[str] = []

        def tick(part: str, path: str) -> None:
            if part not in begun:
                begun.append(part)
            progress.update(bar, description=f"{part}: {path}", completed=len(begun) - 1)

        report = run(client, Scale.quick() if quick else Scale.full(), only=wanted, tick=tick)
        progress.update(bar, completed=len(PARTS))
    if as_json:
        print(json.dumps(report.plain(), indent=2), flush=True)
    else:
        _print(report)


def _progress() -> Progress:
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _print(report: Report) -> None:
    for name, what in report.settings.items():
        out.print(f"[dim]{name:12}[/] {escape(what)}")
    for name, part in report.parts.items():
        out.print()
        _print_part(name, part)
    for name, why in report.left_out.items():
        out.print(f"\n[yellow]{name} was left out:[/] {escape(why)}")
    _print_goals(report)


def _print_part(name: str, part: Part) -> None:
    listed = table(f"{name}, in {part.unit}", "median", "least", "most", "runs")
    for path, figure in part.figures.items():
        values = (_short(value) for value in (figure.median, figure.low, figure.high))
        listed.add_row(escape(path), *values, str(figure.runs))
    out.print(listed)
    for sentence in part.setup:
        out.print(f"[dim]{escape(sentence)}[/]")


def _print_goals(report: Report) -> None:
    from helpers.bench.report import GOALS

    listed = table("ratio", "median", "least", "most", "wanted", "")
    for (name, ratio), goal in GOALS.items():
        if name not in report.parts:
            continue
        one = report.parts[name].ratios[ratio]
        values = (_short(value) for value in (one.median, one.low, one.high))
        mark = "[green]✓[/]" if goal.reached(one) else "[red]✗[/]"
        listed.add_row(f"{name}: {ratio}", *values, str(goal), mark)
    if listed.rows:
        out.print()
        out.print(listed)


def _short(value: float) -> str:
    """A number with about three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
