"""Links, headings, HTML and maths of Markdown: found; and links led elsewhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

_PARSER = MarkdownIt("commonmark").enable("table").use(front_matter_plugin).use(footnote_plugin)
_MATHS = MarkdownIt("commonmark").use(dollarmath_plugin, allow_space=False, allow_digits=False)
_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2`*~* *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def is_outside(target: str) -> bool:
    """Whether a link leads to another site, or starts a mail."""
    return re.match(r"\w[\w+.-]*:", target) is not None


@cache
def _tokens(source: str, parser: MarkdownIt = _PARSER) -> list[Token]:
    """Markdown taken apart: blocks, and what is in them."""
    blocks = parser.parse(source)
    return [one for block in blocks for one in (block, *(block.children or ()))]


def links(source: str) -> list[str]:
    """The targets of all links and pictures."""
    found = (one.attrs.get("href") or one.attrs.get("src") for one in _tokens(source))
    return [str(target) for target in found if target]


def pictures(source: str) -> list[tuple[str, str]]:
    """The alt text and the file of each picture."""
    return [(one.content, str(one.attrs["src"])) for one in _tokens(source) if one.type == "image"]


def headings(source: str) -> list[tuple[int, str]]:
    """The level and the words of each heading."""
    blocks = _PARSER.parse(source)
    return [
        (int(one.tag[1:]), "".join(part.content for part in inside.children or ()).strip())
        for one, inside in pairwise(blocks)
        if one.type == "heading_open"
    ]


def html(source: str) -> str:
    """Its HTML."""
    return "\n".join(one.content for one in _tokens(source) if one.type.startswith("html_"))


def maths(source: str) -> list[str]:
    """What a notebook shows as a formula."""
    tokens = _tokens(without_code(source), _MATHS)
    return [one.content for one in tokens if one.type.startswith("math_")]


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    words = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return words.replace(" ", "-")


def anchors(sources: Iterator[str]) -> set[str]:
    """The anchors of a document: a heading that comes again gets a number."""
    found: set[str] = set()
    for source in sources:
        for _, words in headings(source):
            one, number = anchor(words), 0
            while (name := f"{one}-{number}" if number else one) in found:
                number += 1
            found.add(name)
    return found


def relinked(source: str, folder: str, lead: Callable[[str], str | None]) -> str:
    """Markdown whose links inside the checkout lead where they should.

    Args:
        source: the Markdown.
        folder: where its file is, in the checkout.
        lead: gives the new target for a path in the checkout, the old one where it may stay, or
            None where there is nothing to lead to: then the link's words stay alone.
    """
    code = [match.span() for match in (*_FENCED.finditer(source), *_CODE.finditer(source))]

    def one(match: re.Match[str]) -> str:
        target = match[3]
        inside_code = any(a <= match.start() < b for a, b in code)
        if inside_code or match[1] or is_outside(target) or target.startswith("#"):
            return match[0]
        path, hash_, place = target.partition("#")
        full = posixpath.normpath(posixpath.join(folder, path))
        to = lead(full)
        if to == full:
            return match[0]
        return match[2] if to is None else f"[{match[2]}]({to}{hash_}{place})"

    return _LINK.sub(one, source)


def without_code(source: str) -> str:
    """Markdown without its pieces of code."""
    return _CODE.sub("", _FENCED.sub("", source))
