"""The averages consumer shows each average in its order, at least once, and knows where it was."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from helpers import Entry, EntryId, connect
from helpers.averages import AVERAGES, AVERAGES_STATE, KEPT, AveragesConsumer, display, sentence
from helpers.averages.state import COMMIT, StateError
from helpers.chaos import LOSSES, Fault, Proxy
from helpers.course.server import find_server
from helpers.streams.errors import CheckpointError, StreamsError
from tests.averages import show_until_drained, show_until_told, silent, standing
from tests.consumers import blocked, unblock, until
from tests.lives import Life
from tests.points import call_of

pytestmark = pytest.mark.once  # it shares all that asks the server with the other consumer

PAGE = 3


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(display, "PAGE", PAGE)


@pytest.fixture
def impatient(monkeypatch):
    """It looks up 20 times a second."""
    monkeypatch.setattr(display, "BLOCK_MS", 50)


def publish(redis, *numbers):
    """Averages with the IDs 1-0, 2-0, …"""
    for n in numbers:
        fields = {"date": "2100/01/01", "hour": n % 24, "average_temp_f": f"{n}.50",
                  "num_observations": 3600}  # fmt: skip
        redis.xadd(AVERAGES, fields, id=f"{n}-0", maxlen=KEPT, approximate=False)


def show_all(client, *, say=silent, show=None):
    """The numbers of the averages that one shows until there are no more."""
    seen: list[int] = []
    AveragesConsumer(client, show=show or (lambda one: seen.append(one.id.ms)), say=say).run(
        drain=True
    )
    return seen


def position(redis):
    return redis.hget(AVERAGES_STATE, "last_message_id")


# ------------------------------------------------------------------ order and place


def test_it_shows_each_average_in_order_and_goes_on_from_there(redis, small_pages):
    publish(redis, *range(1, 9))
    assert show_all(redis) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert position(redis) == "8-0"
    assert show_all(redis) == []
    publish(redis, 9, 10)
    said: list[str] = []
    assert show_all(redis, say=said.append) == [9, 10]
    assert said == [f"Starting averages consumer in stream {AVERAGES} at message 8-0."]


def test_it_remembers_in_a_hash_like_that_of_the_other_consumer(redis):
    publish(redis, 1)
    show_all(redis)
    found = redis.hgetall(AVERAGES_STATE)
    assert set(found) == {"last_message_id", "version", "begun", "owner", "epoch", "commits"}


def test_it_waits_for_averages_that_are_still_to_come(redis, impatient):
    said: list[str] = []
    seen: list[int] = []
    with connect() as client:
        one = AveragesConsumer(client, show=lambda entry: seen.append(entry.id.ms), say=said.append)
        thread = threading.Thread(target=one.run)
        thread.start()
        for n in (1, 2):
            until(lambda: len(said) > n)  # noqa: B023
            publish(redis, n)
            until(lambda: len(seen) == n)  # noqa: B023
        one.stop()
        thread.join()
    assert seen == [1, 2]
    assert said[:3] == [
        f"Starting averages consumer in stream {AVERAGES} at message 0.",
        f"Waiting for new messages in stream {AVERAGES}",
        f"Waiting for new messages in stream {AVERAGES}",
    ]


def test_a_wait_that_is_broken_off_goes_on(redis):
    seen: list[int] = []
    with connect() as client:
        one = AveragesConsumer(client, show=lambda entry: seen.append(entry.id.ms), say=silent)
        thread = threading.Thread(target=one.run)
        thread.start()
        until(lambda: unblock(redis))
        publish(redis, 1)
        until(lambda: seen == [1])
        one.stop()
        thread.join()


def test_what_was_trimmed_before_it_came_is_passed_over(redis):
    publish(redis, *range(1, 4))
    assert show_all(redis) == [1, 2, 3]
    publish(redis, *range(4, 200))
    assert show_all(redis) == list(range(80, 200))
    redis.delete(AVERAGES)
    assert show_all(redis) == []
    publish(redis, 300)
    assert show_all(redis) == [300]


def test_what_failed_to_be_shown_is_shown_again(redis):
    publish(redis, 1, 2, 3)
    seen = []

    def show(entry):
        seen.append(entry.id.ms)
        if seen == [1, 2]:
            raise RuntimeError("no paper")

    with pytest.raises(RuntimeError, match="no paper"):
        show_all(redis, show=show)
    show_all(redis, show=show)
    assert seen == [1, 2, 1, 2, 3]


def test_an_average_in_words():
    fields = {"date": "2100/01/01", "hour": "7", "average_temp_f": "72.20",
              "num_observations": "3600"}  # fmt: skip
    assert sentence(Entry(EntryId(1), fields)) == (
        "Average temperature for 2100/01/01 at 7 was 72.20F (3600 observations)."
    )


def test_what_is_no_average_is_no_reason_to_stop():
    assert sentence(Entry(EntryId(1), {"date": "2100/01/01"})) == (
        "The entry 1-0 is no average: {'date': '2100/01/01'}."
    )


# ------------------------------------------------------------------ at least once


@pytest.mark.parametrize("fault", LOSSES)
def test_a_real_connection_lost_costs_nothing(redis, small_pages, fault):
    """At one read and one commit; for all others see `tests.steps`."""
    publish(redis, *range(1, 8))
    with Proxy() as proxy:
        for at in (("XREAD", 2), call_of(COMMIT, 2)):
            redis.unlink(AVERAGES_STATE)
            proxy.reset()
            proxy.arm(fault, at)
            with proxy.connect() as client:
                shown = show_all(client)
            proxy.deliver()
            assert shown == list(range(1, 8)), (at, proxy.commands)
            assert show_all(redis) == [], (at, proxy.commands)


@pytest.mark.parametrize("fault", [Fault.FREEZE_BEFORE, Fault.FREEZE_AFTER])
def test_kill_9_loses_no_average(redis, fault):
    """At the commit that says that the second page was shown."""
    redis.script_load(COMMIT)
    publish(redis, *range(1, 8))
    with Proxy() as proxy:
        proxy.arm(fault, call_of(COMMIT, 2))
        with Life(show_until_drained, PAGE, url=proxy.url) as life:
            assert standing(proxy, lambda: life.exit_code is not None)
        proxy.thaw()
    assert redis.lrange("shown", 0, -1) == [f"{n}-0" for n in range(1, 7)]  # two pages
    show_all(redis, show=lambda entry: redis.rpush("shown", str(entry.id)))
    shown = [EntryId.parse(one).ms for one in redis.lrange("shown", 6, -1)]
    assert shown == ([7] if fault is Fault.FREEZE_AFTER else [4, 5, 6, 7])


# ------------------------------------------------------------------ two, and none


def test_of_two_at_once_the_one_that_began_later_goes_on(redis, impatient):
    told: list[CheckpointError] = []
    seen: dict[str, list[int]] = {"old": [], "new": []}

    def work(one: Any) -> None:
        try:
            one.run()
        except CheckpointError as error:
            told.append(error)

    def consumer(client: Any, name: str) -> AveragesConsumer:
        return AveragesConsumer(client, show=lambda one: seen[name].append(one.id.ms), say=silent)

    with connect() as one, connect() as other:
        old, new = consumer(one, "old"), consumer(other, "new")
        first, second = (threading.Thread(target=work, args=[each]) for each in (old, new))
        first.start()
        until(lambda: blocked(redis) == 1)
        second.start()
        until(lambda: blocked(redis) == 2)
        publish(redis, 1)
        first.join()
        publish(redis, 2)
        until(lambda: seen["new"] == [1, 2])
        new.stop()
        second.join()
    assert len(told) == 1
    assert "took over" in str(told[0])
    assert 2 not in seen["old"]
    assert position(redis) == "2-0"


def test_a_server_that_has_lost_its_place_is_no_reason_to_stop(redis, small_pages):
    publish(redis, *range(1, 8))
    seen = []
    before: dict[str, str] = {}

    def show(entry):
        seen.append(entry.id.ms)
        if seen == [1, 2, 3, 4]:  # the first page is stored
            before.update(redis.hgetall(AVERAGES_STATE))
        if seen == [1, 2, 3, 4, 5, 6, 7]:
            redis.hset(AVERAGES_STATE, mapping=before)

    show_all(redis, show=show)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]
    assert position(redis) == "7-0"


def test_a_state_that_is_deleted_under_it_ends_it(redis):
    publish(redis, 1)
    with pytest.raises(CheckpointError, match="was deleted while a consumer worked with it"):
        show_all(redis, show=lambda entry: redis.delete(AVERAGES_STATE))
    assert show_all(redis) == [1]


# ------------------------------------------------------------------ what cannot be used


@pytest.mark.parametrize("bad", ["", "$", "yesterday", "1-2-3", str(2**64)])
def test_a_corrupt_place_is_told_and_left_as_it_was(redis, bad):
    publish(redis, 1)
    show_all(redis)
    redis.hset(AVERAGES_STATE, "last_message_id", bad)
    before = redis.hgetall(AVERAGES_STATE)
    with pytest.raises(StateError) as raised:
        show_all(redis)
    assert str(raised.value) == (
        f"The state '{AVERAGES_STATE}' has {bad!r} in its field last_message_id. Nothing was "
        "changed: repair it, or start from a partition, which makes a new one."
    )
    assert redis.hgetall(AVERAGES_STATE) == before


@pytest.mark.parametrize("missing", ["last_message_id", "epoch", "commits"])
def test_an_incomplete_state_is_told(redis, missing):
    show_all(redis)
    redis.hdel(AVERAGES_STATE, missing)
    with pytest.raises(StateError, match=f"lacks {missing}"):
        show_all(redis)


def test_keys_of_another_type_are_told(redis):
    redis.set(AVERAGES, "mine")
    with pytest.raises(StreamsError, match=f"The key '{AVERAGES}' is not a stream"):
        show_all(redis)
    redis.delete(AVERAGES, AVERAGES_STATE)
    redis.set(AVERAGES_STATE, "mine")
    with pytest.raises(StateError, match="is of another type than a consumer needs there"):
        show_all(redis)
    assert redis.get(AVERAGES_STATE) == "mine"


def test_an_entry_that_is_no_text_is_told_and_skipped_by_deleting_it(redis):
    publish(redis, 1)
    redis.xadd(AVERAGES, {"date": b"\xff"}, id="2-0")
    publish(redis, 3)
    with pytest.raises(StreamsError, match="holds an entry after 0-0 that is no text: delete it"):
        show_all(redis)
    redis.xdel(AVERAGES, "2-0")
    assert show_all(redis) == [1, 3]


# ------------------------------------------------------------------ stop


def test_stop_ends_it_after_the_averages_in_hand(redis, small_pages):
    publish(redis, *range(1, 8))
    seen = []

    def show(entry):
        seen.append(entry.id.ms)
        if entry.id.ms == 2:
            one.stop()

    one = AveragesConsumer(redis, show=show, say=silent)
    one.run()
    assert seen == [1, 2, 3]
    assert position(redis) == "3-0"
    one.run(drain=True)
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_stop_ends_it_when_the_current_block_is_over(redis, impatient):
    with Proxy() as proxy, proxy.connect() as client:
        one = AveragesConsumer(client, show=print, say=silent)
        thread = threading.Thread(target=one.run)
        thread.start()
        until(lambda: blocked(redis))
        one.stop()
        seen = proxy.names.count("XREAD")
        thread.join()
        assert proxy.names.count("XREAD") <= seen + 1


def test_sigterm_ends_it(redis):
    publish(redis, 1)
    with Life(show_until_told, url=find_server().url) as life:
        until(lambda: redis.llen("shown"))
        life.stop()
        assert life.wait()
        assert life.exit_code == 0
    assert position(redis) == "1-0"
