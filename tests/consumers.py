"""What the tests of consumers share: a small stream, ways to run a consumer, what is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from helpers import (
    AsyncConsumer,
    Consumer,
    DeadLetters,
    Entry,
    EntryId,
    connect,
    connect_async,
)
from helpers.chaos import Proxy
from helpers.streams.consumer import Counts, in_hand

STREAM, GROUP = "s", "g"
NAMES, FAILURES = "{s}:g:names", "{s}:g:failures"
AGES = 3_600_000  # ms: longer than any consumer waits before it claims


# ------------------------------------------------------------------ what is on the stream


def fill(client: Any, count: int, start: int = 1) -> None:
    """Entries 1-0, 2-0, … on the stream, and the group at its beginning."""
    for number in range(start, start + count):
        client.xadd(STREAM, {"n": number}, id=f"{number}-0")
    if not client.exists(STREAM) or not client.xinfo_groups(STREAM):
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)


def give(client: Any, name: str, count: int, *, idle_ms: int = 0) -> list[str]:
    """Let a consumer read entries and do nothing with them, for so long."""
    got = client.xreadgroup(GROUP, name, {STREAM: ">"}, count=count)
    ids = [entry_id for entry_id, _ in got[STREAM]]
    if idle_ms:
        client.xclaim(STREAM, GROUP, name, 0, ids, idle=idle_ms, justid=True)
    return ids


def number(entry: Entry) -> int:
    return int(entry.fields["n"])


def pending(client: Any) -> dict[int, tuple[str, int]]:
    """Of each pending entry the consumer, and how often it was delivered."""
    found = client.xpending_range(STREAM, GROUP, "-", "+", 10_000)
    return {
        EntryId.parse(one["message_id"]).ms: (one["consumer"], one["times_delivered"])
        for one in found
    }


def letters(client: Any) -> dict[int, Any]:
    """The dead letters, by the number of their entries; it is an error if one is there twice."""
    found = list(DeadLetters(client, STREAM, GROUP))
    by_number = {one.entry.id.ms: one for one in found}
    assert len(by_number) == len(found)
    return by_number


def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    while not condition():
        time.sleep(0.002)


def blocked(client: Any) -> int:
    """How many clients block."""
    return int(client.info("clients")["blocked_clients"])


def unblock(client: Any) -> bool:
    """Break off the wait of a client that blocks, with an error; whether there was one."""
    waiting = [int(one["id"]) for one in client.client_list() if "b" in one["flags"]]
    return any(client.client_unblock(number, error=True) for number in waiting)


def totals(client: Any) -> dict[str, str]:
    return client.hgetall("{s}:totals")


def add_up(entry: Entry) -> Any:
    """An effect of two commands: how many entries, and the sum of their numbers."""
    return [
        ("HINCRBY", "{s}:totals", "count", 1),
        ("HINCRBY", "{s}:totals", "sum", number(entry)),
    ]


# ------------------------------------------------------------------ handlers


def ignore(entry: Entry) -> None:
    pass


def failing(*numbers: int, times: int | None = None) -> tuple[Callable[[Entry], None], list[int]]:
    """A handler that raises for these entries, so many times, and what it has seen."""
    seen: list[int] = []

    def handle(entry: Entry) -> None:
        seen.append(number(entry))
        if number(entry) in numbers and (times is None or seen.count(number(entry)) <= times):
            raise RuntimeError(f"no {number(entry)}\nand more")

    return handle, seen


# ------------------------------------------------------------------ one run, in either world


def work(
    handler: Callable[[Entry], Any],
    *,
    proxy: Proxy | None = None,
    drain: bool = True,
    limit: int | None = None,
    name: str | None = "alice",
    group: str = GROUP,
    **terms: Any,
) -> Counts:
    """Run a consumer until nothing is left."""
    with proxy.connect() if proxy else connect() as client:
        consumer = Consumer(client, STREAM, group, handler, name=name, **terms)
        return consumer.run(drain=drain, limit=limit)


def work_async(
    handler: Callable[[Entry], Any],
    *,
    proxy: Proxy | None = None,
    drain: bool = True,
    limit: int | None = None,
    name: str | None = "alice",
    group: str = GROUP,
    **terms: Any,
) -> Counts:
    """The same with AsyncConsumer and a handler that is awaited."""

    async def handle(entry: Entry) -> Any:
        await asyncio.sleep(0)
        return handler(entry)

    async def run() -> Counts:
        async with proxy.connect_async() if proxy else connect_async() as client:
            consumer = AsyncConsumer(client, STREAM, group, handle, name=name, **terms)
            return await consumer.run(drain=drain, limit=limit)

    return asyncio.run(run())


both = pytest.mark.parametrize("work", [work, work_async], ids=["sync", "asyncio"])

# ------------------------------------------------------------------ for processes of their own


def everything(entry: Entry, client: Any) -> Any:
    """A handler for which 3 fails always, 5 fails once, and the others have an effect."""
    if number(entry) == 3 or (number(entry) == 5 and client.sadd("flaky", 5)):
        raise RuntimeError
    return add_up(entry)


def drain_with_everything(terms: dict[str, Any]) -> None:
    in_hand.FIRST_RETRY_S = 0.005
    with connect() as client:
        handler = partial(everything, client=client)
        Consumer(client, STREAM, GROUP, handler, name="alice", **terms).run(drain=True)


def drain_with_poison(poison: list[int], name: str | None, terms: dict[str, Any]) -> None:
    """Work until nothing is left, or until the poison kills the process."""
    client = connect()

    def handle(entry: Entry) -> Any:
        client.rpush("seen", number(entry))
        if number(entry) in poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return add_up(entry)

    Consumer(client, STREAM, GROUP, handle, name=name, **terms).run(drain=True)


def work_when_told(client: Any, name: str | None, terms: dict[str, Any]) -> Counts:
    """Say which entry is in hand, and wait for a word on the list `go` before it is done."""

    def handle(entry: Entry) -> Any:
        client.rpush("begun", number(entry))
        client.blpop(["go"], timeout=0)
        client.rpush("seen", number(entry))
        return add_up(entry)

    return Consumer(client, STREAM, GROUP, handle, name=name, **terms).run()


async def work_when_told_async(client: Any, name: str | None, terms: dict[str, Any]) -> Counts:
    async def handle(entry: Entry) -> Any:
        await client.rpush("begun", number(entry))
        await client.blpop(["go"], timeout=0)
        await client.rpush("seen", number(entry))
        return add_up(entry)

    consumer = AsyncConsumer(client, STREAM, GROUP, handle, name=name, **terms)
    return await consumer.run(signals=True)
