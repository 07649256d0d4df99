"""What the dashboard says and draws, from looks made by hand, and on a real server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from helpers import connect_async
from helpers.chaos import SpareServer
from helpers.course.errors import CourseError
from helpers.course.pace import patient
from helpers.views.changes import Chart, axis_label, changes, describe, png, ticks
from helpers.wiki import Change, Counters, Dashboard
from helpers.wiki.dashboard import ALL_WIKIS, AWAY, MOST_LINES, QUIET_S
from helpers.wiki.look import ALL, Look, busiest, look, rough, series, state, window
from helpers.wiki.names import place_key
from helpers.wiki.page import serve

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
EN, DE = "en.wikipedia.org", "de.wikipedia.org"


def seen(counts=None, *, now_s=NOON_S + 5, **more):
    """A look at NOON and 5 s, in intervals of 10 s."""
    given = {"now_ms": int(now_s * 1000), "interval_s": 10, "history_s": 3600, "domains": ()}
    return Look(**given | {"counts": {ALL: counts or {}}} | more)  # type: ignore[arg-type]


def at(seconds):
    """A moment so many seconds after NOON."""
    return NOON + timedelta(seconds=seconds)


# ------------------------------------------------------------------ series and windows


def test_an_interval_without_changes_is_a_zero_and_the_last_one_is_now():
    looked = seen({NOON_S - 30: 7, NOON_S - 10: 2, NOON_S: 1})
    assert series(looked, ALL, 4) == [(at(-30), 7), (at(-20), 0), (at(-10), 2), (at(0), 1)]
    assert [count for _, count in series(looked, "nobody", 2)] == [0, 0]


@pytest.mark.parametrize(
    ("counts", "more", "intervals"),
    [
        ({}, {}, 12),
        ({NOON_S: 1}, {}, 12),
        ({NOON_S - 290: 1}, {}, 30),
        ({NOON_S - 3000: 1}, {}, 60),
        ({NOON_S - 3000: 1}, {"history_s": 100}, 11),  # older ones are swept
        ({NOON_S + 500: 1}, {}, 12),  # the feed's clock is ahead
    ],
)
def test_the_picture_begins_with_the_first_interval_that_was_counted(counts, more, intervals):
    assert window(seen(counts, **more), 60) == intervals


# ------------------------------------------------------------------ the state


@pytest.mark.parametrize(
    ("ages", "said", "stale"),
    [
        ((None, None), "Nothing has been counted yet: start a publisher and a sub", False),
        ((None, 1), "Nothing has been counted yet: there is a publisher, so start", False),
        ((1, 1), "Live: changes are being counted.", False),
        ((-5, None), "Live: changes", False),
        ((12, 2), "Stale: nothing was counted for 10 s. The publisher still publishes", True),
        ((130, 129), "Stale: nothing was counted for 2 min. Nothing is published eith", True),
        ((12, None), "the feed or the publisher has stopped.", True),
    ],
)
def test_the_state_says_who_is_missing(ages, said, stale):
    now_ms = (NOON_S + 5) * 1000
    counted, published = (None if age is None else now_ms - age * 1000 for age in ages)
    found = state(seen(counted_ms=counted, published_ms=published))
    assert said in found.said
    assert found.stale is stale
    assert found.stale_since_ms == (counted if stale else None)


def test_one_who_catches_up_is_behind_and_one_who_says_nothing_leaves_buckets():
    now_ms = (NOON_S + 5) * 1000
    behind = state(seen(counted_ms=now_ms, newest_ms=now_ms - 200_000))
    assert behind.said == "Live, but behind: it counts changes that were made 3 min ago."
    assert state(seen({NOON_S: 1})).said.startswith("Live")
    assert state(seen({NOON_S - 30: 1})).stale_since_ms == (NOON_S - 20) * 1000
    assert [rough(s) for s in (4.7, 47, 200, 9000)] == ["4 s", "40 s", "3 min", "2 h"]


# ------------------------------------------------------------------ the figure and its words


def chart(counts=(3, 0, 5, 1), **more):
    points = [(at(10 * number), count) for number, count in enumerate(counts)]
    return Chart({EN: points} if counts else {}, 10, **more)


def test_the_words_tell_the_newest_whole_interval():
    assert describe(chart()) == (
        "Line chart of changes per 10 s, 12:00:00 to 12:00:40, UTC. "
        "The newest complete interval began at 12:00:20: en.wikipedia.org 5."
    )
    stale = describe(chart(tz="Asia/Kolkata", stale_since=at(14)))
    assert "began at 17:30:00: en.wikipedia.org 3." in stale
    assert stale.endswith("Nothing was counted after 17:30:14.")
    assert "It has no complete interval." in describe(chart((1,)))
    assert describe(chart(())) == "An empty chart. Nothing is picked."


@pytest.mark.once
@pytest.mark.parametrize(
    "one",
    [
        chart(),
        chart((1,)),
        chart(()),
        chart((0, 0)),
        chart(stale_since=at(14)),
        chart(stale_since=at(-900)),  # long before the picture begins
        Chart({"$_{odd}$ <name>" * 9: [(at(0), 1), (at(10), 2_000_000)], "_x": []}, 10),
    ],
)
def test_every_chart_can_be_drawn(one):
    assert png(changes(one)).startswith(b"\x89PNG")


def test_the_time_axis_stands_in_its_zone_over_the_end_of_daylight_saving_too():
    assert axis_label(NOON, at(600), "UTC") == "time of day in UTC, 1 July 2026"
    late = axis_label(at(12 * 3600 - 60), at(12 * 3600 + 60), "UTC")
    assert late.endswith("1 July 2026 to 2 July 2026")
    end = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    label = axis_label(end, end + timedelta(hours=1), "Europe/Lisbon")
    assert label == "time of day in Europe/Lisbon (UTC+1, then UTC+0), 25 October 2026"
    marks = [said for _, said in ticks(end, end + timedelta(hours=1), "Europe/Lisbon")]
    assert marks == ["01:30", "01:40", "01:50", "01:00", "01:10", "01:20", "01:30"]


@pytest.mark.parametrize("span_s", [12, 119, 600, 3600, 86_400, 30 * 86_400])
def test_there_are_a_few_marks_at_round_times(span_s):
    marks = ticks(at(3), at(3 + span_s), "Asia/Kolkata")
    assert 2 <= len(marks) <= 9
    assert at(3) <= marks[0][0]
    assert marks[-1][0] <= at(3 + span_s)


@pytest.mark.parametrize("tz", ["Mars/Olympus", "", "../etc", "America", 3, None])
def test_a_time_zone_that_is_none_is_one_sentence(tz):
    with pytest.raises(CourseError, match="There is no time zone"):
        Dashboard(tz=tz)
    with pytest.raises(CourseError, match="There is no time zone"):
        serve(tz=tz)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"refresh_s": 0}, "refresh_s must be"),
        ({"stale_after_s": float("nan")}, "stale_after_s must be"),
        ({"intervals": 1}, "2 intervals or more"),
        ({"picks": EN}, r"write \['en.wikipedia.org'\]"),
        ({"picks": [3]}, "Picks are domains"),
    ],
)
def test_arguments_that_cannot_be_are_one_sentence(wrong, said):
    with pytest.raises(CourseError, match=said):
        Dashboard(**wrong)


def test_a_port_that_is_taken_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 99_999):
            with pytest.raises(CourseError, match="name another"):
                serve(port=port)


# ------------------------------------------------------------------ on a server


class Feed:
    """Somebody who counts, at a time that stands still until it is moved."""

    def __init__(self, client, counters):
        self.client, self.counters, self.now = client, counters, at(5)

    def clock(self):
        return self.now

    async def count(self, **changes):
        """Count changes, of wikis by language, as a subscriber does."""
        ms = int(self.now.timestamp() * 1000)
        tally = self.counters.tally(
            Change(f"{language}.wikipedia.org", ms)
            for language, count in changes.items()
            for _ in range(count)
        )
        for command in [*self.counters.effect(tally), *self.counters.note(ms, ms)]:
            await self.client.execute_command(*command)


@asynccontextmanager
async def dashboard(by=None, **more):
    """A dashboard, a client with which it looks, and somebody who counts `by` some intervals."""
    async with connect_async() as client:
        feed = Feed(client, by or Counters())
        shown = Dashboard(clock=feed.clock, **more)
        try:
            yield shown, client, feed
        finally:
            shown.close()


def test_the_list_follows_the_feed_and_keeps_what_is_picked(redis, monkeypatch):
    async def run():
        async with dashboard() as (shown, client, feed):
            await shown.refresh(client)
            assert shown.said.startswith("Nothing has been counted yet")
            await feed.count(en=5, de=2)
            await shown.refresh(client)
            assert set(shown.picked) == {EN, DE}  # by itself, the busiest
            assert shown.said.startswith("Live")

            monkeypatch.setattr("helpers.wiki.dashboard.QUIET_S", 0)
            shown._list.value = [DE, ALL]
            await feed.count(fr=900, aa=900)
            redis.srem("known_domains", DE)  # its buckets are gone
            changed = []
            shown._list.observe(lambda change: changed.append(change.new), "_options_labels")
            await shown.refresh(client)
            await shown.refresh(client)
            assert set(shown.picked) == {DE, ALL}
            assert [label for label, _ in shown._list.options] == [
                ALL_WIKIS, "aa.wikipedia.org", DE, EN, "fr.wikipedia.org"
            ]  # fmt: skip
            assert len(changed) == 1  # the list is touched only when it changes
            shown._list.value = [EN]
            await shown.refresh(client)
            assert DE not in shown._list.options  # nobody needs it any more
            return shown

    shown = asyncio.run(run())
    assert shown._list.disabled
    assert repr(shown) == f"A dashboard of the changes to {EN}, live; times in UTC."


def test_the_list_stands_still_while_somebody_picks_from_it(redis):
    async def run():
        async with dashboard(picks=[EN]) as (shown, client, feed):
            await shown.refresh(client)
            shown._list.value = [ALL]
            await feed.count(fr=1)
            await shown.refresh(client)
            assert len(shown._list.options) == 2
            shown._quiet_until -= QUIET_S
            await shown.refresh(client)
            assert "fr.wikipedia.org" in dict(shown._list.options)

    asyncio.run(run())


def test_a_pick_changes_the_picture_and_each_line_keeps_its_colour(redis):
    async def run():
        async with dashboard(picks=[EN]) as (shown, client, feed):
            await feed.count(en=5, de=2)
            await shown.refresh(client)
            first = shown._picture.value
            assert shown.chart.lines[EN][-1] == (at(0), 5)
            await shown.refresh(client)
            assert shown._picture.value is first  # nothing new, nothing drawn
            style = shown.chart.styles[EN]

            shown._list.value = [ALL, DE, EN]
            await shown.refresh(client)
            assert shown._picture.value != first
            assert shown.chart.lines[ALL_WIKIS][-1] == (at(0), 7)
            assert shown.chart.styles[EN] == style
            assert len(set(shown.chart.styles.values())) == 3
            feed.now = at(15)
            await shown.refresh(client)
            assert "all wikis 7, de.wikipedia.org 2, en.wikipedia.org 5" in shown._picture.value
            assert "12:00:15" in shown._refreshed.value

    asyncio.run(run())


def test_more_than_can_be_told_apart_are_not_drawn(redis):
    async def run():
        many = [f"w{number}.wikipedia.org" for number in range(MOST_LINES)]
        async with dashboard(picks=many) as (shown, client, _):
            await shown.refresh(client)
            assert len(set(shown.chart.styles.values())) == MOST_LINES
            assert shown._note.value == ""
            shown._list.value = [ALL, *many]
            await shown.refresh(client)
            assert len(set(shown.chart.styles.values())) == len(shown.chart.lines) == MOST_LINES
            assert "Only the first 7" in shown._note.value

    asyncio.run(run())


def test_it_is_stale_when_nobody_counts_and_live_again_when_somebody_does(redis):
    async def run():
        async with dashboard(picks=[EN]) as (shown, client, feed):
            await feed.count(en=5)
            feed.now = at(30)
            redis.hset(place_key("wiki"), "at", int(at(29).timestamp() * 1000))
            await shown.refresh(client)
            assert "Stale" in shown.said
            assert "subscriber has stopped" in shown.said
            assert shown.chart.stale_since == at(5)
            await feed.count(en=1)
            await shown.refresh(client)
            assert shown.said.startswith("Live")
            assert shown.chart.stale_since is None

    asyncio.run(run())


def test_the_interval_is_the_subscribers_and_keys_have_a_prefix(redis):
    async def run():
        counters = Counters(60, 600, prefix="{w}:")
        ours = Counters(prefix="{w}:")
        async with dashboard(counters, counters=ours) as (shown, client, feed):
            await feed.count(en=3, de=9, fr=5)
            looked = await look(client, [EN], counters=ours, clock=feed.clock)
            assert (looked.interval_s, looked.history_s) == (60, 600)
            assert looked.counts == {ALL: {NOON_S: 17}, EN: {NOON_S: 3}}
            two = await busiest(client, looked.domains, counters=ours, count=2)
            assert two == (DE, "fr.wikipedia.org")
            await shown.refresh(client)
            assert shown.chart.interval_s == 60

    asyncio.run(run())


def test_a_key_of_another_kind_is_one_sentence_and_odd_fields_are_left_out(redis):
    async def run():
        async with dashboard(picks=[EN]) as (shown, client, feed):
            await feed.count(en=1)
            redis.hset("ev", mapping={"x": 1, str(NOON_S): "y"})
            await shown.refresh(client)
            redis.set("ev:" + DE, "x")
            with pytest.raises(CourseError, match="The counters cannot be read"):
                await look(client, [DE])

    asyncio.run(run())


def test_it_goes_on_when_the_server_is_back_and_a_new_one_closes_the_old(monkeypatch):
    async def until(holds):
        async with asyncio.timeout(patient(10)):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def run(server):
        earlier = Dashboard(refresh_s=0.05)
        shown = Dashboard(refresh_s=0.05)
        assert earlier._list.disabled
        assert "text/plain" in shown._repr_mimebundle_()
        await until(lambda: shown.said.startswith("Nothing has been counted"))
        server.kill()
        await until(lambda: shown.said == AWAY)
        server.start()
        await until(lambda: shown.said.startswith("Nothing has been counted"))
        shown.close()
        assert "closed" in shown.said
        assert shown._task
        await asyncio.wait([shown._task])

    with SpareServer() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        asyncio.run(run(server))
