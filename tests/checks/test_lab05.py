"""Lab 05: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import os

import pytest
from redis import ResponseError

from helpers.checks import open_lab
from helpers.checks.lab05.exercises import CHOICES, WHY_NOT
from helpers.checks.stepping import MOST_GAPS, far_from_utc, gaps
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

PREDICTIONS = {
    "XLEN after 5-0": 3,
    "entries for alice": 3,
    "XLEN after 6-0": 4,
    "XLEN after XTRIM": 2,
    "pending after XTRIM": 3,
    "EXPIRETIME after 7-0": 4_102_617_600,
    "reply to the second EXPIREAT": 1,
    "TTL after that": -2,
    "TTL after 8-0": -1,
}
CHOSEN = {
    "dashboard": "MAXLEN",
    "visits": "MINID",
    "orders": "groups",
    "patients": "partitions",
    "ledger": "nothing",
    "black box": "MAXLEN",
}
NAME = "def answer(prefix, ms)"
KEEP = "def answer(redis, stream, average)"
TRIM = "def answer(redis, stream)"
WRITE = "def answer(redis, prefix, ms, temp_f)"
REFUSE = "def answer(redis, prefix, ms, temp_f, now_ms)"
DATES = "from datetime import UTC, date, datetime, timedelta\n"


def named(body: str) -> str:
    return DATES + function(NAME, body)


def capped(body: str) -> str:
    return function(KEEP, body)


TRIMMING = """
    needed = []
    for group in redis.xinfo_groups(stream):
        oldest = redis.xpending(stream, group["name"])["min"]
        following = EntryId.parse(group["last-delivered-id"]).next()
        needed.append(EntryId.parse(oldest) if oldest else following)
    if needed:
        redis.xtrim(stream, minid=str(min(needed)), approximate=False)
"""


def trimming(*changes: tuple[str, str], body: str = TRIMMING) -> str:
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    return "from helpers import EntryId, Group\n" + function(TRIM, body)


KEY = 'key = f"{prefix}:{datetime.fromtimestamp(ms // 1000, UTC):%Y%m%d}"'
WRITING = f"""
    {KEY}
    expiry = ms // 1000 + 172_800
    with redis.pipeline(transaction=True) as step:
        step.xadd(key, {{"temp_f": temp_f, "at": ms}})
        step.expireat(key, expiry, nx=True)
        step.expireat(key, expiry, gt=True)
        step.execute()
"""
NX, GT = (
    "        step.expireat(key, expiry, nx=True)\n",
    "        step.expireat(key, expiry, gt=True)\n",
)
SCRIPT = '''
SCRIPT = """
redis.call('XADD', KEYS[1], '*', 'temp_f', ARGV[1], 'at', ARGV[2])
local expiry = math.floor(ARGV[2] / 1000) + 172800
if expiry > redis.call('EXPIRETIME', KEYS[1]) then
  redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expiry))
