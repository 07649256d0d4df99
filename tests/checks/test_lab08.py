"""Lab 08: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import pytest

from helpers.checks import open_lab
from helpers.checks.lab08.exercises import DEMANDS, WHY_TRIPS
from helpers.course.blank import BLANK
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

ALL = "def answer(redis, stream, readings)"
MEAN = "def answer(redis, stream)"
STATIONS = "async def answer(redis, readings)"
WORK = "def answer(redis, stream, group, name, handle, count)"
COUNT = "def answer(rate, handle_ms, trip_ms, budget_ms)"


def changed(source: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return source


def awaited(source: str, *calls: str) -> str:
    return changed("async " + source, *((call, f"await {call}") for call in calls))


PIPELINE = """
    pipeline = redis.pipeline(transaction=False)
    for reading in readings:
        pipeline.xadd(stream, reading)
    return pipeline.execute()
"""
LOOP = "return [redis.xadd(stream, reading) for reading in readings]"
BOUNDED = "from itertools import islice\n" + function(ALL, """
    appended = 0
    pipeline = redis.pipeline(transaction=False)
    while batch := list(islice(readings, 1000)):
        for reading in batch:
            pipeline.xadd(stream, reading)
        appended += len(pipeline.execute())
    return appended
""")  # fmt: skip
COLLECTED = """
    appended = 0
    batch = []
    def send():
        pipeline = redis.pipeline()
        for reading in batch:
            pipeline.xadd(stream, reading)
        return len(pipeline.execute())
    for reading in readings:
        batch.append(reading)
        if len(batch) == 1000:
            appended += send()
            batch = []
    return appended + send()
"""
PAGES = """
    total = number = 0
    start = "-"
    while page := redis.xrange(stream, start, count=1000):
        for entry_id, fields in page:
            total, number = total + int(fields["temp_f"]), number + 1
        start = f"({page[-1][0]}"
    return total / number
"""
ONE_STATION = """
import asyncio
async def one_station(redis, stream, readings):
    for reading in readings:
        await redis.xadd(stream, reading)
"""
GATHERED = (
    "await asyncio.gather(*(one_station(redis, stream, its) for stream, its in readings.items()))"
)
ALL_IN_ONE = """
    pipeline = redis.pipeline()
    for stream, its in readings.items():
        for reading in its:
            pipeline.xadd(stream, reading)
    pipeline.execute()
"""
IN_STEP = "import asyncio\nfrom itertools import zip_longest\n" + function(STATIONS, """
    for row in zip_longest(*readings.values()):
        await asyncio.gather(*(redis.xadd(stream, one) for stream, one in zip(readings, row) if one))
""")  # fmt: skip
BATCHES = """
    for start in ("0", ">"):
        while entries := redis.xreadgroup(group, name, {stream: start}, count=count).get(stream):
            for entry_id, fields in entries:
                handle(fields)
            redis.xack(stream, group, *(entry_id for entry_id, _ in entries))
"""
ACK = "            redis.xack(stream, group, *(entry_id for entry_id, _ in entries))\n"
HANDLE = "            for entry_id, fields in entries:\n                handle(fields)\n"
SEARCH = """
    count = 1
    while 2 * (trip_ms + count * handle_ms) <= budget_ms:
        if rate * (trip_ms + count * handle_ms) <= 1000 * count:
            return count
        count += 1
    return None
"""
FORMULA = "import math\n" + function(COUNT, """
    gap = 1000 / rate
    if handle_ms >= gap:
        return None
    count = max(1, math.ceil(trip_ms / (gap - handle_ms)))
    return count if 2 * (trip_ms + count * handle_ms) <= budget_ms else None
