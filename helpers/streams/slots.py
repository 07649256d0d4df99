"""A RedisCluster's client for one stream: it speaks to the node that serves the stream's slot.

A stream and all that this package keeps beside it lie in one hash slot, and so on one node. A
client of that node does, until the slot moves or the node dies. So a connection here goes to where
the slot is, before each command: to the node that MOVED named or, where a node does not answer, to
any other one, which says MOVED in its turn.

Nothing is sent twice by itself, except for what MOVED refused: that was not executed. A key that
is being moved (ASK, TRYAGAIN) is waited for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import MovedError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from .connection import (
    AsyncPatientConnection,
    AsyncPatientSSLConnection,
    PatientConnection,
    PatientSSLConnection,
)
from .errors import ArgumentError
from .keys import expect_name
from .single import Single
from .states import state_of, unreachable

Address = tuple[str, int]
SyncClient = redis.Redis | redis.RedisCluster  # of a server, or of a cluster
AsyncClient = redis.asyncio.Redis | redis.asyncio.RedisCluster

HOPS = 5  # so often MOVED is followed for one command; more means that the nodes disagree
SLOTS_AT_ONCE = 16  # each with connections of its own

# A node that says so may have lost its slot, or touch with the others, and not know it yet.
_ASK_ANOTHER = ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "DEMOTED", "LOADING")


class Slot:
    """Where a slot is, as far as it is known.

    Attributes:
        node: the node to connect to.
        settled: whether the slot's own node has said which others there are.
    """

    def __init__(self, nodes: Iterable[Address]) -> None:
        """Name the nodes that are known; the first one may have it."""
        self.node, *_ = nodes = list(nodes)
        self._seeds = {*nodes}
        self._nodes = self._seeds
        self.settled = False

    def heard(self, node: Address, error: BaseException) -> None:
        """A node was asked, and this is what came of it."""
        if node != self.node:
            return  # that one was left already
        if isinstance(error, MovedError):  # without a host it has that node's own
            self.node, self.settled = (error.host or node[0], int(error.port)), False
        elif isinstance(error, OSError) or unreachable(error) or state_of(error) in _ASK_ANOTHER:
            others = self._nodes - {node} or self._nodes
            self.node, self.settled = random.choice([*others]), False

    def learn(self, slots: list[Any]) -> None:
        """Take the cluster's nodes from a reply of CLUSTER SLOTS."""
        named = {(one[0] or self.node[0], int(one[1])) for part in slots for one in part[2:]}
        self._nodes = self._seeds | named


class _InSlot:
    """For connections: they go where the slot is."""

    host: str
    port: int
    is_connected: bool

    def __init__(self, *, slot: Slot, **settings: Any) -> None:
        self._slot = slot
        super().__init__(**settings)

    @property
    def _astray(self) -> bool:
        return self.is_connected and (self.host, self.port) != self._slot.node

    def connect(self) -> None:
        if self._astray:
            self.disconnect()  # type: ignore[attr-defined]
        try:
            super().connect()  # type: ignore[misc]
        except (redis.ConnectionError, redis.TimeoutError):
            super().connect()  # type: ignore[misc]  # by now to another node

    def _connect(self) -> Any:
        self.host, self.port = self._slot.node
        try:
            return super()._connect()  # type: ignore[misc]
        except (redis.RedisError, OSError) as error:
            self._slot.heard((self.host, self.port), error)
            raise

    def heard(self, error: redis.RedisError) -> None:
        self._slot.heard((self.host, self.port), error)


class _AsyncInSlot(_InSlot):
    """The same for asyncio."""

    async def connect(self) -> None:  # type: ignore[override]
        if self._astray:
            await self.disconnect()  # type: ignore[attr-defined]
        try:
            await super(_InSlot, self).connect()  # type: ignore[misc]
        except (redis.ConnectionError, redis.TimeoutError):
            await super(_InSlot, self).connect()  # type: ignore[misc]

    async def _connect(self) -> None:
        self.host, self.port = self._slot.node
        try:
            await super(_InSlot, self)._connect()  # type: ignore[misc]
        except (redis.RedisError, OSError) as error:
            self._slot.heard((self.host, self.port), error)
            raise


class _Connection(_InSlot, PatientConnection):
    pass


class _SSLConnection(_InSlot, PatientSSLConnection):
    pass


class _AsyncConnection(_AsyncInSlot, AsyncPatientConnection):
    pass


class _AsyncSSLConnection(_AsyncInSlot, AsyncPatientSSLConnection):
    pass


