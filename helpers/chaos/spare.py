"""A server of its own, to be killed and started again without harm to the course's."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
import redis.asyncio

from helpers.chaos.process import Process
from helpers.course.connect import async_client_of, client_of
from helpers.course.errors import ServerError
from helpers.course.pace import patient
from helpers.course.server.program import choose_program

START_LIMIT_S = patient(15.0)


class SpareServer:
    """A real server that nobody else uses, with its data in a folder that goes with it.

        with SpareServer("--appendonly yes", "--appendfsync always") as server:
            redis = server.connect()
            server.kill()
            server.start()

    It listens on a Unix socket in that folder alone, and ends with the process that began it.
    """

    def __init__(self, *options: str) -> None:
        """Start it.

        Args:
            options: as on the command line of redis-server. By default it keeps nothing on disk.

        Raises:
            ServerError: there is no server program, or it does not start.
        """
        program = choose_program(os.environ.get("COURSE_SERVER", "").strip() or None).path
        self.folder = Path(tempfile.mkdtemp(prefix="spare-"))
        words = [word for option in options for word in option.split()]
        self._command = [program, "--port", "0", "--unixsocket", str(self._socket),
                         "--dir", str(self.folder), "--save", "", *words]  # fmt: skip
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again with the data that it finds on disk.

        Raises:
            ServerError: it does not answer.
        """
        self._socket.unlink(missing_ok=True)
        self._process = Process(self._command, name="server")
        deadline = time.monotonic() + START_LIMIT_S
        with self.connect() as client:
            while time.monotonic() < deadline and self._process.alive:
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(0.005)  # it is not there yet, or reads its data
                else:
                    return
        printed = self._process.output().strip().splitlines() or ["it said nothing"]
        raise ServerError(f"The spare server did not start: {printed[-1]}")

    def kill(self) -> None:
        """End it as a crash of the program would: kill -9."""
        self._process.kill()

    def pause(self) -> None:
        """Stop it, by SIGSTOP: it is silent, and its kernel still answers for it."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on, by SIGCONT."""
        self._process.resume()

    def connect(self) -> redis.Redis:
        """A client of it, with the course's settings; it sends nothing twice."""
        return client_of(self.url)

    def connect_async(self) -> redis.asyncio.Redis:
        """The same for asyncio."""
        return async_client_of(self.url)

    def close(self) -> None:
        """End it, and delete its data."""
        if hasattr(self, "_process"):
            self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"
