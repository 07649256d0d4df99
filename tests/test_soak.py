"""A short soak; `make soak` runs the long one."""

from __future__ import annotations

from tests.soak import Plan, run


def test_workers_that_are_killed_and_paused_lose_and_repeat_nothing(redis):
    report = run(Plan(seed=1, entries=4000, kills=15, pauses=4, limit_s=60))
    assert not report.wrong, str(report)
    assert (report.kills, report.pauses) == (15, 4), str(report)
