"""Workers of a stream in parts: they share the parts, and each part has one owner at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio

from helpers.cluster import scripts
from helpers.cluster.part import LOOKS, Handler, Part, PartCounts, PartSettings
from helpers.cluster.parts import Parts
from helpers.streams.consumer.consumer import expect_client, expect_handler
from helpers.streams.consumer.settings import expect_positive
from helpers.streams.errors import ArgumentError
from helpers.streams.keys import WORKERS, expect_name, group_key
from helpers.streams.patience import LIMIT_S
from helpers.streams.signals import stopping
from helpers.streams.slots import AsyncClient, client_for
from helpers.streams.states import passes

LEASE_MS = 3000
BATCH = 200
BLOCK_MS = 500

log = logging.getLogger(__name__)


class PartsWorker:
    """A worker of a group that shares the parts of a stream.

        await PartsWorker(cluster, Parts("weather", 12), "averages", handler).run()

    Promise: the entries of one part, and so those of one key, take effect in their order, each
    once, whoever dies, is paused, or comes and goes. For that a handler returns its effect, as a
    `Consumer`'s does: commands on keys in the slot of the part, such as
    `sibling_key(stream, "mean")`. They are run in one step with the position of the group in that
    part, and only while the part is this worker's. What a handler does elsewhere happens at least
    once, and two workers may do it at the same time.

    A part is a worker's by a lease. When its worker dies, it is another's after `lease_ms` and a
    fifth of it; when its worker leaves or has more than its share, at once. An entry that fails
    holds its part back, until it is handled or, after `max_deliveries`, a dead letter.

    After a failover that has lost entries, their effects are lost with them: position and effects
    lie in the part's own slot, and are as the new primary has them.
    """

    def __init__(
        self,
        client: AsyncClient,
        parts: Parts,
        group: str,
        handler: Handler,
        *,
        lease_ms: int = LEASE_MS,
        batch: int = BATCH,
        block_ms: int = BLOCK_MS,
        start: str = "0",
        max_deliveries: int = 5,
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to work; nothing is sent before `run()`.

        Args:
            client: a client of a cluster, or of a server.
            parts: the stream.
            group: whose positions and leases these are. It needs no XGROUP CREATE.
            handler: takes an Entry; returns None, or commands to run with its acknowledgement. One
                that is no coroutine function must return well within the lease.
            lease_ms: for how long a part stays with a worker that is silent, in ms.
            batch: the most entries a read.
            block_ms: how long a read waits, and so how soon `stop()` is heard, in ms.
            start: where to begin in a part where the group never was: `0` or `$`.
            max_deliveries: how often an entry may fail, or its worker die with it.
            patience_s: how long a node may be out of reach or silent, in seconds.

        Raises:
            ArgumentError: a limit of zero or less, a start that is neither, or a client that
                replies with bytes or would give up before BLOCK ends.
        """
        expect_handler(handler)
        limits = {"lease_ms": lease_ms, "batch": batch, "block_ms": block_ms}
        for name, value in (limits | {"max_deliveries": max_deliveries}).items():
            expect_positive(name, value)
        if start not in ("0", "$"):
            raise ArgumentError(f"start is '0' or '$', not {start!r}.")
        self.parts, self.group = parts, expect_name("group", group)
        self.counts = PartCounts()
        self._client, self._handler = client, handler
        self._settings = PartSettings(lease_ms, batch, block_ms, start, max_deliveries, patience_s)
        self._rest_s = lease_ms / 1000 / LOOKS
        self._workers = group_key(parts.name, group, WORKERS)
        self._node = client_for(client, [self._workers])
        expect_client(client_for(client, [parts.stream(0)]), block_ms)
        self._stopped = False
        self._begin()

    @property
    def token(self) -> str:
        """What its leases hold; another one for each run."""
        return self._token

    @property
    def owned(self) -> list[str]:
        """The streams of the parts that it has now."""
        return sorted(self._tasks)

    def stop(self) -> None:
        """End `run()` after the entries in hand; the parts are given back."""
        self._stopped = True
        for part, _ in self._tasks.values():
            part.stopped = True

    async def run(self, *, signals: bool = False) -> PartCounts:
        """Work until `stop()`.

        Raises:
            HandlerError: the handler returned something that is no effect.
            StreamsError: a part is not a stream, or a node was in a state for too long.
            redis.ConnectionError, redis.TimeoutError: a node was out of reach or silent too long.
        """
        if self._tasks:
            raise ArgumentError("This worker is at work already.")
        self._begin()
        with stopping(self.stop, wanted=signals):
            try:
                while not self._stopped:
                    await self._share()
                    await self._rest()
            finally:
                await self._end()
        return self.counts

    def _begin(self) -> None:
        self._token = secrets.token_hex(8)  # a number could be given twice after a failover
        self._tasks: dict[str, tuple[Part, asyncio.Task[None]]] = {}
        made: dict[str, Any] = {one: client_for(self._client, [one]) for one in self.parts.streams}
        self._parts = {
            stream: Part(client, stream, self.group, self._token, self._settings, self.counts)
            for stream, client in made.items()
        }

    async def _share(self) -> None:
        """Say that we are there; keep, give back and take parts until we have our share."""
        lasts = self._settings.lease_ms
        try:
            announce = self._node.register_script(scripts.ANNOUNCE)
            tokens = await announce([self._workers], [self._token, lasts])
        except redis.RedisError as error:
            if not passes(error):
                raise
            log.warning("%s cannot ask who else is at work: %s", self._token, error)
            tokens = []
        await self._let_go()
        if not tokens:
            return
        share = share_of(self._token, tokens, self.parts.count)
        await asyncio.gather(*map(self._give_back, list(self._tasks)[share:]))
        free = [one for one in self.parts.streams if one not in self._tasks]
        for stream in random.sample(free, len(free)):
            if len(self._tasks) >= share or self._stopped:
                break
            part = self._parts[stream]
            part.stopped = False
            with suppress(TimeoutError):  # its node is silent: what it took then, it takes again
                if await asyncio.wait_for(part.take(), self._rest_s):
                    self._tasks[stream] = part, asyncio.create_task(part.work(self._handler))

    async def _let_go(self) -> None:
        """Forget parts that are another's by now."""
        for stream, (_, task) in list(self._tasks.items()):
            if task.done():
                del self._tasks[stream]
                await task  # raises what ended it

    async def _give_back(self, stream: str) -> None:
        part, task = self._tasks.pop(stream)
        part.stopped = True
        await task
        await part.leave()

    async def _rest(self) -> None:
        """Wait for the next look; not when a part has ended."""
        if tasks := [task for _, task in self._tasks.values()]:
            await asyncio.wait(tasks, timeout=self._rest_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self._rest_s)

    async def _end(self) -> None:
        """Give all parts back."""
        owned, self._tasks = self._tasks, {}
        for part, _ in owned.values():
            part.stopped = True
        ended = await asyncio.gather(*(task for _, task in owned.values()), return_exceptions=True)
        leaving = (part.leave() for part, _ in owned.values())
        await asyncio.gather(*leaving, return_exceptions=True)  # else their leases run out
        with suppress(redis.RedisError):
            await self._node.zrem(self._workers, self._token)
        for error in ended:
            if isinstance(error, BaseException):
                raise error


def share_of(token: str, tokens: Sequence[str], parts: int) -> int:
    """How many parts a worker should have, so that no two differ by more than one.

    >>> [share_of(one, ["a", "b", "c"], 8) for one in "abc"]
    [3, 3, 2]
    """
    each, more = divmod(parts, len(tokens))
    return each + (sorted(tokens).index(token) < more)
