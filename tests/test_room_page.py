"""The class board in a browser: 20 seats at work, on a real board, which is killed in between."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from helpers.checks.mistakes import catalogue
from tests.accessibility import violations
from tests.browser import LIMIT_MS, in_browser
from tests.room_board import HttpSeat, OpenBoard, board
from tests.room_class import Happened, board_of, day, learners, route
from tests.test_cli import until

pytestmark = in_browser

SEATS, MINUTES = 20, 100


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBoard]:
    """A board of a class that no one has joined."""
    with board(tmp_path_factory.mktemp("room"), "--title", "Friday") as one:
        yield one


def events() -> list[Happened]:
    """What 20 seats do in their first hours."""
    made = day(learners(SEATS), route(), catalogue())
    return [one for one in made if one.at <= 60 * MINUTES]


def said(one: Happened) -> dict[str, Any]:
    return {"exercise": one.exercise, "outcome": one.outcome, "hint": one.hint,
            "seconds": one.seconds}  # fmt: skip


def cells(page: Page) -> dict[str, dict[str, str]]:
    """What the table says to a screen reader, by seat and exercise."""
    return page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('tbody tr')].map(row => ["
        "row.dataset.seat, Object.fromEntries([...row.querySelectorAll('[data-exercise]')]"
        ".map(cell => [cell.dataset.exercise, cell.ariaLabel]))]))"
    )


def seats(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => row.dataset.seat)")


def plain(row: dict[str, str]) -> dict[str, str]:
    return {at: one.replace(", stuck", "") for at, one in row.items()}


def in_words(exercise: str, cell: Any) -> str:
    """What a screen reader should say of a cell of a seat that isn't stuck."""
    if cell is None:
        return f"{exercise}: not tried"
    tries = f"{cell['tries']} {'try' if cell['tries'] == 1 else 'tries'}"
    return f"{exercise}: {cell['state']}, {tries}"


def test_a_class_joins_works_and_is_looked_at(browser, opened, tmp_path):
    asked: list[str] = []
    complaints: list[str] = []
    with ExitStack() as again, browser.new_page() as page, browser.new_page() as wall:
        client = again.enter_context(opened.client())
        for one in (page, wall):
            one.on("request", lambda request: asked.append(request.url))
            one.on("console", lambda message: complaints.append(message.text))
            one.on("pageerror", lambda error: complaints.append(str(error)))
            one.goto(opened.page)
        wall.goto(f"{opened.url}/projector")
        for one in (page, wall):
            expect(one).to_have_title("Friday", timeout=LIMIT_MS)
            expect(one.locator("#empty code")).to_have_text(
                f'course class join {opened.url} --as "seat 1"'
            )
        assert "key=" not in page.url  # it went into a cookie
        assert violations(page) + violations(wall) == []  # with no seat at all

        at_work = [HttpSeat(person.seat, client) for person in learners(SEATS)]
        for seat in at_work:
            seat.join()
        expect(page.locator("tbody tr")).to_have_count(SEATS, timeout=LIMIT_MS)
        for seat in at_work:
            seat.send([said(one) for one in events() if one.seat == seat.name])
        wanted = board_of([one.name for one in at_work], events(), 60 * MINUTES)
        assert_shows(page, wanted)
        assert_room_sees_no_seat(wall, wanted)
        for one in (page, wall):
            for scheme in ("dark", "light"):
                one.emulate_media(color_scheme=scheme)
                assert violations(one) == []

        live(page, at_work[2])
        sorted_and_filtered(page, wanted)
        by_keyboard(page)
        exported(page, at_work, tmp_path)
        printed(page)

        asked_before, complaints_before = list(asked), list(complaints)
        opened.kill()
        expect(page.locator("#live-text")).to_contain_text("Connection lost", timeout=LIMIT_MS)
        expect(page.get_by_role("status")).to_contain_text("Connection lost")
        assert len(seats(page)) == SEATS  # the last that was known stays
        opened.open()
        expect(page.locator("#live-text")).to_contain_text("Live", timeout=LIMIT_MS)
        expect(page.get_by_role("status")).to_contain_text("live again")
        at_work[4].client = again.enter_context(opened.client())  # the other one's line is dead
        at_work[4].send([{"exercise": "03.6", "outcome": "error", "hint": 0, "seconds": 9}])
        expect(cell(page, at_work[4].name, "03.6")).to_have_text(re.compile("!"), timeout=LIMIT_MS)
    assert complaints_before == []
    assert [url for url in asked_before if not url.startswith(f"{opened.url}/")] == []


def cell(page: Page, seat: str, exercise: str) -> Any:
    return page.locator(f'tr[data-seat="{seat}"] td[data-exercise="{exercise}"]')


def assert_shows(page: Page, wanted: Any) -> None:
    """Each cell is as it was counted apart; who is stuck says so in the cell, and in a list."""
    used = {one[:2] for seat in wanted["seats"] for one in seat["cells"]}
    exercises = [one["id"] for one in wanted["exercises"] if one["id"][:2] in used]
    right = {
        seat["seat"]: {one: in_words(one, seat["cells"].get(one)) for one in exercises}
        for seat in wanted["seats"]
    }
    until(lambda: {name: plain(row) for name, row in cells(page).items()} == right)
    stuck = [seat for seat, row in cells(page).items() if row != plain(row)]
    cards = page.locator("#stuck .who").all_inner_texts()
    assert cards
    assert stuck[: len(cards)] == cards  # the one that has been stuck longest comes first in both
    expect(page.locator("#count")).to_have_text(f"{SEATS} seats · {len(stuck)} stuck")
    first = page.locator("#mistakes li").first
    exercise = first.locator(".where").inner_text()
    sentence = first.locator(".aloud").inner_text()
    known = [one.replace("`", "") for one in catalogue()[exercise].values()]
    assert sentence in {one.removeprefix("… ") for one in known}
    assert re.search(r"\d+ times in 10 min", first.inner_text())


