"""A group is looked into, moved and removed, and nothing that it owes is lost on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest
import redis as redis_py
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import EntryId, connect, connect_async
from helpers.course.server import find_server
from helpers.streams.entry import LAST
from helpers.streams.errors import EntryIdError, GroupError, StreamsError, explain
from helpers.streams.group import COUNTED, AsyncGroup, Group, PendingSummary, lag_of
from tests.points import times


def fill(redis, count, start=1):
    """Entries 1-0, 2-0, …"""
    pipeline = redis.pipeline()
    for ms in range(start, start + count):
        pipeline.xadd("s", {"n": ms}, id=f"{ms}-0")
    pipeline.execute()


def read(redis, consumer="alice", count=100, group="g"):
    """Read what is new, and return the milliseconds of the IDs."""
    found = redis.xreadgroup(group, consumer, {"s": ">"}, count=count)
    return [EntryId.parse(entry_id).ms for entry_id, _ in found.get("s", ())]


@pytest.fixture
def group(redis):
    """A group at the beginning of a stream with five entries."""
    fill(redis, 5)
    group = Group(redis, "s", "g")
    assert group.create("0")
    return group


async def awaited(call):
    """What a call of an AsyncGroup returns."""
    async with connect_async() as client:
        return await call(AsyncGroup(client, "s", "g"))


# ------------------------------------------------------------------ create


@pytest.mark.parametrize(
    ("start", "seen"), [("$", []), ("0", [1, 2, 3]), ("2-0", [3]), (EntryId(2), [3]), ("9", [])]
)
def test_a_group_sees_what_comes_after_its_start(redis, start, seen):
    fill(redis, 3)
    assert Group(redis, "s", "g").create(start) is True
    assert read(redis) == seen


def test_a_group_that_exists_is_left_where_it_stands(redis, group):
    read(redis, count=2)
    assert group.create("$") is False
    assert group.info().last_delivered == EntryId(2)


def test_a_stream_is_made_only_if_asked_for(redis):
    group = Group(redis, "s", "g")
    with pytest.raises(GroupError, match=r"no stream 's', .*'g'.*make_stream=True"):
        group.create()
    assert not redis.exists("s")
    assert group.create(make_stream=True) is True
    assert group.create(make_stream=True) is False
    fill(redis, 2)
    assert read(redis) == [1, 2]


@pytest.mark.parametrize("start", ["+", "-", "", "yesterday", "1-2-3", 5, None])
def test_a_start_that_is_none_is_refused(redis, start):
    fill(redis, 1)
    group = Group(redis, "s", "g")
    with pytest.raises(EntryIdError, match="A group can't begin at"):
        group.create(start)
    with pytest.raises(EntryIdError, match="A group can't begin at"):
        group.move(start)
    assert redis.xinfo_groups("s") == []


# ------------------------------------------------------------------ destroy


def test_a_group_with_nothing_pending_is_destroyed(redis, group):
    read(redis, count=1)
    redis.xack("s", "g", "1-0")
    assert group.destroy() is True
    assert redis.xinfo_groups("s") == []
    assert redis.xlen("s") == 5


def test_a_group_with_pending_entries_is_destroyed_only_if_asked_for(redis, group):
    read(redis, count=2)
    with pytest.raises(StreamsError, match="'g' still has 2 pending entries"):
        group.destroy()
    assert group.info().pending == 2
    assert group.destroy(even_if_pending=True) is True
    assert redis.xinfo_groups("s") == []


def test_a_group_that_is_not_there_need_not_be_destroyed(redis):
    assert Group(redis, "s", "g").destroy() is False
    fill(redis, 1)
    assert Group(redis, "s", "g").destroy(even_if_pending=True) is False


# ------------------------------------------------------------------ how it stands


def test_info_tells_how_a_group_stands(redis, group):
    read(redis, "alice", 2)
    read(redis, "bob", 1)
    redis.xack("s", "g", "1-0")
    assert dataclasses.astuple(group.info()) == ("g", 2, 2, EntryId(3), 3, 2)


def test_of_several_groups_each_has_its_own_info(redis, group):
    other = Group(redis, "s", "other")
    other.create("3")
    read(redis, count=1)
    assert (group.info().lag, other.info().lag) == (4, 2)


def test_consumers_are_told_with_what_they_owe(redis, group):
    assert group.consumers() == []
    read(redis, "alice", 2)
    redis.xgroup_createconsumer("s", "g", "bob")
    alice, bob = group.consumers()
    assert (alice.name, alice.pending, bob.name, bob.pending) == ("alice", 2, "bob", 0)
    assert alice.idle_ms >= 0
    assert bob.inactive_ms is None
    if "inactive" in redis.xinfo_consumers("s", "g")[0]:
        assert alice.inactive_ms is not None
    else:
        assert alice.inactive_ms is None


def test_the_summary_counts_by_consumer(redis, group):
    assert group.pending_summary() == PendingSummary(0, None, None, {})
    read(redis, "alice", 2)
    read(redis, "bob", 1)
    assert group.pending_summary() == PendingSummary(
        3, EntryId(1), EntryId(3), {"alice": 2, "bob": 1}
    )


# ------------------------------------------------------------------ pending


def test_pending_entries_tell_their_owner_and_their_deliveries(redis, group):
    read(redis, "alice", 2)
    redis.xclaim("s", "g", "bob", 0, ["2-0"], idle=60_000, retrycount=4)
    one, two = group.pending()
    assert (one.id, one.consumer, one.deliveries) == (EntryId(1), "alice", 1)
    assert (two.id, two.consumer, two.deliveries) == (EntryId(2), "bob", 4)
    assert one.idle_ms < 60_000 <= two.idle_ms


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 100])
def test_pending_pages_through_all_of_them(redis, group, page):
    for consumer in ("alice", "bob", "alice", "bob", "alice"):
        read(redis, consumer, 1)
    redis.xclaim("s", "g", "bob", 0, ["2-0", "3-0", "5-0"], idle=60_000)

    def pending(**options):
        return [entry.id.ms for entry in group.pending(page=page, **options)]

    assert pending() == [1, 2, 3, 4, 5]
    assert pending(consumer="alice") == [1]
    assert pending(consumer="nobody") == []
    assert pending(min_idle_ms=60_000) == [2, 3, 5]
    assert pending(min_idle_ms=60_000, consumer="alice") == []
    assert pending(start="2", end=EntryId(4)) == [2, 3, 4]
    assert pending(start="(2-0", end="(4-0", min_idle_ms=60_000) == [3]


def test_pending_ends_at_the_largest_id_there_is(redis):
    redis.xadd("s", {"n": 1}, id=str(LAST))
    group = Group(redis, "s", "g")
    group.create("0")
    redis.xreadgroup("g", "alice", {"s": ">"})
    assert [entry.id for entry in group.pending(page=1)] == [LAST]


def test_entries_acknowledged_meanwhile_are_skipped(redis, group):
    read(redis)
    found = group.pending(page=2)
    assert next(found).id == EntryId(1)
    redis.xack("s", "g", "2-0", "3-0")
    assert [entry.id.ms for entry in found] == [2, 4, 5]  # 2 came in the same page as 1


def test_a_page_must_hold_something(group):
    for page in (0, -1):
        with pytest.raises(StreamsError, match="page"):
            list(group.pending(page=page))


# ------------------------------------------------------------------ remove a consumer


def test_a_consumer_that_owes_nothing_is_removed(redis, group):
    read(redis, "alice", 1)
    redis.xack("s", "g", "1-0")
    assert group.remove_consumer("alice") is True
    assert group.remove_consumer("alice") is False
    assert group.consumers() == []


def test_a_consumer_with_pending_entries_stays(redis, group):
    read(redis, "alice", 3)
    read(redis, "bob", 1)
    redis.xack("s", "g", "4-0")
    with pytest.raises(
        StreamsError, match=r"'alice' still has 3 pending entries, .*claim what is pending"
    ):
        group.remove_consumer("alice")
    assert group.pending_summary().by_consumer == {"alice": 3}
    assert group.remove_consumer("bob") is True
    redis.xack("s", "g", "1-0", "2-0")
    with pytest.raises(StreamsError, match="'alice' still has 1 pending entry,"):
        group.remove_consumer("alice")
    redis.xclaim("s", "g", "carol", 0, ["3-0"])
    assert group.remove_consumer("alice") is True
    assert group.pending_summary().by_consumer == {"carol": 1}


# ------------------------------------------------------------------ move


def test_moved_back_it_delivers_again_and_moved_forwards_it_skips(redis, group):
    assert read(redis, "alice", 2) == [1, 2]
    redis.xack("s", "g", "1-0")
    group.move("0")
    assert read(redis, "bob", 3) == [1, 2, 3]
    assert group.pending_summary().by_consumer == {"bob": 3}
    group.move(EntryId(4))
    assert read(redis) == [5]
    group.move("1")
    group.move("$")
    assert read(redis) == []
    assert group.pending_summary().count == 4


# ------------------------------------------------------------------ the lag


def lag(redis):
    """The group's lag as the server gives it, and as it is."""
    [found] = redis.xinfo_groups("s")
    return found["lag"], len(redis.xrange("s", f"({found['last-delivered-id']}"))


