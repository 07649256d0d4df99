"""What workers of the version before have left on a server, as a file of literal keys.

`python -m tests.before` made it: it let workers of that version work for a moment, killed them all
by kill -9, and kept what was there. A test loads it, and lets this version go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import redis

from helpers.course.home import CHECKOUT

COMMIT = "ec06fbe"  # the last one of the version before
FILE = Path(__file__).parent / "before.json"


def extract(folder: Path) -> bool:
    """The helpers of the version before; False if the history does not reach back so far."""
    command = ["git", "-C", str(CHECKOUT), "archive", COMMIT, "helpers"]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode == 0:
        with tarfile.open(fileobj=BytesIO(found.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return found.returncode == 0


def save(client: redis.Redis) -> dict[str, Any]:
    """All keys, with what they hold and when they expire."""
    reads: dict[str, Any] = {
        "hash": client.hgetall,
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "stream": lambda key: _stream(client, key),
    }
    found: dict[str, Any] = {}
    for key in sorted(map(str, client.keys())):
        kind = str(client.type(key))
        found[key] = [kind, client.ttl(key), reads[kind](key)]
    return found


def _stream(client: redis.Redis, key: str) -> dict[str, Any]:
    groups = {}
    for one in client.xinfo_groups(key):
        pending = client.xpending_range(key, one["name"], "-", "+", 10_000)
        groups[one["name"]] = [
            one["last-delivered-id"],
            [[p["message_id"], p["consumer"], p["times_delivered"]] for p in pending],
        ]
    return {"entries": client.xrange(key), "groups": groups}


def load(client: redis.Redis) -> None:
    """Put all of it on a server."""
    for key, (kind, ttl, value) in json.loads(FILE.read_text()).items():
        if kind == "stream":
            for entry_id, fields in value["entries"]:
                client.xadd(key, fields, id=entry_id)
            for group, (last, pending) in value["groups"].items():
                client.xgroup_create(key, group, last)
                for entry_id, consumer, deliveries in pending:
                    client.xclaim(key, group, consumer, 0, [entry_id], retrycount=deliveries,
                                  force=True, justid=True)  # fmt: skip
        elif kind == "hash":
            client.hset(key, mapping=value)
        elif kind == "string":
            client.set(key, value)
        else:
            (client.rpush if kind == "list" else client.sadd)(key, *value)
        if ttl > 0:
            client.expire(key, ttl)


def main() -> None:
    """Make the file anew."""
    from helpers.chaos import SpareServer
    from helpers.wiki import Replay
    from tests.test_upgrade import Crew
    from tests.waiting import until
    from tests.wiki import TEN_AM, total

    with (
        tempfile.TemporaryDirectory() as folder,
        SpareServer() as server,
        server.connect() as client,
        Replay(rate=50, start=TEN_AM) as replay,
    ):
        if not extract(Path(folder)):
            sys.exit(f"The history does not reach back to {COMMIT}.")
        client.xgroup_create("s", "g", "0", mkstream=True)
        crew = Crew(server.url, Path(folder), replay, Path(folder))
        crew.begin("old", "produce", "0")
        crew.begin("old", "fill")
        crew.begin_all("old", "alice")

        def worked() -> bool:
            pending = client.xpending("s", "g")["pending"]
            return client.llen("shown") > 2 and total(client) > 20 and pending > 2

        until(worked)
        for life in crew.lives:  # all at once
            life.kill()
        crew.kill(*crew.lives)
        lines = (f"{json.dumps(key)}: {json.dumps(kept)}" for key, kept in save(client).items())
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
