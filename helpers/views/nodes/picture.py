"""Where everything stands in the picture of a cluster: a column for each node, a box for a part."""

from __future__ import annotations

from helpers.chaos import NodeStatus
from helpers.views.nodes.look import ClusterLook, PartLook, role
from helpers.views.theatre.layout import (
    BACKDROPS,
    CONSUMERS,
    EDGE,
    GAP,
    GREEN,
    GREY,
    INK,
    INNER,
    NAME,
    PALE,
    PAPER,
    RED,
    SMALL,
    TITLE,
    WIDEST,
    WIDTH,
    Area,
    Shape,
    Sheet,
    Words,
    fit,
)

HEAD, BOX, STEP = 98, 52, 58  # heights: of a node's head, of a part, and from part to part
TOP = 62


def sheet(seen: ClusterLook, title: str) -> Sheet:
    """The whole picture."""
    column = min((INNER + GAP) / max(1, len(seen.nodes)), WIDEST)
    colours = dict(zip(seen.owners, CONSUMERS * len(seen.owners), strict=False))
    most = max([sum(part.node == node.name for part in seen.parts) for node in seen.nodes] or [0])
    height = TOP + HEAD + 10 + STEP * max(most, 1) + 40
    shapes: list[Shape] = [Words(EDGE, 40, fit(title, TITLE, INNER, bold=True), TITLE, bold=True)]
    for number, node in enumerate(seen.nodes):
        x = EDGE + number * column
        shapes += _head(node, x, column - GAP)
        mine = [part for part in seen.parts if part.node == node.name]
        for at, part in enumerate(mine):
            y = TOP + HEAD + 10 + STEP * at
            shapes += _part(part, x, y, column - GAP, colours)
    lost = [part.stream for part in seen.parts if not part.node]
    said = f"No node serves {', '.join(lost)}." if lost else "part · entries · owner"
    words = fit(said, SMALL, INNER)
    shapes.append(Words(EDGE, height - 16, words, SMALL, RED if lost else GREY))
    return Sheet(height, tuple(shapes))


def _head(node: NodeStatus, x: float, width: float) -> list[Shape]:
    fill = BACKDROPS["killed"] if not node.up else PALE if node.role == "primary" else PAPER
    sign, colour = ("✕", RED) if not node.up else ("●", GREEN) if node.slots else ("○", GREY)
    return [
        Area(x, TOP, width, HEAD, fill, INK, dashed=not node.up),
        Words(x + 10, TOP + 30, sign, NAME, colour),
        Words(x + 38, TOP + 30, node.name, NAME, bold=True),
        *(
            Words(x + 10, TOP + 58 + 24 * at, fit(words, SMALL, width - 16), SMALL, GREY)
            for at, words in enumerate(role(node).split(", "))
        ),
    ]


def _part(part: PartLook, x: float, y: float, width: float, colours: dict[str, str]) -> list[Shape]:
    name = part.stream[part.stream.find("{") :]
    length = "?" if part.length is None else f"{part.length:,}"
    shapes: list[Shape] = [
        Area(x, y, width, BOX, PAPER, INK),
        Words(x + 20, y + 22, name, SMALL, bold=True, mono=True),
        Words(x + width - 8, y + 22, length, SMALL, anchor="end"),
        Words(x + 20, y + 44, fit(part.owner or "no owner", SMALL, width - 28), SMALL, GREY),
    ]
    if part.owner:
        shapes.append(Area(x + 4, y + 4, 8, BOX - 8, colours[part.owner]))
    return shapes


__all__ = ["WIDTH", "sheet"]
