"""Any order of any events that Hypothesis can think of: each entry has its fate, and once."""

from __future__ import annotations

import logging

import redis as redis_py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.consumers import FAILURES, GROUP, NAMES, STREAM, pending
from tests.steps.loop import LATE, UNANSWERED, UNSENT, Driver, Fault, Life
from tests.steps.test_delivery_loop import DEAD, Handler, Scene, age, harm

CONSUMERS = ("alice", "bob", "carol")
FATES = ("fine", "fine", "plain", "stumbles", "poison", "refused", "half", "deleted")
MOST = 12  # deliveries


class Consumers(RuleBasedStateMachine):
    """Three names with one life each at a time, entries of all kinds, and what may happen."""

    client: redis_py.Redis

    @initialize(
        batch=st.sampled_from([1, 3, 10]), run=st.sampled_from([1, 2, 10]), delete=st.booleans()
    )
    def begin(self, batch: int, run: int, delete: bool) -> None:
        self.client.delete(STREAM, NAMES, FAILURES, DEAD, "effects")
        self.client.set("text", "no hash")
        self.client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        self.settings = {"batch": batch, "delete": delete, "max_deliveries": MOST}
        self.scene: Scene = {}
        self.handler = Handler(self.scene)
        self.driver = Driver(self.client, STREAM, GROUP)
        self.driver.run = run
        self.lives: dict[str, Life] = {}

    @rule(fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=4))
    def add(self, fates: list[str]) -> None:
        for fate in fates:
            number = len(self.scene) + 1
            self.scene[number] = (fate, "")
            self.client.xadd(STREAM, {"n": number}, id=f"{number}-0")

    @rule(name=st.sampled_from(CONSUMERS))
    def live(self, name: str) -> None:
        """A new life; an earlier one of this name was killed where it stood."""
        if name in self.lives:
            self.lives[name].steps.close()
        self.lives[name] = self.driver.begin(name, self.handler, **self.settings)

    @rule(name=st.sampled_from(CONSUMERS), steps=st.integers(1, 12))
    def work(self, name: str, steps: int) -> None:
        for _ in range(steps):
            if name in self.lives and not self.lives[name].over:
                self.driver.take(self.lives[name])

    @rule()
    def time_passes(self) -> None:
        age(self.client)

    @precondition(lambda self: self.scene)
    @rule()
    def delete_some(self) -> None:
        gone = [f"{n}-0" for n, (fate, _) in self.scene.items() if fate == "deleted"]
        if gone:
            self.client.xdel(STREAM, *gone)

    @rule(
        name=st.sampled_from(CONSUMERS),
        kind=st.sampled_from([UNSENT, UNANSWERED, LATE]),
        late=st.integers(1, 10),
    )
    def lose(self, name: str, kind: str, late: int) -> None:
        """The next step of a life is lost, or its answer, or it comes later than it should."""
        if name in self.lives:
            place = len(self.lives[name].sent) + 1
            self.driver.deliver()
            self.driver.fault = Fault(kind, place, place + late)
            self.work(name, 1)
            self.driver.fault = None

    @invariant()
    def nothing_ends_a_life_but_its_successor(self) -> None:
        for life in getattr(self, "lives", {}).values():
            assert life.error is None, life.error

    def teardown(self) -> None:
        if not hasattr(self, "lives"):
            return
        self.delete_some()
        for life in self.lives.values():
            self.driver.finish(life)
        self.driver.deliver()
        while True:
            age(self.client)
            last = self.driver.begin("dave", self.handler, **self.settings)
            self.driver.finish(last)
            assert last.error is None, last.error
            if not pending(self.client):
                break
        assert harm(self.client, self.scene, [self.handler], fair=False) == []


def test_consumers_in_any_order_of_events(redis, caplog, request):
    caplog.set_level(logging.CRITICAL, "helpers.streams")
    Consumers.client = redis
    run_state_machine_as_test(
        Consumers,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=not request.config.getoption("--all-answers"),
            suppress_health_check=list(HealthCheck),
        ),
    )
