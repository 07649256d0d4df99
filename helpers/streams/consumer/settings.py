"""What a consumer can be told, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..entry import EntryId
from ..errors import ArgumentError

BATCH = 200  # entries a reply, and so how many a crash may leave to be recovered
BLOCK_MS = 1000  # how long one XREADGROUP waits, and so how soon stop() is heard
MIN_IDLE_MS = 30_000  # longer than any handler takes: who is silent for longer is taken for dead
MAX_DELIVERIES = 5
PATIENCE_S = 60.0  # how long the server may be out of reach, or in a state that passes


@dataclass
class Counts:
    """What a consumer has done since it began. A lost reply may leave a count too low.

    Attributes:
        new: entries that were delivered to it first, by XREADGROUP `>`.
        again: entries that were delivered to it once more: its own, retried or claimed ones.
        claimed: entries that it took from consumers that had been silent for too long.
        acked: entries that it handled and acknowledged.
        failed: how often its handler raised, or its effect was refused.
        dead: entries that it moved to the dead letters.
        gone: pending entries that had been deleted or trimmed, and were acknowledged unseen.
        lost: entries that others had claimed or acknowledged before it came to that, or that
            it had itself acknowledged when the reply was lost.
        reconnects: how often the server did not answer.
    """

    new: int = 0
    again: int = 0
    claimed: int = 0
    acked: int = 0
    failed: int = 0
    dead: int = 0
    gone: int = 0
    lost: int = 0
    reconnects: int = 0

    def __str__(self) -> str:
        said = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{count:,} {name}" for name, count in said if count) or "nothing yet"


@dataclass(frozen=True)
class ConsumerSettings:
    """On which settings a consumer works; see `Consumer` for what each means."""

    batch: int = BATCH
    block_ms: int = BLOCK_MS
    min_idle_ms: int = MIN_IDLE_MS
    max_deliveries: int = MAX_DELIVERIES
    delete: bool = False
    dead_letters: str | None = None
    patience_s: float = PATIENCE_S
    allow_oom: bool = False
    max_dead_letters: int | None = None
    on_lost_group: str | None = None
    concurrency: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "block_ms", "min_idle_ms", "max_deliveries", "concurrency"):
            expect_positive(name, getattr(self, name))
        if self.max_dead_letters is not None:
            expect_positive("max_dead_letters", self.max_dead_letters)
        if self.on_lost_group not in (None, "$", "resume"):
            EntryId.parse(self.on_lost_group)
        if self.max_deliveries == 1 and self.batch > 1:
            raise ArgumentError(
                "With max_deliveries=1, a crash would give up the whole batch that was just "
                "read: make it 2 or more, or read with batch=1."
            )


def expect_positive(name: str, value: Any) -> None:
    """Make sure that a limit is a whole number above 0.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name} must be a whole number above 0, not {value!r}.")
