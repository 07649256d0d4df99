"""Drawings of lessons 01, 02 and 05: entries, nodes, places, trimming, partitions."""

from __future__ import annotations

from helpers.views.drawings.paper import (
    ALICE,
    DONE,
    EDGE,
    GREY,
    NORMAL,
    PALE,
    PAPER,
    Drawing,
)

IDS = ("1000-0", "1000-1", "1000-2", "1001-0")


def stream() -> Drawing:
    """Lesson 01: entries, and what their IDs are made of."""
    drawing = Drawing(
        "A stream grows at its end, and only there",
        "Four entries in a row, oldest first, with the IDs 1000-0, 1000-1, 1000-2 and 1001-0. "
        "XADD appends at the end, and a new ID must be above 1001-0. An ID such as "
        "1534334400000-0 is a time in milliseconds since 1970, a hyphen and a sequence number.",
        450,
    )
    drawing.words(EDGE, 104, "oldest", colour=GREY)
    drawing.words(560, 104, "newest", anchor="end", colour=GREY)
    for number, entry_id in enumerate(IDS):
        x = EDGE + 138 * number
        drawing.box(x, 120, 122, 50, entry_id, mono=True, bold=True, fill=PALE)
        drawing.box(x, 170, 122, 50, f"temp {26 + number}")
    drawing.box(584, 120, 112, 100, "XADD", dashed=True, mono=True, bold=True)
    drawing.words(696, 252, "next ID: above 1001-0", anchor="end")
    left, letter, top = 140, 26.5, 330
    drawing.words(EDGE, top - 4, "an ID:", size=NORMAL)
    drawing.words(left, top, "1534334400000-0", size=44, mono=True, bold=True)
    drawing.bracket(left + 2, left + 13 * letter - 2, top + 24)
    drawing.bracket(left + 14 * letter + 2, left + 15 * letter - 2, top + 24)
    for row, (time, number_) in enumerate(
        (("milliseconds", "number in this"), ("since 1970", "millisecond"))
    ):
        y = top + 58 + 30 * row
        drawing.words(left + 5.5 * letter, y, time, anchor="middle", size=NORMAL)
        drawing.words(left + 14.5 * letter, y, number_, anchor="middle", size=NORMAL)
    return drawing


NODES = (("1000-0", 100), ("1100-0", 100), ("1200-0", 37))  # first ID and entries


def nodes() -> Drawing:
    """Lesson 01: how a stream lies in memory, and why equal fields are cheap."""
    drawing = Drawing(
        "A node holds the field names once",
        "A stream of 237 entries lies in three nodes of 100, 100 and 37 entries. One node opened: "
        "at its head stand the first ID, 1000-0, and the field names temperature and humidity, "
        "once. Each entry adds only its distance from the first ID, in milliseconds, and "
        "its values.",
        490,
    )
    for number, (first, count) in enumerate(NODES):
        x = EDGE + 232 * number
        drawing.box(x, 78, 208, 46, f"from {first}", mono=True, fill=PALE)
        drawing.box(x, 124, 208, 46, f"{count} entries")
    drawing.line((EDGE, 170), (EDGE, 218), dashed=True)
    drawing.line((EDGE + 208, 170), (696, 218), dashed=True)
    head, *entries = (
        ("1000-0", "temperature", "humidity"),
        ("+0", "26", "10"),
        ("+1", "27", "11"),
        ("+2", "27", "10"),
    )
    for row, texts in enumerate((head, *entries)):
        y = 218 + 46 * row
        drawing.box(EDGE, y, 672, 46, fill=PAPER if row else PALE)
        for x, text in zip((110, 340, 580), texts, strict=True):
            drawing.words(x, y + 31, text, mono=True, anchor="middle", bold=not row)
    drawing.words(EDGE, 436, "+1 is the distance from the first ID, in ms.")
    drawing.words(EDGE, 466, "A node ends at 100 entries or 4,096 bytes.")
    return drawing