""")  # fmt: skip

RIGHT = [
    Case(2, "", function(ALL, PIPELINE)),
    Case(2, "", function(ALL, changed(PIPELINE, ("transaction=False", "")))),
    Case(2, "", awaited(function(ALL, PIPELINE), "pipeline.execute()")),
    Case(3, "", BOUNDED),
    Case(3, "", function(ALL, COLLECTED)),
    Case(3, "", awaited(BOUNDED.split("\n", 1)[1], "pipeline.execute()").replace("islice(", "__import__('itertools').islice(")),
    Case(3, "", "from helpers import BulkProducer\n" + function(ALL, "with BulkProducer(redis, stream) as producer: return producer.add_many(readings).count")),
    Case(4, "", function(MEAN, PAGES)),
    Case(4, "", function(MEAN, changed(PAGES, ("(stream, start, count=1000)", "(stream, min=start, count=900)"), ("        start =", "        if len(page) < 900: break\n        start =")))),
    Case(4, "", awaited(function(MEAN, changed(PAGES, ('"-"', '"0"'), ("redis.xrange(stream, start, count=1000)", "redis.xread({stream: start}, count=1000).get(stream)"), ('f"({page[-1][0]}"', "page[-1][0]"))), "redis.xread").replace("await redis.xread({stream: start}, count=1000)", "(await redis.xread({stream: start}, count=1000))")),
    Case(5, "", ONE_STATION + function(STATIONS, GATHERED)),
    Case(5, "", ONE_STATION + function(STATIONS, """
        async with asyncio.TaskGroup() as tasks:
            for stream, its in readings.items():
                tasks.create_task(one_station(redis, stream, its))
    """)),
    Case(5, "", function(STATIONS.removeprefix("async "), ALL_IN_ONE)),
    Case(5, "", function(STATIONS, ALL_IN_ONE.replace("pipeline.execute", "await pipeline.execute"))),
    Case(5, "", ONE_STATION.replace("        await", "        await asyncio.sleep(0.001)\n        await") + function(STATIONS, GATHERED)),
    Case(5, "", "import asyncio\n" + function(STATIONS, """
        async def one_station(stream, its):
            pipeline = redis.pipeline()
            for reading in its:
                pipeline.xadd(stream, reading)
            await pipeline.execute()
        await asyncio.gather(*(one_station(stream, its) for stream, its in readings.items()))
    """)),
    Case(6, "", function(WORK, BATCHES)),
    Case(6, "", awaited(function(WORK, BATCHES), "redis.xack").replace("redis.xreadgroup(group, name, {stream: start}, count=count)", "(await redis.xreadgroup(group, name, {stream: start}, count=count))")),
    Case(6, "", function(WORK, """
        start = "0"
        while True:
            entries = redis.xreadgroup(group, name, {stream: start}, count=count).get(stream)
            if not entries and start == ">":
                return
            start = start if entries else ">"
            for _, fields in entries or ():
                handle(fields)
            if entries:
                redis.pipeline().xack(stream, group, *[entry[0] for entry in entries]).execute()
    """)),
    Case(7, "", function(COUNT, SEARCH)),
    Case(7, "", FORMULA),
    Case(7, "", changed(FORMULA, ("gap = 1000 / rate", "a_ms = rate / 1000"), ("handle_ms >= gap", "a_ms * handle_ms >= 1"), ("trip_ms / (gap - handle_ms)", "a_ms * trip_ms / (1 - a_ms * handle_ms)"))),
    Case(7, "", changed(FORMULA, ("gap = 1000 / rate", "gap, handle, trip = 1 / rate, handle_ms / 1000, trip_ms / 1000"), ("handle_ms >= gap", "handle >= gap"), ("trip_ms / (gap - handle_ms)", "trip / (gap - handle)"))),
]  # fmt: skip

ONE_BY_ONE = "sent each reading on its own"
WRONG = [
    Case(2, ONE_BY_ONE, function(ALL, LOOP)),
    Case(2, "at the same time, but", "import asyncio\n" + function("async " + ALL, "return await asyncio.gather(*(redis.xadd(stream, one) for one in readings))")),
    Case(2, "waits more than once", function(ALL, "ids = []\nfor n in range(0, len(readings), 100):\n    pipeline = redis.pipeline()\n    for one in readings[n:n + 100]: pipeline.xadd(stream, one)\n    ids += pipeline.execute()\nreturn ids")),
    Case(2, "waits more than once", function(ALL, changed(PIPELINE, ("return pipeline.execute()", "pipeline.execute()\n    return [one for one, _ in redis.xrange(stream)]")))),
    Case(2, "waits more than once", "from helpers import BulkProducer\n" + function(ALL, "with BulkProducer(redis, stream) as producer: producer.add_many(readings)")),
    Case(2, "returns the pipeline", function(ALL, "pipeline = redis.pipeline(); ids = [pipeline.xadd(stream, one) for one in readings]; pipeline.execute(); return ids")),
    Case(2, "It sends nothing before", function(ALL, "pipeline = redis.pipeline(); return [pipeline.xadd(stream, one) for one in readings]")),
    Case(2, "It sends nothing before", function(ALL, changed(PIPELINE, ("return pipeline.execute()", "return pipeline")))),
    Case(2, "Return the IDs", function(ALL, changed(PIPELINE, ("return ", "")))),
    Case(2, "each reading as it is", function(ALL, changed(PIPELINE, ("(stream, reading)", "(stream, {'reading': str(reading)})")))),
    Case(3, "readings had been taken but", function(ALL, changed(PIPELINE, ("    for", "    readings = list(readings)\n    for"), ("return pipeline.execute()", "return len(pipeline.execute())")))),
    Case(3, "The last readings are missing", function(ALL, changed(COLLECTED, (" + send()", "")))),
    Case(3, ONE_BY_ONE, function(ALL, f"return len({LOOP.removeprefix('return ')})")),
    Case(3, "One too many", function(ALL, changed(COLLECTED, ("== 1000", "> 1000")))),
    Case(3, "Some readings were added twice", function(ALL, changed(COLLECTED, ("            batch = []\n", ""), ("len(batch) == 1000", "len(batch) % 1000 == 0")))),
    Case(3, "opens 100 at most", "import asyncio\n" + function("async " + ALL, "return len(await asyncio.gather(*(redis.xadd(stream, one) for one in readings)))")),
    Case(3, "takes one more reading", function(ALL, changed(COLLECTED, ("        batch.append(reading)\n", ""), ("            batch = []\n", "            batch = []\n        batch.append(reading)\n")))),
    Case(3, "raises StopIteration when the generator", function(ALL, "batch = []\nwhile True:\n    batch.append(next(readings))\n    if len(batch) == 1000:\n        redis.pipeline().execute()\n        batch = []")),
    Case(3, "batches are small", changed(BOUNDED, ("1000", "100"))),
    Case(4, "hold too much", function(MEAN, "temps = [int(one['temp_f']) for _, one in redis.xrange(stream)]; return sum(temps) / len(temps)")),
    Case(4, "Small pages", function(MEAN, changed(PAGES, ("count=1000", "count=100")))),
    Case(4, "It was still running. If", function(MEAN, changed(PAGES, ('f"({page[-1][0]}"', "page[-1][0]")))),
    Case(4, "The pages overlap", function(MEAN, changed(PAGES, ('f"({page[-1][0]}"', "page[-1][0]"), ("        start =", "        if len(page) < 1000: break\n        start =")))),
    Case(4, "Return the mean without rounding", function(MEAN, changed(PAGES, ("total / number", "round(total / number, 2)")))),
    Case(4, "It reads the same page", function(MEAN, "temps = [int(one['temp_f']) for _ in range(10) for _, one in redis.xrange(stream, count=1000)]; return sum(temps) / len(temps)")),
    Case(4, "Field values are strings, even", function(MEAN, changed(PAGES, ('int(fields["temp_f"])', 'fields["temp_f"]')))),
    Case(4, "share a millisecond", function(MEAN, changed(PAGES, ('f"({page[-1][0]}"', "f\"{int(page[-1][0].split('-')[0]) + 1}-0\"")))),
    Case(4, "The last page may be short", function(MEAN, changed(PAGES, ("while page := redis.xrange(stream, start, count=1000):", "while len(page := redis.xrange(stream, start, count=1000)) == 1000:")))),
    Case(5, "that run at the same", "import asyncio\n" + function(STATIONS, "await asyncio.gather(*(redis.xadd(stream, one) for stream, its in readings.items() for one in its))")),
    Case(5, "that run at the same", "import asyncio\n" + function(STATIONS, "for stream, its in readings.items(): await asyncio.gather(*(redis.xadd(stream, one) for one in its))")),
    Case(5, "One station waits for another", ONE_STATION + function(STATIONS, "for stream, its in readings.items(): await one_station(redis, stream, its)")),
    Case(5, "Each stream got as many", "import asyncio\n" + function(STATIONS, """
        for row in zip(*readings.values()):
            await asyncio.gather(*(redis.xadd(stream, one) for stream, one in zip(readings, row)))
    """)),
    Case(5, "The stations move in step", IN_STEP),
    Case(5, "The stations move in step", "from itertools import zip_longest\n" + function(STATIONS, """
        for row in zip_longest(*readings.values()):
            pipeline = redis.pipeline()
            for stream, one in zip(readings, row):
                if one: pipeline.xadd(stream, one)
            await pipeline.execute()
    """)),
    Case(5, "One station waits for another", function(STATIONS, """
        for stream, its in readings.items():
            pipeline = redis.pipeline()
            for reading in its: pipeline.xadd(stream, reading)
            await pipeline.execute()
    """)),
    Case(5, "however long you sleep", ONE_STATION + function(STATIONS, "for stream, its in readings.items(): asyncio.create_task(one_station(redis, stream, its))\nawait asyncio.sleep(0.5)")),
    Case(5, "about asyncio. A plain `def`", function(STATIONS.removeprefix("async "), "for stream, its in readings.items():\n    for one in its: redis.xadd(stream, one)")),
    Case(5, "is missing, so a command", "import asyncio\n" + function(STATIONS, "await asyncio.gather(*(asyncio.to_thread(redis.xadd, stream, one) for stream, its in readings.items() for one in its))")),
    Case(5, "ends with your function", ONE_STATION + function(STATIONS, "for stream, its in readings.items(): asyncio.create_task(one_station(redis, stream, its))")),
    Case(6, "One XACK per entry means", function(WORK, changed(BATCHES, (ACK, ""), ("handle(fields)\n", "handle(fields)\n                redis.xack(stream, group, entry_id)\n")))),
    Case(6, "A pipeline saves the waiting", function(WORK, changed(BATCHES, (ACK, "            acks = redis.pipeline()\n            for entry_id, _ in entries: acks.xack(stream, group, entry_id)\n            acks.execute()\n")))),
    Case(6, "First handle the whole batch", function(WORK, changed(BATCHES, (ACK, ""), (HANDLE, ACK + HANDLE)))),
    Case(6, "nothing is pending, ever", function(WORK, changed(BATCHES, (ACK, ""), ("count=count", "count=count, noack=True"), ('("0", ">")', '(">",)')))),
    Case(6, "entries in hand: read that", function(WORK, changed(BATCHES, ("count=count", "count=1")))),
    Case(6, "until a reply is empty", function(WORK, changed(BATCHES, ("while entries :=", "if entries :=")))),
    Case(6, "never gets to `>`", function(WORK, changed(BATCHES, ('("0", ">")', '("0",)')))),
    Case(6, "in its own history: read with `0`", function(WORK, changed(BATCHES, ('("0", ">")', '(">",)')))),
    Case(6, "until the very end", function(WORK, """
        ids = []
        for start in ("0", ">"):
            while entries := redis.xreadgroup(group, name, {stream: start}, count=count).get(stream):
                for entry_id, fields in entries:
                    handle(fields)
                    ids.append(entry_id)
                if start == "0":
                    redis.xack(stream, group, *ids)
        redis.xack(stream, group, *ids)
    """)),
    Case(7, "more than the budget", function(COUNT, "return int(budget_ms // handle_ms)")),
    Case(7, "Round up", changed(FORMULA, ("math.ceil", "math.floor"))),
    Case(7, "Equal is enough, for both", function(COUNT, changed(SEARCH, ("<= 1000", "< 1000")))),
    Case(7, "Equal is enough, for both", function(COUNT, changed(SEARCH, ("<= budget_ms", "< budget_ms")))),
    Case(7, "all times are in milliseconds", function(COUNT, changed(SEARCH, ("1000 * count", "count")))),
    Case(7, "does your search end before it", function(COUNT, "for n in range(1, 101):\n    if rate * (trip_ms + n * handle_ms) <= 1000 * n and 2 * (trip_ms + n * handle_ms) <= budget_ms: return n")),
    Case(7, "Take the smallest", function(COUNT, "return int((budget_ms / 2 - trip_ms) // handle_ms)")),
    Case(7, "keeps up. But an entry", changed(FORMULA, ("if 2 *", "if"))),
    Case(7, "If handling an entry takes", changed(FORMULA, ("    if handle_ms >= gap:\n        return None\n", ""))),
]  # fmt: skip

RIGHT += written("08", "right")
WRONG += written("08", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(8).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(8).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower(), verdict
    assert mistake("08", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "line"),
    list(enumerate([ALL, ALL, MEAN, STATIONS, WORK, COUNT], 2)),
)
def test_a_blank_is_called_blank(redis, exercise, line):
    assert open_lab(8).check(exercise, answer(function(line, "return ____"))).outcome == "blank"


# ------------------------------------------------------------------ 1: predict

FUNCTIONS = """
import asyncio
def one_by_one(redis, stream, readings):
    for reading in readings: redis.xadd(stream, reading)
