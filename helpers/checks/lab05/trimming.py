"""Whether a learner's function trims a stream as far as all groups have handled it, no further.

Each case is a stream with groups that stand somewhere, and tells one mistake from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple, cast

import redis

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Proxy
from helpers.checks.lives import Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import gaps
from helpers.checks.verdict import Wrong
from helpers.streams.entry import EntryId

ALICE = "alice"
SLOW = "It was still running: look once, trim once, and return."
_ASKED = (
    "While your function was working, entries were added and read. When it asked what is pending, "
    "they weren't pending yet; when it asked for `last-delivered-id`, they had been delivered. Ask "
    "for `last-delivered-id` first, then for what is pending."
)
_COUNTED = (
    "While your function was working, entries were added and read, and MAXLEN counts those too. "
    "Find the oldest entry that is needed, and trim with MINID: it keeps whatever comes meanwhile."
)


class Standing(NamedTuple):
    """How a group stands: how many entries it was given, and which of them it has yet to ack."""

    given: int
    pending: tuple[int, ...] = ()


class Case(NamedTuple):
    """A stream with its groups, and what to say to who trims too little, or too much."""

    groups: dict[str, Standing]
    ids: Sequence[str]
    about: str
    too_much: str
    too_little: str = "More may go: everything before the oldest entry that a group still needs."
    nothing: str = ""  # what to say if nothing was removed

    def needs(self, number: int) -> bool:
        """Whether a group still needs an entry: it is pending, or was not given yet."""
        return any(number >= one.given or number in one.pending for one in self.groups.values())

    @property
    def oldest(self) -> int:
        """Which entry is the oldest that a group still needs; one past the end if none is."""
        return next((n for n in range(len(self.ids)) if self.needs(n)), len(self.ids))


IDS = [f"1000-{n}" for n in range(9)]
ALL = len(IDS)
CASES = (
    Case(
        {"display": Standing(6)},
        IDS,
        "one group, given 1000-0 to 1000-5, all acknowledged",
        "Entries that weren't delivered yet are gone. `last-delivered-id` is the last one "
        "that was, and the next may be in the same millisecond: the sequence number counts "
        "too.",
        "One more may go. MINID keeps the entry with exactly that ID, and `last-delivered-id` "
        "was handled already: the first one needed is the next, with a sequence number that "
        "is one higher.",
        "In this group, nothing is pending, so it needs only what it hasn't been given yet: "
        "what comes after its `last-delivered-id`.",
    ),
    Case(
        {"display": Standing(8, (3, 5))},
        IDS,
        "one group, given 1000-0 to 1000-7; 1000-3 and 1000-5 are pending",
        "A pending entry is gone: it was delivered, but not handled yet. "
        "`redis.xpending(stream, group)` returns the oldest one as `min`, and that one stays.",
    ),
    Case(
        {"archive": Standing(ALL), "display": Standing(4)},
        IDS,
        "two groups: archive has handled all, display was given 1000-0 to 1000-3",
        "The other group isn't that far yet. Ask every group, and take the smallest of their IDs.",
    ),
    Case(
        {"archive": Standing(3, (2,)), "display": Standing(ALL)},
        IDS,
        "two groups: archive has handled 1000-0 and 1000-1, display has handled all",
        "The other group isn't that far yet. Ask every group, and take the smallest of their IDs.",
    ),
    Case(
        {"archive": Standing(1), "display": Standing(4)},
        ["998-0", "999-0", *IDS],
        "two groups: archive was given 998-0, display was given 998-0 to 1000-1",
        "The smallest ID is 999-0. As a string, '1000-2' comes before '999-0': compare the "
        "milliseconds as numbers, and then the sequence numbers.",
    ),
    Case(
        {"archive": Standing(0), "display": Standing(ALL)},
        IDS,
        "two groups: archive, a new one, was given nothing yet; display has handled all",
        "A group that began at `0` and hasn't been given anything needs every entry.",
    ),
    Case(
        {"display": Standing(ALL)},
        IDS,
        "one group that has handled all",
        "",
        "Everything is handled, so everything may go. What is the first ID that would be needed?",
    ),
)


def expect_trimmed(scene: Scene, trim: Any) -> None:
    """Put a function through all cases, and then let readings come while it is at work.

    Raises:
        Wrong: it trims too little or too much.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        names: list[str] = []  # of its commands, where there is one group
        for number, case in enumerate(CASES):
            stream = _staged(scene, f"case{number}", case)
            proxy.reset()
            _trimmed(supervisor.call(trim, CLIENT, stream, through=proxy))
            _expect_there(scene, stream, case)
            _expect_left(scene, stream, case, proxy.commands)
            names = names or proxy.names
        _expect_alone(scene, supervisor, trim)
        for place, given in product(gaps(names), (4, ALL)):
            _overtake(scene, supervisor, proxy, trim, place, given)


def _trimmed(outcome: Outcome) -> None:
    if isinstance(outcome, Failure) and "NOGROUP" in outcome.message:
        raise Wrong(
            "This stream has no group with that name. `redis.xinfo_groups(stream)` returns the "
            "groups that it has, each with its `name`: ask those.",
            found=str(outcome),
        )
    result(outcome, SLOW, LIMIT_S)


def _staged(scene: Scene, name: str, case: Case) -> str:
    stream = scene.stream(name, [(one, {"n": str(n)}) for n, one in enumerate(case.ids)])
    for group, (given, pending) in case.groups.items():
        scene.redis.xgroup_create(stream, group, "0")
        if given:
            scene.redis.xreadgroup(group, ALICE, {stream: ">"}, count=given)
        acked = [one for n, one in enumerate(case.ids[:given]) if n not in pending]
        if acked:
            scene.redis.xack(stream, group, *acked)
    return stream


