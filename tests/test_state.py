"""A state is changed together with what is published, by its owner alone, and each change once."""

from __future__ import annotations

import pytest

from helpers.averages import AGGREGATING_STATE, AVERAGES, AVERAGES_STATE, KEPT, SET_ASIDE
from helpers.averages.state import Behind, Publish, State, StateError
from helpers.streams.errors import CheckpointError, StreamsError

STATE, STREAM, OTHER = "{s}:state", "s", "{s}:other"
FIELDS = ("place", "sum")


def state_of(client, **more):
    return State(client, STATE, FIELDS, **more)


def begun(client):
    """A state that somebody has taken over."""
    state = state_of(client)
    state.begin({"place": "0", "sum": "0"})
    state.take_over()
    return state


def entries(client, stream=STREAM):
    return [fields for _, fields in client.xrange(stream)]


def commit(state, place, *more):
    state.commit({"place": str(place), "sum": "1"}, [Publish(STREAM, {"n": str(place)}), *more])


# ------------------------------------------------------------------ begin, take over, commit


def test_there_is_no_state_before_one_begins(redis):
    assert state_of(redis).read() is None
    assert state_of(redis).take_over() is None
    assert not redis.exists(STATE)


def test_a_state_says_whose_it_is_and_of_which_version(redis):
    state = begun(redis)
    found = state.read()
    assert found
    assert {name: found[name] for name in ("place", "sum", "version", "epoch", "commits")} == {
        "place": "0", "sum": "0", "version": "1", "epoch": "2", "commits": "0"
    }  # fmt: skip
    assert len(found["owner"]) == 16


def test_the_first_one_to_begin_wins(redis):
    begun(redis).commit({"place": "7", "sum": "7"})
    before = redis.hgetall(STATE)
    state_of(redis).begin({"place": "0", "sum": "0"})
    assert redis.hgetall(STATE) == before


def test_a_change_is_stored_with_what_belongs_to_it(redis):
    state = begun(redis)
    commit(state, 1, Publish(OTHER, {"a": "b", "c": "d"}))
    state.commit({"place": "2", "sum": "3"})
    assert state.read() == redis.hgetall(STATE)
    assert redis.hmget(STATE, "place", "sum", "commits") == ["2", "3", "2"]
    assert (entries(redis), entries(redis, OTHER)) == ([{"n": "1"}], [{"a": "b", "c": "d"}])


@pytest.mark.parametrize("at_once", [1, 7, 300])
def test_a_capped_stream_keeps_exactly_so_many(redis, at_once):
    state = begun(redis)
    for first in range(0, 300, at_once):
        batch = range(first, min(first + at_once, 300))
        state.commit(
            {"place": str(first), "sum": "0"},
            [Publish(one, {"n": str(n)}, keep) for n in batch
             for one, keep in ((STREAM, KEPT), (OTHER, None))],
        )  # fmt: skip
    assert entries(redis) == [{"n": str(n)} for n in range(180, 300)]
    assert entries(redis, OTHER) == [{"n": str(n)} for n in range(300)]


def test_a_successor_goes_on_from_what_is_stored(redis):
    commit(begun(redis), 1)
    state = state_of(redis)
    found = state.take_over()
    assert found
    assert (found["place"], found["epoch"], found["commits"]) == ("1", "3", "1")
    commit(state, 2)
    assert entries(redis) == [{"n": "1"}, {"n": "2"}]


def test_its_keys_share_a_hash_slot():
    tagged = [AGGREGATING_STATE, AVERAGES_STATE, SET_ASIDE]
    assert all(key.startswith(f"{{{AVERAGES}}}:") for key in tagged)


# ------------------------------------------------------------------ not twice, not by others


def test_who_was_replaced_may_change_nothing(redis):
    old = begun(redis)
    commit(old, 1)
    state_of(redis).take_over()
    before = redis.hgetall(STATE)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="took over the state"):
            commit(old, 2)
    assert redis.hgetall(STATE) == before
    assert entries(redis) == [{"n": "1"}]


def test_who_begins_anew_replaces_whoever_is_at_work(redis):
    old = begun(redis)
    commit(old, 1)
    state_of(redis).begin({"place": "0", "sum": "0"}, STREAM, anew=True)
    assert not redis.exists(STREAM)
    assert redis.hmget(STATE, "place", "commits") == ["0", "0"]
    with pytest.raises(CheckpointError, match="took over"):
        commit(old, 2)
    assert not redis.exists(STREAM)


def test_a_state_that_was_deleted_is_not_made_again(redis):
    state = begun(redis)
    redis.delete(STATE)
    with pytest.raises(CheckpointError, match="was deleted while a consumer worked with it"):
        commit(state, 1)
    assert not redis.exists(STATE, STREAM)


# ------------------------------------------------------------------ what the server has lost


