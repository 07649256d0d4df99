"""A short soak of the event pipeline; `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.soak_wiki import Plan, run


@pytest.mark.once
@pytest.mark.timeout(240)
@pytest.mark.parametrize("through", ["stream", "pubsub"])
def test_every_change_is_counted_though_the_subscriber_is_killed(through):
    report = run(Plan(seed=1, seconds=4, rate=500, through=through, kills=1, limit_s=120))
    assert not report.wrong, str(report)
    assert report.kills == (through == "stream"), str(report)
    assert report.calm or report.disturbed, str(report)