def test_the_lag_is_null_after_an_xdel_ahead_but_counted_here(redis, group):
    read(redis, count=1)
    redis.xdel("s", "3-0")
    assert lag(redis) == (None, 3)
    assert group.info().lag == 3


def test_the_lag_is_right_when_unread_entries_were_trimmed(redis, group):
    read(redis, count=1)
    redis.xtrim("s", minid="4", approximate=False)
    assert lag(redis) in ((4, 2), (2, 2))  # Redis 8 knows better
    assert group.info().lag == 2
    read(redis, count=1)
    assert lag(redis) in ((3, 1), (1, 1))  # and this is Redis 7.0
    assert group.info().lag == 1


def test_where_the_lag_cannot_be_known_it_is_counted_up_to_a_limit(redis):
    fill(redis, COUNTED + 20)
    group = Group(redis, "s", "g")
    group.create("0")
    redis.xtrim("s", maxlen=COUNTED + 10, approximate=False)
    assert group.info().lag == COUNTED + 10  # before the first entry
    read(redis, count=1)
    assert group.info().lag == COUNTED + 9  # at the first entry
    read(redis, count=9)
    assert group.info().lag is None
    read(redis, count=1)
    assert group.info().lag == COUNTED - 1
    fill(redis, COUNTED, start=5000)
    read(redis, count=2 * COUNTED)
    assert group.info().lag == 0