def leads_on(error: redis.ResponseError, hop: int) -> bool:
    """Whether the command was not executed here, and is to be sent again at once."""
    if isinstance(error, MovedError):
        return True
    # So Redis 7.0 ends an XREADGROUP that waits with BLOCK, when the stream moves away.
    return hop == 0 and str(error).startswith("UNBLOCKED")


class SlotClient(redis.Redis):
    """A client of the node that serves a slot."""

    slot: Slot

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, to another node where this one says MOVED."""
        for hop in range(HOPS):
            try:
                reply = super().execute_command(*args, **options)
            except redis.ResponseError as error:
                if leads_on(error, hop):
                    continue
                raise
            if not self.slot.settled:
                self.slot.settled = True
                with suppress(redis.RedisError):
                    self.slot.learn(super().execute_command("CLUSTER", "SLOTS"))
            return reply
        return super().execute_command(*args, **options)


class AsyncSlotClient(redis.asyncio.Redis):
    """The same for asyncio."""

    slot: Slot

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, to another node where this one says MOVED."""
        for hop in range(HOPS):
            try:
                reply = await super().execute_command(*args, **options)
            except redis.ResponseError as error:
                if leads_on(error, hop):
                    continue
                raise
            if not self.slot.settled:
                self.slot.settled = True
                with suppress(redis.RedisError):
                    self.slot.learn(await super().execute_command("CLUSTER", "SLOTS"))
            return reply
        return await super().execute_command(*args, **options)


def client_for(client: Any, keys: Iterable[str]) -> Any:
    """The client to reach these keys with: of a RedisCluster that of their slot, else the same.

    Raises:
        ArgumentError: they lie in several slots of a cluster, so that no one node has them all.
    """
    if not is_cluster(client):
        return client
    slots: dict[int, str] = {}
    for key in keys:
        slots.setdefault(key_slot(expect_name("key", key).encode()), key)
    if len(slots) > 1:
        told = ", ".join(f"{key!r} in {slot}" for slot, key in slots.items())
        raise ArgumentError(
            f"These keys lie in different hash slots of the cluster ({told}), and one command "
            "reaches one slot: give their names a hash tag in common, such as {weather}, or use "
            "one object for each slot."
        )
    manager = client.nodes_manager
    told = manager.slots_cache.get(next(iter(slots)), [])[:1]  # its primary, as far as it is known
    nodes = [*told, *manager.nodes_cache.values(), *manager.startup_nodes.values()]
    slot = Slot((node.host, int(node.port)) for node in nodes)
    if isinstance(client, redis.RedisCluster):
        return _of(client, slot)
    return _of_async(client, slot)


def is_cluster(client: Any) -> bool:
    """Whether it is a client of a cluster."""
    return isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)


def _of(cluster: redis.RedisCluster, slot: Slot) -> redis.Redis:
    """A client with the settings that the cluster's has for its nodes."""
    manager: Any = cluster.nodes_manager
    host, port = slot.node
    settings = {k: v for k, v in manager.connection_kwargs.items() if k != "redis_connect_func"}
    settings["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    pool = manager.create_redis_node(host, port, **settings).connection_pool
    tls = issubclass(pool.connection_class, redis.SSLConnection)
    pool.connection_class = _SSLConnection if tls else _Connection
    pool.connection_kwargs |= {"slot": slot, "retry": Retry(NoBackoff(), 0)}
    client: Any = SlotClient.from_pool(pool)
    client.slot = slot
    return client


_NOT_OF_CONNECTIONS = ("connection_class", "response_callbacks", "redis_connect_func",
                       "event_dispatcher", "himport_registry")  # fmt: skip


def _of_async(cluster: redis.asyncio.RedisCluster, slot: Slot) -> redis.asyncio.Redis:
    """The same for asyncio."""
    settings = {k: v for k, v in cluster.connection_kwargs.items() if k not in _NOT_OF_CONNECTIONS}
    tls = issubclass(cluster.connection_kwargs["connection_class"], redis.asyncio.SSLConnection)
    pool = redis.asyncio.ConnectionPool(
        connection_class=_AsyncSSLConnection if tls else _AsyncConnection,
        slot=slot,
        retry=AsyncRetry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **settings,
    )
    client: Any = AsyncSlotClient.from_pool(pool)
    client.slot = slot
    return client


class Clients(Single):
    """The clients to reach keys in many slots with; of one server, its own."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._of: dict[int, Any] = {}

    def of(self, key: str) -> Any:
        """The client for a key."""
        if not is_cluster(self._client):
            return self._client
        slot = key_slot(key.encode())
        if slot not in self._of:
            while len(self._of) >= SLOTS_AT_ONCE:  # the one that is there for the longest time
                del self._of[next(iter(self._of))]
            self._of[slot] = client_for(self._client, [key])
        return self._of[slot]
