"""One part in a worker's hands: read, handle, move its position in one step with the effects."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from helpers.cluster import scripts
from helpers.streams.consumer.effects import Command, effect_of
from helpers.streams.consumer.steps import Failed
from helpers.streams.entry import Entry, entries, pairs
from helpers.streams.errors import HandlerError, NotTextError, StreamsError, explain, given_up
from helpers.streams.keys import DEAD, LEASE, STATE, group_key
from helpers.streams.patience import Patience
from helpers.streams.states import passes, reconnect_async
from helpers.streams.text import decoded, text_of, undecoded
from helpers.streams.values import word

LOOKS = 5  # so often in the time of a lease a worker says that it is there, and looks for parts
COMMIT_S = 0.1  # how long what is handled may wait to be committed
FIRST_RETRY_S = 0.1

Effect = Command | list[Command] | None
Handler = Callable[[Entry], Awaitable[Effect] | Effect]
Handled = list[tuple[str, tuple[Command, ...]]]  # entries, each with its effect

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartSettings:
    """How a worker works; see `PartsWorker`."""

    lease_ms: int
    batch: int
    block_ms: int
    start: str
    max_deliveries: int
    patience_s: float


@dataclass
class PartCounts:
    """What a worker has done with its parts.

    Attributes:
        handled: entries whose effects count.
        failed: how often a handler raised, or an effect was refused.
        dead: entries that it moved to the dead letters.
        taken: how often it took a part.
        lost: how often a part was another's when it came to commit.
    """

    handled: int = 0
    failed: int = 0
    dead: int = 0
    taken: int = 0
    lost: int = 0


class LostPartError(Exception):
    """The part is another worker's by now, or as soon as its lease has run out."""


