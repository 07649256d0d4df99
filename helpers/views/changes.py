"""The figure of the dashboard: changes per interval, drawn from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.course.errors import CourseError

WIDTH, HEIGHT = 720, 360  # pixels; a page shows it somewhat larger or smaller
DPI = 100
# Okabe and Ito's colours, of which yellow is too pale for lines, each with a marker of its own.
STYLES = (
    ("#000000", "o"),
    ("#0072b2", "s"),
    ("#d55e00", "^"),
    ("#009e73", "D"),
    ("#cc79a7", "v"),
    ("#56b4e9", "P"),
    ("#e69f00", "X"),
)
STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
MOST_TICKS = 8
LONGEST = 28  # letters of a name
DAY_S = 86_400
GREY = "#595959"

Points = Sequence[tuple[datetime, int]]


@dataclass(frozen=True)
class Chart:
    """What the figure shows.

    Attributes:
        lines: the changes in each interval, oldest first, by the name of the line. All have the
            same intervals, and the last one is not over yet.
        interval_s: how long an interval is.
        tz: the time zone of the time axis.
        stale_since: since when nothing was counted, if what is shown is out of date.
        styles: the number of each line's colour and marker, so that it keeps them when others
            come and go; by default they are counted.
        empty: what to write where there is no line.
    """

    lines: Mapping[str, Points]
    interval_s: int
    tz: str = "UTC"
    stale_since: datetime | None = None
    styles: Mapping[str, int] | None = None
    empty: str = "Nothing is picked."

    @property
    def moments(self) -> list[datetime]:
        """When each interval begins."""
        return [moment for moment, _ in next(iter(self.lines.values()), ())]

    @property
    def counted(self) -> int:
        """How many intervals somebody counted in; the last of them is not whole."""
        since = self.stale_since
        if since is None:
            return len(self.moments)
        return sum(moment <= since for moment in self.moments)


def zone(tz: str) -> ZoneInfo:
    """The time zone of a name.

    Raises:
        CourseError: there is none.
    """
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, TypeError, OSError):
        raise CourseError(
            f"There is no time zone {tz!r}: use an IANA name, such as 'UTC' or 'Europe/Lisbon'."
        ) from None


def changes(chart: Chart) -> Figure:
    """A line for each domain; what is not whole is hollow, and what is missing is hatched."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    rows = -(-len(chart.lines) // 3)
    top = 1 - (30 + 22 * rows) / HEIGHT
    axes: Any = figure.add_axes((68 / WIDTH, 62 / HEIGHT, 1 - 104 / WIDTH, top - 62 / HEIGHT))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=11)
    if not chart.moments:
        axes.set_axis_off()
        axes.text(0.5, 0.5, chart.empty, ha="center", va="center", fontsize=14,
                  transform=axes.transAxes)  # fmt: skip
        return figure
    _draw_axes(axes, chart)
    for number, (name, points) in enumerate(chart.lines.items()):
        style = chart.styles[name] if chart.styles else number
        _draw_line(axes, chart, name, [count for _, count in points], style)
    if chart.stale_since:
        _hatch(axes, chart)
    drawn = [count for points in chart.lines.values() for _, count in points[: chart.counted]]
    axes.set_ylim(0, max(5, *drawn, 0) * (1.25 if chart.stale_since else 1.1))
    legend = figure.legend(loc="upper left", bbox_to_anchor=(0, 1), ncols=3, frameon=False,
                  fontsize=11, handlelength=1.6, columnspacing=1.2, handletextpad=0.5)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def png(figure: Figure, scale: float = 1.5) -> bytes:
    """A figure as PNG, with more pixels than the page has, for sharp screens."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI * scale, metadata={"Software": None},
                   pil_kwargs={"compress_level": 1})  # fmt: skip
    return picture.getvalue()


def describe(chart: Chart) -> str:
    """The figure in words: what a screen reader says in its place."""
    if not chart.moments:
        return f"An empty chart. {chart.empty}"
    here = zone(chart.tz)
    begin, *_, end = [chart.moments[0], chart.moments[-1] + timedelta(seconds=chart.interval_s)]
    text = (
        f"Line chart of changes per {chart.interval_s} s, "
        f"{begin.astimezone(here):%H:%M:%S} to {end.astimezone(here):%H:%M:%S}, {chart.tz}. "
    )
    last = chart.counted - 2
    if last < 0:
        text += "It has no complete interval. "
    else:
        counts = ", ".join(f"{name} {points[last][1]:,}" for name, points in chart.lines.items())
        at = chart.moments[last].astimezone(here)
        text += f"The newest complete interval began at {at:%H:%M:%S}: {counts}. "
    if chart.stale_since:
        text += f"Nothing was counted after {chart.stale_since.astimezone(here):%H:%M:%S}."
    return text.strip()


def ticks(first: datetime, last: datetime, tz: str) -> list[tuple[datetime, str]]:
    """Where the time axis has marks, and what they say: round times of the time zone's day."""
    here = zone(tz)
    span_s = (last - first).total_seconds()
    steps = (step for step in STEPS_S if span_s / step <= MOST_TICKS)
    step_s = next(steps, -(-int(span_s) // (MOST_TICKS * DAY_S)) * DAY_S)
    form = "%H:%M:%S" if step_s < 60 else "%H:%M" if step_s < DAY_S else "%d %b"
    offset = first.astimezone(here).utcoffset() or timedelta(0)
    since_midnight = (first.timestamp() + offset.total_seconds()) % step_s
    moment, marks = first + timedelta(seconds=-since_midnight % step_s), []
    while moment <= last:
        marks.append((moment, f"{moment.astimezone(here):{form}}"))
        moment += timedelta(seconds=step_s)
    return marks


def axis_label(first: datetime, last: datetime, tz: str) -> str:
    """What the time axis says of itself: its zone, how far that is from UTC, and the day."""
    begin, end = (moment.astimezone(zone(tz)) for moment in (first, last))
    offsets = dict.fromkeys(_offset(moment) for moment in (begin, end))
    away = "" if tz == "UTC" else f" ({', then '.join(offsets)})"
    days = dict.fromkeys(f"{moment.day} {moment:%B %Y}" for moment in (begin, end))
    return f"time of day in {tz}{away}, {' to '.join(days)}"


def _offset(moment: datetime) -> str:
    minutes = int((moment.utcoffset() or timedelta(0)).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{hours}" + (f":{rest:02}" if rest else "")


def _short(name: str) -> str:
    """A name as the legend has it: not too long, and without a `_`, which would hide it."""
    name = name.lstrip("_")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _draw_axes(axes: Any, chart: Chart) -> None:
    """Time goes in seconds from the left edge, which is much faster than matplotlib's dates."""
    first = chart.moments[0]
    last = chart.moments[-1] + timedelta(seconds=chart.interval_s)
    marks = ticks(first, last, chart.tz)
    axes.set_xlim(0, (last - first).total_seconds())
    axes.set_xticks([(moment - first).total_seconds() for moment, _ in marks])
    axes.set_xticklabels([label for _, label in marks])
    axes.set_xlabel(axis_label(first, last, chart.tz), fontsize=11)
    axes.set_ylabel(f"changes per {chart.interval_s} s", fontsize=11)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_line(axes: Any, chart: Chart, name: str, counts: list[int], style: int) -> None:
    """The whole intervals as a line, with a mark in the middle of each; the last one hollow."""
    colour, marker = STYLES[style % len(STYLES)]
    counts = counts[: chart.counted]
    middles = [(number + 0.5) * chart.interval_s for number in range(len(counts))]
    look = {"color": colour, "marker": marker, "markersize": 5.5, "linewidth": 1.8}
    axes.plot(middles[:-1], counts[:-1], label=_short(name), **look)
    look |= {"linestyle": (0, (2, 3)), "linewidth": 1.0}
    look |= {"markerfacecolor": "white", "markevery": [-1]}
    axes.plot(middles[-2:], counts[-2:], **look, clip_on=False)


def _hatch(axes: Any, chart: Chart) -> None:
    assert chart.stale_since
    first = chart.moments[0]
    since_s = max(0.0, (chart.stale_since - first).total_seconds())
    end_s = len(chart.moments) * chart.interval_s
    axes.axvspan(since_s, end_s, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch="//",
                 linewidth=0, zorder=0.5)  # fmt: skip
    at = chart.stale_since.astimezone(zone(chart.tz))
    right = since_s > end_s / 2
    axes.text(end_s if right else since_s, 1.0, f" stale: nothing counted after {at:%H:%M:%S} ",
              transform=axes.get_xaxis_transform(), ha="right" if right else "left", va="top",
              fontsize=11, color=GREY, weight="bold",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
