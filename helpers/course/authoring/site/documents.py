"""What an author writes: notebooks and Markdown, as pieces of Markdown with their places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from helpers.course.authoring.site import prose
from helpers.course.authoring.site.html import Html
from helpers.course.authoring.site.pages import FOLDERS, PROSE, PYTHON, notebooks
from helpers.course.home import CHECKOUT

BESIDE = ("README.md", "CONTRIBUTING.md", "site/*.md")  # not pages, but linked too


@dataclass(frozen=True)
class Document:
    """A notebook or a file of Markdown."""

    file: Path
    path: str  # in the checkout

    @cached_property
    def cells(self) -> list[Any]:
        """A notebook's cells; a file of Markdown has none."""
        if self.file.suffix != ".ipynb":
            return []
        return list(nbformat.read(self.file, as_version=4).cells)

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """Its Markdown, each piece with its place: a cell's number, or nothing."""
        if self.file.suffix != ".ipynb":
            return [("", self.file.read_text())]
        numbered = enumerate(self.cells)
        return [(f"cell {n}", c.source) for n, c in numbered if c.cell_type == "markdown"]

    @property
    def written(self) -> list[tuple[str, str]]:
        """Its Markdown, and that in its outputs."""
        shown = [
            (f"cell {number}", output.data["text/markdown"])
            for number, cell in enumerate(self.cells)
            for output in cell.get("outputs", ())
            if "text/markdown" in output.get("data", ())
        ]
        return [*self.pieces, *shown]

    @cached_property
    def html(self) -> list[tuple[str, Html]]:
        """The HTML in its Markdown and in its outputs, with the places."""
        prosaic = [(place, prose.html(source)) for place, source in self.written]
        shown = [
            (f"cell {number}", output.data["text/html"])
            for number, cell in enumerate(self.cells)
            for output in cell.get("outputs", ())
            if "text/html" in output.get("data", ())
        ]
        return [(place, Html(text)) for place, text in [*prosaic, *shown]]

    @cached_property
    def anchors(self) -> set[str]:
        """Where in it a link may lead."""
        return prose.anchors(source for _, source in self.pieces)


def documents(checkout: Path = CHECKOUT) -> dict[str, Document]:
    """All of them, by their paths."""
    files = [file for folder in FOLDERS for file in notebooks(checkout, folder)]
    for pattern in (PYTHON, *PROSE, *BESIDE):
        files += sorted(checkout.glob(pattern))
    paths = [file.relative_to(checkout).as_posix() for file in files]
    return {path: Document(file, path) for path, file in zip(paths, files, strict=True)}


def outside(those: dict[str, Document]) -> dict[str, list[str]]:
    """Each link that leads to another site, and the places that have it."""
    found: dict[str, list[str]] = {}
    for document in those.values():
        for place, source in document.pieces:
            for target in prose.links(source):
                if prose.is_outside(target):
                    where = f"{document.path}, {place}" if place else document.path
                    found.setdefault(target, []).append(where)
    return found
