"""The `course` command, as a learner types it, from any folder.

What a command says, it says in this process, which takes no time; what is about processes,
signals, pipes and encodings is typed: in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import redis as redis_py

from helpers import Producer, cli
from helpers.checks import progress
from helpers.course.database import claim
from helpers.course.keys import MARK
from helpers.course.pace import patient
from helpers.course.server import OwnServer, find_server
from helpers.course.server.identity import probe
from helpers.streams import entry

pytestmark = pytest.mark.once

COURSE = [sys.executable, "-m", "course_entry"]  # as the script `course` does
INTERRUPTED = 130
NOBODY = "redis://:secret@127.0.0.1:1/0"  # no server listens on port 1

# ------------------------------------------------------------------ small tools


def environment(**variables: str) -> dict[str, str]:
    """This run's environment without what would colour or unbuffer the output."""
    unwanted = {"PYTHONUNBUFFERED", "GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"COLUMNS": "200"} | variables


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def course(*arguments: str, answer: str = "", **variables: str) -> Done:
    """Run a command to its end, in this process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment(**variables), clear=True))
        stack.enter_context(patch.object(sys, "argv", ["course", *arguments]))
        stack.enter_context(patch.object(sys, "stdin", io.StringIO(answer)))
        stack.enter_context(contextlib.chdir("/"))
        output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        errors = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        code = stack.enter_context(pytest.raises(SystemExit))
        cli.main()
    return Done(int(code.value.code or 0), output.getvalue(), errors.getvalue())


def typed(*arguments: str, answer: str = "", **variables: str) -> Done:
    """Run a command to its end, in a process of its own. None may ever show a traceback."""
    done = subprocess.run(
        [*COURSE, *arguments], cwd="/", env=environment(**variables), input=answer,
        capture_output=True, text=True, timeout=patient(60), check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def told(*arguments: str, **variables: str) -> str:
    """What a command that succeeds prints."""
    done = course(*arguments, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: str, code: int = 1, **variables: str) -> str:
    """The one sentence that a command that fails prints."""
    done = course(*arguments, **variables)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@contextlib.contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs while the test does something else."""
    with subprocess.Popen(
        [*COURSE, *arguments], cwd="/", env=environment(**variables), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], object]) -> None:
    """Wait until something has come about; pytest's time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.01)


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a command that Ctrl-C ends, and the rest of what it prints."""
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=patient(60))
    assert errors == ""
    return process.returncode, output


def fill(redis: redis_py.Redis, stream: str, *numbers: int) -> None:
    for number in numbers:
        redis.xadd(stream, {"n": number}, id=f"{number}-0")


@pytest.fixture
def shared(redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis_py.Redis]:
    """A database that REDIS_URL names and the course has taken."""
    url = find_server().url.removesuffix("/0") + "/4"
    with probe(url) as client:
        assert client.dbsize() == 0
        monkeypatch.setenv("REDIS_URL", url)
        claim(url)
        yield client
        for key in client.scan_iter():
            client.delete(key)


# ------------------------------------------------------------------ in general


def test_the_command_alone_explains_itself():
    done = typed()
    for name in ("lab", "doctor", "server", "reset", "produce", "tail"):
        assert re.search(rf"│ {name} +[A-Z]", done.stdout)


@pytest.mark.parametrize(
    "command",
    [["lab", "--no-browser"], ["reset", "--yes"], ["produce", "chennai"], ["tail", "chennai"]],
    ids=lambda command: command[0],
)
def test_a_server_that_does_not_answer_is_told_in_one_sentence(command):
    run = typed if command[0] == "lab" else course  # which would go on as JupyterLab
    done = run(*command, REDIS_URL=NOBODY)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(
        r"^ServerError: No server answers at redis://\*\*\*@.*Correct REDIS_URL.*\n$", done.stderr
    )


def test_a_file_of_the_course_that_cannot_be_used_is_told(home):
    file = OwnServer(home).folder / "server.lock"
    file.mkdir(parents=True)
    assert str(file.parent) in refused("server", "start")
    file.rmdir()


@pytest.mark.parametrize(
    "options",
    [
        "produce s --count 0",
        "produce s --rate fast",
        "tail",
        "server restart",
        "brew",
    ],
)
def test_wrong_options_are_told(options):
    done = course(*options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"Error ─+╮\n│ (Invalid value|Missing argument|No such)", done.stderr)


# ------------------------------------------------------------------ doctor


