"""What is lost of a thousand changes by whom, when the reader is away for 300 of them: measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from helpers.checks.scene import Scene

CHUNK = 100  # changes between two looks of a reader that is there
CHUNKS = 10
AWAY = range(4, 7)  # the chunks that come while the reader is away
TOTAL = CHUNK * CHUNKS
MOST = 200  # to how many entries the one stream is trimmed
GROUP = "counters"
WAIT_S = 5.0  # for a message that has been published; it is there long before

LOST = {  # for each question what to think of, and not the answer
    "lost by Pub/Sub": "What keeps the changes that come while no client is listening? Count "
    "how many came meanwhile.",
    "lost by XREAD with $": "`$` is the last entry at the moment you ask. Where does the "
    "reader begin when it's back, and what came before that?",
    "lost by a group": "What remembers how far the group has read? And what does the stream "
    "do with entries that haven't been read yet?",
    "lost by a group, MAXLEN 200": "How many came while the reader was away, and how many of "
    "them does the stream keep? Trimming doesn't check what was read.",
    "counted by three subscribers": "Do subscribers share the messages of a channel, or does each "
    "of them get every one?",
    "counted by three consumers": "To how many of its consumers does a group give an entry?",
}


def what_is_lost(scene: Scene) -> dict[str, int]:
    """The numbers, in the order of `LOST`."""
    return dict(zip(LOST, [*_with_one_away(scene), *_with_three(scene)], strict=True))


def _with_one_away(scene: Scene) -> Iterator[int]:
    """How many one reader of each kind has lost, that is away for three chunks."""
    ways = _OneAway(scene)
    with ways.pubsub:
        for chunk in range(CHUNKS):
            if chunk == AWAY.start:
                ways.leave()
            if chunk == AWAY.stop:
                ways.come_back()
            ways.send()
            if chunk not in AWAY:
                ways.read()
    yield from (TOTAL - count for count in ways.counts)


class _OneAway:
    """Four readers: of a channel, by XREAD, in a group, and in a group of a trimmed stream."""

    def __init__(self, scene: Scene) -> None:
        self._redis = cast("Any", scene.redis)
        self._channel, self._whole, self._short = map(scene.key, ("wiki", "whole", "short"))
        self.pubsub = self._redis.pubsub()
        self.counts = [0, 0, 0, 0]
        self._last = "0-0"
        for stream in (self._whole, self._short):
            self._redis.xgroup_create(stream, GROUP, "0", mkstream=True)
        listen(self.pubsub, self._channel)

    def leave(self) -> None:
        self.pubsub.close()

    def come_back(self) -> None:
        listen(self.pubsub, self._channel)
        self._last = self._redis.xinfo_stream(self._whole)["last-generated-id"]  # what `$` means
        self._add(0, 0, self._taken(self._whole), self._taken(self._short))

    def send(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for number in range(CHUNK):
            pipeline.publish(self._channel, number)
            pipeline.xadd(self._whole, {"n": number})
            pipeline.xadd(self._short, {"n": number}, maxlen=MOST, approximate=False)
        pipeline.execute()

    def read(self) -> None:
        news = self._redis.xread({self._whole: self._last}).get(self._whole, [])
        self._last = news[-1][0]
        heard = sum(1 for _ in range(CHUNK) if self.pubsub.get_message(timeout=WAIT_S))
        self._add(heard, len(news), self._taken(self._whole), self._taken(self._short))

    def _add(self, *counts: int) -> None:
        self.counts = [sum(pair) for pair in zip(self.counts, counts, strict=True)]

    def _taken(self, stream: str) -> int:
        return len(_new_to(self._redis, stream, "reader", TOTAL))


def _with_three(scene: Scene) -> Iterator[int]:
    """How many changes three subscribers count together, and three consumers of a group."""
    client, channel, stream = cast("Any", scene.redis), scene.key("three"), scene.key("shared")
    client.xgroup_create(stream, GROUP, "0", mkstream=True)
    subscribers = [client.pubsub() for _ in range(3)]
    for one in subscribers:
        listen(one, channel)
    pipeline = client.pipeline(transaction=False)
    for number in range(TOTAL):
        pipeline.publish(channel, number)
        pipeline.xadd(stream, {"n": number})
    pipeline.execute()
    yield sum(1 for one in subscribers for _ in range(TOTAL) if one.get_message(timeout=WAIT_S))
    for one in subscribers:
        one.close()
    yield sum(
        len(_new_to(client, stream, name, CHUNK))
        for _ in range(CHUNKS)
        for name in ("alice", "bob", "carol")
    )


def _new_to(client: Any, stream: str, name: str, count: int) -> Any:
    return client.xreadgroup(GROUP, name, {stream: ">"}, count=count).get(stream, [])


def listen(pubsub: Any, *channels: str, pattern: str = "") -> None:
    """Subscribe, and wait until the server has confirmed it: what is published now is heard."""
    if channels:
        pubsub.subscribe(*channels)
    if pattern:
        pubsub.psubscribe(pattern)
    for _ in range(len(channels) + bool(pattern)):
        pubsub.get_message(timeout=WAIT_S)
