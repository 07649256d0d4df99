"""The theatre shows what is on the server, whatever that is, and its consumers are real."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from dataclasses import replace
from xml.etree import ElementTree

import psutil
import pytest
import redis as redis_py

from helpers import EntryId, Group, connect_async
from helpers.chaos import Process
from helpers.course.errors import CourseError
from helpers.course.server import OwnServer, find_server
from helpers.streams.errors import GroupError, WrongTypeError
from helpers.views.theatre import Theatre, draw, moved, snapshot, snapshot_async, text
from helpers.views.theatre.layout import EDGE, WIDTH, Area, fit, sheet
from helpers.views.theatre.snapshot import Box, GroupLook, Member, Pending, Snapshot
from helpers.views.theatre.stage import Stage
from helpers.views.theatre.still import Still
from helpers.views.theatre.text import idle, rows
from helpers.views.theatre.widget import AWAY

pytestmark = pytest.mark.once  # lessons 03 and 04 show it on every server


def fill(redis, count, stream="s", start=1):
    for ms in range(start, start + count):
        redis.xadd(stream, {"n": ms}, id=f"{ms}-0")


def deliver(redis, consumer, count=1, group="g"):
    """Let a consumer read, and give the IDs of what it got."""
    reply = redis.xreadgroup(group, consumer, {"s": ">"}, count=count)
    return [entry_id for entry_id, _ in reply["s"]]


def held(look):
    return {entry_id.ms: name for entry_id, name in look.groups[0].held.items()}


# ------------------------------------------------------------------ what a snapshot sees


def test_a_stream_that_is_missing_or_something_else_is_one_sentence(redis):
    redis.set("word", "x")
    assert text(snapshot(redis, "s")) == "There is no stream s yet: add an entry to it."
    assert text(snapshot(redis, "word")) == "The key word isn't a stream: its type is string."
    redis.xgroup_create("s", "g", mkstream=True)
    empty = snapshot(redis, "s")
    assert (empty.length, empty.entries, len(empty.groups)) == (0, (), 1)
    assert "has no entries yet" in text(empty)


def test_a_stream_without_a_group_says_so(redis):
    fill(redis, 1)
    assert text(snapshot(redis, "s")).endswith("No consumer group reads it yet.")


def test_the_newest_entries_come_in_order(redis):
    fill(redis, 30)
    look = snapshot(redis, "s", newest=5)
    assert [box.id.ms for box in look.entries] == [26, 27, 28, 29, 30]
    assert look.entries[0] == Box(EntryId(26), (("n", "26"),))
    assert look.length == 30
    assert "30 entries, the newest 5 shown" in text(look)


@pytest.mark.parametrize("newest", [0, 13])
def test_more_entries_than_fit_are_refused(redis, newest):
    with pytest.raises(CourseError, match="1 to 12"):
        snapshot(redis, "s", newest=newest)


def test_a_lag_that_cannot_be_is_unknown(redis):
    for number in range(1, 4):
        redis.xadd("s", {"n": number}, id=f"{number}-0")
    redis.xgroup_create("s", "g", "1-0", entries_read=100)
    (group,) = snapshot(redis, "s").groups
    assert group.lag is None or group.lag == 2  # Redis 8 knows better
    assert Group(redis, "s", "g").info().lag == 2


def test_what_is_done_pending_and_unread_is_told_apart(redis):
    fill(redis, 6)
    redis.xgroup_create("s", "g", id="0")
    redis.xack("s", "g", *deliver(redis, "alice", 2))
    deliver(redis, "bob", 2)
    look = snapshot(redis, "s")
    (group,) = look.groups
    assert (group.cursor, group.lag, group.pending) == (EntryId(4), 2, 2)
    assert held(look) == {3: "bob", 4: "bob"}
    assert "\n  ✓ ✓ bob bob · ·\n" in text(look)
    alice, bob = group.members
    assert (alice.name, alice.pending, alice.entries) == ("alice", 0, ())
    assert [(one.id.ms, one.deliveries, one.deleted) for one in bob.entries] == [
        (3, 1, False),
        (4, 1, False),
    ]


def test_a_lag_that_the_server_does_not_know_is_unknown(redis):
    fill(redis, 5)
    redis.xgroup_create("s", "g", id="0")
    deliver(redis, "alice", 1)
    redis.xdel("s", "3-0")
    look = snapshot(redis, "s")
    assert look.groups[0].lag is None
    assert "lag unknown" in text(look)
    assert "lag unknown" in draw(look)


def test_a_deleted_entry_that_is_pending_shows(redis):
    fill(redis, 3)
    redis.xgroup_create("s", "g", id="0")
    deliver(redis, "alice", 3)
    redis.xdel("s", "2-0")
    look = snapshot(redis, "s")
    assert [one.deleted for one in look.groups[0].members[0].entries] == [False, True, False]
    assert "✕ deleted" in draw(look)
    assert "alice, 3 pending: #1 (×1), deleted (×1), #2 (×1)" in text(look, times=False)


def test_groups_do_not_mix(redis):
    fill(redis, 3)
    for group in ("g", "h"):
        redis.xgroup_create("s", group, id="0")
    deliver(redis, "alice", 1, "g")
    deliver(redis, "alice", 3, "h")
    g, h = snapshot(redis, "s").groups
    assert (len(g.held), len(h.held)) == (1, 3)
    assert (g.lag, h.lag) == (2, 0)


def test_dead_letters_are_counted_if_there_are_any(redis):
    fill(redis, 1)
    assert snapshot(redis, "s", dead_letters="dead").dead_letters is None
    fill(redis, 3, "dead")
    look = snapshot(redis, "s", dead_letters="dead")
    assert look.dead_letters == 3
    assert "Dead letters: 3." in text(look)
    assert "Dead letters: 3." in draw(look)


def test_a_snapshot_stays_small_however_much_there_is(redis):
    pipeline = redis.pipeline()
    for ms in range(1, 5001):
        pipeline.xadd("s", {"long": "x" * 1000, **{f"field{n}": n for n in range(20)}}, f"{ms}-0")
    pipeline.execute()
    for number in range(10):
        redis.xgroup_create("s", f"g{number}", id="0")
    deliver(redis, "alice", 4000, "g0")
    for number in range(20):
        deliver(redis, f"bob{number:02}", 1, "g0")
    look = snapshot(redis, "s")
    first = look.groups[0]
    assert (len(look.groups), look.more) == (6, 4)
    assert (len(first.members), first.more) == (8, 13)
    assert (first.members[0].pending, len(first.members[0].entries)) == (4000, 7)
    assert (len(look.entries[0].fields), look.entries[0].more) == (2, 19)
    assert "4,000 pending: 1-0" in text(look)
    assert "3,993 more" in text(look)
    assert len(text(look)) < 5_000
    assert len(draw(look)) < 100_000


def test_bytes_that_are_no_text_and_letters_cut_in_two_do_no_harm(redis):
    redis.xadd("s", {b"\xff\x00": b"\xc3", "city": "é" * 200})
    redis.xadd("s", {"city": "Málaga, 東京"})
    first, second = snapshot(redis, "s").entries
    assert first.fields[0] == ("�\x00", "�")
    assert first.fields[1][1].startswith("é" * 30)
    assert second.fields == (("city", "Málaga, 東京"),)
    ElementTree.fromstring(draw(snapshot(redis, "s")))


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize(("protocol", "legacy"), [(2, True), (2, False), (3, True), (3, False)])
def test_any_client_sees_the_same(redis, protocol, legacy, decode):
    fill(redis, 3)
    redis.xgroup_create("s", "g", id="0")
    deliver(redis, "alice", 2)
    options = {"protocol": protocol, "legacy_responses": legacy, "decode_responses": decode}
    with redis_py.Redis.from_url(find_server().url, **options) as client:
        assert timeless(snapshot(client, "s")) == timeless(snapshot(redis, "s"))


def timeless(look):
    """A snapshot without its idle times."""

    def still(member):
        return replace(member, entries=tuple(replace(one, idle_ms=0) for one in member.entries))

    groups = (replace(one, members=tuple(map(still, one.members))) for one in look.groups)
    return replace(look, groups=tuple(groups))


def test_the_same_under_asyncio(redis):
    async def run():
        async with connect_async() as client:
            return await snapshot_async(client, "s", newest=2)

    fill(redis, 3)
    assert asyncio.run(run()) == snapshot(redis, "s", newest=2)


def test_an_entry_that_was_claimed_has_moved_and_no_other(redis):
    fill(redis, 4)
    redis.xgroup_create("s", "g", id="0")
    deliver(redis, "alice", 2)
    before = snapshot(redis, "s")
    redis.xclaim("s", "g", "bob", 0, ["2-0"])
    redis.xack("s", "g", "1-0")
    deliver(redis, "bob", 1)
    after = snapshot(redis, "s")
    assert moved(before, after) == {("g", EntryId(2))}
    assert moved(after, after) == frozenset()
    assert "→bob" in draw(after, moved=moved(before, after))
    assert "→bob" not in draw(after)


# ------------------------------------------------------------------ how it looks

MEAN = "<b>&\"'</svg>\x00\x1b"


def scene(*, entries=12, members=4, pending=9, name="alice", value="27"):
    """A snapshot that no server was asked for."""
    ids = [EntryId(1_767_225_600_000 + 731 * n, 0) for n in range(entries)]
    people = []
    for number in range(members):
        mine = [
            Pending(one, f"{name}{number}", 10**7 * n, 10 * n + 1, deleted=n == 1)
            for n, one in enumerate(ids[:7])
        ]
        people.append(Member(f"{name}{number}", pending, tuple(mine[:pending])))
    holders = dict.fromkeys(ids[3:6], f"{name}0")
    group = GroupLook("averages", ids[8] if entries > 8 else ids[0], None, 40, tuple(people), 2,
                      holders)  # fmt: skip
    boxes = tuple(Box(one, (("temperature", value), (MEAN, MEAN)), 3) for one in ids)
    return Snapshot("chennai", "stream", 12345, 12, boxes, (group, replace(group, name="b")), 1, 7)


SCENES = {
    "full": scene(),
    "few": replace(scene(entries=4), newest=4),
    "one": scene(entries=1, members=0),
    "long": scene(name="a name that is longer than its place " * 9, value="東京" * 99),
    "mean": replace(scene(name=MEAN, value=MEAN), stream=MEAN),
    "missing": Snapshot("chennai" * 50, "none"),
    "empty": Snapshot("chennai", "stream"),
}
STATES = {"averages": {"alice0": "running", "alice1": "killed", "alice2": "paused", "zoe": "ended"}}


@pytest.mark.parametrize("look", SCENES.values(), ids=SCENES)
def test_pictures_are_sound_and_the_same_each_time(look):
    fresh = frozenset({("averages", box.id) for box in look.entries})
    picture = draw(look, STATES, fresh)
    assert picture == draw(look, STATES, fresh)
    root = ElementTree.fromstring(picture)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert not re.search(r"<(b|script)[ >]", picture)
    sizes = [int(size) for size in re.findall(r'font-size="(\d+)"', picture)]
    assert min(sizes) >= 16


@pytest.mark.parametrize("look", SCENES.values(), ids=SCENES)
def test_nothing_stands_outside_the_picture(look):
    paper = sheet(look, STATES)
    for shape in paper.shapes:
        assert 0 <= shape.x <= WIDTH
        assert 0 <= shape.y <= paper.height
        if isinstance(shape, Area):
            assert shape.x + shape.width <= WIDTH - EDGE + 3
            assert shape.y + shape.height <= paper.height


def test_the_still_picture_is_the_same_each_time_and_its_text_has_no_times():
    data, about = Still(SCENES["full"], STATES)._repr_mimebundle_()
    again, _ = Still(SCENES["full"])._repr_mimebundle_()
    assert data["image/png"] == Still(SCENES["full"], STATES).png()
    assert data["image/png"].startswith(b"\x89PNG")
    assert about["image/png"]["width"] == WIDTH
    for words in (data["text/plain"], again["text/plain"]):
        assert not re.search(r"\d{13}| s, |min", words)
    assert "alice1, killed" in data["text/plain"]
    assert "1767225600000-0 (0 s, ×1)" in text(SCENES["full"])


def test_letters_that_the_font_lacks_make_no_noise(recwarn):
    Still(SCENES["long"]).png()
    assert not recwarn.list


def test_text_is_cut_to_its_place():
    assert fit("short", 20, 100) == "short"
    assert fit("temperature of the day", 20, 100).endswith("…")
    assert len(fit("東京" * 20, 20, 100)) < len(fit("ab" * 20, 20, 100))
    assert fit("a\nb", 20, 100) == "a�b"


@pytest.mark.parametrize(
    ("idle_ms", "said"),
    [(0, "0 s"), (999, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_600_000, "1 h"),
     (86_400_000 * 3, "3 d")],
)  # fmt: skip
def test_idle_times_are_coarse(idle_ms, said):
    assert idle(idle_ms) == said


def test_consumers_that_are_ours_come_first_and_keep_their_colours():
    group = SCENES["full"].groups[0]
    states = {"zoe": "not started", "alice1": "running"}
    assert [(member.name, state) for member, state in rows(group, states)] == [
        ("zoe", "not started"),
        ("alice1", "running"),
        ("alice0", "not ours"),
        ("alice2", "not ours"),
        ("alice3", "not ours"),
    ]
    assert [state for _, state in rows(group, {})] == [""] * 4
    alone = replace(SCENES["full"], groups=(replace(group, members=group.members[1:2]),))
    colours = [
        [area.fill for area in sheet(look, {"averages": states}).shapes
         if isinstance(area, Area) and area.width == 10][:2]
        for look in (alone, SCENES["full"])
    ]  # fmt: skip
    assert colours[0] == colours[1]


# ------------------------------------------------------------------ what can be done


def until(condition):
    """Wait until something is so; the time-out of the test ends a wait that is in vain."""
    while not condition():
        time.sleep(0.02)


def pending(stage):
    """How many entries are pending for each consumer that has any."""
    (group,) = stage.snapshot().groups
    return {member.name: member.pending for member in group.members if member.pending}


@pytest.fixture
def stage(redis):
    with Stage(redis, "chennai", "averages") as stage:
        yield stage


def test_a_killed_consumer_leaves_its_entries_and_a_claim_saves_them(stage):
    stage.produce(3)
    stage.start("bob")
    until(lambda: pending(stage) == {"bob": 3})
    pid = int(re.findall(r"\d+", repr(stage._crew["bob"]))[0])
    stage.pause("bob")
    assert stage.states() == {"averages": {"alice": "not started", "bob": "paused"}}
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    assert "bob, paused, " in str(stage.still())
    stage.resume("bob")
    stage.kill("bob")
    assert stage.states()["averages"]["bob"] == "killed"
    assert not psutil.pid_exists(pid)
    left = pending(stage)["bob"]
    assert stage.claim("alice") == 0  # nothing has been idle for so long
    assert stage.claim("alice", idle_ms=0) == left
    assert pending(stage) == {"alice": left}
    assert stage.claim("alice", idle_ms=0) == 0  # what is hers already is left alone
    stage.start("alice")
    until(lambda: not pending(stage))
    stage.revive("bob")
    assert stage.states()["averages"] == {"alice": "running", "bob": "running"}


def test_a_consumer_that_works_already_looks_after_what_is_claimed_for_it(redis, stage):
    fill(redis, 2, "chennai")
    redis.xreadgroup("averages", "bob", {"chennai": ">"})
    stage.start("alice")
    until(lambda: len(stage.snapshot().groups[0].members) == 2)
    stage.claim("alice", idle_ms=0)
    until(lambda: not pending(stage))


def test_what_a_claim_does_is_an_xclaim_of_entries_idle_for_long(redis, stage):
    fill(redis, 3, "chennai")
    redis.xreadgroup("averages", "bob", {"chennai": ">"})
    redis.xdel("chennai", "2-0")
    stage.claim("alice", idle_ms=0)
    first, *rest = redis.xpending_range("chennai", "averages", "-", "+", 10)
    assert first["consumer"] == "alice"
    assert first["times_delivered"] == 1
    assert len(rest) == 1  # the deleted one is pending no longer


def test_reset_begins_anew(redis, stage):
    stage.produce(2)
    stage.start("alice")
    process = stage._crew["alice"]
    stage.reset()
    assert not process.alive
    assert stage.states()["averages"]["alice"] == "not started"
    assert stage.snapshot().length == 0
    assert [group.name for group in stage.snapshot().groups] == ["averages"]
    stage.produce()
    assert redis.xrange("chennai")[0][1] == {"reading": "1"}


def test_the_fields_are_the_callers_if_they_say_so(redis):
    fields = {"city": "ooty"}
    with Stage(redis, "s", "g", fields=lambda number: fields | {"n": number}) as stage:
        stage.produce(2)
        assert stage.snapshot().entries[1].fields == (("city", "ooty"), ("n", "2"))
        assert "XADD s * city ooty n 2" in stage.said
    with Stage(redis, "s", "g") as stage:
        stage.produce()
    assert redis.xrevrange("s", count=1)[0][1] == {"reading": "3"}


def test_what_cannot_be_done_is_said_in_a_sentence(redis, stage):
    for wrong in (stage.start, stage.claim):
        with pytest.raises(CourseError, match="'eve' isn't one of this theatre's consumers"):
            wrong("eve")
    with pytest.raises(CourseError, match="bob"):
        stage.kill("bob")
    stage.start("alice")
    with pytest.raises(CourseError, match="at work already"):
        stage.start("alice")
    redis.delete("chennai")
    with pytest.raises(GroupError, match="no consumer group"):
        stage.claim("alice")
    redis.set("chennai", "x")
    with pytest.raises(WrongTypeError, match="is not a stream"):
        stage.produce()
    with pytest.raises(WrongTypeError, match="is not a stream"):
        Stage(redis, "chennai", "averages")


def test_closing_ends_the_consumers_also_after_an_error(redis):
    def fail():
        with Stage(redis, "chennai", "averages") as stage:
            stage.start("alice")
            stage.start("bob")
            stage.pause("bob")
            processes.extend(stage._crew.values())
            raise RuntimeError

    processes: list[Process] = []
    with pytest.raises(RuntimeError):
        fail()
    assert [process.alive for process in processes] == [False, False]


# ------------------------------------------------------------------ in a notebook


def program(name):
    return [sys.executable, "-c", f"print('{name} is at home'); raise SystemExit('no work')"]


async def eventually(condition):
    while not condition():  # noqa: ASYNC110  the condition is another process's
        await asyncio.sleep(0.02)


def line(theatre):
    return theatre._line.value


def press(theatre, label, number=0):
    """Click on a button."""
    fits = [one for one in theatre._buttons() if one.description == label]
    fits[number].click()


def test_the_picture_follows_the_stream(redis):
    async def run():
        with Theatre(redis, "chennai", "averages") as theatre:
            bundle = theatre._repr_mimebundle_()
            assert bundle["text/plain"].startswith("The stream chennai has no entries yet")
            assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
            await eventually(lambda: "no entries yet" in theatre._picture.value)
            press(theatre, "add 10")
            await eventually(lambda: "10 entries" in theatre._picture.value)
            assert "XADD chennai * reading 10" in line(theatre)
            press(theatre, "start", 1)
            await eventually(lambda: "bob, running" in theatre._picture.value)
            press(theatre, "pause", 1)
            await eventually(lambda: "bob, paused" in theatre._picture.value)
            press(theatre, "kill -9", 1)
            await eventually(lambda: "bob, killed" in theatre._picture.value)
            assert "kill -9" in line(theatre)
            press(theatre, "revive")
            await eventually(lambda: "bob, running" in theatre._picture.value)
        await eventually(lambda: not theatre._tasks)
        assert "closed" in line(theatre)

    asyncio.run(run())


def test_entries_that_moved_are_highlighted(redis):
    async def run():
        with Theatre(redis, "s", "g") as theatre:
            fill(redis, 2)
            deliver(redis, "bob", 2)
            theatre._go_live()
            await eventually(lambda: "bob" in theatre._picture.value)
            theatre.claim("alice", idle_ms=0)
            await eventually(lambda: "→alice" in theatre._picture.value)

    asyncio.run(run())


def test_an_error_behind_a_button_is_a_sentence_and_the_show_goes_on(redis):
    async def run():
        with Theatre(redis, "s", "g", program=program) as theatre:
            theatre._go_live()
            redis.set("s", "no stream")
            press(theatre, "add 1")
            await eventually(lambda: "is not a stream" in line(theatre))
            await eventually(lambda: "a stream: its type is" in theatre._picture.value)
            press(theatre, "reset")
            await eventually(lambda: "no entries yet" in theatre._picture.value)
            press(theatre, "start")
            await eventually(lambda: "alice ended: no work" in line(theatre))

    asyncio.run(run())


def test_a_second_theatre_on_the_same_group_closes_the_first(redis):
    async def run():
        first = Theatre(redis, "s", "g")
        first._go_live()
        first.start("alice")
        with Theatre(redis, "s", "g"):
            assert first.states()["g"]["alice"] == "killed"
            await eventually(lambda: not first._tasks)

    asyncio.run(run())


def test_outside_a_notebook_it_shows_its_text_and_nothing_runs(redis):
    with Theatre(redis, "s", "g") as theatre:
        theatre.produce(2)
        assert theatre._repr_mimebundle_()["text/plain"] == repr(theatre)
        assert "#2  reading=2" in repr(theatre)
        assert not theatre._tasks


def test_it_goes_on_when_the_server_is_back(redis, home, monkeypatch):
    """The server stands still, and the kernel does not."""
    from helpers import connect

    monkeypatch.setattr("helpers.views.theatre.widget.PATIENCE_S", 0.2)

    async def run():
        with connect() as client, Theatre(client, "s", "g") as theatre:
            state = OwnServer(home).running()
            assert state
            theatre._go_live()
            await eventually(lambda: "no entries yet" in theatre._picture.value)
            os.kill(state.pid, signal.SIGSTOP)
            try:
                await eventually(lambda: AWAY in line(theatre))
            finally:
                os.kill(state.pid, signal.SIGCONT)
            await eventually(lambda: AWAY not in line(theatre))
            os.kill(state.pid, signal.SIGKILL)
            await eventually(lambda: OwnServer(home).running() not in (None, state))
            await eventually(lambda: AWAY not in line(theatre))

    asyncio.run(run())
