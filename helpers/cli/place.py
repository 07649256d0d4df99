"""`course lab`, `doctor`, `server` and `reset`: the place in which the course happens."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from helpers.checks import progress
from helpers.cli.console import commands, many, out
from helpers.course import database
from helpers.course import lab as lab_settings
from helpers.course.checkout import Mark
from helpers.course.cli_program import command, find_cli
from helpers.course.connect import connect
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT, hidden_folder
from helpers.course.projector import for_projector
from helpers.course.server import OwnServer, find_server

server_commands = commands("The course's own Redis server.")

_JUPYTERLAB = (  # as `python -m jupyterlab`, without a traceback if Ctrl-C comes while it loads
    "import sys\n"
    "try:\n"
    "    from jupyterlab.labapp import main\n"
    "    sys.exit(main())\n"
    "except KeyboardInterrupt:\n"
    "    sys.exit(130)\n"
)
FIRST_LESSON = "notebooks/00_start_here.ipynb"


def lab(
    context: typer.Context,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(help="JupyterLab's port.")] = 8888,
    projector: Annotated[
        bool, typer.Option("--projector", help="Larger type and no side bars, for this run only.")
    ] = False,
) -> None:
    """Open the course in JupyterLab, on lesson 00, with a server behind it.

    What this command does not know is handed on to JupyterLab.
    """
    server = find_server()
    out.print(f"[green]✓[/] {escape(server.sentence)}")
    if projector:
        os.environ.update(for_projector())
    environment, told = lab_settings.environment()
    config = lab_settings.configuration(environment)
    for file, why in config.ending:
        raise CourseError(f"{file} ends JupyterLab ({why}): correct that file, or move it away.")
    for file, why in config.hiding:
        raise CourseError(lab_settings.hides(file, why))
    overrides = lab_settings.overrides(config, context.args)
    for line in dict.fromkeys([*told, *(one.why for one in overrides)]):
        out.print(f"[dim]· {escape(line)}[/]")
    words = [sys.executable, "-c", _JUPYTERLAB, f"--port={port}"]
    words += [f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}"]
    words += [] if lab_settings.names_a_root(context.args) else [f"--ServerApp.root_dir={CHECKOUT}"]
    words += [one.flag for one in overrides]
    words += [] if browser else ["--no-browser"]
    words += ["--allow-root"] if os.geteuid() == 0 else []  # as in many containers
    words += context.args
    sys.stdout.flush()
    os.chdir(CHECKOUT)
    os.execve(
        words[0], words, environment | lab_settings.token_beside_a_password(config, environment)
    )


def cli(context: typer.Context) -> None:
    """Open redis-cli or valkey-cli on the course's server, or send it one command.

    What follows is handed on: `course cli XLEN chennai`, `course cli --bigkeys`.
    """
    server = find_server()
    state = OwnServer(hidden_folder()).alive() if server.source != "url" else None
    program = find_cli(beside=state.program if state else "")
    words, secret = command(program, server.url, context.args)
    sys.stdout.flush()
    try:
        os.execve(program, words, os.environ | secret)
    except OSError as error:
        raise CourseError(
            f"{program} cannot be run ({error.strerror}): take it off PATH, or install it again."
        ) from error


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe about it.")] = False,
) -> None:
    """Show which server answers and why, how a notebook starts, and what is wrong."""
    from helpers.course.doctor import examine  # with what feeds need, which few commands do

    report = examine(fix=fix)
    if as_json:
        print(json.dumps(report), flush=True)  # so that a closed pipe is noticed here
    else:
        _print_report(report)
    raise typer.Exit(0 if report["ok"] else 1)


@server_commands.command("start")
def server_start(
    port: Annotated[int | None, typer.Option(help="TCP port; any free one by default.")] = None,
) -> None:
    """Start the course's own server, if it does not run yet."""
    out.print(escape(OwnServer(hidden_folder()).ensure(port).sentence))


