"""A stream in parts: each key keeps its order, and each part has one owner whose effects count."""

from __future__ import annotations

import asyncio
import os
import signal
import zlib
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import Any

import pytest

from helpers import connect_async
from helpers.chaos import SpareServer
from helpers.cluster import Parts, PartsProducer, PartsWorker, part_of, producer
from helpers.cluster.part import LostPartError, Part, PartCounts, PartSettings
from helpers.cluster.worker import share_of
from helpers.course.connect import async_client_of
from helpers.streams import DeadLetters, scan
from helpers.streams.errors import (
    ArgumentError,
    HandlerError,
    NotConfirmedError,
    WrongTypeError,
)
from helpers.streams.keys import sibling_key
from tests import waiting

PARTS = Parts("weather", 4)
SETTINGS = PartSettings(200, 100, 50, "0", 3, 10.0)


def readings(count, cities=10):
    return [{"city": f"c{n % cities}", "n": str(n // cities)} for n in range(count)]


def append(redis, entries, parts=4):
    with PartsProducer(redis, "weather", key="city", parts=parts) as producer:
        return producer.add_many(entries)


def in_streams(redis):
    """The numbers of each city, in the order of its part."""
    found = defaultdict(list)
    for stream in PARTS.streams:
        for entry in scan(redis, stream):
            assert PARTS.of(entry.fields["city"]) == stream
            found[entry.fields["city"]].append(int(entry.fields["n"]))
    return found


def noted(entry):
    """The effect of the tests: the order in which a city's readings took effect."""
    city = entry.fields["city"]
    return ("RPUSH", sibling_key(PARTS.of(city), city), entry.fields["n"])


def in_order(redis, cities=10):
    """What took effect, by city."""
    keys = [sibling_key(PARTS.of(f"c{n}"), f"c{n}") for n in range(cities)]
    return [redis.lrange(key, 0, -1) for key in keys]


def whole(count, cities=10):
    return [[str(n) for n in range(count // cities)]] * cities


@asynccontextmanager
async def working(*workers):
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield tasks
    finally:
        for worker in workers:
            worker.stop()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error


async def until(true):
    assert await asyncio.to_thread(waiting.until, true)


@pytest.fixture
def lone(redis):
    """Two workers' hands on one part, by themselves."""

    async def make(token, **more):
        settings = SETTINGS if not more else PartSettings(**vars(SETTINGS) | more)
        return Part(connect_async(), "weather:{0}", "g", token, settings, PartCounts())

    return make


@pytest.mark.parametrize("key", ["chennai", "Zürich", "", 7, b"\xff"])
def test_the_part_of_a_key_is_the_same_in_every_language(key):
    raw = key if isinstance(key, bytes) else str(key).encode()
    assert part_of(key, 12) == zlib.crc32(raw) % 12


def test_all_agree_on_the_number_of_parts(redis):
    with pytest.raises(ArgumentError, match="'weather' has no number of parts yet"):
        Parts.agreed(redis, "weather")
    assert Parts.agreed(redis, "weather", 4) == Parts.agreed(redis, "weather") == PARTS
    with pytest.raises(ArgumentError, match=r"has 4 parts, not 8.*lose their order"):
        PartsProducer(redis, "weather", key="city", parts=8)
    wrong: Any
    for wrong in (0, -1, True, 2.0, 5000):
        with pytest.raises(ArgumentError, match="1 to 4,096 parts"):
            Parts("weather", wrong)
    with pytest.raises(ArgumentError, match="no braces"):
        Parts("{weather}", 4)
    redis.lpush("{cold}:parts", "x")
    with pytest.raises(WrongTypeError):
        Parts.agreed(redis, "cold", 4)


def test_each_key_has_one_part_and_keeps_its_order(redis):
    assert append(redis, readings(2500)) == 2500
    assert in_streams(redis) == {f"c{n}": list(range(250)) for n in range(10)}


def test_more_keys_than_are_remembered_keep_their_parts_and_their_order(redis, monkeypatch):
    monkeypatch.setattr(producer, "KEPT", 3)
    with PartsProducer(redis, "weather", key="city", parts=4) as one:
        for at in range(0, 200, 7):
            one.add_many(readings(200)[at : at + 7], batch=5)
            assert len(one._known) <= 3
    assert in_streams(redis) == {f"c{n}": list(range(20)) for n in range(10)}


@pytest.mark.parametrize("value", [1, 1.0, "1", b"1", "1.0"])
def test_keys_that_python_takes_for_one_go_to_the_parts_of_their_texts(redis, value):
    alike = [1, 1.0, "1", b"1", "1.0"]
    with PartsProducer(redis, "weather", key="city", parts=4) as one:
        one.add_many({"city": key, "n": n} for n, key in enumerate((value, *alike)))
    texts = ["1.0" if str(one) == "1.0" else "1" for one in (value, *alike)]
    wanted = {text: [n for n, one in enumerate(texts) if one == text] for text in {*texts}}
    assert in_streams(redis) == wanted


def test_a_source_that_fails_leaves_nothing_for_the_next_call(redis):
    def source():
        yield from readings(5)
        raise ValueError("no more")

    with PartsProducer(redis, "weather", key="city", parts=4) as one:
        with pytest.raises(ValueError, match="no more"):
            one.add_many(source(), batch=2)
        there = sum(redis.xlen(stream) for stream in PARTS.streams)
        assert one.add_many(readings(10)) == 10
    assert sum(redis.xlen(stream) for stream in PARTS.streams) == there + 10


@pytest.mark.once
def test_every_entry_is_confirmed_or_given_back_or_settled_when_a_server_is_silent():
    with SpareServer() as server, server.connect() as client:
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        with PartsProducer(client, "weather", key="city", parts=4, patience_s=0.5) as one:
            drawn: list[Any] = []

            def until_it_is_silent():
                for entry in readings(6000):
                    if len(drawn) == 3000:
                        os.kill(server.pid, signal.SIGSTOP)
                    drawn.append(entry)
                    yield entry

            with pytest.raises(NotConfirmedError) as caught:
                one.add_many(until_it_is_silent(), batch=100)
            os.kill(server.pid, signal.SIGCONT)
            one.flush()
            there = sum(client.xlen(stream) for stream in PARTS.streams)
            assert 2000 < caught.value.confirmed <= there
            assert there + len(caught.value.entries) == len(drawn)
            assert one.add_many(caught.value.entries) == len(caught.value.entries)
            assert in_streams(client) == {f"c{n}": [*range(len(drawn) // 10)] for n in range(10)}


def test_what_has_no_key_or_no_text_is_given_back_and_the_rest_appended(redis):
    wrong: list[Any] = [{"n": "1"}, {"city": None, "n": "2"}, 3, {"city": "c1", "n": "\ud83d"}]
    with PartsProducer(redis, "weather", key="city", parts=4) as producer:
        with pytest.raises(ArgumentError) as caught:
            producer.add_many([*readings(5), *wrong, *readings(5)])
        assert producer.add_many(readings(3)) == 3
    assert sorted(map(str, caught.value.entries)) == sorted(map(str, wrong))
    assert sum(redis.xlen(stream) for stream in PARTS.streams) == 13


def test_workers_share_the_parts_and_every_key_keeps_its_order(redis, monkeypatch):
    """They come, leave in good order, die and are replaced, while entries come."""

    async def work():
        clients = [connect_async() for _ in range(4)]
        workers = [PartsWorker(one, PARTS, "g", noted, lease_ms=500) for one in clients]
        first, second, third, last = workers
        async with working(first):
            await until(lambda: len(first.owned) == 4)
            async with working(second, third) as (_, dying):
                await until(lambda: sorted(len(one.owned) for one in workers) == [0, 1, 1, 2])
                append(redis, readings(1000)[:500])
                await until(lambda: sum(one.counts.handled for one in workers) > 100)
                monkeypatch.setattr(third, "_end", lambda: asyncio.sleep(0))  # as if killed
                for _, task in third._tasks.values():
                    task.cancel()
                dying.cancel()
                await asyncio.wait([dying])
                async with working(last):
                    append(redis, readings(1000)[500:])
                    await until(lambda: sum(map(len, in_order(redis))) == 1000)
        for client in clients:
            await client.aclose()
        return last

    last = asyncio.run(work())
    assert in_order(redis) == whole(1000)
    assert last.owned == []
    assert redis.zcard("{weather}:g:workers") <= 1  # of the one that died


def test_two_differ_by_one_part_at_most():
    for workers in range(1, 9):
        tokens = [str(n) for n in range(workers)]
        shares = [share_of(one, tokens, 12) for one in tokens]
        assert sum(shares) == 12
        assert max(shares) - min(shares) <= 1


def test_the_effects_of_a_worker_that_was_paused_do_not_count(redis, lone):
    """Owner A is paused before it reads, and before it commits; B takes over meanwhile."""
    append(redis, [{"city": "c", "n": str(n)} for n in range(6)], parts=1)

    def effect(entry):
        return ("RPUSH", "{0}order", entry.fields["n"])

    async def work():
        a, b = await lone("a"), await lone("b")
        assert await a.take()
        early = await a._read(2)
        assert not await b.take()  # the lease lasts
        await asyncio.sleep(0.25)
        assert await b.take()
        handled = [(str(one.id), (effect(one),)) for one in await b._read(3)]
        assert await b._commit(handled)
        late = await a._read(4)  # from its own, older position: so from the first entry
        for stale in (early, late):
            with pytest.raises(LostPartError):
                await a._commit([(str(one.id), (effect(one),)) for one in stale])
        assert await b._commit(handled)  # the same, once more
        assert await b._commit([(str(one.id), (effect(one),)) for one in await b._read()])

    asyncio.run(work())
    assert redis.lrange("{0}order", 0, -1) == list("012345")


@pytest.mark.once
def test_a_part_whose_node_is_silent_is_given_back_without_an_error():
    with SpareServer() as server:

        async def run():
            async with async_client_of(server.url, socket_timeout=0.2) as client:
                part = Part(client, "weather:{0}", "g", "alice", SETTINGS, PartCounts())
                assert await part.take()
                work = asyncio.create_task(part.work(noted))
                await asyncio.sleep(0.1)
                os.kill(server.pid, signal.SIGSTOP)
                part.stopped = True
                await work
                await part.leave()
                return part.counts.lost

        assert asyncio.run(run()) == 1


def test_an_entry_that_fails_holds_its_part_back_until_it_is_put_aside(redis):
    tries = []

    async def handle(entry):
        tries.append(entry.fields["n"])
        if entry.fields["n"] == "1":
            raise ValueError("one")
        return ("INCR", "{0}wrong", "x", "y") if entry.fields["n"] == "3" else ("INCR", "{0}n")

    append(redis, [{"city": "c", "n": str(n)} for n in range(5)], parts=1)

    async def work():
        worker = PartsWorker(connect_async(), Parts("weather", 1), "g", handle, max_deliveries=2)
        async with working(worker):
            await until(lambda: worker.counts.handled == 3)
        return worker.counts

    counts = asyncio.run(work())
    assert (counts.dead, counts.failed) == (2, 4)
    assert redis.get("{0}n") == "3"
    assert [tries.count(n) for n in "01"] == [1, 2]
    letters = list(DeadLetters(redis, "weather:{0}", "g"))
    assert [one.entry.fields["n"] for one in letters] == ["1", "3"]
    assert "ValueError: one" in letters[0].reason
    assert "wrong number of arg" in letters[1].reason.lower()


def test_an_effect_that_was_half_done_is_not_repeated(redis):
    append(redis, [{"city": "c", "n": "0"}, {"city": "c", "n": "1"}], parts=1)
    redis.set("{0}text", "x")

    def handle(entry):
        return [("INCR", "{0}n"), ("INCR", "{0}text")] if entry.fields["n"] == "0" else None

    async def work():
        worker = PartsWorker(connect_async(), Parts("weather", 1), "g", handle)
        async with working(worker):
            await until(lambda: worker.counts.handled == 1)

    asyncio.run(work())
    assert redis.get("{0}n") == "1"
    (letter,) = DeadLetters(redis, "weather:{0}", "g")
    assert letter.reason.startswith("Half done: ")


def test_an_entry_that_ends_its_worker_is_put_aside_and_no_other(redis, lone):
    append(redis, [{"city": "c", "n": str(n)} for n in range(5)], parts=1)

    class DeathError(BaseException):
        pass

    def handle(entry):
        if entry.fields["n"] == "2":
            raise DeathError
        return ("RPUSH", "{0}order", entry.fields["n"])

    async def work():
        for life in range(6):
            part = await lone(f"life {life}", lease_ms=20)
            await asyncio.sleep(0.05)
            assert await part.take()
            if part._strikes >= SETTINGS.max_deliveries:
                await part._give_up_next("it ends its workers")
            while found := await part._read(100):
                try:
                    await part._handle(found, handle)
                except DeathError:
                    break
            else:
                return

    asyncio.run(work())
    assert redis.lrange("{0}order", 0, -1) == list("0134")
    (letter,) = DeadLetters(redis, "weather:{0}", "g")
    assert letter.entry.fields["n"] == "2"


def test_what_a_failover_has_lost_is_not_passed_over(redis, lone):
    """The new primary lacks the last entries, or the last commit: the worker goes back to it."""
    append(redis, [{"city": "c", "n": str(n)} for n in range(4)], parts=1)

    async def work():
        part = await lone("a")
        assert await part.take()
        found = await part._read()
        effects = [(str(one.id), (("RPUSH", "{0}order", one.fields["n"]),)) for one in found]
        dump = redis.dump("weather:{0}:g:state")
        assert await part._commit(effects[:2])
        redis.restore("weather:{0}:g:state", 0, dump, replace=True)  # the commit is lost,
        redis.delete("{0}order")  # and its effects with it
        assert not await part._commit(effects[2:])
        found = await part._read()
        assert [one.fields["n"] for one in found] == list("0123")
        redis.delete("weather:{0}")  # the last entry is lost
        redis.xadd("weather:{0}", found[0].fields, id=str(found[0].id))
        assert not await part._commit(effects)
        assert await part._commit(effects[:1])

    asyncio.run(work())
    assert redis.lrange("{0}order", 0, -1) == ["0"]


@pytest.mark.parametrize("gone", ["trimmed", "deleted", "all"])
def test_entries_that_were_trimmed_or_deleted_in_hand_are_done_all_the_same(redis, lone, gone):
    append(redis, [{"city": "c", "n": str(n)} for n in range(4)], parts=1)

    async def work():
        part = await lone("a")
        assert await part.take()
        found = await part._read(3)
        if gone == "deleted":
            redis.xdel("weather:{0}", str(found[-1].id))
        else:
            redis.xtrim("weather:{0}", maxlen=1 if gone == "trimmed" else 0, approximate=False)
        assert await part._commit([(str(one.id), (("INCR", "{0}n"),)) for one in found])

    asyncio.run(work())
    assert redis.get("{0}n") == "3"


def test_an_entry_that_is_no_text_is_put_aside(redis):
    append(redis, [{"city": "c", "n": "0"}], parts=1)
    redis.xadd("weather:{0}", {"city": b"\xff"})
    append(redis, [{"city": "c", "n": "1"}], parts=1)

    async def work():
        worker = PartsWorker(
            connect_async(), Parts("weather", 1), "g", lambda entry: ("INCR", "{0}n")
        )
        async with working(worker):
            await until(lambda: worker.counts.handled == 2)
        return worker.counts.dead

    assert asyncio.run(work()) == 1


def test_what_cannot_work_is_said_at_once(redis):
    async def work():
        client = connect_async()
        for wrong in ({"lease_ms": 0}, {"batch": -1}, {"start": "1-0"}, {"max_deliveries": 0}):
            with pytest.raises(ArgumentError):
                PartsWorker(client, PARTS, "g", noted, **wrong)
        append(redis, [{"city": "c", "n": "0"}])
        no_effect: Any = lambda entry: "no effect"  # noqa: E731
        worker = PartsWorker(client, PARTS, "g", no_effect)
        with pytest.raises(HandlerError, match="return None, or commands"):
            await worker.run()
        redis.delete(*PARTS.streams)
        for stream in PARTS.streams:
            redis.set(stream, "x")
        with pytest.raises(WrongTypeError):
            await PartsWorker(client, PARTS, "other", noted).run()

    asyncio.run(work())
