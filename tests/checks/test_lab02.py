"""Lab 02: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import pytest

from helpers.checks import open_lab
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

PREDICTIONS = {"0": 3, "1000-0": 2, "1000": 2, "2000-0": 0, "1500-0": 1, "$": 0}
AFTER = "def answer(redis, stream, last_id)"
WAIT = "def answer(redis, stream, timeout_ms)"
FOLLOW = "def answer(redis, stream, handle, n)"
BOTH = "def answer(redis, streams, n)"
RESUME = "def answer(redis, stream, place, handle)"

LAST_ID = "redis.xinfo_stream(stream)['last-generated-id']"
FOLLOWING = """
    last, handled = {start}, 0
    while handled < n:
        for entry_id, fields in redis.xread({{stream: last}}, block=500).get(stream, []):
            handle(fields)
            handled += 1
            {move}
            if handled == n:
                return
"""
READING_BOTH = """
    last, found = dict.fromkeys(streams, "0"), []
    while len(found) < n:
        for stream, entries in redis.xread(last, block=500).items():
            for entry_id, fields in entries:
                {move}
                found.append(fields)
    return found
"""
RESUMING = """
    last = {start}
    while entries := redis.xread({{stream: last}}, count=2).get(stream):
        for last, fields in entries:
            {work}
