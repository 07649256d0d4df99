"""The checks of lab 06: which hours are there, when are they over, and what survives a crash."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from helpers.chaos import CLIENT, Failure, Outcome, Returned
from helpers.checks.lab import Lab
from helpers.checks.lab06 import commits, resuming
from helpers.checks.lab06.hourly import (
    CHENNAI,
    FIRST_DAY,
    HOUR_MS,
    Average,
    Days,
    Hour,
    ms_at,
    named,
    same,
    truth,
)
from helpers.checks.lives import Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import far_from_utc
from helpers.checks.verdict import Wrong
from helpers.checks.work import in_turn

lab = Lab("06", "`solutions/06_crash_recovery.ipynb`")


def _timely(outcome: Outcome, slow: str = "") -> Any:
    """What a function returned that has to do with moments.

    Raises:
        Wrong: it did not return.
    """
    if (
        isinstance(outcome, Failure)
        and outcome.kind in ("ValueError", "OverflowError", "OSError")
        and re.search(r"year -?\d+|timestamp|too large", outcome.message)
    ):
        raise Wrong(
            "That would be thousands of years ahead. An ID and `now` are in milliseconds "
            "since 1970, and `datetime.fromtimestamp` takes seconds: `ms / 1000`.",
            found=str(outcome),
        )
    return result(outcome, slow, LIMIT_S)


# ------------------------------------------------------------------ 1: which hour


@lab.exercise(
    1,
    "Which hour does a reading count for?",
    "The first half of an ID is a time, in milliseconds since 1970. A reading that came late "
    "has another time, in the field `at`.",
    "Without a time zone, Python uses the local time of the machine: "
    "`datetime.fromtimestamp(ms / 1000, UTC)`.",
    "For a datetime `moment`, `f'{moment:%Y/%m/%d}'` is the date, and `moment.hour` is the hour.",
    calls=("entry_id", "fields"),
)
def which_hour(scene: Scene, hour_of: Any) -> str:
    """In time, around midnight and late; on a machine whose local time is not UTC."""
    readings = (
        (ms_at(1, "07:20:15"), None),
        (ms_at(1, "23:59:59") + 999, None),
        (ms_at(2, "00:00:00"), None),
        (ms_at(2, "08:00:03"), ms_at(2, "07:59:58")),
        (ms_at(3, "00:00:04"), ms_at(2, "23:59:57")),
    )
    with far_from_utc(), Supervisor(scene) as supervisor:
        for came, own in readings:
            fields = {"temp_f": "71"} | ({} if own is None else {"at": str(own)})
            got = _timely(supervisor.call(hour_of, f"{came}-3", fields))
            right = named(came if own is None else own)
            if got not in (right, list(right)):
                raise Wrong(
                    _hour_hint(got, came, own),
                    expected=f"{right} for the ID {came}-3 and {fields}",
                    instead=got,
                )
    return "The date and the hour in UTC at which the reading was taken."


def _hour_hint(got: Any, came: int, own: int | None) -> str:
    if not isinstance(got, tuple | list) or len(got) != 2:
        if isinstance(got, str):
            return "That is one string. Return a pair: the date as a string, the hour as a number."
        if isinstance(got, int):
            return (
                "The hour alone isn't enough: 7 o'clock comes every day, and two days in a "
                "row would look like one hour. Return both, the date first."
            )
        return "Return a pair: the date as a string, and the hour as a number."
    taken = came if own is None else own
    date, hour = got
    if isinstance(hour, str) and isinstance(date, int):
        return "Put the date first, and then the hour."
    if not isinstance(date, str):
        return "The date is a string, as the averages have it: `f'{moment:%Y/%m/%d}'`."
    if isinstance(hour, str):
        return "The hour is a number, from 0 to 23."
    if tuple(got) == named(came):
        return (
            "This reading came late, so its ID shows only when it arrived. The field `at` has "
            "the time when it was taken."
        )
    if tuple(got) in (named(came, CHENNAI), named(taken, CHENNAI)):
        return (
            "That's the local time of this machine. In another place, or in summer, it would "
            "be another hour. Use UTC: `datetime.fromtimestamp(ms / 1000, UTC)`."
        )
    if hour != named(taken)[1] and hour == datetime.fromtimestamp(taken / 1000, UTC).minute:
        return "That's the minute: `moment.hour` is the hour."
    right = named(taken)
    if isinstance(hour, float) and int(hour) == right[1]:
        return "The hour is a whole number, from 0 to 23: divide with `//`, or use `moment.hour`."
    if hour == right[1]:
        if re.fullmatch(r"\d{4}/\d\d/\d\d", date):
            return f"The hour is right, and the date isn't: this reading was taken on {right[0]}."
        return "Write the date as the averages have it: year, month and day, as in `2100/01/02`."
    if (date, hour) == named(taken + HOUR_MS):
        return (
            "That's the next hour, which hadn't begun. A reading counts for the hour in which "
            "it was taken, up to the last millisecond: round down, with `//`."
        )
    if hour == taken // HOUR_MS:
        return "Those are all the hours since 1970. The hour of the day is `moment.hour`."
    if hour == right[1] % 12:
        return "Hours go from 0 to 23: use `moment.hour` or `%H`; `%I` stops at 12."
    return (
        "An ID is milliseconds since 1970, a hyphen, and a number that isn't a time. An hour "
        "has 3,600,000 milliseconds."
    )


# ------------------------------------------------------------------ 2: means


@lab.exercise(
    2,
    "The means of all hours that are over",
    "Collect the readings of each hour under its date and hour. Then look at the clock.",
    "Use a dict: `readings.setdefault(hour_of(entry_id, fields), []).append(…)`. Values in a "
    "stream are strings.",
    "An hour is over when the hour of `now` is a later one: `hour < hour_of(f'{now}-0', {})`. "
    "Dates written like this sort as strings.",
    calls=("entries", "now"),
)
def hourly_means(scene: Scene, means: Any) -> str:
    """Two days with the same hour side by side, a late reading, and hours that aren't over."""
    days = Days()
    days.add(1, "07:10:00 70", "07:20:00 71", "07:59:59 71")
    days.add(1, "12:00:01 66", "12:00:02 65 at 11:59:58")
    days.add(2, "07:59:59 80", "08:00:01 60", "08:00:02 83 at 07:59:57", "08:30:00 61")
    days.add(2, "09:15:00 50", "09:30:00 51", "09:59:00 51")
    days.again(2, "09:59:00", 1)
    over, still_open, early = ms_at(2, "10:00:00"), ms_at(2, "09:59:30"), ms_at(2, "08:45:00")
    with far_from_utc(), Supervisor(scene) as supervisor:
        for now in (over, still_open, early):
            got = _averages(_ask_means(supervisor, means, days.entries, now))
            right = truth(days, now)
            if not same(got, right):
                raise Wrong(
                    _early_hint(got, right)
                    if now == early
                    else _means_hint(got, right, is_open=now == still_open),
                    expected=_listed(right),
                    found=_listed(got),
                )
        if result(supervisor.call(means, [], over), "", LIMIT_S) not in ([], ()):
            raise Wrong("Without a reading there is no hour.", expected=[], found="something else")
        _expect_afresh(supervisor, means, days, over)
    return "Each hour with its own readings, even the last one, and none that is still open."


