"""Ways to begin a life from an object that is at work already: forks, copies, half-used generators.

Each way is given an object, what it is to add, and what each of the other lives is to add. All of
them go on, at the same time, and each must end well. A consumer works off what there is instead.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import redis

from helpers.streams import BulkProducer, Consumer, Entry, Producer, Reader, bulk, outbox
from helpers.streams.errors import ArgumentError, ConsumerError

STREAM, GROUP, NAMED = "s", "g", "life-"
SETTINGS: dict[str, Any] = {"delete": True, "min_idle_ms": 100, "max_deliveries": 1000}
MEMORY_S = 3  # how long the notes of a producer that is gone are kept
LONGEST_S = 60  # a life that begins in one of these ways

Entries = Sequence[dict[str, int]]


class LifeError(Exception):
    """A life did not end as it should."""


def count(entry: Entry) -> Any:
    """An effect: how often each entry was handled."""
    return ("HINCRBY", "counted", entry.fields["n"], 1)


def forget_soon() -> None:
    """Let the server forget the producers of this process soon after they are gone."""
    vars(outbox)["MEMORY_S"] = vars(bulk)["MEMORY_S"] = MEMORY_S


def make(kind: type[Any], client: Any, name: str | None) -> Any:
    """A producer, a consumer or a reader of the soak's stream."""
    if kind is Consumer:
        return Consumer(client, STREAM, GROUP, count, name=name, **SETTINGS)
    if kind is Reader:
        return Reader(client, STREAM, start="0", name=name)
    return kind(client, STREAM)


def use(one: Any, entries: Entries) -> None:
    """Add the entries, each in a batch of its own, or work off what there is."""
    if isinstance(one, Consumer):
        try:
            one.run(drain=True)
        except ConsumerError:
            if not one.name.startswith(NAMED):  # else the other one has its name, and goes on
                raise
        return
    for entry in entries:
        one.add_many([entry])


# ------------------------------------------------------------------ forks


@contextmanager
def _children_end() -> Iterator[None]:
    """A forked child that leaves this block is gone, without a farewell."""
    parent = os.getpid()
    try:
        yield
    except BaseException:
        if os.getpid() == parent:
            raise
        traceback.print_exc()
        os._exit(1)
    if os.getpid() != parent:
        os._exit(0)


def _fork() -> int:
    """`os.fork`, but a child that hangs ends."""
    if not (pid := os.fork()):
        signal.alarm(LONGEST_S)
    return pid


def _in_fork(live: Callable[..., None], *arguments: Any) -> int:
    with _children_end():
        if not (pid := _fork()):
            live(*arguments)
    return pid


