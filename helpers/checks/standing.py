"""How a group of a check stands: what is pending, for whom, and what is still to come."""

from __future__ import annotations

from typing import Any

from helpers.checks.scene import Scene

GROUP = "display"  # the group of which a check asks, unless it says another


def numbered(scene: Scene, name: str, count: int, first: int = 1) -> str:
    """A stream with entries `1-0`, `2-0` and so on, each with its number in the field `n`."""
    return scene.stream(name, [(f"{n}-0", {"n": str(n)}) for n in range(first, first + count)])


def group_of(scene: Scene, stream: str, group: str = GROUP) -> dict[str, Any] | None:
    """What XINFO GROUPS says of a group; None if there is none, or no stream."""
    if not scene.redis.exists(stream):
        return None
    found: list[dict[str, Any]] = scene.redis.xinfo_groups(stream)
    return next((one for one in found if one["name"] == group), None)


def pending_of(scene: Scene, stream: str, group: str = GROUP) -> dict[str, str]:
    """The entries that are pending: the number of each, and whose it is."""
    found: Any = scene.redis.xpending_range(stream, group, "-", "+", 100)
    return {str(one["message_id"]).removesuffix("-0"): str(one["consumer"]) for one in found}


def unread_of(scene: Scene, stream: str, group: str = GROUP) -> list[str]:
    """The numbers of the entries that the group has not been given yet."""
    about = group_of(scene, stream, group)
    after = f"({about['last-delivered-id']}" if about else "-"
    found: Any = scene.redis.xrange(stream, after)
    return [str(fields["n"]) for _, fields in found]


def consumers_of(scene: Scene, stream: str, group: str = GROUP) -> list[str]:
    """The names of the group's consumers, in the order of the alphabet."""
    found: list[dict[str, Any]] = scene.redis.xinfo_consumers(stream, group)
    return sorted(str(one["name"]) for one in found)
