"""The line with distance: all arrives in its order, late by as much as was asked, and at once."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import warnings

import psutil
import pytest

from helpers.chaos.distance import Distance
from helpers.course.errors import CourseError
from tests import fronts
from tests.fronts import blocked, in_background, log_in
from tests.waiting import LIMIT_S, until

pytestmark = pytest.mark.once

ROUND_TRIP_MS = 10


@pytest.fixture
def distance(redis):
    with Distance(ROUND_TRIP_MS) as distance:
        yield distance


@pytest.fixture
def client(distance):
    with distance.connect() as client:
        client.ping()  # its connection is open
        yield client


quiet = fronts.quiet


def took_ms(work):
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def ping_one_by_one(client, count):
    for _ in range(count):
        client.ping()


# ------------------------------------------------------------------ what it costs


def test_each_command_waits_the_whole_way(distance, client):
    before = distance.turns
    assert took_ms(lambda: ping_one_by_one(client, 10)) >= 10 * ROUND_TRIP_MS
    assert distance.turns - before == 10


def test_a_pipeline_waits_once(distance, client):
    before = distance.turns
    with client.pipeline(transaction=False) as pipeline:
        for number in range(100):
            pipeline.rpush("list", number)
        assert pipeline.execute() == list(range(1, 101))
    assert distance.turns - before == 1
    assert client.lrange("list", 0, -1) == [str(number) for number in range(100)]


def test_the_wait_is_not_over_before_half_of_it_is_on_each_way(redis):
    with Distance(60) as far, far.connect() as client:
        client.ping()
        began = time.perf_counter()
        writing, _ = in_background(lambda: client.set("k", "v"))
        assert until(lambda: redis.exists("k"))
        there_ms = 1000 * (time.perf_counter() - began)
        writing.join()
        assert there_ms >= 30


def test_big_values_pass_both_ways(redis, client):
    big = os.urandom(500_000).hex()
    client.set("big", big)
    assert redis.get("big") == big
    assert client.get("big") == big


def test_it_says_what_it_is(distance):
    assert repr(distance) == f"a line of 10 ms there and back, on port {distance.port}"


def test_no_distance_at_all_is_a_distance(redis):
    with Distance(0) as near, near.connect() as client:
        assert client.ping()


@pytest.mark.parametrize("wrong", [-1, float("nan"), 1e9, "10", None])
def test_a_distance_that_cannot_be_is_one_sentence(wrong):
    with pytest.raises(CourseError, match="A round trip takes 0 to 10,000 milliseconds"):
        Distance(wrong)


# ------------------------------------------------------------------ ends


def test_who_has_said_all_still_hears_the_answers(redis, distance):
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 100)
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(LIMIT_S)
        heard = b""
        while chunk := raw.recv(65536):
            heard += chunk
    assert heard == b"+OK\r\n" + b"".join(b":%d\r\n" % n for n in range(1, 101))


def test_who_does_not_read_is_cut_at_the_end(redis, distance):
    redis.set("big", "x" * 1_000_000)
    before = {one["id"] for one in redis.client_list()}  # an earlier test may have left some
    with socket.create_connection(("127.0.0.1", distance.port)) as raw:
        log_in(raw, distance.url)
        raw.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 50 + b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
        assert until(lambda: redis.exists("n"))
        distance.close()
        assert until(lambda: {one["id"] for one in redis.client_list()} <= before)


def test_it_ends_with_its_block_and_leaves_nothing_open(redis):
    def everything():
        with Distance(2000) as far, far.connect() as slow:
            under_way, _ = in_background(lambda: slow.ping())
            with Distance(1) as distance, distance.connect() as client:
                waiting, _ = in_background(lambda: client.xread({"s": "$"}, block=0))
                assert until(lambda: blocked(redis) == 1)
            assert until(lambda: far.turns == 1)
        waiting.join()
        under_way.join()
        distance.close()
        distance.cut()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", distance.port))
        del waiting, under_way
        gc.collect()

    everything()
    threads, before = threading.active_count(), psutil.Process().num_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything()
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() == before
    assert until(lambda: blocked(redis) == 0)
