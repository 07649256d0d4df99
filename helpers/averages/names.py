"""The keys of the averages: one hash slot holds all that is committed together."""

from __future__ import annotations

from helpers.course import keys
from helpers.partitions.days import PREFIX
from helpers.streams.keys import sibling_key

AVERAGES = f"{PREFIX}:averages"
KEPT = 120  # averages: five days of hours
AGGREGATING_STATE = sibling_key(AVERAGES, keys.AGGREGATING_STATE)
AVERAGES_STATE = sibling_key(AVERAGES, keys.AVERAGES_STATE)
SET_ASIDE = sibling_key(AVERAGES, keys.SET_ASIDE)  # readings that count for no hour
