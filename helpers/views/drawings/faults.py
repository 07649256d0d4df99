"""What is wrong with a drawing: no words for the blind, letters too small, words over an edge."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from helpers.views.theatre.draw import MONO

PHONE_PX, LEAST_ON_A_PHONE_PX = 358, 10.5  # what a page leaves of 390 pixels
HALL_PX, LEAST_IN_A_HALL_PX = 900, 16
LEAST_HEIGHT = 9 / 16  # of the width
LEAST_CONTRAST = 4.5  # WCAG 2, level AA: of lightness, so it holds in grey as well
MARGIN = 12

_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Rect:
    """A rectangle, for what it is and for what its words take."""

    left: float
    top: float
    right: float
    bottom: float
    fill: str = "none"

    def holds(self, other: Rect) -> bool:
        """Whether the other one lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    def meets(self, other: Rect) -> bool:
        """Whether they have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def faults(svg: str) -> list[str]:
    """A sentence for each fault of a drawing; none if it can be shown."""
    root = ET.fromstring(svg)
    return [*_of_the_whole(root), *_of_the_letters(root), *_of_the_words(root)]


def _of_the_whole(root: ET.Element) -> Iterator[str]:
    for name in ("title", "desc"):
        if not (root.findtext(f"{_SVG}{name}") or "").strip():
            yield f"It has no <{name}>."
    if marks := set(root.findtext(f"{_SVG}desc") or "") & set("$[]*_`|<"):
        yield f"Markdown has a use of its own for {''.join(sorted(marks))} in its <desc>."
    if root.get("role") != "img":
        yield 'It has no role="img".'
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    if height < width * LEAST_HEIGHT:
        yield f"It is a strip: {width:g} by {height:g}."


def _of_the_letters(root: ET.Element) -> Iterator[str]:
    width = float(root.attrib["viewBox"].split()[2])
    for text in root.iter(f"{_SVG}text"):
        size = float(text.attrib["font-size"])
        for screen, least in ((PHONE_PX, LEAST_ON_A_PHONE_PX), (HALL_PX, LEAST_IN_A_HALL_PX)):
            if (shown := size * screen / width) < least:
                yield f"{text.text!r} is {shown:.1f} pixels high where it is {screen} wide."


def _of_the_words(root: ET.Element) -> Iterator[str]:
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    page = Rect(MARGIN, MARGIN, width - MARGIN, height - MARGIN)
    rects = [_rect(one) for one in root.iter(f"{_SVG}rect")]
    words = [(one, _extent(one)) for one in root.iter(f"{_SVG}text")]
    lines = [one for shape in root.iter(f"{_SVG}polyline") for one in _segments(shape)]
    for text, taken in words:
        if not page.holds(taken):
            yield f"{text.text!r} leaves the drawing."
        if any(taken.meets(one) and not one.holds(taken) for one in rects):
            yield f"{text.text!r} crosses the edge of a box."
        if any(_crosses(line, taken) for line in lines):
            yield f"{text.text!r} has a line through it."
        under = [one.fill for one in rects if one.fill.startswith("#") and one.holds(taken)]
        if contrast(text.attrib["fill"], under[-1] if under else "#ffffff") < LEAST_CONTRAST:
            yield f"{text.text!r} is hard to tell from what is under it."
    for (text, taken), (other, room) in combinations(words, 2):
        if taken.meets(room):
            yield f"{text.text!r} and {other.text!r} overlap."


def contrast(one: str, other: str) -> float:
    """How far apart two colours are in lightness, from 1 to 21, as WCAG counts it."""
    dark, light = sorted((_lightness(one), _lightness(other)))
    return (light + 0.05) / (dark + 0.05)


def _lightness(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rect(shape: ET.Element) -> Rect:
    x, y, width, height = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
    return Rect(x, y, x + width, y + height, shape.attrib["fill"])


def _extent(text: ET.Element) -> Rect:
    """What a line of words takes in DejaVu, which is wider than what most machines have."""
    size = float(text.attrib["font-size"])
    mono, bold = text.get("font-family") == MONO, text.get("font-weight") == "700"
    width = _width_of_100(text.text or "", mono, bold) * size / 100
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor", "start")] * width
    return Rect(left, y - 0.76 * size, left + width, y + 0.24 * size)


@cache
def _width_of_100(text: str, mono: bool, bold: bool) -> float:
    """How wide a text is in letters of 100 pixels."""
    name = f"DejaVuSans{'Mono' if mono else ''}{'-Bold' if bold else ''}.ttf"
    font = FontProperties(fname=_FONTS / name, size=100)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def _segments(line: ET.Element) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    points = [tuple(map(float, one.split(","))) for one in line.attrib["points"].split()]
    return pairwise((x, y) for x, y in points)


def _crosses(line: tuple[tuple[float, float], tuple[float, float]], taken: Rect) -> bool:
    """Whether any of a hundred points of a line lies in a rectangle."""
    (x0, y0), (x1, y1) = line
    places = ((x0 + (x1 - x0) * n / 100, y0 + (y1 - y0) * n / 100) for n in range(101))
    return any(taken.left < x < taken.right and taken.top < y < taken.bottom for x, y in places)
