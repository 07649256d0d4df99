"""Processes that are killed, paused and revived; none outlives the process that started it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from helpers import connect
from helpers.chaos import (
    CLIENT,
    CannotTravel,
    Crew,
    Failure,
    Process,
    Returned,
    Running,
    Unfinished,
    process,
    start,
)
from helpers.course.errors import CourseError
from helpers.course.server.process import has_ended
from tests.waiting import LIMIT_S, until

SLEEP = ["sleep", "600"]
PYTHON = [sys.executable, "-c"]


def says(process, text):
    return until(lambda: text in process.output())


def program(source):
    """A Python program that says `ready` first, when its own handlers stand."""
    return [*PYTHON, source]


# ------------------------------------------------------------------ a program


@pytest.mark.once
def test_a_program_runs_is_known_by_its_name_and_can_be_killed():
    with start(SLEEP, name="bob") as bob:
        assert bob.alive
        assert not bob.paused
        assert bob.exit_code is None
        assert repr(bob) == f"bob: running, process {bob.pid}"
        bob.kill()
        assert not bob.alive
        assert bob.exit_code == -signal.SIGKILL
        assert has_ended(bob.pid)
        assert repr(bob) == f"bob: ended by SIGKILL, process {bob.pid}"


@pytest.mark.once
def test_without_a_name_a_program_has_its_own():
    with start(["/bin/sleep"], 600) as one, start(print) as other:
        assert (one.name, other.name) == ("sleep", "print")


@pytest.mark.once
def test_one_that_has_ended_by_itself_says_how():
    with start(["sh", "-c", "echo bye; exit 3"], name="bob") as bob:
        assert bob.wait(LIMIT_S)
        assert bob.exit_code == 3
        assert repr(bob) == f"bob: ended with exit code 3, process {bob.pid}"
        assert bob.output() == "bye\n"


@pytest.mark.once
def test_nothing_raises_because_it_has_ended_already():
    with start(["true"]) as bob:
        assert bob.wait(LIMIT_S)
        for _ in range(2):
            bob.pause()
            bob.resume()
            bob.kill()
            assert bob.stop()
            assert bob.wait(0)
            assert not bob.paused
        assert bob.exit_code == 0


@pytest.mark.once
def test_waiting_for_one_that_goes_on_says_no():
    with start(SLEEP) as bob:
        assert not bob.wait(0.05)


@pytest.mark.once
def test_its_end_is_noticed_by_whoever_looks_first():
    with start(["true"]) as bob:
        assert until(lambda: not bob.alive)
        assert bob.wait(0)


@pytest.mark.once
def test_the_end_of_the_block_is_its_end_also_while_it_is_paused():
    with start(SLEEP) as one, start(SLEEP) as other:
        other.pause()
    assert has_ended(one.pid)
    assert has_ended(other.pid)


@pytest.mark.once
def test_what_it_left_behind_ends_with_it():
    with start(["sh", "-c", "sleep 600 & echo $!; wait"]) as bob:
        assert says(bob, "\n")
        child = int(bob.output())
        assert not has_ended(child)
        bob.kill()
    assert until(lambda: has_ended(child))


# ------------------------------------------------------------------ pausing


@pytest.mark.once
def test_a_paused_one_stands_still_until_it_is_resumed():
    counting = "import time\nwhile True: print('tick'); time.sleep(0.001)"
    with start(program(counting), name="bob") as bob:
        assert says(bob, "tick")
        bob.pause()
        assert bob.paused
        assert bob.alive
        assert repr(bob) == f"bob: paused, process {bob.pid}"
        said = bob.output()
        time.sleep(0.1)
        assert bob.output() == said
        bob.resume()
        assert not bob.paused
        assert until(lambda: len(bob.output()) > len(said))


@pytest.mark.once
def test_a_paused_one_can_be_killed():
    with start(SLEEP) as bob:
        bob.pause()
        bob.kill()
        assert bob.exit_code == -signal.SIGKILL


# ------------------------------------------------------------------ stopping

POLITE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n"
    "print('ready')\n"
    "while True: time.sleep(0.01)"
)
DEAF = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: print('not now'))\n"
    "print('ready')\n"
    "while True: time.sleep(0.01)"
)


@pytest.mark.once
@pytest.mark.parametrize("paused", [False, True])
def test_one_that_is_asked_to_end_may_say_goodbye(paused):
    with start(program(POLITE)) as bob:
        assert says(bob, "ready")
        if paused:
            bob.pause()
        assert bob.stop()
        assert bob.exit_code == 0
        assert "bye" in bob.output()


@pytest.mark.once
@pytest.mark.parametrize("paused", [False, True])
def test_one_that_does_not_listen_is_killed_and_stop_says_so(paused):
    with start(program(DEAF)) as bob:
        assert says(bob, "ready")
        if paused:
            bob.pause()
        assert not bob.stop(limit_s=0.2)
        assert bob.exit_code == -signal.SIGKILL
        assert "not now" in bob.output()


@pytest.mark.once
def test_a_program_without_a_handler_ends_by_sigterm():
    with start(SLEEP) as bob:
        assert bob.stop()
        assert bob.exit_code == -signal.SIGTERM


# ------------------------------------------------------------------ signals


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGPIPE])
def test_a_signal_that_we_ignore_still_ends_what_we_start(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with start(["sh", "-c", "echo ready; exec sleep 600"]) as bob:
            assert says(bob, "ready")
            os.kill(bob.pid, number)
            assert bob.wait(LIMIT_S)
            assert bob.exit_code == -number
    finally:
        signal.signal(number, before)


@pytest.mark.once
def test_a_function_hears_ctrl_c_even_if_we_ignore_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with start(doze) as bob:
            assert bob.begun()
            os.kill(bob.pid, signal.SIGINT)
            outcome = bob.outcome(LIMIT_S)
            assert isinstance(outcome, Failure)
            assert outcome.kind == "KeyboardInterrupt"
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.once
def test_ctrl_c_in_the_parents_terminal_does_not_reach_it():
    with start(SLEEP) as bob:
        assert os.getpgid(bob.pid) != os.getpgrp()
        assert os.getsid(bob.pid) == os.getsid(0)


# ------------------------------------------------------------------ what it prints


@pytest.mark.once
def test_what_it_prints_is_there_at_once_on_both_streams():
    source = "import sys, time; print('one'); print('two', file=sys.stderr); time.sleep(600)"
    with start(program(source)) as bob:
        assert says(bob, "two")
        assert bob.output() == "one\ntwo\n"
        bob.kill()
        assert bob.output() == "one\ntwo\n"


@pytest.mark.once
def test_news_are_the_whole_lines_since_it_was_last_asked(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with start(["sh", "-c", f'printf "one\\ntw"; read _ <{gate}; printf "o\\nthree"']) as bob:
        assert says(bob, "tw")
        assert bob.news() == ["one"]
        assert bob.news() == []
        gate.write_text("\n")
        assert bob.wait(LIMIT_S)
        assert bob.news() == ["two", "three"]
        assert bob.news() == []
        assert bob.output() == "one\ntwo\nthree"


@pytest.mark.once
def test_of_much_output_the_end_is_kept():
    source = "print('a' * 3_000_000); print('the end')"
    with start(program(source)) as bob:
        assert bob.wait(LIMIT_S)
        assert len(bob.output()) == process.KEPT_BYTES
        assert bob.news()[-1] == "the end"
        assert bob.output().endswith("a\nthe end\n")


@pytest.mark.once
def test_output_may_go_to_the_end_of_a_file(tmp_path):
    file = tmp_path / "bob.log"
    file.write_text("before\n")
    for word in ("one", "two"):
        with start(["echo", word], output=file) as bob:
            assert bob.wait(LIMIT_S)
            assert bob.output() == f"{word}\n"
    assert file.read_text() == "before\none\ntwo\n"


@pytest.mark.once
def test_bytes_that_are_no_text_are_no_obstacle():
    with start(["printf", r"a\377b"]) as bob:
        assert bob.wait(LIMIT_S)
        assert bob.output() == "a\N{REPLACEMENT CHARACTER}b"


# ------------------------------------------------------------------ mistakes


@pytest.mark.once
def test_a_program_that_does_not_exist_is_one_sentence():
    with pytest.raises(CourseError, match="no program 'no-such-program'"):
        start(["no-such-program"])


@pytest.mark.once
@pytest.mark.parametrize("program", ["sleep 600", []])
def test_a_command_line_has_to_be_a_list_of_words(program):
    with pytest.raises(CourseError, match="as a list"):
        start(program)


@pytest.mark.once
def test_a_function_that_cannot_travel_is_one_sentence():
    lock = threading.Lock()
    with pytest.raises(CannotTravel, match="cannot leave this process") as caught:
        start(lambda: lock)
    assert isinstance(caught.value, CourseError)
    assert "lock" in caught.value.reason


@pytest.mark.once
def test_nothing_is_left_open():
    def everything():
        with start(doze) as one, start(SLEEP) as other:
            one.begun()
            other.output()
        with pytest.raises(CourseError):
            start(["no-such-program"])
        with start(["true"]) as bob:
            bob.wait()
        gc.collect()

    everything()
    running = set(process._running)  # a forker that an earlier test has needed
    before = psutil.Process().num_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything()
    assert psutil.Process().num_fds() == before
    assert process._running == running


# ------------------------------------------------------------------ functions


def doze():
    time.sleep(600)


def add(redis, key, amount):
    print("adding", amount)
    return redis.incrby(key, amount)


async def add_async(redis, key, amount):
    return await redis.incrby(key, amount)


def fail():
    raise ValueError("this was meant")


def test_a_function_is_called_with_a_client_and_tells_what_it_returned(redis):
    with start(add, CLIENT, "n", 3) as sync, start(add_async, CLIENT, "n", 4) as other:
        assert isinstance(sync, Running)
        outcomes = sync.outcome(LIMIT_S), other.outcome(LIMIT_S)
        assert all(isinstance(outcome, Returned) for outcome in outcomes)
        assert sync.wait(LIMIT_S)
        assert sync.exit_code == 0
        assert sync.output() == "adding 3\n"
    assert redis.get("n") == "7"


@pytest.mark.once
def test_a_function_that_raises_tells_what_and_where_and_exits_with_1():
    with start(fail) as bob:
        outcome = bob.outcome(LIMIT_S)
        assert isinstance(outcome, Failure)
        assert str(outcome).startswith("ValueError: this was meant in line")
        assert bob.wait(LIMIT_S)
        assert bob.exit_code == 1
        assert "ValueError: this was meant" in bob.output()


@pytest.mark.once
def test_a_killed_function_has_no_outcome_and_a_returned_one_keeps_its_own():
    with start(doze) as killed, start(len, "abc") as returned:
        assert killed.begun()
        assert killed.outcome(0.05) == Unfinished()
        killed.kill()
        assert killed.outcome(LIMIT_S) == Unfinished(ended=True)
        assert returned.wait(LIMIT_S)
        assert not returned.alive
        assert returned.outcome(LIMIT_S) == Returned(3)
        assert returned.outcome(LIMIT_S) == Returned(3)


@pytest.mark.once
def test_a_function_that_never_began_says_so():
    with start(doze) as bob:
        bob.kill()
        assert not bob.begun()


@pytest.mark.once
def test_a_function_may_bring_and_return_much():
    with start(sorted, list(range(300_000))) as bob:
        assert bob.outcome(LIMIT_S) == Returned(list(range(300_000)))


@pytest.mark.once
def test_a_function_in_another_thread_can_be_watched_from_this_one():
    with start(doze) as bob:
        outcomes: list[object] = []
        waiting = threading.Thread(target=lambda: outcomes.append(bob.outcome(LIMIT_S)))
        waiting.start()
        assert bob.begun()
        bob.kill()
        waiting.join()
        assert outcomes == [Unfinished(ended=True)]


@pytest.mark.once
def test_it_leads_to_the_server_that_is_named():
    nowhere = "redis://127.0.0.1:1/0"
    with start(os.getenv, "REDIS_URL", url=nowhere) as bob, start(add, CLIENT, url=nowhere) as eve:
        assert bob.outcome(LIMIT_S) == Returned(nowhere)
        outcome = eve.outcome(LIMIT_S)
        assert isinstance(outcome, Failure)
        assert outcome.kind == "ServerError"


# ------------------------------------------------------------------ a crew


def test_a_crew_is_known_by_name(redis):
    with Crew() as crew:
        alice = crew.start("alice", add, CLIENT, "n", 1)
        crew.start("bob", SLEEP)
        assert list(crew) == ["alice", "bob"]
        assert len(crew) == 2
        assert "carol" not in crew
        assert crew["alice"] is alice
        assert isinstance(alice, Running)
        assert alice.outcome(LIMIT_S) == Returned(1)
        alice.wait(LIMIT_S)
        assert [repr(one) for one in crew.values()] == repr(crew).splitlines()


@pytest.mark.once
def test_a_living_name_is_refused_and_a_dead_one_replaced():
    with Crew() as crew:
        crew.start("bob", SLEEP)
        with pytest.raises(CourseError, match="bob is at work already"):
            crew.start("bob", SLEEP)
        with pytest.raises(CourseError, match="bob is at work already"):
            crew.revive("bob")
        crew["bob"].kill()
        other = crew.start("bob", ["sleep", "601"])
        assert crew["bob"] is other
        assert other.alive


def test_a_revived_one_starts_with_what_it_was_started_with(redis):
    with Crew() as crew:
        crew.start("alice", add, CLIENT, "n", 5)
        for total in (5, 10):
            alice = crew["alice"]
            assert isinstance(alice, Running)
            assert alice.outcome(LIMIT_S) == Returned(total)
            alice.wait(LIMIT_S)
            assert alice.name == "alice"
            crew.revive("alice")


@pytest.mark.once
def test_nobody_is_revived_or_asked_who_never_was():
    crew = Crew()
    assert repr(crew) == "an empty crew"
    with pytest.raises(CourseError, match="No process named 'carol'"):
        crew["carol"]
    with pytest.raises(CourseError) as caught:
        crew.revive("carol")
    assert str(caught.value) == "No process named 'carol' was started; there is no process yet."


@pytest.mark.once
def test_the_end_of_the_block_ends_all_that_are_left():
    with Crew() as crew:
        for name in ("alice", "bob", "carol"):
            crew.start(name, SLEEP)
        crew["alice"].pause()
        crew["bob"].kill()
    assert [one.exit_code for one in crew.values()] == [-signal.SIGKILL] * 3


@pytest.mark.once
def test_a_crew_is_asked_together_and_the_deaf_are_killed():
    with Crew() as crew:
        for name in ("alice", "bob"):
            crew.start(name, program(POLITE))
        for one in crew.values():
            assert says(one, "ready")
        crew["bob"].pause()
        assert crew.stop()
        assert [one.exit_code for one in crew.values()] == [0, 0]
        carol = crew.start("carol", program(DEAF))
        assert says(carol, "ready")
        assert not crew.stop(limit_s=0.2)
        assert carol.exit_code == -signal.SIGKILL


# ------------------------------------------------------------------ nothing outlives its parent

PARENT = """
import os, signal, sys, time
from helpers.chaos import start

