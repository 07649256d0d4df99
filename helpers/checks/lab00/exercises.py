"""The one check of lesson 00, which shows what checks look like."""

from __future__ import annotations

from typing import Any

from helpers.checks.lab import Lab
from helpers.checks.scene import Scene
from helpers.checks.verdict import Wrong

lab = Lab("00", "the lesson itself")


@lab.exercise(
    1,
    "How long is the stream?",
    "Count the entries that XRANGE printed, or ask the server.",
    "XLEN counts them: `%redis XLEN chennai`.",
)
def how_long(scene: Scene, answer: Any) -> str:
    """The number of entries that the lesson has just added."""
    length = scene.redis.xlen("chennai")
    if not isinstance(answer, int) or isinstance(answer, bool):
        raise Wrong("Answer with a number, without quotes.", expected="a number", instead=answer)
    if answer != length:
        hint = (
            "An entry counts once, however many fields it has."
            if answer > length
            else ("Entries are never replaced: each XADD made one more.")
        )
        raise Wrong(hint, expected="as many as XLEN says", instead=answer)
    return f"The stream holds {length} entries, and XLEN says so too."
