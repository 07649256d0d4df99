"""The checks of lab 03: consumer groups."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, cast

from helpers.chaos import CLIENT, Failure, Fault, Returned, Unfinished
from helpers.checks.lab import Lab
from helpers.checks.lab03.spread import (
    STATIONS,
    TOWNS,
    expect_names,
    expect_same,
    expect_spread,
    hash_seed,
)
from helpers.checks.predictions import expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, ids_of, result
from helpers.checks.standing import GROUP, consumers_of, group_of, numbered, pending_of, unread_of
from helpers.checks.verdict import StillBlank, Wrong
from helpers.checks.work import (
    Began,
    Meanwhile,
    Unbearable,
    handled,
    handler,
    have_met,
    in_step,
    in_turn,
    meeting_handler,
    until_begun,
    until_still,
    who_began,
    work_together,
)
from helpers.course.blank import Blank
from helpers.course.pace import patient

lab = Lab("03", "`solutions/03_consumer_groups.ipynb`")

ME = "erin"  # the consumer that a learner's function is; no name that a lesson uses
WORKERS = ["deepa", "erin", "farid"]


@lab.exercise(
    1,
    "How many entries does each get?",
    "A group moves on with each entry that it delivers, whichever of its consumers gets it.",
    "`$` is the last ID generated at the moment when the group is created. Entries added later "
    "come after it.",
)
def who_gets_what(scene: Scene, delivered: Any) -> str:
    """Each prediction is compared with what the server delivers."""
    why = {
        "a": "the group begins before all entries, and COUNT 2 limits the reply to two",
        "b": "the group continues where it was: it delivers the three that it hadn't delivered "
        "yet, and `>` never returns those that it has, acknowledged or not",
        "c": "bob is in the same group, and alice has already got everything",
        "d": "each group has its own place, whatever `display` has delivered; this one begins "
        "after `3-0`, so it delivers `4-0` and `5-0`",
        "e": "another group has its own place; but `$` is “from now on”, and nothing has been "
        "added yet",
        "f": "this entry was added after the group was created, and that is when `$` was looked up",
        "g": "the new entry is for every group, and it's the only one that this group hadn't "
        "delivered yet",
        "h": "bob, in the same group, got the new entry, so alice doesn't get it as well",
    }
    stream = numbered(scene, "five", 5)
    create, actual = partial(scene.redis.xgroup_create, stream), {}

    def read(group: str, name: str, count: int | None = None) -> int:
        reply: Any = scene.redis.xreadgroup(group, name, {stream: ">"}, count=count)
        return len(reply.get(stream, []))

    create("display", "0")
    actual["a"], actual["b"] = read("display", "alice", 2), read("display", "alice")
    actual["c"] = read("display", "bob")
    create("archive", "3-0")
    actual["d"] = read("archive", "alice")
    create("alarm", "$")
    actual["e"] = read("alarm", "alice")
    scene.redis.xadd(stream, {"n": "6"}, id="6-0")
    actual["f"], actual["g"] = read("alarm", "alice"), read("display", "bob")
    actual["h"] = read("display", "alice")
    expect_predicted(delivered, actual, why, "the letters `a` to `h`, each with a number")
    return "The server agrees with all eight."


@lab.exercise(
    2,
    "Make sure that the group exists",
    "Where must a group begin to deliver what is already on the stream?",
    "`redis.xgroup_create(stream, group, '0', mkstream=True)` creates the stream as well, if "
    "necessary.",
    "It raises a `redis.ResponseError` if the group exists. What is in the message of this "
    "error, but not of others? Let every other error through, with `raise`.",
    calls=("redis", "stream", "group"),
)
def see_to_it(scene: Scene, ensure: Any) -> str:
    """A stream alone, neither, both; a key of another type; and somebody else is faster."""
    alone, neither, both = numbered(scene, "alone", 3), scene.key("neither"), _begun(scene)
    streams = (alone, neither, both)
    ensured = in_turn(ensure, [(stream, GROUP) for stream in streams])
    before = scene.redis.exists(GROUP)
    with scene.watching(GROUP) as commands, scene.running(ensured, CLIENT) as process:
        outcome = process.outcome(LIMIT_S)
    _expect_none_destroyed([command for command in commands if {*streams} & {*command}])
    if isinstance(outcome, Failure) and "BUSYGROUP" in outcome.message:
        raise Wrong(
            "`BUSYGROUP` means that the group already exists, and that's all you want: catch "
            "this error, and only this one.",
            expected="no error",
            found=str(outcome),
        )
    if Blank in map(type, result(outcome, "", LIMIT_S)):
        raise StillBlank
    if any("CREATE" in map(str.upper, one[:2]) and one[2] == GROUP for one in commands):
        if not before:
            scene.redis.delete(GROUP)
        raise Wrong(
            "XGROUP CREATE takes the stream first, and then the group.",
            expected="a group on the stream that was given",
            found=f"a group on a key named `{GROUP}`",
        )
    _expect_made(scene, alone)
    _expect_stream_made(scene, neither)
    _expect_kept(scene, both)
    _expect_raised(scene, ensure)
    _expect_no_race(scene, ensure)
    return "With or without a stream, created by you or by others: now the group exists."


def _expect_none_destroyed(commands: list[list[str]]) -> None:
    destroyed = [command for command in commands if "DESTROY" in map(str.upper, command)]
    if destroyed:
        raise Wrong(
            "XGROUP DESTROY removes the group, with its place and everything pending, and "
            "other consumers may be working in it. Leave an existing group alone; don't "
            "recreate or move it. Try to create it, and treat `BUSYGROUP` as good news.",
            expected="a group that exists keeps its place",
            found="XGROUP DESTROY",
        )


def _expect_made(scene: Scene, stream: str) -> None:
    """The stream existed, the group did not."""
    about = group_of(scene, stream)
    others: Any = [one["name"] for one in cast("Any", scene.redis.xinfo_groups(stream))]
    if not about and others:
        raise Wrong(
            "You created a group under another name: use `group`, the name that you are given.",
            expected=f"a group `{GROUP}`",
            found=f"a group `{others[0]}`",
        )
    if not about:
        raise Wrong(
            "A stream can exist without this group: create the group in any case.",
            expected=f"a group `{GROUP}`",
            found="a stream with three entries, and no such group",
        )
    given = unread_of(scene, stream)
    if given != ["1", "2", "3"]:
        raise Wrong(
            "The group has to deliver what is already on the stream: let it begin at `0`. `$`, "
            "redis-py's default, is “from now on”.",
            expected="a group that is given the entries 1, 2, 3",
            found=f"it begins at {about['last-delivered-id']}, and is given {given or 'none'}",
        )


def _expect_stream_made(scene: Scene, stream: str) -> None:
    """Neither the stream nor the group existed."""
    if not group_of(scene, stream):
        raise Wrong(
            "There was no stream yet, so no group was created. MKSTREAM creates an empty "
            "stream: `mkstream=True`.",
            expected=f"an empty stream with a group `{GROUP}`",
            found="no such group",
        )
    about: Any = scene.redis.xinfo_stream(stream)
    if about["length"] or about["last-generated-id"] != "0-0":
        raise Wrong(
            "A dummy entry that you add just to create the stream reaches every consumer. "
            "MKSTREAM creates an empty stream: `mkstream=True`.",
            expected="a stream to which nothing was ever added",
            found=f"one whose last ID is {about['last-generated-id']}",
        )


def _begun(scene: Scene) -> str:
    """A stream with a group that was given two of its three entries."""
    stream = numbered(scene, "begun", 3)
    scene.redis.xgroup_create(stream, GROUP, "0")
    scene.redis.xreadgroup(GROUP, "alice", {stream: ">"}, count=2)
    return stream


def _expect_kept(scene: Scene, stream: str) -> None:
    """The group existed, and had come some way."""
    pending, unread = set(pending_of(scene, stream)), unread_of(scene, stream)
    if (pending, unread) != ({"1", "2"}, ["3"]):
        raise Wrong(
            "An existing group must keep its place and its pending entries: leave it alone; "
            "don't recreate or move it.",
            expected="2 entries pending, and entry 3 to come",
            found=f"{len(pending)} pending, and {', '.join(unread) or 'none'} to come",
        )


def _expect_raised(scene: Scene, ensure: Any) -> None:
    """The key is no stream."""
    key = scene.key("typo")
    scene.redis.set(key, "no stream")
    with scene.running(ensure, CLIENT, key, GROUP) as process:
        outcome = process.outcome(LIMIT_S)
    kind = str(scene.redis.type(key))
    if kind != "string":
        raise Wrong(
            "This key held something else, and now it's gone. Leave the key alone, and let the "
            "error through.",
            expected="the string that was there",
            found=f"a {kind}" if kind != "none" else "no key",
        )
    if isinstance(outcome, Returned):
        result(outcome, "", LIMIT_S)
        raise Wrong(
            "The key holds a string, so there is no group, and your caller doesn't find out. "
            "Catch only the error with `BUSYGROUP` in its message, and `raise` any other.",
            expected="the error WRONGTYPE",
            found="no error",
        )
    if not isinstance(outcome, Failure) or outcome.kind in ("NameError", "UnboundLocalError"):
        result(outcome, "", LIMIT_S)


def _expect_no_race(scene: Scene, ensure: Any) -> None:
    """Somebody else makes the group just before the function's own XGROUP CREATE arrives."""
    stream = numbered(scene, "race", 2)
    with scene.proxied() as proxy:
        proxy.arm(Fault.FREEZE_BEFORE, at="XGROUP CREATE")
        with scene.running(ensure, CLIENT, stream, GROUP, through=proxy) as process:
            process.begun()
            proxy.frozen(LIMIT_S)
            if not group_of(scene, stream):
                scene.redis.xgroup_create(stream, GROUP, "0")
            proxy.thaw()
            outcome = process.outcome(LIMIT_S)
    if isinstance(outcome, Failure) and "BUSYGROUP" in outcome.message:
        raise Wrong(
            "You looked, and there was no group. Before your command arrived, another consumer "
            "created it. Don't look first: create it, and treat `BUSYGROUP` as good news.",
            expected="no error",
            found=str(outcome),
        )
    result(outcome, "", LIMIT_S)


