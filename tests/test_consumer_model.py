"""Whatever is killed or frozen between any two commands: each entry has its fate, and once."""

from __future__ import annotations

import os
import random
import signal
from contextlib import ExitStack

import pytest

from helpers import Consumer, connect
from helpers.chaos import Fault, Proxy
from helpers.course.server import find_server
from helpers.streams.consumer import loop
from helpers.streams.errors import ConsumerError
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    STREAM,
    add_up,
    fill,
    letters,
    number,
    pending,
    totals,
)
from tests.lives import Life

FATES = ["fine"] * 9 + ["raises", "stumbles", "stumbles", "refused", "half", "deleted", "deleted"]
DEAD = {"raises", "refused", "half", "kills"}
DISTURBED = 5  # so many lives are killed or frozen, before others finish the work
TERMS = {"max_deliveries": 3 + DISTURBED}


def obey(entry, client):
    """Handle an entry as its fate demands."""
    match entry.fields["fate"]:
        case "raises":
            raise RuntimeError
        case "stumbles" if client.sadd("stumbled", number(entry)):
            raise RuntimeError
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refused":
            return ("HINCRBY", "text", "count", 1)
        case "half":
            return [("HINCRBY", "totals", "half", 1), ("HINCRBY", "text", "count", 1)]
    return add_up(entry)


def live(name, terms):
    """A life: work until nothing is left for this name, or another one has taken it."""
    loop.FIRST_RETRY_S = 0.0005
    client = connect()
    consumer = Consumer(
        client, STREAM, GROUP, lambda entry: obey(entry, client), name=name, **terms
    )
    try:
        consumer.run(drain=True)
    except ConsumerError:
        os._exit(0)


def age(redis):
    """Let all that is pending look abandoned."""
    for one, (owner, _) in pending(redis).items():
        redis.xclaim(STREAM, GROUP, owner, 0, [f"{one}-0"], idle=AGES, justid=True)


def finish(redis, name, terms):
    """Lives that nobody disturbs but the poison, until one comes to its end."""
    exit_code = None
    while exit_code != 0:
        age(redis)
        with Life(live, name, terms, url=find_server().url) as life:
            life.wait()
        exit_code = life.exit_code


@pytest.mark.parametrize("seed", range(8))
def test_each_entry_has_its_fate_once_whatever_happens_to_those_who_handle_it(redis, seed):
    rng = random.Random(seed)
    fates = FATES + ["kills"] * (seed % 4 == 0)
    rng.shuffle(fates)
    fill(redis, 0)
    for at, fate in enumerate(fates, start=1):
        redis.xadd(STREAM, {"n": at, "fate": fate}, id=f"{at}-0")
    for name in ("alice", "bob"):
        redis.xreadgroup(GROUP, name, {STREAM: ">"}, count=rng.randint(1, 4))
    redis.xdel(STREAM, *(f"{at}-0" for at, fate in enumerate(fates, start=1) if fate == "deleted"))
    redis.set("text", "no hash")

    terms = {**TERMS, "batch": rng.choice([1, 3, 100]), "delete": rng.random() < 0.3}
    with ExitStack() as stack:
        frozen = []
        for _ in range(DISTURBED):
            age(redis)
            proxy = stack.enter_context(Proxy())
            proxy.arm(Fault.FREEZE_BEFORE, rng.randint(1, 25))
            name = rng.choice(["alice", "bob", "carol"])
            life = stack.enter_context(Life(live, name, terms, url=proxy.url))
            while not proxy.frozen(0.005) and life.exit_code is None:
                pass
            if rng.random() < 0.6:
                life.kill()
            else:
                frozen.append((life, proxy))
        finish(redis, "dave", terms)
        for life, proxy in frozen:
            proxy.thaw()
            life.wait()
        finish(redis, "eve", terms)

    by_fate = {fate: [at for at, one in enumerate(fates, start=1) if one == fate] for fate in fates}
    well = by_fate["fine"] + by_fate["stumbles"]
    note = f"seed {seed}"
    assert totals(redis) == {"count": str(len(well)), "sum": str(sum(well)), "half": "1"}, note
    assert set(letters(redis)) == {at for fate in DEAD for at in by_fate.get(fate, [])}, note
    assert not pending(redis), note
    assert not redis.exists(FAILURES), note
    if terms["delete"]:
        left = [int(entry_id.split("-")[0]) for entry_id, _ in redis.xrange(STREAM)]
        assert set(left) == set(letters(redis)), note
