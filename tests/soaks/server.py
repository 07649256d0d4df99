"""The faults of a soak's server: it is silent, demoted, full, or closes every connection.

Each begins and ends within one step, so that the stage itself asks nothing of a server that is
not well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

from tests.soaks.stage import Act, Fault, Stage, Strike

SERVER = "server"
SILENT_S = 3.0
REFUSED_S = 2.0  # how long a state may last until a command is refused; else it missed
LONGER_S = 0.3  # the longest time that it goes on after that
LOOK_S = 0.01


def freeze(stage: Stage, _: Act) -> Strike:
    """Stop the server, by SIGSTOP; gives whether it stood still to the end."""
    yield
    stage.server.pause()
    try:
        time.sleep(SILENT_S)
        return psutil.Process(stage.server.pid).status() == psutil.STATUS_STOPPED
    finally:
        stage.server.resume()


def demote(stage: Stage, _: Act) -> Strike:
    """Make the server a replica for a moment; gives how many commands it refused."""
    yield
    before = _refused(stage, "READONLY")
    stage.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        return _last(stage, "READONLY", before)
    finally:
        stage.client.execute_command("REPLICAOF", "NO", "ONE")


def fill_up(stage: Stage, _: Act) -> Strike:
    """Let the memory be full for a moment; gives how many commands were refused."""
    yield
    before = _refused(stage, "OOM")
    stage.client.config_set("maxmemory", 1)
    try:
        return _last(stage, "OOM", before)
    finally:
        stage.client.config_set("maxmemory", 0)


def disconnect(stage: Stage, _: Act) -> Strike:
    """Close all connections but the stage's own; gives how many there were but one.

    That one may be of the stage's producer.
    """
    yield
    return stage.client.client_kill_filter(_type="normal", skipme=True) - 1


def struck(_: Stage, hit: int) -> bool | None:
    """Whether somebody has met it."""
    return True if hit > 0 else None


def _last(stage: Stage, code: str, before: int) -> int:
    """Wait until a command has been refused, and a moment longer; gives how many were."""
    deadline = time.monotonic() + REFUSED_S
    while _refused(stage, code) == before and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    time.sleep(stage.rng.uniform(0, LONGER_S))
    return _refused(stage, code) - before


def _refused(stage: Stage, code: str) -> int:
    """How many commands the server has refused with this code."""
    counted = stage.client.info("errorstats").get(f"errorstat_{code}")
    return int(counted["count"]) if counted else 0


def server_faults(share: int) -> Sequence[Fault]:
    """Their rows in the table of a soak, of the same share each."""
    strikes = {"freeze": freeze, "demote": demote, "fill up": fill_up, "disconnect": disconnect}
    return [Fault(name, share, (SERVER,), strike, struck) for name, strike in strikes.items()]
