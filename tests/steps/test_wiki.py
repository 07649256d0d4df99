"""The place in the feed moves with what is published, and what is counted is counted once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import redis as redis_py

from helpers import connect_async
from helpers.wiki import Counters, PublisherError, Subscriber
from helpers.wiki.change import change_from, change_in
from helpers.wiki.counters import SWEEP
from helpers.wiki.place import Call, FeedPlace
from tests.points import times
from tests.steps.faults import LOSING, Fault, How, Killed, Wire, every_fault, told
from tests.wiki import TEN_AM_MS, change, counted, everlasting, tally, ten_am

FEED, PLACE = "http://127.0.0.1/feed", "{wiki}:place"
MANY, BATCH = 5, 2
EVENTS = [(f"event {n}", change(n)) for n in range(MANY)]
CHANGES = [one for _, one in EVENTS]
IDS = ["", *(event_id for event_id, _ in EVENTS)]  # the place after so many of them
LOST = 60.0  # seconds until a publisher gives up

WAYS = pytest.mark.parametrize("through", ["stream", "pubsub"])


# ------------------------------------------------------------------ the publisher's place


class Audience:
    """Who listens to a channel all the time, or looks at a stream."""

    def __init__(self, redis: Any, through: str) -> None:
        self._redis, self._through = redis, through
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        if through == "pubsub":
            self._pubsub.subscribe("wiki")
            self._pubsub.get_message(timeout=1)

    def look(self) -> None:
        """As much is on the stream as the place says."""
        event = self._redis.hget(PLACE, "event") or ""
        if self._through == "stream":
            assert IDS.index(event) == self._redis.xlen("wiki")
        assert self._redis.ttl(PLACE) != -1

    def heard(self) -> list[Any]:
        """All that was published."""
        if self._through == "stream":
            return [change_from(fields) for _, fields in self._redis.xrange("wiki")]
        self._redis.publish("wiki", "the end")
        heard = []
        while (message := self._pubsub.get_message(timeout=5))["data"] != "the end":
            heard.append(change_in(message["data"]))
        return heard

    @contextmanager
    def wired(self, *faults: Fault) -> Iterator[Wire]:
        """Nothing published yet, and a wire; at the end each change was published once."""
        self._redis.unlink("wiki", PLACE)
        with Wire(self._redis, faults) as wire:
            wire.watch(self.look)
            yield wire
        assert self.heard() == CHANGES, (faults, wire.steps)

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *_: object) -> None:
        self._pubsub.close()


@pytest.fixture
def audience(redis, through):
    with Audience(redis, through) as audience:
        yield audience


def publish(client: Any, through: Any, *, keep: int = 1000, patience_s: float = LOST) -> None:
    """A publisher's life, without HTTP: what follows its place in the feed, in batches."""
    place = FeedPlace("wiki", through, FEED, patience_s)

    def ask(call: Call) -> Any:
        while True:
            try:
                reply = client.register_script(call.script)(call.keys, call.args)
            except redis_py.RedisError as error:
                place.fail(error, call)
            else:
                return place.heard(reply)

    while call := place.open():
        place.opened(ask(call))
    for begin in range(IDS.index(place.event), MANY, BATCH):
        if through == "stream":
            assert ask(place.room(keep, 1000)) == 1
        events = EVENTS[begin : begin + BATCH]
        changes = [one for _, one in events]
        place.published(ask(place.publish(changes, events[-1][0], TEN_AM_MS)))


@pytest.fixture
def steps(audience, through):
    """Those of a publisher that nothing befalls, once the server knows its scripts."""
    for _ in range(2):
        with audience.wired() as wire:
            publish(wire.client(), through)
    return wire.steps


@WAYS
def test_each_change_is_published_once_under_any_fault_at_any_step(audience, steps, through):
    for fault in every_fault(steps):
        with audience.wired(fault) as wire:
            publish(wire.client(), through)


@WAYS
def test_each_change_is_published_once_under_several_faults(audience, steps, through):
    chance = random.Random(13)
    possible = every_fault(len(steps) + 3)
    for _ in range(times(100)):
        with audience.wired(*chance.sample(possible, 3)) as wire:
            publish(wire.client(), through)


@WAYS
def test_a_successor_goes_on_whatever_is_still_under_way(audience, steps, through):
    for fault in every_fault(steps, LOSING, extra=len(steps), kill=True):
        with audience.wired(fault) as wire:
            with pytest.raises(Killed):
                publish(wire.client(), through)
            publish(wire.client(), through)


