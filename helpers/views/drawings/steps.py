"""Drawings of lessons 06 to 08: result and position in one step, at least once, round trips."""

from __future__ import annotations

from helpers.views.drawings.paper import (
    ALICE,
    DONE,
    EDGE,
    GREY,
    NORMAL,
    PALE,
    Drawing,
)


def one_step() -> Drawing:
    """Lesson 06: where a crash can come between, and where it cannot."""
    drawing = Drawing(
        "Result and position in one step",
        "Three consumers are killed. One publishes with XADD and dies before HSET saves its "
        "position: the next life publishes the hour twice. One saves first and dies before XADD: "
        "the hour is missing. One does both in a script, if the position is unchanged: there is no "
        "moment between, and the hour is there once.",
        520,
    )
    rows = (
        ("XADD result", "HSET position", "there twice"),
        ("HSET position", "XADD result", "missing"),
    )
    for number, (first, second, outcome) in enumerate(rows):
        y = 84 + 112 * number
        drawing.box(EDGE, y, 196, 80, *first.split(), mono=True, fill=PALE)
        drawing.arrow((220, y + 40), (262, y + 40))
        drawing.cross(284, y + 40)
        drawing.words(263, y + 76, "killed", anchor="middle")
        drawing.box(306, y, 196, 80, *second.split(), mono=True, dashed=True)
        drawing.words(522, y + 36, "the hour is")
        drawing.words(522, y + 66, outcome, bold=True)
    drawing.box(EDGE, 318, 478, 174, fill=DONE)
    drawing.words(44, 352, "one script", bold=True)
    drawing.words(44, 384, "if the position is unchanged:")
    for x, command in ((44, "XADD result"), (268, "HSET position")):
        drawing.box(x, 400, 214, 76, *command.split(), mono=True, fill=PALE)
    drawing.words(522, 400, "the hour is")
    drawing.words(522, 430, "there once", bold=True)
    return drawing


def at_least_once() -> Drawing:
    """Lesson 07: what is left for someone who was away."""
    drawing = Drawing(
        "Away for a moment: what is missed?",
        "Messages 1 to 4 are sent while the receiver is away for 2 and 3. Over Pub/Sub it gets 1 "
        "and 4: at most once. From a stream it gets 1, and after its return 2, 3 and 4, because "
        "the entries are still there and it kept its place: at least once.",
        490,
    )
    left, step = 204, 126
    drawing.words(EDGE, 122, "sent", size=NORMAL)
    for number in range(4):
        drawing.entry(left + step * number, 86, 106, 56, str(number + 1))
    drawing.box(left + step - 8, 160, 248, 46, "receiver is away", dashed=True)
    for y, way, promise, gets in (
        (226, "Pub/Sub", "at most once", ("1", "", "", "4")),
        (336, "stream", "at least once", ("1", "", "", "2 3 4")),
    ):
        drawing.words(EDGE, y + 40, way, size=NORMAL, bold=True)
        drawing.words(EDGE, y + 72, promise)
        for number, got in enumerate(gets):
            x = left + step * number
            if got:
                drawing.box(x, y + 12, 106, 56, got, size=NORMAL, bold=True, fill=DONE)
            elif way == "Pub/Sub":
                drawing.cross(x + 53, y + 40)
    drawing.words(EDGE, 462, "It kept its place, and the entries are still there.")
    return drawing


def round_trip() -> Drawing:
    """Lesson 08: a pipeline makes one trip for many commands."""
    drawing = Drawing(
        "A pipeline: many commands, one trip",
        "Time runs down. On the left three XADDs, one at a time: each waits for its reply before "
        "the next is sent, three round trips. On the right three XADDs in a pipeline: sent one "
        "after the other, and their replies come back together, one round trip.",
        640,
    )
    ways = (("one at a time", "3 round trips"), ("pipeline", "1 round trip"))
    for side, (name, trips) in enumerate(ways):
        x = EDGE + 356 * side
        client, server = x + 56, x + 260
        drawing.words(x + 158, 98, name, size=NORMAL, bold=True, anchor="middle")
        drawing.box(client - 56, 114, 112, 44, "client", fill=ALICE, line=ALICE)
        drawing.box(server - 56, 114, 112, 44, "server", fill=PALE)
        ends = 572 if side == 0 else 412
        for lane in (client, server):
            drawing.line((lane, 158), (lane, ends), thick=2)
        for number in range(3):
            sent = 176 + (128 * number if side == 0 else 22 * number)
            replied = sent + (64 if side == 0 else 108)
            drawing.arrow((client, sent), (server - 2, sent + 54))
            drawing.arrow((server, replied), (client + 2, replied + 54))
        drawing.words(x + 158, ends + 40, trips, size=NORMAL, anchor="middle", bold=True)
    drawing.words(182, 188, "XADD", mono=True, anchor="middle")
    drawing.words(182, 296, "reply", anchor="middle")
    drawing.words(538, 612, "time runs down ↓", anchor="middle", colour=GREY)
    drawing.line((360, 90), (360, 616), thick=1.5, ink="#c8c8c8")
    return drawing


__all__ = ["at_least_once", "one_step", "round_trip"]
