"""The cluster of lab 09: one for the notebook and its checks, started at the first use."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Any, Self

import redis
from redis.crc import key_slot

from helpers.chaos import LocalCluster, Node
from helpers.checks.scene import Scene
from helpers.course.errors import ServerError
from helpers.course.pace import patient
from helpers.course.server.program import choose_program
from helpers.streams.keys import sibling_key

# Checks ask for each failover (CLUSTER FAILOVER TAKEOVER) and wait for none. So a node may be
# silent for long on a busy machine, and no other one takes over by itself.
NODE_TIMEOUT_MS = 3000
LOOK_S = 0.005
AGREED_S = patient(3.0)  # until all know who has taken over
NO_PROGRAM = (
    "Lab 09 starts a cluster of six servers on this machine, and there is no server program for "
    "them: install redis-server 7.0 or newer, or name one in COURSE_SERVER."
)

_lock = threading.Lock()
_made: list[LocalCluster] = []  # one, or none yet
_hurt: set[LocalCluster] = set()  # those that a check has left with a node that comes back
os.register_at_fork(after_in_child=_made.clear)  # the parent's


def lab_cluster() -> LocalCluster:
    """The cluster of this lab, whole: three primaries and a replica of each.

    It is started at the first call, in two or three seconds, and ends with this process.

    Raises:
        ServerError: there is no program for its servers, or it does not come up.
    """
    with _lock:
        if _made and not _made[0].folder.exists():
            _made.clear()  # somebody has closed it
        if not _made:
            _expect_program()
            _made.append(LocalCluster(node_timeout_ms=NODE_TIMEOUT_MS))
            atexit.register(close)
        _make_whole(_made[0])
        return _made[0]


def close() -> None:
    """End the cluster, if there is one."""
    while _made:
        _made.pop().close()


def _expect_program() -> None:
    wanted = os.environ.get("COURSE_SERVER", "").strip()
    try:
        choose_program(wanted or None)
    except ServerError as error:
        raise error if wanted not in ("", "embedded") else ServerError(NO_PROGRAM) from error


def _make_whole(cluster: LocalCluster) -> None:
    """Bring back what a check, or the learner, has killed or paused."""
    gone = [node for node in cluster.nodes if not node.alive]
    for node in cluster.nodes:
        cluster.resume(node)
    for node in gone:
        cluster.revive(node)
    if gone or cluster in _hurt:
        cluster.wait_until_serving()
        cluster.wait_until_linked()
        _hurt.discard(cluster)


class Ground:
    """The cluster as a check uses it: keys of its own, and clients of single nodes."""

    def __init__(self, scene: Scene) -> None:
        self.cluster = lab_cluster()
        self._prefix = scene.key("")
        self._clients: dict[str, redis.Redis] = {}
        self._paused: list[Node] = []  # they answer nobody

    def key(self, name: str) -> str:
        """A key that only this check uses, and that is gone after it."""
        return self._prefix + name

    def short(self, text: object) -> str:
        """What a verdict shows of a key: its name without the check's prefix."""
        return str(text).replace(self._prefix, "")

    def client(self, node: Node) -> redis.Redis:
        """A client of one node, which follows nothing."""
        if node.name not in self._clients:
            self._clients[node.name] = self.cluster.client(node)
        return self._clients[node.name]

    def at(self, key: str) -> redis.Redis:
        """A client of the node that serves a key."""
        return self.client(self.primary_of(key))

    def url(self, key: str) -> str:
        """The URL of the node that serves a key."""
        return f"redis://:{self.cluster.password}@127.0.0.1:{self.primary_of(key).port}"

    def slots(self, asked: Node | None = None) -> list[tuple[int, int, list[Node]]]:
        """The ranges of slots, each with its primary and then its replicas, as a node sees it."""
        by_id = {node.id: node for node in self.cluster.nodes}
        answer = (one for one in self.cluster.nodes if one.alive and one not in self._paused)
        found: Any = self.client(asked or next(answer)).execute_command("CLUSTER", "SLOTS")
        return [
            (first, last, [by_id[str(one[2])] for one in nodes]) for first, last, *nodes in found
        ]

    def nodes_of(self, key: str, asked: Node | None = None) -> list[Node]:
        """The primary of a key, and its replicas, as a node sees it."""
        slot, deadline = key_slot(key.encode()), time.monotonic() + AGREED_S
        while True:
            for first, last, nodes in self.slots(asked):
                if first <= slot <= last:
                    return nodes
            if time.monotonic() > deadline:
                raise ServerError(f"No node serves slot {slot} now: check again.")
            time.sleep(LOOK_S)

    def primary_of(self, key: str) -> Node:
        """The node that serves a key."""
        return self.nodes_of(key)[0]

    def primaries(self) -> list[Node]:
        """The nodes that serve slots, in the order of their slots."""
        return list(dict.fromkeys(nodes[0] for _, _, nodes in self.slots()))

    def agree(self, key: str) -> None:
        """Wait until all nodes know which of them serves a key."""
        up = [node for node in self.cluster.nodes if node.alive and node not in self._paused]
        deadline = time.monotonic() + AGREED_S
        while len({self.nodes_of(key, node)[0].name for node in up}) > 1:
            if time.monotonic() > deadline:
                raise ServerError("The nodes don't agree on who serves a slot: check again.")
            time.sleep(LOOK_S)

    def replica_of(self, key: str) -> Node:
        """The replica that follows the primary of a key.

        Raises:
            ServerError: none does.
        """
        primary = self.primary_of(key)
        for node in self.cluster.nodes:
            if node is not primary and node.alive:
                about: Any = self.client(node).info("replication")
                if about.get("master_port") == primary.port:
                    return node
        raise ServerError(f"No replica follows {primary.name} now: check again.")

    def all_keys(self) -> list[str]:
        """All keys of this check, on all nodes."""
        return [
            str(key)
            for node in self.primaries()
            for key in self.client(node).scan_iter(match=f"*{self._prefix}*", count=1000)
        ]

    def strangers(self) -> int:
        """How often clients without a password have been turned away so far."""
        found: list[Any] = [self.client(node).info("errorstats") for node in self.primaries()]
        return sum(one.get("errorstat_NOAUTH", {"count": 0})["count"] for one in found)

    # ------------------------------------------------------------ what befalls it

    def stop_replica(self, key: str) -> Node:
        """Pause the replica of a key: it has confirmed all that was written so far, and no more."""
        primary, replica = self.primary_of(key), self.replica_of(key)
        with self.client(primary).pipeline(transaction=False) as both:
            both.set(sibling_key(key, "beat"), 1)  # WAIT counts from what its connection wrote
            both.wait(1, 2000)
            both.execute()
        self._pause(replica)
        return replica

    def _pause(self, node: Node) -> None:
        self._paused.append(node)
        self.cluster.pause(node)

    def _resume(self, *nodes: Node) -> None:
        for node in nodes:
            self.cluster.resume(node)
            self._paused.remove(node)

    def cut_off(self, key: str) -> Node:
        """Pause the replica of a key, so that it gets nothing more of what is written."""
        replica = self.stop_replica(key)
        self.at(key).execute_command("CLIENT", "KILL", "TYPE", "replica")
        return replica

    def fail_over(self, key: str, replica: Node) -> Node:
        """Let the replica that was cut off take over from the primary, which is silent from now on.

        All know the new primary when this returns, and the old one waits to be killed: if it were
        dead before, a client's commands would fail meanwhile, and redis-py doesn't wait between
        its retries.

        Returns:
            The old primary.
        """
        primary = self.primary_of(key)
        others = [node for node in self.primaries() if node is not primary]
        self._pause(primary)  # first, or the replica would get the rest of it
        self._resume(replica)
        self.client(replica).execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        deadline = time.monotonic() + AGREED_S
        while any(self.nodes_of(key, asked)[0] is not replica for asked in others):
            if time.monotonic() > deadline:
                raise ServerError(f"{replica.name} did not take over from {primary.name} in time.")
            time.sleep(LOOK_S)
        return primary

    def kill(self, node: Node) -> None:
        """End a node; the next check waits until it is a replica again."""
        _hurt.add(self.cluster)
        self.cluster.kill(node)

    # ------------------------------------------------------------ the end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resume(*self._paused)
        try:
            for key in self.all_keys():
                self.at(key).unlink(key)
        finally:
            for client in self._clients.values():
                client.close()
            for node in self.cluster.nodes:
                if not node.alive:
                    self.cluster.revive(node)
