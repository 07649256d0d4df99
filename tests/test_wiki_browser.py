"""The dashboard as somebody sees it, in JupyterLab and as a page: pick wikis, cut the feed."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
import psutil
import pytest
from playwright.sync_api import Request, expect
from redis import Redis

from helpers import connect_async
from helpers.wiki import Counters, Feed, Publisher, Replay, Subscriber
from helpers.wiki.page import TITLE, serve
from helpers.wiki.synthetic import SHARES
from tests.browser import Notebook, in_browser, jupyterlab

pytestmark = in_browser

LIMIT_MS = 30_000
CELLS = [
    "from helpers.wiki import Dashboard",
    'dashboard = Dashboard(tz="Asia/Kolkata", stale_after_s=2)\ndashboard',
    "6 * 7",
    "dashboard.close()",
]


@contextmanager
def pipeline(feed: str) -> Iterator[None]:
    """A publisher and a subscriber at work on a feed, in a thread, until the end of the block."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def work() -> None:
        async with connect_async() as client, connect_async() as other:
            counters = Counters(interval_s=1, history_s=120)
            subscriber = Subscriber(client, counters=counters)
            publisher = Publisher(other, Feed(feed))
            working = asyncio.gather(subscriber.run(), publisher.run())
            await stop.wait()
            publisher.stop()
            subscriber.stop()
            await working

    thread = threading.Thread(target=loop.run_until_complete, args=[work()])
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def replay(redis: Redis) -> Iterator[Replay]:
    """A feed that flows into the counters."""
    with Replay(rate=100) as feed, pipeline(feed.url):
        yield feed


def picture(page, *texts):
    """Wait until the picture's text says all this."""
    for text in texts:
        shown = page.locator(f'img[alt*="{text}"]')
        expect(shown).to_be_visible(timeout=LIMIT_MS)


def status(page, said):
    expect(page.get_by_role("status")).to_contain_text(said, timeout=LIMIT_MS)


def picked(page):
    """What is picked in the list, whose spaces do not break."""
    found = page.get_by_label("Wikis").evaluate(
        "list => [...list.selectedOptions].map(option => option.innerText)"
    )
    return [one.replace("\xa0", " ") for one in found]


def test_the_page_follows_the_feed_and_says_when_it_is_stale(page, replay):
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    with serve(stale_after_s=2, tz="Europe/Lisbon") as served:
        page.goto(served.url)
        status(page, "Live")
        expect(page).to_have_title(TITLE)
        expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
        assert "Dashboard(" not in page.locator("body").inner_text()  # no code
        listed = page.get_by_label("Wikis")
        expect(listed.locator("option")).to_have_count(1 + len(SHARES), timeout=LIMIT_MS)
        picture(page, "changes per 1 s", "Europe/Lisbon", "whole interval", "www.wikidata.org")

        listed.focus()
        page.keyboard.press("Home")
        picture(page, "all wikis")
        page.keyboard.press("Shift+ArrowDown")
        picture(page, "commons.wikimedia.org")
        assert picked(page) == ["all wikis", "commons.wikimedia.org"]
        assert listed.evaluate("list => list === document.activeElement")

        replay.cut(for_s=60)
        status(page, "Stale: nothing was counted for")
        status(page, "the feed or the publisher has stopped")
        picture(page, "Nothing was counted after")
        assert picked(page) == ["all wikis", "commons.wikimedia.org"]

        kernels = psutil.Process(served.process.pid).children(recursive=True)
        assert kernels
        page.goto("about:blank")  # whoever leaves ends the kernel
        assert not psutil.wait_procs(kernels, timeout=30)[1]
    # Nothing left this machine: Voilà's template names icons elsewhere, which the page forbids.
    foreign = [one for one in asked if not re.match(r"(https?|wss?)://127\.|data:|blob:", one.url)]
    assert {one.failure for one in foreign} <= {"csp"}


def test_the_widget_in_jupyterlab(page, replay, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "wiki.ipynb")
    with jupyterlab(tmp_path) as url:
        opened = Notebook(page, url, "wiki.ipynb")
        opened.run_cell(0)
        opened.run_cell(1)
        status(page, "Live")
        picture(page, "Asia/Kolkata", "whole interval", "www.wikidata.org")
        page.get_by_label("Wikis").select_option(["de.wikipedia.org", "all wikis"])
        picture(page, "de.wikipedia.org")
        assert "42" in opened.run_cell(2)  # nothing holds up the kernel

        replay.cut(for_s=60)
        status(page, "Stale")
        opened.run_cell(1)  # again: the first dashboard ends
        opened.run_cell(3)
        status(page, "closed")
        assert opened.errors() == []
