"""The checks of lab 01: append and range."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import redis

from helpers.chaos import CLIENT, Failure, Fault, Proxy
from helpers.checks.adapt import plain
from helpers.checks.lab import Lab
from helpers.checks.lab01.appending import Appends
from helpers.checks.lives import Supervisor
from helpers.checks.predictions import expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, ids_of, result
from helpers.checks.verdict import Wrong
from helpers.streams.entry import EntryId, entries

OWN_KEY = "lab01:chennai"
appends = Appends(OWN_KEY)
lab = Lab("01", "`solutions/01_append_and_range.ipynb`", opened=appends.begin)

READING = {"temperature": "26", "humidity": "10"}


@lab.exercise(
    1,
    "Append one reading",
    "The method has the name of the command: `redis.xadd(stream, fields)`.",
    "The fields are a dict: `{'temperature': 26, 'humidity': 10}`. What does `xadd` return?",
)
def append_one(scene: Scene, first_id: Any) -> str:
    """The learner's own stream holds one entry with the fields asked for."""
    key = OWN_KEY
    kind = str(scene.redis.type(key))
    if kind not in ("stream", "none"):
        raise Wrong(
            f"Delete the key with `redis.delete('{key}')`, then append with XADD.",
            expected="a stream",
            found=f"a {kind}",
        )
    found = entries(scene.redis.xrange(key))
    unsent = _unsent(first_id)
    if unsent and not found:
        raise Wrong(unsent, expected="an entry, and its ID", found=f"{type(first_id).__name__}")
    if not found:
        _expect_something(scene, first_id)
    if len(found) > 1 and all(len(one.fields or {}) < len(READING) for one in found):
        raise Wrong(
            "One reading is one entry with both fields: give `xadd` one dict with the two of "
            f"them. First delete these entries with `redis.delete('{key}')`.",
            expected="1 entry",
            found=f"{len(found)} entries, of one field each",
        )
    if len(found) > 1:
        raise Wrong(
            "Every run of the cell appends again: a stream keeps all that is ever added. "
            f"`redis.delete('{key}')`, then run it once.",
            expected="1 entry",
            found=f"{len(found)} entries",
        )
    if found[0].fields != READING:
        raise Wrong(
            f"{_differs(found[0].fields or {})} To try again, first delete the entry with "
            f"`redis.delete('{key}')`.",
            expected=READING,
            instead=found[0].fields,
        )
    if list(found[0].fields) != list(READING):
        raise Wrong(
            "The fields are right, but in the wrong order. Use the same order for all entries "
            "of a stream: lesson 01 shows what that saves.",
            expected=READING,
            instead=found[0].fields,
        )
    if found[0].id.ms < 10**12 or appends.chosen_by_client(found[0].id, scene.redis):
        raise Wrong(
            "Let the server choose the ID: `xadd` sends `*` if you give no ID. "
            f"`redis.delete('{key}')`, then append again.",
            expected="an ID that the server chose",
            found=f"{found[0].id}, which was given to XADD",
        )
    if str(plain(first_id)) != str(found[0].id):
        raise Wrong(
            unsent or _no_id(first_id, found[0].id), expected=str(found[0].id), instead=first_id
        )
    return f"The server gave it the ID `{found[0].id}`: {found[0].id.time:%H:%M:%S} UTC."


def _expect_something(scene: Scene, first_id: Any) -> None:
    """Say why the stream has no entry.

    Raises:
        Wrong: always.
    """
    others = [key for key in scene.redis.scan_iter("lab01*", count=1000) if ":check:" not in key]
    hint = (
        f"Nothing is in `{OWN_KEY}` yet: is the key spelled like this? Append the reading with "
        "`redis.xadd`."
    )
    if callable(first_id):
        hint = (
            f"Nothing is in `{OWN_KEY}` yet: `first_id` is a function. Call it, and store what it "
            "returns."
        )
    raise Wrong(hint, found=f"no entry, but a key `{min(others)}`" if others else "no entry")


def _unsent(first_id: Any) -> str:
    """What is missing if the answer is not a reply yet."""
    if inspect.iscoroutine(first_id):
        first_id.close()
        return (
            "`first_id` is a coroutine, and nothing has been sent yet: put `await` in front of the "
            "call, or use the lab's client `redis`, which needs none."
        )
    if hasattr(first_id, "execute"):
        return (
            "`first_id` is the pipeline, which sends its commands when you call `execute()`: that "
            "returns a list of their replies."
        )
    return ""


def _differs(fields: Mapping[str, str]) -> str:
    """The first field that is not as it was asked for."""
    for name, value in READING.items():
        alike = next((one for one in fields if one.strip().lower() == name), None)
        if alike and alike != name:
            return (
                f"Compare the names character by character: the field is `{name}`, and not "
                f"`{alike}`."
            )
        if name not in fields:
            return (
                f"There is no field `{name}`. Compare the names character by character: an entry "
                "has a field for each value, here `temperature` and `humidity`."
            )
        if fields[name] != value:
            return (
                f"Compare the values character by character: `{name}` is `{value}`, and you stored "
                f"`{fields[name]}`."
            )
    return "Compare the names character by character: there are more fields than these two."


