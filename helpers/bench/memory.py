"""How many bytes an entry takes: by its ID, fields and values, by nodes, and in other types.

What is measured is what the server gets back when the key is deleted, by `used_memory` of INFO.
Loading would not show it: what connections and the append-only file hold comes and goes. Where
MEMORY USAGE counts truly, on Valkey 9, both agree; Redis 7 and 8 estimate up to a third too many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any

import redis

from helpers.bench.ladder import chunks
from helpers.bench.rounds import Part, Path, Rounds, Tick, silent
from helpers.bench.scale import Scale
from helpers.course.database import clean
from helpers.course.errors import CourseError
from helpers.course.keys import BENCH
from helpers.course.server import find_server
from helpers.course.weather import readings
from helpers.streams.bulk import BulkProducer
from helpers.streams.entry import Entry
from helpers.streams.producer import Producer

Entries = Sequence[Entry]
Fields = Callable[[Entry], Mapping[str, str]]
Load = Callable[[redis.Redis, Entries], None]

KEY = f"{BENCH}memory"
USAGE = ", by MEMORY USAGE"
CHUNK = 1000  # commands a round trip
PATIENCE_S = 5.0
SETTINGS = ("stream-node-max-entries", "stream-node-max-bytes")
NODES = ((0, 2048), (128, 4096), (640, 8192))  # the default is (100, 4096)
SHARE = 4  # of forms that are not the weather's a part of the entries is enough


def by_server(client: redis.Redis, entries: Entries, fields: Fields) -> None:
    """A stream whose IDs the server gives; a thousand entries come in the same millisecond."""
    with BulkProducer(client, KEY) as producer:
        producer.add_many(fields(entry) for entry in entries)


def one_a_second(client: redis.Redis, entries: Entries) -> None:
    """A stream with the IDs of the readings."""
    with Producer(client, KEY) as producer:
        producer.add_many(entries)


def as_list(client: redis.Redis, entries: Entries) -> None:
    """RPUSH of both values as one text; when they were read is lost."""
    for chunk in chunks(entries, CHUNK):
        client.rpush(KEY, *(" ".join(entry.fields.values()) for entry in chunk))


def as_sorted_set(client: redis.Redis, entries: Entries) -> None:
    """ZADD, scored by the time. The text holds the time too, or equal readings would be one."""
    for chunk in chunks(entries, CHUNK):
        members = {f"{one.id.ms} {' '.join(one.fields.values())}": one.id.ms for one in chunk}
        client.zadd(KEY, members)


def as_hashes(client: redis.Redis, entries: Entries) -> None:
    """A hash for each entry, the time in its key."""
    for chunk in chunks(entries, CHUNK):
        pipeline = client.pipeline(transaction=False)
        for entry in chunk:
            pipeline.hset(f"{KEY}:{entry.id.ms}", items=[*chain(*entry.fields.items())])
        pipeline.execute()


def weather(entry: Entry) -> Mapping[str, str]:
    """Both values, as two fields."""
    return entry.fields


def one_integer(entry: Entry) -> Mapping[str, str]:
    """Both values as one number: the humidity has 101 values, so divmod(n, 101) parts them."""
    temperature, humidity = (int(value) for value in entry.fields.values())
    return {"weather": str(101 * temperature + humidity)}


def same_fields(number: int, length: int = 1) -> Fields:
    """So many fields with names of a length, each the temperature.

    A node has the names once, with its first entry, for those behind it with the same fields.
    """
    names = [f"{name:0{length}}" for name in range(number)]
    return lambda entry: dict.fromkeys(names, entry.fields["temperature"])


def other_fields(number: int) -> Fields:
    """So many fields whose names no other entry has."""
    numbers = count()
    return lambda entry: {f"{next(numbers):08}": entry.fields["temperature"] for _ in range(number)}


def one_text(length: int) -> Fields:
    """One field with a text of at least 10 bytes, and no number: those are packed tighter."""
    return lambda entry: {"text": f"t{entry.id.ms % 10**9:0{length - 1}}"}


@dataclass(frozen=True)
class Form:
    """A way to keep the readings.

    Attributes:
        load: writes them.
        nodes: `stream-node-max-entries` and `-bytes`; None is as the server has them.
        whole: whether both values, their order and an ID for each are there.
        part: whether a part of the entries is enough.
    """

    load: Load
    nodes: tuple[int, int] | None = None
    whole: bool = False
    part: bool = False


def _form(fields: Fields, *, part: bool = True) -> Form:
    return Form(partial(by_server, fields=fields), part=part)


TWO, ONE = "two fields", "both values in one integer"
FORMS: dict[str, Form] = {
    TWO: Form(partial(by_server, fields=weather), whole=True),
    f"{TWO}, IDs one a second": Form(one_a_second, whole=True),
    ONE: Form(partial(by_server, fields=one_integer), whole=True),
    f"{TWO}, names of 1 letter": _form(same_fields(2), part=False),
    f"{TWO}, names of 40 letters": _form(same_fields(2, 40), part=False),
    f"{TWO}, other names each time": _form(other_fields(2)),
    "one field": _form(same_fields(1)),
    "four fields": _form(same_fields(4)),
    "eight fields": _form(same_fields(8)),
    "a string of 10 bytes": _form(one_text(10)),
    "a string of 100 bytes": _form(one_text(100)),
    "list of strings": Form(as_list),
    "sorted set, scored by time": Form(as_sorted_set),
    "hash an entry": Form(as_hashes, part=True),
}


def _in_nodes(entries: int, most_bytes: int) -> str:
    """What nodes of so many entries and bytes are called; 0 entries is no limit."""
    return f"nodes of {f'{entries} entries, ' if entries else ''}{most_bytes:,} bytes"


IN_NODES: dict[str, Form] = {
    f"{name}, {_in_nodes(*nodes)}": Form(FORMS[name].load, nodes, whole=True)
    for name, nodes in (*((TWO, nodes) for nodes in NODES), (ONE, NODES[0]))
}


def measure(client: redis.Redis, scale: Scale, tick: Tick = silent) -> Part:
    """Keep a day of readings in each form. Settings are changed on the course's own server only."""
    entries = list(readings("chennai", scale.kept))
    own = find_server().source != "url"
    forms = FORMS | (IN_NODES if own else {})
    estimates: dict[str, list[float]] = {}

    def path(name: str, form: Form) -> Path:
        some = entries[: len(entries) // SHARE] if form.part else entries

        def go() -> float:
            with nodes_of(client, form.nodes):
                taken, estimate = size(client, form.load, some)
            if form.whole:
                estimates.setdefault(f"{name}{USAGE}", []).append(estimate / len(some))
            return taken / len(some)

        return go

    try:
        clean(client, KEY, f"{KEY}:*")
        paths = {name: path(name, form) for name, form in forms.items()}
        taken = Rounds.take(paths, scale.loads, tick)
    finally:
        clean(client, KEY, f"{KEY}:*")
    least = min((name for name in forms if forms[name].whole and TWO in name), key=_median(taken))
    return Part(
        unit="bytes an entry",
        figures={**taken.figures(), **Rounds(estimates).figures()},
        ratios={
            "bytes_per_entry": taken[least],
            "bytes_per_entry_by_default": taken[TWO],
            "bytes_per_entry_in_one_integer": taken[ONE],
        },
        setup=(
            f"{scale.kept:,} readings of temperature and humidity, or where fields, values or keys "
            f"are varied {scale.kept // SHARE:,}: by how much used_memory falls as they are "
            "deleted.",
            f"bytes_per_entry is the least with both values as fields, in order: {least}.",
            "The IDs are the server's own, of entries that came at once, unless it says otherwise.",
            *(() if own else ("The server is not the course's own: its nodes stay as they are.",)),
        ),
    )


def _median(taken: Rounds) -> Callable[[str], float]:
    return lambda name: taken[name].median


def size(client: redis.Redis, load: Load, entries: Entries) -> tuple[int, int]:
    """How many bytes entries take: what the server gets back for them, and what it estimates.

    The buffers of a connection grow with what it sends, and shrink some seconds later. So the
    counting begins with a new one. And a command's first call of all takes memory for good, for
    the statistics of its latency. So one DEL comes before.
    """
    load(client, entries)
    client.connection_pool.disconnect(inuse_connections=False)
    client.delete(f"{KEY}:nothing")
    estimate = int(client.memory_usage(KEY, samples=0) or 0)
    keys = list(client.scan_iter(match=f"{KEY}*", count=CHUNK))
    before = settled(client)
    for start in range(0, len(keys), CHUNK):
        client.delete(*keys[start : start + CHUNK])
    return before - settled(client), estimate


def settled(client: redis.Redis) -> int:
    """The bytes that the server uses, when two questions get the same answer.

    Raises:
        CourseError: somebody else is at work there.
    """
    deadline = time.monotonic() + PATIENCE_S
    before = -1
    while time.monotonic() < deadline:
        info: Any = client.info("memory")
        if before == info["used_memory"] and not info.get("lazyfree_pending_objects"):
            return before
        before = info["used_memory"]
        time.sleep(0.005)
    raise CourseError(
        "The memory of the server does not come to rest: measure when no other client is at work."
    )


@contextmanager
def nodes_of(client: redis.Redis, nodes: tuple[int, int] | None) -> Iterator[None]:
    """Streams have nodes of so many entries and bytes, while the block lasts."""
    if nodes is None:
        yield
        return
    before: Any = client.config_get(*SETTINGS)
    try:
        client.config_set(SETTINGS[0], nodes[0], SETTINGS[1], nodes[1])
        yield
    finally:
        client.config_set(*(word for pair in before.items() for word in pair))
