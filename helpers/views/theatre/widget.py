"""The theatre in a notebook: the live picture, and a button for all that can be done."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from html import escape
from typing import Any

import redis
import redis.asyncio
from ipywidgets import HTML, Box, Button, HBox, Layout, VBox  # type: ignore[import-untyped]

from helpers.course.connect import connect_async
from helpers.course.errors import EXPECTED
from helpers.course.pace import patient
from helpers.streams.entry import EntryId
from helpers.views.theatre.draw import draw
from helpers.views.theatre.snapshot import Snapshot, moved, snapshot_async
from helpers.views.theatre.stage import IDLE_MS, Stage
from helpers.views.theatre.text import text

TICK_S = 0.25
PATIENCE_S = patient(2.0)  # so long a look may take
HIGHLIGHT_S = 3.0
AWAY = "The server does not answer. The picture continues when it is back."

_playing: dict[tuple[str, str], Theatre] = {}


class Theatre(Stage):
    """The stage with its audience: as the last line of a cell it shows itself, live.

        theatre = Theatre(redis, "chennai", "averages")
        theatre

    Every button is a method too: `theatre.kill("bob")`. Nothing here holds up the kernel: a
    task looks at the stream four times a second, and a button does its work in a thread. A
    new theatre on the same stream and group closes the earlier one, so that a cell can be run
    again.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, *args: Any, **more: Any):
        if earlier := _playing.pop((stream, group), None):
            earlier.close()
        super().__init__(client, stream, group, *args, **more)
        _playing[stream, group] = self
        self._closed = False
        self._busy = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._live_task: asyncio.Task[None] | None = None
        self._before: Snapshot | None = None
        self._fresh: dict[tuple[str, EntryId], float] = {}  # highlighted, until when
        self._picture, self._line = HTML(), HTML(layout=Layout(margin="4px 0 0 16px"))
        self._rows = {name: ConsumerRow(self, name) for name in self.consumers}
        self._box = self._build()

    def close(self) -> None:
        """Kill all consumers, and let the picture stand still."""
        self._closed = True
        with contextlib.suppress(*EXPECTED):
            self._picture.value = draw(self.snapshot(), self.states())
        super().close()
        if self._live_task and not self._live_task.get_loop().is_closed():
            self._live_task.cancel()
        if _playing.get((self.stream, self.group)) is self:
            del _playing[self.stream, self.group]
        for button in self._buttons():
            button.disabled = True
        self._line.value = _sentence("This theatre is closed: run its cell again to open it.")

    def press(self, action: Callable[[], Any]) -> None:
        """Do what a button says, off the kernel's loop, one thing at a time."""

        def act() -> None:
            with self._busy:
                try:
                    action()
                except EXPECTED as error:
                    self.said = str(error)
                if self._closed:
                    self._crew.kill()  # whoever was started while it closed

        self._keep(asyncio.to_thread(act))

    def __repr__(self) -> str:
        try:
            return text(self.snapshot(), self.states(), times=False)
        except EXPECTED:
            return AWAY

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """The widget; where there is no kernel, the text takes its place."""
        self._go_live()
        return self._box._repr_mimebundle_(**more) | {"text/plain": repr(self)}

    def _build(self) -> VBox:
        stream = [
            big("add 1", "XADD: add one entry", partial(self.produce, 1), self.press, "primary"),
            big(
                "add 10", "XADD: add ten entries", partial(self.produce, 10), self.press, "primary"
            ),
            big("reset", "Kill all, and delete the stream", self.reset, self.press),
        ]
        flow = Layout(display="flex", flex_flow="row wrap", grid_gap="4px 32px", margin="0 0 8px 0")
        rows = Box([row.box for row in self._rows.values()], layout=flow)
        top = HBox([*stream, self._line], layout=Layout(flex_flow="row wrap"))
        return VBox([top, rows, self._picture])

    def _buttons(self) -> list[Button]:
        boxes = [self._box.children[0], *(row.box for row in self._rows.values())]
        return [one for box in boxes for one in box.children if isinstance(one, Button)]

    def _go_live(self) -> None:
        """Begin to look, unless nobody could turn the pages: outside a notebook."""
        if self._closed or (self._live_task and not self._live_task.done()):
            return
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self._live_task = self._keep(self._live())

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)
        return task

    async def _live(self) -> None:
        client = None
        try:
            while not self._closed:
                try:
                    client = client or connect_async()
                    async with asyncio.timeout(PATIENCE_S):
                        self._show(await self._look(client))
                except EXPECTED:
                    self._line.value = _sentence(AWAY)
                await asyncio.sleep(TICK_S)
        finally:
            if client:
                await client.aclose()

    async def _look(self, client: redis.asyncio.Redis) -> Snapshot:
        return await snapshot_async(
            client, self.stream, newest=self.newest, dead_letters=self.dead_letters
        )

    def _show(self, look: Snapshot) -> None:
        now, states = asyncio.get_running_loop().time(), self.states()
        taken = moved(self._before, look) if self._before else ()
        self._fresh = {one: until for one, until in self._fresh.items() if until > now}
        self._fresh |= dict.fromkeys(taken, now + HIGHLIGHT_S)
        self._before = look
        self._picture.value = draw(look, states, frozenset(self._fresh))
        self._line.value = _sentence(
            self._ended(states) or self.said or "Add entries, start alice."
        )
        for name, row in self._rows.items():
            row.show(states[self.group][name])

    def _ended(self, states: dict[str, dict[str, str]]) -> str:
        """What to say of a consumer that ended by itself."""
        for name, state in states[self.group].items():
            if state == "ended" and (words := self.last_words(name)):
                return f"{name} ended: {words}"
        return ""


