"""The dashboard: pick wikis, and see how many changes they get, live."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import redis
import redis.asyncio
from ipywidgets import HTML, Box, Layout, SelectMultiple, VBox  # type: ignore[import-untyped]

from helpers.course.connect import connect_async
from helpers.course.errors import EXPECTED, CourseError
from helpers.course.pace import patient
from helpers.streams.clock import Clock, moment_of, utc_now
from helpers.streams.errors import StreamsError
from helpers.views.changes import STYLES, Chart, changes, describe, png, zone
from helpers.wiki.counters import Counters
from helpers.wiki.look import (
    ALL,
    STALE_AFTER_S,
    Look,
    State,
    busiest,
    look,
    series,
    state,
    window,
)
from helpers.wiki.names import WIKI

ALL_WIKIS = "all wikis"
MOST_LINES = len(STYLES)
WIDEST = 840  # pixels of the picture
MOST_INTERVALS = 120  # more would not be told apart
AT_START = 4  # domains that are picked
ENOUGH = 200  # changes, after which it is clear which wikis are busy
QUIET_S = 3.0  # the list stands still for so long after somebody has picked from it
PATIENCE_S = patient(2.0)  # so long a look may take
AWAY = "The server does not answer. The picture continues when it is back."
CLOSED = "This dashboard is closed: run its cell again to open it."
HINT = (
    "To pick several, hold Ctrl (⌘ on a Mac) and click. With the keyboard, use Shift and the arrow "
    "keys; or move with Ctrl and the arrow keys, and pick with Ctrl and the space bar. "
    "A hollow mark means that its interval is not over."
)

_CLASS = "course-wikis"
_CSS = (  # the list's label stands above it, and it is as high as it is told
    f"<style>.{_CLASS} > .widget-label {{ width: auto; text-align: left; flex: none }}"
    f".{_CLASS} > select {{ flex: 1 1 auto; width: 100% }}</style>"
)
_LIST = Layout(flex_flow="column", align_items="stretch", width="230px", height="270px", margin="0")

_open: list[Dashboard] = []  # the one of this kernel


class Dashboard:
    """Changes per interval, of the wikis that one picks: as a cell's last line, it shows itself.

        dashboard = Dashboard(tz="Europe/Lisbon")
        dashboard

    A task on the kernel's loop looks at the counters once a second, and draws in a thread, so
    nothing here holds up the kernel. A new dashboard closes the earlier one, so that a cell can
    be run again.
    """

    def __init__(
        self,
        *,
        counters: Counters | None = None,
        target: str = WIKI,
        tz: str = "UTC",
        picks: Iterable[str] | None = None,
        refresh_s: float = 1.0,
        stale_after_s: float = STALE_AFTER_S,
        intervals: int = 60,
        clock: Clock = utc_now,
    ) -> None:
        """Prepare; nothing is read before it is shown.

        Args:
            counters: where the counts are. Their interval is the subscriber's.
            target: the channel or stream on which the publisher publishes.
            tz: the time zone of the time axis, as the IANA names it.
            picks: the domains that are picked at the start, `ALL_WIKIS` among them if it is
                wanted; by default the busiest ones.
            refresh_s: how often to look.
            stale_after_s: after how many seconds without a count it is stale.
            intervals: how many intervals are shown, if the history has as many.
            clock: what time it is.

        Raises:
            CourseError: there is no such time zone, or one of the numbers cannot be.
        """
        zone(tz)
        picks = None if picks is None else _expect_domains(picks)
        _expect_numbers(refresh_s, stale_after_s, intervals)
        while _open:
            _open.pop().close()
        _open.append(self)
        self.drawn_s = 0.0  # how long the newest picture took
        self.chart: Chart | None = None  # what it shows
        self._counters, self._target, self._clock = counters or Counters(), target, clock
        self._tz, self._intervals = tz, intervals
        self._refresh_s, self._stale_after_s = refresh_s, stale_after_s
        self._asked = picks is not None  # or somebody picked since
        self._chooses = not self._asked
        self._slots: dict[str, int] = {}  # each line's colour and marker
        self._quiet_until = 0.0
        self._closed = self._ours = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._build([_domain(name) for name in dict.fromkeys(picks or ())])

    @property
    def picked(self) -> tuple[str, ...]:
        """The domains that are picked; `ALL` stands for all wikis."""
        return tuple(self._list.value)

    @property
    def said(self) -> str:
        """The sentence on the state of the pipeline."""
        return self._said

    async def refresh(self, client: redis.asyncio.Redis) -> None:
        """Look once, and draw if there is something new.

        Raises:
            CourseError: a key of the counters holds something else.
            redis.RedisError, TimeoutError: the server is out of reach.
        """
        async with asyncio.timeout(PATIENCE_S):
            seen = await self._look(client)
            if self._chooses and seen.counts[ALL]:
                await self._choose(client, seen)
                seen = await self._look(client)
        self._follow(seen)
        now = state(seen, self._stale_after_s)
        await self._draw(self._chart(seen, now))
        self._say(now.said)
        at = seen.now.astimezone(zone(self._tz))
        self._refreshed.value = f"Last refreshed at {at:%H:%M:%S}, {escape(self._tz)}."

    def close(self) -> None:
        """Let the picture stand still."""
        if self._closed:
            return
        self._closed = True
        if self._task and not self._task.get_loop().is_closed():
            self._task.cancel()
        if self in _open:
            _open.remove(self)
        self._list.disabled = True
        self._say(CLOSED)

    def __repr__(self) -> str:
        names = ", ".join(map(_name, self.picked)) if self._asked else "the busiest wikis"
        return f"A dashboard of the changes to {names or 'wikis'}, live; times in {self._tz}."

    def _repr_mimebundle_(self, **more: Any) -> dict[str, Any]:
        """The widget; where there is no kernel, the text takes its place."""
        self._go_live()
        return self._box._repr_mimebundle_(**more) | {"text/plain": repr(self)}

    def _build(self, picks: list[str]) -> None:
        """Side by side where there is room; in a narrow notebook the picture stands below."""
        self._said = ""
        self._list = SelectMultiple(
            description="Wikis", options=_options([ALL, *picks]), value=picks, layout=_LIST
        )
        self._list.add_class(_CLASS)
        self._list.observe(self._on_pick, "value")
        self._note, self._picture = HTML(), HTML(layout=Layout(margin="0"))
        self._status, self._refreshed = HTML(layout=Layout(margin="0")), HTML()
        hint = HTML(f'{_CSS}<div style="line-height: 1.4">{escape(HINT)}</div>')
        words = VBox([self._note, hint], layout=Layout(flex="1 1 200px", max_width="420px"))
        picks_box = Box([self._list, words], layout=_flowing("1 1 230px"))
        picture_box = VBox(
            [self._status, self._picture, self._refreshed],
            layout=Layout(flex="100 1 460px", min_width="0"),
        )
        self._box = Box([picks_box, picture_box], layout=_flowing("1 1 auto"))
        self._say("Looking at the counters …")

    def _go_live(self) -> None:
        """Begin to look, unless nobody could turn the pages: outside a notebook."""
        if self._closed or (self._task and not self._task.done()):
            return
        with contextlib.suppress(RuntimeError):
            self._task = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        client = None
        try:
            while not self._closed:
                self._wake.clear()
                try:
                    client = client or connect_async()
                    await self.refresh(client)
                except StreamsError as error:
                    self._say(str(error))
                except EXPECTED:
                    self._say(AWAY)
                except Exception as error:  # else it would go on to say that it is live
                    self._say(f"The dashboard has failed ({error!r}): run its cell again.")
                    raise
                with contextlib.suppress(TimeoutError):  # somebody who picks need not wait
                    await asyncio.wait_for(self._wake.wait(), self._refresh_s)
        finally:
            if client:
                await client.aclose()

    async def _look(self, client: redis.asyncio.Redis) -> Look:
        return await look(
            client, self.picked, counters=self._counters, target=self._target, clock=self._clock
        )

    async def _choose(self, client: redis.asyncio.Redis, seen: Look) -> None:
        """Pick the busiest wikis, until there are enough changes to tell."""
        found = await busiest(client, seen.domains, counters=self._counters, count=AT_START)
        if self._chooses:  # nobody picked meanwhile
            self._chooses = sum(seen.counts[ALL].values()) < ENOUGH
            self._set_list(seen.domains, found)

    def _follow(self, seen: Look) -> None:
        """Let the list follow the feed, but not under the fingers of somebody who picks."""
        if time.monotonic() >= self._quiet_until:
            self._set_list(seen.domains, self.picked)

    def _set_list(self, domains: Iterable[str], picks: Sequence[str]) -> None:
        """What is picked stays in the list, and picked, also when its counts are gone."""
        options = _options([ALL, *domains, *picks])
        self._ours = True
        try:
            with self._list.hold_sync():  # so that the browser hears of both at once
                if options != self._list.options:
                    self._list.options = options  # this unpicks all
                if set(picks) != set(self.picked):
                    self._list.value = [domain for _, domain in options if domain in picks]
        finally:
            self._ours = False

    def _on_pick(self, _: object) -> None:
        if self._ours:
            return
        self._asked, self._chooses = True, False
        self._quiet_until = time.monotonic() + QUIET_S
        self._wake.set()

    def _chart(self, seen: Look, now: State) -> Chart:
        """What to draw of a look: as many of the picked ones as can be told apart."""
        domains = self.picked[:MOST_LINES]
        self._say_left_out(len(self.picked) - len(domains))
        self._slots = _styled(self._slots, domains)
        count = window(seen, min(self._intervals, MOST_INTERVALS))
        return Chart(
            lines={_name(domain): series(seen, domain, count) for domain in domains},
            interval_s=seen.interval_s,
            tz=self._tz,
            stale_since=moment_of(now.stale_since_ms) if now.stale_since_ms is not None else None,
            styles={_name(domain): slot for domain, slot in self._slots.items()},
            empty="Pick one or more wikis."
            if seen.counts[ALL]
            else "Nothing has been counted yet.",
        )

    async def _draw(self, chart: Chart) -> None:
        """Draw in a thread, unless the picture would be the same."""
        if chart == self.chart:
            return
        began = time.perf_counter()
        picture = base64.b64encode(await asyncio.to_thread(lambda: png(changes(chart)))).decode()
        self.drawn_s, self.chart = time.perf_counter() - began, chart
        self._picture.value = (
            f'<img alt="{escape(describe(chart))}" decoding="sync" style="width: 100%; '
            f'max-width: {WIDEST}px; display: block" src="data:image/png;base64,{picture}">'
        )

    def _say(self, sentence: str) -> None:
        """Say how things stand, in words: only a new sentence is sent, and so spoken."""
        self._said = sentence
        mark = "#009e73" if sentence.startswith("Live") else "#d55e00"
        self._status.value = (
            f'<div role="status" style="border-left: 6px solid {mark}; padding-left: 8px; '
            f'font-size: 15px; line-height: 1.5">{escape(sentence)}</div>'
        )

    def _say_left_out(self, count: int) -> None:
        said = f"Only the first {MOST_LINES} that are picked are drawn." if count > 0 else ""
        self._note.value = said


def _flowing(flex: str) -> Any:
    return Layout(display="flex", flex_flow="row wrap", flex=flex, grid_gap="8px 20px",
                  align_content="flex-start")  # fmt: skip


def _expect_domains(picks: Any) -> list[str]:
    if isinstance(picks, str):
        raise CourseError(f"Picks are a list of domains: write [{picks!r}].")
    found = list(picks)
    if not all(isinstance(one, str) for one in found):
        raise CourseError(f"Picks are domains, such as 'en.wikipedia.org', not {found!r:.60}.")
    return found


def _expect_numbers(refresh_s: float, stale_after_s: float, intervals: int) -> None:
    for name, value in (("refresh_s", refresh_s), ("stale_after_s", stale_after_s)):
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise CourseError(f"{name} must be a number of seconds above 0, not {value!r}.")
    if not isinstance(intervals, int) or intervals < 2:
        raise CourseError(f"A dashboard shows 2 intervals or more, not {intervals!r}.")


def _name(domain: str) -> str:
    return domain or ALL_WIKIS


def _domain(name: str) -> str:
    return ALL if name == ALL_WIKIS else name


def _options(domains: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The list's labels and values, all wikis first, then by alphabet."""
    return tuple((_name(domain), domain) for domain in sorted(set(domains)))


def _styled(slots: dict[str, int], domains: Sequence[str]) -> dict[str, int]:
    """A style for each line: the one that it had, else a free one. Black is for all wikis."""
    black = ALL in domains
    kept = {
        domain: slot
        for domain, slot in slots.items()
        if domain in domains and (domain == ALL or slot or not black)
    }
    free = iter([n for n in range(1, MOST_LINES) if n not in kept.values()])
    for domain in domains:
        if domain not in kept:
            kept[domain] = 0 if domain == ALL else next(free, 0)
    return kept
