"""What a consumer does next: `DeliveryLoop` decides step by step, and neither sends nor waits."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import redis

from ..entry import FIRST, Entry, EntryId, entries, entry_of, pairs
from ..errors import (
    ArgumentError,
    ConsumerError,
    GroupError,
    HandlerError,
    StreamsError,
    WrongTypeError,
    explain,
    given_up,
)
from ..keys import notes_of
from ..patience import Patience
from ..states import passes, state_of, unreachable
from .dead_letters import dead_letters_of
from .effects import PORTION, Done, effect_of, encode
from .scripts import (
    BURY,
    CREATE,
    DRAIN,
    FAIL,
    JOIN,
    LEAVE,
    OWN,
    RENEW,
    SEEN,
    SETTLE,
    SWEEP,
    TAKE,
    TIDY,
    allow,
    deny,
    drain,
)
from .settings import ConsumerSettings, Counts, expect_positive
from .steps import Collect, Failed, Read, Run, Steps, Underway, Wait

SETTLE_S = 0.1  # how long a handled entry may wait for the others of its batch to be acknowledged
SWEEP_S = 1.0  # between two looks at what is pending: its own, and others' if little is pending
STOP_S = 1.0  # the same, once it was asked to stop
FIRST_RETRY_S = 0.1
MOST_RETRIES = 1000  # while so many failed entries wait to be retried, nothing new is read
PAGE = 100
SLACK = 20  # of min_idle_ms, how much an entry may wait in a batch before we say that it is ours
MANY_LETTERS = 1000  # so many dead letters, and each multiple, are worth a word

EVICTS = (
    "%s may be evicted, and what is noted of its consumers: maxmemory-policy is %s. A server of "
    "streams wants noeviction, and streams that are trimmed"
)

log = logging.getLogger(__name__)


class Delivered(NamedTuple):
    """An entry in hand, and the number of the delivery that brought it."""

    entry: Entry
    number: int


class Retry(NamedTuple):
    """When a failed entry is due again, and how often it was delivered until now."""

    due: float
    number: int
    why: str = ""  # the reason to put it aside, where there was no room for that


def live_name() -> str:
    """A consumer name that no other process has: host, process, and a few random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def never(error: Exception) -> bool:
    """No error is an answer."""
    return False


def unreadable(error: Exception) -> bool:
    """The reply did not come, or could not be decoded: perhaps it was too large, or no text."""
    return isinstance(error, UnicodeDecodeError) or unreachable(error)


def no_room(error: Exception) -> bool:
    """The server's memory is full."""
    return state_of(error) == "OOM"


