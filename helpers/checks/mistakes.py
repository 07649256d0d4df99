"""The mistakes that the checks name, numbered: the class board counts them, the book lists them.

The numbers and sentences are in `mistakes.json`, which `make labs` writes from the checks' sources.
Where a check puts a value into its sentence, the file has `…`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("mistakes.json")
GENERAL = "general"  # the mistakes that any exercise can meet, such as a missing `await`


@cache
def catalogue() -> dict[str, dict[int, str]]:
    """For each exercise, such as `03.2`, its mistakes: a number and the sentence for it.

    A number keeps its mistake when others come, so it means the same in two versions of the
    course. The general mistakes, from 901 on, are the same for every exercise.
    """
    kept: dict[str, dict[str, str]] = json.loads(FILE.read_text("utf-8"))
    general = kept.pop(GENERAL)
    return {
        exercise: {int(number): sentence for number, sentence in {**own, **general}.items()}
        for exercise, own in kept.items()
    }


def number_of(exercise: str, hint: str) -> int:
    """The number of the mistake that a hint names, or 0 if the catalogue doesn't have it.

    Args:
        exercise: the numbers of lab and exercise, such as `03.2`.
        hint: the sentence, whole or shortened as a verdict shows it.
    """
    cut = hint.removesuffix(" …")
    known = _patterns(exercise)
    for number, sentence, pattern in known:
        if pattern.fullmatch(hint) or (cut != hint and _begins(sentence, cut)):
            return number
    # Some hints are two sentences, of which the second says more: "Write a number. An ID is …"
    said = ((number, hint[match.end() :]) for number, _, p in known if (match := p.match(hint)))
    first = next((number for number, rest in said if rest.startswith(" ")), 0)
    whole = (number for number, _, p in known if re.search(rf" {p.pattern}\Z", hint, re.DOTALL))
    return first or next(whole, 0)


@cache
def _patterns(exercise: str) -> list[tuple[int, str, re.Pattern[str]]]:
    """The sentences of an exercise, those that fix the most characters first."""
    known = catalogue().get(exercise, {}).items()
    by_length = sorted(known, key=lambda one: -len(one[1].replace("…", "")))
    return [(number, sentence, _pattern(sentence)) for number, sentence in by_length]


def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, sentence.split("…"))), re.DOTALL)


def _begins(sentence: str, cut: str) -> bool:
    """Whether a shortened hint can be the beginning of this sentence."""
    parts = sentence.split("…")
    for size in range(len(parts), 0, -1):
        *whole, last = parts[:size]
        for end in (len(last), *range(len(last) - 1, 19, -1)):
            if re.fullmatch(".*".join(map(re.escape, [*whole, last[:end]])), cut, re.DOTALL):
                return True
    return False
