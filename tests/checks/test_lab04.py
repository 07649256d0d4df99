"""Lab 04: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from helpers.checks import open_lab
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

PREDICTIONS = {
    "XACK 1-0 once more": 0,
    "XLEN": 4,
    "entries for alice with 0": 1,
    "deliveries of 2-0": 2,
    "deliveries of 3-0": 2,
    "pending for bob": 1,
    "entries for bob with >": 1,
    "XACK 3-0, sent by bob": 1,
}
STUCK = "def answer(redis, stream, group, idle_ms)"
WORK = "def answer(redis, stream, group, name, handle)"
TAKE = "def answer(redis, stream, group, name, idle_ms, handle)"
ASIDE = "def answer(redis, stream, group, name, dead, most, handle)"
COUNT = "def answer(redis, stream, group, name, totals)"
REMOVE = "def answer(redis, stream, group, name)"


def stuck(
    first: str = "'-'", following: str = "'(' + page[-1]['message_id']", idle: str = "idle_ms"
) -> str:
    return function(STUCK, f"""
        found, start = [], {first}
        while page := redis.xpending_range(stream, group, start, "+", 200, idle={idle}):
            found += [(one["message_id"], one["consumer"]) for one in page]
            start = {following}
        return found
    """)  # fmt: skip


def working(body: str, count: str = "count=10") -> str:
    return function(WORK, f"""
        while reply := redis.xreadgroup(group, name, {{stream: ">"}}, {count}):
            for entry_id, fields in reply[stream]:
                {body}
    """)  # fmt: skip


RESTART = """
    for place in ("0", ">"):
        while entries := redis.xreadgroup(group, name, {stream: place}, count=1).get(stream):
            entry_id, fields = entries[0]
            if fields:
                handle(fields)
            redis.xack(stream, group, entry_id)
"""
TAKING = """
    cursor = None
    while cursor != "0-0":
        cursor, entries, _ = redis.xautoclaim(stream, group, name, idle_ms, cursor or "0-0", count=10)
        for entry_id, fields in entries:
            handle(fields)
            redis.xack(stream, group, entry_id)
"""
BURY = """
    with redis.pipeline(transaction=True) as both:
        both.xadd(dead, {"id": entry_id, **fields})
        both.xack(stream, group, entry_id)
        both.execute()
"""
PUTTING = """
    for place in ("0", ">"):
        last = place
        while entries := redis.xreadgroup(group, name, {stream: last}, count=1).get(stream):
            entry_id, fields = entries[0]
            if place == "0":
                last = entry_id
            [note] = redis.xpending_range(stream, group, entry_id, entry_id, 1)
            if note["times_delivered"] > most:
                BURY
                continue
            try:
                handle(fields)
            except Exception:
                continue
            redis.xack(stream, group, entry_id)
"""


def putting(bury: str = BURY, *changes: tuple[str, str]) -> str:
    body = PUTTING
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    indented = dedent(bury).strip().replace("\n", "\n                ")
    return function(ASIDE, body.replace("BURY", indented))


def counting(effect: str, before: str = "") -> str:
    return f"{before}\n" + function(COUNT, f"""
        for place in ("0", ">"):
            while entries := redis.xreadgroup(group, name, {{stream: place}}, count=1).get(stream):
                entry_id, fields = entries[0]
                {effect}
    """)  # fmt: skip


def script(lua: str) -> str:
    return counting(
        'redis.eval(SCRIPT, 2, stream, totals, group, entry_id, fields["city"], fields["mm"])',
        f'SCRIPT = """{lua}"""',
    )


def in_multi(*lines: str) -> str:
    return (
        "with redis.pipeline(transaction=True) as both: "
        + "; ".join(f"both.{line}" for line in lines)
        + "; both.execute()"
    )


def awaited(source: str) -> str:
    """The same with an asyncio client."""
    source = source.replace("def answer", "async def answer")
    source = re.sub(r"(redis\.xreadgroup\(.*?\))\.get", r"(await \1).get", source)
    return re.sub(
        r"(?<!await )(redis\.(xack|xpending_range|xautoclaim|eval)\()", r"await \1", source
    )


ADD = 'hincrby(totals, fields["city"], fields["mm"])'
ACK = "xack(stream, group, entry_id)"
RIGHT_SCRIPT = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('HINCRBY', KEYS[2], ARGV[3], ARGV[4])
end
"""
REMOVE_SCRIPT = """
SCRIPT = '''
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
'''
"""

