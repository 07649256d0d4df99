"""Whether totals stay exact when a process dies, a reply is lost, and a failover loses a tail."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import Any

from helpers.chaos import Failure, Fault, Node, Proxy
from helpers.checks.exactly import changing
from helpers.checks.lab09.clients import Detour, with_cluster
from helpers.checks.lab09.nodes import Ground
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.verdict import Wrong
from helpers.course.pace import patient
from helpers.streams.keys import sibling_key

CITIES = ("chennai", "mumbai", "delhi")
FAILOVER_S = patient(4.0)
MOST_KILLS = 4
LOOK_S = 0.02
SLOW = "The entry with the field `end` was on the stream, and it still ran: then return."
LOST = ("ConnectionError", "TimeoutError", "ClusterDownError", "ClusterError")

# Commands that change nothing, besides those that every lab knows.
_HARMLESS = {"CLUSTER", "XREAD", "READONLY", "ASKING", "WAIT", "ECHO", "INFO", "PTTL"}

_ITS = [f"cmdstat_{name}" for name in ("hget", "hmget", "xread", "xrange", "eval", "evalsha")]


class Course:
    """A learner's function on one stream after the other, all on one node."""

    def __init__(self, ground: Ground, supervisor: Supervisor, count: Any) -> None:
        self.ground, self._supervisor, self._count = ground, supervisor, count
        self._streams = 0
        # redis-py asks a cluster's first node for the keys in an XREAD, and gives up if that one
        # is dead: so another one dies.
        first = ground.slots()[0][2][0]
        self._tag = next(
            tag for tag in range(100) if ground.primary_of(ground.key(f"{{{tag}}}")) is not first
        )
        self.node: Node = ground.primary_of(self._key())

    def _key(self) -> str:
        """The next stream: all are in one slot."""
        self._streams += 1
        return self.ground.key(f"rain{self._streams}:{{{self._tag}}}")

    def stream(self, readings: int, *, end: bool = True) -> tuple[str, Counter[str]]:
        """A stream with readings, and the totals that they make."""
        stream, right = self._key(), Counter[str]()
        self.add(self.node, stream, readings, right, end=end)
        return stream, right

    def add(
        self,
        node: Node,
        stream: str,
        readings: int,
        right: Counter[str],
        *,
        end: bool,
        cities: tuple[str, ...] = CITIES,
    ) -> None:
        """Append readings, and add them to the totals; and the entry that ends it."""
        pipeline = self.ground.client(node).pipeline(transaction=False)
        for n in range(readings):
            city, millimetres = cities[n % len(cities)], 1 + secrets.randbelow(50)
            right[city] += millimetres
            pipeline.xadd(stream, {"city": city, "mm": millimetres})
        if end:
            pipeline.xadd(stream, {"end": 1})
        pipeline.execute()

    def begin(self, stream: str, proxy: Proxy | None = None) -> Life:
        """A life of the learner's function; the node of the streams is behind the proxy."""
        detour = Detour(self.node.port, proxy.port) if proxy else None
        seeds = self.ground.primaries()
        seeds.sort(key=lambda node: node is self.node)  # this one last
        function = with_cluster(self._count, self.ground.cluster, seeds, detour)
        return self._supervisor.begin(function, stream, sibling_key(stream, "totals"))

    def totals(self, stream: str, node: Node | None = None) -> dict[str, str]:
        """The totals, without the position."""
        client = self.ground.client(node or self.node)
        found: Any = client.hgetall(sibling_key(stream, "totals"))
        found.pop("position", None)
        return dict(found)


def expect_exact(scene: Scene, ground: Ground, count: Any) -> str:
    """Put a function through all faults.

    Raises:
        Wrong: its totals are not exact at the end.
    """
    with Supervisor(scene) as supervisor:
        course = Course(ground, supervisor, count)
        with Proxy(ground.url(course.stream(0)[0])) as proxy:
            commands = _plain(course, proxy)
            for command in commands[:MOST_KILLS]:
                _killed(course, proxy, command)
            _lost(course, proxy, commands[-1])
        _failed_over(course)
        _later(course)
    return (
        "Exact after a kill before each write, after a lost reply, and after a failover that had "
        "lost all that was counted: it was counted again, once."
    )


