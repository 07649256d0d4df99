"""What the exercise of Redis University's RU202 does, in our own words: to be compared with.

Lesson 06 kills it, and finds the hours that it loses, repeats or gets wrong. Do not use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from helpers.partitions.days import PREFIX, RETENTION_S
from helpers.partitions.readings import Reading

AVERAGES = f"{PREFIX}:averages"
STATE = "aggregating_consumer_state"
COMMANDS = 1000  # a pipeline


def fill(client: redis.Redis, readings: Iterable[Reading]) -> None:
    """Write readings: a pipeline of XADD and EXPIREAT for each of them."""
    pipeline = client.pipeline(transaction=False)
    for at, temp_f, _ in readings:
        key = f"{PREFIX}:{datetime.fromtimestamp(at // 1000, UTC):%Y%m%d}"
        pipeline.xadd(key, {"temp_f": temp_f}, at)
        pipeline.expireat(key, at // 1000 + RETENTION_S)
        if len(pipeline) >= COMMANDS:
            pipeline.execute()
    pipeline.execute()


def aggregate(
    client: redis.Redis,
    start: str,
    *,
    averages: str = AVERAGES,
    state: str = STATE,
    block_ms: int = 50,
) -> None:
    """Publish the mean of each hour, until there is nothing more to read.

    It reads one entry at a time, publishes an hour when one of another hour comes, and then
    stores where it is: two commands, between which it can die.
    """
    stored: Any = client.hgetall(state)
    key = stored.get("current_stream_key", start)
    last = stored.get("last_message_id", "0")
    total = int(stored.get("current_hourly_total", 0))
    count = int(stored.get("current_hourly_count", 0))
    while True:
        reply: Any = client.xread({key: last}, count=1, block=block_ms)
        if not reply:
            following = _next_day(key)
            if not client.exists(following):
                return  # the exercise waits here, forever
            key = following
            continue
        entry_id, fields = reply[key][0]
        moment = _moment(entry_id)
        before = _moment(last) if "-" in last else moment
        if moment.hour != before.hour:
            mean: dict[Any, Any] = {"date": f"{before:%Y/%m/%d}", "hour": before.hour,
                    "average_temp_f": total // count, "num_observations": count}  # fmt: skip
            client.xadd(averages, mean, maxlen=120, approximate=True)
            total = count = 0
        total += int(fields["temp_f"])
        count += 1
        last = entry_id
        now: dict[Any, Any] = {"current_stream_key": key, "last_message_id": last,
               "current_hourly_total": total, "current_hourly_count": count}  # fmt: skip
        client.hset(state, mapping=now)


def _moment(entry_id: str) -> datetime:
    return datetime.fromtimestamp(int(entry_id.split("-")[0]) / 1000, UTC)


def _next_day(key: str) -> str:
    day = datetime.strptime(key[-8:], "%Y%m%d") + timedelta(days=1)
    return f"{PREFIX}:{day:%Y%m%d}"