def place() -> Drawing:
    """Lesson 02: a place is an ID, and each reader has its own."""
    drawing = Drawing(
        "Each reader keeps its own place",
        "Five entries, 1000-0 to 1004-0, and three readers. XREAD from 0 gets all five. XREAD "
        "from 1001-0 gets the three after that ID. XREAD from the dollar sign gets none of them, "
        "only what is added later. The stream stays as it is.",
        462,
    )
    left, step, width = 40, 124, 112
    ends = left + 5 * step - 12
    for number in range(5):
        x = left + step * number
        drawing.box(x, 86, width, 60, f"100{number}-0", mono=True, bold=True, fill=PALE)
    rows = (("$", ends + 6), ("1001-0", left + 2 * step - 6), ("0", left - 6))
    for row, (_, at) in enumerate(rows):
        drawing.cursor(at, 152)
        drawing.line((at, 172), (at, 230 + 80 * row), dashed=True)
    for row, (name, at) in enumerate(rows[1:], 1):
        drawing.box(at, 220 + 80 * row, ends - at, 50, f"XREAD … {name}", mono=True, fill=DONE)
    drawing.words(ends - 8, 220, "XREAD … $", mono=True, anchor="end")
    drawing.words(ends - 8, 252, "only what comes later", anchor="end")
    drawing.arrow((ends + 6, 230), (704, 230))
    return drawing


def dollar() -> Drawing:
    """Lesson 02: what comes while the reader works is missed by a loop with `$`."""
    drawing = Drawing(
        "A loop over XREAD $ misses entries",
        "Time runs to the right, and three entries are added: 1 while the reader waits, 2 while it "
        "works, 3 while it waits again. A loop that asks for what comes after the "
        "dollar sign sees 1 and 3 and never 2. A loop that asks for what comes after the last ID "
        "that it saw gets 2 from its next call, and 3 after that.",
        480,
    )
    drawing.words(EDGE, 106, "XREAD … $  each time", mono=True, bold=True)
    _lane(drawing, 124, (("waits", 24), ("1", 170), ("waits", 340), ("3", 450), ("waits", 610)))
    for number, x in ((1, 170), (2, 260), (3, 450)):
        drawing.box(x - 24, 224, 48, 46, str(number), bold=True, fill=PALE)
        if number == 2:
            drawing.line((x, 224), (x, 202), dashed=True)
            drawing.cross(x, 190)
        else:
            drawing.arrow((x, 224), (x, 174))
        drawing.arrow((x, 270), (x, 332))
    drawing.words(EDGE, 254, "XADD", mono=True)
    drawing.words(300, 254, "missed", colour="#8f3600", bold=True)
    _lane(drawing, 334, (("waits", 24), ("1", 170), ("2", 340), ("3", 510), ("waits", 664)))
    drawing.words(EDGE, 416, "XREAD … last ID seen", mono=True, bold=True)
    drawing.words(EDGE, 456, "time runs to the right →", colour=GREY)
    return drawing


def _lane(drawing: Drawing, y: float, parts: tuple[tuple[str, float], ...]) -> None:
    """What a reader does, one thing after the other, until the right edge."""
    starts = [x for _, x in parts] + [696.0]
    for (what, x), end in zip(parts, starts[1:], strict=True):
        if what == "waits":
            drawing.box(x, y, end - x, 48, what if end - x > 80 else "", dashed=True)
        else:
            drawing.box(x, y, end - x, 48, f"works on {what}", fill=DONE)


def whole_nodes() -> Drawing:
    """Lesson 01: what `~` cuts, and what an exact limit cuts."""
    drawing = Drawing(
        "“~” cuts whole nodes only",
        "A stream of 400 entries in four nodes of 100. MAXLEN ~ 250 removes the oldest node and "
        "keeps 300, because with two nodes gone fewer than 250 would be left. MAXLEN = 250 "
        "removes the oldest node and half of the next one, and keeps 250.",
        420,
    )
    for y, command, kept in ((90, "MAXLEN ~ 250", 300), (254, "MAXLEN = 250", 250)):
        drawing.words(EDGE, y + 24, command, mono=True, bold=True)
        drawing.words(696, y + 24, f"{kept} are left", anchor="end")
        for number in range(4):
            x, top = EDGE + 172 * number, y + 44
            if number == 0:
                drawing.box(x, top, 156, 64, dashed=True, hatched=True)
                drawing.cross(x + 78, top + 32)
            elif number == 1 and kept == 250:
                drawing.box(x, top, 78, 64, dashed=True, hatched=True)
                drawing.cross(x + 39, top + 32)
                drawing.box(x + 78, top, 78, 64, "50", fill=DONE, size=NORMAL)
            else:
                drawing.box(x, top, 156, 64, "100", fill=DONE, size=NORMAL)
    drawing.words(EDGE, 394, "oldest", colour=GREY)
    drawing.words(696, 394, "newest", colour=GREY, anchor="end")
    return drawing