def _plain(course: Course, proxy: Proxy) -> list[str]:
    """Without a fault. Gives the commands that change something."""
    stream, right = course.stream(4)
    outcome = course.begin(stream, proxy).outcome()
    new = any("$" in words for words in proxy.commands)
    result(outcome, _ONLY_NEW if new else SLOW, LIMIT_S)
    commands = [one for one in changing(proxy.names) if one not in _HARMLESS]
    found = course.totals(stream)
    if not commands:
        raise Wrong(
            "Nothing was written: add each reading's `mm` to the field of its city in `totals`.",
            expected=_shown(right),
            found="no command that writes",
        )
    if found != _texts(right):
        hint = "Add each reading's `mm` to the field of its `city` in the hash `totals`."
        if set(found) == set(right) and sum(map(int, found.values())) == 4:
            hint = "It counts readings. Add up their `mm`."
        elif set(found) - set(right):
            hint = (
                "Besides the cities and `position`, the hash `totals` has no fields. The entry "
                "with the field `end` is no reading."
            )
        raise Wrong(hint, expected=_shown(right), found=_shown(found))
    _expect_position(course, stream)
    return commands


_ONLY_NEW = (
    "`$` means what comes from now on, and these readings were there already. Without a position, "
    "begin at `0`: before all of them."
)


def _expect_position(course: Course, stream: str) -> None:
    """Make sure that the position of the last reading, or of the end, is where it belongs."""
    client = course.ground.client(course.node)
    last: Any = client.xrevrange(stream, count=2)
    position: Any = client.hget(sibling_key(stream, "totals"), "position")
    if position not in [one for one, _ in last]:
        raise Wrong(
            "Keep the ID of the reading that was counted last in the field `position` of `totals`: "
            "it outlives your process, and a node that has the totals has it too.",
            expected=f"position: {last[-1][0]}",
            found=f"position: {position}",
        )


def _later(course: Course) -> None:
    """Begun again: what was counted is not on the stream any more, and there are new readings."""
    stream, right = course.stream(4)
    result(course.begin(stream).outcome(), SLOW, LIMIT_S)
    course.ground.client(course.node).xtrim(stream, maxlen=0, approximate=False)
    course.add(course.node, stream, 2, right, end=True)
    result(course.begin(stream).outcome(), SLOW, LIMIT_S)
    found = course.totals(stream)
    if found != _texts(right):
        raise Wrong(
            "It was begun again, with two more readings, when those that it had counted were "
            "trimmed from the stream. Leave the totals as they are, and go on after `position`.",
            expected=_shown(right),
            found=_shown(found),
        )


def _killed(course: Course, proxy: Proxy, command: str) -> None:
    """Killed before a command that writes, and begun again."""
    stream, right = course.stream(4)
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, (command, 1))
    life = course.begin(stream, proxy)
    if life.stands(proxy):
        life.kill()
        proxy.thaw()
        proxy.reset()
        life = course.begin(stream, proxy)
    result(life.outcome(), SLOW, LIMIT_S)
    found = course.totals(stream)
    if found != _texts(right):
        more = _sum(found) > sum(right.values())
        raise Wrong(
            "It had counted a reading, and died before the position was moved: the next process "
            "counted it again. Write both in one step."
            if more
            else "A reading wasn't counted: when the process died, the position had passed it, or "
            "it was noted as done elsewhere. Write its total and `position` in one step.",
            expected=_shown(right),
            found=f"{_shown(found)}, with a kill before the first {command}",
        )


