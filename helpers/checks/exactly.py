"""Whether a learner's running total stays exact, whatever befalls the process that counts.

Each fault has a city of its own, whose entries were added just before. So the totals at the
end tell which fault made them wrong.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault, Proxy, Unfinished
from helpers.checks.crashes import (
    ALICE,
    BOB,
    CAROL,
    GROUP,
    give,
    grouped,
    last_delivered,
    pending,
)
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.verdict import Trouble, Wrong

CITIES = (
    "coimbatore",
    "madurai",
    "ooty",
    "salem",
    "erode",
    "karur",
    "vellore",
    "tiruppur",
    "ambur",
    "arni",
)
RAIN = (3, 5, 7)  # millimetres of the entries that each city adds
MOST_KILLS = 5
MOST_LOOKS = 2  # at which one is paused
SLOW = "Nothing is left to count, and it still runs: return when there are no more entries."

# Commands that change nothing, or only whose an entry is: a kill before one of them is the same
# as a kill after the command that came before it.
HARMLESS = {
    *("XREADGROUP", "XPENDING", "XCLAIM", "XAUTOCLAIM", "XRANGE", "XREVRANGE", "XLEN", "XINFO"),
    *("GET", "MGET", "HGET", "HMGET", "HGETALL", "EXISTS", "HEXISTS", "SISMEMBER", "ZSCORE"),
    *("WATCH", "UNWATCH", "DISCARD", "SCRIPT", "COMMAND", "TYPE", "PING"),
}


# Those with which a function can ask whether an entry has still to be counted.
QUESTIONS = HARMLESS - {"XREADGROUP", "WATCH", "UNWATCH", "DISCARD", "SCRIPT", "COMMAND", "PING"}


class Stage(NamedTuple):
    """A fault, and the city that it befalls."""

    city: str
    fault: str  # `killed`, `lost` or `paused`
    command: str


class Course:
    """The faults one after the other, on one stream."""

    def __init__(self, scene: Scene, supervisor: Supervisor, proxy: Proxy, count: Any) -> None:
        self.scene, self.proxy = scene, proxy
        self.stream, self.totals = grouped(scene, "rain"), scene.key("totals")
        self.stages: list[Stage] = []
        self.looks: list[str] = []  # with which it looks at an entry that it has read
        self.sent: set[str] = set()  # the names of its commands
        self.words: set[str] = set()  # these and their arguments
        # Carol is at work on an entry all the time: some entry of the group is always pending.
        self.scene.redis.xadd(self.stream, {"city": "carol's", "mm": 1})
        give(scene, self.stream, CAROL, 1)
        self._begin = partial(supervisor.begin, count, CLIENT, self.stream, GROUP)
        self._cities = iter(CITIES)

    def alice(self) -> Life:
        """A life of alice, whose commands pass the proxy."""
        return self._begin(ALICE, self.totals, through=self.proxy)

    def rain(self, city: str) -> None:
        """Add the entries of a city."""
        for millimetres in RAIN:
            self.scene.redis.xadd(self.stream, {"city": city, "mm": millimetres})

    def plain(self) -> list[str]:
        """Without a fault. Gives the commands that change something, in their order."""
        self.rain("chennai")
        result(self.alice().outcome(), SLOW, LIMIT_S)
        names = self.proxy.names
        self.sent = set(names)
        self.words = {word for command in self.proxy.commands for word in command}
        read = names.index("XREADGROUP") if "XREADGROUP" in names else len(names)
        looks = [name for name in names[read:] if name in HARMLESS - {"XREADGROUP", "UNWATCH"}]
        self.looks = list(dict.fromkeys(looks))
        return changing(names)

    def struck(self, stage: str, fault: Fault, command: str) -> Life:
        """A life of alice whose command is struck, for the first of the entries just added."""
        begun = len(self.left()) + len(self._unread())
        self.stages.append(Stage(next(self._cities), stage, command))
        self.rain(self.stages[-1].city)
        self.proxy.reset()
        self.proxy.arm(Fault.FREEZE_BEFORE)  # so that what opens the connection is not counted
        alice = self.alice()
        if alice.stands(self.proxy):
            self.proxy.arm(fault, (command, begun + 1))
            self.proxy.thaw()
        return alice

    def left(self) -> list[str]:
        """What is pending for alice and bob."""
        found = pending(self.scene, self.stream)
        return [number for number, (owner, _) in found.items() if owner != CAROL]

    def _unread(self) -> Any:
        """What an earlier life left for `>`."""
        after = last_delivered(self.scene, self.stream)
        return self.scene.redis.xrange(self.stream, f"({after}")

    def kill(self, command: str) -> None:
        """Killed before a command."""
        alice = self.struck("killed", Fault.FREEZE_BEFORE, command)
        if alice.stands(self.proxy):
            alice.kill()
            self.proxy.thaw()
        else:
            result(alice.outcome(), SLOW, LIMIT_S)

    def lose_reply(self, command: str) -> None:
        """The server runs a command, and its reply never comes."""
        outcome = self.struck("lost", Fault.LOSE_REPLY, command).outcome()
        if not (isinstance(outcome, Failure) and outcome.kind == "ConnectionError"):
            result(outcome, SLOW, LIMIT_S)

    def pause(self, command: str) -> None:
        """Alice stands still before a command; bob claims and does her work; she goes on."""
        alice = self.struck("paused", Fault.FREEZE_BEFORE, command)
        late = not alice.stands(self.proxy) and alice.alive  # or it never sends this command
        hers = self.scene.redis.xpending_range(self.stream, GROUP, "-", "+", 1000, ALICE)
        ids = [str(one["message_id"]) for one in cast("Any", hers)]
        if ids:
            self.scene.redis.xclaim(self.stream, GROUP, BOB, 0, cast("Any", ids), justid=True)
        result(self._begin(BOB, self.totals).outcome(), SLOW, LIMIT_S)
        self.proxy.thaw()
        if isinstance(alice.outcome(), Unfinished):
            raise Wrong(SLOW, found="alice, who was paused and resumed, didn't end")
        if late:
            raise Trouble("The machine is so busy that alice was not paused in time.")

    def finish(self) -> None:
        """A last life, for what is left."""
        self.proxy.reset()
        result(self.alice().outcome(), SLOW, LIMIT_S)

    def total(self, city: str) -> float:
        """What the learner's hash says of a city."""
        stored = cast("Any", self.scene.redis.hget(self.totals, city))
        try:
            return float(stored or 0)
        except ValueError:
            raise Wrong("A total must be a number: HINCRBY adds to it.", instead=stored) from None


