"""Lab 06: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

from textwrap import dedent

import pytest

from helpers.checks import open_lab
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

HOUR = "def answer(entry_id, fields)"
MEANS = "def answer(entries, now)"
DAMAGE = "def answer(redis, partitions, averages)"
NEXT = "def answer(redis, key, last_id, now, grace_ms)"
PUBLISH = "def answer(redis, averages, state, fields, mean)"
COMMIT = "def answer(redis, averages, state, before, fields, mean)"
AGGREGATE = "def answer(redis, partitions, averages, state, now)"

# What an answer may build on, as a learner's exercise 1 to 3 and 6 are.
IMPORTS = """
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby
"""
HOUR_OF = (
    IMPORTS
    + """
def hour_of(entry_id, fields):
    ms = int(fields.get("at") or entry_id.split("-")[0])
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y/%m/%d}", moment.hour
"""
)


def changed(source: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return source


def hour_of(*changes: tuple[str, str]) -> str:
    return changed(HOUR_OF, ("def hour_of", "def answer"), *changes)


def after_hour_of(signature: str, body: str, *changes: tuple[str, str]) -> str:
    return HOUR_OF + function(signature, changed(body, *changes))


BY_HOUR = """
    hours = {}
    for entry_id, fields in entries:
        hours.setdefault(hour_of(entry_id, fields), []).append(int(fields["temp_f"]))
    current = hour_of(f"{now}-0", {})
    return [(*hour, sum(temps) / len(temps), len(temps)) for hour, temps in sorted(hours.items()) if hour < current]
"""
LOOKING = """
    temps = {}
    for partition in partitions:
        for entry_id, fields in redis.xrange(partition):
            temps.setdefault(hour_of(entry_id, fields), []).append(int(fields["temp_f"]))
    published = [((one["date"], int(one["hour"])), float(one["average_temp_f"]), int(one["num_observations"])) for _, one in redis.xrange(averages)]
    counts = Counter(hour for hour, _, _ in published)
    missing = {hour for hour in temps if hour not in counts}
    doubled = {hour for hour, many in counts.items() if many > 1}
    wrong = {hour for hour, mean, count in published if count != len(temps[hour]) or abs(mean - sum(temps[hour]) / count) > 0.006}
    return missing, doubled, wrong
"""
MIDNIGHT = """
    day = datetime.strptime(key[-8:], "%Y%m%d").replace(tzinfo=UTC)
    following = day + timedelta(days=1)
    if now < following.timestamp() * 1000 + grace_ms:
        return key
    if redis.xrange(key, f"({last_id}", count=1):
        return key
    return f"{key[:-8]}{following:%Y%m%d}"
"""
BOTH = """
    with redis.pipeline(transaction=True) as both:
        both.xadd(averages, mean)
        both.hset(state, mapping=fields)
        both.execute()
"""
SCRIPT = """
SCRIPT = '''
if (redis.call('HGET', KEYS[1], 'last_message_id') or '0-0') ~= ARGV[1] then return 0 end
local split = 2 + ARGV[2]
if split < #ARGV then redis.call('XADD', KEYS[2], '*', unpack(ARGV, split + 1)) end
redis.call('HSET', KEYS[1], unpack(ARGV, 3, split))
return 1
'''
def words(fields):
    return [word for pair in (fields or {}).items() for word in pair]
"""
SENDING = "return redis.eval(SCRIPT, 2, state, averages, before, len(words(fields)), *words(fields), *words(mean))"
WATCHING = """
    from redis import WatchError
    with redis.pipeline(transaction=True) as both:
        try:
            both.watch(state)
            if (both.hget(state, "last_message_id") or "0-0") != before:
                return False
            both.multi()
            both.hset(state, mapping=fields)
            if mean:
                both.xadd(averages, mean)
            both.execute()
            return True
        except WatchError:
            return False
