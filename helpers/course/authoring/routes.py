"""The run-sheet of each route: what a class does minute by minute, by the course's own times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from helpers.course.authoring.reading import Exercise
from helpers.course.authoring.rule import Lesson, exercise_minutes, lessons


@dataclass(frozen=True)
class Step:
    """A stretch of a route: a lesson, an exercise or a break.

    Attributes:
        title: what the class does.
        minutes: how long it takes.
        exercise: its ID, such as `03.2`, if it is one.
    """

    title: str
    minutes: int
    exercise: str = ""


@dataclass(frozen=True)
class Route:
    """A way through the course that fits a slot."""

    name: str
    steps: tuple[Step, ...]

    def ends(self) -> list[int]:
        """The minute at which each step should be over."""
        return list(accumulate(step.minutes for step in self.steps))

    def due(self) -> dict[str, int]:
        """The minute at which each exercise should be done."""
        return {
            step.exercise: end
            for step, end in zip(self.steps, self.ends(), strict=True)
            if step.exercise
        }


BREAK_AFTER, BREAK = 75, 10  # minutes of work, and of the break that follows the exercise at hand
SLOTS = (("90 minutes", "01"), ("half a day", "04"), ("a day", "06"))


def routes(known: Sequence[Lesson] = ()) -> list[Route]:
    """The routes of README: cores and musts in a slot, or all of it in two days."""
    known = known or lessons()
    short = [
        Route(name, tuple(_with_breaks(_steps(known, last, musts=True)))) for name, last in SLOTS
    ]
    return [*short, Route("two days", tuple(_with_breaks(_steps(known, "99", musts=False))))]


def exercises(known: Sequence[Lesson] = ()) -> dict[str, tuple[bool, int]]:
    """Whether each exercise of the course is a must, and the minutes that it takes."""
    return {
        _id(lesson, one): (one.level == "must", _minutes(one))
        for lesson in known or lessons()
        for one in lesson.exercises
    }


def _steps(known: Sequence[Lesson], last: str, *, musts: bool) -> Iterator[Step]:
    for lesson in known:
        if lesson.number <= last:
            deeper = 0 if musts else lesson.takes("deeper")
            yield Step(f"Lesson {lesson.number}", lesson.takes("core") + deeper)
            for one in lesson.exercises:
                if one.level == "must" or not musts:
                    yield Step(f"Exercise {_id(lesson, one)}", _minutes(one), _id(lesson, one))


def _with_breaks(steps: Iterator[Step]) -> Iterator[Step]:
    """A break before each lesson that would make the class work for too long in one go."""
    worked = 0
    for step in steps:
        if not step.exercise and worked and worked + step.minutes > BREAK_AFTER:
            yield Step("Break", BREAK)
            worked = 0
        worked += step.minutes
        yield step


def _id(lesson: Lesson, exercise: Exercise) -> str:
    return f"{lesson.number}.{exercise.number}"


def _minutes(exercise: Exercise) -> int:
    return exercise_minutes(len(exercise.answer), exercise.level)
