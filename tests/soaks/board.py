"""The class board's soak: 200 seats, an event a second each, bursts of 1,000 a second.

The board is `course class open`, and its server is its own; both are killed by kill -9 now and
then. The seats keep each event until the board has confirmed it. In the end every event must be
counted once: each cell's tries, wrong tries and mistakes are compared with what its seat made.
Meanwhile somebody watches how long each event takes, from the check to the counts.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx

from helpers.chaos import course, start
from helpers.chaos.process import Process
from helpers.course.pace import patient
from helpers.course.server.identity import probe
from helpers.room.classes import board_server
from tests.lives import Life
from tests.soaks import seats as at_work
from tests.soaks import stage
from tests.soaks.seats import Chair, Times, event
from tests.soaks.stage import Act, Fault, Stage, Strike

CODE = "soak-2345"
BOARD, SERVER = "board", "server"
DRIVERS = 2  # processes that share the seats
BEGIN_S = 1.0
END_S = patient(60.0)  # for what still waits at the end


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    seed: int
    faults: int = 20
    seats: int = 200
    time_s: int = 300
    rate: float = 1.0  # events of a seat, a second
    limit_s: float = stage.LIMIT_S


class Place(NamedTuple):
    """Where the class is: its board's address, and a server that the board starts itself."""

    url: str
    port: int


class Hit(NamedTuple):
    """What was killed, and how much had been counted by then."""

    pids: tuple[int, ...]
    counted: int


