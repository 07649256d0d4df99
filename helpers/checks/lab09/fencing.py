"""Whether a part counts each entry once, whoever is paused at which command.

Leases don't run out here by themselves: the check deletes one, which is the same for a worker.
So a pause needs no waiting, and a slow machine changes nothing.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, NamedTuple

from helpers.chaos import Fault, Proxy
from helpers.checks.lab09.clients import with_node
from helpers.checks.lab09.nodes import Ground
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import gaps
from helpers.checks.verdict import Wrong

PART = "weather:{3}"  # all parts of a check are in its slot
LEASE_MS = 30_000  # longer than a check
ENTRIES = 2  # at a time
MANY = 120  # more than a page
SLOW = "Nothing was left to count, and it still ran. Return True when there is no more."


class Part(NamedTuple):
    """A part, and what the workers keep beside it."""

    stream: str
    lease: str
    state: str


class Course:
    """A learner's workers on one part after the other, all on one node."""

    def __init__(self, ground: Ground, supervisor: Supervisor, proxy: Proxy, work: Any) -> None:
        self._ground, self.proxy = ground, proxy
        self.node = ground.at(ground.key(PART))
        direct = with_node(work, ground.url(ground.key(PART)))
        self.direct = partial(supervisor.begin, direct)
        self.proxied = partial(supervisor.begin, with_node(work, proxy.url))
        self._count = 0
        self.total: dict[Part, int] = {}

    def part(self) -> Part:
        """A part that no worker has seen, with two entries."""
        self._count += 1
        stream = self._ground.key(f"weather{self._count}:{{3}}")
        part = Part(stream, f"{stream}:lease", f"{stream}:state")
        self.total[part] = 0
        self.add(part)
        return part

    def add(self, part: Part, entries: int = ENTRIES) -> None:
        """Add entries."""
        pipeline = self.node.pipeline(transaction=False)
        for _ in range(entries):
            millimetres = 2 + secrets.randbelow(40)
            self.total[part] += millimetres
            pipeline.xadd(part.stream, {"city": "chennai", "mm": millimetres})
        pipeline.execute()

    def of(self, life: Life) -> Any:
        """What a worker returned."""
        return result(life.outcome(), SLOW, LIMIT_S)

    def begin_and_pause(self, part: Part, token: str, place: int) -> Life | None:
        """A worker that stands still before a command; None if it ended before that one."""
        self.proxy.reset()
        self.proxy.arm(Fault.FREEZE_BEFORE, place)
        life = self.proxied(part.stream, token, LEASE_MS)
        if life.stands(self.proxy):
            return life
        self.of(life)
        return None

    def sum(self, part: Part) -> int:
        """The field `sum` of the state."""
        found: Any = self.node.hget(part.state, "sum")
        try:
            return int(found or 0)
        except ValueError:
            raise Wrong("The field `sum` is a number: HINCRBY adds to it.", instead=found) from None

    def braced(self, part: Part) -> bool:
        """Whether there is a state with braces around the name of the part."""
        key = f"{{{part.stream}}}:state"
        return bool(self._ground.at(key).exists(key))

    def torn(self, part: Part) -> bool:
        """Whether the sum is another one than that of the entries up to the position."""
        position: Any = self.node.hget(part.state, "position")
        counted: Any = self.node.xrange(part.stream, max=position) if position else []
        return self.sum(part) > sum(int(fields["mm"]) for _, fields in counted)

    def expire(self, part: Part) -> None:
        """Let the lease run out."""
        self.node.delete(part.lease)


def expect_fenced(scene: Scene, ground: Ground, work: Any) -> str:
    """Put workers through all of it.

    Raises:
        Wrong: a part's sum is not exact, or a worker had a part that another one had.
    """
    with Supervisor(scene) as supervisor, Proxy(ground.url(ground.key(PART))) as proxy:
        course = Course(ground, supervisor, proxy, work)
        names = _alone(course)
        _busy(course)
        places = gaps(names)
        for place in reversed(places):  # first where she writes: that hint is the plainest
            _paused(course, place)
        for place in reversed(places):
            if _taken(course, place):
                break
    return (
        f"Alice was paused before her commands 2 to {places[-1]}, until bob had taken the part "
        "over and counted: each time the sum was exact at the end."
    )


def _token(name: str) -> str:
    return f"{name}-{secrets.token_hex(3)}"


def _alone(course: Course) -> list[str]:
    """Alice by herself, and bob after her. Gives the names of a worker's commands."""
    part, alice = course.part(), _token("alice")
    got = course.of(course.proxied(part.stream, alice, LEASE_MS))
    names = course.proxy.names
    if got is False and not course.sum(part):
        raise Wrong(
            "The part was free, so alice could take it, and count. Look at which comparison in "
            "your function ended it: the lease and the field `token` were hers.",
            expected="True",
            instead=got,
        )
    _expect_counted(course, part, names)
    _expect_given_time(course, part)
    if got is not True:
        raise Wrong(
            "The part was free, and alice has counted all of it: then return True.",
            expected="True",
            instead=got,
        )
    course.expire(part)
    _later(course, part, _token("bob"))
    return names


