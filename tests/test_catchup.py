"""`course catchup 03`: what the lessons so far have said, made from the lessons themselves."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner

from helpers.checks import progress
from helpers.cli import app
from helpers.course import catchup
from helpers.course.authoring.rule import lessons
from helpers.course.errors import CourseError

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def last():
    return catchup.made("9")


def text(notebook: Any) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells)


def test_it_has_the_end_and_the_musts_of_each_lesson_so_far(last):
    nbformat.validate(last)
    said = text(last)
    for lesson in lessons():
        start = said.index(f"## {lesson.number} · ")
        part = said[start : said.find("\n## ", start + 1)]
        assert len(part.split("| command |")[0].split()) > 25, lesson.name
        assert "| command | does | since |" in part, lesson.name
        for one in lesson.exercises:
            shown = f"### Exercise {lesson.number}.{one.number} · " in part
            assert shown == (one.level == "must")
            if shown:
                assert all(line.strip() in part for line in one.answer)
    assert "BEGIN SOLUTION" not in said
    assert "____" not in said
    assert "That's enough" not in said
    assert "slow readers lose entries without an error" in said  # beside a sentence on the lab


def test_every_link_leads_somewhere(last):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text(last))
    inside = [link for link in links if not link.startswith("http")]
    assert len(inside) > 30
    assert [one for one in inside if not (catchup.FOLDER / one).resolve().exists()] == []


def test_it_ends_with_the_lesson_that_comes_next(redis, capsys):
    notebook = catchup.made("03")
    assert "lesson 04" in notebook.cells[-1].source
    assert "## 04" not in text(notebook)
    (code,) = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    progress.mark_done("02", 4)
    exec(code, {})
    assert capsys.readouterr().out.splitlines()[1:] == ["Lab 02 done: [4]", "Lab 03 done: none yet"]
    assert "Lab" not in text(catchup.made("0"))


def test_what_a_learner_wrote_into_it_stays(tmp_path):
    file, fresh = catchup.write("1", tmp_path / "new")
    assert fresh
    notebook = nbformat.read(file, 4)
    notebook.cells[-2].outputs = [nbformat.v4.new_output("stream", text="run")]
    nbformat.write(notebook, file)
    assert catchup.write("01", tmp_path / "new") == (file, True)  # it was only run

    notebook.cells[0].source += "\nAsk about $!"
    nbformat.write(notebook, file)
    assert catchup.write("1", tmp_path / "new") == (file, False)
    assert "Ask about $!" in file.read_text()
    file.write_text("no notebook")
    assert catchup.write("1", tmp_path / "new") == (file, False)


def test_what_is_in_the_way_is_told_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="no lesson 44: choose one of 00, 01"):
        catchup.made("44")
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written"):
        catchup.write("00", tmp_path / "file")
    said = CliRunner().invoke(app, ["catchup", "x"])
    assert isinstance(said.exception, CourseError)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").write_text("<<<<<<< HEAD\n{}")
    monkeypatch.setattr(catchup, "CHECKOUT", tmp_path)
    with pytest.raises(CourseError, match=r"can't be opened, because git left the marks of a con"):
        catchup.write("00", tmp_path)