def _no_id(first_id: Any, entry_id: EntryId) -> str:
    """What else than the entry's ID the answer is."""
    if str(plain(first_id)) == str(entry_id.ms):
        return (
            "These are only the milliseconds. An ID has two halves: store it whole, as `xadd` "
            "returns it."
        )
    if isinstance(first_id, list) and [str(plain(one)) for one in first_id] == [str(entry_id)]:
        return "This is a list with the ID in it: take it out, `[0]`, and store it in `first_id`."
    if str(entry_id) in str(plain(first_id)):
        return "This is more than the ID. `xadd` returns the ID alone: store it in `first_id`."
    if first_id is None:
        return (
            "`first_id` is None: `xadd` returns the ID that the server gave the entry, so store it "
            "in `first_id`."
        )
    return (
        "This isn't the entry's ID. `xadd` returns the ID that the server gave the entry: store it "
        "in `first_id`."
    )


@lab.exercise(
    2,
    "Which IDs would Redis accept?",
    "An ID is a pair of numbers. It must be above the last one, compared as a pair.",
    "In the same millisecond the sequence number decides. Without one it is 0.",
)
def which_ids(scene: Scene, accepted: Any) -> str:
    """Each prediction is compared with what the server does."""
    why = {
        "1000-5": "no two entries have the same ID, so the server refuses the last ID itself",
        "1000-6": "in the same millisecond, a higher sequence number is enough",
        "999-9": "Redis compares the milliseconds first, and 999 is before 1000, whatever follows",
        "1001": "an ID without a sequence number is valid: it means 1001-0",
        "1000-*": "with `*` the server chooses the next sequence number in that millisecond",
        "10000-0": "Redis compares IDs as numbers, not as strings: 10000 is after 1000",
    }
    actual = {}
    for entry_id in why:
        stream = scene.stream(entry_id, [("1000-5", {"a": "1"})])
        try:
            scene.redis.xadd(stream, {"a": "2"}, id=entry_id)
            actual[entry_id] = True
        except redis.ResponseError:
            actual[entry_id] = False
    expect_predicted(accepted, actual, why, "six IDs, each True or False")
    return "The server agrees with all six."


@lab.exercise(
    3,
    "All readings of an hour",
    "XRANGE takes two bounds and includes both. Which of them must not be included here?",
    "A bare `2000` as the upper bound means the last ID of that millisecond, even in `(2000`.",
    "`(` in front of a whole ID leaves out just that one: `(2000-0`.",
    calls=("redis", "stream", "start_ms", "end_ms"),
)
def one_hour(scene: Scene, between: Any) -> str:
    """A half-open range, with several entries in the milliseconds at its ends; two of them."""
    most = 0.0  # entries that a reply may hold, by COUNT
    for start, end in ((999, 2000), _hour_of_now()):
        most = max(most, _expect_hour(scene, between, start, end))
    if 0 < most <= MOST_ENTRIES:
        _expect_longer(scene, between, int(most))
    return (
        "You return everything from the first moment of the hour to the last, and nothing of "
        "the next hour."
    )


MOST_ENTRIES = 10_000  # in an hour that one reply does not exhaust


def _expect_longer(scene: Scene, between: Any, count: int) -> None:
    """An hour with more entries than a reply may hold."""
    ids = [f"5000-{n}" for n in range(count + 1)]
    stream = scene.stream("full", [(one, {"n": "1"}) for one in ids])
    got = ids_of(scene.call(between, CLIENT, stream, 5000, 5001))
    if len(got) < len(ids):
        raise Wrong(
            f"COUNT {count} ended the reply before the end of the hour: an hour may have any "
            "number of entries.",
            expected=f"{len(ids)} entries",
            found=f"{len(got)}",
        )


def _hour_of_now() -> tuple[int, int]:
    """Another hour each time, so that no answer can know it."""
    start = 1_700_000_000_000 + secrets.randbelow(10**10)
    return start, start + 3_600_000


LARGEST = 2**64 - 1  # the sequence number: no bound that is guessed lies above it