def _later(course: Course, part: Part, bob: str) -> None:
    """Bob comes when alice is done, and there are many new entries."""
    course.add(part, MANY)
    course.of(course.direct(part.stream, bob, LEASE_MS))
    total, found = course.total[part], course.sum(part)
    if found == total:
        return
    hint = (
        "Bob came later, when alice's lease had run out and there were new entries. Go on after "
        '`position`: `xrange(part, f"({position}")` leaves out the entry that it names.'
    )
    if course.node.hget(part.state, "token") != bob:
        hint = (
            "Bob came later and took the lease, and the field `token` still held alice's. The "
            "worker that has taken the part writes its own over it: `hset(state, 'token', token)`."
        )
    elif found < total:
        hint = (
            f"Bob came later, to {MANY} new entries, and hasn't read them all: a `count=` ends the "
            "reply before the last one."
        )
    raise Wrong(hint, expected=f"sum: {total}", found=f"sum: {found}")


def _expect_given_time(course: Course, part: Part) -> None:
    """Make sure that the lease was asked for as long as it should last, and the state forever."""
    for words in course.proxy.commands:
        options = [word.upper() for word in words]
        if options[0] == "SET" and "PX" in options[3:-1]:
            milliseconds = words[options.index("PX", 3) + 1]
            if milliseconds != str(LEASE_MS):
                raise Wrong(
                    "`px=` takes milliseconds, and `lease_ms` is in milliseconds: give it as it "
                    "is. A lease that ends early has two workers at it.",
                    expected=f"PX {LEASE_MS}",
                    found=f"PX {milliseconds}",
                )
    left: Any = course.node.pttl(part.state)
    if left >= 0:
        raise Wrong(
            "The lease ends by itself, and the state must not: with it, sum and position are gone.",
            expected="no time to live",
            found=f"`{{part}}:state` ends in {left:,} ms",
        )


def _expect_counted(course: Course, part: Part, names: list[str]) -> None:
    state: Any = course.node.hgetall(part.state)
    right = course.total[part]
    if not names:
        raise Wrong(
            "Your function sent nothing on the client that it was given: `node`.",
            found="no command",
        )
    if course.braced(part):
        raise Wrong(
            "`{part}` stands for the name of the part, as in an f-string. With braces around it, "
            "another tag is hashed, and the key lies where chance puts it.",
            expected=f"the hash `{PART}:state`",
            found=f"the hash `{{{PART}}}:state`",
        )
    if "sum" not in state:
        raise Wrong(
            "The sum belongs in the field `sum` of the hash `{part}:state`.",
            expected=f"sum: {right}",
            found=f"the fields {', '.join(map(str, state)) or 'of no hash: it does not exist'}",
        )
    if course.sum(part) != right:
        hint = "Add up the field `mm` of each entry."
        if course.sum(part) == ENTRIES:
            hint = "That's how many entries there are. Add up the field `mm` of each."
        raise Wrong(hint, expected=f"sum: {right}", found=f"sum: {course.sum(part)}")
    last: Any = course.node.xrevrange(part.stream, count=1)
    if state.get("position") != last[0][0]:
        raise Wrong(
            "Note in the field `position` of the state which entry was counted last: another "
            "worker goes on after it.",
            expected=f"position: {last[0][0]}",
            found=f"position: {state.get('position')}",
        )


def _busy(course: Course) -> None:
    """Bob comes while alice has the part."""
    part, alice, bob = course.part(), _token("alice"), _token("bob")
    course.node.set(part.lease, alice, px=LEASE_MS)
    course.node.hset(part.state, "token", alice)
    got = course.of(course.direct(part.stream, bob, LEASE_MS))
    if course.node.get(part.lease) != alice:
        raise Wrong(
            "Alice had the lease, and bob has replaced it or deleted it. `set(…, nx=True)` sets a "
            "key only if it isn't there.",
            expected="alice's lease",
            found=f"{course.node.get(part.lease)!r}",
        )
    token: Any = course.node.hget(part.state, "token")
    if token != alice or course.sum(part):
        raise Wrong(
            "Alice had the lease, so bob must leave the part alone: `set(…, nx=True)` returns None "
            "if the key is there already.",
            expected="nothing changed by bob",
            found=f"sum {course.sum(part)}, token {token}",
        )
    if got is not False:
        raise Wrong(
            "Alice had the lease, so bob didn't get the part: then return False.",
            expected="False",
            instead=got,
        )


def _paused(course: Course, place: int) -> None:
    """Alice stands still before a command; bob takes over and counts; she goes on."""
    part, alice, bob = course.part(), _token("alice"), _token("bob")
    hers = course.begin_and_pause(part, alice, place)
    if hers is None:
        return
    command = course.proxy.names[-1]
    _expect_lease(course, part, alice)
    had, torn = course.node.hget(part.state, "token") == alice, course.torn(part)
    course.expire(part)
    course.of(course.direct(part.stream, bob, LEASE_MS))
    dave = _token("dave")
    course.node.set(part.lease, dave, px=2 * LEASE_MS)  # he came when bob was done
    course.proxy.thaw()
    course.of(hers)
    _expect_left_alone(course, part, dave, command)
    if course.sum(part) < course.total[part]:
        course.expire(part)
        course.of(course.direct(part.stream, _token("carol"), LEASE_MS))
    total, found = course.total[part], course.sum(part)
    if found != total:
        again = course.node.hget(part.state, "token") == alice
        raise Wrong(
            _too_much(had=had, again=again, torn=torn) if found > total else _TOO_LITTLE,
            expected=f"sum: {total}",
            found=f"sum: {found}, with alice paused before her {command} until bob had taken over",
        )


