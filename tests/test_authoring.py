"""Labs are made from solutions, and notebooks run again keep the outputs that say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.course.authoring.labs import LABS, SOLUTIONS, blanked, render
from helpers.course.authoring.rerun import rerun, same, sanitized
from helpers.course.errors import CourseError

pytestmark = pytest.mark.once

ANSWER = """\
def newest(redis, n):
    ### BEGIN SOLUTION
    page = redis.xrevrange("s", count=n)

    return page
    ### BLANK
    # for _ in ____:
    #     return ____
    ### END SOLUTION


answer = newest(redis, 2)"""


def save(path: Path, *cells: Any) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


# ------------------------------------------------------------------ blanks


def test_an_answer_gives_way_to_its_blank():
    lines = ["def newest(redis, n):", "    for _ in ____:", "        return ____"]
    assert blanked(ANSWER, "").splitlines() == [*lines, "", "", "answer = newest(redis, 2)"]


def test_a_cell_may_have_several_answers_or_none():
    answer = "### BEGIN SOLUTION\n{0} = 1\n### BLANK\n# {0} = ____\n### END SOLUTION\n"
    assert blanked(answer.format("a") + answer.format("b"), "") == "a = ____\nb = ____"
    assert blanked("a = 1  # blank until the end", "") == "a = 1  # blank until the end"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ANSWER.replace("### BLANK\n", ""), "line 8: '### END SOLUTION' where '### BLANK' is due"),
        (ANSWER.replace("### BEGIN SOLUTION", ""), "line 6: '### BLANK' where '### BEGIN"),
        (ANSWER.split("    ### END")[0], "'### END SOLUTION' is missing at the end"),
        (f"{ANSWER}\n### END SOLUTION", "line 13: '### END SOLUTION' where '### BEGIN"),
        (ANSWER.replace("page =", "### BEGIN SOLUTION\n#"), "line 3: '### BEGIN SOLUTION' where"),
        (ANSWER.replace("BEGIN SOLUTION", "Begin solution"), "line 2: .* is a misspelt marker"),
        (ANSWER.replace("### BEGIN SOLUTION", "###BEGIN SOLUTION"), "line 2: .* misspelt"),
        (ANSWER.replace("### BLANK", "## BLANK:"), "line 6: .* misspelt"),
        (ANSWER.replace("### ", "# "), "line 2: '# BEGIN SOLUTION' is a misspelt marker"),
        (ANSWER.replace("# for", "for"), "line 7: a line of the blank must be a comment"),
    ],
    ids=[
        "without a blank",
        "without a beginning",
        "without an end",
        "two ends",
        "nested",
        "lower case",
        "no space",
        "one letter more",
        "all of them",
        "blank that is code",
    ],
)
def test_a_faulty_marker_is_an_error_that_names_its_place(source, message):
    with pytest.raises(CourseError, match=f"^x.ipynb, cell 4.*{message}"):
        blanked(source, "x.ipynb, cell 4")


# ------------------------------------------------------------------ labs


def test_a_lab_has_neither_answers_nor_outputs(tmp_path):
    printed = new_output("stream", name="stdout", text="42\n")
    solution = save(
        tmp_path / "solution.ipynb",
        new_markdown_cell("These are the solutions.", metadata={"tags": ["solution"]}),
        new_markdown_cell("# Lab"),
        new_code_cell(ANSWER, outputs=[printed], execution_count=1),
        new_code_cell("print(secret)", metadata={"tags": ["solution"]}),
    )
    title, exercise = nbformat.reads(render(solution), as_version=4).cells
    assert title.source == "# Lab"
    assert "xrevrange" not in exercise.source
    assert (exercise.outputs, exercise.execution_count) == ([], None)


def test_an_error_in_a_solution_names_the_file_and_the_cell(tmp_path):
    solution = save(tmp_path / "s.ipynb", new_markdown_cell("#"), new_code_cell("### BLANK"))
    with pytest.raises(CourseError, match=r"^s\.ipynb, cell 1, line 1: "):
        render(solution)


def test_the_labs_are_what_the_solutions_make_of_them():
    labs = {lab.name: lab.read_text() for lab in LABS.glob("*.ipynb")}
    assert labs == {solution.name: render(solution) for solution in SOLUTIONS.glob("*.ipynb")}


# ------------------------------------------------------------------ what is the same


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("'1795248158352-0'", "'ENTRY-ID'"),
        ("1795248158352", "ENTRY-ID"),
        ("a\n1795248158352-17\n", "a\nENTRY-ID\n"),
        ("1534338000000-0 of 2018", "1534338000000-0 of 2018"),
        ("1000-2", "1000-2"),
        ("redis://***@127.0.0.1:50123/0", "redis://***@127.0.0.1:PORT/0"),
        ("at 07:08:09.123456", "at CLOCK"),
        ("at 07:08", "at 07:08"),
        ("2026-11-21 07:08:09", "DATE CLOCK"),
        ("2018-08-15", "2018-08-15"),
        ("86,400 entries", "86,400 entries"),
    ],
)
def test_what_changes_from_run_to_run_is_not_compared(text, compared):
    assert sanitized(text) == compared


def test_outputs_say_the_same_in_one_piece_or_several():
    def printed(*texts: str) -> list[Any]:
        return [new_output("stream", name="stdout", text=text) for text in texts]

    assert same(printed("1\n", "2\n"), printed("1\n2\n"))
    assert not same(printed("1\n", "2\n"), printed("2\n1\n"))
    assert not same(printed("1\n"), [])
    assert not same(printed("1\n"), [new_output("stream", name="stderr", text="1\n")])


# ------------------------------------------------------------------ running again


def result(text: str, count: int) -> list[Any]:
    return [new_output("execute_result", data={"text/plain": text}, execution_count=count)]


def test_a_run_replaces_only_the_outputs_that_changed(tmp_path):
    old_id, new_id = "'1700000000000-0'", "f'{time.time_ns() // 10**6}-0'"
    notebook = save(
        tmp_path / "lesson.ipynb",
        new_code_cell("import time", metadata={"execution": {"iopub.status.busy": "2026"}}),
        new_code_cell(new_id, outputs=result(old_id, 7), execution_count=7),
        new_code_cell("6 * 7", outputs=result("41", 1), execution_count=1),
        new_code_cell("_ = 1", outputs=result("'old'", 4)),
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
    )
    assert rerun(notebook)
    cells = nbformat.read(notebook, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5]
    outputs = [cell.outputs for cell in cells]
    assert outputs[:4] == [[], result(old_id, 2), result("42", 3), []]
    assert outputs[4][0].ename == "ZeroDivisionError"
    assert cells[0].metadata == {}
    once = notebook.read_text()
    assert rerun(notebook)
    assert notebook.read_text() == once


@pytest.mark.parametrize(
    ("source", "reason"),
    [("1 / 0", "ZeroDivisionError"), ("import os; os._exit(1)", "Kernel died")],
)
def test_a_notebook_that_fails_stays_as_it_was(tmp_path, capsys, source, reason):
    notebook = save(tmp_path / "lesson.ipynb", new_code_cell("'new'"), new_code_cell(source))
    before = notebook.read_bytes()
    assert not rerun(notebook)
    assert notebook.read_bytes() == before
    told = capsys.readouterr().err
    assert told.startswith("✗ lesson.ipynb: ")
    assert reason in told


def test_a_picture_that_its_own_run_contradicts_is_not_saved(tmp_path, capsys):
    rates = '{"slow": [2, 2, 2], "fast": [3, 9, 4]}'
    cells = [
        "from helpers.bench.rounds import Rounds",
        "from helpers.views import compared, show_figure",
        f"rates = Rounds({rates})",
        "times = rates.ratio('fast', 'slow').median",
        "figure = compared(rates, unit='a second', title='Both')",
        "show_figure(figure, 'Fast is three times as fast.', holds=times > 3)",
    ]
    right, wrong = (
        save(tmp_path / f"{name}.ipynb", new_code_cell("\n".join(cells).replace("3, 9", first)))
        for name, first in (("right", "9, 9"), ("wrong", "3, 9"))
    )
    assert rerun(right)
    before = wrong.read_bytes()
    assert not rerun(wrong)
    assert wrong.read_bytes() == before
    told = capsys.readouterr().err
    assert "✗ wrong.ipynb: not saved" in told
    assert "Fast is three times as fast. This run doesn't show that" in told


def test_a_run_uses_neither_the_authors_database_nor_their_server(tmp_path):
    notebook = save(tmp_path / "n.ipynb", new_code_cell("from helpers import connect\nconnect()"))
    done = subprocess.run(
        [sys.executable, "-m", "helpers.course.authoring.rerun", str(notebook)],
        env=os.environ | {"REDIS_URL": "redis://127.0.0.1:1/0", "COURSE_SERVER": "missing"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "✓ n.ipynb\n")
