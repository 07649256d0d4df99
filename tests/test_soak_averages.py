"""A short soak of the averages; `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.soak_averages import Plan, run


@pytest.mark.once
@pytest.mark.early
@pytest.mark.timeout(240)
def test_whoever_is_killed_or_paused_no_hour_is_lost_or_repeated_or_wrong():
    report = run(Plan(seed=1, days=2, kills=40, losses=9, pauses=6, outages=0, limit_s=150))
    assert not report.wrong, str(report)
    assert report.kills.total() == 40, str(report)
    assert min(map(len, (report.losses, report.pauses, report.twins))) > 0, str(report)
