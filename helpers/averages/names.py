"""The keys of the averages: one hash slot holds all that is committed together."""

from __future__ import annotations

from helpers.partitions.days import PREFIX
from helpers.streams.keys import sibling_key

AVERAGES = f"{PREFIX}:averages"
KEPT = 120  # averages: five days of hours
AGGREGATING_STATE = sibling_key(AVERAGES, "aggregating_consumer_state")
AVERAGES_STATE = sibling_key(AVERAGES, "averages_consumer_state")
SET_ASIDE = sibling_key(AVERAGES, "set_aside")  # readings that count for no hour