"""
LOOK_FIRST = """
    if (redis.hget(state, "last_message_id") or "0-0") != before:
        return False
    with redis.pipeline(transaction=True) as both:
        both.hset(state, mapping=fields)
        if mean:
            both.xadd(averages, mean)
        both.execute()
    return True
"""
LOCKED = """
    import time
    while not redis.set(averages + ":lock", "mine", nx=True, px=150):
        time.sleep(0.02)
    if (redis.hget(state, "last_message_id") or "0-0") == before:
        with redis.pipeline(transaction=True) as both:
            both.hset(state, mapping=fields)
            if mean:
                both.xadd(averages, mean)
            both.execute()
    redis.delete(averages + ":lock")
"""
HELD = """
    from helpers.averages.state import Publish, State
    held = State(redis, state, [])
    held.begin({"last_message_id": "0-0"})
    if held.take_over()["last_message_id"] == before:
        held.commit(fields, [Publish(averages, mean)] if mean else [])
"""
MEAN_OF = """
def mean_of(hour, total, count):
    date, number = hour_of(f"{hour}-0", {})
    return {"date": date, "hour": number, "average_temp_f": f"{total / count:.2f}", "num_observations": count}
"""
AGGREGATING = """
    found = redis.hgetall(state)
    last = found.get("last", "0-0")
    hour, total, count = (int(found.get(name, 0)) for name in ("hour", "total", "count"))
    def store(means):
        fields = {"last": last, "hour": hour, "total": total, "count": count}
        with redis.pipeline(transaction=True) as both:
            for mean in means:
                both.xadd(averages, mean, maxlen=120, approximate=False)
            both.hset(state, mapping=fields)
            both.execute()
    for stream in partitions:
        while page := redis.xrange(stream, f"({last}", count=2):
            means = []
            for entry_id, fields in page:
                ms = int(entry_id.split("-")[0])
                begins = ms - ms % 3_600_000
                if count and begins != hour:
                    means.append(mean_of(hour, total, count))
                    total = count = 0
                hour, total, count, last = begins, total + int(fields["temp_f"]), count + 1, entry_id
            store(means)
    if count and hour + 3_600_000 <= now:
        mean = mean_of(hour, total, count)
        total = count = 0
        store([mean])
"""
STORE = AGGREGATING[AGGREGATING.index("        with redis") : AGGREGATING.index("    for stream")]


def aggregating(*changes: tuple[str, str]) -> str:
    return HOUR_OF + MEAN_OF + function(AGGREGATE, changed(AGGREGATING, *changes))


def storing(body: str) -> tuple[str, str]:
    """A change: how state and means are written."""
    return STORE, "\n".join(f"        {line}" for line in dedent(body).strip().splitlines()) + "\n"


def one_by_one(first: str, second: str) -> str:
    return aggregating(storing(f"{first}\n{second}"))


ADD = "for mean in means: redis.xadd(averages, mean, maxlen=120, approximate=False)"
SET = "redis.hset(state, mapping=fields)"

BOTH_MEANS = """
with redis.pipeline(transaction=True) as both:
    for mean in means:
        both.xadd(averages, mean, maxlen=120, approximate=False)
    both.hset(state, mapping=fields)
    both.execute()
"""

# Nothing is remembered but what is published: the hours behind the last average are read again.
STATELESS = """
    start = "-"
    for _, one in redis.xrevrange(averages, count=1):
        moment = datetime.strptime(f"{one['date']} {one['hour']}", "%Y/%m/%d %H").replace(tzinfo=UTC)
        start = str(int(moment.timestamp() + 3600) * 1000)
    hours = {}
    for stream in partitions:
        for entry_id, fields in redis.xrange(stream, start):
            ms = int(entry_id.split("-")[0])
            hours.setdefault(ms - ms % 3_600_000, []).append(int(fields["temp_f"]))
    for hour, temps in sorted(hours.items()):
        if hour + 3_600_000 <= now:
            redis.xadd(averages, mean_of(hour, sum(temps), len(temps)), maxlen=120, approximate=False)
