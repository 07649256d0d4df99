"""A short soak of a cluster: nodes and workers die, a slot moves, and nothing is lost or twice."""

from __future__ import annotations

import pytest

from tests.soaks.cluster import Cluster, Plan
from tests.soaks.stage import run


class Few(Cluster):
    """The faults that take little time, one of each."""

    FAULTS = tuple(
        fault._replace(share=1)
        for fault in Cluster.FAULTS
        if fault.name in ("kill a primary", "move", "kill a worker")
    )


@pytest.mark.early
@pytest.mark.once
def test_what_was_confirmed_is_there_once_and_in_order():
    plan = Plan(seed=3, faults=3, rounds=10, node_timeout_ms=1000)
    report = run(Few, plan)
    assert not report.wrong, str(report)
    assert set(report.struck) == {fault.name for fault in Few.FAULTS}
