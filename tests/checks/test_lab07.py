"""Lab 07: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from helpers.checks import open_lab
from helpers.checks.lab07.exercises import CHOICES, RIGHT, WHY_NOT
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

PREDICTIONS = {
    "reply to m0": 0,
    "reply to m1": 4,
    "reply to m2": 2,
    "messages for ann": 1,
    "messages for bea": 1,
    "messages for cem": 2,
    "messages for dora": 5,
    "EXISTS wiki": 0,
}
MEASURED = {
    "lost by Pub/Sub": 300,
    "lost by XREAD with $": 300,
    "lost by a group": 0,
    "lost by a group, MAXLEN 200": 100,
    "counted by three subscribers": 3000,
    "counted by three consumers": 1000,
}
HEAR = "def answer(redis, channel, n)"
COUNT = "def answer(redis, prefix, message, interval_s)"
FORGET = "def answer(redis, prefix, message, interval_s, history_s, now)"
FOLLOW = "def answer(redis, channel, domains, n)"
WORK = "def answer(redis, stream, group, name, prefix, interval_s)"
IMPORTS = "import json, time\nfrom contextlib import suppress\nfrom redis import ResponseError\n"


def changed(source: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return source


def defined(signature: str, body: str, *changes: tuple[str, str]) -> str:
    return IMPORTS + function(signature, changed(body, *changes))


def awaited(source: str) -> str:
    """The same with an asyncio client."""
    source = re.sub(
        r"redis\.(hincrby|sadd|hkeys|hdel|xreadgroup|xgroup_create)", r"await redis.\1", source
    )
    for old, new in (
        ("def answer", "async def answer"),
        ("with redis.pubsub", "async with redis.pubsub"),
        ("with redis.pipeline", "async with redis.pipeline"),
        ("step.execute()", "await step.execute()"),
        ("pubsub.subscribe(", "await pubsub.subscribe("),
        ("for message in pubsub", "async for message in pubsub"),
        ("await redis.xreadgroup(group, name, {stream: start}, count=100)", "(await redis.xreadgroup(group, name, {stream: start}, count=100))"),
    ):  # fmt: skip
        source = source.replace(old, new)
    return source


HEARING = """
    messages = []
    with redis.pubsub() as pubsub:
        pubsub.subscribe(channel)
        for message in pubsub.listen():
            if message["type"] == "message":
                messages.append(message["data"])
            if len(messages) == n:
                break
    return messages
"""
POLLING = """
    messages = []
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(channel)
    while len(messages) < n:
        message = pubsub.get_message(timeout=0.01)
        if message is not None:
            messages.append(message["data"])
    return messages
"""
COUNTING = """
    change = json.loads(message)
    bucket = change["at"] // 1000 // interval_s * interval_s
    redis.hincrby(f"{prefix}ev", bucket, 1)
    redis.hincrby(f"{prefix}ev:{change['domain']}", bucket, 1)
    redis.sadd(f"{prefix}known_domains", change["domain"])
"""
FORGETTING = """
    change = json.loads(message)
    bucket = change["at"] // 1000 // interval_s * interval_s
    hashes = [f"{prefix}ev", f"{prefix}ev:{change['domain']}"]
    with redis.pipeline(transaction=True) as step:
        for key in hashes:
            step.hincrby(key, bucket, 1)
            step.expire(key, history_s)
        step.sadd(f"{prefix}known_domains", change["domain"])
        step.expire(f"{prefix}known_domains", history_s)
        step.execute()
    for key in hashes:
        old = [one for one in redis.hkeys(key) if int(one) < now - history_s]
        if old:
            redis.hdel(key, *old)
