"""The dashboard as somebody sees it, on a page of its own: pick wikis, cut the feed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Request, expect
from redis import Redis

from helpers.course.pace import patient
from helpers.wiki import Replay
from helpers.wiki.page import TITLE, serve
from helpers.wiki.synthetic import SHARES
from tests.accessibility import violations
from tests.browser import LIMIT_MS, in_browser, picture, status
from tests.wiki import flowing

pytestmark = in_browser


@pytest.fixture
def replay(redis: Redis) -> Iterator[Replay]:
    """A feed that flows into the counters."""
    with flowing() as replay:
        yield replay


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
        picture(page, "changes per 1 s", "Europe/Lisbon", "complete interval", "www.wikidata.org")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == []

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
        assert not psutil.wait_procs(kernels, timeout=patient(30))[1]
    # Nothing left this machine: Voilà's template names icons elsewhere, which the page forbids.
    foreign = [one for one in asked if not re.match(r"(https?|wss?)://127\.|data:|blob:", one.url)]
    assert {one.failure for one in foreign} <= {"csp"}
