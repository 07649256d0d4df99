"""`course class join`, `leave`, `sent`, `status`: a learner's seat in a class; and `servers`.

Each command imports what it needs: SQLite and what sends need not be there for the others.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from helpers.cli.console import err, many, out, table
from helpers.course.errors import CourseError
from helpers.course.loopback import is_loopback
from helpers.room import seat as seats
from helpers.room.seat import Seat

LOOPBACK = "127.0.0.1"
LIMIT_S = 6.0  # how long a command waits for the board to take what waits

NONE = "You haven't joined a class; `course class join URL --as NAME` joins one."


def join(
    url: Annotated[str, typer.Argument(help="The board's address, as your instructor shows it.")],
    name: Annotated[str, typer.Option("--as", help="What you're called there, such as 'seat 12'.")],
    code: Annotated[str | None, typer.Option(help="The code of the class.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="A file with the board's certificate, if it made its own.")
    ] = None,
) -> None:
    """Join a class: from now on, its board is told how each check ended."""
    from helpers.room import joining

    seat = joining.join(url, name, code, certificate)
    out.print(f"You are {escape(seat.name)!r} of the class at {escape(seat.url)}.")
    out.print(
        "For each `lab.check`, the board gets the exercise, the outcome, the number of the "
        "mistake, and the seconds since you opened the lab. It gets none of your code or answers. "
        "`course class sent` shows what was sent, and `course class leave` ends it."
    )


def leave() -> None:
    """Leave the class: nothing more is sent."""
    from helpers.room import joining

    seat = _seat()
    waiting = _waiting(seat)
    trouble = joining.leave(seat)
    out.print(f"You left the class at {escape(seat.url)}; nothing more is sent.")
    if waiting:
        out.print(f"{many(waiting, 'check')} had not been sent, and won't be.")
    if trouble:
        out.print(escape(f"The board couldn't be told, so it may still show your seat. {trouble}"))


def sent() -> None:
    """Print all that was sent to the class board, and what waits."""
    import sqlite3

    spool = seats.latest_spool()
    if spool is None:
        out.print("Nothing was sent: you haven't joined a class.")
        return
    try:
        events, upto = spool.events(), spool.standing().upto
    except sqlite3.Error as error:
        raise CourseError(_damaged(error)) from error
    joined = seats.current() is not None
    rows = table("n", "when", "exercise", "outcome", "mistake", "seconds", "")
    for one in events:
        what = "sent" if one.n <= upto else "waits" if joined else "not sent"
        when = datetime.fromtimestamp(one.at).strftime("%d %b %H:%M:%S")
        values = (one.n, when, one.exercise, one.outcome, one.hint or "-", one.seconds, what)
        rows.add_row(*map(str, values))
    out.print(rows if events else "Nothing was sent so far.")


def status() -> None:
    """Send what waits, and say how it stands; the exit code is 1 if no class is joined."""
    import sqlite3

    seat = seats.current()
    if seat is None:
        out.print(NONE)
        raise typer.Exit(1)
    since = datetime.fromtimestamp(seat.joined).strftime("%d %b %H:%M")
    out.print(f"You are {escape(seat.name)!r} of the class at {escape(seat.url)}, since {since}.")
    trouble = _sent_now(seat)
    try:
        standing = seat.spool.standing()
    except sqlite3.Error as error:
        raise CourseError(_damaged(error)) from error
    waits = f"{many(standing.waiting, 'check')} not sent yet" if standing.waiting else "none waits"
    out.print(f"The board has {many(standing.upto, 'check')}; {waits}.")
    if standing.dropped:
        out.print(
            f"{many(standing.dropped, 'check')} could not be kept, because 10,000 waited or "
            "nothing could be written; the board is told how many."
        )
    if standing.ended:
        out.print(f"{escape(standing.ended)} Nothing is noted any more: `course class leave`.")
    elif trouble := trouble or (standing.trouble if standing.waiting else ""):
        out.print(f"{escape(trouble)} Your checks work as before, and what waits is sent later.")


def servers(
    seats: Annotated[int, typer.Option(help="How many.")] = 30,
    address: Annotated[
        str, typer.Option(help="This machine's address, by which learners reach it.")
    ] = LOOPBACK,
    file: Annotated[
        Path | None, typer.Option("--csv", help="Write the addresses there, instead of printing.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin with empty ones.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="End all of them; their data stays.")
    ] = False,
) -> None:
    """Start a Redis server for each seat, where learners can't run one, and print its REDIS_URL."""
    from helpers.room import servers as seat_servers

    if stop:
        out.print(f"Stopped {many(seat_servers.stop(), 'server')}.")
        return
    started = seat_servers.start(seats, address, new=new)
    if file:
        seat_servers.write_csv(file, started)
        out.print(f"Wrote {many(len(started), 'URL')} to {escape(str(file))}.")
    else:
        for one in started:
            out.print(escape(f"{one.seat:<9}REDIS_URL={one.url}"))
    out.print("A learner sets REDIS_URL to the address of the seat, then starts the course.")
    if not is_loopback(started[0].url):
        err.print(
            "[yellow]Anyone who can listen to this network can read these passwords and what is "
            "sent: use them in a network that you trust, and end them with `course class servers "
            "--stop`.[/]"
        )


def _seat() -> Seat:
    if seat := seats.current():
        return seat
    raise CourseError(NONE)


def _waiting(seat: Seat) -> int:
    import sqlite3

    try:
        return seat.spool.standing().waiting
    except sqlite3.Error:
        return 0


def _sent_now(seat: Seat) -> str:
    """Send what waits, and say why that did not work; empty if it did, or is being done."""
    import sqlite3
    import threading

    from filelock import Timeout

    from helpers.room.post import BoardError
    from helpers.room.sending import hand_over

    said = [f"The class board at {seat.url} doesn't answer."]

    def send() -> None:
        try:
            hand_over(seat)
            said[0] = ""
        except Timeout:
            said[0] = ""  # another notebook is sending just now
        except BoardError as error:
            said[0] = str(error)
        except (sqlite3.Error, OSError) as error:
            said[0] = f"What was noted can't be read or written ({error})."

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return said[0]


def _damaged(error: Exception) -> str:
    return (
        f"The file of what was noted for the class can't be used ({error}): run `course class "
        "leave`, then join again."
    )
