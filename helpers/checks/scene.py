"""What a check works with: the server, keys of its own, and processes for learners' functions."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from helpers.chaos import CannotTravel, Failure, Outcome, Proxy, Returned, Running, Unfinished
from helpers.checks.slips import advice
from helpers.checks.verdict import StillBlank, Trouble, Wrong
from helpers.course.blank import BLANK, Blank
from helpers.course.connect import connect
from helpers.course.database import clean
from helpers.course.pace import patient
from helpers.course.server import find_server

LIMIT_S = patient(2.0)  # how long a learner's function may run


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
        """End a BLOCK of the function at work, by CLIENT UNBLOCK; False if none is waiting."""
        blocked = [
            client["id"]
            for client in self.redis.client_list()
            if client["name"] == self._client_name and "b" in client["flags"]
        ]
        return sum(bool(self.redis.client_unblock(int(one))) for one in blocked) > 0

    @contextlib.contextmanager
    def watching(self, *keys: str, in_scripts: bool = False) -> Iterator[list[list[str]]]:
        """Record the commands that name one of the keys, by MONITOR: a list, full at the end.

        Each command is a list of words, its name in capitals. It is full too where the block
        ends with an exception.

        Args:
            keys: the keys, or other words.
            in_scripts: whether those that a script sends count as well.
        """
        commands: list[list[str]] = []
        named = {*keys}
        with self.redis.monitor() as monitor:
            try:
                yield commands
            finally:
                end = f"the end of {self._prefix}{secrets.token_hex(4)}"
                self.redis.echo(end)
                while end not in (said := monitor.next_command())["command"]:
                    words = said["command"].split(" ")
                    if named & {*words} and (in_scripts or said["client_type"] != "lua"):
                        commands.append([words[0].upper(), *words[1:]])


def stays_here(error: CannotTravel) -> Wrong:
    """The verdict on a function that cannot be run outside the notebook."""
    return Wrong(
        "Use only your function's arguments, your imports and your own functions: the check "
        "runs your function in a separate process.",
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
        case Failure(kind="ConnectionError") if "connecting to localhost:6379" in outcome.message:
            raise Wrong(
                "Your function has to work on the client that it was given: one of your own may "
                "connect to another server, or to none.",
                found=str(outcome),
            )
        case Failure(kind="ConnectionError" | "ServerError" | "BusyLoadingError"):
            raise Trouble(f"The server went away during the check ({outcome.message}).")
        case Failure():
            raise Wrong(advice(outcome), found=str(outcome))
        case Unfinished(ended=True):
            raise Wrong(
                "Return from your function; don't end the process.", found="its process ended"
            )
        case Unfinished():
            raise Wrong(
                slow
                or "Look for a loop that never ends, a BLOCK that never returns, or a client "
                "of your own that finds no server.",
                expected=f"an answer within {limit_s:g} s",
                found="it was still running, so the check ended it",
            )


def ids_of(answer: Any) -> list[str]:
    """The IDs in an answer, whether it has pairs of redis-py or entries of ours.

    Raises:
        Wrong: it is no list of entries.
    """
    try:
        if any(isinstance(entry, Mapping) for entry in answer):
            raise TypeError
        pairs = [(entry_id, fields) for entry_id, fields in answer]
        if any(type(entry_id) in (list, tuple) for entry_id, _ in pairs):
            raise TypeError
        return [str(entry_id) for entry_id, _ in pairs]
    except (TypeError, ValueError):
        raise Wrong(
            "Return entries as redis-py returns them: a list of pairs (ID, fields).",
            expected="[('1000-0', {…}), …]",
            instead=answer,
        ) from None