def _expect_hour(scene: Scene, between: Any, start: int, end: int) -> float:
    """Give how many entries the largest COUNT allowed; 0 if a reply had no limit."""
    ids = [
        *(f"{start - 1}-7", f"{start}-0", f"{start}-1", f"{start + 501}-0"),
        *(f"{end - 1}-0", f"{end - 1}-{LARGEST}", f"{end}-0", f"{end}-1", f"{end + 1}-0"),
    ]
    stream = scene.stream(f"hour:{start}", [(one, {"n": str(n)}) for n, one in enumerate(ids)])
    slow = (
        "It sends too many commands, or never ends. An hour has 3,600,000 milliseconds: one XRANGE "
        "with two bounds reads all of it."
    )
    with scene.watching(stream) as commands:
        got, wanted = ids_of(scene.call(between, CLIENT, stream, start, end, slow=slow)), ids[1:6]
    if scene.redis.xlen(stream) < len(ids):
        raise Wrong(
            "Your function deleted entries from the stream. Read the hour, and leave the others "
            "where they are.",
            expected=f"{len(ids)} entries still on the stream",
            found=f"{scene.redis.xlen(stream)}",
        )
    if got == wanted:
        counts = [one for one in map(_count, commands) if one]
        return max(counts) if counts and max(counts) < float("inf") else 0
    hint = "Compare the first and the last ID with the bounds."
    if len(set(got)) < len(got):
        hint = (
            f"`{max(got, key=got.count)}` came more than once. Start each page after the last ID "
            "of the previous page: `(` leaves that ID out."
        )
    elif set(got) - set(ids):
        hint = "These IDs aren't on the stream that your function was given: read `stream`."
    elif got == wanted[: len(got)] and len(got) in map(_count, commands):
        hint = (
            "COUNT ended the reply before the end of the hour: an hour may have any number of "
            "entries."
        )
    elif wanted[0] in got and got[-1] == f"{end}-1":
        hint = (
            f"As upper bound a bare `{end}` means the last ID of that millisecond, and `({end}` "
            f"leaves out only that one ID. Write the sequence number: `({end}-0`."
        )
    elif got[-1:] == [f"{end}-0"]:
        hint = (
            "The end belongs to the next hour. As it is, it would count in both hours: leave "
            "it out with `(`."
        )
    elif got and got == wanted[: len(got)] and len(got) < 4:
        hint = (
            f"It ends too early: `{wanted[len(got)]}` is missing. The hour has every entry before "
            f"`end_ms`, here {end}, so the whole millisecond {end - 1} belongs to it."
        )
    elif got and got == wanted[: len(got)]:
        hint = (
            f"The last millisecond of the hour may have any number of entries: a bound such as "
            f"`{end - 1}-0` ends at that one ID, so higher sequence numbers are left out."
        )
    elif got and got == wanted[-len(got) :] and len(got) < 4:
        hint = (
            f"It begins too late: `{wanted[-len(got) - 1]}` is missing. The hour begins with the "
            f"millisecond `start_ms`, here {start}."
        )
    elif got and got == wanted[-len(got) :]:
        hint = (
            f"The start is part of the hour, with every sequence number: `{start}` means "
            f"`{start}-0`, and `(` would leave entries of that millisecond out."
        )
    elif sorted(got) == sorted(wanted):
        hint = "These are the right entries; return them in the order of their IDs."
    elif got and got[0] == ids[0] and got[-1] == wanted[-1]:
        hint = (
            f"`{got[0]}` is from before the hour, which begins with the millisecond `start_ms`, "
            f"here {start}. Use both bounds."
        )
    elif got and got[-1] == ids[-1] and got[0] == wanted[0]:
        hint = (
            f"`{got[-1]}` is from after the hour, which ends before the millisecond `end_ms`, here "
            f"{end}. Use both bounds."
        )
    elif len(got) > len(wanted):
        hint = "It also returns entries from before or after the hour: use both bounds."
    elif got and (missing := next((one for one in wanted if one not in got), None)):
        hint = (
            f"`{missing}` is missing. Return every entry between the bounds: a millisecond may "
            "have several."
        )
    elif not got:
        hint = _nothing_hint(commands, start)
    raise Wrong(hint, expected=wanted, instead=got)


def _nothing_hint(commands: list[list[str]], start: int) -> str:
    """Why nothing came back of the hour."""
    ranges = [command for command in commands if command[0] in ("XRANGE", "XREVRANGE")]
    if not commands:
        return "Nothing came back. Read the stream that you are given: no command named it."
    if not ranges:
        return f"{commands[0][0]} returned none of the hour: XRANGE takes both bounds."
    name, _, first, last = ranges[0][:4]
    bounds = f"You asked for `{name} stream {first} {last}`."
    if name == "XREVRANGE" and _ms(first) < _ms(last):
        return f"{bounds} XREVRANGE goes down: put the higher bound first."
    if name == "XRANGE" and _ms(first) > _ms(last):
        return f"{bounds} XRANGE goes up: put the lower bound first."
    if _ms(first if name == "XRANGE" else last) > start:
        return (
            f"{bounds} The hour begins at {start}: IDs count milliseconds, as `start_ms` and "
            "`end_ms` do, so there is nothing to convert."
        )
    return (
        "Nothing came back: the server sent entries, and your code left out all of them. Use the "
        "first half of an ID, the milliseconds, and compare numbers: as strings, 999 is above 2000."
    )


