"""What was given up is kept with its reason, and can be given back to its group."""

from __future__ import annotations

import pytest

from helpers import DeadLetters, EntryId, Group
from helpers.streams.errors import GroupError, StreamsError
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    STREAM,
    add_up,
    both,
    failing,
    fill,
    give,
    ignore,
    letters,
    number,
    pending,
    totals,
    work,
)

pytestmark = pytest.mark.usefixtures("soon")
DEAD = "{s}:g:dead"


def bury(redis, *numbers, **terms):
    """Let entries become dead letters; gives the dead letters of the group."""
    work(failing(*numbers)[0], max_deliveries=2, **terms)
    return DeadLetters(redis, STREAM, GROUP, key=terms.get("dead_letters"))


# ------------------------------------------------------------------ what is in them


@both
def test_what_never_got_an_answer_says_so(redis, work):
    fill(redis, 2)
    give(redis, "bob", 2, idle_ms=AGES)
    redis.xclaim(STREAM, GROUP, "bob", 0, ["1-0"], idle=AGES, retrycount=5)
    counts = work(ignore)
    assert (counts.claimed, counts.dead, counts.acked) == (2, 1, 1)
    letter = letters(redis)[1]
    assert letter.reason == "No answer: its consumer died, or took too long"
    assert (letter.deliveries, letter.failures) == (5, ())


def test_fields_keep_their_order_and_those_that_look_like_ours_stay(redis):
    fill(redis, 0)
    redis.xadd(STREAM, {"b": 1, "dead:color": "blue", "a": 2}, id="1-0")
    work(lambda entry: 1 / 0, max_deliveries=2)
    letter = letters(redis)[1]
    assert list(letter.entry.fields.items()) == [("b", "1"), ("dead:color", "blue"), ("a", "2")]
    redis.xdel(STREAM, "1-0")
    new = DeadLetters(redis, STREAM, GROUP).replay(letter.id)
    assert redis.xrange(STREAM) == [(str(new.id), letter.entry.fields)]


def test_letters_are_counted_and_listed_oldest_first(redis):
    fill(redis, 5)
    dead = bury(redis, 2, 4)
    assert len(dead) == 2
    assert [letter.entry.id.ms for letter in dead] == [2, 4]
    assert all(letter.time.year > 2000 for letter in dead)


def test_they_lie_where_they_are_told_to(redis):
    fill(redis, 2)
    dead = bury(redis, 1, dead_letters="mine")
    assert (len(dead), redis.xlen("mine"), redis.exists(DEAD)) == (1, 1, 0)
    assert dead.replay(next(iter(dead)).id).how == "pending"


def test_an_entry_of_thousands_of_fields_is_buried_by_its_id_alone(redis):
    """Lua can hand on some 8,000 values at once. The entry itself stays on the stream."""
    fill(redis, 0)
    redis.xadd(STREAM, {f"field{n}": n for n in range(5000)}, id="1-0")
    work(lambda entry: 1 / 0, max_deliveries=2)
    dead = DeadLetters(redis, STREAM, GROUP)
    (letter,) = dead
    assert letter.entry == (EntryId(1), {})
    assert dead.replay(letter.id).how == "pending"
    assert work(ignore).acked == 1


# ------------------------------------------------------------------ replay


@both
def test_what_is_replayed_is_pending_again_and_the_next_consumer_claims_it(redis, work):
    fill(redis, 3)
    dead = bury(redis, 2)
    (letter,) = dead
    replayed = dead.replay(letter.id)
    assert (replayed.how, replayed.id) == ("pending", EntryId(2))
    assert pending(redis) == {2: ("alice", 0)}
    assert len(dead) == 0
    counts = work(add_up, name="bob")
    assert (counts.claimed, counts.acked, counts.new) == (1, 1, 0)
    assert totals(redis) == {"count": "1", "sum": "2"}


