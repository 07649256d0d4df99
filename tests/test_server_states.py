"""A consumer outlives every state of a server that passes, and says which one it waited for."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis as redis_py

from helpers import (
    AsyncConsumer,
    AsyncReader,
    Consumer,
    DeadLetters,
    Group,
    Producer,
    Reader,
    scan,
)
from helpers.chaos import SpareServer
from helpers.course.connect import async_client_of, client_of
from helpers.course.pace import patient
from helpers.partitions.days import DAY_MS
from helpers.streams.errors import GroupError, ServerStateError, StreamsError
from helpers.streams.states import state_of
from tests.averages import aggregate, at, hour_of, key, published, truth
from tests.consumers import (
    AGES,
    FAILURES,
    GROUP,
    NAMES,
    STREAM,
    add_up,
    blocked,
    fill,
    give,
    ignore,
    letters,
    number,
    pending,
    totals,
    until,
)

LASTS_S = 0.15
COUNT = 40


@pytest.fixture
def server() -> Iterator[SpareServer]:
    with SpareServer("--user worker on >first ~* &* +@all") as server:
        yield server


@pytest.fixture
def admin(server: SpareServer) -> Iterator[redis_py.Redis]:
    with server.connect() as client:
        yield client


def as_worker(server: SpareServer) -> redis_py.Redis:
    """A client of a user whose rights may change, that notices a silent server soon."""
    url = server.url.replace("unix://", "unix://worker:first@")
    return client_of(url, socket_timeout=0.2)


# ------------------------------------------------------------------ states, each begun and ended

State = tuple[Callable[[SpareServer, Any], Any], Callable[[SpareServer, Any], Any]]


def config(**values: Any) -> Callable[[SpareServer, Any], Any]:
    def act(server: SpareServer, admin: Any) -> None:
        for name, value in values.items():
            admin.config_set(name.replace("_", "-"), value)

    return act


def replica(server: SpareServer, admin: Any) -> None:
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")


def primary(server: SpareServer, admin: Any) -> None:
    admin.execute_command("REPLICAOF", "NO", "ONE")
    admin.config_set("replica-serve-stale-data", "yes")


def mute_replica(server: SpareServer, admin: Any) -> None:
    admin.config_set("replica-serve-stale-data", "no")
    replica(server, admin)


def save(admin: Any, outcome: str) -> None:
    try:
        admin.bgsave()
    except redis_py.ResponseError as error:  # sent again, since the reply to the first was late
        if "already in progress" not in str(error):
            raise
    until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == outcome)


def cannot_save(server: SpareServer, admin: Any) -> None:
    (server.folder / "dump.rdb").unlink(missing_ok=True)
    (server.folder / "dump.rdb").mkdir()
    admin.config_set("save", "3600 1")
    save(admin, "err")


def can_save(server: SpareServer, admin: Any) -> None:
    (server.folder / "dump.rdb").rmdir()
    admin.config_set("save", "")
    save(admin, "ok")


def no_more_clients(server: SpareServer, admin: Any) -> None:
    admin.config_set("maxclients", 1)
    admin.client_kill_filter(_type="normal", skipme=True)


def acl(*rules: str, kill: bool = False) -> Callable[[SpareServer, Any], Any]:
    def act(server: SpareServer, admin: Any) -> None:
        admin.execute_command("ACL", "SETUSER", "worker", *rules)
        if kill:
            admin.client_kill_filter(_type="normal", skipme=True)

    return act


def busy(server: SpareServer, admin: Any) -> None:
    admin.config_set("busy-reply-threshold", 20)
    forever = threading.Thread(target=_loop_forever, args=(server,), daemon=True)
    forever.start()
    until(lambda: _said(admin.ping) == "BUSY")


def _loop_forever(server: SpareServer) -> None:
    with server.connect() as client, pytest.raises(redis_py.ResponseError):
        client.eval("while true do end", 0)


def _said(command: Callable[[], Any]) -> str | None:
    try:
        command()
    except redis_py.RedisError as error:
        return state_of(error)
    return None


def calm(server: SpareServer, admin: Any) -> None:
    admin.script_kill()
    until(lambda: _said(admin.ping) is None)  # the script hears of it a moment later
    admin.config_set("busy-reply-threshold", 5000)


def nothing(server: SpareServer, admin: Any) -> None:
    pass


STATES: dict[str, State] = {
    "silent": (lambda server, _: server.pause(), lambda server, _: server.resume()),
    "READONLY": (replica, primary),
    "MASTERDOWN": (mute_replica, primary),
    "OOM": (config(maxmemory=1), config(maxmemory=0)),
    "NOREPLICAS": (config(min_replicas_to_write=1), config(min_replicas_to_write=0)),
    "MISCONF": (cannot_save, can_save),
    "MAXCLIENTS": (no_more_clients, config(maxclients=1000)),
    "NOPERM": (acl("-@stream"), acl("+@stream")),
    "NOPERM for scripts": (acl("-@scripting"), acl("+@scripting")),
    "WRONGPASS": (
        acl("resetpass", ">second", kill=True),
        acl("resetpass", ">first"),
    ),
    "BUSY": (busy, calm),
    "CLIENT KILL": (
        lambda _, admin: admin.client_kill_filter(_type="normal", skipme=True),
        nothing,
    ),
    "CLIENT PAUSE": (lambda _, admin: admin.client_pause(150, all=True), nothing),
}


@contextmanager
def lasting(state: State, server: SpareServer, admin: Any) -> Iterator[None]:
    """Let a state begin now, and end after a while."""
    begin, end = state
    begin(server, admin)
    timer = threading.Timer(LASTS_S, end, (server, admin))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def outlive(server: SpareServer, admin: Any, name: str, run: Any) -> None:
    """Work through a stream; a state begins in the midst of a handler, twice, and passes."""
    fill(admin, COUNT)
    give(admin, "bob", 5, idle_ms=AGES)
    begun: list[Any] = []

    def handle(entry):
        if number(entry) in (3, 20) and number(entry) not in seen:
            seen.add(number(entry))
            around = lasting(STATES[name], server, admin)
            around.__enter__()
            begun.append(around)
        return add_up(entry)

    seen: set[int] = set()
    while len(seen) < 2 or begun:
        run(handle)
        while begun:
            begun.pop().__exit__(None, None, None)
    run(handle)
    assert totals(admin) == {"count": str(COUNT), "sum": str(sum(range(COUNT + 1)))}
    assert not pending(admin)
    assert not letters(admin)


@pytest.mark.parametrize("name", STATES)
def test_a_consumer_outlives_a_state_that_passes(server, admin, name):
    with as_worker(server) as client:

        def run(handle):
            consumer = Consumer(client, STREAM, GROUP, handle, name="alice", batch=7)
            consumer.run(drain=True)

        outlive(server, admin, name, run)


@pytest.mark.once
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("name", ["silent", "READONLY", "OOM", "WRONGPASS", "CLIENT KILL"])
def test_so_does_one_of_asyncio(server, admin, name, concurrency):
    settings: Any = {"name": "alice", "batch": 7, "concurrency": concurrency}

    async def work(handle):
        async def handler(entry):
            await asyncio.sleep(0)
            return await asyncio.to_thread(handle, entry)

        url = server.url.replace("unix://", "unix://worker:first@")
        async with async_client_of(url, socket_timeout=0.2) as client:
            await AsyncConsumer(client, STREAM, GROUP, handler, **settings).run(drain=True)

    outlive(server, admin, name, lambda handle: asyncio.run(work(handle)))


LASTING = {
    "READONLY": replica,
    "OOM": config(maxmemory=1),
    "NOREPLICAS": config(min_replicas_to_write=1),
    "NOPERM": acl("-@stream"),
    "WRONGPASS": acl("resetpass", ">second", kill=True),
}


@pytest.mark.parametrize("code", LASTING)
def test_when_patience_ends_it_says_what_it_waited_for(server, admin, code, caplog):
    fill(admin, 3)
    with as_worker(server) as client:

        def handle(entry):
            LASTING[code](server, admin)
            return add_up(entry)

        consumer = Consumer(client, STREAM, GROUP, handle, name="alice", patience_s=0.2)
        with pytest.raises(ServerStateError, match=f"refuses .*'s' with {code}: ") as raised:
            consumer.run()
    assert (raised.value.code, raised.value.stream, raised.value.group) == (code, STREAM, GROUP)
    assert any(f"refused with {code}, and tries again" in line for line in caplog.messages)


# ------------------------------------------------------------------ while the memory is full


@pytest.fixture
def full(server: SpareServer, admin: redis_py.Redis) -> redis_py.Redis:
    """A server with entries, whose memory is full."""
    fill(admin, COUNT)
    give(admin, "bob", 5, idle_ms=AGES)
    admin.config_set("maxmemory", 1)
    return admin


@pytest.mark.parametrize("delete", [False, True])
def test_full_memory_stops_no_consumer_that_only_acknowledges(server, full, delete):
    with as_worker(server) as client:
        counts = Consumer(client, STREAM, GROUP, ignore, name="alice", delete=delete).run(
            drain=True
        )
    assert (counts.acked, counts.claimed, counts.reconnects) == (COUNT, 5, 0)
    assert full.xlen(STREAM) == (0 if delete else COUNT)


def test_full_memory_and_effects_go_on_where_the_consumer_makes_room(server, full):
    with as_worker(server) as client:
        counts = Consumer(client, STREAM, GROUP, add_up, batch=5, delete=True).run(drain=True)
    assert counts.acked == COUNT
    assert totals(full) == {"count": str(COUNT), "sum": str(sum(range(COUNT + 1)))}


def test_full_memory_is_not_filled_further_by_effects(server, admin):
    """Each effect is larger than the entry that it deletes: a few pass, then the consumer waits."""
    fill(admin, COUNT)
    admin.config_set("maxmemory", 1)

    def copy(entry):
        return ("SET", f"copy:{number(entry)}", "x" * 300_000)

    settings: Any = {"batch": 1, "delete": True, "patience_s": 0.2}
    with as_worker(server) as client, pytest.raises(ServerStateError, match="with OOM: its mem"):
        Consumer(client, STREAM, GROUP, copy, name="alice", **settings).run(drain=True)
    assert 1 < len(admin.keys("copy:*")) < 10
    admin.config_set("maxmemory", 0)
    with as_worker(server) as client:
        Consumer(client, STREAM, GROUP, copy, name="alice", **settings).run(drain=True)
    assert len(admin.keys("copy:*")) == COUNT


def test_full_memory_is_filled_where_the_caller_allows_it(server, full):
    with as_worker(server) as client:
        settings: Any = {"name": "alice", "allow_oom": True, "max_deliveries": 2}
        counts = Consumer(client, STREAM, GROUP, add_up_but(7), **settings).run(drain=True)
    assert (counts.acked, counts.dead) == (COUNT - 1, 1)


def add_up_but(bad: int) -> Callable[[Any], Any]:
    def handle(entry):
        if number(entry) == bad:
            raise RuntimeError
        return None if number(entry) == 1 else add_up(entry)

    return handle


def test_what_cannot_be_put_aside_stays_pending_and_holds_up_no_other(server, full, soon):
    def handle(entry):
        if number(entry) == 7:
            raise RuntimeError

    with as_worker(server) as client:
        consumer = Consumer(client, STREAM, GROUP, handle, name="alice", max_deliveries=2)
        thread = threading.Thread(target=consumer.run)
        thread.start()
        until(lambda: consumer.counts.acked == COUNT - 1 and consumer.counts.failed == 2)
        assert (consumer.counts.dead, list(pending(full))) == (0, [7])
        full.config_set("maxmemory", 0)
        until(lambda: consumer.counts.dead)
        consumer.stop()
        thread.join()
    assert consumer.counts.failed == 2
    assert letters(full)[7].reason == "RuntimeError"
    assert not pending(full)


def test_a_drain_that_only_waits_for_room_ends_when_patience_does(server, full, soon):
    def handle(entry):
        if number(entry) == 7:
            raise RuntimeError

    with as_worker(server) as client:
        consumer = Consumer(client, STREAM, GROUP, handle, max_deliveries=2, patience_s=0.2)
        with pytest.raises(ServerStateError, match="with OOM: its mem"):
            consumer.run(drain=True)
    assert consumer.counts.acked == COUNT - 1
    assert list(pending(full)) == [7]


def test_a_group_can_be_looked_at_while_the_memory_is_full(server, full):
    assert Group(full, STREAM, GROUP).info().pending == 5


# ------------------------------------------------------------------ replies that are too large

LIMIT = "client-output-buffer-limit"
TOO_LARGE = r"The entry 5-0 of 's' holds 3,000,00\d bytes, and the server closes each connection"


def fill_with(admin: Any, *sizes: int, stream: str = STREAM) -> None:
    """Entries of so many bytes, to a client that may be sent a million at a time."""
    for place, size in enumerate(sizes, start=1):
        admin.xadd(stream, {"n": place, "v": "x" * size}, id=f"{place}-0")
    admin.config_set(LIMIT, "normal 1000000 0 0")


def read_on(client: Any, streams: Any, count: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    with Reader(client, streams, start="0", name="r") as reader:
        while len(found) < count:
            found += [(stream, number(entry)) for stream, entry in reader.read(block_ms=50)]
    return found


def test_a_reader_asks_for_less_until_the_reply_can_be_sent(server, admin):
    fill_with(admin, *[30_000] * 60)
    fill_with(admin, *[700_000] * 3, stream="t")
    with as_worker(server) as client:
        found = read_on(client, [STREAM, "t"], 63)
        scanned = [number(entry) for entry in scan(client, STREAM)]
        backwards = [number(entry) for entry in scan(client, STREAM, reverse=True)]
    for stream, count in ((STREAM, 60), ("t", 3)):
        assert [n for one, n in found if one == stream] == list(range(1, count + 1))
    assert scanned == backwards[::-1] == list(range(1, 61))


def test_first_entries_that_are_too_large_together_are_read_one_by_one(server, admin):
    fill_with(admin, 700_000, 700_000)
    fill_with(admin, 700_000, 700_000, stream="t")
    with as_worker(server) as client:
        found = read_on(client, [STREAM, "t"], 4)
    assert sorted(found) == [(STREAM, 1), (STREAM, 2), ("t", 1), ("t", 2)]


def test_an_entry_that_cannot_be_sent_is_named_by_readers(server, admin):
    fill_with(admin, *[10] * 4, 3_000_000, 10)
    admin.xadd("empty", {"n": 1})

    async def read_async() -> None:
        async with (
            async_client_of(server.url) as client,
            AsyncReader(client, [STREAM, "empty"], start="0") as reader,
        ):
            async for _, entry in reader:
                seen.append(number(entry))

    with as_worker(server) as client, pytest.raises(StreamsError, match=TOO_LARGE):
        read_on(client, STREAM, 6)
    seen: list[int] = []
    with pytest.raises(StreamsError, match=TOO_LARGE):
        asyncio.run(read_async())
    assert sorted(seen) == [1, 1, 2, 3, 4]
    admin.config_set(LIMIT, "normal 0 0 0")
    with as_worker(server) as client:
        assert [n for _, n in read_on(client, STREAM, 2)] == [5, 6]


@pytest.mark.parametrize("delete", [False, True])
def test_an_entry_that_cannot_be_sent_is_put_aside_without_its_fields(server, admin, delete):
    fill(admin, 0)
    fill_with(admin, *[300_000] * 4, 3_000_000, *[300_000] * 4)
    settings: Any = {"name": "alice", "delete": delete}
    with as_worker(server) as client:
        counts = Consumer(client, STREAM, GROUP, add_up, **settings).run(drain=True)
        assert (counts.acked, counts.dead) == (8, 1)
        letter = letters(client)[5]
    assert re.match(TOO_LARGE, letter.reason)
    assert letter.entry.fields == {}
    admin.config_set(LIMIT, "normal 0 0 0")
    assert admin.xlen(STREAM) == (1 if delete else 9)
    assert DeadLetters(admin, STREAM, GROUP).replay(letter.id).how == "pending"
    with as_worker(server) as client:
        Consumer(client, STREAM, GROUP, add_up, **settings).run(drain=True)
    assert totals(admin) == {"count": "9", "sum": "45"}


@pytest.mark.parametrize(("kind", "delete"), [(Consumer, False), (AsyncConsumer, True)])
def test_an_entry_whose_effect_is_larger_than_the_server_takes_is_put_aside(
    server, admin, kind, delete
):
    """It ended the consumer after its patience."""
    fill(admin, 30)
    admin.config_set("proto-max-bulk-len", 2**20)

    def handle(entry: Any) -> Any:
        size = 3_000_000 if number(entry) in (7, 8, 20) else 1000
        return [("HINCRBY", "{s}:totals", "count", 1), ("SET", "{s}:last", "x" * size)]

    async def run() -> Any:
        async with async_client_of(server.url) as client:
            return await kind(client, STREAM, GROUP, handle, **settings).run(drain=True)

    settings: Any = {"name": "alice", "delete": delete, "patience_s": patient(5)}
    if kind is AsyncConsumer:
        counts = asyncio.run(run())
    else:
        counts = kind(as_worker(server), STREAM, GROUP, handle, **settings).run(drain=True)
    assert (counts.acked, counts.failed, counts.dead) == (27, 3, 3)
    aside = letters(admin)
    assert not pending(admin)
    assert sorted(aside) == [7, 8, 20]
    assert {one.reason.partition(":")[0] for one in aside.values()} == {
        "The effect is larger than the server takes"
    }
    assert totals(admin) == {"count": "27"}


def test_averages_are_of_all_readings_where_a_page_is_too_large_to_be_sent(server, admin):
    readings = [*hour_of(0, 1), *hour_of(0, 2), *hour_of(1, 0)]
    for one in readings:
        padded = {"temp_f": one.temp_f, "note": "x" * 300_000}
        admin.xadd(key(one.at // DAY_MS - at(0) // DAY_MS), padded, id=f"{one.at}-0")
    admin.config_set(LIMIT, "normal 1000000 0 0")
    with as_worker(server) as client:
        aggregate(client, at(3), page=16)
    assert published(admin) == truth(readings)
    admin.xadd(key(3), {"temp_f": 1, "note": "x" * 3_000_000}, id=f"{at(3)}-0")
    with as_worker(server) as client, pytest.raises(StreamsError, match="holds 3,000,01"):
        aggregate(client, at(4))


# ------------------------------------------------------------------ while it waits


@pytest.mark.parametrize("act", ["unblock", "replicaof", "kill"])
def test_a_wait_that_is_broken_off_goes_on(server, admin, act):
    fill(admin, 0)
    with as_worker(server) as client:
        consumer = Consumer(client, STREAM, GROUP, add_up, name="alice")
        thread = threading.Thread(target=lambda: consumer.run(limit=1))
        thread.start()
        until(lambda: blocked(admin))
        if act == "unblock":
            (waiting,) = [one for one in admin.client_list() if "b" in one["flags"]]
            admin.client_unblock(int(waiting["id"]), error=True)
        elif act == "kill":
            admin.client_kill_filter(_type="normal", skipme=True)
        else:
            replica(server, admin)
            primary(server, admin)
        Producer(admin, STREAM).add({"n": 1})
        thread.join()
    assert consumer.counts.acked == 1


@pytest.mark.parametrize("busy_with", ["waiting", "a script"])
def test_stop_is_heard_beside_a_silent_server(server, admin, busy_with):
    fill(admin, 1 if busy_with == "a script" else 0)
    ended: list[Any] = []
    with as_worker(server) as client:

        def handle(entry):
            server.pause()

        consumer = Consumer(client, STREAM, GROUP, handle, name="alice")

        def run():
            with suppress(redis_py.RedisError):
                consumer.run()
            ended.append(True)

        thread = threading.Thread(target=run)
        thread.start()
        if busy_with == "waiting":
            until(lambda: blocked(admin))
            server.pause()
        else:
            until(lambda: consumer.counts.new)
        consumer.stop()
        thread.join(20)
        server.resume()
    assert ended


def test_what_may_be_evicted_is_warned_of_once(server, admin, caplog):
    fill(admin, 1)
    admin.config_set("maxmemory", "1gb")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    Consumer(admin, STREAM, GROUP, ignore, name="alice").run(drain=True)
    (line,) = [line for line in caplog.messages if "evicted" in line]
    assert line.startswith("s may be evicted, and what is noted of its consumers: maxmemory-p")


# ------------------------------------------------------------------ absent is not foreign


def test_a_name_that_was_evicted_is_no_rival(redis, soon):
    fill(redis, 6)
    seen = []

    def handle(entry):
        seen.append(number(entry))
        redis.delete(NAMES, FAILURES, "{s}:g:sweep")
        if number(entry) == 3 and seen.count(3) == 1:
            raise RuntimeError
        return add_up(entry)

    counts = Consumer(redis, STREAM, GROUP, handle, name="alice", batch=2).run(drain=True)
    assert (counts.acked, sorted(seen)) == (6, [1, 2, 3, 3, 4, 5, 6])
    assert redis.hkeys(NAMES) == ["alice"]


LOST = [("0", [1, 2, 3, 4, 5, 6, 7]), ("$", []), ("resume", [6, 7]), ("5-0", [6, 7])]


@pytest.mark.parametrize(("start", "again"), LOST)
def test_a_lost_group_is_created_again_where_the_caller_wants(redis, start, again):
    fill(redis, 7)
    seen: list[int] = []

    def handle(entry):
        seen.append(number(entry))
        if number(entry) == 5 and seen.count(5) == 1:
            redis.xgroup_destroy(STREAM, GROUP)

    consumer = Consumer(redis, STREAM, GROUP, handle, name="alice", batch=5, on_lost_group=start)
    consumer.run(drain=True)
    first = seen.index(5) + 1
    assert seen[:first] == [1, 2, 3, 4, 5]
    assert seen[first:] == again
    assert not pending(redis)


def test_a_group_that_is_lost_under_effects_is_resumed_at_the_first_that_is_not_there(redis):
    fill(redis, 7)
    seen: list[int] = []

    def handle(entry):
        seen.append(number(entry))
        if number(entry) == 5 and seen.count(5) == 1:
            redis.xgroup_destroy(STREAM, GROUP)
        return None if number(entry) == 2 else add_up(entry)

    Consumer(redis, STREAM, GROUP, handle, batch=5, on_lost_group="resume").run(drain=True)
    assert seen == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7]
    assert totals(redis) == {"count": "6", "sum": "26"}


def test_a_lost_group_is_an_error_by_default(redis):
    fill(redis, 1)
    with pytest.raises(GroupError, match="There is no consumer group 'g' on the stream 's'"):
        Consumer(redis, STREAM, GROUP, lambda _: redis.delete(STREAM) and None).run()


def test_the_advice_for_a_lost_group_loses_nothing(redis):
    """It may repeat: a new group does not know what the one before has handled."""
    fill(redis, 40)
    seen: list[int] = []

    def handle(entry):
        seen.append(number(entry))
        if number(entry) == 12 and seen.count(12) == 1:
            redis.xgroup_destroy(STREAM, GROUP)

    consumer = Consumer(redis, STREAM, GROUP, handle, batch=5)
    with pytest.raises(GroupError) as lost:
        consumer.run(drain=True)
    said = str(lost.value)
    advice = re.search(r"Group\(redis, .*?\)\.create\(.*?\)", said)
    assert advice
    assert eval(advice[0], {"Group": Group, "redis": redis})
    consumer.run(drain=True)
    assert set(seen) == {*range(1, 41)}
    assert "create('$') would miss them" in said
    assert "on_lost_group='0', which repeats entries, or 'resume'" in said
