"""Figures for the lessons, drawn from plain data: nothing here talks to a server."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.dates as dates
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

if TYPE_CHECKING:
    from helpers.bench.rounds import Rounds

# Okabe and Ito's colours: told apart by colour-blind readers, and in grey.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"

# As wide as a lesson on a laptop, so that its words are as large as the prose around it.
WIDTH, DPI = 7.6, 123  # inches, and pixels an inch

NOT_SO = "This run doesn't show that: the machine was busy, or works differently. Run it again."


def show_figure(figure: Figure, caption: str, *, holds: bool = True) -> None:
    """Show a figure, and under it in words what it shows.

    The caption serves those who cannot see the picture, and is what nbval compares.

    Args:
        figure: the picture.
        caption: what it claims, in words.
        holds: whether this run's numbers say so too. If not, a reader is told, and
            `make lessons` doesn't keep the picture.
    """
    if not holds:
        caption = f"{caption} {NOT_SO}"
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    display(
        {"image/png": picture.getvalue(), "text/plain": caption},
        metadata={} if holds else {"holds": False},
        raw=True,
    )
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


def lanes(
    rows: Mapping[str, Sequence[float]], *, title: str, unit: str, hollow: Collection[str] = ()
) -> Figure:
    """A lane for each name, with a box for each thing that went to it; hollow if that is gone."""
    figure, axes = _canvas(title, height=0.9 + 0.6 * len(rows))
    for place, ((name, things), colour) in enumerate(
        zip(rows.items(), (BLUE, ORANGE, GREEN, PURPLE) * len(rows), strict=False)
    ):
        face, ink = ("white", "grey") if name in hollow else (colour, "white")
        edge = ink if name in hollow else face
        axes.plot(things, [place] * len(things), "s", markersize=24, mfc=face, mec=edge)
        for thing in things:
            axes.text(
                thing, place + 0.02, f"{thing:g}", ha="center", va="center", color=ink,
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
    """Lines through points (x, y), each with its name at its end, or all of them in a legend."""
    figure, axes = _canvas(title)
    ends = sorted(points[-1][1] for points in series.values())
    most = max(value for points in series.values() for _, value in points)
    crowded = any(above - below < most / 12 for below, above in pairwise(ends))
    for colour, (name, points) in zip((BLUE, ORANGE, GREEN, PURPLE), series.items(), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2.5, label=name)
        if not crowded:
            axes.annotate(f"  {name}", points[-1], color=colour, va="center", fontsize=11)
    if crowded:
        axes.legend(frameon=False, loc="lower right")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    return figure


def hours_grid(
    days: Sequence[str],
    values: Mapping[tuple[str, int], float],
    *,
    crossed: Iterable[tuple[str, int]] = (),
    unit: str,
    title: str,
) -> Figure:
    """A row for each day and a box for each hour, with its value; a cross where it is crossed."""
    figure, axes = _canvas(title, height=1.2 + 0.5 * len(days))
    grid = [[values.get((day, hour), math.nan) for hour in range(24)] for day in days]
    drawn = axes.imshow(grid, cmap="cividis", aspect="auto")
    for row, day in enumerate(days):
        for hour in range(24):
            if (day, hour) not in values:
                axes.text(hour, row, "–", ha="center", va="center", color="grey")
    for day, hour in crossed:
        axes.plot(hour, list(days).index(day), "x", color="white", markersize=11,
                  markeredgewidth=3)  # fmt: skip
        axes.plot(hour, list(days).index(day), "x", color="#d55e00", markersize=9,
                  markeredgewidth=2)  # fmt: skip
    axes.set_yticks(range(len(days)), days)
    axes.set_xticks(range(0, 24, 3))
    axes.set_xlabel("hour, UTC")
    axes.grid(visible=False)
    figure.colorbar(drawn, label=unit, pad=0.02)
    return figure


def lifetimes(rows: Mapping[str, tuple[datetime, datetime, datetime]], *, title: str) -> Figure:
    """A bar for each key: from its first entry to its last, and from there to its expiry."""
    figure, axes = _canvas(title, height=1.1 + 0.3 * len(rows))
    for name, (first, last, expiry) in rows.items():
        start, middle, end = (dates.date2num(moment) for moment in (first, last, expiry))
        written = axes.barh(name, middle - start, left=start, height=0.7, color=BLUE)
        kept = axes.barh(name, end - middle, left=middle, height=0.7, color=BLUE, alpha=0.3)
    axes.legend([written, kept], ["written", "kept"], frameon=False, loc="upper right")
    axes.xaxis.set_major_locator(dates.DayLocator(tz=UTC))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%-d %b", tz=UTC))
    axes.set_xlabel("time, UTC")
    axes.invert_yaxis()
    return figure


def ladder(
    rates: Mapping[str, tuple[float, float, float]],
    *,
    limit: tuple[str, float] | None = None,
    unit: str,
    title: str,
) -> Figure:
    """A bar a name on a log axis: the median, a whisker from least to most, and a limit as line."""
    figure, axes = _canvas(title, height=1.3 + 0.36 * len(rates))
    for row, (median, low, high) in enumerate(rates.values()):
        axes.barh(row, median, color=BLUE, height=0.65)
        axes.plot([low, high], [row, row], color="black", linewidth=1.2)
        clear = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.text(high * 1.08, row, f"{median:,.0f}", va="center", bbox=clear)
    axes.set_yticks(range(len(rates)), list(rates))
    least = min(low for _, low, _ in rates.values())
    most = max(high for _, _, high in rates.values())
    if limit:
        name, at = limit
        most = max(most, at)
        axes.axvline(at, color=ORANGE, linewidth=2.5)
        axes.text(at, -0.75, f"{name}: {at:,.0f} ", color="#a66a00", ha="right", weight="bold")
    axes.set_xscale("log")
    axes.set_xlim(10 ** math.floor(math.log10(least)), most * 4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_ylim(len(rates) - 0.5, -1.1 if limit else -0.5)
    axes.set_xlabel(f"{unit}, log axis")
    return figure


def compared(rounds: Rounds, *, unit: str, title: str) -> Figure:
    """A bar for each path: its median over the rounds, and a whisker from least to most."""
    figures = rounds.figures().items()
    bars = {name: (one.median, one.low, one.high) for name, one in figures}
    return ladder(bars, unit=unit, title=title)


def log_curves(
    measured: Mapping[str, Sequence[tuple[float, float]]],
    *,
    dashed: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    title: str,
    x: str,
    y: str,
) -> Figure:
    """Lines with points on two log axes, each with a name in the legend; dashed ones without."""
    figure, axes = _canvas(title, height=3.8)
    colours = (BLUE, ORANGE, GREEN, PURPLE)
    for colour, (name, points) in zip(colours, measured.items(), strict=False):
        axes.plot(*zip(*points, strict=True), "o-", color=colour, linewidth=2, label=name)
    for name, points in (dashed or {}).items():
        axes.plot(*zip(*points, strict=True), "--", color="black", linewidth=1.5, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False)
    axes.set_xlabel(f"{x}, log axis")
    axes.set_ylabel(f"{y}, log axis")
    return figure


def distributions(samples: Mapping[str, Sequence[float]], *, unit: str, title: str) -> Figure:
    """For each name the share of its samples that lie below a value, on a log axis."""
    figure, axes = _canvas(title, height=3.4)
    for colour, (name, values) in zip((BLUE, ORANGE, GREEN, PURPLE), samples.items(), strict=False):
        ordered = sorted(values)
        shares = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
        axes.step(ordered, shares, color=colour, linewidth=2, label=name, where="post")
    for share in (50, 99):
        axes.axhline(share, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks([0, 25, 50, 75, 99])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_xlabel(f"{unit}, log axis")
    axes.set_ylabel("% that took no longer")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _canvas(title: str, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes: Any = figure.subplots()
    axes.set_title(title, loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes
