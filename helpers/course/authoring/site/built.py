"""What is wrong with the pages that were built: broken links, other hosts, weight.

No page may need anything from another host, and a reader's phone should not have to fetch more
than `HEAVIEST` bytes for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urldefrag

from helpers.course.authoring.site.html import IN_STYLES, Html, of_another_host

HEAVIEST = 1_500_000  # bytes of a page with all that it needs


class Built(Html):
    """A page that was built."""

    def __init__(self, file: Path) -> None:
        super().__init__(file.read_text())
        self.file = file


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
            others = filter(of_another_host, page.needs)
            yield from (f"{name}: it needs {one}, of another host." for one in others)
            yield from (f"{name}: the picture {one} has no alt text." for one in page.wordless)
            if (heavy := self.weight(page)) > HEAVIEST:
                yield f"{name}: {heavy:,} bytes with all that it needs; at most {HEAVIEST:,}."
        for file in self.folder.rglob("*.css"):
            for url in IN_STYLES.findall(file.read_text()):
                yield f"{file.relative_to(self.folder)}: it needs {url}, of another host."

    def weight(self, page: Built) -> int:
        """The bytes of a page with its styles, scripts and pictures."""
        files = {self._file(page, one) for one in page.needs if not of_another_host(one)}
        return sum(file.stat().st_size for file in {page.file, *files} if file.is_file())

    def _broken(self, page: Built) -> Iterator[str]:
        for target in [*page.links, *page.needs]:
            if of_another_host(target) or re.match(r"(mailto|data|javascript):", target):
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