TRIMMED, ACKED, PENDING, ADDED, KEPT = 9, 1, (2, 3), 14, 5


def trimming() -> Drawing:
    """Lesson 05: what a limit takes from a group that was away."""
    drawing = Drawing(
        "Trimming doesn't ask who has read",
        "14 entries were added, and MAXLEN 5 has trimmed 1 to 9. The group had acknowledged 1. "
        "2 and 3 are pending, and their data is gone. 4 to 9 were never delivered: they are lost "
        "without an error. last-delivered-id is 3-0, and the next read gives 10 to 14.",
        430,
    )
    step, width = 48, 42
    for number in range(1, ADDED + 1):
        x, gone = EDGE + step * (number - 1), number <= TRIMMED
        drawing.box(
            x, 138, width, 60, str(number),
            dashed=gone, fill=PAPER if gone else DONE, bold=not gone,
        )  # fmt: skip
        if PENDING[-1] < number <= TRIMMED:
            drawing.cross(x + width / 2, 222)

    def over(first: int, last: int) -> tuple[float, float]:
        return EDGE + step * (first - 1), EDGE + step * (last - 1) + width

    for first, last, said in ((1, TRIMMED, "trimmed"), (10, ADDED, "kept: MAXLEN 5")):
        left, right = over(first, last)
        drawing.bracket(left, right, 118, down=True)
        drawing.words((left + right) / 2, 106, said, anchor="middle")
    drawing.tick(EDGE + width / 2, 222)
    drawing.box(*over(2, 3)[:1], 210, 90, 30, fill=ALICE, line=ALICE)
    drawing.cursor(EDGE + step * 3 - 3, 250)
    drawing.words(EDGE + step * 3 + 18, 270, "last-delivered-id 3-0", mono=True)
    drawing.tick(38, 318)
    drawing.words(70, 326, "1 is acknowledged")
    drawing.box(EDGE, 342, 32, 30, fill=ALICE, line=ALICE)
    drawing.words(70, 364, "2 and 3 are pending, and their data is gone")
    drawing.cross(38, 394)
    drawing.words(70, 402, "4 to 9 were never delivered: lost, no error")
    return drawing


DAYS_KEPT = 2


def partitions() -> Drawing:
    """Lesson 05: a key for each day, which expires by itself."""
    drawing = Drawing(
        "One key for each day, and it expires",
        "A row for each key from temps:21000101 to temps:21000104 over the days 1 to 6 January. "
        "Each key is written for one day, kept for two more, and then it expires. On any day "
        "three keys are in memory: the one being written and the two before it.",
        500,
    )
    left, step, top, row = 220, 79, 126, 70
    for day in range(1, 7):
        drawing.words(left + step * (day - 0.5), 106, f"{day} Jan", anchor="middle")
    now = left + 3.5 * step
    drawing.line((now, top - 8), (now, top + row))
    for below in (2, 3, 4):  # where no word is in its way
        drawing.line((now, top + row * below - 20), (now, top + row * below))
    for number in range(1, 5):
        x, y = left + step * (number - 1), top + row * (number - 1)
        drawing.words(EDGE, y + 34, f"temps:2100010{number}", mono=True)
        drawing.box(x, y, step, 50, "XADD", fill=ALICE, line=ALICE, mono=True, bold=True)
        drawing.box(x + step, y, DAYS_KEPT * step, 50, fill=DONE)
        drawing.words(x + 2.5 * step, y + 33, "kept", anchor="middle")
        drawing.cross(x + (1 + DAYS_KEPT) * step, y + 25)
    drawing.words(now, 430, "now: three keys", anchor="middle", bold=True)
    drawing.cross(EDGE + 12, 468)
    drawing.words(EDGE + 40, 476, "expires two days after its newest entry")
    return drawing
