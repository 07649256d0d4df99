"""The bulk producer appends each entry exactly once, in order, whatever becomes of connections."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain

import pytest

from helpers import BulkProducer, Producer, connect, scan
from helpers.chaos import LOSSES, Proxy
from helpers.chaos.link import HungUpError
from helpers.streams.entry import FIRST
from helpers.streams.errors import NotConfirmedError, StreamsError
from helpers.streams.outbox import Added, Fields
from helpers.streams.patience import Patience
from tests.test_producer import numbers, readings

MEMORY = "{s}:producers"


@pytest.fixture
def proxy(redis, monkeypatch):
    """A proxy in front of this run's server, through which `connect()` goes from now on."""
    with Proxy() as proxy:
        monkeypatch.setenv("REDIS_URL", proxy.url)
        yield proxy


# ------------------------------------------------------------------ lost, cut and late commands


def deliver_late(proxy):
    """Let what was held back reach the server, if it would still hear it on that connection."""
    with suppress(HungUpError):
        proxy.deliver()


def assert_exactly_once(redis, proxy, fault, at, retries):
    """Eight entries in three batches; each is there once, with the IDs that were told."""
    proxy.reset()
    redis.delete("s", MEMORY)
    with connect(retries=retries) as client, BulkProducer(client, "s") as producer:
        if fault:
            proxy.arm(fault, at=at)
        added = producer.add_many(readings(8), batch=3)
    deliver_late(proxy)
    assert numbers(redis) == list(range(8)), (at, proxy.commands)
    ids = [entry.id for entry in scan(redis, "s")]
    assert added == Added(8, ids[0], ids[-1])


@pytest.mark.parametrize(("fault", "retries"), [*zip(LOSSES, (0, 10, 0), strict=True)])
def test_exactly_once_with_a_real_connection_lost(redis, proxy, fault, retries):
    """Before, in and after a MULTI, of which a part may have come; all else is in `tests.steps`."""
    for at in (("MULTI", 2), ("XADD", 5), ("EVAL", 3), ("EXEC", 2), ("EXEC", 3)):
        assert_exactly_once(redis, proxy, fault, at, retries)


# ------------------------------------------------------------------ what is appended


def test_it_appends_what_the_plain_producer_does(redis):
    entries: list[Fields] = [
        {"n": n, "of": "a town", "temp": 20.5, "raw": "ü" * (n % 7)} for n in range(2500)
    ]
    with Producer(redis, "plain") as plain, BulkProducer(redis, "s") as bulk:
        plain.add_many(list(entries))
        added = bulk.add_many(iter(entries))
    ids, found = zip(*scan(redis, "s"), strict=True)
    assert list(found) == [entry.fields for entry in scan(redis, "plain")]
    assert added == Added(2500, ids[0], ids[-1])
    assert list(ids) == sorted(set(ids))


def test_nothing_to_add_adds_nothing_and_nothing_stays_of_a_closed_producer(redis):
    with BulkProducer(redis, "s") as producer:
        assert producer.add_many([]) == Added(0, FIRST, FIRST)
        assert not redis.exists("s", MEMORY)
        producer.add_many(readings(3))
        assert 0 < redis.ttl(MEMORY) <= 86_400
    assert redis.keys("*s}*") == []


@pytest.mark.parametrize(
    "wrong", [{}, "text", None, {"n": None}, {"n": True}, {"n": [1]}], ids=repr
)
def test_what_is_no_entry_is_refused_and_what_came_before_it_is_there(redis, wrong):
    with BulkProducer(redis, "s") as producer:
        with pytest.raises(StreamsError, match=r"isn't an entry|text or numbers"):
            producer.add_many(chain(readings(6), [wrong]), batch=3)
        assert producer.added.count == 6
        producer.add_many(readings(1, 6))
    assert numbers(redis) == list(range(7))


@pytest.mark.parametrize(("entries", "batch"), [(5, 10), (None, 10), ([], 0), ([], -1)])
def test_what_is_no_list_or_no_batch_is_refused(redis, entries, batch):
    with BulkProducer(redis, "s") as producer, pytest.raises(StreamsError, match="Give a list"):
        producer.add_many(entries, batch=batch)


def test_a_refusal_names_the_entry_and_nothing_behind_it_is_appended(redis):
    redis.set("s", "no stream")
    with BulkProducer(redis, "s") as producer:
        with pytest.raises(StreamsError, match=r"is not a stream.*Entry 1 of this call"):
            producer.add_many(readings(9), batch=3)
        redis.delete("s")
        producer.add_many(readings(2))
    assert numbers(redis) == [0, 1]


def test_a_full_server_is_waited_for_and_then_a_whole_batch_is_not_confirmed(home):
    with connect() as client, BulkProducer(client, "s") as producer:
        producer.add_many(readings(3))

        def filling():
            yield from readings(3, 3)
            client.config_set("maxmemory", 1)
            yield from readings(6, 6)

        producer._outbox._patience = Patience(limit_s=0.1)
        with pytest.raises(NotConfirmedError, match=r"OOM: its memory is full: raise.*3 entries"):
            producer.add_many(filling(), batch=3)
        assert numbers(client) == list(range(6))
        client.config_set("maxmemory", 0)
        producer.flush()
        assert numbers(client) == list(range(9))
