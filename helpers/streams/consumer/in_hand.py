"""What is in a consumer's hands: from the handler to XACK, to a retry, or to the dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from ..entry import Entry
from ..errors import HandlerError, given_up
from ..size import CUTS, refuses
from ..states import state_of
from .asking import Asking
from .effects import PORTION, Done, effect_of, encode, may_be_too_large
from .scripts import BURY, FAIL, RENEW, SEEN, SETTLE
from .steps import Collect, Entries, Failed, Handle, Send, Steps, Underway

SETTLE_S = 0.1  # how long a handled entry may wait for the others of its batch to be acknowledged
FIRST_RETRY_S = 0.1
SLACK = 20  # of min_idle_ms, how much an entry may wait in a batch before we say that it is ours
MANY_LETTERS = 1000  # so many dead letters, and each multiple, are worth a word

TOO_LARGE = (
    "The effect is larger than the server takes: it closes the connection. Divide it, keep the "
    "large value elsewhere, or raise proto-max-bulk-len"
)

OTHER_SLOT = (
    "The effect's key lies in another hash slot than the stream, and a step reaches one slot: name "
    "it beside the stream, as sibling_key() does"
)

log = logging.getLogger(__name__)


class Retry(NamedTuple):
    """When a failed entry is due again, and how often it was delivered until now."""

    due: float
    number: int
    why: str = ""  # the reason to put it aside, where there was no room for that


def no_room(error: Exception) -> bool:
    """The server's memory is full."""
    return state_of(error) == "OOM"


def in_other_slot(error: Exception) -> bool:
    """A cluster has the keys of one command in several hash slots."""
    return isinstance(error, redis.exceptions.ClusterCrossSlotError)


