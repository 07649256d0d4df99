"""The checks of lab 01: append and range."""

from __future__ import annotations

from typing import Any

import redis

from helpers.chaos import CLIENT
from helpers.checks.lab import Lab
from helpers.checks.scene import Scene, ids_of
from helpers.checks.verdict import Wrong
from helpers.streams.entry import entries

lab = Lab("01", "`solutions/01_append_and_range.ipynb`")

READING = {"temperature": "26", "humidity": "10"}


@lab.exercise(
    1,
    "Append one reading",
    "The method has the name of the command: `redis.xadd(stream, fields)`.",
    "The fields are a dict: `{'temperature': 26, 'humidity': 10}`. What does `xadd` return?",
)
def append_one(scene: Scene, first_id: Any) -> str:
    """The learner's own stream holds one entry with the fields asked for."""
    key = "lab01:chennai"
    kind = str(scene.redis.type(key))
    if kind not in ("stream", "none"):
        raise Wrong(
            f"Delete the key with `redis.delete('{key}')`, then append with XADD.",
            expected="a stream",
            found=f"a {kind}",
        )
    found = entries(scene.redis.xrange(key))
    if not found:
        raise Wrong(f"Nothing is in `{key}` yet: is the key spelt like this?", found="no entry")
    if len(found) > 1:
        raise Wrong(
            "Every run of the cell appends again: a stream keeps all that is ever added. "
            f"`redis.delete('{key}')`, then run it once.",
            expected="1 entry",
            found=f"{len(found)} entries",
        )
    if found[0].fields != READING:
        raise Wrong(
            "Compare the names and the values letter by letter.",
            expected=READING,
            instead=found[0].fields,
        )
    if list(found[0].fields) != list(READING):
        raise Wrong(
            "The fields are right, but in the other order. Within a stream keep to one order: "
            "lesson 01 shows what that saves.",
            expected=READING,
            instead=found[0].fields,
        )
    if found[0].id.ms < 10**12:
        raise Wrong(
            "Let the server choose the ID: `*`, which is what `xadd` sends if you give none.",
            expected="an ID that is a time",
            found=str(found[0].id),
        )
    if str(first_id) != str(found[0].id):
        raise Wrong(
            "`xadd` returns the ID that the server gave to the entry: keep it in `first_id`.",
            expected=str(found[0].id),
            instead=first_id,
        )
    return f"The server gave it the ID `{first_id}`: {found[0].id.time:%H:%M:%S} o'clock UTC."


@lab.exercise(
    2,
    "Which IDs would Redis take?",
    "An ID is a pair of numbers. It must be above the last one, compared as a pair.",
    "In the same millisecond the sequence number decides. Without one it is 0.",
)
def which_ids(scene: Scene, accepted: Any) -> str:
    """Each prediction is compared with what the server does."""
    offered = ("1000-5", "1000-6", "999-9", "1001", "1000-*", "10000-0")
    if not isinstance(accepted, dict) or set(accepted) != set(offered):
        raise Wrong("Keep the dict as the lab gives it: six IDs, each True or False.")
    why = {
        "1000-5": "an ID is never given twice, so the last ID itself is refused",
        "1000-6": "in the same millisecond the sequence number grows",
        "999-9": "the milliseconds are compared first, and 999 is before 1000, whatever follows",
        "1001": "an ID without a sequence number is valid: it means 1001-0",
        "1000-*": "with `*` the server chooses the next sequence number in that millisecond",
        "10000-0": "IDs are compared as numbers, not as text: 10000 is after 1000",
    }
    for entry_id in offered:
        stream = scene.stream(entry_id, [("1000-5", {"a": "1"})])
        try:
            scene.redis.xadd(stream, {"a": "2"}, id=entry_id)
            taken = True
        except redis.ResponseError:
            taken = False
        if accepted[entry_id] is not taken:
            raise Wrong(
                f"{why[entry_id].capitalize() if why[entry_id][0] != '`' else why[entry_id]}.",
                expected=f"`{entry_id}`: {taken}",
                instead=accepted[entry_id],
            )
    return "The server agrees with all six."