class Class(Stage):
    """A class whose board and server are killed."""

    PLAN: ClassVar[Any] = Plan
    plan: Plan
    server: Place

    def __init__(self, plan: Plan, server: Place) -> None:
        super().__init__(plan, server)
        self._folder = Path(tempfile.mkdtemp())
        self._kills: list[list[float]] = []  # from when to when
        self._chairs: list[Chair] = []
        self._seats: list[Life] = []

    @classmethod
    @contextmanager
    def serve(cls, plan: Plan) -> Any:
        """A home of its own, in which the board starts its server."""
        os.environ["COURSE_HOME"] = tempfile.mkdtemp()
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = trial.getsockname()[1]
        try:
            yield Place("unix:///nowhere", port)
        finally:
            board_server().stop()

    def connect(self) -> Any:
        """The board's server may be another one each time."""

    # ------------------------------------------------------------ the class

    def open(self) -> None:
        self._board = self._open_board("--code", CODE)
        self._wait_for_board()
        with httpx.Client(base_url=self._url, trust_env=False) as client:
            for number in range(1, self.plan.seats + 1):
                secret, name = secrets.token_urlsafe(32), f"seat {number}"
                asked = {"code": CODE, "as": name, "secret": secret}
                joined = client.post("/join", json=asked).raise_for_status().json()
                self._chairs.append(Chair(number, name, secret))
        self._id = joined["class"]
        self._begun = time.monotonic() + BEGIN_S
        self._watcher = self.begin(at_work.watch, self._id, self.plan.seats, self._file("seen"))
        for driver in range(DRIVERS):
            chairs = self._chairs[driver::DRIVERS]
            work = self._url, chairs, self._begun, self.plan.rate, self._file(driver)
            self._seats.append(self.begin(at_work.sit, *work))

    def tend(self) -> None:
        if not self._board.alive:
            self._said = self._board.output()
            self._board = self._open_board()

    def far(self, whom: str) -> float:
        return (time.monotonic() - self._begun) / self.plan.time_s

    @property
    def over(self) -> bool:
        return self.far(BOARD) >= 1

    def close(self) -> None:
        for life in self._seats:
            life.stop()
        deadline = time.monotonic() + END_S
        for life in self._seats:
            ended = life.wait(max(0.0, deadline - time.monotonic()))
            self.report.expect(ended, f"events still wait after {END_S:.0f} s")
            self.report.expect(not life.output, f"a seat said: {life.output}")
        made = sum(map(len, self._times(*range(DRIVERS)).values()))
        while self._counted() < made and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(5 * at_work.LOOK_S)
        self._watcher.stop()
        self._watcher.wait(END_S)
        self.report.expect(not self._watcher.output, f"who watches said: {self._watcher.output}")
        self._board.stop(END_S)

    def kill_all(self) -> None:
        super().kill_all()
        if hasattr(self, "_board"):
            self._board.kill()

    def _open_board(self, *more: str) -> Process:
        self.report.more["processes"] += 1
        return start(course("class", "open", "--port", str(self.server.port), *more), name=BOARD)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def _wait_for_board(self) -> None:
        deadline = time.monotonic() + patient(30.0)
        while time.monotonic() < deadline and self._board.alive:
            with suppress(httpx.TransportError):
                httpx.get(self._url, trust_env=False)
                return
            time.sleep(0.05)
        raise RuntimeError(f"The board does not open: {self._board.output()}")

    def _counted(self) -> int:
        with suppress(Exception):  # it may be away
            if state := board_server().alive():
                with probe(state.url, timeout_s=1.0) as client:
                    found: Any = client.hget(f"{{class:{self._id}}}:totals", "events")
                    return int(found or 0)
        return -1

    def _file(self, name: object) -> str:
        return str(self._folder / f"{name}.pickle")

    def _times(self, *names: object) -> dict[int, Sequence[float]]:
        found: dict[int, Sequence[float]] = {}
        for name in names:
            with suppress(FileNotFoundError):
                times: Times = pickle.loads(Path(self._file(name)).read_bytes())
                found |= times.of
        return found

    # ------------------------------------------------------------ the faults

    def kill_board(self, _: Act) -> Strike:
        yield
        return self._kill(board=True)

    def kill_server(self, _: Act) -> Strike:
        yield
        return self._kill(server=True)

    def kill_both(self, _: Act) -> Strike:
        yield
        return self._kill(board=True, server=True)

    def _kill(self, *, board: bool = False, server: bool = False) -> Hit:
        pids, counted, state = [], self._counted(), board_server().alive()
        self._kills.append([time.monotonic()])
        if board:
            pids.append(self._board.pid)
            self._board.kill()
        if server and state:
            pids.append(state.pid)
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGKILL)
        return Hit(tuple(pids), counted)

    def goes_on(self, hit: Hit) -> bool:
        """Whether another one is there, and counts."""
        state = board_server().alive()
        there = {self._board.pid if self._board.alive else 0, state.pid if state else 0}
        if 0 in there or there & set(hit.pids) or self._counted() <= max(0, hit.counted):
            return False
        self._kills[-1][1:] = [time.monotonic()]
        return True

    FAULTS: ClassVar[Sequence[Fault]] = (
        Fault("kill the board", 2, (BOARD,), kill_board, goes_on),
        Fault("kill its server", 2, (BOARD,), kill_server, goes_on),
        Fault("kill both", 1, (BOARD,), kill_both, goes_on),
    )

    # ------------------------------------------------------------ what there must be

    def inspect(self) -> None:
        made, report = self._times(*range(DRIVERS)), self.report
        report.expect(len(made) == self.plan.seats, "not every seat has said what it made")
        file = self._folder / "class.json"
        export = start(course("class", "export", str(file)), name="export")
        export.wait(END_S)
        found = json.loads(file.read_text())
        report.more["events"] = sum(map(len, made.values()))
        report.expect(
            found["totals"]["events"] == report.more["events"],
            f"{found['totals']['events']:,} events were counted",
        )
        rows = {row["seat"]: row["cells"] for row in found["seats"]}
        wanted: Counter[Any] = Counter()
        mistakes: Counter[Any] = Counter()
        for chair in self._chairs:
            last: dict[str, dict[str, Any]] = {}
            for n in range(1, len(made.get(chair.number, ())) + 1):
                one = event(chair.number, n)
                cell = chair.name, one["exercise"]
                wanted[*cell, "tries"] += 1
                if one["outcome"] == "wrong":
                    wanted[*cell, "wrong"] += 1
                    mistakes[one["exercise"], one["hint"]] += bool(one["hint"])
                before = last.get(one["exercise"])
                if not before or before["outcome"] != "passed" or one["outcome"] == "passed":
                    last[one["exercise"]] = one
            for name, one in last.items():
                cell = rows[chair.name].get(name, {})
                right = (cell.get("state"), cell.get("hint")) == (one["outcome"], one["hint"])
                report.expect(right, f"{chair.name} {name} is shown as {cell}, after {one}")
        counted = Counter({
            (row, exercise, what): cell[what]
            for row, cells in rows.items() for exercise, cell in cells.items()
            for what in ("tries", "wrong")
        })  # fmt: skip
        report.lost, report.twice = (wanted - counted).total(), (counted - wanted).total()
        report.expect(not report.lost, f"{report.lost} counts are missing")
        report.expect(not report.twice, f"{report.twice} counts are too many")
        shown = Counter({
            (exercise, int(hint)): one["count"]
            for exercise, hints in found["mistakes"].items() for hint, one in hints.items()
        })  # fmt: skip
        report.expect(shown == +mistakes, "the mistakes are not those that were made")
        dropped = [row["seat"] for row in found["seats"] if row["dropped"] or row["waiting"]]
        report.expect(not dropped, f"{dropped} dropped events, or have not handed over all")
        self._say_how_long(made, self._times("seen"))

    def _say_how_long(
        self, made: dict[int, Sequence[float]], seen: dict[int, Sequence[float]]
    ) -> None:
        """How long events took that were made while nothing was killed, or caught up."""
        both = [
            (begin, end)
            for seat, times in made.items()
            for begin, end in zip(times, seen[seat], strict=False)
        ]
        unseen = sum(map(len, made.values())) - len(both)
        self.report.expect(not unseen, f"{unseen} events were never seen in the counts")
        for kill in self._kills:  # until all is counted that was made before the board was back
            kill[1:] = [
                max((end for begin, end in both if kill[0] <= begin <= kill[-1]), default=0)
            ]
        calm = sorted(
            end - begin
            for begin, end in both
            if not any(begin <= kill[1] and end >= kill[0] for kill in self._kills)
        )
        figures = self.report.more
        figures["events outside of the kills"] = len(calm)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0)):
            if calm:
                place = min(len(calm) - 1, int(share * len(calm)))
                figures[f"{name} ms from check to counts"] = round(1000 * calm[place])
        away = [kill[1] - kill[0] for kill in self._kills]
        if away:
            figures["most ms until all was counted after a kill"] = round(1000 * max(away))
