"""JupyterLab in a browser: lessons run, labs answer, and bob is killed in front of the class.

One JupyterLab, on one page of one browser, serves all of them, since to load it takes longest: so
all stand here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page, expect

from helpers.course.home import CHECKOUT
from helpers.views.theatre.stage import IDLE_MS
from tests.browser import (
    LIMIT_MS,
    Notebook,
    close_notebooks,
    in_browser,
    jupyterlab,
    open_jupyterlab,
    picture,
    status,
)
from tests.test_cli import until
from tests.wiki import flowing

pytestmark = in_browser

THEATRE = [
    "%load_ext helpers\n"
    "from helpers import connect\n"
    "from helpers.views.theatre import Theatre\n"
    "redis = connect()",
    'theatre = Theatre(redis, "chennai", "averages")\ntheatre',
    "theatre.still()",
    "theatre.close()",
]
DASHBOARD = [
    "from helpers.wiki import Dashboard",
    'dashboard = Dashboard(tz="Asia/Kolkata", stale_after_s=2)\ndashboard',
    "6 * 7",
    "dashboard.close()",
]

NODES = [
    "%load_ext helpers\n"
    "from helpers.chaos import LocalCluster\n"
    "from helpers.cluster import PartsProducer\n"
    "from helpers.views.nodes import ClusterTheatre\n"
    "cluster = LocalCluster()\n"
    "redis = cluster.connect()\n"
    'producer = PartsProducer(redis, "weather", key="city", parts=6)\n'
    'producer.add_many({"city": n} for n in range(600))',
    "theatre = ClusterTheatre(cluster, producer.parts)\ntheatre",
    "theatre.still()",
    "theatre.close()\ncluster.close()",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks, and on three with widgets in them."""
    directory = tmp_path_factory.mktemp("lab")
    for folder in ("notebooks", "labs"):
        shutil.copytree(CHECKOUT / folder, directory / folder)
    for name, cells in (("theatre", THEATRE), ("dashboard", DASHBOARD), ("nodes", NODES)):
        notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, directory / f"{name}.ipynb")
    with jupyterlab(directory) as address:
        yield address


@pytest.fixture(scope="module")
def lab(browser: Any, url: str) -> Iterator[Page]:
    """A page with JupyterLab on it."""
    with browser.new_page() as page:
        open_jupyterlab(page, url)
        yield page


@pytest.fixture
def page(lab: Page) -> Iterator[Page]:
    """The same page for everybody, with no notebook open."""
    yield lab
    close_notebooks(lab)


# ------------------------------------------------------------------ lessons and labs