"""


def following(start: str = LAST_ID, move: str = "last = entry_id") -> str:
    return function(FOLLOW, FOLLOWING.format(start=start, move=move))


def both(move: str) -> str:
    return function(BOTH, READING_BOTH.format(move=move))


def resuming(work: str, start: str = "redis.get(place) or '0'") -> str:
    return function(RESUME, RESUMING.format(start=start, work=work))


RIGHT = [
    Case(1, "", f"answer = {PREDICTIONS}"),
    Case(2, "", function(AFTER, "return redis.xread({stream: last_id}).get(stream, [])")),
    Case(2, "", function(AFTER, "return redis.xrange(stream, f'({last_id}')")),
    Case(3, "", function(WAIT, """
        reply = redis.xread({stream: "$"}, block=timeout_ms)
        return reply[stream][0] if reply else None
    """)),
    Case(3, "", "async " + function(WAIT, """
        reply = await redis.xread({stream: "$"}, block=timeout_ms, count=1)
        return reply[stream][0] if reply else None
    """)),
    Case(4, "", following()),
    Case(4, "", "from helpers import Reader\n" + function(FOLLOW, """
        with Reader(redis, stream) as reader:
            for handled, (_, entry) in enumerate(reader, 1):
                handle(entry.fields)
                if handled == n:
                    reader.stop()
    """)),
    Case(5, "", both("last[stream] = entry_id")),
    Case(6, "", resuming("handle(fields); redis.set(place, last)")),
    Case(6, "", "async " + function(RESUME, """
        last = await redis.get(place) or "0"
        while entries := (await redis.xread({stream: last})).get(stream):
            for last, fields in entries:
                handle(fields)
                await redis.set(place, last)
    """)),
]  # fmt: skip

WRONG = [
    Case(1, "has been read already", f"answer = {PREDICTIONS | {'1000-0': 3}}"),
    Case(1, "before every entry", f"answer = {PREDICTIONS | {'0': 2}}"),
    Case(1, "nothing is after it yet", f"answer = {PREDICTIONS | {'$': 1}}"),
    Case(1, "doesn't have to exist", f"answer = {PREDICTIONS | {'1500-0': 0}}"),
    Case(2, "leaves it out", function(AFTER, "return redis.xrange(stream, last_id)")),
    Case(2, "whole reply", function(AFTER, "return redis.xread({stream: last_id})")),
    Case(2, "empty list", function(AFTER, "return redis.xread({stream: last_id}).get(stream)")),
    Case(2, "`$` skips", function(AFTER, "return redis.xread({stream: '$'}).get(stream, [])")),
    Case(2, "leave out COUNT", function(AFTER, "return redis.xread({stream: last_id}, count=1).get(stream, [])")),
    Case(2, "Don't wait", function(AFTER, "return redis.xread({stream: last_id}, block=100).get(stream, [])")),
    Case(2, "Don't wait", function(AFTER, "return redis.xread({stream: last_id}, block=0).get(stream, [])")),
    Case(2, "reply.get(stream, [])", function(AFTER, "return redis.xread({stream: last_id})[stream]")),
    Case(3, "longer than it was asked to", function(WAIT, "return redis.xread({stream: '$'}, block=timeout_ms * 1000).get(stream, [None])[0]")),
    Case(3, "The server didn't wait", function(WAIT, "return None")),
    Case(3, "An `await` is missing", "async " + function(WAIT, "return redis.xread({stream: '$'}, block=timeout_ms)")),
    Case(3, "BLOCK 0 waits forever", function(WAIT, "return redis.xread({stream: '$'}, block=0)[stream][0]")),
    Case(3, "The server didn't wait", function(WAIT, "return redis.xread({stream: '$'}).get(stream, [None])[0]")),
    Case(3, "in milliseconds", function(WAIT, "return redis.xread({stream: '$'}, block=timeout_ms // 1000 + 1).get(stream, [None])[0]")),
    Case(3, "was there before", function(WAIT, "return redis.xread({stream: '0'}, block=timeout_ms).get(stream, [None])[0]")),
    Case(3, "Return None", function(WAIT, "return redis.xread({stream: '$'}, block=timeout_ms)")),
    Case(3, "again and again", "import time\n" + function(WAIT, """
        last = redis.xinfo_stream(stream)["last-generated-id"]
        for _ in range(timeout_ms // 20):
            found = redis.xrange(stream, f"({last}")
            if found:
                return found[0]
            time.sleep(0.02)
    """)),
    Case(3, "Return the one entry", function(WAIT, "return redis.xread({stream: '$'}, block=timeout_ms).get(stream)")),
    Case(4, "A BLOCK ended without an entry", following("'$'")),
    Case(4, "A BLOCK ended without an entry", following("'$'", "pass")),
    Case(4, "reply.get(stream, [])", following().replace(".get(stream, [])", "[stream]")),
    Case(4, "middle of a reply", following().replace("            if handled == n:\n                return\n", "")),
    Case(4, "only the fields", following().replace("handle(fields)", "handle((entry_id, fields))")),
    Case(4, "let XREAD wait", following().replace(", block=500", "")),
    Case(4, "handled again", following(move="pass")),
    Case(4, "was there before doesn't count", following("'0'")),
    Case(4, "Entries are missing", function(FOLLOW, f"""
        last = {LAST_ID}
        for _ in range(n):
            for last, fields in redis.xread({{stream: last}}, block=300).get(stream, [])[-1:]:
                handle(fields)
    """)),
    Case(4, "return after `n`", following().replace("handled < n", "True").replace("            if handled == n:\n                return\n", "").replace("handle(fields)", "handled < n and handle(fields)")),
    Case(4, "Nothing was handled", function(FOLLOW, "redis.xread({stream: '$'}, block=1000)")),
    Case(5, "update the last ID of the stream", both("last = dict.fromkeys(streams, entry_id)")),
    Case(5, "keep one for each", both("last = dict.fromkeys(streams, max(*last.values(), entry_id))")),
    Case(5, "from their beginnings", both("last[stream] = entry_id").replace('"0"', '"$"')),
    Case(5, "Name both streams", function(BOTH, """
        last, found = dict.fromkeys(streams, "0"), []
        while len(found) < n:
            for stream in streams:
                for last[stream], fields in redis.xread({stream: last[stream]}, block=100).get(stream, []):
                    found.append(fields)
        return found
    """)),
    Case(5, "let XREAD wait", both("last[stream] = entry_id").replace(", block=500", "")),
    Case(5, "came twice", both("pass")),
    Case(5, "one holds up the other", function(BOTH, """
        last, found = "0", []
        for stream in streams:
            while len(found) < n:
                for last, fields in redis.xread({stream: last}, block=0)[stream]:
                    found.append(fields)
        return found
    """)),
    Case(5, "Some are missing", function(BOTH, """
        reply = redis.xread(dict.fromkeys(streams, "0"))
        return [fields for entries in reply.values() for _, fields in entries]
    """)),
    Case(5, "a dict for each", function(BOTH, "return list(redis.xread(dict.fromkeys(streams, '0')))")),
    Case(6, "Do the work, then save the ID", resuming("redis.set(place, last); handle(fields)")),
    Case(6, "There is nothing in it", resuming("handle(fields)")),
    Case(6, "There is nothing in it", resuming("handle(fields)", "'0'")),
    Case(6, "too far back", function(RESUME, """
        last = redis.get(place) or "0"
        while entries := redis.xread({stream: last}, count=8).get(stream):
            for last, fields in entries:
                handle(fields)
            redis.set(place, last)
    """)),
    Case(6, "without quotes", resuming("handle(fields); redis.set('place', last)", "redis.get('place') or '0'")),
    Case(6, "too far back", function(RESUME, """
        for last, fields in redis.xrange(stream, redis.get(place) or "-"):
            handle(fields)
            redis.set(place, last)
    """)),
    Case(6, "Leave the entries", resuming("handle(fields); redis.xdel(stream, last)", "'0'")),
    Case(6, "ended before the stream did", resuming("handle(fields); redis.set(place, last)").replace("while entries :=", "if entries :=").replace("count=2", "count=1")),
    Case(6, "isn't one of them", resuming("handle(fields); redis.set(place, last)", "redis.get(place)")),
    Case(6, "still waits", resuming("handle(fields); redis.set(place, last)").replace("count=2", "count=2, block=0")),
    Case(6, "still waits", function(RESUME, """
        last = redis.get(place) or "0"
        while True:
            for last, fields in redis.xread({stream: last}, count=1, block=0)[stream]:
                handle(fields)
                redis.set(place, last)
    """)),
    Case(6, "never handled", resuming("redis.set(place, last); handle(fields)").replace("count=2", "count=1")),
]  # fmt: skip

RIGHT += written("02", "right")
WRONG += written("02", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(2).check(case.exercise, answer(case.source, redis=redis))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(2).check(case.exercise, answer(case.source, redis=redis))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("02", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = {'0': ____}"),
        *((n, function(line, "return ____")) for n, line in enumerate([AFTER, WAIT, FOLLOW, BOTH, RESUME], 2)),
    ],
)  # fmt: skip
def test_a_blank_is_called_blank(redis, exercise, source):
    assert open_lab(2).check(exercise, answer(source)).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("02", RIGHT, WRONG) == []


def test_checks_leave_nothing_behind(redis):
    for case in (RIGHT[-2], WRONG[-1]):
        open_lab(2).check(case.exercise, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database"}
