"""The checks of lab 01: append and range."""

from __future__ import annotations

import secrets
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
from helpers.streams.entry import entries

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
    if not found:
        raise Wrong(f"Nothing is in `{key}` yet: is the key spelled like this?", found="no entry")
    if len(found) > 1:
        raise Wrong(
            "Every run of the cell appends again: a stream keeps all that is ever added. "
            f"`redis.delete('{key}')`, then run it once.",
            expected="1 entry",
            found=f"{len(found)} entries",
        )
    if found[0].fields != READING:
        raise Wrong(
            "Compare the names and the values character by character.",
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
            "`xadd` returns the ID that the server gave the entry: store it in `first_id`.",
            expected=str(found[0].id),
            instead=first_id,
        )
    return f"The server gave it the ID `{first_id}`: {found[0].id.time:%H:%M:%S} UTC."


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
    for start, end in ((999, 2000), _hour_of_now()):
        _expect_hour(scene, between, start, end)
    return (
        "You return everything from the first moment of the hour to the last, and nothing of "
        "the next hour."
    )


def _hour_of_now() -> tuple[int, int]:
    """Another hour each time, so that no answer can know it."""
    start = 1_700_000_000_000 + secrets.randbelow(10**10)
    return start, start + 3_600_000


LARGEST = 2**64 - 1  # the sequence number: no bound that is guessed lies above it


def _expect_hour(scene: Scene, between: Any, start: int, end: int) -> None:
    ids = [
        *(f"{start - 1}-7", f"{start}-0", f"{start}-1", f"{start + 501}-0"),
        *(f"{end - 1}-0", f"{end - 1}-{LARGEST}", f"{end}-0", f"{end}-1", f"{end + 1}-0"),
    ]
    stream = scene.stream(f"hour:{start}", [(one, {"n": str(n)}) for n, one in enumerate(ids)])
    with scene.watching(stream) as commands:
        got, wanted = ids_of(scene.call(between, CLIENT, stream, start, end)), ids[1:6]
    if got == wanted:
        return
    hint = "Compare the first and the last ID with the bounds."
    if set(got) - set(ids):
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
    elif len(got) > len(wanted):
        hint = "It also returns entries from before or after the hour: use both bounds."
    elif not got:
        hint = (
            "Nothing came back. Read the stream that you are given, and put the lower bound "
            "first. If you compare IDs yourself, compare numbers: as strings, 999 is above "
            "2000."
        )
    raise Wrong(hint, expected=wanted, instead=got)


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
            got = ids_of(scene.call(latest, CLIENT, stream, n))
        wanted = [f"{last - place}-0" for place in range(n)]
        if got != wanted:
            raise Wrong(_newest_hint(got, wanted), expected=wanted, instead=got[:5])
        too_much = [command for command in commands if _count(command) > n]
        if too_much:
            raise Wrong(
                "Let the server stop after n entries, with COUNT: here it sent more than n.",
                expected=f"a reply with {n} entries",
                found=" ".join(too_much[0]).replace(stream, "stream"),
            )
    return "The server sent only what you asked for, newest first."


