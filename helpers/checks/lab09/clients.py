"""A learner's function in another process, with a client of the cluster, or of one of its nodes.

What these return travels by value, so that a fork needs no import of this lab.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from helpers.chaos import LocalCluster, Node
from helpers.course.connect import async_client_of, client_of, settings

Function = Callable[..., Any]
RETRIES = 20  # of a client that meets a cluster without a primary: some five seconds
MOST_HOPS = 50


class Detour(NamedTuple):
    """The port of a node, and of the proxy in front of it."""

    node: int
    proxy: int


def with_cluster(
    function: Function, cluster: LocalCluster, seeds: Sequence[Node], detour: Detour | None = None
) -> Function:
    """A function whose first argument is a client of the whole cluster.

    Args:
        function: the learner's.
        cluster: whose client it is.
        seeds: the nodes that the client asks first; none of them may be paused.
        detour: a proxy that the connections to one node go through.
    """
    ports, password, is_async = [one.port for one in seeds], cluster.password, _is_async(function)

    def address(place: tuple[str, int]) -> tuple[str, int]:
        return (place[0], detour.proxy) if detour and place[1] == detour.node else place

    def client() -> Any:
        module: Any = redis.asyncio if is_async else redis
        backoff = ExponentialWithJitterBackoff(cap=0.5, base=0.02)
        return module.RedisCluster(
            startup_nodes=[module.cluster.ClusterNode("127.0.0.1", port) for port in ports],
            password=password,
            retry=(AsyncRetry if is_async else Retry)(backoff, RETRIES),
            require_full_coverage=False,
            address_remap=address,
            **settings(),
        )

    return _given(function, client, is_async)


def with_node(function: Function, url: str) -> Function:
    """A function whose first argument is a client of one node; it follows nothing."""
    is_async = _is_async(function)

    def client() -> Any:
        return async_client_of(url) if is_async else client_of(url)

    return _given(function, client, is_async)


def with_nodes(
    function: Function,
    cluster: LocalCluster,
    first: Node,
    wandering: Sequence[Node] = (),
    detour: Detour | None = None,
) -> Function:
    """A function of a client of one node, and of `connect(host, port)` for clients of others.

    It returns what the function returned, and how often that has connected.

    Args:
        function: the learner's.
        cluster: whose nodes they are.
        first: the node that it begins with, a primary.
        wandering: the primaries that the slot of its third argument goes to, each just before
            the function's next connection: so the node that MOVED has named says MOVED too.
        detour: a proxy that the connections to one node go through.
    """
    password, is_async = cluster.password, _is_async(function)
    ports = [node.port for node in cluster.nodes]
    start, ways = first.port, [(one.port, one.id) for one in wandering]
    connected = [0]

    def url(port: int) -> str:
        port = detour.proxy if detour and port == detour.node else port
        return f"redis://:{password}@127.0.0.1:{port}"

    def connect(host: Any, port: Any) -> Any:
        if int(port) not in ports or host not in ("127.0.0.1", "localhost"):
            raise ValueError(f"no node of the cluster listens on {host}:{port}")
        connected[0] += 1
        if connected[0] > MOST_HOPS:
            raise SystemExit(f"{MOST_HOPS} hops")
        if len(ways) > 1:
            move(ways.pop(0), ways[0])
        return async_client_of(url(int(port))) if is_async else client_of(url(int(port)))

    def move(source: tuple[int, str], target: tuple[int, str]) -> None:
        giving, taking, third = (client_of(url(port)) for port in (source[0], target[0], start))
        with giving, taking, third:
            taking.execute_command("CLUSTER", "SETSLOT", slot[0], "IMPORTING", source[1])
            giving.execute_command("CLUSTER", "SETSLOT", slot[0], "MIGRATING", target[1])
            for client in (taking, giving, third):
                client.execute_command("CLUSTER", "SETSLOT", slot[0], "NODE", target[1])

    slot = [0]

    async def run_async(stream: str, *more: Any) -> Any:
        slot[0] = redis.crc.key_slot(stream.encode())
        node = async_client_of(url(start))
        return [await function(node, connect, stream, *more), connected[0]]

    def run(stream: str, *more: Any) -> Any:
        slot[0] = redis.crc.key_slot(stream.encode())
        node = client_of(url(start))
        return [function(node, connect, stream, *more), connected[0]]

    return run_async if is_async else run


def _given(function: Function, client: Callable[[], Any], is_async: bool) -> Function:
    """A function that is given a client before its other arguments."""

    async def run_async(*arguments: Any) -> Any:
        async with client() as redis:
            return await function(redis, *arguments)

    def run(*arguments: Any) -> Any:
        return function(client(), *arguments)

    return run_async if is_async else run


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function)
