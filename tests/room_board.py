"""A class board in a process of its own, as `course class open` starts it, and seats in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient
from helpers.course.server import OwnServer
from helpers.room.classes import PURPOSE

LIMIT_S = patient(30.0)


@dataclass
class OpenBoard:
    """A board, which may be killed and opened again.

    Attributes:
        home: the folder that holds its server's data.
        page: the instructor's address, with the key.
        url: where seats join.
    """

    home: Path
    page: str = ""
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def open(self, *words: str) -> None:
        """Open the class, and wait until the board is there."""
        command = [sys.executable, "-m", "helpers.cli", "class", "open", *words]
        environment = os.environ | {"COURSE_HOME": str(self.home), "COLUMNS": "200"}
        log = self.home / "board.log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdout=file, stderr=file, text=True
            )
        deadline = time.monotonic() + LIMIT_S
        while "Ctrl-C ends" not in (said := log.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        found = re.search(r"(http://\S+)/\?key=\S+", said)
        assert found, said
        self.page, self.url = found[0], found[1]

    def kill(self) -> None:
        """End the board with kill -9; its server goes on."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the board and its server."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(LIMIT_S)
        OwnServer(self.home / "room", PURPOSE).stop()

    def client(self) -> httpx.Client:
        """Who asks it as a seat does."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=LIMIT_S)


@contextmanager
def board(home: Path, *words: str) -> Iterator[OpenBoard]:
    """A board of a new class on a free port."""
    one = OpenBoard(home)
    try:
        one.open("--port", "0", *words)
        yield one
    finally:
        one.close()


@dataclass
class HttpSeat:
    """A seat by the protocol alone."""

    name: str
    client: httpx.Client
    secret: str = ""
    sent: int = field(default=0)

    def join(self, code: str | None = None) -> None:
        """Take the seat."""
        reply = self.client.post("/join", json={"code": code, "as": self.name})
        assert reply.status_code == 201, reply.text
        self.secret = reply.json()["secret"]

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        """Hand over what checks said; it is on the board's disk then."""
        for first in range(0, len(events), 500):
            part = [
                {**one, "n": self.sent + place}
                for place, one in enumerate(events[first : first + 500], first + 1)
            ]
            reply = self.client.post(
                "/events",
                json={"events": part, "dropped": 0, "waiting": 0},
                headers={"Authorization": f"Bearer {self.secret}"},
            )
            assert reply.status_code == 200, reply.text
        self.sent += len(events)
