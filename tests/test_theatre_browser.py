"""The theatre as an instructor plays it: bob is killed, and alice takes over."""

from __future__ import annotations

from collections.abc import Iterator

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser import Notebook, browser_page, in_browser, jupyterlab

pytestmark = in_browser

LIMIT_MS = 30_000
CELLS = [
    "%load_ext helpers\n"
    "from helpers import connect\n"
    "from helpers.views.theatre import Theatre\n"
    "redis = connect()",
    'theatre = Theatre(redis, "chennai", "averages")\ntheatre',
    "theatre.snapshot()",
    "theatre.close()",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a notebook with a theatre in it."""
    directory = tmp_path_factory.mktemp("theatre")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, directory / "theatre.ipynb")
    with jupyterlab(directory) as address:
        yield address


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page() as one:
        yield one


def press(page, label, who=None):
    """Click on a button; who says whose, where each consumer has one."""
    buttons = page.get_by_role("button", name=label, exact=True)
    (buttons.and_(page.locator(f'[title*="{who}"]')) if who else buttons).click(timeout=LIMIT_MS)


def wait_for(page, *texts):
    """Wait until the picture's text says all this."""
    for text in texts:
        shown = page.locator(f'svg[role="img"][aria-label*="{text}"]')
        expect(shown).to_be_visible(timeout=LIMIT_MS)


def test_bob_is_killed_and_alice_takes_over(redis, page, url):
    notebook = Notebook(page, url, "theatre.ipynb")
    notebook.run_cell(0)
    notebook.start_cell(1)
    wait_for(page, "has no entries yet", "alice, not started", "bob, not started")

    for number in range(1, 6):
        press(page, "add 1")
        wait_for(page, f"reading={number}")
    wait_for(page, "stream chennai: 5 entries", "lag 5")
    press(page, "start", "bob")
    wait_for(page, "bob, running, 3 pending")
    press(page, "pause", "bob")
    wait_for(page, "bob, paused")
    press(page, "start", "alice")
    wait_for(page, "alice, running", "lag 0, ")  # she has read all that bob has not
    press(page, "kill -9", "bob")
    wait_for(page, "bob, killed")
    expect(page.get_by_role("status")).to_contain_text("kill -9")

    wait_for(page, "alice, running, 0 pending")
    left = {one["name"]: one["pending"] for one in redis.xinfo_consumers("chennai", "averages")}
    assert left["alice"] == 0
    assert left["bob"] > 0  # they stay where they are

    press(page, "claim", "alice")
    wait_for(page, "bob, killed, 0 pending")
    expect(page.locator("svg text", has_text="→alice").first).to_be_visible()
    wait_for(page, "alice, running, 0 pending", "✓ ✓ ✓ ✓ ✓")

    assert notebook.run_cell(2)
    assert notebook.images(2) == 1
    notebook.run_cell(1)  # again: the first theatre ends, and so does alice
    wait_for(page, "alice, not started, 0 pending")
    notebook.run_cell(3)
    expect(page.get_by_role("status")).to_contain_text("closed")
    assert notebook.errors() == []