@lab.exercise(
    3,
    "What is new to the group",
    "What does XREADGROUP take in place of a last ID?",
    "`redis.xreadgroup(group, name, {stream: '>'}, count=count)` returns a dict.",
    "As with `xread`, a stream without new entries isn't in that dict.",
    calls=("redis", "stream", "group", "name", "count"),
)
def not_given_yet(scene: Scene, next_entries: Any) -> str:
    """Two consumers of a group, one of them twice; then nothing is left, for a third or for her."""
    stream = numbered(scene, "seven", 7)
    scene.redis.xgroup_create(stream, GROUP, "0")
    wanted: list[tuple[str, int, list[str]]] = [
        ("alice", 2, ["1-0", "2-0"]),
        ("bob", 3, ["3-0", "4-0", "5-0"]),
        ("alice", 10, ["6-0", "7-0"]),
        ("carol", 10, []),
        ("alice", 10, []),
    ]
    asked = [(stream, GROUP, name, count) for name, count, _ in wanted]
    with scene.watching(stream, in_scripts=True) as commands:
        slow = "Nothing is left, and it waits: leave out BLOCK."
        answers = scene.call(in_turn(next_entries, asked), CLIENT, slow=slow)
    holders = pending_of(scene, stream)
    _expect_names_given(commands, list(dict.fromkeys(name for name, _, _ in wanted)))
    for (_, _, ids), got in zip(wanted, answers, strict=True):
        _expect_list(got, commands)
        found = ids_of(got)
        returned = sum(len(one) for one in answers if isinstance(one, list | tuple))
        unlimited = any(" COUNT " not in _upper(one) for one in commands if one[0] == "XREADGROUP")
        if found != ids and unlimited and len(holders) > returned:
            raise Wrong(
                _held_hint(commands, too_many=True),
                expected="every entry that is pending returned",
                found=f"{len(holders)} pending, {returned} returned",
            )
        if found != ids:
            raise Wrong(_next_hint(commands, found, ids), expected=ids, instead=found)
    for name in ("alice", "bob"):
        hers = [one for who, _, ids in wanted if who == name for one in ids]
        held = [f"{number}-0" for number, holder in holders.items() if holder == name]
        if held != hers:
            raise Wrong(
                _held_hint(commands, len(held) > len(hers)),
                expected=f"{len(hers)} entries pending for {name}",
                found=f"{len(held)}",
            )
    return "Each entry went to one of them, and you return an empty list when none are left."


