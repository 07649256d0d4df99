"""What a consumer does next: `DeliveryLoop` decides step by step, and neither sends nor waits."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import redis

from ..entry import Entry, EntryId, entries, pairs
from ..errors import (
    ArgumentError,
    ConsumerError,
    HandlerError,
    StreamsError,
    WrongTypeError,
    explain,
)
from ..keys import sibling_key
from ..patience import Patience, out_of_reach
from .dead_letters import dead_letters_of
from .effects import PORTION, Done, effect_of, encode
from .scripts import FAIL, JOIN, LEAVE, OWN, SETTLE, SWEEP, TAKE

BATCH = 200  # entries a reply, and so how many a crash may leave to be recovered one by one
BLOCK_MS = 1000  # how long one XREADGROUP waits, and so how soon stop() is heard
MIN_IDLE_MS = 30_000  # longer than any handler takes: who is silent for longer is taken for dead
MAX_DELIVERIES = 5
SETTLE_S = 0.1  # how long a handled entry may wait for the others of its batch to be acknowledged
SWEEP_S = 1.0  # the longest time between two looks at what is pending, its own and others'
PATIENCE_S = 60.0  # how long the server may be out of reach
STOP_S = 1.0  # the same, once it was asked to stop
FIRST_RETRY_S = 0.1
MOST_RETRIES = 1000  # while so many failed entries wait to be retried, nothing new is read
PAGE = 100

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """Run a script on the server, and send back its reply."""

    script: str
    keys: list[Any]
    args: list[Any]


class Read(NamedTuple):
    """XREADGROUP with these arguments, and send back its reply."""

    arguments: dict[str, Any]


class Wait(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


class Failed(NamedTuple):
    """The handler raised."""

    error: Exception

    def __str__(self) -> str:
        lines = str(self.error).splitlines() or [""]
        said = f"{type(self.error).__name__}: {lines[0]}"[:200].removesuffix(": ")
        return said.encode(errors="replace").decode()


Step = Run | Read | Entry | Wait  # an Entry: hand it to the handler, and send back its answer
Steps = Generator[Step, Any, Any]


@dataclass
class Counts:
    """What a consumer has done since it began. A lost reply may leave a count too low.

    Attributes:
        new: entries that were delivered to it first, by XREADGROUP `>`.
        again: entries that were delivered to it once more: its own, retried or claimed ones.
        claimed: entries that it took from consumers that had been silent for too long.
        acked: entries that it handled and acknowledged.
        failed: how often its handler raised, or its effect was refused.
        dead: entries that it moved to the dead letters.
        gone: pending entries that had been deleted or trimmed, and were acknowledged unseen.
        lost: entries that others had claimed or acknowledged before it came to that, or that
            it had itself acknowledged when the reply was lost.
        reconnects: how often the server did not answer.
    """

    new: int = 0
    again: int = 0
    claimed: int = 0
    acked: int = 0
    failed: int = 0
    dead: int = 0
    gone: int = 0
    lost: int = 0
    reconnects: int = 0

    def __str__(self) -> str:
        said = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{count:,} {name}" for name, count in said if count) or "nothing yet"


@dataclass(frozen=True)
class ConsumerSettings:
    """On which settings a consumer works; see `Consumer` for what each means."""

    batch: int = BATCH
    block_ms: int = BLOCK_MS
    min_idle_ms: int = MIN_IDLE_MS
    max_deliveries: int = MAX_DELIVERIES
    delete: bool = False
    dead_letters: str | None = None
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        for name in ("batch", "block_ms", "min_idle_ms", "max_deliveries"):
            expect_positive(name, getattr(self, name))
        if self.max_deliveries == 1 and self.batch > 1:
            raise ArgumentError(
                "With max_deliveries=1, a crash would give up the whole batch that was just "
                "read: make it 2 or more, or read with batch=1."
            )


def expect_positive(name: str, value: Any) -> None:
    """Make sure that a limit is a whole number above 0.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name} must be a whole number above 0, not {value!r}.")