def _expect_afresh(supervisor: Supervisor, means: Any, days: Days, now: int) -> None:
    """The same twice in one process: what it has counted before is not there any more."""
    outcome = supervisor.call(in_turn(means, [(days.entries, now)] * 2))
    if not isinstance(outcome, Returned) or not isinstance(outcome.value, list):
        return  # one whose style knows no turns
    got = _averages(outcome.value[-1])
    if not same(got, truth(days, now)):
        raise Wrong(
            "Called a second time, it also counted the readings of the first call. Collect them "
            "in a variable of the function's own, which is empty when it begins.",
            expected=_listed(truth(days, now)),
            found=_listed(got),
        )


def _ask_means(supervisor: Supervisor, means: Any, entries: Any, now: int) -> Any:
    outcome = supervisor.call(means, entries, now)
    if isinstance(outcome, Failure) and outcome.kind == "TypeError" and "str" in outcome.message:
        raise Wrong(
            "Values in a stream are strings: `int(fields['temp_f'])` is a number.",
            found=str(outcome),
        )
    return _timely(outcome)


def _averages(got: Any) -> list[Average]:
    try:
        rows = [tuple(row) for row in got]
        found = [
            Average((str(date), int(hour)), float(mean), int(count))
            for date, hour, mean, count in rows
        ]
    except (TypeError, ValueError):
        raise Wrong(
            "Return a list with a tuple for each hour: its date, the hour, the mean, and how "
            "many readings it has.",
            expected="[('2100/01/01', 7, 70.5, 2), …]",
            instead=got,
        ) from None
    for row in rows:
        if isinstance(row[1], str):
            raise Wrong(
                "The hour is a number, as in exercise 1, not a string.",
                expected="('2100/01/01', 7, 70.5, 2)",
                instead=row,
            )
    return found