def _ms(bound: str) -> float:
    """The milliseconds of a range's bound."""
    ends = {"-": float("-inf"), "+": float("inf")}
    return ends.get(bound) or float(bound.lstrip("([").partition("-")[0])


@lab.exercise(
    4,
    "The newest readings",
    "XRANGE goes from old to new. There is a command that goes the other way.",
    "`redis.xrevrange(stream, count=n)`: from `+` down to `-` by default.",
    calls=("redis", "stream", "n"),
)
def newest(scene: Scene, latest: Any) -> str:
    """The newest entries first, and no more of them read than asked for; for two n."""
    last = 2000 + secrets.randbelow(500)
    stream = scene.stream("newest", [(f"{n}-0", {"n": str(n)}) for n in range(1, last + 1)])
    for n in (3, 2):
        with scene.watching(stream) as commands:
            got = ids_of(scene.call(latest, CLIENT, stream, n, slow=_NEWEST_SLOW))
        wanted = [f"{last - place}-0" for place in range(n)]
        if scene.redis.xlen(stream) < last:
            raise Wrong(
                "Your function deleted entries from the stream. Read the newest ones, and leave "
                "the others where they are: XREVRANGE with COUNT.",
                expected=f"{last} entries still on the stream",
                found=f"{scene.redis.xlen(stream)}",
            )
        if got != wanted:
            raise Wrong(_newest_hint(got, wanted, commands), expected=wanted, instead=got[:5])
        too_much = [command for command in commands if _count(command) > n]
        if too_much:
            raise Wrong(
                "Let the server stop after n entries, with COUNT: here it sent more than n.",
                expected=f"a reply with {n} entries",
                found=" ".join(too_much[0]).replace(stream, "stream"),
            )
    return "The server sent only what you asked for, newest first."


_NEWEST_SLOW = (
    "It waits, or never ends. The newest entries are there: one XREVRANGE returns them. BLOCK and "
    "`$` wait for entries that are added from now on."
)


def _newest_hint(got: list[str], wanted: list[str], commands: list[list[str]]) -> str:
    n = len(wanted)
    for name, _, *words in commands:
        if str(n) in words[:2] and name in ("XRANGE", "XREVRANGE"):
            return (
                f"You sent `{' '.join([name, 'stream', *words])}`, so `n` is a bound. Name the "
                "argument: `count=n`."
            )
    if any("$" in words for _, *words in commands):
        return "`$` reads what is added from now on, and these entries are there: use XREVRANGE."
    if not commands:
        return "Read the stream that your function is given: none of your commands named it."
    if len(set(got)) < len(got):
        return (
            f"`{got[0]}` came more than once: a bound includes its own entry, unless `(` is in "
            "front of it. One XREVRANGE with COUNT is enough."
        )
    if got and got[0] == wanted[1]:
        return (
            f"`{wanted[0]}`, the newest entry, is missing. `(` leaves out the entry of its ID, and "
            "`[1:]` the first one of a reply: use neither."
        )
    if got == wanted[::-1]:
        return "These are the newest entries, but oldest first: reverse the order."
    if got and got[:n] != wanted and {*got} == {f"{number}-0" for number in range(1, len(got) + 1)}:
        return (
            "These are the oldest: XRANGE and XREAD start at the beginning, and XREVRANGE at the "
            "newest entry."
        )
    if got and got == sorted(got, reverse=True) and int(got[0].split("-")[0]) < 1000:
        return (
            "These IDs were compared as strings, and as strings 999 is above 2000. XREVRANGE "
            "returns the newest first, so there is nothing to sort."
        )
    if not got:
        return (
            "Nothing came back. XREVRANGE takes the higher bound first, from `+` down to `-`; "
            "without bounds that is what redis-py sends."
        )
    if got[: len(wanted)] == wanted or got == wanted[: len(got)]:
        return f"You returned {len(got)}. `n` says how many, here {n}: pass it as COUNT."
    return "XREVRANGE starts at the newest entry; COUNT says how many."


