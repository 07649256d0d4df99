"""What is kept of a class when it ends: seats × exercises and a summary, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median_low
from typing import Any

from helpers.room.view import Board, Catalogue, Cell, Exercise, Seat

NUMBERS = ("tries", "wrong", "hint", "seconds")
BOM = "\ufeff"  # begins a file of CSV: without it, Excel takes UTF-8 for something else


def to_csv(board: Board) -> str:
    """A row for each seat: for each exercise its state, tries, wrong tries, hint and seconds."""
    exercises = _tried(board)
    heads = [f"{one} {what}" for one in exercises for what in ("state", *NUMBERS)]
    rows = [
        [*_whole(seat), *(part for one in exercises for part in _parts(seat["cells"].get(one)))]
        for seat in board["seats"]
    ]
    return _table(["seat", "left", "last seen", "not sent", "passed", *heads], rows)


def summary_csv(board: Board, catalogue: Catalogue) -> str:
    """A row for each exercise: how many passed, tried and made which mistake most often."""
    rows = [_summary(board, one, catalogue.get(one["id"], {})) for one in board["exercises"]]
    return _table(rows[0] if rows else [], [row.values() for row in rows])


def _summary(board: Board, exercise: Exercise, sentences: Mapping[int, str]) -> dict[str, object]:
    name = exercise["id"]
    cells = [seat["cells"][name] for seat in board["seats"] if name in seat["cells"]]
    took = [cell["at"] - cell["since"] for cell in cells if cell["state"] == "passed"]
    often, times = _most_often(board["mistakes"].get(name, {}))
    return {
        "exercise": name,
        "title": exercise["title"],
        "must": "yes" if exercise["must"] else "no",
        "minutes": exercise["minutes"],
        "seats": len(board["seats"]),
        "tried": len(cells),
        "passed": len(took),
        "tries": sum(cell["tries"] for cell in cells),
        "wrong": sum(cell["wrong"] for cell in cells),
        "median seconds from first to last try": median_low(took) // 1000 if took else "",
        "most frequent mistake": often,
        "its count": times,
        "its sentence": sentences.get(often, "") if isinstance(often, int) else "",
    }


def to_json(board: Mapping[str, Any]) -> str:
    """All that the board knows, without what the page makes of it."""
    kept = {key: value for key, value in board.items() if key not in ("view", "join")}
    return json.dumps(kept, ensure_ascii=False, indent=1)


def _tried(board: Board) -> list[str]:
    """The exercises that at least one seat tried."""
    tried = {one for seat in board["seats"] for one in seat["cells"]}
    return [one["id"] for one in board["exercises"] if one["id"] in tried]


def _whole(seat: Seat) -> list[object]:
    passed = sum(cell["state"] == "passed" for cell in seat["cells"].values())
    seen = datetime.fromtimestamp(seat["seen"] / 1000, UTC).isoformat(timespec="seconds")
    left = "yes" if seat["left"] else "no"
    return [seat["seat"], left, seen, seat["dropped"] + seat["waiting"], passed]


def _parts(cell: Cell | None) -> Sequence[object]:
    if cell is None:
        return [""] * (1 + len(NUMBERS))
    return [cell["state"], cell["tries"], cell["wrong"], cell["hint"] or "", cell["seconds"]]


def _most_often(numbers: Mapping[str, Mapping[str, int]]) -> tuple[object, object]:
    counts = {number: of["count"] for number, of in numbers.items() if number != "0"}
    often = max(counts, key=lambda one: (counts[one], one), default=None)
    return ("", "") if often is None else (int(often), counts[often])


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([list(map(_safe, row)) for row in [heads, *rows]])
    return out.getvalue()


def _safe(value: object) -> object:
    """A spreadsheet takes a string that begins with one of these for a formula."""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in "=+-@\t\r" and text else value
