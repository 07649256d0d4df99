"""Trials tell what COUNT, BLOCK and a pause do, and the sliders show what was tried."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from helpers.bench.trial import STREAM, Trial, milliseconds, trial
from helpers.chaos import SpareServer
from helpers.course.errors import CourseError
from helpers.course.pace import patient
from helpers.views.changes import png
from helpers.views.tuning import AWAY, BUSY, CLOSED, SHOWN, START, Tuning, describe, trials


def told(count=100, block_ms=1000, pause_ms=0, **more):
    """A trial made by hand."""
    given: dict[str, Any] = {"rate": 1000, "reads": 48, "empty": 0, "entries": 1000, "behind": 0}
    given |= {"p50_ms": 26.2, "p99_ms": 48.4}
    return Trial(count=count, block_ms=block_ms, pause_ms=pause_ms, **given | more)


def tried(*args, **more):
    return asyncio.run(trial(*args, **{"seconds": 0.2} | more))


async def at_work(redis):
    """Wait until a trial adds entries."""
    while not redis.exists(STREAM):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


# ------------------------------------------------------------------ what trials show


def test_count_is_a_limit_and_not_a_wish(redis):
    found = tried(1000, 0, rate=500)
    assert (found.entries, found.empty, found.behind) == (100, 0, 0)
    assert found.reads > 1  # it did not wait for 1,000
    assert 0 < found.p50_ms <= found.p99_ms


def test_block_ends_early_when_something_comes_and_a_short_one_makes_empty_replies(redis):
    long, short = (tried(100, block_ms, rate=5) for block_ms in (60_000, 1))
    assert (long.entries, long.reads, long.empty) == (1, 1, 0)
    assert short.entries == 1
    assert short.empty > 0
    polled = tried(100, None, rate=5)
    assert polled.empty > short.empty


def test_a_pause_buys_fewer_round_trips(redis):
    without, paused = (tried(1000, 1000, pause_ms) for pause_ms in (0, 60))
    assert without.entries == paused.entries == 200
    assert paused.reads < without.reads
    assert paused.each > without.each


def test_count_1_with_a_pause_falls_behind(redis):
    found = tried(1, 1000, 10)
    assert found.entries == found.reads < 200
    assert found.behind > found.entries
    assert found.each == 1


def test_it_leaves_nothing_also_when_it_is_cancelled_or_the_stream_is_none(redis):
    clients = redis.info("clients")["connected_clients"]

    async def cancel():
        task = asyncio.create_task(trial(10, 0, 1, seconds=60))
        await at_work(redis)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    redis.set(STREAM, "it is deleted first")
    assert tried(10, 100, seconds=0.01, rate=100).entries == 1
    assert redis.keys("lesson08*") == []
    assert redis.info("clients")["connected_clients"] <= clients


@pytest.mark.once
@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 1.5},
        {"block_ms": -1},
        {"pause_ms": float("nan")},
        {"pause_ms": None},
        {"rate": 0},
        {"seconds": "1"},
    ],
)
def test_a_number_that_cannot_be_is_one_sentence(wrong):
    (name,) = wrong
    with pytest.raises(CourseError, match=f"^{name} must be a"):
        tried(**{"count": 10, "block_ms": 10} | wrong)


@pytest.mark.once
@pytest.mark.parametrize(
    ("found", "said"),
    [
        (told(), "1,000 entries in 48 replies, 21 each; half had waited 26 ms or less; none left"),
        (told(reads=50, empty=2), "1,000 entries in 48 replies and 2 empty ones, 21 each;"),
        (told(reads=2, empty=1, entries=1), "an entry in a reply and an empty one, 1 each;"),
        (told(behind=4400, entries=120), "120 entries in 48 replies, 2.5 each; half had waited"),
        (told(behind=4400), "ms or less; 4,400 left behind."),
    ],
)
def test_a_trial_says_what_came_of_it(found, said):
    assert said in str(found)


@pytest.mark.once
def test_a_trial_names_its_settings():
    assert told(1000, 0, 20).settings == "COUNT 1,000, BLOCK 0, pause 20 ms"
    assert told(1, None).settings == "COUNT 1, no BLOCK, no pause"
    times = [milliseconds(value) for value in (0, 0.034, 0.34, 3.4, 34.4, 3444.4)]
    assert times == ["0 ms", "0.03 ms", "0.34 ms", "3.4 ms", "34 ms", "3,444 ms"]


# ------------------------------------------------------------------ the picture


@pytest.mark.once
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [told()],
        [told(1, None, 200, p50_ms=0.02, p99_ms=90_000, behind=99_000, reads=3, empty=2)] * 5,
    ],
)
def test_every_trial_can_be_drawn(rows):
    assert png(trials(rows)).startswith(b"\x89PNG")


@pytest.mark.once
def test_the_words_begin_with_the_newest_trial():
    said = describe([told(1), told(1000, pause_ms=20, behind=3)])
    assert said.startswith(
        "Trials, the newest first. COUNT 1,000, BLOCK 1,000, pause 20 ms, 1,000 a second: half "
        "within 26 ms, 99 % within 48 ms, 48 round trips, 3 left behind. COUNT 1, BLOCK"
    )


# ------------------------------------------------------------------ the sliders


async def at_rest(tuning):
    """Wait until nothing is being measured."""
    async with asyncio.timeout(patient(10)):
        while tuning._task and not tuning._task.done():
            await asyncio.wait([tuning._task])


def sliders(**more):
    return Tuning(**{"seconds": 0.05} | more)


@pytest.mark.once
def test_each_change_is_tried_and_what_changes_meanwhile_is_tried_next(redis):
    async def run():
        tuning = sliders()
        assert tuning.said == START
        tuning._count.value = 1
        await asyncio.sleep(0)
        assert tuning.said == BUSY
        tuning._pause.value = 5
        tuning._pause.value = 10
        tuning._rate.value = 500
        await at_rest(tuning)
        assert [(one.count, one.pause_ms, one.rate) for one in tuning.trials] == [
            (1, 0, 1000),
            (1, 10, 500),
        ]
        assert tuning.said == f"COUNT 1, BLOCK 1,000, pause 10 ms: {tuning.trials[-1]}"
        assert f'alt="{describe(tuning.trials)}"' in tuning._picture.value

        tuning._button.click()
        await at_rest(tuning)
        assert len(tuning.trials) == 3
        tuning.close()

    asyncio.run(run())
    assert redis.keys("lesson08*") == []


@pytest.mark.once
def test_the_last_few_trials_are_shown_with_those_from_before(redis):
    async def run():
        tuning = sliders(count=1000, trials=[told(n) for n in range(1, SHOWN + 1)])
        assert "COUNT 1, BLOCK" in tuning._picture.value
        found = await tuning.measure()
        assert [one.count for one in tuning.trials] == [*range(2, SHOWN + 1), 1000]
        assert found is tuning.trials[-1]
        tuning.close()

    asyncio.run(run())


@pytest.mark.once
def test_closing_ends_a_trial_and_a_new_one_closes_the_old(redis):
    async def run():
        earlier = Tuning(seconds=60)
        earlier._button.click()
        await at_work(redis)
        tuning = sliders()
        assert earlier.said == CLOSED
        assert earlier._count.disabled
        await at_rest(earlier)
        assert not redis.exists(STREAM)
        earlier._button.click()
        await at_rest(earlier)
        assert earlier.trials == ()
        assert tuning.said == START
        tuning.close()

    asyncio.run(run())


@pytest.mark.once
def test_a_server_that_is_away_is_one_sentence(monkeypatch):
    async def run(server):
        tuning = Tuning(seconds=60)
        tuning._button.click()
        with server.connect() as client:
            await at_work(client)
        server.kill()
        await at_rest(tuning)
        assert tuning.said == AWAY
        tuning.close()

    with SpareServer() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        asyncio.run(run(server))


@pytest.mark.once
def test_where_there_is_no_kernel_a_text_takes_its_place():
    tuning = Tuning()
    assert tuning._repr_mimebundle_()["text/plain"].startswith("Sliders for COUNT, BLOCK, a pause")
    tuning._button.click()  # nobody to measure, and no error
    assert tuning.said == START
    with pytest.raises(CourseError, match="The slider COUNT has no value 3"):
        Tuning(3)
    tuning.close()
    tuning.close()
