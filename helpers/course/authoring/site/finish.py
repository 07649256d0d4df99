"""Finish the pages that Sphinx wrote, where it or the theme leaves something to be desired.

* A table without a head, as lessons open with, has none; an empty corner is no heading.
* Each landmark has a name, the search page a heading, and no list is right inside of another.
* A page of source code leads back to the reference: Sphinx's viewcode assumes one name for all
  that a module defines, but this reference calls things as a reader imports them.
* A picture states its size, so that nothing moves when it arrives, and waits until it is near.
* A page says what it is about to those who search.
* The page for a missing address finds its styles, at whatever address it is shown.
"""

from __future__ import annotations

import re
import struct
from functools import cache, partial
from pathlib import Path
from urllib.parse import urlsplit

_BACK = re.compile(r'<a class="viewcode-back" href="(?P<page>[^"#]*)#(?P<name>[^"]*)">.*?</a>')
_PICTURE = re.compile(r'<img (?P<rest>[^>]*?src="(?P<file>[^":]+\.png)"[^>]*?)(?= ?/?>)')
_FIRST = re.compile(r'<article role="main".*?<p>(.*?)</p>', re.DOTALL)
_ID = re.compile(r'<dt [^>]*\bid="([^"]+)"')
_NO_HEAD = re.compile(
    r"<thead>\s*<tr[^>]*>(?:\s*<th class=\"head[^\"]*\">(?:<p></p>)?</th>)+\s*</tr>\s*</thead>"
)
_NO_WORDS = re.compile(r"<th class=\"head[^\"]*\">(?:<p></p>)?</th>")
REPLACED = {
    "</li>\n<ul><li>": "</li>\n<li>",  # a list may not be in a list, but in its item
    "</ul><li>": "<li>",
    '<p class="caption" role="heading">': '<p class="caption">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="The course">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="None">',
    '<div id="search-results"></div>': '<h1>Search</h1>\n<div id="search-results"></div>',
}


def root_of(url: str) -> str:
    """The path of a site on its host.

    >>> root_of("https://example.org/course"), root_of("")
    ('/course/', '/')
    """
    return f"{urlsplit(url).path.rstrip('/')}/"


def finish(output: Path, url: str) -> None:
    """Finish all pages of a site.

    Args:
        output: its folder.
        url: the address at which it will be; empty for the root of a host.
    """
    for file in output.rglob("*.html"):
        text = _NO_WORDS.sub("<td></td>", _NO_HEAD.sub("", file.read_text()))
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        text = _PICTURE.sub(partial(_sized, folder=file.parent), text)
        text = described(text)
        if output / "_modules" in file.parents:
            text = _BACK.sub(partial(_led_back, folder=file.parent), text)
        if file == output / "404.html":
            text = from_anywhere(text, url)
        file.write_text(text)
    _ids.cache_clear()


def _led_back(match: re.Match[str], folder: Path) -> str:
    """The link from code to its entry, with the right name; nothing if there is no entry."""
    known, name = _ids((folder / match["page"]).resolve()), match["name"]
    if name in known:
        return match[0]
    for start in range(name.count(".")):  # from the longest end to the shortest
        end = "." + name.split(".", start + 1)[-1]
        those = [one for one in known if one.endswith(end)]
        if len(those) == 1:
            return match[0].replace(f"#{name}", f"#{those[0]}")
    return ""


def _sized(match: re.Match[str], folder: Path) -> str:
    """The tag of a picture with its width and height, which stand at one place in each PNG."""
    head = (folder / match["file"]).read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:24])
    return f'<img width="{width}" height="{height}" loading="lazy" {match["rest"]}'


def described(text: str) -> str:
    """A page that says in its head, for those who search, what its first paragraph says.

    >>> described('</head><article role="main"><p>A <b>stream</b>.</p>').partition(">")[0]
    '<meta name="description" content="A stream."'
    """
    found = _FIRST.search(text)
    words = " ".join(re.sub(r"<[^>]+>", "", found[1]).split()) if found else ""
    meta = f'<meta name="description" content="{words.replace(chr(34), "&quot;")}">'
    return text.replace("</head>", f"{meta}</head>", 1) if words else text


@cache
def _ids(page: Path) -> list[str]:
    return _ID.findall(page.read_text())


def from_anywhere(text: str, url: str) -> str:
    """A page whose links lead from any address to where they would from the site's root.

    >>> from_anywhere('<a href="index.html">, <a href="#top">', "https://example.org/course")
    '<a href="/course/index.html">, <a href="#top">'
    """
    root = root_of(url)
    text = re.sub(r'\b(href|src)="(?![a-z]+:|#|/)', rf'\1="{root}', text)
    return text.replace('data-content_root="./"', f'data-content_root="{root}"')
