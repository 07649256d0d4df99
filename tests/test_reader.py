"""A reader misses no entry, and its checkpoint never passes one that was not handled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import AsyncReader, Entry, EntryId, Reader, clean, connect, connect_async
from helpers.chaos import LOSSES, Proxy
from helpers.course.server import OwnServer, find_server
from helpers.streams.checkpoint import MOVE
from helpers.streams.errors import CheckpointError, EntryIdError, StreamsError
from tests.points import call_of

FAST = {"block_ms": 20}


@pytest.fixture
def proxy(redis, monkeypatch):
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        yield proxy


def fill(redis, count, stream="s", start=1):
    """Entries 1-0, 2-0, …"""
    for ms in range(start, start + count):
        redis.xadd(stream, {"n": ms}, id=f"{ms}-0")


def numbers(found):
    return [int(entry.fields["n"]) for _, entry in found]


def take(reader, count):
    """Loop over a reader until it has handled so many entries."""
    found = []
    for pair in reader:
        found.append(pair)
        if len(found) == count:
            reader.stop()
    return found


async def take_async(reader, count):
    found = []
    async for pair in reader:
        found.append(pair)
        if len(found) == count:
            reader.stop()
    return found


def position(redis, name="me", stream="s"):
    return redis.hget(f"reader:{name}", stream)


# ------------------------------------------------------------------ where it starts


def test_dollar_is_resolved_once_so_nothing_between_two_reads_is_missed(redis):
    fill(redis, 2)
    with Reader(redis, "s") as reader:
        assert reader.positions == {"s": EntryId(2)}
        fill(redis, 1, start=3)
        assert numbers(reader.read(**FAST)) == [3]
        fill(redis, 2, start=4)
        assert numbers(reader.read(**FAST)) == [4, 5]
        assert reader.read(**FAST) == []


def test_dollar_counts_entries_that_are_deleted(redis):
    fill(redis, 2)
    redis.xdel("s", "2-0")
    with Reader(redis, "s") as reader:
        assert reader.positions == {"s": EntryId(2)}


def test_a_stream_may_be_created_later(redis):
    with Reader(redis, ["s", "t"]) as reader:
        assert reader.read(**FAST) == []
        fill(redis, 2)
        assert numbers(reader.read(**FAST)) == [1, 2]


@pytest.mark.parametrize(("start", "seen"), [("0", [1, 2, 3]), ("2", [3]), (EntryId(1), [2, 3])])
def test_it_starts_after_the_id_that_it_is_given(redis, start, seen):
    fill(redis, 3)
    with Reader(redis, "s", start=start) as reader:
        assert numbers(reader.read(**FAST)) == seen


def test_each_stream_may_have_its_own_start(redis):
    fill(redis, 2, "a")
    fill(redis, 2, "b")
    with Reader(redis, {"a": "0", "b": "$", "c": "1-0"}) as reader:
        fill(redis, 2, "c", start=1)
        fill(redis, 1, "b", start=3)
        found = reader.read(**FAST)
    assert [(stream, entry.id.ms) for stream, entry in found] == [
        ("a", 1), ("a", 2), ("c", 2), ("b", 3)
    ]  # fmt: skip


@pytest.mark.parametrize("start", ["+", "", "yesterday", "-1"])
def test_a_start_that_is_no_id_is_refused(redis, start):
    with pytest.raises(EntryIdError):
        Reader(redis, "s", start=start)


def test_a_reader_needs_a_stream_and_to_be_opened(redis):
    with pytest.raises(StreamsError, match="at least one"):
        Reader(redis, [])
    with pytest.raises(StreamsError, match="Open the reader first"):
        Reader(redis, "s").read()


# ------------------------------------------------------------------ what it reads


def test_many_readers_see_everything(redis):
    async def run():
        async with connect_async() as client:
            tasks = [asyncio.create_task(follow(client)) for _ in range(8)]
            await asyncio.to_thread(fill, redis, 300)
            return await asyncio.gather(*tasks)

    async def follow(client):
        async with AsyncReader(client, "s", start="0") as reader:
            return numbers(await take_async(reader, 300))

    assert asyncio.run(run()) == [list(range(1, 301))] * 8


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=30), st.integers(1, 5)
)
def test_every_entry_of_every_stream_is_read_once(redis, added, count):
    redis.delete("a", "b", "c")
    expected = []
    for number, (stream, ms) in enumerate(sorted(added, key=lambda pair: pair[1])):
        expected.append((stream, redis.xadd(stream, {"n": number}, id=f"{ms}-*")))
    with Reader(redis, list("abc"), start="0") as reader:
        found = []
        while new := reader.read(block_ms=1, count=count):
            found += [(stream, str(entry.id)) for stream, entry in new]
    assert sorted(found) == sorted(expected)
    for stream in "abc":
        assert [i for s, i in found if s == stream] == [i for s, i in expected if s == stream]


@pytest.mark.parametrize(("protocol", "legacy"), [(2, True), (2, False), (3, True), (3, False)])
def test_plain_clients_work_whatever_shape_their_replies_have(redis, protocol, legacy):
    fill(redis, 3)
    fill(redis, 1, "t", start=9)
    options = {"protocol": protocol, "legacy_responses": legacy, "decode_responses": True}
    with (
        redis_py.Redis.from_url(find_server().url, **options) as client,
        Reader(client, ["s", "t", "missing"], start="0", name="me") as reader,
    ):
        assert numbers(reader.read(**FAST)) == [1, 2, 3, 9]
        assert reader.read(**FAST) == []

    async def run():
        client = redis_py.asyncio.Redis.from_url(find_server().url, **options)
        async with client, AsyncReader(client, ["s", "t"], start="0") as reader:
            return numbers(await reader.read(**FAST))

    assert asyncio.run(run()) == [1, 2, 3, 9]
    assert position(redis) == "3-0"


def test_a_stream_that_is_trimmed_or_deleted_under_it_goes_on(redis):
    fill(redis, 10)
    with Reader(redis, "s", start="0", name="me") as reader:
        assert numbers(reader.read(count=2, **FAST)) == [1, 2]
        redis.xtrim("s", minid="7-0", approximate=False)
        redis.xdel("s", "8-0")
        assert numbers(reader.read(count=2, **FAST)) == [7, 9]
        redis.delete("s")
        assert reader.read(**FAST) == []
        fill(redis, 2, start=11)
        assert numbers(reader.read(**FAST)) == [11, 12]
    assert position(redis) == "12-0"


def test_a_stream_deleted_while_it_blocks_goes_on(redis):
    fill(redis, 1)
    with connect() as client, Reader(client, "s") as reader:
        found: list[tuple[str, Entry]] = []
        reading = threading.Thread(target=lambda: found.extend(take(reader, 1)))
        reading.start()
        blocked(redis)
        redis.delete("s")
        redis.xadd("s", {"n": 2}, id="2-0")
        reading.join()
    assert numbers(found) == [2]


def blocked(redis):
    """Wait until a client blocks."""
    while not int(redis.info("clients")["blocked_clients"]):
        pass


def test_what_cannot_be_read_says_so(redis):
    redis.set("text", "no stream")
    for start in ("0", "$"):
        with (
            pytest.raises(StreamsError, match="'text' is not a stream"),
            Reader(redis, "text", start=start) as reader,
        ):
            reader.read(**FAST)
    redis.set("reader:text", "no checkpoint")
    with pytest.raises(StreamsError, match="'reader:text'"), Reader(redis, "s", name="text"):
        pass


@pytest.mark.parametrize("limits", [{"block_ms": 0}, {"block_ms": -1}, {"count": 0}, {"count": -1}])
def test_limits_that_never_end_are_refused(redis, limits):
    with Reader(redis, "s") as reader, pytest.raises(StreamsError, match="above 0"):
        reader.read(**limits)


def test_a_client_that_would_give_up_before_block_ends_is_refused(redis):
    url = find_server().url
    for timeout, block in ((1, 1000), (1, 900), (5, 5000), (0.3, 200)):
        client = redis_py.Redis.from_url(url, decode_responses=True, socket_timeout=timeout)
        with client, Reader(client, "s") as reader:
            with pytest.raises(StreamsError, match=f"BLOCK {block} ms may end after"):
                reader.read(block_ms=block)
            assert reader.read(block_ms=20) == []
    with (
        redis_py.Redis(connection_pool=redis_py.ConnectionPool.from_url(url)) as client,
        Reader(client, "s") as reader,
        pytest.raises(StreamsError, match="5 s"),  # redis-py's default
    ):
        reader.read(block_ms=5000)


# ------------------------------------------------------------------ what counts as handled


def test_a_stored_position_wins_over_start(redis):
    fill(redis, 5)
    with Reader(redis, "s", start="0", name="me") as reader:
        take(reader, 2)
    for start in ("0", "$"):
        reader = Reader(redis, "s", start=start, name="me")
        reader.open()
        assert reader.positions == {"s": EntryId(2)}
        assert numbers(reader.read(**FAST)) == [3, 4, 5]


def test_a_new_stream_of_an_old_checkpoint_begins_at_start(redis):
    fill(redis, 2)
    with Reader(redis, "s", start="0", name="me") as reader:
        take(reader, 2)
    fill(redis, 2, "t")
    with Reader(redis, ["s", "t"], start="0", name="me") as reader:
        assert [stream for stream, _ in reader.read(**FAST)] == ["t", "t"]
    with Reader(redis, "t", name="me"):
        pass
    assert (position(redis), position(redis, stream="t")) == ("2-0", "2-0")


def test_what_dollar_meant_is_stored_at_once(redis):
    fill(redis, 2)
    Reader(redis, "s", name="me").open()  # and crashes before it read anything
    fill(redis, 1, start=3)
    with Reader(redis, "s", name="me") as reader:
        assert numbers(reader.read(**FAST)) == [3]


def test_stop_ends_after_the_entry_in_hand(redis):
    fill(redis, 5)
    with Reader(redis, "s", start="0", name="me") as reader:
        assert numbers(take(reader, 2)) == [1, 2]
        assert list(reader) == []
    assert position(redis) == "2-0"


def test_stop_ends_a_loop_that_waits(redis):
    async def run():
        async with connect_async() as client, AsyncReader(client, "s") as reader:
            waiting = asyncio.create_task(take_async(reader, 1))
            await asyncio.to_thread(blocked, redis)
            reader.stop()
            return await waiting

    assert asyncio.run(run()) == []


def test_an_error_in_the_loop_does_not_count_the_entry_as_handled(redis):
    def fail_at_2():
        with Reader(redis, "s", start="0", name="me") as reader:
            for _, entry in reader:
                if entry.id.ms == 2:
                    raise RuntimeError

    async def fail_at_once():
        client = connect_async()
        async with client, AsyncReader(client, "s", name="me") as reader:
            async for _ in reader:
                raise RuntimeError

    fill(redis, 3)
    with pytest.raises(RuntimeError):
        fail_at_2()
    assert position(redis) == "1-0"
    with pytest.raises(RuntimeError):
        asyncio.run(fail_at_once())
    assert position(redis) == "1-0"


def test_after_break_the_loop_goes_on_with_the_entry_in_hand(redis):
    fill(redis, 5)
    with Reader(redis, "s", start="0", name="me") as reader:
        for in_hand in (1, 3):  # the first of a reply, and one in the middle
            for _, entry in reader:
                if entry.id.ms == in_hand:
                    break
        assert numbers(take(reader, 3)) == [3, 4, 5]

    async def run():
        async with connect_async() as client, AsyncReader(client, "s", start="0") as reader:
            async for _ in reader:
                break
            return numbers(await take_async(reader, 5))

    assert asyncio.run(run()) == [1, 2, 3, 4, 5]


def test_what_read_returned_is_handled_when_the_caller_comes_back(redis):
    def fail_with_4_in_hand():
        with Reader(redis, "s", start="0", name="me") as reader:
            reader.read(count=2, **FAST)
            assert position(redis) == "0-0"
            reader.commit()
            assert position(redis) == "2-0"
            reader.read(count=1, **FAST)
            reader.read(count=1, **FAST)
            raise RuntimeError

    fill(redis, 6)
    with pytest.raises(RuntimeError):
        fail_with_4_in_hand()
    assert position(redis) == "3-0"


CRASHING = """
import sys
from helpers import Reader, connect
redis = connect()
with Reader(redis, ["s", "t"], start="0", name="me") as reader:
    for stream, entry in reader:
        redis.rpush("seen:" + stream, entry.fields["n"])
        if entry.fields.get("last"):
            reader.stop()
