"""The faults of the averages' soak: what they do to its workers and to its server."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import redis

from helpers.averages import AVERAGES, AVERAGES_STATE
from helpers.chaos import LOSSES, Proxy, SpareServer
from helpers.chaos import Fault as Loss
from helpers.partitions import DEMO_START
from tests.lives import Life
from tests.soaks.server import SERVER, server_faults
from tests.soaks.stage import KILLED, NO_SERVER, REPLACED, Act, Fault, Lane, Stage, Strike
from tests.soaks.workers import (
    AGGREGATING,
    DAYS,
    GAVE_UP,
    LEAVE,
    PRODUCER,
    ROLES,
    SHOWING,
    STATES,
    Progress,
    Task,
    work,
)

if TYPE_CHECKING:
    from tests.soaks.averages import Plan

MARGIN = 1 / 60  # of the work: so far may a worker go past the next fault that is to strike it
REST_S = 0.02  # the longest time until a kill, and until a server that was killed is back
LONG_S = 5.0  # a worker that was without a server for so long may give up
FEW = 0.1  # days that are left: then more are added, while faults are to come
KILLS = (Loss.FREEZE_BEFORE, Loss.FREEZE_AFTER, None, None)


class Aim(NamedTuple):
    """Which command of a worker a fault hits."""

    fault: Loss | None  # None: none, but the worker at any moment
    target: tuple[str, int]  # ("", 1): the first one that comes, ("EVALSHA", 2): the second script
    stays: bool  # the same process goes on afterwards


def _aim(*faults: Loss | None, rng: random.Random) -> Aim:
    fault = rng.choice(faults)
    # Mostly one of its scripts, by which all is written.
    target = ("EVALSHA", rng.randint(1, 2)) if rng.random() < 0.7 else ("", rng.randint(1, 4))
    return Aim(fault, target, stays=fault in LOSSES)


class Post:
    """A worker's part: the process that does the work now, and how far it may go."""

    life: Life

    def __init__(self, role: str, lane: Lane, url: str) -> None:
        self.role, self.lane = role, lane
        self.proxy = Proxy(url)
        self.others: list[Life] = []  # of the producer: several do not disturb each other
        self.leave = 0.0
        self.before: str | float = ""  # what shows whether it works, when it was started
        self.aim: Aim | None = None  # of the fault that is under way

    @property
    def finished(self) -> bool:
        """Whether its process found nothing left to do."""
        return self.life.exit_code == 0

    @property
    def next_stop(self) -> float:
        """How far it may go before something befalls it."""
        return self.lane.acts[0].at + MARGIN if self.lane.acts else math.inf

    @property
    def needs_proxy(self) -> bool:
        """Whether the next process must be behind the proxy: if one of its commands is hit."""
        if self.aim and self.aim.fault:
            return True
        for act in self.lane.acts:
            if act.aim and act.aim.fault:
                return True
            if not (act.aim and act.aim.stays):
                break
        return False


class Hit(NamedTuple):
    """What a fault has hit: a worker's process, or two of them."""

    post: Post
    life: Life
    second: Life | None = None
    owner: str = ""


class Struck(NamedTuple):
    """A command that is to be hit: has it been, and so many more passed?"""

    post: Post
    aim: Aim
    passed: Callable[[int], bool]


class Down(NamedTuple):
    """The server is down."""

    since: float
    lives: list[Life]  # that were there


