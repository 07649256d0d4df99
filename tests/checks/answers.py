"""What learners answer, run as a notebook would: functions belong to `__main__`."""

from __future__ import annotations

import ast
import linecache
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import helpers.checks
from helpers.checks.mistakes import number_of
from helpers.checks.verdict import Verdict
from helpers.course.blank import BLANK

_numbers = count()


class Case(NamedTuple):
    """An answer to an exercise, as source, and a part of the sentence that it must draw."""

    exercise: int
    says: str
    source: str


RIGHT_AT_LEAST = 1  # answers to an exercise, of those that every `make test` gives
WRONG_AT_LEAST = 1
CHECKS = Path(helpers.checks.__file__).parent


@cache
def hints(lab: str) -> list[tuple[str, bool]]:
    """What the checks of a lab can say, in small letters, and whether those of others say it too.

    They are the strings of their sources, as Python joins them.
    """
    found = []
    for file in (*(CHECKS / f"lab{lab}").glob("*.py"), *CHECKS.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((node.value.lower(), file.stem in GENERAL))
    return found


GENERAL = ("lab", "scene", "slips", "verdict")  # tests/checks/test_frame.py is about them


def _alike(lab: str, case: Case) -> tuple[int, str]:
    """What two answers have in common of which one is enough: the exercise, and the whole hint."""
    says = case.says.lower()
    for hint, general in hints(lab) if lab and says else ():
        if says in hint:
            return (0 if general else case.exercise), hint
    return case.exercise, says


def like_others(cases: Sequence[Case], at_least: int, lab: str = "") -> list[Case]:
    """The answers that `make test` leaves for `make test-all`: others draw the same hint.

    For each exercise the first answer for each hint stays, and as many as are asked for; so does
    what is no function, for to check that costs next to nothing.
    """
    keys = [_alike(lab, case) for case in cases]
    number = Counter(exercise for exercise, _ in set(keys))
    left, seen = [], set()
    for key, case in zip(keys, cases, strict=True):
        if key not in seen or "def " not in case.source:
            seen.add(key)
        elif number[case.exercise] < at_least:
            number[case.exercise] += 1
        else:
            left.append(case)
    return left


WRITTEN = Path(__file__).parent / "written"


def written(lab: str, kind: str) -> list[Case]:
    """The answers to a lab that stand in a file, as learners have written them.

    Args:
        lab: its number, such as `01`.
        kind: `right` or `wrong`.
    """
    cases = []
    parts = re.split(
        r"^== (\d) (right|wrong)(?:: (.*))?\n", (WRITTEN / f"{lab}.txt").read_text(), flags=re.M
    )
    for exercise, which, says, source in zip(*(parts[n::4] for n in range(1, 5)), strict=True):
        if which == kind:
            cases.append(Case(int(exercise), says or "", source))
    return cases


def too_few(lab: str, right: Sequence[Case], wrong: Sequence[Case]) -> list[int]:
    """The exercises of a lab that have not enough answers.

    Where code is asked for, six right ones in different styles, and eight wrong ones.
    """
    counts = [Counter(case.exercise for case in cases) for cases in (right, wrong)]
    return [
        number
        for number, exercise in helpers.checks.open_lab(lab).exercises.items()
        if counts[1][number]
        and any(
            count[number] < (enough if exercise.calls else 1)
            for count, enough in zip(counts, (6, 8), strict=True)
        )
    ]


def mistake(lab: str, case: Case, verdict: Verdict) -> int:
    """The number of the mistake that a verdict names, which the class board counts; 0 if none."""
    return number_of(f"{lab}.{case.exercise}", dict(verdict.lines)["Hint"])


def _bound(source: str) -> str:
    """The name that a cell binds last: that is the answer, if none is called so."""
    names: list[str] = []
    statements = [*ast.parse(source).body]
    while statements:
        match statements.pop(0):
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.append(name)
            case ast.With(body=body):
                statements[:0] = body
    return "answer" if "answer" in names or not names else names[-1]


def answer(source: str, **known: Any) -> Any:
    """Run a cell, and give what it binds as `answer`, or last."""
    source = dedent(source)
    file = f"<cell {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "__main__", "____": BLANK, **known}
    exec(compile(source, file, "exec"), namespace)
    return namespace[_bound(source)]


def function(signature: str, body: str) -> str:
    """The source of a cell that defines a function as the answer."""
    lines = "\n".join(f"    {line}" for line in dedent(body).strip().splitlines())
    return f"{signature}:\n{lines}\n"
