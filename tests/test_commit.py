"""An effect happens once, in one step with the acknowledgement, whatever is lost or paused."""

from __future__ import annotations

from enum import IntEnum

import numpy
import pytest

from helpers.chaos import CLIENT, Crew, Proxy, Returned, Running
from helpers.streams.consumer import DeadLetters, effects, loop, scripts
from helpers.streams.consumer.effects import PORTION, Done, effect_of, encode
from helpers.streams.consumer.loop import MOST_RETRIES
from helpers.streams.entry import EntryId
from helpers.streams.errors import StreamsError
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    STREAM,
    add_up,
    both,
    fill,
    give,
    ignore,
    letters,
    number,
    pending,
    totals,
    until,
    work,
    work_when_told,
)


class Priority(IntEnum):
    HIGH = 2


pytestmark = pytest.mark.usefixtures("soon")


# ------------------------------------------------------------------ in one step


@both
def test_effects_and_acknowledgement_are_one_step(redis, work):
    fill(redis, 5)
    with Proxy() as proxy:
        assert work(add_up, proxy=proxy).acked == 5
    assert totals(redis) == {"count": "5", "sum": "15"}
    assert "XACK" not in proxy.names
    assert "HINCRBY" not in proxy.names


@both
def test_one_command_is_an_effect_too_and_an_empty_list_is_none(redis, work):
    fill(redis, 3)
    one = ("SADD", "seen", "it", 1, 2.5)
    assert work(lambda entry: one if number(entry) == 2 else []).acked == 3
    assert redis.smembers("seen") == {"it", "1", "2.5"}


@both
def test_effects_are_in_the_order_of_the_entries(redis, work):
    fill(redis, 2500)
    work(lambda entry: ("RPUSH", "list", number(entry)), batch=2500)
    assert redis.lrange("list", 0, -1) == [str(n) for n in range(1, 2501)]


def test_a_long_batch_is_settled_in_portions(redis):
    """While a script runs, the server hears nobody else."""
    fill(redis, 2500)
    with Proxy() as proxy:
        assert work(ignore, proxy=proxy, batch=2500).acked == 2500
    sizes = [len(words) for words in proxy.commands if words[0] == "EVALSHA"]
    assert max(sizes) < effects.PORTION + 20


@both
def test_the_effect_of_an_entry_that_others_have_claimed_and_done_is_left_out(redis, work):
    fill(redis, 3)

    def handle(entry):
        if number(entry) == 2:
            redis.xclaim(STREAM, GROUP, "bob", 0, ["2-0"], justid=True)
            redis.xack(STREAM, GROUP, "2-0")
        return add_up(entry)

    counts = work(handle)
    assert totals(redis) == {"count": "2", "sum": "4"}
    assert (counts.acked, counts.lost) == (2, 1)


@both
def test_the_first_of_two_to_finish_applies_the_effect(redis, work):
    """Whose the entry is does not matter, only that it is still pending."""
    fill(redis, 1)

    def handle(entry):
        redis.xclaim(STREAM, GROUP, "bob", 0, ["1-0"], justid=True)
        return add_up(entry)

    assert work(handle).acked == 1
    assert totals(redis) == {"count": "1", "sum": "1"}
    assert not pending(redis)


# ------------------------------------------------------------------ an effect that is refused


@both
def test_an_effect_that_is_refused_is_tried_again_and_then_a_dead_letter(redis, work):
    redis.set("{s}:totals", "no hash")
    fill(redis, 3)
    counts = work(lambda entry: add_up(entry) if number(entry) == 2 else None, max_deliveries=2)
    assert (counts.acked, counts.failed, counts.dead) == (2, 2, 1)
    letter = letters(redis)[2]
    assert letter.reason.startswith("The effect was refused: WRONGTYPE")
    assert (letter.deliveries, len(letter.failures)) == (2, 2)
    assert redis.get("{s}:totals") == "no hash"


