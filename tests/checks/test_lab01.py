"""Lab 01: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import pytest

from helpers.checks import open_lab
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

BETWEEN = "def answer(redis, stream, start_ms, end_ms)"
LATEST = "def answer(redis, stream, n)"
MEAN = "def answer(redis, stream, page)"
EXISTING = "def answer(redis, stream, fields)"
CAPPED = "def answer(redis, stream, fields, cap)"
PREDICTIONS = {
    "1000-5": False, "1000-6": True, "999-9": False, "1001": True, "1000-*": True, "10000-0": True,
}  # fmt: skip
READING = "{'temperature': 26, 'humidity': 10}"
PAGING = """
    total, count, start = 0, 0, "-"
    while True:
        found = redis.xrange(stream, start, {count})
        for entry_id, fields in found:
            total += int(fields["temperature"])
            count += 1
        if len(found) < page:
            return total / count if count else None
        start = {start}
"""


def paging(start: str, count: str = "count=page") -> str:
    return function(MEAN, PAGING.format(start=start, count=count))


RIGHT = [
    Case(1, "", f"answer = redis.xadd('lab01:chennai', {READING})"),
    Case(2, "", f"answer = {PREDICTIONS}"),
    Case(3, "", function(BETWEEN, "return redis.xrange(stream, start_ms, f'({end_ms}-0')")),
    Case(3, "", function(BETWEEN, "return redis.xrange(stream, start_ms, end_ms - 1)")),
    Case(3, "", "from helpers import scan\n" + function(
        BETWEEN, "return list(scan(redis, stream, f'{start_ms}', f'{end_ms - 1}', page=2))")),
    Case(4, "", function(LATEST, "return redis.xrevrange(stream, count=n)")),
    Case(4, "", "async " + function(LATEST, "return await redis.xrevrange(stream, '+', '-', n)")),
    Case(5, "", paging("f'({found[-1][0]}'")),
    Case(6, "", function(EXISTING, "return redis.xadd(stream, fields, nomkstream=True)")),
    Case(7, "", function(CAPPED, "redis.xadd(stream, fields, maxlen=cap, approximate=False)")),
    Case(7, "", function(CAPPED, "redis.xadd(stream, fields)\nredis.xtrim(stream, cap, approximate=False)")),
]  # fmt: skip

WRONG = [
    Case(1, "nothing is in", "answer = '1-0'"),
    Case(1, "nothing is in", f"answer = redis.xadd('lab01:chenai', {READING})"),
    Case(1, "Every run of the cell appends again",
         f"redis.xadd('lab01:chennai', {READING})\nanswer = redis.xadd('lab01:chennai', {READING})"),
    Case(1, "character by character",
         "answer = redis.xadd('lab01:chennai', {'temp': 26, 'humidity': 10})"),
    Case(1, "character by character",
         "answer = redis.xadd('lab01:chennai', {'temperature': 10, 'humidity': 26})"),
    Case(1, "store it in `first_id`", f"redis.xadd('lab01:chennai', {READING})\nanswer = None"),
    Case(1, "append with XADD", f"answer = redis.hset('lab01:chennai', mapping={READING})"),
    Case(2, "no two entries have the same ID", f"answer = {PREDICTIONS | {'1000-5': True}}"),
    Case(2, "compares the milliseconds first", f"answer = {PREDICTIONS | {'999-9': True}}"),
    Case(2, "means 1001-0", f"answer = {PREDICTIONS | {'1001': False}}"),
    Case(2, "chooses the next sequence number", f"answer = {PREDICTIONS | {'1000-*': False}}"),
    Case(2, "compares IDs as numbers", f"answer = {PREDICTIONS | {'10000-0': False}}"),
    Case(2, "six IDs", "answer = [False, True, False, True, True, True]"),
    Case(3, "Write the sequence number", function(BETWEEN, "return redis.xrange(stream, start_ms, end_ms)")),
    Case(3, "Write the sequence number", function(BETWEEN, "return redis.xrange(stream, start_ms, f'({end_ms}')")),
    Case(3, "belongs to the next hour", function(BETWEEN, "return redis.xrange(stream, start_ms, f'{end_ms}-0')")),
    Case(3, "higher sequence number", function(BETWEEN, "return redis.xrange(stream, start_ms, f'{end_ms - 1}-0')")),
    Case(3, "The start is part of the hour", function(BETWEEN, "return redis.xrange(stream, f'({start_ms}', f'({end_ms}-0')")),
    Case(3, "put the lower bound first", function(BETWEEN, "return redis.xrange(stream, end_ms, start_ms)")),
    Case(3, "list of pairs", function(BETWEEN, "return len(redis.xrange(stream, start_ms, end_ms))")),
    Case(1, "in the wrong order", "answer = redis.xadd('lab01:chennai', {'humidity': 10, 'temperature': 26})"),
    Case(1, "Let the server choose", f"answer = redis.xadd('lab01:chennai', {READING}, id='1-1')"),
    Case(3, "compare numbers", function(BETWEEN, """
        return [e for e in redis.xrange(stream) if str(start_ms) <= e[0] < str(end_ms)]
    """)),
    Case(3, "higher sequence number", function(BETWEEN, "return redis.xrange(stream, start_ms, f'{end_ms - 1}-999')")),
    Case(3, "stream that you are given", function(BETWEEN, "return redis.xrange('chennai', start_ms, end_ms)")),
    Case(4, "the oldest", function(LATEST, "return redis.xrange(stream, count=n)")),
    Case(4, "reverse the order", function(LATEST, "return redis.xrevrange(stream, count=n)[::-1]")),
    Case(4, "Let the server stop", function(LATEST, "return redis.xrevrange(stream)[:n]")),
    Case(4, "Let the server stop", function(LATEST, "return redis.xrange(stream)[-n:][::-1]")),
    Case(4, "higher bound first", function(LATEST, "return redis.xrevrange(stream, '-', '+', count=n)")),
    Case(4, "list of pairs", function(LATEST, "return n")),
    Case(5, "The last page, which isn't full", function(MEAN, """
        total, count, start = 0, 0, "-"
        while len(found := redis.xrange(stream, start, count=page)) == page:
            total += sum(int(f["temperature"]) for _, f in found)
            count += len(found)
            start = f"({found[-1][0]}"
        return total / count
    """)),
    Case(5, "which has no mean", paging("f'({found[-1][0]}'").replace(" if count else None", "")),
    Case(5, "don't round", paging("f'({found[-1][0]}'").replace("total / count", "round(total / count, 1)")),
    Case(5, "start each page after", function(MEAN, """
        start, total, count = "-", 0, 0
        while found := redis.xrange(stream, start, count=page):
            start = found[-1][0]
    """)),
    Case(5, "counted twice", paging("found[-1][0]")),
    Case(5, "middle of a millisecond", paging("int(found[-1][0].split('-')[0]) + 1")),
    Case(5, "mean of the first page", function(MEAN, """
        values = [int(f["temperature"]) for _, f in redis.xrange(stream, count=page)]
        return sum(values) / len(values)
    """)),
    Case(5, "larger than a page", function(MEAN, """
        values = [int(f["temperature"]) for _, f in redis.xrange(stream)]
        return sum(values) / len(values)
    """)),
    Case(5, "return None", paging("f'({found[-1][0]}'").replace(" if count else None", " if count else 0")),
    Case(5, "as a number", function(MEAN, "return str(26.0)")),
    Case(5, "Add up the `temperature`", function(MEAN, "return 21.5")),
    Case(6, "NOMKSTREAM prevents that", function(EXISTING, "return redis.xadd(stream, fields)")),
    Case(6, "let one command do both", function(EXISTING, """
        if redis.exists(stream):
            return redis.xadd(stream, fields)
    """)),
    Case(6, "fields that your function was given", function(EXISTING, f"return redis.xadd(stream, {READING}, nomkstream=True)")),
    Case(6, "append the fields that your function was given", function(EXISTING, "return None")),
    Case(6, "new entry's ID", function(EXISTING, "redis.xadd(stream, fields, nomkstream=True)")),
    Case(6, "Return None where", function(EXISTING, "return redis.xadd(stream, fields, nomkstream=True) or False")),
    Case(7, "Nothing trims", function(CAPPED, "redis.xadd(stream, fields)")),
    Case(7, "builds it again", function(CAPPED, """
        kept = redis.xrevrange(stream, count=cap - 1)[::-1]
        redis.delete(stream)
        for _, old in kept:
            redis.xadd(stream, old)
        redis.xadd(stream, fields)
    """)),
    Case(7, "approximate=False", function(CAPPED, "redis.xadd(stream, fields, maxlen=cap)")),
    Case(7, "one too many", function(CAPPED, "redis.xtrim(stream, cap, approximate=False)\nredis.xadd(stream, fields)")),
    Case(7, "new entry has to be", function(CAPPED, "redis.xtrim(stream, cap, approximate=False)")),
    Case(7, "Drop just enough old entries", function(CAPPED, "redis.xadd(stream, fields, maxlen=cap - 1, approximate=False)")),
    Case(7, "Drop the oldest entries", function(CAPPED, """
        redis.xadd(stream, fields)
        extra = redis.xlen(stream) - cap
        redis.xdel(stream, *[i for i, _ in redis.xrevrange(stream)][1 : 1 + extra])
    """)),
]  # fmt: skip

RIGHT += written("01", "right")
WRONG += written("01", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(1).check(case.exercise, answer(case.source, redis=redis))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(1).check(case.exercise, answer(case.source, redis=redis))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("01", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = ____"),
        (2, "answer = {'1000-5': ____, '1000-6': True}"),
        (3, function(BETWEEN, "return ____")),
        (4, function(LATEST, "return ____")),
        (5, function(MEAN, "return ____")),
        (6, function(EXISTING, "return ____")),
        (7, function(CAPPED, "return ____")),
    ],
)
def test_a_blank_is_called_blank(redis, exercise, source):
    assert open_lab(1).check(exercise, answer(source)).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("01", RIGHT, WRONG) == []


def test_checks_leave_only_the_learners_own_key(redis):
    for case in (RIGHT[0], RIGHT[2], WRONG[14], WRONG[-1]):
        open_lab(1).check(case.exercise, answer(case.source, redis=redis))
    assert {key for key in redis.scan_iter() if key != "course:database"} == {"lab01:chennai"}
