"""Of the answers to a lab, `make test` leaves out those that are like others."""

from __future__ import annotations

import pytest

from tests.checks.answers import Case, like_others

pytestmark = pytest.mark.once

FUNCTION = "def answer(): pass"


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
