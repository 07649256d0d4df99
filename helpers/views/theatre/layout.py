"""Where everything stands in the theatre's picture: rectangles and words, for any kind of paper."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from helpers.streams.entry import EntryId
from helpers.views.theatre.snapshot import Box, GroupLook, Member, Pending, Snapshot
from helpers.views.theatre.text import (
    DONE,
    GONE,
    UNREAD,
    States,
    counted,
    headline,
    idle,
    lag,
    many,
    marks,
    printable,
    remarks,
    rows,
)

WIDTH, EDGE = 1100, 20
INNER = WIDTH - 2 * EDGE
WIDEST, GAP = 176, 6  # a column where few entries are shown, and the space between two
NAMES = 230  # the width of the consumers' names
CHIP, CHIP_STEP = 104, 111
SMALL, NORMAL, NAME, TITLE = 17, 19, 23, 28
MONO, LETTER, BOLD = 0.605, 0.58, 0.66  # the width of a letter in DejaVu, over its size

# Okabe and Ito's colours. Green is for what is done, yellow for what has just moved.
CONSUMERS = ("#0072b2", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
GREEN, YELLOW, RED = "#009e73", "#f0e442", "#b34700"
INK, GREY, RULE, PALE, PAPER = "#1a1a1a", "#555555", "#c8c8c8", "#f2f2f2", "#ffffff"
SIGNS = {"running": ("●", "#00694d"), "paused": ("❚❚", "#7a5400"), "killed": (GONE, RED)}
BACKDROPS = {"paused": "#fdf5e2", "killed": "#fdece2"}

LEGEND = "     ".join(
    (
        f"{DONE} done",
        f"{UNREAD} unread",
        "name: pending",
        "▼ cursor",
        "5 s  ×2: idle, deliveries",
    )
)

Moved = frozenset[tuple[str, EntryId]]


@dataclass(frozen=True)
class Area:
    """A rectangle, its corner at the top left."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    line: str = "none"
    dashed: bool = False
    thick: float = 1.5


@dataclass(frozen=True)
class Words:
    """A line of text; y is its baseline."""

    x: float
    y: float
    text: str
    size: int = NORMAL
    colour: str = INK
    bold: bool = False
    mono: bool = False
    anchor: Literal["start", "middle", "end"] = "start"


Shape = Area | Words


@dataclass(frozen=True)
class Sheet:
    """Shapes, and how high they stand together."""

    height: float
    shapes: tuple[Shape, ...]


def sheet(snapshot: Snapshot, states: States | None = None, moved: Moved = frozenset()) -> Sheet:
    """The whole picture of a snapshot.

    Args:
        snapshot: what to show.
        states: for a group, the state of each consumer: running, paused, killed, …
        moved: the groups' entries to be highlighted, because another consumer holds them now.
    """
    states = states or {}
    colours = _colours(snapshot, states)
    parts = [_title(snapshot)]
    if snapshot.entries:
        parts.append(_strip(snapshot))
    for group in snapshot.groups:
        taken = frozenset(entry_id for name, entry_id in moved if name == group.name)
        parts += _group(snapshot, group, states.get(group.name, {}), colours, taken)
    return _stack([*parts, _footer(snapshot)])


