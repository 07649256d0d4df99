"""What the counts of a class say, as `board.json`: read at once, and put together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis.asyncio

from helpers.room.classes import Class
from helpers.room.counting import MINUTE_MS, RECENT_MIN, unranked
from helpers.room.keeping import Keys, Seat

Json = dict[str, Any]
COUNTED = ("tried", "passed", "tries", "wrong")


@dataclass(frozen=True)
class Exercise:
    """An exercise of the course, as the board shows it.

    Attributes:
        id: the numbers of lab and exercise, such as `03.2`.
        title: its heading.
        must: whether the class should do it.
        minutes: how long it takes.
        hints: what one may say to a class that is stuck on it.
    """

    id: str
    title: str
    must: bool
    minutes: int
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counted:
    """All counts of a class, of one moment."""

    events: int
    closed: int | None  # when the class was closed, in ms
    tries: Mapping[str, str]
    wrong: Mapping[str, str]
    mistakes: Mapping[str, str]
    rank: Mapping[str, int]
    first: Mapping[str, int]
    last: Mapping[str, int]
    seconds: Mapping[str, int]
    recent: Counter[str]  # exercise|hint → how often in the last ten minutes


async def counted(client: redis.asyncio.Redis, keys: Keys, now_ms: int) -> Counted:
    """Read the counts, in one step."""
    minute = now_ms // MINUTE_MS
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.hget(keys.totals, "events")
        pipeline.hget(keys.about, "closed")
        for name in ("tries", "wrong", "mistakes"):
            pipeline.hgetall(keys.of(name))
        for name in ("rank", "first", "last", "seconds"):
            pipeline.zrange(keys.of(name), 0, -1, withscores=True)
        for one in range(minute - RECENT_MIN + 1, minute + 1):
            pipeline.hgetall(keys.of(f"minute:{one}"))
        events, closed, tries, wrong, mistakes, *rest = await pipeline.execute()
    rank, first, last, seconds = ({cell: int(score) for cell, score in pairs} for pairs in rest[:4])
    recent: Counter[str] = Counter()
    for one in rest[4:]:
        recent.update({mistake: int(count) for mistake, count in one.items()})
    return Counted(
        int(events or 0),
        int(closed) if closed else None,
        tries,
        wrong,
        mistakes,
        rank,
        first,
        last,
        seconds,
        recent,
    )


def shown(
    room: Class,
    exercises: Sequence[Exercise],
    seats: Iterable[Seat],
    counts: Counted,
    now_ms: int,
) -> Json:
    """What `board.json` says."""
    cells: defaultdict[int, dict[str, Json]] = defaultdict(dict)
    for cell, tries in counts.tries.items():
        seat, _, exercise = cell.partition("|")
        cells[int(seat)][exercise] = _cell(counts, cell, int(tries))
    rows = [
        {"seat": seat.name, "left": seat.left is not None, "seen": seat.seen,
         "dropped": seat.dropped, "waiting": seat.waiting,
         "cells": dict(sorted(cells[seat.number].items()))}
        for seat in seats
    ]  # fmt: skip
    return {
        "class": room.id,
        "title": room.title,
        "opened": room.opened,
        "closed": counts.closed,
        "now": now_ms,
        "exercises": [asdict(one) for one in exercises],
        "seats": rows,
        "totals": {"events": counts.events} | _totals(rows),
        "mistakes": _mistakes(counts),
    }


def _cell(counts: Counted, cell: str, tries: int) -> Json:
    state, hint = unranked(counts.rank[cell])
    return {
        "state": state, "hint": hint, "tries": tries, "wrong": int(counts.wrong.get(cell, 0)),
        "seconds": counts.seconds[cell], "since": counts.first[cell], "at": counts.last[cell],
    }  # fmt: skip


def _totals(rows: Sequence[Json]) -> dict[str, Json]:
    """Of each exercise: how many seats tried it and passed, and how many tries that took."""
    totals: dict[str, Json] = {}
    for row in rows:
        for exercise, cell in row["cells"].items():
            total = totals.setdefault(exercise, dict.fromkeys(COUNTED, 0))
            total["tried"] += 1
            total["passed"] += cell["state"] == "passed"
            total["tries"] += cell["tries"]
            total["wrong"] += cell["wrong"]
    return dict(sorted(totals.items()))


def _mistakes(counts: Counted) -> dict[str, dict[str, Json]]:
    """Of each exercise, its mistakes: how often each was made, by how many seats, and of late."""
    made: defaultdict[str, dict[str, Json]] = defaultdict(dict)
    for key, count in sorted(counts.mistakes.items()):
        exercise, hint, _ = key.split("|")
        recent = counts.recent[f"{exercise}|{hint}"]
        mistake = made[exercise].setdefault(hint, {"count": 0, "seats": 0, "recent": recent})
        mistake["count"] += int(count)
        mistake["seats"] += 1
    return dict(made)