def _expect_names_given(commands: list[list[str]], names: list[str]) -> None:
    """Each reads in the name that it was given."""
    read = [command[3] for command in commands if command[0] == "XREADGROUP"]
    strange = [one for one in read if one not in names]
    if strange or len({*read}) == 1 < len(read):
        one = (strange or read)[0]
        raise Wrong(
            "Read under the name that you are given: `name` is the consumer, and another one "
            "at each call.",
            expected=f"reads for {', '.join(names)}",
            found=f"a read for `{one}`" if strange else f"{len(read)} reads, all for `{one}`",
        )


def _expect_list(got: Any, commands: list[list[str]]) -> None:
    if isinstance(got, Blank):
        raise StillBlank
    if any("BLOCK" in map(str.upper, command) for command in commands):
        raise Wrong("Don't wait: leave out BLOCK.", found=f"{commands[0][0]} with BLOCK")
    if isinstance(got, dict) and not any(key in command for command in commands for key in got):
        raise Wrong(
            "Return entries as a list of pairs (ID, fields), not as a dict.",
            expected="[('1000-0', {…}), …]",
            instead=got,
        )
    if isinstance(got, dict):
        raise Wrong(
            "That is the whole reply of `xreadgroup`: take this stream's entries out of it.",
            expected="a list of entries",
            instead=got,
        )
    if got is None:
        raise Wrong(
            "If nothing is left, return an empty list, so that callers can loop over it.",
            expected=[],
            instead=None,
        )
    if not any(command[0] == "XREADGROUP" for command in commands):
        raise Wrong(
            "A group delivers entries to consumers that ask with XREADGROUP. XREAD and XRANGE "
            "know nothing about groups, so bob would get the same entries as alice.",
            expected="XREADGROUP",
            found=commands[0][0] if commands else "no command",
        )


def _next_hint(commands: list[list[str]], found: list[str], ids: list[str]) -> str:
    asked = [command for command in commands if command[0] == "XREADGROUP"]
    if places := [command[-1] for command in asked if command[-1] != ">"]:
        return (
            f"With an ID, such as `{places[0]}`, a consumer asks for entries that *it* "
            "already got. For what is new to the group, use `>`, and only that."
        )
    counts = [one.partition(" COUNT ")[2].partition(" ")[0] for one in map(_upper, asked)]
    if (
        any(count.isdecimal() and int(count) < len(ids) for count in counts)
        or found[: len(ids)] == ids
    ):
        return "`count` is the most that it may return: pass it as COUNT."
    return "Return everything that the reply has for this stream, in order."


def _upper(command: list[str]) -> str:
    return " ".join(command).upper()