def _ids(scene: Scene, stream: str) -> list[str]:
    return [str(entry_id) for entry_id, _ in cast("Any", scene.redis.xrange(stream))]


def _expect_there(scene: Scene, stream: str, case: Case) -> None:
    found = scene.redis.xinfo_groups(stream) if scene.redis.exists(stream) else []
    if {one["name"] for one in cast("Any", found)} != set(case.groups):
        raise Wrong(
            "Leave the stream and its groups in place, even if the stream becomes empty: "
            "XTRIM removes only entries.",
            expected="the stream with its groups",
            found="a group is gone, or the stream",
        )


def _expect_left(scene: Scene, stream: str, case: Case, commands: list[list[str]]) -> None:
    left, lost = _ids(scene, stream), []
    for n, one in enumerate(case.ids):
        if case.needs(n) and one not in left:
            lost.append(one)
    if not lost and not set(left) & set(case.ids[: case.oldest]):
        return  # what is handled and lies behind the oldest needed one may be gone, too
    raise Wrong(
        _hint(case, left, lost, commands),
        expected=f"{case.about}: {_span(case.ids[case.oldest :])} left",
        found=f"{_span(left)} left",
    )


def _hint(case: Case, left: list[str], lost: list[str], commands: list[list[str]]) -> str:
    counted = any("MAXLEN" in map(str.upper, words) for words in commands)
    approximate = any("~" in words for words in commands)
    if len(left) == len(case.ids) and approximate:
        return (
            "`~` removes only whole nodes of 100 entries, so it removed nothing here. redis-py "
            "sends it unless you say `approximate=False`."
        )
    if len(left) == len(case.ids):
        return f"Nothing was removed. {case.nothing or case.too_little}"
    if lost and counted:
        return (
            "MAXLEN counts entries, and doesn't know who has read them. MINID removes what "
            "comes before an ID: find the ID of the oldest entry that a group still needs."
        )
    if lost and left[:1] == list(case.ids[case.oldest + 1 :][:1]) and case.oldest in _pending(case):
        return (
            "One entry too many: MINID keeps the entry with the ID that you pass, and removes "
            "what comes before it. The pending entry itself is still needed."
        )
    return case.too_much if lost else case.too_little


def _pending(case: Case) -> set[int]:
    return {n for one in case.groups.values() for n in one.pending}


def _span(ids: Sequence[str]) -> str:
    return f"{ids[0]} to {ids[-1]}" if ids else "nothing"


def _expect_alone(scene: Scene, supervisor: Supervisor, trim: Any) -> None:
    """A stream without any group."""
    stream = scene.stream("alone", [(one, {"n": "1"}) for one in IDS])
    outcome = supervisor.call(trim, CLIENT, stream)
    if isinstance(outcome, Failure):
        raise Wrong(
            "A stream may have no group at all, and then your function raised this: leave "
            "such a stream as it is.",
            expected="a stream without a group as it was",
            found=str(outcome),
        )
    result(outcome, SLOW, LIMIT_S)
    if _ids(scene, stream) != IDS:
        raise Wrong(
            "If there is no group, nothing was handled: leave the stream as it is.",
            expected=f"{len(IDS)} entries left",
            found=f"{len(_ids(scene, stream))} left",
        )


def _overtake(
    scene: Scene, supervisor: Supervisor, proxy: Proxy, trim: Any, place: int, given: int
) -> None:
    """Before one of its commands an entry comes, and alice reads one."""
    case = Case({"display": Standing(given)}, IDS, "", "")
    stream = _staged(scene, f"overtaken{place}:{given}", case)
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, place)
    life = supervisor.begin(trim, CLIENT, stream, through=proxy)
    if life.stands(proxy):
        scene.redis.xadd(stream, {"n": "new"}, id="1000-*")
        scene.redis.xreadgroup("display", ALICE, {stream: ">"}, count=1)
        proxy.thaw()
    _expect_ended(life.outcome())
    _expect_safe(scene, stream, proxy.commands)


def _pending_entries(scene: Scene, stream: str) -> Any:
    try:
        return scene.redis.xpending_range(stream, "display", "-", "+", 100)
    except redis.ResponseError as error:
        raise Wrong(
            "Leave the stream and its groups in place.", found="the group is gone"
        ) from error


def _expect_safe(scene: Scene, stream: str, commands: list[list[str]]) -> None:
    """All that is pending or was not yet delivered is still there."""
    pending = [EntryId.parse(str(one["message_id"])) for one in _pending_entries(scene, stream)]
    [group] = cast("Any", scene.redis.xinfo_groups(stream))
    about = cast("Any", scene.redis.xinfo_stream(stream))
    first = EntryId.parse(group["last-delivered-id"]).next()
    last = EntryId.parse(about["last-generated-id"])
    wanted = [*pending, *(EntryId(first.ms, n) for n in range(first.seq, last.seq + 1))]
    left = {EntryId.parse(one) for one in _ids(scene, stream)}
    lost = [str(one) for one in wanted if one not in left]
    counted = any("MAXLEN" in map(str.upper, words) for words in commands)
    if lost:
        raise Wrong(
            f"{_COUNTED if counted else _ASKED} Or do it all in one script.",
            expected="everything that is pending or unread still there",
            found=f"{', '.join(lost)} gone",
        )


def _expect_ended(outcome: Outcome) -> None:
    if not isinstance(outcome, Failure):  # one that gives up loses nothing
        result(outcome, SLOW, LIMIT_S)
