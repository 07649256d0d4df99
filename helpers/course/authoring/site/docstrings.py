"""This package's docstrings as reStructuredText: promises first, code as code, names as links."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Example|Examples|Note):$")
_SPAN = re.compile(r"`+[^`]+`+")
_ERROR = re.compile(r"(?<![\w.])([A-Z][a-z]\w*Error)\b")
_STAR = re.compile(r"(?<!\w)\*(?!\w+\*)|(?<=\s)\*(?=\s)|\*\*")  # one that is no emphasis
_PROMISE = "Promise"
_PROMISED = re.compile(r"^(Promise[^:]*:)")


def as_rst(lines: Sequence[str]) -> list[str]:
    """A docstring's lines, as Sphinx should read them.

    A paragraph that states a promise comes right after the first sentence. An indented block is
    code. What is in backticks is a name or code, and no other character marks anything up.
    """
    blocks = list(_blocks(lines))
    promises = [b for b in blocks[1:] if b[0].startswith(_PROMISE)]
    rest = [b for b in blocks[1:] if not b[0].startswith(_PROMISE)]
    found: list[str] = []
    within = ""
    for block in [*blocks[:1], *promises, *rest]:
        if match := _SECTION.match(block[0]):
            within = match[1]
        indented = block[0].startswith("    ") and not within
        if block[0].lstrip().startswith(">>>") or within.startswith("Example"):
            found += block
        elif indented:
            found += [f".. code-block:: {_language(block)}", "", *block]
        else:
            lines = [_escaped(line, errors=not within) for line in block]
            found += [_PROMISED.sub(r"**\1**", lines[0]), *lines[1:]]
        found.append("")
    return found


def promise(docstring: str) -> str:
    """The paragraph of a docstring that states a promise, in one line of reStructuredText."""
    for block in _blocks(docstring.splitlines()):
        if block[0].startswith(_PROMISE):
            words = " ".join(_escaped(line.strip()) for line in block)
            said = re.sub(r"^Promise(, )?:? ?", "", words)
            return said[:1].upper() + said[1:]
    return ""


def first_sentence(docstring: str) -> str:
    """A docstring's first line, as reStructuredText."""
    return _escaped(docstring.partition("\n")[0])


def _language(block: Sequence[str]) -> str:
    try:
        ast.parse(textwrap.dedent("\n".join(block)))
    except SyntaxError:
        return "text"
    return "python"


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Paragraphs and indented blocks; the blank lines inside of a block of code stay."""
    block: list[str] = []
    for line, after in pairwise([*lines, "", ""]):
        if line.strip():
            block.append(line)
        elif block and block[-1].startswith("    ") and after.startswith("    "):
            block.append("")
        elif block:
            yield block
            block = []


def _escaped(line: str, *, errors: bool = True) -> str:
    """A line in which only backticks, an error's name and emphasis mark something up."""
    kept, found = 0, ""
    for match in _SPAN.finditer(line):
        found += _plain(line[kept : match.start()], errors) + _code(match[0])
        kept = match.end()
    return found + _plain(line[kept:], errors)


def _plain(words: str, errors: bool) -> str:
    escaped = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", words).replace("|", "\\|")
    escaped = _STAR.sub(lambda match: "\\*" * len(match[0]), escaped)
    return _ERROR.sub(r":py:exc:`~.\1`", escaped) if errors else escaped


def _code(span: str) -> str:
    """A name becomes a link where there is something of that name; all else is code."""
    words = span.strip("`")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", words):
        return f"``{words}``"
    anywhere = "~." if words[0].isupper() and not words.isupper() else ""  # a class
    return f":py:obj:`{anywhere}{words}`"
