"""`course produce`, `tail` and `consume`: write and read streams."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from helpers.cli.console import err, fields_of, many, out, showing_log
from helpers.course.connect import connect
from helpers.course.database import note_streams
from helpers.course.errors import CourseError
from helpers.course.weather import CITIES, measurements
from helpers.streams.consumer.consumer import Consumer
from helpers.streams.consumer.settings import BATCH, MAX_DELIVERIES, MIN_IDLE_MS
from helpers.streams.entry import Entry
from helpers.streams.group import Group
from helpers.streams.producer import Producer
from helpers.streams.reader import Reader

MINUTES_A_READING = 10  # of the stations' day, so that a few readings show how it goes


def produce(
    stream: Annotated[str, typer.Argument(help="The stream's key, such as chennai.")],
    count: Annotated[int, typer.Option(help="How many readings.", min=1)] = 10,
    rate: Annotated[
        float | None, typer.Option(help="Readings per second; as many as possible by default.")
    ] = None,
    city: Annotated[str | None, typer.Option(help=f"Whose weather: {', '.join(CITIES)}.")] = None,
) -> None:
    """Append weather readings to a stream, each exactly once."""
    if not stream:
        raise CourseError("A stream needs a name, such as chennai.")
    whose = city or (stream if stream in CITIES else "chennai")
    weather = measurements(whose, step_s=MINUTES_A_READING * 60)
    long = count > 50_000 or bool(rate and count > rate)
    with connect() as client, Producer(client, stream) as producer:
        try:
            with Progress(console=err, disable=not (long and err.is_terminal)) as bar:
                readings = bar.track(islice(weather, count), count, description="Adding readings")
                producer.add_many(readings, rate=rate)
        except KeyboardInterrupt:
            producer.close()  # the batch that was under way is on the stream, once
            said = many(producer.added.count, "reading")
            out.print(f"Stopped. Added {said} to {escape(stream)}.")
            note_streams(client, stream)
            raise
        added = producer.added
        note_streams(client, stream)
    said = many(added.count, "reading")
    out.print(f"Added {said} to {escape(stream)}, {added.first} to {added.last}.")


def tail(
    streams: Annotated[list[str], typer.Argument(help="The streams' keys.")],
    start: Annotated[
        str, typer.Option("--from", help="The ID to start after; 0 or - for all, $ for new ones.")
    ] = "$",
    count: Annotated[int | None, typer.Option(help="Stop after this many entries.", min=1)] = None,
    name: Annotated[
        str | None, typer.Option(help="Save the position under this name, and continue from it.")
    ] = None,
) -> None:
    """Print the entries of streams as they come, until Ctrl-C."""
    first = "0" if start == "-" else start
    with (
        connect() as client,
        Reader(client, streams, start=first, name=name, errors="backslashreplace") as reader,
    ):
        if err.is_terminal:
            err.print(f"[dim]Waiting for entries on {escape(', '.join(streams))}; Ctrl-C ends.[/]")
        try:
            for seen, (stream, entry) in enumerate(reader, 1):
                out.print(f"[cyan]{escape(stream)}[/] [dim]{entry.id}[/] {fields_of(entry)}")
                if seen == count:
                    reader.stop()
        except KeyboardInterrupt:
            pass  # the usual way to end it, so no failure


def consume(
    name: Annotated[str, typer.Argument(help="The consumer's name, such as alice.")],
    stream: Annotated[str, typer.Option(help="The stream's key.")] = "chennai",
    group: Annotated[
        str, typer.Option(help="The group; it's created if it doesn't exist.")
    ] = "mygroup",
    start: Annotated[
        str, typer.Option("--from", help="Where a new group begins: 0 for all, $ for new ones.")
    ] = "0",
    work_ms: Annotated[int, typer.Option(help="How long it works on an entry.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="The most entries per read.")] = BATCH,
    idle_ms: Annotated[
        int, typer.Option(help="Claim what others have left pending for this long.")
    ] = MIN_IDLE_MS,
    max_deliveries: Annotated[
        int, typer.Option(help="After this many, an entry becomes a dead letter.")
    ] = MAX_DELIVERIES,
    drain: Annotated[bool, typer.Option("--drain", help="End when nothing is left.")] = False,
) -> None:
    """Work in a consumer group: print each entry, and acknowledge it, until Ctrl-C."""

    def process(entry: Entry) -> None:
        time.sleep(work_ms / 1000)
        out.print(f"[cyan]{escape(name)}[/] [dim]{entry.id}[/] {fields_of(entry)}")

    with connect() as client, showing_log():
        terms = {"batch": batch, "min_idle_ms": idle_ms, "max_deliveries": max_deliveries}
        consumer = Consumer(client, stream, group, process, name=name, **terms)
        created = Group(client, stream, group).create(start, make_stream=True)
        note_streams(client, stream)
        if err.is_terminal:
            what = "Created" if created else "Joined"
            err.print(f"[dim]{what} the group {escape(group)} on {escape(stream)}; Ctrl-C ends.[/]")
        counts = consumer.run(drain=drain)
        if err.is_terminal:
            err.print(f"[dim]{escape(name)}: {counts}.[/]")