@WAYS
def test_who_gives_up_goes_on_where_it_was(audience, steps, through):
    for fault in every_fault(steps, [How.LOST, How.UNANSWERED]):
        with audience.wired(fault) as wire:
            with pytest.raises(redis_py.ConnectionError):
                publish(wire.client(), through, patience_s=-1)
            publish(wire.client(), through)


@WAYS
@pytest.mark.parametrize("pause", [Wire.before, Wire.after])
def test_who_was_paused_and_replaced_publishes_nothing_and_is_told(audience, steps, through, pause):
    """It stands still at any step, while another one publishes all that there is."""
    fenced = 0
    for step in range(1, len(steps) + 1):
        with audience.wired() as wire:
            pause(wire, step, partial(publish, wire.client(), through))
            if error := told(publish, wire.client(), through):
                fenced += 1
                assert isinstance(error, PublisherError)
                assert "Another publisher of 'wiki' took over" in str(error)
    assert fenced >= MANY // BATCH


@WAYS
def test_a_place_that_is_deleted_at_any_step_is_made_again(redis, audience, steps, through):
    for step in range(2, len(steps) + 1):
        with audience.wired() as wire:
            wire.watch(lambda: None)  # the place and the stream begin at different changes now
            wire.before(step, partial(redis.unlink, PLACE))
            publish(wire.client(), through)
        found = redis.hgetall(PLACE)
        assert (found["event"], found["feed"]) == (IDS[-1], FEED), (step, wire.steps)
        assert found["owner"]
        assert redis.ttl(PLACE) > 0


# ------------------------------------------------------------------ the subscriber's counters


def batches() -> list[list[str]]:
    messages = [one.message() for one in CHANGES]
    return [messages[begin : begin + BATCH] for begin in range(0, MANY, BATCH)]


def test_on_a_channel_a_batch_is_counted_once_or_not_at_all_and_the_others_once(redis):
    """It is sent once, since to send it again might count it twice."""

    async def main() -> None:
        async with connect_async() as settings:
            for fault in every_fault(len(batches()), [How.LOST, How.UNANSWERED, How.HELD]):
                redis.unlink(*redis.keys("*ev*"), "known_domains")
                with Wire(redis, [fault]) as wire:
                    wire.watch(lambda: expect_expiry(redis))
                    one = Subscriber(wire.async_client(settings), clock=ten_am)
                    for messages in batches():
                        with suppress(redis_py.ConnectionError):
                            await one._count(messages)
                expected = CHANGES[: BATCH * (fault.at - 1)] + CHANGES[BATCH * fault.at :]
                if fault.how is not How.LOST:
                    expected = CHANGES
                assert counted(redis) == tally(expected), (fault, wire.steps)

    asyncio.run(main())


def expect_expiry(redis: Any) -> None:
    assert not everlasting(redis)


def test_a_sweep_that_comes_twice_or_late_takes_nothing_that_is_still_to_be_seen(redis):
    """Three times something is counted and what is too old swept, 20 seconds apart."""
    counters = Counters(interval_s=1, history_s=5)
    domains = ("a.org", "b.org", "a.org")

    def minute(number: int) -> list[Any]:
        moment = TEN_AM_MS + 20_000 * number
        return [change(at_ms=moment - 1000 * n, domain=domains[number]) for n in range(3)]

    def sweep(client: Any, number: int) -> None:
        script: Callable[..., Any] = client.register_script(SWEEP)
        known = redis.smembers(counters.known_domains)
        for call in counters.sweeps(known, TEN_AM_MS + 20_000 * number):
            script(**call)

    redis.script_load(SWEEP)
    for fault in every_fault(4):
        redis.unlink(*redis.keys("*ev*"), "known_domains")
        with Wire(redis, [fault]) as wire:
            for number in (0, 1, 2, None):
                if number is not None:
                    for command in counters.effect(counters.tally(minute(number))):
                        redis.execute_command(*command)
                with suppress(redis_py.ConnectionError):  # what is not swept is swept next time
                    sweep(wire.client(), 2 if number is None else number)
        assert counted(redis, counters) == tally(minute(2), counters), (fault, wire.steps)
        assert redis.smembers("known_domains") == {"a.org"}, (fault, wire.steps)