def _lost(course: Course, proxy: Proxy, command: str) -> None:
    """The reply to the last command that writes is lost, and the client sends it again."""
    stream, right = course.stream(4)
    proxy.reset()
    proxy.arm(Fault.LOSE_REPLY, (command, 1))
    outcome = course.begin(stream, proxy).outcome()
    proxy.reset()
    if isinstance(outcome, Failure) and outcome.kind in LOST:
        outcome = course.begin(stream, proxy).outcome()
    result(
        outcome,
        "The script had run, only its reply was lost, so the client sent it again. By then the "
        "position wasn't what the script expected. Read it again, and go on from there.",
        LIMIT_S,
    )
    found = course.totals(stream)
    if found != _texts(right):
        raise Wrong(
            "The server had counted, and only the reply was lost: the client sent the command "
            "again, and it counted again. Let the script compare `position` with the one that you "
            "had read, and write only if they are equal."
            if _sum(found) > sum(right.values())
            else "After a lost reply, a reading wasn't counted. Read the position again, and go on "
            "from there.",
            expected=_shown(right),
            found=f"{_shown(found)}, with the reply to the first {command} lost",
        )


def _failed_over(course: Course) -> None:
    """The primary dies; its replica has all readings, and nothing of what was counted."""
    stream, right = course.stream(5, end=False)
    asked = _asked(course, course.ground.replica_of(stream))
    replica = course.ground.cut_off(stream)
    life = course.begin(stream)
    _until_counted(course, stream, right, life)
    primary = course.ground.fail_over(stream, replica)
    # before the client sends its last command again, and without the first city
    course.add(replica, stream, 3, right, end=True, cities=CITIES[1:])
    course.ground.kill(primary)
    course.node = replica
    outcome = life.outcome(FAILOVER_S)
    if isinstance(outcome, Failure) and outcome.kind in LOST:
        raise Wrong(
            "It ended with the failover. While a replica takes over, commands fail for a moment: "
            "catch `ConnectionError`, and try again.",
            found=str(outcome),
        )
    result(
        outcome,
        "The primary died, and a replica took over that had the readings and not yet the totals. "
        "Your function didn't get to the entry `end`. Read the field `position` from the server "
        "before each read: it's an older one now.",
        FAILOVER_S,
    )
    found = course.totals(stream, replica)
    if not found and _asked(course, replica) == asked:  # it had ended before
        raise _returned_early()
    if found != _texts(right):
        raise Wrong(
            "The new primary has neither the last totals nor their position. Your program went on "
            "after a position that only the old one knew, so these readings are in no total. Read "
            "`position` from the server before each read, and let the script write only if it is "
            "still the same."
            if _sum(found) < sum(right.values())
            else "After the failover, readings were counted twice. The position belongs in the "
            "same step, and the same slot, as the totals.",
            expected=_shown(right),
            found=f"{_shown(found)}, after a failover",
        )


def _until_counted(course: Course, stream: str, right: Counter[str], life: Life) -> None:
    """Wait until all that is there was counted, on the primary alone."""
    deadline = time.monotonic() + LIMIT_S
    while course.totals(stream) != _texts(right):
        if not life.alive:
            result(life.outcome(), SLOW, LIMIT_S)
            raise _returned_early()
        if time.monotonic() > deadline:
            raise Wrong(
                "Five readings were on the stream, and no `end` yet. Count each one as it comes.",
                expected=_shown(right),
                found=_shown(course.totals(stream)),
            )
        time.sleep(LOOK_S)


def _asked(course: Course, node: Node) -> int:
    """How many commands a node has run that a learner's function may send, and no check does."""
    about: Any = course.ground.client(node).info("commandstats")
    return sum(about[name]["calls"] for name in _ITS if name in about)


def _returned_early() -> Wrong:
    return Wrong(
        "It returned before the entry with the field `end` came. If nothing is there to read, wait "
        "for more: `block=100`.",
        expected="a function that goes on until `end`",
        found="it returned",
    )


def _texts(right: Counter[str]) -> dict[str, str]:
    return {city: str(total) for city, total in right.items()}


def _sum(found: dict[str, str]) -> float:
    try:
        return sum(map(float, found.values()))
    except ValueError:
        raise Wrong("A total is a number: HINCRBY adds to it.", found=_shown(found)) from None


def _shown(totals: Any) -> str:
    return ", ".join(f"{city} {total}" for city, total in totals.items()) or "no totals"
