"""Whether a consumer counts the changes on a stream exactly, whenever it is killed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Proxy
from helpers.checks.crashes import ALICE, GROUP, pending
from helpers.checks.exactly import changing
from helpers.checks.lab07.counting import (
    Made,
    counted,
    expect_domains,
    held_back,
    made,
    settle,
    truth,
)
from helpers.checks.lives import Supervisor
from helpers.checks.scene import Scene
from helpers.checks.standing import group_of
from helpers.checks.verdict import Wrong

INTERVAL_S = 4  # not the 10 s of the texts
MOST_KILLS = 5
SECONDS = (1.0, 2.0, 12.5)  # at which each wiki changes while the consumer lives
AWAY = (3.0, 14.0)  # and while it is dead
FIRST, MANY = 50, 20  # how often it does so before there is a group, and before each kill
SLOW = (
    "It was still running. Return when nothing is left: a BLOCK waits for more, and what you "
    "don't acknowledge comes again with `0`, forever."
)
PART = (
    "Count everything that's there, even what comes while you work: one XREADGROUP returns "
    "only a part, so read and count until nothing is left."
)
_NO_STREAM = ("requires the key to exist", "NOGROUP")  # of XGROUP CREATE, and of XREADGROUP
EARLY, PLAIN = "early.wikipedia.org", "plain.wikipedia.org"


class Kill(NamedTuple):
    """A kill, and the wiki whose changes it befalls."""

    domain: str
    fault: Fault
    command: str

    def __str__(self) -> str:
        when = "before" if self.fault is Fault.FREEZE_BEFORE else "after"
        return f"killed {when} {self.command}"


class Course:
    """One stream, on which one change comes after the other, and one consumer with many lives."""

    def __init__(
        self, scene: Scene, supervisor: Supervisor, proxy: Proxy, work: Any, name: str = "wiki"
    ) -> None:
        self.scene, self.proxy = scene, proxy
        self.stream, self.prefix = scene.key(name), scene.key(f"{name}-counts:")
        self.made: list[Made] = []
        place = (self.stream, GROUP, ALICE, self.prefix, INTERVAL_S)
        self._begin = partial(supervisor.begin, work, CLIENT, *place)

    def change(self, domain: str, seconds: tuple[float, ...], times: int = 1) -> None:
        """A wiki is changed."""
        pipeline = self.scene.redis.pipeline(transaction=False)
        for second in seconds * times:
            one = made(domain, second)
            pipeline.xadd(self.stream, cast("Any", one.change.fields()))
            self.made.append(one)
        pipeline.execute()

    def live(self) -> None:
        """A life that nothing ends, and whose commands nobody sees: so it is fast."""
        self._end(self._begin().outcome())

    def begin_early(self) -> None:
        """A life before there is a stream.

        Raises:
            Wrong: it did not return.
        """
        outcome = self._begin().outcome()
        if isinstance(outcome, Failure) and any(error in outcome.message for error in _NO_STREAM):
            raise Wrong(
                "Before the first change there is no stream, and XGROUP CREATE fails without "
                "MKSTREAM: `mkstream=True` creates an empty stream together with the group. An "
                "`except` that ignores every ResponseError hides this one.",
                expected="the group, on an empty stream",
                found=str(outcome),
            )
        if not (isinstance(outcome, Failure) and "no such key" in outcome.message):
            settle(outcome, SLOW)  # XINFO GROUPS looks for a stream, and that is one way to look

    def commands(self) -> list[str]:
        """What a life sends that changes something."""
        self.proxy.reset()
        self._end(self._begin(through=self.proxy).outcome())
        return [name for name in changing(self.proxy.names) if name != "XGROUP"]

    def live_on(self, domain: str, command: str) -> None:
        """A life that stands still before a command, until there is more on the stream."""
        self.proxy.reset()
        self.proxy.arm(Fault.FREEZE_BEFORE, command)
        life = self._begin(through=self.proxy)
        if life.stands(self.proxy):
            self.change(domain, AWAY)
            self.proxy.thaw()
        self._end(held_back(life))

    def kill(self, kill: Kill) -> None:
        """A life that ends at a command; more changes come, and then another life.

        The first change is the only one of its wiki: no other makes up for it.
        """
        self.change(f"once-{kill.domain}", SECONDS[:1])
        self.change(kill.domain, SECONDS, MANY)
        self.proxy.reset()
        self.proxy.arm(kill.fault, kill.command)
        life = self._begin(through=self.proxy)
        if life.stands(self.proxy):
            life.kill()
            self.proxy.thaw()
        else:
            self._end(life.outcome())
        self.change(kill.domain, AWAY, MANY)
        self.live()

    def _end(self, outcome: Outcome) -> None:
        """It returns, and the group is there.

        Raises:
            Wrong: it did not return, or not in this way.
        """
        _expect_proper(self.proxy.commands)
        _settle(self, outcome)
        _expect_group(self)


def expect_exact(scene: Scene, work: Any) -> None:
    """Kill it at each command that changes something, and start it again.

    Raises:
        Wrong: what it has counted is not what is on the stream.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        course = Course(scene, supervisor, proxy, work)
        course.change(EARLY, SECONDS, FIRST)
        course.live()
        _expect_all_read(course)
        course.change(PLAIN, SECONDS)
        commands = course.commands()
        _expect_plain(course)
        for command in commands[:1]:
            course.change(PLAIN, SECONDS)
            course.live_on(PLAIN, command)
            _expect_plain(course)
        for kill in _kills(commands):
            course.kill(kill)
            _expect_survived(course, kill)
        domains = {one.domain for one in course.made}
        expect_domains(scene, course.prefix, domains, course.proxy.commands)
        _expect_no_expiry(course)
        _expect_begun_first(Course(scene, supervisor, proxy, work, "new"))