def test_a_server_that_lost_changes_is_behind_and_nothing_is_changed(redis):
    state = begun(redis)
    commit(state, 1)
    before = redis.hgetall(STATE)
    commit(state, 2)
    redis.hset(STATE, mapping=before)
    redis.xtrim(STREAM, maxlen=1, approximate=False)
    with pytest.raises(Behind):
        commit(state, 3)
    assert redis.hgetall(STATE) == before
    assert state.take_over()
    commit(state, 2)
    assert redis.hget(STATE, "commits") == "2"


def test_a_server_that_lost_who_took_over_is_behind(redis):
    old = begun(redis)
    commit(old, 1)
    before = redis.hgetall(STATE)
    new = state_of(redis)
    new.take_over()
    redis.hset(STATE, mapping=before)
    with pytest.raises(Behind):
        commit(new, 2)
    commit(old, 2)  # it does not know that somebody else was there
    new.take_over()
    with pytest.raises(CheckpointError):
        commit(old, 3)
    commit(new, 3)
    assert entries(redis) == [{"n": "1"}, {"n": "2"}, {"n": "3"}]


# ------------------------------------------------------------------ what cannot be used

RU202 = {
    "current_stream_key": "temps:20250101",
    "last_message_id": "1735689600000-0",
    "current_hourly_total": "100",
    "current_hourly_count": "2",
}
GOOD = {"place": "0", "sum": "0", "version": "1", "epoch": "1", "commits": "0"}
UNUSABLE = {
    "another hash": (RU202, "is a state without a version, and this program writes version 1"),
    "an old version": (GOOD | {"version": "0"}, "is a state of version '0'"),
    "a later version": (GOOD | {"version": "2"}, "is a state of version '2'"),
    "two fields lacking": ({"version": "1", "place": "0", "epoch": "1"}, "lacks sum, commits"),
    "no epoch": (GOOD | {"epoch": "soon"}, "has 'soon' in its field epoch"),
    "other digits": (GOOD | {"epoch": "٣"}, "has '٣' in its field epoch"),
    "no number of changes": (GOOD | {"commits": "-1"}, "has '-1' in its field commits"),
    "a huge number": (GOOD | {"commits": "9" * 5000}, "in its field commits"),
    "bytes": (GOOD | {"place": b"\xff"}, "holds bytes that are no text"),
}


@pytest.mark.parametrize(("found", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_state_is_told_in_a_sentence_and_left_as_it_was(redis, found, why):
    redis.hset(STATE, mapping=found)
    before = redis.execute_command("HGETALL", STATE, NEVER_DECODE=True)
    for ask in (state_of(redis).read, state_of(redis).take_over):
        with pytest.raises(StateError) as raised:
            ask()
        told = str(raised.value)
        assert told.startswith("The state '{s}:state' ")
        assert why in told
        assert told.endswith("repair it, or start from a partition, which makes a new one.")
    assert redis.execute_command("HGETALL", STATE, NEVER_DECODE=True) == before


def test_a_state_that_its_consumer_cannot_use_is_left_as_it_was(redis):
    def check(found):
        raise StateError("no")

    owner = begun(redis)
    before = redis.hgetall(STATE)
    with pytest.raises(StateError, match="no"):
        state_of(redis, check=check).take_over()
    assert redis.hgetall(STATE) == before
    commit(owner, 1)


@pytest.mark.parametrize("anew", [False, True])
def test_a_state_of_another_type_is_told_and_left_as_it_was(redis, anew):
    redis.set(STATE, "mine")
    state = state_of(redis)
    for ask in (state.read, state.take_over, lambda: state.begin({"place": "0"}, anew=anew)):
        if ask not in (state.read, state.take_over) and not anew:
            continue  # there is something, so nothing is begun
        with pytest.raises(StateError, match="is of another type than a consumer needs there"):
            ask()
    assert redis.get(STATE) == "mine"


@pytest.mark.parametrize("stream", [STREAM, OTHER])
def test_a_stream_of_another_type_stops_the_whole_change(redis, stream):
    state = begun(redis)
    redis.set(stream, "mine")
    before = redis.hgetall(STATE)
    with pytest.raises(StreamsError, match=f"^{stream} is a string, and no stream: rename it"):
        commit(state, 1, Publish(OTHER, {"a": "b"}))
    assert redis.hgetall(STATE) == before
    assert sum(map(redis.exists, (STREAM, OTHER))) == 1
    redis.delete(stream)
    commit(state, 1)
    assert entries(redis) == [{"n": "1"}]


# ------------------------------------------------------------------ a server out of reach


def test_what_the_server_refuses_is_told(redis):
    state = begun(redis)
    with pytest.raises(StateError, match=r"The server refused a command on 'k': .*unknown command"):
        state.patiently(lambda: redis.execute_command("NOSUCH"), "k")
