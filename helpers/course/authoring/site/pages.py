"""Which files of the checkout become pages of the site, and in which order.

A page keeps its file's path, so that the links between files are links between pages too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from helpers.course.home import CHECKOUT

Kind = Literal["lesson", "lab", "solution", "sheet", "prose"]

SITE = CHECKOUT / "site"
URL = "SITE_URL"  # the environment variable that says at which address the site will be
FOLDERS: dict[str, Kind] = {"notebooks": "lesson", "labs": "lab", "solutions": "solution"}
SHEET, PYTHON = "notebooks/cheatsheet.ipynb", "notebooks/python.md"
_OURS = re.compile(r"(\d\d_\w+|cheatsheet)\.ipynb")
PROSE = ("teaching/*.md", "CHANGES.md")


@dataclass(frozen=True)
class Page:
    """A file, and what kind of page it becomes."""

    file: Path
    path: str  # in the checkout
    kind: Kind

    @property
    def name(self) -> str:
        """What Sphinx calls it."""
        return self.path.rpartition(".")[0]


def notebooks(checkout: Path, folder: str) -> list[Path]:
    """The notebooks of a folder, without a reader's own, such as Untitled and copies."""
    return [one for one in sorted((checkout / folder).glob("*.ipynb")) if _OURS.fullmatch(one.name)]


def pages(checkout: Path = CHECKOUT) -> list[Page]:
    """All pages that are made from files, those of one kind in their order."""
    found = [
        Page(file, f"{folder}/{file.name}", "sheet" if file.name == Path(SHEET).name else kind)
        for folder, kind in FOLDERS.items()
        for file in notebooks(checkout, folder)
    ]
    for pattern in (PYTHON, *PROSE):
        found += [
            Page(file, file.relative_to(checkout).as_posix(), "prose")
            for file in sorted(checkout.glob(pattern))
        ]
    return found
