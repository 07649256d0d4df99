"""The `course` command: in a terminal what a lesson does in a cell."""

from __future__ import annotations

import io
import sys

from rich.markup import escape

from helpers.cli import (
    bench,
    catchup,
    cluster,
    groups,
    partitions,
    place,
    room,
    seat,
    streams,
    update,
    wiki,
)
from helpers.cli.console import commands, err
from helpers.course.certificates import leave_out_unusable
from helpers.course.errors import EXPECTED, in_words
from helpers.course.loopback import spare_loopback

INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended

app = commands("Redis Streams, hands on: the course from a terminal.")
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(place.lab)
app.command()(place.doctor)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True,
                              "help_option_names": ["--help"]})(place.cli)  # fmt: skip
app.add_typer(place.server_commands, name="server")
app.command()(place.reset)
app.command()(place.adopt)
app.command()(catchup.catchup)
app.command()(update.update)
app.command()(streams.produce)
app.command()(streams.tail)
app.command()(streams.consume)
app.add_typer(groups.group_commands, name="group")
app.add_typer(groups.dead_letter_commands, name="deadletters")
app.add_typer(partitions.partition_commands, name="partitions")
app.add_typer(wiki.wiki_commands, name="wiki")
app.add_typer(cluster.cluster_commands, name="cluster")
app.add_typer(room.class_commands, name="class")
for one in (seat.join, seat.leave, seat.sent, seat.status, seat.servers):
    room.class_commands.command()(one)
app.command()(bench.bench)


def main() -> None:
    """Run a command; an error is one sentence and a non-zero exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal has no ✓
    spare_loopback()
    leave_out_unusable()
    try:
        app()
    except EXPECTED as error:
        err.print(f"[red]{type(error).__name__}:[/] {escape(in_words(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