def _expect_no_expiry(course: Course) -> None:
    """The counters stay, since nothing here says for how long they are wanted.

    Raises:
        Wrong: one of them expires.
    """
    for key in sorted(str(one) for one in course.scene.redis.scan_iter(match=f"{course.prefix}*")):
        if (left := int(cast("Any", course.scene.redis.ttl(key)))) >= 0:
            raise Wrong(
                "Don't set an expiry here: your function isn't told how long to keep the counts, "
                "so they stay.",
                expected=f"`{key.removeprefix(course.prefix)}` without an expiry",
                found=f"it expires in {left:,} s",
            )


def _expect_begun_first(course: Course) -> None:
    """It may be started before the first change, when there is no stream yet.

    Raises:
        Wrong: it fails, or does not count what comes then.
    """
    course.proxy.reset()
    course.begin_early()
    course.change(PLAIN, SECONDS)
    course.live()
    _expect_plain(course, (PLAIN,))


def _kills(commands: list[str]) -> list[Kill]:
    places = [(Fault.FREEZE_BEFORE, name) for name in commands[:MOST_KILLS]]
    if commands:
        places.append((Fault.FREEZE_AFTER, commands[-1]))
    return [Kill(f"w{n}.wikipedia.org", *place) for n, place in enumerate(places, 1)]


def _expect_proper(commands: list[list[str]]) -> None:
    """It does not wait, and it makes the group only once.

    Raises:
        Wrong: it does not.
    """
    for name, *words in commands:
        if name == "XREADGROUP" and "BLOCK" in (word.upper() for word in words):
            raise Wrong(
                "A BLOCK waits for more, but here your function should return as soon as "
                "nothing is left: use XREADGROUP without `block`.",
                found="XREADGROUP with BLOCK",
            )
        if name == "XGROUP" and words[0].upper() in ("DESTROY", "SETID"):
            raise Wrong(
                "The group remembers what was delivered and what was acknowledged, and this "
                "makes it forget. Create the group once; if it already exists, leave it as it "
                "is.",
                found=f"XGROUP {words[0].upper()}",
            )


def _expect_group(course: Course) -> None:
    """The group was made, and read under the name of the consumer.

    Raises:
        Wrong: there is none, or another consumer.
    """
    if group_of(course.scene, course.stream, GROUP) is None:
        raise Wrong(
            "The group wasn't created. XREAD doesn't use one, so you'd have to keep your "
            "place yourself: use XGROUP CREATE, and then XREADGROUP.",
            expected="the group that your function was given, on the stream",
            found="no such group",
        )
    consumers = course.scene.redis.xinfo_consumers(course.stream, GROUP)
    names = {str(one["name"]) for one in cast("Any", consumers)}
    if not names <= {ALICE}:
        raise Wrong(
            "Read under the `name` that your function gets. Your history belongs to that "
            "name: two processes under one name would both count what one of them holds.",
            expected=f"one consumer, {ALICE}",
            found=", ".join(sorted(names)),
        )


