"""Whether a learner's function writes readings to the partitions of their days, expiry and all.

A reading has its time in milliseconds; its partition expires two days after the newest one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Proxy
from helpers.checks.crashes import kill_at
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import far_from_utc, gaps
from helpers.checks.verdict import Wrong

TWO_DAYS_S = 2 * 86_400
SECOND_MS, HOUR_MS, DAY_MS = 1000, 3_600_000, 86_400_000
SLOW = (
    "It was still running: look for a loop that never ends, or for far more commands than "
    "this takes."
)


class Reading(NamedTuple):
    """A reading: when, in milliseconds after 1970, and how warm."""

    ms: int
    temp_f: int

    @property
    def expiry_ms(self) -> int:
        """When the partition expires of which it is the newest reading."""
        return (self.ms // SECOND_MS + TWO_DAYS_S) * SECOND_MS

    @property
    def fields(self) -> dict[str, str]:
        """The entry's fields."""
        return {"temp_f": str(self.temp_f), "at": str(self.ms)}


def at(day: str, clock: str, temp_f: int = 73) -> Reading:
    """A reading of a day such as `2100-03-01`, at a time such as `10:20:30.456`, in UTC."""
    moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)
    return Reading(round(moment.timestamp() * SECOND_MS), temp_f)


def key_of(prefix: str, ms: int) -> str:
    """The partition of a moment."""
    return f"{prefix}:{datetime.fromtimestamp(ms // SECOND_MS, UTC):%Y%m%d}"


def expect_expiring(scene: Scene, write: Any) -> None:
    """Write in order, late, and under kills and beside another producer.

    Raises:
        Wrong: a reading is not in its partition, or the partition's expiry is not right.
    """
    with far_from_utc(), Supervisor(scene) as supervisor, scene.proxied() as proxy:
        prefix = scene.key("temps")
        begin = partial(supervisor.begin, write, CLIENT, prefix, through=proxy)
        names = _expect_one_by_one(scene, prefix, begin, proxy)
        for place in gaps(names["first"]):
            _kill(scene, prefix, begin, proxy, place)
        for place in gaps(names["newer"]):
            _overtake(scene, prefix, begin, proxy, place, earlier=1)
        for place in gaps(names["first"]):
            _overtake(scene, prefix, begin, proxy, place, earlier=0)
        for place in gaps(names["first"]):
            _come_second(scene, prefix, begin, proxy, place)


# ------------------------------------------------------------ one reading after the other


def _expect_one_by_one(
    scene: Scene, prefix: str, begin: Callable[..., Life], proxy: Proxy
) -> dict[str, list[str]]:
    """The first of a day, a newer one, a late one; and the first of the next day.

    Gives the names of the commands that it sent for each of them.
    """
    first = at("2100-03-01", "10:20:30.456", 71)
    newer = at("2100-03-01", "21:00:00.123", 72)
    late = at("2100-03-01", "02:00:00.789", 73)
    tomorrow = at("2100-03-02", "00:00:00.000", 74)
    names: dict[str, list[str]] = {}
    for name, written, newest in (
        ("first", [first], first),
        ("newer", [first, newer], newer),
        ("late", [first, newer, late], newer),
        ("tomorrow", [tomorrow], tomorrow),
    ):
        proxy.reset()
        settle(begin(*written[-1]).outcome())
        key = key_of(prefix, newest.ms)
        if "XADD" not in proxy.names and not {"EVAL", "EVALSHA", "FCALL"} & set(proxy.names):
            raise Wrong(
                "Your function sent no XADD. A pipeline sends what it has collected when you call "
                "its `execute()`.",
                expected="XADD",
                found=", ".join(dict.fromkeys(proxy.names)) or "no command",
            )
        expect_written(scene, prefix, key, written)
        expect_expiry(scene, key, newest, written, proxy.commands)
        names[name] = proxy.names
    return names