def _expect_lease(course: Course, part: Part, alice: str) -> None:
    """Make sure that a lease that is there will end, and is alice's."""
    holder: Any = course.node.get(part.lease)
    left: Any = course.node.pttl(part.lease)
    if holder is None:
        return
    if left < 0:
        raise Wrong(
            "This lease never ends: if alice dies, no other worker gets the part. Set it with "
            "`px=lease_ms`.",
            found="a lease without a time to live",
        )
    if left > LEASE_MS:
        raise Wrong(
            "`lease_ms` is in milliseconds: `px=` takes these, `ex=` takes seconds.",
            expected=f"{LEASE_MS:,} ms or less",
            found=f"{left:,} ms",
        )
    if holder != alice:
        raise Wrong(
            "The value of the lease is the token of the worker that has it.",
            expected=alice,
            found=f"{holder!r}",
        )


_TOO_LITTLE = (
    "An entry was never counted: `position` had passed it, and its `mm` wasn't added. Write both "
    "in one step, or neither."
)
_COMPARE = (
    "Then she went on, and counted again what bob had counted. The part wasn't hers any more: the "
    "step that writes must compare the field `token` with her token, as a script can."
)
_TAKEN_BACK = (
    "The part was bob's by then, and she wrote her token over his. A worker writes its token once, "
    "when it has taken the lease. If the token is another one's later, it returns False."
)


def _too_much(*, had: bool, again: bool, torn: bool) -> str:
    """Why an entry was counted by alice and by bob.

    Args:
        had: whether her token was in the state when she was paused.
        again: whether it was there at the end.
        torn: whether she had added to the sum by then, and not moved the position.
    """
    if torn:
        return (
            "An entry was counted by both: she wrote sum and position in two steps, and was "
            "paused between them. Write both in one step."
        )
    if had and again:
        return _TAKEN_BACK
    if again:
        return (
            "An entry was counted by both: she read `position` before she had written her token, "
            "and went on from there. Until the token is hers, another worker may move it."
        )
    return _COMPARE


def _taken(course: Course, place: int) -> bool:
    """Alice stands still before a command; bob takes the part, and hasn't counted; she goes on.

    Returns:
        Whether the part was hers before, and something was left to count.
    """
    part, alice, bob = course.part(), _token("alice"), _token("bob")
    hers = course.begin_and_pause(part, alice, place)
    if hers is None:
        return False
    command, before = course.proxy.names[-1], course.sum(part)
    told = course.node.hget(part.state, "token") == alice and before < course.total[part]
    course.node.set(part.lease, bob, px=LEASE_MS)
    course.node.hset(part.state, "token", bob)
    course.proxy.thaw()
    got = course.of(hers)
    if not told:
        return False
    paused = f"with alice paused before her {command} until bob had taken over"
    if course.node.hget(part.state, "token") != bob:
        raise Wrong(_TAKEN_BACK, expected=f"token: {bob}", found=f"token: {alice}, {paused}")
    if course.sum(part) != before:
        raise Wrong(
            "Then she went on counting. Bob hadn't counted yet, so `position` was where she had "
            "left it; but `token` was his. The step that writes must compare the token too.",
            expected=f"sum: {before}",
            found=f"sum: {course.sum(part)}, {paused}",
        )
    if got is not False:
        raise Wrong(
            "The token wasn't hers any more, so nothing was written; then return False. Look at "
            "what your script returns when it refuses, and at what your function makes of it.",
            expected="False",
            found=f"{got!r}, {paused}",
        )
    return True


def _expect_left_alone(course: Course, part: Part, dave: str, command: str) -> None:
    """Make sure that alice, who goes on before a command, does nothing to the lease of another."""
    holder: Any = course.node.get(part.lease)
    if holder != dave:
        raise Wrong(
            "She had looked whether the lease was there, and set it later: by then it was another "
            "worker's. `set(…, nx=True)` looks and sets in one step."
            if command == "SET"
            else "She has deleted or replaced the lease, and it was another worker's by then. Let "
            "leases run out; or delete one in a script that compares it with the token.",
            expected=f"the lease of {dave}",
            found=f"{holder!r}, with alice paused before her {command}",
        )
    left: Any = course.node.pttl(part.lease)
    if left <= LEASE_MS:
        raise Wrong(
            "She has changed how long the lease lasts, and it was another worker's by then. Leave "
            "it alone: it ends by itself.",
            expected=f"the lease of {dave}, as he had set it",
            found=f"it ends sooner, with alice paused before her {command}",
        )
