"""Each reading is in the partition of its day once, and expires, whatever befalls any step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pytest

from helpers.partitions import PartitionProducer, Reading, fill, filling, start_of
from helpers.partitions import readings as demo
from helpers.partitions.days import PartitionError, day_of_ms, partition_key
from helpers.partitions.producer import batches
from helpers.streams.errors import NotConfirmedError, StreamsError
from helpers.streams.patience import Patience
from tests.points import times
from tests.steps.faults import LOSING, Copy, Fault, How, Killed, Wire, every_fault, told
from tests.test_partition_producer import assert_all_expire, assert_each_once

DAYS = (date(2100, 1, 1), date(2100, 1, 2))
KEYS = [key for day in DAYS for key in (partition_key(day), f"{{{partition_key(day)}}}:written")]
FIRST, SECOND = map(start_of, DAYS)
GIVEN = [
    *(Reading(FIRST + 1000 * n, n) for n in range(5)),
    Reading(SECOND + 5000, 5),
    Reading(SECOND + 5000, 6),  # in the same millisecond
    Reading(SECOND, 7),  # late
    Reading(FIRST, 8),  # later still
]
STEPS = 6  # batches of one or two readings: 1 | 2 | 2 | 2 | 1 | 1


@contextmanager
def wired(redis: Any, *faults: Fault) -> Iterator[Wire]:
    """No partitions, and a wire; no key may be there without an expiry."""
    redis.unlink(*KEYS)
    with Wire(redis, faults) as wire:
        wire.watch(lambda: assert_all_expire(redis))
        yield wire


def produce(client: Any) -> None:
    with PartitionProducer(client) as producer:
        assert producer.add_many(GIVEN[:1]) == 1
        assert producer.add_many(GIVEN[1:], batch=2) == len(GIVEN) - 1


def expect_each_once(redis: Any, note: Any, given: list[Reading] = GIVEN) -> None:
    try:
        assert_each_once(redis, given)
    except AssertionError as error:
        raise AssertionError(f"{note}: {error}") from None


# ------------------------------------------------------------------ one life


def test_each_reading_is_there_once_under_any_fault_at_any_step(redis):
    for fault in every_fault(STEPS):
        with wired(redis, fault) as wire:
            produce(wire.client())
        expect_each_once(redis, (fault, wire.steps))


def test_each_reading_is_there_once_though_the_script_has_to_be_sent_first(redis):
    for fault in every_fault(STEPS + 2, LOSING, extra=1):
        redis.script_flush()
        with wired(redis, fault) as wire:
            produce(wire.client())
        expect_each_once(redis, (fault, wire.steps))


def test_each_reading_is_there_once_under_several_faults(redis):
    chance = random.Random(13)
    possible = every_fault(STEPS + 4)
    for _ in range(times(200)):
        faults = chance.sample(possible, 3)
        with wired(redis, *faults) as wire:
            produce(wire.client())
        expect_each_once(redis, (faults, wire.steps))


def test_not_confirmed_means_once_or_not_at_all_and_flush_settles_it(redis):
    for fault in every_fault(STEPS, LOSING):
        lost = 0
        with wired(redis, fault) as wire:
            producer = PartitionProducer(wire.client())
            producer._patience = Patience(limit_s=-1)
            for batch in batches(GIVEN, 2):
                key = partition_key(batch.day)
                before = redis.xlen(key)
                if error := told(producer.send, batch):
                    assert isinstance(error, NotConfirmedError)
                    assert error.confirmed == before
                    assert f"last {batch.count} readings for {key}" in str(error)
                    assert redis.xlen(key) - before in (0, batch.count)
                    lost += 1
                    producer.flush()
        assert lost == 1, (fault, wire.steps)
        expect_each_once(redis, (fault, wire.steps))


def test_what_was_not_settled_comes_before_the_next_batch(redis):
    for fault in every_fault(STEPS - 1, LOSING):
        with wired(redis, fault) as wire:
            producer = PartitionProducer(wire.client())
            producer._patience = Patience(limit_s=-1)
            for batch in batches(GIVEN, 2):
                with suppress(NotConfirmedError):
                    producer.send(batch)
        expect_each_once(redis, (fault, wire.steps))


def test_what_would_be_gone_at_once_is_never_written(redis):
    """Also not by a copy, and what comes after it is."""
    now = datetime(2100, 1, 3, 0, 0, 3, tzinfo=UTC)  # the first three seconds are gone
    for fault in every_fault(3):
        with wired(redis, fault) as wire:
            producer = PartitionProducer(wire.client(), clock=lambda: now)
            with pytest.raises(PartitionError, match="would expire"):
                producer.add_many(GIVEN[:1])
            with pytest.raises(PartitionError, match="would expire"):
                producer.add_many(GIVEN[1:3])
            assert not redis.exists(*KEYS)
            producer.add_many(GIVEN[5:7])
        expect_each_once(redis, (fault, wire.steps), GIVEN[5:7])


# What was refused is not noted, so a copy of it is written when nothing is in the way any more.
# To be emptied.
def expect_refused(redis: Any, fault: Fault) -> None:
    """The key is in the way, until it is deleted."""
    with wired(redis, fault) as wire:
        producer = PartitionProducer(wire.client())
        producer.add_many(GIVEN[5:6])
        redis.set(KEYS[0], "mine", ex=100)
        with pytest.raises(StreamsError, match="is not a stream") as refused:
            producer.add_many(GIVEN[:2])
        redis.delete(KEYS[0])
        producer.add_many(GIVEN[6:7])
    # A copy that comes when the key is no longer in the way may write what was refused.
    late = isinstance(refused.value, NotConfirmedError) and redis.exists(KEYS[0]) == 1
    assert not late or fault.how in (How.HELD, How.TWICE)
    given = [*GIVEN[:2], *GIVEN[5:7]] if late else GIVEN[5:7]
    expect_each_once(redis, (fault, wire.steps), given)


def test_what_was_refused_is_not_written_or_the_error_says_that_it_may_be(redis):
    for fault in every_fault(3):
        if fault.how is not How.COPIED:  # what was answered is not sent again by TCP
            expect_refused(redis, fault)


# ------------------------------------------------------------------ several lives


def resume(client: Any) -> None:
    """Go on from what the partitions hold of this name."""
    with PartitionProducer(client, name="roof") as producer:
        for day in DAYS:
            todays = [one for one in GIVEN if day_of_ms(one.at) == day]
            producer.add_many(todays[producer.written(day) :], batch=2)


def test_a_successor_goes_on_whatever_is_still_under_way(redis):
    with wired(redis) as wire:
        resume(wire.client())
    steps = len(wire.steps)
    for fault in every_fault(steps, LOSING, extra=steps, kill=True):
        with wired(redis, fault) as wire:
            with pytest.raises(Killed):
                resume(wire.client())
            resume(wire.client())
        expect_each_once(redis, (fault, wire.steps))


@pytest.mark.early
@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_paused_while_another_one_of_its_name_wrote_writes_nothing_twice(redis, pause):
    with wired(redis) as wire:
        resume(wire.client())
    fenced = 0
    for step in range(1, len(wire.steps) + 1):
        with wired(redis) as wire:
            pause(wire, step, lambda: resume(wire.client()))
            if error := told(resume, wire.client()):
                fenced += 1
                assert "Another producer named 'roof'" in str(error)
        expect_each_once(redis, (step, wire.steps))
    assert fenced


def test_several_producers_write_the_same_days(redis):
    half = len(GIVEN) // 2
    for fault in [None, *every_fault(3, LOSING)]:
        for step in (1, 2):
            with wired(redis, *([fault] if fault else [])) as wire:
                other = PartitionProducer(wire.client())
                wire.before(step, partial(other.add_many, GIVEN[half:], batch=2))
                PartitionProducer(wire.client()).add_many(GIVEN[:half], batch=2)
            expect_each_once(redis, (fault, step, wire.steps))


# ------------------------------------------------------------------ what the server loses


def test_a_server_that_has_lost_confirmed_readings_is_found_out(redis):
    """A copy of it is made before any write, and put back before any later one."""
    found_out = 0

    def produce_all(client: Any) -> None:
        producer = PartitionProducer(client, name="roof")
        for batch in batches(GIVEN, 2):
            producer.send(batch)

    for early in range(1, STEPS + 1):
        for later in range(early + 1, STEPS + 2):
            with wired(redis) as wire:
                copy = Copy(redis, KEYS)
                wire.before(early, copy.take)
                wire.before(later, copy.restore)
                if error := told(produce_all, wire.client()):
                    found_out += 1
                    assert "lost what it had confirmed" in str(error)
                resume(wire.client())
            expect_each_once(redis, (early, later, wire.steps))
    assert found_out >= STEPS


# ------------------------------------------------------------------ filling

SHORT = 1500  # seconds of a day


@pytest.fixture
def short_days(monkeypatch):
    """Days of 25 minutes."""
    for module in (filling, demo):
        monkeypatch.setattr(module, "SECONDS_A_DAY", SHORT)


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
@pytest.mark.parametrize("kill", [False, True], ids=["lost", "kill -9"])
def test_a_fill_goes_on_whatever_befalls_a_step(redis, kill):
    """Its readings are those of a fill that nothing befalls."""
    with wired(redis) as wire:
        list(fill(wire.client(), days=1))
    steps, expected = wire.steps, redis.xrange(KEYS[0])
    assert len(expected) == SHORT
    for fault in every_fault(steps, [How.LOST, How.UNANSWERED, How.HELD], kill=kill):
        told: list[int] = []
        with wired(redis, fault) as wire:
            if kill:
                with pytest.raises(Killed):
                    list(fill(wire.client(), days=1))
            found = list(fill(wire.client(), days=1, progress=told.append))
        assert [one.length for one in found] == [SHORT], (fault, wire.steps)
        assert sum(told) == SHORT
        assert redis.xrange(KEYS[0]) == expected, (fault, wire.steps)
