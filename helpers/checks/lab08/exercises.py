"""The checks of lab 08: round trips are counted, and so is what is under way; no clock is read."""

from __future__ import annotations

import inspect
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from helpers.chaos import CLIENT, Unfinished
from helpers.checks.lab import Lab
from helpers.checks.lab08.measuring import (
    PIPELINE,
    Arrived,
    Handled,
    Handler,
    Seen,
    Source,
    Stations,
    measure,
    measure_each,
    measured,
)
from helpers.checks.predictions import expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.standing import GROUP, consumers_of, group_of, numbered, pending_of
from helpers.checks.verdict import StillBlank, Wrong
from helpers.checks.work import Unbearable, in_turn
from helpers.course.blank import Blank

lab = Lab("08", "`solutions/08_speed.ipynb`")

BATCH = 1000  # the most commands that may be under way, and the most entries of a reply


EARLIER = {"n": "earlier"}  # an entry that is on a stream before an answer appends to it


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _used(scene: Scene, name: str) -> str:
    """A stream that has an entry already, so neither its length nor its IDs begin at nothing."""
    stream = scene.key(name)
    scene.redis.xadd(stream, EARLIER)  # type: ignore[arg-type]
    return stream


# ------------------------------------------------------------------ 1: predict

TEN = [{"temp_f": str(70 + n)} for n in range(10)]
WHY_TRIPS = {
    "one_by_one": "each `xadd` waits for its reply before the next one is sent",
    "in_a_pipeline": "a pipeline keeps the commands until `execute()`; then it sends all of them, "
    "and waits once",
    "in_a_transaction": "MULTI and EXEC travel with the others: everything is sent together, "
    "with one wait",
    "executed_each_time": "`execute()` is inside the loop, and waits each time",
    "many_values": "it is one command, however many values it takes",
    "gathered": "each of the ten waits for its own reply, on its own connection. They wait at "
    "the same time, which saves time but no round trips",
}
WHY_COMMANDS = {
    "one_by_one": "one XADD for each reading",
    "in_a_pipeline": "a pipeline saves waiting, but the server still gets and runs one XADD "
    "for each reading",
    "in_a_transaction": "MULTI and EXEC are commands too, so the server gets two more",
    "executed_each_time": "each `execute()` sends MULTI, one XADD and EXEC",
    "many_values": "SADD takes many values, as XACK takes many IDs: one command for all",
    "gathered": "one XADD for each reading, as in the loop",
}


@lab.exercise(
    1,
    "How many round trips?",
    "In a round trip, Python sends something and waits for the reply. Where in each function "
    "does it wait, and how often?",
    "A pipeline waits at `execute()`. A command waits where it is called, or awaited.",
    "What the server gets is a different question. Every command counts, however it was sent, "
    "and `transaction=True` adds MULTI and EXEC.",
)
def predict(scene: Scene, functions: Any, trips: Any, commands: Any) -> str:
    """The lab's functions run, and each prediction is compared with what was counted."""
    names = [getattr(one, "__name__", "") for one in functions]
    if names != list(WHY_TRIPS):
        raise Wrong("Keep the list of functions as the lab gives it.", found=", ".join(names))
    key = scene.key("ten")
    seen = dict(zip(names, measure_each(scene, functions, key, TEN), strict=True))
    _expect_counted(
        "round_trips", trips, {name: one.trips for name, one in seen.items()}, WHY_TRIPS
    )
    counted = {name: one.commands for name, one in seen.items()}
    _expect_counted("commands", commands, counted, WHY_COMMANDS)
    return (
        "All twelve numbers are right. A pipeline saves waiting, a command that takes many "
        "values also saves commands, and `gather` only waits for all the replies at the same "
        "time."
    )


def _expect_counted(
    name: str, predicted: Any, actual: Mapping[str, int], why: Mapping[str, str]
) -> None:
    """One of the two dicts says what was counted.

    Raises:
        Wrong: it does not, and which of the two it is.
    """
    try:
        expect_predicted(predicted, actual, why, "six functions, each with a number")
    except Wrong as wrong:
        expected = f"`{name}`: {wrong.expected}" if wrong.expected else f"`{name}` with six keys"
        raise Wrong(wrong.hint, expected=expected, found=wrong.found) from None


# ------------------------------------------------------------------ 2: one round trip

FEW, MANY = 60, 1500  # some write batches of 1,000 where all are asked for


def _readings(count: int) -> list[dict[str, str]]:
    return [{"n": str(n), "temp_f": str(70 + n % 30)} for n in range(count)]


@lab.exercise(
    2,
    "All in one round trip",
    "Where does your function wait for the server, and how often?",
    "`pipeline = redis.pipeline(transaction=False)` collects commands and sends nothing.",
    "`pipeline.execute()` sends all of them, waits once, and returns a list of the replies. The "
    "reply to XADD is the ID.",
    calls=("redis", "stream", "readings"),
)
def one_trip(scene: Scene, append_all: Any) -> str:
    """Sixty readings and none; then more than fit into a batch of anybody's."""
    stream, readings = _used(scene, "all"), _readings(FEW)
    [seen] = measure(scene, append_all, (stream, readings), overtake=True, slips=_IDS)
    # The first call of a script that the server doesn't know: EVALSHA, SCRIPT LOAD, EVALSHA.
    _expect_one_trip(scene, seen, stream, readings, loaded=seen.trips == seen.commands == 3)
    [nothing] = measure(scene, append_all, (stream, []))
    if nothing.value not in ([], ()) or nothing.trips > 1:
        raise Wrong("If there are no readings, return an empty list.", instead=nothing.value)
    stream, readings = _used(scene, "many"), _readings(MANY)
    [seen] = measure(scene, append_all, (stream, readings), slow=_SLOW)
    _expect_one_trip(scene, seen, stream, readings)
    return f"{_some(seen.commands, 'command')}, one round trip, and every ID."


_ONE_BY_ONE = "Your function sent each reading on its own and waited for its reply."
_SLOW = (
    "It was still running. Sending each reading on its own and waiting for its reply takes that "
    "long: send many at once. If yours does, look for a loop that never ends."
)
_IDS = {
    "equal or smaller than the target stream top item": "The stream already has an entry with a "
    "larger ID. Leave out `id`: then the server generates one, and returns it.",
}


def _expect_one_trip(
    scene: Scene,
    seen: Seen,
    stream: str,
    readings: Sequence[dict[str, str]],
    *,
    loaded: bool = False,
) -> None:
    """All went in one round trip, and their IDs came back.

    Raises:
        Wrong: something of this is not so.
    """
    if not seen.commands:
        raise Wrong(
            "A pipeline only collects commands: it sends nothing before `execute()`. Also, "
            "use the client that your function is given, because the check counts on that "
            "one.",
            expected=_some(len(readings), "command"),
            found="none",
        )
    if seen.trips > 1 and not loaded:
        raise Wrong(
            _trips_hint(seen, len(readings)),
            expected="1 round trip",
            found=f"{_some(seen.trips, 'round trip')}, and {_some(seen.commands, 'command')}",
        )
    ids = _expect_appended(scene, stream, readings)
    if not isinstance(seen.value, list | tuple) or list(seen.value) != ids:
        raise Wrong(
            _ids_hint(seen.value, ids),
            expected=f"a list of {len(ids):,} IDs, [{ids[0]!r}, …]",
            instead=seen.value,
        )


