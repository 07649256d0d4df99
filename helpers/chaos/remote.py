"""A cluster that a terminal has started, as other terminals reach it: they ask, it does.

The process that made the cluster listens on loopback, and notes in a file of the hidden folder
where, and the key without which it hears nothing. Both end with it.
"""

from __future__ import annotations

import json
import secrets
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any, Self

from helpers.chaos.cluster import LocalCluster
from helpers.course.errors import EXPECTED, CourseError
from helpers.course.home import hidden_folder

DOES = ("kill", "pause", "resume", "revive", "cut", "heal", "failover", "move", "status")
START_IT = "No cluster runs: `course cluster start` starts one."


def _file() -> Path:
    return hidden_folder() / "cluster.json"


class Served:
    """Lets other processes ask for what a cluster can do, while its `with` block lasts."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Begin to listen.

        Raises:
            CourseError: another one is served already.
        """
        if runs():
            raise CourseError("A cluster is already running: `course cluster stop` ends it.")
        self._cluster = cluster
        self.stopped = threading.Event()  # set when another process asks for the end
        self._closed = False
        key = secrets.token_hex(16)
        self._listener = Listener(("127.0.0.1", 0), authkey=key.encode())
        _, port = self._listener.address
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps({"port": port, "key": key, "url": cluster.url}))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                with self._listener.accept() as caller:
                    caller.send(self._answer(*caller.recv()))
            except (OSError, EOFError):
                if self._closed:
                    return
            except Exception:  # a wrong key
                continue

    def _answer(self, name: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> Any:
        if name == "stop":
            return self.stopped.set()
        try:
            return getattr(self._cluster, name)(*arguments, **more) if name in DOES else None
        except EXPECTED as error:
            return error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        _file().unlink(missing_ok=True)
        self._listener.close()


def ask(name: str, *arguments: Any, **more: Any) -> Any:
    """Ask the cluster that runs to do something, and return its answer.

    Raises:
        CourseError: none runs, or it cannot do that.
    """
    about = _about()
    try:
        with Client(("127.0.0.1", about["port"]), authkey=about["key"].encode()) as cluster:
            cluster.send((name, arguments, more))
            answer = cluster.recv()
    except (OSError, EOFError) as error:
        raise CourseError(START_IT) from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def runs() -> bool:
    """Whether a cluster runs that can be asked."""
    try:
        ask("status")
    except CourseError:
        return False
    return True


def url() -> str:
    """The URL of the cluster that runs.

    Raises:
        CourseError: none runs.
    """
    return str(_about()["url"])


def _about() -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(_file().read_text())
    except (OSError, ValueError) as error:
        raise CourseError(START_IT) from error
    return about
