"""A consumer works through its own history, then what others left, then what is new."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import (
    AsyncConsumer,
    Consumer,
    DeadLetters,
    EntryId,
    Group,
    connect,
    connect_async,
)
from helpers.chaos import Fault, Proxy
from helpers.course.pace import patient
from helpers.course.server import find_server
from helpers.streams.consumer import in_hand, loop
from helpers.streams.errors import ConsumerError, GroupError, StreamsError
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    NAMES,
    STREAM,
    add_up,
    blocked,
    both,
    failing,
    fill,
    give,
    ignore,
    letters,
    number,
    pending,
    totals,
    until,
    work,
    work_async,
)
from tests.steps.loop import Driver

work_newer = work
pytestmark = pytest.mark.usefixtures("soon")


# ------------------------------------------------------------------ the order of the work


@both
def test_own_history_comes_first_then_idle_entries_of_others_then_new_ones(redis, work):
    fill(redis, 8)
    give(redis, "bob", 2, idle_ms=AGES)
    give(redis, "alice", 2)
    give(redis, "carol", 2)  # at work, as it seems
    seen = []
    counts = work(lambda entry: seen.append(number(entry)))
    assert seen == [3, 4, 1, 2, 7, 8]
    assert pending(redis) == {5: ("carol", 1), 6: ("carol", 1)}
    assert (counts.new, counts.again, counts.claimed, counts.acked) == (2, 4, 2, 6)


@both
@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_what_was_delivered_twice_is_recovered_one_by_one(redis, work, owner):
    """Else each crash would blame the neighbours of the entry that caused it."""
    fill(redis, 4)
    ids = give(redis, owner, 4)
    redis.xclaim(STREAM, GROUP, owner, 0, ids)
    redis.xclaim(STREAM, GROUP, owner, 0, ids, idle=AGES, justid=True)
    deliveries = []
    work(lambda entry: deliveries.append([times for _, times in pending(redis).values()]))
    assert deliveries == [[3, 2, 2, 2], [3, 2, 2], [3, 2], [3]]


@both
def test_own_history_is_recovered_one_by_one(redis, work):
    fill(redis, 4)
    give(redis, "alice", 4)
    deliveries = []
    work(lambda entry: deliveries.append([times for _, times in pending(redis).values()]))
    assert deliveries == [[2, 1, 1, 1], [2, 1, 1], [2, 1], [2]]


@both
@pytest.mark.parametrize(("most", "first"), [(2, [2, 1, 1, 1]), (3, [2, 2, 2, 1])])
def test_what_others_were_delivered_once_is_claimed_in_batches(redis, work, most, first):
    """Mostly they did not come to it. Where two deliveries are the most, each comes alone."""
    fill(redis, 4)
    give(redis, "bob", 4, idle_ms=AGES)
    deliveries = []
    counts = work(
        lambda entry: deliveries.append([times for _, times in pending(redis).values()]),
        batch=3, max_deliveries=most,
    )  # fmt: skip
    assert deliveries[0] == first
    assert (counts.again, counts.claimed, counts.acked, counts.dead) == (4, 4, 4, 0)


@both
def test_claiming_goes_on_past_deleted_entries_to_the_end_of_the_cursor(redis, work):
    fill(redis, 250)
    ids = give(redis, "bob", 250, idle_ms=AGES)
    redis.xdel(STREAM, *ids[:200])
    seen = []
    counts = work(lambda entry: seen.append(number(entry)), batch=5)
    assert seen == list(range(201, 251))
    assert (counts.gone, counts.claimed, counts.acked) == (200, 50, 50)
    assert not pending(redis)


@both
def test_a_long_history_is_read_in_pages(redis, work):
    fill(redis, 250)
    give(redis, "alice", 250)
    seen = []
    work(lambda entry: seen.append(number(entry)))
    assert seen == list(range(1, 251))
    assert not pending(redis)


@both
def test_new_entries_come_in_batches_and_are_acknowledged_together(redis, work):
    fill(redis, 25)
    with Proxy() as proxy:
        counts = work(ignore, proxy=proxy, batch=10)
    scripts = 3  # to join, to look at its own history, to claim
    assert proxy.names.count("XREADGROUP") == 4
    assert proxy.names.count("EVALSHA") - proxy.names.count("SCRIPT LOAD") <= 2 * (scripts + 3)
    assert (counts.new, counts.acked) == (25, 25)
    assert not pending(redis)


@both
def test_an_entry_waits_no_longer_for_the_others_of_its_batch_than_a_moment(
    redis, work, monkeypatch
):
    monkeypatch.setattr(in_hand, "SETTLE_S", 0.0)
    fill(redis, 3)
    left = []
    work(lambda entry: left.append(list(pending(redis))))
    assert left == [[1, 2, 3], [2, 3], [3]]


@both
def test_what_is_in_hand_is_said_again_and_what_others_have_claimed_is_let_go(redis, work):
    fill(redis, 3)
    seen = []

    def handle(entry):
        seen.append((number(entry), pending(redis)[number(entry)]))
        if len(seen) == 1:
            while redis.xpending_range(STREAM, GROUP, "1-0", "1-0", 1, idle=350) == []:
                pass
            redis.xclaim(STREAM, GROUP, "bob", 0, ["2-0"], justid=True)

    counts = work(handle, min_idle_ms=400)
    assert seen == [(1, ("alice", 1)), (3, ("alice", 1))]
    assert (counts.new, counts.again, counts.lost) == (3, 0, 1)
    assert list(pending(redis)) == [2]


@both
def test_entries_that_were_deleted_or_trimmed_are_acknowledged_and_never_handled(redis, work):
    fill(redis, 9)
    give(redis, "bob", 3, idle_ms=AGES)
    give(redis, "alice", 3)
    redis.xdel(STREAM, "2-0", "5-0", "8-0")
    redis.xtrim(STREAM, minid="2-0", approximate=False)
    seen = []
    counts = work(lambda entry: seen.append(number(entry)))
    assert seen == [4, 6, 3, 7, 9]
    assert (counts.gone, counts.acked) == (3, 5)
    assert not pending(redis)


@both
def test_an_entry_deleted_while_it_waits_to_be_retried_is_gone(redis, work):
    fill(redis, 1)

    def handle(entry):
        redis.xdel(STREAM, str(entry.id))
        raise RuntimeError

    counts = work(handle)
    assert (counts.failed, counts.gone, counts.dead) == (1, 1, 0)
    assert not pending(redis)
    assert not redis.exists(FAILURES)


@both
def test_of_an_entry_that_is_gone_no_failures_are_remembered(redis, work):
    fill(redis, 2)

    def fail_and_die(entry):
        if redis.exists(FAILURES):
            raise KeyboardInterrupt
        raise RuntimeError

    with pytest.raises(KeyboardInterrupt):
        work_newer(fail_and_die, name="bob")
    assert redis.hkeys(FAILURES) == ["1-0"]
    redis.xclaim(STREAM, GROUP, "bob", 0, ["1-0"], idle=AGES, justid=True)
    redis.xdel(STREAM, "1-0")
    assert work(ignore).gone == 1
    assert not redis.exists(FAILURES)


# ------------------------------------------------------------------ success and failure


@both
def test_a_handler_that_raises_is_tried_again_later_and_holds_nobody_up(redis, work):
    fill(redis, 4)
    handle, seen = failing(2, times=2)
    counts = work(handle)
    assert seen == [1, 2, 3, 4, 2, 2]
    assert (counts.acked, counts.failed, counts.again, counts.dead) == (4, 2, 2, 0)
    assert not pending(redis)
    assert not redis.exists(FAILURES)  # what is handled in the end has no history of failures


@both
def test_a_failed_entry_stays_pending_until_then(redis, work):
    fill(redis, 1)
    held = []

    def handle(entry):
        held.append(pending(redis))
        if len(held) < 3:
            raise RuntimeError

    work(handle)
    assert held == [{1: ("alice", times)} for times in (1, 2, 3)]


@both
def test_after_its_last_delivery_an_entry_is_a_dead_letter(redis, work):
    fill(redis, 3)
    handle, seen = failing(2)
    counts = work(handle, max_deliveries=3)
    assert seen == [1, 2, 3, 2, 2]
    assert (counts.acked, counts.failed, counts.dead) == (2, 3, 1)
    assert not pending(redis)
    (letter,) = letters(redis).values()
    assert (letter.entry.id.ms, letter.entry.fields) == (2, {"n": "2"})
    assert (letter.group, letter.consumer, letter.deliveries) == ("g", "alice", 3)
    assert letter.reason == "RuntimeError: no 2"
    assert letter.failures == tuple(f"{times} alice RuntimeError: no 2" for times in (1, 2, 3))
    assert not redis.exists(FAILURES)


@both
def test_retries_wait_longer_each_time_and_shorten_the_block(redis, work, monkeypatch):
    monkeypatch.setattr(in_hand, "FIRST_RETRY_S", 0.04)
    fill(redis, 1)
    failing_at_1, seen = failing(1)

    def handle(entry):
        if len(seen) == 2:
            fill(redis, 1, start=2)
        failing_at_1(entry)

    with Proxy() as proxy:
        work(handle, proxy=proxy, drain=False, limit=2, block_ms=900, max_deliveries=4)
    reads = [words for words in proxy.commands if words[0] == "XREADGROUP"]
    blocks = [int(words[words.index("BLOCK") + 1]) for words in reads]
    assert blocks[0] == 900
    assert all(block <= 160 for block in blocks[1:])
    assert blocks[1] <= 40 < max(blocks[2:])


@both
def test_a_lost_connection_does_not_bring_a_retry_forward(redis, work, monkeypatch):
    monkeypatch.setattr(in_hand, "FIRST_RETRY_S", 1000.0)
    fill(redis, 3)
    failing_at_1, seen = failing(1)

    def handle(entry):
        failing_at_1(entry)
        if number(entry) == 3:
            raise KeyboardInterrupt

    with Proxy() as proxy:
        proxy.arm(Fault.CUT_BEFORE, ("XREADGROUP", 2))
        with pytest.raises(KeyboardInterrupt):
            work(handle, proxy=proxy, batch=1)
    assert seen == [1, 2, 3]
    assert pending(redis) == {1: ("alice", 1), 3: ("alice", 1)}


@both
def test_so_many_may_wait_to_be_retried_and_then_nothing_new_is_read(redis, work, monkeypatch):
    monkeypatch.setattr(loop, "MOST_RETRIES", 3)
    fill(redis, 9)
    most = 0

    def handle(entry):
        nonlocal most
        most = max(most, len(pending(redis)))
        raise RuntimeError

    counts = work(handle, max_deliveries=2)
    assert (most, counts.dead) == (3, 9)


@pytest.mark.parametrize("text", ["", "one\u2028two", "a lone \ud800 surrogate", "x" * 1000])
def test_whatever_an_error_says_is_one_line(redis, text, caplog):
    caplog.set_level(logging.CRITICAL, "helpers.streams")  # xdist cannot send a lone surrogate
    fill(redis, 1)

    def handle(entry):
        raise ValueError(text)

    work(handle, max_deliveries=2)
    reason = letters(redis)[1].reason
    assert reason.startswith("ValueError")
    assert len(reason) <= 200
    assert letters(redis)[1].failures == (f"1 alice {reason}", f"2 alice {reason}")


def odd_answers():
    async def forgotten():
        return None

    return [
        True, 3, 0, "text", {"a": 1}, ("HINCRBY",), (), [3], [("SET", "a", None)], (5, 0),
        ("SET", "a", True), [["SET", "a", "b"]], (("SET", "a"), ("SET", "b")), forgotten(),
    ]  # fmt: skip


@pytest.mark.parametrize("answer", odd_answers(), ids=lambda answer: repr(answer)[:20])
def test_an_odd_answer_of_a_handler_ends_it_with_one_sentence_and_loses_nothing(redis, answer):
    fill(redis, 3)
    with pytest.raises(StreamsError, match=r"A handler returned .*: return None, or commands"):
        work(lambda entry: answer if number(entry) == 2 else None)
    assert list(pending(redis)) == [2, 3]  # the one before it has done nothing wrong
    assert work(ignore).acked == 2


def test_the_same_under_asyncio(redis):
    fill(redis, 2)
    with pytest.raises(StreamsError, match="A handler returned 'ok'"):
        work_async(lambda entry: "ok")
    assert list(pending(redis)) == [1, 2]


def test_a_coroutine_handler_that_hangs_is_cancelled_and_counts_as_failed(redis):
    fill(redis, 2)
    cancelled = []

    async def handle(entry):
        if number(entry) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(1)

    async def run():
        async with connect_async() as client:
            terms = {"min_idle_ms": 60, "max_deliveries": 2}
            consumer = AsyncConsumer(client, STREAM, GROUP, handle, name="alice", **terms)
            return await consumer.run(drain=True)

    counts = asyncio.run(run())
    assert (counts.acked, counts.failed, counts.dead) == (1, len(cancelled), 1)
    assert "longer than 60 ms" in letters(redis)[1].reason


@both
@pytest.mark.parametrize("owner", ["nobody", "alice", "bob"])
def test_an_entry_that_is_no_text_is_put_aside_at_once_and_the_others_are_handled(
    redis, work, owner
):
    """Finding B8: it ended four lives in a row."""
    fill(redis, 2)
    redis.xadd(STREAM, {"n": b"\xff\xfe", b"\xfd": "1"}, id="3-0")
    fill(redis, 1, start=4)
    if owner != "nobody":
        redis.xgroup_setid(STREAM, GROUP, "4-0")
        ids, terms = [f"{n}-0" for n in range(1, 5)], {"idle": AGES, "retrycount": 1}
        redis.xclaim(STREAM, GROUP, owner, 0, ids, force=True, justid=True, **terms)
    seen = []
    counts = work(lambda entry: seen.append(number(entry)))
    assert seen == [1, 2, 4]
    assert (counts.acked, counts.dead, counts.failed) == (3, 1, 0)
    assert not pending(redis)
    [one] = DeadLetters(redis, STREAM, GROUP)
    assert one.entry == (EntryId(3), {"n": b"\xff\xfe", b"\xfd": "1"})
    assert one.reason == "It isn't text in UTF-8"


@both
def test_consumers_whose_names_are_no_text_are_listed_and_disturb_nobody(redis, work):
    fill(redis, 2)
    redis.xgroup_createconsumer(STREAM, GROUP, b"\xff")
    redis.xreadgroup(GROUP, b"\xfe", {STREAM: ">"}, count=1)
    group = Group(redis, STREAM, GROUP)
    assert {one.name: one.pending for one in group.consumers()} == {r"\xff": 0, r"\xfe": 1}
    assert [one.consumer for one in group.pending()] == [r"\xfe"]
    assert group.pending_summary().by_consumer == {r"\xfe": 1}
    assert group.info().consumers == 2
    time.sleep(0.02)  # longer than ten times min_idle_ms
    assert work(ignore, min_idle_ms=1).acked == 2
    assert not {r"\xff"} & {one.name for one in group.consumers()}


# ------------------------------------------------------------------ when it ends


@both
def test_limit_counts_what_is_handled_or_dead_and_reads_no_more(redis, work):
    fill(redis, 10)
    handle, seen = failing(2)
    counts = work(handle, drain=False, limit=4, max_deliveries=2)
    assert (counts.acked, counts.dead, counts.new) == (3, 1, 4)
    assert sorted(seen) == [1, 2, 2, 3, 4]
    assert redis.xinfo_groups(STREAM)[0]["last-delivered-id"] == "4-0"
    assert not pending(redis)


@both
@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_limit_holds_for_what_is_recovered_too(redis, work, owner):
    fill(redis, 10)
    give(redis, owner, 5, idle_ms=AGES)
    counts = work(ignore, drain=False, limit=3)
    assert (counts.acked, counts.again, counts.new) == (3, 3, 0)
    assert list(pending(redis)) == [4, 5]


@both
def test_drain_ends_when_nothing_is_new_and_nothing_of_its_own_is_pending(redis, work):
    fill(redis, 5)
    give(redis, "bob", 1)
    handle, _ = failing(3, times=3)
    assert work(handle).acked == 4
    assert pending(redis) == {1: ("bob", 1)}
    assert work(ignore).acked == 0


@pytest.mark.parametrize("drain", [True, False])
def test_stop_in_a_handler_ends_after_that_entry(redis, drain):
    fill(redis, 5)
    with connect() as client:
        consumer = Consumer(client, STREAM, GROUP, lambda entry: consumer.stop(), name="alice")
        consumer.run(drain=drain)
        assert list(pending(redis)) == [2, 3, 4, 5]
        assert consumer.counts.acked == 1
        consumer.run(drain=drain)  # it can be run again, and begins with its own history
        assert list(pending(redis)) == [3, 4, 5]
        assert pending(redis)[3] == ("alice", 1)


def test_stop_just_before_a_run_ends_it(redis):
    fill(redis, 5)
    with connect() as client:
        consumer = Consumer(client, STREAM, GROUP, ignore)
        consumer.stop()
        assert consumer.run().new == 0
        assert consumer.run(drain=True).acked == 5


def test_stop_is_heard_while_retries_wait(redis, monkeypatch):
    monkeypatch.setattr(in_hand, "FIRST_RETRY_S", 1000.0)
    fill(redis, 1)
    with connect() as client:
        consumer = Consumer(client, STREAM, GROUP, failing(1)[0], name="alice", block_ms=20)
        running = threading.Thread(target=lambda: consumer.run(drain=True))
        running.start()
        until(lambda: consumer.counts.failed)
        consumer.stop()
        running.join(patient(10))
        assert not running.is_alive()
    assert pending(redis) == {1: ("alice", 1)}


def test_stop_ends_a_consumer_that_waits(redis):
    fill(redis, 0)

    async def run():
        async with connect_async() as client:
            consumer = AsyncConsumer(client, STREAM, GROUP, ignore)
            task = asyncio.create_task(consumer.run())
            await asyncio.to_thread(until, partial(blocked, redis))
            consumer.stop()
            return await task

    assert asyncio.run(run()).new == 0


def test_what_a_cancelled_task_was_sent_is_recovered_by_its_next_life(redis):
    fill(redis, 3)

    async def run():
        async with connect_async() as client:
            waiting = asyncio.Event()

            async def handle(entry):
                waiting.set()
                await asyncio.Event().wait()

            consumer = AsyncConsumer(client, STREAM, GROUP, handle, name="alice")
            task = asyncio.create_task(consumer.run())
            await waiting.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert pending(redis) == dict.fromkeys((1, 2, 3), ("alice", 1))
    assert work(ignore).acked == 3


@both
def test_it_counts_what_it_did(redis, work):
    fill(redis, 1200)
    counts = work(ignore)
    assert str(counts) == "1,200 new, 1,200 acked"
    assert str(work(ignore)) == "nothing yet"


# ------------------------------------------------------------------ names


@both
def test_of_two_with_one_name_the_older_is_told_and_nothing_is_lost(redis, work):
    fill(redis, 4)
    seen = []

    def handle(entry):
        seen.append(number(entry))
        if number(entry) == 2:
            with connect() as client:
                newer = Consumer(client, STREAM, GROUP, ignore, name="alice")
                newer.run(drain=True, limit=1)

    with pytest.raises(ConsumerError, match="Another consumer named 'alice' took over"):
        work(handle, batch=2)
    assert seen == [1, 2]
    assert work(ignore, name="alice").acked == 2
    assert not pending(redis)


@both
def test_an_older_one_without_work_is_told_too(redis, work):
    fill(redis, 0)
    errors = []

    def older():
        try:
            work(ignore, drain=False, block_ms=10, min_idle_ms=20)
        except ConsumerError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=older)
    waiting.start()
    until(lambda: redis.hexists(NAMES, "alice"))
    work_newer(ignore)
    waiting.join()
    assert len(errors) == 1


def test_a_generated_name_is_unique_and_given_back_if_nothing_is_pending(redis):
    fill(redis, 3)
    with connect() as client:
        first, second = (Consumer(client, STREAM, GROUP, ignore) for _ in range(2))
        assert first.name != second.name
        first.run(limit=1)
        assert redis.xinfo_consumers(STREAM, GROUP) == []
        assert not redis.exists(NAMES)
        third = Consumer(client, STREAM, GROUP, lambda entry: third.stop())
        third.run()
        (left,) = redis.xinfo_consumers(STREAM, GROUP)
        assert (left["name"], left["pending"]) == (third.name, 1)


def test_a_chosen_name_stays(redis):
    fill(redis, 1)
    work(ignore, name="alice")
    assert [one["name"] for one in redis.xinfo_consumers(STREAM, GROUP)] == ["alice"]


# ------------------------------------------------------------------ what is in its way


@both
def test_a_stream_or_group_that_does_not_exist_is_named(redis, work):
    with pytest.raises(GroupError, match="'s'"):
        work(ignore)
    redis.xadd(STREAM, {"n": 1})
    with pytest.raises(GroupError, match=r"no consumer group 'g' on the stream 's'"):
        work(ignore)
    redis.delete(STREAM)
    redis.set(STREAM, "text")
    with pytest.raises(StreamsError, match="'s' is not a stream"):
        work(ignore)


ENDS = {
    "group destroyed": (lambda r: r.xgroup_destroy(STREAM, GROUP), GroupError, "'s'"),
    "stream deleted": (lambda r: r.delete(STREAM), GroupError, "'s'"),
    "key replaced": (lambda r: r.set(STREAM, "text"), StreamsError, "'s'"),
    "key replaced by another stream": (
        lambda r: r.pipeline().delete(STREAM).xadd(STREAM, {"n": 1}).execute(),
        GroupError,
        "'s'",
    ),
}


@both
@pytest.mark.parametrize("end", list(ENDS))
def test_what_ends_under_a_consumer_that_waits_is_one_sentence(redis, work, end):
    act, kind, words = ENDS[end]
    fill(redis, 0)
    errors = []

    def wait():
        try:
            work(ignore, drain=False, block_ms=300)
        except Exception as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(partial(blocked, redis))
    act(redis)
    waiting.join()
    (error,) = errors
    assert isinstance(error, kind)
    assert words in str(error)
    assert "\n" not in str(error)


@both
def test_a_group_that_ends_while_an_entry_is_handled_is_one_sentence(redis, work):
    fill(redis, 2)
    with pytest.raises(GroupError, match="no consumer group 'g'"):
        work(lambda entry: print(redis.xgroup_destroy(STREAM, GROUP)))


@both
def test_a_stream_of_dead_letters_is_no_source(redis, work):
    fill(redis, 1)
    work(failing(1)[0], max_deliveries=2)
    redis.xgroup_create("{s}:g:dead", GROUP, "0")
    with connect() as client, pytest.raises(StreamsError, match="replay them instead"):
        Consumer(client, "{s}:g:dead", GROUP, ignore).run(drain=True)


@both
def test_dead_letters_need_a_key_of_their_own_that_holds_a_stream(redis, work):
    fill(redis, 1)
    with pytest.raises(StreamsError, match="'s' cannot hold its own dead letters"):
        work(ignore, dead_letters="s")
    redis.set("mine", "text")
    with pytest.raises(StreamsError, match="would go to 'mine', but that is a string"):
        work(ignore, dead_letters="mine")


LIMITS = ["batch", "block_ms", "min_idle_ms", "max_deliveries"]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_limits_that_are_no_positive_whole_number_are_refused(redis, limit, value):
    with pytest.raises(StreamsError, match=f"{limit} must be a whole number above 0"):
        Consumer(redis, STREAM, GROUP, ignore, **{limit: value})


@both
@pytest.mark.parametrize("limit", [0, -1, "3"])
def test_so_is_such_a_limit_of_a_run(redis, work, limit):
    fill(redis, 1)
    with pytest.raises(StreamsError, match="limit must be a whole number above 0"):
        work(ignore, limit=limit)


def test_one_delivery_only_goes_with_batches_of_one(redis):
    """Else a crash would make dead letters of entries that nobody began to handle."""
    with pytest.raises(StreamsError, match="or read with batch=1"):
        Consumer(redis, STREAM, GROUP, ignore, max_deliveries=1)
    fill(redis, 2)
    counts = work(failing(1)[0], max_deliveries=1, batch=1)
    assert (counts.dead, counts.acked, counts.failed) == (1, 1, 1)


@pytest.mark.parametrize("kind", [Consumer, AsyncConsumer])
@pytest.mark.parametrize("handler", [None, 3, lambda: None, lambda one, two: None])
def test_a_handler_that_cannot_take_an_entry_is_refused(redis, kind, handler):
    with pytest.raises(StreamsError, match="must be a function that takes one entry"):
        kind(redis, STREAM, GROUP, handler)


def test_a_coroutine_function_belongs_to_the_asyncio_consumer(redis):
    async def handle(entry):
        pass

    with pytest.raises(StreamsError, match="give it to AsyncConsumer"):
        Consumer(redis, STREAM, GROUP, handle)  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", [print, [].append, partial(max, 3), lambda *both: None])
def test_functions_of_every_kind_are_taken(redis, handler):
    Consumer(redis, STREAM, GROUP, handler)


def test_so_is_a_built_in_function_that_does_not_say_what_it_takes(redis):
    handler: Any = set().add
    Consumer(redis, STREAM, GROUP, handler)


@pytest.mark.parametrize("names", [("", "g", "a"), ("s", "", "a"), ("s", "g", ""), (3, "g", "a")])
def test_names_are_needed(redis, names):
    stream, group, name = names
    with pytest.raises(StreamsError, match="needs a name"):
        Consumer(redis, stream, group, ignore, name=name)


@pytest.mark.parametrize(("protocol", "legacy"), [(2, True), (2, False), (3, True), (3, False)])
def test_plain_clients_work_whatever_shape_their_replies_have(redis, protocol, legacy):
    options = {"protocol": protocol, "legacy_responses": legacy, "decode_responses": True}
    fill(redis, 6)
    give(redis, "alice", 2)
    give(redis, "bob", 2, idle_ms=AGES)
    seen = []
    url = find_server().url
    with redis_py.Redis.from_url(url, **options) as client:
        consumer = Consumer(
            client, STREAM, GROUP, lambda entry: seen.append(number(entry)), name="alice"
        )
        consumer.run(drain=True)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert not pending(redis)

    async def run():
        client = redis_py.asyncio.Redis.from_url(url, **options)
        async with client:
            return await AsyncConsumer(client, STREAM, GROUP, ignore).run(drain=True)

    fill(redis, 3, start=7)
    assert asyncio.run(run()).acked == 3


def test_a_client_that_gives_bytes_or_gives_up_before_block_ends_is_refused(redis):
    url = find_server().url
    with (
        redis_py.Redis.from_url(url) as client,
        pytest.raises(StreamsError, match="returns bytes"),
    ):
        Consumer(client, STREAM, GROUP, ignore)
    with redis_py.Redis.from_url(url, decode_responses=True, socket_timeout=1) as client:
        with pytest.raises(StreamsError, match="BLOCK 1000 ms may end after"):
            Consumer(client, STREAM, GROUP, ignore)
        fill(redis, 2)
        consumer = Consumer(client, STREAM, GROUP, ignore, block_ms=500)
        assert consumer.run(drain=True).acked == 2


# ------------------------------------------------------------------ in hand


@both
def test_what_is_in_hand_is_claimed_by_nobody_while_no_handler_takes_longer(redis, work):
    """Finding B7: an entry waited in the batch first, and was claimed while it was handled."""
    fill(redis, 4)
    seen: list[tuple[str, int]] = []

    def slowly(name):
        def handle(entry):
            seen.append((name, number(entry)))
            time.sleep(0.35)

        return handle

    bob = threading.Thread(target=lambda: work(slowly("bob"), name="bob", min_idle_ms=500))

    def handle(entry):
        if not bob.ident:
            bob.start()
        slowly("alice")(entry)

    work(handle, batch=4, min_idle_ms=500)
    bob.join()
    assert seen == [("alice", n) for n in (1, 2, 3, 4)]


def test_so_many_entries_are_in_hand_at_a_time(redis):
    fill(redis, 12)
    at_work: set[int] = set()
    most: list[int] = []

    async def handle(entry):
        at_work.add(number(entry))
        most.append(len(at_work))
        while number(entry) == 1 and len(most) < 12:  # noqa: ASYNC110  it outlasts all others
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        at_work.remove(number(entry))
        return add_up(entry)

    async def run():
        async with connect_async() as client:
            settings = {"batch": 2, "concurrency": 4}
            consumer = AsyncConsumer(client, STREAM, GROUP, handle, name="alice", **settings)
            return await consumer.run(drain=True)

    counts = asyncio.run(run())
    assert (counts.acked, max(most)) == (12, 4)
    assert totals(redis) == {"count": "12", "sum": "78"}


def test_what_is_at_work_when_it_is_stopped_is_acknowledged(redis):
    fill(redis, 2)
    begun: list[int] = []

    async def run():
        async def handle(entry):
            begun.append(number(entry))
            if len(begun) == 2:
                consumer.stop()
            while number(entry) == 2 and len(pending(redis)) == 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

        async with connect_async() as client:
            consumer = AsyncConsumer(client, STREAM, GROUP, handle, name="alice", concurrency=3)
            return await consumer.run()

    assert asyncio.run(run()).acked == len(begun) == 2
    assert not pending(redis)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_handler_that_cancels_itself_has_failed(redis, soon, concurrency):
    fill(redis, 3)
    seen = []

    async def handle(entry):
        seen.append(number(entry))
        if seen.count(2) == 1 and number(entry) == 2:
            raise asyncio.CancelledError
        return add_up(entry)

    async def run():
        async with connect_async() as client:
            settings = {"name": "alice", "concurrency": concurrency}
            return await AsyncConsumer(client, STREAM, GROUP, handle, **settings).run(drain=True)

    counts = asyncio.run(run())
    assert (counts.acked, counts.failed) == (3, 1)
    assert sorted(seen) == [1, 2, 2, 3]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_task_that_is_cancelled_leaves_what_was_in_hand_pending(redis, concurrency):
    fill(redis, 3)

    async def run():
        begun, ended = asyncio.Event(), []

        async def handle(entry):
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(number(entry))

        async with connect_async() as client:
            settings = {"name": "alice", "concurrency": concurrency}
            consumer = AsyncConsumer(client, STREAM, GROUP, handle, **settings)
            task = asyncio.create_task(consumer.run())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return ended

    assert len(asyncio.run(run())) <= concurrency
    assert list(pending(redis)) == [1, 2, 3]


# ------------------------------------------------------------------ what is left behind


def test_failures_of_entries_that_are_not_pending_are_forgotten(redis):
    """A group that was lost and made again, say, or one whose cursor went back."""
    fill(redis, 1)
    give(redis, "bob", 1)
    redis.hset(FAILURES, mapping={"1-0": "1 bob KeyError\n", "9-0": "1 bob KeyError\n"})
    work(ignore)
    assert redis.hkeys(FAILURES) == ["1-0"]


def test_consumers_that_are_gone_are_forgotten_and_a_paused_one_comes_back(redis):
    fill(redis, 3)
    give(redis, "left one", 1)
    for name in ("gone", "paused"):
        redis.xgroup_createconsumer(STREAM, GROUP, name)
        redis.hset(NAMES, name, "a token")
    driver = Driver(redis, STREAM, GROUP)
    life = driver.begin("paused", ignore, batch=1)
    while "JOIN" not in life.sent:
        driver.take(life)
    time.sleep(0.03)
    work(ignore, name="alice", min_idle_ms=1)
    assert redis.hkeys(NAMES) == ["alice"]
    assert {one["name"] for one in redis.xinfo_consumers(STREAM, GROUP)} == {"alice"}
    driver.finish(life)  # it finds its name free, and goes on
    assert life.error is None
    assert not pending(redis)
