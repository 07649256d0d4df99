"""Whether a learner's function counts changes by event time, and forgets what is old."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Proxy
from helpers.checks.crashes import kill_at
from helpers.checks.exactly import changing
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.stepping import gaps
from helpers.checks.verdict import StillBlank, Trouble, Wrong
from helpers.checks.work import in_turn
from helpers.course.blank import Blank
from helpers.wiki import Change

ENGLISH, GERMAN = "en.wikipedia.org", "de.wikipedia.org"
BASE_S = 4_102_444_800  # 1 January 2100, on the minute
MILLISECONDS = 10**11  # as seconds, the year 5138
SLOW = "It was still running: counting one message takes a few commands and no loop that waits."

Counts = Mapping[str, Mapping[str, int]]  # for each hash, without the prefix: bucket → changes


class Made(NamedTuple):
    """A change: to which wiki, when, in milliseconds after 1970, and whether a bot made it."""

    domain: str
    at_ms: int
    bot: bool = False

    @property
    def change(self) -> Change:
        """The whole change; that the page grew by 12 bytes is nothing that one counts."""
        return Change(self.domain, self.at_ms, "edit", "Ada", self.bot, "Käthchen", 12)


def made(domain: str, after_s: float) -> Made:
    """A change made so many seconds after the beginning of 2100."""
    return Made(domain, BASE_S * 1000 + round(after_s * 1000))


def truth(changes: Iterable[Made], interval_s: int) -> dict[str, dict[str, int]]:
    """What the hashes hold when these changes are counted."""
    hashes: dict[str, Counter[str]] = {"ev": Counter()}
    for domain, at_ms, _ in changes:
        bucket = str(at_ms // 1000 // interval_s * interval_s)
        hashes["ev"][bucket] += 1
        hashes.setdefault(f"ev:{domain}", Counter())[bucket] += 1
    return {name: dict(counts) for name, counts in hashes.items()}


def counted(scene: Scene, prefix: str) -> dict[str, dict[str, int]]:
    """What the hashes under a prefix hold.

    Raises:
        Wrong: one of them is no hash, or its values are no numbers.
    """
    found = {}
    for key in sorted(str(one) for one in scene.redis.scan_iter(match=f"{prefix}ev*")):
        name, kind = key.removeprefix(prefix), cast("str", scene.redis.type(key))
        if kind != "hash":
            raise Wrong(
                "The counters are hashes: HINCRBY adds to a field, and creates what doesn't "
                "exist yet.",
                expected=f"a hash `{name}`",
                found=f"a {kind}",
            )
        pairs = cast("Any", scene.redis.hgetall(key))
        try:
            found[name] = {str(bucket): int(count) for bucket, count in pairs.items()}
        except ValueError:
            raise Wrong(
                "A hash has buckets as fields, and the number of changes as values.",
                expected="a number for each bucket",
                found=f"`{name}`: {pairs}",
            ) from None
    return found


def settle(outcome: Outcome, slow: str = SLOW) -> Any:
    """What a function that counts has returned.

    Raises:
        Wrong: it raised, or never returned.
    """
    if isinstance(outcome, Failure) and outcome.kind == "ResponseError":
        if "wrong number of arguments" in outcome.message and "hdel" in outcome.message.lower():
            raise Wrong(
                "HDEL needs at least one field: if nothing is old, don't send it.",
                found=str(outcome),
            )
        if "not an integer" in outcome.message:
            raise Wrong(
                "HINCRBY and EXPIRE take whole numbers: divide with `//`.", found=str(outcome)
            )
    if isinstance(outcome, Failure) and outcome.kind == "TypeError":
        if "string indices" in outcome.message:
            raise Wrong(
                "A message is a string: `json.loads(message)` turns it into a dict.",
                found=str(outcome),
            )
        if re.search("operand.*'str'|str.*operand", outcome.message):
            raise Wrong(
                "One of the two is a string, as every field on a stream is: `int(…)` turns it "
                "into a number.",
                found=str(outcome),
            )
    return result(outcome, slow, LIMIT_S)


def held_back(life: Life) -> Outcome:
    """What became of a life that stood still for a while.

    Raises:
        Trouble: it stood still for so long that its connection timed out.
    """
    outcome = life.outcome()
    if isinstance(outcome, Failure) and outcome.kind == "TimeoutError":
        raise Trouble("The machine is so busy that a connection timed out. Run the check again.")
    return outcome


# ------------------------------------------------------------------ by event time

TENS = [
    made(ENGLISH, 0.0),
    made(ENGLISH, 9.999)._replace(bot=True),
    made(GERMAN, 3.5),
    made(ENGLISH, 10.0),
    made(ENGLISH, 25.5),
    made(ENGLISH, 4.2),  # comes late
]
MINUTES = [made(GERMAN, 59.999), made(GERMAN, 60.0), made(GERMAN, 100.5)]
MOST_WRITES = 3  # before how many commands one is held back while another one counts


def expect_counted(scene: Scene, count: Any) -> None:
    """Count changes at the edges of intervals and a late one, in tens and in minutes.

    Raises:
        Wrong: the hashes or the set are not right.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        for interval_s, changes in ((10, TENS), (60, MINUTES)):
            prefix = scene.key(f"{interval_s}:")
            calls = [(prefix, one.change.message(), interval_s) for one in changes]
            life = supervisor.begin(in_turn(count, calls), CLIENT, through=proxy)
            got = settle(life.outcome())
            if Blank in map(type, got):
                raise StillBlank
            _expect_sent(proxy)
            sent = proxy.commands
            expect_counts(scene, prefix, truth(changes, interval_s), interval_s, sent)
            expect_domains(scene, prefix, {one.domain for one in changes}, sent)
        begin = partial(supervisor.begin, count, CLIENT)
        for place, command in enumerate(changing(proxy.names)[:MOST_WRITES]):
            prefix = scene.key(f"both{place}:")
            _expect_both(scene, begin, proxy, command, prefix)


