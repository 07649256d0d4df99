"""A run on a cluster: whatever asks for the course's client gets one of three nodes.

Each process of the run has a cluster of its own, which starts with the first client.
"""

from __future__ import annotations

import functools
from typing import Any

import helpers
from helpers.chaos import LocalCluster
from helpers.course import connect


def use() -> None:
    """From now on, before any test is read, `connect()` leads to a cluster."""
    for module in (helpers, connect):
        vars(module).update(connect=_connect, connect_async=_connect_async)


def end() -> None:
    """End the cluster, if there is one."""
    if _cluster.cache_info().currsize:
        _cluster().close()
        _cluster.cache_clear()


@functools.cache
def _cluster() -> LocalCluster:
    return LocalCluster(replicas=0)


def _connect(*, retries: int = 0) -> Any:
    return _cluster().connect()


def _connect_async(*, retries: int = 0) -> Any:
    return _cluster().connect_async()
