"""A short soak of a group; `make soak` runs the long one."""

from __future__ import annotations

from tests.soaks.groups import Groups, Plan
from tests.soaks.stage import run


def test_workers_that_are_killed_and_paused_lose_and_repeat_nothing():
    report = run(Groups, Plan(seed=1, faults=21, entries=4000))
    assert not report.wrong, str(report)
    assert report.struck == {"kill": 16, "pause": 3, "replace": 2}, str(report)