class DeliveryLoop:
    """One consumer's work, as a generator of steps. Its driver takes them:

        steps, answer = loop.run(drain=False, limit=None), None
        while True:
            step = steps.send(answer)  # StopIteration: the run is over
            answer = …                 # take the step

    and sends back as the answer to

        Run    the script's reply
        Read   XREADGROUP's reply
        Wait   None, so many seconds later
        Entry  what the handler returned, or Failed with what it raised; or Underway, and then
               the answer to a later Collect is a list of pairs: the entry's ID, and this

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
        self._passing = name is None  # no later life will use this name
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
        self._most_letters = settings.max_dead_letters or ""
        self.counts = Counts()
        self.stopped = False
        self._settings = settings
        # What others were delivered once is taken together: mostly they did not come to it. It is
        # then delivered twice, and comes alone if we die too; so no crash buries what was beside.
        self._together = 1 if settings.max_deliveries > 2 else -1
        self._slack_s = settings.min_idle_ms / SLACK / 1000
        self._clock = clock
        self._after = "keep"  # or XACKDEL, or XDEL: what becomes of an entry once it is handled
        names, failures, sweep = notes_of(stream, group)
        self._keys = [stream, names, dead, failures, sweep]
        self._token = secrets.token_hex(8)
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
        self._retries: dict[EntryId, Retry] = {}  # failed entries
        self._underway: dict[EntryId, int] = {}  # entries that handlers are at work on
        self._done: list[EntryId] = []  # handled, without an effect, and not yet acknowledged
        self._effects: list[Done] = []  # the same, with one
        self._settled_at = 0.0
        self._said_at = 0.0  # since when the server knows that what we hold is in hand
        self._recheck = True  # whether our own pending entries have to be looked through
        self._look_at = 0.0
        self._sweep_at = 0.0
        self._tidy_at = 0.0
        self._first_look = True
        self._most = self._settings.batch  # entries a reply; fewer after one that did not come
        self._last = FIRST  # the last entry that was delivered to us as new
        self._waiting: list[Delivered] = []  # of the batch in hand, the next one last
        self._ceiling = ""  # bytes that were used when the memory began to be full
        self._patience = Patience(self._settings.patience_s, self._clock)

    def steps(self, *, drain: bool) -> Steps:
        """The work: own history, then what others left behind, then what is new."""
        while not self._over:
            if self._recheck or self._clock() >= self._look_at:
                yield from self._own_history()  # also what somebody else claimed for us
            if self._clock() >= self._sweep_at:
                yield from self._idle_entries_of_others()
            yield from self._due_retries()
            found = yield from self._new_entries(wait=not (drain or self._underway))
            if self._underway and not found:
                yield from self._collect()
                yield from self._settle()
            if drain and not (found or self._retries or self._recheck or self._underway):
                break
        while self._underway:
            yield from self._collect()
        yield from self._settle()

    @property
    def _over(self) -> bool:
        return self.stopped or (self._limit is not None and self._finished >= self._limit)

    def _join(self) -> Steps:
        said = "raced"
        while said == "raced":
            seen = yield from self._ask(self._run(SEEN))
            said, deleting, policy = yield from self._ask(self._run(JOIN, seen))
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
                stream=self.stream, group=self.group, key=self._keys[2],
            )  # fmt: skip
        self._after = deleting if self._settings.delete else "keep"
        if seen and seen != self._token:
            log.info("%s takes over from an earlier life in the group %s", self.name, self.group)
        else:
            log.debug("%s joins the group %s on %s", self.name, self.group, self.stream)
        if policy:
            log.warning(EVICTS, self.stream, policy)

    def _leave(self) -> Steps:
        if self._passing:
            yield self._run(LEAVE, self._token)  # tidiness: if it is not heard, nothing is lost

    def _own_history(self) -> Steps:
        """Deliver again what is pending for this name, and is not in hand."""
        self._recheck, start = False, "-"
        while not self._over:
            found = yield from self._ask(self._run(OWN, start, PAGE))
            known = [(EntryId.parse(entry_id), number) for entry_id, number in found]
            yield from self._deliver_again(
                {one: number for one, number in known if not self._in_hand(one)}
            )
            if len(found) < PAGE:
                break
            start = f"({found[-1][0]}"
        self._look_at = self._clock() + min(SWEEP_S, self._settings.min_idle_ms / 2000)

    def _in_hand(self, entry_id: EntryId) -> bool:
        return entry_id in self._retries or entry_id in self._underway

    def _idle_entries_of_others(self) -> Steps:
        """Claim and deliver what has been idle for too long, as far as there is any."""
        idle_ms, start, rest_ms = self._settings.min_idle_ms, "-", 0
        pause_ms = max(1, min(int(SWEEP_S * 1000), idle_ms // 2))
        while start and not self._over and (room := self._room()) > 0:
            once = self._together
            sweep = self._run(SWEEP, idle_ms, start, room, pause_ms, int(self._first_look), once)
            reply = yield from self._ask(sweep, but=unreadable)
            if isinstance(reply, Exception):
                self._recheck = True  # what it has delivered is ours, and comes again one by one
                return
            ours, delivered, claimed, gone, start, rest_ms = reply
            self._expect(ours)
            self.counts.gone += gone
            self.counts.again += len(delivered)
            self.counts.claimed += len(delivered) + len(claimed)
            if delivered or claimed:
                log.info("%s claims idle entries of others: %d, from %s on", self.name,
                         len(delivered) + len(claimed), (delivered or claimed)[0][0])  # fmt: skip
            again = [Delivered(entry_of(*one), once + 1) for one in delivered]
            yield from self._hand_over(again)
            yield from self._deliver_again({EntryId.parse(one): n for one, n in claimed})
        self._first_look = False
        self._sweep_at = self._clock() + max(rest_ms, 1) / 1000
        if not start and self._clock() >= self._tidy_at:
            yield from self._tidy()

    def _tidy(self) -> Steps:
        """Forget consumers of the group that have long been gone."""
        silent_ms = 10 * self._settings.min_idle_ms
        forgotten = yield from self._ask(self._run(TIDY, silent_ms))
        if forgotten:
            log.debug("%s forgets consumers that are gone: %s", self.name, ", ".join(forgotten))
        self._tidy_at = self._clock() + silent_ms / 1000

    def _due_retries(self) -> Steps:
        now = self._clock()
        due = {one: retry.number for one, retry in self._retries.items() if retry.due <= now}
        yield from self._deliver_again(due)

    def _new_entries(self, *, wait: bool) -> Steps:
        """Read and handle a batch of new entries; gives how many there were."""
        if self._over:
            return 0
        found: list[Entry] = []
        room, pause_ms = self._room(), self._pause_ms()
        if room > 0:
            found = yield from self._read(room, pause_ms if wait else None)
        idle = not (found or self._recheck or self._underway or (wait and room > 0))
        if idle and self._retries:
            yield Wait(pause_ms / 1000)
        self.counts.new += len(found)
        yield from self._hand_over([Delivered(entry, 1) for entry in found])
        return len(found)

    def _deliver_again(self, numbers: dict[EntryId, int]) -> Steps:
        """Deliver entries again that are ours, each of which was delivered so often until now.

        One by one, because each delivery counts: an entry that kills its consumer must not take
        the blame to those beside it.
        """
        for entry_id, number in numbers.items():
            if self._over:
                return
            take = self._run(TAKE, str(entry_id), number, self._settings.max_deliveries)
            ours, what, *more = yield from self._ask(take)
            self._expect(ours)
            retry = self._retries.pop(entry_id, None)
            if what == "entry":
                number, parts = more
                self.counts.again += 1
                yield from self._hand_over([Delivered(entry_of(str(entry_id), parts), number)])
            elif what == "most":
                why = (retry and retry.why) or "No answer: its consumer died, or took too long"
                yield from self._put_aside(entry_id, number, why)
            elif what == "moved":
                self._recheck = True
            else:
                self._count(what)

    def _hand_over(self, batch: list[Delivered]) -> Steps:
        """Have the entries of a batch handled, and what is handled acknowledged."""
        waiting = self._waiting = batch[::-1]  # the next one is the last, which list.pop() gives
        clock, slack_s, concurrency = self._clock, self._slack_s, self._settings.concurrency
        now = self._settled_at = clock()
        if not (self._retries or self._underway):
            self._said_at = now
        while waiting and not self.stopped:  # the rest stays pending
            now = clock()
            stale = now - self._said_at > slack_s
            if stale or now - self._settled_at >= SETTLE_S:
                yield from self._settle()
            if stale:
                yield from self._renew()
                waiting = self._waiting
            if len(self._underway) >= concurrency:
                yield from self._collect()
                waiting = self._waiting
            elif waiting:
                entry, number = waiting.pop()
                answer = yield entry
                if answer is None:
                    self._done.append(entry.id)
                elif isinstance(answer, Underway):
                    self._underway[entry.id] = number
                else:
                    yield from self._record_outcome(entry.id, number, answer)
        self._waiting = []
        yield from self._settle()

    def _collect(self) -> Steps:
        """Wait for handlers that are at work, and record what came of them."""
        outcomes = yield Collect(self._slack_s)
        for entry_id, answer in outcomes:
            yield from self._record_outcome(entry_id, self._underway.pop(entry_id), answer)
        if self._clock() - self._said_at > self._slack_s:
            yield from self._renew()

    def _renew(self) -> Steps:
        """Say that all that we hold is in hand, and let go of what others have taken."""
        held = [one.entry.id for one in self._waiting]
        held += [*self._underway, *self._retries]
        said_at = self._clock()
        ours, *still = yield from self._ask(self._run(RENEW, *map(str, held)))
        self._expect(ours)
        self._said_at = said_at
        kept = set(map(EntryId.parse, still))
        for one in [one for one in self._retries if one not in kept]:
            del self._retries[one]
            self._count("lost")
        left = [one for one in self._waiting if one.entry.id in kept]
        self.counts.lost += len(self._waiting) - len(left)
        self._waiting = left

    def _record_outcome(self, entry_id: EntryId, number: int, answer: Any) -> Steps:
        """Note that an entry is handled, or that it failed."""
        if isinstance(answer, Failed):
            yield from self._fail(entry_id, number, str(answer), answer.error)
            return
        try:
            if effect := effect_of(answer):
                self._effects.append(Done(entry_id, number, effect))
            else:
                self._done.append(entry_id)
        except ValueError as error:
            yield from self._fail(entry_id, number, str(Failed(error)), error)
        except HandlerError:
            yield from self._settle()  # the entries before this one have done nothing wrong
            raise

    def _settle(self) -> Steps:
        """Acknowledge what is handled, with its effects."""
        done, effects = self._done, self._effects
        for at in range(0, len(done), PORTION):  # first: a full memory does not refuse these
            yield from self._settle_portion(done[at : at + PORTION], [])
        for at in range(0, len(effects), PORTION):
            yield from self._settle_portion([], effects[at : at + PORTION])
        self._done, self._effects = [], []
        self._settled_at = self._clock()

    def _settle_portion(self, done: list[EntryId], effects: list[Done]) -> Steps:
        keys, words = encode(done, effects)
        settle = self._run(SETTLE, self._after, self._most_letters, *words, keys=keys)
        ours, acked, refused = yield from self._ask(self._growing(settle) if effects else settle)
        self.counts.acked += acked
        finished = len(done) + len(effects) - len(refused)
        self.counts.lost += finished - acked
        self._finished += finished
        numbers = {one.id: one.number for one in effects}
        for parsed, said, buried in ((EntryId.parse(one), *more) for one, *more in refused):
            if buried:
                log.error("%s moves %s to the dead letters, half done: %s", self.name, parsed, said,
                          extra=self._about(parsed, f"half done: {said}"))  # fmt: skip
                self.counts.failed += 1
                self._count("dead")
            else:
                why = f"The effect was refused: {said}"
                yield from self._fail(parsed, numbers[parsed], why)
        self._expect(ours)

    def _fail(
        self, entry_id: EntryId, number: int, why: str, error: BaseException | None = None
    ) -> Steps:
        """Note a failure, and try the entry again later or put it aside."""
        self.counts.failed += 1
        log.warning("%s failed on %s, delivery %d: %s", self.name, entry_id, number, why,
                    exc_info=error, extra=self._about(entry_id, why))  # fmt: skip
        if not (yield from self._ask(self._run(FAIL, str(entry_id), number, why))):
            self._count("lost")
        elif number >= self._settings.max_deliveries:
            yield from self._put_aside(entry_id, number, why)
        else:
            self._try_again(entry_id, number)

    def _about(self, entry_id: EntryId, why: str) -> dict[str, str]:
        """What the log's record of a failure has as attributes, for a program to look at."""
        return {"consumer": self.name, "entry": str(entry_id), "why": why}

    def _try_again(self, entry_id: EntryId, number: int, why: str = "") -> None:
        delay_s = FIRST_RETRY_S * 2.0 ** min(number - 1, 20)
        delay_s = min(delay_s, self._settings.min_idle_ms / 2000)
        self._retries[entry_id] = Retry(self._clock() + delay_s, number, why)

    def _put_aside(self, entry_id: EntryId, number: int, why: str) -> Steps:
        """Move an entry to the dead letters; if there is no room for it, it stays pending."""
        bury = self._run(BURY, str(entry_id), number, why, self._after, self._most_letters)
        reply = yield from self._ask(self._growing(bury), but=no_room)
        if isinstance(reply, redis.RedisError):
            log.warning("%s: no room to put %s aside (%s)", self.name, entry_id, reply)
            self._try_again(entry_id, number, why)
            return
        what, letters = reply
        if what == "dead":
            log.error("%s moves %s to the dead letters: %s", self.name, entry_id, why)
            if letters % MANY_LETTERS == 0:
                log.warning("%s holds %d dead letters", self._keys[2], letters)
        self._count(what)

    def _count(self, what: str) -> None:
        """Count an entry that needs no more work here: lost, dead or gone."""
        setattr(self.counts, what, getattr(self.counts, what) + 1)
        self._finished += what == "dead"

    def _read(self, count: int, block_ms: int | None) -> Steps:
        """New entries; none where they are pending for us unseen, after a lost reply."""
        arguments = {"groupname": self.group, "consumername": self.name,
                     "streams": {self.stream: ">"}, "count": count, "block": block_ms}  # fmt: skip
        since = self._clock()
        reply = yield Read(arguments)
        if isinstance(reply, UnicodeDecodeError):  # one by one we find out which entry it is
            self._recheck = True
            return []
        if isinstance(reply, redis.RedisError):
            self._most = max(1, self._most // 2)  # the reply may have been too large
            if not (self.stopped and passes(reply)):
                yield from self._failure(reply, since)
            return []
        self._most = min(self._settings.batch, 2 * self._most)
        self._answered()
        found = [entry for _, part in pairs(reply) for entry in entries(part)]
        if found:
            self._last = max(self._last, found[-1].id)
        return found

    def _ask(self, run: Run, *, but: Callable[[Exception], bool] = never) -> Steps:
        """Run a script that can be run twice, until the answer comes.

        Args:
            run: the script.
            but: says of an error whether that is an answer too.
        """
        while True:
            since = self._clock()
            reply = yield run
            if not isinstance(reply, redis.RedisError | UnicodeDecodeError):
                self._answered()
                return self._drained(run, reply)
            if isinstance(reply, redis.RedisError):
                if not (but(reply) and state_of(reply)):
                    yield from self._failure(reply, since)
            elif not but(reply):
                raise not_text(self.stream, self.group, run) from reply
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
        if self._patience.exhausted or (self.stopped and self._patience.lasts_s > STOP_S):
            raise given_up(error, self.stream, self.group) from error  # what we hold stays pending
        yield Wait(wait_s)

    def _create_group(self, lost: GroupError) -> Steps:
        """Make a group again that is gone, where the caller wants it to begin."""
        start = self._settings.on_lost_group
        if start == "resume":
            held = [
                *self._retries,
                *self._underway,
                *self._done,
                *(one.id for one in self._effects),
            ]
            held += [one.entry.id for one in self._waiting]
            after = min(held).before() if held else self._last
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

    def _run(self, script: str, *args: Any, keys: list[Any] | None = None) -> Run:
        arguments = [self.group, self.name, self._token, "", *args]
        return Run(script, [*self._keys, *(keys or [])], arguments)

    def _room(self) -> int:
        """How many entries to take on; those that wait to be retried are taken on already."""
        waiting = len(self._retries)
        room = min(max(self._most, self._settings.concurrency), MOST_RETRIES - waiting)
        if self._limit is None:
            return room
        return min(room, self._limit - self._finished - waiting - len(self._underway))

    def _pause_ms(self) -> int:
        """How long to wait for something new: BLOCK, or until the next retry is due."""
        if not self._retries:
            return self._settings.block_ms
        due_ms = 1000 * (min(one.due for one in self._retries.values()) - self._clock())
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


def not_text(stream: str, group: str, run: Run) -> StreamsError:
    """An entry cannot be decoded, and so not be handed over."""
    entry_id = next((word for word in reversed(run.args) if "-" in str(word)), "?")
    return StreamsError(
        f"The entry {entry_id} of {stream!r} holds bytes that are no UTF-8 text, so it cannot be "
        f"handled: delete it, with XDEL {stream} {entry_id}, and add it again as text, such as "
        "base64.",
        stream=stream,
        group=group,
    )
