"""The publisher: each change of the feed once, whoever is killed, cut off or replaced."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis as redis_py

from helpers import connect_async
from helpers.chaos import LOSSES, Fault, Proxy
from helpers.course.pace import patient
from helpers.streams.errors import StreamsError
from helpers.wiki import Change, Faults, Feed, Publisher, PublisherError, Replay, Subscriber
from helpers.wiki import publisher as publishing
from helpers.wiki.change import CANARY, change_from, change_in
from helpers.wiki.names import GROUP, place_key
from helpers.wiki.place import PUBLISH
from tests.averages import standing
from tests.lives import Life
from tests.points import call_of
from tests.wiki import (
    EDIT,
    BadServer,
    changes_of,
    counted,
    everlasting,
    feed_of,
    publish_for_ever,
    running,
    sse,
    tally,
    then_silence,
    total,
    until,
)

WAYS = ("stream", "pubsub")
PLACE = "{wiki}:place"
MANY = 150
BATCH = 50


@pytest.fixture(autouse=True)
def in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "BATCH", BATCH)


@pytest.fixture(scope="module")
def replay():
    with Replay(rate=100_000, total=MANY) as replay:
        yield replay


@pytest.fixture
def proxy(redis):
    with Proxy() as proxy:
        yield proxy


class Ears:
    """Who listens to a channel all the time, or looks at a stream."""

    def __init__(self, client: Any, through: str, target: str = "wiki") -> None:
        self._client, self._through, self._target = client, through, target
        self._heard: list[Change] = []
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        if through == "pubsub":
            self._pubsub.subscribe(target)
            self._pubsub.get_message(timeout=1)

    @property
    def heard(self) -> list[Change]:
        if self._through == "stream":
            return [change_from(fields) for _, fields in self._client.xrange(self._target)]
        while message := self._pubsub.get_message(timeout=0.02):
            self._heard.append(change_in(message["data"]))
        return self._heard

    def forget(self) -> None:
        """Begin anew: no stream, no place."""
        assert self.heard is not None
        self._heard = []
        self._client.unlink(self._target, place_key(self._target))

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *_: object) -> None:
        self._pubsub.close()


async def publish(client: Any, replay: Replay, through: Any, **more: Any) -> Publisher:
    """Publish until the place says that this was the last event of the feed."""
    one = Publisher(client, feed_of(replay), through=through, **more)
    async with client, connect_async() as direct, running(one) as task:
        async with asyncio.timeout(patient(20)):
            place = None
            while not task.done() and place != last_id(replay):
                await asyncio.sleep(0.003)
                place = await direct.hget(PLACE, "event")
    return one


def publish_all(replay: Replay, through: str, client: Any = connect_async) -> Publisher:
    async def main() -> Publisher:
        return await publish(client(), replay, through)

    return asyncio.run(main())


def last_id(replay: Replay) -> str:
    """The ID of the last event of a feed."""
    return replay.id_of(MANY - 1)


# ------------------------------------------------------------------ what it does


@pytest.mark.parametrize("through", WAYS)
def test_every_change_is_published_once_and_in_order(redis, through):
    faults = Faults(cut=50, malformed=60, without_meta=40, absurd=30, huge=130)
    with Replay(rate=100_000, total=MANY, faults=faults) as replay, Ears(redis, through) as ears:
        one = publish_all(replay, through)
        assert ears.heard == changes_of(replay, MANY)
        assert one.counts.published == MANY
        assert one.counts.batches >= MANY // BATCH
        assert one.counts.skipped["an event whose domain cannot be one"] >= 4
        assert one.counts.skipped["an event without `meta`, so without time and domain"] >= 3
        assert redis.hget(PLACE, "feed") == replay.url
    assert not everlasting(redis)
    assert redis.exists("wiki") == (through == "stream")


def test_what_is_no_change_is_skipped_with_a_sentence_and_test_events_are_left_out(redis):
    canary = EDIT | {"meta": EDIT["meta"] | {"domain": CANARY}}
    said: list[str] = []

    async def main() -> Publisher:
        texts = [sse(1, EDIT), sse(2, canary), sse(3, {"n": 1}), b"id: 4\ndata: {\n\n"]
        text = '{"meta": {"dt": "2026-05-01T10:00:00Z", "domain": "a.org"}, "user": "\\ud83d"}'
        async with BadServer(then_silence(b"".join(texts) + sse(5, text))) as server:
            feed = Feed(server.url, say=said.append)
            one = Publisher(connect_async(), feed, through="stream", say=said.append)
            async with running(one):
                await until(lambda: one.counts.published == 2)
        return one

    one = asyncio.run(main())
    assert one.counts.canaries == 1
    assert said == [
        "Skipped an event of the feed: not JSON.",
        "Skipped an event without `meta`, so without time and domain.",
    ]
    assert [fields["user"] for _, fields in redis.xrange("wiki")] == ["Ann", "?"]


def test_the_stream_does_not_grow_for_ever(redis, replay):
    async def main() -> None:
        await publish(connect_async(), replay, "stream", keep=10)

    asyncio.run(main())
    assert redis.xlen("wiki") < MANY


def test_each_feed_has_a_place_of_its_own(redis, replay):
    publish_all(replay, "stream")
    with Replay(rate=100_000, total=MANY, seed=2) as other:
        publish_all(other, "stream")
        assert redis.xlen("wiki") == 2 * MANY
        publish_all(other, "stream")
        assert redis.xlen("wiki") == 2 * MANY


@pytest.mark.parametrize("through", WAYS)
def test_it_can_be_stopped_or_cancelled_at_any_time_and_goes_on_where_it_was(redis, through):
    with Replay(rate=3000, total=MANY) as replay, Ears(redis, through) as ears:

        async def main() -> None:
            client = connect_async()
            again = Publisher(client, feed_of(replay), through=through)
            for pause_s in (0.0, 0.001, 0.01, 0.03, 0.05, 0.02):
                async with running(again):
                    await asyncio.sleep(pause_s)
                task = asyncio.create_task(again.run())
                await asyncio.sleep(pause_s)
                task.cancel()
                await asyncio.wait([task], timeout=patient(5))
                assert task.cancelled()
            again.stop()
            await again.run()  # stopped before it began
            await client.aclose()
            await publish(connect_async(), replay, through)

        asyncio.run(main())
        assert ears.heard == changes_of(replay, MANY)


def test_a_place_that_was_deleted_under_it_is_made_anew(redis):
    with Replay(rate=500) as replay, Ears(redis, "stream") as ears:

        async def main() -> None:
            one = Publisher(connect_async(), feed_of(replay), through="stream")
            async with running(one):
                await until(lambda: redis.hget(PLACE, "event"))
                redis.unlink(PLACE)
                await until(lambda: redis.hget(PLACE, "event"))
            published = one.counts.published
            async with running(one):  # it goes on where it was
                await until(lambda: one.counts.published > published)

        asyncio.run(main())
        assert ears.heard == changes_of(replay, len(ears.heard))
        assert redis.hget(PLACE, "feed") == replay.url


# ------------------------------------------------------------------ faults


A_BATCH = call_of(PUBLISH, 3)  # for all other steps see `tests.steps`


@pytest.mark.parametrize("fault", LOSSES)
@pytest.mark.parametrize("through", WAYS)
def test_a_real_connection_lost_costs_nothing(redis, replay, proxy, through, fault):
    with Ears(redis, through) as ears:
        proxy.arm(fault, A_BATCH)
        publish_all(replay, through, proxy.connect_async)
        proxy.deliver()
        assert ears.heard == changes_of(replay, MANY), proxy.names


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
@pytest.mark.parametrize("through", WAYS)
def test_kill_9_costs_nothing(redis, replay, proxy, through, fault):
    with Ears(redis, through) as ears:
        proxy.arm(fault, A_BATCH)
        words = (replay.url, replay.start_ms, through, "wiki", BATCH)
        with Life(publish_for_ever, *words, url=proxy.url) as life:
            assert standing(proxy, lambda: life.exit_code is not None)
        proxy.thaw()
        assert not everlasting(redis)
        publish_all(replay, through)
        assert ears.heard == changes_of(replay, MANY), proxy.names


@pytest.mark.parametrize("through", WAYS)
def test_a_zombie_whose_successor_took_over_publishes_nothing_and_says_so(
    redis, replay, proxy, through
):
    async def main() -> None:
        task = asyncio.create_task(publish(proxy.connect_async(), replay, through))
        await until(lambda: task.done() or proxy.frozen(0))
        await publish(connect_async(), replay, through)
        proxy.thaw()
        await task

    with Ears(redis, through) as ears:
        proxy.arm(Fault.FREEZE_BEFORE, A_BATCH)
        with pytest.raises(PublisherError) as told:
            asyncio.run(main())
        assert ears.heard == changes_of(replay, MANY), proxy.names
    assert str(told.value) == (
        "Another publisher of 'wiki' took over: stop one of them, or every change would be "
        "published twice."
    )


def test_a_server_that_stays_away_ends_it_with_the_connections_error(redis, replay):
    async def main() -> None:
        proxy = Proxy()
        one = Publisher(proxy.connect_async(), feed_of(replay), patience_s=0.1)
        proxy.close()
        await one.run()

    with pytest.raises(redis_py.ConnectionError):
        asyncio.run(main())


# ------------------------------------------------------------------ what is refused


def test_a_key_that_holds_something_else_is_named(redis, replay):
    def run(through: Any) -> None:
        asyncio.run(Publisher(connect_async(), feed_of(replay), through=through).run())

    redis.set("wiki", "x")
    with pytest.raises(StreamsError, match="The key 'wiki' is not a stream: use another name, or"):
        run("stream")
    redis.unlink(PLACE)
    redis.set(PLACE, "x")
    for through in WAYS:
        with pytest.raises(StreamsError, match=r"The key '{wiki}:place' holds something else than"):
            run(through)


@pytest.mark.once
@pytest.mark.parametrize(
    ("target", "more", "why"),
    [
        ("wiki*", {}, "'wiki\\*' is a pattern: changes go to one channel or stream, so give its"),
        ("wiki?", {}, "is a pattern"),
        ("w[ik]i", {"through": "stream"}, "is a pattern"),
        ("", {}, "A channel needs a name, such as 'wiki', not ''."),
        (None, {}, "A channel needs a name, such as 'wiki', not None."),
        ("wiki", {"through": "mail"}, "Changes go through 'pubsub' or a 'stream', not 'mail'."),
        ("wiki", {"keep": 0}, "The stream must keep at least 1 entry, not 0."),
        ("wiki", {"keep": True}, "The stream must keep at least 1 entry, not True."),
    ],
)
def test_a_target_or_a_way_that_cannot_be_is_refused(target, more, why):
    with pytest.raises(StreamsError, match=why):
        Publisher(connect_async(), Feed("http://127.0.0.1/"), target, **more)


def test_a_full_stream_waits_for_the_subscriber_and_nothing_is_lost(redis):
    said: list[str] = []
    most, bound = 3000, 200 + 20 + 2 * BATCH
    redis.xgroup_create("wiki", GROUP, "0", mkstream=True)

    async def main(replay: Replay) -> None:
        one = Publisher(
            connect_async(), feed_of(replay), through="stream", keep=200, say=said.append
        )
        async with running(one) as publishing:
            await until(lambda: said or publishing.done())
            assert redis.xlen("wiki") < bound
            assert "waiting for the subscriber" in said[0]
            async with running(Subscriber(connect_async(), through="stream")):
                await until(lambda: total(redis) == most or publishing.done())

    with Replay(rate=100_000, total=most) as replay:
        asyncio.run(main(replay))
        assert counted(redis) == tally(changes_of(replay, most))
    assert redis.xlen("wiki") < bound


def test_a_group_of_somebody_else_that_is_forgotten_fills_nothing(redis):
    redis.xgroup_create("wiki", "forgotten", "0", mkstream=True)
    with Replay(rate=100_000, total=3000) as replay:

        async def main() -> None:
            one = Publisher(connect_async(), feed_of(replay), through="stream", keep=200)
            async with running(one):
                await until(lambda: one.counts.published == 3000)

        asyncio.run(main())
    assert redis.xlen("wiki") < 200 + 100 + BATCH
