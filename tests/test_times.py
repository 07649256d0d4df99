"""The rule of time, and the lessons that keep it: stated times, folded answers, a core alone."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import connect
from helpers.course.authoring import reading
from helpers.course.authoring.lacks import lacks, readme_lacks
from helpers.course.authoring.marks import cut, fold, mark_exercises, mark_parts
from helpers.course.authoring.rule import LESSONS, Lesson, exercise_minutes, lessons, minutes
from helpers.course.authoring.stating import rewrite, stated
from helpers.course.authoring.times import README
from helpers.course.errors import CourseError
from helpers.course.pace import patient

pytestmark = pytest.mark.once

# Lessons that keep the rule, by number. `python -m helpers.course.authoring.times --check` lists
# what the others lack. When all do, put `lessons()` here, and README is held to it as well.
KEPT: tuple[str, ...] = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09")


# ------------------------------------------------------------------ the rule


def text(source: str) -> Any:
    return new_markdown_cell(source)


def code(source: str, prints: str = "", **metadata: Any) -> Any:
    outputs = [new_output("stream", name="stdout", text=prints)] if prints else []
    return new_code_cell(source, outputs=outputs, metadata=metadata)


def test_words_code_and_predictions_take_time():
    assert minutes([text("word " * 300)]) == 2
    assert minutes([code("1"), code("2"), code("3")]) == 2.5
    assert minutes([text("**Predict** " * 2)]) == pytest.approx(2 + 2 / 150)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("one `two three` *four*", 4),
        ("| a | b |\n|---|---|\n| c | d · e |", 5),
        ("[one](../two/three.ipynb) ![four five](six.svg)", 3),
        ("one\n```\ntwo\n```\nthree <!-- four --> <img src='five'>", 2),
        ("## one\n\n* two\n* 3", 3),
    ],
)
def test_words_are_what_a_reader_reads(source, words):
    assert minutes([text(source)]) == pytest.approx(words / 150)


def test_an_exercise_takes_time_by_the_lines_of_its_answer():
    lines = (0, 3, 4, 8, 9, 16, 17)
    assert [exercise_minutes(n) for n in lines] == [4, 4, 7, 7, 10, 10, 15]
    assert exercise_minutes(17, "must") == 10
    assert [exercise_minutes(n, "stretch") for n in (8, 9, 17)] == [7, 15, 15]


# ------------------------------------------------------------------ a lesson, marked


QUESTION = "## What now?\n\nRun it. **Predict** what it prints."
LEVELS = ("must · core", "should · core", "stretch · deeper")


def exercise(number: int, level: str, answer: str = "redis.xadd(stream, fields)") -> list[Any]:
    body = f"### BEGIN SOLUTION\n    {answer}\n    ### BLANK\n    # ____\n    ### END SOLUTION"
    solution = f"def it(redis, stream, fields):\n    {body}"
    return [
        text(f"## {number} · Do it\n\n*{level}*\n\nDo it."),
        code(solution),
        code(f"lab.check({number}, it)"),
    ]


def a_lesson() -> Lesson:
    """One that keeps the rule."""
    cells = [
        text("# 01 · One\n\n| | |\n|---|---|\n| **It takes** | ? |"),
        code("%load_ext helpers\nfrom helpers import clean, connect\nredis = connect()"),
        text(f"## What is `XADD`?\n\nIt adds.\n\n{QUESTION}"),
        code("def add(): return redis.xadd('s', {'n': 1})"),
        code("print(len(add()))", prints="15"),
        text("## Why?\n\nBecause."),
        code("from helpers import show", prints="shown"),
        text("## Summary\n\nThat was it."),
        code("clean(redis, 's')"),
    ]
    lab = [text("# Lab 01\n\nExercises.\n\n**It takes** ?"), code("lab = open_lab(1)")]
    for number, level in enumerate(LEVELS, 1):
        lab += exercise(number, level)
    lab += [text("## Done?"), code("lab.progress()")]
    return complete(Lesson("01", "01_one.ipynb", cut(cells, "Why?"), lab))


def complete(lesson: Lesson) -> Lesson:
    mark_parts(lesson.cells)
    fold(lesson.cells)
    mark_exercises(lesson.lab)
    rewrite(lesson)
    return lesson


def test_a_lesson_is_marked_from_its_headings():
    lesson = a_lesson()
    assert [sorted(reading.tags(cell)) for cell in lesson.cells] == [
        *[["core"]] * 4, ["core", "hide-output"], *[["deeper"]] * 3, *[["core"]] * 2,
    ]  # fmt: skip
    assert lesson.cells[4].metadata["jupyter"] == {"outputs_hidden": True}
    assert lesson.part("deeper")[0].source == "## Going deeper"
    assert lesson.part("core")[-1].source == "clean(redis, 's')"
    assert [sorted(reading.tags(cell)) for cell in lesson.lab] == [
        *[[]] * 2, *[["core", "must"]] * 3, *[["core", "should"]] * 3,
        *[["deeper", "stretch"]] * 3, *[[]] * 2,
    ]  # fmt: skip
    once = copy.deepcopy((lesson.cells, lesson.lab))
    assert (complete(lesson).cells, lesson.lab) == once


def test_a_widget_is_not_folded():
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Tuning()"}
    cells = [text("**Think** first."), code("Tuning()"), text("And?"), code("2", prints="2")]
    cells[1].outputs = [new_output("display_data", data=widget)]
    fold(cells)
    assert [cell.metadata for cell in cells] == [{}] * 4


def test_marks_that_are_no_longer_right_are_taken_away():
    lesson = a_lesson()
    lesson.cells[2].source = "## What is `XADD`?"
    lesson.cells[4].metadata["tags"] = ["nbval-ignore-output", "deeper", "hide-output"]
    complete(lesson)
    assert lesson.cells[4].metadata == {"tags": ["nbval-ignore-output", "core"]}


def test_its_times_are_stated():
    lesson = a_lesson()
    assert "| **It takes** | 5 minutes for the core, 1 to go deeper; in the [lab]" in (
        lesson.cells[0].source
    )
    assert "**It takes** 4 minutes for the *must* exercises, 12 for all" in lesson.lab[0].source
    assert "*must · 4 minutes · core*" in lesson.lab[2].source
    row = (
        "| 01 | [One](notebooks/01_one.ipynb) | what it is | 30 min | [30 min](labs/01_one.ipynb) |"
    )
    readme = f"<!-- times -->\n{row}\n<!-- routes -->\n<!-- /routes -->\n"
    right = stated(readme, [lesson])
    assert "| what it is | 5 + 1 min | [4 of 12 min](labs/01_one.ipynb) |\n" in right
    assert "| half a day | core of 00 to 04 | the musts of 01 to 04 | 5 min | 4 min |" in right
    assert stated(right, [lesson]) == right
    assert stated(row, [lesson]) == row
    assert list(readme_lacks(right, [lesson])) == []
    assert list(readme_lacks(right.replace("5 + 1", "5 + 2"), [lesson])) != []
    assert list(readme_lacks(row, [lesson])) != []


def test_a_cut_is_made_at_a_heading_inside_a_cell():
    cells = [text("# 01\n\nA.\n\n## B?\n\nC.\n\n### D?\n\nE."), text("## Summary")]
    assert [cell.source for cell in cut(cells, "D?")] == [
        "# 01\n\nA.\n\n## B?\n\nC.", "## Going deeper", "### D?\n\nE.", "## Summary",
    ]  # fmt: skip
    with pytest.raises(CourseError, match=r"No heading of the lesson is 'F\?'"):
        cut(cells, "F?")
    with pytest.raises(CourseError, match="already"):
        cut(cut(cells, "B?"), "D?")


# ------------------------------------------------------------------ what it may lack


def without_a_deeper_part(lesson: Lesson) -> None:
    del lesson.cells[5]


def with_a_long_core(lesson: Lesson) -> None:
    lesson.cells[2].source += " word" * 4500


def with_many_names(lesson: Lesson) -> None:
    names = ", ".join(f"n{number}" for number in range(5))
    lesson.cells[3].source += f"\nfrom helpers.chaos import {names}\nimport helpers.views"
    lesson.cells[4].source += "\nfrom helpers.views import f"


def unfolded(lesson: Lesson) -> None:
    lesson.cells[4].metadata.pop("jupyter")


def unfolded_on_the_site(lesson: Lesson) -> None:
    lesson.cells[4].metadata["tags"] = ["core"]


def not_compared(lesson: Lesson) -> None:
    lesson.cells[4].metadata["tags"] += ["nbval-ignore-output"]


def without_an_answer(lesson: Lesson) -> None:
    lesson.cells[4].outputs = []


def wrongly_tagged(lesson: Lesson) -> None:
    lesson.cells[6].metadata["tags"] = ["core"]


def with_another_time(lesson: Lesson) -> None:
    lesson.cells[0].source = lesson.cells[0].source.replace("5 minutes", "30 minutes")


def without_a_level(lesson: Lesson) -> None:
    lesson.lab[5].source = "## 2 · Do it"


def with_a_long_must(lesson: Lesson) -> None:
    lesson.lab[3].source = exercise(1, LEVELS[0], "x = 1\n    " * 9)[1].source


def with_many_musts(lesson: Lesson) -> None:
    lesson.lab[2:2] = [cell for n in range(4, 9) for cell in exercise(n, "must · core")]
    complete(lesson)


def without_a_must(lesson: Lesson) -> None:
    del lesson.lab[2:5]
    complete(lesson)


def with_a_deep_must(lesson: Lesson) -> None:
    lesson.lab[2].source = lesson.lab[2].source.replace("core", "deeper")
    complete(lesson)


def with_a_command_that_was_not_shown(lesson: Lesson) -> None:
    lesson.lab[3].source = lesson.lab[3].source.replace("fields)", "fields, nomkstream=True)")


def untagged_exercise(lesson: Lesson) -> None:
    lesson.lab[3].metadata["tags"] = ["must"]


def with_another_time_in_the_lab(lesson: Lesson) -> None:
    lesson.lab[0].source = lesson.lab[0].source.replace("4 minutes", "20 minutes")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_a_deeper_part, "no cell begins with the heading '## Going deeper'"),
        (with_a_long_core, "the core takes 3"),
        (with_many_names, "the core imports 9 names of helpers: clean, connect, f, helpers.views"),
        (unfolded, "cell 2 asks for a prediction, and its answer is not folded: cell 4"),
        (
            unfolded_on_the_site,
            "cell 2 asks for a prediction, and its answer is not folded: cell 4",
        ),
        (not_compared, "cell 2 asks for a prediction, and its answer is neither compared nor"),
        (without_an_answer, "cell 2 asks for a prediction, and no cell below it prints the answer"),
        (wrongly_tagged, "not tagged core or deeper as it should be: cell 6"),
        (with_another_time, "its first cell does not say: | **It takes** | 5 minutes for the core"),
        (without_a_level, "lab: no line such as *must · 4 minutes · core* in exercise 2"),
        (with_a_long_must, "lab, exercise 1: it takes 10 minutes, and says 4"),
        (with_many_musts, "lab: the musts take 24 minutes, more than 20"),
        (without_a_must, "lab: no exercise is a must"),
        (with_a_deep_must, "lab, exercise 1: a must needs the core only"),
        (with_a_command_that_was_not_shown, "lab, exercise 1: no core has shown nomkstream"),
        (untagged_exercise, "lab, exercise 1: not tagged must and core"),
        (with_another_time_in_the_lab, "lab: its beginning does not say: **It takes** 4 minutes"),
    ],
)
def test_what_is_lacking_is_named(spoil, said):
    lesson = a_lesson()
    assert list(lacks(lesson)) == []
    spoil(lesson)
    assert [lack for lack in lacks(lesson) if lack.startswith(said)], list(lacks(lesson))


# ------------------------------------------------------------------ the lessons that keep it


@pytest.mark.parametrize("number", KEPT)
def test_a_lesson_keeps_the_rule(number):
    everything = lessons()
    (lesson,) = [one for one in everything if one.number == number]
    assert list(lacks(lesson, everything)) == []


@pytest.mark.parametrize("number", KEPT)
def test_its_core_names_nothing_that_goes_deeper(tmp_path, number):
    (lesson,) = [one for one in lessons() if one.number == number]
    nbformat.write(new_notebook(cells=lesson.part("core")), tmp_path / "core.ipynb")
    assert undefined(tmp_path / "core.ipynb") == ""


@pytest.mark.parametrize("number", KEPT)
def test_its_core_runs_alone_and_tidies_up(redis, number, request):
    if number != "03" and not request.config.getoption("--all-answers"):
        pytest.skip("the other cores run alone in `make test-all`")
    (lesson,) = [one for one in lessons() if one.number == number]
    before = set(redis.scan_iter())
    run(lesson.part("core"))
    assert set(redis.scan_iter()) == before


def undefined(notebook: Path) -> str:
    """The names that a notebook uses and does not define, in the words of ruff."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select=F821"]
    return subprocess.run([*command, notebook], capture_output=True, text=True, check=False).stdout


def run(cells: list[Any]) -> Any:
    """Run these cells in a fresh kernel; one that fails, and should not, is an error."""
    notebook = new_notebook(cells=copy.deepcopy(cells))
    resources = {"metadata": {"path": str(LESSONS)}}
    NotebookClient(notebook, timeout=int(patient(60)), resources=resources).execute()
    return nbformat.from_dict(notebook)


def test_a_core_that_needs_what_goes_deeper_fails(redis, tmp_path):
    lesson = a_lesson()
    run(lesson.part("core"))
    assert connect().exists("s") == 0
    lesson.cells[-1].source += "\nshow(clean)"
    nbformat.write(new_notebook(cells=lesson.part("core")), tmp_path / "core.ipynb")
    assert "`show`" in undefined(tmp_path / "core.ipynb")
    with pytest.raises(Exception, match="name 'show' is not defined"):
        run(lesson.part("core"))


def test_readme_states_the_times():
    everything = lessons()
    if len(KEPT) == len(everything):
        assert list(readme_lacks(README.read_text(), everything)) == []
