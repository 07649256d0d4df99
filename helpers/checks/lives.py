"""One life of a learner's function after another, for checks that end many of them."""

from __future__ import annotations

import time
from typing import Any, Self

from helpers.chaos import CannotTravel, Outcome, Proxy, Running, Unfinished
from helpers.checks.scene import LIMIT_S, Scene, stays_here

LOOK_S = 0.003


class Life(Running):
    """A function at work in a process of its own. Made by `Supervisor.begin`."""

    def stands(self, proxy: Proxy, limit_s: float = LIMIT_S) -> bool:
        """Wait until its command stands still in the proxy; False if it ends before, or never."""
        self.begun()
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if proxy.frozen(LOOK_S):
                return True
            if not self.alive:
                return False
        return False

    def outcome(self, limit_s: float = LIMIT_S) -> Outcome:
        """Wait for it to return, at most `limit_s` seconds; then it is killed."""
        outcome = super().outcome(limit_s)
        if isinstance(outcome, Unfinished):
            self.kill()
        return outcome


class Supervisor:
    """Gives a learner's function as many lives as a check wants; all end with its `with` block.

    with Supervisor(scene) as supervisor:
        life = supervisor.begin(function, CLIENT, stream, through=proxy)
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._lives: list[Life] = []

    def begin(self, function: Any, *arguments: Any, through: Proxy | None = None) -> Life:
        """Start a life: the function in a process, with its connections through a proxy.

        Raises:
            Wrong: the function cannot be run outside the notebook.
            CourseError: no process could be started.
        """
        url = self._scene.url(through)
        try:
            life = Life(function, *arguments, name="life", url=url, forked=True)
        except CannotTravel as error:
            raise stays_here(error) from error
        self._lives.append(life)
        return life

    def call(self, function: Any, *arguments: Any, through: Proxy | None = None) -> Outcome:
        """What becomes of one life that nothing ends before its time."""
        return self.begin(function, *arguments, through=through).outcome()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for life in self._lives:
            life.kill()