def _expect_sent(proxy: Proxy) -> None:
    """Something came to the server that changes something.

    Raises:
        Wrong: nothing did.
    """
    if not changing(proxy.names):
        raise Wrong(
            "Your function sent nothing that counts on the client that it was given. A "
            "pipeline collects commands, and sends them only when you call `execute()`.",
            expected="HINCRBY and SADD",
            found=", ".join(dict.fromkeys(proxy.names)) or "no command",
        )


def _expect_both(
    scene: Scene, begin: Callable[..., Life], proxy: Proxy, command: str, prefix: str
) -> None:
    """Two subscribers count the same second: one stands still before a command meanwhile.

    Raises:
        Wrong: a count is lost.
    """
    asked = (prefix, TENS[0].change.message(), 10)
    proxy.reset()
    proxy.arm(Fault.FREEZE_BEFORE, command)
    one = begin(*asked, through=proxy)
    if one.stands(proxy):
        settle(begin(*asked).outcome())
        proxy.thaw()
    settle(held_back(one))
    found, right = counted(scene, prefix), truth([TENS[0]] * 2, 10)
    if found != right:
        raise Wrong(
            "A second subscriber counted between your read and your write, and its count is "
            "overwritten. HINCRBY reads and adds on the server, in one step.",
            expected=f"{right}, by two subscribers at the same time",
            found=f"{found}, one of them held back before its {command}",
        )


def _expect_prefixed(name: str, prefix: str, commands: Iterable[Sequence[str]]) -> None:
    """No command names a key that has another beginning in place of the prefix.

    Raises:
        Wrong: one does.
    """
    form = "ev:{domain}" if ":" in name else name
    for word in (word for words in commands for word in words[1:]):
        between = word.startswith(prefix) and word.endswith(name) and word != prefix + name
        if word == name or between:
            raise Wrong(
                "All three keys begin with the prefix that your function gets, and nothing comes "
                f"in between: `f'{{prefix}}{form}'`.",
                expected=f"a key `{prefix}{name}`",
                found=f"`{word}`",
            )


