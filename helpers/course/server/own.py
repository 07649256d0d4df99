"""The course's own server: started when it is needed, found again, ended when told to.

It listens on loopback, asks for a password, keeps its data in the hidden folder, and goes on
when the notebook that started it ends. Its data folder has one writer, ever:

* Each machine has a folder of its own, since a home may be shared: see `machine`.
* Who starts the server holds a lock, and has written a token. It reads the token back before the
  start and after it, and gives way if another one has written there since. So it is safe too
  where locks do nothing, as on some network drives.
* The server inherits a second lock, which ends with it. It says whether a server lives that no
  process number can tell of, because it is in another container.

The token stands for the wish for a server. `stop` deletes it, so that a connection of an old
notebook does not bring the server back; whoever asks for the server anew writes another.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

import psutil
import redis
from filelock import FileLock, Timeout

from helpers.course.disk import lack, naming_a_full_disk, write_whole
from helpers.course.errors import ServerError
from helpers.course.server import identity, machine, process
from helpers.course.server.identity import OLDEST, Server, Source, describe, probe
from helpers.course.server.machine import Place, here
from helpers.course.server.program import Program, choose_program, program_version
from helpers.streams.states import state_of

START_TIMEOUT_S = 30.0  # loading a large append-only file takes most of it


@dataclass(frozen=True)
class Purpose:
    """What a server is for: how sentences name it, and when its disk has what it confirms.

    Attributes:
        called: what it is.
        start: how to start it.
        stop: the command that ends it.
        appendfsync: `no` keeps what was confirmed when the server is killed; `always` also when
            the machine loses its power, and takes a disk's time for it.
        address: where it listens besides loopback; empty for nowhere.
        most_mb: how much memory its data may take; 0 for all there is.
    """

    called: str
    start: str
    stop: str
    appendfsync: Literal["no", "always"] = "no"
    address: str = ""
    most_mb: int = 0


COURSE = Purpose(
    "course's server", "run `connect()` again, or `course server start`", "`course server stop`"
)


@dataclass(frozen=True)
class State:
    """What the course remembers of the server that it started, in `server.json`.

    `boot` and `pids` say where the pid means this process; they are empty where that is unknown.
    """

    pid: int
    port: int
    password: str
    program: str
    source: Source
    why: str
    boot: str = ""
    pids: str = ""

    @property
    def place(self) -> Place:
        """Where the pid is that of the server."""
        return Place(self.boot, self.pids)

    @property
    def url(self) -> str:
        """Where it listens, with the password; redis-cli wants to be told the user, too."""
        return f"redis://default:{self.password}@127.0.0.1:{self.port}/0"


class OwnServer:
    """The one server that belongs to a hidden folder, shared by every process of this machine."""

    def __init__(self, home: Path, purpose: Purpose = COURSE) -> None:
        self.home, self.purpose = home, purpose
        self.folder = home / "servers" / machine.machine_name()
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._state_file = self.folder / "server.json"
        self._token_file = self.folder / "server.token"
        self._pid_file = self.folder / "server.pid"
        self._life_file = self.folder / "server.life"
        self._lock = FileLock(self.folder / "server.lock", timeout=2 * START_TIMEOUT_S)

    def ensure(self, port: int | None = None) -> Server:
        """Find the running server, or start it again with the data that it had.

        Args:
            port: the TCP port to listen on; by default the last one, or any that is free.

        Raises:
            ServerError: it does not start, or runs without answering.
        """
        running = self.running()
        if running is None:
            with self._alone():  # another process may have started it while we waited
                running = self.running() or self._start(port)
        if port is not None and running.port != port:
            raise ServerError(
                f"The {self.purpose.called} already runs on port {running.port}: "
                f"stop it first with {self.purpose.stop}."
            )
        return describe(running.url, running.source, running.why + _unheeded(running))

    def revive(self) -> State:
        """The state of the server, which is started again if it died, but not if it was stopped.

        Raises:
            ServerError: it was stopped, it does not start, or it runs without answering.
        """
        running = self.running()
        if running is None:
            self._expect_wanted()
            with self._alone():
                running = self.running()
                if running is None:
                    self._expect_wanted()  # it may have been stopped while we waited
                    running = self._start(None)
        return running

    def alive(self) -> State | None:
        """The state of the server if its process is alive; whether it answers is not asked."""
        state = self._load()
        return state if state and self._alive(state.pid) else None

    def running(self) -> State | None:
        """The state of the server if it is alive and answers; None if it is not running.

        Raises:
            ServerError: its process is alive and does not answer, or may be alive elsewhere.
        """
        state = self._load()
        if state is None or not (self._alive(state.pid) or self._may_live_elsewhere(state)):
            return None
        if self._answers(state, START_TIMEOUT_S):
            return state
        if self._alive(state.pid):
            raise ServerError(self.silent(state.pid))
        self._expect_no_life_elsewhere(state)
        return None

    def stop(self) -> State | None:
        """End the server, its data saved. Returns what ran, or None if nothing did.

        Raises:
            ServerError: it may run where it cannot be reached.
        """
        if not self.folder.is_dir():
            return None
        with self._alone():
            state = self._load()
            reached = False
            if state and not self._alive(state.pid) and self._may_live_elsewhere(state):
                reached = self._answers(state, START_TIMEOUT_S) and self._shut_down(state)
                if not reached:
                    self._expect_no_life_elsewhere(state)
            self._token_file.unlink(missing_ok=True)
            ended = self._end_all()
            self._pid_file.unlink(missing_ok=True)  # other places learn from it that none runs
            return state if state and (reached or state.pid in ended) else None

    def silent(self, pid: int) -> str:
        """What to say of a server whose process is alive and does not answer."""
        return (
            f"The {self.purpose.called} (process {pid}) is alive but does not answer: "
            f"{self.purpose.stop} ends it. Then {self.purpose.start}, to start it again."
        )

    def lacks(self) -> str | None:
        """Why what is added last may not be kept: the disk is full. None if it is kept."""
        if not self.folder.is_dir():
            return None
        said = lack(self.folder)
        with contextlib.suppress(ServerError, redis.RedisError), contextlib.ExitStack() as stack:
            if not said and (state := self.alive()):
                client = stack.enter_context(probe(state.url, timeout_s=1.0))
                if client.info("persistence").get("aof_last_write_status", "ok") != "ok":
                    said = (
                        f"The server could not write its data to {self.data}: free some space on "
                        f"that disk, and see {self.log}."
                    )
        return said

    def others(self) -> list[str]:
        """The machines that keep a server's data in the same hidden folder."""
        found = self.folder.parent.iterdir() if self.folder.parent.is_dir() else ()
        return sorted(one.name for one in found if one.is_dir() and one.name != self.folder.name)

    def _expect_wanted(self) -> None:
        """Make sure that the server was not stopped on purpose.

        Raises:
            ServerError: it was, or its folder was deleted.
        """
        if not self._token_file.exists():
            what = "was stopped" if self.folder.is_dir() else f"is gone with its {self.folder}"
            raise ServerError(
                f"The {self.purpose.called} {what}: {self.purpose.start}, to start it."
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Start or stop the server while no other process does."""
        with contextlib.ExitStack() as locked:
            with naming_a_full_disk(self.folder):
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    locked.enter_context(self._lock)
                except Timeout as error:
                    raise ServerError(
                        f"Another program has been starting or stopping the {self.purpose.called} "
                        "for too long: close the other notebooks and terminals of the course, then "
                        "try again."
                    ) from error
                except OSError as error:
                    if error.errno != errno.ENOLCK:  # no locks at all: the token has to do
                        raise
            yield

    def _load(self) -> State | None:
        try:
            state = State(**json.loads(self._state_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        kinds = [type(value) for value in asdict(state).values()]
        return state if kinds == [int, int, *6 * [str]] else None

    def _claim(self) -> str:
        """Write a new token, and return it."""
        token = secrets.token_hex(8)
        write_whole(self._token_file, token)
        return token

    def _holds(self, token: str) -> bool:
        """Whether a token still stands, so that no other process is at the same thing."""
        with contextlib.suppress(OSError, ValueError):
            return self._token_file.read_text() == token
        return False

    def _alive(self, pid: int) -> bool:
        return process.works_in(pid, self.data)

    def _may_live_elsewhere(self, state: State) -> bool:
        """Whether the server may live where its pid means nothing to this process.

        What ran before this machine was started anew is gone. But if its lock is held, or it was
        started since then, it runs on another machine, made from the same image.
        """
        if state.place == here() or not state.boot:
            return False
        if self._life_is_locked():
            return True
        if not self._pid_file.exists():  # stopped
            return False
        if state.boot == here().boot:
            return not machine.locks_work(self.folder)
        with contextlib.suppress(OSError):
            return self._state_file.stat().st_mtime > psutil.boot_time()
        return False

    def _life_is_locked(self) -> bool:
        try:
            with self._life_file.open("rb") as file:
                return not machine.lock(file.fileno(), shared=True)
        except OSError:
            return False

    def _expect_no_life_elsewhere(self, state: State | None) -> None:
        """Make sure that no server may be at work in the data folder that we cannot reach.

        Raises:
            ServerError: one may be.
        """
        if self._life_is_locked():
            certain, remedy = "runs", ""
        elif state and self._may_live_elsewhere(state):
            certain, remedy = "may run", f" If that one is gone, delete {self._state_file}."
        else:
            return
        raise ServerError(
            f"The {self.purpose.called} {certain} in another container or on another machine, with "
            f"its data in {self.data}, and a second one would destroy them: stop it there, with "
            f"{self.purpose.stop}, or set COURSE_HOME to another folder.{remedy}"
        )

    def _end_all(self) -> set[int]:
        """End the server, and any whose start was interrupted or whose files are gone."""
        state = self._load()
        pids = {state.pid} if state else set()
        with contextlib.suppress(OSError, ValueError):
            pids.add(int(self._pid_file.read_text()))
        alive = {pid for pid in pids if self._alive(pid)} | process.servers_in(self.data)
        alive |= process.servers_in(self.home / "data")  # where earlier versions started theirs
        for pid in alive:
            process.end(pid, START_TIMEOUT_S)
        return alive

    def _kill(self, pid: int) -> None:
        if self._alive(pid):
            process.end(pid, 0)

    def _shut_down(self, state: State) -> bool:
        """End a server that answers, and whose process is out of reach."""
        with probe(state.url) as client, contextlib.suppress(redis.ConnectionError):
            client.shutdown()
        return True

    def _answers(self, state: State, timeout_s: float) -> bool:
        """Wait until the server answers; False if it dies or stays silent."""
        deadline = time.monotonic() + timeout_s
        silent_until = time.monotonic() + identity.ANSWER_TIMEOUT_S
        with probe(state.url) as client:
            while time.monotonic() < deadline:
                try:
                    return bool(client.ping())
                except redis.BusyLoadingError:
                    silent_until = deadline  # it reads its data: that may take its time
                except redis.RedisError as error:
                    if state_of(error) == "MISCONF":  # it refuses PING too while its disk is full
                        return True
                    if time.monotonic() > silent_until:
                        return False
                if not self._alive(state.pid):
                    return False
                time.sleep(0.01)
        return False

    def _start(self, port: int | None) -> State:
        """Start the server, unless another process has done so by now.

        Raises:
            ServerError: it does not start.
        """
        with naming_a_full_disk(self.folder):
            deadline = time.monotonic() + START_TIMEOUT_S
            while time.monotonic() < deadline:
                token = self._claim()
                # Who noted a server before this claim is seen now; who does so after it gives way.
                running = self.running() or (self._holds(token) and self._launched(token, port))
                if running or (running := self._wait_for_another()):
                    return running
        raise ServerError(
            f"Other programs have been starting the {self.purpose.called} for too long: close the "
            "other notebooks and terminals of the course, then try again."
        )

    def _wait_for_another(self) -> State | None:
        """The server of a process that starts it just now; None if none comes."""
        until = time.monotonic() + random.uniform(1, 2)  # not in step with a third one
        while time.monotonic() < until:
            if running := self.running():
                return running
            time.sleep(0.02)
        return None

    def _launched(self, token: str, port: int | None) -> State | None:
        """Start the server, and note it; None if the token was replaced meanwhile."""
        before = self._load()
        self._end_all()  # two servers on the same files would destroy them
        if before is None or before.place != here():
            self._expect_no_life_elsewhere(before)
        if said := lack(self.folder):
            raise ServerError(said)
        program = self._program(before)
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = before.password if before else secrets.token_urlsafe(24)
        if port is not None and not _free(port):
            raise ServerError(f"Port {port} is taken or not allowed: choose another port.")
        ports = [port] if port else [before.port] if before and _free(before.port) else []
        while True:
            listen = ports.pop() if ports else _any_free_port()
            pid = self._launch(program, listen, password, token)
            state = State(pid, listen, password, program.path, program.source, program.why, *here())
            try:
                if self._answers(state, START_TIMEOUT_S):
                    write_whole(self._state_file, json.dumps(asdict(state)))
                    if self._holds(token):
                        return state
            except BaseException:
                self._kill(pid)
                raise
            self._kill(pid)  # no client knows of it, so it holds nothing that was confirmed
            if not self._holds(token):
                return None
            # It may have been ended before it came to say so: then the port tells.
            taken = "already in use" in self._logged() or not _free(listen)
            if port is not None or not taken:
                raise ServerError(self._why_not(program))

    def _why_not(self, program: Program) -> str:
        """Why a server did not start."""
        if "Ready to accept connections" in self._logged():
            return (
                f"The server {program.path} started, but nothing on this machine reaches it at "
                "127.0.0.1: enable the loopback interface, or allow it in your firewall."
            )
        other = "" if program.source == "embedded" else " or to `embedded`"
        return lack(self.folder) or (
            f"The server {program.path} did not start: {self._last_words()}. Its log is "
            f"{self.log}. If the program is the cause, set COURSE_SERVER to another one{other}; if "
            f"your data is, move {self.data} away; it was not changed."
        )

    def _program(self, before: State | None) -> Program:
        """The program that wrote the data folder, while it exists: others may not read it."""
        wanted = os.environ.get("COURSE_SERVER", "").strip() or None
        usable = before and program_version(before.program) >= OLDEST
        if before and usable and not wanted and self.data.exists():
            return Program(before.program, before.source, "it wrote the data that is here")
        return choose_program(wanted)

    def _launch(self, program: Program, port: int, password: str, token: str) -> int:
        """Start the program in the background and return its pid.

        A shell in between hands it to the system at once: Jupyter ends every child of a
        kernel together with the kernel. A second one notes the pid, looks at the token once
        more, and becomes the server, so that nothing can come between. The configuration comes
        through a pipe: in the name of a file the program would take `[` and `*` for a pattern,
        match nothing, and listen to everybody.

        `appendfsync no` writes before every reply, so that a kill -9 loses nothing; when the
        disk gets it is the system's affair. `everysec` replies without having written while
        its last fsync goes on. A server of another purpose may ask for `always`.
        """
        config = (
            f"bind 127.0.0.1 {self.purpose.address}\nport {port}\nrequirepass {password}\n"
            f"dir {_quoted(self.data)}\nlogfile {_quoted(self.log)}\n"
            f"daemonize no\nappendonly yes\nappendfsync {self.purpose.appendfsync}\n"
            f"maxmemory {self.purpose.most_mb}mb\n"
            'save ""\n'
        )
        self.log.write_text("")
        detach = 'trap "" HUP; umask 077; exec 3<&0; /bin/sh -c "$@" <&3 3<&- >>"$0" 2>&1 & echo $!'
        become = 'echo $$ >"$1" || exit; read -r now <"$2"; [ "$now" = "$3" ] && exec "$0" -'
        life = os.open(self._life_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            until = time.monotonic() + 1
            while not machine.lock(life) and time.monotonic() < until:
                time.sleep(0.005)  # another process looks just now whether it is held
            done = subprocess.run(
                ["/bin/sh", "-c", detach, str(self.log), become, program.path,
                 str(self._pid_file), str(self._token_file), token],
                input=config, stdout=subprocess.PIPE, text=True, check=True, cwd=self.data,
                start_new_session=True, pass_fds=[life],
                # At a limit on the length of files it must get an error, and not a signal.
                restore_signals=False,
            )  # fmt: skip
        finally:
            os.close(life)
        return int(done.stdout)

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
    escaped = str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