@both
def test_once_the_cause_is_mended_a_refused_effect_happens(redis, work):
    redis.set("{s}:totals", "no hash")
    fill(redis, 1)
    tries = []

    def handle(entry):
        tries.append(1)
        if len(tries) == 3:
            redis.delete("{s}:totals")
        return add_up(entry)

    counts = work(handle)
    assert (counts.acked, counts.failed) == (1, 2)
    assert totals(redis) == {"count": "1", "sum": "1"}
    assert not redis.exists(FAILURES)


@both
def test_an_effect_that_is_half_done_is_not_repeated_but_a_dead_letter(redis, work):
    redis.set("{s}:text", "no hash")
    fill(redis, 3)

    def handle(entry):
        half = [("HINCRBY", "{s}:totals", "count", 1), ("HINCRBY", "{s}:text", "count", 1)]
        return half if number(entry) == 2 else add_up(entry)

    counts = work(handle)
    assert (counts.acked, counts.failed, counts.dead) == (2, 1, 1)
    assert letters(redis)[2].reason.startswith("Half done: WRONGTYPE")
    assert letters(redis)[2].deliveries == 1
    assert totals(redis) == {"count": "3", "sum": "4"}
    assert not pending(redis)


@pytest.mark.parametrize(
    "command",
    [("NOSUCHCOMMAND", "key"), ("GET", "key", "too", "many"), ("XREADGROUP", "key"), ("5", "key")],
)
def test_commands_that_no_server_takes_are_refused_like_others(redis, command):
    fill(redis, 2)
    counts = work(lambda entry: command if number(entry) == 1 else None, max_deliveries=2)
    assert (counts.acked, counts.dead) == (1, 1)
    assert letters(redis)[1].reason.startswith("The effect was refused: ")


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (("SET", "key", "a lone \ud800 surrogate"), "UnicodeEncodeError"),
        (("SET", "key", float("nan")), "ArgumentError: The value is nan"),
        (("INCRBY", "key", 10**5000), "ValueError: Exceeds the limit"),
        (("RPUSH", "key", *range(9000)), "ValueError: a command of 9,002 words is too long"),
    ],
)
@both
def test_data_that_cannot_be_sent_fails_its_entry_alone(redis, work, effect, reason):
    fill(redis, 3)
    counts = work(lambda entry: effect if number(entry) == 2 else None, max_deliveries=2)
    assert (counts.acked, counts.dead) == (2, 1)
    assert letters(redis)[2].reason.startswith(reason)


def test_the_values_of_an_effect_are_those_of_every_producer(redis):
    fill(redis, 1)
    work(lambda entry: ("RPUSH", "key", numpy.float64(26.5), Priority.HIGH, 2.5, "é", -1))
    assert redis.lrange("key", 0, -1) == ["26.5", "2", "2.5", "é", "-1"]


def test_every_effect_of_a_large_batch_may_be_refused(redis):
    redis.set("{s}:totals", "no hash")
    many = max(PORTION, MOST_RETRIES) + 200
    fill(redis, many)
    counts = work(add_up, batch=many, max_deliveries=2)
    assert (counts.acked, counts.dead) == (0, many)
    assert redis.xlen("{s}:g:dead") == many


# ------------------------------------------------------------------ deleting what is handled


@pytest.fixture(params=["as the server can", "portably"])
def deleting(request, monkeypatch):
    """XACKDEL where the server has it, and on the same server the way of those that do not."""
    if request.param == "portably":
        monkeypatch.setattr(loop, "JOIN", scripts.JOIN.replace("'xackdel'", "'no-such'"))
    return request.param


def test_xackdel_is_used_where_the_server_has_it(redis, deleting):
    fill(redis, 1)
    redis.script_load(scripts.SETTLE)  # else it is sent once more, after NOSCRIPT
    with Proxy() as proxy:
        work(ignore, proxy=proxy, delete=True)
    used = [word for words in proxy.commands for word in words if word in ("XACKDEL", "XDEL")]
    has = bool(redis.command_list(pattern="xackdel"))
    assert used == ["XACKDEL" if has and deleting != "portably" else "XDEL"]


@both
@pytest.mark.parametrize("handler", [ignore, add_up])
def test_what_is_handled_is_deleted(redis, work, deleting, handler):
    fill(redis, 5)
    give(redis, "bob", 2, idle_ms=AGES)
    assert work(handler, delete=True).acked == 5
    assert redis.xlen(STREAM) == 0
    assert totals(redis) == ({"count": "5", "sum": "15"} if handler is add_up else {})
    assert not pending(redis)