@lab.exercise(
    5,
    "A long stream, page by page",
    "Ask for `page` entries, then for the `page` entries after the last of them.",
    "`(` in front of the last ID starts the next page after it.",
    "Stop when a page is empty: `while entries := redis.xrange(…)`.",
    calls=("redis", "stream", "page"),
)
def page_by_page(scene: Scene, mean_temperature: Any) -> str:
    """The mean over a stream with many entries in one millisecond, read in small replies."""
    cold = secrets.randbelow(20)
    temperatures = [
        cold + n // 40 + (n % 7) ** 2 for n in range(1050)
    ]  # no two mistakes share a mean
    ids = [f"{1000 + n // 30}-{n % 30}" for n in range(1050)]
    fields = [{"temperature": str(t)} for t in temperatures]
    stream = scene.stream("long", list(zip(ids, fields, strict=True)))
    slow = (
        "It never ends. Start each page after the whole last ID of the previous page, and stop "
        "when a page comes back empty."
    )
    with scene.watching(stream) as commands:
        got = scene.call(mean_temperature, CLIENT, stream, 100, slow=slow)
    if got is None:
        raise Wrong(
            _none_hint(commands),
            expected="a number",
            instead=None,
        )
    if not isinstance(got, int | float) or isinstance(got, bool):
        raise Wrong("Return the mean as a number.", expected="a number", instead=got)
    mean = sum(temperatures) / len(temperatures)
    if abs(got - mean) > 1e-9:
        hint = _paging_hint(float(got), temperatures) or _pages_hint(scene, commands, ids)
        raise Wrong(
            hint
            or "Add up the `temperature` of every entry once, and divide by the number of entries.",
            expected=f"{mean:.4f}",
            found=f"{got:.4f}",
        )
    too_large = [command for command in commands if _count(command) > 100]
    if too_large:
        hint = "give COUNT to XRANGE."
        if (asked := _count(too_large[0])) < float("inf"):
            hint = f"you asked for {asked:g} entries, and `page` is 100."
        raise Wrong(
            f"The mean is right, but a reply was larger than a page: {hint}",
            expected="replies of at most 100 entries",
            found=" ".join(too_large[0]).replace(stream, "stream"),
        )
    _expect_zero(scene, mean_temperature)
    _expect_none(scene, mean_temperature)
    return f"{len(commands)} replies, none larger than a page, and no entry was counted twice."


def _none_hint(commands: list[list[str]]) -> str:
    """Why there is no mean."""
    if not commands:
        return "None of your commands named the stream that your function was given."
    if any(name == "XREVRANGE" and words[1] == "-" for name, *words in commands):
        return "Nothing came back: XREVRANGE goes down, so it begins with `+`."
    return "The stream has entries, so return their mean as a number, after the loop."


def _expect_zero(scene: Scene, mean_temperature: Any) -> None:
    """Entries whose mean is 0."""
    fields = [{"temperature": t} for t in ("-2", "3", "-1")]
    stream = scene.stream("frost", [(f"{n}-0", one) for n, one in enumerate(fields, 1)])
    with scene.running(mean_temperature, CLIENT, stream, len(fields)) as process:
        outcome = process.outcome(LIMIT_S)
    if isinstance(outcome, Failure):
        raise Wrong(
            "The last page may be full, and then an empty one comes after it: it has no last "
            "entry. End the loop before you look for one.",
            expected=f"a mean of {len(fields)} entries, with pages of {len(fields)}",
            found=str(outcome),
        )
    got = result(outcome, "", LIMIT_S)
    if got is None:
        raise Wrong(
            "A sum of 0 counts as false in Python, so your function took a mean of 0 °C for no "
            "mean. Check the number of entries instead: `if count`.",
            expected="0 for the temperatures -2, 3 and -1",
            instead=None,
        )
    if isinstance(got, bool) or got != 0:
        raise Wrong(
            "Temperatures may be below zero: add them up as they are.",
            expected="0 for the temperatures -2, 3 and -1",
            instead=got,
        )


def _pages_hint(scene: Scene, commands: list[list[str]], ids: list[str]) -> str:
    """Which entries the pages had twice, or not at all: the same reads once more."""
    had: list[str] = []
    for command in commands:
        if command[0] in ("XRANGE", "XREVRANGE"):
            had += [str(one) for one, _ in scene.redis.execute_command(*command)]
    twice = next((one for one in ids if had.count(one) > 1), None)
    missing = next((one for one in ids if one not in had), None)
    if had and twice:
        return (
            f"The pages overlap: `{twice}` came in more than one of them, and counted each "
            "time. Start each page after the last ID of the previous page: `(` leaves that ID "
            "out."
        )
    if had and missing:
        return (
            f"`{missing}` is in none of the pages. Start each page right after the last ID of "
            "the previous page, and go on until there are no more entries."
        )
    return ""


def _expect_none(scene: Scene, mean_temperature: Any) -> None:
    """A stream without entries."""
    with scene.running(mean_temperature, CLIENT, scene.key("missing"), 100) as process:
        outcome = process.outcome(LIMIT_S)
    if isinstance(outcome, Failure):
        raise Wrong(
            "Your function read the stream correctly. But the check also calls it for a stream "
            "without entries, which has no mean: return None.",
            expected=None,
            found=str(outcome),
        )
    empty = result(outcome, "", LIMIT_S)
    if empty is not None:
        raise Wrong(
            "A stream without entries has no mean: return None.", expected=None, instead=empty
        )


