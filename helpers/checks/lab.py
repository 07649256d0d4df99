"""Labs and their exercises: run a check, say the verdict, keep the progress, give hints."""

from __future__ import annotations

import contextlib
import inspect
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from helpers.blank import BLANK, Blank
from helpers.checks import progress, sandbox
from helpers.checks.sandbox import CannotTravel, Failure, Outcome, Returned, Running, Unfinished
from helpers.checks.verdict import StillBlank, Verdict, Wrong
from helpers.connect import connect
from helpers.database import clean
from helpers.errors import CourseError
from helpers.server import find_server

LIMIT_S = 2.0  # how long a learner's function may run

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


@dataclass
class Lab:
    """The exercises of one lab."""

    number: str
    solution: str
    exercises: dict[int, Exercise] = field(default_factory=dict)

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
        heading = f"Exercise {number} of {len(self.exercises)}: {exercise.title}"
        try:
            _expect_answer(exercise, answers)
            with Scene(self.number) as scene:
                praise = exercise.check(scene, *answers)
        except StillBlank:
            lines = (("", f"Still blank: write your answer in place of `{BLANK!r}`."),)
            return Verdict("blank", heading, lines, self._more(number))
        except Wrong as wrong:
            return Verdict("wrong", heading, _lines(wrong), self._more(number))
        except CannotTravel as error:
            refused = Wrong(
                "Use only the arguments, imports and functions of your own: the check runs "
                "your function in a process of its own.",
                found=f"something that exists only in this notebook ({error})",
            )
            return Verdict("wrong", heading, _lines(refused), self._more(number))
        except (redis.RedisError, CourseError) as error:
            lines = (("", f"The check could not do its work: {error}"),)
            return Verdict("trouble", heading, lines)
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
        return Verdict("right" if complete else "blank", f"Lab {self.number}", lines, self._count())

    def _find(self, number: int) -> Exercise:
        if number not in self.exercises:
            raise CourseError(
                f"Lab {self.number} has no exercise {number!r}: "
                f"its exercises are 1 to {len(self.exercises)}."
            )
        return self.exercises[number]

    def _more(self, number: int) -> str:
        return f"Stuck? `lab.hint({number})` gives one hint after another."

    def _count(self) -> str:
        return f"{len(progress.done(self.number))} of {len(self.exercises)} done"


class Scene:
    """What a check works with: the server, keys of its own, and a place to run functions."""

    def __init__(self, lab: str) -> None:
        self.redis = connect(retries=1)
        self.url = find_server().url
        self._prefix = f"lab{lab}:check:{secrets.token_hex(4)}:"

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        clean(self.redis, f"{self._prefix}*")
        self.redis.close()

    def key(self, name: str) -> str:
        """A key that only this check uses, and that is gone after it."""
        return self._prefix + name

    def stream(self, name: str, entries: list[tuple[str, dict[str, str]]]) -> str:
        """A stream of the check's own with these entries."""
        key = self.key(name)
        pipeline = self.redis.pipeline(transaction=False)
        for entry_id, fields in entries:
            pipeline.xadd(key, fields, id=entry_id)  # type: ignore[arg-type]
        pipeline.execute()
        return key

    def call(self, function: Any, *arguments: Any, slow: str = "", limit_s: float = LIMIT_S) -> Any:
        """Run a learner's function and give back what it returns.

        Args:
            function: the learner's.
            arguments: `CLIENT` stands for a client.
            slow: the hint if it does not return in time.

        Raises:
            Wrong: it raised, never returned, or cannot be run outside the notebook.
            StillBlank: it returned the blank.
        """
        with self.running(function, *arguments) as process:
            return result(process.outcome(limit_s), slow, limit_s)

    def running(self, function: Any, *arguments: Any) -> contextlib.AbstractContextManager[Running]:
        """Start a learner's function and go on: the function ends with the `with` block."""
        return sandbox.running(function, *arguments, url=self.url)

    @contextlib.contextmanager
    def watching(self, key: str) -> Iterator[list[list[str]]]:
        """Record the commands that name a key, by MONITOR: a list that is full at the end.

        Each command is a list of words, its name in capitals.
        """
        commands: list[list[str]] = []
        with self.redis.monitor() as monitor:
            yield commands
            end = f"the end of {self._prefix}"
            self.redis.echo(end)
            while end not in (said := monitor.next_command()["command"]):
                words = said.split(" ")
                if key in words:
                    commands.append([words[0].upper(), *words[1:]])


def result(outcome: Outcome, slow: str, limit_s: float) -> Any:
    """What a function returned, or the verdict on why it did not."""
    match outcome:
        case Returned(value=Blank()):
            raise StillBlank
        case Returned(value=value):
            return value
        case Failure(source=source) if repr(BLANK) in source:
            raise StillBlank
        case Failure():
            raise Wrong("Run your function yourself to see where it fails.", found=str(outcome))
        case Unfinished():
            raise Wrong(
                slow or "Look for a loop that never ends, or a BLOCK that nothing ends.",
                expected=f"an answer within {limit_s:g} s",
                found="it was still running, so the check ended it",
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
        signature.bind(*parameters)
    except (TypeError, ValueError):
        raise Wrong(
            "Keep the parameters as the lab gives them.",
            expected=wanted,
            found=f"a function of {signature}",
        ) from None


def _has_blank(answer: Any) -> bool:
    if isinstance(answer, dict):
        return any(isinstance(value, Blank) for value in answer.values())
    if isinstance(answer, list | tuple | set):
        return any(isinstance(value, Blank) for value in answer)
    return isinstance(answer, Blank)


def _lines(wrong: Wrong) -> tuple[tuple[str, str], ...]:
    lines = [("Expected", wrong.expected), ("Found", wrong.found), ("Hint", wrong.hint)]
    return tuple((label, _text(value)) for label, value in lines if value is not None)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else f"{text[:300]} …"
