"""The checks of lab 02: blocking reads."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from helpers.chaos import CLIENT, Failure, Outcome, Returned, Running, Unfinished
from helpers.checks.lab import Lab
from helpers.checks.predictions import expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, ids_of, result
from helpers.checks.verdict import Wrong
from helpers.checks.work import WORK_S, handled, handler, note, until_begun
from helpers.course.pace import patient

lab = Lab("02", "`solutions/02_blocking_reads.ipynb`")

MOST_ENTRIES = 1000  # on a stream that one reply does not exhaust
SETTLE_S = 0.3  # time for a learner's function to come to its XREAD


@lab.exercise(
    1,
    "How many entries does XREAD return?",
    "`XREAD` returns what comes after an ID, without the entry that has this ID.",
    "`$` means the last ID that the stream has generated, at the moment of the call. What comes "
    "after that?",
)
def how_many(scene: Scene, returned: Any) -> str:
    """Each prediction is compared with what the server replies."""
    why = {
        "0": "`0` is before every entry, so XREAD returns all of them",
        "1000-0": "the entry with this ID has been read already, so it is left out; the two after "
        "it are returned",
        "1000": "a bare `1000` is short for `1000-0`, and `1000-1` and `2000-0` come after that",
        "2000-0": "nothing comes after the last entry; without BLOCK the reply is empty",
        "1500-0": "the ID doesn't have to exist: XREAD returns what comes after it",
        "$": "`$` is the last ID generated at the moment of the call, and nothing is after it yet",
    }
    ids = ["1000-0", "1000-1", "2000-0"]
    stream = scene.stream("three", [(one, {"n": "1"}) for one in ids])
    replies: dict[str, Any] = {after: scene.redis.xread({stream: after}) for after in why}
    actual = {after: len(reply.get(stream, [])) for after, reply in replies.items()}
    expect_predicted(returned, actual, why, "six IDs, each with a number")
    return "The server agrees with all six."


@lab.exercise(
    2,
    "What is new since then?",
    "`redis.xread({stream: last_id})` returns a dict. A stream without new entries isn't in it.",
    "`reply.get(stream, [])` is a list in either case.",
    calls=("redis", "stream", "last_id"),
)
def what_is_new(scene: Scene, read_after: Any) -> str:
    """Entries after an ID as a list, empty if there are none, without waiting."""
    ids = ["999-5", "1000-1", "1000-2", "2000-0"]
    stream = scene.stream("news", [(one, {"n": str(n)}) for n, one in enumerate(ids)])
    most = 0  # entries that a reply may hold, by COUNT
    for last_id, wanted in (("1000-1", ids[2:]), ("0", ids), ("999-5", ids[1:]), ("2000-0", [])):
        slow = "It waits for new entries. Without BLOCK, XREAD replies immediately."
        with (
            scene.watching(stream) as commands,
            scene.running(read_after, CLIENT, stream, last_id) as process,
        ):
            outcome = process.outcome(LIMIT_S)
        if any("BLOCK" in map(str.upper, command) for command in commands):
            raise Wrong("Don't wait: leave out BLOCK.", found="XREAD with BLOCK")
        if isinstance(outcome, Failure) and any(_has_bracket(command) for command in commands):
            raise Wrong(
                "XREAD takes the ID without `(`, which is for XRANGE. It always leaves out the "
                "entry with that ID.",
                found=str(outcome),
            )
        most = max([most, *map(_count, commands)])
        if wanted and len(commands) > 3 and commands[-1] == commands[-2]:
            slow = (
                "It sends the same command again and again, and gets the same entries. Pass the "
                "last ID of each reply to the next XREAD, or read only once."
            )
        got = result(outcome, slow, LIMIT_S)
        if got and isinstance(got, dict):
            raise Wrong(
                "That is the whole reply of `xread`: take this stream's entries out of it."
                if stream in got
                else "Return a list of pairs, as they are in the reply, and not a dict.",
                expected="a list of entries",
                instead=got,
            )
        if got is None or (not got and not isinstance(got, list | tuple)):
            raise Wrong(
                "If there are no new entries, return an empty list, so that callers can loop "
                "over it.",
                expected=[],
                instead=got,
            )
        found = ids_of(got)
        if found == wanted and scene.redis.xlen(stream) == len(ids):
            continue
        hint = "`XREAD` takes the last ID that you have seen, and returns everything after it."
        if scene.redis.xlen(stream) < len(ids):
            hint = "Your function deleted entries. Read them, and leave them on the stream."
        elif stream in found:
            hint = (
                "These are pairs of a stream's name and its entries. Take this stream's entries: "
                "`reply[stream]`."
            )
        elif last_id != "0" and found == [one for one in ids if one > last_id]:
            hint = (
                "The IDs were compared as strings, and as strings `1000-1` is before `999-5`. Let "
                "the server compare them: pass `last_id` to it."
            )
        elif found == [last_id, *wanted] and not any(last_id in command for command in commands):
            hint = (
                "Pass `last_id` as it is: without its sequence number it means the first entry of "
                "that millisecond."
            )
        elif found == [last_id, *wanted]:
            hint = "You've already seen the entry with the last ID itself: XREAD leaves it out."
        elif any("$" in command for command in commands):
            hint = "`$` skips what is already on the stream: read after the ID that you were given."
        elif not commands:
            hint = "Read the stream that you were given: none of your commands named it."
        elif found and not {*found} & {*wanted}:
            hint = "These are the entries up to `last_id`. Read the ones after it."
        elif not found and any(last_id in command for command in commands):
            hint = (
                "The server sent the entries, and your function returned none of them: they are in "
                "`reply[stream]`."
            )
        elif not found:
            hint = "Nothing came back. Read after the ID that you were given, up to the last one."
        elif found == wanted[1:] and not any(last_id in command for command in commands):
            hint = (
                f"`{wanted[0]}` is missing, which is in the same millisecond as `last_id`. Pass "
                "`last_id` as it is: XREAD returns what comes after it."
            )
        elif found in (wanted[:1], wanted[-1:]):
            hint = "There is more than one: leave out COUNT, or take the whole list."
        elif found and found == wanted[1:]:
            hint = (
                f"`{wanted[0]}`, the first entry after `last_id`, is missing. An entry with the ID "
                "`last_id` need not be on the stream, so don't count on it being the first."
            )
        elif found == wanted[::-1]:
            hint = "Return them in the order of their IDs."
        elif set(found) > set(wanted):
            hint = "It also returns earlier entries. Read after the ID that you were given."
        raise Wrong(hint, expected=wanted, instead=found)
    if 0 < most <= MOST_ENTRIES:
        longer = scene.stream("longer", [(f"{n}-0", {"n": str(n)}) for n in range(1, most + 2)])
        if len(got := ids_of(scene.call(read_after, CLIENT, longer, "0"))) <= most:
            raise Wrong(
                f"COUNT {most} ends the reply, and there may be more: leave out COUNT, or read on "
                "until nothing comes.",
                expected=f"{most + 1} entries of a longer stream",
                found=f"{len(got)}",
            )
    return "Everything that is new, nothing twice, and an empty list if nothing is new."


def _has_bracket(command: list[str]) -> bool:
    return command[0] == "XREAD" and any(word.startswith("(") for word in command)


@lab.exercise(
    3,
    "Wait, but not forever",
    "BLOCK is in milliseconds, as `timeout_ms` is.",
    "The ID for “from now on” is `$`. For a single call, it's just right.",
    calls=("redis", "stream", "timeout_ms"),
)
def wait_for_one(scene: Scene, wait: Any) -> str:
    """The next entry if one comes in time, None if not; nothing of what was there before."""
    stream = scene.stream("wait", [(AHEAD, {"n": "old"})])
    _expect_patience(scene, wait, stream)
    with (
        scene.watching(stream) as commands,
        scene.running(wait, CLIENT, stream, 1500) as process,
    ):
        process.begun()
        time.sleep(SETTLE_S)
        with scene.redis.pipeline(transaction=True) as both:
            for n in ("new", "one more"):
                both.xadd(stream, {"n": n})
            added = [str(one) for one in both.execute()]
        outcome = process.outcome(LIMIT_S)
    got = result(outcome, "An entry came, and your function is still waiting.", LIMIT_S)
    pair = _as_pair(got)
    if pair and pair[0] == added[0]:
        return "It waits as long as you tell it to, and no longer."
    hint = "Return the one entry, `(id, fields)`, as it is in the reply: `reply[stream][0]`."
    if got is None and sum(map(_block, commands)) < 1200:
        hint = "It doesn't wait for `timeout_ms`: BLOCK is in milliseconds, as `timeout_ms` is."
    elif got is None:
        hint = "An entry came while it waited, and your function returned None."
    elif pair and pair[0] == added[1]:
        hint = "Two entries came at once. The next entry is the first of them: `reply[stream][0]`."
    raise Wrong(hint, expected=f"('{added[0]}', {{'n': 'new'}})", instead=got)


def _as_pair(got: Any) -> tuple[str, Any] | None:
    """An ID and the fields, however they are held together; None if it is something else."""
    try:
        entry_id, fields = got
    except (TypeError, ValueError):
        return None
    return (str(entry_id), fields) if isinstance(fields, dict) else None


PATIENCE_MS = 400
AHEAD = f"{10**13}-0"  # an ID that no clock has reached: those that follow are in the future too
_CLOCK = (
    "The ID that you read after comes from your own clock. IDs are positions: on this stream, "
    "they are ahead of it. `$` is the last ID of the stream, whatever it is."
)


def _there_before(commands: list[list[str]]) -> str:
    """Why an entry came that was there before."""
    if any(_own_clock(command) for command in commands):
        return _CLOCK
    words = {word for command in commands for word in command}
    if "+" in words:
        return "That entry was there before: `+` is the newest one. “From now on” is `$`."
    return "That entry was there before: “from now on” is `$`, not `0`."


def _own_clock(command: list[str]) -> bool:
    """Whether a command names a moment of these years."""
    return any(10**12 < int(ms) < 10**13 for ms in _milliseconds(command[1:]))


def _milliseconds(words: list[str]) -> Iterator[str]:
    """The first halves of the IDs among the words of a command."""
    for word in words:
        ms = word.lstrip("(").partition("-")[0]
        if ms.isdecimal():
            yield ms


def _expect_patience(scene: Scene, wait: Any, stream: str) -> None:
    """Nothing comes: the function has to give None, and to wait for that in the server."""
    with (
        scene.watching(stream) as commands,
        scene.running(wait, CLIENT, stream, PATIENCE_MS) as process,
    ):
        outcome = process.outcome(LIMIT_S)
    blocks = [_block(command) for command in commands if command[0] == "XREAD"]
    slow = "Nothing came, and it still runs: return None after `timeout_ms` milliseconds."
    if any(block == float("inf") for block in blocks):
        slow = (
            "Nothing came, and it still waits: BLOCK 0 waits forever. BLOCK is in milliseconds, as "
            "`timeout_ms` is."
        )
    elif any(block > 2 * PATIENCE_MS for block in blocks):
        slow = f"{_TOO_LONG} BLOCK is in milliseconds, as `timeout_ms` is."
    elif sum(command.count("$") for command in commands if command[0] == "XREAD") > 1:
        slow = "It keeps asking with `$` and never ends, although nothing came within `timeout_ms`."
    got = result(outcome, slow, LIMIT_S)
    if got is not None and AHEAD in str(got):
        raise Wrong(
            _there_before(commands),
            expected=None,
            instead=got,
        )
    if got is not None:
        raise Wrong("Return None if nothing came in time.", expected=None, instead=got)
    asked = [command for command in commands if command[0] in ("XREAD", "XRANGE", "XREVRANGE")]
    if len([command for command in asked if not _block(command)]) > 2:
        raise Wrong(
            "It asks again and again. Let the server wait for you, with BLOCK.",
            expected="XREAD with BLOCK",
            found=f"{len(asked)} commands in {PATIENCE_MS} ms",
        )
    if sum("$" in command for command in commands if command[0] == "XREAD") > 1:
        raise Wrong(
            "Each `$` means “from now on”, so an entry that comes between two of your XREADs is "
            "missed. Wait once, for the whole `timeout_ms`.",
            expected="one XREAD with `$`",
            found=f"{len(blocks)} of them",
        )
    looks = [one[0] for one in commands if one[0] in ("XINFO", "XREVRANGE")]
    if len(looks) > 1 and len(blocks) > 1:
        raise Wrong(
            "You look up the last ID of the stream more than once, and miss an entry that comes in "
            "between: look it up once, before you wait.",
            expected="one look at the last ID",
            found=f"{len(looks)} {looks[0]}",
        )
    waited = f"BLOCK {sum(blocks):g}" if any(blocks) else "no BLOCK"
    enough = 0.8 if len(blocks) == 1 else 0.5  # on a busy machine, several BLOCKs end late
    if sum(blocks) < enough * PATIENCE_MS:
        raise Wrong(
            "It doesn't wait long enough. BLOCK makes XREAD wait, in milliseconds: "
            "`block=timeout_ms`."
            if any(blocks)
            else "The server didn't wait for you: without BLOCK, XREAD replies at once, and an "
            "entry that comes during a sleep isn't returned as soon as it comes. Use "
            "`block=timeout_ms`.",
            expected=f"XREAD BLOCK {PATIENCE_MS}",
            found=waited,
        )
    if 1.3 * PATIENCE_MS < sum(blocks) < float("inf"):
        raise Wrong(
            f"{_TOO_LONG} Wait for `timeout_ms`: `block=timeout_ms`.",
            expected=f"XREAD BLOCK {PATIENCE_MS}, for `timeout_ms` {PATIENCE_MS}",
            found=waited,
        )


_TOO_LONG = "It waits longer than it was asked to."


def _block(command: list[str]) -> float:
    """The milliseconds for which a command blocks; 0 if it does not."""
    words = [word.upper() for word in command]
    if "BLOCK" not in words:
        return 0
    return int(words[words.index("BLOCK") + 1]) or float("inf")


@lab.exercise(
    4,
    "Follow a stream and miss nothing",
    "What happens to an entry that arrives while `handle` is running?",
    "`$` in a loop skips entries. Look up the last ID once, before the loop: "
    "`redis.xinfo_stream(stream)['last-generated-id']`.",
    "From then on, pass the ID of the last entry that you handled. A reply may hold several "
    "entries: handle each of them, and stop after `n`.",
    calls=("redis", "stream", "handle", "n"),
)
def follow(scene: Scene, follow_stream: Any) -> str:
    """Every entry that comes from the start on is handled once, in order, also after a lull."""
    stream = scene.stream("follow", [(AHEAD, {"n": "old"})])
    handle = handler(scene)
    wanted = [str(n) for n in range(1, 8)]
    with (
        scene.watching(stream) as commands,
        scene.running(follow_stream, CLIENT, stream, handle, len(wanted)) as process,
    ):
        with scene.watching(stream) as first:
            process.begun()
            time.sleep(SETTLE_S)
        if any(_block(command) == float("inf") for command in first):
            scene.redis.xadd(stream, {"n": "1"})  # BLOCK 0 never ends without news
            time.sleep(WORK_S * 1.6)
        else:
            _lull(scene, process, stream, "1")
        for n in wanted[1:-1]:  # some come while it waits, some while it works, some together
            scene.redis.xadd(stream, {"n": n})
            time.sleep(WORK_S * 1.6 if n == "4" else 0.01)
        with scene.redis.pipeline() as together:  # in one reply, however slow the machine is
            for n in (wanted[-1], "one too many"):
                together.xadd(stream, {"n": n})
            together.execute()
        outcome = process.outcome(LIMIT_S)
        found = handled(scene)
    busy = sum(command[0] == "XREAD" and not _block(command) for command in commands)
    if found == wanted and busy > 2:
        raise Wrong(
            "It asks again and again while nothing comes: let XREAD wait, with BLOCK.",
            found=f"{busy} XREADs without BLOCK",
        )
    if found == wanted and isinstance(outcome, Unfinished):
        raise Wrong("All are handled: return after `n` entries.", found="it went on waiting")
    if found != wanted:
        if not isinstance(outcome, Unfinished):
            result(outcome, "", LIMIT_S)  # what it raised says more than what is missing
        ended = isinstance(outcome, Returned)
        under_way = ended and len(handled(scene, "begun")) > len(found)  # in threads
        hint = _ONE_BY_ONE if under_way else _follow_hint(found, wanted, commands, ended)
        raise Wrong(hint, expected=wanted, instead=found)
    result(outcome, "", LIMIT_S)
    return "Seven entries, some of them while your function was busy, and none missed."


def _lull(scene: Scene, process: Running, stream: str, n: str) -> None:
    """A BLOCK ends in vain, and an entry comes just before the function reads again."""
    process.pause()
    scene.time_out()
    scene.redis.xadd(stream, {"n": n})
    process.resume()
    time.sleep(WORK_S * 1.6)


_ONE_BY_ONE = (
    "Handle the entries in order, one after another: call `handle` for each as it is in the reply, "
    "and wait until it returns."
)


def _follow_hint(
    found: list[str], wanted: list[str], commands: list[list[str]], ended: bool
) -> str:
    reads = [command for command in commands if command[0] == "XREAD"]
    looks = [command for command in commands if command[0] in ("XINFO", "XREVRANGE")]
    if any(_no_fields(one) for one in found):
        return ONLY_FIELDS
    if "old" in found and any(map(_own_clock, commands)):
        return _CLOCK
    if found[:2] == ["old", "old"] and any(one[0] == "XRANGE" for one in commands):
        return (
            "XRANGE includes its bounds, so the last entry that you saw comes again each time. "
            "XREAD leaves it out, and can wait."
        )
    if "old" in found:
        return (
            "The entry that was there before doesn't count: start after the stream's last ID, "
            "looked up once, before the loop."
        )
    if found[: len(wanted)] == wanted:
        return (
            "Stop after `n` entries, even in the middle of a reply: count each entry that you "
            "handle, and not each reply."
        )
    if len(set(found)) < len(found):
        return "An entry was handled again: pass the ID of the last entry, not the first one's."
    numbers = [int(one) for one in found if one.isdecimal()]
    if numbers != sorted(numbers):
        return _ONE_BY_ONE
    if ended and reads and not found:
        return (
            "Nothing was handled, and it ended. Call `handle(fields)` for each entry that "
            "comes. If a BLOCK returns nothing, wait again, until you've handled `n` entries."
        )
    dollars = sum("$" in command for command in reads)
    if dollars > 1 and found[:1] != wanted[:1]:
        return (
            "A BLOCK ended without an entry, and you missed the one that came just after that: "
            "the next `$` means “from now on” again. Look up the last ID once, before the loop."
        )
    if dollars > 1:
        return (
            "Entries are missing: those that came while `handle` was running. `$` in every "
            "call asks only for what comes later. Look up the last ID once, before the loop."
        )
    if len(looks) > 1 and reads:
        return (
            "You look up the last ID of the stream more than once, and skip what was added in "
            "between: look it up once, before the loop, then pass the ID of the last entry "
            "that you handled."
        )
    if ended and reads and found == wanted[: len(found)]:
        return (
            f"It ended after {len(found)} of {len(wanted)} entries. More entries come later. If "
            "a BLOCK returns nothing, wait again, until you've handled `n` entries."
        )
    if not found:
        return "Nothing was handled: call `handle(fields)` for each entry."
    if not reads:
        return "Entries are missing. Follow the stream with XREAD, from the last ID that you saw."
    return (
        "Entries are missing. A reply may hold more than one entry: handle each of them, and pass "
        "the ID of the last one to the next XREAD."
    )


ONLY_FIELDS = "`handle` takes only the fields, the dict as it is in the entry: `handle(fields)`."


def _no_fields(handed: str) -> bool:
    """Whether the handler was given something else than an entry's fields."""
    return handed[:1] in ("(", "[", "'", '"') or handed == "None"


