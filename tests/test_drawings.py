"""The lessons' drawings: made from their source, fit to be shown, and true of the server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import nbformat
import pytest
from redis import ResponseError

from helpers import Consumer
from helpers.bench.trips import counted
from helpers.course.home import CHECKOUT
from helpers.partitions import PartitionProducer
from helpers.views.drawings import FOLDER, drawings, groups, markdown, streams
from helpers.views.drawings.faults import faults
from helpers.views.drawings.paper import Drawing

DRAWN = drawings()
once = pytest.mark.once

# ------------------------------------------------------------------ the files


@once
def test_the_files_are_what_their_source_draws():
    committed = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*")}
    assert committed == {name: drawing.svg() for name, drawing in DRAWN.items()}, "make drawings"


@once
@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_can_be_shown(name):
    assert faults((FOLDER / f"{name}.svg").read_text(encoding="utf-8")) == []


@once
def test_lessons_show_each_drawing_once_with_its_words():
    """What a lesson says instead of a drawing is what the source says."""
    shown = []
    for lesson in sorted((CHECKOUT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(lesson, as_version=4).cells:
            if cell.cell_type == "markdown":
                found = re.findall(r"!\[[^]]*\]\(drawings/[^)]*\)", cell.source)
                assert len(found) == cell.source.count("drawings/"), lesson.name
                shown += found
    assert sorted(shown) == sorted(markdown(name, drawing) for name, drawing in DRAWN.items())


def faulty(change):
    """The faults of a drawing that has one box with a word in it, after a change."""
    drawing = Drawing("A title", "What it shows.", 420)
    drawing.box(100, 100, 200, 60, "a word")
    change(drawing)
    return faults(drawing.svg())


@once
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda one: setattr(one, "title", " "), "It has no <title>."),
        (lambda one: setattr(one, "alt", ""), "It has no <desc>."),
        (lambda one: setattr(one, "alt", "From $ on."), "Markdown has a use of its own for $"),
        (lambda one: setattr(one, "height", 300), "It is a strip: 720 by 300."),
        (lambda one: one.words(30, 300, "tiny", size=21), "'tiny' is 10.4 pixels high"),
        (lambda one: one.words(600, 300, "too far right"), "'too far right' leaves the drawing."),
        (lambda one: one.words(30, 415, "low"), "'low' leaves the drawing."),
        (lambda one: one.box(400, 100, 60, 60, "too long"), "'too long' crosses the edge of a box"),
        (lambda one: one.words(250, 90, "on the edge"), None),
        (lambda one: one.words(250, 104, "on the edge"), "'on the edge' crosses the edge"),
        (lambda one: one.words(110, 150, "here too"), "'a word' and 'here too' overlap."),
        (lambda one: one.arrow((90, 130), (310, 131)), "'a word' has a line through it."),
        (lambda one: one.words(30, 300, "pale", colour="#999999"), "'pale' is hard to tell"),
        (lambda one: one.box(400, 99, 99, 60, "x", fill="#555555"), "'x' is hard to tell"),
    ],
)
def test_a_fault_is_found(change, found):
    sentences = faulty(change)
    assert sentences[0].startswith(found) if found else sentences == [], sentences


# ------------------------------------------------------------------ what they say of the server


def add(redis, *ids):
    for entry_id in ids:
        redis.xadd("s", {"n": 1}, id=entry_id)


def fill(redis, count):
    pipeline = redis.pipeline()
    for number in range(count):
        pipeline.xadd("s", {"temperature": 26, "humidity": 10}, id=f"{1000 + number}-0")
    pipeline.execute()


def read(redis, name, place=">", count=1):
    reply = redis.xreadgroup("g", name, {"s": place}, count=count)
    return [entry_id for entry_id, _ in reply.get("s", [])]


def pending(redis):
    rows = redis.xpending_range("s", "g", "-", "+", 10)
    return [(one["message_id"], one["consumer"], one["times_delivered"]) for one in rows]


def test_a_server_gives_ids_as_drawn(redis):
    given = [redis.xadd("s", {"n": 1}, id=wanted) for wanted in ("1000-*",) * 3 + ("1001-*",)]
    assert tuple(given) == streams.IDS
    with pytest.raises(ResponseError):
        redis.xadd("s", {"n": 1}, id=streams.IDS[-1])


def test_a_server_has_nodes_as_drawn(redis):
    fill(redis, sum(count for _, count in streams.NODES))
    assert redis.xinfo_stream("s")["radix-tree-keys"] == len(streams.NODES)
    for (first, count), (following, _) in zip(streams.NODES, streams.NODES[1:], strict=False):
        assert redis.xrange("s", count=1)[0][0] == first
        assert redis.xtrim("s", maxlen=redis.xlen("s") - count, approximate=True) == count
        assert redis.xrange("s", count=1)[0][0] == following


@pytest.mark.parametrize(("roughly", "left"), [(True, 300), (False, 250)])
def test_a_server_trims_as_drawn(redis, roughly, left):
    fill(redis, 400)
    redis.xtrim("s", maxlen=250, approximate=roughly)
    assert redis.xlen("s") == left


def test_a_server_reads_from_a_place_as_drawn(redis):
    fill(redis, 5)
    found = [len(redis.xread({"s": place}).get("s", [])) for place in ("0", "1001-0", "$")]
    assert found == [5, 3, 0]
    add(redis, "2000-0")  # it comes between two calls
    assert redis.xread({"s": "$"}, block=5) == {}
    assert redis.xread({"s": "1004-0"})["s"][0][0] == "2000-0"


def test_a_server_has_a_group_as_drawn(redis):
    redis.xgroup_create("s", "g", "0", mkstream=True)
    add(redis, *(entry_id for entry_id, _ in groups.DELIVERED), *groups.UNREAD)
    given = [(*read(redis, name), name) for _, name in groups.DELIVERED]
    redis.xack("s", "g", given[0][0])
    assert tuple(given) == groups.DELIVERED
    assert [(one, name) for one, name, _ in pending(redis)] == list(groups.DELIVERED[1:])
    assert redis.xinfo_groups("s")[0]["last-delivered-id"] == groups.LAST_DELIVERED
    assert tuple(read(redis, "bob", count=9)) == groups.UNREAD


def test_a_server_claims_as_drawn(redis):
    redis.xgroup_create("s", "g", "0", mkstream=True)
    for entry, consumer, idle, deliveries in groups.BEFORE:
        add(redis, entry)
        read(redis, consumer)
        since = {"idle": 1000 * int(idle.removesuffix(" s")), "retrycount": deliveries}
        redis.xclaim("s", "g", consumer, 0, [entry], justid=True, **since)
    assert pending(redis) == [(entry, name, times) for entry, name, _, times in groups.BEFORE]
    redis.xautoclaim("s", "g", "alice", groups.MIN_IDLE_MS, "0")
    assert pending(redis) == [(entry, name, times) for entry, name, _, times in groups.AFTER]
    assert redis.xpending_range("s", "g", "-", "+", 10, idle=groups.MIN_IDLE_MS) == []


def test_a_server_lets_a_zombie_do_as_drawn(redis):
    script = """
        if #redis.call('XPENDING', 's', 'g', ARGV[1], ARGV[1], 1) == 0 then return 0 end
        redis.call('INCR', 'once')
        return redis.call('XACK', 's', 'g', ARGV[1])"""
    redis.xgroup_create("s", "g", "0", mkstream=True)
    add(redis, "1001-0", "1002-0")
    for by_script in (False, True):
        [entry] = read(redis, "alice")
        redis.xautoclaim("s", "g", "bob", 0, "0")
        for acknowledged in (1, 0):  # bob, then alice
            if by_script:
                assert redis.eval(script, 0, entry) == acknowledged
            else:
                redis.incr("twice")
                assert redis.xack("s", "g", entry) == acknowledged
    assert redis.mget("twice", "once") == ["2", "1"]


def test_a_consumer_looks_for_work_as_drawn(redis):
    redis.xgroup_create("s", "g", "0", mkstream=True)
    add(redis, "1-0", "2-0", "3-0")
    read(redis, "bob")
    read(redis, "alice")
    redis.xclaim("s", "g", "bob", 0, ["1-0"], idle=60_000, justid=True)
    seen = []
    consumer = Consumer(redis, "s", "g", lambda entry: seen.append(str(entry.id)), name="alice")
    consumer.run(drain=True)
    assert seen == ["2-0", "1-0", "3-0"]  # alice's, bob's, new


def test_a_server_trims_under_a_group_as_drawn(redis):
    redis.xgroup_create("s", "g", "0", mkstream=True)
    add(redis, *(f"{number}-0" for number in range(1, 7)))
    read(redis, "alice", count=3)
    redis.xack("s", "g", f"{streams.ACKED}-0")
    for number in range(7, streams.ADDED + 1):
        redis.xadd("s", {"n": 1}, id=f"{number}-0", maxlen=streams.KEPT, approximate=False)
    assert redis.xinfo_groups("s")[0]["last-delivered-id"] == f"{streams.PENDING[-1]}-0"
    history = redis.xreadgroup("g", "alice", {"s": "0"})["s"]
    assert history == [(f"{number}-0", {}) for number in streams.PENDING]
    kept = [f"{number}-0" for number in range(streams.TRIMMED + 1, streams.ADDED + 1)]
    assert read(redis, "alice", count=99) == kept


def test_a_partition_expires_as_drawn(redis):
    newest = datetime(2100, 1, 1, 23, 59, 59, tzinfo=UTC)
    with PartitionProducer(redis) as producer:
        producer.add(61, at=newest - timedelta(hours=12))
        producer.add(61, at=newest)
    expiry = datetime.fromtimestamp(redis.expiretime("temps:21000101"), UTC)
    assert expiry - newest == timedelta(days=streams.DAYS_KEPT)


def subscribed(redis):
    pubsub = redis.pubsub()
    pubsub.subscribe("c")
    assert next(pubsub.listen())["type"] == "subscribe"
    return pubsub


def send(redis, *numbers):
    for number in numbers:
        redis.xadd("s", {"n": number}, id=f"{number}-0")
        redis.publish("c", number)


def test_a_server_keeps_for_a_receiver_that_is_away_as_drawn(redis):
    with subscribed(redis) as before:
        send(redis, 1)
        heard = [next(before.listen())["data"]]
    got = [entry_id for entry_id, _ in redis.xread({"s": "0"})["s"]]
    send(redis, 2, 3)
    with subscribed(redis) as after:
        send(redis, 4)
        heard.append(next(after.listen())["data"])
    assert heard == ["1", "4"]
    assert got == ["1-0"]
    assert [entry_id for entry_id, _ in redis.xread({"s": got[-1]})["s"]] == ["2-0", "3-0", "4-0"]


def test_a_pipeline_makes_one_trip_as_drawn(redis):
    client, trips = counted(redis)
    for _ in range(3):
        client.xadd("s", {"n": 1})
    assert (trips.trips, trips.commands) == (3, 3)
    trips.reset()
    pipeline = client.pipeline(transaction=False)
    for _ in range(3):
        pipeline.xadd("s", {"n": 1})
    pipeline.execute()
    assert (trips.trips, trips.commands) == (1, 3)