def test_where_nothing_was_removed_any_lag_is_known(redis):
    fill(redis, 3 * COUNTED)
    group = Group(redis, "s", "g")
    group.create("0")
    read(redis, count=10)
    assert group.info().lag == 3 * COUNTED - 10


KINDS = ["add"] * 3 + ["read"] * 4 + ["delete", "trim to", "trim below", "move"]


@settings(
    max_examples=times(300),
    derandomize=True,
)
@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 7)), min_size=3, max_size=20),
)
def test_whatever_happened_the_lag_is_right_or_unknown(redis, start, steps):
    redis.delete("s")
    fill(redis, 4)
    group = Group(redis, "s", "g")
    group.create(str(start))
    added = 4
    for kind, number in steps:
        recent = str(max(0, added - number))
        if kind == "add":
            fill(redis, number, start=added + 1)
            added += number
        elif kind == "read":
            read(redis, count=1 + number // 2)
        elif kind == "delete":
            redis.xdel("s", recent)
        elif kind == "trim to":
            redis.xtrim("s", maxlen=number, approximate=False)
        elif kind == "trim below":
            redis.xtrim("s", minid=recent, approximate=False)
        else:
            group.move(recent)
        stream, [found] = redis.xinfo_stream("s"), redis.xinfo_groups("s")
        for end in ("first-entry", "last-entry"):
            stream[end] = stream[end] and stream[end][0]
        _, unread = lag(redis)
        known = lag_of(stream, found)
        assert known in (unread, None)
        if known is None:
            assert found["lag"] is None or stream["entries-added"] > stream["length"]
        assert group.info().lag == unread


# ------------------------------------------------------------------ what is not there


READS = {
    "info": lambda group: group.info(),
    "consumers": lambda group: group.consumers(),
    "pending_summary": lambda group: group.pending_summary(),
    "pending": lambda group: list(group.pending()),
    "remove_consumer": lambda group: group.remove_consumer("alice"),
    "move": lambda group: group.move("0"),
}


@pytest.mark.parametrize("name", READS)
def test_a_group_that_is_not_there_is_named_with_its_stream(redis, name):
    group = Group(redis, "s", "g")
    with pytest.raises(GroupError, match=r"There is no .*Group\(redis, 's', 'g'\)\.create\("):
        READS[name](group)
    fill(redis, 1)
    with pytest.raises(GroupError, match=r"no consumer group 'g' on the stream 's'. Create it"):
        READS[name](group)


@pytest.mark.parametrize("name", [*READS, "create", "destroy"])
def test_a_key_of_another_type_says_so(redis, name):
    redis.set("s", "text")
    group = Group(redis, "s", "g")
    with pytest.raises(StreamsError, match="'s' is not a stream"):
        READS.get(name, lambda group: getattr(group, name)())(group)


def said(redis, *command):
    """What the server says of a command that it refuses."""
    with pytest.raises(redis_py.ResponseError) as caught:
        redis.execute_command(*command)
    return caught.value


@pytest.mark.parametrize(
    "command",
    [
        "XREADGROUP GROUP g alice STREAMS s >",
        "XREADGROUP GROUP g alice STREAMS s 0",
        "XREADGROUP GROUP g alice STREAMS t s > >",
        "XPENDING s g",
        "XCLAIM s g alice 0 1-0",
        "XAUTOCLAIM s g alice 0 0",
        "XGROUP CREATECONSUMER s g alice",
        "XINFO CONSUMERS s g",
    ],
)
def test_every_command_for_a_missing_group_gets_the_same_sentence(redis, command):
    Group(redis, "t", "g").create(make_stream=True)
    fill(redis, 1)
    error = explain(said(redis, *command.split()), "t, s")
    assert isinstance(error, GroupError)
    assert str(error).startswith("There is no consumer group 'g' on the stream 's'. Create it")


@pytest.mark.parametrize("change", ["destroy", "delete", "replace"])
def test_a_group_that_goes_while_a_consumer_blocks_is_named(redis, group, change):
    def wait():
        with connect() as client:
            try:
                client.xreadgroup("g", "alice", {"s": ">"}, block=60_000)
            except redis_py.ResponseError as error:
                errors.append(explain(error, "s", "g"))

    read(redis)
    errors: list[StreamsError] = []
    waiting = threading.Thread(target=wait)
    waiting.start()
    while not int(redis.info("clients")["blocked_clients"]):
        pass
    if change == "destroy":
        group.destroy(even_if_pending=True)
    elif change == "delete":
        redis.delete("s")
    else:
        redis.set("s", "text")
    waiting.join()
    gone = "no consumer group 'g' on the stream 's'"
    if change == "replace":
        assert gone in str(errors[0]) or "is not a stream" in str(errors[0])
    else:
        assert isinstance(errors[0], GroupError)
        assert gone in str(errors[0])


@pytest.mark.once
def test_what_names_no_group_is_explained_all_the_same():
    gone = explain(redis_py.ResponseError("UNBLOCKED the stream key no longer exists"), "s")
    assert isinstance(gone, GroupError)
    assert "on the stream 's' is gone" in str(gone)
    missing = explain(redis_py.ResponseError("no such key"), "s")
    assert isinstance(missing, GroupError)
    assert "no stream 's'" in str(missing)
    forced = explain(redis_py.ResponseError("UNBLOCKED client unblocked via CLIENT UNBLOCK"), "s")
    assert not isinstance(forced, GroupError)


# ------------------------------------------------------------------ asyncio, and other clients


def test_asyncio_gives_the_same(redis, group):
    read(redis, "alice", 2)
    redis.xdel("s", "4-0")

    async def every(group):
        created = await group.create()
        with pytest.raises(StreamsError, match="'alice' still has 2"):
            await group.remove_consumer("alice")
        with pytest.raises(StreamsError, match="'g' still has 2"):
            await group.destroy()
        info = await group.info()
        pending = [entry async for entry in group.pending(page=1)]
        summary = await group.pending_summary()
        [consumer] = await group.consumers()
        await group.move("0")
        return created, info, [entry.id for entry in pending], summary, consumer.name

    created, info, pending, summary, consumer = asyncio.run(awaited(every))
    assert (created, info.lag, pending, consumer) == (False, 2, [(1, 0), (2, 0)], "alice")
    assert summary == group.pending_summary()
    assert group.info().last_delivered == EntryId(0)
    redis.xack("s", "g", "1-0", "2-0")
    assert asyncio.run(awaited(lambda group: group.remove_consumer("alice"))) is True
    assert asyncio.run(awaited(lambda group: group.destroy())) is True
    assert asyncio.run(awaited(lambda group: group.create("0"))) is True
    redis.delete("s")
    with pytest.raises(GroupError, match="'g'"):
        asyncio.run(awaited(lambda group: group.info()))
    with pytest.raises(GroupError, match="'g'"):
        asyncio.run(awaited(lambda group: group.create()))


@pytest.mark.parametrize(("protocol", "legacy"), [(2, True), (2, False), (3, True), (3, False)])
def test_plain_clients_work_whatever_shape_their_replies_have(redis, group, protocol, legacy):
    read(redis, count=2)
    redis.xdel("s", "4-0")
    options = {"protocol": protocol, "legacy_responses": legacy, "decode_responses": True}
    with redis_py.Redis.from_url(find_server().url, **options) as client:
        plain = Group(client, "s", "g")
        assert plain.info() == group.info()
        assert plain.info().lag == 2
        assert plain.pending_summary() == group.pending_summary()
        assert [entry.id for entry in plain.pending()] == [entry.id for entry in group.pending()]
        assert [found.name for found in plain.consumers()] == ["alice"]
        assert plain.create() is False
        assert plain.destroy(even_if_pending=True) is True


@pytest.mark.once
def test_its_text_is_how_it_is_made():
    client = redis_py.Redis()
    assert repr(Group(client, "s", "g")) == "Group(redis, 's', 'g')"
    assert repr(AsyncGroup(redis_py.asyncio.Redis(), "s", "g")) == "AsyncGroup(redis, 's', 'g')"