@server_commands.command("status")
def server_status() -> None:
    """Say whether the course's own server runs; the exit code is 1 if it does not."""
    own = OwnServer(hidden_folder())
    state = own.running()
    if state is None:
        out.print("The course's own server isn't running; `course server start` starts it.")
        raise typer.Exit(1)
    where = f"Its process is {state.pid}, its data is in {own.data}."
    out.print(escape(f"{own.ensure().sentence} {where}"))


@server_commands.command("url")
def server_url(
    env: Annotated[
        bool, typer.Option("--env", help='For a shell: eval "$(course server url --env)".')
    ] = False,
) -> None:
    """Print the server's address with its password, for redis-cli -u, RedisInsight and others.

    With --env it is the variable REDIS_URL, for programs of your own that you start in this shell.
    The course finds its server without it.
    """
    url = find_server().url
    print(f"export REDIS_URL={shlex.quote(url)}" if env else url, flush=True)


@server_commands.command("stop")
def server_stop() -> None:
    """End the course's own server; its data stays for the next time."""
    own = OwnServer(hidden_folder())
    lacks = own.lacks()
    stopped = own.stop()
    out.print(
        f"Stopped the server (process {stopped.pid})." if stopped else "No server was running."
    )
    if stopped and lacks:
        out.print(escape(f"The latest entries may not be saved: {lacks}"))


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    labs: Annotated[bool, typer.Option("--labs", help="Also forget the labs' progress.")] = False,
) -> None:
    """Delete every key of the course, to start again with none."""
    server = find_server()
    what = "every key of the course" + (" and the progress of your labs" if labs else "")
    if not yes:
        typer.confirm(f"Delete {what} at {server.safe_url}?", abort=True)
    with connect() as client:
        out.print(f"Deleted {many(database.reset(client, server), 'key')}.")
    if labs:
        progress.forget()
        out.print("All exercises are open again.")


def adopt(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take over the database that REDIS_URL names from another checkout of the course."""
    server = find_server()
    if server.source != "url":
        out.print("The course's own server is always this checkout's: there is nothing to adopt.")
        return
    mark = database.others_mark(server.url)
    if mark is None:
        connect().close()  # it may be empty, or hold keys that are not the course's
        out.print(f"It is this checkout's already: {escape(server.safe_url)}")
        return
    number, size = database.size(server.url)
    out.print(
        f"Database {number} of {escape(server.safe_url)} {database.taken_by(Mark.read(mark))}. It "
        f"holds {many(size, 'key')} of it, which stay."
    )
    if not yes:
        typer.confirm("Take it over? The other checkout will be refused from then on.", abort=True)
    database.adopt(server.url, mark)
    out.print(f"Database {number} is this checkout's now.")


def _print_report(report: dict[str, Any]) -> None:
    facts = list(_facts(report))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:  # no table, which would cut off a path in a pipe
        out.print(escape(f"{name:<{width}}  {value}"))
    signs = {
        "fixed": "[green]✓[/]",
        "notes": "·",
        "warnings": "[yellow]![/]",
        "problems": "[red]✗[/]",
    }
    for name, sign in signs.items():
        for sentence in report[name]:
            out.print(f"{sign} {escape(sentence)}")
    if report["ok"]:
        said = (
            "The course works, but mind what is marked with !"
            if report["warnings"]
            else "All is well"
        )
        out.print(f"[green]✓[/] {said}.")


def _facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The names and values of a report, in the order in which they are read."""
    if server := report["server"]:
        yield "server", f"{server['product']} {server['version']}, {server['source']}"
        yield from ((name, server[name]) for name in ("why", "url", "database") if name in server)
    if kernel := report["kernel"]:
        yield "kernel", f"Python {kernel['python']}, {kernel['executable']}"
        yield from ((f"its {name}", kernel[name]) for name in ("helpers", "redis"))
    for name in ("python", "redis_py", "checkout", "hidden_folder"):
        yield name.replace("_", " "), str(report.get(name, "-"))