def _ids_hint(got: Any, ids: Sequence[str]) -> str:
    if isinstance(got, list | tuple):
        if PIPELINE in got:
            return (
                "A pipeline's `xadd` returns the pipeline, because there is no ID yet. "
                "`execute()` returns the IDs."
            )
        if len(got) > len(ids) and all(one in got for one in ids):
            return (
                "Return only the IDs of the readings that you append. Your list has more: replies "
                "to other commands, or IDs of entries that the stream had before."
            )
        if sorted(map(str, got)) == sorted(ids):
            return (
                "These are the right IDs, but in a different order. Return them in the "
                "order of the readings."
            )
    return (
        "Return the IDs, in the order of the readings: `execute()` returns the replies to "
        "all commands, and the reply to XADD is the ID."
    )


def _trips_hint(seen: Seen, count: int) -> str:
    if seen.met > 1:
        return (
            "`gather` waits for all the replies at the same time, but each command still "
            "makes its own round trip, on its own connection. A pipeline needs one round trip "
            "and one connection."
        )
    if seen.trips >= count:
        return (
            f"{_ONE_BY_ONE} Collect them in a pipeline, and call `execute()` once, after the loop."
        )
    return (
        "Your function sent many readings at once, but it waits more than once. One "
        "`execute()` is enough, however many readings there are. It returns their IDs, so you "
        "don't need to ask for anything else."
    )


def _expect_appended(scene: Scene, stream: str, readings: Sequence[dict[str, str]]) -> list[str]:
    """All readings are behind the earlier entry, once and in their order; gives their IDs.

    Raises:
        Wrong: something is missing, doubled, changed or in another order.
    """
    entries: Any = scene.redis.xrange(stream)
    trimmed = not entries or entries[0][1] != EARLIER
    got = [fields for _, fields in entries[not trimmed :]]
    if got == readings and not trimmed:
        return [str(entry_id) for entry_id, _ in entries[1:]]
    numbers = [fields.get("n", "") for fields in got]
    raise Wrong(
        _TRIMMED if trimmed else _appended_hint(got, numbers, readings),
        expected=f"{len(readings):,} entries, in the order of the readings",
        found=_some_found(got, readings),
    )


def _some_found(got: Sequence[Mapping[str, str]], readings: Sequence[dict[str, str]]) -> str:
    if other := next((fields for fields in got if fields not in readings), None):
        return f"an entry {str(other)[:60]}{' …' if len(str(other)) > 60 else ''}"
    order = [fields["n"] for fields in got]
    moved = next(
        (n for n, (one, its) in enumerate(zip(got, readings, strict=False), 1) if one != its), None
    )
    first = f", number {moved:,} is reading {int(order[moved - 1]) + 1:,}" if moved else ""
    return f"{len(got):,} of them{first}" if got else "none of them"


_TRIMMED = (
    "The oldest entries are gone. XADD with MAXLEN or MINID removes entries, and so do XTRIM, "
    "XDEL and DEL. Here, only add entries."
)


def _appended_hint(
    got: Sequence[Mapping[str, str]], numbers: Sequence[str], readings: Sequence[dict[str, str]]
) -> str:
    if not got:
        return (
            "No reading was added to `stream`. A pipeline sends nothing before `execute()`. "
            "If your function did send something, check the key, and check whether it "
            "swallows an error."
        )
    if any(fields not in readings for fields in got):
        return (
            "Add each reading as it is: `xadd(stream, reading)`. Its fields become the "
            "entry's fields."
        )
    if len(set(numbers)) < len(numbers) <= len(readings):
        return (
            "One reading was added more than once, and another is missing. Give each XADD "
            "its own reading."
        )
    if len(set(numbers)) < len(numbers):
        return (
            "Some readings were added twice. Send each one once, and start with an empty "
            "batch after you've sent one."
        )
    wanted = [reading["n"] for reading in readings]
    if missing := [place for place, n in enumerate(wanted, 1) if n not in set(numbers)]:
        if numbers == wanted[: len(numbers)]:
            return (
                "The last readings are missing. Send what is left when the readings end, even if "
                "it doesn't fill a batch."
            )
        which = ", ".join(f"{place:,}" for place in missing[:3])
        return (
            f"Of {len(wanted):,} readings, counted from 1, these are missing: {which}"
            f"{' and others' if len(missing) > 3 else ''}. Is there a reading that your function "
            "takes and doesn't send?"
        )
    return "Keep the readings in order."


# ------------------------------------------------------------------ 3: a bounded pipeline


