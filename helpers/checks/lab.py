"""Labs and their exercises: run a check, say the verdict, keep the progress, give hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from helpers.checks import progress
from helpers.checks.adapt import adapted, returns
from helpers.checks.mistakes import number_of
from helpers.checks.scene import Scene
from helpers.checks.verdict import StillBlank, Trouble, Verdict, Wrong
from helpers.course.blank import BLANK, Blank
from helpers.course.errors import CourseError
from helpers.room import noting
from helpers.streams.errors import StreamsError

Check = Callable[..., str]


@dataclass
class Exercise:
    """One exercise: its check, what it takes, and its hints from vague to plain."""

    number: int
    title: str
    check: Check
    hints: tuple[str, ...]
    calls: tuple[str, ...] | None = None  # the parameters, where the answer is a function
    shown: int = 0


@dataclass(repr=False)
class Lab:
    """The exercises of one lab."""

    number: str
    solution: str
    exercises: dict[int, Exercise] = field(default_factory=dict)
    opened: Callable[[], None] = lambda: None  # what is done when a notebook opens it

    def exercise(
        self, number: int, title: str, *hints: str, calls: tuple[str, ...] | None = None
    ) -> Callable[[Check], Check]:
        """Register a check: a function of a `Scene` and the answers, that raises `Wrong`.

        It returns what to say of a right answer.
        """
        plain = f"The solution of exercise {number} is in {self.solution}."

        def register(check: Check) -> Check:
            self.exercises[number] = Exercise(number, title, check, (*hints, plain), calls)
            return check

        return register

    def check(self, number: int, *answers: Any) -> Verdict:
        """Look whether an exercise is done: `lab.check(3, my_function)`.

        Raises nothing: whatever an answer does, the verdict says it.
        """
        exercise = self._find(number)
        verdict = self._judge(exercise, answers)
        name = f"{self.number}.{number}"
        noting.note(name, verdict.outcome, lambda: _mistake(name, verdict))
        return verdict

    def _judge(self, exercise: Exercise, answers: tuple[Any, ...]) -> Verdict:
        number = exercise.number
        heading = f"Exercise {number} of {len(self.exercises)}: {exercise.title}"
        given = answers
        try:
            _expect_answer(exercise, answers)
            if exercise.calls:
                answers = tuple(map(adapted, answers))
            with Scene(self.number) as scene:
                praise = exercise.check(scene, *answers)
        except StillBlank:
            still = f"Still blank: replace `{BLANK!r}`, or the whole line that holds it."
            lines = (("", still),)
            return Verdict("blank", heading, lines, self._more(number))
        except Wrong as wrong:
            if wrong.found == repr(None) and exercise.calls and not any(map(returns, given)):
                wrong.found += ": is there a `return`?"
            return Verdict("wrong", heading, _lines(wrong), self._more(number))
        except (redis.RedisError, StreamsError, Trouble) as error:
            if str(error).startswith(("NOGROUP", "WRONGTYPE", "no such key")):
                return Verdict("wrong", heading, _lines(_spoilt(error)), self._more(number))
            sentence = f"The check could not do its work, so check again. {error}"
            return Verdict("trouble", heading, (("", sentence),))
        except Exception as error:  # no answer may end a cell in a traceback
            sentence = (
                f"The check itself failed on this answer, which is a bug in the course. "
                f"{type(error).__name__}: {error}"
            )
            return Verdict("trouble", heading, (("", _short(sentence)),))
        progress.mark_done(self.number, number)
        return Verdict("right", heading, (("", praise),), self._count())

    def hint(self, number: int) -> Verdict:
        """The next hint for an exercise; the last one names the solution."""
        exercise = self._find(number)
        shown = min(exercise.shown, len(exercise.hints) - 1)
        exercise.shown = shown + 1
        heading = f"Hint {shown + 1} of {len(exercise.hints)} for exercise {number}"
        return Verdict("blank", heading, (("", exercise.hints[shown]),))

    def progress(self) -> Verdict:
        """Which exercises are done."""
        done = progress.done(self.number)
        lines = tuple(
            ("✓" if one.number in done else "○", f"{one.number}. {one.title}")
            for one in self.exercises.values()
        )
        complete = len(done) >= len(self.exercises)
        footer = " · ".join(filter(None, (self._count(), noting.news())))
        return Verdict("right" if complete else "blank", f"Lab {self.number}", lines, footer)

    def __repr__(self) -> str:
        return f"Lab {self.number}, {self._count()}: see lab.progress()"

    def _find(self, number: int) -> Exercise:
        if type(number) is not int or number not in self.exercises:
            raise CourseError(
                f"Lab {self.number} has no exercise {number!r}: "
                f"its exercises are 1 to {len(self.exercises)}."
            )
        return self.exercises[number]

    def _more(self, number: int) -> str:
        return f"Stuck? `lab.hint({number})` gives one hint after another."

    def _count(self) -> str:
        return f"{len(progress.done(self.number))} of {len(self.exercises)} done"


def _spoilt(error: Exception) -> Wrong:
    """The verdict where a key that the check looks at is not what it was, or is gone."""
    return Wrong(
        "Leave the keys and groups that your function is given in place: one of them is gone, or "
        "has another type.",
        found=str(error),
    )


def _expect_answer(exercise: Exercise, answers: tuple[Any, ...]) -> None:
    """Make sure that there is something to check.

    Raises:
        StillBlank: an answer is the blank.
        Wrong: there is none, or no function where one is asked for.
    """
    if any(_has_blank(answer) for answer in answers):
        raise StillBlank
    wanted = len(inspect.signature(exercise.check).parameters) - 1
    if len(answers) != wanted:
        raise Wrong(
            f"Call it with {wanted} answer{'s' if wanted != 1 else ''} after the number, "
            "as the cell in the lab does.",
            found=f"{len(answers)} answers",
        )
    for answer in answers if exercise.calls else ():
        _expect_function(answer, exercise.calls or ())


def _expect_function(answer: Any, parameters: tuple[str, ...]) -> None:
    wanted = f"a function of ({', '.join(parameters)})"
    if not callable(answer):
        raise Wrong(
            "Give the function itself, by its name and without calling it: `lab.check(n, name)`.",
            expected=wanted,
            found=f"{type(answer).__name__}: {answer!r:.60}",
        )
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        raise Wrong("Give a function of your own.", expected=wanted, instead=answer) from None
    try:
        signature.bind(*parameters)
    except TypeError:
        raise Wrong(
            "Keep the parameters as the lab gives them.",
            expected=wanted,
            found=f"`{getattr(answer, '__name__', 'a function')}{signature}`",
        ) from None


def _has_blank(answer: Any) -> bool:
    if isinstance(answer, dict):
        return any(isinstance(value, Blank) for value in answer.values())
    if isinstance(answer, list | tuple | set):
        return any(isinstance(value, Blank) for value in answer)
    return isinstance(answer, Blank)


def _mistake(exercise: str, verdict: Verdict) -> int:
    """The number of the mistake that a verdict names; 0 for none."""
    hint = dict(verdict.lines).get("Hint")
    return number_of(exercise, hint) if hint else 0


def _lines(wrong: Wrong) -> tuple[tuple[str, str], ...]:
    lines = [("Expected", wrong.expected), ("Found", wrong.found), ("Hint", wrong.hint)]
    return tuple((label, _short(text)) for label, text in lines if text)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]} …"
