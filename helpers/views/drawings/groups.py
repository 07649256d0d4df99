"""Drawings of lessons 03 and 04: a group's cursor and list, a take-over, a zombie, recovery."""

from __future__ import annotations

from helpers.views.drawings.paper import (
    ALICE,
    BOB,
    CAROL,
    DONE,
    EDGE,
    GREY,
    INK,
    NORMAL,
    PALE,
    PAPER,
    Drawing,
)

COLOURS = {"alice": ALICE, "bob": BOB, "carol": CAROL, "done": DONE}

# What was delivered to whom; the first is acknowledged.
DELIVERED = (("1000-0", "alice"), ("1001-0", "alice"), ("1002-0", "bob"), ("1003-0", "alice"))
UNREAD = ("1004-0", "1005-0")
LAST_DELIVERED = "1003-0"


def group() -> Drawing:
    """Lesson 03: a cursor for what was delivered, a list for what is not done."""
    drawing = Drawing(
        "A group: a cursor and a list",
        "Six entries. The first is acknowledged. The next three are pending: 1001-0 for alice, "
        "1002-0 for bob, 1003-0 for alice. The group's cursor, last-delivered-id, is 1003-0, and "
        "the two entries after it are new. XREADGROUP with > moves the cursor and puts entries on "
        "the pending entries list, XACK takes them off it.",
        520,
    )
    step, width = 113, 107
    for number, (entry_id, name) in enumerate((*DELIVERED, *((one, "") for one in UNREAD))):
        x, state = EDGE + step * number, "done" if number == 0 else name or "new"
        drawing.box(x, 122, width, 46, entry_id, mono=True, fill=PALE)
        drawing.box(x, 168, width, 46, state, fill=COLOURS.get(state, PAPER), bold=True)
    cursor = EDGE + 4 * step - 3
    drawing.bracket(EDGE, cursor - 5, 106, down=True)
    drawing.words((EDGE + cursor) / 2, 96, "delivered", anchor="middle")
    drawing.bracket(cursor + 5, 696, 106, down=True)
    drawing.words((cursor + 696) / 2, 96, "> gives these", anchor="middle")
    drawing.cursor(cursor, 220)
    drawing.words(cursor, 266, f"last-delivered-id {LAST_DELIVERED}", mono=True, anchor="middle")
    drawing.words(190, 322, "pending entries list (PEL)", bold=True)
    for row, (entry_id, name) in enumerate(DELIVERED[1:]):
        y = 340 + 52 * row
        drawing.box(190, y, 200, 46, entry_id, mono=True, fill=PALE)
        drawing.box(390, y, 140, 46, name, fill=COLOURS[name], bold=True)
    drawing.words(EDGE, 388, "XREADGROUP", mono=True)
    drawing.words(EDGE, 448, "adds it")
    drawing.arrow((EDGE, 414), (184, 414))
    drawing.words(696, 388, "XACK", mono=True, anchor="end")
    drawing.words(696, 448, "removes it", anchor="end")
    drawing.arrow((536, 414), (696, 414))
    return drawing


SHARES = {"display": {"alice": "1 3", "bob": "2 4"}, "archive": {"alice": "1 2", "bob": "3 4"}}


def two_groups() -> Drawing:
    """Lesson 03: shared inside a group, not between groups."""
    drawing = Drawing(
        "Every group gets all, and shares it out",
        "One stream of four entries and two groups. In the group display, alice gets 1 and 3, and "
        "bob gets 2 and 4. In the group archive, alice gets 1 and 2, and bob gets 3 and 4. Each "
        "group gets all four, and inside a group each entry goes to one consumer.",
        470,
    )
    for number in range(4):
        drawing.entry(200 + 82 * number, 84, 74, 56, str(number + 1))
    drawing.words(EDGE, 120, "stream", size=NORMAL)
    for side, (name, shares) in enumerate(SHARES.items()):
        x = EDGE + 346 * side
        drawing.arrow((300 + 120 * side, 146), (x + 163, 206))
        drawing.box(x, 208, 326, 236, fill=PAPER)
        drawing.words(x + 20, 246, f"group {name}", size=NORMAL, bold=True)
        for row, (consumer, got) in enumerate(shares.items()):
            y = 266 + 84 * row
            drawing.box(x + 20, y, 116, 64, consumer, fill=COLOURS[consumer], bold=True)
            for number, entry in enumerate(got.split()):
                drawing.entry(x + 156 + 76 * number, y, 68, 64, entry)
    return drawing


Row = tuple[str, str, str, int]  # entry, consumer, idle, deliveries
BEFORE: tuple[Row, ...] = (
    ("1001-0", "bob", "60 s", 1),
    ("1002-0", "bob", "60 s", 1),
    ("1003-0", "carol", "2 s", 1),
)
AFTER: tuple[Row, ...] = (
    ("1001-0", "alice", "0 s", 2),
    ("1002-0", "alice", "0 s", 2),
    ("1003-0", "carol", "2 s", 1),
)
MIN_IDLE_MS = 30_000


