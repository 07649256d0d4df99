"""What a check says: right or wrong, what it expected, what it found, and a hint that fits."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["right", "wrong", "blank", "trouble"]

_SIGN = {"right": "✓", "wrong": "✗", "blank": "○", "trouble": "!"}
_NOTHING = object()
_COLOUR = {"right": "#009e73", "wrong": "#d55e00", "blank": "#56b4e9", "trouble": "#cc79a7"}


class Wrong(Exception):
    """Raised by a check: the answer is not right yet.

    Args:
        hint: the sentence that helps with this very mistake.
        expected: what a right answer gives, in words or as a value.
        found: what this one gave, or what is on the server, in words or as a value.
        instead: the same, but always as a value, also where it is a text.
    """

    def __init__(
        self, hint: str, *, expected: object = "", found: object = "", instead: object = _NOTHING
    ) -> None:
        super().__init__(hint)
        self.hint = hint
        self.expected = expected if isinstance(expected, str) else repr(expected)
        self.found = found if isinstance(found, str) else repr(found)
        if instead is not _NOTHING:
            self.found = repr(instead)


class StillBlank(Exception):
    """Raised by a check: there is no answer yet."""


class Trouble(Exception):
    """Raised by a check: it could not do its work, and the answer is not to blame."""


@dataclass(frozen=True)
class Verdict:
    """The result of one check, for a notebook (HTML) and for a terminal or nbval (text)."""

    outcome: Outcome
    heading: str
    lines: tuple[tuple[str, str], ...]  # a label, such as "Hint", and its sentence
    footer: str = ""

    def __repr__(self) -> str:
        lines = [_line(label, text) for label, text in self.lines]
        body = [*lines, *([self.footer] if self.footer else [])]
        return "\n".join([f"{_SIGN[self.outcome]} {self.heading}", *(f"  {line}" for line in body)])

    def _repr_html_(self) -> str:
        rows = "".join(_row(label, text) for label, text in self.lines)
        footer = f"<div style='opacity:.7;margin-top:6px'>{_code(self.footer)}</div>"
        return (
            f"<div style='border-left:5px solid {_COLOUR[self.outcome]};padding:6px 14px;"
            "margin:4px 0;font-size:14px;line-height:1.5'>"
            f"<div style='font-size:15px;margin-bottom:4px'><b>{_SIGN[self.outcome]}&nbsp; "
            f"{_code(self.heading)}</b></div>"
            f"<div style='display:grid;grid-template-columns:max-content 1fr;gap:2px 14px'>{rows}"
            f"</div>{footer if self.footer else ''}</div>"
        )


def _line(label: str, text: str) -> str:
    return f"{label}: {text}" if label.isalpha() else f"{label} {text}".lstrip()


def _row(label: str, text: str) -> str:
    if not label:
        return f"<span style='grid-column:1/3'>{_code(text)}</span>"
    return f"<b>{html.escape(label)}</b><span>{_code(text)}</span>"


def _code(text: str) -> str:
    """Escape a text for HTML, and set what stands between backquotes as code."""
    parts = html.escape(text).split("`")
    inside = [f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts)]
    return "".join(inside) if len(parts) % 2 else html.escape(text)
