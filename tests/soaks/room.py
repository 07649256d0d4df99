"""A class's soak: 30 seats work through 00 to 03 with their mistakes, and are looked at.

Each seat is a process with a home and a Redis server of its own, as on a laptop. It joins by
`course class join`, and gives the answers that learners gave (`tests/checks`) to the real checks.
The board is killed meanwhile. A browser shows its page and the projector's. In the end the board's
export and its page must agree with the verdicts that the seats saw.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from helpers.chaos import SpareServer, course, start
from helpers.chaos.process import Process
from helpers.checks.mistakes import number_of
from helpers.course.pace import patient
from helpers.room.noting import OUTCOMES
from tests.browser import chromium
from tests.room_board import OpenBoard
from tests.soaks import learner, looking, stage
from tests.soaks.learner import Said, Try
from tests.soaks.stage import Act, Fault, Stage, Strike

CODE = "soak-2345"
BOARD = "board"
COME_S = 0.2  # from one seat's coming to the next one's
END_S = patient(60.0)


@dataclass(frozen=True)
class Plan:
    """What a soak does.

    Attributes:
        last: the last lab that the class works through.
        shots: a folder for pictures of the pages, taken now and then; none if it is empty.
    """

    seed: int
    faults: int = 2
    seats: int = 30
    last: str = learner.LABS[-1]
    shots: str = ""
    limit_s: float = stage.LIMIT_S


class Seat(NamedTuple):
    """A laptop."""

    name: str
    tries: list[Try]
    server: SpareServer
    process: Process
    file: Path


class Room(Stage):
    """A class with a board that is killed."""

    PLAN: ClassVar[Any] = Plan
    plan: Plan
    server: OpenBoard

    def __init__(self, plan: Plan, server: OpenBoard) -> None:
        super().__init__(plan, server)
        self._folder = Path(tempfile.mkdtemp())
        self._plans = {
            f"seat {n}": learner.plan(f"seat {n}", plan.seed, plan.last)
            for n in range(1, plan.seats + 1)
        }
        self._seats: list[Seat] = []
        self._looker: Process | None = None

    @classmethod
    @contextmanager
    def serve(cls, plan: Plan) -> Iterator[OpenBoard]:
        """The board, open, with a code."""
        board = OpenBoard(Path(tempfile.mkdtemp()))
        try:
            board.open("--port", "0", "--code", CODE, "--title", "A class of soaks")
            yield board
        finally:
            board.close()

    def connect(self) -> Any:
        """Each seat has a server of its own."""

    # ------------------------------------------------------------ the class

    def open(self) -> None:
        self._begun = time.monotonic()
        if chromium():
            self._looker = start(
                looking.look, self.server.page, self.server.url, str(self._file("looked")),
                self.plan.shots, name="browser",
            )  # fmt: skip
            self.report.more["processes"] += 1

    def tend(self) -> None:
        """Seats come one after the other; each claims its server itself."""
        come = len(self._seats)
        if come < self.plan.seats and time.monotonic() - self._begun >= COME_S * come:
            self._seats.append(self._come(f"seat {come + 1}"))

    def _come(self, name: str) -> Seat:
        home, file, tries = self._file(f"{name} home"), self._file(name), self._plans[name]
        home.mkdir()
        server = SpareServer()
        board = [self.server.url, "--code", CODE]
        process = start(
            learner.learn, name, tries, str(home), board, str(self._folder), str(file),
            name=name, url=server.url,
        )  # fmt: skip
        self.report.more["processes"] += 1
        return Seat(name, tries, server, process, file)

    def far(self, whom: str) -> float:
        done = sum(len(learner.verdicts(seat.file)) for seat in self._seats)
        return done / sum(map(len, self._plans.values()))

    @property
    def over(self) -> bool:
        come = len(self._seats) == self.plan.seats
        return come and not any(seat.process.alive for seat in self._seats)

    def close(self) -> None:
        for seat in self._seats:
            said = seat.process.output()
            self.report.expect(not said, f"{seat.name} said: {said[-300:]}")
            seat.server.close()
        if self._looker:
            self._looker.stop(END_S)
            said = self._looker.output()
            self.report.expect(not said, f"the browser said: {said[-1000:]}")

    def kill_all(self) -> None:
        super().kill_all()
        for seat in self._seats:
            seat.process.kill()
            seat.server.close()
        if self._looker:
            self._looker.kill()

    def _file(self, name: str) -> Path:
        return self._folder / name

    # ------------------------------------------------------------ the faults

    def kill_board(self, _: Act) -> Strike:
        self.server.kill()
        for _step in range(100):  # seats and page try in between
            yield
        self.server.open()

    def answers(self, _: None) -> bool:
        """Whether it is there again."""
        with self.server.client() as client:
            return client.get("/").status_code == 403

    FAULTS: ClassVar[tuple[Fault, ...]] = (
        Fault("kill the board", 1, (BOARD,), kill_board, answers),
    )

    # ------------------------------------------------------------ what there must be

    def inspect(self) -> None:
        said = {seat.name: learner.verdicts(seat.file) for seat in self._seats}
        right = {name: _cells(verdicts) for name, verdicts in said.items()}
        report, total = self.report, sum(map(len, said.values()))
        for seat in self._seats:
            given = len(said[seat.name])
            report.expect(given == len(seat.tries), f"{seat.name} gave {given} answers")
        outcomes = Counter(one.outcome for verdicts in said.values() for one in verdicts)
        report.more |= {"checks": total} | {f"checks {one}": n for one, n in outcomes.items()}

        found = self._export(total)
        events = found["totals"]["events"]
        report.lost, report.twice = max(0, total - events), max(0, events - total)
        report.expect(events == total, f"{events:,} events were counted")
        for row in found["seats"]:
            name = row["seat"]
            report.expect(not row["dropped"] and not row["waiting"], f"{name} lacks events")
            shown = {
                exercise: (cell["state"], cell["tries"], cell["wrong"])
                for exercise, cell in row["cells"].items()
            }
            report.expect(shown == right[name], f"{name} is shown as {shown}, not {right[name]}")
        report.expect(len(found["seats"]) == self.plan.seats, "not every seat is on the board")
        made = Counter(
            (one.exercise, number_of(one.exercise, one.hint))
            for verdicts in said.values() for one in verdicts if one.outcome == "wrong"
        )  # fmt: skip
        report.more["mistakes without a number"] = sum(n for (_, h), n in made.items() if not h)
        counted = {
            (exercise, int(hint)): counts["count"]
            for exercise, hints in found["mistakes"].items() for hint, counts in hints.items()
        }  # fmt: skip
        report.expect(counted == {key: n for key, n in made.items() if key[1]},
                      "the mistakes are not those that were made")  # fmt: skip
        if self._looker:
            self._inspect_pages(right)

    def _export(self, total: int) -> Any:
        """What `course class export` writes, as soon as all is counted."""
        os.environ["COURSE_HOME"] = str(self.server.home)
        file, deadline = self._file("class.json"), time.monotonic() + END_S
        while True:
            start(course("class", "export", str(file)), name="export").wait(END_S)
            found = json.loads(file.read_text())
            if found["totals"]["events"] >= total or time.monotonic() > deadline:
                return found

    def _inspect_pages(self, right: dict[str, dict[str, tuple[str, int, int]]]) -> None:
        """The page must have ended with what there is, and have been live; the room saw no name."""
        looked = json.loads(self._file("looked").read_text())
        shown = {
            name: {at: said for at, said in row.items() if "not tried" not in said}
            for name, row in looked["cells"].items()
        }
        wanted = {
            name: {at: looking.in_words(at, state, tries) for at, (state, tries, _) in row.items()}
            for name, row in right.items()
        }
        self.report.expect(shown == wanted, "the page shows something else")
        self.report.expect(not looked["names"], f"the room saw {looked['names'][:3]}")
        self.report.expect(not looked["errors"], f"the pages complain: {looked['errors'][:3]}")
        looks = looked["looks"]
        self.report.more["looks at the page"] = len(looks)
        self.report.more["most stuck at once"] = max((one["stuck"] for one in looks), default=0)
        lost = sum(not one["live"] for one in looks)
        self.report.more["looks while the connection was lost"] = lost


def _cells(verdicts: list[Said]) -> dict[str, tuple[str, int, int]]:
    """What the board must show of a seat: state, tries and wrong tries of each exercise."""
    cells: dict[str, tuple[str, int, int]] = {}
    for one in verdicts:
        state, tries, wrong = cells.get(one.exercise, ("", 0, 0))
        latest = "passed" if state == "passed" else OUTCOMES[one.outcome]
        cells[one.exercise] = latest, tries + 1, wrong + (one.outcome == "wrong")
    return cells
