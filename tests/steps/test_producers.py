"""Each entry whose `add` returned is on the stream once and in order, whatever befalls any step."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import AsyncProducer, BulkProducer, EntryId, Producer, connect, connect_async, scan
from helpers.streams import bulk
from helpers.streams.entry import FIRST
from helpers.streams.errors import NotConfirmedError
from helpers.streams.outbox import APPEND, Added
from helpers.streams.patience import Patience
from tests.points import times
from tests.steps.faults import LOSING, Fault, How, Killed, Wire, every_fault, told

MEMORY = "{s}:producers"
WHOLE = (0, 1, 2, 4, 6, 7)  # how many entries are there when a batch ends
NOTHING = Added(0, FIRST, FIRST)
STEPS = 7  # of a run that nothing befalls: its name, five batches, and HDEL
ONCE = (How.LOST, How.UNANSWERED, How.HELD)  # what befalls bytes that TCP carries once


def numbers(redis: Any) -> list[int]:
    return [int(entry.fields["n"]) for entry in scan(redis, "s")]


def readings(count: int, start: int = 0) -> list[dict[str, int]]:
    return [{"n": number} for number in range(start, start + count)]


@contextmanager
def wired(redis: Any, *faults: Fault) -> Any:
    """An empty stream, and a wire to it."""
    redis.unlink("s", MEMORY)
    with Wire(redis, faults) as wire:
        yield wire


def produce(client: Any) -> list[Added]:
    """Two entries one by one and five in three batches; what was added."""
    with Producer(client, "s") as producer:
        one, two = producer.add({"n": 0}), producer.add({"n": 1})
        return [Added(1, one, one), Added(1, two, two), producer.add_many(readings(5, 2), batch=2)]


async def produce_async(client: Any) -> list[Added]:
    async with AsyncProducer(client, "s") as producer:
        one, two = await producer.add({"n": 0}), await producer.add({"n": 1})
        rest = await producer.add_many(readings(5, 2), batch=2)
        return [Added(1, one, one), Added(1, two, two), rest]


def expect_once(redis: Any, added: list[Added], note: Any) -> None:
    """Every entry is there once, in order, with the IDs that the producer said."""
    assert numbers(redis) == list(range(7)), note
    ids = [entry.id for entry in scan(redis, "s")]
    assert [(one.count, one.first, one.last) for one in added] == [
        (1, ids[0], ids[0]), (1, ids[1], ids[1]), (5, ids[2], ids[6])
    ], note  # fmt: skip


# ------------------------------------------------------------------ one fault, at any step


@pytest.mark.early
@pytest.mark.parametrize(("retries", "hows"), [(0, LOSING), (10, How)], ids=["plain", "again"])
def test_each_entry_is_there_once_under_any_fault_at_any_step(redis, retries, hows):
    """A client that sends again by itself may send a copy of what was answered."""
    with connect(retries=retries) as settings:
        for fault in every_fault(STEPS, hows):
            with wired(redis, fault) as wire:
                added = produce(wire.client(settings))
            expect_once(redis, added, (fault, wire.steps))


def test_the_same_for_asyncio(redis):
    async def main() -> None:
        async with connect_async() as plain, connect_async(retries=10) as again:
            for fault in every_fault(STEPS):
                with wired(redis, fault) as wire:
                    added = await produce_async(
                        wire.async_client(again if fault.how is How.COPIED else plain)
                    )
                expect_once(redis, added, (fault, wire.steps))

    asyncio.run(main())


def test_each_entry_is_there_once_though_the_script_has_to_be_sent_first(redis):
    for fault in every_fault(STEPS + 2, ONCE, extra=1):
        redis.script_flush()
        with wired(redis, fault) as wire:
            added = produce(wire.client())
        expect_once(redis, added, (fault, wire.steps))
    assert "SCRIPT LOAD" in wire.steps


def test_each_entry_is_there_once_under_several_faults(redis):
    chance = random.Random(13)
    possible = every_fault(STEPS + 4, LOSING)
    for _ in range(times(300)):
        faults = chance.sample(possible, 3)
        with wired(redis, *faults) as wire:
            added = produce(wire.client())
        expect_once(redis, added, (faults, wire.steps))


def test_what_the_server_remembers_is_gone_only_if_no_copy_is_under_way(redis):
    for fault in [None, *every_fault(STEPS - 1, LOSING)]:
        if fault and fault.at == 1:
            continue  # a copy of its name does no harm, and is forgotten after a day
        with wired(redis, *([fault] if fault else [])) as wire:
            produce(wire.client())
            assert redis.exists(MEMORY) == (fault is not None), (fault, wire.steps)
    with connect(retries=1) as settings, wired(redis) as wire:
        produce(wire.client(settings))
    assert redis.exists(MEMORY)
    assert wire.steps.count("HDEL") == 0


# ------------------------------------------------------------------ giving up


def impatient(producer: Any) -> Any:
    """Let a producer give up at its first failure."""
    producer._outbox._patience = Patience(limit_s=-1)
    return producer


def settle(producer: Any) -> None:
    for _ in range(10):
        with suppress(NotConfirmedError):
            return producer.flush()
    raise AssertionError("it does not settle")


def produce_all(redis: Any, producer: Any, items: list[dict[str, int]], batch: int) -> int:
    """Give up at each lost connection, settle, and go on with the rest; how often that was."""
    done = gave_up = 0
    while done < len(items):
        if error := told(producer.add_many, items[done:], batch=batch):
            gave_up += 1
            assert isinstance(error, NotConfirmedError)
            assert "call flush() to settle" in str(error)
            assert error.confirmed == producer.added.count
            sure = done + error.confirmed
            assert numbers(redis) in (list(range(sure)), list(range(min(sure + batch, len(items)))))
            settle(producer)
            assert numbers(redis) == list(range(done + producer.added.count))
        ids = [entry.id for entry in scan(redis, "s")][done:]
        assert producer.added == (Added(len(ids), ids[0], ids[-1]) if ids else NOTHING)
        done += len(ids)
    return gave_up


@pytest.mark.parametrize("hows", [LOSING, ONCE], ids=["script", "MULTI"])
def test_not_confirmed_means_once_or_not_at_all_and_flush_settles_it(redis, lines, hows):
    kind, steps = (Producer, 3) if hows is LOSING else (BulkProducer, 5)
    for fault in every_fault(steps, hows, extra=6):
        with wired(redis, fault) as wire:
            producer = impatient(kind(wire.client(), "s"))
            assert produce_all(redis, producer, readings(6), 2) == 1, (fault, wire.steps)
        assert numbers(redis) == list(range(6)), (fault, wire.steps)


def test_a_call_after_an_unsettled_one_takes_nothing_until_that_is_settled(redis):
    """Each entry is given once more only where its call says that nothing was sent."""
    for fault in every_fault(5, LOSING):
        again = Fault(How.LOST, fault.at + 1)
        with wired(redis, fault, again) as wire:
            producer = impatient(Producer(wire.client(), "s"))
            refused = 0
            for number in range(4):
                error = told(producer.add, {"n": number})
                if isinstance(error, NotConfirmedError):
                    assert error.confirmed == 0
                elif error:
                    assert "Nothing was sent" in str(error)
                    refused += 1
                    producer.add({"n": number})
            settle(producer)
        assert numbers(redis) == [0, 1, 2, 3], (fault, wire.steps)
        assert refused == (fault.at < 5)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("what", ["a larger one", "not a stream"])
def test_what_was_refused_is_not_added_by_a_copy_that_comes_when_it_could_be(redis, what):
    """Something is in the way, until it is deleted."""
    with connect(retries=10) as settings:
        for fault in every_fault(4):
            with wired(redis, fault) as wire:
                producer = Producer(wire.client(settings), "s")
                producer.add({"n": 0}, id="5-0")
                if what == "not a stream":
                    redis.set("s", "mine")
                assert what in str(told(producer.add, {"n": 1}, id="4-0"))
                redis.delete("s")
                assert producer.add({"n": 2}, id="3-0") == EntryId(3)
                producer.add({"n": 3}, id="3-5")
            assert set(numbers(redis)) <= {0, 2, 3}, (fault, wire.steps)
            assert numbers(redis)[-2:] == [2, 3], (fault, wire.steps)


def test_what_is_refused_after_a_lost_reply_stays_open(redis):
    """An earlier copy may have been added, or may yet be, so the refusal of one decides nothing."""
    redis.script_load(APPEND)
    for how in LOSING:
        with wired(redis, Fault(how, at=3, late=9)) as wire:
            producer = Producer(wire.client(), "s")
            producer.add({"n": 0})
            impatient(producer)
            assert isinstance(told(producer.add, {"n": 1}), NotConfirmedError), how
            notes = redis.hgetall(MEMORY)
            redis.set(MEMORY, "no hash")
            assert isinstance(told(producer.flush), NotConfirmedError), how
            redis.delete(MEMORY)
            redis.hset(MEMORY, mapping=notes)
            producer.flush()
            assert producer.added.count == 1, how
        assert numbers(redis) == [0, 1], how


def test_what_a_full_server_refuses_is_sent_until_there_is_room(redis):
    """Also where a copy may have been added, or may yet be."""

    def full(bytes: int) -> None:
        redis.config_set("maxmemory", bytes)

    try:
        for fault in [None, *every_fault(3, LOSING)]:
            with wired(redis, *([fault] if fault else [])) as wire:
                producer = Producer(wire.client(), "s")
                begin, end = (fault.at + 1, fault.at + 3) if fault else (2, 3)
                wire.before(begin, lambda: full(1))
                wire.before(end, lambda: full(0))
                errors = [told(producer.add, {"n": number}) for number in range(3)]
            full(0)
            assert errors == [None] * 3, (fault, wire.steps)
            assert numbers(redis) == [0, 1, 2], (fault, wire.steps)
    finally:
        full(0)


# ------------------------------------------------------------------ several lives, and rivals


@pytest.mark.parametrize("kind", [Producer, BulkProducer])
def test_who_was_killed_has_added_its_last_batch_once_or_not_at_all(redis, lines, kind):
    """Its successor is at work when what was still under way comes."""

    def live(client: Any, items: list[dict[str, int]]) -> None:
        with kind(client, "s") as producer:
            producer.add_many(items[:1])
            producer.add_many(items[1:2])
            producer.add_many(items[2:], batch=2)

    steps, hows = (STEPS, LOSING) if kind is Producer else (8, ONCE)
    for fault in every_fault(steps, hows, extra=steps, kill=True):
        with wired(redis, fault) as wire:
            with pytest.raises(Killed):
                live(wire.client(), readings(7))
            live(wire.client(), readings(7, 100))
        found = numbers(redis)
        old = [n for n in found if n < 100]
        assert old == list(range(len(old))), (fault, wire.steps)
        assert len(old) in WHOLE, (fault, wire.steps)
        assert [n for n in found if n >= 100] == list(range(100, 107)), (fault, wire.steps)


@pytest.mark.parametrize("kind", [Producer, BulkProducer])
def test_producers_of_one_stream_do_not_disturb_each_other(redis, lines, kind):
    """One stands still before or after any step, while another one adds all that it has."""

    def add(client: Any, start: int) -> None:
        with kind(client, "s") as producer:
            producer.add_many(readings(6, start), batch=2)

    for fault in [None, *every_fault(4, [How.UNANSWERED, How.LOST])]:
        for step in range(1, 7):
            for pause in (Wire.before, Wire.after):
                with wired(redis, *([fault] if fault else [])) as wire:
                    pause(wire, step, lambda: add(wire.client(), 100))
                    add(wire.client(), 0)
                found = numbers(redis)
                assert [n for n in found if n < 100] == list(range(6)), (fault, step, wire.steps)
                assert [n for n in found if n >= 100] in ([], list(range(100, 106)))


# ------------------------------------------------------------------ the bulk producer


class Line(bulk._Line):
    """A line that a fault may befall. TCP carries its bytes once, so it is held or not."""

    _lost: BaseException | None = None

    def __init__(self, client: Any) -> None:
        self._wire: Wire = client.wire
        self._begun = self._wire.start(client, "CLIENT ID", lambda: None)
        super().__init__(client)
        try:
            self._wire.finish(client, self._begun)
        except BaseException:
            self._connection.disconnect()
            self.release()
            raise

    def send(self, packed: bytes) -> None:
        try:
            late = partial(self._late, self._connection, packed)
            self._begun = self._wire.start(self._client, "MULTI", late)
        except (redis_py.ConnectionError, Killed) as error:
            if not self._wire.holds:
                raise
            self._lost = error  # which shows only when the replies are to be read
        else:
            super().send(packed)

    def replies(self, count: int) -> list[Any]:
        if self._lost:
            raise self._lost
        try:
            return super().replies(count)
        finally:
            self._wire.finish(self._client, self._begun)

    def end(self) -> None:
        """While something is under way, the connection is open at the server's end."""
        kept = self._connection
        if self._lost:
            self._connection = redis_py.Connection()  # closed, and stays so
        try:
            super().end()
        finally:
            self._connection = kept

    def release(self) -> None:
        if not self._lost:
            super().release()

    def _late(self, connection: Any, packed: bytes) -> None:
        """What was under way reaches the server, which hears it if the connection is open."""
        with suppress(redis_py.ConnectionError):
            connection.send_packed_command([packed], check_health=False)
            connection.send_command("PING")
            while True:
                with suppress(redis_py.ResponseError):
                    if connection.read_response() == "PONG":
                        break
        connection.disconnect()
        self._client.connection_pool.release(connection)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bulk producers have their connections on the wire."""
    monkeypatch.setattr(bulk, "_Line", Line)


BULK_STEPS = 7  # its name, CLIENT ID, INFO, three MULTIs, HDEL


def test_in_bulk_too_each_entry_is_there_once_under_any_fault_at_any_step(redis, lines):
    for fault in every_fault(BULK_STEPS, ONCE, extra=7):
        with wired(redis, fault) as wire, BulkProducer(wire.client(), "s") as producer:
            added = producer.add_many(readings(5), batch=2)
        ids = [entry.id for entry in scan(redis, "s")]
        assert numbers(redis) == list(range(5)), (fault, wire.steps)
        assert added == Added(5, ids[0], ids[-1]), (fault, wire.steps)
        assert not redis.exists(MEMORY) or fault.at in (1, BULK_STEPS), (fault, wire.steps)


def test_in_bulk_too_under_several_faults(redis, lines):
    chance = random.Random(13)
    possible = every_fault(BULK_STEPS + 6, ONCE, extra=6)
    for _ in range(times(300)):
        faults = chance.sample(possible, 3)
        with wired(redis, *faults) as wire, BulkProducer(wire.client(), "s") as producer:
            added = producer.add_many(readings(5), batch=2)
        ids = [entry.id for entry in scan(redis, "s")]
        assert numbers(redis) == list(range(5)), (faults, wire.steps)
        assert added == Added(5, ids[0], ids[-1]), (faults, wire.steps)


def test_in_bulk_what_was_not_settled_comes_before_the_next_call(redis, lines):
    for fault in every_fault(BULK_STEPS - 1, ONCE, extra=6):
        with wired(redis, fault) as wire:
            producer = impatient(BulkProducer(wire.client(), "s"))
            given_up = [told(producer.add_many, readings(1, n)) for n in range(3)]
            producer.close()
        assert len(list(filter(None, given_up))) == 1, (fault, wire.steps)
        assert numbers(redis) == [0, 1, 2], (fault, wire.steps)


def test_in_bulk_what_was_refused_is_not_added_later(redis, lines):
    """A key of another type is in the way, until it is deleted."""
    for fault in every_fault(BULK_STEPS, ONCE, extra=6):
        with wired(redis, fault) as wire, BulkProducer(wire.client(), "s") as producer:
            producer.add_many(readings(2), batch=2)
            redis.set("s", "no stream")
            assert "is not a stream" in str(told(producer.add_many, readings(4, 2), batch=2))
            redis.delete("s")
            producer.add_many(readings(4, 10), batch=2)
        assert numbers(redis) == list(range(10, 14)), (fault, wire.steps)