def takeover() -> Drawing:
    """Lesson 04: what a claim changes in the pending entries list."""
    drawing = Drawing(
        "XAUTOCLAIM takes what has been idle",
        "The pending entries list before and after alice calls XAUTOCLAIM with a minimum idle "
        "time of 30,000 ms. Before, bob, who is dead, holds 1001-0 and 1002-0, idle for 60 "
        "seconds and delivered once. After, they are alice's, idle for 0 seconds and delivered "
        "twice. Carol's 1003-0, idle for 2 seconds, stays hers.",
        570,
    )
    for x, head in ((114, "entry"), (294, "consumer"), (464, "idle"), (620, "deliveries")):
        drawing.words(x, 98, head, colour=GREY, anchor="middle")
    _pending(drawing, 112, BEFORE)
    drawing.words(694, 304, "XAUTOCLAIM … alice 30000 0", mono=True, bold=True, anchor="end")
    drawing.arrow((282, 274), (282, 340))
    _pending(drawing, 348, AFTER)
    drawing.cross(EDGE + 12, 534, INK)
    drawing.words(EDGE + 34, 542, "Bob is dead. Carol's entry was idle for 2 s.")
    return drawing


def _pending(drawing: Drawing, y: float, rows: tuple[Row, ...]) -> None:
    for number, (entry, consumer, idle, deliveries) in enumerate(rows):
        top = y + 54 * number
        drawing.box(EDGE, top, 180, 48, entry, mono=True, fill=PALE)
        drawing.box(204, top, 180, 48, consumer, fill=COLOURS[consumer], bold=True)
        drawing.box(384, top, 160, 48, idle)
        drawing.box(544, top, 152, 48, f"× {deliveries}")
        if consumer == "bob":
            drawing.cross(230, top + 24, INK)


def zombie() -> Drawing:
    """Lesson 04: a consumer that was only paused still has commands to send."""
    drawing = Drawing(
        "A zombie: paused, replaced, and back",
        "Alice reads 1002-0 and is paused. Bob claims 1002-0, counts it with INCR, and his XACK "
        "replies 1. Alice wakes and sends what she still had to send: INCR, and XACK, which "
        "replies 0. The entry is counted twice. A script that counts it only if it is still "
        "pending counts it once.",
        680,
    )
    alice, server, bob, top, bottom = 90, 360, 630, 136, 540
    for x, name in ((alice, "alice"), (bob, "bob")):
        drawing.box(x - 66, 84, 132, 46, name, fill=COLOURS[name], bold=True)
    drawing.box(server - 66, 84, 132, 46, "Redis", fill=PALE, bold=True)
    drawing.line((server, top), (server, bottom), dashed=True, thick=2)
    drawing.line((bob, top), (bob, bottom), dashed=True, thick=2)
    drawing.line((alice, top), (alice, 226), thick=2)
    drawing.box(alice - 30, 226, 60, 202, hatched=True, dashed=True)
    drawing.box(alice - 22, 300, 44, 52, line=PAPER)
    drawing.pause(alice, 326)
    drawing.words(alice + 44, 334, "paused")
    drawing.line((alice, 428), (alice, bottom), thick=2)
    _message(drawing, server, alice, 196, "1002-0")
    _message(drawing, bob, server, 266, "XAUTOCLAIM")
    _message(drawing, bob, server, 326, "INCR")
    _message(drawing, bob, server, 386, "XACK → 1")
    _message(drawing, alice, server, 466, "INCR")
    _message(drawing, alice, server, 526, "XACK → 0")
    drawing.box(EDGE, 556, 326, 100, "INCR, XACK:", "counted twice", dashed=True)
    drawing.cross(62, 606)
    drawing.box(370, 556, 326, 100, "INCR if pending:", "counted once", fill=DONE)
    drawing.tick(394, 606)
    return drawing


def _message(drawing: Drawing, start: float, end: float, y: float, said: str) -> None:
    """A command or a reply on its way between two lanes."""
    side = 12 if end > start else -12
    drawing.arrow((start, y), (end - side / 6, y))
    drawing.words((start + end) / 2, y - 10, said, mono=True, anchor="middle")


ORDER = (
    ("her own history", "XREADGROUP … 0", "alice", ("pending", "alice")),
    ("others' idle work", "XAUTOCLAIM", "bob", ("pending", "bob, idle")),
    ("what is new", "XREADGROUP … >", "", ("never", "delivered")),
)


def recovery() -> Drawing:
    """Lesson 04: where a consumer looks, in which order."""
    drawing = Drawing(
        "Where alice looks for work, in order",
        "First her own history: entries that are pending for alice, by XREADGROUP with 0. Second "
        "others' idle work: entries that are pending for bob and have been idle too long, by "
        "XAUTOCLAIM. Third what is new: entries that were never delivered, by XREADGROUP with >. "
        "From then on she reads what is new, and looks for idle work now and then.",
        476,
    )
    for number, (what, command, holder, state) in enumerate(ORDER):
        y = 84 + 120 * number
        drawing.words(EDGE + 4, y + 60, str(number + 1), size=44, bold=True)
        drawing.box(78, y, 440, 90)
        drawing.words(98, y + 38, what, size=NORMAL, bold=True)
        drawing.words(98, y + 72, command, mono=True)
        drawing.box(538, y, 158, 90, *state, fill=COLOURS.get(holder, PAPER), bold=True)
        if number < len(ORDER) - 1:
            drawing.arrow((298, y + 90), (298, y + 119))
    drawing.words(EDGE, 448, "Then 3 again and again, and 2 now and then.")
    return drawing
