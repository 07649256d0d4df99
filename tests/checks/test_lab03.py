"""Lab 03: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import pytest

from helpers.checks import open_lab
from tests.checks.answers import Case, answer, function, mistake, too_few, written

pytestmark = (
    pytest.mark.once
)  # the solution, which nbval runs on every server, goes through the same checks

PREDICTIONS = {"a": 2, "b": 3, "c": 0, "d": 2, "e": 0, "f": 1, "g": 1, "h": 0}
ENSURE = "def answer(redis, stream, group)"
NEXT = "def answer(redis, stream, group, name, count)"
WORK = "def answer(redis, stream, group, name, handle)"
SHARE = "async def answer(redis, stream, group, names, handle)"
UNREAD = "def answer(redis, stream, group)"
CHOOSE = "def answer(city, n)"

ERRORS = "from redis import ResponseError, RedisError\n"
CREATE = "redis.xgroup_create(stream, group, '0', mkstream=True)"
READ = "redis.xreadgroup(group, name, {stream: '>'}, count=count)"


def ensuring(make: str = CREATE, caught: str = "if 'BUSYGROUP' not in str(error): raise") -> str:
    body = f"try:\n    {make}\nexcept ResponseError as error:\n    {caught}\n"
    return ERRORS + function(ENSURE, body)


def working(
    first: str = "pass",
    *,
    before: str = "pass",
    after: str = "redis.xack(stream, group, entry_id)",
    read: str = "redis.xreadgroup(group, name, {stream: '>'}, count=2)",
    last: str = "pass",
) -> str:
    return function(WORK, f"""
        while entries := {read}.get(stream):
            {first}
            for entry_id, fields in entries:
                {before}
                handle(fields)
                {after}
            {last}
    """)  # fmt: skip


def sharing(
    end: str = "await asyncio.gather(*(worker(name) for name in names))",
    *,
    read: str = "await redis.xreadgroup(group, name, {stream: '>'}, count=1)",
    handle: str = "await handle(fields)",
    ack: str = "await redis.xack(stream, group, entry_id)",
) -> str:
    worker = function("async def worker(name)", f"""
        while entries := ({read}).get(stream):
            for entry_id, fields in entries:
                {handle}
                {ack}
    """)  # fmt: skip
    return "import asyncio\n" + function(SHARE, f"{worker}\n{end}")


def counting(found: str, after: str = "'(' + about['last-delivered-id']") -> str:
    return function(UNREAD, f"""
        for about in redis.xinfo_groups(stream):
            if about["name"] == group:
                after = {after}
                return {found}
    """)  # fmt: skip


def choosing(number: str, first: str = "") -> str:
    imports = "import hashlib, itertools, random, zlib\ncounter = itertools.count()\n"
    return imports + function(CHOOSE, f"{first}\nreturn f'lab03:weather:{{{number}}}'")


RIGHT = [
    Case(1, "", f"answer = {PREDICTIONS}"),
    Case(2, "", ensuring()),
    Case(2, "", ERRORS + "async " + function(ENSURE, """
        try:
            await redis.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
    """)),
    Case(2, "", "from helpers import Group\n" + function(ENSURE, """
        Group(redis, stream, group).create("0", make_stream=True)
    """)),
    Case(2, "", ERRORS + function(ENSURE, """
        if redis.exists(stream) and any(one["name"] == group for one in redis.xinfo_groups(stream)):
            return
        try:
            redis.xgroup_create(stream, group, 0, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" in str(error):
                return
            raise
    """)),
    Case(2, "", "import redis as library\n" + function(ENSURE, """
        try:
            redis.execute_command("XGROUP", "CREATE", stream, group, "0-0", "MKSTREAM")
        except library.exceptions.ResponseError as error:
            if "already exists" not in str(error):
                raise
    """)),
    Case(3, "", function(NEXT, f"return {READ}.get(stream, [])")),
    Case(3, "", "async " + function(NEXT, f"""
        reply = await {READ}
        return reply[stream] if reply else []
    """)),
    Case(3, "", function(NEXT, f"""
        for _, entries in {READ}.items():
            return entries
        return []
    """)),
    Case(3, "", function(NEXT, f"return [one for entries in {READ}.values() for one in entries]")),
    Case(4, "", working()),
    Case(4, "", working(read="redis.xreadgroup(group, name, {stream: '>'})")),
    Case(4, "", working(read="redis.xreadgroup(group, name, {stream: '>'}, block=50)")),
    Case(4, "", working(after="pass", last="redis.xack(stream, group, *[one for one, _ in entries])")),
    Case(4, "", "async " + function(WORK, """
        while True:
            reply = await redis.xreadgroup(group, name, {stream: ">"}, count=1)
            if not reply:
                return
            [(entry_id, fields)] = reply[stream]
            handle(fields)
            await redis.xack(stream, group, entry_id)
    """)),
    Case(4, "", "from helpers import Consumer\n" + function(WORK, """
        Consumer(redis, stream, group, lambda entry: handle(entry.fields), name=name).run(drain=True)
    """)),
    Case(4, "", function(WORK, """
        for start in ("0", ">"):  # what a crash has left behind, first
            while entries := redis.xreadgroup(group, name, {stream: start}, count=1).get(stream):
                for entry_id, fields in entries:
                    handle(fields)
                    redis.xack(stream, group, entry_id)
    """)),
    Case(5, "", sharing()),
    Case(5, "", sharing("async with asyncio.TaskGroup() as team:\n    for name in names:\n        team.create_task(worker(name))")),
    Case(5, "", sharing("tasks = [asyncio.create_task(worker(name)) for name in names]\nfor task in tasks:\n    await task")),
    Case(5, "", sharing("await asyncio.wait([asyncio.ensure_future(worker(name)) for name in names])")),
    Case(5, "", sharing(read="await redis.xreadgroup(group, name, {stream: '>'}, count=1, block=100)")),
    Case(5, "", "import asyncio\nfrom helpers import AsyncConsumer\n" + function(SHARE, """
        team = [
            AsyncConsumer(redis, stream, group, lambda entry: handle(entry.fields), name=name, batch=1)
            for name in names
        ]
        await asyncio.gather(*(one.run(drain=True) for one in team))
    """)),
    Case(6, "", counting("len(redis.xrange(stream, after))")),
    Case(6, "", "from helpers import scan\n" + counting("sum(1 for _ in scan(redis, stream, after))")),
    Case(6, "", counting("sum(one != about['last-delivered-id'] for one, _ in redis.xrange(stream, after))", "about['last-delivered-id']")),
    Case(6, "", counting("len(redis.xread({stream: after}).get(stream, []))", "about['last-delivered-id']")),
    Case(6, "", "from helpers import Group\n" + function(UNREAD, """
        after = Group(redis, stream, group).info().last_delivered
        return len(redis.xrange(stream, f"({after}"))
    """)),
    Case(6, "", "async " + function(UNREAD, """
        places = {one["name"]: one["last-delivered-id"] for one in await redis.xinfo_groups(stream)}
        last, count = places[group], 0
        while page := await redis.xrange(stream, f"({last}", count=1000):
            count, last = count + len(page), page[-1][0]
        return count
    """)),
    Case(7, "", choosing("zlib.crc32(city.encode()) % n")),
    Case(7, "", choosing("int(hashlib.sha256(city.encode()).hexdigest(), 16) % n")),
    Case(7, "", choosing("int.from_bytes(hashlib.md5(city.encode()).digest()[:8]) % n")),
    Case(7, "", choosing("hashlib.blake2b(city.encode()).digest()[0] % n")),
    Case(7, "", choosing("sum(city.encode()) % n")),
    Case(7, "", choosing("sum(map(ord, city)) % n")),
    Case(7, "", choosing("random.Random(city).randrange(n)")),
    Case(7, "", choosing("total % n", "total = 0\nfor letter in city:\n    total = total * 31 + ord(letter)")),
]  # fmt: skip

WRONG = [
    Case(1, "limits the reply to two", f"answer = {PREDICTIONS | {'a': 5}}"),
    Case(1, "continues where it was", f"answer = {PREDICTIONS | {'b': 5}}"),
    Case(1, "bob is in the same group", f"answer = {PREDICTIONS | {'c': 5}}"),
    Case(1, "this one begins after `3-0`", f"answer = {PREDICTIONS | {'d': 3}}"),
    Case(1, "from now on", f"answer = {PREDICTIONS | {'e': 5}}"),
    Case(1, "when `$` was looked up", f"answer = {PREDICTIONS | {'f': 0}}"),
    Case(1, "for every group", f"answer = {PREDICTIONS | {'g': 0}}"),
    Case(1, "alice doesn't get it as well", f"answer = {PREDICTIONS | {'h': 1}}"),
    Case(1, "Keep the dict", "answer = {'a': 2}"),
    Case(2, "begin at `0`", ensuring("redis.xgroup_create(stream, group, mkstream=True)")),
    Case(2, "begin at `0`", ensuring("redis.xgroup_create(stream, group, '$', mkstream=True)")),
    Case(2, "mkstream=True", ensuring("redis.xgroup_create(stream, group, '0')")),
    Case(2, "mkstream=True", ensuring("redis.xgroup_create(stream, group, '0')", "pass")),
    Case(2, "and only this one", function(ENSURE, CREATE)),
    Case(2, "any other", ensuring(caught="pass")),
    Case(2, "any other", ensuring(caught="print('Consumer group already exists')")),
    Case(2, "any other", ensuring(caught="if 'BUSYGROUP' not in str(error): return error")),
    Case(2, "any other", function(ENSURE, f"try:\n    {CREATE}\nexcept Exception:\n    pass")),
    Case(2, "don't recreate or move it", ensuring(f"redis.xgroup_destroy(stream, group); {CREATE}", "raise").replace("try:\n", "try:\n        redis.xlen(stream) or redis.xgroup_create(stream, 'other', mkstream=True)\n")),
    Case(2, "don't recreate or move it", ensuring(caught="redis.xgroup_setid(stream, group, '0')")),
    Case(2, "don't recreate or move it", ensuring(caught="redis.xgroup_destroy(stream, group)\n    " + CREATE)),
    Case(2, "in any case", function(ENSURE, f"if not redis.exists(stream):\n    {CREATE}")),
    Case(2, "A dummy entry", ensuring("redis.exists(stream) or redis.xadd(stream, {'dummy': '1'})\n    " + "redis.xgroup_create(stream, group, '0')")),
    Case(2, "A dummy entry", ensuring("redis.exists(stream) or redis.xdel(stream, redis.xadd(stream, {'dummy': '1'}))\n    " + "redis.xgroup_create(stream, group, '0')")),
    Case(2, "another consumer created it", function(ENSURE, f"""
        if not redis.exists(stream) or all(one["name"] != group for one in redis.xinfo_groups(stream)):
            {CREATE}
    """)),
    Case(2, "now it's gone", ensuring(caught="if 'BUSYGROUP' not in str(error): redis.delete(stream); " + CREATE)),
    Case(2, "There is no key with this name", function(ENSURE, f"if all(one['name'] != group for one in redis.xinfo_groups(stream)):\n    {CREATE}")),
    Case(2, "is not defined", ensuring().removeprefix(ERRORS)),
    Case(3, "What is new to the group", function(NEXT, READ.replace("'>'", "'0'").join(["return ", ".get(stream, [])"]))),
    Case(3, "XREADGROUP takes `>`", function(NEXT, READ.replace("'>'", "'$'").join(["return ", ".get(stream, [])"]))),
    Case(3, "know nothing about groups", function(NEXT, "return redis.xread({stream: '0'}, count=count).get(stream, [])")),
    Case(3, "know nothing about groups", function(NEXT, "return redis.xrange(stream, count=count)")),
    Case(3, "whole reply", function(NEXT, f"return {READ}")),
    Case(3, "empty list", function(NEXT, f"return {READ}.get(stream)")),
    Case(3, "reply.get(stream, [])", function(NEXT, f"return {READ}[stream]")),
    Case(3, "With NOACK", function(NEXT, READ.replace("count=count", "count=count, noack=True").join(["return ", ".get(stream, [])"]))),
    Case(3, "the most that it may return", function(NEXT, READ.replace(", count=count", "").join(["return ", ".get(stream, [])"]))),
    Case(3, "in this order", function(NEXT, READ.replace("group, name", "name, group").join(["return ", ".get(stream, [])"]))),
    Case(3, "`name` is the consumer", function(NEXT, READ.replace("name,", "'name',").join(["return ", ".get(stream, [])"]))),
    Case(3, "leave out BLOCK", function(NEXT, READ.replace("count=count", "count=count, block=100").join(["return ", ".get(stream, [])"]))),
    Case(3, "leave out BLOCK", function(NEXT, READ.replace("count=count", "count=count, block=0").join(["return ", ".get(stream, [])"]))),
    Case(3, "hasn't begun to work", function(NEXT, f"""
        entries = {READ}.get(stream, [])
        for entry_id, _ in entries:
            redis.xack(stream, group, entry_id)
        return entries
    """)),
    Case(3, "list of pairs", function(NEXT, f"return [fields for _, fields in {READ}.get(stream, [])]")),
    Case(4, "didn't tell the group", working(after="pass")),
    Case(4, "call `handle` first, then send XACK", working(before="redis.xack(stream, group, entry_id)", after="pass")),
    Case(4, "call `handle` first, then send XACK", working("redis.xack(stream, group, *[one for one, _ in entries])", after="pass")),
    Case(4, "With NOACK", working(after="pass", read="redis.xreadgroup(group, name, {stream: '>'}, noack=True)")),
    Case(4, "Acknowledge each", working(after="pass", last="redis.xack(stream, group, entry_id)")),
    Case(4, "the group and the ID", working(after="redis.xack(stream, name, entry_id)")),
    Case(4, "the group and the ID", working(after="redis.xack(stream, 'group', entry_id)")),
    Case(4, "An ID is a string like", working(after="redis.xack(stream, group, name, entry_id)")),
    Case(4, "Leave the entries on the stream", working(after="redis.xdel(stream, entry_id)")),
    Case(4, "it hasn't ended", working(read="redis.xreadgroup(group, name, {stream: '>'}, block=0)")),
    Case(4, "it hasn't ended", function(WORK, """
        while True:
            for entry_id, fields in redis.xreadgroup(group, name, {stream: ">"}, count=1).get(stream, []):
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(4, "read again until", working().replace("while entries :=", "if entries :=")),
    Case(4, "read again until", function(WORK, """
        for entry_id, fields in redis.xreadgroup(group, name, {stream: ">"}).get(stream, []):
            handle(fields)
            redis.xack(stream, group, entry_id)
    """)),
    Case(4, "only the fields", working().replace("handle(fields)", "handle((entry_id, fields))")),
    Case(4, "without quotes", working(read="redis.xreadgroup(group, 'name', {stream: '>'}, count=2)")),
    Case(4, "For new entries, use `>`", working(read="redis.xreadgroup(group, name, {stream: '0'}, count=2)")),
    Case(4, "XREADGROUP takes `>`", working(read="redis.xreadgroup(group, name, {stream: '$'}, count=2)")),
    Case(4, "know nothing about groups", function(WORK, """
        for entry_id, fields in redis.xrange(stream):
            handle(fields)
            redis.xack(stream, group, entry_id)
    """)),
    Case(4, "may hold more than one entry", function(WORK, """
        while entries := redis.xreadgroup(group, name, {stream: ">"}, count=2).get(stream):
            entry_id, fields = entries[0]
            handle(fields)
            redis.xack(stream, group, entry_id)
    """)),
    Case(4, "reply.get(stream, [])", function(WORK, """
        while True:
            for entry_id, fields in redis.xreadgroup(group, name, {stream: ">"}, count=1)[stream]:
                handle(fields)
                redis.xack(stream, group, entry_id)
    """)),
    Case(4, "Nothing was handled", function(WORK, "redis.xreadgroup(group, name, {stream: '>'})")),
    Case(5, "starts the next worker only when", sharing("for name in names:\n    await worker(name)")),
    Case(5, "starts the next worker only when", sharing("for name in names:\n    await asyncio.create_task(worker(name))")),
    Case(5, "each worker has its own group", sharing(
        read="await redis.xreadgroup(name, name, {stream: '>'}, count=1)",
        ack="await redis.xack(stream, name, entry_id)",
        end="for name in names:\n    await redis.xgroup_create(stream, name, '0')\nawait asyncio.gather(*map(worker, names))",
    )),
    Case(5, "under its own name", sharing("await asyncio.gather(*(worker(names[0]) for name in names))")),
    Case(5, "under its own name", sharing(read="await redis.xreadgroup(group, f'worker-{id(asyncio.current_task())}', {stream: '>'}, count=1)")),
    Case(5, "more than once", "import asyncio\n" + function(SHARE, """
        async def worker(name):
            for entry_id, fields in (await redis.xread({stream: "0"}))[stream]:
                await handle(fields)
        await asyncio.gather(*map(worker, names))
    """)),
    Case(5, "count=1", "import asyncio\n" + function(SHARE, """
        reply = await redis.xreadgroup(group, names[0], {stream: ">"})
        await asyncio.gather(*(handle(fields) for _, fields in reply[stream]))
        await redis.xack(stream, group, *[entry_id for entry_id, _ in reply[stream]])
    """)),
    Case(5, "count=1", sharing(read="await redis.xreadgroup(group, name, {stream: '>'})")),
    Case(5, "count=1", sharing(read="await redis.xreadgroup(group, name, {stream: '>'}, count=10)")),
    Case(5, "acknowledges what it has handled", sharing(ack="pass")),
    Case(5, "acknowledge after the work", sharing(handle="await redis.xack(stream, group, entry_id)", ack="await handle(fields)")),
    Case(5, "acknowledge after the work", sharing(read="await redis.xreadgroup(group, name, {stream: '>'}, count=1, noack=True)")),
    Case(5, "await them all", sharing("for name in names:\n    asyncio.create_task(worker(name))\nwhile not (await redis.xpending(stream, group))['pending']:\n    pass")),
    Case(5, "await them all", sharing("for name in names:\n    asyncio.create_task(worker(name))")),
    Case(5, "An `await` is missing", sharing("for name in names:\n    worker(name)")),
    Case(5, "An `await` is missing", sharing(handle="handle(fields)")),
    Case(5, "ends when `>` returns nothing more", sharing().replace("while entries :=", "if entries :=")),
    Case(5, "it hasn't ended", sharing(read="await redis.xreadgroup(group, name, {stream: '>'}, count=1, block=0)")),
    Case(5, "use `await` instead of", sharing("asyncio.run(worker(names[0]))")),
    Case(5, "only the fields", sharing(handle="await handle((entry_id, fields))")),
    Case(5, "Keep the `async def`", function(SHARE.removeprefix("async "), "pass")),
    Case(5, "in this order", sharing(read="await redis.xreadgroup(name, group, {stream: '>'}, count=1)")),
    Case(6, "may not know the lag", counting("about['lag']")),
    Case(6, "may not know the lag", counting("about['lag'] or 0")),
    Case(6, "don't take deleted entries into account", counting("about['lag'] if about['lag'] is not None else redis.xlen(stream) - about['entries-read']")),
    Case(6, "XLEN counts everything", function(UNREAD, "return redis.xlen(stream)")),
    Case(6, "don't take deleted entries into account", counting("redis.xlen(stream) - (about['entries-read'] or 0)")),
    Case(6, "don't take deleted entries into account", counting("redis.xinfo_stream(stream)['entries-added'] - (about['entries-read'] or 0)")),
    Case(6, "the number of pending entries", counting("about['pending']")),
    Case(6, "the number of pending entries", function(UNREAD, "return redis.xpending(stream, group)['pending']")),
    Case(6, "One too many", counting("len(redis.xrange(stream, after))", "about['last-delivered-id']")),
    Case(6, "another group of this stream", function(UNREAD, "return len(redis.xrange(stream, '(' + redis.xinfo_groups(stream)[0]['last-delivered-id']))")),
    Case(6, "must not change", function(UNREAD, "return len(redis.xreadgroup(group, 'counter', {stream: '>'}).get(stream, []))")),
    Case(6, "counts only up to 1,000", "from helpers import Group\n" + function(UNREAD, "return Group(redis, stream, group).info().lag")),
    Case(6, "Return a number", counting("redis.xrange(stream, after)")),
    Case(6, "one page of them", function("def answer(redis, stream, group)", """
        about = {one["name"]: one for one in redis.xinfo_groups(stream)}[group]
        return len(redis.xrange(stream, f"({about['last-delivered-id']}", count=1000))
    """)),
    Case(7, "differs from process to process", choosing("hash(city) % n")),
    Case(7, "not on a counter", choosing("next(counter) % n")),
    Case(7, "not on a counter", choosing("random.randrange(n)")),
    Case(7, "what a process remembers", "seen = []\n" + choosing("seen.index(city) % n", "city in seen or seen.append(city)")),
    Case(7, "0 to `n - 1`", choosing("zlib.crc32(city.encode()) % 3")),
    Case(7, "0 to `n - 1`", choosing("zlib.crc32(city.encode()) % n + 1")),
    Case(7, "0 to `n - 1`", choosing("zlib.crc32(city.encode())")),
    Case(7, "next to nothing", choosing("len(city) % n")),
    Case(7, "next to nothing", choosing("ord(city[0]) % n")),
    Case(7, "next to nothing", choosing("ord(city[-1]) % n")),
    Case(7, "Of 3 streams only 1", choosing("0")),
    Case(7, "Of 5 streams only 3", choosing("zlib.crc32(city.encode()) % min(n, 3)")),
    Case(7, "name of a stream", "import zlib\n" + function(CHOOSE, "return zlib.crc32(city.encode()) % n")),
    Case(7, "name of a stream", "import zlib\n" + function(CHOOSE, "return f'lab03:{city}:{zlib.crc32(city.encode()) % n}'")),
]  # fmt: skip

RIGHT += written("03", "right")
WRONG += written("03", "wrong")


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(3).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(3).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower()
    assert mistake("03", case, verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        (1, "answer = {'a': ____}"),
        *((n, function(line, "return ____")) for n, line in enumerate([ENSURE, NEXT, WORK, SHARE, UNREAD, CHOOSE], 2)),
    ],
)  # fmt: skip
def test_a_blank_is_called_blank(redis, exercise, source):
    assert open_lab(3).check(exercise, answer(source)).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("03", RIGHT, WRONG) == []


def test_checks_leave_nothing_behind(redis):
    for number in (4, 5):
        case = next(case for case in RIGHT if case.exercise == number)
        open_lab(3).check(case.exercise, answer(case.source))
    assert set(redis.scan_iter()) == {"course:database"}
