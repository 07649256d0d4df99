"""Number the mistakes that the checks name: python -m helpers.course.authoring.mistakes

The sentences are read from the checks' sources, without running them: for each exercise, those
of its check and of every function and table of the checks that it leads to.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from helpers.course.home import CHECKOUT

CHECKS = CHECKOUT / "helpers" / "checks"
FILE = CHECKS / "mistakes.json"
GENERAL, FIRST_GENERAL = "general", 901
ANY_EXERCISE = ("lab", "scene", "slips", "adapt", "work")  # modules that serve all of them
ALIKE = 0.75  # a sentence that is this much like a lost one is the same mistake in other words

_SENTENCE = re.compile(r"[A-Z0-9`'\"(…][^\n]*[.?!:…)]")
_NO_HINT = {"expected", "found", "instead"}  # what a verdict shows beside its hint

Numbered = dict[str, dict[int, str]]


class Top(NamedTuple):
    """What is at the top of a module: a function, a class, a table."""

    module: str
    name: str


def main() -> None:
    """Write the file."""
    FILE.write_text(rendered(), "utf-8")
    print(f"{FILE.relative_to(CHECKOUT)} written")


def rendered() -> str:
    """The file as it should be: what it has, and what is new in the checks."""
    now = sentences()
    numbers = {
        exercise: numbered(kept().get(exercise, {}), now[exercise], _first(exercise))
        for exercise in sorted(now)
    }
    return json.dumps(numbers, indent=1, ensure_ascii=False) + "\n"


def _first(exercise: str) -> int:
    return FIRST_GENERAL if exercise == GENERAL else 1


def kept() -> Numbered:
    """The numbers that are given already."""
    if not FILE.exists():
        return {}
    known: dict[str, dict[str, str]] = json.loads(FILE.read_text("utf-8"))
    return {one: {int(n): said for n, said in its.items()} for one, its in known.items()}


def numbered(before: Mapping[int, str], now: Iterable[str], first: int) -> dict[int, str]:
    """Sentences with their numbers; a number is never given to another mistake.

    A sentence that replaces one much like it takes over its number. What no check says any more
    keeps its number too, for other versions of the course.
    """
    found, new = dict(before), [said for said in now if said not in before.values()]
    lost = {said: number for number, said in before.items() if said not in set(now)}
    for said in new:
        like = difflib.get_close_matches(said, lost, n=1, cutoff=ALIKE)
        number = lost.pop(like[0]) if like else max(found, default=first - 1) + 1
        found[number] = said
    return dict(sorted(found.items()))


# ------------------------------------------------------------- reading the checks


def sentences() -> dict[str, list[str]]:
    """For each exercise, and for all of them, what the checks can say."""
    found = {GENERAL: _once(_general())}
    for module, node, number in _exercises():
        own = _hints(node.body, is_check=True)
        said = _once([*own, *(one for top in _reached(module, node) for one in _said(top))])
        found[f"{module[3:5]}.{number}"] = [one for one in said if one not in found[GENERAL]]
    return found


def titles() -> dict[str, str]:
    """The title of each exercise."""
    return {
        f"{module[3:5]}.{number}": ast.literal_eval(call.args[1])
        for module, node, number in _exercises()
        for call in node.decorator_list
        if isinstance(call, ast.Call) and _name(call.func) == "exercise"
    }


def _once(said: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(said))


def _general() -> Iterator[str]:
    """What a check can say about any answer: of `slips` every sentence, else what is `Wrong`."""
    for module in ANY_EXERCISE:
        for node in ast.walk(_module(module)):
            is_wrong = isinstance(node, ast.Call) and _name(node.func) == "Wrong"
            if is_wrong or node is _module("slips"):
                yield from _hints(ast.iter_child_nodes(node))


@cache
def _module(name: str) -> ast.Module:
    """A module of the checks, such as `lab03.spread`."""
    path = CHECKS / name.replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return ast.parse(file.read_text("utf-8") if file.exists() else "")


def _exercises() -> Iterator[tuple[str, ast.FunctionDef, int]]:
    """Each check: its module, its function, the number of its exercise."""
    for folder in sorted(CHECKS.glob("lab[0-9][0-9]")):
        for file in sorted(folder.glob("*.py")):
            module = f"{folder.name}.{file.stem}"
            for node in _module(module).body:
                for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                    if isinstance(call, ast.Call) and _name(call.func) == "exercise":
                        assert isinstance(node, ast.FunctionDef)
                        yield module, node, ast.literal_eval(call.args[0])


def _reached(module: str, check: ast.FunctionDef) -> dict[Top, None]:
    """What of the checks a check leads to by name, directly or not."""
    found: dict[Top, None] = {}
    waiting = [*_led_to(module, check.body)]
    while waiting:
        top = waiting.pop(0)
        if top not in found and top.module not in ANY_EXERCISE and top.name != "lab":
            found[top] = None
            waiting += _next(top)
    return found


@cache
def _next(top: Top) -> list[Top]:
    return _led_to(top.module, _tops(top.module).get(top.name, []))


@cache
def _said(top: Top) -> list[str]:
    return [*_hints(_tops(top.module).get(top.name, []))]


def _led_to(module: str, body: Iterable[ast.AST]) -> list[Top]:
    named = (_named(module, one) for statement in body for one in ast.walk(statement))
    return [*dict.fromkeys(top for top in named if top)]


@cache
def _tops(module: str) -> dict[str, list[ast.stmt]]:
    """The statements at the top of a module, by the names that they bind."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _module(module).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found[name] = node.body
            case ast.ClassDef(name=name):
                found[name] = [node]
            case ast.Assign(targets=targets):
                for target in targets:
                    for one in ast.walk(target):
                        if isinstance(one, ast.Name):
                            found[one.id] = [node]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = [node]
    return found


