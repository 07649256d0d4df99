"""Who looks at a class board: a browser with the instructor's page and the projector's."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from tests.browser import chromium_at_work

EVERY_MS = 1000
SHOT_EVERY = 15  # looks

CELLS = """() => Object.fromEntries([...document.querySelectorAll('tbody tr')].map(row => [
    row.dataset.seat, Object.fromEntries([...row.querySelectorAll('[data-exercise]')]
        .map(cell => [cell.dataset.exercise, cell.ariaLabel.replace(', stuck', '')]))]))"""
STATE = """() => ({
    live: document.getElementById('live').className === 'on',
    seats: document.querySelectorAll('tbody tr').length,
    stuck: document.querySelectorAll('tbody tr.stuck').length,
    count: document.getElementById('count').textContent,
})"""


def in_words(exercise: str, state: str, tries: int) -> str:
    """What the page says to a screen reader of a cell that was tried and isn't stuck."""
    return f"{exercise}: {state}, {tries} {'try' if tries == 1 else 'tries'}"


def look(page_url: str, url: str, file: str, shots: str) -> None:
    """Look until SIGTERM; then write down what was seen."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    seen: dict[str, Any] = {"looks": [], "names": [], "errors": [], "cells": {}}
    with chromium_at_work() as browser, browser.new_page() as page, browser.new_page() as wall:
        for one in (page, wall):
            one.on("pageerror", lambda error: seen["errors"].append(str(error)))
        page.goto(page_url)
        wall.goto(f"{url}/projector")
        while not asked:
            page.wait_for_timeout(EVERY_MS)
            seen["looks"].append(page.evaluate(STATE))
            for shown in wall.locator("#bars, #say").all_inner_texts():
                seen["names"] += re.findall(r"seat \d+", shown)
            if shots and len(seen["looks"]) % SHOT_EVERY == 0:
                number = len(seen["looks"]) // SHOT_EVERY
                page.screenshot(path=f"{shots}/{number:02}.png")
                wall.screenshot(path=f"{shots}/{number:02} projector.png")
        page.wait_for_timeout(3 * EVERY_MS)
        seen["cells"] = page.evaluate(CELLS)
    Path(file).write_text(json.dumps(seen))
