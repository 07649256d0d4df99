"""The reference: all of `helpers.streams`, and of the rest what lessons and labs import.

Each entry says which lessons use it; each lesson's page ends with links to what it uses. What the
lessons import is read from their cells, so that neither can go stale.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import nbformat

from helpers.course.authoring import reading
from helpers.course.authoring.site import docstrings
from helpers.course.authoring.site.pages import Page

STREAMS = "helpers.streams"
SECTIONS = {
    "Append": ("Producer", "AsyncProducer", "BulkProducer"),
    "Read": ("scan", "scan_async", "Reader", "AsyncReader"),
    "Work in a group": ("Consumer", "AsyncConsumer", "Group", "AsyncGroup"),
    "Dead letters": ("DeadLetters",),
    "Entries and their IDs": ("Entry", "EntryId"),
    "Clients": ("patient",),
}
# What these give back, and what is beside them in their modules.
BESIDE = {
    "Work in a group": (
        "helpers.streams.consumer.settings.ConsumerSettings",
        "helpers.streams.consumer.Counts",
        "helpers.streams.group.GroupInfo",
        "helpers.streams.group.ConsumerInfo",
        "helpers.streams.group.PendingSummary",
        "helpers.streams.group.PendingEntry",
    ),
    "Dead letters": (
        "helpers.streams.consumer.DeadLetter",
        "helpers.streams.consumer.Replayed",
    ),
}
ERRORS = "helpers.streams.errors"
PACKAGES = {
    "helpers": "In every lesson",
    "helpers.course": "The course's server, connections and weather",
    "helpers.checks": "Labs",
    "helpers.partitions": "A stream a day",
    "helpers.averages": "Hourly means",
    "helpers.wiki": "An event pipeline",
    "helpers.cluster": "Streams over many nodes",
    "helpers.chaos": "Real failures",
    "helpers.bench": "Measurements",
    "helpers.views": "Figures and theatres",
}
CONTENTS = ("reference/streams", "reference/course")
OFTEN = 5  # an entry that more lessons use does not name them

Names = Mapping[str, Sequence[Page]]


def pages(those: Iterable[Page]) -> dict[str, str]:
    """The reference's pages, and what is in them."""
    used = uses(those)
    return {"reference/streams.rst": _streams(used), "reference/course.rst": _course(used)}


def uses(those: Iterable[Page]) -> dict[str, list[Page]]:
    """Each name of the reference that lessons or labs import, and which do."""
    found: dict[str, list[Page]] = {}
    for page in those:
        if page.kind in ("lesson", "lab"):
            for name in used_names(nbformat.read(page.file, as_version=4).cells):
                found.setdefault(name, []).append(page)
    return found


def used_names(cells: Sequence[Any]) -> list[str]:
    """What cells import from `helpers`, and use of its modules, as the reference calls it."""
    code = [c.source for c in cells if c.cell_type == "code" and not c.source.startswith("%%")]
    tree = ast.Module([line for source in code for line in _lines(source)], [])
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = {}
    for node in nodes:
        if str(node.module).partition(".")[0] == "helpers":
            for one in node.names:
                name = known_as(f"{node.module}.{one.name}")
                found[name] = one.name
                thing = _object(name)
                if inspect.ismodule(thing):
                    inside = [attr for attr in _attributes(tree, one.name) if hasattr(thing, attr)]
                    found |= {f"{name}.{attr}": attr for attr in inside}
    return list(found)


def _lines(source: str) -> list[ast.stmt]:
    """A cell's code; none of one that shows what is no Python."""
    with suppress(SyntaxError):
        return ast.parse(reading.without_magics(source)).body
    return []


def known_as(name: str) -> str:
    """What the reference calls something that a lesson imports.

    >>> known_as("helpers.Consumer"), known_as("helpers.connect")
    ('helpers.streams.Consumer', 'helpers.connect')
    """
    module, _, last = name.rpartition(".")
    if module == "helpers":
        thing = _object(name)
        if inspect.ismodule(thing):
            return thing.__name__
        if last in importlib.import_module(STREAMS).__all__:
            return f"{STREAMS}.{last}"
    return name


def used_by(page: Page, cells: Sequence[Any]) -> str:
    """What a lesson uses of the reference, as Markdown; nothing for other pages."""
    names = sorted(used_names(cells), key=_last) if page.kind == "lesson" else ()
    linked = [f"{{py:obj}}`{_last(name)} <{name}>`" for name in names]
    return f"**In the reference:** {', '.join(linked)}." if linked else ""


def link_mentions(cells: Iterable[Any]) -> None:
    """Let the first mention of each class in a lesson's prose lead to the reference."""
    there = list(cells)
    names = [name for name in used_names(there) if _last(name)[0].isupper()]
    for cell in there[1:]:
        if cell.cell_type == "markdown":
            for name in list(names):
                made = linked(cell.source, name)
                if made != cell.source:
                    cell.source = made
                    names.remove(name)


