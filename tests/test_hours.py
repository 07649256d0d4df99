"""The hourly mean is that of all readings which came in time, however their pages are cut."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.averages.hours import LATE, Hours, Mean, Open, mean, moment, temperature
from helpers.averages.state import StateError
from helpers.averages.work import BEGINNING, FIELDS, Work
from helpers.partitions import DAY_MS, DEMO_START
from helpers.streams.errors import StreamsError
from tests import averages
from tests.averages import GRACE, HOUR, MINUTE, SECOND, at, in_order, key, mean_of, rounded

pytestmark = pytest.mark.once

BEGINS = at(0)


# ------------------------------------------------------------------ what is a temperature

NUMBERS = ["0", "72", "-40", "+7", "98.6", "-0.5", ".5", "5.", "1e2", "7E-1", "-0", "0.0000000",
           "999999.99", "123456", "0000000000072", "72.123456789012345", "0e-9"]  # fmt: skip
NO_NUMBERS = ["", " ", "warm", "7 ", " 7", "7\n", "7,5", "1_000", "0x10", "--1", "+", ".", "e5",
              "1e", "1e999", "nan", "inf", "-Infinity", "sNaN", "٧٢", "²", "1000000", "-1e6",
              "9" * 41, "1" * 100_000 + "x"]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_a_temperature(text):
    found = temperature(text)
    assert found is not None
    assert Fraction(found) == Fraction(text)


@pytest.mark.parametrize("text", [None, *NO_NUMBERS], ids=lambda text: repr(text)[:12])
def test_everything_else_is_none(text):
    assert temperature(text) is None


def test_what_is_finer_than_a_day_of_sums_can_hold_is_noise():
    assert temperature("0.1234567890123456789") == Decimal("0.123456789012346")
    assert temperature("1e-30") == 0
    assert str(temperature("72.50")) == "72.50"


@pytest.mark.parametrize(
    ("text", "found"),
    [("0", 0), ("999", 999), ("1000", 1000), ("1001", None), ("", None), ("-1", None),
     ("1.5", None), (" 9", None), ("٣", None), ("now", None), ("9" * 5000, None)],
    ids=lambda value: str(value)[:8],
)  # fmt: skip
def test_the_moment_of_a_reading_is_a_count_of_milliseconds_that_is_not_to_come(text, found):
    assert moment(text, 1000) == found


# ------------------------------------------------------------------ the mean


@pytest.mark.parametrize(
    ("total", "count", "text"),
    [
        (72, 1, "72.00"),
        (1, 3, "0.33"),
        (2, 3, "0.67"),
        (-2, 3, "-0.67"),
        (1, 8, "0.12"),  # 0.125: half to even
        (3, 8, "0.38"),  # 0.375
        (Decimal("0.005"), 1, "0.00"),
        (Decimal("0.015"), 1, "0.02"),
        (Decimal("0.0050000000000001"), 1, "0.01"),
        (Decimal("-0.001"), 1, "0.00"),
        (0, 7, "0.00"),
        (86_400 * 999_999, 86_400, "999999.00"),
    ],
)
def test_a_mean_has_two_decimals_and_is_rounded_half_to_even(total, count, text):
    assert str(mean(total, count)) == text == rounded(Fraction(total) / count)


def test_an_average_has_the_fields_of_the_chapter():
    assert Mean(at(1, 7), 361, 5).fields() == {
        "date": "2100/01/02",
        "hour": "7",
        "average_temp_f": "72.20",
        "num_observations": "5",
    }


@pytest.mark.parametrize("grace_ms", [-1, HOUR, HOUR + 1])
def test_a_grace_period_is_shorter_than_an_hour(grace_ms):
    with pytest.raises(StreamsError, match="shorter than an hour"):
        Hours(grace_ms)


# ------------------------------------------------------------------ when an hour is over


def take(hours: Hours, *page: tuple[int, dict[str, str]]) -> tuple[list[Mean], list[Any]]:
    return hours.take([(f"{ms}-0", fields) for ms, fields in page], BEGINS, BEGINS + DAY_MS)


def temps(ms: int, text: str = "10", own: int | None = None) -> tuple[int, dict[str, str]]:
    return ms, {"temp_f": text} | ({} if own is None else {"at": str(own)})


def test_an_hour_is_over_when_a_reading_comes_after_its_grace_period():
    hours = Hours(GRACE)
    assert take(hours, temps(at(0, 1)), temps(at(0, 2, 10) - 1)) == ([], [])
    means, aside = take(hours, temps(at(0, 2, 10)))
    assert (means, aside) == ([Mean(at(0, 1), 10, 1)], [])
    assert hours.state == Open(at(0, 2), (20, 0), (2, 0), at(0, 2))


def test_an_hour_is_over_when_the_clock_says_so():
    hours = Hours(GRACE)
    take(hours, temps(at(0, 1)))
    assert hours.next_close == at(0, 2, 10)
    assert hours.close(at(0, 2, 10) - 1) == []
    assert hours.close(at(0, 2, 10)) == [Mean(at(0, 1), 10, 1)]
    assert hours.close(at(0, 23)) == []
    assert hours.next_close is None


def test_two_hours_may_be_open_and_readings_of_both_come_in_any_order():
    hours = Hours(GRACE)
    moments = [at(0, 1, 59), at(0, 1, 30), at(0, 2), at(0, 1, 58)]
    page = [temps(at(0, 2, 5), str(n), own) for n, own in enumerate(moments, 1)]
    assert take(hours, temps(at(0, 2, 4), "100"), *page) == ([], [])
    assert hours.state == Open(at(0, 1), (7, 103), (3, 2))
    assert hours.close(at(0, 4)) == [Mean(at(0, 1), 7, 3), Mean(at(0, 2), 103, 2)]


def test_a_reading_is_late_when_its_hour_is_over_whoever_said_so():
    by_clock, by_reading, unseen = Hours(GRACE), Hours(GRACE), Hours(GRACE)
    for hours in (by_clock, by_reading):
        take(hours, temps(at(0, 1)))
    by_clock.close(at(0, 2, 10))
    take(by_reading, temps(at(0, 2, 10)))
    for hours, ms in ((by_clock, at(0, 1, 5)), (by_reading, at(0, 2, 10)), (unseen, at(0, 2, 10))):
        means, aside = take(hours, temps(ms, own=at(0, 1, 5)), temps(ms, own=at(0, 0, 5)))
        assert means == []
        assert [one.reason for one in aside] == [LATE, LATE]


def test_hours_may_be_missing():
    hours = Hours(GRACE)
    means, _ = take(hours, temps(at(0, 1)), temps(at(0, 9)), temps(at(0, 23)))
    assert [one.start for one in means + hours.close(at(1, 1))] == [at(0, 1), at(0, 9), at(0, 23)]


REASONS = [
    ({}, "it has no field temp_f"),
    ({"temperature": "72"}, "it has no field temp_f"),
    ({"temp_f": "warm"}, "its temp_f is no temperature"),
    ({"temp_f": "warm", "at": "never"}, "its temp_f is no temperature"),
    ({"temp_f": "72", "at": "never"}, "its field at is no moment before its ID"),
    ({"temp_f": "72", "at": str(at(0, 3) + 1)}, "its field at is no moment before its ID"),
    ({"temp_f": "72", "at": str(BEGINS - 1)}, "it is of another day"),
    ({"temp_f": "72", "at": str(at(0, 1))}, LATE),
]


@pytest.mark.parametrize(("fields", "reason"), REASONS, ids=[str(fields) for fields, _ in REASONS])
def test_what_counts_for_no_hour_is_set_aside_with_its_id_and_the_reason(fields, reason):
    means, aside = take(Hours(GRACE), (at(0, 3), fields))
    assert (means, aside) == ([], [(f"{at(0, 3)}-0", fields.get("temp_f", ""), reason)])


@pytest.mark.parametrize("ms", [BEGINS - 1, BEGINS + DAY_MS, 0, 2**63])
def test_a_reading_dated_by_the_servers_own_clock_is_of_another_day(ms):
    hours = Hours(GRACE)
    take(hours, temps(at(0, 3)))
    means, aside = take(hours, temps(ms))
    assert means == []
    assert [one.reason for one in aside] == ["it is of another day"]
    assert hours.state.counts == (1, 0)


# ------------------------------------------------------------------ any readings, cut anywhere


class Came(NamedTuple):
    """An entry: when it came, and what it says. `text` is no temperature if `temp` is None."""

    ms: int
    seq: int
    text: str | None
    temp: Fraction | None
    own: str | None

    @property
    def entry(self) -> tuple[str, dict[str, str]]:
        fields = {"temp_f": self.text, "at": self.own}
        return f"{self.ms}-{self.seq}", {k: v for k, v in fields.items() if v is not None}


GRACES = [0, 1, MINUTE, 10 * MINUTE, HOUR - 1]
DAYS = 4

NOT_AT_ALL = [None, *NO_NUMBERS[:-2], "e.", "٧2", "7e"]
texts = st.sampled_from([(text, Fraction(text)) for text in NUMBERS] * 2
                        + [(f"{n / 8}", Fraction(n, 8)) for n in range(-40, 80)]
                        + [(f"{n}e-15", Fraction(n, 10**15)) for n in range(10**14, 10**16, 10**14)]
                        + [(text, None) for text in NOT_AT_ALL])  # fmt: skip
steps = st.sampled_from([0, 0, 0, 1, SECOND, SECOND, MINUTE, 20 * MINUTE, HOUR - 1, HOUR, 3 * HOUR])
backs = [0, 1, SECOND, MINUTE, 10 * MINUTE, HOUR - 1, HOUR, 5 * HOUR, 30 * HOUR]
owns = st.sampled_from([None] * 9 + backs + ["", "never", "-5", "9" * 30, str(at(9)), "0"])
arrivals = st.lists(st.tuples(steps, st.integers(1, 3), texts, owns), max_size=12)
begins = st.sampled_from([0, 0, 5 * HOUR, 22 * HOUR, -HOUR])


def came(day: int, begin: int, some: list[Any], twice: bool) -> list[Came]:
    """What came to the partition of a day; perhaps from two producers that wrote the same."""
    ms, seq, found = at(day) + begin, 0, []
    for step, leap, (text, temp), own in some:
        ms, seq = ms + step, 0 if step else seq + leap
        moment = str(ms - own) if isinstance(own, int) else own
        found.append(Came(ms, seq * 2, text, temp, moment))
    if twice:
        found = [again for one in found for again in (one, one._replace(seq=one.seq + 1))]
    return found


def days(day: int) -> st.SearchStrategy[list[Came]]:
    return st.builds(came, st.just(day), begins, arrivals, st.booleans())


partitions = st.tuples(*(days(n) for n in range(DAYS)))


def oracle(found: tuple[list[Came], ...], grace: int) -> tuple[list[averages.Mean], int]:
    """The means, from a look at each entry by itself; and how many count for none."""
    hours: dict[int, list[Fraction]] = defaultdict(list)
    for day, entries in enumerate(found):
        for one in entries:
            if one.temp is None:
                continue
            if one.own is None:
                taken = one.ms
            elif one.own.isdecimal() and int(one.own) <= one.ms:
                taken = int(one.own)
            else:
                continue
            over = (taken // HOUR + 1) * HOUR + grace
            if at(day) <= taken < at(day + 1) and one.ms < over:
                hours[taken // HOUR].append(one.temp)
    counted = sum(map(len, hours.values()))
    means = [mean_of(hour, hours[hour]) for hour in sorted(hours)]
    return means, sum(map(len, found)) - counted


@settings(max_examples=200)
@given(partitions, st.sampled_from(GRACES), st.lists(st.integers(1, 9), min_size=1), st.data())
def test_the_means_are_the_same_however_the_pages_are_cut(found, grace, cuts, data):
    """The state is stored and restored after every page, and never has three hours open."""
    work = Work(DEMO_START, grace)
    means: list[Mean] = []
    aside = read = 0

    def store() -> Work:
        nonlocal aside
        means.extend(work.means)
        aside += len(work.aside)
        stored = work.fields()
        restored = Work.stored(stored, grace)
        assert restored.fields() == stored
        assert restored.counts.averages == len(means)
        assert restored.counts.set_aside == aside
        seen = sum(one.observations for one in means) + sum(restored.state.counts) + aside
        assert seen == read  # so no third hour was open either: it would not have been stored
        return restored

    sizes = cuts * (sum(map(len, found)) + 1)
    for day, entries in enumerate(found):
        assert work.key == key(day)
        page = [one.entry for one in entries]
        while page:
            size = sizes.pop()
            work.take(page[:size])
            read += len(page[:size])
            page = page[size:]
            work = store()
        assert not work.drained(work.over_at - 1)
        assert work.drained(work.over_at)
        work = store()
        assert work.state.start is None
    told = [(m["date"], int(m["hour"]), m["average_temp_f"], int(m["num_observations"]))
            for m in (one.fields() for one in means)]  # fmt: skip
    assert (told, aside) == oracle(found, grace)
    assert in_order(told)


# ------------------------------------------------------------------ what is stored


def test_the_state_of_a_beginner_is_stored_and_restored():
    fields = Work(DEMO_START, GRACE).fields()
    assert tuple(fields) == FIELDS
    assert fields["current_stream_key"] == key(0)
    assert fields["last_message_id"] == BEGINNING
    assert fields["current_hour"] == ""
    assert Work.stored(fields, GRACE).fields() == fields


@pytest.mark.parametrize("text", ["0.0000000", "1e-7", "-1e-7", "1e2", "100000e0", "-3", "0e-9"])
def test_a_sum_of_any_form_is_restored(text):
    work = Work(DEMO_START, GRACE)
    work.take([(f"{at(0, 1)}-0", {"temp_f": text})])
    restored = Work.stored(work.fields(), GRACE)
    assert restored.fields() == work.fields()
    assert Fraction(restored.state.totals[0]) == Fraction(text)


def test_how_long_it_waits():
    work = Work(DEMO_START, GRACE)
    assert work.wait_ms(at(0, 1), 1000) == 1000
    assert work.wait_ms(work.over_at - 5, 1000) == 5
    assert work.wait_ms(work.over_at + 5, 1000) == 1
    work.take([temps_entry(at(0, 1))])
    assert work.wait_ms(at(0, 2, 10) - 7, 1000) == 7


def temps_entry(ms: int) -> tuple[str, dict[str, str]]:
    return f"{ms}-0", {"temp_f": "10"}


CORRUPT = [
    *((name, bad) for name in ("current_hourly_count", "next_hourly_count", "closed_until",
                               "stream_read", "stream_length", "num_averages", "num_set_aside",
                               "num_lost") for bad in ("", "-1", "1.5", "ten", "٣", "9" * 5000)),
    *((name, bad) for name in ("current_hourly_total", "next_hourly_total")
      for bad in ("", "warm", "NaN", "inf", "-Infinity", "1e400", "9" * 5000)),
    *(("current_stream_key", bad) for bad in ("", "temps", "temps:20251301", "temps:averages")),
    *(("previous_stream_key", bad) for bad in ("temps", "temps:20251301", "temps:averages")),
    *((name, bad) for name in ("last_message_id", "previous_message_id")
      for bad in ("", "$", "x-1", "1-2-3", str(2**64))),
    *(("current_hour", bad) for bad in ("", "7", "2100-01-01", "2100-01-01T", "2100-01-01T24",
                                        "2100-13-01T07", "T07", "2100-01-01T7", "today")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "bad"), CORRUPT, ids=lambda value: value[:20])
def test_a_corrupt_state_is_refused_with_the_field_that_is_wrong(name, bad):
    work = Work(DEMO_START, GRACE)
    work.take([temps_entry(at(0, 1)), temps_entry(at(0, 2, 5))])
    with pytest.raises(StateError, match=f"in its field {name}. Nothing was changed"):
        Work.stored(work.fields() | {name: bad}, GRACE)


def test_an_hour_without_readings_is_no_state():
    with pytest.raises(StateError, match="current_hour"):
        Work.stored(Work(DEMO_START, GRACE).fields() | {"current_hour": "2100-01-01T07"}, GRACE)