class Havoc(Stage):
    """The workers at work, and all that befalls them and the server."""

    # A small append-only file is rewritten often: kills hit that too, and a start takes no second.
    OPTIONS = ("--appendonly yes --appendfsync always --auto-aof-rewrite-min-size 1mb",)
    plan: Plan

    def __init__(self, plan: Plan, server: SpareServer) -> None:
        super().__init__(plan, server)
        self._progress = Progress(self.client, plan.days)
        self._numbers = count(1)
        self._excused: set[Life] = set()
        self._quiet = False  # no new fault may begin
        self._posts = {role: Post(role, self.lanes[role], server.url) for role in ROLES}
        self.client.set(DAYS, plan.days)

    def open(self) -> None:
        for post in self._posts.values():
            self._permit(post, post.next_stop)
            self._hire(post)

    def tend(self) -> None:
        for post in self._posts.values():
            if post.life.exit_code is not None and not post.finished:
                self._expect(post, post.life)
                self._hire(post)
            for life in [life for life in post.others if life.exit_code is not None]:
                post.others.remove(life)
                self._expect(post, life, 0)
            self._permit(post, post.next_stop)
        producer = self._posts[PRODUCER]
        if producer.finished and self._scarce():
            self.client.set(DAYS, self._progress.there() + 1)
            self._hire(producer)

    def _scarce(self) -> bool:
        """Whether faults are still to come, and soon no work is left that they could strike."""
        left = self._progress.there() - self._progress.aggregated() * self.plan.days
        return self.lanes[PRODUCER].open or (not self.all_struck and left < FEW)

    def far(self, whom: str) -> float:
        return self._progress.of(AGGREGATING if whom == SERVER else whom)

    def due(self, whom: str) -> bool:
        return not self._quiet and super().due(whom)

    @property
    def over(self) -> bool:
        """Whether all is written, aggregated and shown."""
        producer, *consumers = self._posts.values()
        last = DEMO_START + timedelta(days=self._progress.there() - 1)
        for entry_id, hour in self.client.xrevrange(AVERAGES, count=1):
            published = (hour["date"], hour["hour"]) == (f"{last:%Y/%m/%d}", "23")
            read = entry_id == self.client.hget(AVERAGES_STATE, "last_message_id")
            begun = all(map(self._begun, consumers))
            return producer.finished and published and read and begun
        return False

    def close(self) -> None:
        producer, *consumers = self._posts.values()
        for life in producer.others:
            life.kill()
        for post in consumers:
            post.life.stop()
        for post in consumers:
            post.life.wait(20)
            self._expect(post, post.life, 0)

    def kill_all(self) -> None:
        super().kill_all()
        for post in self._posts.values():
            post.proxy.close()

    # ------------------------------------------------------------ the processes

    def _hire(self, post: Post) -> None:
        behind = post.needs_proxy
        post.before = self._mark(post)
        seed = f"{self.plan.seed} {next(self._numbers)}"
        task = Task(post.role, self.server.url, self.plan.days, seed)
        post.life = self.begin(work, task, url=post.proxy.url if behind else "")
        self.report.more["behind a proxy"] += behind

    def _expect(self, post: Post, life: Life, *codes: int) -> None:
        """Note how a process ended, and whether it may do that."""
        code = life.exit_code
        if code == NO_SERVER:
            self.report.more["found no server"] += 1
        elif code == GAVE_UP and life in self._excused:
            self.report.more["gave up"] += 1
        elif code not in codes:
            said = f": {life.output.strip()}" if life.output else ""
            self.report.wrong.append(f"a process of the {post.role} ended with {code}{said}")

    def _mark(self, post: Post) -> str | float:
        """What changes when a process begins to work."""
        return self._progress.filled() if post.role == PRODUCER else self._state(post, "owner")

    def _begun(self, post: Post) -> bool:
        return post.finished or self._mark(post) != post.before

    def _state(self, post: Post, name: str) -> str:
        """A field of a consumer's state."""
        return self.client.hget(STATES[post.role], name) or ""

    def _permit(self, post: Post, leave: float) -> None:
        """Let a worker come so far."""
        if leave > post.leave:
            post.leave = leave
            self.client.hset(LEAVE, post.role, leave)

    def _more(self, *posts: Post) -> None:
        """Let workers go on from where they are."""
        for post in posts:
            self._permit(post, self.at[post.role] + MARGIN)

    # ------------------------------------------------------------ the faults

    def crash(self, _: Act) -> Strike:
        """Kill the server, for a moment."""
        yield
        down = self._down()
        time.sleep(self.rng.uniform(0, REST_S))
        return down

    def outage(self, _: Act) -> Strike:
        """Kill the server, until all workers have given up."""
        posts = self._posts.values()
        self._quiet = True
        try:
            while any(post.lane.act or not self._begun(post) for post in posts):
                self._more(*posts)  # all: one waits for what another one writes
                yield
        finally:
            self._quiet = False
        down = self._down()
        for life in self.lives:
            life.wait(60)
        return down

    def _down(self) -> Down:
        there = [life for life in self.lives if life.exit_code is None]
        self.server.kill()
        return Down(time.monotonic(), there)

    def away(self, _: Down) -> bool:
        """Whether the server does not answer."""
        with suppress(redis.ConnectionError), self.server.connect() as client:
            return not client.ping()
        return True

    def abandoned(self, down: Down) -> bool:
        """Whether all workers have ended because the server does not answer."""
        return self.away(down) and all(life.exit_code is not None for life in down.lives)

    def restart(self, down: Down) -> None:
        """Start the server again, and excuse those who gave up, if it was away for long."""
        self.server.start()
        away_s = time.monotonic() - down.since
        self.report.more["ms without the server"] += round(1000 * away_s)
        if away_s > LONG_S:
            self._excused.update(down.lives)

    def kill(self, act: Act) -> Strike:
        """Kill a worker, at any moment or while one of its commands stands still."""
        post = self._posts[act.whom]
        post.aim = act.aim
        if act.aim.fault:
            yield from self._stand_still(post, act.aim)
        else:
            early = self.rng.random() < 0.1  # even if it has not begun to work
            while not (early or self._begun(post)):
                self._more(post)
                yield
            time.sleep(self.rng.uniform(0, REST_S))
        for life in post.others:
            life.kill()
        post.others.clear()
        post.life.kill()
        return Hit(post, post.life)

    def killed(self, hit: Hit) -> bool | None:
        """Whether that ended it; it may have ended just before."""
        return True if hit.life.exit_code == KILLED else None

    def succeed(self, hit: Hit) -> None:
        """Start a process in place of one that was killed."""
        post = hit.post
        self._expect(post, hit.life, KILLED, *([0] if post.role == PRODUCER else []))
        post.proxy.reset()
        post.proxy.thaw()
        if self.killed(hit):
            post.aim = None
        self._hire(post)

    def _stand_still(self, post: Post, aim: Aim) -> Strike:
        """Wait until a command stands still."""
        passed = self._arm(post, aim)
        while not post.proxy.frozen(0):
            if passed(1):  # another one has passed: the server died, and took the first with it
                passed = self._arm(post, aim)
            self._more(post)
            yield
        self.report.more["commands that stood still"] += 1

    def lose(self, act: Act) -> Strike:
        """Let a worker lose its connection."""
        post = self._posts[act.whom]
        post.aim = act.aim
        struck = Struck(post, act.aim, self._arm(post, act.aim))
        yield
        return struck

    def lost(self, struck: Struck) -> bool:
        """Whether the command has come, and after one that is held, as many more."""
        self._more(struck.post)
        return struck.passed(struck.aim.target[1] if struck.aim.fault is Loss.HOLD else 0)

    def deliver(self, struck: Struck) -> None:
        """Let what was held up come late."""
        struck.post.aim = None
        with suppress(OSError, EOFError):  # the server may have died since
            struck.post.proxy.deliver()

    def _arm(self, post: Post, aim: Aim) -> Callable[[int], bool]:
        """Set a fault; the answer says whether it has surely struck, and so many more passed."""
        name, number = aim.target

        def seen() -> int:
            return sum(name in ("", one) for one in post.proxy.names)

        assert aim.fault
        post.proxy.reset()
        post.proxy.arm(aim.fault, at=aim.target if name else number)
        enough = seen() + number
        return lambda more: seen() >= enough + more

    def twin(self, act: Act, *, paused: bool = False) -> Strike:
        """Start a second process, while the first one is at work, or paused."""
        post = self._posts[act.whom]
        while post.finished or not self._begun(post):
            self._more(post)
            yield
        first = post.life
        if paused:
            first.pause()
        self._hire(post)
        while not self._begun(post):
            if paused:  # else the first one would do all the work meanwhile
                self._more(post)
            yield
        if post.role == PRODUCER:
            first.resume()
            post.others.append(first)
            return Hit(post, first)
        commits = self._state(post, "commits")
        while paused and self._state(post, "commits") == commits:  # the second one goes on
            self._more(post)
            yield
        second, owner = post.life, self._state(post, "owner")
        second.pause()  # so that there is work left
        first.resume()
        return Hit(post, first, second, owner)

    def pause(self, act: Act) -> Strike:
        """Pause a process until its successor has gone on."""
        return self.twin(act, paused=True)

    def ousted(self, hit: Hit) -> bool | None:
        """Whether the first of two consumers has ended because of the second; both may produce."""
        self._more(hit.post)
        if hit.second is None or hit.life.exit_code == REPLACED:
            return True
        return None if hit.life.exit_code is not None else False

    def settle(self, hit: Hit) -> None:
        """The first of two consumers may change nothing; the second one goes on."""
        post = hit.post
        if hit.second is None:
            return
        self._expect(post, hit.life, REPLACED)
        same = post.life is not hit.second or self._state(post, "owner") == hit.owner
        self.report.expect(same, f"the first of two processes took the {post.role} back")
        hit.second.resume()

    FAULTS: ClassVar[Sequence[Fault]] = (
        Fault("outage", 1, (SERVER,), outage, abandoned, restart),
        Fault("crash", 60, (SERVER,), crash, away, restart),
        Fault("kill", 240, (AGGREGATING, PRODUCER, AGGREGATING, SHOWING),
              kill, killed, succeed, partial(_aim, *KILLS)),
        Fault("cut", 30, ROLES, lose, lost, deliver, partial(_aim, Loss.CUT_BEFORE)),
        Fault("no reply", 30, ROLES, lose, lost, deliver, partial(_aim, Loss.LOSE_REPLY)),
        Fault("late copy", 30, ROLES, lose, lost, deliver, partial(_aim, Loss.HOLD)),
        Fault("pause", 20, (AGGREGATING, SHOWING, PRODUCER, AGGREGATING), pause, ousted, settle),
        Fault("twin", 10, (AGGREGATING, SHOWING), twin, ousted, settle),
        *server_faults(8),
    )  # fmt: skip
