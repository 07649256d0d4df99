"""The mistakes that checks name have numbers that stay, and every hint finds its own."""

from __future__ import annotations

import pytest

from helpers.checks import LABS, open_lab
from helpers.checks.mistakes import FILE, catalogue, number_of
from helpers.course.authoring import mistakes

pytestmark = pytest.mark.once


def test_the_file_has_what_the_checks_can_say():
    """If this fails, a hint was added or changed: `make labs` gives it a number."""
    assert FILE.read_text("utf-8") == mistakes.rendered()


def test_every_exercise_is_in_the_catalogue():
    exercises = {f"{lab}.{n}" for lab in LABS for n in open_lab(lab).exercises}
    assert set(catalogue()) == exercises == set(mistakes.titles())
    assert all(own for own in catalogue().values())


def test_each_sentence_finds_its_own_number_whole_or_shortened():
    for exercise, sentences in catalogue().items():
        for number, sentence in sentences.items():
            said = sentence.replace("…", "the value 7")
            assert number_of(exercise, said) == number, (exercise, said)
            if len(said) > 300:
                assert number_of(exercise, f"{said[:300]} …") == number, (exercise, said)


def test_an_unknown_hint_has_no_number():
    assert number_of("03.2", "No check says this.") == 0
    assert number_of("99.9", "Write True or False.") == 0
    assert number_of("03.2", "") == 0


def test_a_hint_of_two_sentences_is_found_by_the_one_that_is_known():
    reason = catalogue()["03.1"][1]
    assert number_of("03.1", f"Write a number. {reason}") == 1
    assert number_of("03.1", f"{reason} And one thing more.") == 1


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (["one is none of them", "two"], {1: "one is none of them", 2: "two"}),
        (["new", "one is none of them", "two"], {1: "one is none of them", 2: "two", 3: "new"}),
        (["two"], {1: "one is none of them", 2: "two"}),  # a number isn't given away
        (["one isn't one of them", "two"], {1: "one isn't one of them", 2: "two"}),  # reworded
        (["quite another", "two"], {1: "one is none of them", 2: "two", 3: "quite another"}),
    ],
)
def test_a_number_keeps_its_mistake(now, then):
    before = {1: "one is none of them", 2: "two"}
    assert mistakes.numbered(before, now, 1) == then
    assert mistakes.numbered(then, now, 1) == then
