"""The checks of lab 05: streams that are trimmed, and partitions that expire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault
from helpers.checks.crashes import ALICE, GROUP, grouped, pending
from helpers.checks.lab import Lab
from helpers.checks.lab05.expiring import (
    Reading,
    at,
    expect_expiring,
    expect_expiry,
    expect_written,
    key_of,
    refusals_of,
    settle,
    write_rightly,
)
from helpers.checks.lab05.trimming import expect_trimmed
from helpers.checks.lives import Supervisor
from helpers.checks.predictions import choice_of, expect_predicted
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.standing import group_of
from helpers.checks.stepping import far_from_utc, steps
from helpers.checks.verdict import StillBlank, Wrong
from helpers.checks.work import in_turn
from helpers.course.blank import Blank

lab = Lab("05", "`solutions/05_partitions_and_expiry.ipynb`")

FAR_S = 4_102_617_600  # 3 January 2100
PAST_S = 1_735_862_400  # 3 January 2025

# ------------------------------------------------------------------ 1: predict


@lab.exercise(
    1,
    "What is left?",
    "Trimming looks only at the stream: it doesn't check who has read an entry, or what is "
    "pending. `~` removes only whole nodes, and a node holds 100 entries.",
    "An expiry belongs to a key, and adding to the key doesn't change it. When a key is gone, "
    "so is its expiry.",
)
def predict(scene: Scene, predicted: Any) -> str:
    """Each prediction is compared with what the server does."""
    why = {
        "XLEN after 5-0": "MAXLEN 3 keeps exactly the newest three. Only `~` trims roughly: "
        "redis-py adds it unless told otherwise, and this command doesn't "
        "have it",
        "entries for alice": "the group begins at the first entry, but two entries were "
        "trimmed before alice read them, without an error",
        "XLEN after 6-0": "`~` removes whole nodes of 100 entries, and there isn't a full one yet",
        "XLEN after XTRIM": "MINID keeps the entry with that ID, and all entries above it",
        "pending after XTRIM": "trimming removes entries from the stream, not from the list of "
        "what is pending for alice",
        "EXPIRETIME after 7-0": "the expiry stays as it was set, in seconds: XADD doesn't "
        "change it",
        "reply to the second EXPIREAT": "it did what you asked, so it replies 1: that time is "
        "in the past, so the key was deleted immediately",
        "TTL after that": "-2 means that there is no such key: EXPIREAT with a past time has "
        "deleted it",
        "TTL after 8-0": "-1 means that it never expires: XADD made a new key, and the old "
        "expiry went with the old one",
    }
    actual = dict(zip(why, _what_happens(scene), strict=True))
    expect_predicted(predicted, actual, why, "nine questions, each with a number")
    return "The server agrees with all nine."


def _what_happens(scene: Scene) -> Iterator[int]:
    """The scene of exercise 1, and its answers in their order."""
    client, stream = cast("Any", scene.redis), grouped(scene, "temps")
    for n in range(1, 6):
        client.xadd(stream, {"n": n}, id=f"{n}-0", maxlen=3, approximate=False)
    yield client.xlen(stream)
    yield len(client.xreadgroup(GROUP, ALICE, {stream: ">"})[stream])
    client.xadd(stream, {"n": 6}, id="6-0", maxlen=3, approximate=True)
    yield client.xlen(stream)
    client.xtrim(stream, minid="5-0", approximate=False)
    yield client.xlen(stream)
    yield len(pending(scene, stream, ALICE))
    client.expireat(stream, FAR_S)
    client.xadd(stream, {"n": 7}, id="7-0")
    yield client.expiretime(stream)
    yield int(client.expireat(stream, PAST_S))
    yield client.ttl(stream)
    client.xadd(stream, {"n": 8}, id="8-0")
    yield client.ttl(stream)


# ------------------------------------------------------------------ 2: name the partition


class Moment(NamedTuple):
    """A moment, and why the partition of another day is named for it."""

    prefix: str
    at: str
    neighbour: str


LOCAL = (
    "The day is the day in UTC, everywhere on earth. Python uses local time unless you say "
    "otherwise, and the check runs your function in another time zone: "
    "`datetime.fromtimestamp(…, UTC)`."
)
MOMENTS = (
    Moment(
        "temps",
        "2100-01-09T13:00:00.000",
        "It's one in the afternoon, in UTC and half past six on this machine: that's the middle "
        "of the day. Add no day and take none away, and round down to whole days, with `//`.",
    ),
    Moment("lab05:temps", "2025-03-04T20:00:00.000", LOCAL),
    Moment("temps", "2024-02-29T00:00:00.000", LOCAL),
    Moment(
        "temps",
        "2025-12-31T23:59:59.999",
        "The last millisecond of a day belongs to that day: drop the milliseconds, don't "
        "round them.",
    ),
)


@lab.exercise(
    2,
    "Name the partition",
    "`ms` is in milliseconds since 1970, and `datetime.fromtimestamp` takes seconds. Which time "
    "zone does it give you?",
    "`datetime.fromtimestamp(ms / 1000, UTC)`, with `UTC` from `datetime`. Format it with "
    "`%Y%m%d`: an f-string takes it after a colon.",
    calls=("prefix", "ms"),
)
def partition(scene: Scene, name: Any) -> str:
    """The keys of several moments, asked for where clocks are ahead of UTC."""
    moments = [(one, datetime.fromisoformat(one.at).replace(tzinfo=UTC)) for one in MOMENTS]
    calls = [(one.prefix, round(when.timestamp() * 1000)) for one, when in moments]
    with far_from_utc(), scene.running(in_turn(name, calls)) as process:
        outcome = process.outcome(LIMIT_S)
    got = settle(outcome)
    if Blank in map(type, got):
        raise StillBlank
    for key, (moment, when), (_, ms) in zip(got, moments, calls, strict=True):
        wanted = f"{moment.prefix}:{when:%Y%m%d}"
        if key != wanted:
            raise Wrong(
                _name_hint(str(key), moment, when),
                expected=f"{ms:,} ms, that is {when:%d %B %Y, %H:%M:%S} UTC: `{wanted}`",
                instead=key,
            )
    return "The right day, to the last millisecond, in any time zone."


def _name_hint(key: str, moment: Moment, when: datetime) -> str:
    if not key.startswith(f"{moment.prefix}:"):
        return "Return the key: the prefix as it was given, a colon, and the day."
    day = key.removeprefix(f"{moment.prefix}:")
    if day in {f"{datetime.now(UTC) + timedelta(days=n):%Y%m%d}" for n in (-1, 0, 1)}:
        return "That's today. The reading has its own time: `ms`."
    if day == f"{when:%Y%M%d}":
        return "`%M` is the minute. The month is `%m`."
    if day in (f"{when:%Y%d%m}", f"{when:%d%m%Y}", f"{when:%m%d%Y}", f"{when:%y%m%d}"):
        return (
            "Write the year with four digits, then the month, then the day, so that the "
            "keys sort by time."
        )
    if day == f"{when.year}{when.month}{when.day}":
        return (
            "Write the month and the day with two digits each, or 21 January and 2 "
            "November get the same key."
        )
    if not day.isdigit():
        return "After the colon come eight digits, and nothing else: `%Y%m%d`."
    if day.startswith("1970"):
        return "That's shortly after 1970: `ms` is in milliseconds, and you divided it too often."
    if day in (f"{when + timedelta(days=n):%Y%m%d}" for n in (-1, 1)):
        return moment.neighbour
    return "Write eight digits: the day in UTC that is `ms` milliseconds after 1970."


# ------------------------------------------------------------------ 3: exactly 120

HELD = 120
EARLIER, PUBLISHED = HELD - 2, 4  # averages that are there, and that it then publishes


def _hour(number: int) -> dict[str, str]:
    """An hourly average; its day and hour say which."""
    day, hour = divmod(number, 24)
    mean = {"date": f"2100/01/{1 + day:02}", "hour": str(hour)}
    return mean | {"average_temp_f": str(40 + number % 30), "num_observations": "3600"}


@lab.exercise(
    3,
    "Keep 120 averages",
    "XADD can trim in the same step: `maxlen=120`. What does redis-py add to that unless you "
    "forbid it?",
    "`approximate=False`: with `~`, redis-py's default, the server trims only when it's worth "
    "the effort.",
    calls=("redis", "stream", "average"),
)
def keep_120(scene: Scene, publish: Any) -> str:
    """Across the 120th, on a stream that is too long, and looked at between its commands."""
    stream = grouped(scene, "averages")
    hours = [_hour(number) for number in range(EARLIER + PUBLISHED + 1)]
    for hour in hours[:EARLIER]:
        scene.redis.xadd(stream, cast("Any", hour))
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        calls = [(stream, hour) for hour in hours[EARLIER:-1]]
        life = supervisor.begin(in_turn(publish, calls), CLIENT, through=proxy)
        got = settle(_as_appended(life.outcome()))
        if Blank in map(type, got):
            raise StillBlank
        _expect_newest(scene, stream, hours[-1 - HELD : -1], proxy.commands)
        _expect_cut(scene, supervisor, publish)
        proxy.reset()
        proxy.arm(Fault.FREEZE_BEFORE)
        life = supervisor.begin(publish, CLIENT, stream, hours[-1], through=proxy)
        for _ in steps(life, proxy):
            _expect_always(scene, stream)
        result(life.outcome(), "", LIMIT_S)
    _expect_newest(scene, stream, hours[-HELD:], [])
    return "The newest 120, never one more and never one less."


def _as_appended(outcome: Any) -> Any:
    if isinstance(outcome, Failure) and "equal or smaller" in outcome.message:
        raise Wrong(
            "IDs only grow, and this one is smaller than the newest. Let the server choose it: "
            "after the fields, `xadd` takes an ID, so give the limit by its name, `maxlen=120`.",
            found=str(outcome),
        )
    return outcome


def _expect_group(scene: Scene, stream: str) -> None:
    if not group_of(scene, stream, GROUP):
        raise Wrong(
            "You deleted the stream and created it again, so its group and its IDs are gone. "
            "Keep the stream, and let the server remove the extra entries: MAXLEN.",
            expected="the stream with its group",
            found="the group is gone",
        )


def _expect_newest(
    scene: Scene, stream: str, wanted: list[dict[str, str]], commands: list[list[str]]
) -> None:
    _expect_group(scene, stream)
    found = [fields for _, fields in cast("Any", scene.redis.xrange(stream))]
    if found == wanted:
        return
    newest = found[-1] if found else None
    if found.count(wanted[-1]) > 1:
        raise Wrong(
            "The average is on the stream more than once: append it once.",
            expected="each average once",
            found=f"the newest one {found.count(wanted[-1])} times",
        )
    if len(found) == HELD or newest not in (wanted[-1], _hour(EARLIER - 1)):
        raise Wrong(
            "Each entry needs the fields of its average, and the newest 120 stay.",
            expected=wanted[-1],
            instead=newest,
        )
    raise Wrong(
        _capped_hint(len(found), commands, added=newest == wanted[-1]),
        expected=f"{HELD} entries, after {PUBLISHED} averages on a stream of {EARLIER}",
        found=f"{len(found)} entries",
    )


def _capped_hint(length: int, commands: list[list[str]], *, added: bool) -> str:
    names = [words[0] for words in commands]
    if not added and {"XADD", "EVAL", "EVALSHA"} & {*names}:
        return "Nothing was added: XADD appends the average."
    if not added:
        return (
            "Nothing was added: no XADD came to the server. A pipeline sends what it has collected "
            "when you call `execute()`, and an `except` hides every error."
        )
    if length > HELD and any("~" in " ".join(words) for words in commands):
        return (
            "`~` trims only when it's worth the server's effort, so the stream floats up to "
            "219 entries. redis-py sends it unless you pass `approximate=False`."
        )
    if length == EARLIER + PUBLISHED and any("MINID" in map(str.upper, one) for one in commands):
        return (
            "MINID removes what is older than an ID, and nothing here is. You were asked for a "
            "number of entries: MAXLEN."
        )
    if length == EARLIER + PUBLISHED:
        return "Nothing was trimmed: XADD takes MAXLEN, which does both in one step."
    if length == HELD + 1 and names[-2:] == ["XTRIM", "XADD"]:
        return "You trim first, and then add one more: let XADD itself trim, with MAXLEN."
    if "XDEL" in names and length < HELD:
        return "You remove an entry whenever you add one, even while there are fewer than 120."
    return "Exactly 120 have to stay: `maxlen` is the number of entries after the XADD."


def _expect_cut(scene: Scene, supervisor: Supervisor, publish: Any) -> None:
    """A stream that was much too long before."""
    stream = grouped(scene, "long", range(1, 301))
    result(supervisor.call(publish, CLIENT, stream, _hour(0)), "", LIMIT_S)
    _expect_group(scene, stream)
    length = int(scene.redis.xlen(stream))
    if length != HELD:
        raise Wrong(
            "You added one entry and removed one, so a stream that is too long stays too long. "
            "MAXLEN removes as many as necessary.",
            expected=f"{HELD} entries, after one average on a stream of 300",
            found=f"{length} entries",
        )
    young = scene.key("young")
    result(supervisor.call(publish, CLIENT, young, _hour(0)), "", LIMIT_S)
    if scene.redis.xlen(young) != 1:
        raise Wrong(
            "There was no stream yet. XADD creates it with its first entry, unless you tell it "
            "not to, by NOMKSTREAM.",
            expected="one entry, after the first average of all",
            found=f"{scene.redis.xlen(young)} entries",
        )


def _expect_always(scene: Scene, stream: str) -> None:
    length = int(scene.redis.xlen(stream))
    if length != HELD:
        raise Wrong(
            "A reader that looks between your two commands, or after a crash there, sees "
            "that. XADD takes MAXLEN itself: one command, one step.",
            expected=f"{HELD} entries at any moment",
            found=f"{length} entries between two commands",
        )


# ------------------------------------------------------------------ 4: trim what is handled


@lab.exercise(
    4,
    "Trim what every group has handled",
    "What does a group still need? Its pending entries, and the entries that it hasn't been "
    "given yet. Anything that is older than that for every group may go.",
    "`redis.xinfo_groups(stream)` returns each group's `last-delivered-id`, and "
    "`redis.xpending(stream, group)` returns the oldest pending ID as `min`, if there is one.",
    "For each group, take `min`, or if there is none, the ID after `last-delivered-id`. "
    "`EntryId.parse(text)` from `helpers` compares as numbers, and has `.next()`.",
    "Then `redis.xtrim(stream, minid=…, approximate=False)` with the smallest of them.",
    calls=("redis", "stream"),
)
def trim_handled(scene: Scene, trim: Any) -> str:
    """Groups that stand here and there, and readings that come while it is at work."""
    expect_trimmed(scene, trim)
    return (
        "Everything that every group has handled is gone, and nothing else, wherever the "
        "groups are."
    )


# ------------------------------------------------------------------ 5: write the expiry right


@lab.exercise(
    5,
    "Write a reading and its expiry",
    "What is left in the partition if your process is killed after XADD? And what happens to "
    "the expiry when a late reading arrives?",
    "`redis.pipeline(transaction=True)` sends MULTI and EXEC. EXPIREAT has two options: `NX` "
    "sets an expiry only if there is none, and `GT` only if it's later than the current one.",
    "In one transaction: XADD, `expireat(key, expiry, nx=True)`, and `expireat(key, expiry, "
    "gt=True)`, with `expiry = ms // 1000 + 172_800`.",
    calls=("redis", "prefix", "ms", "temp_f"),
)
def write_expiring(scene: Scene, write: Any) -> str:
    """In order, late, killed before each of its commands, and beside another producer."""
    expect_expiring(scene, write)
    return (
        "Even with kills and a second producer, no partition expires too early, and none stays "
        "forever."
    )


# ------------------------------------------------------------------ 6: refuse what would be gone


@lab.exercise(
    6,
    "Reject readings that would be gone at once",
    "When would the partition expire if you wrote the reading? Compare that with `now_ms`, before "
    "you write anything.",
    "A partition that has newer readings lives longer: `redis.expiretime(key)` returns when "
    "it expires, in seconds. For a key that doesn't exist, it returns -2.",
    "`if max(ms // 1000 + 172_800, redis.expiretime(key)) * 1000 <= now_ms: raise "
    "ValueError(…)`, and then call your function from exercise 5.",
    calls=("redis", "prefix", "ms", "temp_f", "now_ms"),
)
def refuse(scene: Scene, add: Any) -> str:
    """Readings that are fresh, long past, just past, late but welcome; by clocks of the check."""
    with far_from_utc(), Supervisor(scene) as supervisor:
        prefix = scene.key("temps")
        trial = Trial(scene, supervisor, add, prefix)
        fresh = at("2100-03-01", "12:00:00.000")
        trial.accepts(
            fresh,
            at("2100-03-01", "12:00:01.000").ms,
            "This reading is a second old, and its partition has two days to live: write it. "
            "(`now_ms` is in milliseconds, and an expiry is in seconds. For a key that "
            "doesn't exist, EXPIRETIME returns -2.)",
        )
        trial.accepts(
            at("2100-03-02", "12:05:00.000"),
            at("2100-03-02", "12:04:00.000").ms,
            "By the clock that it was given this reading comes from a minute ahead. That's no "
            "reason to refuse it: only an expiry that has passed is one.",
        )
        _expect_old_refused(trial)
        _expect_clock(trial)
        _expect_late(trial)
    return "You reject what would expire immediately, with an error, and write everything else."


OTHER_ERRORS = {"Exception", "RuntimeError", "AssertionError", "SystemExit", "PartitionError"}


class Trial:
    """A learner's function, offered one reading after the other, each at a time of its own."""

    def __init__(self, scene: Scene, supervisor: Supervisor, add: Any, prefix: str) -> None:
        self.scene, self.prefix = scene, prefix
        self._call = partial(supervisor.call, refusals_of(add), CLIENT, prefix)

    def welcomes(self, reading: Reading, now_ms: int, hint: str) -> None:
        """Offer a reading that has to be written.

        Raises:
            Wrong: it was refused.
        """
        refused, reason = self._offer(reading, now_ms)
        if refused:
            raise Wrong(
                hint,
                expected=f"the reading of {_when(reading.ms)} written at {_when(now_ms)}",
                found=f"ValueError: {reason}",
            )

    def accepts(self, reading: Reading, now_ms: int, hint: str) -> None:
        """Offer a reading that has to be written, as the newest of its day.

        Raises:
            Wrong: it was refused, or written badly.
        """
        key = key_of(self.prefix, reading.ms)
        self.welcomes(reading, now_ms, hint)
        expect_written(self.scene, self.prefix, key, [reading])
        expect_expiry(self.scene, key, reading, [reading], [])

    def refuses(self, reading: Reading, now_ms: int, hint: str) -> None:
        """Offer a reading that has to be refused.

        Raises:
            Wrong: it was not, or its partition is not as it was.
        """
        key = key_of(self.prefix, reading.ms)
        before = self._state(key)
        refused, _ = self._offer(reading, now_ms)
        after = self._state(key)
        expected = f"the reading of {_when(reading.ms)} rejected at {_when(now_ms)}"
        if before[0] and not after[0]:
            raise Wrong(
                "The partition is gone, with everything in it. DEL deletes it, and so does "
                "EXPIREAT with a past time. So before you write anything, find out when the "
                "partition would expire; if that time has passed, leave the partition as it is.",
                expected=expected,
                found="the whole partition deleted",
            )
        if refused and before != after:
            raise Wrong(
                "You rejected the reading, but wrote it anyway. Check first, and leave the "
                "partition as it is.",
                expected="the partition as it was",
                found=f"{len(after[0])} readings in it, not {len(before[0])}"
                if len(after[0]) != len(before[0])
                else "another expiry",
            )
        if not refused and before == after:
            raise Wrong(
                "Nothing was written, and your caller doesn't find out. The point is that no "
                "reading is lost silently: raise a ValueError, and don't catch it yourself.",
                expected="a ValueError",
                found="a function that returns as if all was well",
            )
        if not refused:
            raise Wrong(hint, expected=expected, found="it was written")

    def _offer(self, reading: Reading, now_ms: int) -> tuple[bool, Any]:
        refused, reason = settle(_as_refusal(self._call(*reading, now_ms)))
        if isinstance(reason, Blank):
            raise StillBlank
        return refused, reason

    def _state(self, key: str) -> tuple[list[Any], int]:
        redis = cast("Any", self.scene.redis)
        return redis.xrange(key), redis.pexpiretime(key)


