"""How a consumer's loop gets its answers: it asks until one comes, or its patience ends."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

import redis

from ..entry import FIRST, EntryId
from ..errors import (
    ArgumentError,
    ConsumerError,
    GroupError,
    StreamsError,
    explain,
    given_up,
)
from ..keys import expect_name, notes_of
from ..patience import Patience
from ..single import Single
from ..states import passes, state_of, unreachable
from .dead_letters import dead_letters_of
from .scripts import CREATE, DRAIN, allow, deny, drain
from .settings import ConsumerSettings, Counts
from .steps import Run, Send, Steps, Wait

log = logging.getLogger(__name__)


def live_name() -> str:
    """A consumer name that no other process has: host, process, and a few random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def no_text(error: Exception) -> bool:
    """The reply came, and is no UTF-8."""
    return isinstance(error, UnicodeDecodeError)


def never(error: Exception) -> bool:
    """No error is an answer."""
    return False


class Asking(Single):
    """One consumer of a group, and its words with the server.

    Attributes:
        counts: what it has done.
        stopped: it was asked to stop.
        clock: what it takes for the time, in seconds.
    """

    def __init__(
        self,
        stream: str,
        group: str,
        name: str | None,
        settings: ConsumerSettings,
        clock: Callable[[], float],
    ) -> None:
        self._passing = name is None  # no later life will use this name
        stream, group = expect_name("stream", stream), expect_name("group", group)
        dead = settings.dead_letters or dead_letters_of(stream, group)
        if dead == stream:
            raise ArgumentError(
                f"{stream!r} cannot hold its own dead letters: give them another key."
            )
        self.stream, self.group = stream, group
        self.name = "" if name is None else expect_name("consumer", name)
        self.clock = clock
        self._settings = settings
        names, failures, sweep = notes_of(stream, group)
        self._keys = [stream, names, dead, failures, sweep]
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self.name = live_name() if self._passing else self.name
        self._token = secrets.token_hex(8)
        self.counts = Counts()
        self.stopped = self._at_work = self._inherited = False

    def _forked(self) -> None:
        """In the child of a run only end: the parent has the name, and what is in hand.

        If another thread forked, that run is not in the child; its next one begins as another.
        """
        if self._at_work:
            self._token, self.stopped, self._inherited = secrets.token_hex(8), True, True
        else:
            self._reset()

    def _begin(self) -> None:
        """Forget an earlier run, which may have been broken off anywhere."""
        self._patience = Patience(self._settings.patience_s, self.clock)
        self._ceiling = ""  # bytes that were used when the memory began to be full
        self._recheck = True  # whether entries may be pending for us that we have not seen
        self._last = FIRST  # the last entry that was delivered to us as new

    def _held(self) -> list[str]:
        """All that is in hand."""
        raise NotImplementedError

    def _run(self, script: str, *args: Any, keys: list[Any] | None = None) -> Run:
        arguments = [self.group, self.name, self._token, "", *args]
        return Run(script, [*self._keys, *(keys or [])], arguments)

    def _ask(self, run: Run | Send, *, but: Callable[[Exception], bool] = never) -> Steps:
        """Run what can be run twice, until the answer comes.

        Args:
            run: a script, or commands.
            but: says of an error whether that is an answer too.
        """
        while True:
            since = self.clock()
            reply = yield run
            if not isinstance(reply, redis.RedisError | UnicodeDecodeError):
                self._answered()
                return self._drained(run, reply) if isinstance(run, Run) else reply
            if isinstance(reply, redis.RedisError):
                if not but(reply) or unreachable(reply):
                    yield from self._failure(reply, since)
            elif not but(reply):
                raise StreamsError(f"The server's reply isn't text ({reply}).") from reply
            if but(reply):
                return reply

    def _answered(self) -> None:
        if away_s := self._patience.lasts_s:
            log.info("%s: the server answers again, after %.1f s", self.name, away_s)
        self._patience.renew()

    def _failure(self, error: redis.RedisError, since: float) -> Steps:
        """Wait for what passes; raise what is not worth another try."""
        if not passes(error):
            known = explain(error, self.stream, self.group)
            if not (isinstance(known, GroupError) and self._settings.on_lost_group):
                raise known from error
            yield from self._create_group(known)
            return
        self._recheck = True
        self.counts.reconnects += unreachable(error)
        if not self._patience.lasts_s:
            what = "no answer" if unreachable(error) else f"refused with {state_of(error)}"
            log.warning("%s: %s, and tries again: %s", self.name, what, error)
        wait_s = self._patience.failed(since)
        if self._patience.ended(stopped=self.stopped):
            raise given_up(error, self.stream, self.group) from error  # what we hold stays pending
        yield Wait(wait_s)

    def _create_group(self, lost: GroupError) -> Steps:
        """Make a group again that is gone, where the caller wants it to begin."""
        start = self._settings.on_lost_group
        if start == "resume":
            held = self._held()
            after = min(map(EntryId.parse, held)).before() if held else self._last
            if after == FIRST:
                raise lost  # it was gone before we had seen anything of it
            start = str(after)
        log.warning("%s: %s It is created again, at %s.", self.name, lost, start)
        while isinstance(reply := (yield self._run(CREATE, start)), redis.RedisError):
            if not passes(reply):
                raise explain(reply, self.stream, self.group) from reply
            yield Wait(self._patience.failed())
            if self._patience.exhausted:
                raise lost
        self._recheck = True

    def _growing(self, run: Run) -> Run:
        """A script that makes the memory grow, as the settings let it where that is full."""
        if self._settings.allow_oom:
            return run._replace(script=allow(run.script))
        if self._settings.delete:
            args = [*run.args]
            args[3] = self._ceiling
            return run._replace(script=drain(run.script), args=args)
        return run._replace(script=deny(run.script))

    def _drained(self, run: Run, reply: Any) -> Any:
        """The script's own reply, where `drain` says beside it how full the memory is."""
        if run.script.startswith(DRAIN):
            used, reply = reply
            self._ceiling = used and (self._ceiling or used)
        return reply

    def _expect(self, ours: bool) -> None:
        """Make sure that the name is still ours.

        Raises:
            ConsumerError: a consumer that began later has it.
        """
        if not ours:
            raise ConsumerError(
                f"Another consumer named {self.name!r} took over in the group {self.group!r}: "
                "stop one of them, or give them different names.",
                stream=self.stream,
                group=self.group,
            )
