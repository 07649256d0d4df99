"""The checks of lab 04: pending entries, acknowledgement, and who does a dead neighbor's work."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Unfinished
from helpers.checks import exactly
from helpers.checks.crashes import (
    ALICE,
    BOB,
    CAROL,
    GROUP,
    NOTHING,
    add,
    give,
    grouped,
    handler,
    kill_at,
    last_delivered,
    pending,
)
from helpers.checks.lab import Lab
from helpers.checks.lives import LOOK_S, Life, Supervisor
from helpers.checks.predictions import expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.standing import consumers_of
from helpers.checks.verdict import Wrong
from helpers.checks.work import Unbearable, handled
from helpers.course.pace import patient
from helpers.streams.consumer import DeadLetters

lab = Lab("04", "`solutions/04_pending_and_ack.ipynb`")

IDLE_MS = 600_000  # far from the seconds of those who are at work, even if the machine is slow
AFTERWARDS_S = patient(0.3)  # in which a function that swallows an exception has sent its XACK
ENOUGH_TRIES = 20  # of an entry for which `handle` raises
CAROLS = 1100  # of carol's, before bob's last ones: a scan that doesn't go on never gets there
MANY = 1100  # more than one page, also for those who read a thousand at once
GONE = 500  # the place of one that was deleted and is still pending
YOUNG = 250  # a page of a hundred may hold nothing else
HANDLES = ("redis", "stream", "group", "name", "handle")
ME = "erin"  # the consumer that a learner's function is; no name that a lesson uses


def _expect_named(scene: Scene, stream: str) -> None:
    """It is known to the group by the name that it was given."""
    pending(scene, stream)  # says so if the group is gone
    strangers = set(consumers_of(scene, stream, GROUP)) - {ME, BOB, CAROL}
    if strangers:
        raise Wrong(
            "Your function is given the name of its consumer: use `name` in every command that "
            "takes a consumer.",
            expected=f"the consumer {ME}",
            found=f"{listed(sorted(strangers))}",
        )


def _once(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def listed(numbers: Iterable[str]) -> str:
    """Numbers of entries, as a sentence has them."""
    return ", ".join(numbers) or "none"


# ------------------------------------------------------------------ 1 to 2: look


@lab.exercise(
    1,
    "What does the group remember?",
    "XACK removes an entry from the group's pending list. Reading your own history with `0` "
    "counts as a delivery, and so does XCLAIM.",
    "XDEL removes an entry from the stream, but not from the pending list. XACK takes the "
    "group, not the consumer.",
)
def predict(scene: Scene, predicted: Any) -> str:
    """Each prediction is compared with what the server does."""
    why = {
        "XACK 1-0 once more": "the second XACK finds nothing to remove, and returns 0",
        "XLEN": "an acknowledgement deletes nothing; XDEL does",
        "entries for alice with 0": "`0` returns what is pending for her, and 1-0 no longer is",
        "deliveries of 2-0": "alice got it first with `>`, and again with `0`: both count",
        "deliveries of 3-0": "bob got it with `>`, and carol by XCLAIM: a claim is a delivery",
        "pending for bob": "carol has 3-0 now; 4-0 was deleted, but is still in bob's list",
        "entries for bob with >": "`>` returns what the group hasn't delivered to anyone: only 5-0",
        "XACK 3-0, sent by bob": "XACK doesn't check whose entry it is, so it removes carol's",
    }
    actual = dict(zip(why, _what_happens(scene), strict=True))
    expect_predicted(predicted, actual, why, "eight questions, each with a number")
    return "The server agrees with all eight."


def _what_happens(scene: Scene) -> Iterator[int]:
    """The scene of exercise 1, and its answers in their order."""
    client, stream = cast("Any", scene.redis), grouped(scene, "temps", range(1, 6))
    for name in (ALICE, BOB):
        client.xreadgroup(GROUP, name, {stream: ">"}, count=2)
    client.xack(stream, GROUP, "1-0")
    mine = client.xreadgroup(GROUP, ALICE, {stream: "0"})
    client.xclaim(stream, GROUP, CAROL, 0, ["3-0"])
    client.xdel(stream, "4-0")
    yield client.xack(stream, GROUP, "1-0")
    yield client.xlen(stream)
    yield len(mine[stream])
    notes = pending(scene, stream)
    yield notes["2"][1]
    yield notes["3"][1]
    yield len(pending(scene, stream, BOB))
    yield len(client.xreadgroup(GROUP, BOB, {stream: ">"})[stream])
    yield client.xack(stream, GROUP, "3-0")


@lab.exercise(
    2,
    "What is stuck?",
    "XPENDING with a range lists entries, up to a COUNT that you give. How do you get the rest?",
    "`redis.xpending_range(stream, group, '-', '+', 100, idle=idle_ms)` is the first page. The "
    "next one begins after its last ID: `'(' + last_id`.",
    calls=("redis", "stream", "group", "idle_ms"),
)
def what_is_stuck(scene: Scene, stuck: Any) -> str:
    """All entries that are idle for long enough, even one that was deleted; nothing is changed."""
    stream = grouped(scene, "stuck", range(1, MANY + YOUNG + 51))
    give(scene, stream, ALICE, MANY)
    give(scene, stream, BOB, YOUNG + 50)
    ids = [f"{n}-0" for n in range(1, MANY + YOUNG + 51)]
    old, young = ids[:MANY] + ids[MANY + YOUNG :], ids[MANY : MANY + YOUNG]
    wanted = {(one, ALICE) for one in old[:MANY]} | {(one, BOB) for one in old[MANY:]}
    _make_idle(scene, stream, ALICE, old[:MANY], 900_000)
    _make_idle(scene, stream, BOB, old[MANY:], 700_000)
    _make_idle(scene, stream, BOB, young, 40_000)
    scene.redis.xdel(stream, ids[GONE])
    before = pending(scene, stream)
    with scene.watching(stream) as commands:
        got = scene.call(stuck, CLIENT, stream, GROUP, IDLE_MS)
    if pending(scene, stream) != before:
        raise Wrong(
            "Only look: XPENDING changes nothing. Reading a consumer's history counts as a "
            "delivery, and XCLAIM and XAUTOCLAIM take the entries away from their consumers.",
            expected="an unchanged pending entries list",
            found="other consumers or more deliveries in it",
        )
    found = _pairs(got)
    if sorted(found) == sorted(wanted):
        return f"All {len(wanted):,} of them, and none that may still be worked on."
    raise Wrong(
        _stuck_hint(found, wanted, {(one, BOB) for one in young}, commands),
        expected=f"{len(wanted):,} pairs such as ('1-0', 'alice')",
        found=f"{len(found):,} pairs" + (f" such as {found[0]}" if found else ""),
    )


def _make_idle(scene: Scene, stream: str, owner: str, ids: list[str], idle_ms: int) -> None:
    """As if the entries had been delivered so long ago. JUSTID: it does not count as a delivery."""
    scene.redis.xclaim(
        stream, GROUP, owner, 0, cast("Any", ids), idle=idle_ms, justid=True
    )  # fmt: skip


def _pairs(answer: Any) -> list[tuple[str, str]]:
    try:
        return [(str(entry_id), str(consumer)) for entry_id, consumer in answer]
    except (TypeError, ValueError):
        raise Wrong(
            "Return a list of pairs: the ID of the entry and the name of its consumer.",
            expected="[('1-0', 'alice'), …]",
            instead=answer,
        ) from None


def _stuck_hint(
    found: list[tuple[str, str]],
    wanted: set[tuple[str, str]],
    young: set[tuple[str, str]],
    commands: list[list[str]],
) -> str:
    seen = set(found)
    sent = [words[n + 1] for words in commands for n, word in enumerate(words) if word == "IDLE"]
    asked_consumers = any(words[:2] == ["XINFO", "CONSUMERS"] for words in commands)
    if asked_consumers and (not found or seen & young):
        return (
            "In XINFO CONSUMERS, `idle` is the time since the consumer last asked for something. "
            "Each pending entry has an idle time of its own: see XPENDING."
        )
    if sent and sent[0] != str(IDLE_MS):
        return (
            f"You sent IDLE {sent[0]}. It's in milliseconds, and so is `idle_ms`, which is "
            f"{IDLE_MS} here: pass it as it is."
        )
    asked = [words for words in commands if words[0] == "XPENDING"]
    if asked and all(len(words) == 3 for words in asked):
        return (
            "XPENDING without a range is a summary: how many are pending, the first ID and the "
            "last, and how many each consumer has. With a range and a count, it lists entries: "
            "`xpending_range`."
        )
    if wanted - seen == {(f"{GONE + 1}-0", ALICE)}:
        return (
            "One of them was deleted from the stream. It is still pending and its work isn't done, "
            "so it belongs in the list: return what XPENDING lists, whether XRANGE finds it or not."
        )
    if seen - wanted - young:
        return "A pair is the entry's ID, then the name of the consumer that holds it."
    if len(seen) < len(found):
        return (
            "Some came twice. Start each page after the last ID of the previous page: `(` in front "
            "of that ID leaves it out."
        )
    if seen and seen <= young:
        return (
            "Those are the entries that have been idle for less than `idle_ms`, and the others are "
            "missing: compare the other way round, or let the server select: `idle=idle_ms`."
        )
    if seen & young:
        return (
            "Some were delivered only 40 seconds ago. XPENDING takes an idle time in "
            "milliseconds, as `idle_ms` is; it's the idle time of the entry, not of the consumer."
        )
    if not found:
        return "Nothing was returned. XPENDING lists entries by their idle time, in milliseconds."
    asked = [words for words in asked if len(words) > 3]
    alone = [words[-1] for words in asked if len(words) > (8 if words[3].upper() == "IDLE" else 6)]
    if alone and not {ALICE, BOB} <= {*alone}:
        return "Return the entries of all consumers: leave out `consumername`, or ask for each."
    if asked and not sent and len(asked) > 1:
        return (
            "It ended too early: a page can hold nothing that is stuck, and more pages may follow. "
            "Go on until the server's page is empty, or let the server select: `idle=idle_ms`."
        )
    return "There are more: XPENDING lists only as many as you ask for. Read page after page."


# ------------------------------------------------------------------ 3: ack after the work


@lab.exercise(
    3,
    "Acknowledge after the work",
    "What has been acknowledged when the process dies in the middle of `handle`?",
    "For each entry: first `handle(fields)`, then `redis.xack(stream, group, entry_id)`.",
    "If `handle` raises, XACK must not be sent: not in a `finally`, and not after an `except` that "
    "goes on to it.",
    calls=HANDLES,
)
def after_the_work(scene: Scene, work: Any) -> str:
    """Killed before each of its commands in turn: what it was given is done, or still pending."""
    stream = grouped(scene, "work")
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        start = partial(supervisor.begin, work, CLIENT, stream, GROUP, ME, through=proxy)
        slow = "Nothing new is left, and it still waits: return when `xreadgroup` returns nothing."
        added = add(scene, stream, (1, 2, 3))
        proxy.arm(Fault.FREEZE_BEFORE, 3)
        life = start(handler(scene))
        if life.stands(proxy):  # in the middle of the first entries
            added += add(scene, stream, (4,))
            proxy.thaw()
        result(life.outcome(), slow, LIMIT_S)
        _expect_worked(scene, stream, added, proxy.commands)
        for place in range(2, 8):
            added += add(scene, stream, range(10 * place, 10 * place + 3))
            unsaid = _done_and_pending(scene, stream)
            if kill_at(start, proxy, place, handler(scene), slow=slow):
                _expect_safe(scene, stream, added, unsaid, proxy.names)
        proxy.reset()
        add(scene, stream, (200, 201, 202))
        outcome = start(handler(scene, n201="raises")).outcome()
    if not (isinstance(outcome, Failure) and outcome.kind == Unbearable.__name__):
        result(
            outcome, "When `handle` raises, leave the entry pending, and go on or return.", LIMIT_S
        )
    _expect_still_pending(scene, stream, "201")
    return (
        "It was killed before one command after another, and each entry that it had is done or "
        "pending."
    )


def _expect_noted(commands: list[list[str]]) -> None:
    """What it reads becomes pending."""
    reads = [command for command in commands if command[0] == "XREADGROUP"]
    if any("NOACK" in map(str.upper, command) for command in reads):
        raise Wrong(
            "With NOACK, nothing is ever pending, and a crash loses the entries in progress.",
            found="XREADGROUP with NOACK",
        )


def _expect_still_pending(scene: Scene, stream: str, number: str) -> None:
    """An entry for which `handle` raised can be tried again."""
    if number in pending(scene, stream):
        return
    if len(DeadLetters(scene.redis, stream, GROUP)):
        raise Wrong(
            "`Consumer` tried the entry several times, then moved it to its dead letters and "
            "acknowledged it. Here it has to stay pending: `max_deliveries` sets the limit.",
            expected="the entry is pending",
            found="it is among the dead letters",
        )
    raise Wrong(
        "`handle` raised, so the work isn't done, and still the entry was acknowledged. Send "
        "XACK only after `handle` has returned.",
        expected="the entry is pending",
        found="it isn't, so it will never be tried again",
    )


def _expect_raised_pending(scene: Scene, life: Life, stream: str, number: str) -> None:
    """`handle` raises for an entry; whatever the function does then, it leaves it pending.

    It may go on to try it again, as `Consumer` does, so the check doesn't wait for its end.
    """
    deadline = time.monotonic() + LIMIT_S
    while number not in handled(scene, "begun") and life.alive and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    outcome = life.outcome(AFTERWARDS_S)
    tries = handled(scene, "begun").count(number)
    if not tries:
        result(outcome, "", LIMIT_S)
    if tries > 1 and len(DeadLetters(scene.redis, stream, GROUP)):
        return  # `Consumer` has tried it again, and in the end put it aside
    _expect_still_pending(scene, stream, number)


def _expect_worked(scene: Scene, stream: str, wanted: list[str], commands: list[list[str]]) -> None:
    """Without any fault: all are handled, and acknowledged after that."""
    _expect_fields(scene)
    names = [command[0] for command in commands]
    _expect_noted(commands)
    if "XREADGROUP" not in names and {"XREAD", "XRANGE", "XREVRANGE"} & set(names):
        raise Wrong(
            "XREAD and XRANGE bypass the group, so nothing is delivered to `name`, and nothing is "
            "ever pending. A consumer reads with XREADGROUP.",
            expected="XREADGROUP",
            found=listed(dict.fromkeys(names)),
        )
    _expect_named(scene, stream)
    missing = [n for n in wanted if n not in handled(scene)]
    if missing and handled(scene) and missing[0] not in pending(scene, stream):
        raise Wrong(
            "It ended while there was something new: entries come while `handle` is at work. Read "
            "again, until `xreadgroup` returns nothing.",
            expected=f"the entries {listed(wanted)} handled",
            found=f"{listed(missing)} never read",
        )
    if missing:
        raise Wrong(
            "Read what is new with `>`, and call `handle(fields)` for each entry of the reply.",
            expected=f"the entries {listed(wanted)} handled",
            found=f"{listed(missing)} not handled",
        )
    places = (n for n, command in enumerate(commands) if command[1:2] == [_done(scene)])
    done = next(places, len(commands))
    if "XACK" in names and names.index("XACK") < done:
        raise Wrong(
            "You send XACK before the work: after a crash in between, the work is never done. "
            "Call `handle` first, then send XACK.",
            expected="XACK after the work",
            found="XACK before the first entry was handled",
        )
    _expect_acked(scene, stream, commands)
    _expect_on_stream(commands)


def _expect_on_stream(commands: list[list[str]]) -> None:
    """It has deleted nothing."""
    removals = [
        command for command in commands if command[0] in ("XDEL", "XTRIM", "XDELEX", "XACKDEL")
    ]
    if removals:
        raise Wrong(
            "Leave the entries on the stream: other groups read them too. XACK says that the work "
            "is done for this group, and that is enough.",
            expected="nothing deleted",
            found=f"{removals[0][0]} {removals[0][-1]}",
        )


def _done(scene: Scene) -> str:
    return f"{scene.key('work')}:done"


def _expect_fields(scene: Scene) -> None:
    """The handler was given fields, and nothing else."""
    for one in handled(scene, "begun"):
        if not one.isdigit() and one != NOTHING:
            raise Wrong(
                "`handle` takes only the fields: `handle(fields)`.",
                expected="a dict such as {'n': '1'}",
                found=one,
            )


def _expect_acked(scene: Scene, stream: str, commands: list[list[str]]) -> None:
    left = pending(scene, stream, ME)
    if not left:
        return
    acks = [command for command in commands if command[0] == "XACK"]
    hint = (
        "The work is done, but the group doesn't know that: send `redis.xack(stream, group, "
        "entry_id)` for each entry."
    )
    if any(command[1:3] != [stream, GROUP] for command in acks):
        hint = (
            "XACK takes the stream, the group and the ID, in this order. In a group that doesn't "
            "exist, it acknowledges nothing, and only its reply, 0, shows that."
        )
    elif not {"XACK", "EVAL", "EVALSHA", "FCALL"} & {command[0] for command in commands}:
        hint = (
            "The work is done, but the group doesn't know that: no XACK was sent. Send "
            "`redis.xack(stream, group, entry_id)` for each entry. (`handle` returns None, so no "
            "`if` may depend on it. A pipeline sends nothing before its `execute()`.)"
        )
    raise Wrong(
        hint, expected="nothing pending", found=f"pending for {ME}: {listed(list(left)[:10])}"
    )


def _done_and_pending(scene: Scene, stream: str) -> set[str]:
    return set(handled(scene)) & set(pending(scene, stream))


def _expect_safe(
    scene: Scene, stream: str, added: list[str], unsaid: set[str], names: list[str]
) -> None:
    """After a kill: what was delivered is done or pending, and at most one is both by it.

    None is, where it was about to read on: the last of `names`, its commands.
    """
    last = int(last_delivered(scene, stream).split("-")[0])
    done, left = set(handled(scene)), pending(scene, stream)
    lost = [n for n in added if int(n) <= last and n not in done and n not in left]
    if lost:
        raise Wrong(
            "It was killed, and an entry is neither done nor pending: it was acknowledged before "
            "its work was done. For each entry, call `handle` first, then send XACK.",
            expected="every entry done, or still pending",
            found=f"{listed(lost)} lost",
        )
    again = (done & set(left)) - unsaid
    if len(again) > 1:
        raise Wrong(
            "It was killed after several entries were done, and none of them is acknowledged, so "
            "all of them will be done again. Send XACK after each entry, not after the batch.",
            expected="at most one entry that is done and still pending",
            found=f"{listed(sorted(again))}",
        )
    if again and names[-1] == "XREADGROUP" and "MULTI" not in names:
        raise Wrong(
            "It read the next entry before it acknowledged one that was done. If it dies there, "
            "or waits a long time for the next entry, the work is done again. Send XACK as soon "
            "as `handle` has returned.",
            expected="XACK, then the next XREADGROUP",
            found=f"XREADGROUP, while entry {listed(again)} is done and still pending",
        )


# ------------------------------------------------------------------ 4: own history


@lab.exercise(
    4,
    "Start again after a crash",
    "With which ID does a consumer read what is pending for its own name?",
    "With `0`. Each read counts as a delivery for every entry in the reply, so use `count=1`.",
    "Once an entry is acknowledged, `0` returns the next one. A deleted entry comes without "
    "fields, and it comes back until it is acknowledged.",
    "When the history is empty, go on with `>` until that is empty too.",
    calls=HANDLES,
)
def own_history(scene: Scene, restart: Any) -> str:
    """Twice an entry of its history kills it; then it is fixed, and all has to be done."""
    stream = grouped(scene, "restart", range(1, 9))
    give(scene, stream, ME, 4)
    give(scene, stream, BOB, 1)
    scene.redis.xdel(stream, "4-0")
    with Supervisor(scene) as supervisor:
        for _ in range(2):
            mortal = handler(scene, n2="kills")
            outcome = supervisor.call(restart, CLIENT, stream, GROUP, ME, mortal)
            _expect_death(scene, stream, outcome)
        with scene.proxied() as proxy:
            proxy.arm(Fault.FREEZE_BEFORE, ("RPUSH", 9))  # in the midst of the last entry
            life = supervisor.begin(
                restart, CLIENT, stream, GROUP, ME, handler(scene), through=proxy
            )
            stands = life.stands(proxy)
            if stands:
                add(scene, stream, (9,))
                proxy.thaw()
            outcome = life.outcome(LIMIT_S if stands else LOOK_S)
    _expect_something(scene)
    slow = "Nothing new is left, and it still waits: return when `xreadgroup` returns nothing."
    if "4" in pending(scene, stream):
        slow = "It never ends: an entry that was deleted comes back until it is acknowledged."
    elif any(command[0] == "XPENDING" for command in proxy.commands[-4:]):
        slow = (
            "It sends XPENDING again and again, which always lists bob's entry. Your own history "
            "is empty when XREADGROUP with `0` returns no entry."
        )
    result(outcome, slow, LIMIT_S)
    _expect_noted(proxy.commands)
    _expect_on_stream(proxy.commands)
    _expect_restarted(scene, stream, proxy.commands)
    with Supervisor(scene) as supervisor:
        add(scene, stream, (10, 11))
        life = supervisor.begin(restart, CLIENT, stream, GROUP, ME, handler(scene, n10="raises"))
        _expect_raised_pending(scene, life, stream, "10")
        add(scene, stream, (12,))
        give(scene, stream, ME, 1)
        life = supervisor.begin(restart, CLIENT, stream, GROUP, ME, handler(scene, n12="raises"))
        _expect_raised_pending(scene, life, stream, "12")
    tries = handled(scene, "begun").count("12")
    if tries > ENOUGH_TRIES:
        raise Wrong(
            "`handle` raises for an entry in the history, and your function tries that one again "
            "and again: with `0`, it always comes first. Let the exception end the function, or "
            "go on after its ID.",
            expected="one try, and the entry left pending",
            found=f"{tries} tries",
        )
    return "One entry killed it twice, and only that entry was blamed. Now everything is done."


def _expect_something(scene: Scene) -> None:
    """`handle` was never given an entry without fields."""
    calls = handled(scene, "begun").count(NOTHING)
    if calls:
        raise Wrong(
            "An entry that was deleted while it was pending comes without fields. There is nothing "
            "to handle: just acknowledge it.",
            found=f"`handle` called {_once(calls)} without fields",
        )


def _expect_death(scene: Scene, stream: str, outcome: Outcome) -> None:
    """The entry 2 has killed it, and nothing else has come of it."""
    _expect_fields(scene)
    _expect_named(scene, stream)
    begun = handled(scene, "begun")
    if NOTHING in begun:
        return  # said later
    if "2" not in begun:
        if isinstance(outcome, Unfinished) and begun:
            again = "The same entry again and again: `0` returns what is still pending. XACK it."
            result(outcome, again, LIMIT_S)
        result(outcome, "It never stops reading: what does an empty reply look like?", LIMIT_S)
        if not {"1", "2", "3"} <= {*pending(scene, stream), *begun}:
            raise Wrong(
                "Entries 1 to 3 are no longer pending, and `handle` never got them: they are lost. "
                "XGROUP DELCONSUMER drops what is pending, and XACK says that the work is done.",
                expected="the entries 1, 2 and 3 handled first",
                found=f"handled: {listed(begun)}, and 1, 2 and 3 neither handled nor pending",
            )
        raise Wrong(
            "The entries pending for its name weren't handled. `>` returns only what is new to "
            "the group: first read your own history, with `0`, until it is empty.",
            expected="the entries 1, 2 and 3 handled first",
            found=f"handled: {listed(begun)}",
        )
    if not isinstance(outcome, Unfinished):
        result(outcome, "", LIMIT_S)
    left = pending(scene, stream)
    if "2" not in left:
        raise Wrong(
            "It died in the middle of an entry, and that entry is lost: it was acknowledged "
            "already. Call `handle` first, then send XACK.",
            expected="entry 2 is still pending",
            found="it isn't",
        )
    if left.get("5", (BOB, 1))[0] != BOB:
        raise Wrong(
            "Entry 5 is bob's, and bob is alive: read your own history, with `0`, and claim "
            "nothing.",
            expected="entry 5 pending for bob",
            found=f"it is {left['5'][0]}'s",
        )
    if left.get("3", ("", 1))[1] > 1:
        raise Wrong(
            "Entry 2 killed it, and entry 3 was counted as delivered again, although it was never "
            "handled. Read your own history one by one: `count=1`.",
            expected="entry 3: 1 delivery",
            found=f"entry 3: {left['3'][1]} deliveries",
        )


def _expect_restarted(scene: Scene, stream: str, commands: list[list[str]]) -> None:
    if any(command[:2] == ["XGROUP", "SETID"] for command in commands):
        raise Wrong(
            "XGROUP SETID moves the whole group: it delivers to you what bob holds and what was "
            "done long ago. Your own unfinished entries are pending: read them with `0`.",
            expected="the group's place left alone",
            found="XGROUP SETID",
        )
    begun, done = handled(scene, "begun"), handled(scene)
    left = pending(scene, stream)
    if "5" in begun or left.get("5") != (BOB, 1):
        raise Wrong(
            "Entry 5 is bob's, and bob is alive: take only your own.",
            expected="entry 5 pending for bob, delivered once",
            found="that is no longer so",
        )
    for which, hint in (
        ("123", "Go on with your own history until it is empty: each reply returns what is left."),
        ("678", "After your own history, go on with what is new: `>`, until that is empty too."),
    ):
        missing = [n for n in which if n not in done]
        if missing:
            raise Wrong(hint, expected="all handled", found=f"{listed(missing)} not handled")
    if begun.index("6") < begun.index("3"):
        raise Wrong(
            "New entries came first. On a busy stream they never end, and what was left by the "
            "crash waits forever: first `0`, then `>`.",
            expected="1, 2, 3, then 6, 7, 8",
            found=listed(begun),
        )
    if "9" not in done:
        raise Wrong(
            "It ended while there was something new: entries come while `handle` is at work. Read "
            "`>` again, until `xreadgroup` returns nothing.",
            expected="the entries 6, 7, 8 and 9 handled",
            found="9 never read",
        )
    if list(pending(scene, stream, ME)) == ["4"]:
        raise Wrong(
            "An entry that was deleted is still pending, and will come back at every start: "
            "acknowledge it.",
            expected=f"nothing pending for {ME}",
            found="entry 4, which no longer has fields",
        )
    _expect_acked(scene, stream, commands)


# ------------------------------------------------------------------ 5: take over


@lab.exercise(
    5,
    "Take over a dead neighbor's work",
    "XAUTOCLAIM claims entries that have been idle for long enough, a limited number at each "
    "call. How does its reply show whether there may be more?",
    "Its reply is a cursor, the claimed entries, and the IDs of those that were deleted. Call it "
    "again with that cursor until the cursor is `0-0`, even if a reply has no entries.",
    "`cursor, entries, deleted = redis.xautoclaim(stream, group, name, idle_ms, cursor)`, "
    "starting with `cursor = '0-0'`.",
    calls=("redis", "stream", "group", "name", "idle_ms", "handle"),
)
def take_over(scene: Scene, take: Any) -> str:
    """Bob is dead, carol is at work, and over a thousand entries were deleted meanwhile."""
    stream = grouped(scene, "neighbours", range(1, MANY + CAROLS + 11))
    first, young, last = (
        [str(n) for n in range(MANY + begin, MANY + end)]
        for begin, end in ((1, 6), (6, CAROLS + 6), (CAROLS + 6, CAROLS + 11))
    )
    for name, count in ((BOB, MANY + 5), (CAROL, CAROLS), (BOB, 5)):
        give(scene, stream, name, count)
    gone = [f"{n}-0" for n in range(1, MANY + 1)]
    _make_idle(scene, stream, BOB, [*gone, *(f"{n}-0" for n in (*first, *last))], 700_000)
    _make_idle(scene, stream, CAROL, [f"{n}-0" for n in young], 5_000)
    scene.redis.xdel(stream, *gone)
    slow = "It never ends: continue at the cursor of each reply, and end when the cursor is `0-0`."
    with (
        scene.watching(stream) as commands,
        scene.running(take, CLIENT, stream, GROUP, ME, IDLE_MS, handler(scene)) as process,
    ):
        outcome = process.outcome(LIMIT_S)
    _expect_fields(scene)
    _expect_something(scene)
    _expect_carol_alone(scene, stream, young)
    result(outcome, slow, LIMIT_S)
    _expect_named(scene, stream)
    _expect_taken(scene, stream, [*first, *last], commands)
    _expect_on_stream(commands)
    claimants = {words[3] for words in commands if words[0] in ("XCLAIM", "XAUTOCLAIM")}
    if claimants - {ME}:
        raise Wrong(
            "Claim the entries for `name`, so that others see which consumer is working on them.",
            expected=f"claimed for {ME}",
            found=f"claimed for {listed(sorted(claimants))}",
        )
    if not {words[0] for words in commands} & CLAIMS:
        raise Wrong(
            "You handled entries that were still pending for bob, so others couldn't see that you "
            "were working on them, and could do the same. Claim them first: XAUTOCLAIM.",
            expected="entries claimed for your `name`",
            found=", ".join(dict.fromkeys(words[0] for words in commands)),
        )
    _expect_claimed_late(scene, take)
    _expect_killed_late(scene, take)
    _expect_more_claimed(scene, take, commands)
    return "Everything that bob left is done, and carol wasn't disturbed."


CLAIMS = {"XCLAIM", "XAUTOCLAIM", "EVAL", "EVALSHA", "FCALL"}


def _left_by_bob(scene: Scene, first: int) -> str:
    """A stream of which bob has left three entries idle for long; with numbers of their own."""
    numbers = range(first, first + 3)
    stream = grouped(scene, f"left{first}", numbers)
    give(scene, stream, BOB, 3)
    _make_idle(scene, stream, BOB, [f"{n}-0" for n in numbers], 700_000)
    return stream


def _expect_claimed_late(scene: Scene, take: Any) -> None:
    """Before its XCLAIM, if it sends one, carol claims the entry that it has seen idle."""
    stream = _left_by_bob(scene, 9001)
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        proxy.arm(Fault.FREEZE_BEFORE, "XCLAIM")
        life = supervisor.begin(
            take, CLIENT, stream, GROUP, ME, IDLE_MS, handler(scene), through=proxy
        )
        if not life.stands(proxy):
            return
        ids = [word for word in proxy.commands[-1][5:] if word.startswith("900")]
        scene.redis.xclaim(stream, GROUP, CAROL, 0, cast("Any", ids))
        proxy.thaw()
        result(life.outcome(), "", LIMIT_S)
    robbed = [n for n in handled(scene, "begun") if f"{n}-0" in ids]
    if robbed:
        raise Wrong(
            "Between your XPENDING and your XCLAIM, carol claimed the entry and began to work on "
            "it, and now two consumers work on it. XCLAIM takes an idle time too: pass `idle_ms`, "
            "and it leaves alone what has just been claimed.",
            expected="carol keeps what she has just claimed",
            found=f"entry {listed(robbed)} taken from her",
        )


def _expect_killed_late(scene: Scene, take: Any) -> None:
    """It dies in the middle of an entry, or `handle` raises: the entry has to be pending then."""
    stream = _left_by_bob(scene, 9101)
    with Supervisor(scene) as supervisor:
        mortal = handler(scene, n9102="kills")
        outcome = supervisor.call(take, CLIENT, stream, GROUP, ME, IDLE_MS, mortal)
        if not isinstance(outcome, Unfinished):
            result(outcome, "", LIMIT_S)
        if "9102" not in pending(scene, stream):
            raise Wrong(
                "It died in the middle of an entry, and that entry is lost: it was acknowledged "
                "already. Call `handle` first, then send XACK.",
                expected="the entry in progress is still pending",
                found="it isn't",
            )
        stream = _left_by_bob(scene, 9201)
        life = supervisor.begin(
            take, CLIENT, stream, GROUP, ME, IDLE_MS, handler(scene, n9203="raises")
        )
        _expect_raised_pending(scene, life, stream, "9203")


def _expect_more_claimed(scene: Scene, take: Any, commands: list[list[str]]) -> None:
    """One call with a large COUNT leaves out what comes after it: here bob has left more."""
    counts = [count for words in commands if (count := _claim_count(words))]
    if len(counts) != 1 or not FEW < counts[0] <= MOST_CLAIMS:
        return
    stream = grouped(scene, "more", numbers := range(10_001, 10_008 + counts[0]))
    give(scene, stream, BOB, len(numbers))
    _make_idle(scene, stream, BOB, [f"{n}-0" for n in numbers], 700_000)
    with scene.running(take, CLIENT, stream, GROUP, ME, IDLE_MS, rest) as process:
        outcome = process.outcome(3 * LIMIT_S)  # an answer may take each of them by itself
    left = pending(scene, stream, BOB)
    if left and not (isinstance(outcome, Unfinished) and not outcome.ended):
        raise Wrong(
            f"With COUNT {counts[0]:,}, one call leaves out what comes after it. However large "
            "COUNT is, go on at the cursor (or, with XPENDING, after the last ID) until there are "
            "no more.",
            expected=f"bob's {len(numbers):,} entries claimed",
            found=f"{len(left)} of them still pending for bob",
        )


FEW = 100  # the default COUNT; the first streams are long enough for it
MOST_CLAIMS = 10_000


def rest(_: Any) -> None:
    """A handler that has nothing to do."""


def _claim_count(words: list[str]) -> int:
    """The COUNT of a command that looks for what others have left; 0 for other commands."""
    upper = [word.upper() for word in words]
    if upper[0] == "XAUTOCLAIM":
        return int(words[upper.index("COUNT") + 1]) if "COUNT" in upper else FEW
    if upper[0] == "XPENDING" and len(words) > 5:
        return int(words[7 if upper[3] == "IDLE" else 5])
    return 0


def _expect_carol_alone(scene: Scene, stream: str, young: list[str]) -> None:
    begun, left = handled(scene, "begun"), pending(scene, stream)
    robbed = [n for n in young if n in begun or left.get(n) != (CAROL, 1)]
    if robbed:
        raise Wrong(
            "Carol is alive: her entries have been idle for only 5 seconds, and now two consumers "
            "work on them. Claim only what has been idle for at least `idle_ms` milliseconds.",
            expected=f"carol keeps her {CAROLS:,} entries",
            found=f"{len(robbed)} of them taken",
        )


def _expect_taken(scene: Scene, stream: str, wanted: list[str], commands: list[list[str]]) -> None:
    done, left = handled(scene), pending(scene, stream)
    missing = [n for n in wanted if n not in done]
    if BOB not in consumers_of(scene, stream, GROUP):
        raise Wrong(
            "XGROUP DELCONSUMER drops what is pending for bob, for good. Claim it instead.",
            expected="bob's entries handled",
            found="bob removed",
        )
    if missing:
        begun = len(left) < MANY + CAROLS + 10 or any(owner == ME for owner, _ in left.values())
        mine = {n for n, (owner, _) in left.items() if owner == ME}
        raise Wrong(
            _taken_hint(
                commands,
                done=bool(done),
                begun=bool(begun or done),
                kept=bool(mine & set(missing)),
            ),
            expected=f"bob's {len(wanted)} entries handled",
            found=f"{len(wanted) - len(missing)} handled",
        )
    if len(done) > len(set(done)):
        raise Wrong(
            "Some were handled twice: acknowledge each one, and start the next call at the cursor.",
            expected="each entry once",
            found=f"{len(done)} calls for {len(set(done))} entries",
        )
    _expect_acked(scene, stream, commands)


def _taken_hint(commands: list[list[str]], *, done: bool, begun: bool, kept: bool) -> str:
    """Why not everything was handled.

    Args:
        commands: what it sent.
        done: whether it has handled anything.
        begun: whether it has claimed or handled anything.
        kept: whether it has claimed something that it didn't handle.
    """
    names = [words[0] for words in commands]
    if not commands:
        return (
            "Your function sent no command at all. Does its loop begin? If the cursor starts as "
            "`0-0`, it must not end the loop before the first XAUTOCLAIM."
        )
    if kept and done:
        return (
            "It has claimed more than it handled. Handle every entry of each reply; a `return` "
            "inside the loop ends it too early."
        )
    if kept:
        return (
            "It has claimed entries, and handled nothing: `>` doesn't return what was claimed. "
            "The entries are in XAUTOCLAIM's reply: handle those."
        )
    if "XPENDING" in names and "XAUTOCLAIM" not in names:
        return (
            "There is more: XPENDING lists only as many as you ask for, and the first ones may all "
            "be deleted entries. Read page after page."
        )
    if "XINFO" in names and not CLAIMS & set(names):
        return (
            "In XINFO CONSUMERS, `idle` is the time since the consumer last asked for something. "
            "Each pending entry has an idle time of its own: XAUTOCLAIM looks at that."
        )
    if any("JUSTID" in words for words in commands):
        return (
            "There is more. With `justid=True`, redis-py returns only IDs, and no cursor. Leave it "
            "out, and go on until the cursor is `0-0`."
        )
    if begun:
        return (
            "There is more, and only the cursor says so: a reply may even have no entries at all, "
            "because those it looked at were deleted. Go on until the cursor is `0-0`."
        )
    return "`>` and `0` don't return what other consumers hold: claim it, with XAUTOCLAIM."


# ------------------------------------------------------------------ 6: poison

MOST = 2
POISON = {"n2": "raises", "n4": "kills", "n6": "kills"}
# What befalls each life of it: nothing but its poison, or a kill after this command.
BURIALS = (None, None, "XADD", None, None, "XACK", None, None)


@lab.exercise(
    6,
    "Put poison aside",
    "What can count the deliveries if the poison kills every consumer that counts? Redis does: "
    "see `XPENDING`.",
    "`redis.xpending_range(stream, group, entry_id, entry_id, 1)` returns one entry, with its "
    "`times_delivered`. If that is more than `most`, put the entry aside instead of handling it.",
    "A kill between XADD and XACK would put the entry aside twice, or never: send both in one "
    "MULTI, with `redis.pipeline(transaction=True)`.",
    "If `handle` raises, leave the entry pending and go on to the next one: pass its ID in place "
    "of `0`. The next life tries it again.",
    calls=("redis", "stream", "group", "name", "dead", "most", "handle"),
)
def poison(scene: Scene, put_aside: Any) -> str:
    """Three entries of seven cannot be handled; it is killed also while it puts them aside."""
    stream, dead = grouped(scene, "poison"), scene.key("dead")
    scene.redis.xadd(stream, {"n": "0"}, id="0-1")  # bob's, and often delivered
    give(scene, stream, BOB, 1)
    add(scene, stream, range(1, 8))
    sent: list[list[str]] = []
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        for command in BURIALS:
            scene.redis.xclaim(stream, GROUP, BOB, 0, ["0-1"], retrycount=9, justid=True)
            proxy.reset()
            if command:
                proxy.arm(Fault.FREEZE_AFTER, at=command)
            life = supervisor.begin(
                put_aside, CLIENT, stream, GROUP, ME, dead, MOST, handler(scene, **POISON),
                through=proxy,
            )  # fmt: skip
            if command and life.stands(proxy):
                life.kill()
                proxy.thaw()
            else:
                _expect_patient(life.outcome())
            sent += proxy.commands
    _expect_fields(scene)
    _expect_named(scene, stream)
    letters = _letters(scene, dead)
    if len(DeadLetters(scene.redis, stream, GROUP)):
        raise Wrong(
            "`Consumer` puts its dead letters into a stream of its own, unless you name another: "
            "`dead_letters=dead`.",
            expected="the dead letters in the stream `dead`",
            found="a stream of `Consumer`'s own",
        )
    _expect_buried(scene, stream, letters, sent)
    _expect_letters(letters)
    if (length := int(scene.redis.xlen(stream))) < 8:
        raise Wrong(
            "Leave the entries on the stream: other groups read them too. Once acknowledged, they "
            "are done for this group.",
            expected="8 entries on the stream",
            found=f"{length}",
        )
    return "The poison is put aside once, with all its fields, and everything else is done."


def _expect_patient(outcome: Outcome) -> None:
    """It returned, or its poison killed it."""
    if isinstance(outcome, Failure) and outcome.kind == Unbearable.__name__:
        raise Wrong(
            "`handle` raised, and that ended everything: the entries after that one still wait. "
            "Catch the exception, leave the entry pending, and go on to the next one.",
            found=str(outcome),
        )
    if not (isinstance(outcome, Unfinished) and outcome.ended):
        slow = (
            "It never ends: an entry that failed is still pending, so `0` returns it again. Go on "
            "after it: pass its ID in place of `0`."
        )
        result(outcome, slow, LIMIT_S)


def _letters(scene: Scene, dead: str) -> list[tuple[str, dict[str, str]]]:
    """The dead letters: for each the number of its entry, and its fields.

    Raises:
        Wrong: one does not say which entry it was.
    """
    letters = []
    for _, fields in cast("Any", scene.redis.xrange(dead)):
        origin = fields.get("id") or fields.get("dead:id")  # as `Consumer` calls it
        if not origin:
            raise Wrong(
                "Which entry was it? Give the dead letter a field `id` with the entry's ID.",
                expected="{'id': '2-0', 'n': '2'}",
                instead=fields,
            )
        if not re.fullmatch(r"\d+-\d+", str(origin)):
            raise Wrong(
                "The field `id` of a dead letter is the ID of its entry, and nothing else.",
                expected="{'id': '2-0', 'n': '2'}",
                instead=fields,
            )
        letters.append((str(origin).split("-")[0], fields))
    return letters


def _expect_buried(
    scene: Scene, stream: str, letters: list[tuple[str, Any]], sent: list[list[str]]
) -> None:
    """The three are aside, once, after as many deliveries as they should have."""
    calls, left = Counter(handled(scene, "begun")), pending(scene, stream)
    numbers = [number for number, _ in letters]
    if "0" in calls or "0" in numbers or left.get("0", ("",))[0] != BOB:
        raise Wrong(
            "Entry 0-1 is bob's: handle, or put aside, only what is pending for `name`.",
            expected="entry 0-1 pending for bob",
            found="that is no longer so",
        )
    healthy = [n for n in numbers if n in "1357"]
    if healthy and any(words[0] == "XPENDING" and "-" in words[3:6] for words in sent):
        raise Wrong(
            "Healthy entries were put aside. XPENDING from `-` begins with the oldest pending "
            "entry, which may be a different one, even another consumer's. Ask for this entry: use "
            "its ID as both bounds.",
            expected="only 2, 4 and 6 put aside",
            found=f"{listed(numbers)}",
        )
    if healthy:
        raise Wrong(
            "Healthy entries were put aside. They were in the same reply as a poison entry, so "
            "each reading counted as a delivery for them too: read your own history one by one.",
            expected="only 2, 4 and 6 put aside",
            found=f"{listed(numbers)}",
        )
    _expect_not_in_place(scene)
    for n in "246":
        if n in left and n not in numbers and left[n][1] < calls[n]:
            raise Wrong(
                "Redis counts an entry as delivered when XREADGROUP or XCLAIM returns it, and not "
                "when XPENDING or XRANGE does. So its count stays the same, however often you "
                "handle it.",
                expected=f"as many deliveries of entry {n} as calls of `handle`",
                found=f"{left[n][1]} counted, and {calls[n]} calls",
            )
        _expect_buried_once(n, numbers.count(n), calls[n], n in left)
    begun = handled(scene, "begun")
    if "5" in begun and begun[: begun.index("5")].count("4") < MOST:
        raise Wrong(
            "New entries came first. On a busy stream they never end, and what was left by the "
            "crash waits forever: first `0`, then `>`.",
            expected=f"entry 4, which kills its process, handed over {MOST} times, then entry 5",
            found=f"in this order: {listed(begun)}",
        )
    missing = [n for n in "1357" if n not in handled(scene)]
    if missing:
        raise Wrong(
            "Handle the others too, even those after the poison: your own history, then `>`.",
            expected="1, 3, 5 and 7 handled",
            found=f"{listed(missing)} not handled",
        )
    _expect_acked(scene, stream, sent)


def _expect_not_in_place(scene: Scene) -> None:
    """No entry was handed over twice for one delivery."""
    begun = handled(scene, "begun")
    from_first = begun[begun.index("2") :] if "2" in begun else []
    tries = next((n for n, one in enumerate(from_first) if one != "2"), len(from_first))
    if tries > 1:
        raise Wrong(
            "You try a failed entry again at once, before anything else. Leave it pending and go "
            "on with the others: each start delivers it once more, and Redis counts that. A loop "
            "of tries in your program starts over after every crash.",
            expected="entry 2, which raises, tried once by each start",
            found=f"{tries} times in a row",
        )


def _expect_buried_once(number: str, letters: int, calls: int, is_pending: bool) -> None:
    what = "raises" if number == "2" else "kills its process"
    if not calls:
        raise Wrong(
            "An entry was never handed to `handle`. Read your own history, with `0`, then what is "
            "new, with `>`, and hand over what wasn't delivered too often.",
            expected=f"entry {number} handed over {MOST} times",
            found="never",
        )
    if is_pending and not letters and calls < MOST:
        raise Wrong(
            "It failed, and no later life came back to it: `>` doesn't return what is pending. "
            "Read your own history first, with `0`.",
            expected=f"entry {number}, which {what}, handed over {MOST} times, then put aside",
            found=f"handed over {_once(calls)}, and still pending",
        )
    if is_pending and not letters:
        raise Wrong(
            "After many deliveries, it is still tried. A count in a variable starts at 0 after "
            "every crash: ask Redis, which counts `times_delivered` (see XPENDING). And check "
            "before you call `handle`.",
            expected=f"entry {number}, which {what}, put aside after {MOST} deliveries",
            found=f"handed over {_once(calls)}, and still pending",
        )
    if not letters:
        why = (
            "It was acknowledged although `handle` failed."
            if calls < MOST
            else "It was acknowledged before it was put aside, and a kill came in between: send "
            "both in one MULTI, or in a script."
        )
        raise Wrong(
            f"An entry is neither done nor put aside nor pending: it is lost. {why}",
            expected=f"entry {number}, which {what}, put aside",
            found=f"handed over {_once(calls)}, acknowledged, and nowhere",
        )
    if letters > 1 and is_pending:
        raise Wrong(
            "It was put aside, and it is still pending, so it comes again at every start: "
            "acknowledge it in the same step.",
            expected=f"entry {number} put aside once, and acknowledged",
            found=f"put aside {_once(letters)}, and pending",
        )
    if letters > 1:
        raise Wrong(
            "It was killed after XADD and before XACK, and put the same entry aside again. Do both "
            "in one step: MULTI, or a script.",
            expected=f"entry {number} put aside once",
            found=_once(letters),
        )
    # Those who read new entries in batches had entry 6 delivered when entry 4 killed them.
    if calls > MOST or (calls < MOST and number != "6"):
        hint = (
            "Too early: the next try may succeed. Each entry has `most` tries; put it aside when "
            "it is delivered once more than that, or when the last try has raised."
        )
        if calls > MOST:
            hint = "Too late: no more tries after `most` deliveries. XPENDING returns their number."
        raise Wrong(
            hint,
            expected=f"entry {number}, which {what}, handed over {MOST} times",
            found=_once(calls),
        )


def _expect_letters(letters: list[tuple[str, Any]]) -> None:
    for number, fields in letters:
        if fields.get("n") != number:
            raise Wrong(
                "Keep the entry's fields too: without them, a dead letter can't be replayed.",
                expected=f"{{'id': '{number}-0', 'n': '{number}'}}",
                instead=fields,
            )


# ------------------------------------------------------------------ 7 and 8: one step


@lab.exercise(
    7,
    "Count exactly",
    "What if the process dies between the count and the XACK? And what if it is only paused, and "
    "continues after another process has done its work?",
    "MULTI doesn't check whether the entry is still pending. XACK's reply shows it: 1 or 0. What "
    "can check that reply and act on it in one step?",
    "A script: `if redis.call('XACK', …) == 1 then redis.call('HINCRBY', …) end`, sent by "
    "`redis.eval(SCRIPT, 2, stream, totals, group, …)`. Your loop reads `0`, then `>`.",
    calls=("redis", "stream", "group", "name", "totals"),
)
def count_exactly(scene: Scene, count: Any) -> str:
    """Killed between its commands, robbed of a reply, and paused until its work is done."""
    exactly.expect_exact(scene, count)
    return "Even after kills, a lost reply and a pause, every millimeter is counted exactly once."


@lab.exercise(
    8,
    "Remove a consumer and lose nothing",
    "XGROUP DELCONSUMER drops what is pending for the consumer. What may happen between your check "
    "and the removal?",
    "A script checks and removes in one step. `Group` of helpers has one, and raises if something "
    "is pending.",
    calls=("redis", "stream", "group", "name"),
)
def remove_safely(scene: Scene, remove: Any) -> str:
    """Not while something is pending, and not either if that comes between look and removal."""
    stream = grouped(scene, "leavers", range(1, 4))
    give(scene, stream, BOB, 1)
    _make_consumer(scene, stream, CAROL)
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        start = partial(supervisor.begin, remove, CLIENT, stream, GROUP)
        got = _removal(start(BOB, through=proxy).outcome())
        by_idle = "CONSUMERS" in str(proxy.commands).upper().replace("DELCONSUMER", "")
        _expect_kept(scene, stream, "1", got, proxy.names)
        proxy.reset()
        proxy.arm(Fault.FREEZE_BEFORE, "XGROUP DELCONSUMER")
        life = start(CAROL, through=proxy)
        overtaken = life.stands(proxy)
        if overtaken:
            give(scene, stream, CAROL, 1)
            proxy.thaw()
        got = _removal(life.outcome())
        if overtaken:
            _expect_noticed(scene, stream, got)
            _make_consumer(scene, stream, DAVE)
            got = _removal(start(DAVE).outcome())
    _expect_gone(scene, stream, DAVE if overtaken else CAROL, got, by_idle=by_idle)
    return "A consumer that has nothing pending is removed; one that has something stays."


DAVE = "dave"


def _removal(outcome: Outcome) -> Any:
    """What the function returned.

    Raises:
        Wrong: it raised.
    """
    if isinstance(outcome, Failure) and outcome.kind == "PendingError":
        raise Wrong(
            "`remove_consumer` raises this if entries are pending; here you should return False: "
            "`except PendingError`, which is in `helpers.streams.errors`.",
            expected=False,
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and outcome.kind == "WatchError":
        raise Wrong(
            "WATCH noticed that something changed in the meantime. Then the consumer may be alive: "
            "check again, or return False.",
            found=str(outcome),
        )
    return result(outcome, "", LIMIT_S)


def _expect_noticed(scene: Scene, stream: str, got: Any) -> None:
    """Carol read an entry just before she would have been removed."""
    if "2" not in pending(scene, stream):
        raise Wrong(
            "After your check and before the removal, carol read an entry, and that entry is lost. "
            "Check and remove in one step, with a script or with the class that has one.",
            expected="carol stays, with her entry",
            found="carol removed, and her entry pending for no consumer",
        )
    if got != False:  # noqa: E712 - a script says 0
        raise Wrong("Carol wasn't removed: return False.", expected=False, instead=got)


def _make_consumer(scene: Scene, stream: str, name: str) -> None:
    scene.redis.xgroup_createconsumer(stream, GROUP, name)


def _expect_kept(scene: Scene, stream: str, number: str, got: Any, names: list[str]) -> None:
    left = pending(scene, stream)
    if number not in left and "XACK" in names:
        raise Wrong(
            "Bob's entry was acknowledged, although no one has handled it. If something is "
            "pending, leave everything as it is, and return False.",
            expected="bob stays, with his entry",
            found="his entry acknowledged",
        )
    if number in left and left[number][0] != BOB:
        raise Wrong(
            "Bob's entry was claimed for another consumer. If something is pending, leave "
            "everything as it is, and return False.",
            expected="bob stays, with his entry",
            found=f"his entry pending for {left[number][0]}",
        )
    if number not in left:
        raise Wrong(
            "XGROUP DELCONSUMER drops what is pending for the consumer, for good: neither `>` nor "
            "a claim returns it again. Remove a consumer only if nothing is pending for it.",
            expected="bob stays, with his entry",
            found="his entry is no longer pending",
        )
    if got != False:  # noqa: E712 - a script says 0
        raise Wrong("Nothing was removed, so return False.", expected=False, instead=got)


def _expect_gone(scene: Scene, stream: str, name: str, got: Any, *, by_idle: bool) -> None:
    if name in consumers_of(scene, stream, GROUP):
        hint = (
            f"Nothing is pending for {name}, so remove this consumer. Only bob has a pending "
            "entry: ask for one consumer, by its name. (In Lua, an empty table is true: compare "
            "`#list`.)"
        )
        if got != False:  # noqa: E712 - a script says 0
            hint = f"Nothing is pending for {name}, so remove this consumer: XGROUP DELCONSUMER."
        elif by_idle:
            hint = (
                f"Nothing is pending for {name}, so remove this consumer. In XINFO CONSUMERS, "
                "`idle` says when a consumer last asked for something, and `pending` how much it "
                "holds. Only what it holds counts here."
            )
        raise Wrong(hint, expected=f"{name} removed", found="the consumer is still in the group")
    if got == 0 and got is not False:
        raise Wrong(
            "The consumer was removed, so return True. XGROUP DELCONSUMER replies how many pending "
            "entries it dropped, and here that is 0.",
            expected=True,
            instead=got,
        )
    if got != True:  # noqa: E712 - a script says 1
        raise Wrong("The consumer was removed, so return True.", expected=True, instead=got)