def test_the_doctor_says_which_server_answers_and_why(redis):
    server = find_server()
    report = told("doctor")
    for fact in (
        f"{server.product} {server.version}, {server.source}",
        server.why,
        server.safe_url,
    ):
        assert fact in report
    assert report.endswith("✓ All is well.\n")


def test_the_doctor_reports_to_programs(redis):
    server = find_server()
    report = json.loads(told("doctor", "--json"))
    assert report["ok"] is True
    assert report["server"] == {
        "product": server.product,
        "version": server.version,
        "source": "path",
        "url": server.safe_url,
        "why": "COURSE_SERVER names it",
    }
    assert report["python"] == platform.python_version()
    assert report["redis_py"] == redis_py.__version__


def test_the_doctor_keeps_the_password_to_itself(redis):
    password = urlsplit(find_server().url).password
    assert password
    assert password not in told("doctor") + told("doctor", "--json")


def test_the_doctor_says_what_is_amiss():
    done = course("doctor", REDIS_URL=NOBODY)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"\n✗ No server answers at redis://\*\*\*@127.0.0.1:1/0 .*\n$", done.stdout)

    done = course("doctor", "--json", REDIS_URL="redis:/secret")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["server"]) == (1, False, None)
    (problem,) = report["problems"]
    assert problem.startswith("REDIS_URL isn't the address of a Redis server")
    assert "secret" not in done.stdout


def test_the_doctor_finds_a_database_with_keys_of_somebody_else(shared):
    shared.delete(MARK)
    shared.set("theirs", "1")
    done = course("doctor")
    assert done.returncode == 1
    assert "✗ Database 4 of" in done.stdout
    assert shared.keys() == ["theirs"]


def test_the_doctor_needs_no_special_characters():
    assert typed("doctor", PYTHONIOENCODING="ascii").stdout.endswith("? All is well.\n")


# ------------------------------------------------------------------ server


def test_the_server_is_started_shown_and_stopped(home):
    own = OwnServer(home)
    missing = course("server", "status")
    assert (missing.returncode, missing.stderr) == (1, "")
    assert "isn't running; `course server start` starts it" in missing.stdout

    started = typed("server", "start")  # and goes on when the command has ended
    assert (started.returncode, started.stderr) == (0, "")
    assert " answers at redis://***@127.0.0.1:" in started.stdout
    running = own.running()
    assert running
    assert f"Its process is {running.pid}, its data is in {own.data}." in told("server", "status")
    told("server", "start")
    assert own.running() == running

    assert told("server", "stop") == f"Stopped the server (process {running.pid}).\n"
    assert own.running() is None
    assert told("server", "stop") == "No server was running.\n"


def test_the_servers_address_is_for_other_tools(redis):
    redis.set("course:n", "1")
    url = told("server", "url").strip()
    assert url == find_server().url
    assert url.startswith("redis://default:")  # redis-cli 7.0 wants a user before the password
    if tool := shutil.which("redis-cli"):
        words = [tool, "-u", url, "GET", "course:n"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"


def test_the_server_listens_on_the_port_asked_for_or_says_why_not(home):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"Port {port} is taken" in refused("server", "start", "--port", str(port))
    assert f"127.0.0.1:{port}/0" in told("server", "start", "--port", str(port))
    assert f"already runs on port {port}" in refused("server", "start", "--port", str(port - 1))


# ------------------------------------------------------------------ reset


def test_reset_asks_first(redis):
    fill(redis, "chennai", 1)
    for answer in ("", "n\n"):
        done = course("reset", answer=answer)
        assert done.returncode == 1
        assert done.stdout.startswith("Delete every key of the course at redis://***@")
        assert redis.exists("chennai")
    done = typed("reset", answer="y\n")
    assert done.returncode == 0
    assert done.stdout.endswith("Deleted 1 key.\n")
    assert redis.keys() == [MARK]


def test_reset_does_not_ask_when_told_so(redis):
    fill(redis, "chennai", 1)
    fill(redis, "coimbatore", 1)
    assert told("reset", "--yes") == "Deleted 2 keys.\n"


def test_reset_forgets_the_labs_only_when_told_so(redis):
    progress.mark_done("01", 3)
    told("reset", "--yes")
    assert progress.done("01") == {3}
    assert told("reset", "--yes", "--labs").endswith("All exercises are open again.\n")
    assert progress.done("01") == set()


@pytest.mark.parametrize("marked", [True, False])
def test_reset_deletes_nothing_beside_keys_of_somebody_else(shared, marked):
    shared.set("theirs", "1")
    fill(shared, "chennai", 1)
    if not marked:
        shared.delete(MARK)
    assert refused("reset", "--yes").startswith("ForeignDatabaseError: ")
    assert {"theirs", "chennai"} <= set(shared.keys())


# ------------------------------------------------------------------ produce


def test_produce_adds_readings(redis):
    report = told("produce", "chennai", "--count", "1500", "--rate", "100000")
    found = entry.entries(redis.xrange("chennai"))
    assert report == f"Added 1,500 readings to chennai, {found[0].id} to {found[-1].id}.\n"
    assert len(found) == 1500
    assert found[0].fields.keys() == {"temperature", "humidity"}
    assert set(redis.keys()) == {"chennai", MARK}
    assert told("produce", "chennai", "--count", "1").startswith("Added 1 reading to chennai, ")


def test_produce_measures_in_the_city_asked_for_or_named_like_the_stream(redis):
    told("produce", "ooty")
    told("produce", "hills", "--city", "ooty")
    told("produce", "coast")
    measured = {
        stream: [reading.fields for reading in entry.entries(redis.xrange(stream))]
        for stream in ("ooty", "hills", "coast")
    }
    assert measured["ooty"] == measured["hills"] != measured["coast"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["s", "--city", "[paris]"], "no weather for '[paris]': choose one of chennai,"),
        (["s", "--rate", "0"], "rate must be above zero"),
        (["s", "--rate", "nan"], "rate must be above zero"),
        (["text"], "The key 'text' is not a stream: use another name, or delete it."),
    ],
)
def test_produce_says_what_it_cannot_do(redis, options, sentence):
    redis.set("text", "1")
    assert sentence in refused("produce", *options)
    assert set(redis.keys()) == {"text", MARK}