def _listed(averages: Iterable[Average]) -> str:
    shown = (f"({date!r}, {hour}, {mean:.2f}, {count})" for (date, hour), mean, count in averages)
    return ", ".join(shown) or "nothing"


def _early_hint(got: list[Average], right: list[Average]) -> str:
    """What to say where readings are ahead of `now`, and everything else was right before."""
    if {one.hour for one in got} >= {one.hour for one in right} | {("2100/01/02", 9)}:
        return (
            "At `now` it is 8:45, and 9 o'clock hasn't begun, though it has readings: a clock was "
            "fast. Only an hour earlier than that of `now` is over, so compare with `<`, not `!=`."
        )
    return (
        "At `now` it is 8:45. Every hour that ended by then is over, also when readings of later "
        "hours are there."
    )


_CAME_LATE = (
    "A reading is in the wrong hour. The one at 08:00:02 came late: it was taken at the time "
    "in its field `at`. Your `hour_of` handles that."
)


def _means_hint(got: list[Average], right: list[Average], *, is_open: bool) -> str:
    hours, wanted = [one.hour for one in got], [one.hour for one in right]
    counts, wanted_counts = ({one.hour: one.readings for one in part} for part in (got, right))
    nine = ("2100/01/02", 9)
    if not got:
        return (
            "Your list is empty. `now` is the time, in milliseconds, and here it's in the "
            "year 2100: every hour that ended before it is over."
        )
    if got == right[:1]:
        return "You returned only the first hour. Is a `return` inside the loop?"
    if hours == wanted and all(
        one.mean == other.readings for one, other in zip(got, right, strict=True)
    ):
        return "The number of readings is where the mean belongs: first the mean, then how many."
    if hours == wanted and all(counts[hour] - wanted_counts[hour] == -1 for hour in hours):
        return "The number of readings is one too small in every hour: count all of them."
    if is_open and nine in hours:
        return (
            "At `now`, it's half a minute before ten, so 9 o'clock isn't over: its mean may "
            "still change. Leave out the hour that `now` is in."
        )
    if len(set(hours)) < len(hours):
        return (
            "One hour is there twice: one of its readings came late, after a reading of the "
            "next hour. Collect the readings by hour; a new hour doesn't mean that the old "
            "one is complete."
        )
    if [one.readings > 3 for one in got if one.hour[1] == 7] == [True]:
        return (
            "7 o'clock on two days was treated as one hour, because one day had no reading "
            "after it, and the other none before it. Compare the date too."
        )
    if not is_open and hours == [hour for hour in wanted if hour != nine]:
        return (
            "The last hour is missing. No reading of a later hour shows that it's over, and "
            "perhaps none will ever come. The clock shows it: `now`. At 10:00:00 sharp, 9 "
            "o'clock is over."
        )
    eight = ("2100/01/02", 8)
    if counts.get(eight, 0) > wanted_counts[eight]:
        return _CAME_LATE
    if any(not one.readings for one in got):
        return (
            "An hour without any reading has no mean: leave it out, and return only hours that "
            "have readings."
        )
    if strange := sorted(set(hours) - set(wanted)):
        return (
            f"{strange[0][0]}, {strange[0][1]} o'clock isn't an hour that has readings and is "
            "over. Collect the readings by date and hour together."
        )
    if set(wanted) - set(hours) == {("2100/01/01", 11)}:
        return (
            "11 o'clock is missing. Its only reading came late, with a field `at`, but it "
            "counts: your `hour_of` returns its hour."
        )
    if lacking := sorted(set(wanted) - set(hours)):
        return (
            f"{lacking[0][0]}, {lacking[0][1]} o'clock is over by `now`, but it's missing. To "
            "find which hours are over, compare date and hour together with those of `now`, "
            "and compare hours as numbers."
        )
    if set(hours) != set(wanted):
        return "Return all hours that have readings and are over by `now`, and no others."
    if counts == wanted_counts | {nine: wanted_counts.get(nine, 0) - 1}:
        return (
            "Two readings of 9 o'clock have IDs in the same millisecond, which differ after the "
            "hyphen. Both count."
        )
    if counts != wanted_counts:
        return _CAME_LATE
    if same(sorted(got), right):
        return "Return the hours in chronological order: sort them by date, then by hour."
    if all(
        abs(one.mean - other.mean * other.readings) < 0.01
        for one, other in zip(got, right, strict=True)
    ):
        return "Those are the sums. A mean is the sum, divided by the number of readings."
    if all(one.mean == int(one.mean) for one in got):
        return (
            "Every mean is a whole number here, and it shouldn't be. A mean is the sum of the "
            "temperatures, divided by their number. Divide with `/`, because `//` drops the "
            "fraction, and don't round."
        )
    return "The mean of an hour is the sum of its temperatures, divided by their number."