def _held_hint(commands: list[list[str]], too_many: bool) -> str:
    if too_many:
        return (
            "The server delivered more than you returned, and those entries are pending too. "
            "COUNT is the most that it may return."
        )
    if any("NOACK" in map(str.upper, command) for command in commands):
        return (
            "With NOACK, the group treats the entries as done at once, and a consumer that "
            "crashes loses them: leave it out."
        )
    if any(command[0] == "XACK" for command in commands):
        return "Don't acknowledge them here: the caller hasn't begun to work on them."
    return "Read under the name that you are given: `name` is the consumer."


@lab.exercise(
    4,
    "Work, then acknowledge",
    "Which comes first, the work or XACK? Think of a crash between the two.",
    "`redis.xack(stream, group, entry_id)` after `handle(fields)`. It takes several IDs too.",
    "When `xreadgroup` with `>` returns nothing more, return.",
    calls=("redis", "stream", "group", "name", "handle"),
)
def work_and_ack(scene: Scene, work: Any) -> str:
    """Killed in the middle of its work; then started again, to do what is left."""
    stream = numbered(scene, "work", 3)
    scene.redis.xgroup_create(stream, GROUP, "0")
    arguments = (CLIENT, stream, GROUP, ME)
    with (
        scene.watching(stream) as commands,
        scene.running(work, *arguments, handler(scene, stuck=2)) as process,
    ):
        begun_two = until_begun(scene, process, 2)
        if begun_two:
            process.kill()  # in the middle of its work on the second entry
        outcome = process.outcome(GLANCE_S)
    first = list(dict.fromkeys(command[0] for command in commands))  # none is the check's own
    _expect_new_asked(commands)
    if not begun_two:
        slow = "There are entries, and it hasn't handled any: is it waiting for others?"
        result(outcome, slow, LIMIT_S)
    with scene.watching(stream, f"{scene.key('work')}:done", in_scripts=True) as later:
        _expect_fields(handled(scene, "begun"), "handle(fields)")
        _expect_nothing_lost(scene, stream)
        before = len(handled(scene))
        numbered(scene, "work", 3, first=4)
        busy = handler(scene, meanwhile=Meanwhile("4", stream, "7"))
        with scene.running(work, *arguments, busy) as process:
            outcome = until_still(scene, process, most=50)
    commands += later
    _expect_new_asked(commands)
    if not isinstance(outcome, Unfinished):
        result(outcome, "", LIMIT_S)
    if not any(command[0] == "XREADGROUP" for command in commands):
        _say_what_is_read_instead(first)
    _expect_all_handled(scene, stream, ended=not isinstance(outcome, Unfinished) or outcome.ended)
    slow = "Nothing is left, and it hasn't ended: return when `xreadgroup` returns nothing more."
    result(outcome, slow, LIMIT_S)
    _expect_all_acked(scene, stream, handled(scene)[before:], commands)
    _expect_acked_early(scene, later)
    _expect_failed_pending(scene, stream, work)
    return (
        "Everything that was done is acknowledged, and what a crash interrupted is still pending."
    )


GLANCE_S = patient(0.1)  # for what has run for long enough


def _expect_new_asked(commands: list[list[str]]) -> None:
    """It asks for what is new, at least once, and so that it is pending then."""
    asked = [command for command in commands if command[0] == "XREADGROUP"]
    if any("NOACK" in map(str.upper, command) for command in asked):
        raise Wrong(
            "With NOACK, the group treats an entry as done when it delivers it, so nothing is "
            "pending when you crash: leave out `noack`, and send XACK after `handle`.",
            expected="what is not finished is still pending",
            found="XREADGROUP with NOACK",
        )
    after = {command[-1] for command in asked}
    if asked and ">" not in after and "$" not in after:
        raise Wrong(
            f"`{asked[0][-1]}` asks for what this consumer already got. For new entries, use `>`.",
            expected="XREADGROUP with `>`",
            found=f"XREADGROUP with `{asked[0][-1]}`",
        )


def _expect_failed_pending(scene: Scene, stream: str, work: Any) -> None:
    """`handle` raises for an entry: it is pending after that, or was done at a second try."""
    numbered(scene, "work", 2, first=8)
    with scene.running(work, CLIENT, stream, GROUP, ME, handler(scene, raises="8")) as process:
        outcome = process.outcome(LIMIT_S)
    if isinstance(outcome, Failure) and outcome.kind != Unbearable.__name__:
        result(outcome, "", LIMIT_S)
    if "8" not in handled(scene) and "8" not in pending_of(scene, stream):
        raise Wrong(
            "`handle` raised, so the work isn't done, and yet the entry was acknowledged. Send "
            "XACK only after `handle` has returned: not in a `finally`, and not after an "
            "`except` that goes on to it.",
            expected="the entry for which `handle` raised is pending",
            found="it is not",
        )


def _expect_fields(begun: list[str], call: str) -> None:
    if any("(" in one for one in begun):
        raise Wrong(f"`handle` takes only the fields: `{call}`.", found=begun[0])


