"""A lab asks for no name that was not shown: in its lesson, in one before, or in the lab's text."""

from __future__ import annotations

import ast
import builtins
import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.checks import LABS

ROOT = Path(__file__).parents[2]
BASICS = {name for kind in (str, list, dict, set, int) for name in dir(kind)} | {*dir(builtins)}
ANSWER = re.compile(r"### BEGIN SOLUTION\n(.*?)\n *### BLANK", re.S)


def cells(path: Path) -> list[str]:
    notebook = json.loads(path.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def asked(source: str) -> set[str]:
    """The methods, options, imports and commands that an answer uses."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.ImportFrom(names=many) | ast.Import(names=many):
                names |= {one.name for one in many}
            case ast.Constant(value=str(text)) if "redis.call" in text:
                names |= {*re.findall(r"redis\.call\('(\w+)'", text)}
                names |= {word for word in ("unpack", "#ARGV", "#left") if word in text}
    return names - BASICS


def parsed(answer: str) -> str:
    """An answer that is the inside of a function or a dict as a program of its own."""
    text = dedent(answer)
    for whole in (text, f"x = {{\n{text}\n}}", f"def f():\n{indented(text)}"):
        try:
            ast.parse(whole)
        except SyntaxError:
            continue
        return whole
    raise AssertionError(f"cannot be parsed:\n{answer}")


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


@pytest.mark.once
@pytest.mark.parametrize("lab", LABS[1:])
def test_every_name_that_an_answer_needs_was_shown(lab):
    [solution] = (ROOT / "solutions").glob(f"{lab}_*.ipynb")
    lessons = [
        path for path in sorted((ROOT / "notebooks").glob("0*.ipynb")) if path.name[:2] <= lab
    ]
    shown = cells(ROOT / "labs" / solution.name)
    for lesson in lessons:
        shown += cells(lesson)
    words = {*re.findall(r"\w+", "\n".join(shown))}
    answers = [one for cell in cells(solution) for one in ANSWER.findall(cell)]
    assert answers
    missing = set()
    for answer in answers:
        missing |= {name for name in asked(parsed(answer)) if name.strip("#") not in words}
    assert not missing