# ------------------------------------------------------------------ 3: the damage

LONG = 1200  # readings of one hour, more than one page brings


@lab.exercise(
    3,
    "Find the damage",
    "Compare two things: the hours that have readings, and the hours that have averages. An "
    "hour may have several averages.",
    "`Counter((one['date'], int(one['hour'])) for _, one in redis.xrange(averages))` counts "
    "them. An hour that isn't in it is missing; one with more than 1 is doubled.",
    "An average is wrong if its number of observations differs from the number of readings, "
    "or if its mean differs from theirs by more than rounding: `abs(float(…) - mean) > "
    "0.006`.",
    calls=("redis", "partitions", "averages"),
)
def find_damage(scene: Scene, damage: Any) -> str:
    """Every kind of damage, on two days that share their hours, and hours that are in order."""
    first = FIRST_DAY + timedelta(days=secrets.randbelow(300))
    days = Days(first)
    days.add(1, *(f"03:{n // 20:02}:{3 * (n % 20):02} {50 + n % 2}" for n in range(LONG)))
    days.add(
        1,
        "05:10:00 55",
        "05:20:00 57",
        "06:10:00 70",
        "06:20:00 71",
        "06:30:00 71",
        "07:10:00 60",
        "07:20:00 61",
    )
    days.add(1, "08:10:00 50", "08:20:00 50", "08:30:00 50")
    days.add(1, "11:10:00 60", "11:20:00 61", "12:00:03 65 at 11:59:58")
    days.add(2, "07:10:00 80", "07:20:00 81", "08:10:00 40", "08:20:00 41")
    days.add(2, "09:10:00 30", "09:20:00 30", "10:10:00 20", "10:20:00 21", "10:30:00 21")
    days.add(2, "11:10:00 24", "11:20:00 25")
    one, two = (f"{first + timedelta(days=n):%Y/%m/%d}" for n in (0, 1))
    averages = _published(
        scene,
        (one, 3, "50.50", LONG), (one, 6, "70.67", 3), (one, 7, "60.50", 2), (one, 8, "50.00", 2),
        (one, 11, "62.00", 3),
        (two, 8, "40", 2), (two, 9, "30.00", 1), (two, 9, "30.00", 2), (two, 10, "20.67", 3),
        (one, 7, "60.00", 1),
    )  # fmt: skip
    right = (
        {(one, 5), (two, 7), (two, 11)},
        {(one, 7), (two, 9)},
        {(one, 7), (one, 8), (two, 8), (two, 9)},
    )
    partitions = days.write(scene)
    with far_from_utc(), scene.watching(partitions[1]) as commands:
        found = _three_sets(scene.call(damage, CLIENT, partitions, averages))
    if not commands:
        raise Wrong(
            "Read every key in `partitions`, not only the first.",
            expected=f"the readings of {len(partitions)} partitions read",
            found="the second one never read",
        )
    if not found[0] and (not found[2] or found[2] >= {(one, 3), (one, 6), (two, 10)}):
        raise Wrong(
            "No reading counted for any hour. If you use exercise 2, its `now` has to be later "
            "than every reading, in milliseconds: `10**14` is. These are from the year 2100, so "
            "the time of this machine's clock isn't.",
            expected=f"missing: {sorted(right[0])}",
            found=f"missing: nothing; wrong: {sorted(found[2]) or 'nothing'}",
        )
    counted = any("COUNT" in map(str.upper, words) for words in commands)
    if (one, 3) in found[2] and (one, 5) not in found[0] and counted:
        raise Wrong(
            f"3 o'clock on {one} is correct: it has {LONG} readings, and more follow. One "
            "XRANGE or XREAD with COUNT returns one page. Read on from its last ID until "
            "nothing comes, or leave out the count.",
            expected=f"all readings of {partitions[0]}",
            found=f"wrong: {sorted(found[2])}",
        )
    if found != [*right] and sorted(map(sorted, found)) == sorted(map(sorted, right)):
        raise Wrong(
            "These are the right sets, but in a different order.",
            expected="missing, doubled, wrong",
            instead=found,
        )
    hints = (_missing_hint, _doubled_hint, _wrong_hint)
    for kind, got, wanted, hint in zip(
        ("missing", "doubled", "wrong"), found, right, hints, strict=True
    ):
        if got != wanted:
            raise Wrong(
                hint(got, wanted, one, two),
                expected=f"{kind}: {sorted(wanted)}",
                found=f"{kind}: {sorted(got)}",
            )
    return "You found all of it, and reported no hour that is correct."