class InHand(Asking):
    """The entries that were delivered to one consumer, and need its work."""

    _after = "keep"  # or XACKDEL, or XDEL: what becomes of an entry once it is handled

    def _begin(self) -> None:
        super()._begin()
        self._slack_s = self._settings.min_idle_ms / SLACK / 1000
        self._most_letters = self._settings.max_dead_letters or ""
        self._waiting: list[str] = []  # of the batch in hand, what was not given to the handler
        self._next: Entries = iter(())  # the same, to give to it
        self._underway: dict[str, int] = {}  # what handlers are at work on, and its delivery
        self._retries: dict[str, Retry] = {}  # what failed
        self._fresh: list[str] = []  # handled, to be acknowledged by XACK and no more
        self._done: list[str] = []  # handled, without an effect, and not yet acknowledged
        self._effects: list[Done] = []  # the same, with one
        self._finished = 0  # entries that need no more work
        self._no_room: tuple[float, redis.RedisError] | None = None  # to put aside, since when
        self._settled_at = 0.0
        self._said_at = 0.0  # since when the server knows that what we hold is in hand

    def _held(self) -> list[str]:
        done = [*self._fresh, *self._done, *(one.id for one in self._effects)]
        return [*done, *self._waiting, *self._underway, *self._retries]

    def _hand_over(self, ids: list[str], entries: list[Entry], number: int) -> Steps:
        """Have the entries of a batch handled, and what is handled acknowledged.

        Args:
            ids: of the entries, as the server writes them.
            entries: the batch.
            number: of the delivery that brought it.
        """
        self._waiting, self._next = ids, zip(ids[:], entries, strict=True)
        self._settled_at = self.clock()
        if not (self._retries or self._underway):
            self._said_at = self._settled_at
        while self._waiting and not self.stopped:  # the rest stays pending
            yield from self._keep_up()
            if len(self._underway) >= self._settings.concurrency:
                yield from self._collect()
            elif self._waiting:
                yield from self._handle(number)
        self._waiting = []
        yield from self._settle()

    def _keep_up(self) -> Steps:
        """Acknowledge what is handled, and say what is in hand, when it is time."""
        now = self.clock()
        stale = now >= self._said_at + self._slack_s
        if stale or now >= self._settled_at + SETTLE_S:
            yield from self._settle()
        if stale:
            yield from self._renew()

    def _handle(self, number: int) -> Steps:
        """Have entries handled, one after the other, until one asks for more than XACK."""
        until = min(self._said_at + self._slack_s, self._settled_at + SETTLE_S)
        count, answer = yield Handle(self._next, until)
        handled = self._waiting[:count]
        del self._waiting[:count]
        if isinstance(answer, Underway):
            self._underway |= dict.fromkeys(handled, number)
            return
        if answer is not None:
            last = handled.pop()
        self._to_settle(number).extend(handled)
        if answer is not None:
            yield from self._record_outcome(last, number, answer)

    def _collect(self) -> Steps:
        """Wait for handlers that are at work, and record what came of them."""
        outcomes = yield Collect(self._slack_s)
        for entry_id, answer in outcomes:
            yield from self._record_outcome(entry_id, self._underway.pop(entry_id), answer)
        if self.clock() - self._said_at > self._slack_s:
            yield from self._renew()

    def _renew(self) -> Steps:
        """Say that all that we hold is in hand, and let go of what others have taken."""
        held = [*self._waiting, *self._underway, *self._retries]
        said_at = self.clock()
        ours, *still = yield from self._ask(self._run(RENEW, *held))
        self._expect(ours)
        self._said_at = said_at
        kept = set(still)
        for one in [one for one in self._retries if one not in kept]:
            del self._retries[one]
            self._count("lost")
        left = [pair for pair in self._next if pair[0] in kept]
        self.counts.lost += len(self._waiting) - len(left)
        self._waiting, self._next = [one for one, _ in left], iter(left)

    def _record_outcome(self, entry_id: str, number: int, answer: Any) -> Steps:
        """Note that an entry is handled, or that it failed."""
        if isinstance(answer, Failed):
            yield from self._fail(entry_id, number, str(answer), answer.error)
            return
        try:
            if effect := effect_of(answer):
                self._effects.append(Done(entry_id, number, effect))
            else:
                self._to_settle(number).append(entry_id)
        except ValueError as error:
            yield from self._fail(entry_id, number, str(Failed(error)), error)
        except HandlerError:
            yield from self._settle()  # the entries before this one have done nothing wrong
            raise

    def _to_settle(self, number: int) -> list[str]:
        """Where a handled entry without an effect waits to be acknowledged."""
        return self._fresh if number == 1 and self._after == "keep" else self._done

    def _settle(self) -> Steps:
        """Acknowledge what is handled, with its effects."""
        fresh, done, effects = self._fresh, self._done, self._effects
        for at in range(0, len(fresh), PORTION):
            yield from self._acknowledge(fresh[at : at + PORTION])
        for at in range(0, len(done), PORTION):  # first: a full memory does not refuse these
            yield from self._settle_portion(done[at : at + PORTION])
        for at in range(0, len(effects), PORTION):
            yield from self._apply(effects[at : at + PORTION])
        self._fresh, self._done, self._effects = [], [], []
        self._settled_at = self.clock()

    def _acknowledge(self, ids: list[str]) -> Steps:
        """Acknowledge what was delivered once: nothing else is noted of it, so XACK is enough."""
        xack = ("XACK", self.stream, self.group, *ids)
        acked, token = yield from self._ask(Send([xack, ("HGET", self._keys[1], self.name)]))
        self._count_acked(acked, len(ids))
        self._expect(token in (None, self._token))

    def _count_acked(self, acked: int, finished: int) -> None:
        self.counts.acked += acked
        self.counts.lost += finished - acked
        self._finished += finished

    def _apply(self, effects: list[Done]) -> Steps:
        """Settle entries with effects: by halves, down to one, if one of them spoils the step.

        One that is cut off again and again, while the server answers in between, is too large.
        """
        for _ in range(CUTS):
            refused = yield from self._settle_portion([], effects)
            if not refused:
                return
            if half := len(effects) // 2:
                yield from self._apply(effects[:half])
                yield from self._apply(effects[half:])
                return
            if in_other_slot(refused):
                yield from self._fail(effects[0].id, effects[0].number, OTHER_SLOT)
                return
            yield from self._ask(self._run(SEEN))
        self.counts.failed += 1
        yield from self._put_aside(effects[0].id, effects[0].number, TOO_LARGE)

    def _settle_portion(self, done: list[str], effects: Sequence[Done] = ()) -> Steps:
        """Acknowledge entries, with their effects; gives what one of these may have caused."""
        keys, words = encode(done, effects)
        settle = self._run(SETTLE, self._after, self._most_letters, *words, keys=keys)
        settle = self._growing(settle) if effects else settle
        large = may_be_too_large(effects)
        reply = yield from self._ask(
            settle, but=lambda error: in_other_slot(error) or (large and refuses(error))
        )
        if isinstance(reply, redis.RedisError):
            return reply
        ours, acked, refused = reply
        self._count_acked(acked, len(done) + len(effects) - len(refused))
        numbers = {one.id: one.number for one in effects}
        for one, said, buried in refused:
            if buried:
                log.error("%s moves %s to the dead letters, half done: %s", self.name, one, said,
                          extra=self._about(one, f"half done: {said}"))  # fmt: skip
                self.counts.failed += 1
                self._count("dead")
            else:
                why = f"The effect was refused: {said}"
                yield from self._fail(one, numbers[one], why)
        self._expect(ours)
        return None

    def _fail(
        self, entry_id: str, number: int, why: str, error: BaseException | None = None
    ) -> Steps:
        """Note a failure, and try the entry again later or put it aside."""
        self.counts.failed += 1
        log.warning("%s failed on %s, delivery %d: %s", self.name, entry_id, number, why,
                    exc_info=error, extra=self._about(entry_id, why))  # fmt: skip
        if not (yield from self._ask(self._run(FAIL, entry_id, number, why))):
            self._count("lost")
        elif number >= self._settings.max_deliveries:
            yield from self._put_aside(entry_id, number, why)
        else:
            self._try_again(entry_id, number)

    def _about(self, entry_id: str, why: str) -> dict[str, str]:
        """What the log's record of a failure has as attributes, for a program to look at."""
        return {"consumer": self.name, "entry": entry_id, "why": why}

    def _try_again(self, entry_id: str, number: int, why: str = "") -> None:
        delay_s = FIRST_RETRY_S * 2.0 ** min(number - 1, 20)
        delay_s = min(delay_s, self._settings.min_idle_ms / 2000)
        self._retries[entry_id] = Retry(self.clock() + delay_s, number, why)

    def _put_aside(self, entry_id: str, number: int, why: str, *, bare: bool = False) -> Steps:
        """Move an entry to the dead letters; if there is no room for it, it stays pending.

        Bare: without its fields, so that the letter can be sent; it stays on the stream.
        """
        how = ["keep", self._most_letters, "bare"] if bare else [self._after, self._most_letters]
        bury = self._run(BURY, entry_id, number, why, *how)
        reply = yield from self._ask(self._growing(bury), but=no_room)
        if isinstance(reply, redis.RedisError):
            log.warning("%s: no room to put %s aside (%s)", self.name, entry_id, reply)
            self._no_room = self._no_room or (self.clock(), reply)
            self._try_again(entry_id, number, why)
            return
        self._no_room = None
        what, letters = reply
        if what == "dead":
            log.error("%s moves %s to the dead letters: %s", self.name, entry_id, why)
            if letters % MANY_LETTERS == 0:
                log.warning("%s holds %d dead letters", self._keys[2], letters)
        self._count(what)

    def _expect_room(self) -> None:
        """End a run that only waits for room to put entries aside, once patience is over.

        Raises:
            ServerStateError: there was none for so long. They stay pending.
        """
        if self._no_room and self.clock() - self._no_room[0] > self._settings.patience_s:
            raise given_up(self._no_room[1], self.stream, self.group) from self._no_room[1]

    def _count(self, what: str) -> None:
        """Count an entry that needs no more work here: lost, dead or gone."""
        setattr(self.counts, what, getattr(self.counts, what) + 1)
        self._finished += what == "dead"
