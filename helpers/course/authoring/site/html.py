"""What matters in a piece of HTML: where it leads, what it needs, its headings and pictures."""

from __future__ import annotations

from html.parser import HTMLParser

LOADED = {  # what a browser fetches by itself
    "img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src",
    "embed": "src", "object": "data",
}  # fmt: skip


class Html(HTMLParser):
    """A page, or a part of one.

    Attributes:
        ids: where a link may lead in it.
        links: where it leads.
        needs: what a browser fetches for it.
        wordless: its pictures without alt text.
        headings: its headings, such as h1.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.needs: list[str] = []
        self.wordless: list[str] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what matters of a tag."""
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.needs.append(given.get("href", ""))
        elif given.get(LOADED.get(tag, "")):
            self.needs.append(given[LOADED[tag]])
        if tag == "img" and not given.get("alt", "").strip():
            self.wordless.append(given.get("src", ""))
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(tag)


def of_another_host(target: str) -> bool:
    """Whether an address names its host."""
    return target.startswith(("http:", "https:", "//"))
