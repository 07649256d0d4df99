"""Functions in forks of one Python: as much on their own as in a Python of their own."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import cast

import psutil
import pytest

from helpers.chaos import CLIENT, Failure, Outcome, Returned, Running, warm
from helpers.course.server.process import has_ended
from tests.test_chaos_process import add, doze, fail, parent
from tests.waiting import LIMIT_S, until


def forked(function, *arguments, **how):
    return Running(function, *arguments, name="fork", forked=True, **how)


def forker_of(fork):
    return psutil.Process(fork.pid).parent()


def test_a_fork_is_a_process_like_any_other(redis):
    with forked(add, CLIENT, "count", 5) as one, forked(doze) as other:
        assert one.outcome(LIMIT_S) == Returned(5)
        assert one.wait(LIMIT_S)
        assert (one.exit_code, one.output()) == (0, "adding 5\n")
        other.pause()
        assert other.paused
        other.resume()
        assert other.alive
        assert not other.wait(0.05)
        assert not other.paused
    assert other.exit_code == -signal.SIGKILL
    assert has_ended(other.pid)
    with forked(fail) as failed:
        assert isinstance(failed.outcome(LIMIT_S), Failure)
        assert failed.wait(LIMIT_S)
        assert failed.exit_code == 1
        assert "this was meant" in failed.output()


@pytest.mark.early
@pytest.mark.once
def test_forks_have_the_surroundings_of_the_moment(tmp_path, monkeypatch):
    def around():
        zone = time.localtime(0).tm_gmtoff
        name = importlib.import_module("known_only_here").__name__
        return os.getcwd(), os.environ.get("CITY"), zone, name, os.getpgid(0)

    (tmp_path / "known_only_here.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for city, zone in (("chennai", "IST-5:30"), ("lisbon", "UTC0")):
        (tmp_path / city).mkdir()
        monkeypatch.chdir(tmp_path / city)
        monkeypatch.setenv("CITY", city)
        monkeypatch.setenv("TZ", zone)
        with forked(around) as one:
            outcome = one.outcome(LIMIT_S)
            assert isinstance(outcome, Returned), one.output()
            seen.append(outcome.value)
    assert seen[0][:4] == (str(tmp_path / "chennai"), "chennai", 19800, "known_only_here")
    assert seen[1][:4] == (str(tmp_path / "lisbon"), "lisbon", 0, "known_only_here")
    assert len({one[4] for one in seen} | {os.getpgid(0)}) == 3  # a process group each


@pytest.mark.once
def test_a_forker_that_was_killed_is_started_anew_and_its_forks_end():
    with forked(doze) as one:
        assert one.begun()
        old = forker_of(one)
        assert forker_of(one) == old
        old.kill()
        old.wait(LIMIT_S)
        with forked(doze) as other:
            assert other.begun()
            assert forker_of(other) != old
        assert not one.alive
        assert until(lambda: has_ended(one.pid))


@pytest.mark.once
def test_a_forker_imports_beforehand_what_there_is_of_its_preload(tmp_path, monkeypatch):
    def there():
        return "only_here_beforehand" in sys.modules

    (tmp_path / "only_here_beforehand.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with forked(there) as one:
        assert one.outcome(LIMIT_S) == Returned(False)
        forker_of(one).kill()
    monkeypatch.setattr(warm, "_preload", [])
    warm.preload("no_such_module", "only_here_beforehand")
    with forked(there) as one:
        assert one.outcome(LIMIT_S) == Returned(True)
        forker_of(one).kill()  # the next one is as before


@pytest.mark.once
def test_ctrl_c_while_a_fork_begins_spoils_nothing(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "recv", interrupted)  # the order is given, the answer not heard
        with pytest.raises(KeyboardInterrupt):
            forked(doze)
    with forked(os.getpid) as one:
        assert one.outcome(LIMIT_S) == Returned(one.pid)


@pytest.mark.once
def test_what_a_fork_has_started_ends_with_it(tmp_path):
    told = tmp_path / "pid"

    def lead():
        child = subprocess.Popen(["sleep", "600"])
        told.write_text(f"{child.pid} ")
        time.sleep(600)

    with forked(lead):
        assert until(lambda: told.exists() and told.read_text().endswith(" "))
        child = int(told.read_text())
        assert not has_ended(child)
    assert until(lambda: has_ended(child))


@pytest.mark.once
def test_forks_may_begin_in_several_threads_at_once():
    outcomes: list[Outcome] = []

    def ask(number):
        with forked(pow, number, 2) as one:
            outcomes.append(one.outcome(LIMIT_S))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(cast("Returned", one).value for one in outcomes) == [n * n for n in range(8)]


@pytest.mark.once
def test_of_many_forks_nothing_is_left_open_but_the_way_to_the_forker():
    def some():
        for _ in range(20):
            with forked(pow, 2, 2) as one:
                one.outcome(LIMIT_S)

    some()
    before = psutil.Process().num_fds()
    with forked(doze) as one:
        forker = forker_of(one)
    fds = forker.num_fds()
    some()
    gc.collect()
    assert psutil.Process().num_fds() <= before
    assert forker.num_fds() == fds
    assert forker.children() == []


PARENT = """
import os, sys, time, psutil
from helpers.chaos import Running

def doze():
    time.sleep(600)

running, paused = (Running(doze, name="fork", forked=True) for _ in range(2))
running.begun(), paused.begun()
paused.pause()
print(running.pid, paused.pid, psutil.Process(running.pid).ppid(), flush=True)
if sys.argv[1] == "exit":
    sys.exit()
if sys.argv[1] == "forked":  # a copy of the parent ends nothing, and keeps nothing alive
    told, tell = os.pipe()
    if not os.fork():
        with Running(os.getpid, name="its own", forked=True) as own:
            own.outcome(15)
        print(os.getpid(), flush=True)
        os.write(tell, b".")
        time.sleep(600)
    os.read(told, 1)
    print(running.alive and paused.alive, flush=True)
time.sleep(600)
"""


@pytest.mark.once
@pytest.mark.parametrize("ending", ["exit", "killed", "group killed", "forked"])
def test_no_fork_outlives_the_parent_however_that_ends(ending):
    with parent(ending, PARENT) as killer:
        assert killer.stdout
        pids = [int(word) for word in killer.stdout.readline().split()]
        assert len(pids) == 3
        copy = 0
        if ending == "forked":
            copy = int(killer.stdout.readline())
            assert killer.stdout.readline() == "True\n"
        if ending == "group killed":  # as Jupyter ends a kernel
            os.killpg(killer.pid, signal.SIGKILL)
        elif ending != "exit":
            killer.kill()
        killer.wait(LIMIT_S)
        try:
            for pid in pids:
                assert until(lambda pid=pid: has_ended(pid)), pid
            assert not copy or not has_ended(copy)
        finally:
            if copy:
                os.kill(copy, signal.SIGKILL)