def linked(source: str, name: str) -> str:
    """Markdown in which the first mention of a name outside of headings leads to the reference.

    >>> linked("## `Reader`\\nA `Reader` reads. A `Reader`!", "helpers.streams.Reader")
    '## `Reader`\\nA {py:obj}`Reader <helpers.streams.Reader>` reads. A `Reader`!'
    """
    mention = rf"^(?!#)(.*?)(?<![\[`])`{re.escape(_last(name))}`(?![\]`])"
    link = rf"\1{{py:obj}}`{_last(name)} <{name}>`"
    return re.sub(mention, link, source, count=1, flags=re.MULTILINE)


def documented() -> list[str]:
    """What of `helpers.streams` has an entry, by its full name."""
    return [f"{STREAMS}.{name}" for names in SECTIONS.values() for name in names] + [
        name for names in BESIDE.values() for name in names
    ]


# ------------------------------------------------------------------ the two pages


def _streams(used: Names) -> str:
    known = {name: where for name, where in used.items() if name.startswith(f"{STREAMS}.")}
    lines = [
        *_title("helpers.streams"),
        "Producers, readers and consumers that survive lost connections, restarts and "
        "``kill -9``. This package needs redis-py and nothing else of the course. To use it in a "
        "project of your own, copy its folder.",
        "",
        *_heading("What each class promises"),
        *_promises(),
    ]
    there = set(documented())
    for title, names in SECTIONS.items():
        lines += _heading(title)
        for name in (*(f"{STREAMS}.{one}" for one in names), *BESIDE.get(title, ())):
            lines += _entry(name, used.get(name, ()))
    deeper = [n for n in known if n not in there and not n.startswith(ERRORS)]
    if deeper:
        lines += [*_heading("Deeper inside"), "What lessons show of the classes' insides.", ""]
        for name in sorted(deeper):
            lines += _entry(name, used[name])
    lines += [
        *_heading("Errors"),
        f".. automodule:: {ERRORS}",
        "   :members:",
        "   :no-inherited-members:",
        "",
    ]
    return "\n".join(lines)


def _promises() -> Iterator[str]:
    yield from (".. list-table::", "   :widths: 20 80", "   :header-rows: 1", "")
    yield from ("   * - class", "     - promise")
    for name in documented():
        promise = docstrings.promise(inspect.getdoc(_object(name)) or "")
        if promise:
            yield f"   * - :py:class:`{_last(name)} <{name}>`"
            yield f"     - {promise}"
    yield ""


def _course(used: Names) -> str:
    lines = [
        *_title("The rest of helpers"),
        "What lessons and labs import beside :doc:`helpers.streams <streams>`.",
        "",
    ]
    rest = sorted(name for name in used if not name.startswith(f"{STREAMS}."))
    for package, title in PACKAGES.items():
        those = [name for name in rest if _package(name) == package]
        if those:
            lines += [*_heading(title), f"From ``{package}``.", ""]
            for name in those:
                lines += _entry(name, used[name])
        if package == "helpers.checks":
            lines += _entry("helpers.checks.Lab", ())
    return "\n".join(lines)


def _package(name: str) -> str:
    parts = name.split(".")
    return (
        "helpers"
        if len(parts) == 2 and not inspect.ismodule(_object(name))
        else ".".join(parts[:2])
    )


def _entry(name: str, where: Sequence[Page]) -> Iterator[str]:
    thing = _object(name)
    if inspect.ismodule(thing):
        said = docstrings.first_sentence(thing.__doc__ or "")
        yield from (f".. py:module:: {name}", "", ".. py:currentmodule:: None", "")
        yield f"``{name}``: {said}"
    elif inspect.isclass(thing):
        yield from (f".. autoclass:: {name}", "   :members:")
    elif callable(thing):
        yield f".. autofunction:: {name}"
    else:
        yield f".. py:data:: {name}"
        yield f"   :type: {type(thing).__name__}"
    yield ""
    if said := _used_in(where):
        indent = "" if inspect.ismodule(thing) else "   "
        yield from (f"{indent}{said}", "")


def _used_in(where: Sequence[Page]) -> str:
    lessons = [page for page in where if page.kind == "lesson"]
    if len(lessons) > OFTEN:
        return "Used in nearly every lesson."
    those = lessons or [page for page in where if page.kind == "lab"][:OFTEN]
    links = [f":doc:`{p.kind} {p.file.name[:2]} </{p.name}>`" for p in those]
    return f"Used in {', '.join(links)}." if links else ""


def _title(words: str) -> list[str]:
    return [words, "=" * len(words), ""]


def _heading(words: str) -> list[str]:
    return [words, "-" * len(words), ""]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _attributes(tree: ast.AST, module: str) -> list[str]:
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    }
    return sorted(found)


@cache
def _object(name: str) -> Any:
    module, _, last = name.rpartition(".")
    if not module:
        return importlib.import_module(name)
    holder = _object(module)
    return getattr(holder, last) if hasattr(holder, last) else importlib.import_module(name)