def _paging_hint(got: float, temperatures: list[int]) -> str:
    """Which of the usual mistakes gives this mean."""
    page = 100
    overlapping = list(temperatures)
    for start in range(page - 1, len(temperatures), page - 1):
        overlapping.append(temperatures[start])
    by_millisecond, start = [], 0
    while start < len(temperatures):
        by_millisecond += temperatures[start : start + page]
        start += page
        start += -start % 30  # the rest of the last entry's millisecond is passed over
    pages = [temperatures[start : start + page] for start in range(0, len(temperatures), page)]
    mistakes = (
        (
            [sum(one) / len(one) for one in pages],
            "This is the mean of the pages' means. The last page is shorter, and would weigh "
            "as much as the others: add up the entries, and divide once at the end.",
        ),
        (
            temperatures[:1],
            "This is the temperature of the first entry alone. A `return` ends the whole function, "
            "so it belongs after the loop.",
        ),
        (temperatures[:page], "This is the mean of the first page: go on after its last ID."),
        (pages[-1], "This is the mean of the last page: begin to add up before the loop."),
        (
            temperatures[1:],
            "The first entry is in none of the pages: begin with `-`, and cut nothing from a page.",
        ),
        (
            temperatures[29::30],
            "You kept one entry of each millisecond, and a millisecond may have several: add up "
            "all of them.",
        ),
        (
            temperatures[: -(len(temperatures) % page)],
            "The last page, which isn't full, is missing.",
        ),
        (
            overlapping,
            "The last entry of a page came again as the first of the next one, and counted "
            "twice: `(` makes the bound exclusive.",
        ),
        (
            by_millisecond,
            "A page may end in the middle of a millisecond. Going on at the next millisecond "
            "loses the rest of it: start after the ID, `(ms-seq`.",
        ),
    )
    if got == sum(temperatures) // len(temperatures):
        return "You lose the fraction: divide with `/`, because `//` and `int` cut it off."
    if got in [round(sum(temperatures) / len(temperatures), digits) for digits in range(6)]:
        return "Return the mean as it is; don't round it."
    total = sum(temperatures)
    if got in (total, total / page, total / len(pages)):
        return (
            f"You have the right sum, {total}: divide it by the number of entries, which isn't "
            "`page`, nor the number of pages."
        )
    if abs(got - total / (len(pages) * page)) < 1e-9:
        return (
            f"You have the right sum, {total}: divide by the number of entries. The last page "
            "isn't full, so count the entries that come, and not `page` for each."
        )
    for values, hint in mistakes:
        if abs(got - sum(values) / len(values)) < 1e-9:
            return hint
    return ""


@lab.exercise(
    6,
    "Only if the stream exists",
    "XADD creates a stream that doesn't exist. One of its options prevents that.",
    "NOMKSTREAM: `redis.xadd(stream, fields, nomkstream=True)`. What does `xadd` return if there "
    "is no stream?",
    calls=("redis", "stream", "fields"),
)
def only_existing(scene: Scene, append_existing: Any) -> str:
    """On a stream, on none, and on one that goes, or comes, before a command of the function."""
    there = scene.stream("there", BEFORE)
    missing = scene.key("missing")
    fields = {"temperature": "31", "station": missing[-8:]}
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        begin = partial(supervisor.begin, append_existing, CLIENT, through=proxy)
        with scene.watching(missing) as commands:
            outcome = begin(missing, fields).outcome()
        words = [" ".join(command).upper() for command in commands]
        if scene.redis.exists(missing) or any(one.startswith(REMOVING) for one in words):
            _expect_unmade(scene, missing, words)
        if isinstance(outcome, Failure) and outcome.source.startswith("raise "):
            raise Wrong(
                "Where there is no stream, return None, and don't raise an exception.",
                expected=None,
                found=str(outcome),
            )
        got = result(outcome, "", LIMIT_S)
        if scene.redis.exists(missing):
            raise Wrong(
                "XADD created the stream. Its option NOMKSTREAM prevents that.",
                expected="no key",
                found=f"a stream of {scene.redis.xlen(missing)}",
            )
        if got is not None:
            raise Wrong("Return None where there is no stream.", expected=None, instead=got)
        proxy.reset()
        got = result(begin(there, fields).outcome(), "", LIMIT_S)
        _expect_added(scene, there, fields, got)
        names = proxy.names
        for place in range(2, min(len(names), MOST_PLACES) + 1):
            gone = scene.stream(f"gone{place}", [("1-0", {"a": "1"})])
            proxy.reset()
            proxy.arm(Fault.FREEZE_BEFORE, place)
            life = begin(gone, fields)
            if life.stands(proxy):
                scene.redis.delete(gone)
                proxy.thaw()
            outcome = life.outcome()
            if scene.redis.exists(gone):
                raise Wrong(
                    "Another client deleted the stream after your check and before your XADD, "
                    "and XADD created it again: let one command do both.",
                    expected="no key",
                    found=f"a stream again, deleted before your {proxy.names[place - 1]}",
                )
            if isinstance(outcome, Failure) and outcome.kind == "WatchError":
                raise Wrong(
                    "WATCH noticed that the stream had changed. When that happens, check "
                    "again, in a loop.",
                    found=str(outcome),
                )
            result(outcome, "", LIMIT_S)
        _expect_own_id(scene, begin, proxy, names, fields)
        _expect_empty_counts(scene, begin, proxy, fields)
    return (
        "One command, so no other client can come in between."
        if names[:1] == names[-1:]
        else "It's right even if the stream is deleted in the meantime. NOMKSTREAM does it in "
        "one command."
    )


