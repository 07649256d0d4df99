"""The feed of changes: CHANGES.md as Atom, an entry for each version."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from helpers.course.authoring.site import prose

FEED = "changes.xml"
TITLE = "Redis Streams, hands on: changes"
ATOM = "http://www.w3.org/2005/Atom"
_VERSION = re.compile(r"^## (\S+), (\d{4}-\d\d-\d\d)$", re.MULTILINE)


@dataclass(frozen=True)
class Version:
    """What changed in a version."""

    name: str
    date: str
    text: str

    @property
    def anchor(self) -> str:
        """Where CHANGES has it."""
        return prose.anchor(f"{self.name}, {self.date}")


def versions(text: str) -> list[Version]:
    """The versions that CHANGES.md names, as in `## 0.1.0, 2026-11-27`."""
    found = list(_VERSION.finditer(text))
    ends = [*[match.start() for match in found], len(text)][1:]
    return [
        Version(match[1], match[2], text[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    ]


def feed(those: list[Version], url: str) -> str:
    """An Atom feed of versions, the newest first.

    Args:
        those: the versions.
        url: the site's address, if it is known; else links are relative to the feed.
    """
    root = f"{url.rstrip('/')}/" if url else ""
    top = ET.Element("feed", xmlns=ATOM)
    _add(top, "title", TITLE)
    _add(top, "id", root or "urn:redis-streams-course:changes")
    _add(top, "updated", f"{those[0].date}T00:00:00Z")
    ET.SubElement(_add(top, "author"), "name").text = "The authors of Redis Streams, hands on"
    ET.SubElement(top, "link", rel="self", href=f"{root}{FEED}")
    ET.SubElement(top, "link", href=f"{root}CHANGES.html")
    for one in those:
        entry = _add(top, "entry")
        _add(entry, "title", one.name)
        _add(entry, "id", f"urn:redis-streams-course:{one.name}")
        _add(entry, "updated", f"{one.date}T00:00:00Z")
        ET.SubElement(entry, "link", href=f"{root}CHANGES.html#{one.anchor}")
        _add(entry, "content", one.text)
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def write_feed(checkout: Path, output: Path, url: str) -> None:
    """Write the feed into a site."""
    those = versions((checkout / "CHANGES.md").read_text())
    (output / FEED).write_text(feed(those, url))


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = text
    return element
