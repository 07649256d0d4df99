"""The examples in docstrings, on a real server: what the reference shows is what happens."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Iterator

import pytest
from redis import Redis

from helpers import streams
from helpers.course.home import CHECKOUT

# What a reader of the reference has imported.
IMPORTED = {name: getattr(streams, name) for name in streams.__all__}


def modules() -> Iterator[str]:
    """The modules of the package that have examples."""
    for file in sorted((CHECKOUT / "helpers").rglob("*.py")):
        if re.search(r"^\s+>>> ", file.read_text(), re.MULTILINE):
            yield ".".join(file.relative_to(CHECKOUT).with_suffix("").parts)


@pytest.mark.parametrize("name", list(modules()))
def test_examples_show_what_happens(name: str, redis: Redis) -> None:
    module = importlib.import_module(name)
    extra = IMPORTED | {"redis": redis}
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=extra):
        redis.delete("chennai", *redis.scan_iter("*chennai*"))
        assert runner.run(example).failed == 0, example.name
    assert runner.tries