def _published(scene: Scene, *averages: tuple[str, int, str, int]) -> str:
    names = ("date", "hour", "average_temp_f", "num_observations")
    entries = [
        (f"{n}-0", dict(zip(names, map(str, values), strict=True)))
        for n, values in enumerate(averages, 1)
    ]
    return scene.stream("averages", entries)


def _three_sets(answer: Any) -> list[set[Hour]]:
    try:
        missing, doubled, wrong = answer
        kinds = [[(date, hour) for date, hour in kind] for kind in (missing, doubled, wrong)]
        found = [{(str(date), int(hour)) for date, hour in kind} for kind in kinds]
    except (TypeError, ValueError):
        raise Wrong(
            "Return three sets, `missing, doubled, wrong`. They contain hours with their dates.",
            expected="({('2100/01/01', 7), …}, {…}, {…})",
            instead=answer,
        ) from None
    if texts := [pair for kind in kinds for pair in kind if isinstance(pair[1], str)]:
        raise Wrong(
            "In the averages, `hour` is a string; in a pair as in exercise 1, it's a number. "
            "Compare numbers with numbers: `int(one['hour'])`.",
            expected=f"({texts[0][0]!r}, {texts[0][1]})",
            instead=texts[0],
        )
    return found


def _missing_hint(got: set[Hour], wanted: set[Hour], one: str, two: str) -> str:
    if len(got) > len(wanted) + 9:
        return (
            "Most of these hours have no readings either, so nothing is missing there. A "
            "missing hour has readings but no average."
        )
    if (one, 12) in got:
        return (
            "No reading was taken at 12 o'clock. The one that came at 12:00:03 is late: it "
            "was taken at 11:59:58, as its field `at` shows."
        )
    if not got:
        return (
            "Nothing is missing here, by your answer. Take the hours that have readings, and from "
            "these the hours that have averages away, not the other way round."
        )
    if got == wanted - {(two, 11)}:
        return (
            f"On {two}, 11 o'clock is missing too: it has readings, the last ones, and no average. "
            "All hours are over here, the last one as well. If you use exercise 2, its `now` has "
            "to be an hour later than the last reading: `10**14` is."
        )
    if (two, 7) not in got and got <= wanted:
        return (
            f"On {two}, 7 o'clock has readings but no average. There is an average for 7 "
            "o'clock, but it's for the other day: compare date and hour."
        )
    return (
        "A missing hour has readings but no average. In the averages, `hour` is a string, so "
        "compare numbers with numbers."
    )