@pytest.mark.parametrize(
    ("options", "begun"),
    [(["--rate", "1"], 2), ([], 20_000)],  # the start is over: Ctrl-C meets the loop
    ids=["while it waits", "while it sends"],
)
def test_an_interrupted_produce_says_how_many_readings_it_added(redis, options, begun):
    with started("produce", "chennai", "--count", "10000000", *options) as process:
        until(lambda: redis.xlen("chennai") >= begun)
        time.sleep(0.1)  # with a rate: into the wait for the next reading
        code, output = interrupted(process)
    length = redis.xlen("chennai")
    assert code == INTERRUPTED
    assert output == f"Stopped. Added {length:,} readings to chennai.\n"
    if options:
        assert set(redis.keys()) == {"chennai", MARK}


# ------------------------------------------------------------------ tail


def waiting(redis: redis_py.Redis) -> bool:
    """Whether a client waits in an XREAD."""
    return any(client["cmd"] == "xread" for client in redis.client_list())


@pytest.mark.parametrize(
    ("start", "shown"), [("0", ["1-0", "2-0", "3-0"]), ("1", ["2-0", "3-0"]), ("2-0", ["3-0"])]
)
def test_tail_starts_after_an_id(redis, start, shown):
    fill(redis, "s", 1, 2, 3)
    lines = told("tail", "s", "--from", start, "--count", str(len(shown)))
    assert lines == "".join(f"s {one} n={one[0]}\n" for one in shown)


@pytest.mark.parametrize("options", [["--from", "$"], []], ids=["asked for", "by default"])
def test_tail_starts_with_new_entries(redis, options):
    fill(redis, "s", 1)
    with started("tail", "s", "--count", "2", *options) as process:
        until(lambda: waiting(redis))
        fill(redis, "s", 2, 3)
        assert process.communicate() == ("s 2-0 n=2\ns 3-0 n=3\n", "")
        assert process.returncode == 0


def test_tail_follows_several_streams(redis):
    fill(redis, "a", 1, 4)
    fill(redis, "b", 2, 3)
    lines = told("tail", "a", "b", "--from", "0", "--count", "4")
    assert lines == "a 1-0 n=1\nb 2-0 n=2\nb 3-0 n=3\na 4-0 n=4\n"


def test_tail_goes_on_where_a_reader_of_its_name_was(redis):
    fill(redis, "s", 1, 2, 3)
    tail = ["tail", "s", "--from", "0", "--name", "display"]
    assert told(*tail, "--count", "2") == "s 1-0 n=1\ns 2-0 n=2\n"
    assert told(*tail, "--count", "1") == "s 3-0 n=3\n"


