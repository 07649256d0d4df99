"""`course cluster`: a Redis Cluster on this machine, and what may befall it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from helpers.chaos import remote
from helpers.chaos.cluster import LocalCluster, NodeStatus
from helpers.cli.console import commands, many, out, table
from helpers.course.errors import CourseError
from helpers.streams.signals import stopping

cluster_commands = commands("A Redis Cluster of your own on this machine, for you to break.")

LOOK_S = 0.5

Node = Annotated[str, typer.Argument(help="The node's name, such as n1: see `status`.")]


@cluster_commands.command("start")
def start(
    primaries: Annotated[int, typer.Option(help="Nodes that share the slots; at least 3.")] = 3,
    replicas: Annotated[int, typer.Option(help="Replicas of each.")] = 1,
    gates: Annotated[bool, typer.Option(help="Put gates in front, for `cut`.")] = False,
) -> None:
    """Start a cluster, and keep it up until Ctrl-C or `course cluster stop`."""
    if remote.runs():  # before six servers are started
        raise CourseError("A cluster is already running: `course cluster stop` ends it.")
    with LocalCluster(primaries, replicas, gates=gates) as cluster, remote.Served(cluster) as here:
        out.print(
            f"[green]✓[/] {many(len(cluster.nodes), 'node')} up, all slots served, at "
            f"{escape(cluster.url)}. In another terminal: `course cluster status`. Ctrl-C ends it."
        )
        with stopping(here.stopped.set):
            while not here.stopped.wait(LOOK_S):
                pass
    out.print("The cluster has ended, and its data is deleted.")


@cluster_commands.command("status")
def status(
    follow: Annotated[bool, typer.Option(help="Look twice a second, until Ctrl-C.")] = False,
) -> None:
    """Show its nodes: roles, slots, and how far replicas are behind."""
    if not follow:
        out.print(_table(remote.ask("status")))
        return
    with Live(console=out, auto_refresh=False) as screen:
        while True:
            screen.update(_table(remote.ask("status")), refresh=True)
            time.sleep(LOOK_S)


def _table(nodes: Sequence[NodeStatus]) -> Table:
    found = table("node", "port", "role", "slots", "offset", "behind")
    for one in nodes:
        if not one.up:
            found.add_row(one.name, str(one.port), "[red]does not answer[/]", "", "", "")
            continue
        slots = " ".join(f"{low}-{high}" if low < high else f"{low}" for low, high in one.slots)
        role = one.role if not one.primary else f"replica of {one.primary}"
        linked = "" if one.role == "primary" or one.linked else "[red]not linked[/]"
        behind = linked or (f"{one.behind:,} bytes" if one.behind is not None else "")
        found.add_row(one.name, str(one.port), role, slots, f"{one.offset:,}", behind)
    return found


@cluster_commands.command("kill")
def kill(node: Node) -> None:
    """End a node as a crash would, by kill -9; `revive` starts it again."""
    remote.ask("kill", node)
    out.print(f"Killed {escape(node)}.")


@cluster_commands.command("pause")
def pause(node: Node) -> None:
    """Stop a node by SIGSTOP: it is silent; `resume` lets it go on."""
    remote.ask("pause", node)
    out.print(f"{escape(node)} is paused.")


@cluster_commands.command("resume")
def resume(node: Node) -> None:
    """Let a paused node go on."""
    remote.ask("resume", node)
    out.print(f"{escape(node)} continues.")


@cluster_commands.command("revive")
def revive(node: Node) -> None:
    """Start a node again after its end."""
    remote.ask("revive", node)
    out.print(f"Started {escape(node)} again.")


@cluster_commands.command("cut")
def cut(
    node: Node,
    clients: Annotated[bool, typer.Option(help="From its clients too.")] = True,
) -> None:
    """Cut a node off from the others; `heal` connects it again."""
    remote.ask("cut", node, clients=clients)
    out.print(f"{escape(node)} is cut off.")


@cluster_commands.command("heal")
def heal() -> None:
    """Connect again what was cut off."""
    remote.ask("heal")
    out.print("All nodes can reach each other.")


@cluster_commands.command("failover")
def failover(
    node: Annotated[str, typer.Argument(help="The replica that becomes the primary.")],
    force: Annotated[bool, typer.Option(help="Don't ask its primary, which may be dead.")] = False,
) -> None:
    """Make a replica the primary."""
    remote.ask("failover", node, force=force)
    out.print(f"{escape(node)} is a primary now.")


@cluster_commands.command("move")
def move(
    key: Annotated[str, typer.Argument(help="A key, whose slot is moved.")],
    node: Annotated[str, typer.Argument(help="The primary to move it to.")],
) -> None:
    """Move the slot of a key to another node, with all keys in it."""
    count = remote.ask("move", key, node)
    out.print(f"Moved the slot of {escape(key)} with {many(count, 'key')} to {escape(node)}.")


@cluster_commands.command("url")
def url() -> None:
    """Print the address of its first node, with its password, for redis-cli -c -u."""
    out.print(escape(remote.url()))


@cluster_commands.command("stop")
def stop() -> None:
    """End the cluster, and delete its data."""
    remote.ask("stop")
    out.print("Asked it to end.")
