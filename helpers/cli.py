"""The `course` command: in a terminal what a lesson does in a cell."""

from __future__ import annotations

import io
import json
import os
import platform
import sys
from itertools import islice
from typing import Annotated, Any

import redis
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from helpers.checks import progress
from helpers.connect import connect
from helpers.database import reset as reset_database
from helpers.errors import CourseError
from helpers.home import CHECKOUT, hidden_folder
from helpers.producer import Producer
from helpers.reader import Reader
from helpers.server import OwnServer, Server, find_server
from helpers.weather import CITIES, measurements

app = typer.Typer(
    help="Redis Streams, hands on: the course from a terminal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
server_app = typer.Typer(help="The course's own Redis server.", no_args_is_help=True)
app.add_typer(server_app, name="server")
out = Console(highlight=False, soft_wrap=True, emoji=False)  # `:sun:` may be part of a key
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

FIRST_LESSON = "notebooks/00_start_here.ipynb"
MINUTES_A_READING = 10  # of the stations' day, so that a few readings show how it goes
INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended
EXPECTED = (CourseError, redis.RedisError, OSError)  # what may go wrong with no fault of ours


def main() -> None:
    """Run a command; an error is one sentence and a non-zero exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal has no ✓
    try:
        app()
    except EXPECTED as error:
        err.print(f"[red]{type(error).__name__}:[/] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(help="JupyterLab's port.")] = 8888,
) -> None:
    """Open the course in JupyterLab, on lesson 00, with a server behind it.

    What this command does not know is handed on to JupyterLab.
    """
    server = find_server()
    out.print(f"[green]✓[/] {_sentence(server)}")
    os.chdir(CHECKOUT)
    # Settings for the course's JupyterLab alone: no pop-ups about Jupyter's news.
    settings = str(CHECKOUT / "helpers" / "jupyter")
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (settings, before)))
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}"]
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if os.geteuid() == 0 else []  # as in many containers
    command += context.args
    sys.stdout.flush()
    os.execv(command[0], command)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say which server answers and why, and what is amiss."""
    report: dict[str, Any] = {
        "ok": True,
        "server": None,
        "python": platform.python_version(),
        "redis_py": redis.__version__,
        "checkout": str(CHECKOUT),
        "problems": [],
    }
    try:
        report["hidden_folder"] = str(hidden_folder())
        server = find_server()
        report["server"] = {
            "product": server.product,
            "version": server.version,
            "source": server.source,
            "url": server.safe_url,
            "why": server.why,
        }
        with connect() as client:
            client.ping()
    except EXPECTED as error:
        report["ok"] = False
        report["problems"].append(str(error))
    if as_json:
        print(json.dumps(report), flush=True)  # so that a closed pipe is noticed here
    else:
        _print_report(report)
    raise typer.Exit(0 if report["ok"] else 1)


@server_app.command("start")
def server_start(
    port: Annotated[int | None, typer.Option(help="TCP port; any free one by default.")] = None,
) -> None:
    """Start the course's own server, if it does not run yet."""
    out.print(_sentence(OwnServer(hidden_folder()).ensure(port)))


@server_app.command("status")
def server_status() -> None:
    """Say whether the course's own server runs; the exit code is 1 if it does not."""
    own = OwnServer(hidden_folder())
    state = own.running()
    if state is None:
        out.print("The course's own server does not run; `course server start` starts it.")
        raise typer.Exit(1)
    out.print(f"{_sentence(own.ensure())} Its process is {state.pid}, its data is in {own.data}.")


@server_app.command("stop")
def server_stop() -> None:
    """End the course's own server; its data stays for the next time."""
    stopped = OwnServer(hidden_folder()).stop()
    out.print(
        f"Stopped the server (process {stopped.pid})." if stopped else "No server was running."
    )


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    labs: Annotated[bool, typer.Option("--labs", help="Forget the labs' progress too.")] = False,
) -> None:
    """Delete every key of the course, to start anew."""
    server = find_server()
    what = "every key of the course" + (" and the progress of your labs" if labs else "")
    if not yes:
        typer.confirm(f"Delete {what} at {server.safe_url}?", abort=True)
    with connect() as client:
        out.print(f"Deleted {_many(reset_database(client, server), 'key')}.")
    if labs:
        progress.forget()
        out.print("All exercises are open again.")


@app.command()
def produce(
    stream: Annotated[str, typer.Argument(help="The stream's key, such as chennai.")],
    count: Annotated[int, typer.Option(help="How many readings.", min=1)] = 10,
    rate: Annotated[
        float | None, typer.Option(help="Readings a second; as fast as it goes by default.")
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
            many = _many(producer.added.count, "reading")
            out.print(f"Stopped. Added {many} to {escape(stream)}.")
            raise
        added = producer.added
    many = _many(added.count, "reading")
    out.print(f"Added {many} to {escape(stream)}, {added.first} to {added.last}.")


@app.command()
def tail(
    streams: Annotated[list[str], typer.Argument(help="The streams' keys.")],
    start: Annotated[
        str, typer.Option("--from", help="The ID to start after; 0 or - for all, $ for new ones.")
    ] = "$",
    count: Annotated[int | None, typer.Option(help="Stop after so many entries.", min=1)] = None,
    name: Annotated[
        str | None, typer.Option(help="Keep the place under this name, and go on from there.")
    ] = None,
) -> None:
    """Print the entries of streams as they come, until Ctrl-C."""
    first = "0" if start == "-" else start
    with connect() as client, Reader(client, streams, start=first, name=name) as reader:
        if err.is_terminal:
            err.print(f"[dim]Waiting for entries on {escape(', '.join(streams))}; Ctrl-C ends.[/]")
        try:
            for seen, (stream, entry) in enumerate(reader, 1):
                fields = " ".join(f"{field}={value}" for field, value in entry.fields.items())
                out.print(f"[cyan]{escape(stream)}[/] [dim]{entry.id}[/] {escape(fields)}")
                if seen == count:
                    reader.stop()
        except KeyboardInterrupt:
            pass  # the usual way to end it, so no failure
        except UnicodeDecodeError as error:
            raise CourseError(
                f"An entry on {', '.join(streams)} holds bytes that are no text in UTF-8, so it "
                "cannot be shown: start after it with --from, or read it with redis-py."
            ) from error


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _sentence(server: Server) -> str:
    return escape(
        f"{server.product} {server.version} answers at {server.safe_url} ({server.source}: "
        f"{server.why})."
    )


def _print_report(report: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    server = report["server"]
    if server:
        table.add_row("server", f"{server['product']} {server['version']}, {server['source']}")
        table.add_row("why", escape(server["why"]))
        table.add_row("url", escape(server["url"]))
    for name in ("python", "redis_py", "checkout", "hidden_folder"):
        table.add_row(name.replace("_", " "), escape(str(report.get(name, "-"))))
    out.print(table)
    for problem in report["problems"]:
        out.print(f"[red]✗[/] {escape(problem)}")
    if report["ok"]:
        out.print("[green]✓[/] All is well.")


if __name__ == "__main__":
    main()
