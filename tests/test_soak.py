"""A short soak of a group, and what holds of every soak; `make soak` runs the long ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from helpers.chaos import SpareServer
from helpers.course.pace import VARIABLE, patient
from tests.soaks import __main__ as command
from tests.soaks.groups import Groups, Plan
from tests.soaks.stage import Fault, run


@pytest.mark.early
def test_workers_that_are_killed_and_a_server_that_is_not_well_lose_and_repeat_nothing():
    report = run(Groups, Plan(seed=1, faults=30, entries=4000))
    assert not report.wrong, str(report)
    once = dict.fromkeys(("freeze", "demote", "fill up", "disconnect", "evict"), 1)
    assert report.struck == {"kill": 20, "pause": 3, "replace": 2} | once, str(report)


class Calm(Groups):
    """A soak whose entries are all fine: nothing waits for another try."""

    def __init__(self, plan: Plan, server: SpareServer) -> None:
        super().__init__(plan, server)
        self._fates = {}


class Beside(Calm):
    """A soak of which one kind of fault can never strike."""

    FAULTS = (
        Fault("miss", 2, ("worker",), Groups.kill, lambda *_: False),
        Fault("kill", 2, ("another",), Groups.kill, Groups.killed),
    )


@pytest.mark.once
def test_a_fault_that_cannot_strike_is_named_and_the_other_soaks_run(monkeypatch, capsys, request):
    monkeypatch.setenv("COURSE_SERVER", os.environ["COURSE_SERVER"])  # the command changes it
    monkeypatch.setenv(VARIABLE, os.environ.get(VARIABLE, "1"))
    monkeypatch.setattr(command, "SOAKS", {"beside": Beside, "calm": Calm})
    words = ["--faults", "4", "--entries", "500", "--limit-s", "5"]
    assert command.main([*words, "--server", request.config.getoption("--server")]) == 1
    beside, calm = capsys.readouterr().out.split("\ncalm, ")
    assert "miss could not strike in 5 s" in beside
    assert "2 of 4 faults struck (kill 2): 0 lost, 0 twice, 0 stuck" in beside
    assert "everything is exact" in calm
    assert "4 of 4 faults struck" in calm


@pytest.fixture
def room():
    """A folder for temporary files: in `tmp_path` a server's socket would have too long a name."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.once
@pytest.mark.parametrize(
    ("soak", "number"),
    [("groups", signal.SIGINT), ("averages", signal.SIGTERM), ("wiki", signal.SIGKILL)],
)
def test_an_interrupted_soak_leaves_nothing_behind(soak, number, room):
    command = psutil.Popen(
        [sys.executable, "-m", "tests.soaks", soak, "--entries", "9000"],
        env=os.environ | {"TMPDIR": str(room)},
        stdout=subprocess.PIPE,
    )
    with command:
        deadline = time.monotonic() + patient(60)
        begun: list[psutil.Process] = []
        while len(begun) < 7 and command.is_running() and time.monotonic() < deadline:
            begun = command.children(recursive=True)
            time.sleep(0.05)
        command.send_signal(number)
        assert command.wait(patient(60)) == (-number if number == signal.SIGKILL else 128 + number)
    assert len(begun) >= 7, "it did not begin"
    assert not psutil.wait_procs(begun, timeout=patient(5))[1]
    assert not list(room.iterdir())
