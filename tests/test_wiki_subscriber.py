"""The subscriber: what was published is counted, all of it from a stream, whatever happens."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py

from helpers import connect_async
from helpers.chaos import LOSSES, Fault, Proxy, SpareServer
from helpers.course.connect import async_client_of
from helpers.course.pace import patient
from helpers.streams.consumer import loop
from helpers.streams.consumer.dead_letters import DeadLetters
from helpers.streams.consumer.scripts import SETTLE, deny
from helpers.streams.errors import ConsumerError, StreamsError
from helpers.wiki import Change, Counters, Faults, Publisher, Replay, Subscriber, change_of
from helpers.wiki import subscriber as subscribing
from tests.averages import standing
from tests.lives import Life
from tests.points import call_of
from tests.wiki import (
    EDIT,
    TEN_AM,
    change,
    changes_of,
    counted,
    everlasting,
    feed_of,
    running,
    subscribe_for_ever,
    tally,
    ten_am,
    total,
    until,
)

WAYS = ("stream", "pubsub")
DOMAINS = ("en.wikipedia.org", "ta.wikipedia.org", "a.org")
CHANGES = [change(7 * number, domain=DOMAINS[number % 3]) for number in range(60)]
SOON: dict[str, Any] = {"block_ms": 20, "batch": 20}


@pytest.fixture(autouse=True)
def soon_heard(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    monkeypatch.setattr(subscribing, "GLANCE_S", 0.02)
    monkeypatch.setattr(subscribing, "UPKEEP_S", 0.02)


@pytest.fixture
def proxy(redis):
    with Proxy() as proxy:
        yield proxy


def subscriber(client: Any, through: Any, **more: Any) -> Subscriber:
    """One whose clock stands at ten."""
    terms = SOON if through == "stream" else {}
    return Subscriber(client, through=through, **({"clock": ten_am} | terms | more))


def send(redis: redis_py.Redis, through: str, changes: list[Change]) -> None:
    for one in changes:
        if through == "stream":
            redis.xadd("wiki", one.fields())  # type: ignore[arg-type]
        else:
            redis.publish("wiki", one.message())


def listens(redis: redis_py.Redis) -> bool:
    return bool(redis.pubsub_numsub("wiki")[0][1])


@asynccontextmanager
async def at_work(redis: Any, one: Subscriber, through: str) -> AsyncIterator[Any]:
    """A subscriber that is there when the block begins."""
    await until(
        lambda: not listens(redis)
    )  # the server may not have seen yet that another one left
    async with running(one) as task:
        if through == "pubsub":
            await until(lambda: task.done() or listens(redis))
        yield task


def count(
    redis: Any, through: str, feed: Callable[[], None], wanted: int | None, **more: Any
) -> Subscriber:
    """Let one count what is sent, until that many are counted, or until it ends by itself."""

    async def main() -> Subscriber:
        one = subscriber(connect_async(), through, **more)
        async with at_work(redis, one, through) as task:
            feed()
            await until(lambda: task.done() or (wanted and total(redis) >= wanted))
        return one

    return asyncio.run(main())


def clean(redis: Any) -> None:
    for key in (*redis.scan_iter("*ev*"), *redis.scan_iter("*wiki*"), "known_domains"):
        redis.unlink(key)


# ------------------------------------------------------------------ what it does


@pytest.mark.parametrize("through", WAYS)
def test_what_is_sent_is_counted(redis, through):
    one = count(redis, through, lambda: send(redis, through, CHANGES), 60)
    assert counted(redis) == tally(CHANGES)
    assert one.counts.counted == 60
    assert not one.counts.skipped
    assert not everlasting(redis)
    assert redis.hgetall("{ev}:counted") == {
        "at": str(CHANGES[0].at_ms),
        "newest": str(CHANGES[0].at_ms),
        "interval": "10",
        "history": "3600",
    }


@pytest.mark.parametrize("through", WAYS)
def test_events_as_the_articles_publisher_passes_them_on_are_counted(redis, through):
    events = [copy.deepcopy(EDIT) for _ in range(30)]
    for number, event in enumerate(events):
        event["meta"]["dt"] = f"2026-05-01T09:59:{number:02}+00:00"
        event["meta"]["domain"] = DOMAINS[number % 3]

    def feed() -> None:
        for number, event in enumerate(events):
            if through == "stream":
                redis.xadd("wiki", {("data", "event")[number % 2]: json.dumps(event)})
            else:
                redis.publish("wiki", json.dumps(event))

    one = count(redis, through, feed, len(events))
    assert counted(redis) == tally(map(change_of, events))
    assert not one.counts.skipped


@pytest.mark.parametrize("through", WAYS)
def test_from_feed_to_counters_nothing_is_lost_under_the_feeds_faults(redis, through):
    faults = Faults(cut=60, malformed=50, without_meta=40, absurd=30, huge=170, burst_s=0.05)
    with Replay(rate=2000, total=300, faults=faults, start=TEN_AM) as replay:

        async def main() -> None:
            one = subscriber(connect_async(), through)
            publisher = Publisher(connect_async(), feed_of(replay), through=through)
            async with at_work(redis, one, through), running(publisher):
                await until(lambda: total(redis) >= 300)

        asyncio.run(main())
        assert counted(redis) == tally(changes_of(replay, 300))
    assert not everlasting(redis)


@pytest.mark.parametrize("through", WAYS)
def test_what_is_late_has_its_own_bucket_and_what_is_too_old_or_ahead_none(redis, through):
    said: list[str] = []
    wrong = [change(3700), change(-700), change(4000)]
    right = [change(0), change(3590), change(-590), change(1800)]

    def feed() -> None:
        send(redis, through, [*wrong, *right])

    one = count(redis, through, feed, 4, say=said.append)
    assert counted(redis) == tally(right)
    assert one.counts.skipped == {
        "a change older than the history of 3600 s": 2,
        "a change of the future": 1,
    }
    assert (
        said[1]
        == "Skipped a change of the future: made 1777630300 s after 1970, on en.wikipedia.org."
    )


def test_intervals_and_prefix_are_arguments(redis):
    counters = Counters(60, 600, "{wiki}:")
    changes = CHANGES[:30]
    send(redis, "stream", changes)

    async def main() -> None:
        one = subscriber(connect_async(), "stream", counters=counters)
        async with running(one):
            await until(lambda: total(redis, counters) == 30)

    asyncio.run(main())
    assert counted(redis, counters) == tally(changes, counters)
    assert not redis.exists("ev", "known_domains")
    assert not everlasting(redis)


def test_old_buckets_go_while_it_runs(redis):
    counters = Counters(1, 5)
    moment = [TEN_AM]

    async def main() -> None:
        one = subscriber(connect_async(), "stream", counters=counters, clock=lambda: moment[0])
        async with running(one):
            send(redis, "stream", [change(), change(domain="a.org")])
            await until(lambda: total(redis) == 2)
            moment[0] += timedelta(seconds=10)
            await until(lambda: not redis.exists("ev", "ev:a.org", "known_domains"))

    asyncio.run(main())


@pytest.mark.parametrize("through", WAYS)
def test_it_stops_soon_and_can_be_cancelled(redis, through):
    async def main() -> None:
        client = connect_async()
        others = asyncio.all_tasks()
        one = subscriber(client, through)
        for pause_s in (0.0, 0.01, 0.05):
            async with running(one):
                await asyncio.sleep(pause_s)
            task = asyncio.create_task(one.run())
            await asyncio.sleep(pause_s)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=patient(5))
            assert done
            assert task.cancelled()
        one.stop()
        await one.run()  # stopped before it began
        assert asyncio.all_tasks() == others
        async with at_work(redis, one, through):
            send(redis, through, CHANGES)
            await until(lambda: total(redis) == 60)
        await client.aclose()

    asyncio.run(main())


# ------------------------------------------------------------------ garbage


GARBAGE = ["", "x", "5", "[]", "{}", '{"at": "soon", "domain": "a.org"}', '{"at": 1e400}',
           '{"at":1,"domain":"no domain!"}', '{"at":' + "9" * 400 + ',"domain":"a.org"}',
           '{"at":1,"domain":"a.org","grown":[]}', "[" * 5000]  # fmt: skip


def test_garbage_on_the_channel_is_skipped_with_a_sentence(redis):
    said: list[str] = []

    def feed() -> None:
        for text in [*GARBAGE, b"\xff\xfe"]:
            redis.publish("wiki", text)
        send(redis, "pubsub", CHANGES)

    one = count(redis, "pubsub", feed, 60, say=said.append)
    assert counted(redis) == tally(CHANGES)
    assert one.counts.skipped.total() == len(said) == 12
    assert all(text.startswith("Skipped ") and text.endswith(".") for text in said)
    assert max(map(len, said)) < 500


def test_garbage_on_the_stream_is_skipped_and_acknowledged(redis):
    said: list[str] = []
    others: list[dict[str, Any]] = [
        {"temp_f": "70"},
        {"at": "soon", "domain": "a.org"},
        {"at": "9" * 400, "domain": "a.org"},
        {"at": CHANGES[0].at_ms, "domain": "*"},
        {"at": CHANGES[0].at_ms, "domain": "a.org", "grown": "x"},
        {"at": CHANGES[0].at_ms, "domain": "b.org", "more": "x" * 100_000},
    ]
    for fields in others:
        redis.xadd("wiki", fields)
    send(redis, "stream", CHANGES)
    one = count(redis, "stream", lambda: None, 61, say=said.append)
    assert total(redis) == 61
    assert one.counts.skipped.total() == len(said) == 5
    assert redis.xpending("wiki", "counters")["pending"] == 0
    assert not redis.exists("{wiki}:counters:dead")


# ------------------------------------------------------------------ keys of another kind


@pytest.mark.parametrize(
    ("key", "wanted"),
    [("ev", "hash"), ("known_domains", "set"), ("{ev}:counted", "hash"), ("ev:a.org", "hash")],
)
@pytest.mark.parametrize("through", WAYS)
def test_a_key_that_holds_something_else_is_named_and_nothing_is_lost(redis, through, key, wanted):
    def feed() -> None:
        if through == "pubsub":
            send(redis, through, CHANGES)

    redis.set(key, "x")
    if through == "stream":
        send(redis, through, CHANGES)
    sentence = f"The counters need a {wanted} at '{key}', where there is a string: delete it, or"
    with pytest.raises(StreamsError, match=sentence.replace("{", r"\{")):
        count(redis, through, feed, None, **({"name": "ann"} if through == "stream" else {}))
    redis.unlink(key)
    if through == "stream":
        count(redis, through, lambda: None, 60, name="ann")
        assert counted(redis) == tally(CHANGES)


def test_a_key_that_is_overwritten_meanwhile_ends_it_too(redis):
    async def main() -> None:
        one = subscriber(connect_async(), "stream", name="ann")
        async with running(one) as task:
            send(redis, "stream", CHANGES[:30])
            await until(lambda: total(redis) == 30)
            redis.set("ev", "x")
            send(redis, "stream", CHANGES[30:])
            await until(task.done)

    with pytest.raises(
        StreamsError, match="The counters need a hash at 'ev', where there is a str"
    ):
        asyncio.run(main())
    letters = list(DeadLetters(redis, "wiki", "counters"))
    left = redis.xpending("wiki", "counters")["pending"] + (
        redis.xinfo_groups("wiki")[0]["lag"] or 0
    )
    assert letters
    assert len(letters) + left == 30
    assert all(one.reason.startswith("Half done: WRONGTYPE") for one in letters)


def test_a_counter_that_is_no_number_is_named_by_what_redis_said(redis):
    redis.hset("ev:a.org", str(CHANGES[2].at_ms // 10_000 * 10), "many")
    send(redis, "stream", CHANGES)
    with pytest.raises(StreamsError, match=r"The counters cannot be written: .*not an integer"):
        count(redis, "stream", lambda: None, None)


# ------------------------------------------------------------------ connections


def test_on_a_channel_what_comes_while_it_is_cut_off_is_lost_and_nothing_comes_twice(redis):
    async def main() -> Subscriber:
        one = subscriber(connect_async(), "pubsub")
        async with at_work(redis, one, "pubsub"):
            send(redis, "pubsub", CHANGES[:20])
            await until(lambda: total(redis) == 20)
            for listener in redis.client_list(_type="pubsub"):
                redis.client_kill_filter(_id=listener["id"])
            await until(lambda: not listens(redis))
            send(redis, "pubsub", CHANGES[20:40])
            await until(lambda: listens(redis))
            send(redis, "pubsub", CHANGES[40:])
            await until(lambda: total(redis) == 40)
        return one

    one = asyncio.run(main())
    assert one.counts.reconnects >= 1
    assert counted(redis) == tally([*CHANGES[:20], *CHANGES[40:]])


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.LOSE_REPLY, Fault.HOLD])
def test_on_a_channel_no_lost_reply_counts_twice(redis, proxy, fault):
    proxy.arm(fault, "EXEC")

    async def main() -> Subscriber:
        one = subscriber(proxy.connect_async(), "pubsub")
        async with at_work(redis, one, "pubsub"):
            send(redis, "pubsub", CHANGES[:20])
            await until(lambda: one.counts.reconnects)
            send(redis, "pubsub", CHANGES[20:])
            await until(lambda: total(redis) >= 40)
        proxy.deliver()
        return one

    asyncio.run(main())
    found = counted(redis)
    assert all(times <= tally(CHANGES)[bucket] for bucket, times in found.items())
    assert 40 <= sum(found.values()) <= 60
    assert not everlasting(redis)


@pytest.mark.parametrize("fault", LOSSES)
def test_on_a_stream_a_real_connection_lost_costs_nothing(redis, proxy, fault):
    """At one read and when it settles; for all other steps of a consumer see `tests.steps`."""
    for command in ("XREADGROUP", call_of(deny(SETTLE))):
        clean(redis)
        redis.script_load(deny(SETTLE))
        proxy.reset()
        proxy.arm(fault, command)
        send(redis, "stream", CHANGES[:40])

        async def main() -> None:
            one = subscriber(proxy.connect_async(), "stream", name="ann")
            async with running(one):
                await until(lambda: total(redis) >= 40)

        asyncio.run(main())
        proxy.deliver()
        assert counted(redis) == tally(CHANGES[:40]), (command, proxy.names)
        assert not everlasting(redis)


@pytest.mark.parametrize("through", WAYS)
def test_a_server_that_stays_away_ends_it_with_the_connections_error(redis, through):
    async def main() -> None:
        proxy = Proxy()
        one = subscriber(proxy.connect_async(), through, patience_s=0.1)
        proxy.close()
        await one.run()

    with pytest.raises(redis_py.ConnectionError):
        asyncio.run(main())


# ------------------------------------------------------------------ kill -9 and pauses


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_kill_9_costs_nothing_on_a_stream(redis, proxy, fault):
    """When it settles a batch."""
    send(redis, "stream", CHANGES[:30])
    redis.script_load(deny(SETTLE))
    proxy.arm(fault, call_of(deny(SETTLE)))
    with Life(subscribe_for_ever, "ann", 10, url=proxy.url) as life:
        assert standing(proxy, lambda: life.exit_code is not None)
    proxy.thaw()
    assert not everlasting(redis)
    count(redis, "stream", lambda: None, 30, name="ann")
    assert counted(redis) == tally(CHANGES[:30]), proxy.names


def test_a_paused_one_whose_work_was_claimed_counts_nothing_twice(redis, proxy, monkeypatch):
    monkeypatch.setattr(loop, "SWEEP_S", 0.02)
    for number in (1, 2, 3):
        clean(redis)
        proxy.reset()
        send(redis, "stream", CHANGES)

        async def main() -> None:
            zombie = subscriber(proxy.connect_async(), "stream", min_idle_ms=40)
            other = subscriber(connect_async(), "stream", min_idle_ms=40)
            proxy.arm(Fault.FREEZE_BEFORE, ("EVALSHA", number + 2))  # noqa: B023
            async with running(zombie) as task:
                await until(lambda: task.done() or proxy.frozen(0))
                async with running(other):
                    await until(lambda: total(redis) == 60)
                    proxy.thaw()
                    await asyncio.sleep(0.05)

        asyncio.run(main())
        assert counted(redis) == tally(CHANGES)


def test_of_two_of_one_name_the_one_that_began_later_goes_on(redis):
    async def main() -> None:
        old, new = (subscriber(connect_async(), "stream", name="ann") for _ in range(2))
        async with running(old) as first:
            await until(lambda: redis.exists("{wiki}:counters:names"))
            async with running(new):
                await until(lambda: redis.hlen("{wiki}:counters:names") and new.counts is not None)
                await asyncio.sleep(0.05)
                send(redis, "stream", CHANGES)
                await until(lambda: total(redis) == 60)
                await until(first.done)

    with pytest.raises(ConsumerError, match="Another consumer named 'ann' took over in the group"):
        asyncio.run(main())
    assert counted(redis) == tally(CHANGES)


# ------------------------------------------------------------------ what is refused


@pytest.mark.once
@pytest.mark.parametrize(
    ("source", "more", "why"),
    [
        ("wiki*", {}, "'wiki\\*' is a pattern"),
        ("", {"through": "stream"}, "A channel needs a name, such as 'wiki', not ''."),
        ("wiki", {"through": "mail"}, "Changes go through 'pubsub' or a 'stream', not 'mail'."),
        ("wiki", {"batch": 5}, "Pub/Sub knows no batch: those are a stream's."),
        ("wiki", {"through": "stream", "batch": 0}, "batch must be a whole number above 0, not 0."),
    ],
)
def test_a_source_or_a_way_that_cannot_be_is_refused(source, more, why):
    with pytest.raises(StreamsError, match=why):
        Subscriber(connect_async(), source, **more)


def test_a_source_that_is_no_stream_is_named(redis):
    redis.set("wiki", "x")
    with pytest.raises(StreamsError, match="The key 'wiki' is not a stream"):
        count(redis, "stream", lambda: None, 1)


def test_a_channel_whose_server_is_silent_is_given_up_and_taken_up_again(monkeypatch):
    monkeypatch.setattr(subscribing, "QUIET_S", 0.1)
    with SpareServer() as server, server.connect() as admin:

        async def main() -> None:
            client = async_client_of(server.url, socket_timeout=0.2)
            async with client:
                subscriber = Subscriber(client, "wiki", through="pubsub")
                task = asyncio.create_task(subscriber.run(signals=False))
                await until(lambda: admin.pubsub_numsub("wiki")[0][1] == 1)
                server.pause()
                await until(lambda: subscriber.counts.reconnects > 0)
                server.resume()

                def heard() -> bool:
                    admin.publish("wiki", "no change")  # the first may go to the lost connection
                    return subscriber.counts.skipped.total() > 0

                await until(heard)
                subscriber.stop()
                await task

        asyncio.run(main())