def _doubled_hint(got: set[Hour], wanted: set[Hour], one: str, two: str) -> str:
    if got - wanted:
        return (
            "An hour is doubled only if it's there more than once on one date: 8 o'clock is "
            "there on both days, once each."
        )
    if got == {(two, 9)}:
        return (
            "An hour may be published again much later, with others in between and with "
            "another mean. Compare each average with all of them, not only with the one "
            "before it."
        )
    return (
        "An hour that was published twice is doubled, even if both means are the same. In a "
        "dict or a set, each hour is there only once: count the averages first."
    )


def _wrong_hint(got: set[Hour], wanted: set[Hour], one: str, two: str) -> str:
    if got - wanted == {(one, 11)}:
        return (
            "11 o'clock is correct: the reading that came at 12:00:03 was taken at 11:59:58, "
            "as its field `at` shows."
        )
    if got - wanted <= {(one, 5), (two, 7), (two, 11)} and got - wanted:
        return (
            "An hour without an average is missing. It has no average that could be wrong, so "
            "don't put it here."
        )
    if got - wanted:
        return (
            "Some of these are correct. An average is a string, rounded to hundredths: "
            "`70.67` is the mean of 70, 71 and 71. Compare numbers, and allow for the "
            "rounding."
        )
    if not got:
        return "Compare each average with the readings of its hour: both the mean and their number."
    if (one, 8) not in got:
        return (
            f"At 8 o'clock on {one}, the mean is right, but a reading is lost: compare "
            "`num_observations` with the number of readings too."
        )
    if (two, 8) not in got:
        return (
            "40 is not the mean of 40 and 41. RU202's consumer divides with `//`, and a check "
            "of it must not. Allow for rounding to hundredths, and for nothing more."
        )
    return (
        "If an hour is doubled, each of its averages has to be right. Of these two, one is: "
        "look at every average, not only at the first or the last of each hour."
    )


# ------------------------------------------------------------------ 4: midnight


class Midnight(NamedTuple):
    """A moment at which a consumer asks which partition to read."""

    day: str  # whose partition it reads
    last: str  # the ID that it has read last
    now: int
    right: tuple[str, ...]
    hint: str


GRACE_MS = 60_000
_MIDNIGHT_SLOW = "Look once, and return: the caller asks again later."


@lab.exercise(
    4,
    "Cross midnight",
    "Three things have to be true before a day is left: it is over, its grace period is over, "
    "and there is nothing after `last_id`. Does the next partition matter?",
    "The last eight characters of the key are the day: "
    "`datetime.strptime(key[-8:], '%Y%m%d').replace(tzinfo=UTC)`, and `+ timedelta(days=1)`.",
    "`redis.xrange(key, f'({last_id}', count=1)` is empty if nothing is left, and also if "
    "there is no such key.",
    calls=("redis", "key", "last_id", "now", "grace_ms"),
)
def cross_midnight(scene: Scene, next_partition: Any) -> str:
    """Before and after midnight, with readings left or not, and days that have no partition."""
    days = Days(first=date(2099, 12, 31))
    days.add(1, "10:00:00 50", "23:59:58 51")
    days.again(1, "23:59:58", 11)
    days.add(2, "00:00:01 52", "11:00:00 53")
    days.add(4, "08:00:00 54")
    prefix = days.write(scene)[0][:-8]
    with far_from_utc(), Supervisor(scene) as supervisor:
        for moment in _midnights(days):
            key = prefix + moment.day
            asked = (CLIENT, key, moment.last, moment.now, GRACE_MS)
            outcome = supervisor.call(next_partition, *asked)
            if isinstance(outcome, Failure) and outcome.kind == "ResponseError":
                raise Wrong(
                    "A day may have no partition at all, and then some commands raise an "
                    "error. XRANGE and XREAD return nothing, which is what you want to know.",
                    found=str(outcome),
                )
            got = _timely(outcome, _MIDNIGHT_SLOW)
            if got not in [prefix + day for day in moment.right]:
                raise Wrong(
                    _midnight_hint(got, prefix, moment),
                    expected=f"…{moment.right[0]}, {_clock(moment.now)}",
                    instead=got,
                )
    return "A day is left when it's over and drained, whatever comes next."


