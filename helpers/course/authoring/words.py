"""Words that the course doesn't use: python -m helpers.course.authoring.words [FILE …]

They read as translated. It looks at the prose of notebooks and README outside of code, and at the
messages of the package: its strings, but for docstrings. It prints each place, and how many there
are in each file.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat

from helpers.course.home import CHECKOUT

UNWANTED = re.compile(
    r"\b(shall|whoever|nobody|somebody|anybody|anew|mend|mended|in\s+vain|for\s+ever|in\s+earnest"
    r"|a\s+text|texts)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`|<!--.*?-->", re.DOTALL)
_AROUND = 40  # characters to show on each side
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> int:
    """Print the hits in the files named, or in all that a learner reads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    files = [file.resolve() for file in parser.parse_args().files] or everything()
    found = {file: list(hits(file)) for file in files}
    for file, places in found.items():
        for place in places:
            print(f"{file.relative_to(CHECKOUT)}: …{place}…")
    print()
    for file, places in found.items():
        if places:
            print(f"{len(places):4} {file.relative_to(CHECKOUT)}")
    print(f"{sum(map(len, found.values())):4} in all")
    return 1 if any(found.values()) else 0


def everything() -> list[Path]:
    """Lessons, labs, solutions, README, the instructor's book, and the package."""
    folders = ("notebooks", "labs", "solutions")
    notebooks = [file for folder in folders for file in (CHECKOUT / folder).glob("*.ipynb")]
    package = set((CHECKOUT / "helpers").rglob("*.py")) - {Path(__file__)}
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "teaching").glob("*.md")]
    return [*pages, *sorted(notebooks), *sorted(package)]


def hits(file: Path) -> Iterator[str]:
    """Each unwanted word of a file, with the words around it."""
    for text in _texts(file):
        line = " ".join(text.split())
        for match in UNWANTED.finditer(line):
            yield line[max(0, match.start() - _AROUND) : match.end() + _AROUND]


def _texts(file: Path) -> Iterator[str]:
    if file.suffix == ".py":
        yield from messages(file.read_text())
    elif file.suffix == ".ipynb":
        for cell in nbformat.read(file, as_version=4).cells:
            yield _CODE.sub("`…`", cell.source) if cell.cell_type == "markdown" else ""
    else:
        yield _CODE.sub("`…`", file.read_text())


def messages(source: str) -> Iterator[str]:
    """The strings of a module, without docstrings, and without what stands for code in them.

    Strings that are put together, in f-strings too, are taken as one.
    """
    tree = ast.parse(source)
    documents = [node.body[:1] for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
    skipped = {id(node.value) for body in documents for node in body if isinstance(node, ast.Expr)}
    yield from _strings(tree, skipped)


def _strings(node: ast.AST, skipped: set[int]) -> Iterator[str]:
    if id(node) in skipped:
        return
    if isinstance(node, ast.JoinedStr):
        parts: Sequence[ast.expr] = node.values
        said = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts]
        yield _prose("".join(said))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield _prose(node.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child, skipped)


def _prose(text: str) -> str:
    """A message without names in it; a script in Lua is code."""
    is_lua = text.startswith(("#!lua", "\n--")) or "redis.call(" in text
    return "" if is_lua else _CODE.sub("`…`", text)


if __name__ == "__main__":
    sys.exit(main())
