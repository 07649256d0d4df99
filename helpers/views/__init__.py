"""Pictures for the lessons: figures from plain data, and the stream theatre, which is live."""

from helpers.views.figures import bars, curves, lanes, show_figure, time_series, timeline
from helpers.views.theatre import Theatre

__all__ = [
    "Theatre",
    "bars",
    "curves",
    "lanes",
    "show_figure",
    "time_series",
    "timeline",
]
