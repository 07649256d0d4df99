"""Sliders for COUNT, BLOCK and a pause: each change is tried on the server, and drawn."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Button,
    Layout,
    SelectionSlider,
    VBox,
)
from matplotlib.figure import Figure

from helpers.bench.trial import Trial, milliseconds, trial
from helpers.course.errors import EXPECTED, CourseError
from helpers.streams.errors import StreamsError
from helpers.views.changes import DPI, png
from helpers.views.figures import BLUE, ORANGE

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BLOCKS_MS = (None, 1, 10, 100, 1000, 0)
PAUSES_MS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
RATES = (20, 50, 100, 200, 500, 1000, 2000, 5000)

SHOWN = 5  # trials in the picture
WIDTH, WIDEST = 600, 620  # pixels: as it is drawn, and at most on a page
ROW, TOP, BOTTOM = 62, 30, 48
LEAST_MS, MOST_MS = 0.1, 100.0  # the time axis shows this at least

START = "Move a slider, or press Measure."
BUSY = "Measuring …"
AWAY = "The server did not answer: measure again when it is back."
CLOSED = "These sliders are closed: run their cell again to open them."

_open: list[Tuning] = []  # the one of this kernel


class Tuning:
    """Sliders for a reader's settings: as a cell's last line, it shows itself.

        tuning = Tuning()
        tuning

    When a slider is let go, a task on the kernel's loop tries the settings for half a second,
    with a stream and clients of its own. What is changed meanwhile is tried next. A new one
    closes the earlier one, so that a cell can be run again.
    """

    def __init__(
        self,
        count: int = 100,
        block_ms: int | None = 1000,
        pause_ms: int = 0,
        *,
        rate: int = 1000,
        seconds: float = 0.5,
        trials: Iterable[Trial] = (),
    ) -> None:
        """Prepare; nothing is measured before somebody asks.

        Args:
            count: the COUNT to begin with.
            block_ms: the BLOCK to begin with, in milliseconds: 0 is for ever, None is none.
            pause_ms: the pause to begin with.
            rate: the entries a second to begin with.
            seconds: how long a trial adds entries.
            trials: what was measured before, oldest first, to be drawn with what comes.

        Raises:
            CourseError: a slider has no such place.
        """
        while _open:
            _open.pop().close()
        _open.append(self)
        self._trials = deque(trials, SHOWN)
        self._seconds = seconds
        self._wanted = self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._count = _slider("COUNT", COUNTS, count)
        self._block = _slider("BLOCK", BLOCKS_MS, block_ms, _block_label)
        self._pause = _slider("pause", PAUSES_MS, pause_ms, lambda value: f"{value} ms")
        self._rate = _slider("rate", RATES, rate, lambda value: f"{value:,} a second")
        self._build()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What the picture shows, oldest first."""
        return tuple(self._trials)

    @property
    def said(self) -> str:
        """The sentence above the picture."""
        return self._said

    async def measure(self) -> Trial:
        """Try what the sliders say, and draw what came of it.

        Raises:
            CourseError, redis.RedisError: the server is out of reach.
        """
        self._say(BUSY)
        found = await trial(
            self._count.value,
            self._block.value,
            self._pause.value,
            rate=self._rate.value,
            seconds=self._seconds,
        )
        self._trials.append(found)
        await self._draw()
        self._say(f"{found.settings}: {found}")
        return found

    def close(self) -> None:
        """Let the picture stand still."""
        if self._closed:
            return
        self._closed = True
        if self._task and not self._task.get_loop().is_closed():
            self._task.cancel()
        if self in _open:
            _open.remove(self)
        for control in self._controls:
            control.disabled = True
        self._say(CLOSED)

    def __repr__(self) -> str:
        return "Sliders for COUNT, BLOCK, a pause and the rate: each change is measured, live."

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """The widget; where there is no kernel, the text takes its place."""
        return self._box._repr_mimebundle_(**more) | {"text/plain": repr(self)}

    def _build(self) -> None:
        self._button = Button(
            description="Measure", button_style="primary", tooltip="Try this once more"
        )
        self._button.on_click(self._ask)
        sliders = (self._count, self._block, self._pause, self._rate)
        for slider in sliders:
            slider.observe(self._ask, "value")
        self._controls = (*sliders, self._button)
        self._status, self._picture = HTML(layout=Layout(margin="4px 0")), HTML()
        flow = Layout(display="flex", flex_flow="row wrap", grid_gap="2px 24px")
        self._box = VBox([Box(self._controls, layout=flow), self._status, self._picture])
        self._said = ""
        self._say(START)
        if self._trials:
            self._show(_picture(self.trials))

    def _ask(self, _: object) -> None:
        """Measure, now or behind what is being measured; only the newest settings are tried."""
        if self._closed:
            return
        self._wanted = True
        if not self._task or self._task.done():
            with contextlib.suppress(RuntimeError):  # nobody turns a page outside a notebook
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._work())

    async def _work(self) -> None:
        while self._wanted and not self._closed:
            self._wanted = False
            try:
                await self.measure()
            except StreamsError as error:
                self._say(str(error))
            except EXPECTED:
                self._say(AWAY)

    async def _draw(self) -> None:
        """Draw in a thread."""
        self._show(await asyncio.to_thread(_picture, self.trials))

    def _show(self, picture: bytes) -> None:
        self._picture.value = (
            f'<img alt="{escape(describe(self.trials))}" decoding="sync" style="width: 100%; '
            f'max-width: {WIDEST}px; display: block" '
            f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        )

    def _say(self, sentence: str) -> None:
        self._said = CLOSED if self._closed else sentence
        self._status.value = (
            '<div role="status" style="font-size: 15px; line-height: 1.5; min-height: 3em">'
            f"{escape(self._said)}</div>"
        )


