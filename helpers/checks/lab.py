"""Labs and their exercises: run a check, say the verdict, keep the progress, give hints."""

from __future__ import annotations

import contextlib
import inspect
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from helpers.chaos import (
    CannotTravel,
    Failure,
    Outcome,
    Proxy,
    Returned,
    Running,
    Unfinished,
)
from helpers.checks import progress
from helpers.checks.slips import advice
from helpers.checks.verdict import StillBlank, Trouble, Verdict, Wrong
from helpers.course.blank import BLANK, Blank
from helpers.course.connect import connect
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.course.server import find_server
from helpers.streams.errors import StreamsError

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


@dataclass(repr=False)
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
        except (redis.RedisError, StreamsError, Trouble) as error:
            sentence = f"The check could not do its work, so check again. {error}"
            return Verdict("trouble", heading, (("", sentence),))
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


class Scene:
    """What a check works with: the server, keys of its own, and a place to run functions."""

    def __init__(self, lab: str) -> None:
        self.redis = connect(retries=1)
        token = secrets.token_hex(4)
        self._prefix = f"lab{lab}:check:{token}:"
        self._client_name = f"check-{token}"
        self._url = find_server().url

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

    def call(
        self,
        function: Any,
        *arguments: Any,
        slow: str = "",
        limit_s: float = LIMIT_S,
        through: Proxy | None = None,
        fresh: bool = False,
    ) -> Any:
        """Run a learner's function and give back what it returns.

        Args:
            function: the learner's.
            arguments: `CLIENT` stands for a client.
            slow: the hint if it does not return in time.
            limit_s: how long it may take, in seconds.
            through: a proxy from `proxied()`, for its connections to go through.
            fresh: whether to start Python for it, which takes half a second. Otherwise all are
                forks of one Python, and `hash()` of a text is the same in each.

        Raises:
            Wrong: it raised, never returned, or cannot be run outside the notebook.
            StillBlank: it returned the blank.
        """
        with self.running(function, *arguments, through=through, fresh=fresh) as process:
            return result(process.outcome(limit_s), slow, limit_s)

    def running(
        self, function: Any, *arguments: Any, through: Proxy | None = None, fresh: bool = False
    ) -> Running:
        """Start a learner's function and go on: the function ends with the `with` block.

        Raises:
            Wrong: it cannot be run outside the notebook.
        """
        try:
            url = self.url(through)
            return Running(function, *arguments, name="check", url=url, forked=not fresh)
        except CannotTravel as error:
            raise stays_here(error) from error

    def url(self, through: Proxy | None = None) -> str:
        """Where the connections of a learner's function lead, and are known by their name."""
        url = through.url if through else self._url
        return f"{url}{'&' if '?' in url else '?'}client_name={self._client_name}"

    def proxied(self) -> Proxy:
        """A proxy in front of the server, for `running(…, through=proxy)`; use it by `with`."""
        return Proxy()

    def time_out(self) -> bool:
        """Let a BLOCK of the function at work end in vain, by CLIENT UNBLOCK; False if none is."""
        blocked = [
            client["id"]
            for client in self.redis.client_list()
            if client["name"] == self._client_name and "b" in client["flags"]
        ]
        return sum(bool(self.redis.client_unblock(int(one))) for one in blocked) > 0

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


def stays_here(error: CannotTravel) -> Wrong:
    """The verdict on a function that cannot be run outside the notebook."""
    return Wrong(
        "Use only the arguments, imports and functions of your own: the check runs "
        "your function in a process of its own.",
        found=f"something that exists only in this notebook ({error.reason})",
    )


def result(outcome: Outcome, slow: str, limit_s: float) -> Any:
    """What a function returned, or the verdict on why it did not."""
    match outcome:
        case Returned(value=Blank()):
            raise StillBlank
        case Returned(value=value):
            return value
        case Failure(source=source) if repr(BLANK) in source:
            raise StillBlank
        case Failure(kind="ConnectionError" | "ServerError" | "BusyLoadingError"):
            raise Trouble(f"The server went away during the check ({outcome.message}).")
        case Failure():
            raise Wrong(advice(outcome), found=str(outcome))
        case Unfinished(ended=True):
            raise Wrong("Return from your function, and nothing more.", found="its process ended")
        case Unfinished():
            raise Wrong(
                slow or "Look for a loop that never ends, or a BLOCK that nothing ends.",
                expected=f"an answer within {limit_s:g} s",
                found="it was still running, so the check ended it",
            )


def ids_of(answer: Any) -> list[str]:
    """The IDs in an answer, whether it has pairs of redis-py or entries of ours.

    Raises:
        Wrong: it is no list of entries.
    """
    try:
        return [str(entry_id) for entry_id, _ in answer]
    except (TypeError, ValueError):
        raise Wrong(
            "Return entries as redis-py gives them: a list of pairs (ID, fields).",
            expected="[('1000-0', {…}), …]",
            instead=answer,
        ) from None


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
    return tuple((label, _short(text)) for label, text in lines if text)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]} …"
