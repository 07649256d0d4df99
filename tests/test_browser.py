"""JupyterLab in a browser: lessons run from top to bottom, and labs answer as they should."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from helpers.home import CHECKOUT
from tests.browser import Notebook, browser_page, in_browser, jupyterlab

pytestmark = in_browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks."""
    directory = tmp_path_factory.mktemp("lab")
    for folder in ("notebooks", "labs"):
        shutil.copytree(CHECKOUT / folder, directory / folder)
    with jupyterlab(directory) as address:
        yield address


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser_page() as one:
        yield one


def test_lesson_01_runs_from_top_to_bottom_and_shows_its_pictures(page, url):
    notebook = Notebook(page, url, "notebooks/01_append_and_range.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    assert "before dawn" in notebook.output(notebook.find("time_series"))
    for picture in (notebook.find("time_series"), notebook.find("bars")):
        assert notebook.images(picture) == 1
    assert page.locator("text=Jupyter news").count() == 0  # nothing pops up over the lesson


def test_an_error_of_redis_is_two_lines_in_the_lesson(page, url):
    notebook = Notebook(page, url, "notebooks/00_start_here.ipynb")
    notebook.run_all()
    shown = notebook.output(notebook.find("redis.append")).strip().splitlines()
    assert len(shown) == 2
    assert "WRONGTYPE" in shown[1]


def test_a_lab_shows_blank_then_hint_then_tick(page, url):
    notebook = Notebook(page, url, "labs/01_append_and_range.ipynb")
    notebook.run_cell(notebook.find("%load_ext"))
    answer, check = notebook.find("^first_id = "), notebook.find(r"lab\.check\(1")

    notebook.run_cell(answer)
    assert "○" in notebook.run_cell(check)

    notebook.set_cell(answer, 'first_id = redis.xadd("lab01:chennai", {"temperature": 26})')
    notebook.run_cell(answer)
    wrong = notebook.run_cell(check)
    assert "✗" in wrong
    assert "letter by letter" in wrong

    notebook.set_cell(
        answer,
        'redis.delete("lab01:chennai")\n'
        'first_id = redis.xadd("lab01:chennai", {"temperature": 26, "humidity": 10})',
    )
    notebook.run_cell(answer)
    assert "✓" in notebook.run_cell(check)


@pytest.mark.parametrize(
    "read", ["connect().xread", "await connect_async().xread"], ids=["blocked", "awaited"]
)
def test_the_stop_button_ends_a_read_with_one_sentence_and_the_kernel_goes_on(page, url, read):
    notebook = Notebook(page, url, "labs/02_blocking_reads.ipynb")
    first, second = notebook.find("%load_ext"), notebook.find(r"lab\.check\(1")
    notebook.set_cell(first, "%load_ext helpers\nfrom helpers import connect, connect_async")
    notebook.run_cell(first)
    notebook.set_cell(second, read + '({"nothing": "$"}, block=0)')
    notebook.start_cell(second)
    page.wait_for_timeout(1000)
    notebook.interrupt()
    shown = notebook.output(second)
    assert "Interrupted" in shown
    assert len(shown.strip().splitlines()) <= 2
    notebook.set_cell(second, "connect().ping()")
    assert "True" in notebook.run_cell(second)
