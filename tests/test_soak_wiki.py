"""A short soak of the event pipeline; `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.soaks.stage import run
from tests.soaks.wiki import Plan, Wiki


@pytest.mark.early
@pytest.mark.once
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("through", "faults"), [("stream", 6), ("pubsub", 0)])
def test_every_change_is_counted_though_subscriber_and_server_are_struck(through, faults):
    report = run(Wiki, Plan(seed=1, time_s=4, rate=500, through=through, faults=faults))
    assert not report.wrong, str(report)
    assert report.struck.total() == faults, str(report)
    assert report.more["probes"], str(report)
