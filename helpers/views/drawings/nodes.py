"""Drawings of lesson 09: from a key to its node, and what a failover loses."""

from __future__ import annotations

from helpers.views.drawings.paper import ALICE, DONE, EDGE, NORMAL, PALE, Drawing

SLOTS = (  # a key of the lesson, its hash slot, and its node among three
    ("chennai", 15679, "n3"),
    ("{chennai}:totals", 15679, "n3"),
    ("delhi", 9291, "n2"),
    ("lucknow", 545, "n1"),
)


def slots() -> Drawing:
    """Lesson 09: a key has a slot, and a slot has a node."""
    drawing = Drawing(
        "From a key to its node",
        "Keys on the left, their hash slots in the middle, nodes on the right. The key chennai and "
        "the key totals with chennai in braces both have slot 15679, because only what is in "
        "braces is hashed; n3 serves it. delhi has slot 9291 and lies on n2, lucknow has slot 545 "
        "and lies on n1.",
        470,
    )
    for x, word in ((EDGE, "key"), (326, "slot"), (570, "node")):
        drawing.words(x, 92, word, size=NORMAL, bold=True)
    heights = {15679: 158, 9291: 298, 545: 398}
    for (key, slot, _), y in zip(SLOTS, (112, 188, 288, 388), strict=True):
        drawing.box(EDGE, y, 232, 54, key, mono=True, fill=PALE)
        drawing.arrow((260, y + 27), (322, heights[slot] + 17))
    for slot, y in heights.items():
        drawing.box(326, y - 10, 118, 54, str(slot), mono=True)
        drawing.arrow((448, y + 17), (506, y + 17))
    for (node, served), y in zip(
        (("n3", "10922–16383"), ("n2", "5461–10921"), ("n1", "0–5460")),
        heights.values(),
        strict=True,
    ):
        drawing.box(510, y - 22, 186, 78, node, served, fill=DONE)
    return drawing


def lost_tail() -> Drawing:
    """Lesson 09: what was confirmed and not yet copied is lost."""
    drawing = Drawing(
        "What a failover loses",
        "The primary has confirmed entries 1 to 5. Its replica has copied 1 to 3 when the primary "
        "is killed. The replica takes over and continues with 1, 2, 3 and a new entry 6. Entries 4 "
        "and 5 were confirmed and are lost.",
        470,
    )
    left, step = 216, 80
    rows = ((96, "primary", "confirmed"), (206, "replica", "copied so far"))
    for (y, name, what), entries in zip(rows, ("12345", "123"), strict=True):
        drawing.words(EDGE, y + 26, name, size=NORMAL, bold=True)
        drawing.words(EDGE, y + 54, what)
        for number, entry in enumerate(entries):
            drawing.entry(left + step * number, y, 66, 60, entry)
    drawing.cross(left + step * 5 + 30, 126)
    drawing.words(left + step * 5 + 30, 176, "killed", anchor="middle")
    drawing.arrow((left + step + 33, 270), (left + step + 33, 328))
    drawing.words(left + step + 52, 308, "takes over")
    drawing.words(EDGE, 366, "new primary", size=NORMAL, bold=True)
    for number, entry in enumerate("123"):
        drawing.box(left + step * number, 336, 66, 60, entry, size=NORMAL, bold=True, fill=DONE)
    for number, entry in enumerate("45", 3):
        drawing.box(left + step * number, 336, 66, 60, entry, size=NORMAL, dashed=True)
    drawing.box(left + step * 5, 336, 66, 60, "6", size=NORMAL, bold=True, fill=ALICE, line=ALICE)
    drawing.words(left + step * 3, 436, "confirmed, and lost")
    return drawing


__all__ = ["lost_tail", "slots"]