def _as_refusal(outcome: Any) -> Any:
    if isinstance(outcome, Failure) and outcome.kind in OTHER_ERRORS:
        raise Wrong(
            "Raise a ValueError, so that your caller can distinguish it from a lost connection.",
            expected="ValueError",
            found=str(outcome),
        )
    return outcome


def _when(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%d %B %Y, %H:%M:%S}"


def _expect_old_refused(trial: Trial) -> None:
    """RU202's own readings of January 2025, by the clock on the wall."""
    old, now_ms = at("2025-01-01", "12:00:00.000"), round(time.time() * 1000)
    key = key_of(trial.prefix, old.ms)
    for n in (1, 2):  # a partition that was made without an expiry
        trial.scene.redis.xadd(key, cast("Any", at("2025-01-01", f"0{n}:00:00.000").fields))
    deleted = (
        "Its partition would have expired in January 2025: EXPIREAT with a past time deletes "
        "a key at once, and the reading with it. Raise a ValueError."
    )
    trial.refuses(old, now_ms, deleted)
    trial.refuses(at("2025-01-02", "12:00:00.000"), now_ms, deleted)


def _expect_clock(trial: Trial) -> None:
    """Days in 2100, by a clock in 2100."""
    trial.refuses(
        at("2100-01-01", "12:00:00.000"),
        at("2100-02-01", "12:00:00.000").ms,
        "By the clock that your function was given, this reading is a month old. The clock is "
        "an argument: use `now_ms`, not this machine's time or the server's.",
    )
    noon = at("2100-01-04", "12:00:00.000").ms
    trial.refuses(
        at("2100-01-02", "11:59:00.000"),
        noon,
        "Two days count from the reading, not from the end of its day.",
    )
    trial.accepts(
        at("2100-01-02", "12:01:00.000"),
        noon,
        "Two days, or 172,800 seconds, count from the reading, not from the beginning of its "
        "day: this partition has a minute to live.",
    )
    trial.refuses(
        at("2100-02-02", "12:00:00.000"),
        at("2100-02-04", "12:00:00.000").ms,
        "EXPIREAT with the current second deletes the key at once too: reject what expires now.",
    )
    trial.refuses(
        at("2100-02-06", "12:00:00.900"),
        at("2100-02-08", "12:00:00.500").ms,
        "The partition would expire at 12:00:00, because the expiry is in whole seconds, and "
        "that was half a second ago. Compare the second that you give to EXPIREAT with "
        "`now_ms`.",
    )