BEFORE = [(f"{n}-0", {"a": "1"}) for n in range(1, 121)]  # more than a node, so `~` would trim
MOST_PLACES = 6  # at which the stream is deleted
REMOVING = ("DEL ", "UNLINK ")


def _expect_unmade(scene: Scene, missing: str, commands: list[str]) -> None:
    """There was no stream, and none was made to be deleted again."""
    if scene.redis.exists(missing):
        return
    if any(one.startswith("XADD ") and " NOMKSTREAM " not in one for one in commands):
        raise Wrong(
            "XADD created the stream, and you delete it again. In between, other clients see "
            "it, and you'd delete an entry that they add. With NOMKSTREAM, XADD doesn't create "
            "it.",
            expected="no stream at any moment",
            found="XADD, and a DEL or UNLINK after it",
        )


def _expect_own_id(
    scene: Scene, begin: Any, proxy: Proxy, names: list[str], fields: dict[str, str]
) -> None:
    """Another client appends after the function did, and before its next command."""
    added = next((n for n, name in enumerate(names) if name in ("XADD", "EXEC")), len(names))
    for place in [n for n in range(added + 2, len(names) + 1) if names[n - 1] in READING_BACK][:1]:
        shared = scene.stream("shared", [("1-0", {"a": "1"})])
        proxy.reset()
        proxy.arm(Fault.FREEZE_BEFORE, place)
        life = begin(shared, fields)
        if life.stands(proxy):
            scene.redis.xadd(shared, {"a": "2"})
            proxy.thaw()
        got = result(life.outcome(), "", LIMIT_S)
        own = [str(one.id) for one in entries(scene.redis.xrange(shared)) if one.fields == fields]
        if own != [str(got)]:
            raise Wrong(
                "The last ID of the stream isn't always that of your entry: here another client "
                "appended one in between. Return what XADD returned.",
                expected=", ".join(own),
                instead=got,
            )


READING_BACK = ("XREVRANGE", "XRANGE", "XINFO", "XREAD")


def _expect_empty_counts(scene: Scene, begin: Any, proxy: Proxy, fields: dict[str, str]) -> None:
    """A stream whose entries are all deleted exists."""
    empty = scene.stream("empty", [("1-0", {"a": "1"})])
    scene.redis.xdel(empty, "1-0")
    proxy.reset()
    got = result(begin(empty, fields).outcome(), "", LIMIT_S)
    if scene.redis.xlen(empty) != 1:
        raise Wrong(
            "A stream without entries still exists: XDEL and XTRIM may empty it, and XLEN is "
            "then 0. NOMKSTREAM checks whether the key exists, not whether it has entries.",
            expected="a new entry on an empty stream",
            found=f"{got!r}, and no entry" if scene.redis.exists(empty) else "no stream any more",
        )


def _expect_added(scene: Scene, there: str, fields: dict[str, str], got: Any) -> None:
    """The fields are on the stream, as its newest entry.

    Raises:
        Wrong: they are not, or the function returned something else than the ID.
    """
    found = entries(scene.redis.xrange(there))
    kept, new = found[: len(BEFORE)], [one.fields for one in found[len(BEFORE) :]]
    if not scene.redis.exists(there):
        raise Wrong(
            "Your function deletes the stream. Append, and leave it there.",
            expected=f"{len(BEFORE)} entries, and the new one",
            found="no stream any more",
        )
    if [str(one.id) for one in kept] != [entry_id for entry_id, _ in BEFORE]:
        raise Wrong(
            "Entries that were there before are gone. Append, and leave the others: XADD trims "
            "the stream only if you give it `maxlen=` or `minid=`.",
            expected=f"{len(BEFORE)} entries, and the new one",
            found=f"{len(found)} entries",
        )
    if new != [fields]:
        raise Wrong(
            "If the stream exists, append the fields that your function was given, once.",
            expected=fields,
            found=repr(new[-1]) if len(new) == 1 else f"{len(new)} new entries",
        )
    if str(got) != str(found[-1].id):
        raise Wrong(
            "Return the new entry's ID, as `xadd` gives it.",
            expected=str(found[-1].id),
            instead=got,
        )


