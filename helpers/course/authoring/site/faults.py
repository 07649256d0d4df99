"""What keeps a file off the site: each fault names the file, the cell, and what to do."""

from __future__ import annotations

import base64
import json
import posixpath
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat

from helpers.course.authoring import reading
from helpers.course.authoring.site import prose
from helpers.course.authoring.site.changes import Version, versions
from helpers.course.authoring.site.documents import Document, documents
from helpers.course.authoring.site.html import of_another_host
from helpers.course.authoring.site.notebooks import WIDGET, alt, pictures
from helpers.course.authoring.site.pages import SITE
from helpers.course.home import CHECKOUT

RERUN = "run it with `make lessons`"
RESTORE = "restore it with `git checkout`, or resolve its conflict"
FORMAT = 4
UNSEEN = {"text/latex", "application/javascript", "application/pdf"}
LONGEST = 200_000  # characters of an output: Sphinx takes minutes for more
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff]")
MACHINE = re.compile(
    r"(?:(?<![\w.:/-])|(?<=file://))(?:/(?:home|Users|root|work|tmp|private|var/folders|mnt)/[\w.@-]+"
    r"|[A-Z]:\\+Users\\+\w+)[^\s'\"]*"
)


@dataclass(frozen=True)
class Fault:
    """Something that a reader of the site must not meet."""

    path: str
    place: str  # a cell, or nothing
    what: str

    def __str__(self) -> str:
        return f"{self.path}{f', {self.place}' if self.place else ''}: {self.what}"


def faults(checkout: Path = CHECKOUT) -> list[Fault]:
    """All faults of what the site is made from."""
    those = documents(checkout)
    found = [Fault(one.path, *said) for one in those.values() if (said := _unread(one))]
    if found:
        return found  # what links to them can't be judged
    if log := those.get("CHANGES.md"):
        found += [
            Fault(log.path, "", what) for what in _of_versions(versions(log.file.read_text()))
        ]
    for one in those.values():
        found += [Fault(one.path, place, what) for place, what in _of_cells(one)]
        found += [Fault(one.path, place, what) for place, what in _of_prose(one)]
        found += [Fault(one.path, place, what) for place, what in _of_html(one)]
        found += [Fault(one.path, place, what) for place, what in _of_links(one, those, checkout)]
    return found


def _unread(one: Document) -> tuple[str, str] | None:
    """Where and why a file can't be read, if it can't."""
    try:
        text = one.file.read_text()
        if one.file.suffix != ".ipynb":
            wrong = NO_TEXT.search(text)
            return ("", f"it has a character that no page shows, {wrong[0]!r}.") if wrong else None
        notebook = json.loads(text)
        str(json.dumps(notebook, ensure_ascii=False)).encode()  # half a character can't be
    except OSError as error:
        return "", f"it can't be read ({error.strerror})."
    except UnicodeError:
        return "", "it isn't text in UTF-8: save it so."
    except ValueError:
        return "", f"it isn't a whole notebook: {RESTORE}."
    number = notebook.get("nbformat") if isinstance(notebook, dict) else None
    if type(number) is int and number != FORMAT:
        return "", f"it has the notebook format {number}, not {FORMAT}: save it with JupyterLab."
    return _malformed(notebook)


def _malformed(notebook: Any) -> tuple[str, str] | None:
    """Where and why this isn't a notebook, if it isn't."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nbformat.warnings.MissingIDFieldWarning)
            warnings.simplefilter("error", nbformat.warnings.DuplicateCellId)
            nbformat.validate(notebook)
    except nbformat.warnings.DuplicateCellId:
        return "", "two of its cells have the same ID: save it with JupyterLab."
    except nbformat.ValidationError as error:
        place = list(error.relative_path)
        cell = f"cell {place[1]}" if len(place) > 1 and place[0] == "cells" else ""
        return cell, f"it isn't a whole notebook ({error.message:.100}): {RESTORE}."
    except (AttributeError, KeyError, TypeError):
        return "", f"it isn't a whole notebook: {RESTORE}."
    return None


def _of_versions(those: list[Version]) -> Iterator[str]:
    """What a feed of changes can't have."""
    if not those:
        yield "it has no version: begin one with ## 1.0, 2026-11-27."
    for one in those:
        try:
            date.fromisoformat(one.date)
        except ValueError:
            yield f"{one.date}, of {one.name}, is no date."
    for name, times in Counter(one.name for one in those).items():
        if times > 1:
            yield f"it has {name} {times} times: give each version a name of its own."
    if those != sorted(those, key=lambda one: one.date, reverse=True):
        yield "the newest version must come first."


def _of_cells(one: Document) -> Iterator[tuple[str, str]]:
    """Not run, failed, an output that only one machine can give, a picture without words."""
    runs = not one.path.startswith("labs/")
    expected = 1
    for number, cell in enumerate(one.cells):
        place = f"cell {number}"
        if cell.cell_type == "raw":
            yield place, "it is a raw cell, which the site can't show: make it Markdown."
        if cell.cell_type != "code":
            continue
        if runs and cell.source.strip():
            if cell.execution_count is None:
                yield place, f"it was not run: {RERUN}."
            elif cell.execution_count != expected:
                yield place, f"it ran as {cell.execution_count} and not as {expected}: {RERUN}."
            expected += 1
        yield from ((place, what) for what in _of_outputs(cell))


