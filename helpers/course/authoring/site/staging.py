"""Write what Sphinx reads: every page of the site, made from the checkout's files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import nbformat

from helpers.course.authoring.site import prose, reference
from helpers.course.authoring.site.changes import FEED
from helpers.course.authoring.site.notebooks import as_page
from helpers.course.authoring.site.pages import PYTHON, SHEET, SITE, Page, pages
from helpers.course.authoring.site.places import Remote

LANDING, MISSING = SITE / "index.md", SITE / "404.md"
FEED_LINE = f'\n<p><a href="{FEED}">A feed of these changes</a></p>\n'
CALLED = {  # where a page's title is not what one looks for
    "notebooks/cheatsheet": "Cheat sheet <notebooks/cheatsheet>",
    "teaching/handout": "The handout <teaching/handout>",
}
TITLES = {"lesson": "Lessons", "lab": "Labs", "solution": "Solutions"}


class Staging:
    """The pages that Sphinx gets, in a folder of their own."""

    def __init__(
        self, checkout: Path, folder: Path, remote: Remote | None, only: Sequence[str] = ()
    ) -> None:
        """All pages of the checkout, or only those named; then links to others are plain words."""
        self.checkout, self.folder, self.remote = checkout, folder, remote
        self.pages = [page for page in pages(checkout) if not only or page.name in only]
        self._paths = {page.path for page in self.pages}

    def write(self) -> None:
        """Write all of it."""
        made = {f"{page.name}{page.file.suffix}": self._page(page) for page in self.pages}
        made |= reference.pages(self.pages)
        made |= {"index.md": self._landing(), MISSING.name: MISSING.read_text()}
        for name, text in made.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        drawings = Path("notebooks", "drawings")
        shutil.copytree(self.checkout / drawings, self.folder / drawings, dirs_exist_ok=True)

    def _page(self, page: Page) -> str:
        if page.kind == "prose":
            folder = page.path.rpartition("/")[0]
            text = prose.relinked(page.file.read_text(), folder, self.lead)
            return text + FEED_LINE if page.path == "CHANGES.md" else text
        notebook = nbformat.read(page.file, as_version=4)
        made = as_page(
            page,
            notebook,
            lead=self.lead,
            opened=self.remote.opened(page.path) if self.remote else {},
            used=reference.used_by(page, notebook.cells),
        )
        if page.kind == "lesson":
            reference.link_mentions(made.cells)
        return str(nbformat.writes(made))

    def lead(self, path: str) -> str | None:
        """Where a link to a path of the checkout leads; see `prose.relinked`."""
        if path in self._paths or path.startswith("reference/"):
            return path
        return self.remote.file(path) if self.remote else None

    def _landing(self) -> str:
        readme = (self.checkout / "README.md").read_text()
        text = LANDING.read_text()
        text = text.replace("<!-- clone -->", _clone(self.remote))
        text = text.replace("<!-- times -->", _table(readme))
        text = text.replace("<!-- routes -->", _between(readme, "routes"))
        text = prose.relinked(text, "", self.lead)
        return text.replace("<!-- contents -->", self._contents())

    def _contents(self) -> str:
        names = {page.path: page.name for page in self.pages}
        groups = {
            title: [page.name for page in self.pages if page.kind == kind]
            for kind, title in TITLES.items()
        }
        helps = [names[path] for path in (SHEET, PYTHON) if path in names]
        groups["To look things up"] = [
            *(CALLED.get(name, name) for name in helps),
            *reference.CONTENTS,
        ]
        others = [p.name for p in self.pages if p.kind == "prose" and p.path != PYTHON]
        groups["The course"] = [CALLED.get(name, name) for name in others]
        return "\n\n".join(_toctree(title, those) for title, those in groups.items() if those)


def _clone(remote: Remote | None) -> str:
    if remote is None:
        return ""
    folder = remote.path.rpartition("/")[2]
    return f"```\ngit clone {remote.url}\ncd {folder}\n```"


def _table(readme: str) -> str:
    """README's table of the lessons."""
    table = re.search(r"<!-- times -->\n((?:\|.*\n)+)", readme)
    return table[1].replace("| | lesson |", "| nr | lesson |") if table else ""


def _between(readme: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", readme, re.DOTALL)
    return found[1].strip() if found else ""


def _toctree(title: str, names: Iterable[str]) -> str:
    lines = ["```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```"]
    return "\n".join(lines)
