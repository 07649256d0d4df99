"""The server's own limit: how many XADDs a second it takes from a client that does no work.

That client is redis-benchmark, or where it is missing a socket that sends bytes which were
prepared before and are not replied to.
"""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import hiredis
import redis

from helpers.bench.rounds import stopwatch
from helpers.course.errors import CourseError

PIPELINE = 1000  # commands on their way at once
REQUESTS = 100_000
PROGRAMS = ("redis-benchmark", "valkey-benchmark")
TIMEOUT_S = 60
USER = "bench"

Limit = Callable[[str, Mapping[str, str]], float]


def limit_of(client: redis.Redis) -> tuple[Limit, str]:
    """What measures the limit here, and the sentence that says what it is.

    It takes a stream and the fields of an entry, and says entries a second.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    place = _place(client)
    if program and place and _may_add_users(client):
        what = f"{os.path.basename(program)} -c 1 -P {PIPELINE}, one entry again and again"
        return lambda stream, fields: _benchmark(client, [program, *place], stream, fields), what
    why = "redis-benchmark cannot log in here" if program else "there is no redis-benchmark here"
    what = f"prepared bytes, {PIPELINE:,} commands at once, no replies ({why})"
    return lambda stream, fields: prepared_bytes(client, stream, fields), what


def _place(client: redis.Redis) -> list[str]:
    """Where redis-benchmark finds this server; nothing where it is behind TLS."""
    pool = client.connection_pool
    connection = pool.get_connection()
    pool.release(connection)
    if isinstance(connection, redis.SSLConnection):
        return []
    if isinstance(connection, redis.UnixDomainSocketConnection):
        place = ["-s", str(connection.path)]
    else:
        place = ["-h", connection.host, "-p", str(connection.port)]
    return [*place, "--dbnum", str(pool.connection_kwargs.get("db") or 0)]


def _may_add_users(client: redis.Redis) -> bool:
    try:
        client.acl_deluser(USER)
    except redis.ResponseError:
        return False
    return True


@contextmanager
def _login(client: redis.Redis, stream: str) -> Iterator[list[str]]:
    """A user for the while: others on this machine can read a program's arguments."""
    password = secrets.token_hex()
    may = ["+xadd", "+select", "+config|get"]
    client.acl_setuser(
        USER, enabled=True, reset=True, passwords=f"+{password}", keys=[stream], commands=may
    )
    try:
        yield ["--user", USER, "-a", password]
    finally:
        client.acl_deluser(USER)


def _benchmark(
    client: redis.Redis, command: list[str], stream: str, fields: Mapping[str, str]
) -> float:
    options = ["-c", "1", "-P", str(PIPELINE), "-n", str(REQUESTS), "--csv"]
    with _login(client, stream) as login:
        done = subprocess.run(
            [*command, *login, *options, *_xadd(stream, fields)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    try:
        return float(list(csv.reader(done.stdout.splitlines()))[-1][1])
    except (IndexError, ValueError):
        said = (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
        raise CourseError(f"{command[0]} measured nothing: {said:.200}") from None


def prepared_bytes(client: redis.Redis, stream: str, fields: Mapping[str, str]) -> float:
    """Send the same bytes again and again, by CLIENT REPLY OFF unanswered: entries a second.

    Raises:
        CourseError: not every entry is on the stream.
    """
    pack: Any = hiredis.pack_command
    packed = pack(tuple(_xadd(stream, fields))) * PIPELINE
    connection: Any = client.connection_pool.get_connection()
    before = int(client.xlen(stream))
    try:
        connection.send_command("CLIENT", "REPLY", "OFF")
        with stopwatch() as watch:
            for _ in range(REQUESTS // PIPELINE):
                connection.send_packed_command([packed], check_health=False)
            connection.send_command("CLIENT", "REPLY", "ON")
            connection.read_response()  # it comes when all before it is done
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)
    if int(client.xlen(stream)) != before + REQUESTS:
        raise CourseError(f"The server did not append {REQUESTS:,} entries: nothing is measured.")
    return REQUESTS / watch.seconds


def _xadd(stream: str, fields: Mapping[str, str]) -> list[str]:
    return ["XADD", stream, "*", *(word for pair in fields.items() for word in pair)]
