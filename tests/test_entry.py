"""Entry IDs: the same form and order as Redis', and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.streams.entry import FIRST, LAST, Entry, EntryId, entries
from helpers.streams.errors import EntryIdError

once = pytest.mark.once
halves = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 9, 10, 2**63, 2**64 - 1])
ids = st.builds(EntryId, halves, halves)


@once
@given(ids)
def test_an_id_is_read_as_it_is_written(entry_id):
    assert EntryId.parse(str(entry_id)) == entry_id == EntryId.parse(entry_id)


@once
def test_bare_milliseconds_mean_sequence_number_0():
    assert EntryId.parse("1526919030474") == EntryId(1526919030474, 0)


@once
@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "$", "*", "1-*", "1-", "-1", "1-2-3", " 1-0", "1-0\n", "1.5", "1e3", "0x1",
     "١-0", "18446744073709551616", "0-18446744073709551616", "9" * 5000, b"1-0", 5, None],
)  # fmt: skip
def test_what_is_no_id_is_refused(text):
    with pytest.raises(EntryIdError, match="is not an entry ID"):
        EntryId.parse(text)


@settings(max_examples=25)
@given(st.sets(ids.filter(lambda entry_id: entry_id > FIRST), min_size=1, max_size=20))
def test_ids_are_ordered_as_redis_orders_them(redis, some):
    redis.delete("order")
    for entry_id in sorted(some):  # Redis refuses an ID that is not above the last
        redis.xadd("order", {"n": 1}, id=str(entry_id))
    assert [entry.id for entry in entries(redis.xrange("order"))] == sorted(some)


def test_redis_takes_the_next_id_and_none_between(redis):
    for entry_id in (EntryId(5, 0), EntryId(5, 2**64 - 2), EntryId(5, 2**64 - 1)):
        redis.delete("order")
        redis.xadd("order", {"n": 1}, id=str(entry_id))
        redis.xadd("order", {"n": 2}, id=str(entry_id.next()))
        assert redis.xrange("order", f"({entry_id}", count=1)[0][0] == str(entry_id.next())


@once
@given(ids.filter(lambda entry_id: entry_id != LAST))
def test_the_next_id_is_above_and_touches(entry_id):
    following = entry_id.next()
    assert following > entry_id
    assert following == (entry_id.ms, entry_id.seq + 1) or following == (entry_id.ms + 1, 0)


@once
def test_nothing_comes_after_the_largest_id():
    with pytest.raises(EntryIdError, match="largest"):
        LAST.next()


@once
@given(st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_the_id_of_a_moment_gives_its_millisecond_back(moment):
    assert EntryId.at(moment).time == moment - timedelta(microseconds=moment.microsecond % 1000)
    assert EntryId.at(moment).seq == 0


@once
def test_a_moment_is_the_same_in_every_time_zone():
    noon = datetime(2018, 8, 15, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert EntryId.at(noon) == EntryId.at(noon.astimezone(UTC)) == EntryId(1534314600000)


@once
@pytest.mark.parametrize("moment", [datetime(2018, 8, 15), datetime(1969, 12, 31, tzinfo=UTC)])
def test_a_moment_without_an_id_is_refused(moment):
    with pytest.raises(EntryIdError):
        EntryId.at(moment)


@once
def test_an_id_beyond_the_calendar_is_no_moment():
    for ms in (253_402_300_800_000, 2**64 - 1):
        with pytest.raises(EntryIdError, match="isn't a valid time"):
            _ = EntryId(ms).time


@once
def test_entries_of_a_reply_keep_their_fields_in_order():
    [entry, gone] = entries([("1-2", {"b": "1", "a": "2"}), ("1-3", None)])
    assert entry == Entry(EntryId(1, 2), {"b": "1", "a": "2"})
    assert list(entry.fields) == ["b", "a"]
    assert not entry.deleted
    assert gone.deleted
