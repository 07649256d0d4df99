"""Whatever step is lost, late, or the last one of a life: each entry has its fate, and once."""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import Any

import pytest
import redis as redis_py

from helpers import DeadLetters, Entry
from helpers.streams.consumer import scripts
from helpers.streams.consumer.steps import Handle, Run, Wait
from helpers.streams.errors import ConsumerError
from tests.consumers import AGES, FAILURES, GROUP, NAMES, STREAM, give, pending
from tests.steps.loop import LATE, MORE, UNANSWERED, Driver, Fault, Life, Scripts, pairs

MOST = 4  # deliveries
DEAD = "{s}:g:dead"


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Thousands of failures on purpose: their tracebacks would take most of the time."""
    caplog.set_level(logging.CRITICAL, "helpers.streams")


# ------------------------------------------------------------------ scenes

# What becomes of each entry, and whose it is when the curtain rises: alice's from an earlier life,
# bob's who has been silent for an hour, or nobody's.
RECOVERY = {
    1: ("fine", "alice"), 2: ("deleted", "alice"), 3: ("fine", "bob"), 4: ("deleted", "bob"),
    5: ("plain", "bob"), 6: ("plain", ""), 7: ("deleted", ""), 8: ("fine", ""), 9: ("plain", ""),
}  # fmt: skip
FAILURES_OF_ALL_KINDS = {
    1: ("stumbles", "alice"), 2: ("refused", "bob"), 3: ("poison", ""), 4: ("fine", ""),
    5: ("half", ""), 6: ("last chance", ""),
}  # fmt: skip
SCENES = {"recovery": RECOVERY, "failures": FAILURES_OF_ALL_KINDS}
DIE = {"poison", "refused", "half"}

Scene = dict[int, tuple[str, str]]


class Handler:
    """Does what an entry's fate says, and remembers which entries it has handled well."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.seen: Counter[int] = Counter()
        self.well: Counter[int] = Counter()

    def __call__(self, entry: Entry) -> Any:
        number = entry.id.ms
        self.seen[number] += 1
        fate, _ = self._scene[number]
        if fate == "poison":
            raise RuntimeError("never")
        if fate == "stumbles" and self.seen[number] == 1:
            raise RuntimeError("once")
        if fate == "last chance" and self.seen[number] < MOST:
            raise RuntimeError("but once")
        if fate == "refused":
            return ("HINCRBY", "text", "count", 1)
        if fate == "half":
            return [("HINCRBY", "effects", f"half {number}", 1), ("HINCRBY", "text", "count", 1)]
        self.well[number] += 1
        return None if fate == "plain" else ("HINCRBY", "effects", number, 1)


def set_out(client: redis_py.Redis, scene: Scene) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(STREAM, NAMES, FAILURES, DEAD, "effects")
    pipeline.set("text", "no hash")
    for number in scene:
        pipeline.xadd(STREAM, {"n": number}, id=f"{number}-0")
    pipeline.xgroup_create(STREAM, GROUP, "0")
    pipeline.execute()
    for name in ("alice", "bob"):
        count = [owner for _, owner in scene.values()].count(name)
        if count:
            give(client, name, count, idle_ms=AGES if name == "bob" else 0)
    gone = [f"{number}-0" for number, (fate, _) in scene.items() if fate == "deleted"]
    if gone:
        client.xdel(STREAM, *gone)


def age(client: redis_py.Redis) -> None:
    """Let all that is pending look abandoned."""
    for number, (owner, _) in pending(client).items():
        client.xclaim(STREAM, GROUP, owner, 0, [f"{number}-0"], idle=AGES, justid=True)