def test_what_fails_again_after_a_replay_comes_back_with_a_new_history(redis):
    fill(redis, 1)
    dead = bury(redis, 1)
    dead.replay_all()
    dead = bury(redis, 1)
    (letter,) = dead
    assert (letter.entry.id.ms, letter.deliveries, len(letter.failures)) == (1, 2, 2)


def test_what_was_trimmed_or_deleted_is_added_anew(redis):
    fill(redis, 4)
    dead = bury(redis, 1, 3)
    redis.xtrim(STREAM, minid="2-0", approximate=False)
    redis.xdel(STREAM, "3-0")
    first, second = dead.replay_all()
    assert (first.how, second.how) == ("added", "added")
    assert [entry_id for entry_id, _ in redis.xrange(STREAM)][2:] == [str(first.id), str(second.id)]
    assert (len(dead), pending(redis)) == (0, {})
    seen = []
    work(lambda entry: seen.append(number(entry)))
    assert seen == [1, 3]


def test_replay_all_takes_those_that_are_there_now(redis):
    fill(redis, 3)
    dead = bury(redis, 1, 2, 3)
    assert [one.id.ms for one in dead.replay_all()] == [1, 2, 3]
    assert dead.replay_all() == []
    assert work(ignore).acked == 3


def test_a_letter_that_is_not_there_is_gone(redis):
    fill(redis, 1)
    dead = bury(redis, 1)
    replayed = dead.replay("1-0")
    assert (replayed.how, replayed.id) == ("gone", EntryId(1))
    assert len(dead) == 1


@pytest.mark.parametrize("stream_too", [False, True])
def test_without_its_group_a_letter_stays(redis, stream_too):
    fill(redis, 1)
    dead = bury(redis, 1)
    (letter,) = dead
    Group(redis, STREAM, GROUP).destroy()
    if stream_too:
        redis.delete(STREAM)
    with pytest.raises(GroupError, match="'s'"):
        dead.replay(letter.id)
    assert list(dead) == [letter]
    assert not redis.exists(STREAM) or redis.xlen(STREAM) == 1


def test_what_is_no_dead_letter_says_so(redis):
    fill(redis, 1)
    strangers = DeadLetters(redis, STREAM, GROUP, key=STREAM)
    with pytest.raises(StreamsError, match="1-0 isn't a dead letter"):
        list(strangers)
    with pytest.raises(StreamsError, match="1-0 isn't a dead letter"):
        strangers.replay("1-0")
    assert redis.xlen(STREAM) == 1
    redis.set("text", "text")
    with pytest.raises(StreamsError, match="'text' is not a stream"):
        list(DeadLetters(redis, STREAM, GROUP, key="text"))


@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_no_text_is_put_aside_listed_and_replayed_byte_for_byte(redis, deleted):
    fill(redis, 0)
    redis.execute_command(
        "XADD", STREAM, "1-0", "n", b"\xff\0", b"\xfe", "a", "city", "é", "n", "2"
    )
    redis.xgroup_setid(STREAM, GROUP, "1-0")
    redis.xclaim(STREAM, GROUP, "bob", 0, ["1-0"], idle=AGES, retrycount=5, force=True, justid=True)
    assert work(ignore).dead == 1
    dead = DeadLetters(redis, STREAM, GROUP)
    [one] = dead
    assert one.entry == (EntryId(1), {"n": "2", b"\xfe": "a", "city": "é"})
    assert len(dead) == 1
    assert not redis.exists(FAILURES)
    if deleted:
        redis.xdel(STREAM, "1-0")
    [back] = dead.replay_all()
    assert back.how == ("added" if deleted else "pending")
    script = "return redis.call('XRANGE', KEYS[1], '-', '+')[1][2]"
    raw = redis.execute_command("EVAL", script, 1, STREAM, NEVER_DECODE=True)
    assert raw == [b"n", b"\xff\0", b"\xfe", b"a", b"city", "é".encode(), b"n", b"2"]
    assert redis.xlen(STREAM) == 1


def test_nothing_is_nothing(redis):
    dead = DeadLetters(redis, STREAM, GROUP)
    assert (len(dead), list(dead), dead.replay_all()) == (0, [], [])
