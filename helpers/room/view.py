"""What an instructor wants to know, from the board's counts: who is stuck, on what, and the pace.

All of it is pure: `look` takes what the board knows and gives what the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any, NotRequired, TypedDict

from helpers.course.authoring.runsheet import Route, Step

MINUTE = 60_000
RECENT = 10 * MINUTE  # "now", for mistakes
SILENT = 30 * MINUTE  # after which a seat that gave up is not called stuck any more
STUCK_AFTER_WRONG = 3  # tries; or once the exercise's own minutes are over
PATIENCE = 5  # minutes, for an exercise that does not state its own
MOST_MISTAKES = 3

Catalogue = Mapping[str, Mapping[int, str]]  # exercise → number of a mistake → its sentence


class Cell(TypedDict):
    """What a seat has done at an exercise; times are milliseconds since 1970."""

    state: str  # passed, wrong, blank or error
    hint: int  # which mistake the last check named; 0 for none
    tries: int
    wrong: int
    seconds: int  # since the seat opened the exercise's lab
    since: int  # when it tried first
    at: int  # when it tried last


class Seat(TypedDict):
    """A seat, with its cells by exercise."""

    seat: str
    left: bool
    seen: int
    dropped: int
    waiting: int
    cells: dict[str, Cell]


class Exercise(TypedDict):
    """An exercise of the course."""

    id: str
    title: str
    must: bool
    minutes: int
    hints: NotRequired[list[str]]


class Board(TypedDict):
    """What the board knows."""

    opened: int
    now: int
    exercises: list[Exercise]
    seats: list[Seat]
    mistakes: dict[str, dict[str, dict[str, int]]]


def look(
    board: Board,
    catalogue: Catalogue,
    routes: Sequence[Route],
    *,
    route: str | None = None,
    began: int | None = None,
) -> dict[str, Any]:
    """What the page shows beside the cells themselves.

    Args:
        board: what was counted, and the time.
        catalogue: what each mistake's number means.
        routes: the run-sheets to choose from.
        route: the name of the one that the class takes; the first one if it is unknown.
        began: when the class began, in ms; when the board was opened if it isn't given.
    """
    known = {one["id"]: one for one in board["exercises"]}
    present = [seat for seat in board["seats"] if not seat["left"]]
    stuck = _stuck(present, known, catalogue, board["now"])
    return {
        "seats": len(present),
        "left": len(board["seats"]) - len(present),
        "stuck": stuck,
        "silent": [seat["seat"] for seat in present if _is_silent(seat, board["now"])],
        "where": {seat["seat"]: _where(seat) for seat in present},
        "finished": _finished(present, known, stuck),
        "mistakes": _mistakes(board, present, known, catalogue),
        "sentences": _sentences(board["seats"], catalogue),
        "pace": _pace(board, present, routes, route, began),
    }


SHOWN_TO_ALL = ("class", "title", "closed", "join", "now", "exercises")
OF_NO_ONE = ("seats", "left", "finished", "pace")


def without_seats(data: Mapping[str, Any]) -> dict[str, Any]:
    """The board with its view, for a room to see: nothing in it says who did what.

    So a mistake that only one seat has made isn't in it.
    """
    view = {key: data["view"][key] for key in OF_NO_ONE}
    view["mistakes"] = [one for one in data["view"]["mistakes"] if one["seats"] > 1]
    return {key: data[key] for key in SHOWN_TO_ALL if key in data} | {"view": view}


# ------------------------------------------------------------------ who is stuck


def current(seat: Seat) -> str | None:
    """The exercise that a seat tried last."""
    cells = seat["cells"]
    return max(cells, key=lambda one: (cells[one]["at"], one)) if cells else None


def is_stuck(cell: Cell, minutes: int, now: int) -> bool:
    """Whether a seat needs help with the exercise that it tried last.

    It does after some wrong tries, or when the time that the exercise should take has passed since
    its first try. Long after its last try it has gone for coffee, or on to reading.
    """
    if cell["state"] == "passed" or now - cell["at"] > SILENT:
        return False
    late = now - cell["since"] >= (minutes or PATIENCE) * MINUTE
    return late or cell["wrong"] >= STUCK_AFTER_WRONG


def _is_silent(seat: Seat, now: int) -> bool:
    last = seat["cells"].get(current(seat) or "")
    return last is not None and last["state"] != "passed" and now - last["at"] > SILENT


def _stuck(
    seats: Sequence[Seat], known: Mapping[str, Exercise], catalogue: Catalogue, now: int
) -> list[dict[str, Any]]:
    """The seats that need help; the one that has been stuck longest comes first."""
    found = []
    for seat in seats:
        exercise = current(seat)
        if exercise is None:
            continue
        cell = seat["cells"][exercise]
        if is_stuck(cell, known[exercise]["minutes"] if exercise in known else 0, now):
            found.append(
                {
                    "seat": seat["seat"],
                    "exercise": exercise,
                    "title": known[exercise]["title"] if exercise in known else "",
                    "state": cell["state"],
                    "hint": cell["hint"],
                    "sentence": _sentence(catalogue, exercise, cell["hint"]),
                    "tries": cell["tries"],
                    "for": max(0, now - cell["since"]),
                    "quiet": max(0, now - cell["at"]),
                }
            )
    return sorted(found, key=lambda one: (-one["for"], one["seat"]))


def _where(seat: Seat) -> dict[str, Any]:
    passed = sum(cell["state"] == "passed" for cell in seat["cells"].values())
    return {"exercise": current(seat) or "", "passed": passed}


# ------------------------------------------------------------------ how far the class is


def _finished(
    seats: Sequence[Seat], known: Mapping[str, Exercise], stuck: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, int]]:
    """For each exercise: how many have passed it, how many are trying, how many of them stuck."""
    found = {one: {"passed": 0, "trying": 0, "stuck": 0} for one in known}
    for seat in seats:
        for exercise, cell in seat["cells"].items():
            if exercise in found:
                found[exercise]["passed" if cell["state"] == "passed" else "trying"] += 1
    for one in stuck:
        if one["exercise"] in found:
            found[one["exercise"]]["stuck"] += 1
    return found


def _pace(
    board: Board,
    seats: Sequence[Seat],
    routes: Sequence[Route],
    name: str | None,
    began: int | None,
) -> dict[str, Any]:
    """The class against the sheet: minutes behind it (below 0: ahead), None before there is one.

    The class is where its middle seat is: at the exercise furthest down the sheet that half of the
    seats have reached. It is late by the time since the next one was due.
    """
    route = next((one for one in routes if one.name == name), routes[0] if routes else None)
    if began is None or began > board["now"]:
        began = board["opened"]
    elapsed = max(0, board["now"] - began) // MINUTE
    pace: dict[str, Any] = {
        "route": route.name if route else "",
        "routes": [one.name for one in routes],
        "began": began,
        "elapsed": elapsed,
    }
    if not route:
        return pace
    due = route.due()
    reached = _reached(seats, due)
    return pace | {
        "whole": sum(step.minutes for step in route.steps),
        "now": _on_sheet(route, elapsed),
        "due": due,
        "class_at": next((one for one, minute in due.items() if minute == reached), ""),
        "behind": behind(due, reached, elapsed) if any(seat["cells"] for seat in seats) else None,
    }


def behind(due: Mapping[str, int], reached: int, elapsed: int) -> int:
    """Minutes behind the sheet, for a class that reached what is due at a minute; ahead if < 0."""
    following = min((minute for minute in due.values() if minute > reached), default=None)
    if elapsed < reached:
        return elapsed - reached
    return 0 if following is None else max(0, elapsed - following)


def _reached(seats: Sequence[Seat], due: Mapping[str, int]) -> int:
    """The minute of the sheet that at least half of the seats have reached."""
    minutes = [
        max(
            (due[one] for one, cell in seat["cells"].items() if one in due and _passed(cell)),
            default=0,
        )
        for seat in seats
    ]
    return median_low(minutes) if minutes else 0


def _passed(cell: Cell) -> bool:
    return cell["state"] == "passed"


def _on_sheet(route: Route, elapsed: int) -> dict[str, Any]:
    """What the sheet has at this minute, until when, what comes next, and how to save time."""
    ends = route.ends()
    for number, end in enumerate(ends):
        if elapsed < end:
            after = route.steps[number:]
            return {
                "title": after[0].title,
                "until": end,
                "next": after[1].title if len(after) > 1 else "",
                "late": next((_late(step) for step in after if step.late), ""),
            }
    return {"title": "", "until": ends[-1] if ends else 0, "next": "", "late": ""}


def _late(step: Step) -> str:
    """Where a class that is late can save time, and how."""
    where = f"Lab {step.exercise[:2]}" if step.exercise else step.title.partition(":")[0]
    return f"{where}: {step.late}"


# ------------------------------------------------------------------ what to say to all


def _mistakes(
    board: Board, seats: Sequence[Seat], known: Mapping[str, Exercise], catalogue: Catalogue
) -> list[dict[str, Any]]:
    """The most frequent mistakes of the last minutes: first those that most seats still make."""
    still = _still(seats, board["now"])
    found: list[dict[str, Any]] = []
    for exercise, numbers in board["mistakes"].items():
        for number, counts in numbers.items():
            sentence = _sentence(catalogue, exercise, int(number))
            recent = counts.get("recent", 0)
            if sentence and recent and exercise in known:
                found.append(
                    {
                        "exercise": exercise,
                        "title": known[exercise]["title"],
                        "hint": int(number),
                        "sentence": sentence,
                        "say": [
                            hint
                            for hint in known[exercise].get("hints", [])
                            if hint not in sentence
                        ],
                        "recent": recent,
                        "seats": counts.get("seats", 0),
                        "still": still.get((exercise, int(number)), 0),
                    }
                )
    found.sort(key=lambda one: (-one["still"], -one["recent"], one["exercise"], one["hint"]))
    return found[:MOST_MISTAKES]


def _sentence(catalogue: Catalogue, exercise: str, number: int) -> str:
    """What a check says of a mistake; a value that it would begin with is left out."""
    return catalogue.get(exercise, {}).get(number, "").removeprefix("…").strip()


def _sentences(seats: Sequence[Seat], catalogue: Catalogue) -> dict[str, dict[int, str]]:
    """What the mistakes mean that stand in the cells."""
    found: dict[str, dict[int, str]] = {}
    for seat in seats:
        for exercise, cell in seat["cells"].items():
            if cell["hint"] and (sentence := _sentence(catalogue, exercise, cell["hint"])):
                found.setdefault(exercise, {})[cell["hint"]] = sentence
    return found


def _still(seats: Sequence[Seat], now: int) -> dict[tuple[str, int], int]:
    """How many seats made each mistake at their last try of an exercise, lately."""
    found: dict[tuple[str, int], int] = {}
    for seat in seats:
        for exercise, cell in seat["cells"].items():
            if cell["hint"] and not _passed(cell) and now - cell["at"] <= RECENT:
                key = exercise, cell["hint"]
                found[key] = found.get(key, 0) + 1
    return found