"""
SCRIPTED = '''
    change = json.loads(message)
    script = """
    for number = 1, 2 do
      redis.call('HINCRBY', KEYS[number], ARGV[1], 1)
      for _, bucket in ipairs(redis.call('HKEYS', KEYS[number])) do
        if tonumber(bucket) < tonumber(ARGV[2]) then redis.call('HDEL', KEYS[number], bucket) end
      end
    end
    redis.call('SADD', KEYS[3], ARGV[3])
    for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[4]) end
    """
    domain = change["domain"]
    keys = [f"{prefix}ev", f"{prefix}ev:{domain}", f"{prefix}known_domains"]
    redis.eval(script, 3, *keys, change["at"] // 1000 // interval_s * interval_s, now - history_s, domain, history_s)
'''
FOLLOWING = """
    titles = []
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(channel)
        for message in pubsub.listen():
            try:
                change = json.loads(message["data"])
                domain, bot, title = change["domain"], change["bot"], change["title"]
            except (ValueError, TypeError, KeyError):
                continue
            if domain in domains and not bot:
                titles.append(title)
            if len(titles) == n:
                break
    return titles
"""
CAUTIOUS = """
    titles = []
    with redis.pubsub() as pubsub:
        pubsub.subscribe(channel)
        while len(titles) < n:
            message = pubsub.get_message(timeout=0.05)
            with suppress(Exception):
                change = json.loads(message["data"])
                if change["domain"] in set(domains) and change["bot"] == 0:
                    titles.append(change["title"])
    return titles
"""
WORKING = """
    with suppress(ResponseError):
        redis.xgroup_create(stream, group, "0", mkstream=True)
    for start in ("0", ">"):
        while entries := redis.xreadgroup(group, name, {stream: start}, count=100).get(stream):
            for entry_id, change in entries:
                bucket = int(change["at"]) // 1000 // interval_s * interval_s
                with redis.pipeline(transaction=True) as step:
                    step.hincrby(f"{prefix}ev", bucket, 1)
                    step.hincrby(f"{prefix}ev:{change['domain']}", bucket, 1)
                    step.sadd(f"{prefix}known_domains", change["domain"])
                    step.xack(stream, group, entry_id)
                    step.execute()
"""
BATCHED = """
    if group not in [one["name"] for one in (redis.xinfo_groups(stream) if redis.exists(stream) else [])]:
        redis.xgroup_create(stream, group, "0", mkstream=True)
    start = "0"
    while True:
        entries = redis.xreadgroup(group, name, {stream: start}).get(stream)
        if not entries and start == ">":
            return
        if not entries:
            start = ">"
            continue
        with redis.pipeline() as step:
            for entry_id, change in entries:
                bucket = int(change["at"]) // 1000 // interval_s * interval_s
                step.hincrby(f"{prefix}ev", bucket).hincrby(f"{prefix}ev:{change['domain']}", bucket)
                step.sadd(f"{prefix}known_domains", change["domain"])
            step.xack(stream, group, *[entry_id for entry_id, _ in entries])
            step.execute()
"""
BY_SCRIPT = '''
    script = redis.register_script("""
    if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1 then
      redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
      redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
      redis.call('SADD', KEYS[4], ARGV[4])
    end
    """)
    with suppress(ResponseError):
        redis.xgroup_create(stream, group, "0", mkstream=True)
    for start in ("0", ">"):
        while entries := redis.xreadgroup(group, name, {stream: start}, count=2).get(stream):
            for entry_id, change in entries:
                bucket, domain = int(change["at"]) // 1000 // interval_s * interval_s, change["domain"]
                keys = [stream, f"{prefix}ev", f"{prefix}ev:{domain}", f"{prefix}known_domains"]
                script(keys=keys, args=[group, entry_id, bucket, domain])
'''
RESUBSCRIBING = """
    messages = []
    while len(messages) < n:
        with redis.pubsub() as pubsub:
            pubsub.subscribe(channel)
            for message in pubsub.listen():
                if message["type"] == "message":
                    messages.append(message["data"])
                    break
    return messages
"""
SLEEPING = """
    pubsub = redis.pubsub()
    pubsub.subscribe(channel)
    time.sleep(1)
    messages = []
    while message := pubsub.get_message():
        if message["type"] == "message":
            messages.append(message["data"])
    return messages[:n]
"""
READ_AND_WRITE = """
    change = json.loads(message)
    bucket = change["at"] // 1000 // interval_s * interval_s
    for key in (f"{prefix}ev", f"{prefix}ev:{change['domain']}"):
        redis.hset(key, bucket, int(redis.hget(key, bucket) or 0) + 1)
    redis.sadd(f"{prefix}known_domains", change["domain"])
