"""`course partitions`: fill them, look at them, and turn them into hourly averages."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial

import psutil
import pytest
import redis as redis_py

from helpers import cli
from helpers.averages import AGGREGATING_STATE, AVERAGES, AVERAGES_STATE, SET_ASIDE
from helpers.chaos import Fault, Proxy
from helpers.course.pace import patient
from helpers.course.server.process import has_ended
from helpers.partitions import (
    PartitionProducer,
    Reading,
    filling,
    partition_key,
    partitions,
    readings,
    start_of,
)
from tests.test_cli import COURSE, INTERRUPTED, environment, started, until

DAY, KEY = date(2100, 1, 1), "temps:21000101"
MINUTE = 60_000
COLOURS = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": ""}
COLOURED = re.compile(r"(\x1b\[36magg|\x1b\[33mavg): .*\x1b\[0m")  # cyan, yellow

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`course partitions` in this process: its exit code, and what it prints."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["course", "partitions", *words])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def short_days(monkeypatch):
    """Days of 100 seconds."""
    for module in (cli.partitions, filling, readings):
        monkeypatch.setattr(module, "SECONDS_A_DAY", 100)


def hours(redis: redis_py.Redis, *numbers: int) -> None:
    """Six readings in each of these hours of the day; in hour 3 it is 73 °F."""
    with PartitionProducer(redis) as producer:
        producer.add_many(
            Reading(start_of(DAY) + MINUTE * (60 * hour + 10 * n), 70 + hour)
            for hour in numbers
            for n in range(6)
        )


def published(redis):
    return [int(fields["hour"]) for _, fields in redis.xrange(AVERAGES)]


def sentence(hour: int) -> str:
    return (
        f"avg: Average temperature for 2100/01/01 at {hour} was {70 + hour}.00F (6 observations)."
    )


# ------------------------------------------------------------------ fill, list, clear


@pytest.mark.once
def test_a_day_is_filled_listed_and_deleted(redis, run):
    code, told, errors = run("fill", "--days", "1")
    assert (code, errors) == (0, "")
    assert re.search(
        r"^temps:21000101 +86,400 +\d\d,\d{3}\.\d days +\d\.\d\d MB +\d\d\.\d B$", told, re.M
    )
    assert re.search(r"^86,400 readings take \d\.\d MB\.$", told, re.M)
    hours(redis, 1)  # late ones do no harm
    _, again, _ = run("fill", "--days", "1")
    assert " 86,406 " in again
    assert run("list") == (0, again, "")
    redis.xadd(AVERAGES, {"hour": 1})
    redis.hset(AGGREGATING_STATE, "field", "value")
    redis.set("chennai", "is no partition")
    deleted = "Deleted 1 partition, the averages and both states.\n"
    assert run("clear") == (0, deleted, "")
    assert not redis.keys("*temps:*")
    assert redis.exists("chennai")
    assert run("list") == (
        0, "There are no partitions: `course partitions fill` writes some.\n", ""
    )  # fmt: skip


@pytest.mark.once
@pytest.mark.usefixtures("short_days")
def test_several_sensors_fill_a_day_from_a_date_on(redis, run):
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    code, told, _ = run("fill", "--days", "1", "--start", str(tomorrow), "--sensors", "2")
    assert code == 0
    assert re.search(rf"^{partition_key(tomorrow)} +200 ", told, re.M)
    code, told, errors = run("fill", "--days", "1", "--start", str(tomorrow))
    assert (code, told) == (1, "")
    assert "holds 200 readings, of which this fill has written 0: delete it" in errors


@pytest.mark.once
def test_a_partition_without_expiry_is_listed_as_such(redis, run):
    redis.xadd(KEY, {"temp_f": 70})
    assert re.search(r"^temps:21000101 +1 +never +0\.00 MB +\d+\.\d B$", run("list")[1], re.M)


@pytest.mark.once
def test_a_fill_shows_its_progress_and_is_resumed_after_ctrl_c(redis, run):
    ours, terminal = os.openpty()
    seen = io.BytesIO()
    shown = threading.Thread(target=read_all, args=(ours, seen))
    with subprocess.Popen(
        [*COURSE, "partitions", "fill", "--days", "10"],
        env=environment(TERM="xterm"), stdout=subprocess.PIPE, stderr=terminal, text=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        shown.start()
        until(lambda: redis.exists(KEY) and redis.xlen(KEY) >= 20_000)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=patient(60))
        shown.join()
    said = "Stopped. The same command continues from here.\n"
    assert (process.returncode, told) == (INTERRUPTED, said)
    assert re.search("Writing readings.* [1-9][0-9]? %", seen.getvalue().decode())
    # Three days are written at a time: it has not gone on until they were full.
    assert 20_000 <= sum(map(redis.xlen, partitions(redis))) < 3 * 86_400
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter(match="*temps:*"))
    assert " 86,400 " in run("fill", "--days", "1")[1]


def read_all(terminal: int, seen: io.BytesIO) -> None:
    """Read what a program shows on a terminal, until its end."""
    with contextlib.suppress(OSError):  # so Linux tells that the other side is closed
        while data := os.read(terminal, 1000):
            seen.write(data)
    os.close(terminal)


# ------------------------------------------------------------------ one consumer alone


@pytest.mark.once
def test_one_consumer_alone_works_until_nothing_is_left(redis, run):
    hours(redis, 0, 1, 2, 3)
    assert run("aggregate", KEY, "--drain") == (
        0,
        f"Starting over from {KEY}: the old averages are deleted.\n"
        "agg: The readings are dated ahead of the calendar: the clock continues from the newest "
        "one.\n"
        "agg: Starting aggregating consumer in stream temps:21000101 at message 0.\n",
        "",
    )
    assert published(redis) == [0, 1, 2]
    start = "avg: Starting averages consumer in stream temps:averages at message "
    shown = "".join(f"{sentence(hour)}\n" for hour in range(3))
    assert run("average", "--drain") == (0, f"{start}0.\n{shown}", "")
    hours(redis, 4)
    last = redis.xrevrange(AVERAGES, count=1)[0][0]
    assert f"at message {start_of(DAY) + 230 * MINUTE}-0.\n" in run("aggregate", "--drain")[1]
    assert run("average", "--drain") == (0, f"{start}{last}.\n{sentence(3)}\n", "")
    assert published(redis) == [0, 1, 2, 3]


@pytest.mark.once
def test_a_lost_connection_is_one_line_on_stderr(redis, run, monkeypatch):
    hours(redis, 0, 1)
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        proxy.arm(Fault.LOSE_REPLY, at="XREAD")
        code, _, errors = run("aggregate", KEY, "--drain")
    assert code == 0
    (line,) = errors.splitlines()
    assert line.startswith(f"{KEY}: no answer, and tries again: ")
    assert published(redis) == [0]


@pytest.mark.once
def test_a_start_begins_anew(redis, run):
    hours(redis, 0, 1)
    for _ in range(2):
        run("aggregate", KEY, "--drain")
        assert published(redis) == [0]
    assert redis.hget(AGGREGATING_STATE, "num_averages") == "1"


@pytest.mark.once
def test_the_grace_period_is_an_option(redis, run):
    hours(redis, 0)
    with PartitionProducer(redis) as producer:
        producer.add(70, at=datetime(2100, 1, 1, 1, 5, tzinfo=UTC))
    run("aggregate", KEY, "--drain", "--grace", "600")
    assert published(redis) == []
    run("aggregate", KEY, "--drain", "--grace", "0")
    assert published(redis) == [0]
    code, _, _ = run("aggregate", KEY, "--grace", "3600")
    assert code == 2
    assert published(redis) == [0]  # refused before anything was begun anew


@pytest.mark.once
def test_readings_of_today_are_measured_by_the_calendar(redis, run):
    with PartitionProducer(redis) as producer:
        producer.add(70)
    code, told, _ = run("aggregate", partitions(redis)[0], "--drain")
    assert code == 0
    assert "ahead of the calendar" not in told


@pytest.mark.once
def test_the_state_shows_both_hashes(redis, run):
    assert run("state") == (
        0,
        f"{AGGREGATING_STATE}\n  nothing: it hasn't begun\n"
        f"{AVERAGES_STATE}\n  nothing: it hasn't begun\n",
        "",
    )
    hours(redis, 0, 1)
    run("aggregate", KEY, "--drain")
    run("average", "--drain")
    code, told, _ = run("state")
    assert code == 0
    for key in (AGGREGATING_STATE, AVERAGES_STATE):
        assert f"{key}\n" in told
        for field, value in redis.hgetall(key).items():
            assert re.search(rf"^  {field} +{re.escape(value)}$", told, re.M)
    redis.hset(AVERAGES_STATE, "[red]", "[/]")
    assert re.search(r"^  \[red\] +\[/\]$", run("state")[1], re.M)


# ------------------------------------------------------------------ both at once


class Consuming:
    """`course partitions consume` at work, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def told(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def child(self, name: str) -> psutil.Process | None:
        """The consumer that is at work: `aggregate` or `average`."""
        found = psutil.Process(self.process.pid).children()
        return next((child for child in found if name in cmdline(child)), None)

    def children(self) -> list[psutil.Process]:
        return [one for name in ("aggregate", "average") if (one := self.child(name))]

    def ended(self) -> tuple[int, str]:
        """Wait for its end: its exit code, and its errors."""
        assert self.process.stderr
        errors = self.process.stderr.read()
        self._reader.join()
        return self.process.wait(), errors


def cmdline(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all have ended."""
    return all(has_ended(one.pid) for one in processes)


@contextlib.contextmanager
def consuming(*words: str, **variables: str) -> Iterator[Consuming]:
    with started("partitions", "consume", *words, **variables) as process:
        yield Consuming(process)


def test_consume_runs_both_in_colours_and_starts_a_killed_one_again(redis):
    hours(redis, 0, 1, 2, 3)
    with consuming(KEY, **COLOURS) as both:
        until(lambda: both.told(sentence(2)))
        for name, short in (("aggregate", "agg"), ("average", "avg")):
            child = both.child(name)
            assert child
            child.kill()
            again = (
                f"{short}: Killed by signal 9. Starting it again: it continues where it stopped."
            )
            until(partial(both.told, again))
            until(partial(both.child, name))
        hours(redis, 4, 5)
        until(lambda: both.told(sentence(4)))
        children = both.children()
        assert len(children) == 2
        children[1].suspend()  # Ctrl-C ends that too
        both.process.send_signal(signal.SIGINT)
        assert both.ended() == (0, "")
    assert gone(children)
    assert published(redis) == [0, 1, 2, 3, 4]
    assert both.lines[0].startswith("Starting over from temps:21000101")
    for line in both.lines[1:]:
        assert COLOURED.fullmatch(line)


@pytest.mark.once
def test_of_two_that_run_at_once_the_first_one_ends_and_no_hour_is_published_twice(redis):
    hours(redis, 0, 1, 2)
    with consuming(KEY) as first:
        until(lambda: first.told(sentence(1)))
        left = first.children()
        with consuming() as second:
            until(lambda: second.told("agg: Starting") and second.told("avg: Starting"))
            hours(redis, 3, 4)
            code, errors = first.ended()
            assert code == 1
            assert "CheckpointError: Another consumer took over the state" in errors
            assert "Traceback" not in errors
            assert gone(left)
            until(lambda: second.told(sentence(3)))
            children = second.children()
            second.process.kill()
            until(lambda: gone(children))
    assert published(redis) == [0, 1, 2, 3]
    assert not redis.exists(SET_ASIDE)


@pytest.mark.once
def test_consume_ends_when_a_consumer_cannot_work(redis):
    with consuming() as both:
        code, errors = both.ended()
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert "StateError: There is no state to continue from: name the partition" in errors


# ------------------------------------------------------------------ what is refused


@pytest.mark.once
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("fill --days 0", "PartitionError: Fill at least one day, with 1 to 100 sensors, not 0 "),
        ("fill --days -3", "PartitionError: Fill at least one day, with 1 to 100 sensors, not -3"),
        ("fill --sensors 0", "Fill at least one day, with 1 to 100 sensors, not 10 with 0."),
        ("fill --days 9999999", "9,999,999 days from 2100-01-01 on, the calendar has ended."),
        ("fill --start yesterday", "'yesterday' isn't a date: write it like 2100-01-01."),
        ("fill --start 2025-02-29", "'2025-02-29' isn't a date: write it like 2100-01-01."),
        ("fill --start 2025-01-01", "would expire at 2025-01-03 00:00:00 UTC, two days after its"),
        ("consume yesterday", "'yesterday' isn't a partition: write temps: and a date, such as"),
        ("consume temps:20250101", "There is no partition temps:20250101: fill some first."),
        ("aggregate temps:averages", "'temps:averages' isn't a partition: write temps: and a date"),
        ("aggregate", "StateError: There is no state to continue from: name the partition to"),
        ("aggregate temps:21000101", "There is no partition temps:21000101: fill some first."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(redis, run, words, sentence):
    code, told, errors = run(*words.split())
    assert (code, told) == (1, "")
    assert sentence in errors
    assert len(errors.splitlines()) == 1
    assert partitions(redis) == []


@pytest.mark.once
@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("list", KEY), ("fill --days 1", KEY), ("aggregate temps:21000101", KEY),
        ("state", AGGREGATING_STATE), ("average", AVERAGES_STATE), ("average", AVERAGES),
    ],
)  # fmt: skip
def test_a_key_of_another_type_is_told_in_one_sentence(redis, run, words, key):
    redis.set(key, "of another type")
    code, _, errors = run(*words.split())
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert key in errors or "WRONGTYPE" in errors
    assert redis.get(key) == "of another type"


@pytest.mark.once
def test_a_partition_that_is_gone_is_told_with_the_oldest_that_is_there(redis, run):
    hours(redis, 1)
    code, _, errors = run("consume", "temps:20250101")
    assert code == 1
    assert "no partition temps:20250101; there is temps:21000101 to" in errors


@pytest.mark.once
@pytest.mark.parametrize("words", ["fill --days many", "fill --start", "consume --grace -1"])
def test_wrong_options_are_told(run, words):
    code, told, errors = run(*words.split())
    assert (code, told) == (2, "")
    assert re.search(r"Error ─+╮\n│ (Invalid value|Option)", errors)