class ConsumerRow:
    """A consumer's buttons; which of them can be pressed follows its state."""

    def __init__(self, stage: Theatre, name: str) -> None:
        self._stage, self._name = stage, name
        press = stage.press
        label = HTML(f'<span style="font-size: 20px; font-weight: 700">{escape(name)}</span>')
        label.layout = Layout(min_width="70px", margin="6px 0 0 2px")
        self._start = big("start", f"Start {name}'s process", self._begin, press)
        self._pause = big("pause", f"kill -STOP, or kill -CONT: {name}", self._hold, press)
        self._kill = big("kill -9", f"Kill {name}'s process", self._end, press)
        idle = f"{IDLE_MS / 1000:g} s"
        help_ = f"XCLAIM: {name} gets what others have left idle for {idle}"
        self._claim = big("claim", help_, partial(stage.claim, name), press)
        self.box = HBox([label, self._start, self._pause, self._kill, self._claim])

    def show(self, state: str) -> None:
        """Name and enable the buttons for a state."""
        alive = state in ("running", "paused")
        self._start.description = "revive" if state in ("killed", "ended") else "start"
        self._pause.description = "resume" if state == "paused" else "pause"
        enable(self._start, not alive, "success")
        enable(self._pause, alive, "info")
        enable(self._kill, alive, "danger")
        enable(self._claim, state == "running", "warning")

    def _begin(self) -> None:
        self._stage.start(self._name)

    def _hold(self) -> None:
        paused = self._stage.states()[self._stage.group][self._name] == "paused"
        (self._stage.resume if paused else self._stage.pause)(self._name)

    def _end(self) -> None:
        self._stage.kill(self._name)


def big(
    label: str,
    help: str,
    action: Callable[[], Any],
    press: Callable[[Callable[[], Any]], None],
    style: str = "",
) -> Button:
    """A button that can be hit, and read, from the last row."""
    button = Button(
        description=label,
        tooltip=help,
        button_style=style,
        style={"font_size": "18px", "font_weight": "600"},
        layout=Layout(width="96px", height="42px"),
    )
    button.on_click(lambda _: press(action))
    return button


def enable(button: Button, wanted: bool, style: str) -> None:
    """Colour the buttons that can be pressed, and only those."""
    button.disabled = not wanted
    button.button_style = style if wanted else ""


def _sentence(said: str) -> str:
    return f'<div role="status" style="font-size: 18px; line-height: 34px">{escape(said)}</div>'
