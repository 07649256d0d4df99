"""The theatre's picture as SVG, for what is live: crisp at any size, and quick to make."""

from __future__ import annotations

from html import escape

from helpers.views.theatre.layout import (
    PAPER,
    RULE,
    WIDTH,
    Area,
    Moved,
    Shape,
    Sheet,
    Words,
    sheet,
)
from helpers.views.theatre.snapshot import Snapshot
from helpers.views.theatre.text import States, printable, text

SANS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
MOST = 1500  # pixels: where the screen is wider than that, larger boxes say no more
SMALLEST = 0.94  # the scale at which the smallest letters are 16 pixels high


def draw(snapshot: Snapshot, states: States | None = None, moved: Moved = frozenset()) -> str:
    """The picture of a snapshot; to a screen reader it is the text of the snapshot.

    Args:
        snapshot: what to show.
        states: for a group, the state of each consumer: running, paused, killed, …
        moved: entries to be highlighted: see `snapshot.moved`.
    """
    title = f"The stream {printable(snapshot.stream)} and its groups"
    return svg(sheet(snapshot, states, moved), title, text(snapshot, states))


def svg(paper: Sheet, title: str, alt: str) -> str:
    """Shapes as SVG, as wide as there is room."""
    height = paper.height
    size = f"width: 100%; max-width: {MOST}px; max-height: max(88vh, {height * SMALLEST:.0f}px)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            f'aria-label="{escape(alt)}" font-family="{SANS}" '
            f'preserveAspectRatio="xMinYMin" style="display: block; height: auto; {size}">',
            f"<title>{escape(title)}</title>",
            _shape(Area(0.75, 0.75, WIDTH - 1.5, height - 1.5, PAPER, RULE)),
            *map(_shape, paper.shapes),
            "</svg>",
        ]
    )


def _shape(shape: Shape) -> str:
    return _area(shape) if isinstance(shape, Area) else _words(shape)


def _area(area: Area) -> str:
    line = "" if area.line == "none" else f' stroke="{area.line}" stroke-width="{area.thick:g}"'
    dashes = ' stroke-dasharray="6 4"' if area.dashed else ""
    return (
        f'<rect x="{area.x:g}" y="{area.y:g}" width="{area.width:g}" height="{area.height:g}" '
        f'rx="{min(5, area.width / 2):g}" fill="{area.fill}"{line}{dashes}/>'
    )


def _words(words: Words) -> str:
    font = f' font-family="{MONO}"' if words.mono else ""
    weight = ' font-weight="700"' if words.bold else ""
    return (
        f'<text x="{words.x:g}" y="{words.y:g}" font-size="{words.size}" fill="{words.colour}" '
        f'text-anchor="{words.anchor}"{font}{weight} xml:space="preserve">'
        f"{escape(words.text)}</text>"
    )
