"""What is wrong with the pages that were built: broken links, other hosts, weight.

No page may need anything from another host, and a reader's phone should not have to fetch more
than `HEAVIEST` bytes for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

HEAVIEST = 1_500_000  # bytes of a page with all that it needs
LOADED = {  # what a browser fetches by itself
    "img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src",
    "embed": "src", "object": "data",
}  # fmt: skip
_IN_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


@dataclass
class Built(HTMLParser):
    """A page: where one can go in it, where it leads, and what it needs."""

    file: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    wordless: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what matters of a tag."""
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.needs.append(given["href"])
        elif given.get(LOADED.get(tag, "")):
            self.needs.append(given[LOADED[tag]])
        if tag == "img" and "alt" not in given:
            self.wordless.append(given.get("src", ""))


@dataclass(frozen=True)
class Site:
    """The folder of a site that was built, and its path on its host."""

    folder: Path
    root: str = "/"

    @cached_property
    def pages(self) -> dict[Path, Built]:
        """Its pages, by file."""
        return {file: Built(file) for file in sorted(self.folder.rglob("*.html"))}

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its page."""
        for page in self.pages.values():
            name = page.file.relative_to(self.folder)
            yield from (f"{name}: the link to {to} is broken." for to in self._broken(page))
            yield from (f"{name}: it needs {one}, of another host." for one in page.needs
                        if _host(one))  # fmt: skip
            yield from (f"{name}: the picture {one} has no alt text." for one in page.wordless)
            if (heavy := self.weight(page)) > HEAVIEST:
                yield f"{name}: {heavy:,} bytes with all that it needs; at most {HEAVIEST:,}."
        for file in self.folder.rglob("*.css"):
            for url in _IN_STYLES.findall(file.read_text()):
                yield f"{file.relative_to(self.folder)}: it needs {url}, of another host."

    def weight(self, page: Built) -> int:
        """The bytes of a page with its styles, scripts and pictures."""
        files = {self._file(page, one) for one in page.needs if not _host(one)}
        return sum(file.stat().st_size for file in {page.file, *files} if file.is_file())

    def _broken(self, page: Built) -> Iterator[str]:
        for target in [*page.links, *page.needs]:
            if _host(target) or re.match(r"(mailto|data|javascript):", target):
                continue
            path, anchor = urldefrag(target)
            file = self._file(page, path) if path else page.file
            there = file.is_file()
            if not there or (anchor and not self._has(file, unquote(anchor))):
                yield target

    def _has(self, file: Path, anchor: str) -> bool:
        return file.suffix != ".html" or anchor in self.pages[file].ids

    def _file(self, page: Built, target: str) -> Path:
        path = unquote(urldefrag(target)[0].partition("?")[0])
        base = page.file.parent
        if path.startswith(self.root):
            base, path = self.folder, path.removeprefix(self.root)
        file = (base / path).resolve()
        return file / "index.html" if file.is_dir() else file


def _host(target: str) -> bool:
    return target.startswith(("http:", "https:", "//"))
