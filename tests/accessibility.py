"""What axe-core finds wrong with a page for readers who can't see it, or use no mouse."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

_RUN = """() => axe.run(document, {resultTypes: ['violations']}).then(found =>
  found.violations.flatMap(one => one.nodes.map(
    node => `${one.id}: ${node.html.slice(0, 150)} ${node.failureSummary}`)))"""
_UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"


@functools.cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """Everything that axe-core's rules say against the page as it is shown, what is folded too."""
    page.evaluate(_UNFOLD)
    page.evaluate(_axe())
    found: Any = page.evaluate(_RUN)
    return list(found)