"""
WITH_COMMIT = """
    found = redis.hgetall(state)
    last = stored = found.get("last_message_id", "0-0")
    hour, total, count = (int(found.get(name, 0)) for name in ("hour", "total", "count"))
    def store(mean=None):
        nonlocal stored
        fields = {"last_message_id": last, "hour": hour, "total": total, "count": count}
        commit(redis, averages, state, stored, fields, mean)
        stored = last
    for stream in partitions:
        while page := redis.xrange(stream, f"({last}", count=100):
            for entry_id, fields in page:
                ms = int(entry_id.split("-")[0])
                begins = ms - ms % 3_600_000
                if count and begins != hour:
                    mean, total, count = mean_of(hour, total, count), 0, 0
                    store(mean)
                hour, total, count, last = begins, total + int(fields["temp_f"]), count + 1, entry_id
            store()
    if count and hour + 3_600_000 <= now:
        mean, total, count = mean_of(hour, total, count), 0, 0
        store(mean)
    redis.xtrim(averages, maxlen=120, approximate=False)
"""
WITH_HELPERS = """
from helpers.averages.hours import Hours, Open
from helpers.averages.state import Publish, State
""" + function(AGGREGATE, """
    held = State(redis, state, ["last"])
    held.begin({"last": "0-0", "open": ""})
    found = held.take_over()
    last, parts = found["last"], [int(one) for one in found["open"].split()]
    hours = Hours(0, Open(parts[0], (parts[1], 0), (parts[2], 0), parts[3]) if parts else None)
    def store(means):
        now = hours.state
        text = "" if now.start is None else f"{now.start} {now.totals[0]} {now.counts[0]} {now.closed}"
        held.commit({"last": last, "open": text}, [Publish(averages, one.fields(), 120) for one in means])
    for stream in partitions:
        while page := redis.xrange(stream, f"({last}", count=3):
            means, _ = hours.take(page, 0, 2**60)
            last = page[-1][0]
            store(means)
    if means := hours.close(now):
        store(means)