def _expect_nothing_lost(scene: Scene, stream: str) -> None:
    """After the crash each entry is done, or pending, or still to come."""
    if scene.redis.xlen(stream) < 3:
        raise Wrong(
            "Leave the entries on the stream: other groups read them too. XACK marks an entry "
            "as done for this group, and removes nothing from the stream.",
            expected="3 entries on the stream",
            found=f"{scene.redis.xlen(stream)}",
        )
    known = {*handled(scene), *pending_of(scene, stream), *unread_of(scene, stream)}
    lost = [number for number in ("1", "2", "3") if number not in known]
    if lost:
        raise Wrong(
            "It was killed in the middle of its work, and the group already treated the entry "
            "as done, so it will never be finished. For each entry, call `handle` first, then "
            "send XACK.",
            expected="what is not finished is still pending",
            found=f"{', '.join(lost)} neither finished nor pending",
        )


def _say_what_is_read_instead(sent: list[str]) -> None:
    if {"XREAD", "XRANGE", "XREVRANGE"} & {*sent}:
        raise Wrong(
            "Read with XREADGROUP: XREAD and XRANGE know nothing about groups.",
            expected="XREADGROUP",
            found=", ".join(sent),
        )
    raise Wrong(
        "Nothing was read. Read with XREADGROUP in a loop, and let an empty reply end it: you "
        "can't know beforehand how many reads it takes.",
        expected="XREADGROUP",
        found=", ".join(sent) or "no command for this stream",
    )


def _expect_all_handled(scene: Scene, stream: str, *, ended: bool) -> None:
    """All has been given out, in the right name, and handled as it should be."""
    begun, names = handled(scene, "begun"), consumers_of(scene, stream)
    if names != [ME]:
        raise Wrong(
            "Read under the name that you are given: `name`, without quotes.",
            expected=f"a consumer `{ME}`, as `name` says",
            found=", ".join(f"`{name}`" for name in names) or "no consumer",
        )
    if not begun:
        hint = "Nothing was handled: call `handle(fields)` for each entry of the reply."
        raise Wrong(hint, expected="every entry handled", found="none")
    unread = unread_of(scene, stream)
    if unread and not ended:
        raise Wrong(
            "It's still running, and takes no more entries. Does it wait for something, or loop "
            "without reading `>` again?",
            expected="every entry handled",
            found=f"{', '.join(unread)} never read",
        )
    if unread:
        raise Wrong(
            "It ended before the group had delivered everything: read again until there is "
            "nothing more.",
            expected="nothing left",
            found=f"{', '.join(unread)} never read",
        )
    again = [number for number in ("4", "5", "6", "7") if begun.count(number) > 1]
    if again:
        raise Wrong(
            "You handled an entry more than once, without a crash in between: call "
            "`handle(fields)` once for each entry that `>` returns.",
            expected="each entry handled once",
            found=f"{', '.join(again)} handled again",
        )
    left = {"4", "5", "6", "7"} - set(begun)
    if left:
        raise Wrong(
            "You read these entries but didn't handle them: a reply may hold more than one entry.",
            expected="each entry of a reply handled",
            found=f"{', '.join(sorted(left))} not handled",
        )


def _expect_all_acked(
    scene: Scene, stream: str, done: list[str], commands: list[list[str]]
) -> None:
    """What was done without a crash is not pending any more."""
    forgotten = [number for number in done if number in pending_of(scene, stream)]
    if not forgotten:
        return
    acks = [command for command in commands if command[0] == "XACK"]
    hint = "Acknowledge each entry: unlike a last ID, an XACK doesn't cover the entries before it."
    if not acks:
        hint = "You did the work but didn't tell the group: send XACK after `handle`."
    elif any(command[2] != GROUP for command in acks):
        hint = (
            "XACK takes the stream, the group and the ID, in this order. In a group that "
            "doesn't exist, it acknowledges nothing, and only its reply, 0, shows that."
        )
    raise Wrong(
        hint, expected="nothing pending that is done", found=f"{', '.join(forgotten)} still pending"
    )


def _expect_acked_early(scene: Scene, commands: list[list[str]]) -> None:
    """What was done was acknowledged before it read on, or at least with the rest of its reply."""
    done: list[str] = []
    for command in commands:
        if command[0] == "RPUSH":
            done.append(command[-1])
        elif command[0] == "XACK":
            done = [number for number in done if f"{number}-0" not in command]
        elif command[0] == "XREADGROUP" and done:
            raise Wrong(
                "It read on before it acknowledged what it had done. The longer the XACK waits, "
                "the more is done again after a crash: send it for each entry, or for each "
                "reply, before the next XREADGROUP.",
                expected="XACK, then the next XREADGROUP",
                found=f"XREADGROUP while {', '.join(done)} was done and still pending",
            )


