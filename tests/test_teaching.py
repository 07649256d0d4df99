"""The instructor's book: its minutes and mistakes are up to date, and what it names is there."""

from __future__ import annotations

import re
from functools import cache

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from helpers.checks import open_lab
from helpers.cli import app
from helpers.course.authoring import reading, runsheet
from helpers.course.authoring.rule import Lesson, lessons
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from tests.checks import telling
from tests.checks.answers import answer
from tests.checks.answers import mistake as number_drawn

pytestmark = pytest.mark.once

BOOK = telling.BOOK.read_text("utf-8")
known = cache(lessons)


def lesson(number: str) -> Lesson:
    return next(one for one in known() if one.number == number)


@pytest.mark.parametrize("page", runsheet.pages(), ids=lambda page: page.name)
def test_its_minutes_are_up_to_date(page):
    """If this fails, `make times` writes them again."""
    text = page.read_text("utf-8")
    assert runsheet.stated(text, known()) == text
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [one for one in links if not (page.parent / one).exists()] == []


def test_its_mistakes_are_up_to_date():
    """If this fails, `make labs` writes them again."""
    assert telling.stated(BOOK) == BOOK
    by_lab = {number: [n for n in telling.named(BOOK) if n[:2] == number] for number in PARTS}
    assert {number: len(those) for number, those in by_lab.items() if number != "00"} == {
        number: pytest.approx(4, abs=1) for number in PARTS if number != "00"
    }


@pytest.mark.parametrize(
    ("route", "most"),
    [("90 minutes", 90), ("half a day", 210), ("a day", 420),
     ("two days, the first", 420), ("two days, the second", 420)],
)  # fmt: skip
def test_a_route_fits_its_slot(route, most):
    (one,) = [found for found in runsheet.routes(known()) if found.name == route]
    assert most * 0.75 < one.ends()[-1] <= most
    breaks = [0, *(end for step, end in zip(one.steps, one.ends(), strict=True) if step.catchup)]
    longest = max(b - a for a, b in zip(breaks, [*breaks[1:], one.ends()[-1]], strict=True))
    assert longest <= 105  # a break, after an hour and a half of work at most
    assert f"<!-- route {route} -->" in (runsheet.BOOK / "README.md").read_text("utf-8")


def test_what_a_plan_or_a_page_names_has_to_be_there():
    with pytest.raises(CourseError, match="no section 'No such'"):
        list(runsheet._steps(runsheet.Part("01", ("No such",)), {"01": lesson("01")}))
    with pytest.raises(CourseError, match=r"no exercises \(9,\)"):
        list(runsheet._steps(runsheet.Lab("01", (9,)), {"01": lesson("01")}))
    with pytest.raises(CourseError, match="no route 'a week'"):
        runsheet.stated("<!-- route a week -->\n<!-- /route -->", known())
    with pytest.raises(CourseError, match="makes the mistake 03"):
        telling.stated("<!-- mistakes 03.2#899 -->\n<!-- /mistakes -->")


# ------------------------------------------------------------- what it says of the lessons

PARTS = dict(re.findall(r"^## (\d\d) · .*?\n(.*?)(?=^## |\Z)", BOOK, re.MULTILINE | re.DOTALL))
SHOWN = re.compile(r"\*\*Show\*\*:(?: under \*(?P<under>.+?)\*,)? the cell with `(?P<code>[^`]+)`")


def test_each_core_is_in_the_book():
    assert list(PARTS) == [one.number for one in known()]
    for number, text in PARTS.items():
        for word in ("**The point**", "**Show**", "**They say**", "**Then**"):
            assert word in text, (number, word)


@pytest.mark.parametrize("number", PARTS)
def test_the_cells_to_show_are_in_their_sections(number):
    shown = [*SHOWN.finditer(PARTS[number])]
    assert len(shown) == PARTS[number].count("**Show**:") >= 2
    under: dict[str, str] = {}
    heading = ""
    for cell in lesson(number).part("core"):
        heading = (cell.cell_type == "markdown" and reading.heading(cell)) or heading
        if cell.cell_type == "code":
            under[heading] = under.get(heading, "") + cell.source + "\n"
    for one in shown:
        sources = [under[one["under"]]] if one["under"] else [*under.values()]
        assert any(one["code"] in source for source in sources), one[0]


def test_the_sections_that_other_pages_name_are_in_the_lessons():
    quiz = (runsheet.BOOK / "quiz.md").read_text("utf-8")
    named = re.findall(r"\(Lesson (\d\d), (\*.+?\*)\)", quiz)
    assert len(named) >= 20
    named += list(runsheet._LATE.items())
    for number, text in named:
        for heading in re.findall(r"\*([^*]+)\*", text):
            assert heading in runsheet.sections(lesson(number)), (number, heading)


def test_the_quiz_has_an_answer_to_each_question():
    quiz = (runsheet.BOOK / "quiz.md").read_text("utf-8")
    questions, answers = quiz.split("\n---\n")
    numbers = [str(n) for n in range(1, 11)]
    assert re.findall(r"^\*\*(\d+)\.\*\*", questions, re.MULTILINE) == numbers * 2
    assert re.findall(r"^(\d+)\. ", answers, re.MULTILINE) == numbers * 2


@pytest.mark.parametrize("name", telling.named(BOOK))
def test_the_answer_in_the_book_makes_that_mistake(redis, request, name):
    if not request.config.getoption("--all-answers") and name != "03.2#6":
        pytest.skip("the other answers of the book are tried in `make test-all`")
    case, _ = telling.telling(telling.mistake(name))
    given = answer(case.source, redis=redis) if name.startswith("01") else answer(case.source)
    verdict = open_lab(name[:2]).check(case.exercise, given)
    assert number_drawn(name[:2], case, verdict) == int(name.partition("#")[2]), verdict


def test_the_commands_that_the_book_names_exist():
    text = "\n".join(page.read_text("utf-8") for page in runsheet.pages())
    named = set(re.findall(r"(?:^|`|/)course ([a-z][^`\n]*)", text, re.MULTILINE))
    assert len(named) >= 10
    for line in named:
        command, words = get_command(app), line.split()
        while isinstance(command, TyperGroup):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known_options = {name for one in command.params for name in one.opts}
        assert {word for word in words if word.startswith("--")} <= known_options, line
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
