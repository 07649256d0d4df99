"""Whether a learner's aggregator publishes each hour once, however often it is killed."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any, cast

from helpers.chaos import CLIENT, Fault, Proxy, Returned, Unfinished
from helpers.checks.lab06.commits import changes
from helpers.checks.lab06.hourly import (
    CHENNAI,
    HOUR_MS,
    Average,
    Days,
    Hour,
    ms_at,
    published,
    same,
    truth,
)
from helpers.checks.lab06.hourly import named as hour_at
from helpers.checks.lives import Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import far_from_utc
from helpers.checks.verdict import Wrong

KEPT = 120  # averages
OLD = 118  # are there already, so that the cap is reached
MOST_LIVES = 12  # that are killed
SLOW = "Everything was read, and it was still running: return when there is nothing more to read."
READS = ("XREAD", "XRANGE", "XREVRANGE")

OPEN, OVER = ms_at(2, "08:20:00"), ms_at(3, "00:00:30")  # the moments of the two calls
THREE, EIGHT, LAST = ("2100/01/01", 3), ("2100/01/02", 8), ("2100/01/02", 23)
LONG = 120  # readings of 3 o'clock: more than the 100 that one often asks for
LONGEST = 2000  # COUNT that is tried


def two_days(long: int) -> Days:
    """Three hours that are over by the first call, one that goes on after it, and one more.

    Args:
        long: how many readings another hour has: more than one page brings.
    """
    days = Days()
    seconds = [3600 * n // long for n in range(long)]
    days.add(1, *(f"03:{s // 60:02}:{s % 60:02} {50 + n % 2}" for n, s in enumerate(seconds)))
    days.add(1, "05:10:00 70", "05:50:00 71", "05:55:00 71")
    days.add(1, "07:05:00 60", "07:15:00 61", "07:30:00 61")
    days.add(2, "07:40:00 80", "07:50:00 83", "08:05:00 50", "08:10:00 52")
    days.add(2, "08:40:00 53", "23:10:00 40", "23:20:00 41")
    return days


class Station:
    """Partitions and averages of its own, and an aggregator that is started again and again."""

    def __init__(
        self,
        scene: Scene,
        supervisor: Supervisor,
        proxy: Proxy,
        name: str,
        aggregate: Any,
        *,
        long: int = 0,
    ) -> None:
        self.scene, self.proxy, self.name = scene, proxy, name
        self.days = two_days(long)
        self.averages, self.state = scene.key(f"{name}:averages"), scene.key(f"{name}:state")
        self.partitions: list[str] = []
        self.kills: list[str] = []  # before which command
        self._begin = partial(supervisor.begin, aggregate, CLIENT, through=proxy)

    def fill(self) -> None:
        """As if many averages were there already."""
        pipeline = self.scene.redis.pipeline(transaction=False)
        for n in range(OLD):
            fields = {"date": f"2099/12/{27 + n // 24}", "hour": n % 24,
                      "average_temp_f": "50.00", "num_observations": 9}  # fmt: skip
            pipeline.xadd(self.averages, cast("Any", fields))
        pipeline.execute()

    def arrive(self, begins: int, ends: int) -> None:
        """The readings of a time come in."""
        self.partitions = self.days.write(self.scene, self.name, begins, ends)

    def call(self, now: int) -> None:
        """One life to its end."""
        outcome = self._life(now).outcome()
        if self.proxy.commands or not isinstance(outcome, Unfinished):
            result(outcome, SLOW, LIMIT_S)
        if not self.proxy.commands:
            raise Wrong(
                "Your function sent nothing on the client that it was given: `redis`.",
                found="no command",
            )

    @property
    def page(self) -> int:
        """The largest COUNT with which it read a partition; 0 if it read without."""
        reads = [one for one in self.proxy.commands if {*one} & {*self.partitions}]
        words = [pair for one in reads for pair in pairwise(map(str.upper, one))]
        return max((int(n) for word, n in words if word == "COUNT" and n.isdigit()), default=0)

    def lacks(self, hour: Hour, now: int) -> int:
        """One life to its end, and how many readings of an hour it has not counted."""
        if not isinstance(self._life(now).outcome(), Returned):
            return 0  # so many may take it too long
        [right] = [one.readings for one in truth(self.days, now) if one.hour == hour]
        return right - max((one.readings for one in self.found() if one.hour == hour), default=0)

    def killed_to_the_end(self, now: int) -> None:
        """Let each life make one change after it has begun to read, and kill it before the next.

        A life that changes nothing by that may make more the next time.
        """
        most = 1
        for _ in range(MOST_LIVES):
            before = self._what_there_is()
            if self._ends(now, most):
                return
            most = 1 if self._what_there_is() != before else most + 1
            self._expect_sound()
        self.call(now)

    def _ends(self, now: int, most: int) -> bool:
        """One life that is killed before it changes more; whether it ended before that."""
        self.proxy.reset()
        self.proxy.arm(Fault.FREEZE_BEFORE)
        life = self._life(now)
        while life.stands(self.proxy):
            if self._changes():
                if not most:
                    self.kills.append(self.proxy.names[-1])
                    life.kill()
                    self.proxy.thaw()
                    return False
                most -= 1
            self.proxy.arm(Fault.FREEZE_BEFORE)
            self.proxy.thaw()
        result(life.outcome(), SLOW, LIMIT_S)
        return True

    def _changes(self) -> bool:
        """Whether its last command changes something, after it has begun to read."""
        commands = self.proxy.commands
        begun = any(c[0] in READS and {*c} & {*self.partitions} for c in commands)
        return begun and len(commands) in changes([command[0] for command in commands])

    def _life(self, now: int) -> Any:
        return self._begin(self.partitions, self.averages, self.state, now)

    def _what_there_is(self) -> Any:
        client = cast("Any", self.scene.redis)
        last = [entry_id for entry_id, _ in client.xrevrange(self.averages, count=1)]
        return last, client.dump(self.state)

    def found(self) -> list[Average]:
        """What it has published."""
        entries = cast("Any", self.scene.redis.xrange(self.averages))
        return [one for one in published(entries) if one.hour[0] >= "2100"]

    def _expect_sound(self) -> None:
        """Nothing was published twice so far, and nothing wrong."""
        found = self.found()
        twice = [hour for hour, many in Counter(one.hour for one in found).items() if many > 1]
        if twice:
            raise self._wrong(
                "It was killed after it had published an hour but before it had stored that, "
                "so the next life published the hour again. Do both in one step.",
                "every hour once",
                f"{named(twice[0])} twice",
            )
        right = {one.hour: one for one in truth(self.days, OVER)}
        for one in found:
            if one.hour not in right or not same([one], [right[one.hour]]):
                raise self._wrong(
                    _killed_hint(one, right.get(one.hour)),
                    _line(right[one.hour]) if one.hour in right else "hours that have readings",
                    _line(one),
                )

    def expect_all(self, now: int) -> None:
        """After the last life: every hour that is over."""
        self._expect_sound()
        there = {one.hour for one in self.found()}
        missing = [one.hour for one in truth(self.days, now) if one.hour not in there]
        if missing:
            raise self._wrong(
                "It had stored how far it was, and was killed before the readings up to there "
                "were stored or published: now no life will count those readings, or publish "
                "that mean. Store the last ID, the hour, its total and its count in one step "
                "with the mean, after the page.",
                "every hour once",
                f"{named(missing[0])} missing",
            )

    def _wrong(self, hint: str, expected: str, found: str) -> Wrong:
        befallen = f", after it was killed before its {self.kills[-1]}" if self.kills else ""
        return Wrong(hint, expected=expected, found=found + befallen)


def expect_resumed(scene: Scene, aggregate: Any) -> None:
    """Let it aggregate without a fault, then under kills.

    Raises:
        Wrong: an hour is missing, doubled or wrong.
    """
    with far_from_utc(), Supervisor(scene) as supervisor, scene.proxied() as proxy:
        station = partial(Station, scene, supervisor, proxy)
        plain, killed = station("plain", aggregate, long=LONG), station("killed", aggregate)
        plain.fill()
        for begins, now in ((0, OPEN), (OPEN, OVER)):
            plain.arrive(begins, now)
            proxy.reset()
            plain.call(now)
            _expect_plain(plain, now)
        if LONG <= plain.page <= LONGEST:
            _expect_all_pages(station("paged", aggregate, long=plain.page + LONG), plain.page)
        _expect_rounded(plain)
        _expect_kept(plain)
        killed.arrive(0, OVER)
        killed.killed_to_the_end(OVER)
        killed.expect_all(OVER)


def named(hour: tuple[str, int]) -> str:
    """An hour in words."""
    return f"{hour[0]} {hour[1]} h"


def _line(one: Average) -> str:
    return f"{named(one.hour)}: {one.mean:.2f} °F of {one.readings} readings"


def _expect_plain(station: Station, now: int) -> None:
    """Without any fault: what is over by now is there once, and right."""
    found = station.found()
    right = truth(station.days, now)
    if same(sorted(found), right):
        return
    hours = [one.hour for one in found]
    raise Wrong(
        _plain_hint(found, right, station, is_first=now == OPEN),
        expected="; ".join(map(_line, right)),
        found="; ".join(map(_line, found))
        if len(hours) < 7
        else f"{len(hours)} averages, of {len(set(hours))} hours",
    )


def _page_hint(readings: int) -> str:
    return (
        f"3 o'clock has {readings} readings, and not all of them were read: one XRANGE or XREAD "
        "with COUNT returns one page. Read on from its last ID until nothing comes; only then is "
        "an hour complete."
    )


def _expect_all_pages(paged: Station, page: int) -> None:
    """An hour with more readings than even a large page brings."""
    paged.arrive(0, OVER)
    if lacking := paged.lacks(THREE, OVER):
        raise Wrong(
            f"{_page_hint(page + LONG)} COUNT was {page}.",
            expected=f"an average of {page + LONG} readings",
            found=f"one of {page + LONG - lacking}",
        )


def _expect_rounded(station: Station) -> None:
    """A mean as 70.67, and none as 70.66666666666667."""
    for _, fields in cast("Any", station.scene.redis.xrange(station.averages)):
        mean = str(fields["average_temp_f"])
        if len(mean.partition(".")[2]) > 2:
            raise Wrong(
                "Round the mean to hundredths: `f'{total / count:.2f}'`.",
                expected=f"{float(mean):.2f}",
                instead=mean,
            )


def _plain_hint(
    found: list[Average], right: list[Average], station: Station, *, is_first: bool
) -> str:
    hours, wanted = [one.hour for one in found], [one.hour for one in right]
    twice = len(set(hours)) < len(hours)
    if not found and "XADD" in station.proxy.names:
        return (
            "An XADD was sent, but nothing is in `averages`. If the server rejected it, an "
            "`except` has hidden that: an ID must be larger than the ID of the newest entry."
        )
    if not found:
        return "Read all partitions, from the first entry on, and publish to `averages`."
    if is_first and found == right[:1]:
        return "Only the first hour came. Is there a `return` inside the loop?"
    if not is_first and not any(one[0] in READS for one in station.proxy.commands):
        return (
            "The second call read no partition, and published nothing. If a command failed, an "
            "`except` has hidden it."
        )
    if _is_local(hours, station.days):
        return (
            "Those hours are in the local time of this machine. Use UTC: "
            "`datetime.fromtimestamp(ms / 1000, UTC)`."
        )
    if any(one.hour == THREE and one.readings < LONG for one in found) and is_first and not twice:
        return _page_hint(LONG)
    if twice and is_first:
        return (
            "An hour was published twice, without any crash. It continues in the next page or "
            "the next reply: only a reading of a later hour, or `now`, shows that it's over."
        )
    if is_first and EIGHT in hours:
        return (
            "At `now`, it's 8:20, so 8 o'clock isn't over, and more of its readings will "
            "come: keep it in the state."
        )
    if twice:
        return (
            "The second call started over, and published again what the first had published. "
            "Read the state, and continue after its last ID."
        )
    if any(one.hour[1] == 7 and one.readings > 3 for one in found) and len(hours) < len(wanted):
        return "7 o'clock on two days was treated as one hour: compare the date too."
    if {date for date, _ in hours} == {wanted[0][0]} and len(hours) < len(wanted):
        return "Only the first of `partitions` was read: read each one to its end, in order."
    if LAST in wanted and LAST not in hours:
        return (
            "The last hour is missing. No reading of a later hour comes to show that it's "
            "over, but `now` does."
        )
    if set(hours) != set(wanted):
        return "Publish all hours of all partitions that are over by `now`, and no others."
    return _values_hint(found, right)


def _is_local(hours: list[Hour], days: Days) -> bool:
    """Whether these are the hours of the readings by the local clock, and not by UTC."""
    taken = [int(entry_id.partition("-")[0]) for entry_id, _ in days.entries]
    local = {hour_at(ms - back, CHENNAI) for ms in taken for back in (0, ms % HOUR_MS)}
    return {*hours} <= local and not {*hours} <= {hour_at(ms) for ms in taken}


def _values_hint(found: list[Average], right: list[Average]) -> str:
    differ = [
        (one, other)
        for one, other in zip(sorted(found), right, strict=True)
        if not same([one], [other])
    ]
    if [one.hour for one, _ in differ] == [EIGHT]:
        return (
            "The first call ended in the middle of 8 o'clock. Its total and count so far "
            "belong in the state, or the second call knows only its own readings."
        )
    if all(one.readings == other.readings for one, other in differ):
        if all(one.mean == int(one.mean) for one, _ in differ):
            return "A mean isn't an integer: divide with `/`, because `//` drops the fraction."
        return "The mean is the total divided by the count, of this hour alone."
    return "Not all readings count for their hour, or some count twice: start each hour at 0."


def _killed_hint(one: Average, right: Average | None) -> str:
    if right is None or one.readings > right.readings:
        return (
            "Readings were counted twice: they were already in the total, but the last ID "
            "didn't include them. Store the last ID, the total and the count in one step."
        )
    if one.readings < right.readings:
        return (
            "The next life didn't know of readings that were counted before, or it skipped "
            "them. Store the last ID, the hour, its total and its count together, after the "
            "page."
        )
    return "Total and count don't match: store them in one step, with the last ID."


def _expect_kept(station: Station) -> None:
    kept = int(station.scene.redis.xlen(station.averages))
    if kept > KEPT:
        raise Wrong(
            "Keep five days of hours, and no more. With `~`, Redis may keep more, and "
            "redis-py sends `~` by default: `maxlen=120, approximate=False`.",
            expected=f"the newest {KEPT} averages",
            found=f"{kept}",
        )
    if kept < KEPT:
        raise Wrong(
            "Keep the averages that are already there, up to 120.",
            expected=f"the newest {KEPT} averages",
            found=f"{kept}",
        )
