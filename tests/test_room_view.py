"""Who is stuck, what to say, how far the class is: from counts alone, so without any server."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.checks.mistakes import catalogue
from helpers.course.authoring.runsheet import Route, Step
from helpers.room.export import summary_csv, to_csv, to_json
from helpers.room.telling import told
from helpers.room.view import (
    MINUTE,
    SILENT,
    Board,
    Cell,
    behind,
    current,
    is_stuck,
    look,
)
from tests.room_class import OPENED, board_of, day, known_routes, learners, route

pytestmark = pytest.mark.once

SHEET = Route(
    "short",
    (
        Step("Lesson 01", 20, late="skip its end"),
        Step("Exercise 01.1", 5, "01.1"),
        Step("Break", 10),
        Step("Exercise 01.3", 5, "01.3", late="only 5"),
        Step("Exercise 01.5", 10, "01.5"),
    ),
)


def cell(state: str, *, since: float, at: float, wrong: int = 0, hint: int = 0) -> Cell:
    """A cell of a class that is 60 minutes old; times are minutes ago."""
    now = OPENED + 60 * MINUTE
    return Cell(
        state=state, hint=hint, tries=wrong + (state != "wrong"), wrong=wrong, seconds=60,
        since=now - int(since * MINUTE), at=now - int(at * MINUTE),
    )  # fmt: skip


def class_of(**seats: dict[str, Cell]) -> Board:
    board = board_of(list(seats), [], 3600)
    for seat in board["seats"]:
        seat["cells"] = seats[seat["seat"]]
    return board


# ------------------------------------------------------------------ who is stuck


@pytest.mark.parametrize(
    ("state", "since", "at", "wrong", "stuck"),
    [
        ("wrong", 1, 0, 1, False),
        ("wrong", 1, 0, 3, True),  # three wrong tries
        ("wrong", 4, 1, 1, True),  # its four minutes are over
        ("blank", 4, 1, 0, True),
        ("error", 6, 1, 0, True),
        ("passed", 50, 1, 9, False),
        ("wrong", 50, 29, 9, True),
        ("wrong", 50, 31, 9, False),  # it has been away for too long
    ],
)
def test_a_seat_is_stuck_after_three_wrong_tries_or_when_the_minutes_are_over(
    state, since, at, wrong, stuck
):
    board = class_of(anna={"01.1": cell(state, since=since, at=at, wrong=wrong)})
    view = look(board, catalogue(), known_routes())
    assert [one["seat"] for one in view["stuck"]] == (["anna"] if stuck else [])
    assert view["silent"] == (["anna"] if at * MINUTE > SILENT else [])


def test_who_has_been_stuck_longest_comes_first_with_the_sentence_that_the_check_said():
    board = class_of(
        ben={"02.4": cell("wrong", since=8, at=1, wrong=2, hint=2)},
        anna={
            "01.1": cell("wrong", since=40, at=20, wrong=5),  # not where she is now
            "01.5": cell("wrong", since=12, at=2, wrong=1, hint=10_000),
        },
        cleo={"01.5": cell("wrong", since=50, at=2, wrong=9)},
    )
    board["seats"][2]["left"] = True
    view = look(board, catalogue(), known_routes())
    anna, ben = view["stuck"]
    assert (anna["seat"], anna["exercise"], anna["for"]) == ("anna", "01.5", 12 * MINUTE)
    assert anna["sentence"] == ""  # a mistake of a later version
    assert (ben["seat"], ben["sentence"]) == ("ben", catalogue()["02.4"][2])
    assert (view["seats"], view["left"]) == (2, 1)


# ------------------------------------------------------------------ the pace


@pytest.mark.parametrize(
    ("elapsed", "done", "late"),
    [
        (0, ["", "", ""], None),  # no one has tried anything
        (24, ["01.1", "", ""], 0),  # 01.1 is due at 25
        (32, ["01.1", "", ""], 7),  # the class is where its middle seat is
        (32, ["01.1", "01.1", ""], 0),
        (32, ["01.3", "01.3", ""], -8),  # 01.3 is due at 40
        (55, ["01.1", "01.1", "01.5"], 15),
        (55, ["01.5", "01.5", ""], 0),  # all of it done
    ],
)
def test_the_class_is_late_by_the_time_since_the_next_exercise_was_due(elapsed, done, late):
    passed = cell("passed", since=1, at=0)
    seats = {f"s{n}": {one: passed} if one else {} for n, one in enumerate(done)}
    began = OPENED + (60 - elapsed) * MINUTE
    pace = look(class_of(**seats), {}, [SHEET], began=began)["pace"]
    assert pace["behind"] == late
    assert pace["elapsed"] == elapsed


def test_the_sheet_says_what_should_be_going_on():
    wanted = {
        45: ("Lesson 01", 20, "Exercise 01.1", "Lesson 01: skip its end"),
        34: ("Break", 35, "Exercise 01.3", "Lab 01: only 5"),
        0: ("", 50, "", ""),
    }
    for began, now in wanted.items():
        pace = look(class_of(), {}, [SHEET], began=OPENED + began * MINUTE)["pace"]
        assert tuple(pace["now"].values()) == now
    unknown = told(class_of(), {}, [SHEET], {"route": "none", "began": "x"})["view"]["pace"]
    assert (unknown["route"], unknown["began"]) == ("short", OPENED)


@settings(max_examples=50)
@given(st.sets(st.integers(1, 300), min_size=1), st.data())
def test_the_lateness_grows_with_the_clock_and_shrinks_with_the_work(minutes, data):
    due = {str(minute): minute for minute in sorted(minutes)}
    reached = data.draw(st.sampled_from([0, *due.values()]))
    late = [behind(due, reached, elapsed) for elapsed in range(320)]
    assert all(after - before in (0, 1) for before, after in pairwise(late))
    for elapsed in range(0, 320, 20):
        further = [behind(due, one, elapsed) for one in (0, *due.values())]
        assert further == sorted(further, reverse=True)


def test_the_routes_hold_the_musts_in_order_and_have_breaks():
    for one in known_routes():
        due = list(one.due().items())
        assert due == sorted(due)
        assert sum(step.minutes for step in one.steps) == one.ends()[-1]
        assert any(step.title == "Break" for step in one.steps) or one.name == "90 minutes"


# ------------------------------------------------------------------ a whole class


@settings(max_examples=8)
@example(30, 110, 7)
@given(st.integers(0, 40), st.integers(0, 240), st.integers(0, 1000))
def test_what_is_shown_of_a_class_agrees_with_its_cells(number, minute, seed):
    people = [replace(one, seat=f"{one.seat} of <b>") for one in learners(number, seed)]
    names = [one.seat for one in people]
    events = day(people, route(), catalogue(), seed)
    board = board_of(names, events, minute * 60)
    view = look(board, catalogue(), known_routes())
    limits = {one["id"]: one["minutes"] for one in board["exercises"]}

    cells = {seat["seat"]: seat["cells"] for seat in board["seats"]}
    for exercise, counts in view["finished"].items():
        states = [mine[exercise]["state"] for mine in cells.values() if exercise in mine]
        assert counts["passed"] == states.count("passed")
        assert counts["passed"] + counts["trying"] == len(states)
        assert counts["stuck"] <= counts["trying"]
    stuck = {one["seat"]: one for one in view["stuck"]}
    for seat in board["seats"]:
        here = current(seat)
        needs = here is not None and is_stuck(seat["cells"][here], limits[here], board["now"])
        assert (seat["seat"] in stuck) == needs
        assert not needs or stuck[seat["seat"]]["exercise"] == here
    longest = [one["for"] for one in view["stuck"]]
    assert longest == sorted(longest, reverse=True)

    assert len(view["mistakes"]) <= 3
    for one in view["mistakes"]:
        assert one["sentence"]
        assert catalogue()[one["exercise"]][one["hint"]].endswith(one["sentence"])
        assert one["still"] <= one["seats"]
        assert one["recent"] >= one["still"]
    shown = json.dumps(told(board, catalogue(), known_routes(), {"projector": "1"}))
    assert "of <b>" not in shown
    assert '"cells"' not in shown


def test_the_mistake_that_most_seats_still_make_comes_first():
    made = {"02.4": {"2": 4, "3": 9}, "01.1": {"1": 5}, "03.2": {"1": 1}}
    wrong = {
        f"s{n}": {"02.4": cell("wrong", since=3, at=1, wrong=1, hint=2 if n < 4 else 3)}
        for n in range(6)
    }
    wrong["s6"] = {"01.1": cell("passed", since=3, at=1)}
    board = class_of(**wrong)
    board["mistakes"] = {
        exercise: {
            number: {"count": count, "seats": count, "recent": count}
            for number, count in numbers.items()
        }
        for exercise, numbers in made.items()
    }
    board["mistakes"]["02.2"] = {"1": {"count": 50, "seats": 20, "recent": 0}}  # an hour ago
    board["mistakes"]["09.9"] = {"1": {"count": 50, "seats": 20, "recent": 50}}  # unknown here
    view = look(board, catalogue(), known_routes())
    found = [(one["exercise"], one["hint"], one["still"]) for one in view["mistakes"]]
    assert found == [("02.4", 2, 4), ("02.4", 3, 2), ("01.1", 1, 0)]
    assert all(one["say"] for one in view["mistakes"])
    board["mistakes"]["02.4"]["2"]["seats"] = 1  # a room would know who that is
    room = told(board, catalogue(), known_routes(), {"projector": "1"})["view"]["mistakes"]
    assert [(one["exercise"], one["hint"]) for one in room] == [("02.4", 3), ("01.1", 1)]


# ------------------------------------------------------------------ what is kept


def test_the_export_has_a_row_for_each_seat_and_one_for_each_exercise():
    people = learners(12)
    names = [person.seat for person in people]
    events = day(people, route(), catalogue())
    board = board_of(names, events, 100 * 60)
    rows = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert [row["seat"] for row in rows] == names
    for row, seat in zip(rows, board["seats"], strict=True):
        states = {name.split()[0]: row[name] for name in row if name.endswith(" state")}
        assert {one: state for one, state in states.items() if state} == {
            one: its["state"] for one, its in seat["cells"].items()
        }
        assert int(row["passed"]) == list(states.values()).count("passed")

    before = [one for one in events if one.at <= 100 * 60]
    for row in csv.DictReader(io.StringIO(summary_csv(board, catalogue()))):
        mine = [one for one in before if one.exercise == row["exercise"]]
        assert int(row["tries"]) == len(mine)
        assert int(row["tried"]) == len({one.seat for one in mine})
        assert int(row["passed"]) == sum(one.outcome == "passed" for one in mine)
        most = row["most frequent mistake"]
        assert bool(most) == any(one.hint for one in mine)
        assert not most or int(row["its count"]) == sum(one.hint == int(most) for one in mine)
        assert not most or row["its sentence"] == catalogue()[row["exercise"]][int(most)]
    assert json.loads(to_json(board))["seats"] == board["seats"]


def test_a_spreadsheet_takes_no_name_for_a_formula():
    board = class_of(**{"=1+1": {}, "-2": {}, "seat 3": {}})
    seats = [row[0] for row in csv.reader(io.StringIO(to_csv(board)))]
    assert seats == ["seat", "'=1+1", "'-2", "seat 3"]