def _settle(course: Course, outcome: Outcome) -> None:
    """It returned.

    Raises:
        Wrong: it did not.
    """
    groups = course.scene.redis.xinfo_groups(course.stream)
    if isinstance(outcome, Failure) and "NOGROUP" in outcome.message and not groups:
        raise Wrong(
            "There is no group yet: your function creates it, with XGROUP CREATE, before it reads.",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and "BUSYGROUP" in outcome.message:
        raise Wrong(
            "The group already existed, because this isn't the process's first life. Then "
            "XGROUP CREATE raises an error, and all is well: `except ResponseError`.",
            found=str(outcome),
        )
    settle(outcome, SLOW)


def _expect_all_read(course: Course) -> None:
    """Not just a part is counted of what came before the group was there.

    Raises:
        Wrong: only as much as one XREADGROUP brings.
    """
    total = sum(counted(course.scene, course.prefix).get(f"ev:{EARLY}", {}).values())
    if 0 < total < len(course.made):
        raise Wrong(
            PART,
            expected=f"`ev:{EARLY}`: {len(course.made)} changes in all",
            found=f"{total} counted",
        )


def _expect_plain(course: Course, domains: Iterable[str] = (EARLY, PLAIN)) -> None:
    """All is counted that came before the group was there, and after, without any kill."""
    found = counted(course.scene, course.prefix)
    for domain in domains:
        name = f"ev:{domain}"
        wanted = truth([one for one in course.made if one.domain == domain], INTERVAL_S)[name]
        if found.get(name, {}) != wanted:
            raise Wrong(
                _plain_hint(
                    domain,
                    found.get(name, {}),
                    found.get(f"ev:{PLAIN}", {}),
                    sum(wanted.values()),
                ),
                expected=f"`{name}`: {wanted}",
                found=f"`{name}`: {found.get(name, {})}",
            )
    if found.get("ev") != truth(course.made, INTERVAL_S)["ev"]:
        raise Wrong(
            "Each change counts twice: in `ev`, the hash for all wikis, and in the hash of "
            "its domain.",
            expected=f"`ev`: {truth(course.made, INTERVAL_S)['ev']}",
            found=f"`ev`: {found.get('ev', {})}",
        )
    if left := pending(course.scene, course.stream):
        raise Wrong(
            "What you count has to be acknowledged with XACK, or it comes again.",
            expected="nothing pending",
            found=f"{len(left)} entries pending",
        )


def _plain_hint(domain: str, got: dict[str, int], plain: dict[str, int], wanted: int) -> str:
    if domain == EARLY and not got and plain:
        return (
            "These changes were on the stream before the group was created, and a group that "
            "begins at `$` never gets them. On a channel they would be lost, but a stream "
            "keeps them: begin at `0`."
        )
    if not got:
        return "Nothing was counted where it belongs: use the keys and buckets of exercise 3."
    if abs(max(map(int, filter(str.isdigit, got)), default=0) - time.time()) < 86_400:
        return (
            "That's when the entry was added, as its ID shows. A change counts in the "
            "interval in which it was made: use its field `at`."
        )
    if sum(got.values()) < wanted:
        return PART
    if sum(got.values()) > wanted:
        return (
            "Changes were counted more than once. What you count has to be acknowledged in "
            "its group, with `xack(stream, group, entry_id)`, or it comes again in the next "
            "life."
        )
    return (
        "Count each change once, in the interval in which it was made, as in exercise 3. An "
        "interval is `interval_s` seconds long, which isn't always the same."
    )


def _expect_survived(course: Course, kill: Kill) -> None:
    """The wiki has its counts, whatever befell them, and so has the hash of all."""
    found, right = counted(course.scene, course.prefix), truth(course.made, INTERVAL_S)
    for name in (f"ev:once-{kill.domain}", f"ev:{kill.domain}", "ev"):
        got, wanted = found.get(name, {}), right[name]
        if got != wanted:
            raise Wrong(
                _killed_hint(course, sum(got.values()) - sum(wanted.values())),
                expected=f"`{name}`: {wanted}",
                found=f"{got}, {kill}",
            )
    known = cast("Any", course.scene.redis).smembers(f"{course.prefix}known_domains")
    if known and f"once-{kill.domain}" not in known:
        raise Wrong(
            "It died after it had counted and acknowledged a change, but before it added the "
            "wiki to `known_domains`, so now it never will be. SADD belongs in the same step.",
            expected=f"`once-{kill.domain}` in `known_domains`",
            found=f"it isn't there, {kill}",
        )


def _killed_hint(course: Course, too_many: int) -> str:
    if too_many > 0:
        return (
            "It died after it had counted a change but before it acknowledged it, so the "
            "change came again and was counted twice. Count and acknowledge in one step: a "
            "MULTI, or a script."
        )
    if pending(course.scene, course.stream):
        return (
            "What it held when it was killed is still pending, and is never counted: `>` "
            "returns only new entries. Read your own history first, with `0`, until it's "
            "empty."
        )
    return (
        "It died after a change was acknowledged, read with NOACK, or noted as done, but "
        "before it was counted, so now it never will be. Count and acknowledge in one step: a "
        "MULTI, or a script."
    )
