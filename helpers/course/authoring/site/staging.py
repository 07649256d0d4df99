"""Write what Sphinx reads: every page of the site, made from the checkout's files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import nbformat

from helpers.course.authoring.site import prose, reference
from helpers.course.authoring.site.notebooks import as_page
from helpers.course.authoring.site.pages import PYTHON, SHEET, SITE, Page, pages
from helpers.course.authoring.site.places import Remote
from helpers.course.home import CHECKOUT

LANDING, MISSING = SITE / "index.md", SITE / "404.md"
TITLES = {"lesson": "Lessons", "lab": "Labs", "solution": "Solutions"}


class Staging:
    """The pages that Sphinx gets, in a folder of their own."""

    def __init__(self, checkout: Path, folder: Path, remote: Remote | None) -> None:
        self.checkout, self.folder, self.remote = checkout, folder, remote
        self.pages = pages(checkout)
        self._paths = {page.path for page in self.pages}

    def write(self) -> None:
        """Write all of it. A page that is as it was keeps its time, so Sphinx leaves it alone."""
        made = {f"{page.name}{page.file.suffix}": self._page(page) for page in self.pages}
        made["index.md"] = self._landing()
        made["404.md"] = MISSING.read_text()
        made |= reference.pages(self.pages)
        for old in self.folder.rglob("*.*"):
            if old.suffix in (".md", ".rst", ".ipynb") and str(old.relative_to(self.folder)) not in made:
                old.unlink()
        for name, text in made.items():
            _write(self.folder / name, text)
        for picture in (self.checkout / "notebooks" / "drawings").glob("*.svg"):
            target = self.folder / picture.relative_to(self.checkout)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(picture, target)

    def _page(self, page: Page) -> str:
        if page.kind == "prose":
            folder = page.path.rpartition("/")[0]
            return prose.relinked(page.file.read_text(), folder, self.lead)
        notebook = nbformat.read(page.file, as_version=4)
        made = as_page(
            page,
            notebook,
            lead=self.lead,
            opened=self.remote.opened(page.path) if self.remote else {},
            used=reference.used_by(page, notebook.cells),
        )
        return str(nbformat.writes(made))

    def lead(self, path: str) -> str | None:
        """Where a link to a path of the checkout leads; see `prose.relinked`."""
        if path in self._paths:
            return path
        return self.remote.file(path) if self.remote else None

    def _landing(self) -> str:
        readme = (self.checkout / "README.md").read_text()
        text = LANDING.read_text()
        text = text.replace("<!-- clone -->", _clone(self.remote))
        text = text.replace("<!-- times -->", _table(readme))
        text = text.replace("<!-- routes -->", _between(readme, "routes"))
        return text.replace("<!-- contents -->", self._contents())

    def _contents(self) -> str:
        names = {page.path: page.name for page in self.pages}
        groups = {
            title: [page.name for page in self.pages if page.kind == kind]
            for kind, title in TITLES.items()
        }
        groups["To look things up"] = [names[SHEET], names[PYTHON], *reference.CONTENTS]
        others = [p.name for p in self.pages if p.kind == "prose" and p.path != PYTHON]
        groups["The course"] = others
        return "\n\n".join(_toctree(title, those) for title, those in groups.items() if those)


def module_file(module: str) -> str:
    """The path of a module's file in the checkout."""
    spec = find_spec(module)
    return str(Path(str(spec and spec.origin)).relative_to(CHECKOUT))


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


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
