"""The aggregating consumer: reads daily partitions, and publishes the mean of each hour once.

`Work` decides, `State` stores and publishes in one step; here is the loop around them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import redis

from helpers.averages.names import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    KEPT,
    SET_ASIDE,
)
from helpers.averages.state import Behind, Publish, State, StateError
from helpers.averages.work import BEGINNING, FIELDS, Counts, Page, Work
from helpers.partitions.days import PREFIX, partition_day
from helpers.streams.clock import Clock, moment_of, ms_of, utc_now
from helpers.streams.consumer.consumer import expect_client
from helpers.streams.entry import EntryId, pairs
from helpers.streams.errors import explain
from helpers.streams.patience import LIMIT_S
from helpers.streams.signals import stopping
from helpers.streams.single import Single
from helpers.streams.size import SIZE, Portion
from helpers.streams.slots import Clients, SyncClient
from helpers.streams.states import passes, unreachable
from helpers.streams.text import decoded, undecoded

PAGE = 2000  # readings a reply, and a commit
BLOCK_MS = 1000  # how long one XREAD waits, and so how soon stop() is heard
GRACE_S = 60.0

Say = Callable[[str], object]


class AggregatingConsumer(Single):
    """Turns the readings of daily partitions into a capped stream of hourly averages.

        AggregatingConsumer(redis, start="temps:20250101").run()

    It reads a partition to its end, and leaves it when its day is over, with a grace period
    for late readings; days without a partition are skipped. What it remembers is a hash in
    Redis, stored in one step with the averages that belong to it.

    Promise, exactly once: each hour that has readings is published once, with the mean of all
    its readings that came in time, whatever dies, is paused, or runs twice. Readings that
    count for no hour, because they came too late or hold no number, are set aside with the
    reason. Of two consumers the one that began later goes on, and the other gets an error.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        start: str | None = None,
        grace_s: float = GRACE_S,
        page: int = PAGE,
        clock: Clock = utc_now,
        say: Say = print,
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to work; nothing is sent before `run()`.

        Args:
            client: a client from `connect()`, or one whose socket time-out is above BLOCK.
            start: the partition to begin with, if there is no state to go on from.
            grace_s: how long after its end an hour stays open for late readings, in seconds;
                shorter than an hour.
            page: the most readings a reply, which a crash may cause to be read again.
            clock: what time it is, where that is not this machine's time.
            say: is told where it begins, what it waits for, and what was lost.
            patience_s: how long the server may be out of reach or silent, in seconds.

        Raises:
            PartitionError: the start is no partition.
            ArgumentError: the client would not wait for a reply.
            CourseError: the grace period is too long.
        """
        if start is not None:
            partition_day(start)
        self._clients = Clients(client)
        expect_client(self._clients.of(AVERAGES), BLOCK_MS)
        super().__init__()
        self._start = start
        self._grace_ms = int(grace_s * 1000)
        self._page = page
        self._clock = clock
        self._say = say
        self._state = State(client, AGGREGATING_STATE, FIELDS, self._stored, patience_s)
        self._work = Work(partition_day(start or f"{PREFIX}:19700101"), self._grace_ms)
        self._waiting_for = ""
        self._skipped: list[str] = []
        self._portion = Portion()

    def _reset(self) -> None:
        self._state = copy.copy(self._state)
        self._work, self._portion = copy.deepcopy(self._work), Portion()
        self._state.stopped, self._skipped = False, []

    @property
    def counts(self) -> Counts:
        """What was done since the state was made."""
        return self._work.counts

    def stop(self) -> None:
        """End `run()` when the page in hand is stored, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._state.stopped = True

    def run(self, *, drain: bool = False, signals: bool = True) -> Counts:
        """Work until `stop()`.

        Args:
            drain: return when everything is read, and nothing more is over.
            signals: take SIGINT (Ctrl-C) and SIGTERM for `stop()`; a second one ends it at once.

        Raises:
            StateError: the stored state cannot be used, or there is none and no start.
            CheckpointError: another consumer took over, or the state was deleted.
            StreamsError: one of the keys is of another type.
            redis.ConnectionError: the server was out of reach for `patience_s`.
        """
        with stopping(self.stop, wanted=signals):
            try:
                self._open()
                tail = busy = False
                while not self._state.stopped:
                    tail, busy = self._step(tail, wait=not (busy or drain))
                    if drain and not busy:
                        break
            finally:
                self._state.stopped = False
        return self.counts

    def _open(self) -> None:
        """Take the state over, or make the first one."""
        found = self._state.take_over()
        if found is None:
            if self._start is None:
                raise StateError(
                    "There is no state to continue from: name the partition to begin with, such "
                    f"as {PREFIX}:21000101."
                )
            first = Work(partition_day(self._start), self._grace_ms)
            self._state.begin(first.fields())
            found = self._state.take_over()
        self._work = self._stored(found or {})
        at = self._work.last if self._work.last != BEGINNING else "0"
        self._say(f"Starting aggregating consumer in stream {self._work.key} at message {at}.")

    def _stored(self, found: Mapping[str, str]) -> Work:
        return Work.stored(found, self._grace_ms)

    def _step(self, tail: bool, *, wait: bool) -> tuple[bool, bool]:
        """Read once, and store what came of it.

        Args:
            tail: the last page was not full, so the clock matters now.
            wait: for readings, if there are none.

        Returns:
            Whether this page was not full, and whether anything has happened.
        """
        now = self._now() if tail else 0  # before the read: all that came by then is in it
        work = self._work
        block = work.wait_ms(now, BLOCK_MS) if wait and tail else None
        page, full = self._read(block)
        busy = bool(page)
        if page:
            self._arrived()
            work.take(page)
            if full:
                work.length = self._length()
        elif tail:
            busy = self._drained(now, wait)
        if busy:
            self._commit()
        return not full, busy or not tail

    def _drained(self, now: int, wait: bool) -> bool:
        """Close what is over; whether anything has happened."""
        work, before = self._work, self._work.fields()
        late, full = self._came_late()
        work.look_back(late)
        if full:
            return True  # there may be more of them, and a day that is left is not looked back on
        if work.read and not self._length():
            after = moment_of(min(EntryId.parse(work.last).ms, work.over_at))
            lost = work.vanished()
            which = f"at least {lost:,} readings" if lost else "readings that came"
            self._say(
                f"{work.key} expired before it was left: {which} after {after:%H:%M:%S} are lost"
                f"{'' if lost else ', if there were any'}."
            )
        key, existed = work.key, work.last != BEGINNING
        if work.drained(now):
            if not existed:
                self._skipped.append(key)
        elif wait and self._waiting_for != key:
            self._arrived()
            self._waiting_for = key
            self._say(f"Waiting for new messages in stream {key}, or new stream partition.")
        return work.fields() != before

    def _arrived(self) -> None:
        """Say which days were skipped, and which partition is read now."""
        work = self._work
        if self._skipped:
            first, last = self._skipped[0], self._skipped[-1]
            which = first if first == last else f"{first} to {last}"
            self._say(f"Skipped {which}: no such partition.")
            self._skipped = []
        if work.previous[0] and work.last == BEGINNING and self._waiting_for != work.key:
            self._say(f"Changing partition to consume stream: {work.key}")
        self._waiting_for = ""

    def _commit(self) -> None:
        """Store where we are, with what is to be published; or go on from what is stored."""
        work = self._work
        published = [Publish(AVERAGES, one.fields(), KEPT) for one in work.means]
        published += [
            Publish(SET_ASIDE, {"stream": key, **one._asdict()}) for key, one in work.aside
        ]
        try:
            self._state.commit(work.fields(), published)
            work.means, work.aside = [], []
        except Behind:
            self._say("The server has lost what it had confirmed: continuing from what it has.")
            self._open()

    def _read(self, block: int | None) -> tuple[Page, bool]:
        """The next page of the partition, by XREAD, and whether it is full."""
        key, last = self._work.key, self._work.last
        try:
            reply, count = self._less_and_less(
                lambda count: self._clients.of(key).xread({key: last}, count, block), key, last
            )
        except UnicodeDecodeError:
            return self._range(key, last)
        page = [one for _, part in pairs(reply) for one in part]
        return page, len(page) == count

    def _range(self, key: str, last: str) -> tuple[Page, bool]:
        """The same also where not all is text, by XRANGE: what is none shows as �."""
        raw = undecoded(self._clients.of(key))
        reply, count = self._less_and_less(
            lambda count: raw.xrange(key, f"({last}", "+", count), key, last
        )
        page = [(str(one.id), one.fields) for one in decoded(reply, key, "replace")]
        return page, len(page) == count

    def _less_and_less(self, read: Callable[[int], Any], key: str, last: str) -> tuple[Any, int]:
        """Read a page, or less after a reply that did not come, and say of how many entries.

        Raises:
            StreamsError: the next entry alone is larger than the server can send.
        """
        portion = self._portion

        def asked() -> tuple[Any, int]:
            count = portion.of(self._page)
            try:
                if look := portion.look({key: last}):
                    sizes = self._clients.of(key).register_script(SIZE)(**look)
                    portion.looked({key: last}, sizes)
                reply = read(count)
            except redis.RedisError as error:
                if unreachable(error):
                    portion.cut(error, count)
                raise
            portion.came()
            return reply, count

        found: tuple[Any, int] = self._ask(asked, key)
        return found

    def _came_late(self) -> tuple[Page, bool]:
        """What came to the partition before, after it was left, by XRANGE; whether that is full."""
        key, last = self._work.previous
        return self._range(key, last) if key else ([], False)

    def _now(self) -> int:
        """What time it is. The clock may ask the server."""
        return self._state.patiently(lambda: ms_of(self._clock()), self._work.key)

    def _length(self) -> int:
        key = self._work.key
        return int(self._ask(lambda: self._clients.of(key).xlen(key), key))

    def _ask(self, ask: Callable[[], Any], key: str) -> Any:
        """Ask about a stream, until the answer comes."""

        def asked() -> Any:
            try:
                return ask()
            except redis.ResponseError as error:
                if passes(error):
                    raise  # to be asked again
                raise explain(error, key) from error

        return self._state.patiently(asked, key)


def begin_anew(client: SyncClient, partition: str) -> None:
    """Start over from a partition: both states are made anew, and the averages are deleted.

    Consumers that are at work may go on no more.

    Raises:
        PartitionError: that is no partition.
    """
    first = Work(partition_day(partition), 0)
    State(client, AGGREGATING_STATE, FIELDS).begin(
        first.fields(), AVERAGES, AVERAGES_STATE, SET_ASIDE, anew=True
    )
