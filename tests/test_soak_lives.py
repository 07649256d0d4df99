"""A short soak of short lives; `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.soaks.lives import Lives, Plan
from tests.soaks.stage import run


@pytest.mark.early
@pytest.mark.once
def test_of_many_short_lives_under_new_names_no_key_and_no_name_is_left():
    report = run(Lives, Plan(seed=1, lives=200))
    assert not report.wrong, str(report)
    assert report.more["entries"] > 100, str(report)
