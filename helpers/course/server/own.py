"""The course's own server: started when it is needed, found again, ended when told to.

It listens on loopback, asks for a password, keeps its data in the hidden folder, and goes on
when the notebook that started it ends. One lock and one folder make sure that there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import psutil
import redis
from filelock import FileLock, Timeout

from helpers.course.errors import ServerError
from helpers.course.server import identity
from helpers.course.server.identity import OLDEST, Server, Source, describe, probe
from helpers.course.server.program import Program, choose_program, program_version

START_TIMEOUT_S = 30.0  # loading a large append-only file takes most of it


@dataclass(frozen=True)
class State:
    """What the course remembers of the server that it started, in `server.json`."""

    pid: int
    port: int
    password: str
    program: str
    source: Source
    why: str

    @property
    def url(self) -> str:
        """Where it listens, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class OwnServer:
    """The one server that belongs to a hidden folder, shared by every process that uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._state_file = folder / "server.json"
        self._pid_file = folder / "server.pid"
        self._lock = FileLock(folder / "server.lock", timeout=2 * START_TIMEOUT_S)

    def ensure(self, port: int | None = None) -> Server:
        """Find the running server, or start it again with the data that it had.

        Args:
            port: the TCP port to listen on; by default the last one, or any that is free.

        Raises:
            ServerError: it does not start, or runs without answering.
        """
        running = self.revive(port)
        if port is not None and running.port != port:
            raise ServerError(
                f"The course's server runs on port {running.port} already: "
                "stop it first with `course server stop`."
            )
        return describe(running.url, running.source, running.why + _unheeded(running))

    def revive(self, port: int | None = None) -> State:
        """The state of the running server, which is started if it does not run.

        Raises:
            ServerError: it does not start, or runs without answering.
        """
        running = self.running()
        if running is None:
            with self._alone():  # somebody else may have started it while we waited
                running = self.running() or self._start(port)
        return running

    def alive(self) -> State | None:
        """The state of the server if its process is alive; whether it answers is not asked."""
        state = self._load()
        return state if state and self._alive(state.pid) else None

    def running(self) -> State | None:
        """The state of the server if it is alive and answers; None if it is not running.

        Raises:
            ServerError: its process is alive and does not answer.
        """
        state = self._load()
        if state is None or not self._alive(state.pid):
            return None
        if self._answers(state, START_TIMEOUT_S):
            return state
        if not self._alive(state.pid):
            return None
        raise ServerError(silent(state.pid))

    def stop(self) -> State | None:
        """End the server, its data saved. Returns what ran, or None if nothing did."""
        with self._alone():
            state = self._load()
            return state if state and state.pid in self._end_all() else None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Start or stop the server while no other process does."""
        try:
            with self._lock:
                yield
        except Timeout as error:
            raise ServerError(
                "Another program has been starting or stopping the course's server for too long: "
                "close the other notebooks and terminals of the course, then try again."
            ) from error

    def _load(self) -> State | None:
        try:
            state = State(**json.loads(self._state_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        kinds = [type(value) for value in asdict(state).values()]
        return state if kinds == [int, int, str, str, str, str] else None

    def _save(self, state: State) -> None:
        fresh = self._state_file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(state)))
        fresh.replace(self._state_file)

    def _alive(self, pid: int) -> bool:
        """Whether the process is our server: it works in our data folder.

        A pid alone proves nothing: after a crash it may belong to another program.
        """
        try:
            process = psutil.Process(pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and Path(process.cwd()) == self.data.resolve()
        except (psutil.Error, OSError, ValueError):
            return False

    def _end_all(self) -> set[int]:
        """End the server, and one whose start was interrupted before its state was saved."""
        state = self._load()
        pids = {state.pid} if state else set()
        with contextlib.suppress(OSError, ValueError):
            pids.add(int(self._pid_file.read_text()))
        alive = {pid for pid in pids if self._alive(pid)}
        for pid in alive:
            _end(pid)
        return alive

    def _answers(self, state: State, timeout_s: float) -> bool:
        """Wait until the server answers; False if it dies or stays silent."""
        deadline = time.monotonic() + timeout_s
        silent_until = time.monotonic() + identity.ANSWER_TIMEOUT_S
        with probe(state.url) as client:
            while time.monotonic() < deadline and self._alive(state.pid):
                try:
                    return bool(client.ping())
                except redis.BusyLoadingError:
                    silent_until = deadline  # it reads its data: that may take its time
                except redis.RedisError:
                    if time.monotonic() > silent_until:
                        return False
                time.sleep(0.01)
        return False

    def _start(self, port: int | None) -> State:
        self._end_all()  # two servers on the same files would destroy them
        before = self._load()
        program = self._program(before)
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = before.password if before else secrets.token_urlsafe(24)
        if port is not None and not _free(port):
            raise ServerError(f"Port {port} is taken or not allowed: choose another one.")
        ports = [port] if port else [before.port] if before and _free(before.port) else []
        while True:
            listen = ports.pop() if ports else _any_free_port()
            pid = self._launch(program, listen, password)
            state = State(pid, listen, password, program.path, program.source, program.why)
            if self._answers(state, START_TIMEOUT_S):
                self._save(state)
                return state
            self._end_all()
            if port is not None or "already in use" not in self._logged():
                raise ServerError(
                    f"The server {program.path} did not start: {self._last_words()}. Its log is "
                    f"{self.log}. If your data is at fault, which was left as it is, move "
                    f"{self.data} away."
                )

    def _program(self, before: State | None) -> Program:
        """The program that wrote the data folder, while it exists: others may not read it."""
        wanted = os.environ.get("COURSE_SERVER", "").strip() or None
        usable = before and program_version(before.program) >= OLDEST
        if before and usable and not wanted and self.data.exists():
            return Program(before.program, before.source, "it wrote the data that is here")
        return choose_program(wanted)

    def _launch(self, program: Program, port: int, password: str) -> int:
        """Start the program in the background and return its pid.

        A shell in between hands it to the system at once: Jupyter ends every child of a
        kernel together with the kernel. The shell also notes the pid, so that nothing can
        come between. The configuration goes to stdin: in the name of a file the program
        would take `[` and `*` for a pattern, match nothing, and listen to everybody.

        `appendfsync no` writes before every reply, so that a kill -9 loses nothing; when the
        disk gets it is the system's affair. `everysec` replies without having written while
        its last fsync goes on.
        """
        config = self.folder / "server.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
            f"dir {_quoted(self.data)}\nlogfile {_quoted(self.log)}\n"
            'daemonize no\nappendonly yes\nappendfsync no\nsave ""\n'
        )
        self.log.write_text("")
        shell = 'umask 077; trap "" HUP; "$0" - <"$1" >>"$2" 2>&1 & echo $! >"$3"'
        subprocess.run(
            ["/bin/sh", "-c", shell, program.path, str(config), str(self.log), str(self._pid_file)],
            check=True, cwd=self.data, start_new_session=True,
        )  # fmt: skip
        return int(self._pid_file.read_text())

    def _logged(self) -> str:
        return self.log.read_text(errors="replace")

    def _last_words(self) -> str:
        """The last line of the log, which says why the server ended."""
        lines = self._logged().strip().splitlines() or ["it left no message"]
        return re.sub(r"^\d+:\w .*? [#*] ", "", lines[-1]).rstrip(". ")


def _unheeded(running: State) -> str:
    """What to add to the reason if COURSE_SERVER asks for another program."""
    wanted = os.environ.get("COURSE_SERVER", "").strip()
    if not wanted or running.source == wanted:
        return ""
    named = os.path.abspath(shutil.which(wanted) or wanted)
    return "" if named == running.program else "; COURSE_SERVER counts when it starts again"


def _end(pid: int) -> None:
    """Ask a process to end, and kill it if it does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.resume()  # one that was paused could not hear the next line
        process.terminate()  # SIGTERM: the server writes its append-only file and exits
        deadline = time.monotonic() + START_TIMEOUT_S
        while not has_ended(pid):
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie, which in some containers nobody collects.

    A zombie of which other threads are left may still hold its port.
    """
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return cast(int, trial.getsockname()[1])


def _quoted(path: Path) -> str:
    """A path as redis.conf takes it, whatever characters are in it."""
    escaped = str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def silent(pid: int) -> str:
    """What to say of a server whose process is alive and does not answer."""
    return (
        f"The course's server (process {pid}) is alive but does not answer: `course server stop` "
        "ends it, and the next lesson starts it again."
    )