@lab.exercise(
    7,
    "A stream that stays short",
    "XADD can trim in the same step: `maxlen=`.",
    "redis-py trims approximately unless told otherwise: what does `~` do to a short stream?",
    "`redis.xadd(stream, fields, maxlen=cap, approximate=False)`.",
    calls=("redis", "stream", "fields", "cap"),
)
def capped(scene: Scene, add_capped: Any) -> str:
    """Exactly the newest `cap` entries remain after each of several calls, and all of a few."""
    for before, cap in ((60, 25), (3, 7), (0, 5), (30, 12)):
        stream = scene.stream(
            f"capped{cap}", [(f"1000-{n}", {"n": str(n)}) for n in range(1, before + 1)]
        )
        added = [str(before + n) for n in (1, 2)]
        with scene.watching(stream) as commands:
            for number in added:
                scene.call(add_capped, CLIENT, stream, {"n": number}, cap)
        _expect_capped(scene, stream, commands, added[-1], cap)
    return "Exactly the newest `cap` entries remain, however long the stream was before."


def _expect_capped(
    scene: Scene, stream: str, commands: list[list[str]], newest: str, cap: int
) -> None:
    words = {word.upper() for command in commands for word in command}
    found = [(one.fields or {}).get("n", "") for one in entries(scene.redis.xrange(stream))]
    total = int(newest)
    wanted = [str(n) for n in range(max(1, total - cap + 1), total + 1)]
    if words & {"DEL", "UNLINK", "RENAME"}:
        raise Wrong(
            "It deletes the stream and builds it again: in between, readers find no stream, "
            "and the entries may get other IDs. Trim it instead.",
            found=", ".join(words & {"DEL", "UNLINK", "RENAME"}),
        )
    last = entries(scene.redis.xrevrange(stream, count=1))[0].fields if found else {}
    if found == wanted and last != {"n": newest}:
        raise Wrong(
            "Append the fields that your function was given, and no others.",
            expected={"n": newest},
            instead=last,
        )
    if found == wanted:
        return
    hint = _capped_hint(found, commands, newest, cap)
    raise Wrong(
        hint,
        expected=f"the {len(wanted)} entries {wanted[0]} to {wanted[-1]}, for `cap` {cap}",
        found=f"{len(found)}, from {found[0]} to {found[-1]}" if found else "no entry",
    )


def _capped_hint(found: list[str], commands: list[list[str]], newest: str, cap: int) -> str:
    words = {word.upper() for command in commands for word in command}
    names = [command[0] for command in commands]
    total, kept = int(newest), _kept(commands)
    if newest not in found and "NOMKSTREAM" in words:
        return "Append even if there is no stream yet: without NOMKSTREAM, XADD creates it."
    if found and found[0] == "1" and newest not in found and len(found) == cap:
        return "It drops the newest entries and keeps the oldest: drop the oldest ones."
    if newest not in found:
        return "The new entry has to be on the stream as well."
    if len(set(found)) < len(found):
        return "An entry is there twice: append once."
    if total <= cap:
        return "There were fewer than `cap` entries, so none had to be dropped."
    if len(found) == total and not words & {"MAXLEN", "MINID", "XDEL"}:
        return "Nothing trims the stream yet: XADD can do it in the same step."
    if "~" in words and len(found) > cap:
        return (
            "Nothing was dropped. redis-py's `maxlen` and `minid` mean `~`, which drops only whole "
            "nodes of 100 entries. Pass `approximate=False`."
        )
    if kept == cap and "XTRIM" in names and names.index("XTRIM") < names.index("XADD"):
        return "It trims before it adds, so there is one too many: the new entry counts."
    if kept is not None and kept != cap:
        return (
            f"You sent `MAXLEN {kept}`, and `cap` is {cap}"
            f"{', so there is one too many' if kept == cap + 1 else ''}. Drop just enough old "
            "entries that `cap` remain, including the new one: XADD appends it before it trims."
        )
    if "MINID" in words and len(found) == cap + 1:
        return (
            "One too many: MINID keeps the entry with that ID as well, so give it the oldest one "
            "to keep."
        )
    if "MINID" in words and len(found) == total:
        return (
            "Nothing was dropped. MINID keeps everything from that ID on, so give it the whole "
            "ID of the oldest entry to keep: many entries may share a millisecond."
        )
    if "XDEL" in names and len(found) > cap:
        return (
            f"It drops too few: {len(found)} entries remain of {total}. The stream may be longer "
            "by any number: drop just enough old entries that `cap` remain."
        )
    if found[0] == "1":
        return "Drop the oldest entries, not the newest."
    return "Drop just enough old entries that `cap` remain, including the new one."


def _kept(commands: list[list[str]]) -> int | None:
    """What a MAXLEN without `~` says; None if there is none."""
    for command in commands:
        words = [word.upper() for word in command]
        if "MAXLEN" in words and "~" not in words:
            after = words[words.index("MAXLEN") + 1 :]
            return int(after[1] if after[0] == "=" else after[0])
    return None


def _count(command: list[str]) -> float:
    """How many entries a range command may bring: its COUNT, or no limit."""
    if command[0] not in ("XRANGE", "XREVRANGE", "XREAD"):
        return 0
    words = [word.upper() for word in command]
    return int(words[words.index("COUNT") + 1]) if "COUNT" in words else float("inf")