@lab.exercise(
    5,
    "Many hands",
    "Write a coroutine for one worker first: it is exercise 4 with `await`, and with COUNT 1.",
    "`await worker('alice')` waits until alice is done. How do you start all of them before "
    "you wait for one?",
    "`await asyncio.gather(*(worker(name) for name in names))`",
    calls=("redis", "stream", "group", "names", "handle"),
)
def many_hands(scene: Scene, share: Any) -> str:
    """Three workers, whose handler waits until all three are at work at the same moment."""
    names, count = WORKERS, 7
    stream = numbered(scene, "share", count)
    scene.redis.xgroup_create(stream, GROUP, "0")
    handle = meeting_handler(scene, stream, GROUP, len(names))
    with (
        scene.watching(stream) as commands,
        scene.running(share, CLIENT, stream, GROUP, names, handle) as process,
    ):
        outcome = until_still(scene, process, most=50)
    if not inspect.iscoroutinefunction(share) and not handled(scene):
        raise Wrong(
            "Keep the `async def`: workers that wait share one thread, by asyncio.",
            expected="a coroutine function",
            found="a plain function, and nothing was handled",
        )
    if isinstance(outcome, Failure) and f"'{work_together.__name__}' was never" in outcome.message:
        raise Wrong(
            "An `await` is missing: `handle(fields)` alone only creates a coroutine, and "
            "doesn't run it. Write `await handle(fields)`.",
            found=str(outcome),
        )
    if not isinstance(outcome, Unfinished):
        result(outcome, "", LIMIT_S)
    _expect_each_once(scene, stream, [str(n) for n in range(1, count + 1)], outcome)
    _expect_held(who_began(scene), commands)
    if not have_met(scene):
        raise Wrong(
            "One worker waits for another: `await` in a loop starts the next worker only when "
            "this one has ended. `asyncio.gather` starts all of them.",
            expected=f"{len(names)} at work at the same moment",
            found="never that many",
        )
    if in_step(scene):
        raise Wrong(
            "The workers go in step: each waits for the slowest one before it takes its next "
            "entry. Give each worker its own loop, in a coroutine, and let `gather` run these "
            "coroutines.",
            expected="a worker that has finished takes the next entry",
            found="two had finished, and none went on while the third was at work",
        )
    holders = sorted({one.holder for one in who_began(scene)})
    if holders != names:
        raise Wrong(
            "Each worker reads under its own name: that's how the group knows who holds what.",
            expected=", ".join(names),
            found=", ".join(holders),
        )
    slow = "Everything is done, and it hasn't ended: a worker ends when `>` returns nothing more."
    result(outcome, slow, LIMIT_S)
    left = pending_of(scene, stream)
    if left:
        raise Wrong(
            "Each worker acknowledges what it has handled: XACK, after `await handle(fields)`.",
            expected="nothing pending",
            found=f"{len(left)} entries pending",
        )
    return "All three worked at the same time, and each entry was handled once."


def _expect_each_once(scene: Scene, stream: str, wanted: list[str], outcome: Any) -> None:
    begun, done = [one.number for one in who_began(scene)], handled(scene)
    _expect_fields(begun, "await handle(fields)")
    if len(set(begun)) < len(begun):
        hint = (
            "Some entries were handled more than once: all workers must read in the same "
            "group, with `>`."
        )
        if len(scene.redis.xinfo_groups(stream)) > 1:
            hint = (
                "If each worker has its own group, each gets everything. Let them share one group."
            )
        raise Wrong(hint, expected=f"{len(wanted)} times work", found=f"{len(begun)} times")
    if len(begun) > len(done) and isinstance(outcome, Returned):
        raise Wrong(
            "It returned while its workers were still working, and they ended with it: await "
            "them all.",
            expected="every entry handled",
            found=f"{len(begun) - len(done)} begun and not finished",
        )
    if sorted(done, key=int) != wanted:
        hint = "Each worker reads in a loop, and ends when `>` returns nothing more."
        if not begun:
            hint = (
                "Nothing was handled. Start the workers and await them all; each reads with `>`, "
                "and calls `await handle(fields)`."
            )
        raise Wrong(hint, expected=wanted, instead=done)


def _expect_held(began: list[Began], commands: list[list[str]]) -> None:
    """Each entry was pending while it was handled, and nobody took more than one."""
    if not any(one.holder for one in began):
        raise Wrong(
            "While a worker handles an entry, the entry must be pending for it: read in the "
            "group, without NOACK, and acknowledge after the work.",
            expected="each entry pending while it is handled",
            found="none of them",
        )
    most = max(began, key=lambda one: one.held)
    reads = [" ".join(command) for command in commands if command[0] == "XREADGROUP"]
    if most.held > 1 and not all(" COUNT 1 " in read.upper() for read in reads):
        raise Wrong(
            "A worker that reads without COUNT takes everything, and leaves nothing for the "
            "others. Let each worker read for itself, with `count=1`.",
            expected="one entry at a time in the hands of a worker",
            found=f"{most.held} pending for {most.holder}",
        )


