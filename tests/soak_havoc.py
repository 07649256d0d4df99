"""What the averages' soak does to its workers and to its server."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from helpers.averages import AVERAGES, AVERAGES_STATE
from helpers.chaos import Fault, Proxy, SpareServer
from tests.lives import Life
from tests.soak_workers import (
    AGGREGATING,
    GAVE_UP,
    LEAVE,
    NO_SERVER,
    PRODUCER,
    ROLES,
    STATES,
    Progress,
    Task,
    patiently,
    work,
)
from tests.soaking import KILLED, REPLACED

if TYPE_CHECKING:
    from tests.soak_averages import Act, Report

SERVER = "server"
MARGIN = 1 / 60  # of the work: so far may somebody go past what shall befall them next
LONG_S = 5.0  # whoever was without a server for so long may give up

T = TypeVar("T")
Doing = Iterator[None]  # what befalls somebody, step by step


@dataclass
class Part:
    """Somebody whom something shall befall, and what does at the moment."""

    role: str
    acts: deque[Act]
    act: Act | None = None
    doing: Doing | None = None


class Post(Part):
    """A worker's part: the process that does the work now, and how far it may go."""

    def __init__(self, role: str, acts: deque[Act], url: str) -> None:
        super().__init__(role, acts)
        self.proxy = Proxy(url)
        self.life: Life
        self.others: list[Life] = []  # of the producer: several do not disturb each other
        self.leave = 0.0
        self.before: str | float = ""  # what told whether somebody works, when it was started

    @property
    def finished(self) -> bool:
        """Whether its process found nothing left to do."""
        return self.life.exit_code == 0

    @property
    def next_stop(self) -> float:
        """How far it may go before something befalls it."""
        return self.acts[0].at + MARGIN if self.acts else math.inf

    @property
    def needs_proxy(self) -> bool:
        """Whether the next process shall be behind the proxy: if it is to have a fault."""
        for act in (self.act, *self.acts):
            if act and act.fault:
                return True
            if act and act.last:
                break
        return False


