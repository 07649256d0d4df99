"""The keys of the averages: one hash slot holds all that is committed together."""

from __future__ import annotations

from helpers.database import beside
from helpers.partitions.days import PREFIX

AVERAGES = f"{PREFIX}:averages"
KEPT = 120  # averages: five days of hours
AGGREGATING_STATE = beside(AVERAGES, "aggregating_consumer_state")
AVERAGES_STATE = beside(AVERAGES, "averages_consumer_state")
SET_ASIDE = beside(AVERAGES, "set_aside")  # readings that count for no hour
