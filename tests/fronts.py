"""For tests of what stands in front of the server: threads that wait, raw sockets, a quiet log."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import pytest
from redis import RedisError

from tests.test_server import taken_port


@pytest.fixture(autouse=True)
def quiet(caplog):
    """What fails unseen in its thread, asyncio writes to its log."""
    yield
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert [record.getMessage() for record in records] == []


def in_background(work):
    """Start a thread; the list gets what it returned or raised."""
    results: list[object] = []

    def run():
        try:
            results.append(work())
        except RedisError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def blocked(redis):
    return redis.info("clients")["blocked_clients"]


def log_in(raw, url):
    password = urlsplit(url).password or ""
    raw.sendall(f"*2\r\n$4\r\nAUTH\r\n${len(password)}\r\n{password}\r\n".encode())


def free_port():
    with taken_port() as port:
        return port