class Havoc:
    """The workers at work, and all that befalls them and the server."""

    def __init__(self, report: Report, acts: list[Act], server: SpareServer) -> None:
        self._report, self._plan, self._server = report, report.plan, server
        self._progress = Progress(server.url, self._plan.days)
        self._client = self._progress.client
        self._numbers = count(1)
        self._lives: list[Life] = []
        self._excused: set[Life] = set()
        self._quiet = False  # nothing new shall happen
        mine = {role: deque(act for act in acts if act.role == role) for role in (*ROLES, SERVER)}
        self._posts = [Post(role, mine[role], server.url) for role in ROLES]
        self._parts: list[Part] = [*self._posts, Part(SERVER, mine[SERVER])]
        self._far: dict[str, float] = {}

    def open(self) -> None:
        """Begin, with a process for each post."""
        for post in self._posts:
            self._permit(post, post.next_stop)
            self._hire(post)

    @property
    def over(self) -> bool:
        """Whether all has happened, and all is written, aggregated and shown."""
        producer, *consumers = self._posts
        if any(part.acts or part.doing for part in self._parts) or not producer.finished:
            return False
        newest = self._ask(lambda: self._client.xrevrange(AVERAGES, count=1))
        place = self._ask(lambda: self._client.hget(AVERAGES_STATE, "last_message_id"))
        read = not newest or newest[0][0] == place
        return read and self._far[AGGREGATING] >= 1 and all(map(self._begun, consumers))

    def step(self) -> None:
        """Replace those who have ended, and let happen what is due."""
        self._tend()
        self._far = {role: self._ask(partial(self._progress.of, role)) for role in ROLES}
        self._far[SERVER] = self._far[AGGREGATING]
        for part in self._parts:
            if not part.doing and self._due(part):
                part.act = part.acts.popleft()
                part.doing = self._begin(part, part.act)
            if part.doing and next(part.doing, True):  # each step yields None
                part.act = part.doing = None
        for post in self._posts:
            self._permit(post, post.next_stop)

    def close(self) -> None:
        """Ask the consumers to end."""
        producer, *consumers = self._posts
        for life in producer.others:
            life.kill()
        for post in consumers:
            post.life.stop()
        for post in consumers:
            post.life.wait(20)
            self._expect(post, post.life, 0)

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for life in self._lives:
            life.kill()
        for post in self._posts:
            post.proxy.close()

    def __str__(self) -> str:
        return "; ".join(
            f"{one.role} at {self._far.get(one.role, 0):.3f}, {len(one.acts)} to come, {one.act}"
            for one in self._parts
        )

    # ------------------------------------------------------------ the processes

    def _hire(self, post: Post) -> None:
        behind = post.needs_proxy
        post.before = self._mark(post)
        seed = f"{self._plan.seed} {next(self._numbers)}"
        task = Task(post.role, self._server.url, self._plan.days, seed)
        post.life = Life(work, task, url=post.proxy.url if behind else self._server.url)
        self._lives.append(post.life)
        self._report.lives += 1
        self._report.proxied += behind

    def _tend(self) -> None:
        """Start somebody in place of each process that ended."""
        for post in self._posts:
            if post.life.exit_code is not None and not post.finished:
                self._expect(post, post.life)
                self._hire(post)
            for life in [life for life in post.others if life.exit_code is not None]:
                post.others.remove(life)
                self._expect(post, life, 0)

    def _expect(self, post: Post, life: Life, *codes: int) -> None:
        """Note how a process ended, and whether it may do that."""
        code = life.exit_code
        if code == NO_SERVER:
            self._report.found_none += 1
        elif code == GAVE_UP and life in self._excused:
            self._report.gave_up += 1
        elif code not in codes:
            self._report.wrong.append(f"a process of the {post.role} ended with {code}")

    def _mark(self, post: Post) -> str | float:
        """What changes when a process begins to work."""
        if post.role == PRODUCER:
            return self._ask(self._progress.filled)
        return self._state(post, "owner")

    def _begun(self, post: Post) -> bool:
        return post.finished or self._mark(post) != post.before

    def _state(self, post: Post, name: str) -> str:
        """A field of a consumer's state."""
        return self._ask(lambda: self._client.hget(STATES[post.role], name)) or ""

    def _permit(self, post: Post, leave: float) -> None:
        """Let a worker come so far."""
        if leave > post.leave:
            post.leave = leave
            self._ask(lambda: self._client.hset(LEAVE, post.role, leave))

    def _more(self, post: Post) -> None:
        """Let a worker go on from where it is."""
        self._permit(post, self._far[post.role] + MARGIN)

    def _ask(self, ask: Callable[[], T]) -> T:
        return patiently(ask)

    # ------------------------------------------------------------ what befalls them

    def _due(self, part: Part) -> bool:
        return bool(part.acts) and part.acts[0].at <= self._far[part.role] and not self._quiet

    def _begin(self, part: Part, act: Act) -> Doing:
        if not isinstance(part, Post):
            return self._outage() if act.what == "outage" else self._crash(act)
        if act.what == "kill":
            return self._kill(part, act)
        return self._lose(part, act) if act.what == "lose" else self._double(part, act)

    def _crash(self, act: Act) -> Doing:
        """Kill the server, and start it again after a moment."""
        with self._away():
            self._server.kill()
            time.sleep(act.rest_s)
        self._report.kills[SERVER] += 1
        yield

    def _outage(self) -> Doing:
        """Kill the server, and start it again when all workers have given up."""
        self._quiet = True
        while any(post.doing or not self._begun(post) for post in self._posts):
            for post in self._posts:  # all: one waits for what another one writes
                self._more(post)
            yield
        with self._away():
            self._server.kill()
            for life in self._lives:
                life.wait(60)
        self._report.outages += 1
        self._quiet = False

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """Start the server again, and excuse whoever gave up, if it was away for long."""
        begun = time.monotonic()
        there = [life for life in self._lives if life.exit_code is None]
        yield
        self._server.start()
        away_s = time.monotonic() - begun
        self._report.away_s += away_s
        if away_s > LONG_S:
            self._excused.update(there)

    def _kill(self, post: Post, act: Act) -> Doing:
        """Kill a worker, at any moment or while one of its commands stands still."""
        if act.fault:
            yield from self._stand_still(post, act)
        else:
            while not (act.early or self._begun(post)):
                self._more(post)
                yield
            time.sleep(act.rest_s)
        for life in post.others:
            life.kill()
        post.others.clear()
        self._report.late += self._far[post.role] >= 1
        while not self._killed(post):
            self._hire(post)  # it had ended before: its successor is killed
        self._report.kills[post.role] += 1
        post.proxy.reset()
        post.proxy.thaw()
        post.act = None
        self._hire(post)

    def _killed(self, post: Post) -> bool:
        """Kill a worker; False if it had ended before."""
        post.life.kill()
        if post.life.exit_code == KILLED:
            return True
        self._expect(post, post.life, *([0] if post.role == PRODUCER else []))
        return False

    def _stand_still(self, post: Post, act: Act) -> Doing:
        """Wait until a command stands still."""
        struck = self._arm(post, act)
        while not (post.finished or post.proxy.frozen(0)):
            if struck(1):  # another one has passed: the server died, and took the first with it
                struck = self._arm(post, act)
            self._more(post)
            yield
        self._report.standing += post.proxy.frozen(0)

    def _lose(self, post: Post, act: Act) -> Doing:
        """Let a worker lose its connection. What was held up comes when it has moved on."""
        struck = self._arm(post, act)
        while not struck(0):
            if post.finished:
                return
            self._more(post)
            yield
        assert act.fault
        self._report.losses[act.fault.name] += 1
        if act.fault is Fault.HOLD:
            for _ in range(act.target[1]):
                yield
            with contextlib.suppress(OSError, EOFError):  # the server may have died since
                post.proxy.deliver()

    def _arm(self, post: Post, act: Act) -> Callable[[int], bool]:
        """Set a fault; the answer says whether it has surely struck, and so many more passed."""
        name, number = act.target

        def seen() -> int:
            return sum(name in ("", one) for one in post.proxy.names)

        assert act.fault
        post.proxy.reset()
        post.proxy.arm(act.fault, at=act.target if name else number)
        enough = seen() + number
        return lambda more: seen() >= enough + more

    def _double(self, post: Post, act: Act) -> Doing:
        """Start a second process, while the first one is paused, or at work."""
        while not self._begun(post):
            self._more(post)
            yield
        if post.finished:
            return
        first, paused = post.life, act.what == "pause"
        if paused:
            first.pause()
        (self._report.pauses if paused else self._report.twins)[post.role] += 1
        post.act = None
        self._hire(post)
        while not self._begun(post):
            if paused:  # else the first one would do all the work meanwhile
                self._more(post)
            yield
        if post.role == PRODUCER:
            first.resume()
            post.others.append(first)
        else:
            yield from self._end_of(first, post, paused)

    def _end_of(self, first: Life, post: Post, paused: bool) -> Doing:
        """The first of two consumers must end, and may change nothing."""
        commits = self._state(post, "commits")
        while paused and self._state(post, "commits") == commits:  # the second one goes on
            self._more(post)
            yield
        second, owner = post.life, self._state(post, "owner")
        second.pause()  # so that there is work left
        first.resume()
        while first.exit_code is None:
            self._more(post)
            yield
        self._expect(post, first, REPLACED)
        if post.life is second and self._state(post, "owner") != owner:
            self._report.wrong.append(f"the first of two processes took the {post.role} back")
        second.resume()
