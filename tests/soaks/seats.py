"""The seats of the board's soak, and who watches when their events are counted: processes.

A seat here keeps its events in memory, and speaks the board's protocol with as little work as it
can: on laptops of their own, seats would not take the board's processor either.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import signal
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis

from helpers.checks.mistakes import catalogue
from helpers.course.server.identity import probe
from helpers.room.classes import board_server
from helpers.room.events import MOST_EVENTS
from helpers.room.keeping import Keys

EXERCISES = tuple(f"{lab:02}.{number}" for lab in range(1, 5) for number in (1, 2, 3))
BLOCK = 50  # events of one exercise, of which the last one passes
BURST_EVERY_S, BURST_S, BURST = 60.0, 5.0, 5  # now and then, so many times as fast
LOOK_S = 0.02
SILENT_S = 5.0
RETRY_S = (0.1, 0.5)


class Chair(NamedTuple):
    """A seat that has joined."""

    number: int
    name: str
    secret: str


class Times(NamedTuple):
    """When events were made, or counted, by the machine's own clock: seat → one for each event."""

    of: dict[int, array[float]]


def event(seat: int, n: int) -> dict[str, Any]:
    """A seat's n-th event."""
    dice = random.Random(f"{seat} {n}")
    outcome = (
        "passed" if n % BLOCK == BLOCK - 1 else dice.choice(("wrong", "wrong", "blank", "error"))
    )
    name = exercise(seat, n)
    hint = dice.choice((0, *list(catalogue()[name])[:5])) if outcome == "wrong" else 0
    return {"exercise": name, "outcome": outcome, "hint": hint, "seconds": n, "n": n}


def exercise(seat: int, n: int) -> str:
    """What a seat works on: one exercise after the other, and from the beginning again."""
    return EXERCISES[(seat + n // BLOCK) % len(EXERCISES)]


# ------------------------------------------------------------------ at work


def sit(url: str, chairs: Sequence[Chair], begin: float, rate: float, file: str) -> None:
    """Be these seats until SIGTERM; then hand over what waits, and say when all was made."""
    made = asyncio.run(_sit(url, chairs, begin, rate))
    Path(file).write_bytes(pickle.dumps(Times(made)))


async def _sit(
    url: str, chairs: Sequence[Chair], begin: float, rate: float
) -> dict[int, array[float]]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    seats = [_Seat(url, one, begin, rate, stop) for one in chairs]
    await asyncio.gather(*(task for one in seats for task in (one.make(), one.send())))
    return {one.chair.number: one.made for one in seats}


class _Seat:
    def __init__(
        self, url: str, chair: Chair, begin: float, rate: float, stop: asyncio.Event
    ) -> None:
        self.chair, self.made, self._stop = chair, array("d"), stop
        self._rate, self._begin = rate, begin
        self._post = _Post(url, chair.secret)
        self._waiting: deque[dict[str, Any]] = deque()
        self._work = asyncio.Event()
        self._dice = random.Random(chair.number)

    async def make(self) -> None:
        """Make events at the rate, each second a little earlier or later."""
        due = self._begin + self._dice.random() / self._rate
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - time.monotonic()))
                break
            now = time.monotonic()
            self.made.append(now)
            self._waiting.append(event(self.chair.number, len(self.made)))
            self._work.set()
            due += self._dice.uniform(0.5, 1.5) / (self._rate * _haste(now - self._begin))
        self._work.set()

    async def send(self) -> None:
        """Hand over what waits, until all is confirmed and nothing more comes."""
        while not self._stop.is_set() or self._waiting:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                try:
                    self._settle(await self._hand_over())
                except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                    self._post.close()
                    await asyncio.sleep(self._dice.uniform(*RETRY_S))
            if self._stop.is_set():
                self._work.set()
        self._post.close()

    async def _hand_over(self) -> int:
        events = [self._waiting[place] for place in range(min(MOST_EVENTS, len(self._waiting)))]
        rest = len(self._waiting) - len(events)
        body = {"events": events, "dropped": 0, "waiting": rest}
        status, said = await self._post("/events", body)
        if status != 200:
            raise ValueError(f"{status}: {said}")
        return int(said["upto"])

    def _settle(self, upto: int) -> None:
        while self._waiting and self._waiting[0]["n"] <= upto:
            self._waiting.popleft()


class _Post:
    """One connection, kept open."""

    def __init__(self, url: str, secret: str) -> None:
        self._where = urlsplit(url)
        self._secret = secret
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, path: str, said: Any) -> tuple[int, Any]:
        async with asyncio.timeout(SILENT_S):
            if self._streams is None:
                host, port = self._where.hostname, self._where.port
                self._streams = await asyncio.open_connection(host, port)
            reader, writer = self._streams
            body = json.dumps(said).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {self._where.netloc}\r\n"
                f"Authorization: Bearer {self._secret}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            answer = await reader.readexactly(int(fields["content-length"]))
        return int(first.split()[1]), json.loads(answer)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


def _haste(since: float) -> int:
    return BURST if since % BURST_EVERY_S >= BURST_EVERY_S - BURST_S else 1


# ------------------------------------------------------------------ who watches


def watch(class_id: str, count: int, file: str) -> None:
    """Look at the counts until SIGTERM; then say when each event was first seen in them."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    counted = {number: array("d") for number in range(1, count + 1)}
    server = board_server()
    while not asked:
        with suppress(redis.RedisError, OSError):
            if state := server.alive():
                with closing(probe(state.url, timeout_s=1.0)) as client:
                    while not asked:
                        _look(client, Keys(class_id), counted)
                        time.sleep(LOOK_S)
        time.sleep(LOOK_S)
    Path(file).write_bytes(pickle.dumps(Times(counted)))


def _look(client: redis.Redis, keys: Keys, counted: dict[int, array[float]]) -> None:
    cells = [f"{seat}|{exercise(seat, len(seen) + 1)}" for seat, seen in counted.items()]
    tries: Any = client.hmget(keys.tries, cells)
    now = time.monotonic()
    for (seat, seen), found in zip(counted.items(), tries, strict=True):
        fresh = int(found or 0) - _before(seat, len(seen) + 1)
        left = BLOCK - (len(seen) + 1) % BLOCK  # in the exercise at hand
        seen.extend([now] * min(fresh, left))


def _before(seat: int, n: int) -> int:
    """How many events of the same exercise come before a seat's n-th."""
    return sum(exercise(seat, one) == exercise(seat, n) for one in _same_place(n))


def _same_place(n: int) -> Iterator[int]:
    block = n // BLOCK
    for earlier in range(block % len(EXERCISES), block + 1, len(EXERCISES)):
        yield from range(max(1, earlier * BLOCK), min(n, (earlier + 1) * BLOCK))
