"""What a lesson and a lab are made of: parts, predictions and their answers, exercises.

A lesson's core is everything but the part from the heading `## Going deeper` up to `## Summary`.
A prediction is asked for by `**Predict**`, `**Think**` or `**Which one is missing**` in bold; its
answer is what the next cells print. A widget isn't folded, because the reader is to move it.
An exercise of a lab begins with its heading and a line that says its level and the part it needs,
for example `*must · 4 minutes · core*`. The minutes are written by `make times`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from nbformat.v4 import new_markdown_cell
from redis import Redis

from helpers.course.authoring.labs import BEGIN, BLANK, END

Part = Literal["core", "deeper"]
Level = Literal["must", "should", "stretch"]

GOING_DEEPER, SUMMARY = "## Going deeper", "## Summary"
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}

_QUESTION = re.compile(r"\*\*(predict|think|which one is missing)\b", re.IGNORECASE)
_HEADING = re.compile(r"^#{2,3} .*$", re.MULTILINE)
_EXERCISE = re.compile(r"^## (\d+) · ")
_LEVEL = re.compile(
    r"^\*(?P<level>must|should|stretch)(?: · (?P<minutes>\d+) minutes)? · (?P<part>core|deeper)\*$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Exercise:
    """An exercise of a lab, as its solution has it.

    Attributes:
        number: its number.
        level: None if its heading isn't followed by a level.
        part: the part of the lesson that it needs; None without a level.
        answer: the lines of code that answer it, without comments and blank lines.
        stated: the minutes that its level states, if it does.
        cells: its cells, the check included.
    """

    number: int
    level: Level | None
    part: Part | None
    answer: tuple[str, ...]
    stated: int | None
    cells: tuple[Any, ...]


def tags(cell: Any) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def prose(cell: Any) -> str:
    """The words of a Markdown cell, without links' targets, comments and blocks of code."""
    text = re.sub(r"```.*?```|~~~.*?~~~", " ", cell.source, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<[^>\n]+>", " ", text, flags=re.DOTALL)
    return re.sub(r"(!?\[[^\]]*\])\([^)]*\)", r"\1", text)


def in_pieces(cells: Sequence[Any]) -> list[Any]:
    """The cells, with a Markdown cell that has several headings split before each of them."""
    return [piece for cell in cells for piece in split(cell)]


def split(cell: Any) -> list[Any]:
    """A cell as one piece for each heading; the first keeps the cell's identity."""
    if cell.cell_type != "markdown":
        return [cell]
    starts = [match.start() for match in _HEADING.finditer(cell.source) if match.start()]
    bounds = [0, *starts, len(cell.source)]
    texts = [cell.source[a:b].strip() for a, b in pairwise(bounds)]
    return [cell] if len(texts) == 1 else [new_markdown_cell(text) for text in texts]


def heading(cell: Any) -> str:
    """The heading that a Markdown cell begins with, without its number signs; else nothing."""
    first = cell.source.partition("\n")[0]
    return first.lstrip("#").strip() if _HEADING.match(first) else ""


def parts(cells: Sequence[Any], cut: str = "") -> list[Part]:
    """To which part each cell belongs.

    Args:
        cells: of the lesson.
        cut: the heading at which the deeper part would begin, in a lesson without `Going deeper`.
    """
    cut = GOING_DEEPER.lstrip("# ") if has_deeper_part(cells) else cut
    found: list[Part] = []
    part: Part = "core"
    for cell in cells:
        title = heading(cell) if cell.cell_type == "markdown" else ""
        if title and title == cut:
            part = "deeper"
        elif title == SUMMARY.lstrip("# "):
            part = "core"
        found.append(part)
    return found


def has_deeper_part(cells: Sequence[Any]) -> bool:
    """Whether a lesson says where its deeper part begins."""
    return any(_begins_with(cell, GOING_DEEPER) for cell in cells)


def _begins_with(cell: Any, line: str) -> bool:
    return cell.cell_type == "markdown" and bool(cell.source.partition("\n")[0] == line)


def predictions(cell: Any) -> int:
    """How often a cell asks for a prediction."""
    return len(_QUESTION.findall(cell.source)) if cell.cell_type == "markdown" else 0


def answers(cells: Sequence[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Each cell that asks for a prediction, and the cells whose output answers it.

    These are the next ones that print, up to the next prose or, if none did yet, the next heading.
    """
    for number, cell in enumerate(cells):
        if predictions(cell):
            yield cell, _printing(cells[number + 1 :])


def _printing(cells: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for cell in cells:
        if cell.cell_type == "code":
            found += [cell] if cell.outputs else []
        elif found or heading(cell):
            break
    return found


def has_widget(cell: Any) -> bool:
    """Whether a cell shows a widget, which is neither folded nor compared."""
    return any("widget-view" in kind for output in cell.outputs for kind in output.get("data", ()))


def is_compared(cell: Any) -> bool:
    """Whether nbval compares what a cell prints, or an assertion in it holds what it shows."""
    return not tags(cell) & NOT_COMPARED or "assert " in cell.source


def names_of_helpers(cells: Sequence[Any]) -> set[str]:
    """What the cells import from `helpers`."""
    found = set()
    for cell in cells:
        if cell.cell_type == "code" and not cell.source.startswith("%%"):
            for node in ast.walk(ast.parse(without_magics(cell.source))):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("helpers"):
                    found |= {name.name for name in node.names}
                elif isinstance(node, ast.Import):
                    found |= {n.name for n in node.names if n.name.startswith("helpers")}
    return found


def without_magics(source: str) -> str:
    """A cell's Python, with its `%` lines left out."""
    return re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE)


def exercises(cells: Sequence[Any]) -> list[Exercise]:
    """The exercises of a solution."""
    begins = [i for i, cell in enumerate(cells) if _number(cell)]
    return [_exercise(cells[a:b]) for a, b in pairwise([*begins, len(cells)])]


def _number(cell: Any) -> int:
    match = _EXERCISE.match(cell.source) if cell.cell_type == "markdown" else None
    return int(match[1]) if match else 0


def is_exercise(cell: Any) -> bool:
    """Whether an exercise of a lab begins with this cell."""
    return _number(cell) > 0


def _exercise(cells: Sequence[Any]) -> Exercise:
    last = max(i for i, c in enumerate(cells) if i == 0 or c.source.startswith("lab.check("))
    mine = tuple(cells[: last + 1])
    match = _LEVEL.search(mine[0].source)
    return Exercise(
        number=_number(mine[0]),
        level=match["level"] if match else None,  # type: ignore[arg-type]
        part=match["part"] if match else None,  # type: ignore[arg-type]
        answer=tuple(
            line for cell in mine if cell.cell_type == "code" for line in answer(cell.source)
        ),
        stated=int(match["minutes"]) if match and match["minutes"] else None,
        cells=mine,
    )


def answer(source: str) -> list[str]:
    """The lines of code that answer an exercise, without comments and blank lines."""
    pattern = rf"{BEGIN}\n(.*?){BLANK}.*?{END}"
    lines = "\n".join(re.findall(pattern, source, re.DOTALL)).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def commands(exercise: Exercise) -> set[str]:
    """The methods of redis-py's client that its answer calls, and the options given to them."""
    sources = [cell.source for cell in exercise.cells if cell.cell_type == "code"]
    found = set()
    for node in ast.walk(ast.parse("\n".join(sources))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if hasattr(Redis, node.func.attr):
            found |= {node.func.attr, *(key.arg for key in node.keywords if key.arg)}
    return found


def shown(cells: Sequence[Any]) -> set[str]:
    """Every word of some cells, in small letters: what they have shown."""
    return {word.lower() for cell in cells for word in re.findall(r"\w+", cell.source)}


def with_minutes(source: str, minutes: int) -> str:
    """An exercise's text, its level stating these minutes."""
    return _LEVEL.sub(rf"*\g<level> · {minutes} minutes · \g<part>*", source, count=1)
