"""Who is driven step by step does not wait before it tries again."""

from __future__ import annotations

import pytest

from helpers.streams import patience


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SHORTEST_S", 0.0)