def expect_exact(scene: Scene, count: Any) -> None:
    """Put a function through all faults.

    Raises:
        Wrong: its totals are not exact at the end, or it left something undone.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        course = Course(scene, supervisor, proxy, count)
        commands = course.plain()
        _expect_plain(course)
        if not commands:
            raise Wrong(
                "Your function sent nothing on the client that it was given: `redis`.",
                found="no command",
            )
        for command in commands[:MOST_KILLS]:
            course.kill(command)
        course.lose_reply(commands[-1])
        for command in [commands[0], *course.looks[:MOST_LOOKS]]:
            course.pause(command)
        course.finish()
        _expect_nothing_left(course)
        for stage in course.stages:
            _expect_total(stage, course.total(stage.city), course.sent)


def changing(names: list[str]) -> list[str]:
    """The commands that change something, each once; a transaction does it with its EXEC."""
    found: dict[str, None] = {}
    queued = False
    for name in names:
        queued = name == "MULTI" or (queued and name not in ("EXEC", "DISCARD"))
        if not queued and name not in HARMLESS:
            found[name] = None
    return list(found)


def _expect_plain(course: Course) -> None:
    total, right = course.total("chennai"), float(sum(RAIN))
    if "NOACK" in map(str.upper, course.words):
        raise Wrong(
            "With NOACK, nothing is ever pending: a crash loses the entries in progress, and a "
            "script that checks whether an entry is pending never counts it. Leave it out.",
            found="XREADGROUP with NOACK",
        )
    if total != right and course.sent and course.totals not in course.words:
        raise Wrong(
            "No command named the hash that your function is given. `totals` is a variable that "
            "holds the hash's name: write it without quotes, and pass it to a script as a key.",
            expected="commands that name the hash",
            found="none that does",
        )
    if course.scene.redis.exists(course.totals) and total == len(RAIN):
        raise Wrong(
            "It counts entries. Add up the millimetres: the field `mm` of each.",
            expected=f"chennai: {right:g}",
            found=f"chennai: {total:g}",
        )
    if total != right:
        raise Wrong(
            "Add the `mm` of each entry to the field of its `city` in the hash `totals`, in "
            "the step in which you acknowledge it.",
            expected=f"chennai: {right:g}",
            found=f"chennai: {total:g}",
        )
    if course.left():
        raise Wrong(
            "Acknowledge what you have counted, or it comes again.",
            expected="nothing pending",
            found=f"{len(course.left())} entries pending",
        )


def _expect_nothing_left(course: Course) -> None:
    left = course.left()
    if left:
        raise Wrong(
            "What it held when it was killed, or what it has claimed, was never counted: read your "
            "own history first, with `0`, and then `>`.",
            expected="nothing pending at the end",
            found=f"{len(left)} entries pending",
        )


def _expect_total(stage: Stage, total: float, sent: set[str]) -> None:
    right = float(sum(RAIN))
    if total == right:
        return
    raise Wrong(
        _hint(stage, sent, too_much=total > right),
        expected=f"{stage.city}: {right:g} mm",
        found=f"{stage.city}: {total:g} mm, with {_WHAT[stage.fault].format(stage.command)}",
    )


_WHAT = {
    "killed": "alice killed before her {}",
    "lost": "the reply to alice's {} lost",
    "paused": "alice paused before her {} until bob had done her work",
}


def _hint(stage: Stage, sent: set[str], *, too_much: bool) -> str:
    """Why a total is wrong, by the fault and by the commands that the function sends."""
    if not too_much and stage.fault != "killed" and {"HSET", "HMSET", "SET"} & sent:
        return (
            "Your program computed a total and stored it, and overwrote what another process had "
            "counted in the meantime. Let the server add: HINCRBY."
        )
    if stage.fault != "paused" or not too_much:
        return _HINTS[stage.fault, too_much]
    if stage.command in ("EVAL", "EVALSHA", "FCALL"):
        return (
            "Then she continued, and her script counted it again. It has to check whether the "
            "entry is still pending, and count only if it is. In Lua, 0 and an empty table are "
            "true: compare `#list > 0`, or the reply of XACK with 1."
        )
    if not QUESTIONS & sent and "MULTI" in sent:
        return _HINTS[stage.fault, too_much]
    if stage.command == "WATCH":
        return (
            "Then she continued, and counted it again: she had checked before her WATCH, which "
            "notices only what changes after it. First WATCH, then check, then act."
        )
    if "WATCH" in sent:
        return (
            "Then she continued, and counted it again: her EXEC was executed, so the key that she "
            "watched hadn't changed. An XACK doesn't count as a change to the stream. Watch what "
            "each count changes: `totals`. Then check, then act."
        )
    if "MULTI" in sent:
        return _HINTS[stage.fault, too_much]
    return (
        "Then she continued, and counted it again. What she knew about the entry was out of date: "
        "check and count in one step, in a script."
    )


_HINTS = {  # by the fault, and whether too much was counted
    ("killed", True): (
        "It died after it had counted an entry and before it acknowledged the entry, so the entry "
        "came again. Count and acknowledge in one step."
    ),
    ("killed", False): (
        "It died after an entry was acknowledged, or marked as counted, and before it was counted, "
        "so it will never be counted. Do both in one step."
    ),
    ("lost", True): (
        "The server had counted the entry, only the reply was lost, and it was counted again. "
        "Count only if XACK returns 1, in the same step."
    ),
    ("lost", False): (
        "An entry was never counted. Acknowledge and count in one step: then, even if the reply is "
        "lost, an entry is both, or it is still pending."
    ),
    ("paused", True): (
        "Then she continued, and counted it again. MULTI doesn't check whether the entry is still "
        "pending, and what she checked before it may be out of date. Let a script check and count, "
        "in one step."
    ),
    ("paused", False): (
        "An entry was never counted. Bob had claimed it, so it was in his history: read that "
        "first, with `0`."
    ),
}