def _of_outputs(cell: Any) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in reading.tags(cell):
            yield f"it failed with {output.ename}: correct it, or tag it raises-exception."
        if output.get("execution_count", cell.execution_count) != cell.execution_count:
            yield f"its output is that of another run: {RERUN}."
        if (length := len(_words(output))) > LONGEST:
            yield f"its output has {length:,} characters: show {LONGEST:,} at most."
        if match := MACHINE.search(_words(output)):
            yield f"its output has a path of one machine, {match[0]}: leave it out."
        kinds = set(output.get("data", ()))
        if unseen := sorted(kinds & UNSEEN):
            yield f"the site can't show its {unseen[0]}: show it as text or as a picture."
        if WIDGET in kinds and not kinds - {WIDGET, "text/plain"} and not alt(output):
            yield "its widget has nothing static to show instead: give it text or a picture."
        if not _whole(output.get("data", {}).get("image/png")):
            yield f"its picture isn't whole: {RERUN}."
    shown = pictures(cell)
    if len(shown) > 1:
        yield "it shows two pictures: show each in a cell of its own."
    if shown and not alt(shown[0]):
        yield "its picture has no alt text: show it with show_figure(figure, caption)."


def _whole(png: str | None) -> bool:
    """Whether a picture has at least a head, if there is one."""
    try:
        return png is None or base64.b64decode(png)[:16].endswith(b"IHDR")
    except ValueError:
        return False


def _words(output: Any) -> str:
    data = output.get("data", {})
    said = [data[kind] for kind in data if kind.startswith("text/") or kind == "image/svg+xml"]
    error = (output.get("evalue", ""), *output.get("traceback", ()))
    return "\n".join([*said, output.get("text", ""), *error])


def _of_prose(one: Document) -> Iterator[tuple[str, str]]:
    """A heading that skips a level, a title too many or none, a picture without words."""
    level = 0
    for place, source in one.pieces:
        for its, words in prose.headings(source):
            if level == 0 and its != 1:
                yield place, f"the heading {words!r} comes before the title."
            elif level and its == 1:
                yield place, f"the heading {words!r} is a second title: begin it with ##."
            elif its > level + 1:
                yield place, f"the heading {words!r} skips a level: give it {'#' * (level + 1)}."
            level = its
        if match := MACHINE.search(prose.without_code(source)):
            yield place, f"it has a path of one machine, {match[0]}: leave it out."
    if level == 0:
        yield "", "it has no title."
    elif one.cells and one.cells[0].cell_type != "markdown":
        yield "cell 0", "it comes before the title: begin with that."
    for place, source in one.written:
        for words, file in prose.pictures(source):
            if not words.strip():
                yield place, f"the picture {file} has no alt text."
            if file.startswith("attachment:"):
                yield place, f"the site can't show {file}: put the picture in a file."
            if of_another_host(file):
                yield place, f"it needs {file}, of another host: bring it along."
        for formula in prose.maths(source):
            yield place, f"the site can't show the formula {formula}: write it as `code`."


def _of_html(one: Document) -> Iterator[tuple[str, str]]:
    """HTML in prose or in an output: a heading, a picture without words, another host's files."""
    for place, html in one.html:
        for heading in html.headings:
            yield place, f"it has a heading as HTML, <{heading}>: write it with #."
        for file in html.wordless:
            yield place, f"the picture {file} has no alt text."
        if html.scripted:
            yield place, "it has a script, which some readers don't run: show something static."
        for tag in html.unbalanced:
            yield place, f"its <{tag}> begins and ends a different number of times."
        for needed in filter(of_another_host, html.needs):
            yield place, f"it needs {needed}, of another host: bring it along."


def _of_links(one: Document, those: dict[str, Document], root: Path) -> Iterator[tuple[str, str]]:
    """A link to a file or a heading that isn't there."""
    folder = "" if one.file.parent == SITE else posixpath.dirname(one.path)
    linked = [(place, prose.links(source)) for place, source in one.written]
    linked += [(place, [*html.links, *html.needs]) for place, html in one.html]
    for place, targets in linked:
        for target in targets:
            path, _, anchor = unquote(target).partition("#")
            if prose.is_outside(target) or of_another_host(target) or path.startswith("reference/"):
                continue  # the reference is not a file: the built pages are checked for it
            full = posixpath.normpath(posixpath.join(folder, path)) if path else one.path
            full = "site/index.md" if full == "index.md" else full
            there = (root / full).is_dir() if path.endswith("/") else (root / full).exists()
            if full.startswith(("..", "/")) or not there:
                yield place, f"the link to {target} leads to no file."
            elif anchor and full in those and anchor not in those[full].anchors:
                yield place, f"the link to {target} leads to no heading."