@lab.exercise(
    6,
    "How many are still to come?",
    "The server doesn't always know the lag. What does it always know about a group?",
    "`last-delivered-id` in `redis.xinfo_groups(stream)`, for the group with the right name.",
    "What comes after that ID can be counted: XRANGE from `(` and this ID to `+`.",
    calls=("redis", "stream", "group"),
)
def to_come(scene: Scene, unread: Any) -> str:
    """Fresh, half read, with holes, trimmed, all read, and long; with another group beside it."""
    cases = {
        "fresh": "nothing read",
        "half": "4 of 8 read, 2 of them acknowledged",
        "holes": "3 of 8 read, then one of these and one unread deleted",
        "trimmed": "3 of 8 read, then trimmed to 3",
        "done": "all read, then the last one deleted",
        "long": "2 of 2,500 read, then one unread deleted",
    }
    streams = {name: _prepared(scene, name) for name in cases}
    before = {name: _standing(scene, stream) for name, stream in streams.items()}
    calls = [(stream, GROUP) for stream in streams.values()]
    with scene.watching(*streams.values()) as commands:
        answers: list[Any] = scene.call(in_turn(unread, calls), CLIENT)
    _expect_only_looked(commands)
    if any(isinstance(one, Blank) for one in answers):
        raise StillBlank
    for (name, stream), got in zip(streams.items(), answers, strict=True):
        if _standing(scene, stream) != before[name]:
            raise Wrong(
                "Counting must not change anything, but XREADGROUP delivers the entries.",
                expected="a group that hasn't moved",
                found="it has moved on, or is gone",
            )
        wanted = len(unread_of(scene, stream))
        if got != wanted or isinstance(got, bool):
            raise Wrong(
                _unread_hint(scene, name, got, wanted, commands),
                expected=f"{wanted} ({cases[name]})",
                instead=got,
            )
    _expect_all_pages(scene, unread, commands)
    return "Exact, even where the server returns no lag or a wrong one."


CHANGE = {"XREADGROUP", "XGROUP", "XACK", "XCLAIM", "XAUTOCLAIM", "XADD", "XDEL", "XTRIM", "XSETID"}


def _expect_only_looked(commands: list[list[str]]) -> None:
    changed = [command for command in commands if command[0] in CHANGE]
    if changed:
        name = changed[0][0]
        does = (
            "delivers what it returns, so others don't get it" if name == "XREADGROUP" else "does"
        )
        raise Wrong(
            f"Counting must not change anything, not even for a moment, and {name} {does}. XINFO "
            "GROUPS and XRANGE only look.",
            expected="commands that only read",
            found=" ".join(_short(word) for word in changed[0]),
        )


def _short(word: str) -> str:
    return word.rpartition(":")[2]


MOST_ENTRIES = 20_000  # more would take too long to add


def _expect_all_pages(scene: Scene, unread: Any, commands: list[list[str]]) -> None:
    """A single read with a COUNT, however large, leaves out the rest of a longer stream."""
    words = [(command[0], _count_of(command)) for command in commands]
    counts = [count for name, count in words if name in ("XRANGE", "XREAD", "XREVRANGE")]
    largest = max(counts, default=0)
    if largest <= LONG:
        return
    wanted, got = largest + 7, None
    if largest <= MOST_ENTRIES:
        stream = numbered(scene, "longer", wanted)
        scene.redis.xgroup_create(stream, GROUP, "0")
        got = scene.call(unread, CLIENT, stream, GROUP)
    elif len(counts) > len({command[1] for command in commands}):
        return  # it reads on after a page
    if got != wanted:
        raise Wrong(
            f"With COUNT {largest:,}, one read leaves out the rest of a longer stream: go on after "
            "the last ID of each page, or leave out COUNT.",
            expected=f"{wanted:,} (nothing read)" if got is not None else "all entries",
            found=f"{got:,}" if isinstance(got, int) else f"a single read with COUNT {largest:,}",
        )


def _count_of(command: list[str]) -> int:
    """The COUNT of a command; 0 if it has none."""
    upper = [word.upper() for word in command]
    number = command[upper.index("COUNT") + 1] if "COUNT" in upper[:-1] else "0"
    return int(number) if number.isdecimal() else 0


LONG = 2500


def _prepared(scene: Scene, name: str) -> str:
    if name == "half":  # all in the same millisecond
        stream = scene.stream(name, [(f"1-{n}", {"n": str(n)}) for n in range(1, 9)])
    else:
        stream = numbered(scene, name, LONG if name == "long" else 8)
    scene.redis.xgroup_create(stream, GROUP, "0")
    archived = "1-5" if name == "half" else "5-0"
    scene.redis.xgroup_create(stream, "archive", archived)  # of the two groups it is named first
    read = {"fresh": 0, "half": 4, "done": 8, "long": 2}.get(name, 3)
    if read:
        scene.redis.xreadgroup(GROUP, "alice", {stream: ">"}, count=read)
        scene.redis.xack(stream, GROUP, "1-0")
    match name:
        case "half":
            scene.redis.xack(stream, GROUP, "1-1", "1-4")
        case "holes":
            scene.redis.xdel(stream, "2-0", "6-0")
        case "trimmed":
            scene.redis.xtrim(stream, maxlen=3, approximate=False)
        case "done":
            scene.redis.xack(stream, GROUP, *(f"{n}-0" for n in range(2, 9)))
            scene.redis.xdel(stream, "8-0")
        case "long":
            scene.redis.xdel(stream, "2000-0")
    return stream


def _standing(scene: Scene, stream: str) -> tuple[Any, ...]:
    about = group_of(scene, stream) or {}
    return about.get("last-delivered-id"), about.get("pending"), scene.redis.xlen(stream)