def doze():
    time.sleep(600)

ending = sys.argv[1]
running, paused = start(doze), start(["sh", "-c", "sleep 600 & echo $!; wait"])
deaf = start([sys.executable, "-c", {deaf!r}])
running.begun()
while not (paused.output() and deaf.output()):
    time.sleep(0.01)
paused.pause()
print(running.pid, paused.pid, paused.output().strip(), deaf.pid, flush=True)
if ending == "exit":
    sys.exit()
if ending == "error":
    raise SystemExit("an error")
if ending == "fork":  # a copy of the parent that ends as Python does must end nothing
    if os.fork():
        os.wait()
        print(running.alive and paused.alive and deaf.alive, flush=True)
    else:
        sys.exit()
if ending == "forked":  # and a copy that lives on must not keep them alive
    if not os.fork():
        print(os.getpid(), flush=True)
        time.sleep(600)
time.sleep(600)
"""


def parent(ending, source):
    """A process that starts others, and ends in a way that is told to it."""
    return subprocess.Popen(
        [sys.executable, "-c", source, ending],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.once
@pytest.mark.parametrize("ending", ["exit", "error", "killed", "group killed", "terminated"])
def test_nothing_outlives_its_parent_however_that_ends(ending):
    with parent(ending, PARENT.format(deaf=DEAF)) as killer:
        assert killer.stdout
        pids = [int(word) for word in killer.stdout.readline().split()]
        assert len(pids) == 4
        if ending == "killed":
            killer.kill()
        elif ending == "terminated":
            killer.terminate()
        elif ending == "group killed":  # as Jupyter ends a kernel
            os.killpg(killer.pid, signal.SIGKILL)
        killer.wait(LIMIT_S)
        for pid in pids:
            assert until(lambda pid=pid: has_ended(pid)), pid


@pytest.mark.once
def test_a_fork_of_the_parent_ends_nothing_at_its_own_end():
    with parent("fork", PARENT.format(deaf=DEAF)) as killer:
        assert killer.stdout
        assert len(killer.stdout.readline().split()) == 4
        assert killer.stdout.readline() == "True\n"
        killer.kill()


@pytest.mark.once
def test_a_fork_of_the_parent_that_lives_on_keeps_nothing_alive():
    with parent("forked", PARENT.format(deaf=DEAF)) as killer:
        assert killer.stdout
        pids = [int(word) for word in killer.stdout.readline().split()]
        fork = int(killer.stdout.readline())
        killer.kill()
        killer.wait()
        try:
            for pid in pids:
                assert until(lambda pid=pid: has_ended(pid)), pid
            assert not has_ended(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.once
def test_a_kernels_stop_button_leaves_them_alone_and_its_restart_ends_them():
    manager, client = start_new_kernel()
    try:
        shown: list[str] = []

        def run(code):
            client.execute_interactive(
                code,
                timeout=LIMIT_S,
                output_hook=lambda message: shown.append(message["content"].get("text", "")),
            )
            return shown.pop(-2).strip()  # after it comes the status

        code = "from helpers.chaos import Crew; crew = Crew()\n"
        code += "for name in 'ab': crew.start(name, ['sleep', '600'])\n"
        code += "crew['b'].pause(); print(*(one.pid for one in crew.values()))"
        pids = [int(word) for word in run(code).split()]
        waiting = client.execute("import time; print('begun'); time.sleep(600)")
        while client.get_iopub_msg(timeout=LIMIT_S)["content"].get("text") != "begun\n":
            pass
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=LIMIT_S)["parent_header"]["msg_id"] == waiting
        while client.get_iopub_msg(timeout=LIMIT_S)["content"].get("execution_state") != "idle":
            pass
        assert run("print([one.alive for one in crew.values()])") == "[True, True]"
        manager.restart_kernel(now=True)
        for pid in pids:
            assert until(lambda pid=pid: has_ended(pid)), pid
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_function_that_starts_processes_takes_them_along(redis):
    def lead(key):
        with connect() as client, start(["sleep", "600"]) as child:
            client.set(key, child.pid)
            time.sleep(600)

    with start(lead, "pid") as leader:
        assert until(lambda: redis.exists("pid"))
        child = int(redis.get("pid") or 0)
        assert not has_ended(child)
        leader.kill()
    assert until(lambda: has_ended(child))


@pytest.mark.once
def test_a_hundred_come_and_go():
    for _ in range(5):
        crew: list[Process] = [start(["sleep", "600"]) for _ in range(20)]
        for one in crew[::2]:
            one.pause()
        for one in crew:
            one.kill()
        assert all(has_ended(one.pid) for one in crew)
