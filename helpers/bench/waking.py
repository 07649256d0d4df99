"""How soon a blocked reader has an entry that was just added, against one PING round trip.

One thread holds two connections. It sends the blocking command on one, waits until the server
lists that client as blocked, sends XADD on the other, and reads the first one's reply. So a
single clock, and no second thread, has a part in it. Readers in a thread or in a process of
their own were measured too: their medians were the same within a tenth.

PING goes over the same kind of connection, in the same rounds, and so does an XADD to a stream
that nobody reads: a wake-up cannot be faster than that one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from helpers.bench.rounds import Part, Rounds, Tick, silent, stopwatch
from helpers.bench.scale import Scale
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.course.keys import BENCH

PREFIX = f"{BENCH}waking:"
READ, IN_GROUP, UNREAD = (f"{PREFIX}{name}" for name in ("read", "in_group", "unread"))
GROUP, BLOCK_MS = "bench", "10000"
FIELDS = ("temperature", "30", "humidity", "68")
PATIENCE_S = 5.0

PING, XADD, XREAD, XREADGROUP = "PING", "XADD", "XREAD BLOCK", "XREADGROUP BLOCK"

Command = tuple[str, ...]
Sample = Callable[[], float]  # seconds


class Line:
    """One connection of a client's, on which a command and its reply can be parted."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: Any = client.connection_pool.get_connection()
        self.send("CLIENT", "ID")
        self.id = int(self.reply())

    def send(self, *command: str) -> None:
        """Send a command."""
        self._connection.send_command(*command)

    def reply(self) -> Any:
        """Wait for the next reply."""
        return self._connection.read_response()

    def close(self) -> None:
        """End it, for a reply may be under way."""
        self._connection.disconnect()
        self._client.connection_pool.release(self._connection)


def round_trip(line: Line, *command: str) -> float:
    """How long a command and its reply take, in seconds."""
    with stopwatch() as watch:
        line.send(*command)
        line.reply()
    return watch.seconds


def wake(client: redis.Redis, reader: Line, writer: Line, stream: str, read: Command) -> float:
    """How long an XADD takes to reach a reader that is blocked, in seconds.

    Raises:
        CourseError: the reader does not block, or gets another entry.
    """
    reader.send(*read)
    wait_until_blocked(client, reader)
    with stopwatch() as watch:
        writer.send("XADD", stream, "*", *FIELDS)
        found = reader.reply()
    added = writer.reply()
    if not found or [entry_id for entry_id, _ in found[stream]] != [added]:
        raise CourseError(f"The reader of {stream!r} was not woken by {added}: measure once more.")
    return watch.seconds


def wait_until_blocked(client: redis.Redis, reader: Line) -> None:
    """Wait until the server has a client among the blocked ones.

    Raises:
        CourseError: it has not after 5 seconds.
    """
    deadline = time.monotonic() + PATIENCE_S
    while "b" not in client.client_list(client_id=[str(reader.id)])[0]["flags"]:
        if time.monotonic() > deadline:
            raise CourseError("The server does not block a reader: is its stream read by another?")


@contextmanager
def prepared(client: redis.Redis) -> Iterator[Mapping[str, Sample]]:
    """What takes one sample of each kind, while the block lasts."""
    lines: list[Line] = []
    try:
        clean(client, f"{PREFIX}*")
        client.xgroup_create(IN_GROUP, GROUP, mkstream=True)
        lines += [Line(client), Line(client)]
        reader, writer = lines
        xread = ("XREAD", "BLOCK", BLOCK_MS, "STREAMS", READ, "$")
        xreadgroup = ("XREADGROUP", "GROUP", GROUP, "alice", "BLOCK", BLOCK_MS, "STREAMS")
        yield {
            PING: lambda: round_trip(writer, "PING"),
            XADD: lambda: round_trip(writer, "XADD", UNREAD, "*", *FIELDS),
            XREAD: lambda: wake(client, reader, writer, READ, xread),
            XREADGROUP: lambda: wake(
                client, reader, writer, IN_GROUP, (*xreadgroup, IN_GROUP, ">")
            ),
        }
    finally:
        for line in lines:
            line.close()
        clean(client, f"{PREFIX}*")


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> Part:
    """Wake readers, one sample of each kind in turn."""
    samples: dict[str, list[float]] = {name: [] for name in (PING, XADD, XREAD, XREADGROUP)}
    values: dict[str, list[float]] = {}
    each = math.ceil(scale.wakes / scale.rounds)
    with prepared(client) as kinds:
        for _ in range(scale.rounds):
            tick(XREADGROUP)
            for _ in range(each):
                for name, sample in kinds.items():
                    samples[name].append(1000 * sample())
            for name, taken in samples.items():
                for percent in (50, 99):
                    value = percentile(taken[-each:], percent)
                    values.setdefault(f"{name}, p{percent}", []).append(value)
    rounds = Rounds(values)
    return Part(
        unit="ms",
        figures=rounds.figures(),
        ratios={
            "p50_in_pings": rounds.ratio(f"{XREADGROUP}, p50", f"{PING}, p50"),
            "p99_in_pings": rounds.ratio(f"{XREADGROUP}, p99", f"{PING}, p99"),
            "xread_p50_in_pings": rounds.ratio(f"{XREAD}, p50", f"{PING}, p50"),
            "xread_p99_in_pings": rounds.ratio(f"{XREAD}, p99", f"{PING}, p99"),
        },
        setup=(
            f"{each * scale.rounds:,} wake-ups of each kind, one in turn with each PING.",
            "From the XADD's leaving until the reader has the entry; one thread, two connections.",
            "A p99 is compared with that of PING.",
        ),
        samples=samples,
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
