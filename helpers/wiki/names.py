"""What the parts of the pipeline are called, and what they take if nobody says otherwise."""

from __future__ import annotations

from helpers.course.keys import PLACE
from helpers.course.keys import WIKI as WIKI  # the channel, or the stream
from helpers.streams.keys import sibling_key

GROUP = "counters"  # the consumer group on the stream
WIKIMEDIA = "https://stream.wikimedia.org/v2/stream/recentchange"
RATE = 30.0  # events a second in a replay; Wikipedia has about as many
KEPT = 100_000  # entries on the stream: about an hour of Wikipedia


def place_key(target: str) -> str:
    """Where the publisher remembers its place in the feed.

    >>> place_key("wiki")
    '{wiki}:place'
    """
    return sibling_key(target, PLACE)
