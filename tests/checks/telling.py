"""The mistakes that come: for the instructor's book, from the answers that the checks are tried on.

    python -m tests.checks.telling          writes them into teaching/lessons.md
    python -m tests.checks.telling 03       lists those of a lab, the most frequent first

In the book, `<!-- mistakes 03.2#4 03.4#1 -->` names exercises and numbers of the catalogue. Below
it stand a wrong answer, in short, and what its check says about it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
import sys
from functools import cache
from textwrap import dedent
from typing import NamedTuple

from helpers.checks.mistakes import catalogue
from helpers.course.authoring.mistakes import FIRST_GENERAL, titles
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from tests.checks.answers import Case

BOOK = CHECKOUT / "teaching" / "lessons.md"

_BLOCK = re.compile(r"(<!-- mistakes ([^>]*?) -->\n).*?(<!-- /mistakes -->)", re.DOTALL)
_ASIDE = re.compile(r"\s*(from|import|def|async def)\b")  # lines that don't make an answer wrong


class Seen(NamedTuple):
    """A mistake, and the answers that may make it."""

    name: str
    sentence: str
    cases: tuple[Case, ...]


def main() -> None:
    """Write the book's mistakes, or list those of a lab."""
    if labs := sys.argv[1:]:
        for one in (one for lab in labs for one in seen(lab)):
            print(f"{one.name} ({len(one.cases)}) {one.sentence}\n    {telling(one)[1]}")
    else:
        BOOK.write_text(stated(BOOK.read_text("utf-8")), "utf-8")


def stated(book: str) -> str:
    """The book with the mistakes where its marks stand.

    Raises:
        CourseError: a mark names a mistake that no answer makes.
    """
    return _BLOCK.sub(lambda match: f"{match[1]}\n{_table(match[2].split())}\n\n{match[3]}", book)


def named(book: str) -> list[str]:
    """The mistakes that the book has."""
    return [name for match in _BLOCK.finditer(book) for name in match[2].split()]


def mistake(name: str) -> Seen:
    """A mistake by its name, such as `03.2#4`.

    Raises:
        CourseError: no answer makes it.
    """
    for one in seen(name[:2]):
        if one.name == name:
            return one
    raise CourseError(
        f"No answer of the tests makes the mistake {name}: "
        f"`python -m tests.checks.telling {name[:2]}` lists those of its lab."
    )


def _table(names: list[str]) -> str:
    rows = ["| exercise | they write | what helps |", "|---|---|---|"]
    for one in map(mistake, names):
        exercise = one.name.partition("#")[0]
        cells = (f"{exercise} {titles()[exercise]}", telling(one)[1], one.sentence.rstrip("…"))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


@cache
def seen(lab: str) -> list[Seen]:
    """The mistakes of a lab that the tests' answers make, the most frequent first."""
    found = []
    for exercise, sentences in catalogue().items():
        wrong = [one for one in _cases(lab, "WRONG") if f"{lab}.{one.exercise}" == exercise]
        for number, sentence in sentences.items():
            those = [one for one in wrong if one.says.lower() in sentence.lower()]
            if those and number < FIRST_GENERAL:
                found.append(Seen(f"{exercise}#{number}", sentence, tuple(those)))
    return sorted(found, key=lambda one: -len(one.cases))


@cache
def _cases(lab: str, kind: str) -> list[Case]:
    module = importlib.import_module(f"tests.checks.test_lab{lab}")
    return list(getattr(module, f"{kind}_CASES", None) or getattr(module, kind))


@cache
def telling(one: Seen) -> tuple[Case, str]:
    """The wrong answer that differs least from a right one, and in what."""
    lab, exercise = one.name[:2], one.cases[0].exercise
    right = [case for case in _cases(lab, "RIGHT") if case.exercise == exercise]
    differences = [
        (case, difference)
        for case in one.cases
        for good in right
        if (difference := _difference(_lines(case.source), _lines(good.source)))
    ]
    return min(differences, key=lambda found: len(found[1]))


def _lines(source: str) -> list[str]:
    lines = [re.sub(r"\bpass\b", "", line).strip() for line in dedent(source).splitlines()]
    return [line for line in lines if line and not _ASIDE.match(line)]


def _difference(wrong: list[str], right: list[str]) -> str:
    """What of a wrong answer isn't in a right one; where that is nothing, what it lacks."""
    if (theirs := _predicted(wrong)) and (ours := _predicted(right)):
        others = [f"`{key!r}: {said!r}`" for key, said in theirs.items() if ours.get(key) != said]
        return " ".join(others)
    changes = difflib.SequenceMatcher(None, right, wrong, autojunk=False).get_opcodes()
    if added := [line for kind, _, _, a, b in changes if kind != "equal" for line in wrong[a:b]]:
        return " ".join(f"`{line}`" for line in added)
    gone = [line for kind, a, b, _, _ in changes if kind != "equal" for line in right[a:b]]
    return "without " + " ".join(f"`{line}`" for line in gone) if gone else ""


def _predicted(lines: list[str]) -> dict[str, object]:
    """The predictions of an answer that is a dict of them."""
    if not re.match(r"\w+ = \{", "".join(lines)):
        return {}
    try:
        found = ast.literal_eval("".join(lines).partition("=")[2].strip())
    except (SyntaxError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    main()
