"""`course group` and `course deadletters`: see what a consumer group holds, and repair it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from helpers.cli.console import commands, fields_of, many, out, table
from helpers.course.connect import connect
from helpers.course.errors import CourseError
from helpers.streams.consumer.dead_letters import DeadLetters
from helpers.streams.group import Group

group_commands = commands("A consumer group: how far it is, and what is pending.")
dead_letter_commands = commands("Entries that a consumer group gave up on.")

Stream = Annotated[str, typer.Option(help="The stream's key.")]
Name = Annotated[str, typer.Option("--group", help="The consumer group.")]


@group_commands.command("info")
def info(stream: Stream = "chennai", name: Name = "mygroup") -> None:
    """Say how far a group is, and what each of its consumers holds."""
    with connect() as client:
        group = Group(client, stream, name)
        about, consumers = group.info(), group.consumers()
    lag = "unknown" if about.lag is None else f"{about.lag:,}"
    out.print(
        f"[cyan]{escape(name)}[/] on [cyan]{escape(stream)}[/]: delivered up to "
        f"{about.last_delivered}, lag {lag}, {about.pending:,} pending"
    )
    listed = table("consumer", "pending", "idle")
    for one in consumers:
        listed.add_row(escape(one.name), f"{one.pending:,}", _seconds(one.idle_ms))
    if consumers:
        out.print(listed)


@group_commands.command("pending")
def pending(
    stream: Stream = "chennai",
    name: Name = "mygroup",
    consumer: Annotated[str | None, typer.Option(help="Only those of this consumer.")] = None,
    idle_ms: Annotated[
        int, typer.Option(help="Only those that have been idle for at least this long.", min=0)
    ] = 0,
) -> None:
    """List the pending entries: whose they are, how long idle, how often delivered."""
    listed = table("entry", "consumer", "idle", "deliveries")
    with connect() as client:
        found = Group(client, stream, name).pending(consumer=consumer, min_idle_ms=idle_ms)
        for one in found:
            idle = _seconds(one.idle_ms)
            listed.add_row(str(one.id), escape(one.consumer), idle, str(one.deliveries))
    out.print(listed if listed.row_count else "Nothing is pending.")


@dead_letter_commands.command("list")
def list_dead_letters(stream: Stream = "chennai", name: Name = "mygroup") -> None:
    """Show the dead letters: what they were, and why they were given up."""
    with connect() as client:
        letters = list(DeadLetters(client, stream, name))
    for one in letters:
        out.print(
            f"[cyan]{one.id}[/] was {one.entry.id} ({fields_of(one.entry)}), "
            f"delivered {many(one.deliveries, 'time')}, last to {escape(one.consumer)}"
        )
        out.print(f"    [red]{escape(one.reason)}[/]")
    if not letters:
        out.print("There are no dead letters.")


@dead_letter_commands.command("replay")
def replay_dead_letters(
    ids: Annotated[list[str] | None, typer.Argument(help="Their IDs, as `list` shows.")] = None,
    stream: Stream = "chennai",
    name: Name = "mygroup",
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Give dead letters back to their group, once what ailed them is mended."""
    if bool(ids) == everything:
        raise CourseError("Say which dead letters to replay: their IDs, or --all.")
    with connect() as client:
        letters = DeadLetters(client, stream, name)
        for letter_id in ids or [str(one.id) for one in letters]:
            done = letters.replay(letter_id)
            said = {
                "pending": f"{done.id} is pending again, for the next consumer that looks.",
                "added": f"It was no longer on the stream, so it was added again, as {done.id}.",
                "gone": "There is no such dead letter.",
            }
            out.print(f"[cyan]{escape(letter_id)}[/] {said[done.how]}")


def _seconds(ms: int) -> str:
    return f"{ms / 1000:,.1f} s"
