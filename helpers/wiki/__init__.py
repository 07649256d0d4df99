"""An event pipeline: Wikipedia's changes, from the feed to counters, and to a dashboard.

Feed, Replay            where changes come from: Wikimedia's server, or one of our own
Publisher, Subscriber   from the feed to a channel or a stream, and from there to the counters
Counters                which keys there are, and what a change does to them
Dashboard               what was counted, live
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.wiki.change import Change, NotAChangeError, change_from, change_in, change_of
    from helpers.wiki.counters import Counters
    from helpers.wiki.dashboard import Dashboard
    from helpers.wiki.feed import Feed, FeedError
    from helpers.wiki.names import WIKIMEDIA
    from helpers.wiki.place import PublisherError
    from helpers.wiki.publisher import Publisher
    from helpers.wiki.replay import Faults, Replay
    from helpers.wiki.subscriber import Subscriber

__all__ = [
    "WIKIMEDIA",
    "Change",
    "Counters",
    "Dashboard",
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

_HOMES = {
    "WIKIMEDIA": "names",
    "NotAChangeError": "change",
    "change_from": "change",
    "change_in": "change",
    "change_of": "change",
    "Faults": "replay",
    "FeedError": "feed",
    "PublisherError": "place",
}  # the others live in modules of their own name


def __getattr__(name: str) -> Any:
    """Import what is asked for: HTTP and pictures take time that a terminal need not wait."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, name.lower())
    return getattr(import_module(f"{__name__}.{home}"), name)
