"""The workers of the averages' soak: what their processes do, and how far they have come.

They work as in the course, but rest for a moment before each batch, page and average, and wait
when they have come farther than they may: so that what befalls them hits work in progress.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import redis

from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES_STATE,
    AggregatingConsumer,
    AveragesConsumer,
)
from helpers.averages.aggregating import GRACE_S
from helpers.course.connect import connect
from helpers.course.errors import ServerError
from helpers.partitions import DEMO_START, fill, partition_day, partition_key, start_of
from helpers.partitions.readings import SECONDS_A_DAY
from helpers.streams.clock import moment_of
from helpers.streams.entry import Entry
from helpers.streams.errors import CheckpointError, NotConfirmedError
from tests.soaks.stage import NO_SERVER, REPLACED, client_of

PRODUCER, AGGREGATING, SHOWING = "producer", "aggregating", "averages"
ROLES = (PRODUCER, AGGREGATING, SHOWING)
STATES = {AGGREGATING: AGGREGATING_STATE, SHOWING: AVERAGES_STATE}
SHOWN, REPEATED, SAID, LEAVE = "soak:shown", "soak:repeated", "soak:said", "soak:leave"
DAYS = "soak:days"  # how many are to be filled: those of the plan, and more if they run out

REST_S = 0.005  # the longest rest
BEHIND = 60 / 24  # days: so far may the averages consumer fall behind; five are kept
AHEAD = 3.5  # days: farther ahead the producer, which fills three at once, slows down
SLOW = 20  # rests more a batch
GAVE_UP = 8  # how a worker ends: without a server for 10 s

USUAL = ("Starting ", "Waiting for new messages ", "Changing partition ")  # what consumers say


class Task(NamedTuple):
    """What a worker is told. Its `connect()` may lead through a proxy, this URL does not."""

    role: str
    url: str
    days: int
    seed: str


def work(task: Task) -> None:
    """What a worker's process does, until nothing is left to be done, or until SIGTERM."""
    try:
        pace = Pace(task, client_of(task.url))
        {PRODUCER: produce, AGGREGATING: aggregate, SHOWING: show}[task.role](pace)
    except CheckpointError:
        os._exit(REPLACED)
    except (NotConfirmedError, redis.ConnectionError, redis.TimeoutError) as error:
        print(f"{task.role} gave up: {error!r}, after {error.__cause__!r}", file=sys.stderr)
        os._exit(GAVE_UP)
    except ServerError:
        os._exit(NO_SERVER)


def produce(pace: Pace) -> None:
    """Fill the partitions, or what is left of them."""
    days = pace.progress.there()
    for _ in fill(connect(), days=days, progress=lambda count: pace.keep()):
        pass


def aggregate(pace: Pace) -> None:
    """Publish the mean of each hour."""
    client = PacedReader(connection_pool=connect().connection_pool)
    client.pace = Pace(pace.task, client_of(pace.task.url, tries=0))
    start, clock = partition_key(DEMO_START), pace.progress.moment
    AggregatingConsumer(client, start=start, clock=clock, say=pace.note).run()


def show(pace: Pace) -> None:
    """Note each average under the ID of its entry."""
    client = pace.progress.client

    def note(entry: Entry) -> None:
        pace.keep()
        if not client.hset(SHOWN, str(entry.id), json.dumps(entry.fields)):
            client.sadd(REPEATED, str(entry.id))

    AveragesConsumer(connect(), show=note, say=pace.note).run()


class Progress:
    """How far the work has come: each part of it from 0 to 1, or beyond if there are more days."""

    def __init__(self, client: Any, days: int) -> None:
        self.client = client
        self.days = days  # of the plan

    def there(self) -> int:
        """How many days are to be filled."""
        return int(self.client.get(DAYS))

    def of(self, role: str) -> float:
        """How far somebody has come."""
        return {PRODUCER: self.filled, AGGREGATING: self.aggregated, SHOWING: self.shown}[role]()

    def filled(self) -> float:
        """How much of the readings is written."""
        return sum(self._lengths()) / (self.days * SECONDS_A_DAY)

    def aggregated(self) -> float:
        """How much of them is aggregated."""
        key, read = self.client.hmget(AGGREGATING_STATE, "current_stream_key", "stream_read")
        before = (partition_day(key) - DEMO_START).days if key else 0
        return (before + int(read or 0) / SECONDS_A_DAY) / self.days

    def shown(self) -> float:
        """How many of the averages were shown."""
        return float(self.client.hlen(SHOWN) / (self.days * 24))

    def moment(self) -> datetime:
        """The aggregating consumer's clock: before this moment, no reading is missing.

        When all are there, the last hour is over.
        """
        there, lengths = 0, self._lengths()
        for length in lengths:
            there += length
            if length < SECONDS_A_DAY:
                break
        after_s = GRACE_S if there == len(lengths) * SECONDS_A_DAY else 0.0
        return moment_of(start_of(DEMO_START)) + timedelta(seconds=there + after_s)

    def _lengths(self) -> list[int]:
        with self.client.pipeline(transaction=False) as pipeline:
            for number in range(self.there()):
                pipeline.xlen(partition_key(DEMO_START + timedelta(days=number)))
            lengths: list[int] = pipeline.execute()
        return lengths


class Pace:
    """What a worker does between two pieces of work."""

    def __init__(self, task: Task, client: Any) -> None:
        self.task, self.progress = task, Progress(client, task.days)
        self._role = task.role
        self._random = random.Random(task.seed)

    def keep(self) -> None:
        """Rest, and wait until it may go on."""
        self._rest()
        while not self._may():
            self._rest()
        for _ in range(SLOW):  # not for ever: a day may lie far behind the two after it
            if not self._ahead():
                break
            self._rest()

    def note(self, text: str) -> None:
        """Note what a consumer says, if it is not what all say."""
        if not text.startswith(USUAL):
            self.progress.client.sadd(SAID, text)

    def _rest(self) -> None:
        time.sleep(self._random.uniform(0, REST_S))

    def _may(self) -> bool:
        done = self.progress.of(self._role)
        if done > float(self.progress.client.hget(LEAVE, self._role) or 0):
            return False
        behind = done - self.progress.shown() if self._role == AGGREGATING else 0.0
        return behind * self.progress.days <= BEHIND

    def _ahead(self) -> bool:
        if self._role != PRODUCER:
            return False
        ahead = self.progress.filled() - self.progress.aggregated()
        return ahead * self.progress.days > AHEAD


class PacedReader(redis.Redis):
    """A client that rests, and may have to wait, before it reads a stream."""

    pace: Pace

    def xread(self, *args: Any, **kwargs: Any) -> Any:
        self.pace.keep()  # asks once: to be patient is up to the consumer
        return super().xread(*args, **kwargs)