end
"""
'''


def writing(*changes: tuple[str, str], body: str = WRITING) -> str:
    for old, new in changes:
        assert old in body, old
        body = body.replace(old, new)
    return DATES + function(WRITE, body)


REFUSING = f"""
    {KEY}
    if max(ms // 1000 + 172_800, redis.expiretime(key)) * 1000 <= now_ms:
        raise ValueError(f"{{key}} would expire at once")
    write(redis, prefix, ms, temp_f)
"""


def refusing(*changes: tuple[str, str], body: str = REFUSING) -> str:
    for old, new in changes:
        assert old in body, old
        body = body.replace(old, new)
    return writing().replace("def answer", "def write") + function(REFUSE, body)


def awaited(source: str) -> str:
    """The same with an asyncio client."""
    for old, new in (
        ("def ", "async def "),
        ("with redis.pipeline", "async with redis.pipeline"),
        ("step.execute()", "await step.execute()"),
        ("in redis.xinfo_groups(stream)", "in await redis.xinfo_groups(stream)"),
        ('redis.xpending(stream, group["name"])', '(await redis.xpending(stream, group["name"]))'),
        ("redis.xtrim(", "await redis.xtrim("),
        ("redis.xadd(", "await redis.xadd("),
        ("redis.expiretime(", "await redis.expiretime("),
        ("    write(", "    await write("),
    ):
        source = source.replace(old, new)
    return source


RIGHT = [
    Case(1, "", f"answer = {PREDICTIONS}"),
    Case(2, "", named('return f"{prefix}:{datetime.fromtimestamp(ms / 1000, UTC):%Y%m%d}"')),
    Case(2, "", "import time\n" + function(NAME, 'return prefix + ":" + time.strftime("%Y%m%d", time.gmtime(ms // 1000))')),
    Case(2, "", named('return f"{prefix}:{datetime(1970, 1, 1) + timedelta(milliseconds=ms):%Y%m%d}"')),
    Case(2, "", named('return f"{prefix}:{datetime.utcfromtimestamp(ms / 1000):%Y%m%d}"')),
    Case(2, "", "from helpers.streams.clock import moment_of\nfrom helpers.partitions import partition_key\n" + function(NAME, 'return prefix + partition_key(moment_of(ms)).removeprefix("temps")')),
    Case(3, "", capped("redis.xadd(stream, average, maxlen=120, approximate=False)")),
    Case(3, "", awaited(capped("redis.xadd(stream, average, maxlen=120, approximate=False)"))),
    Case(3, "", capped("redis.execute_command('XADD', stream, 'MAXLEN', 120, '*', *sum(average.items(), ()))")),
    Case(3, "", capped("redis.pipeline(transaction=True).xadd(stream, average).xtrim(stream, maxlen=120, approximate=False).execute()")),
    Case(4, "", trimming()),
    Case(4, "", awaited(trimming())),
    Case(4, "", trimming(body="""
        def pair(text):
            return tuple(map(int, text.split("-")))

        needed = []
        for group in redis.xinfo_groups(stream):
            pending = redis.xpending_range(stream, group["name"], "-", "+", 1)
            ms, seq = pair(group["last-delivered-id"])
            needed.append(pair(pending[0]["message_id"]) if pending else (ms, seq + 1))
        for ms, seq in sorted(needed)[:1]:
            redis.xtrim(stream, minid=f"{ms}-{seq}", approximate=False)
    """)),
    Case(4, "", trimming(body="""
        needed = []
        for about in redis.xinfo_groups(stream):
            group = Group(redis, stream, about["name"])
            needed.append(group.info().last_delivered.next())
            needed += [entry.id for entry in group.pending()]
        if needed:
            for entry_id, _ in redis.xrange(stream, "-", f"({min(needed)}"):
                redis.xdel(stream, entry_id)
    """)),
    Case(4, "", trimming(body="""
        script = '''
        local function at(id) local ms, seq = id:match('(%d+)-(%d+)') return ms + 0, seq + 0 end
        local least_ms, least_seq
        for _, about in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
          local group, last = about[2], nil
          for n = 1, #about, 2 do
            if about[n] == 'last-delivered-id' then last = about[n + 1] end
          end
          local ms, seq = at(last)
          seq = seq + 1
          local oldest = redis.call('XPENDING', KEYS[1], group)[2]
          if oldest then ms, seq = at(oldest) end
          if not least_ms or ms < least_ms or (ms == least_ms and seq < least_seq) then
            least_ms, least_seq = ms, seq
          end
        end
        if not least_ms then return end
        redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', least_ms, least_seq))
        '''
        redis.eval(script, 1, stream)
    """)),
    Case(5, "", writing()),
    Case(5, "", awaited(writing())),
    Case(5, "", SCRIPT + writing(body=f'{KEY}\nredis.eval(SCRIPT, 1, key, temp_f, ms)')),
    Case(5, "", writing(body=f"""
        {KEY}
        expiry = ms + 2 * 86_400_000
        step = redis.pipeline()
        step.xadd(key, {{"temp_f": temp_f, "at": ms}}).pexpireat(key, expiry, nx=True).pexpireat(key, expiry, gt=True).execute()
    """)),
    Case(5, "", "from redis import WatchError\n" + writing(body=f"""
        {KEY}
        while True:
            with redis.pipeline() as step:
                step.watch(key)
                expiry = max(step.expiretime(key), ms // 1000 + 172_800)
                step.multi()
                step.xadd(key, {{"temp_f": temp_f, "at": ms}})
                step.expireat(key, expiry)
                try:
                    return step.execute()
                except WatchError:
                    continue
    """)),
    Case(6, "", refusing()),
    Case(6, "", awaited(refusing())),
    Case(6, "", "class TooLateError(ValueError): pass\n" + refusing(body=f"""
        {KEY}
        expiry = ms // 1000 + 172_800
        if redis.exists(key):
            expiry = max(expiry, redis.expiretime(key))
        if datetime.fromtimestamp(expiry, UTC) <= datetime.fromtimestamp(now_ms / 1000, UTC):
            raise TooLateError(key)
        write(redis, prefix, ms, temp_f)
    """)),
    Case(6, "", DATES + function(REFUSE, f"""
        {KEY}
        script = '''
        local expiry = math.max(math.floor(ARGV[2] / 1000) + 172800, redis.call('EXPIRETIME', KEYS[1]))
        if expiry * 1000 <= tonumber(ARGV[3]) then return 0 end
        redis.call('XADD', KEYS[1], '*', 'temp_f', ARGV[1], 'at', ARGV[2])
        redis.call('EXPIREAT', KEYS[1], string.format('%.0f', expiry))
        return 1
        '''
        if not redis.eval(script, 1, key, temp_f, ms, now_ms):
            raise ValueError("too late")
    """)),
    Case(7, "", f"answer = {CHOSEN}"),
]  # fmt: skip

WRONG = [
    Case(1, "newest three", f"answer = {PREDICTIONS | {'XLEN after 5-0': 5}}"),
    Case(1, "trimmed before alice read them", f"answer = {PREDICTIONS | {'entries for alice': 5}}"),
    Case(1, "whole nodes", f"answer = {PREDICTIONS | {'XLEN after 6-0': 3}}"),
    Case(1, "keeps the entry with that ID", f"answer = {PREDICTIONS | {'XLEN after XTRIM': 1}}"),
    Case(1, "not from the list", f"answer = {PREDICTIONS | {'pending after XTRIM': 1}}"),
    Case(1, "expiry stays as it was", f"answer = {PREDICTIONS | {'EXPIRETIME after 7-0': -1}}"),
    Case(1, "did what you asked", f"answer = {PREDICTIONS | {'reply to the second EXPIREAT': 0}}"),
    Case(1, "no such key", f"answer = {PREDICTIONS | {'TTL after that': 0}}"),
    Case(1, "never expires", f"answer = {PREDICTIONS | {'TTL after 8-0': -2}}"),
    Case(1, "Keep the dict", "answer = {'XLEN': 3}"),
    Case(2, "everywhere on earth", named('return f"{prefix}:{datetime.fromtimestamp(ms / 1000):%Y%m%d}"')),
    Case(2, "That's today", named('return f"{prefix}:{date.today():%Y%m%d}"')),
    Case(2, "divide by 1000", named('return f"{prefix}:{datetime.fromtimestamp(ms, UTC):%Y%m%d}"')),
    Case(2, "is in milliseconds, and you", named('return f"{prefix}:{datetime.fromtimestamp(ms / 1_000_000, UTC):%Y%m%d}"')),
    Case(2, "then the month, then the day", named('return f"{prefix}:{datetime.fromtimestamp(ms / 1000, UTC):%Y%d%m}"')),
    Case(2, "the month and the day", named('day = datetime.fromtimestamp(ms / 1000, UTC)\nreturn f"{prefix}:{day.year}{day.month}{day.day}"')),
    Case(2, "eight digits, and nothing else", named('return f"{prefix}:{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"')),
    Case(2, "last millisecond of a day", named('return f"{prefix}:{datetime.fromtimestamp(round(ms / 1000), UTC):%Y%m%d}"')),
    Case(2, "the prefix as it was given", named('return f"temps:{datetime.fromtimestamp(ms / 1000, UTC):%Y%m%d}"')),
    Case(2, "is there a `return`", named('f"{prefix}:{datetime.fromtimestamp(ms / 1000, UTC):%Y%m%d}"')),
    Case(3, "effort, so the stream floats", capped("redis.xadd(stream, average, maxlen=120)")),
    Case(3, "Nothing was trimmed", capped("redis.xadd(stream, average)")),
    Case(3, "Exactly 120", capped("redis.xadd(stream, average, maxlen=121, approximate=False)")),
    Case(3, "You trim first, and then", capped("redis.xtrim(stream, maxlen=120, approximate=False)\nredis.xadd(stream, average)")),
    Case(3, "between your two commands", capped("redis.xtrim(stream, maxlen=119, approximate=False)\nredis.xadd(stream, average)")),
    Case(3, "between your two commands", capped("redis.xadd(stream, average)\nredis.xtrim(stream, maxlen=120, approximate=False)")),
    Case(3, "You remove an entry whenever", capped("redis.xadd(stream, average)\nredis.xdel(stream, redis.xrange(stream, count=1)[0][0])")),
    Case(3, "stays too long", capped("redis.xadd(stream, average)\nif redis.xlen(stream) > 120:\n    redis.xdel(stream, redis.xrange(stream, count=1)[0][0])")),
    Case(3, "created it again", capped("""
        kept = redis.xrevrange(stream, count=119)[::-1]
        redis.delete(stream)
        for _, fields in [*kept, (None, average)]:
            redis.xadd(stream, fields, maxlen=120, approximate=False)
    """)),
    Case(3, "Each entry needs the fields", capped("redis.xadd(stream, {'average': str(average)}, maxlen=120, approximate=False)")),
    Case(3, "Nothing was added", capped("redis.xtrim(stream, maxlen=120)")),
    Case(4, "Nothing was removed", trimming(body="return None")),
    Case(4, "whole nodes", trimming((", approximate=False", ""))),
    Case(4, "know who has read them", trimming(body="redis.xtrim(stream, maxlen=3, approximate=False)")),
    Case(4, "A pending entry is gone", trimming(("EntryId.parse(oldest) if oldest else following", "following"))),
    Case(4, "One more may go", trimming((".next()", ""))),
    Case(4, "the same millisecond", trimming(('EntryId.parse(group["last-delivered-id"]).next()', 'EntryId(EntryId.parse(group["last-delivered-id"]).ms + 1, 0)'))),
    Case(4, "One entry too many: MINID", trimming(("EntryId.parse(oldest) if", "EntryId.parse(oldest).next() if"))),
    Case(4, "A pending entry is gone", trimming(('["min"]', '["max"]'))),
    Case(4, "isn't that far yet", trimming(("    for group in redis.xinfo_groups(stream):", "    for group in redis.xinfo_groups(stream)[:1]:"))),
    Case(4, "isn't that far yet", trimming(("redis.xinfo_groups(stream)", "redis.xinfo_groups(stream)[-1:]"))),
    Case(4, "as numbers", trimming(("min(needed)", "min(map(str, needed))"))),
    Case(4, "needs every entry", trimming(("    following", '    if group["last-delivered-id"] == "0-0": continue\n        following'))),
    Case(4, "Everything is handled", trimming(("    if needed:", "    if needed and redis.xrange(stream, str(min(needed))):"))),
    Case(4, "Leave the stream and its groups", trimming(("    if needed:", "    if needed and not redis.xrange(stream, str(min(needed))):\n        return redis.delete(stream)\n    if needed:"))),
    Case(4, "no group at all", trimming(("    if needed:\n    ", ""))),
    Case(4, "nothing was handled", trimming(("    if needed:", "    if not needed: return redis.xtrim(stream, maxlen=0, approximate=False)\n    if needed:"))),
    Case(4, "While your function was working", trimming(("    for group in redis.xinfo_groups(stream):", "    for name in [one['name'] for one in redis.xinfo_groups(stream)]:"), ('group["name"])["min"]', 'name)["min"]\n        [group] = [one for one in redis.xinfo_groups(stream) if one["name"] == name]'))),
    Case(4, "While your function was working", trimming(("redis.xtrim(stream, minid=str(min(needed)), approximate=False)", "left = redis.xrange(stream, str(min(needed)))\n        redis.xtrim(stream, maxlen=len(left), approximate=False)"))),
    Case(5, "two days from now", writing((NX, "        step.expire(key, 172_800)\n"), (GT, ""))),
    Case(5, "stayed where it was", writing((GT, ""))),
    Case(5, "stayed where it was", writing((NX, "        if not redis.exists(key):\n            step.expireat(key, expiry)\n"), (GT, ""))),
    Case(5, "sets no expiry on a key that has none", writing((NX, ""))),
    Case(5, "late reading moved the expiry", writing((NX, ""), ("gt=True", ""))),
    Case(5, "Set the expiry", writing((NX, ""), (GT, ""))),
    Case(5, "takes seconds", writing(("ms // 1000 + 172_800", "ms + 172_800_000"))),
    Case(5, "in any partition that still", writing(("ms // 1000 + 172_800", "ms // 1_000_000 + 172_800"))),
    Case(5, "stays forever", writing(("transaction=True", "transaction=False"))),
    Case(5, "stays forever", writing(body=f'{KEY}\nredis.xadd(key, {{"temp_f": temp_f, "at": ms}})\nredis.expireat(key, max(redis.expiretime(key), ms // 1000 + 172_800))')),
    Case(5, "goes too early", writing(body=f"""
        {KEY}
        expiry = ms // 1000 + 172_800
        if redis.exists(key):
            redis.xadd(key, {{"temp_f": temp_f, "at": ms}})
            redis.expireat(key, expiry, gt=True)
        else:
            redis.pipeline().xadd(key, {{"temp_f": temp_f, "at": ms}}).expireat(key, expiry, nx=True).expireat(key, expiry, gt=True).execute()
    """)),
    Case(5, "another producer", writing(("ms // 1000 + 172_800", "max(redis.expiretime(key), ms // 1000 + 172_800)"), (NX, "        step.expireat(key, expiry)\n"), (GT, ""))),
    Case(5, "of its day", writing(("ms // 1000 + 172_800", "ms // 86_400_000 * 86_400 + 172_800"))),
    Case(5, "172,800 seconds", writing(("172_800", "86_400"))),
    Case(5, "Each day has its own", writing((KEY, "key = prefix"))),
    Case(5, "day is the day in UTC", writing(("datetime.fromtimestamp(ms // 1000, UTC)", "datetime.fromtimestamp(ms // 1000)"))),
    Case(5, "IDs only grow", writing(('"at": ms}', '"at": ms}, id=ms'))),
    Case(5, "`temp_f` and `at`", writing((', "at": ms', ""))),
    Case(5, "You sent Redis something that", "partition = lambda prefix, ms: ____\n" + writing((KEY, "key = partition(prefix, ms)"))),
    Case(5, "WATCH noticed that another producer", writing(body=f"""
        {KEY}
        with redis.pipeline() as step:
            step.watch(key)
            expiry = max(step.expiretime(key), ms // 1000 + 172_800)
            step.multi()
            step.xadd(key, {{"temp_f": temp_f, "at": ms}})
            step.expireat(key, expiry)
            step.execute()
    """)),
    Case(6, "The partition is gone", refusing(body="write(redis, prefix, ms, temp_f)")),
    Case(6, "your caller doesn't find out", refusing(('raise ValueError(f"{key} would expire at once")', "return"))),
    Case(6, "Raise a ValueError, so that", refusing(("ValueError", "RuntimeError"))),
    Case(6, "but wrote it anyway", refusing(("    if max", "    redis.xadd(key, {'temp_f': temp_f, 'at': ms})\n    if max"), ("    write(redis, prefix, ms, temp_f)", "    redis.expireat(key, max(ms // 1000 + 172_800, redis.expiretime(key)))"))),
    Case(6, "The clock is an argument", "import time\n" + refusing(("now_ms:", "time.time() * 1000:"))),
    Case(6, "from the end of its day", refusing(("ms // 1000 +", "(ms // 86_400_000 + 1) * 86_400 +"))),
    Case(6, "from the beginning of its day", refusing(("ms // 1000 +", "ms // 86_400_000 * 86_400 +"))),
    Case(6, "EXPIREAT with the current second", refusing(("<=", "<"))),
    Case(6, "has newer ones", refusing(("max(ms // 1000 + 172_800, redis.expiretime(key))", "(ms // 1000 + 172_800)"))),
    Case(6, "a second old", refusing((" * 1000 <=", " <="))),
    *(Case(7, why, f"answer = {CHOSEN | {name: said}}") for name, whys in WHY_NOT.items() for said, why in whys.items()),
    Case(7, "from the table", f"answer = {CHOSEN | {'orders': 'XTRIM'}}"),
    Case(7, "Keep the dict", "answer = {'orders': 'groups'}"),
]  # fmt: skip

RIGHT += written("05", "right")
WRONG += written("05", "wrong")


# Exercise 2 asks no server.
@pytest.mark.parametrize(
    "case",
    RIGHT,
    ids=lambda case: f"{case.exercise}",
)
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(5).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(5).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("05", case, verdict), verdict


def test_what_redis_8_2_does_in_one_command_is_a_right_answer(redis):
    acked = 'redis.xtrim(stream, maxlen=0, approximate=False, ref_policy="ACKED")'
    redis.xadd("lab05:asked", {"n": 1})
    try:
        redis.xtrim("lab05:asked", maxlen=1, ref_policy="ACKED")
    except ResponseError:
        pytest.skip("this server knows no XTRIM with ACKED")
    source = function(TRIM, f"if redis.xinfo_groups(stream):\n    {acked}")
    assert open_lab(5).check(4, answer(source)).outcome == "right"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = {'XLEN after 5-0': ____}"),
        *((n, function(line, "return ____")) for n, line in enumerate([NAME, KEEP, TRIM, WRITE, REFUSE], 2)),
        (7, "answer = {'orders': ____}"),
    ],
)  # fmt: skip
def test_a_blank_is_called_blank(redis, exercise, source):
    assert open_lab(5).check(exercise, answer(source)).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("05", RIGHT, WRONG) == []


def test_each_wrong_choice_has_a_sentence_of_its_own():
    for name, whys in WHY_NOT.items():
        assert {*whys, CHOSEN[name]} == set(CHOICES)


def test_checks_leave_nothing_behind(redis):
    redis.xadd("temps:20250101", {"temp_f": 73})  # the learner's own
    right = next(case for case in RIGHT if case.exercise == 5)
    wrong = next(case for case in WRONG if case.exercise == 6)
    for case in (right, wrong):
        open_lab(5).check(case.exercise, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database", "temps:20250101"}
    assert redis.xlen("temps:20250101") == 1


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ("", []),
        ("EVALSHA", []),
        ("XADD EXPIREAT", [2]),
        ("TTL MULTI XADD EXPIREAT EXEC", [2, 5]),
        ("MULTI XADD DISCARD XADD XADD", [3, 4, 5]),
        ("XLEN " * 20, list(range(2, 2 + MOST_GAPS))),
    ],
)
def test_faults_strike_between_commands_that_change_something(names, places):
    assert gaps(names.split()) == places


@pytest.mark.parametrize("zone", ["Asia/Tokyo", None])
def test_the_time_zone_is_as_it_was_before(monkeypatch, zone):
    monkeypatch.delenv("TZ", raising=False)
    if zone:
        monkeypatch.setenv("TZ", zone)
    with far_from_utc():
        assert os.environ["TZ"] == "IST-5:30"
    assert os.environ.get("TZ") == zone