def _newest_hint(got: list[str], wanted: list[str]) -> str:
    if got == wanted[::-1]:
        return "These are the newest entries, but oldest first: reverse the order."
    if got and got == [f"{n}-0" for n in range(1, len(got) + 1)]:
        return "These are the oldest: XRANGE starts at the beginning."
    if not got:
        return (
            "Nothing came back. XREVRANGE takes the higher bound first, from `+` down to `-`, and "
            "the stream is the one that you are given."
        )
    if got[: len(wanted)] == wanted or got == wanted[: len(got)]:
        return f"`n` says how many, here {len(wanted)}: pass it as COUNT."
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
    temperatures = [cold + n // 40 + n % 7 for n in range(1050)]  # no two mistakes share a mean
    ids = [f"{1000 + n // 30}-{n % 30}" for n in range(1050)]
    fields = [{"temperature": str(t)} for t in temperatures]
    stream = scene.stream("long", list(zip(ids, fields, strict=True)))
    slow = (
        "It never ends. Start each page after the whole last ID of the previous page, and stop "
        "when a page comes back empty."
    )
    with scene.watching(stream) as commands:
        got = scene.call(mean_temperature, CLIENT, stream, 100, slow=slow)
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
        raise Wrong(
            "The mean is right, but a reply was larger than a page: give COUNT to XRANGE.",
            expected="replies of at most 100 entries",
            found=" ".join(too_large[0]).replace(stream, "stream"),
        )
    _expect_zero(scene, mean_temperature)
    _expect_none(scene, mean_temperature)
    return f"{len(commands)} replies, none larger than a page, and no entry was counted twice."


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
    for values, hint in mistakes:
        if abs(got - sum(values) / len(values)) < 1e-9:
            return hint
    return ""


@lab.exercise(
    6,
    "Only if the stream exists",
    "XADD creates a stream that doesn't exist. One of its options prevents that.",
    "NOMKSTREAM: `redis.xadd(stream, fields, nomkstream=True)`. What does it return then?",
    calls=("redis", "stream", "fields"),
)
def only_existing(scene: Scene, append_existing: Any) -> str:
    """On a stream, on none, and on one that goes, or comes, before a command of the function."""
    there = scene.stream("there", [("1-0", {"a": "1"})])
    missing = scene.key("missing")
    fields = {"temperature": "31", "station": missing[-8:]}
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        begin = partial(supervisor.begin, append_existing, CLIENT, through=proxy)
        with scene.watching(missing) as commands:
            outcome = begin(missing, fields).outcome()
        words = [" ".join(command).upper() for command in commands]
        if scene.redis.exists(missing) or any(one.startswith(REMOVING) for one in words):
            _expect_unmade(scene, missing, words)
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
        _expect_empty_counts(scene, begin, proxy, fields)
    return (
        "One command, so no other client can come in between."
        if names[:1] == names[-1:]
        else "It's right even if the stream is deleted in the meantime. NOMKSTREAM does it in "
        "one command."
    )


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
    if len(found) != 2 or found[-1].fields != fields:
        new = [one.fields for one in found[1:]]
        raise Wrong(
            "If the stream exists, append the fields that your function was given, once.",
            expected=fields,
            found=repr(new[-1]) if len(new) == 1 else f"{len(new)} new entries",
        )
    if str(got) != str(found[-1].id):
        raise Wrong("Return the new entry's ID.", expected=str(found[-1].id), instead=got)


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
    for before, cap in ((60, 25), (3, 7), (30, 12)):
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
    if found == wanted:
        return
    hint = "Drop just enough old entries that `cap` remain, including the new one."
    if newest not in found:
        hint = "The new entry has to be on the stream as well."
    elif len(found) == total and "MAXLEN" not in words and "MINID" not in words:
        hint = "Nothing trims the stream yet: XADD can do it in the same step."
    elif len(found) == total and total > cap and "MINID" in words and "~" not in words:
        hint = (
            "Nothing was dropped. MINID keeps everything from that ID on, so give it the whole "
            "ID of the oldest entry to keep: many entries may share a millisecond."
        )
    elif len(found) == total:
        hint = (
            "Nothing was dropped. redis-py's `maxlen` means `MAXLEN ~`, which drops only whole "
            "nodes of 100 entries. Pass `approximate=False`."
        )
    elif len(found) == cap + 1 and total - cap > 1:
        hint = "It trims before it adds, so there is one too many: the new entry counts."
    elif len(set(found)) < len(found):
        hint = "An entry is there twice: append once."
    elif found and found[0] == "1" and total > cap:
        hint = "Drop the oldest entries, not the newest."
    elif total <= cap:
        hint = "There were fewer than `cap` entries, so none had to be dropped."
    raise Wrong(
        hint,
        expected=f"the {len(wanted)} entries {wanted[0]} to {wanted[-1]}, for `cap` {cap}",
        found=f"{len(found)}, from {found[0]} to {found[-1]}" if found else "no entry",
    )


def _count(command: list[str]) -> float:
    """How many entries a range command may bring: its COUNT, or no limit."""
    if command[0] not in ("XRANGE", "XREVRANGE", "XREAD"):
        return 0
    words = [word.upper() for word in command]
    return int(words[words.index("COUNT") + 1]) if "COUNT" in words else float("inf")
