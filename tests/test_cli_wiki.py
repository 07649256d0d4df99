"""`course wiki`: its commands as processes, together, and what they say when something is wrong."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis as redis_py

from helpers.course.pace import patient
from helpers.wiki import Replay
from tests.test_cli import COURSE, environment, refused, told, until


@contextlib.contextmanager
def at_work(*words: str) -> Iterator[Any]:
    """`course wiki` in a process, which is asked to end by SIGINT if it still runs."""
    process = subprocess.Popen(
        [*COURSE, "wiki", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(COLUMNS="300"),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(patient(30))


def counted(redis: redis_py.Redis) -> int:
    return sum(map(int, redis.hvals("ev")))


def number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    assert found, said
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize("through", ["pubsub", "stream"])
def test_what_is_published_in_one_process_is_counted_in_another(redis, through):
    with (
        Replay(rate=200) as replay,
        at_work("subscribe", "--through", through) as subscriber,
    ):
        until(lambda: redis.exists("wiki") or dict(redis.pubsub_numsub("wiki")).get("wiki"))
        with at_work("publish", "--feed", replay.url, "--through", through) as publisher:
            until(lambda: counted(redis) >= 100)
        published = number(r"([\d,]+) changes? published, 0 skipped", publisher.stdout.read())
        until(lambda: counted(redis) >= published)
        assert counted(redis) == published
    said = subscriber.stdout.read()
    assert f"{published:,} changes counted, 0 skipped." in said
    assert (publisher.returncode, subscriber.returncode) == (0, 0)


def test_a_replay_serves_its_feed_and_says_where(redis):
    with at_work("replay", "--rate", "100", "--cut", "50") as replay:
        said = replay.stdout.readline()
        url = said.removeprefix("100 synthetic events a second at ").strip()
        with at_work("publish", "--feed", url, "--through", "stream", "--keep", "20") as publisher:
            until(
                lambda: redis.exists("wiki") and redis.xinfo_stream("wiki")["entries-added"] > 150
            )
    assert "The feed broke off. Trying again in" in publisher.stdout.read()
    assert redis.xlen("wiki") < 150


@pytest.mark.once
@pytest.mark.early
def test_a_demo_is_one_line_and_ctrl_c_ends_all_of_it(redis):
    with at_work("demo", "--no-browser", "--rate", "100") as demo:
        until(lambda: counted(redis) > 100)
        children = psutil.Process(demo.pid).children(recursive=True)
        publisher = next(one for one in children if "publish" in one.cmdline())
        publisher.kill()
        until(lambda: "Ctrl-C ends all." in (line := demo.stdout.readline()) or not line)
        before = counted(redis)
        until(lambda: counted(redis) > before + 100)  # somebody has started it again
        children = psutil.Process(demo.pid).children(recursive=True)
    assert demo.returncode == 0
    assert "All is ended." in demo.stdout.read()
    assert not [one for one in children if one.is_running() and one.status() != "zombie"]


WRONG = {
    "is no URL of a feed": ["publish", "--feed", "wikipedia"],
    "Wikimedia asks who reads its feed": ["publish"],
    "through 'pubsub' or a 'stream', not 'carrier pigeon'": [
        "subscribe", "--through", "carrier pigeon"],
    "The interval must be a whole number of seconds above 0, not 0": [
        "subscribe", "--interval", "0"],
    "not 'kafka'": ["demo", "--through", "kafka"],
    "The interval must be": ["demo", "--interval", "-3"],
    "'Nowhere'": ["demo", "--tz", "Nowhere"],
    "is a pattern": ["subscribe", "--target", "wiki*"],
    "shorter than the interval": ["subscribe", "--interval", "10", "--history", "5"],
    "The rate of a feed must be above 0": ["replay", "--rate", "0"],
    "'yesterday' isn't a time": [
        "publish", "--feed", "http://127.0.0.1:1/", "--since", "yesterday"],
    "at least 1 entry": ["publish", "--feed", "http://127.0.0.1:1/", "--keep", "0"],
    "'Mars/Olympus'": ["dashboard", "--tz", "Mars/Olympus"],
}  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("says", WRONG)
def test_what_is_wrong_is_one_sentence(redis, says):
    assert says in refused("wiki", *WRONG[says], COLUMNS="300")


def test_clear_leaves_nothing(redis):
    for key in ("ev", "ev:en.wikipedia.org", "{ev}:counted", "{wiki}:place"):
        redis.hset(key, "a", 1)
    redis.sadd("known_domains", "en.wikipedia.org")
    redis.xadd("wiki", {"a": 1})
    said = told("wiki", "clear")
    assert said == "Deleted the stream, the counters, and the publisher's place.\n"
    assert redis.keys("*wiki*") + redis.keys("*ev*") + redis.keys("known*") == []
