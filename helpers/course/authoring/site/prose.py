"""Links and headings of Markdown: found, and led elsewhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2`*~* *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_BARE = re.compile(r"<(https?://[^>\s]+)>")
_HEADING = re.compile(r"^(#{1,6}) +(.+?)#*$", re.MULTILINE)


def is_outside(target: str) -> bool:
    """Whether a link leads to another site, or starts a mail."""
    return re.match(r"\w[\w+.-]*:", target) is not None


def links(source: str) -> list[str]:
    """The targets of all links and pictures."""
    plain = without_code(source)
    return [match[3] for match in _LINK.finditer(plain)] + _BARE.findall(plain)


def pictures(source: str) -> list[tuple[str, str]]:
    """The alt text and the file of each picture."""
    return [(match[2], match[3]) for match in _LINK.finditer(without_code(source)) if match[1]]


def headings(source: str) -> list[tuple[int, str]]:
    """The level and the words of each heading."""
    plain = _FENCED.sub("", source)
    return [(len(match[1]), match[2].strip()) for match in _HEADING.finditer(plain)]


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
