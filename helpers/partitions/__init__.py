"""Daily partitions: one stream a day, `temps:YYYYMMDD`, which expires by itself.

days          which key a moment belongs to, and for how long
producer      write readings, with their expiry, in one step
readings      the demo's sensors
filling       ten days of them
overview      which partitions there are, how they are, what time it is for them
"""

from __future__ import annotations

from helpers.partitions.days import (
    DAY_MS,
    PREFIX,
    RETENTION_S,
    partition_day,
    partition_key,
    start_of,
)
from helpers.partitions.filling import DAYS, fill
from helpers.partitions.overview import (
    Partition,
    ReadingsClock,
    ahead_of_calendar,
    inspect,
    partitions,
)
from helpers.partitions.producer import PartitionProducer
from helpers.partitions.readings import DEMO_START, Reading, readings_of, temperatures

__all__ = [
    "DAYS",
    "DAY_MS",
    "DEMO_START",
    "PREFIX",
    "RETENTION_S",
    "Partition",
    "PartitionProducer",
    "Reading",
    "ReadingsClock",
    "ahead_of_calendar",
    "fill",
    "inspect",
    "partition_day",
    "partition_key",
    "partitions",
    "readings_of",
    "start_of",
    "temperatures",
]