def expect_domains(
    scene: Scene, prefix: str, domains: set[str], commands: Iterable[Sequence[str]] = ()
) -> None:
    """The set holds these domains.

    Args:
        scene: the check's.
        prefix: what the keys begin with.
        domains: the domains.
        commands: what the learner's function has sent.

    Raises:
        Wrong: it does not.
    """
    key = f"{prefix}known_domains"
    kind = cast("str", scene.redis.type(key))
    known = cast("Any", scene.redis.smembers(key)) if kind == "set" else set()
    if known != domains:
        if not known:
            _expect_prefixed("known_domains", prefix, commands)
        raise Wrong(
            "The set `known_domains` lists the wikis that were counted: use SADD, with the "
            "domain as it is in the message.",
            expected=f"in `known_domains`: {', '.join(sorted(domains))}",
            found=", ".join(sorted(known))
            or ("no such key" if kind == "none" else f"`known_domains` is a {kind}"),
        )


def expect_counts(
    scene: Scene,
    prefix: str,
    right: Counts,
    interval_s: int,
    commands: Sequence[Sequence[str]] = (),
) -> None:
    """The hashes hold just these counts.

    Args:
        scene: the check's.
        prefix: what the keys begin with.
        right: the counts.
        interval_s: how long an interval is.
        commands: what the learner's function has sent.

    Raises:
        Wrong: they do not.
    """
    found = counted(scene, prefix)
    for name in set(right) - set(found):
        _expect_prefixed(name, prefix, commands)
    if not found:
        raise Wrong(
            "Each key begins with the prefix that your function gets: `f'{prefix}ev'`, "
            "`f'{prefix}ev:{domain}'`, `f'{prefix}known_domains'`.",
            expected="hashes under the prefix",
            found="none",
        )
    for name, buckets in right.items():
        if found.get(name, {}) != buckets:
            raise Wrong(
                _count_hint(name, found.get(name, {}), buckets, interval_s),
                expected=f"`{name}`: {buckets}",
                found=f"`{name}`: {found[name]}"
                if name in found
                else f"no hash `{name}`; there is {', '.join(f'`{one}`' for one in found)}",
            )
    if set(found) != set(right):
        raise Wrong(
            "Count into `ev` and into the hash of the domain, and into no others.",
            expected=", ".join(right),
            found=", ".join(found),
        )


def _count_hint(
    name: str, got: Mapping[str, int], right: Mapping[str, int], interval_s: int
) -> str:
    if not got:
        return (
            f"Nothing is in `{name}`. Each change counts twice: in `ev`, the hash for all "
            "wikis, and in the hash of its domain."
        )
    if any(not re.fullmatch(r"[\d.]+", bucket) for bucket in got):
        return (
            f"The fields of `{name}` are buckets: each is the second in which an interval "
            "begins, as a number."
        )
    if any(not bucket.isdigit() for bucket in got):
        return (
            "A bucket is a whole number of seconds. One `/` is enough to make it a float, and "
            "a `//` after that keeps it one: divide with `//` each time."
        )
    buckets = sorted(map(int, got))
    if buckets[-1] >= MILLISECONDS:
        return "`at` is in milliseconds, and a bucket is in seconds: divide by 1000 first."
    if abs(buckets[-1] - time.time()) < 86_400:
        return (
            "That's the time when the message arrived. A change counts in the interval in "
            "which it was made, however late it comes: use its event time, `at`."
        )
    if buckets[-1] < min(map(int, right)) // 2:
        return "A bucket is named after the second in which it begins: multiply by the interval."
    if any(bucket % interval_s for bucket in buckets):
        return (
            f"A bucket begins every {interval_s} seconds: round down to a multiple of "
            "`interval_s`, which isn't always the same."
        )
    if set(got) < set(right):
        return (
            f"Only {sum(got.values())} of {sum(right.values())} changes are counted here. Each "
            "one counts, however late it comes, whether or not its wiki is known, and even if a "
            "bot made it."
        )
    if set(got) != set(right):
        return (
            "The bucket is named after the second in which its interval begins. So round down "
            "with `//`, even in the last millisecond before the next one."
        )
    moved = {
        bucket: got[bucket] - right[bucket] for bucket in right if got[bucket] != right[bucket]
    }
    if sorted(moved.values()) == [-1, 1] and min(moved, key=int) == min(right, key=int):
        return (
            "A change that came late was counted in the interval of a newer one. Each counts "
            "in the interval of its own `at`, whatever came before it."
        )
    if sum(got.values()) == sum(right.values()):
        return (
            "All changes are counted, but some in the wrong interval. Round down with `//`, "
            "even in the last millisecond before the next one."
        )
    if set(got.values()) == {1}:
        return "The second change in a bucket is added to the first: use HINCRBY, not HSET."
    if sum(got.values()) == sum(right.values()) - 1:
        return "One change is missing. Was it made by a bot? Those count as well."
    return "Each change counts once, even one that comes late: HINCRBY by 1."