def settle(outcome: Outcome) -> Any:
    """What it returned.

    Raises:
        Wrong: it raised, or never returned.
    """
    if isinstance(outcome, Failure) and "equal or smaller" in outcome.message:
        raise Wrong(
            "IDs only grow, so a late reading can't have its time as its ID. Let the server "
            "choose the ID, with `*`; the time is in the field `at`.",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and outcome.kind == "WatchError":
        raise Wrong(
            "WATCH noticed that another producer wrote in between. Then start over, in a "
            "loop, until it succeeds.",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and outcome.kind == "DataError":
        raise Wrong(
            "You sent Redis something that is neither a string nor a number, such as None, a "
            "datetime, or a blank. Does your function call one from another exercise that you "
            "haven't done yet?",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and "options at the same time" in outcome.message:
        raise Wrong(
            "One EXPIREAT takes either `NX` or `GT`. To use both, send two, in one transaction.",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and "not an integer" in outcome.message:
        raise Wrong(
            "EXPIREAT takes whole seconds: divide by 1000 with `//`, or in Lua by "
            "`math.floor(ms / 1000)`.",
            found=str(outcome),
        )
    if isinstance(outcome, Failure) and "out of range" in outcome.message:
        raise Wrong(
            "You used a time in milliseconds as if it were in seconds: divide by 1000 first.",
            found=str(outcome),
        )
    return result(outcome, SLOW, LIMIT_S)


def expect_written(scene: Scene, prefix: str, key: str, readings: list[Reading]) -> None:
    """A partition holds just these readings.

    Raises:
        Wrong: it does not.
    """
    if scene.redis.type(key) != "stream":
        raise _nowhere(prefix, key, _streams(scene, prefix))
    found = _fields(scene, key)
    wanted = [reading.fields for reading in readings]
    if found == wanted:
        return
    astray = [one for one in _streams(scene, prefix) if wanted[-1] in _fields(scene, one)]
    if len(found) < len(wanted) and astray:
        raise _nowhere(prefix, key, astray)
    if len(found) != len(wanted):
        raise Wrong(
            "Add each reading to the partition of its day, once, and keep those before it."
            + " If an `except` hides what the server says, it hides that it refused an ID, too."
            * (len(found) < len(wanted)),
            expected=_count(len(wanted), key),
            found=_count(len(found), key),
        )
    hint = "An entry has the fields `temp_f` and `at`, and no others; `at` is `ms`, unchanged."
    raise Wrong(hint, expected=wanted[-1], instead=found[-1])


def _count(count: int, key: str) -> str:
    return f"{count} reading{'s' if count != 1 else ''} in `…{key[-14:]}`"


def _fields(scene: Scene, key: str) -> list[dict[str, str]]:
    return [fields for _, fields in cast("Any", scene.redis.xrange(key))]


def _streams(scene: Scene, prefix: str) -> list[str]:
    """All streams of a prefix, as text sorts them."""
    found = [str(one) for one in scene.redis.scan_iter(match=f"{prefix}*")]
    return sorted(one for one in found if scene.redis.type(one) == "stream")


def _nowhere(prefix: str, key: str, others: list[str]) -> Wrong:
    """The verdict where a reading is not in its partition, but perhaps in other streams."""
    if not others:
        return Wrong(
            "The reading isn't in any partition that still exists: either no XADD was sent, or "
            "EXPIREAT deleted the key at once. It takes seconds since 1970, and a past time "
            "deletes.",
            expected=f"a stream {_short(key, prefix)}",
            found="no stream",
        )
    newest = others[-1]
    if not any(letter.isdigit() for letter in newest.removeprefix(prefix)):
        hint = "Each day has its own key: the prefix, a colon, and the day."
    elif newest[-8:].isdigit() and abs(_days(newest) - _days(key)) == 1:
        hint = "The day is the day in UTC, not where you are: pass Python the time zone `UTC`."
    else:
        hint = "The key is the prefix, a colon, and the reading's day in UTC, as in exercise 2."
    return Wrong(
        hint,
        expected=f"the reading in {_short(key, prefix)}",
        found=", ".join(_short(one, prefix) for one in others),
    )


def _days(key: str) -> int:
    try:
        return datetime.strptime(key[-8:], "%Y%m%d").toordinal()
    except ValueError:
        return 0


def _short(key: str, prefix: str) -> str:
    """A key as it would be called without the check's own prefix."""
    return f"`temps{key.removeprefix(prefix)}`"


def expect_expiry(
    scene: Scene,
    key: str,
    newest: Reading,
    written: list[Reading],
    commands: list[list[str]],
) -> None:
    """A partition expires two days after its newest reading.

    Raises:
        Wrong: it does not.
    """
    expires_ms = int(cast("Any", scene.redis.pexpiretime(key)))
    if newest.expiry_ms <= expires_ms <= newest.expiry_ms + SECOND_MS:
        return
    raise Wrong(
        _expiry_hint(expires_ms, newest, written, commands),
        expected=f"it expires at {_clock(newest.expiry_ms)}",
        found=_clock(expires_ms) if expires_ms > 0 else "it never expires: its TTL is -1",
    )


def _clock(ms: int) -> str:
    """A moment in words; one beyond the calendar as it is."""
    try:
        return f"{datetime.fromtimestamp(ms / SECOND_MS, UTC):%d %B %Y, %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{ms // SECOND_MS:,} s after 1970, in some {ms // SECOND_MS // 31_556_952:,} years"


def _expiry_hint(
    expires_ms: int, newest: Reading, written: list[Reading], commands: list[list[str]]
) -> str:
    if expires_ms < 0:
        names = [words[0] for words in commands]
        if {"XADD", "EXPIREAT"} <= set(names) and names.index("EXPIREAT") < names.index("XADD"):
            return (
                "EXPIREAT came before XADD, when there was no key yet. Then it sets nothing, "
                "and returns 0. First XADD, then EXPIREAT."
            )
        if any("GT" in map(str.upper, words) for words in commands):
            return (
                "`GT` alone sets no expiry on a key that has none: to Redis, no expiry is "
                "later than any time. (`XX` doesn't either.) For a new partition, use `NX`."
            )
        return "Set the expiry: EXPIREAT takes the second in which the key expires."
    if expires_ms > newest.expiry_ms * 100:
        return "EXPIREAT takes seconds, and `ms` is in milliseconds. PEXPIREAT takes those."
    if len(written) == 2 and expires_ms // SECOND_MS == written[0].expiry_ms // SECOND_MS:
        return (
            "A newer reading came, but the expiry stayed where it was. If you set it only "
            "when the partition is new, the partition goes too early: it has to expire two "
            "days after its newest reading."
        )
    if len(written) == 3 and abs(expires_ms - written[-1].expiry_ms) <= SECOND_MS:
        return (
            "A late reading moved the expiry to an earlier time, and newer readings go with "
            "it. Let the expiry only grow: EXPIREAT has `GT`."
        )
    begins = newest.ms // DAY_MS * DAY_MS
    off = (expires_ms - begins) / DAY_MS
    if off == int(off) and 1 <= off <= 4:
        return "Set two days after the newest reading, not after the beginning or end of its day."
    if _is_from_now(expires_ms):
        return (
            "That's two days from now. The reading has its own time, `ms`, however late you "
            "write it. EXPIREAT takes a time: two days after the reading's."
        )
    return "Two days are 172,800 seconds, and they count from the time of the reading, `at`."


def _is_from_now(expires_ms: int) -> bool:
    """Within ten days of the machine's own clock; the readings are of the year 2100."""
    return abs(expires_ms / DAY_MS - (date.today() - date(1970, 1, 1)).days) < 10


# ------------------------------------------------------------ killed, and overtaken


def write_rightly(scene: Scene, key: str, reading: Reading) -> None:
    """What another producer does, and does right."""
    with scene.redis.pipeline(transaction=True) as both:
        both.xadd(key, cast("Any", reading.fields))
        both.expireat(key, reading.expiry_ms // SECOND_MS)
        both.execute()


def _kill(scene: Scene, prefix: str, begin: Callable[..., Life], proxy: Proxy, place: int) -> None:
    """Kill it before a command: the first reading of a day has its expiry, or is not there."""
    reading = at(_day(2101, place), "18:00:00.000")
    key = key_of(prefix, reading.ms)
    if kill_at(begin, proxy, place, *reading, slow=SLOW):
        _expect_safe(scene, key, reading, f"killed before {proxy.names[-1]}", proxy.names)


def _overtake(
    scene: Scene, prefix: str, begin: Callable[..., Life], proxy: Proxy, place: int, earlier: int
) -> None:
    """Before a command of it another producer writes a newer reading to the same day.

    Args:
        scene, prefix, begin, proxy: the check's.
        place: before which command.
        earlier: how many readings the day has already.
    """
    day = _day(2102 + earlier, place)
    reading, newer = at(day, "18:00:00.000"), at(day, "22:00:00.000")
    key = key_of(prefix, reading.ms)
    for _ in range(earlier):
        write_rightly(scene, key, at(day, "06:00:00.000"))
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, place)
    life = begin(*reading)
    if life.stands(proxy):
        _expect_safe(scene, key, reading, f"as it stands before {proxy.names[-1]}", proxy.names)
        write_rightly(scene, key, newer)
        proxy.thaw()
        settle(life.outcome())
        _expect_both(scene, key, newer, earlier + 2, proxy.names)
    else:
        settle(life.outcome())


def _come_second(
    scene: Scene, prefix: str, begin: Callable[..., Life], proxy: Proxy, place: int
) -> None:
    """Before a command of it another producer writes an older reading, the first of the day."""
    reading, older = (at(_day(2107, place), f"{hour}:00:00.000") for hour in ("18", "06"))
    key = key_of(prefix, reading.ms)
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, place)
    life = begin(*reading)
    if life.stands(proxy):
        write_rightly(scene, key, older)
        proxy.thaw()
    settle(life.outcome())
    expires_ms = int(cast("Any", scene.redis.pexpiretime(key)))
    if expires_ms < reading.expiry_ms:
        raise Wrong(
            "Your function looked, and there was no partition yet. Then another producer "
            "wrote the first reading, an older one, and its expiry stayed. Don't choose "
            "between `NX` and `GT` by what was there before: send both.",
            expected=f"it expires at {_clock(reading.expiry_ms)}",
            found=_clock(expires_ms) if expires_ms > 0 else "it never expires",
        )


def _day(year: int, number: int) -> str:
    """A day of a year; an answer may send more commands than a month has days."""
    return str(date(year, 1, 1) + timedelta(days=number))


def _expect_safe(scene: Scene, key: str, reading: Reading, what: str, names: list[str]) -> None:
    """The reading has its expiry, or is not there; with what it has sent until then."""
    expires_ms = int(cast("Any", scene.redis.pexpiretime(key)))
    if reading.fields not in _fields(scene, key) or expires_ms >= reading.expiry_ms:
        return
    raise Wrong(
        "A kill here leaves the reading in a partition that "
        f"{'goes too early' if expires_ms > 0 else 'stays forever'}. {_together(names)}",
        expected="the reading with its expiry, or neither",
        found=f"the reading alone, {what}",
    )


def _together(names: list[str]) -> str:
    """What to do about two commands that were not one step."""
    if "XADD" in names and "MULTI" in names and names.index("XADD") < names.index("MULTI"):
        return (
            "The XADD went to the server by itself, and not in the transaction. In the `with` "
            "block, call it on the pipeline, and not on `redis`."
        )
    if "EXEC" in names:
        return "What isn't in the transaction of XADD is a step of its own: send all of it in one."
    if {"EVAL", "EVALSHA"} & {*names}:
        return "Do both in the same script: what you send beside it is a step of its own."
    return "A pipeline alone isn't a transaction: send both in one MULTI, or in a script."


def _expect_both(scene: Scene, key: str, newer: Reading, count: int, names: list[str]) -> None:
    """The expiry is that of the newer reading, and all are there."""
    expires_ms = int(cast("Any", scene.redis.pexpiretime(key)))
    if expires_ms < newer.expiry_ms:
        raise Wrong(
            "Your function looked at the partition, then another producer wrote a newer "
            "reading, and then the expiry moved back to an earlier time. Compare in the step "
            "that sets it: EXPIREAT has `GT`, or a script can do both.",
            expected=f"it expires at {_clock(newer.expiry_ms)}",
            found=_clock(expires_ms) if expires_ms > 0 else "it never expires",
        )
    if len(_fields(scene, key)) < count and "WATCH" in names:
        raise Wrong(
            "After a WatchError, nothing was written, and your reading is missing. Start "
            "over, in a loop, until it succeeds.",
            expected=_count(count, key),
            found=_count(len(_fields(scene, key)), key),
        )
    if len(_fields(scene, key)) != count:
        raise Wrong(
            "Two producers wrote to the same day, and a reading is missing, or is there twice.",
            expected=_count(count, key),
            found=_count(len(_fields(scene, key)), key),
        )


# ------------------------------------------------------------ refused


def refusals_of(function: Any) -> Callable[..., Any]:
    """A function that says whether another one raised a ValueError: (True, its words)."""
    if inspect.iscoroutinefunction(function):

        async def run_async(*arguments: Any) -> tuple[bool, Any]:
            try:
                return False, await function(*arguments)
            except ValueError as error:
                return True, str(error)

        return run_async

    def run(*arguments: Any) -> tuple[bool, Any]:
        try:
            return False, function(*arguments)
        except ValueError as error:
            return True, str(error)

    return run
