"""The parts of a run: what runs together, what measures and so runs alone, and the contract.

The contract is what servers can differ in: replies, scripts, errors, the behaviour of commands.
`make test` runs all on the first server and the contract on the others, and compares: a command or
script that only the first one was sent is missing from the contract.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

TOGETHER, CONTRACT, ALONE = "together", "contract", "alone"
PARTS = {TOGETHER: "everything", CONTRACT: "the contract", ALONE: "what measures"}

# Of a path, or of a test in a file, the beginning is enough.
MEASURING = ("notebooks/08", "solutions/08", "tests/test_bench.py")
CONTRACT_TESTS = ("tests/test_behaviours.py",)


def chosen(items: Iterable[pytest.Item], part: str | None, first: bool) -> set[pytest.Item]:
    """The tests of a part, or of all; those marked `once` are for the first server."""
    return {one for one in items if _belongs(one, part) and (first or not _once(one))}


def _once(item: pytest.Item) -> bool:
    return item.get_closest_marker("once") is not None


def _belongs(item: pytest.Item, part: str | None) -> bool:
    if part == CONTRACT:
        return item.nodeid.startswith(CONTRACT_TESTS)
    return part is None or item.nodeid.startswith(MEASURING) == (part == ALONE)