@pytest.mark.parametrize("handler", [ignore, add_up])
def test_what_another_group_has_yet_to_read_or_to_acknowledge_stays(redis, deleting, handler):
    fill(redis, 6)
    redis.xgroup_create(STREAM, "h", "0")
    redis.xreadgroup("h", "other", {STREAM: ">"}, count=4)
    redis.xack(STREAM, "h", "1-0", "2-0")
    redis.xdel(STREAM, "3-0", "6-0")
    give(redis, "alice", 3)
    assert work(handler, delete=True).acked == 4
    assert [entry_id for entry_id, _ in redis.xrange(STREAM)] == ["4-0", "5-0"]
    assert not pending(redis)
    assert redis.xpending(STREAM, "h")["pending"] == 2  # 3-0 was deleted by somebody else


def test_the_last_group_deletes(redis, deleting):
    fill(redis, 3)
    redis.xgroup_create(STREAM, "h", "0")
    for group, left in (("g", 3), ("h", 0)):
        redis.xgroup_createconsumer(STREAM, group, "alice")
        work(ignore, group=group, delete=True)
        assert redis.xlen(STREAM) == left


def test_what_is_put_aside_leaves_the_stream_too_and_can_be_replayed(redis, deleting):
    fill(redis, 2)

    def handle(entry):
        if number(entry) == 1:
            raise RuntimeError

    work(handle, delete=True, max_deliveries=2)
    assert redis.xlen(STREAM) == 0
    assert list(letters(redis)) == [1]
    (back,) = DeadLetters(redis, STREAM, GROUP).replay_all()
    assert back.how == "added"
    assert redis.xrange(STREAM) == [(str(back.id), {"n": "1"})]


# ------------------------------------------------------------------ a zombie


def test_a_zombie_repeats_its_work_but_not_its_effect(redis):
    fill(redis, 2)
    with Crew() as crew:
        zombie = crew.start("zombie", work_when_told, CLIENT, "zombie", {"batch": 1})
        assert isinstance(zombie, Running)
        until(lambda: redis.llen("begun"))
        zombie.pause()
        until(lambda: redis.xpending_range(STREAM, GROUP, "-", "+", 1, idle=100))

        def handle(entry):
            redis.rpush("seen", number(entry))
            return add_up(entry)

        counts = work(handle, min_idle_ms=100)
        assert (counts.claimed, counts.acked) == (1, 2)
        zombie.resume()
        redis.rpush("go", 1)
        until(lambda: redis.llen("seen") == 3)
        assert zombie.stop()
        outcome = zombie.outcome(5)
        assert isinstance(outcome, Returned)
        assert outcome.value.lost == 1
    assert redis.lrange("seen", 0, -1) == ["1", "2", "1"]
    assert totals(redis) == {"count": "2", "sum": "3"}
    assert not pending(redis)


# ------------------------------------------------------------------ the pure part


@pytest.mark.once
def test_what_a_handler_may_return():
    command = ("HINCRBY", "{s}:totals", "chennai", 1)
    assert effect_of(None) == effect_of([]) == ()
    assert effect_of(command) == effect_of([command]) == (command,)
    assert effect_of([command, ("SET", "a", 2.5)]) == (command, ("SET", "a", 2.5))
    for odd in (True, 3, (), ("SET",), (5, 0), EntryId(5), ["SET", "a"], ("SET", "a", b"bytes")):
        with pytest.raises(StreamsError, match="A handler returned"):
            effect_of(odd)


@pytest.mark.once
def test_keys_are_named_once_and_entries_without_effect_cost_a_word():
    one, two = ("INCR", "a"), ("SET", "b", 1)
    done = ["1-0", "3-0"]
    effects = [Done("2-0", 1, (one, two)), Done("4-0", 1, (one,))]
    assert encode(done, effects) == (
        ["a", "b"],
        [2, "1-0", "3-0", "2-0", 2, 2, *one, 3, *two, "4-0", 1, 2, *one],
    )
