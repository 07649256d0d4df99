"""Answers to a lab that are like others wait for `make test-all`, and the run says how many."""

from __future__ import annotations

from typing import cast

import pytest

from tests.checks.answers import RIGHT_AT_LEAST, WRONG_AT_LEAST, Case, like_others

AT_LEAST = {
    "test_a_right_answer_passes": RIGHT_AT_LEAST,
    "test_a_mistake_draws_its_hint": WRONG_AT_LEAST,
}
LEFT = pytest.mark.skip(reason="answers of labs like others, left for `make test-all`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-answers"):
        return
    together: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname in AT_LEAST:
            together.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for those in together.values():
        cases = [cast(Case, item.callspec.params["case"]) for item in those]
        lab = those[0].path.stem[-2:]
        left = {id(case) for case in like_others(cases, AT_LEAST[those[0].originalname], lab)}
        for item, case in zip(those, cases, strict=True):
            if id(case) in left:
                item.add_marker(LEFT)