def _expect_late(trial: Trial) -> None:
    """More than two days late, and its partition has newer readings and lives on."""
    newest, late = at("2100-05-02", "20:00:00.000"), at("2100-05-02", "06:00:00.000")
    now_ms = at("2100-05-04", "12:00:00.000").ms
    key = key_of(trial.prefix, newest.ms)
    write_rightly(trial.scene, key, newest)
    alive = (
        "This reading is late, but its partition lives until eight in the evening, because it "
        "has newer ones. Before you reject a reading, check when the partition expires: "
        "EXPIRETIME."
    )
    trial.welcomes(late, now_ms, alive)
    expect_written(trial.scene, trial.prefix, key, [newest, late])
    expect_expiry(trial.scene, key, newest, [newest, newest, late], [])
    trial.welcomes(
        at("2100-05-02", "05:00:00.000"),
        now_ms,
        f"{alive} The entry that was added last isn't the newest reading: here, it's a late "
        "one too.",
    )
    first, evening = at("2100-06-02", "01:00:00.000"), at("2100-06-02", "20:00:00.000")
    write_rightly(trial.scene, key_of(trial.prefix, first.ms), first)
    trial.welcomes(
        evening,
        at("2100-06-04", "12:00:00.000").ms,
        "The partition is there, with an older reading and an expiry that has passed. With "
        "this reading, it would live until eight in the evening: the later of the two counts.",
    )
    stale = at("2100-07-02", "02:00:00.000")
    write_rightly(trial.scene, key_of(trial.prefix, stale.ms), stale)
    trial.refuses(
        at("2100-07-02", "01:00:00.000"),
        at("2100-07-04", "12:00:00.000").ms,
        "The partition is there, and by `now_ms` its expiry has passed, and so has the reading's. "
        "TTL and EXISTS go by the server's own clock: compare EXPIRETIME with `now_ms`.",
    )