def harm(client: redis_py.Redis, scene: Scene, handlers: list[Handler], *, fair: bool) -> list[str]:
    """What is not as promised. `fair`: so few faults that nothing may be given up that works."""
    found: list[str] = []
    if left := pending(client):
        found.append(f"still pending: {left}")
    if noted := client.hgetall(FAILURES):
        found.append(f"failures are remembered: {noted}")
    dead = list(DeadLetters(client, STREAM, GROUP))
    for one in dead:
        tries = [int(line.split()[0]) for line in one.failures]
        if tries != sorted(set(tries)):
            found.append(f"{one.entry.id.ms} failed on its deliveries {tries}")
    letters = Counter(one.entry.id.ms for one in dead)
    effects = client.hgetall("effects")
    for number, (fate, _) in scene.items():
        if fate == "deleted":
            wanted = {(0, 0)} if fair else {(0, 0), (1, 0)}  # it may be handled before that
        elif fate in DIE:
            wanted = {(0, 1)}
        elif fate == "plain":
            wanted = {(0, 0)} if fair else {(0, 0), (0, 1)}
            if not letters[number] and not any(one.well[number] for one in handlers):
                found.append(f"{number} was acknowledged, and no handler has seen it")
        elif fair and fate != "last chance":
            wanted = {(1, 0)}
        else:  # each lost reply is a delivery too, and so may use up the last one
            wanted = {(1, 0), (0, 1)}
        fact = (int(effects.get(str(number), 0)), letters[number])
        if fact not in wanted:
            found.append(f"{number} ({fate}): {fact[0]} effects, {fact[1]} dead letters")
        done = (int(fate != "plain"), 0)
        if fair and any(one.well[number] > 0 for one in handlers) and fact != done:
            found.append(f"{number} ({fate}) was handled, and its effect is not there")
        if fate == "half" and int(effects.get(f"half {number}", 0)) != 1:
            found.append(f"{number} is half done {effects.get(f'half {number}', 0)} times")
    return found


# ------------------------------------------------------------------ one consumer, one fault


def play(driver: Driver, scene: Scene, fault: Fault | None) -> tuple[Life, list[str]]:
    """One life with a fault, then another one that finds what came too late for the first."""
    set_out(driver.client, scene)
    driver.fault = fault
    handler = Handler(scene)
    life = driver.begin("alice", handler, batch=3, max_deliveries=MOST)
    driver.finish(life)
    driver.deliver()
    second = driver.begin("alice", handler, batch=3, max_deliveries=MOST)
    driver.finish(second)
    found = harm(driver.client, scene, [handler], fair=True)
    for one in (life, second):
        if one.error:
            found.append(f"ended by {one.error!r}")
    return life, found


@pytest.mark.early
@pytest.mark.parametrize("name", SCENES)
def test_no_fault_at_any_step_does_harm(redis, name):
    scene = SCENES[name]
    driver = Driver(redis, STREAM, GROUP)
    life, found = play(driver, scene, None)
    assert found == []
    assert len(life.sent) > 10
    harmed = {}
    for fault in pairs(len(life.sent)):
        _, found = play(driver, scene, fault)
        if found:
            late = f" before {fault.late}" if fault.kind == LATE else ""
            harmed[f"{fault.kind} {fault.place}{late} ({life.sent[fault.place - 1]})"] = found
    assert harmed == {}


@pytest.mark.parametrize("reborn", ["alice", "carol"])
@pytest.mark.parametrize("name", SCENES)
def test_a_life_that_ends_at_any_step_costs_nothing(redis, name, reborn):
    """As by kill -9: before the step arrives, and after it; then another life goes on."""
    scene = SCENES[name]
    driver = Driver(redis, STREAM, GROUP)
    steps = len(play(driver, scene, None)[0].sent)
    for end in range(1, steps + 1):
        for arrives in (False, True):
            set_out(redis, scene)
            handler = Handler(scene)
            life = driver.begin("alice", handler, batch=3, max_deliveries=MOST)
            while len(life.sent) < end - 1:
                driver.take(life)
            if arrives:
                driver.take(life)
            life.steps.close()
            while pending(redis) or not life.over:  # the rest of the poison's tries
                age(redis)
                life = driver.begin(reborn, handler, batch=3, max_deliveries=MOST)
                driver.finish(life)
            assert life.error is None
            assert harm(redis, scene, [handler], fair=False) == [], (end, arrives)


@pytest.mark.parametrize("name", SCENES)
def test_the_last_step_of_a_dead_life_may_come_at_any_time(redis, name):
    """It was under way when its process was killed, and the next life of the name is at work."""
    scene = SCENES[name]
    driver = Driver(redis, STREAM, GROUP)
    steps = len(play(driver, scene, None)[0].sent)
    harmed = {}
    for end in range(1, steps + 1):
        for late in range(1 + end % 3, steps + MORE, 3):
            set_out(redis, scene)
            handler = Handler(scene)
            dead = driver.begin("alice", handler, batch=3, max_deliveries=MOST + 1)
            driver.fault = Fault(LATE, end, late)
            while len(dead.sent) < end:
                driver.take(dead)
            dead.steps.close()
            life = driver.begin("alice", handler, batch=3, max_deliveries=MOST + 1)
            driver.finish(life)
            driver.deliver()
            while pending(redis):
                age(redis)
                driver.finish(driver.begin("carol", handler, batch=3, max_deliveries=MOST + 1))
            found = harm(redis, scene, [handler], fair=False)
            if found or life.error:
                harmed[dead.sent[-1], late] = (found, life.error)
    assert harmed == {}


