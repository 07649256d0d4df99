"""The drawings of the lessons: the source of notebooks/drawings/, which `make drawings` writes.

    paper.py         boxes, words, arrows and signs, as SVG
    streams.py       lessons 01, 02 and 05: entries, nodes, places, trimming, partitions
    groups.py        lessons 03 and 04: cursor, pending entries, take-over, zombie, recovery
    steps.py         lessons 06 to 08: one step, at least once, round trips
    nodes.py         lesson 09: from a key to its node, what a failover loses
    faults.py        what makes a drawing unfit to be shown; `make drawings` refuses it

A drawing is a function without arguments; its name is the name of the file.
"""

from __future__ import annotations

from collections.abc import Callable

from helpers.course.home import CHECKOUT
from helpers.views.drawings import groups, nodes, steps, streams
from helpers.views.drawings.paper import Drawing

FOLDER = CHECKOUT / "notebooks" / "drawings"

_FUNCTIONS: tuple[Callable[[], Drawing], ...] = (
    streams.stream,
    streams.whole_nodes,
    streams.nodes,
    streams.place,
    streams.dollar,
    groups.group,
    groups.two_groups,
    groups.takeover,
    groups.zombie,
    groups.recovery,
    streams.trimming,
    streams.partitions,
    steps.one_step,
    steps.at_least_once,
    steps.round_trip,
    nodes.slots,
    nodes.lost_tail,
)


def drawings() -> dict[str, Drawing]:
    """Every drawing by its name, in the order of the lessons."""
    return {one.__name__: one() for one in _FUNCTIONS}


def markdown(name: str, drawing: Drawing) -> str:
    """The line of a lesson that shows a drawing."""
    return f"![{drawing.alt}](drawings/{name}.svg)"
