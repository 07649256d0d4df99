"""Hourly averages of the readings in daily partitions, each published once.

hours         the mean of an hour, and when it is over
work          where the aggregating consumer stands, and what it does next
state         what a consumer remembers: changed together with what it publishes
aggregating   the aggregating consumer
display       the averages consumer
"""

from __future__ import annotations

import logging

from helpers.averages.aggregating import AggregatingConsumer, begin_anew
from helpers.averages.display import AveragesConsumer, sentence
from helpers.averages.names import (
    AGGREGATING_STATE,
    AVERAGES,
    AVERAGES_STATE,
    KEPT,
    SET_ASIDE,
)

__all__ = [
    "AGGREGATING_STATE",
    "AVERAGES",
    "AVERAGES_STATE",
    "KEPT",
    "SET_ASIDE",
    "AggregatingConsumer",
    "AveragesConsumer",
    "begin_anew",
    "sentence",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
