"""`helpers/streams`, copied home under another name, works with redis-py and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import redis as redis_py

from helpers import streams
from helpers.course.server import find_server
from helpers.streams.bulk import pack, pack_in_python

PROGRAM = """
import asyncio, sys
sys.path[:0] = [sys.argv[1]]
import redis, redis.asyncio
from weatherstreams import (
    AsyncConsumer, AsyncProducer, BulkProducer, Consumer, Group, Producer, Reader, scan
)

def client(kind):
    return kind.from_url(sys.argv[2], decode_responses=True, socket_timeout=5)

async def meanwhile():
    async with client(redis.asyncio.Redis) as server:
        async with AsyncProducer(server, "alone") as producer:
            await producer.add({"n": "3"})
        await AsyncConsumer(server, "alone", "g", seen.append, name="bob").run(drain=True)

server, seen = client(redis.Redis), []
Group(server, "alone", "g").create("0", make_stream=True)
with Producer(server, "alone") as producer:
    producer.add({"n": 1})
with BulkProducer(server, "alone") as producer:
    producer.add_many([{"n": 2}])
Consumer(server, "alone", "g", seen.append, name="alice").run(drain=True, limit=2)
asyncio.run(meanwhile())
with Reader(server, "alone", start="0") as reader:
    assert [entry for _, entry in reader.read()] == list(scan(server, "alone")) == seen
print([entry.fields["n"] for entry in seen], Group(server, "alone", "g").info().pending)
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(sorted(name for name in foreign if name.isidentifier()))
"""


def test_the_folder_alone_under_another_name_produces_and_consumes(redis, tmp_path):
    shutil.copytree(Path(streams.__file__).parent, tmp_path / "weatherstreams")
    shutil.copytree(Path(redis_py.__file__).parent, tmp_path / "redis")
    # -I and -S: no site-packages, no PYTHONPATH, no folder that it happens to be started in.
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(tmp_path), find_server().url]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.stderr == ""
    assert said.stdout.splitlines() == [
        "['1', '2', '3'] 0",
        "['__main__', 'redis', 'weatherstreams']",
    ]


def test_what_python_packs_alone_is_what_hiredis_packs():
    words = ("XADD", "chennai", "*", "größe", b"\xff\x00", "", "x" * 5000)
    assert pack is not pack_in_python
    assert pack_in_python(words) == pack(words)
