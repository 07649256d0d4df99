"""A short soak of the averages; `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.soaks.averages import Averages, Plan
from tests.soaks.stage import run


@pytest.mark.once
@pytest.mark.early
@pytest.mark.timeout(240)
def test_when_anything_is_killed_or_paused_no_hour_is_lost_or_repeated_or_wrong():
    report = run(Averages, Plan(seed=1, faults=60, days=2))
    assert not report.wrong, str(report)
    struck = {
        "crash": 8,
        "kill": 31,
        "cut": 4,
        "no reply": 4,
        "late copy": 4,
        "pause": 3,
        "twin": 1,
        "freeze": 1,
        "demote": 1,
        "fill up": 1,
        "disconnect": 2,
    }
    assert report.struck == struck, str(report)
