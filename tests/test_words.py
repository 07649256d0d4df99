"""Words that read as translated are gone from all that a learner reads."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.course.authoring.words import everything, hits
from helpers.course.home import CHECKOUT

pytestmark = pytest.mark.once


def test_they_are_gone():
    found = {str(file.relative_to(CHECKOUT)): list(hits(file)) for file in everything()}
    assert {name: places for name, places in found.items() if places} == {}


PYTHON = '''
"""Nobody reads a module's first line."""
REPLY = "It shall be: " f"{REPLY} for  ever"


def say(texts):
    """Whoever."""
    return f"a `texts` {texts} in vain", "redis.call('GET') -- nobody", "a text"
'''


def test_messages_are_looked_at_and_documents_are_not(tmp_path):
    file = tmp_path / "it.py"
    file.write_text(PYTHON)
    found = list(hits(file))
    assert found == [
        "It shall be: … for ever",
        "It shall be: … for ever",
        "a `…` … in vain",
        "a text",
    ]


def test_prose_is_looked_at_and_code_is_not(tmp_path):
    words = "Nobody mends `nobody`, somebody\nmended it in\nearnest. Contexts.\n```\nshall\n```"
    cells = [new_markdown_cell(words), new_code_cell("# nobody")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "it.ipynb")
    (tmp_path / "it.md").write_text(words)
    for name in ("it.ipynb", "it.md"):
        assert len(list(hits(tmp_path / name))) == 4
