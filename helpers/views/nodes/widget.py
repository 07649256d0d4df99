"""The theatre of a cluster in a notebook: its live picture, and a button for what can befall it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import redis
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox  # type: ignore[import-untyped]

from helpers.chaos import LocalCluster, NodeStatus
from helpers.cluster import Parts, PartsWorker
from helpers.course.errors import EXPECTED
from helpers.views.nodes.look import ClusterLook, look, text
from helpers.views.nodes.picture import WIDTH, sheet
from helpers.views.theatre.draw import svg
from helpers.views.theatre.still import png
from helpers.views.theatre.widget import big, enable

TICK_S = 0.4
WANTED = "Kill a primary, and see its replica take over."
CLOSED = "This theatre is closed: run its cell again to open it."


@dataclass(frozen=True)
class StillCluster:
    """A look at a cluster, to be shown as the last line of a cell."""

    seen: ClusterLook
    title: str

    def __str__(self) -> str:
        return text(self.seen)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        picture = {"image/png": png(sheet(self.seen, self.title)), "text/plain": str(self)}
        return picture, {"image/png": {"width": WIDTH}}


class ClusterTheatre:
    """A cluster's nodes as columns, with the parts of a stream and their owners, live.

        theatre = ClusterTheatre(cluster, parts, "averages")
        theatre

    As the last line of a cell it shows itself. Every button is a method of the cluster too, such
    as `cluster.kill("n1")`. A task looks at the cluster some times a second, off the kernel's loop.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        parts: Parts | None = None,
        group: str = "",
        workers: Mapping[str, PartsWorker] | None = None,
    ) -> None:
        """Set it up; nothing is sent before it is shown.

        Args:
            cluster: the nodes.
            parts: the stream whose parts to show.
            group: whose owners to show.
            workers: what to call them; by default each is called by its token.
        """
        self.cluster, self.parts, self.group = cluster, parts, group
        self.title = f"stream {parts.name} in {parts.count} parts" if parts else "cluster"
        self._workers = workers or {}
        self._closed, self._said = False, ""
        self._busy = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._live_task: asyncio.Task[None] | None = None
        self._picture, self._line = HTML(), HTML(layout=Layout(margin="4px 0 0 16px"))
        self._columns = {node.name: NodeColumn(self, node.name) for node in cluster.nodes}
        self._box = self._build()

    def look(self) -> ClusterLook:
        """How it is now."""
        names = {worker.token: name for name, worker in self._workers.items()}
        return look(self.cluster, self.parts, self.group, names)

    def still(self) -> StillCluster:
        """The picture as it is now, for a lesson that is read without a kernel."""
        return StillCluster(self.look(), self.title)

    def close(self) -> None:
        """Let the picture stand still; the cluster goes on."""
        self._closed = True
        if self._live_task and not self._live_task.get_loop().is_closed():
            self._live_task.cancel()
        for column in self._columns.values():
            column.close()
        self._move.disabled = True
        self._line.value = _sentence(CLOSED)

    def press(self, action: Callable[[], Any]) -> None:
        """Do what a button says, off the kernel's loop, one thing at a time."""

        def act() -> None:
            with self._busy:
                self._said = "…"
                try:
                    action()
                    self._said = ""
                except (*EXPECTED, redis.RedisError) as error:
                    self._said = str(error)

        self._keep(asyncio.to_thread(act))

    def __repr__(self) -> str:
        try:
            return text(self.look())
        except EXPECTED:
            return "The cluster doesn't answer."

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """The widget; where there is no kernel, the text takes its place."""
        if not self._closed and (self._live_task is None or self._live_task.done()):
            with contextlib.suppress(RuntimeError):  # outside a notebook
                asyncio.get_running_loop()
                self._live_task = self._keep(self._live())
        return self._box._repr_mimebundle_(**more) | {"text/plain": repr(self)}

    def _build(self) -> VBox:
        # As wide as the picture below, so that each node's buttons stand above its column.
        wide = Layout(max_width=f"{WIDTH}px", padding="0 24px 8px 14px", grid_gap="5px")
        columns = HBox([column.box for column in self._columns.values()], layout=wide)
        streams = self.parts.streams if self.parts else []
        names = [node.name for node in self.cluster.nodes]
        self._what = Dropdown(options=streams, layout=Layout(width="150px"))
        self._where = Dropdown(options=names, layout=Layout(width="80px"))
        self._move = big("move", "Move a part's slot to a primary", self._move_part, self.press)
        top = [self._what, self._where, self._move] if streams else []
        return VBox([HBox([*top, self._line], layout=Layout(flex_flow="row wrap")), columns,
                     self._picture])  # fmt: skip

    def _move_part(self) -> None:
        self.cluster.move(self._what.value, self._where.value)

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)
        return task

    async def _live(self) -> None:
        while not self._closed:
            with contextlib.suppress(*EXPECTED, redis.RedisError):
                self._show(await asyncio.to_thread(self.look))
            await asyncio.sleep(TICK_S)

    def _show(self, seen: ClusterLook) -> None:
        self._picture.value = svg(sheet(seen, self.title), self.title, text(seen))
        self._line.value = _sentence(self._said or WANTED)
        for node in seen.nodes:
            self._columns[node.name].show(node)


class NodeColumn:
    """A node's buttons; which of them can be pressed follows its state."""

    def __init__(self, theatre: ClusterTheatre, name: str) -> None:
        cluster, press = theatre.cluster, theatre.press
        self._node = cluster.node(name)
        label = HTML(f'<span style="font-size: 18px; font-weight: 700">{escape(name)}</span>')
        self._kill = big("kill -9", f"Kill {name}", partial(cluster.kill, name), press)
        self._pause = big("pause", f"kill -STOP, or kill -CONT: {name}", self._hold, press)
        self._revive = big("revive", f"Start {name} again", partial(cluster.revive, name), press)
        help_ = f"CLUSTER FAILOVER: make {name} the primary"
        self._failover = big("fail over", help_, partial(cluster.failover, name), press)
        self._cluster, self._name, self._paused = cluster, name, False
        buttons = [self._kill, self._pause, self._revive, self._failover]
        for button in buttons:
            button.layout.width = "auto"
        self.box = VBox([label, *buttons], layout=Layout(flex="1 1 0", min_width="0"))

    def show(self, status: NodeStatus) -> None:
        """Enable the buttons for a state."""
        alive = self._node.alive
        self._paused = self._paused and alive
        self._pause.description = "resume" if self._paused else "pause"
        enable(self._kill, alive, "danger")
        enable(self._pause, alive, "info")
        enable(self._revive, not alive, "success")
        enable(self._failover, status.up and status.role == "replica", "warning")

    def close(self) -> None:
        """Nothing can be pressed any more."""
        for button in self.box.children:
            if isinstance(button, Button):
                button.disabled = True

    def _hold(self) -> None:
        (self._cluster.resume if self._paused else self._cluster.pause)(self._name)
        self._paused = not self._paused


def _sentence(said: str) -> str:
    return f'<div role="status" style="font-size: 18px; line-height: 34px">{escape(said)}</div>'
