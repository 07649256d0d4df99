"""The whole benchmark: its parts one after the other, with the settings that matter beside them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import redis

from helpers.bench import PARTS, days, ladder, memory, parts, reading, setget, waking
from helpers.bench.rounds import Figure, Part, Tick
from helpers.bench.scale import Scale
from helpers.course.errors import CourseError
from helpers.course.server import find_server
from helpers.streams.errors import StreamsError

Measure = Callable[[redis.Redis, Scale, Tick], Part | tuple[Part, ...]]

# What a measurement gives: one part, or several that share their runs.
MEASURES: Mapping[tuple[str, ...], Measure] = {
    ("setget",): setget.measure,
    ("append",): ladder.measure,
    ("fill", "aggregate"): days.measure,
    ("read",): reading.measure,
    ("group",): reading.measure_group,
    ("latency",): waking.measure,
    ("memory",): memory.measure,
    ("parts", "failover", "handover"): parts.measure,
}

FSYNC = {
    "always": "fsync for every command",
    "everysec": "fsync every second",
    "no": "fsync when the kernel likes",
}


@dataclass(frozen=True)
class Goal:
    """What a figure is to reach: at least a limit, or at most."""

    limit: float
    most: bool = False

    def reached(self, figure: Figure) -> bool:
        """Whether the median reaches it."""
        return figure.median <= self.limit if self.most else figure.median >= self.limit

    def __str__(self) -> str:
        return f"{'at most' if self.most else 'at least'} {self.limit:g}"


GOALS: Mapping[tuple[str, str], Goal] = {
    ("append", "ratio_to_one_at_a_time"): Goal(50),
    ("append", "ratio_to_server"): Goal(0.7),
    ("fill", "ratio_to_ru202"): Goal(6),
    ("aggregate", "ratio_to_ru202"): Goal(100),
    ("aggregate", "ratio_to_xrange"): Goal(0.65),
    ("group", "ratio_to_one_at_a_time"): Goal(30),
    ("group", "ratio_to_bare_loop"): Goal(0.8),
    ("group", "asyncio_ratio_to_bare_loop"): Goal(0.8),
    ("latency", "p50_in_pings"): Goal(1.5, most=True),
    ("memory", "bytes_per_entry"): Goal(13, most=True),
    ("parts", "ratio_to_one_server"): Goal(0.9),
    ("failover", "producer_to_server"): Goal(1.2, most=True),
    ("failover", "consumer_to_server"): Goal(1.2, most=True),
    ("handover", "in_leases"): Goal(1.5, most=True),
}


Found = Part | str  # or the sentence that says why it was left out


@dataclass(frozen=True)
class Report:
    """What a benchmark found, and where."""

    settings: Mapping[str, str]
    found: Mapping[str, Found]

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        measured = {name: one for name, one in self.found.items() if isinstance(one, Part)}
        wanted: dict[str, dict[str, str]] = {}
        for (name, ratio), goal in GOALS.items():
            wanted.setdefault(name, {})[ratio] = str(goal)
        return {
            "settings": dict(self.settings),
            **{name: part.plain() for name, part in measured.items()},
            "left_out": {name: why for name, why in self.found.items() if name not in measured},
            "wanted": wanted,
        }


def run(
    client: redis.Redis,
    scale: Scale,
    *,
    only: Collection[str] = PARTS,
    tick: Callable[[str, str], object] = lambda part, path: None,
) -> Iterator[tuple[str, Found]]:
    """Measure, and give each part as soon as it is done.

    Args:
        client: a client from `connect()`.
        scale: how much.
        only: the parts; by default all of `PARTS`.
        tick: is told of each part and path before it goes.

    Raises:
        CourseError: there is no such part.
    """
    if unknown := set(only) - set(PARTS):
        raise CourseError(f"There is no part {min(unknown)!r}: choose {', '.join(PARTS)}.")
    for names, measure in MEASURES.items():
        if not set(names) & set(only):
            continue
        try:
            found = measure(client, scale, partial(tick, " and ".join(names)))
        except (StreamsError, redis.ResponseError) as error:  # the other parts go on
            yield from dict.fromkeys(names, str(error)).items()
        else:
            several = found if isinstance(found, tuple) else (found,)
            yield from zip(names, several, strict=True)


def settings(client: redis.Redis) -> dict[str, str]:
    """What the figures depend on: server, client, machine, persistence."""
    server = find_server()
    info: Any = client.info()
    return {
        "server": f"{server.product} {server.version}, {info['multiplexing_api']}, "
        f"{info.get('mem_allocator', 'unknown')}, {info.get('io_threads_active', 0)} I/O threads",
        "why": server.why,
        "persistence": _persistence(client),
        "connection": _connection(client),
        "client": ", ".join(f"{name} {version(name)}" for name in ("redis", "hiredis", "uvloop")),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {_cpus()} CPUs",
    }


def _persistence(client: redis.Redis) -> str:
    try:
        found: Any = {
            name: client.config_get(name).get(name)
            for name in ("save", "appendonly", "appendfsync")
        }
    except redis.ResponseError:
        return "unknown: CONFIG GET is not allowed here"
    log = f"append-only file, {FSYNC.get(found['appendfsync'], found['appendfsync'])}"
    return f"{log if found['appendonly'] == 'yes' else 'no append-only file'}, snapshots " + (
        f"by {found['save']!r}" if found["save"] else "off"
    )


def _connection(client: redis.Redis) -> str:
    kind = client.connection_pool.connection_class
    if issubclass(kind, redis.UnixDomainSocketConnection):
        return "a Unix socket"
    return "TCP with TLS" if issubclass(kind, redis.SSLConnection) else "TCP"


def _cpus() -> int:
    usable = getattr(os, "sched_getaffinity", None)  # in a container fewer than there are
    return len(usable(0)) if usable else os.cpu_count() or 1