@lab.exercise(
    5,
    "Two streams, two places",
    "One XREAD can name both: `redis.xread({first: last_of_first, second: last_of_second})`.",
    "Each stream needs its own last ID: keep a dict of them, and pass it to `xread` as it is.",
    calls=("redis", "streams", "n"),
)
def two_streams(scene: Scene, read_both: Any) -> str:
    """All entries of two streams whose clocks differ, however they are spread."""
    first = scene.stream("fast", [(f"{9000 + n}-0", {"n": f"f{n}"}) for n in range(4)])
    second = scene.stream("slow", [("5-0", {"n": "s0"})])
    with (
        scene.watching(second) as commands,
        scene.running(read_both, CLIENT, [first, second], 7) as process,
    ):
        process.begun()
        time.sleep(SETTLE_S)
        scene.redis.xadd(second, {"n": "s0"}, id="6-0")  # a reading like the one before it
        time.sleep(0.1)
        scene.redis.xadd(second, {"n": "s2"}, id="7-0")
        outcome = process.outcome(LIMIT_S)
    reads = [command for command in commands if command[0] == "XREAD"]
    dollars = [command for command in reads if "$" in command]
    if dollars and commands[0] is not dollars[0]:
        raise Wrong(
            "`$` means “from now on” in each XREAD, so you miss what comes between two of "
            "them. Keep the last ID of each stream instead.",
            expected="the last ID that was read, of each stream",
            found=f"`{' '.join(dollars[0]).replace(first, 'fast').replace(second, 'slow')}`",
        )
    if reads and first in reads[0] and any(first not in command for command in reads[1:]):
        raise Wrong(
            "A later XREAD names one stream only. A reply leaves out a stream without new "
            "entries, so don't rebuild the dict of last IDs from it: change the ID of the "
            "stream that had new entries, and keep the other one.",
            expected="both streams in each XREAD",
            found="the first XREAD for both, a later one for one of them",
        )
    again = [command for command in reads if first in command and _after(command, first) == "0"]
    if len(again) > 1:
        raise Wrong(
            "It keeps reading from the beginning, so the server sends the same entries each "
            "time: read each stream after the last ID that you got from it. If you add every "
            "reply to your list, it has entries that came twice.",
            expected="`0` in the first XREAD alone",
            found=f"`0` in {len(again)} of them",
        )
    if isinstance(outcome, Unfinished):
        raise Wrong(
            _waiting_hint(reads, second), expected="7 entries", found="it was still waiting"
        )
    got = result(outcome, "", LIMIT_S)
    found = _values(got)
    wanted = ["f0", "f1", "f2", "f3", "s0", "s0", "s2"]
    if sorted(found) == wanted:
        _expect_one_wait(reads, first)
        return "Each stream at its own pace, and nothing missed on either."
    raise Wrong(_both_hint(found, wanted, reads, (first, second)), expected=wanted, instead=found)


