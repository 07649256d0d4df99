"""Lives of a learner's function: forked from one process, each killed or ended by itself."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from helpers.chaos import CLIENT, Failure, Fault, Returned, Unfinished
from helpers.checks.lives import Supervisor
from helpers.checks.scene import Scene
from helpers.course.pace import patient


@pytest.fixture
def scene(redis):
    with Scene("99") as scene:
        yield scene


def test_each_life_tells_what_came_of_it(scene):
    with Supervisor(scene) as supervisor:
        first = supervisor.call(lambda redis, word: redis.echo(word), CLIENT, "alice")
        second = supervisor.call(lambda: 1 / 0)
        third = supervisor.call(lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert first == Returned("alice")
        assert isinstance(second, Failure)
        assert second.kind == "ZeroDivisionError"
        assert third == Unfinished(ended=True)


def test_an_asyncio_function_gets_an_asyncio_client(scene):
    async def ask(redis):
        return await redis.ping()

    with Supervisor(scene) as supervisor:
        assert supervisor.call(ask, CLIENT) == Returned(True)


def test_lives_are_processes_of_their_own(scene):
    with Supervisor(scene) as supervisor:
        outcomes = [supervisor.call(os.getpid) for _ in range(3)]
    pids = {one.value for one in outcomes if isinstance(one, Returned)}
    assert len(pids) == 3
    assert os.getpid() not in pids


def test_a_life_that_is_killed_before_a_command_never_sends_it(scene):
    key = scene.key("set")

    def work(redis):
        redis.get(key)
        redis.set(key, "sent")

    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        proxy.arm(Fault.FREEZE_BEFORE, "SET")
        life = supervisor.begin(work, CLIENT, through=proxy)
        assert life.stands(proxy)
        life.kill()
        proxy.thaw()
        assert not life.alive
        assert proxy.names == ["GET", "SET"]
    assert scene.redis.get(key) is None


def test_no_life_outlives_its_nursery(scene):
    key = scene.key("pid")

    def stay(redis):
        redis.rpush(key, os.getpid())
        time.sleep(60)

    with Supervisor(scene) as supervisor:
        supervisor.begin(stay, CLIENT)
        _, pid = scene.redis.blpop([key], patient(15))
        alive = psutil.Process(int(pid))
    alive.wait(patient(15))
    assert not alive.is_running()
