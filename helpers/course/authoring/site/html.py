"""What matters in a piece of HTML: where it leads, what it needs, its headings and pictures."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

LOADED = ("src", "srcset", "poster", "data")  # what a browser fetches by itself
RELATIONS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch"}
ENDLESS = {  # what ends by itself
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta",
    "option", "p", "source", "tbody", "td", "th", "thead", "tr", "track", "wbr",
}  # fmt: skip
IN_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class Html(HTMLParser):
    """A page, or a part of one.

    Attributes:
        ids: where a link may lead in it.
        links: where it leads.
        needs: what a browser fetches for it.
        wordless: its pictures without alt text.
        headings: its headings, such as h1.
        scripted: whether it has a script of its own.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.needs: list[str] = []
        self.wordless: list[str] = []
        self.headings: list[str] = []
        self.scripted = False
        self._open: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what matters of a tag."""
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        fetched = tag == "link" and RELATIONS & set(given.get("rel", "").lower().split())
        if fetched or tag in ("image", "use", "base"):
            self.needs.append(given.get("href", ""))
        self._open[tag] += 1
        self.needs += [given[name].split()[0] for name in LOADED if given.get(name, "").strip()]
        self.needs += IN_STYLES.findall(given.get("style", ""))
        self.scripted |= tag == "script" and not given.get("src")
        if tag == "img" and not given.get("alt", "").strip():
            self.wordless.append(given.get("src", ""))
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note what ends."""
        self._open[tag] -= 1

    @property
    def unbalanced(self) -> list[str]:
        """The tags that begin more or less often than they end, though they must."""
        return sorted(tag for tag, more in self._open.items() if more and tag not in ENDLESS)

    def handle_data(self, data: str) -> None:
        """Note what styles need."""
        if self.lasttag == "style":
            self.needs += IN_STYLES.findall(data)


def of_another_host(target: str) -> bool:
    """Whether an address names its host."""
    return target.startswith(("http:", "https:", "//"))
