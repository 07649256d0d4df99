"""What a drawing is made of: boxes, words, arrows and signs on a light card, written as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Literal

from helpers.views.theatre.draw import MONO, SANS
from helpers.views.theatre.layout import CONSUMERS, GREEN, GREY, INK, PALE, PAPER, RED, RULE

WIDTH, EDGE = 720, 24
SMALL, NORMAL, TITLE = 22, 24, 28  # on a phone, half of that
ALICE, BOB, CAROL = CONSUMERS[:3]
DONE = "#d5efe6"  # a pale green that bears ink
ON_DARK = {ALICE}  # what bears paper-coloured words

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass
class Drawing:
    """One drawing: what it is called, what it says in words, and its shapes.

    Args:
        title: the one thing that it teaches; it stands at the top.
        alt: the drawing for someone who can't see it, in a sentence or a few.
        height: in units of which the width has 720.
    """

    title: str
    alt: str
    height: float
    _shapes: list[ET.Element] = field(default_factory=list)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *lines: str,
        fill: str = PAPER,
        line: str = INK,
        dashed: bool = False,
        hatched: bool = False,
        mono: bool = False,
        size: int = SMALL,
        bold: bool = False,
    ) -> None:
        """A rectangle with lines of words in its middle."""
        rect = self._add("rect", x=x, y=y, width=width, height=height, rx=6, fill=fill)
        rect.attrib |= {"stroke": line, "stroke-width": "2"}
        if dashed:
            rect.set("stroke-dasharray", "7 5")
        if hatched:
            self._add("rect", x=x, y=y, width=width, height=height, rx=6, fill="url(#hatch)")
        step = size * 1.3
        first = y + height / 2 + size * 0.36 - step * (len(lines) - 1) / 2
        colour = PAPER if fill in ON_DARK else INK
        for number, text in enumerate(lines):
            self.words(
                x + width / 2, first + number * step, text,
                size=size, anchor="middle", mono=mono, bold=bold, colour=colour,
            )  # fmt: skip

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = SMALL,
        anchor: Anchor = "start",
        mono: bool = False,
        bold: bool = False,
        colour: str = INK,
    ) -> None:
        """A line of words; y is its baseline."""
        said = self._add("text", x=x, y=y, fill=colour)
        said.attrib |= {"font-size": str(size), "text-anchor": anchor}
        if mono:
            said.set("font-family", MONO)
        if bold:
            said.set("font-weight", "700")
        said.text = text

    def entry(self, x: float, y: float, width: float, height: float, text: str) -> None:
        """An entry of a stream, where its number or ID is all that matters."""
        self.box(x, y, width, height, text, size=NORMAL, bold=True, fill=PALE)

    def line(
        self, *points: Point, dashed: bool = False, thick: float = 2.5, ink: str = INK
    ) -> None:
        """A line through some points."""
        drawn = self._add("polyline", points=_points(points), fill="none", stroke=ink)
        drawn.attrib |= {"stroke-width": f"{thick:g}", "stroke-linejoin": "round"}
        if dashed:
            drawn.set("stroke-dasharray", "7 5")

    def arrow(self, *points: Point, dashed: bool = False) -> None:
        """A line through some points, with its head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        back = (x1 - 14 * dx, y1 - 14 * dy)
        self.line(*points[:-1], back, dashed=dashed)
        sides = [(back[0] - 7 * dy, back[1] + 7 * dx), (back[0] + 7 * dy, back[1] - 7 * dx)]
        self._add("polygon", points=_points([(x1, y1), *sides]), fill=INK)

    def cursor(self, x: float, y: float) -> None:
        """A place between entries: a triangle that points up at it."""
        self._add("polygon", points=_points([(x, y), (x - 12, y + 20), (x + 12, y + 20)]), fill=INK)

    def bracket(self, left: float, right: float, y: float, *, down: bool = False) -> None:
        """What lies between two places; its ends point up, or down."""
        end = y + 10 if down else y - 10
        self.line((left, end), (left, y), (right, y), (right, end))

    def tick(self, x: float, y: float) -> None:
        """The sign for what is done."""
        self.line((x - 10, y), (x - 3, y + 8), (x + 11, y - 10), thick=5, ink="#00694d")

    def cross(self, x: float, y: float, ink: str = RED) -> None:
        """The sign for what is lost, gone or dead."""
        self.line((x - 9, y - 9), (x + 9, y + 9), thick=5, ink=ink)
        self.line((x - 9, y + 9), (x + 9, y - 9), thick=5, ink=ink)

    def pause(self, x: float, y: float) -> None:
        """The sign for what stands still."""
        for left in (x - 10, x + 3):
            self._add("rect", x=left, y=y - 13, width=7, height=26, fill=INK)

    def svg(self) -> str:
        """The drawing as a file: a card of its own, so that it is legible on any page."""
        root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "width": str(WIDTH),
                "height": f"{self.height:g}",
                "viewBox": f"0 0 {WIDTH} {self.height:g}",
                "role": "img",
                "font-family": SANS,
            },
        )
        ET.SubElement(root, "title").text = self.title
        ET.SubElement(root, "desc").text = self.alt
        if any(one.get("fill") == "url(#hatch)" for one in self._shapes):
            root.append(_hatch())
        card = {"x": "1", "y": "1", "rx": "10", "fill": PAPER, "stroke": RULE}
        size = {"width": str(WIDTH - 2), "height": f"{self.height - 2:g}", "stroke-width": "2"}
        ET.SubElement(root, "rect", card | size)
        head = {"x": str(EDGE), "y": "50", "fill": INK, "font-size": str(TITLE)}
        said = ET.SubElement(root, "text", head | {"font-weight": "700"})
        said.text = self.title
        root.extend(self._shapes)
        ET.indent(root)
        return ET.tostring(root, encoding="unicode") + "\n"

    def _add(self, tag: str, **attributes: float | str) -> ET.Element:
        texts = {
            name: value if isinstance(value, str) else f"{value:.5g}"
            for name, value in attributes.items()
        }
        shape = ET.Element(tag, texts)
        self._shapes.append(shape)
        return shape


def _points(points: tuple[Point, ...] | list[Point]) -> str:
    return " ".join(f"{x:.5g},{y:.5g}" for x, y in points)


def _hatch() -> ET.Element:
    """Stripes, for what grey alone would not tell apart."""
    definitions = ET.Element("defs")
    size = {"width": "10", "height": "10", "patternUnits": "userSpaceOnUse"}
    turned = {"id": "hatch", "patternTransform": "rotate(45)"}
    pattern = ET.SubElement(definitions, "pattern", turned | size)
    stripe = {"x1": "0", "y1": "0", "x2": "0", "y2": "10", "stroke": "#b5b5b5"}
    ET.SubElement(pattern, "line", stripe | {"stroke-width": "5"})
    return definitions


__all__ = [
    "ALICE", "BOB", "CAROL", "DONE", "EDGE", "GREEN", "GREY", "INK", "NORMAL", "PALE", "PAPER",
    "RED", "RULE", "SMALL", "TITLE", "WIDTH", "Drawing",
]  # fmt: skip