def test_tail_prints_names_and_values_as_they_are(redis):
    redis.xadd("temps:sun:[red]", {"[b]": ":fire: ☃"}, id="1-0")
    lines = told("tail", "temps:sun:[red]", "--from", "0", "--count", "1")
    assert lines == "temps:sun:[red] 1-0 [b]=:fire: ☃\n"


def test_tail_says_what_it_cannot_read(redis):
    redis.set("text", "1")
    assert "'1-2-3' is not an entry ID" in refused("tail", "s", "--from", "1-2-3")
    assert "The key 'text' is not a stream" in refused("tail", "text", "--from", "0")


def test_tail_shows_bytes_that_are_no_text(redis):
    redis.xadd("bytes", {"photo": b"\xff\xd8", "of": "é"}, id="1-0")
    lines = told("tail", "bytes", "--from", "0", "--count", "1")
    assert lines == "bytes 1-0 photo=\\xff\\xd8 of=é\n"


def test_an_interrupted_tail_has_done_its_work(redis):
    fill(redis, "s", 1)
    with started("tail", "s", "--from", "0") as process:
        assert process.stdout
        assert process.stdout.readline() == "s 1-0 n=1\n"
        until(lambda: waiting(redis))
        assert interrupted(process) == (0, "")


@pytest.mark.parametrize("command", [["tail", "s", "--from", "0"], ["doctor", "--json"]])
def test_output_that_nobody_reads_ends_the_command_quietly(redis, command):
    with Producer(redis, "s") as producer:
        producer.add_many({"n": number} for number in range(1000))
    with started(*command) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


# ------------------------------------------------------------------ lab


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


BREAKING = (  # a learner's own settings, with each of which the course would not open
    "ServerApp.root_dir = '/tmp'",
    "FileContentsManager.root_dir = '/tmp'",
    "ServerApp.preferred_dir = '/tmp'",
    "ServerApp.ip = '203.0.113.7'",
    "ServerApp.certfile = '/no/such.pem'",
    "ServerApp.file_to_run = '/tmp/a.ipynb'",
    "ServerApp.local_hostnames = ['a']",
    "ServerApp.contents_manager_class = 'no.Such'",
    "ServerApp.kernel_spec_manager_class = 'no.Such'",
    "KernelSpecManager.allowed_kernelspecs = {'ir'}",
    "LabApp.app_dir = '/no/where'",
    "FileContentsManager.post_save_hook = 'no.such'",
)


def test_lab_opens_jupyterlab_with_a_token_of_its_own(redis, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = ("CONFIG", "DATA", "RUNTIME")
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in names}
    (tmp_path / "config").mkdir()
    own = tmp_path / "config" / "jupyter_server_config.py"
    own.write_text(
        "".join(f"c.{line}\n" for line in BREAKING) + "c.ServerApp.terminals_enabled = 0\n"
    )
    (tmp_path / "redis.py").write_text("raise SystemExit('the wrong one')")
    broken = {"PYTHONPATH": str(tmp_path), "JUPYTER_GATEWAY_URL": "http://127.0.0.1:1",
              "JUPYTERLAB_DIR": "/no/where", "PYTHONOPTIMIZE": "2"}  # fmt: skip
    with started("lab", "--no-browser", f"--port={port}", **folders, **broken) as process:
        assert process.stdout
        assert process.stderr
        assert " answers at redis://***@" in process.stdout.readline()
        address = f"http://127.0.0.1:{port}/lab/tree/notebooks/00_start_here.ipynb?token="
        log = iter(process.stderr.readline, "")
        token = next(line.split(address)[1].strip() for line in log if address in line)

        until(lambda: listens(port))
        notebook = f"http://127.0.0.1:{port}/api/contents/notebooks/00_start_here.ipynb?content=0"
        with pytest.raises(HTTPError, match="403"):
            urlopen(notebook)
        with urlopen(f"{notebook}&token={token}") as reply:
            assert json.load(reply)["type"] == "notebook"
        urlopen(f"{address}{token}").close()
        kernel = Request(f"http://127.0.0.1:{port}/api/kernels", data=b'{"name": "python3"}')
        kernel.add_header("Authorization", f"token {token}")
        with urlopen(kernel) as reply:
            assert json.load(reply)["name"] == "python3"
        with pytest.raises(HTTPError, match="404"):  # a setting that breaks nothing holds
            urlopen(f"http://127.0.0.1:{port}/api/terminals?token={token}")

        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=patient(60))[1]
        assert process.returncode == 0
