"""The XADDs to a key as the server gets them: only they tell whose clock an ID was taken from."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import deque

import redis

from helpers.course.connect import client_of
from helpers.course.server import find_server
from helpers.streams.entry import EntryId

KEPT = 100  # of the last ones
WAIT_S = 1.0


class Appends:
    """Records, from when the lab is opened, by MONITOR; without that right it records nothing."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._seen: deque[list[str]] = deque(maxlen=KEPT)
        self._begun, self._read = threading.Event(), threading.Event()
        self._mark = f"the end of {secrets.token_hex(4)}"
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Record from now on, if it does not already."""
        if self._thread is None or not self._thread.is_alive():
            self._begun.clear()
            self._thread = threading.Thread(target=self._record, daemon=True)
            self._thread.start()
            self._begun.wait(WAIT_S)

    def chosen_by_client(self, entry_id: EntryId, client: redis.Redis) -> bool:
        """Whether an XADD was seen that named this ID, or its millisecond."""
        self._read.clear()
        client.echo(self._mark)
        self._read.wait(WAIT_S)
        named = {str(entry_id), str(entry_id.ms), f"{entry_id.ms}-*"}
        return any(named & {*words} for words in self._seen)

    def _record(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError, ValueError):  # the server has ended
            client = client_of(find_server().url, socket_timeout=None)
            with client.monitor() as monitor:
                self._begun.set()
                while True:
                    said = monitor.next_command()["command"]
                    if self._mark in said:
                        self._read.set()
                    words = said.split(" ")
                    if words[0].upper() == "XADD" and self._key in words:
                        self._seen.append(words)
        self._begun.set()
