"""A Redis Cluster of one's own on this machine: real nodes that can be killed, paused, cut off.

All nodes know each other from the start: each finds in its own `nodes.conf` what `CLUSTER MEET`,
`ADDSLOTS` and `REPLICATE` would have made. It serves when the two seconds are over that a
primary waits after every start.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from helpers.chaos.gate import CLIENT, Gate
from helpers.chaos.process import Process
from helpers.course.connect import client_of, settings
from helpers.course.errors import CourseError, ServerError
from helpers.course.pace import patient
from helpers.course.server.program import choose_program

SLOTS = 16_384
START_LIMIT_S = patient(15.0)
RETRIES = 20  # of a client that meets a cluster without a primary: some five seconds
MIGRATE_MS = 5_000  # for the keys of one step
KEYS_A_STEP = 10
ELECTION_S = 5.2  # after CLUSTER FAILOVER, until it may be asked for again

Slots = tuple[tuple[int, int], ...]  # ranges: their first and their last one


@dataclass(eq=False)
class Node:
    """One server of a cluster.

    Attributes:
        name: `n1`, `n2`, …: the primaries first, then their replicas.
        id: its name in the cluster, 40 hexadecimal digits.
        listens, bus: its own ports, for clients and for the other nodes.
        gates: what stands in front of both, if anything does.
    """

    name: str
    id: str
    folder: Path
    listens: int
    bus: int
    gates: tuple[Gate, ...] = ()
    process: Process | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """Where its clients find it, on 127.0.0.1."""
        return self.gates[0].port if self.gates else self.listens

    @property
    def bus_port(self) -> int:
        """Where the other nodes find it."""
        return self.gates[1].port if self.gates else self.bus

    @property
    def alive(self) -> bool:
        """Whether its process has not ended; a paused one is alive."""
        return self.process is not None and self.process.alive


@dataclass(frozen=True)
class NodeStatus:
    """A node as the cluster sees it.

    Attributes:
        role: `primary` or `replica`, and what its own server says of that.
        up: whether the node answers.
        primary: the name of the primary that a replica follows.
        slots: the ranges of slots that it serves, or takes itself to serve if it is cut off.
        epoch: of its slots: of two nodes that claim a slot, the higher one is right.
        offset: how many bytes of replication it has written, or read as a replica.
        behind: of a replica, how many bytes it lacks of its primary's.
        linked: of a replica, whether it hears its primary.
    """

    name: str
    port: int
    up: bool
    role: str = ""
    primary: str = ""
    slots: Slots = ()
    epoch: int = 0
    offset: int = 0
    behind: int | None = None
    linked: bool = False


class LocalCluster:
    """A cluster of real servers, which ends with the process that made it.

        with LocalCluster() as cluster:
            redis = cluster.connect()
            cluster.kill(cluster.primary_of("chennai"))

    It listens on loopback alone and asks for a password; its data is in a folder that goes with
    it. It is up when it is made: all slots are served, and all replicas are linked.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 1,
        *,
        node_timeout_ms: int = 500,
        gates: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        """Start it.

        Args:
            primaries: how many nodes share the slots; three at least, or no majority is left to
                vote when one of them dies.
            replicas: how many follow each primary.
            node_timeout_ms: `cluster-node-timeout`, after which a silent node counts as failing.
            gates: put a gate in front of each node, so that `cut()` works. It costs speed.
            options: more, as on the command line of redis-server.

        Raises:
            CourseError: fewer than three primaries.
            ServerError: there is no server program, or the cluster does not come up.
        """
        if primaries < 3 or replicas < 0:
            raise CourseError("A cluster needs three primaries at least, and replicas from 0 on.")
        program = choose_program(os.environ.get("COURSE_SERVER", "").strip() or None).path
        self.folder = Path(tempfile.mkdtemp(prefix="cluster-"))
        self.password = secrets.token_hex(8)
        self._primaries, self._replicas = primaries, replicas
        words = [word for option in options for word in option.split()]
        self._command = [program, "--bind", "127.0.0.1", "--cluster-enabled", "yes",
                         "--cluster-node-timeout", str(node_timeout_ms), "--save", "",
                         "--requirepass", self.password, "--masterauth", self.password,
                         "--repl-diskless-sync-delay", "0", "--loglevel", "warning",
                         *words]  # fmt: skip
        self.nodes: list[Node] = []
        try:
            self._make_nodes(primaries * (1 + replicas), gates)
            for node in self.nodes:
                self._start(node)
            self.wait_until_serving()
            self.wait_until_linked()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------ clients

    @property
    def url(self) -> str:
        """The URL of its first node."""
        return f"redis://:{self.password}@127.0.0.1:{self.nodes[0].port}"

    def connect(self, **more: Any) -> redis.RedisCluster:
        """A client of the whole cluster, with the course's settings and those given.

        It follows MOVED and ASK. A command for a slot without a primary is sent some times more,
        which takes from some milliseconds to some seconds, and then raises what redis-py does;
        the classes of `helpers.streams` wait on.
        """
        retry = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), RETRIES)
        return redis.RedisCluster(
            startup_nodes=[redis.cluster.ClusterNode("127.0.0.1", one.port) for one in self._up()],
            password=self.password, retry=retry, require_full_coverage=False, **settings() | more,
        )  # fmt: skip

    def connect_async(self, **more: Any) -> redis.asyncio.RedisCluster:
        """The same for asyncio."""
        nodes = [redis.asyncio.cluster.ClusterNode("127.0.0.1", one.port) for one in self._up()]
        retry = AsyncRetry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), RETRIES)
        return redis.asyncio.RedisCluster(
            startup_nodes=nodes, password=self.password, retry=retry,
            require_full_coverage=False, **settings() | more,
        )  # fmt: skip

    def client(self, node: Node | str) -> redis.Redis:
        """A client of one node; it follows nothing."""
        return client_of(f"redis://:{self.password}@127.0.0.1:{self.node(node).listens}")

    def _up(self) -> list[Node]:
        return [node for node in self.nodes if node.alive] or self.nodes

    # ------------------------------------------------------------ which node

    def node(self, name: Node | str) -> Node:
        """A node by its name.

        Raises:
            CourseError: there is none of that name.
        """
        if isinstance(name, Node):
            return name
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise CourseError(f"There is no node {name!r} in this cluster: its nodes are {names}.")

    def primary_of(self, key: str | int) -> Node:
        """The node that serves a key, or a slot, now.

        Raises:
            CourseError: no node that answers does.
        """
        slot = key if isinstance(key, int) else key_slot(key.encode())
        claim = [
            (one.epoch, one.name)
            for one in self.status()
            if one.role == "primary" and any(low <= slot <= high for low, high in one.slots)
        ]
        if not claim:
            raise CourseError(f"No node serves slot {slot} now: its primary is down.")
        return self.node(max(claim)[1])

    def replicas_of(self, primary: Node | str) -> list[Node]:
        """The nodes that follow a primary now."""
        name = self.node(primary).name
        return [self.node(one.name) for one in self.status() if one.primary == name]

    def status(self) -> list[NodeStatus]:
        """All nodes as they are now, by INFO and CLUSTER SHARDS of those that answer."""
        found = {node.name: self._look(node) for node in self.nodes}
        return [_with_lag(one, found) for one in found.values()]

    def _look(self, node: Node) -> NodeStatus:
        try:
            with self._quick(node) as client:
                about: dict[str, Any] = client.info("replication")
                lines = client.execute_command("CLUSTER", "NODES").splitlines()
        except redis.RedisError:
            return NodeStatus(node.name, node.port, up=False)
        mine = next(line for line in lines if "myself" in line.split()[2])
        epoch = int(mine.split()[6])
        found = NodeStatus(node.name, node.port, True, "primary", "", _slots(mine), epoch)
        if about["role"] == "master":
            return replace(found, offset=about["master_repl_offset"])
        follows = [one.name for one in self.nodes if one.port == about["master_port"]]
        return replace(
            found,
            role="replica",
            primary=follows[0] if follows else "",
            offset=about["slave_repl_offset"],
            linked=about["master_link_status"] == "up",
        )

    @contextlib.contextmanager
    def _quick(self, node: Node) -> Iterator[redis.Redis]:
        """A client for a question to one node, which may be dead or paused."""
        with redis.Redis(
            port=node.listens, password=self.password, decode_responses=True, protocol=2,
            retry=Retry(NoBackoff(), 0), socket_timeout=0.5, socket_connect_timeout=0.5,
        ) as client:  # fmt: skip
            yield client

    # ------------------------------------------------------------ what befalls it

    def kill(self, node: Node | str) -> None:
        """End a node as a crash would: kill -9."""
        if process := self.node(node).process:
            process.kill()

    def pause(self, node: Node | str) -> None:
        """Stop a node, by SIGSTOP: it is silent, and its kernel still answers for it."""
        if process := self.node(node).process:
            process.pause()

    def resume(self, node: Node | str) -> None:
        """Let a paused node go on, by SIGCONT."""
        if process := self.node(node).process:
            process.resume()

    def revive(self, node: Node | str) -> None:
        """Start a node again after its end, with what is in its folder.

        Without an append-only file that is only its place in the cluster: its data comes from
        the primary that it follows by then. A primary that is revived before another node has
        taken its slots over is their primary again, and empty; and so are its replicas, soon.
        """
        one = self.node(node)
        if not one.alive:
            self._start(one)
            self._wait(lambda: self._look(one).up, f"{one.name} did not start")

    def _start(self, node: Node) -> None:
        ports = ["--port", str(node.listens), "--cluster-port", str(node.bus)]
        if node.gates:
            ports += ["--cluster-announce-port", str(node.port), "--cluster-announce-bus-port",
                      str(node.bus_port), "--cluster-announce-ip", "127.0.0.1"]  # fmt: skip
        node.process = Process([*self._command, *ports, "--dir", str(node.folder)], name=node.name)

    def cut(self, node: Node | str, *, clients: bool = True) -> None:
        """Cut a node off from the others, and by default from its clients.

        What is sent to it or by it waits until `heal()`, and is late then.

        Args:
            node: the node.
            clients: cut it off from clients too. Else it serves them on, until it notices that
                it is alone, and what it confirms meanwhile is lost.

        Raises:
            CourseError: the cluster has no gates.
        """
        alone = self.node(node)
        if not alone.gates:
            raise CourseError("This cluster has no gates: make it with LocalCluster(gates=True).")
        its = (alone.id, str(alone.listens), str(alone.port))
        for other in self.nodes:
            for gate in other.gates:
                gate.shut(lambda sender: sender in its)
        for gate in alone.gates:
            gate.shut(lambda sender: clients or sender != CLIENT)

    def heal(self) -> None:
        """Connect again what was cut off."""
        for node in self.nodes:
            for gate in node.gates:
                gate.open()

    def failover(self, replica: Node | str, *, force: bool = False) -> None:
        """Make a replica the primary, by CLUSTER FAILOVER, and wait until all agree that it is.

        Its primary stops writing first and hands over all it has, so nothing is lost.

        Args:
            replica: the node.
            force: do not ask the primary, which may be dead: what it had not sent is lost.

        Raises:
            CourseError: the node is no replica, or the others did not agree.
        """
        node, asked_at = self.node(replica), -math.inf

        def done() -> bool:
            nonlocal asked_at
            primary = self._look(node).role == "primary"
            # Within twice the node time-out of the last election the others give no vote, and
            # what was asked for is forgotten after five seconds.
            if not primary and time.monotonic() - asked_at > ELECTION_S:
                self._ask_to_take_over(node, force)
                asked_at = time.monotonic()
            return primary and self.serving

        self._wait(done, f"{node.name} did not take over")

    def _ask_to_take_over(self, node: Node, force: bool) -> None:
        with self._quick(node) as client:
            try:
                client.execute_command("CLUSTER", "FAILOVER", *["FORCE"] * force)
            except redis.ResponseError as error:
                raise CourseError(f"{node.name} cannot take over: {error}") from error

    def move(self, key: str | int, to: Node | str) -> int:
        """Move a slot with all its keys to another primary, while both serve it.

        By CLUSTER SETSLOT and MIGRATE. On the way, a key that has left is answered with ASK, and
        a command with keys on both sides with TRYAGAIN.

        Args:
            key: a key whose slot is moved, or a slot.
            to: the node that gets it.

        Returns:
            How many keys were moved.

        Raises:
            CourseError: the node is no primary, or a key could not be moved.
        """
        slot = key if isinstance(key, int) else key_slot(key.encode())
        source, target = self.primary_of(slot), self.node(to)
        if self._look(target).role != "primary":
            raise CourseError(f"{target.name} is no primary: only a primary can serve a slot.")
        if source is target:
            return 0
        with self.client(source) as giving, self.client(target) as taking:
            taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
            giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
            moved = self._migrate(giving, slot, target)
            # The target first: if it alone knows, the source still sends all there by ASK.
            for client in (taking, giving):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        return moved

    def _migrate(self, giving: redis.Redis, slot: int, target: Node) -> int:
        moved = 0
        while keys := giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_A_STEP):
            try:
                giving.execute_command(
                    "MIGRATE", "127.0.0.1", target.listens, "", 0, MIGRATE_MS,
                    "AUTH", self.password, "KEYS", *keys,
                )  # fmt: skip
            except redis.ResponseError as error:
                raise CourseError(f"Slot {slot} could not be moved: {error}") from error
            moved += len(keys)
        return moved

    # ------------------------------------------------------------ waiting, and the end

    def wait_until_serving(self) -> None:
        """Wait until every slot is served by a node that answers.

        Raises:
            ServerError: it lasts too long.
        """
        self._wait(lambda: self.serving, "The cluster did not come up")

    @property
    def serving(self) -> bool:
        """Whether all that answer agree on who serves what, and that is every slot."""
        views = {self._view(node) for node in self.nodes if node.alive}
        if len(views) != 1 or None in views:
            return False
        (view,) = views
        return sum(high - low + 1 for _, slots in view or () for low, high in slots) == SLOTS

    def _view(self, node: Node) -> frozenset[tuple[str, Slots]] | None:
        """Which node serves which slots in the eyes of one; None if the cluster is down for it."""
        try:
            with self._quick(node) as client:
                well = "cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
                lines = client.execute_command("CLUSTER", "NODES").splitlines()
        except redis.RedisError:
            return None
        found = ((line.split()[0], _slots(line)) for line in lines)
        return frozenset((name, slots) for name, slots in found if slots) if well else None

    def wait_until_linked(self) -> None:
        """Wait until every replica that is alive hears its primary, and has what that has by now.

        Raises:
            ServerError: it lasts too long.
        """
        wanted = {one.name: one.offset for one in self.status() if one.role == "primary"}

        def linked() -> bool:
            replicas = [one for one in self.status() if one.role == "replica" and one.up]
            return all(one.linked and one.offset >= wanted.get(one.primary, 0) for one in replicas)

        self._wait(linked, "A replica did not find its primary")

    def _wait(self, until: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not until():
            if time.monotonic() > deadline:
                raise ServerError(f"{otherwise} within {START_LIMIT_S:.0f} s.{self._printed()}")
            time.sleep(0.02)

    def _printed(self) -> str:
        for node in self.nodes:
            if node.process and not node.alive:
                lines = node.process.output().strip().splitlines() or ["it said nothing"]
                return f" {node.name} has ended: {lines[-1]}"
        return ""

    def close(self) -> None:
        """End all nodes, and delete their data."""
        for node in self.nodes:  # all, so that none of them connects again to a gate
            if node.process:
                node.process.kill()
        for node in self.nodes:
            for gate in node.gates:
                gate.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ the beginning

    def _make_nodes(self, count: int, gates: bool) -> None:
        with free_ports(2 * count) as ports:  # until the gates have ports of their own
            for number in range(count):
                own = ports[2 * number], ports[2 * number + 1]
                folder = self.folder / f"n{number + 1}"
                folder.mkdir()
                before = (Gate(own[0]), Gate(own[1])) if gates else ()
                self.nodes.append(
                    Node(f"n{number + 1}", secrets.token_hex(20), folder, *own, gates=before)
                )
        for node in self.nodes:
            (node.folder / "nodes.conf").write_text(self._topology(node))

    def _topology(self, myself: Node) -> str:
        """What a node knows of all of them, in the format of `nodes.conf`."""
        lines = []
        for number, node in enumerate(self.nodes):
            flags, follows, epoch, slots = "master", "-", number + 1, ""
            if number < self._primaries:
                first, end = (SLOTS * n // self._primaries for n in (number, number + 1))
                slots = f" {first}-{end - 1}"
            else:
                flags, epoch = "slave", 0
                follows = self.nodes[(number - self._primaries) % self._primaries].id
            flags = f"myself,{flags}" if node is myself else flags
            address = f"127.0.0.1:{node.port}@{node.bus_port}"
            lines.append(f"{node.id} {address} {flags} {follows} 0 0 {epoch} connected{slots}")
        lines.append(f"vars currentEpoch {self._primaries} lastVoteEpoch 0")
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """So many ports of this machine on which nothing listens; they are held until the end.

    They are below those that a system hands out by itself, so that nothing takes them meanwhile.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        yield ports


def _slots(line: str) -> Slots:
    """The ranges of slots of a node, in its line of CLUSTER NODES."""
    ranges = [word.split("-") for word in line.split()[8:] if not word.startswith("[")]
    return tuple((int(one[0]), int(one[-1])) for one in ranges)


def _with_lag(one: NodeStatus, found: dict[str, NodeStatus]) -> NodeStatus:
    """A node with how far it is behind the primary that it follows."""
    primary = found.get(one.primary)
    if primary is None or not primary.up:
        return one
    return replace(one, behind=max(0, primary.offset - one.offset))