def test_lesson_01_runs_from_top_to_bottom_and_shows_its_pictures(page):
    notebook = Notebook(page, "notebooks/01_append_and_range.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    assert "before dawn" in notebook.output(notebook.find("time_series"))
    for drawn in (notebook.find("time_series"), notebook.find("bars")):
        assert notebook.images(drawn) == 1
    assert page.locator("text=Jupyter news").count() == 0  # nothing pops up over the lesson


def test_an_answer_stays_folded_until_it_is_clicked_unless_its_cell_fails(page):
    notebook = Notebook(page, "notebooks/01_append_and_range.ipynb")
    answer = notebook.find(r"noon\.ms \+ 3_600_000")
    notebook.set_cell(answer, "6 * 7")
    assert notebook.output(answer) == ""
    assert notebook.placeholder(answer).inner_text().strip() == "Click to see the answer"
    notebook.run_cell(answer)
    assert notebook.output(answer) == ""
    shown = notebook.placeholder(answer)
    assert shown.inner_text().strip() == "Click to see the answer"

    shown.click()
    assert "42" in notebook.output(answer)
    notebook.set_cell(answer, "6 * 8")
    assert "48" in notebook.run_cell(answer)  # once seen, it isn't folded again

    failing = notebook.find("^count, start, full")
    notebook.set_cell(failing, "1 / 0")
    assert "ZeroDivisionError" in notebook.run_cell(failing)


def test_an_error_of_redis_is_two_lines_in_the_lesson(page):
    notebook = Notebook(page, "notebooks/00_start_here.ipynb")
    notebook.run_all()
    shown = notebook.output(notebook.find("redis.append")).strip().splitlines()
    assert len(shown) == 2
    assert "WRONGTYPE" in shown[1]


def test_a_lab_shows_blank_then_hint_then_tick(page):
    notebook = Notebook(page, "labs/01_append_and_range.ipynb")
    notebook.run_cell(notebook.find("%load_ext"))
    answer, check = notebook.find("^first_id = "), notebook.find(r"lab\.check\(1")

    notebook.run_cell(answer)
    assert "○" in notebook.run_cell(check)

    notebook.set_cell(answer, 'first_id = redis.xadd("lab01:chennai", {"temperature": 26})')
    notebook.run_cell(answer)
    wrong = notebook.run_cell(check)
    assert "✗" in wrong
    assert "character by character" in wrong

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
def test_the_stop_button_ends_a_read_with_one_sentence_and_the_kernel_goes_on(page, read):
    notebook = Notebook(page, "labs/02_blocking_reads.ipynb")
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


# ------------------------------------------------------------------ the theatre


def press(page, label, who=None):
    """Click on a button; who says whose, where each consumer has one."""
    buttons = page.get_by_role("button", name=label, exact=True)
    (buttons.and_(page.locator(f'[title*="{who}"]')) if who else buttons).click(timeout=LIMIT_MS)


def wait_for(page, *texts):
    """Wait until the picture's text says all this."""
    for text in texts:
        shown = page.locator(f'svg[role="img"][aria-label*="{text}"]')
        expect(shown).to_be_visible(timeout=LIMIT_MS)


def test_bob_is_killed_and_alice_takes_over(redis, page):
    notebook = Notebook(page, "theatre.ipynb")
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

    idle = partial(redis.xpending_range, "chennai", "averages", "-", "+", 9, idle=IDLE_MS)
    until(lambda: len(idle()) == left["bob"])
    press(page, "claim", "alice")  # not before bob has left them idle for long enough
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


def test_a_primary_is_killed_and_its_replica_takes_over(page):
    notebook = Notebook(page, "nodes.ipynb")
    notebook.run_cell(0)
    notebook.start_cell(1)
    wait_for(page, "n1  primary", "n4  replica of n1", "weather:{3}")
    press(page, "kill -9", "n1")
    wait_for(page, "n1  doesn't answer", "n4  primary")
    press(page, "revive", "n1")
    wait_for(page, "n1  replica of n4")
    press(page, "pause", "n2")
    wait_for(page, "n2  doesn't answer", "n5  primary")
    press(page, "resume", "n2")
    wait_for(page, "n2  replica of n5")
    press(page, "fail over", "n6")
    wait_for(page, "n6  primary", "n3  replica of n6")
    assert notebook.run_cell(2)
    assert notebook.images(2) == 1
    notebook.run_cell(3)
    expect(page.get_by_role("status")).to_contain_text("closed")
    assert notebook.errors() == []


# ------------------------------------------------------------------ the dashboard of lesson 07


def test_the_dashboard_follows_the_feed_and_says_when_it_is_stale(redis, page):
    with flowing() as replay:
        notebook = Notebook(page, "dashboard.ipynb")
        notebook.run_cell(0)
        notebook.run_cell(1)
        status(page, "Live")
        picture(page, "Asia/Kolkata", "complete interval", "www.wikidata.org")
        page.get_by_label("Wikis").select_option(["de.wikipedia.org", "all wikis"])
        picture(page, "de.wikipedia.org")
        assert "42" in notebook.run_cell(2)  # nothing holds up the kernel

        replay.cut(for_s=60)
        status(page, "Stale")
        notebook.run_cell(1)  # again: the first dashboard ends
        notebook.run_cell(3)
        status(page, "closed")
        assert notebook.errors() == []