def _named(module: str, node: ast.AST) -> Top | None:
    """What of the checks a name, or a name of an imported module, stands for."""
    match node:
        case ast.Name(id=name):
            return _names(module).get(name)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            other = _names(module).get(owner)
            return Top(f"{other.module}.{other.name}".lstrip("."), name) if other else None
    return None


@cache
def _names(module: str) -> dict[str, Top]:
    """What a name in a module stands for, where that is something of the checks."""
    found = {name: Top(module, name) for name in _tops(module)}
    for node in _module(module).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("helpers.checks"):
            other = str(node.module).removeprefix("helpers.checks").removeprefix(".")
            found |= {one.asname or one.name: Top(other, one.name) for one in node.names}
    return found


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _hints(body: Iterable[ast.AST], is_check: bool = False) -> Iterator[str]:
    """The sentences in some statements that can be a hint.

    Args:
        body: the statements.
        is_check: whether they are a check, which returns what to say about a right answer.
    """
    for node in body:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Assert():
                continue  # a docstring
            case ast.Return() if is_check:
                continue
            case ast.Call() if _name(node.func) == "Trouble":
                continue
            case ast.keyword(arg=name) if name in _NO_HINT:
                continue
            case ast.Dict() if all(_reason(value) for value in node.values):
                yield from (f"{r[0].upper()}{r[1:]}." for r in map(_reason, node.values))
            case ast.Constant(value=str()) | ast.JoinedStr() | ast.BinOp(op=ast.Add()):
                said = _template(node)
                if _is_sentence(said):
                    yield said
                    continue
        yield from _hints(ast.iter_child_nodes(node), is_check and not _defines(node))


def _defines(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _template(node: ast.AST) -> str:
    """A string as it is in the source, with `…` for what is known only when it runs."""
    match node:
        case ast.Constant(value=str(said)):
            return said.replace("{0}", "…")
        case ast.JoinedStr(values=values):
            return re.sub("…+", "…", "".join(map(_template, values)))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return re.sub("…+", "…", _template(left) + _template(right))
    return "…"


def _is_sentence(said: str) -> bool:
    return bool(_SENTENCE.fullmatch(said)) and len(re.findall(r"\w{2,}", said)) >= 3


def _reason(node: ast.AST) -> str:
    """A reason for a prediction, which `expect_predicted` makes a sentence of; else nothing."""
    said = _template(node) if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) else ""
    if len(said.split()) < 4 or said.endswith((".", ":", "?")) or "\n" in said:
        return ""
    return said


if __name__ == "__main__":
    main()