# ------------------------------------------------------------------ and forgotten

NOW = 1_000_000_300  # 9 September 2001: buckets have nine digits before, and ten after
INTERVAL_S, HISTORY_S = 20, 600  # not the 10 s of the texts
OLDEST = NOW - HISTORY_S
FRESH = Made(ENGLISH, (NOW - 5) * 1000)
LATE = Made(ENGLISH, (NOW - 400) * 1000)
OLD, OLDER = str(OLDEST - INTERVAL_S), str(OLDEST - 86_400)
FIELDS_EXPIRE = ("HEXPIRE", "HPEXPIRE", "HSETEX", "HGETEX")
ALLOWED_S = 5  # how much of a key's time may be over when the check looks
SHORT_S = 40  # what is left to a key when the next change comes


def expect_forgotten(scene: Scene, count: Any) -> None:
    """New keys, then busy ones, then killed before each of its commands.

    Raises:
        Wrong: a key has no TTL or a wrong one, or old buckets are left.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        begin = partial(supervisor.begin, count, CLIENT, through=proxy)
        try:
            _expect_all_forgotten(scene, begin, proxy)
        except Wrong as wrong:
            sent = " ".join(word.upper() for command in proxy.commands for word in command)
            if not any(name in sent for name in FIELDS_EXPIRE):
                raise
            raise Wrong(
                "A field with its own expiry needs Redis 7.4 or Valkey 9, and it follows the "
                "server's clock, not `now`: in a replay, nothing from 2001 would be old. "
                "Delete old buckets with HDEL.",
                expected=wrong.expected,
                found=wrong.found,
            ) from wrong


def _expect_all_forgotten(scene: Scene, begin: Callable[..., Life], proxy: Proxy) -> None:
    new = scene.key("new:")

    def call(prefix: str, made: Made = FRESH) -> bool:
        """One life; whether it deleted a whole key."""
        before = len(proxy.commands)
        settle(begin(prefix, *asked(made)).outcome())
        return bool({"DEL", "UNLINK"} & {*proxy.names[before:]})

    call(new)
    names = proxy.names
    _expect_sent(proxy)
    if "HDEL" in names and not counted(scene, new):  # among other buckets it is seen why
        _expect_busy(scene, call)
    _expect_kept(scene, new, proxy)
    _expect_expiries(scene, new, proxy)
    _expect_busy(scene, call)
    for case in SWEEPS:
        _expect_swept(scene, call, case)
    for place in gaps(names):
        prefix = scene.key(f"killed{place}:")
        if kill_at(begin, proxy, place, prefix, *asked(FRESH), slow=SLOW):
            _expect_no_orphan(scene, prefix, proxy.names[-1])


def asked(made: Made) -> tuple[str, int, int, int]:
    """What exercise 4 asks of a change, after the prefix."""
    return made.change.message(), INTERVAL_S, HISTORY_S, NOW


def _expect_kept(scene: Scene, prefix: str, proxy: Proxy) -> None:
    """The change that was just made is counted."""
    right = truth([FRESH], INTERVAL_S)
    if counted(scene, prefix) != right and {"EXPIREAT", "PEXPIREAT"} & set(proxy.names):
        raise Wrong(
            "EXPIREAT goes by the server's clock. By that clock, the time of a change, or "
            "`now`, is long ago, as in a replay, so the key is deleted at once. A key lives for "
            "`history_s` after the last count: use EXPIRE.",
            expected="the change of 2001 counted",
            found="no key",
        )
    expect_counts(scene, prefix, right, INTERVAL_S, proxy.commands)
    expect_domains(scene, prefix, {ENGLISH}, proxy.commands)


def _expect_expiries(scene: Scene, prefix: str, proxy: Proxy) -> None:
    """Each key goes when its history is over."""
    for name in ("ev", f"ev:{ENGLISH}", "known_domains"):
        left = int(cast("Any", scene.redis.ttl(prefix + name)))
        if HISTORY_S - ALLOWED_S <= left <= HISTORY_S + 1:
            continue
        raise Wrong(
            _expiry_hint(prefix + name, left, proxy.commands),
            expected=f"`{name}` expires in {HISTORY_S} s",
            found=f"in {left:,} s" if left >= 0 else "it never expires: its TTL is -1",
        )


def _expiry_hint(key: str, left: int, commands: list[list[str]]) -> str:
    names = {words[0] for words in commands}
    of_key = [words[0] for words in commands if words[1:2] == [key]]
    if left < 0 and of_key[:1] in (["EXPIRE"], ["PEXPIRE"]):
        return (
            "EXPIRE came before the key existed, and then it does nothing. Count first, and "
            "set the expiry after that, in the same step."
        )
    if left < 0:
        if any("GT" in map(str.upper, words[3:]) for words in commands if "EXPIRE" in words[0]):
            return (
                "`GT` sets no expiry on a key that has none: to Redis, no expiry is later "
                "than any time. EXPIRE without an option always sets it."
            )
        if {"EXPIRE", "PEXPIRE"} & names:
            return "Every key needs an expiry: both hashes, and the set."
        return "Set an expiry on each key that you write to: EXPIRE, in seconds."
    if left > 1000 * HISTORY_S - 10_000 or (left < 2 and "PEXPIRE" in names):
        return "EXPIRE takes seconds; PEXPIRE takes milliseconds."
    if left > HISTORY_S:
        return (
            "It lives too long. The lesson's subscriber adds an interval and a minute; here, a "
            "key lives for just `history_s` seconds after the last change."
        )
    return "A key lives for `history_s` seconds after the last change that was counted in it."


class Sweep(NamedTuple):
    """Old buckets in both hashes, the change that is counted, and what to say if some are left."""

    made: Made
    in_all: str
    in_domain: str
    hint: str


SWEEPS = (
    Sweep(
        FRESH,
        OLD,
        OLDER,
        "The two hashes don't have the same old buckets: other wikis count into `ev`, and a "
        "kill between two HDEL commands leaves one of them unchanged. Ask each for its own "
        "fields: HKEYS.",
    ),
    Sweep(
        LATE,
        OLD,
        OLD,
        "That was a change that came late, so it doesn't show the time on the clock. Delete "
        "what begins before `now - history_s`, whatever change you count.",
    ),
)


def _expect_swept(scene: Scene, call: Callable[[str, Made], bool], case: Sweep) -> None:
    """What is old goes from each of the hashes, whichever change comes.

    Raises:
        Wrong: some of it is left.
    """
    prefix = scene.key(f"swept{SWEEPS.index(case)}:")
    olds = {"ev": case.in_all, f"ev:{ENGLISH}": case.in_domain}
    for name, old in olds.items():
        scene.redis.hset(prefix + name, mapping=cast("Any", {old: 7, str(NOW - 20): 5}))
    call(prefix, case.made)
    found = counted(scene, prefix)
    for name, old in olds.items():
        if old in found.get(name, {}):
            raise Wrong(
                case.hint,
                expected=f"in `{name}` at {NOW} nothing before {OLDEST}",
                found=f"{found[name]}, after a change made at {case.made.at_ms // 1000}",
            )


def _expect_busy(scene: Scene, call: Callable[[str], bool]) -> None:
    """Hashes that somebody counts into all the time: young buckets stay, and old ones go."""
    prefix = scene.key("busy:")
    young = {str(OLDEST): 4, str(NOW - 40): 5, str(NOW - INTERVAL_S): 6}
    old = {OLD: 7, OLDER: 8}
    names = ("ev", f"ev:{ENGLISH}")
    for name in names:
        scene.redis.hset(prefix + name, mapping=cast("Any", young | old))
    scene.redis.sadd(f"{prefix}known_domains", ENGLISH, GERMAN)
    for name in (*names, "known_domains"):
        scene.redis.expire(prefix + name, SHORT_S)
    deletes = call(prefix)
    found = counted(scene, prefix)
    right = young | {str(NOW - INTERVAL_S): 7}
    for name in names:
        if found.get(name) != right:
            raise Wrong(
                _busy_hint(found.get(name, {}), right, old, deletes=deletes),
                expected=f"`{name}` at {NOW}: {right}",
                found=f"{found.get(name, {})}",
            )
    for name in (*names, "known_domains"):
        left = int(cast("Any", scene.redis.ttl(prefix + name)))
        if left < HISTORY_S - ALLOWED_S:
            raise Wrong(
                "The key's expiry stayed as it was, so the whole hash will be deleted while "
                "it has recent counts. Set the expiry again with each change: EXPIRE without "
                "NX.",
                expected=f"`{name}` expires in {HISTORY_S} s",
                found=f"in {left} s",
            )


def _busy_hint(
    got: Mapping[str, int], right: Mapping[str, int], old: Mapping[str, int], *, deletes: bool
) -> str:
    if not got and deletes:
        return (
            "The whole key was deleted, with the recent buckets and the change that was just "
            "counted. HDEL deletes only the fields that you name."
        )
    if not got:
        return (
            "Everything is deleted, even the change that was just counted. By the clock that "
            "you were given, `now` in seconds, it is 5 seconds old; the machine's own clock "
            "is years ahead."
        )
    if set(old) <= set(got) and not set(right) <= set(got):
        return (
            "The old buckets are left, and recent ones are gone: it should be the other way "
            "around. Old means that it begins before `now - history_s`: `<`."
        )
    if set(old) <= set(got):
        return (
            "Old buckets are left. This hash is counted into every second, so it never "
            "expires and grows forever: use HDEL on everything that begins before `now - "
            "history_s`, in both hashes."
        )
    if set(got) & set(old) == {OLD}:
        return (
            f"The bucket {OLD} is left, but it begins before `now - history_s`, which is "
            f"{OLDEST}. It doesn't matter when its interval ends, or when the change was made. "
            "Delete all old buckets, not just one."
        )
    if set(got) & set(old):
        return "Delete every bucket that begins before `now - history_s`, and not just one."
    if str(NOW - INTERVAL_S) not in got:
        return (
            "Buckets are strings, and as a string '1000000280' comes before '999999700'. "
            "Compare numbers: `int(bucket)`."
        )
    if str(OLDEST) not in got:
        return "The bucket that begins exactly at `now - history_s` is still wanted: `<`, not `<=`."
    if got[str(NOW - INTERVAL_S)] != right[str(NOW - INTERVAL_S)]:
        return "Keep what was counted before, and add the change to it: HINCRBY by 1."
    return "Delete old buckets only: recent ones stay as they are."


def _expect_no_orphan(scene: Scene, prefix: str, command: str) -> None:
    """No key that was left by a kill stays for ever."""
    for key in sorted(str(one) for one in scene.redis.scan_iter(match=f"{prefix}*")):
        if int(cast("Any", scene.redis.ttl(key))) < 0:
            raise Wrong(
                "A kill here leaves a key that stays forever if its wiki never changes again. "
                "A pipeline alone isn't a transaction: send the count and its EXPIRE in one "
                "MULTI, or in a script.",
                expected="each key with an expiry at any moment",
                found=f"`{key.removeprefix(prefix)}` without one, killed before {command}",
            )
