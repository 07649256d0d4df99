"""The whole benchmark: its parts one after the other, with the settings that matter beside them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import redis

from helpers.bench import days, ladder, memory, reading, setget, waking
from helpers.bench.rounds import Figure, Part, Tick
from helpers.bench.scale import Scale
from helpers.errors import CourseError
from helpers.server import find_server

Measure = Callable[[redis.Redis, Scale, Tick], Part | tuple[Part, ...]]

# What a measurement gives: one part, or several that share their runs.
PARTS: Mapping[tuple[str, ...], Measure] = {
    ("setget",): setget.measure,
    ("append",): ladder.measure,
    ("fill", "aggregate"): days.measure,
    ("read",): reading.measure,
    ("group",): reading.measure_group,
    ("latency",): waking.measure,
    ("memory",): memory.measure,
}
NAMES = tuple(name for names in PARTS for name in names)


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
    ("append", "ratio_to_one_at_a_time"): Goal(40),
    ("append", "ratio_to_server"): Goal(0.5),
    ("fill", "ratio_to_ru202"): Goal(5),
    ("aggregate", "ratio_to_ru202"): Goal(60),
    ("aggregate", "ratio_to_xrange"): Goal(0.5),
    ("group", "ratio_to_one_at_a_time"): Goal(20),
    ("latency", "p50_in_pings"): Goal(3, most=True),
    ("memory", "bytes_per_entry"): Goal(13, most=True),
}


@dataclass(frozen=True)
class Report:
    """What a benchmark found, and where."""

    settings: Mapping[str, str]
    parts: Mapping[str, Part]
    left_out: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "settings": dict(self.settings),
            **{name: part.plain() for name, part in self.parts.items()},
            "left_out": dict(self.left_out),
        }


def run(
    client: redis.Redis,
    scale: Scale,
    *,
    only: Collection[str] = NAMES,
    tick: Callable[[str, str], object] = lambda part, path: None,
) -> Report:
    """Measure.

    Args:
        client: a client from `connect()`.
        scale: how much.
        only: the parts; by default all of `NAMES`.
        tick: is told of each part and path before it goes.

    Raises:
        CourseError: there is no such part.
    """
    if unknown := set(only) - set(NAMES):
        raise CourseError(f"There is no part {min(unknown)!r}: choose {', '.join(NAMES)}.")
    parts: dict[str, Part] = {}
    left_out: dict[str, str] = {}
    for names, measure in PARTS.items():
        if not set(names) & set(only):
            continue
        said = " and ".join(names)
        try:
            found = measure(client, scale, partial(tick, said))
        except (CourseError, redis.ResponseError) as error:  # the other parts go on
            left_out |= dict.fromkeys(names, str(error))
        else:
            several = found if isinstance(found, tuple) else (found,)
            parts |= dict(zip(names, several, strict=True))
    return Report(settings(client), parts, left_out)


def settings(client: redis.Redis) -> dict[str, str]:
    """What the figures depend on: server, client, machine, persistence."""
    server = find_server()
    info: Any = client.info()
    return {
        "server": f"{server.product} {server.version}, {info['multiplexing_api']}, "
        f"{info.get('mem_allocator', 'unknown')}, {info.get('io_threads_active', 0)} I/O threads",
        "why": server.why,
        "persistence": _persistence(client),
        "connection": type(client.connection_pool.get_connection()).__name__,
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
    log = f"append-only file, fsync {found['appendfsync']}"
    return f"{log if found['appendonly'] == 'yes' else 'no append-only file'}, snapshots " + (
        f"by {found['save']!r}" if found["save"] else "off"
    )


def _cpus() -> int:
    usable = getattr(os, "sched_getaffinity", None)  # in a container fewer than there are
    return len(usable(0)) if usable else os.cpu_count() or 1