def _unread_hint(scene: Scene, name: str, got: Any, wanted: int, commands: list[list[str]]) -> str:
    """The sentence for a wrong number; the cases come in the order of `cases`."""
    if not isinstance(got, int | None) or isinstance(got, bool):
        return "Return a number: `len(…)` of a list of entries."
    stream = scene.key(name)
    about = group_of(scene, stream) or {}
    mine = [command for command in commands if command[1:2] == [stream] or stream in command]
    names = {command[0] for command in mine}
    if {"XPENDING", "XRANGE"} <= names and "XINFO" not in names:
        return (
            "The last pending entry isn't the last one delivered: that may be acknowledged by now, "
            "or gone. XINFO GROUPS has it: `last-delivered-id`."
        )
    if any("FULL" in map(str.upper, command) for command in mine):
        return (
            "XINFO STREAM with FULL lists only the first ten entries. XRANGE lists all that come "
            "after the group's `last-delivered-id`."
        )
    if got is None and name == "long":
        return "`Group.info()` counts only up to 1,000: count the entries yourself."
    if any(command[0] == "XRANGE" and command[2] == "-" for command in mine):
        return (
            "You read the whole stream and compare IDs yourself. An ID is two numbers, and as "
            "strings, `10-0` comes before `2-0`. Let the server compare: XRANGE from `(` and the "
            "group's `last-delivered-id`."
        )
    if name == "long" and isinstance(got, int) and got > wanted and any(map(_count_of, mine)):
        return (
            "Some were counted twice. Start each page after the last ID of the previous page: `(` "
            "in front of that ID leaves it out."
        )
    if name == "long" and isinstance(got, int) and 0 < got < wanted and got % 100 == 0:
        return "That is one page of them: go on after its last ID, or leave out COUNT."
    if name in ("holes", "trimmed") and got in (about.get("lag"), 0, None):
        return (
            "After an XDEL, the server may not know the lag, and after an XTRIM, it may return "
            "a wrong one. Count what comes after the group's `last-delivered-id`."
        )
    if got == len(unread_of(scene, stream, "archive")):
        return "That's another group of this stream: use the one with the right name."
    if got == about.get("pending"):
        return (
            "That's the number of pending entries: those that were delivered but not acknowledged."
        )
    if got == scene.redis.xlen(stream):
        return (
            "XLEN counts everything on the stream, including what the group has already delivered."
        )
    if got == scene.redis.xlen(stream) - about.get("pending", 0):
        return (
            "XLEN minus the pending entries still counts the acknowledged ones. They're still "
            "on the stream, but they've been delivered."
        )
    if got == wanted - 1 and name == "fresh":
        return (
            "One too few: a group that has delivered nothing has nothing to leave out. `(` "
            "leaves out exactly the last one delivered, so there is nothing to subtract."
        )
    if got == wanted + 1 and name == "half":
        return "One too many: the last delivered entry doesn't count. `(` leaves it out."
    if {"XRANGE", "XREAD", "XREVRANGE"} & names:
        return "Count every entry after this group's `last-delivered-id`, and no other."
    return (
        "The server's counters don't take deleted entries into account. Count what comes after "
        "the group's `last-delivered-id`."
    )


@lab.exercise(
    7,
    "Each city in its order",
    "The choice may depend only on the city and `n`. Try `hash('chennai')` in two processes: "
    "is it the same?",
    "A checksum turns a string into the same number everywhere: `zlib.crc32(city.encode())`.",
    "The remainder after division by `n` is between 0 and `n - 1`: `number % n`.",
    calls=("city", "n"),
)
def each_city(scene: Scene, stream_of: Any) -> str:
    """The same choice twice over and in two processes, one of the n, and well spread."""
    asked = [(city, n) for n in (3, 2, 5) for city in (*TOWNS, *STATIONS)]
    here = scene.call(in_turn(stream_of, [*asked, *asked[::-1]]))
    if any(isinstance(one, Blank) for one in here):
        raise StillBlank
    chosen = dict(zip(asked, here, strict=False))
    expect_names(chosen)
    again = dict(zip(asked[::-1], here[len(asked) :], strict=True))
    expect_same(
        chosen,
        again,
        "For the same city, your function returned something else the second time. It may "
        "depend only on the city and `n`, not on a counter or on chance.",
    )
    with hash_seed(2):
        there = scene.call(in_turn(stream_of, asked[::-1]), fresh=True)
    expect_same(
        chosen,
        dict(zip(asked[::-1], there, strict=True)),
        "Another process returns something else. Python's `hash()` of a string differs from "
        "process to process, and so does what a process remembers: use a checksum, such as "
        "`zlib.crc32`.",
    )
    for cities in (TOWNS, STATIONS):  # last: by chance, a salted hash may spread them badly
        for n in (3, 2, 5):
            expect_spread(cities, chosen, n)
    alone = [(city, 1) for city in (*TOWNS, *STATIONS)]
    expect_names(dict(zip(alone, scene.call(in_turn(stream_of, alone)), strict=True)))
    return "One city, one stream, in every process: its readings stay in order."
