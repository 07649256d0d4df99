"""The theatre's picture as PNG, for lessons that are read without a kernel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers.views.theatre.layout import WIDTH, Area, Moved, Sheet, Words, sheet
from helpers.views.theatre.snapshot import Snapshot
from helpers.views.theatre.text import States, text

DPI = 100  # of the layout's pixels; the picture has twice as many
POINTS = 72 / DPI
ALIGN = {"start": "left", "middle": "center", "end": "right"}


@dataclass(frozen=True)
class Still:
    """A snapshot to be shown, as the last line of a cell, with what is known of its consumers.

    The text that stands for the picture leaves out IDs and times, so that nbval can compare it.
    """

    snapshot: Snapshot
    states: States | None = None
    moved: Moved = frozenset()

    def __str__(self) -> str:
        return text(self.snapshot, self.states, times=False)

    def png(self) -> bytes:
        """The picture; the same bytes for the same snapshot."""
        return png(sheet(self.snapshot, self.states, self.moved))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": self.png(), "text/plain": str(self)}, {"image/png": {"width": WIDTH}}


def png(paper: Sheet) -> bytes:
    """Shapes as PNG; the same bytes for the same shapes."""
    picture = BytesIO()
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = _figure(paper)
        figure.savefig(picture, format="png", dpi=2 * DPI, metadata={"Software": None})
    return picture.getvalue()


def _figure(paper: Sheet) -> Figure:
    figure = Figure(figsize=(WIDTH / DPI, paper.height / DPI))
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(paper.height, 0)
    axes.set_axis_off()
    for order, shape in enumerate(paper.shapes):
        if isinstance(shape, Area):
            axes.add_patch(_patch(shape, order))
        else:
            _write(axes, shape, order)
    return figure


def _patch(area: Area, order: int) -> FancyBboxPatch:
    corner = f"round,pad=0,rounding_size={min(5, area.width / 2, area.height / 2)}"
    return FancyBboxPatch(
        (area.x, area.y),
        area.width,
        area.height,
        boxstyle=corner,
        facecolor=area.fill,
        edgecolor=area.line,
        linewidth=area.thick * POINTS,
        linestyle=(0, (4, 3)) if area.dashed else "-",
        zorder=order,
    )


def _write(axes: Axes, words: Words, order: int) -> None:
    axes.text(
        words.x,
        words.y,
        words.text,
        fontsize=words.size * POINTS * 0.9,  # DejaVu's letters are wider than a screen's
        color=words.colour,
        fontweight="bold" if words.bold else "normal",
        family="DejaVu Sans Mono" if words.mono else "DejaVu Sans",
        ha=ALIGN[words.anchor],
        va="baseline",
        zorder=order,
        parse_math=False,
    )