def _wait(pids: Sequence[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise LifeError(f"the children ended with {codes}")


def fork(one: Any, mine: Entries, *theirs: Entries) -> None:
    """A child of a process that holds the object; both go on."""
    pids = [_in_fork(use, one, entries) for entries in theirs]
    use(one, mine)
    _wait(pids)


def pre_fork(one: Any, mine: Entries, *theirs: Entries) -> None:
    """A web server's way: several children, while a thread of the parent works with the object."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(use, one, mine)
        pids = [_in_fork(use, one, entries) for entries in theirs]
        working.result()
    _wait(pids)


def fork_in_source(one: Any, mine: Entries, *theirs: Entries) -> None:
    """The generator of what is added forks in the midst of a batch; both add the rest."""
    pids = []

    def source() -> Iterator[dict[str, int]]:
        yield from mine[:2]
        for entries in theirs:
            if pid := _fork():
                pids.append(pid)
            else:
                yield from entries
                return
        yield from mine[2:]

    with _children_end():
        one.add_many(source(), batch=3)
    _wait(pids)


def fork_half_read(one: Reader, *_: Entries) -> None:
    """A reader's generator is half used at the fork: only the parent goes on with it."""
    client: Any = one._client
    there = [entry_id for entry_id, _ in client.xrange(STREAM)]
    with one:
        entries = iter(one)
        read = [str(next(entries)[1].id)]
        _wait([_in_fork(_read_in_child, one, entries, there)])
        read += [str(entry.id) for _, entry in islice(entries, len(there) - 1)]
    if read != there:
        raise LifeError(f"the parent read {len(read)} of {len(there)} entries, or in another order")


def _read_in_child(one: Reader, entries: Iterator[Any], there: list[str]) -> None:
    _expect_refusal(lambda: next(entries))
    if not one._checkpoint:  # else the place is the parent's
        with one:
            read = [str(entry.id) for _, entry in one.read(count=len(there))]
        if read != there:
            raise LifeError(f"the child read {len(read)} of {len(there)} entries")


# ------------------------------------------------------------------ threads, multiprocessing


def copy_in_thread(one: Any, mine: Entries, *theirs: Entries) -> None:
    """Copies, each in a thread of its own, beside the original."""
    twins = [copy.copy(one) for _ in theirs]
    with ThreadPoolExecutor(len(twins)) as pool:
        working = [pool.submit(use, *pair) for pair in zip(twins, theirs, strict=True)]
        use(one, mine)
        for each in working:
            each.result()
    for twin in twins:
        if not isinstance(twin, Consumer):
            twin.close()


def by_fork(one: Any, mine: Entries, *theirs: Entries) -> None:
    """Processes of multiprocessing that inherit the object."""
    context: Any = multiprocessing.get_context("fork")
    _together(one, mine, [context.Process(target=use, args=(one, part)) for part in theirs])


def by_forkserver(one: Any, mine: Entries, *theirs: Entries) -> None:
    """The object cannot be sent to them: they make their own."""
    _sent("forkserver", one, mine, theirs)


def by_spawn(one: Any, mine: Entries, *theirs: Entries) -> None:
    """The same, in a new Python."""
    _sent("spawn", one, mine, theirs)


def _sent(method: str, one: Any, mine: Entries, theirs: Sequence[Entries]) -> None:
    context: Any = multiprocessing.get_context(method)
    _expect_refusal(context.Process(target=use, args=(one, mine)).start)
    at = one._client.connection_pool.connection_kwargs
    there = {"unix_socket_path": at["path"], "password": at.get("password")}
    processes = [
        context.Process(target=_live_there, args=(type(one), there, part)) for part in theirs
    ]
    _together(one, mine, processes)


def _live_there(kind: type[Any], there: dict[str, Any], entries: Entries) -> None:
    forget_soon()
    with redis.Redis(**there, decode_responses=True) as client:
        use(make(kind, client, None), entries)


def _together(one: Any, mine: Entries, processes: Sequence[Any]) -> None:
    for process in processes:
        process.daemon = True
        process.start()
    use(one, mine)
    for process in processes:
        process.join(LONGEST_S)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    if any(code != 0 for code in codes):
        raise LifeError(f"the processes ended with {codes}")


def _expect_refusal(what: Callable[[], object]) -> None:
    try:
        what()
    except ArgumentError:
        return
    raise LifeError("what belongs to another process was not refused")


# ------------------------------------------------------------------ the table


class Way(NamedTuple):
    """One entry of the table.

    Attributes:
        name: as the report says it.
        live: what goes on: `live(one, mine, *theirs)`.
        every: how often: once in so many lives.
        others: how many lives begin from the object.
        kinds: what may begin so.
    """

    name: str
    live: Callable[..., None]
    every: int
    others: int
    kinds: Sequence[type[Any]] = (Producer, BulkProducer, Consumer)


WAYS = (
    Way("os.fork", fork, 25, 1),
    Way("pre-forked", pre_fork, 50, 3),
    Way("copied into threads", copy_in_thread, 25, 2),
    Way("forked amid a source", fork_in_source, 50, 1, (Producer, BulkProducer)),
    Way("forked amid a reader's loop", fork_half_read, 50, 1, (Reader,)),
    Way("multiprocessing's fork", by_fork, 50, 2),
    Way("multiprocessing's forkserver", by_forkserver, 100, 2),
    Way("multiprocessing's spawn", by_spawn, 500, 1),
)