def assert_room_sees_no_seat(wall: Page, wanted: Any) -> None:
    """The projector view counts, and names no one."""
    passed = sum(seat["cells"].get("02.4", {}).get("state") == "passed" for seat in wanted["seats"])
    expect(wall.locator("#bars li", has_text="02.4")).to_contain_text(f"{passed} of {SEATS}")
    expect(wall.locator("#mistakes .aloud").first).to_be_visible()
    assert not re.search(r"seat \d", wall.locator("body").inner_text())
    assert not re.search(
        r"seat \d",
        wall.evaluate("fetch('board.json?projector=1').then(r => r.text())").replace(
            r"\"seat 1\"", ""
        ),
    )


def live(page: Page, seat: HttpSeat) -> None:
    """A check is seen without a reload, and a third wrong one makes the seat stuck."""
    shown = cell(page, seat.name, "03.7")
    expect(shown).to_have_text("")
    seat.send([{"exercise": "03.7", "outcome": "blank", "hint": 0, "seconds": 3}])
    expect(shown).to_have_text("○", timeout=LIMIT_MS)
    wrong = {"exercise": "03.7", "outcome": "wrong", "hint": 1, "seconds": 60}
    seat.send([wrong] * 3)
    expect(shown).to_have_text("▲4", timeout=LIMIT_MS)
    shown.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("They see")
    expect(dialog).to_contain_text(catalogue()["03.7"][1].split("`")[0])
    dialog.get_by_role("button", name="Close").click()


def sorted_and_filtered(page: Page, wanted: Any) -> None:
    """Rows by seat are in the order of numbers; by progress, the slowest comes first."""
    page.get_by_label("Sort by").select_option("seat")
    assert seats(page) == [seat["seat"] for seat in wanted["seats"]]
    page.get_by_label("Sort by").select_option("progress")
    done = page.locator("tbody td.sum").all_inner_texts()
    assert done == sorted(done, key=int)
    page.get_by_label("Labs").select_option("02")
    assert all(at.startswith("02") for row in cells(page).values() for at in row)
    page.get_by_label("Labs").select_option("all")
    assert any(at.startswith("09") for row in cells(page).values() for at in row)
    page.get_by_label("Labs").select_option("used")
    page.get_by_label("Sort by").select_option("seat")
    page.get_by_label("Route").select_option("a day")
    expect(page.locator("#pace-text")).to_contain_text(
        "On the sheet now: Lesson 00", timeout=LIMIT_MS
    )


def by_keyboard(page: Page) -> None:
    """One stop of the tab key, then arrows; Enter opens a cell, Escape comes back to it."""
    page.locator("#theme").focus()
    page.keyboard.press("Tab")
    here = "document.activeElement.dataset.exercise ?? document.activeElement.tagName"
    moves = {"Home": "TH", "End": "03.7", "Control+Home": "TH", "ArrowRight": "TD"}
    for key, at in [*moves.items(), ("ArrowRight", "01.1"), ("ArrowDown", "01.1")]:
        page.keyboard.press(key)
        assert page.evaluate(here) == at, key
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("seat 2, 01.1")
    expect(dialog).to_contain_text("passed")
    expect(dialog).to_contain_text("redis.xadd(stream, fields)")  # what one may say
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate(here) == "01.1"
    page.locator("#sort").focus()


def exported(page: Page, at_work: list[HttpSeat], folder: Path) -> None:
    """A click keeps what the class did."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Seats as CSV").click()
    download.value.save_as(folder / "class.csv")
    rows = list(csv.DictReader(io.StringIO((folder / "class.csv").read_text("utf-8-sig"))))
    assert [row["seat"] for row in rows] == [seat.name for seat in at_work]
    assert rows[2]["03.7 tries"] == "4"


def printed(page: Page) -> None:
    """Paper has all seats, whose table scrolls on the screen, and no theme for a dark room."""
    page.get_by_label("Theme").select_option("dark")
    page.emulate_media(media="print")
    expect(page.locator("#seats")).to_have_css("max-height", "none")
    expect(page.locator("body")).to_have_css("color", "rgb(20, 24, 27)")
    page.emulate_media(media="screen")
    page.get_by_label("Theme").select_option("")


def test_without_the_key_there_is_no_page(opened):
    with opened.client() as client:
        for path in ("/", "/projector", "/board.json", "/live", "/export.csv"):
            reply = client.get(path)
            assert reply.status_code == 403
            assert "`course class open`" in reply.json()["error"]


def test_any_number_of_tabs_may_be_open(browser, opened):
    """Of which one is seen: a browser keeps six connections to a board."""
    hidden = "Object.defineProperty(document, 'hidden', {get: () => !window.seen})"
    seen = "window.seen = true; document.dispatchEvent(new Event('visibilitychange'))"
    with ExitStack() as stack, opened.client() as client:
        for _ in range(7):
            tab = stack.enter_context(browser.new_page())
            tab.add_init_script(hidden)
            tab.goto(opened.page, timeout=LIMIT_MS)
        expect(tab.locator("#live")).to_contain_text("Live, last update", timeout=LIMIT_MS)
        tab.evaluate(seen)
        HttpSeat("late", client).join()
        expect(tab.locator("[data-seat=late]")).to_be_attached(timeout=LIMIT_MS)
