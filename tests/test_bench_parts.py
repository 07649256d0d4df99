"""Parts of the benchmark: each path does what it says, and none leaves a trace."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest

from helpers import Group, scan
from helpers.bench import memory, parts, reading, setget, waking
from helpers.bench.scale import Scale
from helpers.course.errors import CourseError
from helpers.course.keys import MARK
from helpers.course.server import find_server
from helpers.course.weather import readings
from helpers.streams.entry import EntryId
from tests.waiting import until

TINY = Scale(
    rounds=2,
    readings=2345,
    some=100,
    slow=23,
    pairs=12,
    wakes=6,
    kept=1200,
    loads=1,
    days=1,
    passes=1,
)
MEASURES = {
    "setget": setget.measure,
    "reading": reading.measure,
    "group": reading.measure_group,
    "waking": waking.measure,
    "memory": memory.measure,
}
NODES = memory.SETTINGS


def ignore(name):
    return None


def traces(redis):
    """What a part could leave: keys, settings, and clients that still wait for something."""
    flags = [one["flags"] for one in redis.client_list()]
    return set(redis.scan_iter()) - {MARK}, redis.config_get(*NODES), [f for f in flags if "b" in f]


@pytest.fixture
def clean_before(redis):
    before = traces(redis)
    assert before[0] == set()
    return before


def expect_traces(redis, before):
    """A connection that was closed is gone from the server a moment later."""
    assert until(lambda: traces(redis) == before), traces(redis)


# ------------------------------------------------------------------ whole parts


@pytest.fixture
def small(monkeypatch):
    """No more connections than a test needs."""
    monkeypatch.setattr(setget, "TASKS", (1, 3))
    monkeypatch.setattr(setget, "MANY", 3)


@pytest.mark.parametrize("name", MEASURES)
def test_a_part_gives_what_it_names_and_leaves_nothing(redis, clean_before, small, name):
    ticks: list[str] = []
    part = MEASURES[name](redis, TINY, ticks.append)
    assert part.unit
    assert part.ratios
    for figure in [*part.figures.values(), *part.ratios.values()]:
        assert 0 < figure.low <= figure.median <= figure.high
        assert figure.runs == (TINY.loads if name == "memory" else TINY.rounds)
    assert name == "waking" or {*ticks} <= {*part.figures}
    assert all(sentence.endswith(".") for sentence in part.setup)
    expect_traces(redis, clean_before)


@pytest.mark.parametrize(("name", "ticks"), [(name, n) for name in MEASURES for n in (1, 2)] + [
    ("memory", len(memory.FORMS) + 1), ("memory", len(memory.FORMS) + 2), ("group", 5)
])  # fmt: skip
def test_ctrl_c_leaves_nothing(redis, clean_before, small, name, ticks):
    def interrupt(path):
        nonlocal ticks
        ticks -= 1
        if not ticks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MEASURES[name](redis, TINY, interrupt)
    assert redis.ping()
    expect_traces(redis, clean_before)


@pytest.mark.once
@pytest.mark.early
def test_on_a_cluster_each_figure_stands_beside_its_baseline(redis, clean_before):
    append, failover, handover = parts.measure(redis, replace(TINY, rounds=1, readings=500), ignore)
    assert set(append.ratios) == {"ratio_to_one_server"}
    assert set(failover.ratios) == {"producer_to_server", "consumer_to_server"}
    assert set(handover.ratios) == {"in_leases"}
    for part in (append, failover, handover):
        for figure in [*part.figures.values(), *part.ratios.values()]:
            assert 0 < figure.low <= figure.median <= figure.high
    expect_traces(redis, clean_before)


# ------------------------------------------------------------------ SET and GET


def test_the_curve_has_a_point_for_each_number_of_tasks(redis, small):
    part = setget.measure(redis, TINY, ignore)
    lines = setget.curve(part)
    assert list(lines) == ["asyncio", "asyncio, pipelines", "uvloop"]
    for way, line in lines.items():
        assert [tasks for tasks, _ in line] == [1, 3]
        assert line[1][1] == part.figures[f"{way}, 3 tasks"].median


KEYS = [f"{setget.PREFIX}{number}" for number in range(10)]


@pytest.mark.parametrize("way", [setget.set_then_get, setget.set_and_get])
def test_every_key_is_set_by_one_connection(redis, way):
    way(redis, KEYS)
    assert [redis.get(key) for key in KEYS] == [f"value of {key}" for key in KEYS]


@pytest.mark.parametrize("name", setget.WAYS)
@pytest.mark.parametrize("tasks", [1, 3, 20])
def test_every_key_is_set_by_tasks(redis, name, tasks):
    loop, way = setget.WAYS[name]
    with setget.connected(loop, tasks) as timed:
        before = len(redis.client_list())
        assert timed(way, KEYS, tasks) > 0
        assert len(redis.client_list()) == before  # all were there when the clock began
    assert [redis.get(key) for key in KEYS] == [f"value of {key}" for key in KEYS]


def test_a_value_that_was_not_set_is_told():
    with pytest.raises(CourseError, match="GET k replied 'other'"):
        setget.expect("k", "other")


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("name", reading.READING | reading.IN_GROUP)
def test_every_way_reads_every_entry_in_order(redis, name):
    ways = reading.READING | reading.IN_GROUP
    seen: list[EntryId] = []
    way = ways[name]
    if name == reading.CONSUMER:
        way = partial(reading.by_consumer, handler=lambda entry: seen.append(entry.id))
    if name == reading.ASYNC_CONSUMER:
        way = partial(reading.by_async_consumer, handler=lambda entry: seen.append(entry.id))
    with reading.filled(redis, TINY):
        stream = reading.stream_of(ways[name])
        group = Group(redis, stream, reading.GROUP)
        group.create("0")
        found, _ = reading.gone(redis, way, stream)
        expected = [entry.id for entry in scan(redis, stream)]
        if name in (reading.CONSUMER, reading.ASYNC_CONSUMER):
            assert len(found) == len(expected)
        else:
            seen = [EntryId.parse(entry_id) for entry_id, _ in found]
        assert seen == expected
        short = re.search(r"COUNT 10? ", f"{name} ") is not None
        assert len(seen) == (TINY.slow if short else TINY.readings)
        info = group.info()
        assert info.pending == 0
        assert (info.last_delivered == seen[-1]) == (name in reading.IN_GROUP)


# ------------------------------------------------------------------ waking


def test_there_is_a_sample_for_every_wake_up(redis):
    part = waking.measure(redis, TINY, ignore)
    kinds = {waking.PING, waking.XADD, waking.XREAD, waking.XREADGROUP}
    assert {name: len(taken) for name, taken in part.samples.items()} == dict.fromkeys(kinds, 6)
    assert {*part.figures} == {f"{kind}, p{percent}" for kind in kinds for percent in (50, 99)}


def test_each_kind_sends_what_it_says(redis):
    with waking.prepared(redis) as kinds:
        for _ in range(3):
            assert all(sample() > 0 for sample in kinds.values())
        added = [redis.xlen(key) for key in (waking.READ, waking.IN_GROUP, waking.UNREAD)]
        assert added == [3, 3, 3]
        assert Group(redis, waking.IN_GROUP, waking.GROUP).info().pending == 3


def test_ctrl_c_while_a_reader_is_blocked_leaves_nothing(redis, clean_before, monkeypatch):
    wait_until_blocked = waking.wait_until_blocked

    def interrupted(client, reader):
        wait_until_blocked(client, reader)
        assert traces(client)[2]
        raise KeyboardInterrupt

    monkeypatch.setattr(waking, "wait_until_blocked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        waking.measure(redis, TINY, ignore)
    expect_traces(redis, clean_before)


def test_a_reader_that_gets_another_entry_is_told(redis, monkeypatch):
    monkeypatch.setattr(waking, "PATIENCE_S", 0.05)
    with waking.prepared(redis) as kinds:
        redis.xadd(waking.IN_GROUP, {"not": "ours"})
        with pytest.raises(CourseError, match="does not block"):
            kinds[waking.XREADGROUP]()


def test_percentiles_are_values_that_were_measured():
    values = [float(number) for number in range(200, 0, -1)]
    assert waking.percentile(values, 50) == 100
    assert waking.percentile(values, 99) == 198
    assert waking.percentile([7.0], 99) == waking.percentile([7.0], 50) == 7


# ------------------------------------------------------------------ memory

DAY = list(readings("chennai", 300))


@pytest.mark.parametrize("name", memory.FORMS)
def test_every_form_keeps_every_reading(redis, name):
    form = memory.FORMS[name]
    form.load(redis, DAY)
    if form.load is memory.as_hashes:
        kept = [redis.hgetall(f"{memory.KEY}:{entry.id.ms}") for entry in DAY]
        assert kept == [entry.fields for entry in DAY]
    elif form.load is memory.as_list:
        texts = redis.lrange(memory.KEY, 0, -1)
        assert texts == [" ".join(entry.fields.values()) for entry in DAY]
    elif form.load is memory.as_sorted_set:
        scored = redis.zrange(memory.KEY, 0, -1, withscores=True)
        assert [int(score) for _, score in scored] == [entry.id.ms for entry in DAY]
    else:
        found = list(scan(redis, memory.KEY))
        assert len(found) == len(DAY)
        if form.load is memory.one_a_second:
            assert found == DAY
        if name == memory.TWO:
            assert [entry.fields for entry in found] == [entry.fields for entry in DAY]
        if name == memory.ONE:
            both = [divmod(int(entry.fields["weather"]), 101) for entry in found]
            assert both == [tuple(map(int, entry.fields.values())) for entry in DAY]


def test_fields_and_values_are_as_many_and_as_long_as_said():
    entry = DAY[0]
    assert [len(memory.same_fields(n)(entry)) for n in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert {len(name) for name in memory.same_fields(2, 40)(entry)} == {40}
    other = memory.other_fields(2)
    assert len({*other(entry), *other(entry)}) == 4
    assert [len(memory.one_text(n)(entry)["text"]) for n in (10, 100)] == [10, 100]


def test_the_size_is_what_the_server_gets_back(redis):
    def load(client, entries):
        for number in range(100):
            client.set(f"{memory.KEY}:{number}", "x" * 1000)

    taken, _ = memory.size(redis, load, DAY)
    assert 100_000 < taken < 150_000
    assert not list(redis.scan_iter(match=f"{memory.KEY}*"))


def test_a_setting_of_a_server_that_is_not_ours_is_left_alone(redis, monkeypatch):
    monkeypatch.setenv("REDIS_URL", find_server().url)
    set_before = redis.info("commandstats").get("cmdstat_config|set", {"calls": 0})["calls"]
    part = memory.measure(redis, TINY, ignore)
    assert not any("nodes of" in name for name in part.figures)
    assert "not the course's own" in part.setup[-1]
    set_after = redis.info("commandstats").get("cmdstat_config|set", {"calls": 0})["calls"]
    assert set_after == set_before
