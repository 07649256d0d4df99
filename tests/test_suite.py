"""The run itself: nothing is left behind, the contract is complete, limits suit the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.course import pace
from helpers.course.home import CHECKOUT
from helpers.course.server.process import has_ended
from helpers.streams.producer import APPEND
from tests import calibration, leftovers, parts, suite
from tests.seen import Seen, package_scripts

pytestmark = pytest.mark.once

KILLED = """
import os, signal
from helpers import connect

def test_a_worker_that_is_ended_early():
    with connect() as client, open(os.environ["NOTE"], "w") as note:
        print(client.info("server")["process_id"], file=note)
    os.kill(os.getpid(), signal.SIGKILL)
"""


# ------------------------------------------------------------------ nothing is left behind


def test_of_a_worker_that_is_killed_no_server_and_no_folder_is_left(tmp_path):
    file, note, rooms = (tmp_path / name for name in ("test_killed.py", "note", "rooms"))
    file.write_text(KILLED)
    rooms.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment.pop(leftovers.VARIABLE, None)  # as if it was started by hand
    words = ["-m", "pytest", "-q", "-n1", "-p", "conftest", "-c", "pyproject.toml", str(file)]
    done = subprocess.run(
        [sys.executable, *words], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env=environment | {"TMPDIR": str(rooms), "NOTE": str(note)},
    )  # fmt: skip
    assert "crashed" in done.stdout
    assert has_ended(int(note.read_text()))
    assert list(rooms.iterdir()) == []


def test_the_folder_of_a_run_is_that_of_all_temporary_files():
    before = tempfile.gettempdir()
    with leftovers.run_folder() as folder:
        assert Path(tempfile.mkdtemp()).parent == folder
        assert os.environ["TMPDIR"] == os.environ[leftovers.VARIABLE] == str(folder)
    assert not folder.exists()
    assert tempfile.gettempdir() == before


# ------------------------------------------------------------------ the contract


def test_a_server_says_what_it_was_sent(redis):
    seen = Seen()
    redis.hstrlen("h", "f")
    redis.script_load(APPEND)
    seen.ask(redis, package_scripts())
    assert {"hstrlen", "script|load"} <= seen.commands
    assert "helpers.streams.producer.APPEND" in seen.scripts
    assert {"xadd", "xgroup|create"} <= seen.known


@pytest.fixture
def run(tmp_path):
    """Parts of a run: the first server was sent more than the contract sends the other one."""
    first = suite.Part("valkey", parts.TOGETHER, True, tmp_path / "first")
    contract = suite.Part("redis7", parts.CONTRACT, False, tmp_path / "contract")
    sent = Seen({"xadd", "xlen", "hexpire"}, {"a.ADD", "a.MOVE"}, {"xadd", "xlen", "hexpire"})
    for part, seen in (first, sent), (contract, Seen({"xadd"}, {"a.ADD"}, {"xadd", "xlen"})):
        part.folder.mkdir()
        (part.folder / "found.json").write_text('{"whole": true, "seconds": {}}')
        seen.write(part.folder / "seen-gw0.json")
    return first, contract


def test_what_the_contract_leaves_out_is_named_and_fails_the_run(run, capsys):
    assert not suite._compare(run)
    missing, excused = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"MISSING in the contract.*: a\.MOVE, xlen", missing)
    assert re.fullmatch(r"No such command.*: hexpire", excused)


def test_a_contract_that_leaves_nothing_out_passes(run):
    first, contract = run
    first.found.seen.write(contract.folder / "seen-gw1.json")
    assert suite._compare(run)


def test_a_run_of_some_tests_says_that_it_compares_nothing(run, capsys):
    (run[0].folder / "found.json").write_text('{"whole": false, "seconds": {}}')
    assert suite._compare(run)
    assert "not compared" in capsys.readouterr().out


@pytest.mark.parametrize("choice", [parts.MEASURING, parts.IN_CONTRACT], ids=["alone", "contract"])
def test_what_a_part_names_is_there(choice):
    for file, names in choice.items():
        source = (CHECKOUT / file).read_text()
        for name in names:
            assert re.search(rf"def {name}", source), (file, name)


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize(("said", "times"), [("2.5", 2.5), ("0.1", 1), ("-3", 1), ("much", 1)])
def test_limits_grow_and_never_shrink(monkeypatch, said, times):
    monkeypatch.setenv(pace.VARIABLE, said)
    assert pace.patient(10) == 10 * times


def test_no_machine_is_quicker_than_a_quiet_one(monkeypatch):
    monkeypatch.setattr(calibration, "QUIET_S", 1e6)
    assert calibration.slowness(1) == 1
    monkeypatch.setattr(calibration, "QUIET_S", 1e-4)
    assert calibration.slowness(1) > 10