def _midnights(days: Days) -> list[Midnight]:
    """All the moments, those with the commonest mistakes first."""
    first, second, fourth = ("20991231", "20991231"), ("21000101",), ("21000103",)
    third = "21000102"
    before, *_, ninth, _, last = days.ids(1)
    stay = "Stay: "
    return [
        Midnight(
            "20991231", last, days.at(2, "01:00:00"), second,
            "The day is over, its grace period is over, and there is nothing after `last_id`: "
            "go on to the next day. Only `now` shows the time, not this machine's clock. Check "
            "the ends of months and years too. A range that begins with `last_id` includes "
            "that entry; one from `(last_id` leaves it out.",
        ),
        Midnight(
            "21000103", days.ids(4)[-1], days.at(4, "12:00:00"), fourth,
            stay + "it is noon on that day, so the day isn't over: it ends at the next "
                   "midnight. Look at `now`. `now` and `grace_ms` are in milliseconds, and "
                   "`timestamp()` returns seconds.",
        ),
        Midnight(
            "21000103", days.ids(4)[-1], days.at(4, "20:00:00"), fourth,
            stay + "the day isn't over. Look at `now`, and use midnight in UTC, not in the "
                   "time zone of this machine, which may be anywhere.",
        ),
        Midnight(
            "21000103", days.ids(4)[-1], days.at(4, "23:59:30"), fourth,
            stay + "it is half a minute before midnight. `grace_ms` comes after midnight, not "
                   "before: the day is left from midnight + `grace_ms` on.",
        ),
        Midnight(
            "20991231", last, days.at(1, "23:59:59"), first,
            stay + "the day isn't over, and only `now` shows when it is. The last reading may be "
            "close to midnight, and the next partition may already exist, because a producer's "
            "clock may be fast. Readings for this day will still come.",
        ),
        Midnight(
            "20991231", before, days.at(2, "01:00:00"), first,
            stay + "there is still a reading after `last_id`. A consumer that was away for "
                   "some hours finds the day over, but has yet to read that reading.",
        ),
        Midnight(
            "20991231", ninth, days.at(2, "01:00:00"), first,
            stay + "there are still readings after `last_id`, in the same millisecond: their "
                   "IDs end in `-10` and `-11`, and `last_id` in `-9`. The next ID isn't in "
                   "the next millisecond, and IDs don't sort as strings. Let the server "
                   "compare: XRANGE from `(last_id`, or XREAD.",
        ),
        Midnight(
            "20991231", last, days.at(2, "00:00:30"), first,
            stay + "the day has been over for 30 s, but late readings may still come until "
                   "`grace_ms` after midnight.",
        ),
        Midnight(
            "20991231", last, days.at(2, "00:01:00"), second,
            "Go on: at this moment, `grace_ms` milliseconds have passed since midnight, so "
            "the day is over. The end itself counts: `>=`.",
        ),
        Midnight(
            "20991231", last, days.at(4, "09:00:00"), second,
            "Go on, but to the next day: it has readings too, and today's have to wait for "
            "them.",
        ),
        Midnight(
            "21000101", days.ids(2)[-1], days.at(4, "09:00:00"), (third, *fourth),
            "Go on: the next day has no partition, and never will have one. A consumer that waits "
            "for its key waits forever.",
        ),
        Midnight(
            third, "0-0", days.at(4, "09:00:00"), fourth,
            "This day has no partition, and it's over: nothing is left to read there. Go on.",
        ),
        Midnight(
            "21000103", days.ids(4)[-1], days.at(5, "01:00:00"), ("21000104",),
            "Go on: this day is over and drained. The next one has just begun, and its partition "
            "will be there with its first reading.",
        ),
        Midnight(
            "21000104", "0-0", days.at(5, "01:00:00"), ("21000104",),
            stay + "this day has no partition yet, but it isn't over: readings may still "
                   "come.",
        ),
    ]  # fmt: skip