@lab.exercise(
    3,
    "A pipeline with a bound",
    "A pipeline keeps all commands until `execute()`, and the server keeps all replies until they "
    "are read. What if there is no last reading?",
    "Take 1,000 readings, send them, and take the next 1,000: after `execute()`, a pipeline "
    "is empty and can be used again.",
    "`while batch := list(islice(readings, 1000)):` takes 1,000 readings, or whatever is left "
    "at the end. `islice` is in `itertools`. Use one generator throughout; don't start it "
    "again.",
    calls=("redis", "stream", "readings"),
)
def bounded(scene: Scene, append_stream: Any) -> str:
    """A generator with a rest, one without, and an empty one: what is taken, and under way."""
    for count in (2300, 2000, 0):
        stream, readings = _used(scene, f"of-{count}"), _readings(count)
        call = (stream, Source(readings))
        slips = _THE_END if count else _THE_END | _NO_READING
        [seen] = measure(scene, append_stream, call, slow=_SLOW, slips=slips)
        [taken] = seen.noted
        _expect_appended(scene, stream, readings)
        _expect_bounded(seen, taken, count)
        allowed = -(-count // BATCH) + 8  # a few more, as `BulkProducer` makes them
        if seen.trips > allowed:
            raise Wrong(
                f"{_ONE_BY_ONE} Send many at once, up to {BATCH:,}."
                if seen.trips >= count
                else f"The batches are small: you may send up to {BATCH:,} readings at once.",
                expected=f"at most {allowed} round trips for {count:,} readings",
                found=_some(seen.trips, "round trip"),
            )
        if seen.value != count:
            raise Wrong(
                _number_hint(seen.value, count),
                expected=f"{count:,}",
                instead=seen.value,
            )
    return "However long it runs, at most 1,000 readings are unsent, and none is lost at the end."


def _number_hint(got: Any, count: int) -> str:
    """What is known of a number that is not that of the readings."""
    if not count:
        return "There was no reading this time, so none was appended: return 0."
    if got == count + 1:
        return (
            "One too many. If this is the number of entries on the stream: it had one before. "
            "Count the readings that you append."
        )
    if got == count - 1:
        return (
            "One too few: `enumerate` begins at 0, so the last number is one less than there are."
        )
    if got == count % BATCH:
        return "This is the number in the last batch. Add up those of all batches."
    return "Return how many readings you have appended: count them as they are sent."


_NO_READING = {
    r"^(UnboundLocalError|NameError)": "A generator may end before its first reading. Then the "
    "loop never runs, and this name has no value: set it before the loop.",
}
_THE_END = {
    r"'generator'.*(has no len|not subscriptable)": "`readings` is a generator, so you can't ask "
    "for its length or index it. Take one reading after another, in a `for` loop or with "
    "`islice`.",
    r"^StopIteration|raised StopIteration": "`next` raises StopIteration when the generator "
    "ends. A `for` loop and `islice` handle the end for you, and `next(readings, None)` "
    "returns None.",
}


def _expect_bounded(seen: Seen, taken: int, count: int) -> None:
    """Neither too much was under way, nor was it taken from the generator long before.

    Raises:
        Wrong: too much was.
    """
    batches = max(1, -(-count // BATCH))
    beside = max(0, -(-(seen.commands - count) // batches))  # MULTI and EXEC, for each
    if taken > BATCH + 1:
        raise Wrong(
            f"At one point, {taken:,} readings had been taken but not sent. A generator may "
            f"never end, but memory does: whenever you have {BATCH:,}, send them.",
            expected=f"at most {BATCH:,} readings taken and not yet sent",
            found=f"{taken:,}",
        )
    if seen.most > BATCH + beside:
        raise Wrong(
            f"Each time, it's one too many: send when you have {BATCH:,}, not when you have more.",
            expected=f"at most {BATCH:,} entries under way",
            found=f"{seen.most - beside:,}",
        )
    if taken > BATCH:
        raise Wrong(
            f"Your function takes one more reading while it holds {BATCH:,} that it hasn't "
            "sent. If that reading is slow to arrive, the others wait for it. Send as soon as "
            f"you have {BATCH:,}.",
            expected=f"at most {BATCH:,} readings taken and not yet sent",
            found=f"{taken:,}",
        )


# ------------------------------------------------------------------ 4: read in pages

ENTRIES, PAGES = 9500, 12


@lab.exercise(
    4,
    "Read without holding everything",
    "XRANGE takes COUNT, and each page begins where the last one ended. Where exactly?",
    "`redis.xrange(stream, start, count=1000)`: start with `-`. After that, use the last ID "
    "of the page with a `(` in front of it, which means after that ID.",
    "`while page := redis.xrange(stream, start, count=1000):`, with `start = "
    "f'({page[-1][0]}'` at the end of the loop. Keep only the sum and the number.",
    calls=("redis", "stream"),
)
def paged(scene: Scene, mean_temp: Any) -> str:
    """Several entries share a millisecond, the last page is short, and every entry counts."""
    warm = 60 + secrets.randbelow(20)
    temps = [warm + (n * n) % 23 for n in range(ENTRIES - 300)] + [200] * 300
    while sum(temps) % 19 == 0 or sum(temps) % median(temps) == 0:
        temps[-1] += 1  # the mean has no end (19 divides the number), and no quotient is the median
    entries = [(_id_of(n), {"temp_f": str(t)}) for n, t in enumerate(temps, 1)]
    stream = scene.stream("day", entries)
    try:
        with scene.watching(stream) as commands:
            [seen] = measure(scene, mean_temp, (stream,), slow=_NO_END, slips=_TEXTS)
    except Wrong as wrong:
        if any(words[0] == "XREAD" and words[-1] == "$" for words in commands):
            raise Wrong(_AT_THE_END, found=wrong.found) from None
        first, second = [*_starts(commands), None, None][:2]
        if wrong.hint == _NO_END and first and first == second:
            raise Wrong(_SAME_PAGE, expected=wrong.expected, found=wrong.found) from None
        raise
    _expect_pages(commands, seen)
    if seen.trips > PAGES:
        large = sum(str(BATCH) in words for words in commands) >= ENTRIES // BATCH
        raise Wrong(
            "Your pages are as large as they may be. What else does your function ask for?"
            if large
            else "Small pages cost many round trips: read more at once, up to 1,000 entries.",
            expected=f"at most {PAGES} round trips for {ENTRIES:,} entries",
            found=_some(seen.trips, "round trip"),
        )
    right = sum(temps) / ENTRIES
    if not isinstance(seen.value, int | float):
        raise Wrong(
            "Return the mean: the sum of all `temp_f`, as numbers, divided by their number.",
            expected=f"{right:.4f}",
            instead=seen.value,
        )
    if abs(seen.value - right) > 1e-6:
        rounded = any(seen.value in (round(right, digits), right // 1) for digits in range(6))
        raise Wrong(
            "Return the mean without rounding it."
            if rounded
            else _mean_hint(commands, seen.value, temps),
            expected=f"{right:.4f}",
            found=f"{seen.value}" if rounded else f"{seen.value:.4f}",
        )
    trips = _some(seen.trips, "round trip")
    return f"{ENTRIES:,} entries in {trips}, and never more than 1,000 in hand."


def _id_of(n: int) -> str:
    """Seven entries a millisecond, and once in the day 2,100: no window of time is a page."""
    ms, seq = divmod(n, 7) if not 4200 <= n < 6300 else (600, n - 4200)
    return f"{ms}-{seq + 1}"


def _starts(commands: Sequence[Sequence[str]]) -> list[str | None]:
    """Where the pages begin that were asked for."""
    places = {"XRANGE": 2, "XREVRANGE": 2, "XREAD": -1}
    return [words[places[words[0]]] for words in commands if words[0] in places]


_SAME_PAGE = (
    "It reads the same page again and again. Start the next page after the last ID: "
    "`f'({last_id}'` for XRANGE, the last ID itself for XREAD."
)
_AT_THE_END = (
    "`$` is the last ID at the moment of the call, so XREAD returns only what is added later. To "
    "read what is already there, start from `0`."
)
_TEXTS = {
    r"^TypeError: (unsupported operand|can only concatenate|can't convert).*str": "Field values "
    "are strings, even if they look like numbers: `int(fields['temp_f'])` converts one.",
}

_NO_END = (
    "It was still running. If a page begins with the last entry of the previous page, it's "
    "never empty: start after that entry, with `f'({last_id}'`. Also, very small pages take "
    "many round trips."
)


def _expect_pages(commands: list[list[str]], seen: Seen) -> None:
    """No reply could have more than 1,000 entries, or what a script makes of as many.

    Raises:
        Wrong: one could, or nothing was read.
    """
    for words in commands:
        upper = [word.upper() for word in words]
        if "COUNT" in upper[:-1] and int(words[upper.index("COUNT") + 1]) <= BATCH:
            continue
        if words[0] in ("XRANGE", "XREVRANGE", "XREAD"):
            raise Wrong(
                "One reply would hold too much, on the server and in Python. That works for "
                "one station's day, but not for a year of all stations. Read pages, with "
                "COUNT.",
                expected=f"at most {BATCH:,} entries a reply",
                found=f"`{' '.join(words)}`",
            )
    if seen.longest > 2 * BATCH:  # as a list of fields and values is, for a thousand entries
        raise Wrong(
            "A reply that grows with the stream holds too much, whichever command or script "
            "sends it. Read pages, with COUNT, and keep only their sum and number.",
            expected=f"at most {BATCH:,} entries a reply",
            found=f"a reply of {seen.longest:,} items",
        )


_IDS_OF_DAY = [tuple(map(int, _id_of(n).split("-"))) for n in range(1, ENTRIES + 1)]


def _first_of(start: str) -> int:
    """The place of the first entry of a page that begins there."""
    if start == "-":
        return 0
    ms, _, seq = start.removeprefix("(").partition("-")
    find = bisect_right if start.startswith("(") else bisect_left
    return find(_IDS_OF_DAY, (int(ms), int(seq or 0)))


def _gap_hint(ranges: Sequence[Sequence[str]]) -> str:
    """Which entries no page has; empty if each is in one."""
    end = 0
    for words in ranges:
        first = _first_of(words[2])
        if first > end:
            last, left = "-".join(map(str, _IDS_OF_DAY[end - 1])), first - end
            return (
                f"One page ends with the entry `{last}`, and the next begins at `{words[2]}`. "
                f"No page has {'the entry' if left == 1 else f'the {left:,} entries'} in between. "
                "Start after the last ID: `f'({last_id}'`."
            )
        end = max(end, min(first + int(words[words.index("COUNT") + 1]), ENTRIES))
    if ranges and end < ENTRIES:
        return (
            f"After your last page come {ENTRIES - end:,} more entries. Read the next page until "
            "one has no entry. The last page may be short, and it counts too."
        )
    return ""


def _mistaken(temps: Sequence[int]) -> list[tuple[float, str]]:
    """What mistakes return in place of the mean, and their hints."""
    total, rest = sum(temps), temps[-(len(temps) % BATCH) :]
    return [
        (total, "This is the sum of all temperatures. Divide it by the number of entries."),
        (median(temps), "This is the median. The mean is the sum divided by the number."),
        (len(temps), "This is the number of entries. The mean is the sum divided by it."),
        (
            (total - temps[0]) / (len(temps) - 1),
            "The very first entry is missing. Leave out a page's first entry only if the page "
            "begins with the last entry of the one before.",
        ),
        (
            sum(rest) / len(rest),
            "This is the mean of the last page. Add up all pages, and divide once at the end.",
        ),
        (
            sum(temps[-BATCH:]) / BATCH,
            f"This is the mean of the last {BATCH:,} entries. Read the next page, and so on, "
            "until a page is empty.",
        ),
        (
            sum(rest) / len(temps),
            "This is the sum of the last page, divided by the number of all entries. Set the sum "
            "to zero only once, before the first page.",
        ),
    ]


def _mean_hint(commands: list[list[str]], got: float, temps: Sequence[int]) -> str:
    total = sum(temps)
    for value, hint in _mistaken(temps):
        if abs(got - value) < 1e-6:
            return hint
    if got and abs(total / got - (number := round(total / got))) < 1e-6:
        return (
            f"The sum is right, but you divided it by {number:,}, and there are {len(temps):,} "
            "entries. Count the entries of each page."
        )
    pages = [temps[n : n + BATCH] for n in range(0, len(temps), BATCH)]
    if abs(got - sum(sum(page) / len(page) for page in pages) / len(pages)) < 1e-6:
        return (
            "This is the mean of the pages' means. The last page is shorter, but it counts as "
            "much as the others. Add up all entries, and divide once at the end."
        )
    ranges = [words for words in commands if words[0] in ("XRANGE", "XREVRANGE")]
    if any(words[3] not in "-+" for words in ranges):
        return (
            "A range between two IDs can hold more entries than COUNT, and then the reply "
            "leaves some out. Leave the end open, and start each page after the last ID of "
            "the previous one."
        )
    all_starts = _starts(commands)
    if len(set(all_starts)) < len(all_starts):
        return _SAME_PAGE
    starts = [words[2] for words in ranges]
    if abs(got - sum(temps[:BATCH]) / BATCH) < 1e-6:
        return (
            f"This is the mean of the first {BATCH:,} entries. Read the next page, and so on, "
            "until a page is empty."
        )
    inclusive = [start for start in starts[1:] if not start.startswith("(")]
    if any(start.endswith("-0") or "-" not in start for start in inclusive):
        return (
            "Several entries share a millisecond, and a page can end between them. Then the "
            "next millisecond is too far. Start after the last ID: `f'({last_id}'`."
        )
    if all(words[0] == "XRANGE" for words in ranges) and (hint := _gap_hint(ranges)):
        return hint
    if inclusive:
        return (
            "The pages overlap: the last entry of one is the first of the next, and counts "
            "twice. `f'({last_id}'` starts after it."
        )
    return (
        "Each entry must count exactly once, and all of them equally. The last page may be "
        "short, and it counts too. Only an empty page means the end."
    )


# ------------------------------------------------------------------ 5: several stations at once

NODE = 101  # so many entries fill a node, and `MAXLEN ~` removes whole nodes
STATIONS = {"chennai": 12, "coimbatore": 12, "madurai": 9, "ooty": 6, "salem": 1}


@lab.exercise(
    5,
    "Several stations at once",
    "What has to keep its order, and what may happen at the same time?",
    "Write a coroutine for one station that awaits one `xadd` after another. How do you run "
    "five of them at once?",
    "`await asyncio.gather(*(one_station(redis, stream, its) for stream, its in "
    "readings.items()))`. Inside the coroutine, use a loop or a pipeline.",
    calls=("redis", "readings"),
)
def at_once(scene: Scene, append_stations: Any) -> str:
    """Connections overtake each other, as far as they can; then each station in turn is slow."""
    stations = Stations(_stations(scene, "all"))
    pipeline = scene.redis.pipeline(transaction=False)
    for stream in stations.readings:
        for _ in range(NODE):
            pipeline.xadd(stream, EARLIER)  # type: ignore[arg-type]
    pipeline.execute()
    [seen] = measure(scene, append_stations, (stations,), overtake=True, slips=_TASKS)
    _expect_arrived(seen, stations.readings, NODE)
    if not inspect.iscoroutinefunction(append_stations):
        return _expect_one_wait(seen)
    if max(seen.most, seen.met) < len(STATIONS):
        raise Wrong(
            _ONE_AFTER_ANOTHER
            if seen.tasks < len(STATIONS)
            else "There is a task for each station, but they don't send at the same time. "
            "They wait for one another at a lock, a semaphore, or a shared connection. "
            "Let each task send independently.",
            expected=f"all {len(STATIONS)} stations at work at once",
            found=f"{max(seen.most, seen.met)}",
        )
    _expect_none_waits(scene, append_stations)
    return "All stations at once, each in its own order, and none waits for the slowest."


_ONE_AFTER_ANOTHER = (
    "One station waits for another, because each `await` waits for its reply. Start one task "
    "for each station, and wait for all of them with `asyncio.gather`."
)
_TASKS = {
    r"gather\(.*\bawait\b": "Remove the `await` inside the arguments of `gather`: with it, "
    "one station waits for another, and `gather` gets results instead "
    "of coroutines.",
    r"unhashable type: '(list|dict|set)'.*gather\(": "`gather` takes coroutines as separate "
    "arguments: put a `*` in front of a list of them.",
    r"never awaited": "An `await` is missing, so a command was never sent. You can't await it "
    "in a thread, such as one from `to_thread`: this client belongs to the "
    "event loop, so use tasks.",
    r"can't be (used in 'await'|awaited)": "Write `async def`: then your function gets a client "
    "whose commands can be awaited.",
}


def _stations(scene: Scene, name: str) -> dict[str, list[dict[str, str]]]:
    return {
        scene.key(f"{name}:{city}"): [{"n": str(n), "temp_f": str(60 + n)} for n in range(count)]
        for city, count in STATIONS.items()
    }


def _city(stream: str) -> str:
    return stream.split(":")[-1]


def _expect_arrived(
    seen: Seen, readings: Mapping[str, Sequence[Mapping[str, str]]], earlier: int = 0
) -> None:
    """When the function returned, all readings were there, each once and in its place.

    Raises:
        Wrong: something of this is not so.
    """
    there: dict[str, list[dict[str, str]]] = seen.noted[0].entries
    if any(its.count(EARLIER) < earlier for its in there.values()):
        raise Wrong(_TRIMMED)
    found = {stream: [one for one in its if one != EARLIER] for stream, its in there.items()}
    got, wanted = sum(map(len, found.values())), sum(map(len, readings.values()))
    if got < wanted:
        raise Wrong(
            _missing_hint(seen, found, readings),
            expected=f"{wanted} entries on {len(STATIONS)} streams",
            found=f"{got}: " + ", ".join(f"{_city(one)} {len(its)}" for one, its in found.items()),
        )
    for stream, its in readings.items():
        if found[stream] == its:
            continue
        numbers = [fields.get("n", "?") for fields in found[stream]]
        if sorted(numbers) == sorted(fields["n"] for fields in its):
            raise Wrong(
                _order_hint(max(seen.met, seen.most), found[stream] == [*reversed(its)]),
                expected=f"on `{_city(stream)}` the readings in order",
                found=f"numbers {', '.join(numbers[:6])} …",
            )
        raise Wrong(
            "Add each reading as it is, once, to the stream of its station.",
            expected=f"on `{_city(stream)}` {_some(len(its), 'reading')}, first {its[0]}",
            found=f"{_some(len(numbers), 'reading')}, first {next(iter(found[stream]), None)}",
        )


def _order_hint(at_once: int, reverse: bool) -> str:
    if at_once > len(STATIONS):
        return _OVERTAKEN
    if reverse:
        return "The readings came in reverse order. Send them from first to last."
    return f"Send the readings in the order of the list, without sorting them. {_OVERTAKEN}"


_OVERTAKEN = (
    "Tasks that run at the same time have their own connections, and on a network one can "
    "overtake another. To keep the order, send one reading after another, or use one "
    "connection: one task for each station."
)


def _missing_hint(
    seen: Seen,
    found: Mapping[str, Sequence[Mapping[str, str]]],
    readings: Mapping[str, Sequence[Mapping[str, str]]],
) -> str:
    """What is known of readings that were not there when the function returned."""
    if seen.unfinished:
        return (
            f"When your function returned, {_some(seen.unfinished, 'task')} had not finished. "
            "A task that isn't awaited ends with your function, or finishes too late, however "
            "long you sleep. Wait for all of them."
        )
    if seen.cancelled:
        return (
            f"{_some(seen.cancelled, 'task')} of your function ended early, because something "
            "canceled them, as `wait_for` does when its timeout expires. Wait for all of "
            "them, however long it takes."
        )
    shortest = min(map(len, readings.values()))
    if all(list(found[one]) == list(its[:shortest]) for one, its in readings.items()):
        return (
            "Each stream got as many readings as the shortest list has. One station may have "
            "more readings than another, and `zip` stops at the shortest list."
        )
    *others, last = found
    if found[last] and not any(found[one] for one in others):
        return (
            f"Everything was sent to `{_city(last)}`, the last stream of the dict. A function "
            "that is defined in a loop sees the loop's variables as they are when it runs. "
            "Pass it the stream and the readings as arguments."
        )
    if all(list(found[one]) == list(its[-1:]) for one, its in readings.items()):
        return "Each stream got only the last reading of its list: send all of them."
    if not any(found.values()):
        return (
            f"Your function sent {_some(seen.commands, 'command')}, but no station's stream "
            "got a reading. Add each reading to its station's stream, which is the key in the "
            "dict."
            if seen.commands
            else "When your function returned, it had sent nothing, and none of its tasks was "
            "still at work. Was each of them started? Does a pipeline lack its "
            "`execute()`?"
        )
    stream, its = next((one, its) for one, its in readings.items() if len(found[one]) < len(its))
    missing = [n for n, one in enumerate(its, 1) if one not in found[stream]]
    return (
        f"Send all readings of each list. For `{_city(stream)}`, counted from 1, these are "
        f"missing: {', '.join(map(str, missing[:3]))}{' and others' if len(missing) > 3 else ''}."
    )


def _expect_one_wait(seen: Seen) -> str:
    """A plain function sends something for all stations at once where it waits only once.

    Raises:
        Wrong: it waits more often.
    """
    if seen.trips > 1:
        raise Wrong(
            "This exercise is about asyncio. A plain `def` stops at each command, and unless "
            "it uses threads, all other stations stop with it. Write `async def` with one "
            "task for each station, and wait for all of them with `asyncio.gather`.",
            expected=f"all {len(STATIONS)} stations at work at once",
            found="a function that is not `async def`",
        )
    return "All stations in one pipeline: one round trip, and each in its own order."


def _expect_none_waits(scene: Scene, append_stations: Any) -> None:
    """Each station in turn has a reply that does not come: all others finish nevertheless.

    Raises:
        Wrong: one does not, or the function returns before the reply is there.
    """
    held = {city: _stations(scene, f"without-{city}") for city in STATIONS}
    slow = {city: next(key for key in its if _city(key) == city) for city, its in held.items()}
    calls = [(Stations(held[city], held=slow[city]),) for city in STATIONS]
    for city, seen in zip(STATIONS, measure(scene, append_stations, *calls), strict=True):
        arrived: Arrived = seen.noted[0]
        _expect_arrived(seen, held[city])
        came = arrived.meanwhile or {}
        got, wanted = sum(came.values()), sum(len(held[city][stream]) for stream in came)
        if got < wanted:
            raise Wrong(
                "The stations move in step: each waits for the slowest before it continues. "
                "Start one task for each station, which sends all of that station's readings "
                "and doesn't wait for the others."
                if all(came.values())
                else _ONE_AFTER_ANOTHER,
                expected=f"while a reply to `{city}` is slow, all {wanted} readings of the "
                "other stations",
                found=f"{got}",
            )


# ------------------------------------------------------------------ 6: consume by batch

WORK, IN_HAND, KILLED_AT = 480, 50, 125  # the last batch is short


@lab.exercise(
    6,
    "One XACK a batch",
    "XREADGROUP takes COUNT, and XACK takes many IDs. When may a batch be acknowledged, and "
    "what must a consumer read first when it starts again?",
    "Read a batch, handle each of its entries, then `redis.xack(stream, group, *ids)`, and read "
    "the next. Stop when a reply is empty.",
    "`for start in ('0', '>'):`, and inside it `while entries := redis.xreadgroup(group, "
    "name, {stream: start}, count=count).get(stream):`. `0` reads its own history.",
    calls=("redis", "stream", "group", "name", "handle", "count"),
)
def by_batch(scene: Scene, work: Any) -> str:
    """Undisturbed; killed in the middle of a batch and started again; and with an exception."""
    stream, name = numbered(scene, "work", WORK), f"alice-{secrets.token_hex(2)}"
    scene.redis.xgroup_create(stream, GROUP, "0")
    call = (stream, GROUP, name, Handler(), IN_HAND)
    with scene.watching(stream) as commands:
        [seen] = measure(scene, work, call, slow=_NEVER_EMPTY, slips=_ACKS)
    _expect_reads(scene, stream, name, commands)
    _expect_batches(scene, stream, commands, seen)
    _expect_nothing_lost(scene, work, name)
    _expect_kept_pending(scene, work, name)
    trips = _some(seen.trips, "round trip")
    return f"{WORK} entries in {trips}; killed in the middle of a batch, and all were handled."


_ACKS = {
    r"wrong number of arguments for 'xack'": "XACK needs at least one ID. When a reply is empty, "
    "there is nothing to acknowledge.",
    r"DataError.*xack\(": "`xack` takes each ID as a separate argument: put a `*` in front of the "
    "list, `redis.xack(stream, group, *ids)`.",
}
_NEVER_EMPTY = (
    "It never returns. Return when a read with `>` is empty. If you don't acknowledge "
    "entries, your own history never becomes empty. If nothing new comes, BLOCK waits."
)


def _expect_member(scene: Scene, stream: str, name: str) -> None:
    """It has read as a member of the group, under the name that it was given.

    Raises:
        Wrong: it has not.
    """
    group = group_of(scene, stream)
    if group and group["last-delivered-id"] == "0-0":
        raise Wrong(
            "The group has delivered nothing: read with XREADGROUP, from `>`. XREAD and "
            "XRANGE don't use the group, so they leave nothing pending to acknowledge.",
            expected="XREADGROUP … `>`",
            found="no entry that the group delivered",
        )
    if strangers := [one for one in consumers_of(scene, stream) if one != name]:
        raise Wrong(
            "Read as the consumer `name`. Under another name, your process doesn't get back what "
            "it held when it was killed.",
            expected=f"the consumer {name!r}",
            found=f"{strangers[0]!r}",
        )


def _expect_reads(scene: Scene, stream: str, name: str, commands: Sequence[Sequence[str]]) -> None:
    """It has read what is new, by COUNT, without BLOCK and NOACK, under its name.

    Raises:
        Wrong: something of this is not so.
    """
    reads = [words for words in commands if words[0] == "XREADGROUP"]
    options = [[word.upper() for word in words] for words in reads]
    if any("NOACK" in words for words in options):
        raise Wrong(
            "With NOACK, nothing is pending, ever: a consumer that is killed in the middle of "
            "a batch loses the rest of it. NOACK saves the XACK, but one XACK per batch costs "
            "almost nothing.",
            found="`XREADGROUP … NOACK`",
        )
    if any("BLOCK" in words for words in options):
        raise Wrong(
            "Leave out `block`: return when nothing is left. With BLOCK, your function waits for "
            "entries that may never come.",
            found="`XREADGROUP … BLOCK`",
        )
    if reads and all(words[-1] != ">" for words in reads):
        raise Wrong(
            "It never gets to `>`. `0` returns a consumer's own history: the entries that it "
            "was given and hasn't acknowledged. The first time, that's empty. New entries "
            "come with `>`, after that.",
            expected="XREADGROUP … `0`, and then XREADGROUP … `>`",
            found=f"only `XREADGROUP … {reads[0][-1]}`",
        )
    large = [
        words
        for words in options
        if "COUNT" not in words or int(words[words.index("COUNT") + 1]) > IN_HAND
    ]
    if large:
        [asked, *_] = large
        count = f"COUNT {asked[asked.index('COUNT') + 1]}" if "COUNT" in asked else "without COUNT"
        raise Wrong(
            "Set COUNT: without it, or with a large one, one consumer gets everything that's "
            "there, and nothing is left for the others.",
            expected=f"XREADGROUP … COUNT {IN_HAND}",
            found=f"XREADGROUP … {count}, from `{asked[-1]}`",
        )
    _expect_member(scene, stream, name)


def _expect_batches(
    scene: Scene, stream: str, commands: Sequence[Sequence[str]], seen: Seen
) -> None:
    """Read and acknowledged by batch, everything handled once, and nothing left.

    Raises:
        Wrong: something of this is not so.
    """
    reads = [words for words in commands if words[0] == "XREADGROUP"]
    acks = [words for words in commands if words[0] == "XACK"]
    _expect_handled(seen.noted[0], range(1, WORK + 1))
    if left := pending_of(scene, stream):
        raise Wrong(
            _unacknowledged_hint(stream, commands, acks, len(left)),
            expected="nothing pending",
            found=f"{len(left)} entries" if len(left) < 100 else "100 entries or more",
        )
    batches = -(-WORK // IN_HAND)
    if len(reads) > batches + 3:
        again = sum(words[-1] != ">" for words in reads) > 3
        raise Wrong(
            "Read your own history only at the start, until it's empty. From then on, each "
            "batch takes one read, with `>`."
            if again
            else f"You may have {IN_HAND} entries in hand: read that many at once, with `count`.",
            expected=f"about {batches} XREADGROUPs for {WORK} entries",
            found=f"{len(reads)}",
        )
    if 2 < len(acks) < batches:  # fewer are left to the kill
        raise Wrong(
            "Acknowledge each batch before you read the next: your function keeps handled "
            "entries pending for longer, and after a crash all of them are handled again.",
            expected=f"about {batches} XACKs for {WORK} entries",
            found=f"{len(acks)}",
        )
    if len(acks) > batches + 2:
        what = (
            "One XACK per entry means one round trip per entry."
            if seen.trips > 2 * batches + 5
            else "A pipeline saves the waiting, but the server still runs one XACK per entry."
        )
        raise Wrong(
            f"{what} One XACK takes many IDs: `redis.xack(stream, group, *ids)`, once per batch.",
            expected=f"about {batches} XACKs for {WORK} entries",
            found=f"{len(acks)}",
        )
    if seen.trips > 2 * batches + 5:
        raise Wrong(
            "Reading and acknowledging a batch takes two round trips. What else does your "
            "function send?",
            expected=f"about {2 * batches} round trips",
            found=_some(seen.trips, "round trip"),
        )


def _unacknowledged_hint(
    stream: str, commands: Sequence[Sequence[str]], acks: Sequence[Sequence[str]], left: int
) -> str:
    if any(words[1:3] != [stream, GROUP] for words in acks):
        return (
            "XACK takes the stream, the group and then the IDs. This one names another stream "
            "or group, or swaps the two. Then it acknowledges nothing and returns 0."
        )
    if not acks and any(words[0] == "XDEL" for words in commands):
        return (
            "XDEL removes an entry from the stream, but leaves it pending in the group. XACK "
            "marks it as handled."
        )
    if acks and all(len(words) == 4 for words in acks) and left > IN_HAND:
        return (
            "XACK acknowledges only the IDs that you pass, not the ones before them. Pass all "
            "IDs of the batch."
        )
    if acks and left < IN_HAND:
        return "The last batch is short, and it was not acknowledged. Acknowledge that one too."
    return "Acknowledge everything that you handle, including the last batch."


def _expect_handled(handled: Handled, wanted: Iterable[int]) -> None:
    numbers, right = handled.numbers, [str(n) for n in wanted]
    if handled.together:
        raise Wrong(
            "Call `handle` for one entry after the other, in order. Yours is called in several "
            "threads at once, so a later entry can be done before an earlier one.",
            found="calls of `handle` at the same time",
        )
    if numbers == right:
        return
    missing = set(right) - set(numbers)
    if not numbers:
        raise Wrong(
            "Nothing was handled: read with XREADGROUP, and call `handle(fields)` for each entry.",
            expected=f"the entries {right[0]} to {right[-1]}",
            found="no call of `handle`",
        )
    raise Wrong(
        "One reply has at most `count` entries: read again until a reply is empty."
        if missing and numbers == right[: len(numbers)]
        else "Each entry was handled once, but not in order."
        if sorted(numbers) == sorted(right)
        else "Pass the fields of each entry to `handle`, once, in the order of the entries.",
        expected=f"the entries {right[0]} to {right[-1]}",
        found=f"{len(missing)} were not handled" if missing else f"{len(numbers)} calls",
    )


def _expect_nothing_lost(scene: Scene, work: Any, name: str) -> None:
    """Killed in the third batch, and started again under its name.

    Raises:
        Wrong: an entry was lost, or is still pending.
    """
    stream = numbered(scene, "killed", WORK)
    scene.redis.xgroup_create(stream, GROUP, "0")
    call = (stream, GROUP, name)
    killer = (*call, Handler(killed_at=KILLED_AT), IN_HAND)
    with scene.running(measured(work, killer), CLIENT) as process:
        outcome = process.outcome(LIMIT_S)
        if not isinstance(outcome, Unfinished):
            result(outcome, "", LIMIT_S)  # it has failed
    held = sorted(int(n) for n in pending_of(scene, stream))
    group: Any = group_of(scene, stream)
    given = int(str(group["last-delivered-id"]).split("-")[0])
    if group["pending"] > IN_HAND:
        raise Wrong(
            "Handled entries stay pending until the very end, so after a crash all of them "
            "are handled again. Acknowledge each batch before you read the next."
            if group["pending"] == given
            else "It reads the next batch before it acknowledges the last one, so it has more "
            "than `count` entries in hand. First handle a batch, then acknowledge it, "
            "then read.",
            expected=f"at most {IN_HAND} entries pending",
            found=f"{group['pending']}",
        )
    if lost := set(range(KILLED_AT, given + 1)) - set(held):
        raise Wrong(
            "When it was killed in the middle of a batch, it had acknowledged entries that it "
            "hadn't handled, and now they never will be. First handle the whole batch, then "
            "acknowledge it.",
            expected=f"entry {KILLED_AT} and those after it pending",
            found=f"{len(lost)} entries lost",
        )
    with scene.watching(stream) as commands:
        [seen] = measure(scene, work, (*call, Handler(), IN_HAND), slow=_NEVER_EMPTY)
    handled: Handled = seen.noted[0]
    if pending_of(scene, stream) and not set(map(str, held)) & set(handled.numbers):
        claims = any(words[0] in ("XAUTOCLAIM", "XCLAIM") for words in commands)
        raise Wrong(
            "XAUTOCLAIM and XCLAIM take only entries that have been idle for a while, and "
            "these haven't. They already belong to this consumer: XREADGROUP with `0` returns "
            "them immediately."
            if claims
            else "After the restart, it read only new entries. What it held when it was "
            "killed is in its own history: read with `0` first, until that is empty, "
            "then with `>`.",
            expected="nothing pending",
            found=f"entries {held[0]} to {held[-1]}",
        )
    acks = [words for words in commands if words[0] == "XACK"]
    if len(acks) > -(-WORK // IN_HAND) + 2:
        raise Wrong(
            "After the restart, it acknowledged the entries that it had held one by one. One "
            "XACK takes many IDs: `redis.xack(stream, group, *ids)`, once per batch.",
            expected="one XACK a batch",
            found=_some(len(acks), "XACK"),
        )
    new = range(given + 1, WORK + 1)
    if handled.numbers == [str(n) for n in new] and any(words[0] == "XGROUP" for words in commands):
        raise Wrong(
            "After the restart, it didn't handle what it had held. XGROUP DELCONSUMER removes "
            "a consumer and everything that is pending for it; XGROUP SETID and DESTROY lose "
            "entries too.",
            expected=f"first the entries {held[0]} to {held[-1]}",
            found=f"first entry {new[0]}, after an XGROUP",
        )
    if handled.numbers == [str(n) for n in (*new, *held)]:
        raise Wrong(
            "After the restart, it read new entries before the older ones that it held. Read "
            "its own history first, with `0`, until that is empty, then read with `>`.",
            expected=f"first the entries {held[0]} to {held[-1]}",
            found=f"first entry {handled.numbers[0]}",
        )
    if handled.numbers == [str(n) for n in range(1, WORK + 1)]:
        raise Wrong(
            "After the restart, it began at the first entry, and handled entries again that "
            "it had acknowledged. A group remembers its place: don't create it again, or set "
            "its ID.",
            expected=f"first the entries {held[0]} to {held[-1]}",
            found="all entries from the first one on",
        )
    _expect_handled(handled, [*held, *new])
    if pending_of(scene, stream):
        raise Wrong("Acknowledge the entries from its own history too.", found="entries pending")


def _expect_kept_pending(scene: Scene, work: Any, name: str) -> None:
    """The handler raises in the third batch: the function ends, and acknowledges nothing of that.

    Raises:
        Wrong: an entry that was not handled is not pending.
    """
    stream = numbered(scene, "raising", WORK)
    scene.redis.xgroup_create(stream, GROUP, "0")
    call = (stream, GROUP, name, Handler(raises_at=KILLED_AT), IN_HAND)
    ended = False
    try:
        measure(scene, work, call, slow=_NEVER_EMPTY)
    except Wrong as wrong:
        if Unbearable.__name__ not in wrong.found:
            raise
        ended = True
    lost = str(KILLED_AT) not in pending_of(scene, stream)
    if lost and not ended:
        raise Wrong(
            "`handle` raised an exception. Your function caught it and acknowledged the entry "
            "anyway, so it's lost. Don't catch it: let it end your function before the XACK.",
            expected=f"the exception of `handle`, and entry {KILLED_AT} pending",
            found="your function returned, and the entry was acknowledged",
        )
    if lost:
        raise Wrong(
            "`handle` raised an exception, but its entry was acknowledged anyway, so it's "
            "lost. Acknowledge a batch only after all of it was handled, and not in "
            "`finally`.",
            expected=f"entry {KILLED_AT} pending",
            found="it was acknowledged",
        )
    if not ended:
        raise Wrong(
            "`handle` raised an exception, and your function went on. Let the exception end it.",
            expected="the exception of `handle`",
            found="your function returned",
        )


# ------------------------------------------------------------------ 7: COUNT for a budget


class Demand(NamedTuple):
    """What count_for is asked: entries a second, and milliseconds."""

    rate: int
    handle_ms: float
    trip_ms: float
    budget_ms: float

    def busy_ms(self, count: int) -> float:
        """How long one batch takes."""
        return self.trip_ms + count * self.handle_ms

    def keeps_up(self, count: int) -> bool:
        """Whether no more come while it handles a batch than are in it."""
        return self.rate * self.busy_ms(count) <= 1000 * count

    def in_time(self, count: int) -> bool:
        """Whether two batches fit into the budget."""
        return 2 * self.busy_ms(count) <= self.budget_ms

    def tight(self, count: int) -> bool:
        """Whether it is equal somewhere: as many come as are in it, or the budget is used up."""
        busy = self.busy_ms(count)
        return self.rate * busy == 1000 * count or 2 * busy == self.budget_ms

    def answer(self) -> int | None:
        """The smallest COUNT that does both."""
        right = (n for n in range(1, 10_001) if self.keeps_up(n) and self.in_time(n))
        return next(right, None)


# Chosen so that a float's rounding makes no difference, in whatever order it is divided.
DEMANDS = [
    Demand(125, 5, 20, 500),  # 6.67: 7
    Demand(125, 5, 19, 500),  # 6.33: 7 too
    Demand(100, 5, 40, 1000),  # 8 of 8
    Demand(10, 5, 20, 500),  # one at a time is enough
    Demand(1000, 0.5, 40, 400),  # 80, busy for 80 ms
    Demand(70, 9, 31, 700),  # 5.9: 6
    Demand(100, 5, 40, 160),  # two batches of 8 just fit
    Demand(100, 5, 40, 159),  # and here they do not
    Demand(200, 5, 1, 1000),  # no time is left for the trips
    Demand(200, 6, 20, 5000),  # the handler alone is too slow
    Demand(10, 60, 20, 150),  # one keeps up, and is late
    Demand(1000, 0.75, 300.2, 3000),  # 1,200.8: 1,201
]


@lab.exercise(
    7,
    "A COUNT that fits a budget",
    "While one batch is handled, the next entries come. How many, if a batch of `count` takes "
    "`trip_ms + count * handle_ms`?",
    "Write down both conditions for one `count`, then try 1, 2, 3 and so on. At what point is "
    "it too late, so that you can stop?",
    "`busy_ms = trip_ms + count * handle_ms`. It keeps up if `rate * busy_ms <= 1000 * "
    "count`, and is in time if `2 * busy_ms <= budget_ms`. Larger ones take longer, so stop "
    "at the first that isn't in time.",
    calls=("rate", "handle_ms", "trip_ms", "budget_ms"),
)
def budget(scene: Scene, count_for: Any) -> str:
    """Many demands: roomy, tight to the millisecond, and impossible."""
    try:
        answers = scene.call(in_turn(count_for, DEMANDS), slow=_SEARCH)
    except Wrong as wrong:
        if "ZeroDivisionError" in wrong.found:
            raise Wrong(
                "If handling an entry takes as long as the time between two entries, nothing "
                "is left for the round trips. Check that before you divide.",
                found=wrong.found,
            ) from None
        raise
    if any(isinstance(one, Blank) for one in answers):
        raise StillBlank
    for demand, got in zip(DEMANDS, answers, strict=True):
        if got != (right := demand.answer()) or isinstance(got, bool):
            raise Wrong(
                _budget_hint(demand, got),
                expected=f"{right} for rate={demand.rate}, handle_ms={demand.handle_ms}, "
                f"trip_ms={demand.trip_ms}, budget_ms={demand.budget_ms}",
                found=f"{got!r}",  # None is an answer here
            )
    return f"Right for all {len(DEMANDS)} demands, even those that no COUNT can meet."


_SEARCH = (
    "Your search never ends when no COUNT works. Stop at the first that isn't in time: larger "
    "ones take even longer."
)


def _budget_hint(demand: Demand, got: Any) -> str:
    if got is None:
        return _none_hint(demand, demand.answer() or 1)
    if isinstance(got, bool) or not isinstance(got, int) or got < 1:
        return "A COUNT is a whole number, 1 or more; `None` means that there is none."
    comes = demand.rate * demand.busy_ms(got) / 1000
    if not demand.keeps_up(got):
        return (
            f"With COUNT {got}, a batch takes {demand.busy_ms(got):g} ms, including its round "
            f"trips, and {comes:g} entries arrive meanwhile: more than the batch holds, so it "
            "falls behind forever. Round up; if no COUNT keeps up, return `None`."
        )
    if not demand.in_time(got):
        return (
            f"COUNT {got} keeps up. But an entry that arrives just after a read waits for a "
            f"whole batch, and may be the last one of the next: 2 * {demand.busy_ms(got):g} ms "
            "is more than the budget."
        )
    if demand.keeps_up(got - 1) and demand.tight(got - 1):
        return f"COUNT {got - 1} works too. {_EQUAL}"
    least = demand.answer() or 1
    busy = demand.busy_ms(least)
    return (
        f"COUNT {got} works, but so does {least}: then a batch takes {demand.trip_ms:g} + "
        f"{least} * {demand.handle_ms:g} = {busy:g} ms, and {demand.rate * busy / 1000:g} entries "
        "come meanwhile. Take the smallest, so that entries wait less, and fewer are in hand if "
        "the consumer is killed."
    )


_EQUAL = (
    "Equal is enough, for both conditions: `<=`, not `<`. And if you round up a quotient, a whole "
    "number stays as it is."
)


def _none_hint(demand: Demand, right: int) -> str:
    busy = demand.busy_ms(right)
    if demand.tight(right):
        return f"COUNT {right} keeps up, and two batches of it fit into the budget. {_EQUAL}"
    hint = (
        f"There is one. With COUNT {right:,}, a batch takes {busy:g} ms, and "
        f"{demand.rate * busy / 1000:g} entries arrive meanwhile; two batches take "
        f"{2 * busy:g} ms. "
    )
    if right > 100:
        return f"{hint}It's large: does your search end before it? Only the budget should end it."
    return f"{hint}`rate` is per second, and all times are in milliseconds."