class Part:
    """A part of a stream, for one group."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        stream: str,
        group: str,
        token: str,
        settings: PartSettings,
        counts: PartCounts,
    ) -> None:
        self.stream, self._group, self._token = stream, group, token
        self._client, self._settings, self.counts = client, settings, counts
        self._keys = [stream, group_key(stream, group, STATE), group_key(stream, group, LEASE)]
        self._dead = group_key(stream, group, DEAD)
        self._position = ""
        self._strikes = 0
        self._careful = False  # commit one by one: one of the next entries may end us
        self.stopped = False

    async def take(self) -> bool:
        """Take the part, if nobody has it."""
        wait_ms, position, strikes = await self._run(scripts.TAKE, self._settings.start)
        if wait_ms:
            return False
        log.info("%s takes %s at %s", self._token, self.stream, position)
        self._position, self._strikes, self._careful = position, strikes, strikes > 0
        self.counts.taken += 1
        return True

    async def leave(self) -> None:
        """Give it back, so that another one can take it at once; if its node answers."""
        with suppress(LostPartError):
            await self._run(scripts.LEAVE)

    async def work(self, handler: Handler) -> None:
        """Handle its entries, in their order, until it is stopped or another's."""
        keeping = asyncio.create_task(self._keep())
        try:
            while not self.stopped:
                if self._strikes >= self._settings.max_deliveries:
                    await self._give_up_next("no worker came to an end with it")
                elif found := await self._read():
                    await self._handle(found, handler)
        except LostPartError as error:
            self.counts.lost += 1
            log.warning("%s has lost %s: %s", self._token, self.stream, error)
        finally:
            keeping.cancel()

    async def _keep(self) -> None:
        """Renew the lease, however long a handler takes, until the part is another's."""
        with suppress(
            LostPartError, StreamsError, redis.RedisError
        ):  # the work itself meets that too
            while await self._run(scripts.RENEW):  # noqa: ASYNC110  it asks the server
                await asyncio.sleep(self._settings.lease_ms / 1000 / LOOKS)
        self.stopped = True

    async def _read(self, count: int | None = None) -> list[Entry]:
        """The entries behind the position, by XREAD; none if none came in time."""
        most, block = count or self._settings.batch, None if count else self._settings.block_ms
        try:
            reply = await self._ask(
                lambda: self._client.xread({self.stream: self._position}, most, block)
            )
        except UnicodeDecodeError:
            return await self._read_one()
        return [one for _, part in pairs(reply) for one in entries(part)]

    async def _read_one(self) -> list[Entry]:
        """The next entry, where it or one behind it is no text: that one is put aside."""
        raw = undecoded(self._client)
        reply = await self._ask(lambda: raw.xrange(self.stream, f"({self._position}", "+", 1))
        try:
            return list(decoded(reply, self.stream, "strict"))
        except NotTextError as error:
            await self._bury(text_of(reply[0][0]), str(error))
            return []

    async def _handle(self, found: list[Entry], handler: Handler) -> None:
        handled: Handled = []
        due = time.monotonic() + COMMIT_S
        for entry in found:
            try:
                effect = await self._outcome(entry, handler)
            except HandlerError:
                raise
            except Exception as error:
                if await self._commit(handled):
                    await self._failed(entry, str(Failed(error)), error)
                return
            handled.append((str(entry.id), effect))
            if self._careful or time.monotonic() >= due:
                if self.stopped or not await self._commit(handled):
                    break
                handled, due = [], time.monotonic() + COMMIT_S
        await self._commit(handled)
        self._careful = False

    async def _outcome(self, entry: Entry, handler: Handler) -> tuple[Command, ...]:
        answer = handler(entry)
        if inspect.isawaitable(answer):
            answer = await answer
        return effect_of(answer)

    async def _commit(self, handled: Handled) -> bool:
        """Move the position behind what is handled; False if the rest has to be read again."""
        if not handled:
            return True
        keys: dict[Any, None] = {}
        words: list[Any] = []
        for entry_id, effect in handled:
            words += (entry_id, len(effect))
            for command in effect:
                keys[command[1]] = None
                words += (len(command), *map(word, command))
        last = handled[-1][0]
        try:
            what, *more = await self._about(scripts.COMMIT, last, *words, keys=[*keys])
        except redis.exceptions.ClusterCrossSlotError as error:
            if len(handled) > 1:
                half = len(handled) // 2
                return await self._commit(handled[:half]) and await self._commit(handled[half:])
            await self._failed_id(last, f"its effect lies in another hash slot ({error})")
            return False
        if what == "done":
            self.counts.handled += len(handled)
            self._position, self._strikes = last, 0
            return True
        if what == "behind":
            return await self._go_back()
        said, entry_id, before = more
        self.counts.handled += [one for one, _ in handled].index(entry_id)
        self._position = before
        if what == "half":  # what came before cannot be undone, so it must not be repeated
            await self._bury(entry_id, f"Half done: {said}")
        else:
            await self._failed_id(entry_id, f"The effect was refused: {said}")
        return False

    async def _go_back(self) -> bool:
        """A failover has lost what was done: take the part as the new primary has it."""
        log.warning("%s: %s has lost what was done, and goes back", self._token, self.stream)
        await self.leave()
        if not await self.take():
            raise LostPartError("another worker has it by now")
        return False

    async def _failed(self, entry: Entry, why: str, error: BaseException) -> None:
        log.warning("%s failed on %s of %s: %s", self._token, entry.id, self.stream, why,
                    exc_info=error)  # fmt: skip
        await self._failed_id(str(entry.id), why)

    async def _failed_id(self, entry_id: str, why: str) -> None:
        """The next entry failed: it holds its part back until it is handled, or put aside."""
        self.counts.failed += 1
        self._strikes += 1
        if self._strikes >= self._settings.max_deliveries:
            await self._bury(entry_id, why)
            return
        await self._about(scripts.STRIKE, entry_id, self._strikes, why)
        await asyncio.sleep(FIRST_RETRY_S * 2 ** (self._strikes - 1))

    async def _give_up_next(self, why: str) -> None:
        if found := await self._read(1):
            await self._bury(str(found[0].id), why)
        else:
            self._strikes = 0

    async def _bury(self, entry_id: str, why: str) -> None:
        log.error("%s moves %s of %s to the dead letters: %s", self._token, entry_id, self.stream,
                  why)  # fmt: skip
        args = (self._group, why, self._strikes)
        if (await self._about(scripts.BURY, entry_id, *args, keys=[self._dead]))[0] == "done":
            self._position, self._strikes = entry_id, 0
            self.counts.dead += 1

    async def _about(self, script: str, entry_id: str, *args: Any, keys: Any = ()) -> Any:
        """Run a script about entries up to one, unless the part is another's."""
        reply = await self._run(script, self._position, entry_id, *args, keys=keys)
        if reply[0] == "lost":
            raise LostPartError("another worker has it by now")
        return reply

    async def _run(self, script: str, *args: Any, keys: Any = ()) -> Any:
        words = [self._token, self._settings.lease_ms, *args]
        run = self._client.register_script(script)
        return await self._ask(lambda: run([*self._keys, *keys], words))

    async def _ask(self, send: Callable[[], Any]) -> Any:
        """Send what can be sent twice, until the answer comes, or patience ends.

        Raises:
            LostPartError: the part was given back or lost meanwhile, and its node does not answer.
        """
        patience = Patience(self._settings.patience_s)
        while True:
            since = time.monotonic()
            try:
                return await send()
            except redis.exceptions.ClusterCrossSlotError:
                raise
            except redis.RedisError as error:
                await reconnect_async(self._client, error)
                if not passes(error):
                    raise explain(error, self.stream, self._group) from error
                wait_s = patience.failed(since)
                if patience.exhausted:
                    raise given_up(error, self.stream, self._group) from error
                if patience.ended(stopped=self.stopped):
                    raise LostPartError(f"its node is out of reach ({error})") from error
            await asyncio.sleep(wait_s)