"""


def test_a_crash_loses_nothing_and_repeats_at_most_one_reply(redis):
    clean(redis, "seen:*")
    for stream in "st":
        fill(redis, 1000, stream)
    redis.xadd("s", {"n": 2000, "last": 1}, id="2000-0")
    crashes = (350, 900, 1400)
    for at in crashes:
        process = subprocess.Popen([sys.executable, "-c", CRASHING])
        try:
            while redis.llen("seen:s") + redis.llen("seen:t") < at:
                assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()
            process.wait()
    subprocess.run([sys.executable, "-c", CRASHING], check=True)
    for stream, total in (("s", 1001), ("t", 1000)):
        seen = redis.lrange(f"seen:{stream}", 0, -1)
        assert len(set(seen)) == total
        assert total <= len(seen) <= total + 100 * len(crashes)


# ------------------------------------------------------------------ two readers of one name


def test_the_older_of_two_readers_cannot_move_the_checkpoint(redis):
    fill(redis, 6)
    older = Reader(redis, "s", start="0", name="me")
    older.open()
    older.read(count=1, **FAST)
    with Reader(redis, "s", name="me") as newer:
        take(newer, 4)
    with pytest.raises(CheckpointError, match="'me' took over"):
        older.commit()
    assert position(redis) == "4-0"


def test_an_older_loop_ends_with_its_reply(redis):
    fill(redis, 3)

    async def run():
        async with connect_async() as client, AsyncReader(client, "s", start="0", name="me") as old:
            found = []
            async for pair in old:
                found.append(pair)
                if len(found) == 1:
                    await AsyncReader(client, "s", name="me").open()
            return found

    with pytest.raises(CheckpointError):
        asyncio.run(run())
    assert position(redis) == "0-0"


# ------------------------------------------------------------------ lost connections


def test_a_connection_lost_while_it_blocks_is_made_anew(redis, proxy):
    with connect() as client, Reader(client, "s", name="me") as reader:
        found: list[tuple[str, Entry]] = []
        reading = threading.Thread(target=lambda: found.extend(take(reader, 2)))
        reading.start()
        for number in (1, 2):
            blocked(redis)
            proxy.cut()
            fill(redis, 1, start=number)
        reading.join()
    assert numbers(found) == [1, 2]
    assert position(redis) == "2-0"


@pytest.mark.parametrize("fault", LOSSES)
def test_a_real_connection_lost_costs_nothing(redis, proxy, fault):
    """At one command, or as it is opened; for all others see `tests.steps`."""
    fill(redis, 1)
    for at in ("XREAD", call_of(MOVE, 2), "HELLO", "CLIENT SETINFO"):
        redis.delete("reader:me")
        with connect() as client:
            proxy.arm(fault, at=at)
            with Reader(client, ["s", "t"], start="$", name="me") as reader:
                fill(redis, 2, start=reader.positions["s"].ms + 1)
                assert len(take(reader, 2)) == 2
        proxy.reset()
        assert position(redis) == redis.xinfo_stream("s")["last-generated-id"]


@pytest.mark.parametrize("fault", LOSSES)
def test_the_same_under_asyncio(redis, proxy, fault):
    async def run(at):
        redis.delete("reader:me")
        async with connect_async() as client:
            proxy.arm(fault, at=at)
            async with AsyncReader(client, "s", start="0", name="me") as reader:
                assert numbers(await take_async(reader, 3)) == [1, 2, 3]
        proxy.reset()
        assert position(redis) == "3-0"

    fill(redis, 3)
    for at in ("XREAD", call_of(MOVE, 2), "HELLO", "CLIENT SETINFO"):
        asyncio.run(run(at))


def test_it_survives_its_server(home):
    own = OwnServer(home)

    def kill():
        state = own.running()
        assert state
        os.kill(state.pid, signal.SIGKILL)

    with connect() as client, Reader(client, "s", start="0", name="me") as reader:
        fill(client, 2)
        for _, entry in reader:
            if entry.id.ms == 1:
                kill()
            elif entry.id.ms == 2:
                with connect() as other:
                    fill(other, 1, start=3)
                kill()
            else:
                reader.stop()
        assert reader.positions == {"s": EntryId(3)}
        assert position(client) == "3-0"


# ------------------------------------------------------------------ a checkpoint that is gone


def read_two(redis, **more):
    with Reader(redis, "s", name="me", **more) as reader:
        return [entry.fields["n"] for _, entry in reader.read(block_ms=10)]


def test_a_reader_whose_checkpoint_is_gone_is_told_unless_it_knows_where_to_begin(redis):
    """Finding A4: evicted, it read nothing of what was missed, and said nothing."""
    for n in range(1, 3):
        redis.xadd("s", {"n": n}, id=f"{n}-0")
    assert read_two(redis) == []  # the first time: from now on
    redis.delete("reader:me")
    redis.xadd("s", {"n": 3}, id="3-0")
    with pytest.raises(CheckpointError, match="checkpoint of the reader 'me' is gone") as raised:
        read_two(redis)
    assert (raised.value.stream, raised.value.key) == ("s", "reader:me")
    assert read_two(redis, start="1-0") == ["2", "3"]


def test_a_checkpoint_that_is_evicted_under_a_reader_is_stored_again(redis):
    for n in range(1, 5):
        redis.xadd("s", {"n": n}, id=f"{n}-0")
    with Reader(redis, "s", start="0", name="me") as reader:
        reader.read(count=2)
        reader.commit()
        redis.delete("reader:me")
        reader.read(count=1)
        reader.commit()
        assert redis.hget("reader:me", "s") == "3-0"
    assert read_two(redis) == ["4"]


def test_an_error_in_the_body_is_not_replaced_while_the_server_is_gone(redis):
    redis.xadd("s", {"n": 1}, id="1-0")

    def read_until_the_server_is_gone(proxy):
        with Reader(proxy.connect(), "s", start="0", name="me") as reader:
            for _ in reader:
                proxy.close()
                raise ZeroDivisionError

    with Proxy() as proxy, pytest.raises(ZeroDivisionError):
        read_until_the_server_is_gone(proxy)


def test_a_reader_can_be_forgotten_but_not_its_successor(redis):
    redis.xadd("s", {"n": 1})
    with Reader(redis, "s", start="0", name="r") as old:
        old.read()
    with Reader(redis, "s", name="r") as successor:
        old.forget()
        assert redis.exists("reader:r")
        successor.forget()
    assert redis.keys("*reader:r*") == []
    old.forget()
