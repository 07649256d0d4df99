"""What the lessons say of streams, asked of the real server: one behaviour a test."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from redis import ResponseError

from helpers import EntryId, connect


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
