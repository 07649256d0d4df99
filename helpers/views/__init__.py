"""Pictures for the lessons: figures from plain data, and what is live: theatre, sliders, climb."""

from helpers.views.figures import (
    bars,
    compared,
    curves,
    distributions,
    hours_grid,
    ladder,
    lanes,
    lifetimes,
    log_curves,
    show_figure,
    time_series,
    timeline,
)
from helpers.views.progress import ProgressBar
from helpers.views.theatre import Theatre

__all__ = [
    "ProgressBar",
    "Theatre",
    "bars",
    "compared",
    "curves",
    "distributions",
    "hours_grid",
    "ladder",
    "lanes",
    "lifetimes",
    "log_curves",
    "show_figure",
    "time_series",
    "timeline",
]
