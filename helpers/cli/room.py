"""`course class`: an instructor opens a class board, and seats join it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape

from helpers.cli.console import commands, err, many, out, showing_log
from helpers.course.disk import write_whole
from helpers.course.errors import CourseError
from helpers.streams.clock import ms_of, utc_now

if TYPE_CHECKING:
    from helpers.room.board import Exercise
    from helpers.room.opening import Opened
    from helpers.room.view import Board as Shown

class_commands = commands("The class board: an instructor sees where the class is.")

TAUGHT = (
    "The class board is a stream of checks and a consumer group that counts each exactly once: "
    "lessons 03 to 06, at work."
)


@class_commands.command("open")
def class_open(
    address: Annotated[
        str | None, typer.Option(help="Where to listen; 0.0.0.0 is the whole network.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 means any free port.")] = None,
    code: Annotated[
        str | None, typer.Option(help="What seats need to join; made up if others can reach it.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="A certificate (PEM), for https.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin another class.")] = False,
    title: Annotated[str | None, typer.Option(help="What the class is called.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A host name by which seats reach this machine.")
    ] = None,
) -> None:
    """Open the class board until Ctrl-C. Opening it again goes on with the same class."""
    from helpers.checks import mistakes
    from helpers.course.authoring.runsheet import routes
    from helpers.room.opening import Wanted, open_class

    wanted = Wanted(address, port, code, cert, key, new, title, tuple(name or ()))

    async def work() -> bool:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await open_class(
            wanted, exercises(), mistakes.catalogue(), routes(),
            stop=stop, ready=_print_opened, say=_warn,
        )  # fmt: skip

    with showing_log(logging.WARNING):
        goes_on = asyncio.run(work())
    if goes_on:
        out.print("The board is closed for now; `course class open` goes on with the same class.")
    else:
        out.print("The class is over; `course class export` writes what it did.")


@class_commands.command("close")
def class_close() -> None:
    """End the class: seats are told, and no further event is taken. Its counts stay."""
    from helpers.room import classes

    async def work() -> int:
        async with classes.visited() as (client, _):
            room = await classes.expect_class(client)
            await classes.close(client, room)
            return len((await classes.seats_of(client, room)).all)

    count = asyncio.run(work())
    out.print(
        f"The class of {many(count, 'seat')} is over. `course class export` writes what it did; "
        "the next `course class open` begins another one."
    )


@class_commands.command("export")
def class_export(
    file: Annotated[
        Path | None, typer.Argument(help="A .csv or .json file; by default it is printed as CSV.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="A row for each exercise, not for each seat.")
    ] = False,
    id: Annotated[str | None, typer.Option(help="Of an earlier class.")] = None,
) -> None:
    """Write what the seats of the class did, while it is open or afterwards."""
    from helpers.checks import mistakes
    from helpers.room import classes, export
    from helpers.room.board import counted, shown
    from helpers.room.counting import Counting

    kind = file.suffix.lower() if file else ".csv"
    if kind not in (".csv", ".json"):
        raise CourseError(
            f"{file} is neither CSV nor JSON: give it a name that ends in .csv or .json."
        )

    async def work() -> dict[str, Any]:
        async with classes.visited() as (client, at_work):
            room, sheet = await classes.expect_class(client, id), exercises()
            if not at_work:
                known = {one.id: mistakes.catalogue().get(one.id, {}) for one in sheet}
                await Counting(client, room.keys, known).drain()
            seats, now_ms = await classes.seats_of(client, room), ms_of(utc_now())
            counts = await counted(client, room.keys, now_ms)
            return shown(room, sheet, seats.all.values(), counts, now_ms)

    board = cast("Shown", asyncio.run(work()))
    if kind == ".json":
        text = export.to_json(board)
    else:
        known = mistakes.catalogue()
        text = export.summary_csv(board, known) if summary else export.to_csv(board)
    if file:
        mark = "" if kind == ".json" else export.BOM
        try:
            write_whole(file.absolute(), mark + text)
        except OSError as error:
            raise CourseError(f"{file} can't be written ({error.strerror or error}).") from error
        out.print(f"Wrote {escape(str(file))}.")
    else:
        print(text, end="", flush=True)


@class_commands.command("forget")
def class_forget(
    id: Annotated[
        str | None, typer.Option(help="Of an earlier class; by default the last one.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete all that is kept of a class that is over: its seats, and what they did."""
    from helpers.room import classes

    async def work() -> int:
        async with classes.visited() as visit:
            client, room = visit.client, await classes.expect_over(visit, id)
            count = len((await classes.seats_of(client, room)).all)
            if not yes:
                called = f"“{room.title}”" if room.title else room.id
                typer.confirm(f"Delete the class {called}, with {many(count, 'seat')}?", abort=True)
            await classes.forget(client, room)
            return count

    out.print(f"Nothing is kept of the class any more. It had {many(asyncio.run(work()), 'seat')}.")


def exercises() -> list[Exercise]:
    """The exercises of the course in order, with what one may say to a class: their hints.

    The last hint is the solution's place, so it is left out.
    """
    from helpers.checks import LABS
    from helpers.course.authoring import runsheet
    from helpers.room.board import Exercise

    about, found = runsheet.exercises(), []
    for number in LABS:
        lab = importlib.import_module(f"helpers.checks.lab{number}").lab
        for one in lab.exercises.values():
            name = f"{number}.{one.number}"
            must, minutes = about.get(name, (False, 0))  # the one of lesson 00 is in the lesson
            found.append(Exercise(name, one.title, must, minutes, one.hints[:-1]))
    return found


def _print_opened(opened: Opened) -> None:
    room = opened.room
    out.print(f"[dim]{TAUGHT}[/]")
    title = f" “{escape(room.title)}”" if room.title else ""
    how = f"goes on, with {many(opened.seats, 'seat')}" if opened.again else "is open"
    out.print(f"[green]✓[/] The class{title} {how}.")
    out.print(f"Your page   {escape(opened.page)}")
    code = f" --code {escape(room.code)}" if room.code else ""
    for place, url in enumerate(opened.urls):
        label = "Seats join  " if not place else "or          "
        out.print(f'{label}course class join {escape(url)}{code} --as "seat 1"')
    for warning in opened.warnings:
        _warn(warning)
    out.print("Ctrl-C ends the board, and keeps the class.")


def _warn(sentence: str) -> None:
    err.print(f"[yellow]{escape(sentence)}[/]")