RIGHT = [
    Case(1, "", f"answer = {PREDICTIONS}"),
    Case(2, "", stuck()),
    Case(2, "", "from helpers import Group\n" + function(STUCK, """
        return [(str(one.id), one.consumer) for one in Group(redis, stream, group).pending(min_idle_ms=idle_ms)]
    """)),
    Case(2, "", "async " + function(STUCK, """
        count = (await redis.xpending(stream, group))["pending"]
        page = await redis.xpending_range(stream, group, "-", "+", count)
        return [(one["message_id"], one["consumer"]) for one in page if one["time_since_delivered"] >= idle_ms]
    """)),
    Case(3, "", working("handle(fields); redis.xack(stream, group, entry_id)")),
    Case(3, "", working("handle(fields); redis.xack(stream, group, entry_id)", "count=1, block=50")),
    Case(3, "", working("""
                try:
                    handle(fields)
                except Exception as error:
                    print(error)
                else:
                    redis.xack(stream, group, entry_id)
    """.strip())),
    Case(3, "", "async " + function(WORK, """
        while reply := await redis.xreadgroup(group, name, {stream: ">"}, count=10):
            for entry_id, fields in reply[stream]:
                handle(fields)
                await redis.xack(stream, group, entry_id)
    """)),
    Case(3, "", function(WORK, RESTART)),
    Case(4, "", function(WORK, RESTART)),
    Case(4, "", function(WORK, """
        last = "0"
        while last:
            place = ">" if last == ">" else last
            entries = redis.xreadgroup(group, name, {stream: place}, count=1).get(stream)
            if not entries:
                last = "" if place == ">" else ">"
                continue
            for entry_id, fields in entries:
                if fields:
                    handle(fields)
                redis.xack(stream, group, entry_id)
                last = last if last == ">" else entry_id
    """)),
    Case(4, "", function(WORK, """
        for one in redis.xpending_range(stream, group, "-", "+", 1000, consumername=name):
            for entry_id, fields in redis.xclaim(stream, group, name, 0, [one["message_id"]]):
                handle(fields)
            redis.xack(stream, group, one["message_id"])
        while reply := redis.xreadgroup(group, name, {stream: ">"}, count=10):
            for entry_id, fields in reply[stream]:
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(4, "", "from helpers import Consumer\n" + function(WORK, """
        Consumer(redis, stream, group, lambda entry: handle(entry.fields), name=name).run(drain=True)
    """)),
    Case(4, "", "from helpers import AsyncConsumer\nasync " + function(WORK, """
        await AsyncConsumer(redis, stream, group, lambda entry: handle(entry.fields), name=name).run(drain=True)
    """)),
    Case(5, "", function(TAKE, TAKING)),
    Case(5, "", awaited(function(TAKE, TAKING))),
    Case(5, "", function(TAKE, """
        for start in iter(lambda: redis.xpending_range(stream, group, "-", "+", 500, idle=idle_ms), []):
            for one in start:
                for entry_id, fields in redis.xclaim(stream, group, name, idle_ms, [one["message_id"]]):
                    handle(fields)
                    redis.xack(stream, group, entry_id)
    """)),
    Case(5, "", "from helpers import Consumer\n" + function(TAKE, """
        Consumer(redis, stream, group, lambda entry: handle(entry.fields), name=name, min_idle_ms=idle_ms).run(drain=True)
    """)),
    Case(6, "", putting()),
    Case(6, "", awaited(putting()).replace("both.execute()", "await both.execute()").replace("with redis", "async with redis")),
    Case(6, "", putting("redis.eval(SCRIPT, 2, stream, dead, group, entry_id, *sum(fields.items(), ()))").replace("def answer", """
SCRIPT = '''
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('XADD', KEYS[2], '*', 'id', ARGV[2], unpack(ARGV, 3))
end
'''
def answer""", 1)),
    Case(6, "", putting(BURY, ("            except Exception:\n                continue\n", """\
            except Exception:
                if note["times_delivered"] == most:
                    redis.pipeline().xadd(dead, {"id": entry_id, **fields}).xack(stream, group, entry_id).execute()
                continue
"""))),
    Case(6, "", "from helpers import Consumer\n" + function(ASIDE, """
        consumer = Consumer(
            redis, stream, group, lambda entry: handle(entry.fields), name=name,
            max_deliveries=most, dead_letters=dead,
        )
        consumer.run(drain=True)
    """)),
    Case(7, "", script(RIGHT_SCRIPT)),
    Case(7, "", awaited(script(RIGHT_SCRIPT))),
    Case(7, "", script(RIGHT_SCRIPT).replace('redis.eval(SCRIPT, 2, stream, totals, group, entry_id, fields["city"], fields["mm"])', 'redis.register_script(SCRIPT)(keys=[stream, totals], args=[group, entry_id, fields["city"], fields["mm"]])')),
    Case(7, "", script("""
if redis.call('SADD', KEYS[2] .. ':seen', ARGV[2]) == 1 then
  redis.call('HINCRBY', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
""")),
    Case(7, "", "from helpers import Consumer\n" + function(COUNT, """
        def effect(entry):
            return ("HINCRBY", totals, entry.fields["city"], entry.fields["mm"])
        Consumer(redis, stream, group, effect, name=name).run(drain=True)
    """)),
    Case(7, "", "from redis import WatchError\n" + function(COUNT, """
        for place in ("0", ">"):
            while entries := redis.xreadgroup(group, name, {stream: place}, count=1).get(stream):
                entry_id, fields = entries[0]
                with redis.pipeline(transaction=True) as both:
                    while True:
                        try:
                            both.watch(totals)
                            if both.xpending_range(stream, group, entry_id, entry_id, 1):
                                both.multi()
                                both.hincrby(totals, fields["city"], fields["mm"])
                                both.xack(stream, group, entry_id)
                                both.execute()
                            break
                        except WatchError:
                            continue
    """)),
    Case(8, "", REMOVE_SCRIPT + function(REMOVE, "return redis.eval(SCRIPT, 1, stream, group, name) == 1")),
    Case(8, "", "from helpers import Group\nfrom helpers.streams.errors import StreamsError\n" + function(REMOVE, """
        try:
            return Group(redis, stream, group).remove_consumer(name)
        except StreamsError:
            return False
    """)),
    Case(8, "", REMOVE_SCRIPT + "async " + function(REMOVE, "return await redis.eval(SCRIPT, 1, stream, group, name) == 1")),
]  # fmt: skip

WRONG = [
    Case(1, "and returns 0", f"answer = {PREDICTIONS | {'XACK 1-0 once more': 1}}"),
    Case(1, "deletes nothing", f"answer = {PREDICTIONS | {'XLEN': 3}}"),
    Case(1, "no longer is", f"answer = {PREDICTIONS | {'entries for alice with 0': 2}}"),
    Case(1, "both count", f"answer = {PREDICTIONS | {'deliveries of 2-0': 1}}"),
    Case(1, "a claim is a delivery", f"answer = {PREDICTIONS | {'deliveries of 3-0': 1}}"),
    Case(1, "still in bob's list", f"answer = {PREDICTIONS | {'pending for bob': 0}}"),
    Case(1, "hasn't delivered to anyone", f"answer = {PREDICTIONS | {'entries for bob with >': 2}}"),
    Case(1, "doesn't check whose", f"answer = {PREDICTIONS | {'XACK 3-0, sent by bob': 0}}"),
    Case(1, "Keep the dict", "answer = {'XLEN': 4}"),
    Case(2, "list of pairs", function(STUCK, "return redis.xpending(stream, group)")),
    Case(2, "list of pairs", function(STUCK, "return [one['message_id'] for one in redis.xpending_range(stream, group, '-', '+', 5000, idle=idle_ms)]")),
    Case(2, "page after page", function(STUCK, "return [(one['message_id'], one['consumer']) for one in redis.xpending_range(stream, group, '-', '+', 10, idle=idle_ms)]")),
    Case(2, "page after page", function(STUCK, "return [(one['message_id'], one['consumer']) for one in redis.xpending_range(stream, group, '-', '+', 1000, idle=idle_ms)]")),
    Case(2, "40 seconds ago", stuck(idle="None")),
    Case(2, "You sent IDLE 600.", stuck(idle="idle_ms // 1000")),
    Case(2, "in milliseconds", stuck(idle="idle_ms * 1000")),
    Case(2, "came twice", stuck(following="page[-1]['message_id'] if len(page) > 1 else '(' + page[0]['message_id']")),
    Case(2, "Only look", function(STUCK, "return [(entry_id, 'alice') for entry_id, _ in redis.xreadgroup(group, 'alice', {stream: '0'})[stream]]")),
    Case(2, "Only look", function(STUCK, "return [(entry_id, 'me') for entry_id in redis.xautoclaim(stream, group, 'me', idle_ms, count=5000, justid=True)]")),
    Case(2, "then the name", stuck().replace('(one["message_id"], one["consumer"])', '(one["consumer"], one["message_id"])')),
    Case(3, "XACK before the work", working("redis.xack(stream, group, entry_id); handle(fields)")),
    Case(3, "XACK before the work", function(WORK, """
        while reply := redis.xreadgroup(group, name, {stream: ">"}, count=10):
            redis.xack(stream, group, *[entry_id for entry_id, _ in reply[stream]])
            for _, fields in reply[stream]:
                handle(fields)
    """)),
    Case(3, "no XACK was sent", working("handle(fields)")),
    Case(3, "in a group that doesn't exist", working("handle(fields); redis.xack(group, stream, entry_id)")),
    Case(3, "With NOACK", working("handle(fields)", "noack=True")),
    Case(3, "after each entry, not after the batch", function(WORK, """
        while reply := redis.xreadgroup(group, name, {stream: ">"}, count=10):
            for _, fields in reply[stream]:
                handle(fields)
            redis.xack(stream, group, *[entry_id for entry_id, _ in reply[stream]])
    """)),
    Case(3, "still the entry was acknowledged", working("""
                try:
                    handle(fields)
                finally:
                    redis.xack(stream, group, entry_id)
    """.strip())),
    Case(3, "still the entry was acknowledged", working("""
                try:
                    handle(fields)
                except Exception as error:
                    print(error)
                redis.xack(stream, group, entry_id)
    """.strip())),
    Case(3, "only the fields", working("handle((entry_id, fields)); redis.xack(stream, group, entry_id)")),
    Case(3, "Read what is new", function(WORK, "redis.xreadgroup(group, name, {stream: '0'})")),
    Case(3, "It ended while there was something new", working("handle(fields); redis.xack(stream, group, entry_id)", "count=2").replace("while reply :=", "if reply :=")),
    Case(3, "still waits", working("handle(fields); redis.xack(stream, group, entry_id)", "block=0")),
    Case(3, "Leave the stream and its group", working("handle(fields); redis.delete(stream)").replace("while reply :=", "if reply :=")),
    Case(3, "An `await` is missing", "async " + working("handle(fields)")),
    Case(3, "neither done nor pending", """
calls = []
""" + working("""
                calls.append(entry_id)
                if len(calls) == 1:
                    handle(fields); redis.xack(stream, group, entry_id)
                else:
                    redis.xack(stream, group, entry_id); handle(fields)
    """.strip())),
    Case(4, "`>` returns only", working("handle(fields); redis.xack(stream, group, entry_id)")),
    Case(4, "go on with what is new", function(WORK, RESTART.replace('("0", ">")', '("0",)'))),
    Case(4, "The same entry again", function(WORK, RESTART.replace("            redis.xack(stream, group, entry_id)\n", ""))),
    Case(4, "one by one", function(WORK, RESTART.replace("count=1", "count=10").replace("entry_id, fields = entries[0]", "for entry_id, fields in entries:").replace("            if fields:\n                handle(fields)\n            redis", "                if fields:\n                    handle(fields)\n                redis"))),
    Case(4, "New entries came first", function(WORK, RESTART.replace('("0", ">")', '(">", "0")'))),
    Case(4, "without fields", function(WORK, RESTART.replace("            if fields:\n                handle", "            handle"))),
    Case(4, "comes back until it is acknowledged", function(WORK, RESTART.replace("            redis.xack", "                redis.xack"))),
    Case(4, "An entry that was deleted is still pending", function(WORK, """
        last = "0"
        while entries := redis.xreadgroup(group, name, {stream: last}, count=1).get(stream):
            last, fields = entries[0]
            if fields:
                handle(fields)
                redis.xack(stream, group, last)
        while entries := redis.xreadgroup(group, name, {stream: ">"}, count=1).get(stream):
            handle(entries[0][1])
            redis.xack(stream, group, entries[0][0])
    """)),
    Case(4, "It died in the middle", function(WORK, RESTART.replace("            if fields", "            redis.xack(stream, group, entry_id)\n            if fields"))),
    Case(4, "take only your own", "from helpers import Consumer\n" + function(WORK, """
        Consumer(redis, stream, group, lambda entry: handle(entry.fields), name=name, min_idle_ms=1).run(drain=True)
    """)),
    Case(4, "until that is empty too", function(WORK, """
        for place in ("0", "0", ">"):
            for entry_id, fields in redis.xreadgroup(group, name, {stream: place}, count=1).get(stream, []):
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(4, "with `0`, until it is empty", function(WORK, RESTART.replace("while entries :=", "if entries :="))),
    Case(5, "Carol is alive", function(TAKE, TAKING.replace("idle_ms, cursor", "0, cursor"))),
    Case(5, "Carol is alive", function(TAKE, TAKING.replace("idle_ms, cursor", "idle_ms // 1000, cursor"))),
    Case(5, "Carol is alive", function(TAKE, """
        for one in redis.xpending_range(stream, group, "-", "+", 5000):
            for entry_id, fields in redis.xclaim(stream, group, name, 0, [one["message_id"]]):
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(5, "only the cursor says so", function(TAKE, TAKING.replace("while", "if"))),
    Case(5, "only the cursor says so", function(TAKE, """
        while entries := redis.xautoclaim(stream, group, name, idle_ms)[1]:
            for entry_id, fields in entries:
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(5, "only the cursor says so", function(TAKE, TAKING.replace("count=10", "count=1000").replace("while cursor", "for _ in range(1) if cursor").replace("for _ in range(1) if cursor != \"0-0\":", "for _ in range(1):"))),
    Case(5, "`>` and `0` don't return", working("handle(fields); redis.xack(stream, group, entry_id)").replace("name, handle)", "name, idle_ms, handle)")),
    Case(5, "drops what is pending for bob", function(TAKE, "redis.xgroup_delconsumer(stream, group, 'bob')")),
    Case(5, "no XACK was sent", function(TAKE, TAKING.replace("            redis.xack(stream, group, entry_id)\n", ""))),
    Case(5, "continue at the cursor of each reply", function(TAKE, TAKING.replace('cursor or "0-0"', '"0-0"'))),  # carol's fresh ones are in front
    Case(5, "continue at the cursor of each reply", function(TAKE, TAKING.replace('cursor != "0-0"', "cursor or cursor is None"))),
    Case(6, "in one step: MULTI", putting('redis.xadd(dead, {"id": entry_id, **fields})\nredis.xack(stream, group, entry_id)')),
    Case(6, "it is lost", putting('redis.xack(stream, group, entry_id)\nredis.xadd(dead, {"id": entry_id, **fields})')),
    Case(6, "Too early", putting(BURY, ("> most", ">= most"))),
    Case(6, "Too early", putting(BURY, ("> most", "> 1"))),
    Case(6, "Too late", putting(BURY, ("> most", "> most + 1"))),
    Case(6, "A count in a variable", putting(BURY, ("    for place", "    seen = {}\n    for place"), ('[note] = redis.xpending_range(stream, group, entry_id, entry_id, 1)', "seen[entry_id] = seen.get(entry_id, 0) + 1"), ('note["times_delivered"]', "seen[entry_id]"))),
    Case(6, "it is lost", putting(BURY, ("                continue\n            redis.xack", "                pass\n            redis.xack"))),
    Case(6, "that ended everything", putting(BURY, ("            try:\n                handle(fields)\n            except Exception:\n                continue\n", "            handle(fields)\n"))),
    Case(6, "It never ends", putting(BURY, ('if place == "0":\n                last = entry_id', 'pass'), ('note["times_delivered"] > most', 'note["times_delivered"] > most * 10**9'))),
    Case(6, "Keep the entry's fields", putting(BURY.replace(", **fields", ""))),
    Case(6, "Which entry was it", putting(BURY.replace('{"id": entry_id, **fields}', "fields"))),
    Case(6, "never handed", putting(BURY, ('("0", ">")', '("0",)'))),
    Case(6, "Healthy entries were put aside", putting(BURY, ("count=1", "count=100"), ("            entry_id, fields = entries[0]\n", "            for entry_id, fields in entries:\n"), ('            if place == "0":\n                last = entry_id\n', '                last = entry_id if place == "0" else last\n'), ("            [note] =", "                [note] ="), ('            if note["times_delivered"] > most:\n                BURY\n                continue\n', '                if note["times_delivered"] > most:\n                    redis.pipeline().xadd(dead, {"id": entry_id, **fields}).xack(stream, group, entry_id).execute()\n                    continue\n'), ("            try:\n                handle(fields)\n            except Exception:\n                continue\n            redis.xack", "                try:\n                    handle(fields)\n                except Exception:\n                    continue\n                redis.xack"))),
    Case(7, "before it acknowledged the entry", counting(f"redis.{ADD}; redis.{ACK}")),
    Case(7, "acknowledged, or marked", counting(f"redis.{ACK}; redis.{ADD}")),
    Case(7, "acknowledged, or marked", counting(f"redis.{ACK} and redis.{ADD}")),
    Case(7, "MULTI doesn't check", counting(in_multi(ADD, ACK))),
    Case(7, "acknowledged, or marked", counting(f"redis.set(f'{{totals}}:{{entry_id}}', 1, nx=True) and redis.{ADD}; redis.{ACK}")),
    Case(7, "before it acknowledged the entry", counting(f"redis.get(f'{{totals}}:{{entry_id}}') or (redis.{ADD}, redis.set(f'{{totals}}:{{entry_id}}', 1)); redis.{ACK}")),
    Case(7, "In Lua, 0 and an empty table", script("redis.call('HINCRBY', KEYS[2], ARGV[3], ARGV[4])\nredis.call('XACK', KEYS[1], ARGV[1], ARGV[2])")),
    Case(7, "MULTI doesn't check", counting(f"if redis.xpending_range(stream, group, entry_id, entry_id, 1):\n                    {in_multi(ADD, ACK)}")),
    Case(7, "before it acknowledged the entry", counting(in_multi(ADD, ACK).replace("True", "False"))),
    Case(7, "own history first", script(RIGHT_SCRIPT).replace('("0", ">")', '(">",)')),
    Case(7, "It counts entries", script(RIGHT_SCRIPT.replace("ARGV[4]", "1"))),
    Case(7, "Acknowledge what you have counted", counting(f"redis.{ADD}").replace('("0", ">")', '(">",)')),
    Case(7, "in the hash `totals`", script(RIGHT_SCRIPT).replace('fields["city"]', "'rain'")),
    Case(7, "With NOACK", script(RIGHT_SCRIPT).replace("count=1)", "count=1, noack=True)")),
    Case(7, "counted again", "from redis import ConnectionError\n" + counting(f"""
                while True:
                    try:
                        {in_multi(ADD, ACK)}
                        break
                    except ConnectionError:
                        pass
    """.strip())),
    Case(8, "for good", function(REMOVE, "return redis.xgroup_delconsumer(stream, group, name) == 0")),
    Case(8, "in one step", function(REMOVE, """
        if redis.xpending_range(stream, group, "-", "+", 1, consumername=name):
            return False
        redis.xgroup_delconsumer(stream, group, name)
        return True
    """)),
    Case(8, "Nothing was removed", REMOVE_SCRIPT + function(REMOVE, "redis.eval(SCRIPT, 1, stream, group, name)")),
    Case(8, "Leave the stream and its group", function(REMOVE, "return redis.xgroup_destroy(stream, group) == 1")),
    Case(8, "remove this consumer", function(REMOVE, "return False")),
    Case(8, "pending for the consumer", function(REMOVE, """
        left = redis.xgroup_delconsumer(stream, group, name)
        return left == 0
    """)),
    Case(8, "The consumer was removed", REMOVE_SCRIPT + function(REMOVE, "return redis.eval(SCRIPT, 1, stream, group, name) > 1")),
]  # fmt: skip

RIGHT += written("04", "right")
WRONG += written("04", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(4).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(4).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("04", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = {'XLEN': ____}"),
        *((n, function(line, "return ____")) for n, line in enumerate([STUCK, WORK, WORK, TAKE, ASIDE, COUNT, REMOVE], 2)),
    ],
)  # fmt: skip
def test_a_blank_is_called_blank(redis, exercise, source):
    assert open_lab(4).check(exercise, answer(source)).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("04", RIGHT, WRONG) == []


def test_checks_leave_nothing_behind(redis):
    right = next(case for case in RIGHT if case.exercise == 7 and "Consumer" in case.source)
    wrong = next(case for case in WRONG if case.exercise == 6)
    for case in (right, wrong):
        open_lab(4).check(case.exercise, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database"}