def _both_hint(
    found: list[str], wanted: list[str], reads: list[list[str]], streams: tuple[str, str]
) -> str:
    twice = any(found.count(one) > wanted.count(one) for one in found)
    ends = ({"0", "9003-0"}, {"0", "5-0", "6-0", "7-0"})
    moved = all(
        stream in command and _after(command, stream) in end
        for command in reads
        for stream, end in zip(streams, ends, strict=True)
    )
    if twice and moved:
        return (
            "The server sent each entry once, and your list has some more than once: add the "
            "fields of each entry as they are."
        )
    if twice:
        return (
            "Some came twice: after each reply, update the last ID of the stream that the "
            "entries came from."
        )
    if len(found) < len(wanted):
        return "Some are missing: go on reading until there are `n`."
    return "Collect the fields of every entry, of both streams, until there are `n`."


def _after(command: list[str], stream: str) -> str:
    """The ID after which an XREAD reads a stream; `0` however that is written."""
    named = command[[word.upper() for word in command].index("STREAMS") + 1 :]
    after = named[len(named) // 2 + named.index(stream)]
    return "0" if after in ("0", "0-0", "-") else after


def _waiting_hint(reads: list[list[str]], second: str) -> str:
    if reads and "$" in reads[0]:
        return "Read both from their beginnings, with `0`. `$` skips what is already there."
    if reads and second in reads[-1] and _after(reads[-1], second) == "7-0":
        return (
            "It was sent every entry, and waits for more. Add each entry of a reply to your list, "
            "which may be several of one stream, and even if its fields were there before. Stop as "
            "soon as the list has `n`."
        )
    return (
        "It waits for entries that are already there. The last ID of one stream means nothing "
        "on the other: keep one for each. And name both streams in one XREAD, or one holds up "
        "the other."
    )


def _expect_one_wait(reads: list[list[str]], other: str) -> None:
    """Both streams in each XREAD, and XREAD that waits."""
    if not all(other in command for command in reads):
        raise Wrong(
            "Name both streams in one XREAD: it waits for whichever gets an entry first.",
            found="an XREAD for one stream alone",
        )
    busy = sum(not _block(command) for command in reads)
    if busy > 5 or not any(map(_block, reads)):
        raise Wrong(
            "It asks again and again while nothing comes: let XREAD wait, with BLOCK.",
            expected="XREAD with BLOCK",
            found=f"{busy} XREADs without BLOCK" if reads else "no XREAD",
        )


@lab.exercise(
    6,
    "Stopped, and started again",
    "Where is the last ID after the program dies? Put it in a Redis key: `place`.",
    "First `handle`, then `redis.set(place, entry_id)`, for every single entry.",
    "At the start: `last = redis.get(place) or '0'`.",
    "When `xread` returns nothing, you've handled everything, and your function can return.",
    calls=("redis", "stream", "place", "handle"),
)
def resume(scene: Scene, resume_reading: Any) -> str:
    """Killed twice in the middle of the work: nothing is lost, and little is done again."""
    wanted = [str(n) for n in range(1, 9)]
    stream = scene.stream("resume", [(f"1000-{n}", {"n": n}) for n in wanted])
    place, handle = scene.key("place"), handler(scene, raises=wanted[-1])
    mistaken = not scene.redis.exists("place")
    keys = set(scene.redis.scan_iter(count=1000))
    held: list[Held] = []
    with scene.watching(stream) as commands, scene.watching(place) as notes:
        for begun in KILLED_AT:
            stuck = handler(scene, stuck=begun)
            with scene.running(resume_reading, CLIENT, stream, place, stuck) as process:
                if until_begun(scene, process, begun):
                    process.kill()  # in the middle of its work on an entry
                    held.append(_held(scene, place))
                else:
                    outcome = process.outcome(GLANCE_S)
                    break
        else:
            for _ in range(3):  # its handler raises; then one entry is left, and then none
                with scene.running(resume_reading, CLIENT, stream, place, handle) as process:
                    outcome = process.outcome(LIMIT_S)
                if not isinstance(outcome, Returned) and not _raised_by_handler(outcome):
                    break
    if not handled(scene, "begun"):
        _expect_from_start(stream, commands)
    if len(handled(scene, "begun")) < KILLED_AT[0]:
        result(outcome, "", LIMIT_S)
    if mistaken and scene.redis.delete("place"):
        raise Wrong(
            "`place` is a variable that holds the name of a key: write it without quotes.",
            found="a key named 'place'",
        )
    if handled(scene) and not scene.redis.exists(place) and scene.redis.xlen(stream) == len(wanted):
        others = {key for key in scene.redis.scan_iter(count=1000) if ":check:" not in key} - keys
        raise _nothing_saved(notes, others, inspect.iscoroutinefunction(resume_reading))
    _expect_whole_id(scene, place, len(handled(scene)) > len(set(handled(scene))))
    found = handled(scene)
    strange = [one for one in found if one not in wanted]
    if strange:
        raise Wrong(ONLY_FIELDS, expected="handle({'n': …})", found=f"handle({strange[0]})")
    _expect_each_once(found, wanted, scene.redis.xlen(stream), held, notes)
    slow = "Nothing is left, and it still waits: return when `xread` returns nothing more."
    result(outcome, slow, LIMIT_S)
    _expect_no_bound(scene, resume_reading, max(map(_count, commands), default=0))
    return (
        "It was killed twice in the middle of its work, and still handled every entry: at "
        "least once."
    )


def _expect_from_start(stream: str, commands: list[list[str]]) -> None:
    """Nothing was handled: it did not begin at a place where nothing is left."""
    newest = [one for one in commands if "$" in one or one[0] in ("XINFO", "XREVRANGE")]
    if newest:
        raise Wrong(
            "`$`, or the last ID of the stream, skips what is already on the stream. If no ID "
            "is saved yet, begin at `0`.",
            expected="the first XREAD from `0`",
            found=f"{' '.join(newest[0]).replace(stream, 'stream')}, and nothing handled",
        )
    first = next((one for one in commands if one[0] == "XREAD"), None)
    if first and _after(first, stream) != "0":
        raise Wrong(
            f"It began after the ID `{_after(first, stream)}`, although nothing is saved in the "
            "key whose name your function is given. Read that key, and save in it: "
            "`redis.get(place)` and `redis.set(place, entry_id)`.",
            expected="the first XREAD from `0`",
            found=f"{' '.join(first).replace(stream, 'stream')}, and nothing handled",
        )


def _nothing_saved(notes: list[list[str]], others: set[str], is_async: bool) -> Wrong:
    """The verdict where `place` is not there."""
    why = _not_kept(notes)
    if is_async and not any(words[0] in SAVING for words in notes):
        why = "none of your commands wrote to it. Is there an `await` in front of `set`?"
    return Wrong(
        "Save how far you got in the key whose name your function is given: "
        "`redis.set(place, entry_id)`. There is nothing in it"
        f"{f' in the end: {why}' if why else '.'}",
        expected="a last ID in `place`",
        found=f"a key `{min(others)}`" if others else "no such key",
    )


KILLED_AT = (4, 7)  # in which a batch of two or more, noted at its end, begins again
GLANCE_S = patient(0.1)  # for what has run for long enough


def _expect_whole_id(scene: Scene, place: str, again: bool) -> None:
    """Not only the milliseconds are noted."""
    noted = scene.redis.get(place) if scene.redis.type(place) == "string" else None
    if again and noted == "1000":
        raise Wrong(
            "You saved only the milliseconds, and several entries may share one: save the "
            "whole ID, with its sequence number.",
            expected="`1000-8` in `place`",
            found="`1000`",
        )


def _expect_no_bound(scene: Scene, resume_reading: Any, count: int) -> None:
    """A stream that is longer than a reply."""
    if not 0 < count <= MOST_ENTRIES:
        return
    ids = [(f"{n}-0", {"n": str(n)}) for n in range(1, count + 2)]
    stream, place = scene.stream("long", ids), scene.key("place:long")
    noted = scene.key("noted")
    slow = "Nothing is left, and it still runs: return when `xread` returns nothing more."
    work = partial(note, noted)
    scene.call(resume_reading, CLIENT, stream, place, work, slow=slow, limit_s=3 * LIMIT_S)
    if scene.redis.llen(noted) < len(ids):
        raise Wrong(
            f"It ended before the stream did. One reply with COUNT {count} holds at most "
            f"{count} entries, so read on until `xread` returns nothing more.",
            expected=f"{len(ids)} entries handled, of a longer stream",
            found=f"{scene.redis.llen(noted)}",
        )


def _count(command: list[str]) -> int:
    """The COUNT of a command; 0 if it has none."""
    words = [word.upper() for word in command]
    return int(words[words.index("COUNT") + 1]) if "COUNT" in words else 0


class Held(NamedTuple):
    """What was in `place` when the function was killed, and the last entry that it had handled."""

    text: str
    done: int

    @property
    def entry(self) -> int | None:
        """The entry whose ID it is, 0 if there was nothing; None if it is no ID of the stream."""
        ms, _, number = self.text.partition("-")
        if not self.text:
            return 0
        return int(number) if ms == "1000" and number.isdecimal() and len(number) == 1 else None


def _held(scene: Scene, place: str) -> Held:
    kind = str(scene.redis.type(place))
    text = str(scene.redis.getrange(place, 0, -1)) if kind == "string" else ""
    numbers = [int(one) for one in handled(scene) if one.isdecimal()]
    return Held(text if kind in ("string", "none") else f"a {kind}", max(numbers, default=0))


def _raised_by_handler(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.kind == "Unbearable"


def _not_kept(notes: list[list[str]]) -> str:
    """Why what was saved in `place` is not there, or not replaced by what is saved next."""
    writes = [words for words in notes if words[0] in ("SET", "SETNX")]
    if any(words[0] in ("DEL", "UNLINK", "GETDEL") for words in notes):
        return "your function deletes `place`, and with it how far it got. Leave it there."
    if writes and all(words[0] == "SETNX" or "NX" in words[3:] for words in writes):
        return "NX saves an ID only if none is saved yet, so `place` keeps the first one: no NX."
    if any(
        words[0] in ("SETEX", "PSETEX", "EXPIRE", "PEXPIRE") or {"EX", "PX"} & {*words[3:]}
        for words in notes
    ):
        return "what you save expires, and a restart may come later: save it for good."
    return ""


def _expect_each_once(
    found: list[str],
    wanted: list[str],
    length: int,
    held: list[Held],
    notes: list[list[str]],
) -> None:
    """Every entry handled, none of them without need again, and all still on the stream."""
    lost = [n for n in wanted if n not in found]
    again = len(found) - len(set(found))
    if length < len(wanted):
        raise Wrong(
            "Leave the entries on the stream: others read them too. Your function keeps its "
            "own place.",
            expected=f"{len(wanted)} entries on the stream",
            found=f"{length}",
        )
    late = again and any(one.entry is not None and one.entry < one.done for one in held)
    if lost and not late:
        raise Wrong(
            _lost_hint(lost, wanted, held),
            expected="every entry at least once",
            found=f"{', '.join(lost)} never handled",
        )
    if again:
        raise Wrong(
            f"After a restart, it began too far back: {_again_hint(held, notes)}",
            expected="no entry again that was handled and saved",
            found=f"{again} handled again",
        )


def _lost_hint(lost: list[str], wanted: list[str], held: list[Held]) -> str:
    if lost == wanted:
        return "`handle` was never called: call `handle(fields)` for each entry."
    early = next((one for one in held if (one.entry or 0) > one.done), None)
    if early:
        return (
            f"Your function saved an entry's ID before it handled the entry: `place` held "
            f"`{early.text}` when entry {early.done} was the last one handled, and then the crash "
            "came. Do the work, then save the ID."
        )
    if strange := _no_id(held):
        return strange
    if held and lost[0] == str(held[0].done + 1) and held[0].entry == held[0].done:
        return (
            f"`place` held `{held[0].text}`, and after the restart your function left out the "
            "entry after it. Pass the saved ID to XREAD as it is."
        )
    if lost == wanted[: len(lost)]:
        return f"It left out entry {lost[0]}: if no ID is saved yet, begin at `0`, and cut nothing."
    if lost == wanted[-1:] and len(held) == len(KILLED_AT):
        return (
            f"`handle` raised an exception for entry {lost[0]}, and your function saved its ID "
            "all the same. Let the exception end your function: then the entry comes again."
        )
    if lost == wanted[-len(lost) :]:
        return "It ended before the stream did: read on until `xread` returns nothing more."
    return (
        "Your function saved an entry's ID before it handled the entry, and the crash came in "
        "between. Do the work, then save the ID."
    )


def _no_id(held: list[Held]) -> str:
    """What to say if `place` held something else than an ID."""
    strange = next((one for one in held if one.entry is None), None)
    if strange is None:
        return ""
    return (
        f"`place` held `{strange.text}`, and no ID, when entry {strange.done} was the last one "
        "handled. Save the ID after every single entry, as it is, and continue after the saved one."
    )


def _again_hint(held: list[Held], notes: list[list[str]]) -> str:
    if why := _not_kept(notes):
        return why
    if all(words[0] in (*SAVING, *OWN) for words in notes):
        return "it never reads `place`. Start after the ID that is in it: `redis.get(place)`."
    late = next((one for one in held if one.entry is not None and one.entry < one.done), None)
    if late:
        return (
            f"`place` held {f'`{late.text}`' if late.text else 'nothing'} when entry {late.done} "
            "was the last one handled. Save the ID after every single entry, and continue after "
            "the saved one."
        )
    return _no_id(held) or (
        "the ID was saved, and your function didn't continue right after it. XREAD leaves out "
        "the entry with the ID that you pass; XRANGE includes it, unless `(` is in front."
    )


OWN = ("GETRANGE", "TYPE", "EXISTS")  # what the check itself asks
SAVING = ("SET", "HSET", "HMSET", "RPUSH", "LPUSH", "SADD", "INCR", "INCRBY", "APPEND")


def _values(answer: Any) -> list[str]:
    try:
        return [str(fields["n"]) for fields in answer]
    except (TypeError, KeyError, IndexError):
        raise Wrong(
            "Return a list with the fields of each entry: a dict for each.",
            expected="[{'n': …}, …]",
            instead=answer,
        ) from None