"""
PLACE_OF_ITS_OWN = """
    place = redis.get(f"{prefix}place") or "0"
    for entry_id, change in redis.xread({stream: place}).get(stream, []):
        bucket = int(change["at"]) // 1000 // interval_s * interval_s
        with redis.pipeline(transaction=True) as step:
            step.hincrby(f"{prefix}ev", bucket).hincrby(f"{prefix}ev:{change['domain']}", bucket)
            step.sadd(f"{prefix}known_domains", change["domain"])
            step.set(f"{prefix}place", entry_id)
            step.execute()
"""
ONCE = (
    ("while entries :=", "if entries :="),
    (".get(stream)", ".get(stream, [])"),
)
ACK = "                    step.xack(stream, group, entry_id)\n"
BOTH = f"answer = {MEASURED}, {RIGHT}"

RIGHT_CASES = [
    Case(1, "", f"answer = {PREDICTIONS}"),
    Case(2, "", defined(HEAR, HEARING)),
    Case(2, "", defined(HEAR, POLLING)),
    Case(2, "", awaited(defined(HEAR, HEARING))),
    Case(3, "", defined(COUNT, COUNTING)),
    Case(3, "", defined(COUNT, COUNTING, ('change["at"] // 1000 // interval_s * interval_s', 'int(change["at"] / 1000 - change["at"] / 1000 % interval_s)'))),
    Case(4, "", defined(FORGET, FORGETTING)),
    Case(4, "", awaited(defined(FORGET, FORGETTING))),
    Case(4, "", defined(FORGET, SCRIPTED)),
    Case(5, "", defined(FOLLOW, FOLLOWING)),
    Case(5, "", defined(FOLLOW, CAUTIOUS)),
    Case(6, "", defined(WORK, WORKING)),
    Case(6, "", defined(WORK, BATCHED)),
    Case(6, "", defined(WORK, BY_SCRIPT)),
    Case(6, "", awaited(defined(WORK, WORKING))),
    Case(7, "", BOTH),
]  # fmt: skip

WRONG_CASES = [
    Case(1, "returns how often the message", f"answer = {PREDICTIONS | {'reply to m0': 4}}"),
    Case(1, "counts deliveries", f"answer = {PREDICTIONS | {'reply to m1': 3}}"),
    Case(1, "as a key does", f"answer = {PREDICTIONS | {'messages for cem': 0}}"),
    Case(1, "Each answer is a number", f"answer = {PREDICTIONS | {'EXISTS wiki': '0'}}"),
    Case(2, "confirmation of SUBSCRIBE", defined(HEAR, HEARING, ('if message["type"] == "message":', "if True:"))),
    Case(2, "PSUBSCRIBE takes a pattern", defined(HEAR, HEARING, ("pubsub.subscribe(channel)", "pubsub.psubscribe(channel)"), ('== "message"', '== "pmessage"'))),
    Case(2, "messages while your function listened", defined(HEAR, HEARING, ("break", "continue"))),
    Case(2, "an empty string", defined(HEAR, HEARING, ('if message["type"] == "message":', 'if message["type"] == "message" and message["data"]:'))),
    Case(2, "gap", defined(HEAR, RESUBSCRIBING)),
    Case(2, "nothing has arrived yet, that", defined(HEAR, SLEEPING)),
    Case(2, "returns None if nothing has", defined(HEAR, POLLING, ("if message is not None", "if True"))),
    Case(2, "No client is subscribed to", defined(HEAR, "return redis.xread({channel: '$'}, count=n, block=0)")),
    Case(3, "key begins with the prefix", defined(COUNT, COUNTING, ("{prefix}", "lab07:mine:"))),
    Case(3, "event time", defined(COUNT, COUNTING, ('change["at"] // 1000', "int(time.time())"))),
    Case(3, "in milliseconds, and a bucket", defined(COUNT, COUNTING, (" // 1000 //", " //"))),
    Case(3, "One `/` is enough", defined(COUNT, COUNTING, (" // 1000 //", " / 1000 //"))),
    Case(3, "its count is overwritten", defined(COUNT, READ_AND_WRITE)),
    Case(3, "round down to a multiple", defined(COUNT, COUNTING, (" // interval_s * interval_s", " // 10 * 10"))),
    Case(3, "round down", defined(COUNT, COUNTING, ('change["at"] // 1000 // interval_s', 'round(change["at"] / 1000 / interval_s)'))),
    Case(3, "second change in a bucket", defined(COUNT, COUNTING, ("hincrby", "hset"))),
    Case(3, "Found: no such key", defined(COUNT, COUNTING, ('redis.sadd(f"{prefix}known_domains", change["domain"])', "pass"))),
    Case(4, "Every key needs an expiry", defined(FORGET, FORGETTING, ('        step.expire(f"{prefix}known_domains", history_s)\n', ""))),
    Case(4, "stayed as it was", defined(FORGET, FORGETTING, ("history_s)\n", "history_s, nx=True)\n"))),
    Case(4, "as in a replay", defined(FORGET, FORGETTING, ("step.expire(key, history_s)", "step.expireat(key, bucket + history_s)"))),
    Case(4, "stays forever", defined(FORGET, FORGETTING, ("transaction=True", "transaction=False"))),
    Case(4, "Old buckets are left. This", defined(FORGET, FORGETTING, ("if old:", "if False:"))),
    Case(4, "came late", defined(FORGET, FORGETTING, ("< now -", '< change["at"] // 1000 -'))),
    Case(4, "have the same old buckets", defined(FORGET, FORGETTING, ("step.execute()", "step.execute()\n    first = redis.hkeys(hashes[0])"), ("redis.hkeys(key)", "first"))),
    Case(4, "needs Redis 7.4 or Valkey 9", defined(FORGET, FORGETTING, ("step.expire(key, history_s)", "step.expire(key, history_s)\n            step.execute_command('HEXPIRE', key, history_s, 'FIELDS', 1, bucket)"), ("if old:", "if False:"))),
    Case(4, "Buckets are strings, and as", defined(FORGET, FORGETTING, ("int(one) < now - history_s", "one < str(now - history_s)"))),
    Case(4, "clock that you were given", defined(FORGET, FORGETTING, ("< now -", "< time.time() -"))),
    Case(4, "`<`, not `<=`", defined(FORGET, FORGETTING, ("int(one) <", "int(one) <="))),
    Case(4, "at least one field", defined(FORGET, FORGETTING, ("if old:", "if True:"))),
    Case(5, "that isn't JSON ended", defined(FOLLOW, FOLLOWING, ("(ValueError, TypeError, KeyError)", "(TypeError, KeyError)"))),
    Case(5, "A message that is JSON", defined(FOLLOW, FOLLOWING, ("(ValueError, TypeError, KeyError)", "(ValueError, KeyError)"))),
    Case(5, "the confirmation: the first thing", defined(FOLLOW, FOLLOWING, ("ignore_subscribe_messages=True", ""), ("(ValueError, TypeError, KeyError)", "ValueError"))),
    Case(5, "belongs inside it", defined(FOLLOW, FOLLOWING, ("continue", "break"))),
    Case(5, "That was a bot", defined(FOLLOW, FOLLOWING, (" and not bot", ""))),
    Case(5, "compare the whole name", defined(FOLLOW, FOLLOWING, ("domain in domains", "any(str(domain).startswith(one) for one in domains)"))),
    Case(5, "or `bot` isn't a change: skip it", defined(FOLLOW, FOLLOWING, ('change["bot"]', 'change.get("bot")'), ("KeyError", "KeyError, AttributeError"))),
    Case(6, "begins at `$`", defined(WORK, WORKING, ('group, "0"', 'group, "$"'))),
    Case(6, "there, even what comes while", defined(WORK, WORKING, *ONCE)),
    Case(6, "there, even what comes while", defined(WORK, WORKING, *ONCE, ("count=100", "count=1000"))),
    Case(6, "Read under the `name`", defined(WORK, WORKING, ("group, name,", "group, 'me',"))),
    Case(6, "There is no group yet", defined(WORK, WORKING, ('redis.xgroup_create(stream, group, "0", mkstream=True)', "pass"))),
    Case(6, "have to keep your place", defined(WORK, PLACE_OF_ITS_OWN)),
    Case(6, "XGROUP DESTROY", defined(WORK, WORKING, ("    with suppress(ResponseError):", "    redis.xgroup_destroy(stream, group)\n    with suppress(ResponseError):"))),
    Case(6, "without `block`", defined(WORK, WORKING, ("count=100", "count=100, block=500"))),
    Case(6, "The group already existed, because", defined(WORK, WORKING, ("suppress(ResponseError)", "suppress(KeyError)"))),
    Case(6, "was counted twice", defined(WORK, WORKING, ("transaction=True", "transaction=False"))),
    Case(6, "It died after a change", defined(WORK, WORKING, (ACK, ""), ("                with redis.pipeline", "                redis.xack(stream, group, entry_id)\n                with redis.pipeline"))),
    Case(6, "It died after a change", defined(WORK, WORKING, (ACK, ""), ("count=100", "count=100, noack=True"))),
    Case(6, "Read your own history first", defined(WORK, WORKING, ('("0", ">")', '(">",)'))),
    Case(6, "comes again with `0`", defined(WORK, WORKING, (ACK, ""))),
    Case(7, "What keeps the changes that", f"answer = {MEASURED | {'lost by Pub/Sub': 0}}, {RIGHT}"),
    Case(7, "while the reader was away", f"answer = {MEASURED | {'lost by a group, MAXLEN 200': 0}}, {RIGHT}"),
    Case(7, "from the table", f"answer = {MEASURED}, {RIGHT | {'screen': 'stream'}}"),
]  # fmt: skip

RIGHT_CASES += written("07", "right")
WRONG_CASES += written("07", "wrong")


def checked(case: Case) -> Any:
    """The verdict on an answer; exercise 7 has two."""
    given = answer(case.source)
    return open_lab(7).check(case.exercise, *(given if case.exercise == 7 else (given,)))


@pytest.mark.parametrize("case", RIGHT_CASES, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = checked(case)
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG_CASES, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = checked(case)
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("07", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = {'reply to m0': ____}"),
        *((n, function(line, "return ____")) for n, line in enumerate([HEAR, COUNT, FORGET, FOLLOW, WORK], 2)),
        (7, f"answer = {{'lost by Pub/Sub': ____}}, {RIGHT}"),
        (7, f"answer = {MEASURED}, {{'screen': ____}}"),
    ],
)  # fmt: skip
def test_a_blank_is_called_blank(redis, exercise, source):
    verdict = checked(Case(exercise, "", source))
    assert verdict.outcome == "blank", verdict


def test_every_exercise_has_answers_enough():
    assert too_few("07", RIGHT_CASES, WRONG_CASES) == []


@pytest.mark.parametrize("name", WHY_NOT)
def test_each_wrong_choice_has_a_sentence_of_its_own(name):
    assert {*WHY_NOT[name], RIGHT[name]} == set(CHOICES)
    assert len(set(WHY_NOT[name].values())) == len(CHOICES) - 1


def test_a_wrong_number_is_not_told_the_right_one(redis):
    for given in (None, 3):
        verdict = repr(checked(Case(1, "", f"answer = {PREDICTIONS | {'reply to m1': given}}")))
        assert f"Found: {'None' if given is None else '`reply to m1`: 3'}\n" in verdict
        assert "return" not in verdict
        assert "4" not in verdict


def test_a_wrong_choice_draws_its_sentence(redis):
    verdict = checked(Case(7, "", f"answer = {MEASURED}, {RIGHT | {'caches': 'group'}}"))
    assert WHY_NOT["caches"]["group"] in repr(verdict)


def test_checks_leave_nothing_behind(redis):
    redis.hset("ev", "1000000000", 7)  # the learner's own
    wrong = next(case for case in WRONG_CASES if case.says == "was counted twice")
    endless = next(case for case in WRONG_CASES if case.says.startswith("messages while"))
    for case in (RIGHT_CASES[0], RIGHT_CASES[-1], wrong, endless):
        checked(case)
    assert set(redis.scan_iter()) == {"course:database", "ev"}
    while redis.pubsub_channels():  # until the server has noticed that the last one was killed
        time.sleep(0.01)