def live_name() -> str:
    """A consumer name that no other process has: host, process, and a few random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class DeliveryLoop:
    """One consumer's work, as a generator of steps. Whoever drives it takes them:

        steps, answer = loop.run(drain=False, limit=None), None
        while True:
            step = steps.send(answer)  # StopIteration: the run is over
            answer = …                 # take the step

    and sends back as the answer to

        Run    the script's reply
        Read   XREADGROUP's reply
        Wait   None, so many seconds later
        Entry  what the handler returned, or Failed with what it raised

    To Run and Read an error of redis-py is an answer too. ConnectionError says that the fate of
    the step is unknown: it was not executed, or it was, or it still will be, at any later time.
    The loop may be abandoned after any step, as `kill -9` does. `Consumer` and `AsyncConsumer`
    are two drivers; the tests have a third one, which plays these faults.
    """

    def __init__(
        self,
        stream: str,
        group: str,
        name: str | None,
        settings: ConsumerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._passing = name is None  # nobody will come back under this name
        name = live_name() if name is None else name
        for what, value in (("stream", stream), ("group", group), ("consumer", name)):
            if not isinstance(value, str) or not value:
                raise ArgumentError(f"A {what} needs a name, such as 'chennai', not {value!r}.")
        dead = settings.dead_letters or dead_letters_of(stream, group)
        if dead == stream:
            raise ArgumentError(
                f"{stream!r} cannot hold its own dead letters: give them another key."
            )
        self.stream, self.group, self.name = stream, group, name
        self.counts = Counts()
        self.stopped = False
        self._settings = settings
        self._clock = clock
        self._after = "keep"  # or XACKDEL, or XDEL: what becomes of an entry once it is handled
        self._keys = [stream, sibling_key(stream, f"{group}:names"), dead,
                      sibling_key(stream, f"{group}:failures")]  # fmt: skip
        self._token = secrets.token_hex(8)
        self._retries: dict[EntryId, float] = {}  # failed entries, and when they are due
        self._begin(None)

    def run(self, *, drain: bool, limit: int | None) -> Steps:
        """One run, from taking the name to the end. A later run begins as if nothing was."""
        if limit is not None:
            expect_positive("limit", limit)
        self._begin(limit)
        try:
            yield from self._join()
            yield from self.steps(drain=drain)
            yield from self._leave()
        finally:
            self.stopped = False  # here, so that a stop() just before a run is not overheard

    def _begin(self, limit: int | None) -> None:
        """Forget an earlier run, which may have been broken off anywhere."""
        self._limit = limit
        self._finished = 0  # entries that need no more work
        self._done: list[Done] = []  # handled, and not yet acknowledged
        self._settled_at = 0.0
        self._recheck = True  # whether our own pending entries have to be looked through
        self._sweep_at = 0.0
        self._patience = Patience(self._settings.patience_s, self._clock)

    def steps(self, *, drain: bool) -> Steps:
        """The work: own history, then what others left behind, then what is new."""
        while not self._over:
            if self._recheck or self._clock() >= self._sweep_at:
                yield from self._own_history()  # also what somebody else claimed for us
            if self._clock() >= self._sweep_at:
                yield from self._idle_entries_of_others()
            yield from self._due_retries()
            found = yield from self._new_entries(wait=not drain)
            if drain and not (found or self._retries or self._recheck):
                break

    @property
    def _over(self) -> bool:
        return self.stopped or (self._limit is not None and self._finished >= self._limit)

    def _join(self) -> Steps:
        said, deleting, before = yield from self._ask(self._run(JOIN, self._token))
        if said == "dead letters":
            raise WrongTypeError(
                f"{self.stream!r} holds dead letters, which are not consumed but replayed: see "
                "`DeadLetters`.",
                stream=self.stream, key=self.stream,
            )  # fmt: skip
        if said != "OK":
            raise WrongTypeError(
                f"The dead letters would go to {self._keys[2]!r}, but that is a {said}: give "
                "them another key.",
                stream=self.stream,
                group=self.group,
                key=self._keys[2],
            )
        self._after = deleting if self._settings.delete else "keep"
        how = "took over the name of an earlier life in" if before else "joined"
        log.info("%s %s the group %s on %s", self.name, how, self.group, self.stream)

    def _leave(self) -> Steps:
        if self._passing:
            yield self._run(LEAVE, self._token)  # tidiness: if it is not heard, nothing is lost

    def _own_history(self) -> Steps:
        """Deliver again what is pending for this name, one by one.

        One by one because each delivery counts: an entry that kills its consumer must not
        take the blame to those behind it.
        """
        self._recheck, start = False, "-"
        while not self._over:
            ids = yield from self._ask(self._run(OWN, start, PAGE))
            for entry_id in map(EntryId.parse, ids):
                if entry_id not in self._retries:
                    yield from self._deliver_again(entry_id)
            if len(ids) < PAGE:
                return
            start = f"({ids[-1]}"

    def _idle_entries_of_others(self) -> Steps:
        """Claim and deliver what has been idle for too long, until the cursor is back at 0-0."""
        idle_ms, cursor = self._settings.min_idle_ms, "0-0"
        while not self._over and (room := self._room()) > 0:
            sweep = self._run(SWEEP, self._token, idle_ms, cursor, room)
            ours, cursor, ids, deleted = yield from self._ask(sweep)
            self._expect(ours)
            self.counts.gone += deleted
            if ids:
                log.info("%s claims what others left idle: %s", self.name, ", ".join(ids))
            for entry_id in map(EntryId.parse, ids):
                self.counts.claimed += entry_id not in self._retries
                yield from self._deliver_again(entry_id)
            if cursor == "0-0":
                break
        self._sweep_at = self._clock() + min(SWEEP_S, idle_ms / 2000)

    def _due_retries(self) -> Steps:
        now = self._clock()
        for entry_id in [one for one, due in self._retries.items() if due <= now]:
            yield from self._deliver_again(entry_id)

    def _new_entries(self, *, wait: bool) -> Steps:
        """Read and handle a batch of new entries; gives how many there were."""
        if self._over:
            return 0
        found: list[Entry] = []
        room, pause_ms = self._room(), self._pause_ms()
        if room > 0:
            found = yield from self._read(room, pause_ms if wait else None)
        if not (found or self._recheck or (wait and room > 0)) and self._retries:
            yield Wait(pause_ms / 1000)
        self.counts.new += len(found)
        self._settled_at = self._clock()
        stale_at = self._settled_at + self._settings.min_idle_ms / 2000
        for place, entry in enumerate(found):
            if self.stopped:
                break  # the rest stays pending, for our successor or for others
            now = self._clock()
            if now > stale_at:
                # Others may soon claim what waits here. Ask for each again, which renews it.
                self._retries |= dict.fromkeys((one.id for one in found[place:]), 0.0)
                break
            if now - self._settled_at >= SETTLE_S:
                yield from self._settle()
            answer = yield entry
            if answer is None:
                self._done.append((entry.id, ()))
            else:
                yield from self._record_outcome(entry.id, answer)
        yield from self._settle()
        return len(found)

    def _deliver_again(self, entry_id: EntryId) -> Steps:
        if self._over:
            return
        take = self._run(TAKE, str(entry_id), self._settings.max_deliveries)
        reply = yield from self._ask(take)
        self._retries.pop(entry_id, None)
        if isinstance(reply, UnicodeDecodeError):
            raise StreamsError(
                f"The entry {entry_id} of {self.stream!r} holds bytes that are no UTF-8 text, so "
                f"it cannot be handled: delete it, with XDEL {self.stream} {entry_id}, and add "
                "it again as text, such as base64.",
                stream=self.stream,
                group=self.group,
            )
        what, *more = reply
        if what != "entry":
            if what == "dead":
                log.error("%s puts %s aside: no answer ever came of it", self.name, entry_id)
            self._count(what)
            return
        self.counts.again += 1
        _, parts = more
        entry = Entry(entry_id, dict(zip(parts[::2], parts[1::2], strict=True)))
        yield from self._record_outcome(entry_id, (yield entry))
        yield from self._settle()

    def _record_outcome(self, entry_id: EntryId, answer: Any) -> Steps:
        """Note that an entry is handled, or that it failed."""
        if isinstance(answer, Failed):
            yield from self._fail(entry_id, str(answer), answer.error)
            return
        try:
            self._done.append((entry_id, effect_of(answer)))
        except ValueError as error:
            yield from self._fail(entry_id, str(Failed(error)), error)
        except HandlerError:
            yield from self._settle()  # the entries before this one have done nothing wrong
            raise

    def _settle(self) -> Steps:
        """Acknowledge what is handled, with its effects."""
        while self._done:
            done, self._done = self._done[:PORTION], self._done[PORTION:]
            more_keys, more = encode(done)
            settle = self._run(SETTLE, self._token, self._after, *more, keys=more_keys)
            ours, acked, refused = yield from self._ask(settle)
            self.counts.acked += acked
            self.counts.lost += len(done) - acked - len(refused)
            self._finished += len(done) - len(refused)
            for entry_id, said, buried in refused:
                if buried:
                    log.error("%s puts %s aside, half done: %s", self.name, entry_id, said)
                    self.counts.failed += 1
                    self._count("dead")
                else:
                    why = f"The effect was refused: {said}"
                    yield from self._fail(EntryId.parse(entry_id), why)
            self._expect(ours)
        self._settled_at = self._clock()

    def _fail(self, entry_id: EntryId, why: str, error: Exception | None = None) -> Steps:
        self.counts.failed += 1
        fail = self._run(FAIL, str(entry_id), self._settings.max_deliveries, why)
        what, *deliveries = yield from self._ask(fail)
        if what == "again":
            delay_s = FIRST_RETRY_S * 2.0 ** min(deliveries[0] - 1, 20)
            delay_s = min(delay_s, self._settings.min_idle_ms / 2000)
            self._retries[entry_id] = self._clock() + delay_s
            fate = f"which it tries again in {delay_s:.1f} s"
            log.warning("%s failed on %s, %s: %s", self.name, entry_id, fate, why, exc_info=error)
        else:
            fate = f"which is {what} now"
            log.error("%s failed on %s, %s: %s", self.name, entry_id, fate, why, exc_info=error)
            self._count(what)

    def _count(self, what: str) -> None:
        """Count an entry that needs no more work here: lost, dead or gone."""
        setattr(self.counts, what, getattr(self.counts, what) + 1)
        self._finished += what == "dead"

    def _read(self, count: int, block_ms: int | None) -> Steps:
        """New entries; none where they are pending for us unseen, after a lost reply."""
        arguments = {"groupname": self.group, "consumername": self.name,
                     "streams": {self.stream: ">"}, "count": count, "block": block_ms}  # fmt: skip
        reply = yield Read(arguments)
        if isinstance(reply, UnicodeDecodeError):  # one by one we find out which entry it is
            self._recheck = True
            return []
        if isinstance(reply, redis.RedisError):
            if not (self.stopped and out_of_reach(reply)):
                yield from self._failure(reply)
            return []
        self._answered()
        return [entry for _, part in pairs(reply) for entry in entries(part)]

    def _ask(self, run: Run) -> Steps:
        """Run a script that can be run twice, until the answer comes."""
        while isinstance(reply := (yield run), redis.RedisError):
            yield from self._failure(reply)
        self._answered()
        return reply

    def _answered(self) -> None:
        if self._patience.lasts_s:
            log.info(
                "%s: the server answers again, after %.1f s", self.name, self._patience.lasts_s
            )
        self._patience.renew()

    def _failure(self, error: redis.RedisError) -> Steps:
        """Wait after a lost connection; raise what is not worth another try."""
        if not out_of_reach(error):
            raise explain(error, self.stream, self.group) from error
        self._recheck = True
        self.counts.reconnects += 1
        if not self._patience.lasts_s:
            log.warning("%s: no answer (%s); tries again", self.name, error)
        wait_s = self._patience.failed()
        if self._patience.exhausted or (self.stopped and self._patience.lasts_s > STOP_S):
            raise error  # what we hold stays pending
        yield Wait(wait_s)

    def _run(self, script: str, *args: Any, keys: list[Any] | None = None) -> Run:
        return Run(script, [*self._keys, *(keys or [])], [self.group, self.name, *args])

    def _room(self) -> int:
        """How many entries to take on; those that wait to be retried are taken on already."""
        waiting = len(self._retries)
        room = min(self._settings.batch, MOST_RETRIES - waiting)
        return room if self._limit is None else min(room, self._limit - self._finished - waiting)

    def _pause_ms(self) -> int:
        """How long to wait for something new: BLOCK, or until the next retry is due."""
        if not self._retries:
            return self._settings.block_ms
        due_ms = 1000 * (min(self._retries.values()) - self._clock())
        return min(self._settings.block_ms, max(1, math.ceil(due_ms)))

    def _expect(self, ours: int) -> None:
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
