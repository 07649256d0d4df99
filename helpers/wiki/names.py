"""The keys and the channel of the pipeline."""

from __future__ import annotations

from helpers.database import beside

WIKI = "wiki"  # the channel, or the stream
GROUP = "counters"  # the consumer group on the stream


def place_key(target: str) -> str:
    """Where the publisher remembers its place in the feed.

    >>> place_key("wiki")
    '{wiki}:place'
    """
    return beside(target, "place")