def in_a_pipeline(redis, stream, readings, transaction=False):
    pipeline = redis.pipeline(transaction=transaction)
    for reading in readings: pipeline.xadd(stream, reading)
    pipeline.execute()
def in_a_transaction(redis, stream, readings):
    in_a_pipeline(redis, stream, readings, True)
def executed_each_time(redis, stream, readings):
    for reading in readings: in_a_transaction(redis, stream, [reading])
def many_values(redis, stream, readings):
    redis.sadd(stream, *(reading["temp_f"] for reading in readings))
async def gathered(redis, stream, readings):
    await asyncio.gather(*(redis.xadd(stream, reading) for reading in readings))
answer = [one_by_one, in_a_pipeline, in_a_transaction, executed_each_time, many_values, gathered]
"""
TRIPS = dict(zip(WHY_TRIPS, (10, 1, 1, 10, 1, 10), strict=True))
COMMANDS = dict(zip(WHY_TRIPS, (10, 10, 12, 30, 1, 10), strict=True))


@pytest.mark.parametrize(
    ("trips", "commands", "outcome", "says"),
    [
        ({}, {}, "right", "all twelve"),
        ({"gathered": 1}, {}, "wrong", "saves time but no round trips"),
        ({"executed_each_time": 1}, {}, "wrong", "inside the loop"),
        ({"in_a_pipeline": 10}, {}, "wrong", "Expected: `round_trips`: `in_a_pipeline`: 1"),
        ({}, {"in_a_pipeline": "10"}, "wrong", "without quotes"),
        ({}, {"in_a_transaction": 10}, "wrong", "the server gets two more"),
        ({}, {"in_a_pipeline": 1}, "wrong", "a pipeline saves waiting"),
        ({}, {"many_values": 10}, "wrong", "SADD takes many values"),
        ({}, {"gathered": BLANK}, "blank", "Still blank"),
        ({"another": 1}, {}, "wrong", "Keep the dict"),
    ],
)
def test_predictions_are_compared_with_what_was_counted(redis, trips, commands, outcome, says):
    given = answer(FUNCTIONS), TRIPS | trips, COMMANDS | commands
    verdict = open_lab(8).check(1, *given)
    assert verdict.outcome == outcome, verdict
    assert says.lower() in repr(verdict).lower()


def test_the_functions_have_to_be_those_of_the_lab(redis):
    verdict = open_lab(8).check(1, answer(FUNCTIONS)[:5], TRIPS, COMMANDS)
    assert "Keep the list of functions" in repr(verdict)


# ------------------------------------------------------------------ what all have in common


def test_every_exercise_has_answers_enough():
    assert too_few("08", RIGHT, WRONG) == []


def test_demands_are_of_every_kind():
    answers = [demand.answer() for demand in DEMANDS]
    assert {None, 1, 6, 7, 8, 80, 1201} <= set(answers)
    tight = [one for one, n in zip(DEMANDS, answers, strict=True) if n and not one.in_time(n + 1)]
    assert tight  # two batches of it fit, and two of the next COUNT do not


def test_checks_leave_nothing_behind(redis):
    redis.xadd("chennai", {"temp_f": 70})
    for number in (3, 6):
        for case in (next(c for c in cases if c.exercise == number) for cases in (RIGHT, WRONG)):
            open_lab(8).check(number, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database", "chennai"}