def fit(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """A text cut to a width in pixels, in letters as wide as DejaVu's."""
    text = printable(text)
    room = width / (size * (BOLD if bold else LETTER))
    if sum(map(_cells, text)) <= room:
        return text
    kept = ""
    for letter in text:
        if sum(map(_cells, kept + letter)) > room - 1.5:  # the sign … is wide
            break
        kept += letter
    return kept + "…"


def short(id: EntryId, width: float = CHIP) -> str:
    """An ID that fits in a width: the end of it, where one differs from the next."""
    text = str(id)
    return text if len(text) * SMALL * MONO <= width - 6 else "…" + text[-6:]


def _cells(letter: str) -> float:
    return 1.8 if unicodedata.east_asian_width(letter) in "WF" else 1


def _colours(snapshot: Snapshot, states: States) -> dict[str, str]:
    """A colour for each consumer: known ones first, so that a newcomer changes none of theirs."""
    known = [name for group in states.values() for name in group]
    others = sorted({member.name for group in snapshot.groups for member in group.members})
    names = list(dict.fromkeys(known + others))
    return {name: CONSUMERS[at % len(CONSUMERS)] for at, name in enumerate(names)}


def _stack(parts: Iterable[Sheet]) -> Sheet:
    """Sheets one below the other."""
    y, shapes = 0.0, []
    for part in parts:
        shapes += [replace(shape, y=shape.y + y) for shape in part.shapes]
        y += part.height
    return Sheet(y, tuple(shapes))


def _column(snapshot: Snapshot) -> float:
    return min((INNER + GAP) / snapshot.newest, WIDEST)


def _title(snapshot: Snapshot) -> Sheet:
    if snapshot.kind != "stream" or not snapshot.length:
        sentence = fit(headline(snapshot), NAME, INNER)
        return Sheet(110, (Words(WIDTH / 2, 75, sentence, NAME, anchor="middle"),))
    count = counted(snapshot)
    return Sheet(
        58,
        (
            Words(
                EDGE, 40, fit(f"stream {snapshot.stream}", TITLE, 620, bold=True), TITLE, bold=True
            ),
            Words(WIDTH - EDGE, 40, count, NORMAL, GREY, anchor="end"),
        ),
    )


def _strip(snapshot: Snapshot) -> Sheet:
    """The newest entries as boxes, oldest first."""
    height = 42 + max(44 * len(box.fields) + 20 * bool(box.more) for box in snapshot.entries)
    column = _column(snapshot)
    boxes = [
        shape
        for at, box in enumerate(snapshot.entries)
        for shape in _box(box, EDGE + at * column, column - GAP, height)
    ]
    return Sheet(height + 14, tuple(boxes))


def _box(box: Box, x: float, width: float, height: float) -> list[Shape]:
    middle, room = x + width / 2, width - 8
    shapes: list[Shape] = [
        Area(x, 0, width, height, PAPER, INK),
        Area(x, 0, width, 30, PALE, INK),
        Words(middle, 21, short(box.id, width), SMALL, mono=True, anchor="middle"),
    ]
    y = 30
    for name, value in box.fields:
        shapes.append(Words(middle, y + 20, fit(name, 16, room), 16, GREY, anchor="middle"))
        value = fit(value, NORMAL, room, bold=True)
        shapes.append(Words(middle, y + 41, value, NORMAL, bold=True, anchor="middle"))
        y += 44
    if box.more:
        shapes.append(Words(middle, y + 20, f"+{box.more}", 16, GREY, anchor="middle"))
    return shapes


def _group(
    snapshot: Snapshot,
    group: GroupLook,
    states: Mapping[str, str],
    colours: Mapping[str, str],
    taken: frozenset[EntryId],
) -> list[Sheet]:
    parts = [_heading(group)]
    if snapshot.entries:
        parts.append(_lane(snapshot, group, colours, taken))
    parts += [
        _member(member, state, colours[member.name], taken) for member, state in rows(group, states)
    ]
    if group.more:
        rest = f"and {many(group.more, 'consumer')} more"
        parts.append(Sheet(34, (Words(EDGE + 20, 24, rest, NORMAL, GREY),)))
    return parts


def _heading(group: GroupLook) -> Sheet:
    counts = f"{lag(group)}   ·   {group.pending:,} pending"
    return Sheet(
        50,
        (
            Area(EDGE, 6, INNER, 1.5, RULE),
            Words(EDGE, 38, fit(f"group {group.name}", NAME, 640, bold=True), NAME, bold=True),
            Words(WIDTH - EDGE, 38, counts, NORMAL + 2, bold=True, anchor="end"),
        ),
    )


def _lane(
    snapshot: Snapshot, group: GroupLook, colours: Mapping[str, str], taken: frozenset[EntryId]
) -> Sheet:
    """Under each entry what it is to the group, and the cursor between two of them."""
    column, shapes = _column(snapshot), []
    for at, (box, mark) in enumerate(zip(snapshot.entries, marks(snapshot, group), strict=True)):
        x = EDGE + at * column
        shapes += _mark(mark, x, column - GAP, colours, highlight=box.id in taken)
    passed = sum(not group.unread(box.id) for box in snapshot.entries)
    return Sheet(84, (*shapes, *_cursor(group, EDGE + passed * column - GAP / 2)))


def _mark(
    mark: str, x: float, width: float, colours: Mapping[str, str], *, highlight: bool
) -> list[Shape]:
    middle = x + width / 2
    if mark == UNREAD:
        sign = Words(middle, 61, mark, NAME, GREY, bold=True, anchor="middle")
        return [Area(x, 32, width, 42, PALE, RULE), sign]
    if mark == DONE:
        sign = Words(middle, 62, mark, NAME, "#00694d", bold=True, anchor="middle")
        return [Area(x, 32, width, 42, "#e2f4ee", GREEN), sign]
    fill = colours.get(mark, GREY)
    name = fit(f"→{mark}" if highlight else mark, NORMAL, width - 4, bold=True)
    halo = [Area(x - 2.5, 27, width + 5, 52, YELLOW, INK)] if highlight else []
    ink = _ink_on(fill)
    return [
        *halo,
        Area(x, 32, width, 42, fill, INK),
        Words(middle, 60, name, NORMAL, ink, bold=True, anchor="middle"),
    ]


def _cursor(group: GroupLook, x: float) -> list[Shape]:
    about = f"last delivered {short(group.cursor)}"
    before = x > WIDTH / 2
    beside = Words(x - 14 if before else x + 14, 21, about, SMALL, INK)
    return [
        Area(x - 2.5, 14, 5, 66, INK),
        Words(x, 22, "▼", 22, INK, anchor="middle"),
        replace(beside, anchor="end") if before else beside,
    ]


def _member(member: Member, state: str, colour: str, taken: frozenset[EntryId]) -> Sheet:
    """A consumer, and the entries that are pending for it."""
    sign, ink = SIGNS.get(state, ("○", GREY))
    about = f"{sign} {state}" if state else f"{member.pending:,} pending"
    shapes: list[Shape] = [
        Area(EDGE, 3, INNER, 66, BACKDROPS.get(state, "#fafafa")),
        Area(EDGE, 3, 10, 66, colour),
        Words(EDGE + 22, 32, fit(member.name, NAME, NAMES - 30, bold=True), NAME, bold=True),
        Words(EDGE + 22, 58, about, NORMAL, ink, bold=bool(state)),
    ]
    x = EDGE + NAMES
    if state and not member.pending:
        shapes.append(Words(x, 43, "nothing pending", NORMAL, GREY))
    for one in member.entries:
        shapes += _chip(one, x, colour, highlight=one.id in taken)
        x += CHIP_STEP
    if rest := member.pending - len(member.entries):
        shapes.append(Words(WIDTH - EDGE - 4, 43, f"+{rest:,}", NORMAL, bold=True, anchor="end"))
    return Sheet(74, tuple(shapes))


def _chip(one: Pending, x: float, colour: str, *, highlight: bool) -> list[Shape]:
    """A pending entry: its ID, how long it has been idle, and how often it was delivered."""
    middle = x + CHIP / 2
    about = f"{idle(one.idle_ms)}  ×{one.deliveries}"
    about = "→ moved" if highlight else f"{GONE} deleted" if one.deleted else about
    body = Area(x, 9, CHIP, 54, PAPER, colour, thick=3)
    if highlight:
        body = replace(body, fill=YELLOW, line=INK)
    if one.deleted:
        body = replace(body, fill="#e6e6e6", line=RED, dashed=True)
    bold = highlight or one.deleted
    return [
        body,
        Words(middle, 31, short(one.id), SMALL, mono=True, anchor="middle"),
        Words(middle, 54, fit(about, SMALL, CHIP), SMALL, bold=bold, anchor="middle"),
    ]


def _footer(snapshot: Snapshot) -> Sheet:
    """What the signs mean, and what else there is to say."""
    shapes = []
    if snapshot.entries and snapshot.groups:
        shapes.append(Words(EDGE, 30, LEGEND, SMALL, GREY))
    if remark := remarks(snapshot):
        end = WIDTH - EDGE
        shapes.append(Words(end, 30, remark, NORMAL, INK, bold=True, anchor="end"))
    return Sheet(48, tuple(shapes))


def _ink_on(fill: str) -> str:
    """Black or white, whichever stands out."""
    red, green, blue = (int(fill[at : at + 2], 16) for at in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else PAPER