# ------------------------------------------------------------------ 7: choose

CHOICES = ("MAXLEN", "MINID", "groups", "partitions", "nothing")
RIGHT = {
    "dashboard": "MAXLEN",
    "visits": "MINID",
    "orders": "groups",
    "patients": "partitions",
    "ledger": "nothing",
    "black box": "MAXLEN",
}
WHY_NOT = {
    "dashboard": {
        "MINID": "After an hour without an average, fewer than 120 averages are younger than "
        "five days, so the dashboard shows too few. It needs a number of entries",
        "groups": "The dashboard reads the same 120 again and again, without a group, and "
        "handles nothing. So no group says what can be trimmed",
        "partitions": "One key can hold the last 120. With a key for each day, they would be "
        "in five or six keys, and a whole day would go at once",
        "nothing": "It would grow forever, with averages that are never read",
    },
    "visits": {
        "MAXLEN": "There are a thousand a second at noon, and one a minute at night: no "
        "number of entries is half an hour both by day and by night",
        "groups": "Readers want the last half hour, handled or not. It's a question of time, "
        "not of who has read it",
        "partitions": "A key for each day keeps up to a day, and at noon that's some fifty "
        "times what is wanted: expiry deletes whole keys",
        "nothing": "A thousand a second, and nothing is ever removed: memory is soon full",
    },
    "orders": {
        "MAXLEN": "MAXLEN removes what a group hasn't read, if that group was down long "
        "enough: orders are lost without an error",
        "MINID": "However far back you set the time, one night a group is down for longer, "
        "and orders are lost without an error",
        "partitions": "An expiry doesn't wait: a group that is down for longer loses orders "
        "without an error",
        "nothing": "Orders that every group has handled would stay in memory forever, and "
        "they aren't needed there",
    },
    "patients": {
        "MAXLEN": "Trimming by number doesn't control when an entry goes, and it happens only "
        "when an entry is added",
        "MINID": "The time is right, but a program has to send the XTRIM. If all programs are "
        "stopped, the readings stay, because nothing deletes them",
        "groups": "They go when the groups have handled them: too early for the doctors, or "
        "too late for the law if a group is down",
        "nothing": "The law requires them to be deleted",
    },
    "ledger": {
        "MAXLEN": "The oldest payments would go first, and none may",
        "MINID": "The oldest payments would go first, and none may",
        "groups": "Even payments that every group has handled are needed: the auditor wants to see "
        "all of them, years later",
        "partitions": "An expiry would delete payments, and none may ever be deleted. A few "
        "hundred a day fit in memory for a long time",
    },
    "black box": {
        "MINID": "On a bad night, ten minutes are more than memory holds. Time doesn't limit "
        "memory; the number of entries does",
        "groups": "Nothing reads it while the airplane is in the air, so no group would ever "
        "let it trim",
        "partitions": "On a bad night, one day is more than memory holds, and an expiry comes "
        "only days later",
        "nothing": "Memory is limited, and there would be no room for the newest messages",
    },
}


@lab.exercise(
    7,
    "Choose",
    "What decides when an entry may go: how many there are, how old it is, or who has read "
    "it? And which program is there to trim?",
    "Only an expiry works without a running program. Only MAXLEN limits memory. Only MINID "
    "limits age, to the second.",
)
def choose(scene: Scene, choice: Any) -> str:
    """Six situations; each wrong choice has a sentence of its own."""
    if not isinstance(choice, dict) or set(choice) != set(RIGHT):
        raise Wrong("Keep the dict as the lab gives it: six situations, each with a choice.")
    for name, right in RIGHT.items():
        said = choice_of(choice[name], CHOICES)
        if said == right:
            continue
        if said not in CHOICES:
            raise Wrong(
                "Choose from the table, by the word in its first column.",
                expected=", ".join(CHOICES),
                instead=said,
            )
        raise Wrong(f"{WHY_NOT[name][said]}.", found=f"`{name}`: {said}")
    return "All six choices fit."
