"""One life of a learner's function after another, for checks that end many of them.

To start Python takes up to half a second. So one process, the nursery, does its imports once,
and forks itself for each life: that takes some milliseconds, and each life is a process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import pickle
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import psutil
import redis

from helpers.chaos import CLIENT, CannotTravel, Failure, Outcome, Proxy, Returned, Unfinished
from helpers.chaos import worker as other_side
from helpers.chaos.outcome import packed
from helpers.checks.lab import LIMIT_S, Scene, stays_here
from helpers.checks.verdict import Trouble

START_LIMIT_S = 15  # a fresh Python with its imports, on a slow and busy machine
LOOK_S = 0.003


class Life:
    """A function at work in a process forked from the nursery. Made by `Nursery.begin`."""

    def __init__(self, pid: int, report: Path) -> None:
        self._process = psutil.Process(pid)
        self._report = report

    @property
    def ended(self) -> bool:
        """Whether it is over. The nursery does not reap, so the number stays taken."""
        try:
            return bool(self._process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGKILL)
        self._wait(LIMIT_S)

    def stands(self, proxy: Proxy, limit_s: float = LIMIT_S) -> bool:
        """Wait until its command stands still in the proxy; False if it ends before, or never."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if proxy.frozen(LOOK_S):
                return True
            if self.ended:
                return False
        return False

    def outcome(self, limit_s: float = LIMIT_S) -> Outcome:
        """Wait until it is over, at most `limit_s` seconds; then it is killed."""
        if not self._wait(limit_s):
            self.kill()
            return Unfinished()
        told = self._report.read_bytes() if self._report.exists() else b""
        if len(told) < 2:
            return Unfinished(ended=True)
        outcome = pickle.loads(told.removeprefix(b"R"))
        assert isinstance(outcome, Returned | Failure)
        return outcome

    def _wait(self, limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not self.ended:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True


class _Order(NamedTuple):
    """What the nursery is asked for: a life of what the file `given` holds."""

    given: str
    report: str
    url: str


class Nursery:
    """Gives a learner's function as many lives as a check wants; all end with its `with` block.

    with Nursery(scene) as nursery:
        life = nursery.begin(function, CLIENT, stream, through=proxy)
    """

    def __init__(self, scene: Scene) -> None:
        self._redis = scene.redis
        self._key = scene.key("nursery")
        self._count = 0
        self._folder = tempfile.TemporaryDirectory(prefix="course-check-")
        self._process = scene.running(_bear, CLIENT, self._key)

    def begin(self, function: Any, *arguments: Any, through: Proxy | None = None) -> Life:
        """Start a life: the function in a process, with its connections through a proxy.

        Raises:
            Wrong: the function cannot be run outside the notebook.
            Trouble: no process could be started.
        """
        self._count += 1
        given, report = (Path(self._folder.name) / f"{self._count}{end}" for end in ("", ".told"))
        try:
            given.write_bytes(packed((function, arguments)))
        except CannotTravel as error:
            raise stays_here(error) from error
        url = through.url if through else ""
        self._redis.rpush(f"{self._key}:orders", json.dumps(_Order(str(given), str(report), url)))
        return Life(self._born(), report)

    def call(self, function: Any, *arguments: Any, through: Proxy | None = None) -> Outcome:
        """What becomes of one life that nothing ends before its time."""
        return self.begin(function, *arguments, through=through).outcome()

    def _born(self) -> int:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.alive:
            answer = cast("Any", self._redis.blpop([f"{self._key}:born"], 0.5))
            if answer:
                return int(answer[1])
        raise Trouble("No process could be started for your function.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # and with it its process group: every life that is left
        self._folder.cleanup()


def _bear(client: redis.Redis, key: str) -> None:
    """The nursery itself: fork for each order. The children are left unreaped on purpose."""
    gc.freeze()  # a child that collects garbage need not look through what was there before it
    while True:
        answer = cast("Any", client.blpop([f"{key}:orders"]))
        if not answer:  # somebody has unblocked it
            continue
        order = _Order(*json.loads(answer[1]))
        pid = os.fork()
        if not pid:
            _live(order)
        client.rpush(f"{key}:born", pid)


def _live(order: _Order) -> None:
    """Be the other side of a `Running`, in this fork; does not return."""
    try:
        if order.url:
            os.environ["REDIS_URL"] = order.url
        sys.stdin = io.TextIOWrapper(io.BytesIO(Path(order.given).read_bytes()))
        report = os.open(order.report, os.O_WRONLY | os.O_CREAT, 0o600)
        sys.argv = [sys.argv[0], str(report)]
        other_side.main()
    finally:
        os._exit(1)
