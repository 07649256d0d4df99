"""`course partitions`: fill daily partitions, and turn them into hourly averages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated

import redis
import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from helpers.averages import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    AggregatingConsumer,
    AveragesConsumer,
    begin_anew,
    sentence,
)
from helpers.averages.aggregating import GRACE_S
from helpers.cli.console import commands, err, many, out, showing_log, table
from helpers.cli.together import Together
from helpers.course.connect import connect
from helpers.course.database import clean
from helpers.partitions import (
    DAYS,
    DEMO_START,
    Partition,
    ReadingsClock,
    ahead_of_calendar,
    fill,
    inspect,
    partition_day,
    partitions,
)
from helpers.partitions.days import PartitionError
from helpers.partitions.readings import SECONDS_A_DAY
from helpers.streams.clock import Clock, utc_now
from helpers.streams.signals import stopping

partition_commands = commands("Daily partitions of readings, and their hourly averages.")

AGGREGATING, SHOWING = "cyan", "yellow"  # the colours of the two consumers
LOOK_S = 0.1
_A_DAY = timedelta(days=1)

Start = Annotated[str | None, typer.Argument(help="The partition to start over from.")]
Grace = Annotated[
    float, typer.Option(help="Seconds an hour waits for late readings.", min=0, max=3599)
]
Drain = Annotated[bool, typer.Option("--drain", help="End when nothing is left.")]


@partition_commands.command("fill")
def fill_days(
    days: Annotated[int, typer.Option(help="How many days.")] = DAYS,
    start: Annotated[str, typer.Option(help="The first day, as YYYY-MM-DD.")] = str(DEMO_START),
    sensors: Annotated[int, typer.Option(help="Each gets one reading a second.")] = 1,
) -> None:
    """Write days of readings; what is there already is not written again."""
    filled: list[Partition] = []
    with connect() as client, _progress() as bar:
        task = bar.add_task("Writing readings", total=days * sensors * SECONDS_A_DAY)
        written = fill(
            client,
            start=_day(start),
            days=days,
            sensors=sensors,
            progress=lambda count: bar.advance(task, count),
        )
        try:
            filled.extend(written)
        except KeyboardInterrupt:
            bar.stop()
            out.print("Stopped. The same command continues from here.")
            raise
    _print_partitions(filled)


@partition_commands.command("list")
def list_partitions() -> None:
    """Show which partitions there are: their lengths, when they expire, what they take."""
    with connect() as client:
        _print_partitions([inspect(client, key) for key in partitions(client)])


@partition_commands.command("clear")
def clear() -> None:
    """Delete all partitions, the averages, and what the consumers remember."""
    with connect() as client:
        found = partitions(client)
        clean(client, *found, AVERAGES)
    out.print(f"Deleted {many(len(found), 'partition')}, the averages and both states.")


@partition_commands.command("state")
def state() -> None:
    """Show what the two consumers remember, by HGETALL."""
    with connect() as client:
        for key, colour in ((AGGREGATING_STATE, AGGREGATING), (AVERAGES_STATE, SHOWING)):
            out.print(f"[{colour}]{escape(key)}[/]")
            found = client.hgetall(key)
            width = max(map(len, found), default=0)
            for name, value in found.items():
                out.print(f"  {escape(f'{name:{width}}')}  {escape(value)}")
            if not found:
                out.print("  nothing: it hasn't begun")


@partition_commands.command("consume")
def consume(partition: Start = None, grace: Grace = GRACE_S) -> None:
    """Run both consumers, as two processes, until Ctrl-C. One that is killed is started again."""
    with connect() as client:
        if partition:
            _begin_anew(client, partition)
    says = {"agg": _say("agg", AGGREGATING), "avg": _say("avg", SHOWING)}

    def say(name: str, line: str) -> None:
        says[name](line.removeprefix(f"{name}: "))

    asked = threading.Event()
    with Together(say) as both, stopping(asked.set):
        both.start("agg", "partitions", "aggregate", "--grace", str(grace))
        both.start("avg", "partitions", "average")
        while not asked.is_set():
            both.look()
            time.sleep(LOOK_S)


@partition_commands.command("aggregate")
def aggregate(partition: Start = None, grace: Grace = GRACE_S, drain: Drain = False) -> None:
    """Run the aggregating consumer: publish the mean of each hour."""
    say = _say("agg", AGGREGATING)
    with connect() as client, showing_log():
        if partition:
            _begin_anew(client, partition)
        consumer = AggregatingConsumer(client, grace_s=grace, clock=_clock(client, say), say=say)
        consumer.run(drain=drain)


@partition_commands.command("average")
def average(drain: Drain = False) -> None:
    """Run the averages consumer: print each hourly average as it comes."""
    say = _say("avg", SHOWING)
    with connect() as client, showing_log():
        consumer = AveragesConsumer(client, show=lambda entry: say(sentence(entry)), say=say)
        consumer.run(drain=drain)


def _begin_anew(client: redis.Redis, partition: str) -> None:
    """Start over from a partition.

    Raises:
        PartitionError: there is no such partition, and none is to be expected.
    """
    there, today = partitions(client), utc_now().date()
    if partition not in there and partition_day(partition) not in (today, today + _A_DAY):
        known = f"; there is {there[0]} to {there[-1]}" if there else ": fill some first"
        raise PartitionError(f"There is no partition {partition}{known}.")
    begin_anew(client, partition)
    out.print(f"Starting over from {partition}: the old averages are deleted.")


def _clock(client: redis.Redis, say: Callable[[str], None]) -> Clock:
    if not ahead_of_calendar(client):
        return utc_now
    say("The readings are dated ahead of the calendar: the clock continues from the newest one.")
    clock = ReadingsClock(client)
    clock()  # so that it sees what grows from now on
    return clock


def _say(name: str, colour: str) -> Callable[[str], None]:
    return lambda text: out.print(f"[{colour}]{name}: {escape(text)}[/]")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise PartitionError(f"{text!r} isn't a date: write it like {DEMO_START}.") from None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    return Progress(*columns, TimeRemainingColumn(), console=err, disable=not err.is_terminal)


def _print_partitions(found: list[Partition]) -> None:
    if not found:
        out.print("There are no partitions: `course partitions fill` writes some.")
        return
    listed = table("partition", "readings", "expires in", "memory", "a reading")
    for one in found:
        each = f"{one.memory / one.length:.1f} B" if one.length else ""
        whole = f"{one.memory / 1e6:.2f} MB"
        listed.add_row(one.key, f"{one.length:,}", _duration(one.ttl_s), whole, each)
    out.print(listed)
    length, memory = sum(one.length for one in found), sum(one.memory for one in found)
    out.print(f"{many(length, 'reading')} take {memory / 1e6:.1f} MB.")


def _duration(seconds: int) -> str:
    if seconds < 0:
        return "never"
    return f"{seconds / 86_400:,.1f} days" if seconds >= 86_400 else f"{seconds:,} s"
