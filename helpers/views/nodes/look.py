"""A cluster and the parts of a stream at one moment, as plain data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.crc import key_slot

from helpers.chaos import LocalCluster, NodeStatus
from helpers.cluster import Parts
from helpers.streams.keys import LEASE, group_key


@dataclass(frozen=True)
class PartLook:
    """A part of a stream.

    Attributes:
        stream: its key.
        node: the primary that serves it; "" while none does.
        length: how many entries it has; None if nobody could say.
        owner: the worker that holds its lease; "" if none does.
    """

    stream: str
    node: str = ""
    length: int | None = None
    owner: str = ""


@dataclass(frozen=True)
class ClusterLook:
    """The nodes, and the parts."""

    nodes: tuple[NodeStatus, ...]
    parts: tuple[PartLook, ...] = ()

    @property
    def owners(self) -> list[str]:
        """The workers that own a part, each once."""
        return sorted({part.owner for part in self.parts if part.owner})


def look(
    cluster: LocalCluster,
    parts: Parts | None = None,
    group: str = "",
    names: Mapping[str, str] | None = None,
) -> ClusterLook:
    """How the cluster is now, by INFO and CLUSTER NODES, and XLEN and GET for each part.

    Args:
        cluster: the nodes.
        parts: the stream whose parts to show.
        group: whose owners to show.
        names: what the workers are called, by their tokens; by default the token's beginning.
    """
    nodes = tuple(cluster.status())
    streams = parts.streams if parts else []
    serving = {stream: serves(nodes, key_slot(stream.encode())) for stream in streams}
    facts: dict[str, tuple[int, str]] = {}
    for node in {name for name in serving.values() if name}:
        here = [stream for stream, name in serving.items() if name == node]
        with suppress(redis.RedisError):
            facts |= _ask(cluster, node, here, group)
    names = names or {}
    found = []
    for stream in streams:
        length, token = facts.get(stream, (None, ""))
        found.append(PartLook(stream, serving[stream], length, names.get(token, token[:4])))
    return ClusterLook(nodes, tuple(found))


def serves(nodes: Sequence[NodeStatus], slot: int) -> str:
    """The primary that serves a slot: of two that claim it, the one with the higher epoch."""
    claims = [
        (one.epoch, one.name)
        for one in nodes
        if one.role == "primary" and any(low <= slot <= high for low, high in one.slots)
    ]
    return max(claims, default=(0, ""))[1]


def _ask(
    cluster: LocalCluster, node: str, streams: list[str], group: str
) -> dict[str, tuple[int, str]]:
    with cluster.client(node) as client:
        pipeline = client.pipeline(transaction=False)
        for stream in streams:
            pipeline.xlen(stream)
            pipeline.get(group_key(stream, group, LEASE))
        said: list[Any] = pipeline.execute()
    return {
        stream: (length, token or "")
        for stream, length, token in zip(streams, said[::2], said[1::2], strict=True)
    }


def text(seen: ClusterLook) -> str:
    """The same in a few lines."""
    lines = []
    for node in seen.nodes:
        lines.append(f"{node.name}  {role(node)}")
        lines += [f"  {part_words(part)}" for part in seen.parts if part.node == node.name]
    lost = [part.stream for part in seen.parts if not part.node]
    if lost:
        lines.append(f"no node serves {', '.join(lost)}")
    return "\n".join(lines)


def role(node: NodeStatus) -> str:
    """What a node is, in a few words."""
    if not node.up:
        return "doesn't answer"
    if node.role == "primary":
        return "primary" if node.slots else "primary without slots"
    behind = f", {node.behind:,} bytes behind" if node.behind else ""
    return f"replica of {node.primary}{behind if node.linked else ', not linked'}"


def part_words(part: PartLook) -> str:
    """A part, how long it is, and whose."""
    length = "?" if part.length is None else f"{part.length:,}"
    return f"{part.stream}  {length}" + (f"  {part.owner}" if part.owner else "")