""")  # fmt: skip

RIGHT = [
    Case(1, "", hour_of()),
    Case(1, "", "from helpers import EntryId\nfrom helpers.streams.clock import moment_of\n" + function(HOUR, """
        moment = moment_of(int(fields["at"])) if "at" in fields else EntryId.parse(entry_id).time
        return moment.strftime("%Y/%m/%d"), moment.hour
    """)),
    Case(1, "", "import time\n" + function(HOUR, """
        moment = time.gmtime(int(fields.get("at", entry_id.split("-")[0])) // 1000)
        return [time.strftime("%Y/%m/%d", moment), moment.tm_hour]
    """)),
    Case(2, "", after_hour_of(MEANS, BY_HOUR)),
    Case(2, "", after_hour_of(MEANS, """
        hours = sorted((hour_of(*entry), int(entry[1]["temp_f"])) for entry in entries)
        for hour, group in groupby(hours, lambda one: one[0]):
            temps = [temp for _, temp in group]
            begins = datetime.strptime(f"{hour[0]} {hour[1]} +0000", "%Y/%m/%d %H %z")
            if begins.timestamp() * 1000 + 3_600_000 <= now:
                yield [hour[0], hour[1], round(sum(temps) / len(temps), 2), len(temps)]
    """)),
    Case(2, "", "from helpers.averages.hours import Hours\n" + function(MEANS, """
        hours = Hours(60_000)
        come = [one for one in entries if int(one[0].split("-")[0]) <= now]
        found = hours.take(come, 0, 2**60)[0] + hours.close(now + 60_000)
        said = [one.fields() for one in found]
        return [(one["date"], int(one["hour"]), one["average_temp_f"], one["num_observations"]) for one in said]
    """)),
    Case(3, "", after_hour_of(DAMAGE, LOOKING)),
    Case(3, "", after_hour_of("async " + DAMAGE, LOOKING, (" in redis.", " in await redis."))),
    Case(3, "", after_hour_of(DAMAGE, LOOKING, ("return missing, doubled, wrong", "return list(missing), list(doubled), list(wrong)"))),
    Case(4, "", IMPORTS + function(NEXT, MIDNIGHT)),
    Case(4, "", IMPORTS + "async " + function(NEXT, MIDNIGHT.replace("if redis.", "if await redis."))),
    Case(4, "", IMPORTS + function(NEXT, changed(MIDNIGHT, ("return f", """day = following
    while day.timestamp() * 1000 + 86_400_000 + grace_ms <= now and not redis.exists(f"{key[:-8]}{day:%Y%m%d}"):
        day += timedelta(days=1)
    following = day
    return f"""), ("if redis.xrange(key, f\"({last_id}\", count=1)", "if redis.xread({key: last_id}, count=1)")))),
    Case(5, "", function(PUBLISH, BOTH)),
    Case(5, "", "async " + function(PUBLISH, BOTH.replace("with redis", "async with redis").replace("both.execute", "await both.execute"))),
    Case(5, "", SCRIPT + function(PUBLISH, SENDING.replace("before", "'0-0'"))),
    Case(5, "", function(PUBLISH, "redis.transaction(lambda both: both.hset(state, mapping=fields).xadd(averages, mean))")),
    Case(5, "", function(PUBLISH, """
        from helpers.averages.state import Publish, State
        held = State(redis, state, [])
        held.begin({})
        held.take_over()
        held.commit(fields, [Publish(averages, mean)])
    """)),
    Case(6, "", SCRIPT + function(COMMIT, SENDING)),
    Case(6, "", SCRIPT + "async " + function(COMMIT, SENDING.replace("return", "return await"))),
    Case(6, "", SCRIPT + function(COMMIT, """
        script = redis.register_script(SCRIPT)
        if not script(keys=[state, averages], args=[before, len(words(fields)), *words(fields), *words(mean)]):
            raise RuntimeError("somebody else was faster")
    """)),
    Case(6, "", function(COMMIT, WATCHING)),
    Case(6, "", function(COMMIT, changed(WATCHING, ("except WatchError:\n            return False", "finally:\n            pass")))),
    Case(6, "", function(COMMIT, """
        def change(both):
            found = both.hget(state, "last_message_id") or "0-0"
            both.multi()
            if found == before:
                both.hset(state, mapping=fields)
                if mean:
                    both.xadd(averages, mean)
        redis.transaction(change, state)
    """)),
    Case(6, "", function(COMMIT, HELD)),
    Case(7, "", aggregating()),
    Case(7, "", aggregating(("count=2)", "count=1)"))),
    Case(7, "", changed(aggregating(), ("def answer", "async def answer"), ("redis.hgetall", "await redis.hgetall"), ("redis.xrange", "await redis.xrange"), ("    def store", "    async def store"), ("with redis", "async with redis"), ("both.execute", "await both.execute"), ("            store(means)", "            await store(means)"), ("store([mean])", "await store([mean])"))),
    Case(7, "", HOUR_OF + MEAN_OF + function(AGGREGATE, STATELESS)),
    Case(7, "", HOUR_OF + MEAN_OF + SCRIPT + changed(function(COMMIT, SENDING), ("def answer", "def commit")) + function(AGGREGATE, WITH_COMMIT)),
    Case(7, "", HOUR_OF + MEAN_OF + changed(function(COMMIT, WATCHING), ("def answer", "def commit")) + function(AGGREGATE, WITH_COMMIT)),
    Case(7, "", WITH_HELPERS),
]  # fmt: skip

ADD_MEAN = "redis.xadd(averages, mean)"
SET_FIELDS = "redis.hset(state, mapping=fields)"
NOT_ATOMIC = """
    if (redis.hget(state, "last_message_id") or "0-0") == before:
        if mean:
            redis.xadd(averages, mean)
        redis.hset(state, mapping=fields)
"""

WRONG = [
    Case(1, "comes every day, and two", hour_of(('return f"{moment:%Y/%m/%d}", moment.hour', "return moment.hour"))),
    Case(1, "comes every day, and two", function(HOUR, 'return int(entry_id.split("-")[0]) // 3_600_000')),
    Case(1, "local time", hour_of((", UTC)", ")"))),
    Case(1, "That's the minute", hour_of(("moment.hour", "moment.minute"))),
    Case(1, "takes seconds", hour_of(("ms / 1000", "ms"))),
    Case(1, "the field `at`", hour_of(('fields.get("at") or ', ""))),
    Case(1, "is a number", hour_of(("moment.hour", "str(moment.hour)"))),
    Case(1, "the date as the averages", hour_of(("%Y/%m/%d", "%Y-%m-%d"))),
    Case(1, "3,600,000", hour_of(("moment.hour", "ms // 60_000"))),
    Case(2, "of a later hour shows", after_hour_of(MEANS, BY_HOUR, ("if hour < current]", "][:-1]"))),
    Case(2, "isn't over", after_hour_of(MEANS, BY_HOUR, (" if hour < current", ""))),
    Case(2, "compare the date too", after_hour_of(MEANS, """
        hours = {}
        for entry_id, fields in entries:
            date, hour = hour_of(entry_id, fields)
            hours.setdefault(hour, []).append((date, int(fields["temp_f"])))
        for hour, found in hours.items():
            temps = [temp for _, temp in found]
            if (found[0][0], hour) < hour_of(f"{now}-0", {}):
                yield found[0][0], hour, sum(temps) / len(temps), len(temps)
    """)),
    Case(2, "came late", after_hour_of(MEANS, """
        before, temps, found = None, [], []
        for entry_id, fields in [*entries, (f"{now}-0", {"temp_f": "0"})]:
            hour = hour_of(entry_id, fields)
            if before and hour != before:
                found.append((*before, sum(temps) / len(temps), len(temps)))
                temps = []
            before = hour
            temps.append(int(fields["temp_f"]))
        return found
    """)),
    Case(2, "divide with `/`", after_hour_of(MEANS, BY_HOUR, ("sum(temps) / ", "sum(temps) // "))),
    Case(2, "time in its field `at`", after_hour_of(MEANS, BY_HOUR, ("hour_of(entry_id, fields)", "hour_of(entry_id, {})"))),
    Case(2, "Return the hours in chronological", after_hour_of(MEANS, BY_HOUR, ("in sorted(hours.items())", "in sorted(hours.items(), reverse=True)"))),
    Case(2, "Return the hours in chronological", after_hour_of(MEANS, BY_HOUR, ("in sorted(hours.items())", "in hours.items()"))),
    Case(2, "Values in a stream are strings", after_hour_of(MEANS, BY_HOUR, ('int(fields["temp_f"])', 'fields["temp_f"]'))),
    Case(2, "there is no hour", after_hour_of(MEANS, "    if not entries: return None" + BY_HOUR)),
    Case(3, "rounding", after_hour_of(DAMAGE, LOOKING, ("> 0.006", "> 0"))),
    Case(3, "rounding", after_hour_of(DAMAGE, LOOKING, ("abs(mean - sum(temps[hour]) / count) > 0.006", "str(mean) != str(sum(temps[hour]) / count)"))),
    Case(3, "compare `num_observations`", after_hour_of(DAMAGE, LOOKING, ("count != len(temps[hour]) or ", ""), ("sum(temps[hour]) / count", "sum(temps[hour]) / len(temps[hour])"))),
    Case(3, "40 is not the mean", after_hour_of(DAMAGE, LOOKING, (" or abs(mean - sum(temps[hour]) / count) > 0.006", ""))),
    Case(3, "look at every average", after_hour_of(DAMAGE, LOOKING, ("    wrong = ", "    published = [(hour, *rest) for hour, rest in {one[0]: one[1:] for one in published}.items()]\n    wrong = "))),
    Case(3, "An hour that was published", after_hour_of(DAMAGE, LOOKING, ("Counter(hour for", "Counter(hour for hour in {hour for"), ("in published)", "in published})"))),
    Case(3, "compare date and hour", after_hour_of(DAMAGE, LOOKING, ("if hour not in counts", "if hour[1] not in {number for _, number in counts}"))),
    Case(3, "`hour` is a string", after_hour_of(DAMAGE, LOOKING, ('(one["date"], int(one["hour"]))', '(one["date"], one["hour"])'), ("    wrong =", "    return missing, doubled, set()\n    wrong ="))),
    Case(3, "on both days", after_hour_of(DAMAGE, LOOKING, ("doubled = {hour for hour, many in counts.items() if many > 1}", "numbers = Counter(hour[1] for hour in counts.elements()); doubled = {hour for hour in counts if numbers[hour[1]] > 1}"))),
    Case(3, "Return three sets", after_hour_of(DAMAGE, LOOKING, ("return missing, doubled, wrong", "return missing | doubled | wrong"))),
    Case(4, "the day isn't over", IMPORTS + function(NEXT, changed(MIDNIGHT, ("if now < following.timestamp() * 1000 + grace_ms", "if not redis.exists(f'{key[:-8]}{following:%Y%m%d}')")))),
    Case(4, "waits forever", IMPORTS + function(NEXT, changed(MIDNIGHT, ("    return f", "    if not redis.exists(f'{key[:-8]}{following:%Y%m%d}'):\n        return key\n    return f")))),
    Case(4, "Look at `now`", IMPORTS + function(NEXT, changed(MIDNIGHT, ("if now < following.timestamp() * 1000 + grace_ms", "if False")))),
    Case(4, "and use midnight in UTC", IMPORTS + function(NEXT, changed(MIDNIGHT, (".replace(tzinfo=UTC)", "")))),
    Case(4, "after `last_id`", IMPORTS + function(NEXT, changed(MIDNIGHT, ('if redis.xrange(key, f"({last_id}", count=1)', "if False")))),
    Case(4, "after `last_id`", IMPORTS + function(NEXT, changed(MIDNIGHT, ('redis.xrange(key, f"({last_id}", count=1)', "redis.xread({key: '$'}, block=10)")))),
    Case(4, "late readings", IMPORTS + function(NEXT, changed(MIDNIGHT, (" + grace_ms", "")))),
    Case(4, "no such day", IMPORTS + function(NEXT, changed(MIDNIGHT, ("{following:%Y%m%d}", "{int(key[-8:]) + 1}")))),
    Case(4, "what comes before the date", IMPORTS + function(NEXT, changed(MIDNIGHT, ("{key[:-8]}", "temps:")))),
    Case(4, "takes seconds", IMPORTS + function(NEXT, changed(MIDNIGHT, ("if now <", "if datetime.fromtimestamp(now, UTC) < following or now <")))),
    Case(4, "no partition at all", IMPORTS + function(NEXT, changed(MIDNIGHT, ('redis.xrange(key, f"({last_id}", count=1)', "redis.xinfo_stream(key)['last-generated-id'] != last_id")))),
    Case(4, "over: nothing is left to", IMPORTS + function(NEXT, changed(MIDNIGHT, ('if redis.xrange(key, f"({last_id}", count=1)', 'if not redis.exists(key) or redis.xrange(key, f"({last_id}", count=1)')))),
    Case(4, "has just begun", IMPORTS + function(NEXT, changed(MIDNIGHT, ("    return f", """    while following.timestamp() * 1000 < now and not redis.exists(f'{key[:-8]}{following:%Y%m%d}'):
        following += timedelta(days=1)
    if not redis.exists(f'{key[:-8]}{following:%Y%m%d}'):
        return key
    return f""")))),
    Case(4, "no partition yet", IMPORTS + function(NEXT, changed(MIDNIGHT, ("if now <", "if redis.exists(key) and now <")))),
    Case(4, "go on to the next day", function(NEXT, "return key")),
    Case(4, "Look once", IMPORTS + function(NEXT, changed(MIDNIGHT, ("if now <", "while now <"), ("        return key\n    if redis", "        pass\n    if redis")))),
    Case(5, "publishes the hour again", function(PUBLISH, f"{ADD_MEAN}; {SET_FIELDS}")),
    Case(5, "the hour is lost", function(PUBLISH, f"{SET_FIELDS}; {ADD_MEAN}")),
    Case(5, "still two steps", function(PUBLISH, changed(BOTH, ("transaction=True", "transaction=False")))),
    Case(5, "Two transactions", function(PUBLISH, changed(BOTH, ("        both.hset", "        both.execute()\n        both.hset")))),
    Case(5, "Half of the state", function(PUBLISH, f"for name, value in fields.items(): redis.hset(state, name, value)\n{ADD_MEAN}")),
    Case(5, "Publish `mean`", function(PUBLISH, SET_FIELDS)),
    Case(5, "Store all of `fields`", function(PUBLISH, changed(BOTH, ("mapping=fields", "'last_message_id', fields['last_message_id']")))),
    Case(5, "more than once", function(PUBLISH, changed(BOTH, ("        both.hset", "        both.xadd(averages, mean)\n        both.hset")))),
    Case(5, "`mean` as it is", function(PUBLISH, changed(BOTH, ("xadd(averages, mean)", "xadd(averages, {'mean': str(mean)})")))),
    Case(5, "XADD, and store the fields", "import json\n" + function(PUBLISH, changed(BOTH, ("hset(state, mapping=fields)", "set(state, json.dumps(fields))")))),
    Case(5, "Leave the other fields", function(PUBLISH, changed(BOTH, ("        both.hset", "        both.delete(state)\n        both.hset")))),
    Case(5, "An `await` is missing", "async " + function(PUBLISH, f"await {ADD_MEAN}; {SET_FIELDS}")),
    Case(6, "only the reply was lost", function(COMMIT, changed(LOOK_FIRST, ('if (redis.hget(state, "last_message_id") or "0-0") != before', "if False")))),
    Case(6, "had compared before", function(COMMIT, LOOK_FIRST)),
    Case(6, "had compared before", SCRIPT.replace("~= ARGV[1] then", "== 'x' then") + function(COMMIT, f"""
        if (redis.hget(state, "last_message_id") or "0-0") == before:
            {SENDING}
    """)),
    Case(6, "Watch the state", function(COMMIT, changed(WATCHING, ("both.watch(state)", "both.watch(averages)")))),
    Case(6, "before you read it", function(COMMIT, changed(WATCHING, ("            both.watch(state)\n", ""), ("both.hget(", "redis.hget("), ("            both.multi()", "            both.watch(state)\n            both.multi()")))),
    Case(6, "publishes the hour again", function(COMMIT, NOT_ATOMIC)),
    Case(6, "the hour is lost", function(COMMIT, changed(NOT_ATOMIC, ("        redis.hset(state, mapping=fields)\n", ""), ("        if mean", "        redis.hset(state, mapping=fields)\n        if mean")))),
    Case(6, "While it was paused, its", function(COMMIT, LOCKED)),
    Case(6, "may be dead or paused", function(COMMIT, changed(LOCKED, (", px=150", "")))),
    Case(6, "may be dead or paused", function(COMMIT, changed(LOCKED, ("while not redis.set", "if not redis.set"), ("time.sleep(0.02)", "return"), ("px=150", "px=30_000")))),
    Case(6, "is None if no hour", function(COMMIT, changed(WATCHING, ("            if mean:\n    ", "")))),
    Case(6, "counts as `0-0`", function(COMMIT, changed(WATCHING, (' or "0-0")', ")")))),
    Case(6, "compare even if there", function(COMMIT, changed(WATCHING, ('(both.hget(state, "last_message_id") or "0-0")', '(both.hget(state, "last_message_id") or before)')))),
    Case(6, "had compared before", function(COMMIT, """
        if redis.hget(state, "last_message_id") == fields["last_message_id"]:
            return
        with redis.pipeline(transaction=True) as both:
            both.hset(state, mapping=fields)
            if mean:
                both.xadd(averages, mean)
            both.execute()
    """)),
    Case(7, "was killed after it had", one_by_one(ADD, SET)),
    Case(7, "It had stored how far", one_by_one(SET, ADD)),
    Case(7, "It had stored how far", aggregating(("            means = []\n            for", '            redis.hset(state, "last", page[-1][0])\n            means = []\n            for'))),
    Case(7, "The second call started over", aggregating(('found.get("last", "0-0")', '"0-0"'), ("int(found.get(name, 0)) for", "0 for"))),
    Case(7, "middle of 8 o'clock", aggregating(('"total": total, ', ""))),
    Case(7, "middle of 8 o'clock", aggregating((', "count": count}', ', "count": min(count, 1)}'))),
    Case(7, "The last hour is missing", aggregating(("if count and hour + 3_600_000 <= now", "if False"))),
    Case(7, "over, and more of its", aggregating(("if count and hour + 3_600_000 <= now", "if count"))),
    Case(7, "Keep five days of hours", aggregating((", approximate=False", ""))),
    Case(7, "compare the date too", aggregating(("begins = ms - ms % 3_600_000", "begins = ms - ms % 3_600_000\n                begins = hour if count and (begins - hour) % 86_400_000 == 0 else begins"))),
    Case(7, "divide with `/`", aggregating().replace("{total / count:.2f}", "{total // count}")),
    Case(7, "Round the mean", aggregating().replace("{total / count:.2f}", "{total / count}")),
    Case(7, "Not all readings count for", aggregating(("total = count = 0\n                hour", "total, count = 0, 1\n                hour"))),
    Case(7, "It had stored how far", aggregating(storing("redis.hset(state, 'last', last)" + BOTH_MEANS))),
    Case(7, "An hour was published twice", aggregating(("            store(means)", "            store([*means, mean_of(hour, total, count)])\n            total = count = 0"))),
    Case(7, "Read all partitions", aggregating(("            store(means)", "            pass"), ("        store([mean])", "        pass"))),
    Case(7, "nothing more to read", aggregating(("while page := redis.xrange(stream, f\"({last}\", count=2)", "while page := redis.xread({stream: last}, count=2, block=0).get(stream)"))),
    Case(7, "counted twice", aggregating(storing("redis.hset(state, mapping=fields | {'last': redis.hget(state, 'last') or '0-0'})" + BOTH_MEANS))),
]  # fmt: skip

RIGHT += written("06", "right")
WRONG += written("06", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(6).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(6).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("06", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "line"),
    list(enumerate([HOUR, MEANS, DAMAGE, NEXT, PUBLISH, COMMIT, AGGREGATE], 1)),
)
def test_a_blank_is_called_blank(redis, exercise, line):
    assert open_lab(6).check(exercise, answer(function(line, "return ____"))).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("06", RIGHT, WRONG) == []


def test_checks_leave_nothing_behind(redis):
    redis.xadd("temps:21000101", {"temp_f": 70})
    for case in (RIGHT[-1], next(case for case in WRONG if case.exercise == 6)):
        open_lab(6).check(case.exercise, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database", "temps:21000101"}
