"""The stream theatre: a live picture of a stream, its groups, and the consumers behind them."""

from helpers.views.theatre.draw import draw
from helpers.views.theatre.snapshot import Snapshot, moved, snapshot, snapshot_async
from helpers.views.theatre.text import text
from helpers.views.theatre.widget import Theatre

__all__ = ["Snapshot", "Theatre", "draw", "moved", "snapshot", "snapshot_async", "text"]
