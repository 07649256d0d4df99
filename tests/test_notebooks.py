"""The notebooks as they are committed: run from top to bottom, short, and linked to each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient

pytestmark = pytest.mark.once

LESSONS = sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb"))
SHEET = CHECKOUT / "notebooks" / "cheatsheet.ipynb"
SOLUTIONS = sorted((CHECKOUT / "solutions").glob("*.ipynb"))
LABS = sorted((CHECKOUT / "labs").glob("*.ipynb"))
LONGEST = {"notebooks": 12, "solutions": 24}  # lines of a code cell
USUAL = 6
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}


def notebooks(*files: Path) -> pytest.MarkDecorator:
    names = [f"{file.parent.name}/{file.name[:2]}" for file in files]
    return pytest.mark.parametrize("file", files, ids=names)


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


def code(file: Path) -> list[Any]:
    return [cell for cell in read(file).cells if cell.cell_type == "code"]


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def kinds(cell: Any) -> list[str]:
    return [output.output_type for output in cell.outputs]


def is_strict(cell: Any) -> bool:
    """Whether nbval compares what a cell prints."""
    return not (tags(cell) & NOT_COMPARED or "NBVAL_" in cell.source)


def has_picture(cell: Any) -> bool:
    """Whether a cell shows a picture, of which nbval compares only the text beside it."""
    return any("image/png" in output.get("data", ()) for output in cell.outputs)


@notebooks(*LESSONS, SHEET, *SOLUTIONS)
def test_it_was_run_from_top_to_bottom(file):
    counts = [cell.execution_count for cell in code(file)]
    assert counts == list(range(1, len(counts) + 1))


@notebooks(*LESSONS, SHEET, *SOLUTIONS)
def test_errors_are_where_they_are_expected_and_only_there(file):
    for cell in code(file):
        assert ("error" in kinds(cell)) == ("raises-exception" in tags(cell)), cell.source


def on_stderr(cell: Any) -> list[Any]:
    return [output for output in cell.outputs if output.get("name") == "stderr"]


@notebooks(*LESSONS, SHEET, *SOLUTIONS)
def test_nothing_was_printed_to_stderr(file):
    assert [cell.source for cell in code(file) if on_stderr(cell)] == []


IGNORED = "nbval-ignore-output"
PRINTING = [  # cells and their tags; a child's words may come while the next cell runs
    ("print('quiet')", [IGNORED]),
    ("1 / 0", [IGNORED, "raises-exception"]),
    ("import sys; print('in red', file=sys.stderr)", [IGNORED]),
    ("import logging; logging.warning('in red'); 1 / 0", [IGNORED, "raises-exception"]),
    ("import os; os.system('echo by a child >&2')", [IGNORED]),
    ("None", [IGNORED]),
]


def test_a_cell_that_prints_to_stderr_fails_the_run(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": tags}, execution_count=count)
        for count, (source, tags) in enumerate(PRINTING, 1)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "it.ipynb")
    words = "-m pytest -p tests.kernel_stderr --nbval --nbval-current-env -p no:cacheprovider -rA"
    done = subprocess.run(
        [sys.executable, *words.split(), tmp_path / "it.ipynb"],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    outcomes = re.findall(r"^(PASSED|FAILED) .*::Cell (\d)", done.stdout, re.MULTILINE)
    cell = {int(number): outcome for outcome, number in outcomes}
    assert [cell[number] for number in range(4)] == ["PASSED", "PASSED", "FAILED", "FAILED"]
    assert sorted([cell[4], cell[5]]) == ["FAILED", "PASSED"]
    assert "\nby a child\n" in done.stdout


@notebooks(*LESSONS, SHEET, *SOLUTIONS, *LABS)
def test_it_is_a_python_notebook_without_empty_cells_or_widget_state(file):
    notebook = read(file)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert all(cell.source.strip() for cell in notebook.cells)


QUESTION = re.compile(r"\*\*(Predict|Think|Which one is missing)\*\*")


@notebooks(*LESSONS)
def test_an_answer_is_folded_until_the_reader_has_thought(file):
    open_ones, asked = [], False
    for cell in read(file).cells:
        if cell.cell_type == "markdown":
            asked = bool(QUESTION.search(cell.source))
        elif asked and cell.outputs and not has_widget(cell):
            folded = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
            open_ones += [] if folded else [cell.source]
    assert open_ones == []


def has_widget(cell: Any) -> bool:
    return any("widget-view" in kind for output in cell.outputs for kind in output.get("data", ()))


def pictures(file: Path) -> list[ast.Call]:
    """The calls by which a lesson shows its figures."""
    return [
        call
        for cell in code(file)
        if "show_figure(" in cell.source
        for call in ast.walk(ast.parse(cell.source))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("show_figure")
    ]


@notebooks(*LESSONS)
def test_a_picture_says_what_its_run_has_shown(file):
    """A caption has the run's numbers in it, or the run says whether it holds."""
    unchecked = [
        ast.unparse(call)
        for call in pictures(file)
        if not any(isinstance(part, ast.JoinedStr) for part in call.args)
        and "holds" not in [keyword.arg for keyword in call.keywords]
    ]
    assert unchecked == []


@notebooks(*LABS)
def test_a_lab_was_never_run(file):
    assert [(cell.outputs, cell.execution_count) for cell in code(file)] == [([], None)] * len(
        code(file)
    )


@notebooks(*LESSONS, SHEET, *SOLUTIONS)
def test_code_cells_are_short(file):
    lengths = [len(cell.source.splitlines()) for cell in code(file)]
    assert max(lengths) <= LONGEST[file.parent.name]
    assert median(lengths) <= USUAL


@notebooks(*LESSONS, SHEET, *SOLUTIONS, *LABS)
def test_links_lead_to_files_that_exist(file):
    prose = "\n".join(cell.source for cell in read(file).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", prose)
    assert [link for link in links if not (file.parent / link).exists()] == []


@notebooks(*LESSONS)
def test_a_lesson_says_what_it_is_about_and_tidies_up(file):
    first, *_, summary, last = read(file).cells
    assert first.source.startswith(f"# {file.name[:2]} · ")
    rows = re.findall(r"^\| \*\*(.*?)\*\* \| \S", first.source, re.MULTILINE)
    assert rows == ["You will", "You will learn", "You need", "It takes"]
    assert summary.source.startswith("## Summary\n")
    assert last.cell_type == "code"
    assert "clean(" in last.source or "cluster.close()" in last.source


def test_nine_in_ten_cells_that_print_are_compared_strictly(capsys):
    printing = [cell for file in LESSONS for cell in code(file) if cell.outputs]
    strict = [cell for cell in printing if is_strict(cell)]
    with capsys.disabled():
        print(
            f"\nOf {len(printing)} cells of lessons that print, {len(strict)} are compared "
            f"strictly; {sum(map(has_picture, strict))} of these show a picture too."
        )
    assert len(strict) >= 0.9 * len(printing)


@notebooks(*LABS)
def test_a_lab_that_nobody_has_touched_runs_and_every_check_says_still_blank(redis, file):
    lab = read(file)
    NotebookClient(
        lab, timeout=int(patient(60)), resources={"metadata": {"path": str(file.parent)}}
    ).execute()
    assert [cell.source for cell in lab.cells if cell.get("outputs") and on_stderr(cell)] == []
    checks = [cell for cell in lab.cells if cell.source.startswith("lab.check(")]
    assert checks
    for cell in checks:
        assert "Still blank" in str(cell.outputs), cell.source
