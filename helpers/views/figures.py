"""Figures for the lessons, drawn from plain data: nothing here talks to a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import matplotlib.dates as dates
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers, and in grey.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"


def show_figure(figure: Figure, caption: str) -> None:
    """Show a figure, and under it in words what is to be seen in it.

    The caption serves those who cannot see the picture, and is what nbval compares.
    """
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    display({"image/png": picture.getvalue(), "text/plain": caption}, raw=True)
    display(Markdown(f"*{caption}*"))


def time_series(
    series: Mapping[str, tuple[Sequence[datetime], Sequence[float]]], *, unit: str, title: str
) -> Figure:
    """Lines over a time axis in UTC, each named at its end and in the legend."""
    figure, axes = _canvas(title)
    for colour, (name, (moments, values)) in zip(
        (BLUE, ORANGE, GREEN), series.items(), strict=False
    ):
        axes.plot(moments, values, color=colour, label=name, linewidth=1.5)  # type: ignore[arg-type]
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M", tz=UTC))
    axes.set_xlabel("time of day, UTC")
    axes.set_ylabel(unit)
    if len(series) > 1:
        axes.legend(frameon=False)
    return figure


def bars(values: Mapping[str, float], *, unit: str, title: str, marked: str = "") -> Figure:
    """One horizontal bar a name, the value written at its end; one may be marked."""
    figure, axes = _canvas(title, height=0.9 + 0.5 * len(values))
    names = list(values)
    colours = [ORANGE if name == marked else BLUE for name in names]
    drawn = axes.barh(names, [values[name] for name in names], color=colours, height=0.65)
    digits = 0 if max(values.values()) >= 1000 else 1
    axes.bar_label(drawn, labels=[f" {value:,.{digits}f}" for value in values.values()])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.margins(x=0.15)
    return figure


def timeline(rows: Mapping[str, Sequence[float]], *, title: str, span_s: float) -> Figure:
    """Events as marks in rows over a common axis of seconds."""
    figure, axes = _canvas(title, height=0.8 + 0.55 * len(rows))
    for place, (moments, colour) in enumerate(
        zip(rows.values(), (BLUE, ORANGE, GREEN, PURPLE) * len(rows), strict=False)
    ):
        axes.plot(
            moments, [place] * len(moments), "|", markersize=18, markeredgewidth=2.5, color=colour
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, span_s)
    axes.set_xlabel("seconds")
    return figure


def lanes(rows: Mapping[str, Sequence[float]], *, title: str, unit: str) -> Figure:
    """A lane for each name, with a box for each thing that went to it."""
    figure, axes = _canvas(title, height=0.9 + 0.6 * len(rows))
    for place, (things, colour) in enumerate(
        zip(rows.values(), (BLUE, ORANGE, GREEN, PURPLE) * len(rows), strict=False)
    ):
        axes.plot(things, [place] * len(things), "s", markersize=24, color=colour)
        for thing in things:
            axes.text(
                thing, place + 0.02, f"{thing:g}", ha="center", va="center", color="white",
                weight="bold",
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows), fontsize=12)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.set_xlabel(unit)
    axes.grid(visible=False)
    return figure


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str
) -> Figure:
    """Lines through points (x, y), each with its name at its end."""
    figure, axes = _canvas(title)
    for colour, (name, points) in zip((BLUE, ORANGE, GREEN, PURPLE), series.items(), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2.5)
        axes.annotate(f"  {name}", points[-1], color=colour, va="center", fontsize=11)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    return figure


def _canvas(title: str, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.5, height))
    axes: Any = figure.subplots()
    axes.set_title(title, loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes
