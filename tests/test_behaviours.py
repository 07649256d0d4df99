"""What the lessons say of streams, asked of the real server: one behaviour a test."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from redis import ResponseError, WatchError
from redis.exceptions import NoScriptError

from helpers import EntryId, connect
from tests.waiting import until


def ids(redis, *bounds):
    return [entry_id for entry_id, _ in redis.xrange("s", *bounds)]


def add(redis, *wanted):
    return [redis.xadd("s", {"n": 1}, id=entry_id) for entry_id in wanted]


def add_many(redis, count):
    pipeline = redis.pipeline()
    for ms in range(1, count + 1):
        pipeline.xadd("s", {"n": 1}, id=f"{ms}-0")
    pipeline.execute()


# ------------------------------------------------------------------ XADD


def test_ids_of_the_clock_grow(redis):
    given = [EntryId.parse(entry_id) for entry_id in add(redis, *["*"] * 50)]
    assert all(before < after for before, after in pairwise(given))


def test_an_id_with_a_star_continues_its_millisecond(redis):
    assert add(redis, "123-*", "123-*", "123-7", "123-*") == ["123-0", "123-1", "123-7", "123-8"]


def test_bare_milliseconds_mean_sequence_number_0(redis):
    assert add(redis, "5") == ["5-0"]


@pytest.mark.parametrize("smaller", ["5-5", "5-4", "4-9", "5", "4-*"])
def test_an_id_that_is_not_above_the_last_is_an_error(redis, smaller):
    add(redis, "5-5")
    with pytest.raises(ResponseError, match="equal or smaller"):
        add(redis, smaller)
    assert ids(redis) == ["5-5"]


def test_a_deleted_id_stays_used(redis):
    add(redis, "5-5")
    redis.xdel("s", "5-5")
    with pytest.raises(ResponseError, match="equal or smaller"):
        add(redis, "5-5")


def test_id_0_0_is_an_error_and_creates_no_key(redis):
    with pytest.raises(ResponseError, match="must be greater than 0-0"):
        add(redis, "0-0")
    assert not redis.exists("s")


def test_id_0_with_a_star_begins_at_0_1(redis):
    assert add(redis, "0-*") == ["0-1"]


@pytest.mark.parametrize("text", ["abc", "1-2-3", "-1-0", "18446744073709551616-0"])
def test_what_is_no_id_is_an_error(redis, text):
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        add(redis, text)


def test_fields_without_a_value_are_an_error(redis):
    for arguments in ((), ("n",), ("n", 1, "m")):
        with pytest.raises(ResponseError, match="wrong number of arguments"):
            redis.execute_command("XADD", "s", "*", *arguments)
    assert not redis.exists("s")


def test_the_same_field_may_stand_twice_and_keeps_its_order(redis):
    redis.execute_command("XADD", "s", "1-0", "b", 1, "a", 2, "b", 3)
    raw = redis.eval("return redis.call('XRANGE', KEYS[1], '-', '+')", 1, "s")
    assert raw == [["1-0", ["b", "1", "a", "2", "b", "3"]]]


def test_nomkstream_adds_to_a_stream_that_exists_only(redis):
    assert redis.xadd("s", {"n": 1}, nomkstream=True) is None
    assert not redis.exists("s")
    add(redis, "1-0")
    assert redis.xadd("s", {"n": 1}, id="2-0", nomkstream=True) == "2-0"


def test_a_key_of_another_type_is_an_error(redis):
    redis.set("s", "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        add(redis, "*")


# ------------------------------------------------------------------ trimming and deleting


def test_maxlen_is_exact_and_its_tilde_keeps_whole_nodes(redis):
    add_many(redis, 250)
    assert redis.xtrim("s", maxlen=120, approximate=True) == 100  # nodes hold 100 entries
    assert redis.xtrim("s", maxlen=120, approximate=False) == 30
    assert ids(redis)[0] == "131-0"


def test_xadd_trims_after_it_added(redis):
    add_many(redis, 5)
    redis.xadd("s", {"n": 1}, id="6-0", maxlen=3, approximate=False)
    assert ids(redis) == ["4-0", "5-0", "6-0"]
    redis.xadd("s", {"n": 1}, id="7-0", maxlen=0, approximate=False)
    assert ids(redis) == []
    assert redis.exists("s")  # an empty stream is still one, and remembers its last ID
    assert redis.xinfo_stream("s")["last-generated-id"] == "7-0"


def test_minid_removes_what_is_below_it(redis):
    add_many(redis, 5)
    assert redis.xtrim("s", minid="4", approximate=False) == 3
    redis.xadd("s", {"n": 1}, id="6-0", minid="5-1", approximate=False)
    assert ids(redis) == ["6-0"]


def test_limit_without_a_tilde_is_an_error(redis):
    add_many(redis, 5)
    for command in (["XTRIM", "s", "MAXLEN", "=", "2", "LIMIT", "1"],
                    ["XADD", "s", "MAXLEN", "2", "LIMIT", "1", "*", "n", "1"]):  # fmt: skip
        with pytest.raises(ResponseError, match="LIMIT cannot be used without"):
            redis.execute_command(*command)
    assert redis.xlen("s") == 5


def test_limit_caps_what_one_trim_removes(redis):
    add_many(redis, 500)
    assert redis.xtrim("s", maxlen=0, approximate=True, limit=200) == 200


def test_xdel_counts_what_was_there(redis):
    add_many(redis, 3)
    assert redis.xdel("s", "2-0", "2-0", "9-9") == 1
    assert ids(redis) == ["1-0", "3-0"]
    assert redis.xdel("missing", "1-0") == 0


# ------------------------------------------------------------------ XRANGE


@pytest.fixture
def twins(redis):
    """Entries of which some share their millisecond."""
    add(redis, "1000-0", "1000-1", "2000-0", "2000-1", "3000-0")
    return redis


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        ("-", "+", ["1000-0", "1000-1", "2000-0", "2000-1", "3000-0"]),
        ("1000-1", "2000-0", ["1000-1", "2000-0"]),
        ("2000", "2000", ["2000-0", "2000-1"]),  # a whole millisecond
        ("(1000-1", "(3000-0", ["2000-0", "2000-1"]),
        ("(2000", "+", ["2000-1", "3000-0"]),  # as lower bound it is (2000-0
        ("-", "(2000", ["1000-0", "1000-1", "2000-0", "2000-1"]),  # as upper, ( its last ID
        ("-", "(2000-0", ["1000-0", "1000-1"]),
        ("3000", "1000", []),
        ("(2000-0", "(2000-1", []),
    ],
)
def test_a_range_has_both_its_ends_but_for_the_bracket(twins, low, high, found):
    assert ids(twins, low, high) == found
    assert [entry_id for entry_id, _ in twins.xrevrange("s", high, low)] == found[::-1]


def test_count_takes_the_first_of_a_range(twins):
    assert ids(twins, "-", "+", 2) == ["1000-0", "1000-1"]
    assert [entry_id for entry_id, _ in twins.xrevrange("s", count=2)] == ["3000-0", "2000-1"]


@pytest.mark.parametrize(
    "bound", ["(+", "(-", "yesterday", "(18446744073709551615-18446744073709551615"]
)
def test_a_bound_that_is_none_is_an_error(twins, bound):
    with pytest.raises(ResponseError, match=r"(?i)invalid"):
        ids(twins, bound, "+")


def test_a_missing_stream_is_empty(redis):
    assert redis.xrange("s") == []
    assert redis.xlen("s") == 0


# ------------------------------------------------------------------ XREAD


def test_xread_gives_what_is_after_an_id(twins):
    [(stream, found)] = twins.xread({"s": "2000-0"}, count=1).items()
    assert (stream, [entry_id for entry_id, _ in found]) == ("s", ["2000-1"])
    assert twins.xread({"s": "2000"}) == twins.xread({"s": "2000-0"})


def test_count_is_for_each_stream(twins):
    twins.xadd("t", {"n": 1}, id="1-0")
    found = twins.xread({"s": "0", "t": "0", "missing": "0"}, count=3)
    assert {stream: len(entries) for stream, entries in found.items()} == {"s": 3, "t": 1}


def test_without_block_dollar_finds_nothing(twins):
    assert twins.xread({"s": "$"}) == {}


def test_block_ends_without_entries_in_an_empty_reply(redis):
    assert redis.xread({"s": "$"}, block=1) == {}


def test_block_returns_at_once_what_is_there(twins):
    assert twins.xread({"s": "2000-1"}, block=60_000) == {"s": [("3000-0", {"n": "1"})]}


class Blocked:
    """An XREAD that waits for `s` in another thread, from `$` on."""

    def __init__(self, redis, start="$"):
        self._thread = threading.Thread(target=self._read, args=(start,))
        self._thread.start()
        while not int(redis.info("clients")["blocked_clients"]):
            pass

    def _read(self, start):
        with connect() as client:
            self._reply = client.xread({"s": start}, block=60_000)

    def reply(self):
        self._thread.join()
        return [entry_id for entry_id, _ in self._reply["s"]]


def test_xadd_then_del_in_one_multi_wakes_no_reader(redis):
    reader = Blocked(redis)
    redis.pipeline().xadd("s", {"n": 1}, id="1-0").delete("s").execute()
    assert int(redis.info("clients")["blocked_clients"]) == 1
    add(redis, "2-0")
    assert reader.reply() == ["2-0"]


def test_three_xadds_in_a_multi_arrive_in_one_reply(redis):
    reader = Blocked(redis)
    pipeline = redis.pipeline()
    for ms in (1, 2, 3):
        pipeline.xadd("s", {"n": 1}, id=f"{ms}-0")
    pipeline.execute()
    assert reader.reply() == ["1-0", "2-0", "3-0"]


def test_three_xadds_one_by_one_wake_it_with_the_first(redis):
    reader = Blocked(redis)
    add(redis, "1-0", "2-0", "3-0")
    assert reader.reply() == ["1-0"]


def test_an_entry_that_is_not_above_the_id_wakes_no_reader(redis):
    reader = Blocked(redis, "5-0")
    add(redis, "4-0", "5-0")
    assert int(redis.info("clients")["blocked_clients"]) == 1
    add(redis, "5-1")
    assert reader.reply() == ["5-1"]


def test_every_blocked_reader_gets_the_entry(redis):
    readers = [Blocked(redis) for _ in range(3)]
    while int(redis.info("clients")["blocked_clients"]) < 3:
        pass
    add(redis, "1-0")
    assert [reader.reply() for reader in readers] == [["1-0"]] * 3


def test_inside_a_multi_xread_does_not_block(redis):
    assert redis.pipeline().xread({"s": "$"}, block=60_000).execute() == [{}]


# ------------------------------------------------------------------ XGROUP


@pytest.fixture
def group(redis):
    """A group at the beginning of five entries, of which alice has read three."""
    add(redis, "1-0", "2-0", "3-0", "4-0", "5-0")
    redis.xgroup_create("s", "g", "0")
    assert read(redis, "alice", count=3) == ["1-0", "2-0", "3-0"]
    return redis


def read(redis, consumer, after=">", **options):
    """The IDs in a reply of XREADGROUP."""
    found = redis.xreadgroup("g", consumer, {"s": after}, **options)
    return [entry_id for entry_id, _ in found.get("s", ())]


def owners(redis):
    return {f["message_id"]: f["consumer"] for f in redis.xpending_range("s", "g", "-", "+", 100)}


def deliveries(redis, entry_id):
    [found] = redis.xpending_range("s", "g", entry_id, entry_id, 1)
    return found["times_delivered"]


def about(redis, consumer):
    return next(f for f in redis.xinfo_consumers("s", "g") if f["name"] == consumer)


def test_a_group_that_exists_is_busy_and_keeps_its_place(group):
    with pytest.raises(ResponseError, match="BUSYGROUP"):
        group.xgroup_create("s", "g", "$")
    assert read(group, "bob") == ["4-0", "5-0"]


def test_a_group_needs_a_stream_unless_mkstream_makes_it(redis):
    with pytest.raises(ResponseError, match="requires the key to exist"):
        redis.xgroup_create("s", "g")
    with pytest.raises(ResponseError, match="NOGROUP"):
        read(redis, "alice")
    redis.xgroup_create("s", "g", mkstream=True)
    assert (redis.xlen("s"), read(redis, "alice")) == (0, [])


def test_dollar_is_the_end_of_now_and_0_the_beginning(redis):
    add(redis, "1-0")
    redis.xgroup_create("s", "new", "$")
    redis.xgroup_create("s", "all", "0")
    add(redis, "2-0")
    assert [
        [entry_id for entry_id, _ in redis.xreadgroup(name, "alice", {"s": ">"})["s"]]
        for name in ("new", "all")
    ] == [["2-0"], ["1-0", "2-0"]]


def test_setid_0_delivers_all_again_and_moves_ownership(group):
    group.xack("s", "g", "1-0")
    group.xgroup_setid("s", "g", "0")
    assert read(group, "bob", count=2) == ["1-0", "2-0"]
    assert owners(group) == {"1-0": "bob", "2-0": "bob", "3-0": "alice"}
    assert deliveries(group, "2-0") == 1  # counted anew


def test_setid_dollar_skips_what_was_not_delivered(group):
    group.xgroup_setid("s", "g", "$")
    assert read(group, "alice") == []
    assert group.xpending("s", "g")["pending"] == 3


def test_delconsumer_drops_what_it_had_pending_for_good(group):
    assert group.xgroup_delconsumer("s", "g", "alice") == 3
    assert group.xpending("s", "g")["pending"] == 0
    assert read(group, "bob") == ["4-0", "5-0"]
    assert group.xgroup_delconsumer("s", "g", "nobody") == 0


def test_a_destroyed_group_leaves_the_entries(group):
    assert group.xgroup_destroy("s", "g") == 1
    assert group.xgroup_destroy("s", "g") == 0
    assert group.xlen("s") == 5


# ------------------------------------------------------------------ XREADGROUP


def test_each_entry_goes_to_one_consumer_of_a_group(group):
    assert read(group, "bob", count=1) == ["4-0"]
    assert read(group, "alice") == ["5-0"]
    assert read(group, "bob") == []
    assert owners(group) == {
        "1-0": "alice", "2-0": "alice", "3-0": "alice", "4-0": "bob", "5-0": "alice",
    }  # fmt: skip


def test_no_history_is_an_empty_list_and_nothing_new_is_no_stream(redis):
    redis.xgroup_create("s", "g", mkstream=True)
    assert redis.xreadgroup("g", "alice", {"s": "0"}) == {"s": []}
    assert redis.xreadgroup("g", "alice", {"s": ">"}) == {}


def test_history_is_the_own_pending_entries_after_an_id(group):
    group.xack("s", "g", "2-0")
    assert read(group, "alice", "0") == ["1-0", "3-0"]
    assert read(group, "alice", "1-0") == ["3-0"]
    assert read(group, "alice", "0", count=1) == ["1-0"]
    assert read(group, "bob", "0") == []


def test_history_ignores_block(group):
    assert read(group, "bob", "0", block=60_000) == []


def test_a_deleted_entry_of_the_history_has_empty_fields(group):
    group.xdel("s", "2-0")
    group.xtrim("s", minid="2", approximate=False)
    assert group.xreadgroup("g", "alice", {"s": "0"}) == {
        "s": [("1-0", {}), ("2-0", {}), ("3-0", {"n": "1"})]
    }


def test_a_read_of_two_streams_takes_new_entries_of_both(group):
    group.xadd("t", {"n": 1}, id="1-0")
    with pytest.raises(ResponseError, match="NOGROUP"):  # each needs the group
        group.xreadgroup("g", "bob", {"s": ">", "t": ">"})
    group.xgroup_create("t", "g", "0")
    found = group.xreadgroup("g", "bob", {"s": ">", "t": ">"}, count=1)
    assert {stream: part[0][0] for stream, part in found.items()} == {"s": "4-0", "t": "1-0"}


def test_noack_leaves_nothing_pending(group):
    assert read(group, "bob", noack=True) == ["4-0", "5-0"]
    assert set(owners(group).values()) == {"alice"}
    assert group.xinfo_groups("s")[0]["last-delivered-id"] == "5-0"


def test_deliveries_are_1_then_2_and_justid_leaves_2(group):
    assert deliveries(group, "1-0") == 1
    group.xclaim("s", "g", "bob", 0, ["1-0"])
    assert deliveries(group, "1-0") == 2
    group.xclaim("s", "g", "carol", 0, ["1-0"], justid=True)
    group.xautoclaim("s", "g", "bob", 0, justid=True)
    assert deliveries(group, "1-0") == 2


def test_reading_the_own_history_raises_deliveries(group):
    read(group, "alice", "0", count=2)
    assert [deliveries(group, f"{ms}-0") for ms in (1, 2, 3)] == [2, 2, 1]


class BlockedInGroup(Blocked):
    """An XREADGROUP that waits for new entries of `s` in another thread."""

    def _read(self, start):
        with connect() as client:
            try:
                self._reply = client.xreadgroup("g", "bob", {"s": ">"}, block=60_000)
            except ResponseError as error:
                self._error = str(error)

    def error(self):
        self._thread.join()
        return self._error


@pytest.fixture
def drained(redis):
    redis.xgroup_create("s", "g", mkstream=True)
    return redis


def test_an_entry_wakes_the_blocked_consumer(drained):
    consumer = BlockedInGroup(drained)
    add(drained, "1-0")
    assert consumer.reply() == ["1-0"]


def test_destroy_wakes_the_blocked_consumer_with_nogroup(drained):
    consumer = BlockedInGroup(drained)
    drained.xgroup_destroy("s", "g")
    assert consumer.error().startswith("NOGROUP ")


def test_deleting_the_key_wakes_the_blocked_consumer_with_an_error(drained):
    consumer = BlockedInGroup(drained)
    drained.delete("s")
    assert consumer.error().startswith(("NOGROUP ", "UNBLOCKED "))  # the second is Redis 7.0


def test_a_key_of_another_type_wakes_the_blocked_consumer_with_an_error(drained):
    consumer = BlockedInGroup(drained)
    drained.set("s", "text")
    assert consumer.error().startswith(("WRONGTYPE ", "UNBLOCKED "))  # the second is Redis 7.0


# ------------------------------------------------------------------ XACK, XCLAIM, XAUTOCLAIM


def test_an_entry_is_acknowledged_once(group):
    assert group.xack("s", "g", "1-0", "1-0") == 1
    assert group.xack("s", "g", "1-0") == 0


def test_xack_of_what_was_never_delivered_or_is_not_there_is_0(group):
    assert group.xack("s", "g", "4-0") == 0
    assert group.xack("s", "nobody", "1-0") == 0
    assert group.xack("missing", "g", "1-0") == 0


def test_xack_ignores_who_owns_the_entry(group):
    group.xclaim("s", "g", "bob", 0, ["1-0"])
    assert group.xack("s", "g", "1-0") == 1  # by alice, who came back
    assert read(group, "bob", "0") == []


def test_xclaim_takes_only_what_was_idle_long_enough(group):
    assert group.xclaim("s", "g", "bob", 60_000, ["1-0"]) == []
    group.xclaim("s", "g", "alice", 0, ["1-0"], idle=60_000)
    assert group.xclaim("s", "g", "bob", 60_000, ["1-0"]) == [("1-0", {"n": "1"})]
    assert owners(group)["1-0"] == "bob"


def test_xclaim_of_a_trimmed_entry_drops_it(group):
    group.xtrim("s", minid="2", approximate=False)
    assert group.xclaim("s", "g", "bob", 0, ["1-0", "2-0"]) == [("2-0", {"n": "1"})]
    assert owners(group) == {"2-0": "bob", "3-0": "alice"}


def test_xautoclaim_over_deletions_moves_its_cursor_with_no_entries(group):
    group.xdel("s", "1-0", "2-0")
    assert group.xautoclaim("s", "g", "bob", 0, count=1) == ["2-0", [], ["1-0"]]
    assert group.xautoclaim("s", "g", "bob", 0, "2-0", count=1) == ["3-0", [], ["2-0"]]
    end = ["0-0", [("3-0", {"n": "1"})], []]
    assert group.xautoclaim("s", "g", "bob", 0, "3-0", count=1) == end
    assert owners(group) == {"3-0": "bob"}


def test_force_makes_an_acknowledged_entry_pending_again(group):
    group.xack("s", "g", "1-0", "2-0")
    assert group.xclaim("s", "g", "bob", 0, ["1-0"]) == []
    group.xclaim("s", "g", "bob", 0, ["1-0"], idle=60_000, retrycount=7, force=True)
    [found] = group.xpending_range("s", "g", "-", "+", 1)
    assert (found["message_id"], found["consumer"], found["times_delivered"]) == ("1-0", "bob", 7)
    assert found["time_since_delivered"] >= 60_000


def test_force_does_not_make_a_deleted_entry_pending(group):
    group.xack("s", "g", "1-0")
    group.xdel("s", "1-0")
    for justid in (False, True):
        assert group.xclaim("s", "g", "bob", 0, ["1-0"], force=True, justid=justid) == []
    assert "1-0" not in owners(group)


# ------------------------------------------------------------------ XINFO


def lag(redis):
    return redis.xinfo_groups("s")[0]["lag"]


def test_the_lag_is_null_after_an_xdel_ahead_and_recovers_after_a_drain(group):
    assert lag(group) == 2
    group.xdel("s", "4-0")
    assert lag(group) is None
    read(group, "alice")
    assert lag(group) in (0, 1)  # Redis 7.0 still counts the deleted one as unread
    group.xgroup_setid("s", "g", "0")
    while read(group, "alice", count=1):
        pass
    assert lag(group) == 0


def test_the_lag_is_too_large_when_unread_entries_were_trimmed(group):
    group.xtrim("s", maxlen=1, approximate=False)
    assert lag(group) in (1, 2)  # Redis 8 is right
    read(group, "alice")
    add(group, "6-0", "7-0")
    assert lag(group) in (2, 3)  # Valkey again, too; Redis 7.0 stays wrong


def test_pending_entries_stay_when_their_data_is_deleted(group):
    group.xdel("s", "1-0")
    group.xtrim("s", maxlen=0, approximate=False)
    assert group.xpending("s", "g")["pending"] == 3


def test_idle_and_inactive_differ_between_servers(group):
    def wait(field="idle"):
        while about(group, "alice")[field] < 20:
            pass

    wait()
    group.xack("s", "g", "1-0")
    assert about(group, "alice")["idle"] >= 20  # XACK does not count
    read(group, "bob")
    wait()
    assert read(group, "alice") == []
    if "inactive" in about(group, "alice"):  # Redis 7.2 and Valkey: an attempt ends idle
        assert about(group, "alice")["idle"] < about(group, "alice")["inactive"]
        group.xgroup_createconsumer("s", "g", "carol")
        assert about(group, "carol")["inactive"] == -1
    else:  # Redis 7.0: only getting an entry does
        assert about(group, "alice")["idle"] >= 20


# ------------------------------------------------------------------ what is used beside streams


def test_numbers_and_strings(redis):
    assert [redis.execute_command("INCR", "n"), redis.incrby("n", 5)] == [1, 6]
    assert redis.get("n") == "6"
    assert redis.append("n", "x") == 2
    with pytest.raises(ResponseError, match="not an integer"):
        redis.incrby("n")


def test_a_field_of_a_hash_may_expire_where_the_server_knows_how(redis):
    redis.hset("h", mapping={"a": 1, "b": 2})
    assert redis.hexists("h", "a")
    if not redis.command_list(pattern="hexpire"):
        pytest.skip("this server knows no HEXPIRE")
    assert redis.hexpire("h", 60, "a", "none") == [1, -2]
    assert redis.hexpire("h", 0, "b") == [2]
    assert not redis.hexists("h", "b")


def test_lists_and_a_pop_that_waits(redis):
    assert redis.rpush("l", "a", "b", "c") == 3
    assert redis.lrange("l", 0, -1) == ["a", "b", "c"]
    assert [redis.lpop("l"), redis.llen("l")] == ["a", 2]
    assert redis.blpop(["none", "l"], timeout=1) == ["l", "b"]
    assert redis.blpop(["none"], timeout=0.01) is None


def test_a_sorted_set_is_in_order(redis):
    assert redis.zadd("z", {"b": 2, "a": 1}) == 2
    assert redis.zrange("z", 0, -1) == ["a", "b"]


def test_an_expiry_is_kept_in_milliseconds_and_a_past_one_deletes(redis):
    redis.set("k", "v")
    assert redis.pttl("k") == -1
    soon_ms = 1000 * redis.time()[0] + 60_000
    assert redis.pexpireat("k", soon_ms)
    assert redis.pexpiretime("k") == soon_ms
    assert 0 < redis.pttl("k") <= 61_000
    assert redis.pexpireat("k", 1)
    assert not redis.exists("k")
    assert redis.pttl("k") == -2


def test_a_dump_of_a_stream_is_restored_with_its_groups(redis):
    add(redis, "1-0", "2-0")
    redis.xgroup_create("s", "g", "1-0")
    kept = redis.execute_command("DUMP", "s", NEVER_DECODE=True)
    redis.delete("s")
    assert redis.restore("s", 0, kept) == "OK"
    assert ids(redis) == ["1-0", "2-0"]
    assert redis.xinfo_groups("s")[0]["last-delivered-id"] == "1-0"


def test_a_watched_key_that_was_changed_ends_the_transaction(redis):
    with redis.pipeline() as ours:
        ours.watch("k")
        redis.set("k", "theirs")
        ours.multi()
        ours.set("k", "ours")
        with pytest.raises(WatchError):
            ours.execute()
        ours.watch("k")
        ours.unwatch()
        redis.set("k", "again")
        ours.multi()
        assert ours.set("k", "ours").execute() == [True]


def blocked(redis):
    """The client that is blocked, as CLIENT LIST shows it, once there is one."""
    found = until(lambda: [one for one in redis.client_list() if "b" in one["flags"]])
    return found[0]


@pytest.mark.parametrize("error", [False, True])
def test_a_client_that_is_blocked_is_known_by_its_name_and_unblocked(redis, error):
    replies = []

    def read():
        with connect() as other:
            other.client_setname("alice")
            try:
                replies.append(other.xread({"s": "$"}, block=60_000))
            except ResponseError as refusal:
                replies.append(str(refusal))

    thread = threading.Thread(target=read)
    thread.start()
    found = blocked(redis)
    assert found["name"] == "alice"
    assert redis.client_unblock(int(found["id"]), error)
    thread.join()
    assert replies == ["UNBLOCKED client unblocked via CLIENT UNBLOCK" if error else {}]
    assert not redis.client_unblock(int(found["id"]))


def test_a_client_that_is_killed_comes_back_as_another(redis):
    with connect() as other:
        number = other.client_id()
        assert redis.client_kill_filter(_id=number) == 1
        assert other.client_id() > number
    assert redis.client_kill_filter(_id=number) == 0


def test_a_client_may_ask_for_no_replies(redis):
    connection = redis.connection_pool.get_connection()
    for words in (("REPLY", "OFF"), ("NO-SUCH-WORD",), ("REPLY", "ON")):
        connection.send_command("CLIENT", *words)
    assert connection.read_response() == "OK"
    redis.connection_pool.release(connection)


def test_there_is_one_user(redis):
    assert redis.acl_users() == ["default"]


def test_a_pause_holds_back_what_writes(redis):
    with connect() as other:
        assert redis.client_pause(60_000, all=False)
        assert other.xlen("s") == 0
        thread = threading.Thread(target=add, args=(other, "1-0"))
        thread.start()
        assert redis.xlen("s") == 0
        assert redis.client_unpause()
        thread.join()
    assert ids(redis) == ["1-0"]


def test_a_channel_keeps_nothing_and_counts_who_listens(redis):
    assert redis.publish("news.de", "nobody hears it") == 0
    with redis.pubsub() as plain, redis.pubsub() as pattern:
        plain.subscribe("news.de")
        pattern.psubscribe("news.*")
        heard = [until(lambda one=one: one.get_message(timeout=1)) for one in (plain, pattern)]
        assert [one["type"] for one in heard] == ["subscribe", "psubscribe"]
        assert redis.pubsub_channels() == ["news.de"]
        assert redis.pubsub_numpat() == 1
        assert redis.publish("news.de", "hello") == 2
        heard = [until(lambda one=one: one.get_message(timeout=1)) for one in (plain, pattern)]
        assert [one["data"] for one in heard] == ["hello", "hello"]
        assert heard[1]["pattern"] == "news.*"


def test_monitor_shows_what_others_send_and_what_a_script_does(redis):
    with redis.monitor() as monitor, connect() as other:
        other.eval("return redis.call('XLEN', KEYS[1])", 1, "s")
        other.echo("the end")
        seen: list[dict[str, str]] = []
        while not seen or "the end" not in seen[-1]["command"]:
            seen.append(monitor.next_command())
    assert ("lua", "XLEN s") in [(one["client_type"], one["command"]) for one in seen]


def test_a_script_that_was_flushed_is_not_known(redis):
    known = redis.script_load("return 1")
    assert redis.evalsha(known, 0) == 1
    assert redis.script_flush()
    with pytest.raises(NoScriptError):
        redis.evalsha(known, 0)


def test_what_answers_to_labs_send_now_and_then_is_the_same_everywhere(redis):
    redis.rpush("list", 1, 2, 3)
    redis.ltrim("list", 0, 1)
    assert redis.lrange("list", 0, -1) == ["1", "2"]
    redis.set("text", "text")
    assert redis.getrange("text", 0, 1) == "te"
    assert [redis.hsetnx("hash", "field", value) for value in ("one", "two")] == [1, 0]
    assert redis.hget("hash", "field") == "one"
