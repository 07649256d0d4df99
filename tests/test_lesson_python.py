"""What the lessons ask of a reader: explained Python, and labs that need only what was shown."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import redis

from helpers.course.home import CHECKOUT

pytestmark = pytest.mark.once

NOTEBOOKS = CHECKOUT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((CHECKOUT / "solutions").glob("*.ipynb"))
PAGE = NOTEBOOKS / "python.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]


def cells(file: Path) -> list[Any]:
    return list(nbformat.read(file, as_version=4).cells)


def parsed(source: str) -> ast.Module:
    """A code cell without its magics."""
    if source.startswith("%%"):
        return ast.parse("")
    return ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))


def anchor(title: str) -> str:
    """As GitHub makes it from a heading, and JupyterLab too if there are no capitals."""
    assert title == title.lower()
    return title.replace(" ", "-")


# ------------------------------------------------------------------ a reader's pace


def left_waiting(file: Path) -> Iterator[tuple[str, int]]:
    """What tasks that outlive their cell wait for at most: functions of the lesson, and ms."""
    trees = [parsed(one.source) for one in cells(file) if one.cell_type == "code"]
    functions = {one.name: one for tree in trees for one in tree.body
                 if isinstance(one, ast.AsyncFunctionDef)}  # fmt: skip
    for tree in trees:
        awaited = {ast.unparse(one.value) for one in ast.walk(tree) if isinstance(one, ast.Await)}
        for node in [one for one in ast.walk(tree) if isinstance(one, ast.Assign)]:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=True))
            for name, made in pairs:
                if not isinstance(made, ast.Call) or not called("create_task")(made):
                    continue
                coroutine = made.args[0]
                if ast.unparse(name) in awaited or not isinstance(coroutine, ast.Call):
                    continue
                code = functions.get(ast.unparse(coroutine.func), coroutine)
                for word in [one for one in ast.walk(code) if isinstance(one, ast.keyword)]:
                    if word.arg == "block":
                        yield ast.unparse(name), ast.literal_eval(word.value)


def test_what_waits_for_a_later_cell_waits_as_long_as_a_reader_thinks():
    """A class that votes for a minute before the next cell must not find that it timed out."""
    found = [(one.name[:2], *waits) for one in LESSONS for waits in left_waiting(one)]
    assert ("03", "alice", 0) in found
    assert {ms for *_, ms in found} == {0}


# ------------------------------------------------------------------ Python beyond the basics


def called(*names: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names)


def has_stars(node: ast.AST) -> bool:
    if isinstance(node, ast.arguments):
        return bool(node.vararg or node.kwarg)
    if isinstance(node, ast.Dict):
        return None in node.keys
    return isinstance(node, ast.Starred) or (isinstance(node, ast.keyword) and node.arg is None)


def takes_apart(node: ast.AST) -> bool:
    return isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store)


def of(*kinds: type[ast.AST]) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, kinds)


EXPLAINED: dict[str, Callable[[ast.AST], bool]] = {
    "f-strings": lambda node: isinstance(node, ast.FormattedValue) and bool(node.format_spec),
    "unpacking": takes_apart,
    "slices": of(ast.Slice),
    "comprehensions": of(ast.ListComp, ast.SetComp, ast.DictComp),
    "generator-expressions": of(ast.GeneratorExp),
    "conditional-expressions": of(ast.IfExp),
    "assert": of(ast.Assert),
    "with": of(ast.With),
    "assignment-expressions": of(ast.NamedExpr),
    "generators": of(ast.Yield, ast.YieldFrom),
    "stars": has_stars,
    "lambda": of(ast.Lambda),
    "partial": called("partial"),
    "zip-and-itertools": called("zip", "islice", "pairwise"),
    "async-and-await": of(ast.AsyncFunctionDef, ast.Await),
    "tasks": called("create_task", "asyncio.gather"),
    "async-for-and-async-with": of(ast.AsyncFor, ast.AsyncWith),
    "context-managers": lambda node: "contextmanager" in decorators(node),
}
NOT_EXPLAINED = of(ast.Match, ast.TryStar, ast.Global, ast.Nonlocal, ast.YieldFrom)


def decorators(node: ast.AST) -> str:
    return " ".join(map(ast.unparse, getattr(node, "decorator_list", [])))


def first_use(is_it: Callable[[ast.AST], bool]) -> tuple[Path, int] | None:
    """The lesson and the cell in which a reader meets it first."""
    for lesson in LESSONS:
        for number, cell in enumerate(cells(lesson)):
            if cell.cell_type == "code" and any(map(is_it, ast.walk(parsed(cell.source)))):
                return lesson, number
    return None


@pytest.mark.parametrize("name", EXPLAINED)
def test_python_beyond_the_basics_is_linked_where_it_first_appears(name):
    found = first_use(EXPLAINED[name])
    assert found, "no lesson uses it: take it off the page"
    lesson, number = found
    prose = [cell.source for cell in cells(lesson)[:number] if cell.cell_type == "markdown"]
    assert any(f"python.md#{name})" in source for source in prose), (lesson.name, number)


def test_what_the_page_does_not_explain_is_not_used():
    assert first_use(NOT_EXPLAINED) is None


def test_every_link_to_the_page_leads_to_a_section():
    anchors = {anchor(section.splitlines()[0]) for section in SECTIONS}
    texts = "".join(file.read_text() for file in (*LESSONS, *SOLUTIONS))
    links = set(re.findall(r"python\.md#([\w-]+)", texts))
    assert links <= anchors
    assert anchors <= links


def test_the_examples_of_the_page_print_what_it_says():
    names: dict[str, Any] = {}  # a section may use what an earlier one has defined
    for section in SECTIONS:
        for block in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            title = section.splitlines()[0]
            example = doctest.DocTestParser().get_doctest(block, names, title, PAGE.name, 0)
            assert example.examples, title
            assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0, title
            names = example.globs


# ------------------------------------------------------------------ what a lab needs

CLIENTS = (redis.Redis, redis.client.Pipeline, redis.client.PubSub)
COMMANDS = {
    name for kind in CLIENTS for name in dir(kind) if not name.startswith("_") and name != "keys"
}
ANSWER = "### BEGIN SOLUTION"
LUA = re.compile(r"redis\.p?call\('(\w+)'|(#)\w|\b(unpack|tonumber|ipairs|tostring|pcall)\b")


def lua_of(text: str) -> set[str]:
    if "redis.call" not in text:
        return set()
    return {f"Lua: {word}" for found in LUA.findall(text) for word in found if word}


def names_of(tree: ast.AST) -> set[str]:
    """What a reader must have seen: commands, options, imports, exceptions, fields of replies."""
    return {name for node in ast.walk(tree) for name in _names(node)}


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) if name in COMMANDS:
            yield f".{name}"
        case ast.Call(func=ast.Attribute(attr=name), keywords=options) if name in COMMANDS:
            yield from (f".{name}({option.arg}=)" for option in options if option.arg)
        case ast.Import(names=modules) | ast.ImportFrom(names=modules):
            yield from (module.name for module in modules)
        case ast.ExceptHandler(type=ast.expr() as kinds):
            yield from (ast.unparse(one) for one in getattr(kinds, "elts", [kinds]))
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name))):
            yield name
        case ast.Subscript(slice=ast.Constant(value=str(field))) if re.search(r"\w[-_]\w", field):
            yield repr(field)
        case ast.Constant(value=str(text)):
            yield from lua_of(text)


def strings_of(tree: ast.AST) -> set[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {repr(value) for value in constants if isinstance(value, str)}


def shown_before(lab: Path) -> set[str]:
    """The names in the cells of the lesson and of those before it, and in the lab's own words."""
    shown = {"Exception"}
    for lesson in LESSONS:
        if lesson.name <= lab.name:
            for cell in cells(lesson):
                commands = re.findall(r"\b[A-Z]{3,}\b", cell.source)
                shown |= {f"Lua: {command}" for command in commands}
                if cell.cell_type == "code":
                    shown |= names_of(parsed(cell.source)) | strings_of(parsed(cell.source))
    for cell in cells(lab):
        if cell.cell_type == "code" and ANSWER not in cell.source:
            shown |= names_of(parsed(cell.source))
    return shown


@pytest.mark.parametrize("lab", SOLUTIONS, ids=lambda lab: lab.name[:2])
def test_what_a_lab_needs_was_shown(lab):
    shown = shown_before(lab)
    prose = "\n".join(cell.source for cell in cells(lab) if cell.cell_type == "markdown")
    needed: set[str] = set()
    for cell in cells(lab):
        if cell.cell_type == "code" and ANSWER in cell.source:
            needed |= names_of(ast.parse(cell.source))
    missing = {
        name for name in needed - shown if not re.search(rf"`[^`\n]*{plain(name)}[^`\n]*`", prose)
    }
    assert missing == set()


def plain(name: str) -> str:
    """A name as a lab's text writes it, between backticks."""
    return re.escape(name.removeprefix("Lua: ").strip(".'")).replace(r"\(", ".*")