@lab.exercise(
    3,
    "All readings of an hour",
    "XRANGE takes two bounds, and both are included. Which one must not be?",
    "A bare `2000` as upper bound means the last ID of that millisecond, also in `(2000`.",
    "`(` in front of a whole ID leaves out just that one: `(2000-0`.",
    calls=("redis", "stream", "start_ms", "end_ms"),
)
def one_hour(scene: Scene, between: Any) -> str:
    """A half-open range, with several entries in the milliseconds at its ends."""
    ids = ["998-7", "999-0", "999-1", "1500-0", "1999-0", "1999-1234", "2000-0", "2000-1", "2001-0"]
    stream = scene.stream("hour", [(one, {"n": str(n)}) for n, one in enumerate(ids)])
    got = ids_of(scene.call(between, CLIENT, stream, 999, 2000))
    wanted = ids[1:6]
    if got == wanted:
        return "From the first moment of the hour to the last, and nothing of the next one."
    hint = "Compare the first and the last ID with the bounds."
    if got[-1:] == ["2000-1"]:
        hint = (
            "As upper bound a bare `2000` means the last ID of that millisecond, and `(2000` "
            "leaves out only that very ID. Write the sequence number: `(2000-0`."
        )
    elif got[-1:] == ["2000-0"]:
        hint = "The end belongs to the next hour, or it counts in both: leave it out with `(`."
    elif got and got == wanted[: len(got)]:
        hint = (
            "The last millisecond of the hour may have any number of entries: a bound `1999-0` "
            "ends at that one ID, so higher sequence numbers are left out."
        )
    elif got and got == wanted[-len(got) :]:
        hint = "The start is part of the hour, with every sequence number: `999` means `999-0`."
    elif not got:
        hint = (
            "Nothing came back. Read the stream that you are given, and put the lower bound "
            "first. If you compare IDs yourself, compare numbers: as text 999 is above 2000."
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
    """The newest entries first, and no more of them read than asked for."""
    stream = scene.stream("newest", [(f"{n}-0", {"n": str(n)}) for n in range(1, 2001)])
    with scene.watching(stream) as commands:
        got = ids_of(scene.call(latest, CLIENT, stream, 3))
    wanted = ["2000-0", "1999-0", "1998-0"]
    if got == wanted and any(_count(command) > 3 for command in commands):
        raise Wrong(
            "Let the server stop after n entries, with COUNT: it sent more than those here.",
            expected="a reply with 3 entries",
            found=" ".join(commands[-1]).replace(stream, "stream"),
        )
    if got == wanted:
        return "Three entries asked for, three sent, newest first."
    hints = {
        tuple(wanted[::-1]): "These are the newest, but oldest first: turn them round.",
        ("1-0", "2-0", "3-0"): "These are the oldest: XRANGE starts at the beginning.",
    }
    hint = hints.get(tuple(got), "XREVRANGE starts at the newest entry; COUNT says how many.")
    if not got:
        hint = (
            "Nothing came back. XREVRANGE takes the higher bound first, from `+` down to `-`, and "
            "the stream is the one that you are given."
        )
    raise Wrong(hint, expected=wanted, instead=got[:5])


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
    temperatures = [15 + n // 40 + n % 7 for n in range(1050)]  # no two mistakes share a mean
    ids = [f"{1000 + n // 30}-{n % 30}" for n in range(1050)]
    fields = [{"temperature": str(t)} for t in temperatures]
    stream = scene.stream("long", list(zip(ids, fields, strict=True)))
    slow = "It never ends: start each page after the last ID of the one before, and end at the end."
    with scene.watching(stream) as commands:
        got = scene.call(mean_temperature, CLIENT, stream, 100, slow=slow)
    if not isinstance(got, int | float):
        raise Wrong("Return the mean as a number.", expected="a number", instead=got)
    mean = sum(temperatures) / len(temperatures)
    if abs(got - mean) > 1e-9:
        raise Wrong(
            _paging_hint(float(got), temperatures), expected=f"{mean:.4f}", found=f"{got:.4f}"
        )
    too_large = [command for command in commands if _count(command) > 100]
    if too_large:
        raise Wrong(
            "The mean is right, but a reply was larger than a page: give COUNT to XRANGE.",
            expected="replies of at most 100 entries",
            found=" ".join(too_large[0]).replace(stream, "stream"),
        )
    empty = scene.call(mean_temperature, CLIENT, scene.key("missing"), 100)
    if empty is not None:
        raise Wrong(
            "A stream without entries has no mean: return None.", expected=None, instead=empty
        )
    return f"{len(commands)} replies, none larger than a page, and no entry twice."


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
    mistakes = (
        (temperatures[:page], "This is the mean of the first page: go on after its last ID."),
        (
            temperatures[: -(len(temperatures) % page)],
            "The last page is missing, which is not full.",
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
    if got in [round(sum(temperatures) / len(temperatures), digits) for digits in range(6)]:
        return "Return the mean as it is, and do not round it."
    for values, hint in mistakes:
        if abs(got - sum(values) / len(values)) < 1e-9:
            return hint
    return "Add up every entry once, and divide by how many there were."


@lab.exercise(
    6,
    "Only if the stream exists",
    "XADD creates a stream that is not there. One of its options forbids that.",
    "NOMKSTREAM: `redis.xadd(stream, fields, nomkstream=True)`. What does it return then?",
    calls=("redis", "stream", "fields"),
)
def only_existing(scene: Scene, append_existing: Any) -> str:
    """An entry on a stream that exists, None and no key where there is none."""
    there = scene.stream("there", [("1-0", {"a": "1"})])
    missing = scene.key("missing")
    fields = {"temperature": "31", "station": missing[-8:]}
    got = scene.call(append_existing, CLIENT, missing, fields)
    if scene.redis.exists(missing):
        raise Wrong(
            "XADD made the stream. Its option NOMKSTREAM says not to.",
            expected="no key",
            found=f"a stream of {scene.redis.xlen(missing)}",
        )
    if got is not None:
        raise Wrong("Return None where there is no stream.", expected=None, instead=got)
    with scene.watching(there) as commands:
        got = scene.call(append_existing, CLIENT, there, fields)
    found = entries(scene.redis.xrange(there))
    if len(found) != 2 or found[-1].fields != fields:
        raise Wrong(
            "On a stream that exists it has to append the fields that it is given.",
            expected=fields,
            found=f"{len(found) - 1} new entries",
        )
    if str(got) != str(found[-1].id):
        raise Wrong("Return the new entry's ID.", expected=str(found[-1].id), instead=got)
    if [command[0] for command in commands] != ["XADD"]:
        asked = "NOMKSTREAM" in (word.upper() for command in commands for word in command)
        raise Wrong(
            "NOMKSTREAM asks already, so one command is enough."
            if asked
            else "Between your question and your XADD somebody else may make or delete the stream, "
            "and then XADD does the wrong thing: let one command do both.",
            expected="one command, XADD",
            found=" and ".join(command[0] for command in commands) or "no command",
        )
    return "One command, so nobody can come in between."


@lab.exercise(
    7,
    "A stream that stays short",
    "XADD can trim in the same step: `maxlen=`.",
    "redis-py trims approximately unless told otherwise: what does `~` do to a short stream?",
    "`redis.xadd(stream, fields, maxlen=cap, approximate=False)`.",
    calls=("redis", "stream", "fields", "cap"),
)
def capped(scene: Scene, add_capped: Any) -> str:
    """Exactly the newest `cap` entries remain after each of several calls."""
    cap = 25
    stream = scene.stream("capped", [(f"{n}-0", {"n": str(n)}) for n in range(1, 61)])
    with scene.watching(stream) as commands:
        for number in (61, 62):
            scene.call(add_capped, CLIENT, stream, {"n": str(number)}, cap)
    words = {word.upper() for command in commands for word in command}
    found = [entry.fields["n"] for entry in entries(scene.redis.xrange(stream)) if entry.fields]
    wanted = [str(n) for n in range(38, 63)]
    if words & {"DEL", "UNLINK"}:
        raise Wrong(
            "It deletes the stream and builds it anew: meanwhile readers find none, and the "
            "entries get other IDs. Trim it instead.",
            found="DEL",
        )
    if found == wanted:
        return f"Exactly the newest {cap}, whatever came before."
    hint = "Of the old entries drop just so many that `cap` remain, the new one included."
    if len(found) == 62 and "MAXLEN" not in words:
        hint = "Nothing trims the stream yet: XADD can do it in the same step."
    elif len(found) == 62:
        hint = (
            "Nothing was dropped. redis-py's `maxlen` means `MAXLEN ~`: about so many, and in "
            "whole blocks of 100. Say `approximate=False`."
        )
    elif "62" not in found:
        hint = "The new entry has to be on the stream as well."
    elif len(found) == cap + 1:
        hint = "It trims before it adds, so there is one too many: the new entry counts."
    elif found and found[0] == "1":
        hint = "The oldest entries go, not the newest."
    raise Wrong(
        hint,
        expected=f"the {cap} entries {wanted[0]} to {wanted[-1]}",
        found=f"{len(found)}, from {found[0]} to {found[-1]}" if found else "no entry",
    )


def _count(command: list[str]) -> float:
    """How many entries a range command may bring: its COUNT, or no limit."""
    if command[0] not in ("XRANGE", "XREVRANGE", "XREAD"):
        return 0
    words = [word.upper() for word in command]
    return int(words[words.index("COUNT") + 1]) if "COUNT" in words else float("inf")
