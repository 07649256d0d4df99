"""An event pipeline: Wikipedia's changes, from the feed to counters, and to a dashboard.

Feed, Replay            where changes come from: Wikimedia's server, or one of our own
Publisher, Subscriber   from the feed to a channel or a stream, and from there to the counters
Counters                which keys there are, and what a change does to them
"""

from __future__ import annotations

from helpers.wiki.change import Change, NotAChangeError, change_from, change_in, change_of
from helpers.wiki.counters import Counters
from helpers.wiki.feed import WIKIMEDIA, Feed, FeedError
from helpers.wiki.publisher import Publisher, PublisherError
from helpers.wiki.replay import Faults, Replay
from helpers.wiki.subscriber import Subscriber

__all__ = [
    "WIKIMEDIA",
    "Change",
    "Counters",
    "Faults",
    "Feed",
    "FeedError",
    "NotAChangeError",
    "Publisher",
    "PublisherError",
    "Replay",
    "Subscriber",
    "change_from",
    "change_in",
    "change_of",
]