def trials(tried: Sequence[Trial]) -> Figure:
    """A row for each trial, the newest on top: how long entries waited, and the round trips.

    Args:
        tried: oldest first.
    """
    height = TOP + BOTTOM + ROW * max(1, len(tried))
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
    bottom, share = BOTTOM / height, 1 - (TOP + BOTTOM) / height
    waits: Any = figure.add_axes((0.03, bottom, 0.56, share))
    trips: Any = figure.add_axes((0.63, bottom, 0.34, share))
    for axes in (waits, trips):
        axes.set_yticks([])
        axes.set_ylim(-0.3, max(1, len(tried)) - 0.18)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    trips.patch.set_visible(False)  # what was tried stands above both
    _draw_waits(waits, tried)
    _draw_trips(trips, tried)
    for axes in (waits, trips):
        for text in axes.texts:
            text.set_weight("bold" if text.xy[1] == len(tried) - 1 else "normal")
    return figure


def describe(tried: Sequence[Trial]) -> str:
    """The figure in words: what a screen reader says in its place."""
    rows = [
        f"{_settings(one)}: half within {milliseconds(one.p50_ms)}, 99 % within "
        f"{milliseconds(one.p99_ms)}, {one.reads:,} round trips, {one.behind:,} left behind."
        for one in reversed(tried)
    ]
    return " ".join(["Trials, the newest first.", *rows])


def _draw_waits(axes: Any, tried: Sequence[Trial]) -> None:
    times = [time for one in tried for time in (one.p50_ms, one.p99_ms)]
    low, high = min([LEAST_MS, *times]), max([MOST_MS, *times])
    axes.set_xscale("log")
    axes.minorticks_off()  # they would take a third of the time to draw
    axes.set_xlim(low / 1.3, high * 1.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    for row, one in enumerate(tried):
        axes.plot([one.p50_ms, one.p99_ms], [row, row], color=BLUE, linewidth=3)
        axes.plot(one.p50_ms, row, "o", color=BLUE, markersize=9)
        axes.plot(one.p99_ms, row, "|", color=BLUE, markersize=14, markeredgewidth=3)
        left = one.p50_ms * one.p99_ms < low * high  # there is room to the right of it
        _write(axes, f"{milliseconds(one.p50_ms)} – {milliseconds(one.p99_ms)}",
               (one.p50_ms if left else one.p99_ms, row), (0, 8),
               ha="left" if left else "right")  # fmt: skip
        _write(axes, _settings(one), (low / 1.3, row), (0, 22))
    axes.set_xlabel("milliseconds, log axis", fontsize=11)
    axes.set_title("XADD to reader: ● half, ❙ 99 %", loc="left", fontsize=12)


def _draw_trips(axes: Any, tried: Sequence[Trial]) -> None:
    rows = range(len(tried))
    full = [one.reads - one.empty for one in tried]
    axes.barh(rows, full, color=ORANGE, height=0.2)
    axes.barh(rows, [one.empty for one in tried], left=full, color="white", edgecolor=ORANGE,
              hatch="////", height=0.2)  # fmt: skip
    axes.set_xlim(0, max([20, *(1.05 * one.reads for one in tried)]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for row, one in enumerate(tried):
        empty = f", {one.empty:,} empty" if one.empty else ""
        behind = f", {one.behind:,} left behind" if one.behind else ""
        _write(axes, f"{one.reads:,}{empty}{behind}", (0, row), (2, 8))
    axes.set_xlabel("XREADs; hatched: empty", fontsize=11)
    axes.set_title("round trips", loc="left", fontsize=12)


def _write(
    axes: Any, text: str, at: tuple[float, float], offset: tuple[int, int], ha: str = "left"
) -> None:
    axes.annotate(text, at, offset, textcoords="offset points", fontsize=10, ha=ha)


def _picture(tried: Sequence[Trial]) -> bytes:
    return png(trials(tried))


def _settings(one: Trial) -> str:
    """What was tried, with the rate."""
    return f"{one.settings}, {one.rate:,g} a second"


def _block_label(value: int | None) -> str:
    return "none" if value is None else "0: forever" if value == 0 else f"{value:,} ms"


def _slider(name: str, places: Sequence[Any], value: Any, label: Any = "{:,}".format) -> Any:
    if value not in places:
        raise CourseError(f"The slider {name} has no value {value!r}: choose from {places}.")
    return SelectionSlider(
        description=name,
        options=[(label(place), place) for place in places],
        value=value,
        continuous_update=False,
        layout=Layout(width="380px"),
        style={"description_width": "52px"},
    )
