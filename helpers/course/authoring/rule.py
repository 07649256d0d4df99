"""The rule of time: how long a lesson and the exercises of its lab take.

A lesson takes a minute for 150 words, 50 seconds for a cell of code and a minute for a prediction.
An exercise takes 4, 7 or 10 minutes, by the lines of its answer; one that isn't a must may take 15,
and so does a stretch of more than 8 lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from helpers.course.authoring import reading
from helpers.course.authoring.labs import SOLUTIONS
from helpers.course.authoring.reading import Exercise, Level, Part
from helpers.course.home import CHECKOUT

LESSONS = CHECKOUT / "notebooks"

WORDS_A_MINUTE, CODE_CELL_S, PREDICTION_S = 150, 50, 60
SIZES = {3: 4, 8: 7, 16: 10}  # lines of an answer, at most: minutes
LARGEST = 15

# Where the deeper part would begin in lessons that do not say so yet.
CUTS = {
    "01": "What was the day like?",
    "02": "Where was I?",
    "03": "Real processes",
    "04": "Why one by one?",
    "05": "",
    "06": "The real consumer",
    "07": "What is in the feed?",
    "08": "Where do pipelines stop helping?",
}


def words(cell: Any) -> int:
    """How many words a reader of a Markdown cell reads."""
    return sum(any(map(str.isalnum, word)) for word in reading.prose(cell).split())


def minutes(cells: Sequence[Any]) -> float:
    """How long these cells of a lesson take."""
    prose = [cell for cell in cells if cell.cell_type == "markdown"]
    code = sum(cell.cell_type == "code" for cell in cells)
    predicted = sum(map(reading.predictions, prose))
    seconds = CODE_CELL_S * code + PREDICTION_S * predicted
    return sum(map(words, prose)) / WORDS_A_MINUTE + seconds / 60


def exercise_minutes(lines: int, level: Level | None = None) -> int:
    """How long an exercise takes whose answer has so many lines; a long one to stretch most."""
    size = next((time for most, time in SIZES.items() if lines <= most), LARGEST)
    if level == "must":
        return min(size, 10)
    return LARGEST if level == "stretch" and size >= 10 else size


@dataclass
class Lesson:
    """A lesson with its lab, read from their notebooks."""

    number: str
    name: str
    cells: list[Any]
    lab: list[Any] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Lesson:
        """The lesson of a file, and the solution of the same name if there is one."""
        solution = SOLUTIONS / file.name
        lab = nbformat.read(solution, as_version=4).cells if solution.exists() else []
        return cls(file.name[:2], file.name, nbformat.read(file, as_version=4).cells, lab)

    @property
    def stands(self) -> bool:
        """Whether its parts are marked."""
        return self.number == "00" or reading.has_deeper_part(self.cells)

    def part(self, part: Part) -> list[Any]:
        """The cells of its core, or those that go deeper."""
        cells = reading.in_pieces(self.cells)
        where = reading.parts(cells, CUTS.get(self.number, ""))
        return [cell for cell, its in zip(cells, where, strict=True) if its == part]

    def takes(self, part: Part) -> int:
        """The whole minutes of a part."""
        return math.ceil(minutes(self.part(part)))

    @property
    def exercises(self) -> list[Exercise]:
        """Those of its lab."""
        return reading.exercises(self.lab)

    def lab_takes(self, *levels: Level) -> int:
        """The minutes of its lab: of the exercises of these levels, or of all."""
        return sum(
            exercise_minutes(len(one.answer), one.level)
            for one in self.exercises
            if not levels or one.level in levels
        )


def lessons() -> list[Lesson]:
    """All of them, in order."""
    return [Lesson.read(file) for file in sorted(LESSONS.glob("[0-9]*.ipynb"))]