def _clock(now: int) -> str:
    return f"at {datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _midnight_hint(got: Any, prefix: str, moment: Midnight) -> str:
    if not isinstance(got, str):
        return "Return the key of the partition to read now: the same one, or a later one."
    if not got.startswith(prefix):
        return "Keep what comes before the date in the key: `key[:-8]`."
    if not re.fullmatch(r"\d{8}", got.removeprefix(prefix)):
        return "A key ends with the date as eight digits: `f'{key[:-8]}{day:%Y%m%d}'`."
    try:
        datetime.strptime(got.removeprefix(prefix), "%Y%m%d")
    except ValueError:
        return (
            "There is no such day. Calculate with dates, not with the digits: "
            "`datetime.strptime(…) + timedelta(days=1)`."
        )
    if got < prefix + moment.right[0]:
        return moment.hint if got == prefix + moment.day else "Never go back."
    return moment.hint


# ------------------------------------------------------------------ 5 to 7: crashes


@lab.exercise(
    5,
    "Publish and store in one step",
    "Your process may be killed between any two commands. Which of them can be alone on the "
    "server?",
    "MULTI turns several commands into one step: `redis.pipeline(transaction=True)`.",
    "`with redis.pipeline(transaction=True) as both:`, then `both.xadd(…)`, "
    "`both.hset(state, mapping=fields)` and `both.execute()`.",
    calls=("redis", "averages", "state", "fields", "mean"),
)
def one_step(scene: Scene, publish: Any) -> str:
    """Killed before each of its commands in turn: both is there, or neither."""
    commits.expect_one_step(scene, publish)
    return "Wherever it is killed, both are there, or neither."


@lab.exercise(
    6,
    "Compare and set",
    "What may change the state between your read and your EXEC? And what happens if a command "
    "is sent a second time?",
    "Compare on the server, in the step in which you write: use a script. Or WATCH the state "
    "before you read it: then EXEC does nothing if the state has changed since.",
    "In the script: `if (redis.call('HGET', KEYS[1], 'last_message_id') or '0-0') ~= ARGV[1] "
    "then return 0 end`, then XADD if there is a mean, and then HSET, with `unpack(ARGV, "
    "from, to)`.",
    calls=("redis", "averages", "state", "before", "fields", "mean"),
)
def compare_and_set(scene: Scene, commit: Any) -> str:
    """Killed, robbed of a reply and called again, and paused while another one goes on."""
    commits.expect_compared(scene, commit)
    return "Killed, cut off and paused: the hour is published once, and the state never goes back."


@lab.exercise(
    7,
    "Start again where it was killed",
    "What is in your variables when the process dies in the middle of an hour? All of it "
    "belongs in the state: the last ID, the hour, its total and its count.",
    "Read the state, continue after its last ID, and store the state after each page. Publish "
    "an hour in the same step that stores that it's over.",
    "At the end, the current hour may be over by `now`: publish it, in one step with the state.",
    "MULTI makes that one step: `redis.pipeline(transaction=True)`, then `xadd(averages, "
    "mean, maxlen=120, approximate=False)` for each mean, and one `hset(state, mapping=…)`.",
    calls=("redis", "partitions", "averages", "state", "now"),
)
def start_again(scene: Scene, aggregate: Any) -> str:
    """In two calls without any fault; then killed after each change that it makes."""
    resuming.expect_resumed(scene, aggregate)
    return "Killed after each change that it made, started again, and every hour is there once."
