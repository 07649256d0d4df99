"""What a consumer does next: `DeliveryLoop` decides step by step, and neither sends nor waits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import redis

from ..entry import EntryId, entries, entry_of, pairs
from ..errors import WrongTypeError
from ..size import CUTS, MUST_FIT, cut_off, too_large
from ..states import passes, unreachable
from .asking import no_text
from .in_hand import InHand
from .scripts import JOIN, LEAVE, OWN, SEEN, SIZE, SWEEP, TAKE, TIDY
from .settings import ConsumerSettings, expect_positive
from .steps import Read, Run, Steps, Wait

SWEEP_S = 1.0  # between two looks at what is pending: its own, and others' if little is pending
MOST_RETRIES = 1000  # while so many failed entries wait to be retried, nothing new is read
PAGE = 100

log = logging.getLogger(__name__)

EVICTS = (
    "%s may be evicted, and what is noted of its consumers: maxmemory-policy is %s. A server of "
    "streams wants noeviction, and streams that are trimmed"
)


def unreadable(error: Exception) -> bool:
    """The reply did not come, or could not be decoded: perhaps it was too large, or no text."""
    return no_text(error) or unreachable(error)


def unread(error: Exception) -> bool:
    """The reply is no text, or did not come: perhaps it was too large."""
    return no_text(error) or cut_off(error)


class DeliveryLoop(InHand):
    """One consumer's work, as a generator of steps. Its driver takes them:

        steps, answer = loop.run(drain=False, limit=None), None
        while True:
            step = steps.send(answer)  # StopIteration: the run is over
            answer = …                 # take the step

    and sends back as the answer to

        Run    the script's reply
        Send   the commands' replies
        Read   XREADGROUP's reply
        Wait   None, so many seconds later
        Handle how many of its entries the handler was given, at least one, and what it returned
               for the last of them, or Failed with what it raised; for those before, None. Or,
               with Underway, how many handlers were set to work. Then
        Collect is answered by a list of pairs: an entry's ID, and what came of it

    To Run, Send and Read an error of redis-py is an answer too. ConnectionError says that the fate
    of the step is unknown: it was not executed, or it was, or it still will be, at any later time.
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
        super().__init__(stream, group, name, settings, clock)
        # What others were delivered once is taken together: mostly they did not come to it. It is
        # then delivered twice, and comes alone if we die too; so no crash buries what was beside.
        self._together = 1 if settings.max_deliveries > 2 else -1

    def run(self, *, drain: bool, limit: int | None) -> Steps:
        """One run, from taking the name to the end. A later run begins as if nothing was."""
        if limit is not None:
            expect_positive("limit", limit)
        if self._inherited:
            self._reset()
        self._begin()
        self._limit = limit
        self._at_work = True
        try:
            yield from self._join()
            yield from self.steps(drain=drain)
            yield from self._leave()
        finally:
            # Here, so that a stop() just before a run is not overheard.
            self.stopped = self._at_work = False

    def _begin(self) -> None:
        super()._begin()
        self._most = self._settings.batch  # entries a reply; fewer after one that did not come
        self._look_at = self._sweep_at = self._tidy_at = 0.0
        self._first_look = True

    def steps(self, *, drain: bool) -> Steps:
        """The work: own history, then what others left behind, then what is new."""
        while not self._over:
            if self._recheck or self.clock() >= self._look_at:
                yield from self._own_history()  # and what was claimed for us
            if self.clock() >= self._sweep_at:
                yield from self._idle_entries_of_others()
            yield from self._due_retries()
            found = yield from self._new_entries(wait=not (drain or self._underway))
            if self._underway and not found:
                yield from self._collect()
                yield from self._settle()
            if drain and not (found or self._underway):
                if not (self._retries or self._recheck):
                    break
                yield from self._rest()
        while self._underway:
            yield from self._collect()
        yield from self._settle()

    def _rest(self) -> Steps:
        """There is nothing to do until a failed entry is due again, if there is one."""
        self._expect_room()
        if self._retries:
            yield Wait(self._pause_ms() / 1000)

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
                f"{self.stream!r} holds dead letters: replay them instead of consuming them, with "
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
        if self._passing and not self._patience.ended(stopped=True):
            yield self._run(LEAVE, self._token)  # tidiness: if it is not heard, nothing is lost

    def _own_history(self) -> Steps:
        """Deliver again what is pending for this name, and is not in hand."""
        self._recheck, start = False, "-"
        while not self._over:
            found = yield from self._ask(self._run(OWN, start, PAGE))
            yield from self._deliver_again(
                {one: number for one, number in found if not self._in_hand(one)}
            )
            if len(found) < PAGE:
                break
            start = f"({found[-1][0]}"
        self._look_at = self.clock() + min(SWEEP_S, self._settings.min_idle_ms / 2000)

    def _in_hand(self, entry_id: str) -> bool:
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
            again = [entry_of(*one) for one in delivered]
            yield from self._hand_over([one for one, _ in delivered], again, once + 1)
            yield from self._deliver_again(dict(claimed))
        self._first_look = False
        self._sweep_at = self.clock() + max(rest_ms, 1) / 1000
        if not start and self.clock() >= self._tidy_at:
            yield from self._tidy()

    def _tidy(self) -> Steps:
        """Forget consumers of the group that have long been gone."""
        silent_ms = 10 * self._settings.min_idle_ms
        forgotten = yield from self._ask(self._run(TIDY, silent_ms), but=no_text)
        if forgotten and not isinstance(forgotten, UnicodeDecodeError):
            log.debug("%s forgets consumers that are gone: %s", self.name, ", ".join(forgotten))
        self._tidy_at = self.clock() + silent_ms / 1000

    def _due_retries(self) -> Steps:
        now = self.clock()
        due = {one: retry.number for one, retry in self._retries.items() if retry.due <= now}
        yield from self._deliver_again(due)

    def _deliver_again(self, numbers: dict[str, int]) -> Steps:
        """Deliver our own entries again; `numbers` says how often each was delivered so far.

        One by one, because each delivery counts: an entry that kills its consumer must not get
        those beside it blamed.
        """
        for entry_id, number in numbers.items():
            if self._over:
                return
            reply = yield from self._take(entry_id, number)
            if isinstance(reply, UnicodeDecodeError):
                yield from self._put_aside(entry_id, number + 1, "It isn't text in UTF-8")
                continue
            ours, what, *more = reply
            self._expect(ours)
            retry = self._retries.pop(entry_id, None)
            if what == "entry":
                number, parts = more
                self.counts.again += 1
                yield from self._hand_over([entry_id], [entry_of(entry_id, parts)], number)
            elif what == "most":
                why = (retry and retry.why) or "No answer: its consumer died, or took too long"
                yield from self._put_aside(entry_id, number, why)
            elif what == "too large":
                why = too_large(self.stream, entry_id, more[0])
                yield from self._put_aside(entry_id, number + 1, why, bare=True)
            elif what == "moved":
                self._recheck = True
            else:
                self._count(what)

    def _take(self, entry_id: str, number: int) -> Steps:
        """TAKE's reply, or `too large` and how large it is, for one that the server cannot send."""
        take = self._run(TAKE, entry_id, number, self._settings.max_deliveries)
        for _ in range(CUTS):
            reply = yield from self._ask(take, but=unread)
            if not isinstance(reply, redis.RedisError):
                return reply
            sizes = yield from self._ask(Run(SIZE, [self.stream], [entry_id]))
            size = sizes[0][1]
            if size <= MUST_FIT:
                return (yield from self._ask(take, but=no_text))
        return [1, "too large", size]

    def _new_entries(self, *, wait: bool) -> Steps:
        """Read and handle a batch of new entries; gives how many there were."""
        if self._over:
            return 0
        found: list[Any] = []
        room, pause_ms = self._room(), self._pause_ms()
        if room > 0:
            found = yield from self._read(room, pause_ms if wait else None)
        idle = not (found or self._recheck or self._underway or (wait and room > 0))
        if idle and self._retries:
            yield Wait(pause_ms / 1000)
        self.counts.new += len(found)
        yield from self._hand_over([one for one, _ in found], entries(found), 1)
        return len(found)

    def _read(self, count: int, block_ms: int | None) -> Steps:
        """New entries; none where they are pending for us unseen, after a lost reply."""
        arguments = {"groupname": self.group, "consumername": self.name,
                     "streams": {self.stream: ">"}, "count": count, "block": block_ms}  # fmt: skip
        since = self.clock()
        reply = yield Read(arguments)
        if isinstance(reply, UnicodeDecodeError):  # one by one we find out which entry it is
            self._recheck = True
            return []
        if isinstance(reply, redis.RedisError):
            self._most = max(1, self._most // 2)  # the reply may have been too large
            if self.stopped and passes(reply):
                self._patience.failed(since)
            else:
                yield from self._failure(reply, since)
            return []
        self._most = min(self._settings.batch, 2 * self._most)
        self._answered()
        found = [one for _, part in pairs(reply) for one in part]
        if found:
            self._last = max(self._last, EntryId.parse(found[-1][0]))
        return found

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
        due_ms = 1000 * (min(one.due for one in self._retries.values()) - self.clock())
        return min(self._settings.block_ms, max(1, math.ceil(due_ms)))