def test_a_take_whose_reply_is_lost_is_no_further_delivery(redis):
    scene = {1: ("fine", "alice")}
    driver = Driver(redis, STREAM, GROUP)
    set_out(redis, scene)
    life = driver.begin("alice", Handler(scene))
    while not isinstance(life.step, Handle):
        if len(life.sent) == 3:
            driver.fault = Fault(UNANSWERED, 4)
        driver.take(life)
    assert life.sent[3] == "TAKE"
    assert pending(redis) == {1: ("alice", 2)}


def test_who_was_replaced_while_a_retry_waited_takes_on_nothing_more(redis):
    driver = Driver(redis, STREAM, GROUP)
    scene = {1: ("stumbles", ""), 2: ("fine", "")}
    set_out(redis, {1: scene[1]})
    handler = Handler(scene)
    older = driver.begin("alice", handler)
    while not isinstance(older.step, Wait):
        driver.take(older)
    newer = driver.begin("alice", handler)
    while "JOIN" not in newer.sent:
        driver.take(newer)
    redis.xadd(STREAM, {"n": 2}, id="2-0")
    driver.finish(older)
    assert isinstance(older.error, ConsumerError)
    assert handler.seen == {1: 1}


# ------------------------------------------------------------------ two consumers, in any order

FATES = ["fine"] * 4 + ["plain"] * 2 + ["stumbles", "deleted", "poison", "half", "refused"]


@pytest.mark.parametrize("half", range(2))
def test_two_consumers_in_any_order_with_any_fault(redis, half):
    """Steps of both interleaved, pauses and claims between any two of them, one fault, deaths."""
    driver = Driver(redis, STREAM, GROUP)
    for seed in range(half * 150, (half + 1) * 150):
        found = interleave(driver, random.Random(seed))
        assert found == [], f"seed {seed}"


def interleave(driver: Driver, rng: random.Random) -> list[str]:
    client, most = driver.client, 12
    fates = rng.sample(FATES, 8)
    owners = sorted(rng.choices(["alice", "bob", ""], k=8), key=["alice", "bob", ""].index)
    scene = {n: (fate, owner) for n, (fate, owner) in enumerate(zip(fates, owners, strict=True), 1)}
    set_out(client, scene)
    handlers = [Handler(scene), Handler(scene)]
    settings = {"batch": rng.choice([1, 3, 10]), "max_deliveries": most}
    driver.run = rng.choice([1, 2, 10])
    settings["delete"] = rng.random() < 0.3
    names = ["alice", rng.choice(["bob", "bob", "alice"])]  # now and then two of one name
    lives = [
        driver.begin(name, handler, **settings)
        for name, handler in zip(names, handlers, strict=True)
    ]
    if rng.random() < 0.7:
        place = rng.randint(1, 20)
        driver.fault = Fault(
            rng.choice(["unsent", "unanswered", LATE]), place, place + rng.randint(1, 9)
        )
    for _ in range(400):
        if all(life.over for life in lives):
            break
        turn = rng.randrange(12)
        if turn == 0:
            age(client)
        elif turn == 1 and rng.random() < 0.15:  # kill -9, and another life of that name
            at = rng.randrange(2)
            lives[at].steps.close()
            lives[at] = driver.begin(names[at], handlers[at], **settings)
        else:
            for _ in range(rng.randint(1, 4)):
                life = lives[turn % 2]
                if not life.over:
                    driver.take(life)
    for life in lives:
        driver.finish(life)
    driver.fault = None
    driver.deliver()
    while True:
        age(client)
        last = driver.begin("carol", handlers[0], **settings)
        driver.finish(last)
        if not pending(client):
            break
    errors = [life.error for life in lives if life.error and len(set(names)) == 2]
    return harm(client, scene, handlers, fair=False) + [f"ended by {one!r}" for one in errors]


def test_a_copy_of_putting_an_entry_aside_that_comes_late_leaves_a_later_delivery_alone(redis):
    set_out(redis, {1: ("fine", "alice")})
    redis.xclaim(STREAM, GROUP, "alice", 0, ["1-0"])  # replayed, say, and delivered again
    keys = [STREAM, NAMES, DEAD, FAILURES, "{s}:g:sweep"]
    late = [GROUP, "alice", "a token", "", "1-0", 1, "never", "keep", ""]
    assert Scripts(redis).run(Run(scripts.deny(scripts.BURY), keys, late)) == ["lost", 0]
    assert pending(redis) == {1: ("alice", 2)}
