"""What a run leaves out, it leaves out on purpose: some points to strike, some answers to labs."""

from __future__ import annotations

from itertools import count, takewhile

import pytest

from tests import points
from tests.checks.answers import Case, like_others

pytestmark = pytest.mark.once

FUNCTION = "def answer(): pass"


def test_the_first_server_is_struck_everywhere(monkeypatch):
    monkeypatch.setattr(points, "_struck", points.EVERY)
    assert list(points.points(range(1, 9))) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert points.times(40) == 40


def test_the_others_at_two_points_of_five_and_not_at_the_same_ones(monkeypatch):
    monkeypatch.setattr(points, "_struck", points.EVERY)
    struck = []
    for number in (0, 1):
        points.thin_out(number)
        struck.append(list(takewhile(lambda point: point < 12, points.points(count(1)))))
        assert points.times(40) == 16
    assert struck == [[1, 3, 6, 8, 11], [2, 5, 7, 10]]


def left_of(*answers, at_least=3):
    """The numbers of the answers, of one exercise each, that are left for later."""
    cases = [Case(*one) for one in answers]
    left = like_others(cases, at_least)
    return [n for n, case in enumerate(cases) if any(case is one for one in left)]


def test_of_answers_that_draw_the_same_hint_the_first_one_stays_and_enough_of_them():
    a, b = (1, "a", FUNCTION), (1, "b", FUNCTION)
    assert left_of(a, b, a, b, a) == [3, 4]
    assert left_of(a, a, a) == []
    assert left_of(a, a, a, (2, "a", FUNCTION), a) == [4]


def test_what_is_no_function_is_cheap_and_stays():
    plain = (1, "a", "answer = {}")
    assert left_of((1, "a", FUNCTION), *[plain] * 5) == []
