"""Boards that are killed at work: processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Mapping

from helpers import connect_async
from helpers.room.counting import Counting
from helpers.room.keeping import Keys
from helpers.streams.consumer.effects import Command
from helpers.streams.entry import Entry


class _Doomed(Counting):
    left = 0

    def effect_of(self, entry: Entry) -> list[Command]:
        """Count, and die by kill -9 in the middle of a batch."""
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().effect_of(entry)


def count_and_die(class_id: str, known: Mapping[str, Collection[int]], after: int) -> None:
    """Count so many events, of which some may not be acknowledged, and be killed."""

    async def work() -> None:
        async with connect_async() as client:
            counting = _Doomed(client, Keys(class_id), known)
            counting.left = after
            await counting.run()

    asyncio.run(work())
