"""A short soak of a class at work; `make soak` runs the one of 30 seats."""

from __future__ import annotations

import pytest

from tests.soaks.room import Plan, Room
from tests.soaks.stage import run


@pytest.mark.once
@pytest.mark.timeout(240)
def test_what_checks_said_is_on_the_board_and_its_page_though_it_was_killed(request):
    if not request.config.getoption("--all-answers"):
        pytest.skip("seats with real checks are at work in `make test-all`")
    report = run(Room, Plan(seed=3, seats=3, faults=1, last="01"))
    assert not report.wrong, str(report)
    assert report.struck.total() == 1, str(report)
