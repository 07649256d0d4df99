"""`course wiki`: Wikipedia's changes, from the feed to counters and a dashboard.

Each command imports what it needs: HTTP takes a fifth of a second, which the others need not wait.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import webbrowser
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated, Any

import redis
import typer
from rich.live import Live
from rich.markup import escape

from helpers.cli.console import commands, err, many, out, showing_log
from helpers.cli.together import Together
from helpers.course.connect import connect, connect_async
from helpers.course.database import clean, note_streams
from helpers.course.errors import CourseError
from helpers.course.keys import COUNTERS, DOMAINS
from helpers.streams.clock import ms_of, utc_now
from helpers.streams.signals import stopping
from helpers.wiki.counters import HISTORY_S, INTERVAL_S, Counters
from helpers.wiki.names import KEPT, RATE, WIKI, WIKIMEDIA

wiki_commands = commands("Wikipedia's changes: a feed, a pipeline, counters, and a dashboard.")

LOOK_S = 0.5
REPORT_S = 5.0
SO_FAR = "changes so far"
BEGINS = PUBLISHING, COUNTING = "Publishing ", "Counting from "
KEYS = (WIKI, COUNTERS, f"{COUNTERS}:*", DOMAINS)  # with what stands beside them: all that it makes

Url = Annotated[str, typer.Option("--feed", help="The feed's URL: Wikimedia's, or a replay's.")]
Contact = Annotated[
    str, typer.Option(help="Your email address or web page: Wikimedia asks who reads its feed.")
]
Way = Annotated[str, typer.Option("--through", help="pubsub or stream.")]
Target = Annotated[str, typer.Option(help="The channel, or the stream's key.")]
Interval = Annotated[int, typer.Option(help="Seconds that are counted together.")]
History = Annotated[int, typer.Option(help="How many seconds counters are kept.")]
Rate = Annotated[float, typer.Option(help="Events a second.")]
Zone = Annotated[
    str, typer.Option("--tz", help="Time zone of the dashboard, such as Europe/Lisbon.")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the page's URL.")]


@wiki_commands.command("replay")
def replay(
    rate: Rate = RATE,
    seed: Annotated[int, typer.Option(help="A different seed gives a different feed.")] = 1,
    port: Annotated[int, typer.Option(help="0 means any free port.")] = 0,
    cut: Annotated[int, typer.Option(help="Break the connection before every n-th event.")] = 0,
    malformed: Annotated[int, typer.Option(help="Send invalid JSON before every n-th event.")] = 0,
    burst: Annotated[
        float, typer.Option(help="Send in bursts, one every this many seconds.")
    ] = 0.0,
) -> None:
    """Serve a synthetic feed on this machine, in Wikimedia's protocol, until Ctrl-C."""
    from helpers.wiki.replay import Faults, Replay

    faults = Faults(cut=cut, malformed=malformed, burst_s=burst)
    asked = threading.Event()
    with Replay(rate=rate, seed=seed, port=port, faults=faults) as feed, stopping(asked.set):
        out.print(f"{rate:g} synthetic events a second at {feed.url}")
        while not asked.is_set():
            time.sleep(LOOK_S)


@wiki_commands.command("publish")
def publish(
    url: Url = WIKIMEDIA,
    contact: Contact = "",
    through: Way = "pubsub",
    target: Target = WIKI,
    since: Annotated[str, typer.Option(help="Begin with the events of this ISO time.")] = "",
    keep: Annotated[int, typer.Option(help="About how many entries a stream keeps.")] = KEPT,
) -> None:
    """Publish a feed's changes until Ctrl-C. The next one goes on where this one was."""
    from helpers.wiki import Feed, Publisher

    feed = Feed(url, since=_moment(since), contact=contact, say=_warn)
    publisher = Publisher(
        connect_async(), feed, target, through=through, keep=keep, say=_warn  # type: ignore[arg-type]
    )  # fmt: skip
    _note(target)
    out.print(f"{PUBLISHING}{escape(url)} to the {_kind(through)} {escape(target)}.")
    asyncio.run(_work(publisher.run(), publisher.stop, lambda: publisher.counts.published))
    skipped = sum(publisher.counts.skipped.values()) + sum(feed.counts.skipped.values())
    out.print(f"{many(publisher.counts.published, 'change')} published, {skipped:,} skipped.")


@wiki_commands.command("subscribe")
def subscribe(
    through: Way = "pubsub",
    target: Target = WIKI,
    interval: Interval = INTERVAL_S,
    history: History = HISTORY_S,
    name: Annotated[str | None, typer.Option(help="The consumer's name, on a stream.")] = None,
) -> None:
    """Count the changes that come, until Ctrl-C."""
    from helpers.wiki import Subscriber

    counters = Counters(interval, history)
    subscriber = Subscriber(
        connect_async(), target, through=through, counters=counters, name=name, say=_warn  # type: ignore[arg-type]
    )  # fmt: skip
    _note(target)
    out.print(f"{COUNTING}the {_kind(through)} {escape(target)}, by {interval} s.")
    with showing_log():
        asyncio.run(_work(subscriber.run(), subscriber.stop, lambda: subscriber.counts.counted))
    skipped = sum(subscriber.counts.skipped.values())
    out.print(f"{many(subscriber.counts.counted, 'change')} counted, {skipped:,} skipped.")


@wiki_commands.command("dashboard")
def dashboard(
    port: Annotated[int, typer.Option(help="0 means any free port.")] = 0,
    tz: Zone = "UTC",
    no_browser: NoBrowser = False,
) -> None:
    """Serve the dashboard as a page of its own, until Ctrl-C."""
    from helpers.views.changes import zone
    from helpers.wiki.page import serve

    zone(tz)
    out.print("Starting the dashboard; Ctrl-C ends it …")
    asked = threading.Event()
    with serve(port=port, tz=tz) as page, stopping(asked.set):
        out.print(page.url)
        _open(page.url, no_browser)
        while not asked.is_set() and page.process.alive:
            time.sleep(LOOK_S)


@wiki_commands.command("demo")
def demo(
    live: Annotated[bool, typer.Option("--live", help="Wikimedia's feed, not a replay.")] = False,
    contact: Contact = "",
    through: Way = "stream",
    rate: Rate = RATE,
    interval: Interval = 2,
    tz: Zone = "UTC",
    no_browser: NoBrowser = False,
) -> None:
    """Start feed, publisher, subscriber and dashboard; Ctrl-C ends all."""
    from helpers.views.changes import zone
    from helpers.wiki import Feed, Replay
    from helpers.wiki.page import serve
    from helpers.wiki.publisher import expect_through

    counters = Counters(interval, HISTORY_S)
    expect_through(through)
    zone(tz)
    asked = threading.Event()
    with ExitStack() as all_of_it:
        all_of_it.enter_context(stopping(asked.set))
        url = WIKIMEDIA if live else all_of_it.enter_context(Replay(rate=rate)).url
        Feed(url, contact=contact)  # says at once what would be wrong with it
        client = all_of_it.enter_context(connect())
        clean(client, *KEYS)  # so that no synthetic change stands among the real ones
        pipeline = all_of_it.enter_context(Together(_pass_on))
        from_feed = ["--feed", url, "--contact", contact, "--through", through]
        # With a name of its own: what a killed one held is at once its successor's.
        counting = ["--through", through, "--interval", str(interval)]
        counting += ["--name", "demo"] if through == "stream" else []
        pipeline.start("subscriber", "wiki", "subscribe", *counting)
        pipeline.start("publisher", "wiki", "publish", *from_feed)
        kind = "Wikimedia's feed" if live else f"a synthetic feed, {rate:g} events a second"
        out.print(f"Feed       {kind}: {escape(url)}")
        out.print(f"Pipeline   publisher, {_kind(through)} {WIKI}, subscriber")
        page = all_of_it.enter_context(serve(tz=tz))
        out.print(f"Dashboard  {page.url}")
        out.print("Ctrl-C ends all.")
        _open(page.url, no_browser)
        with Live(console=out, auto_refresh=False) as line:
            while not asked.is_set():
                pipeline.look()
                if out.is_terminal:
                    line.update(_progress(client, counters), refresh=True)
                time.sleep(LOOK_S)
    out.print("All is ended.")


@wiki_commands.command("clear")
def clear() -> None:
    """Delete the stream, the counters, and the publisher's place."""
    with connect() as client:
        clean(client, *KEYS)
    out.print("Deleted the stream, the counters, and the publisher's place.")


def _pass_on(name: str, line: str) -> None:
    """Print what a process has to say beyond that it is there and at work."""
    if SO_FAR not in line and not line.startswith(BEGINS):
        out.print(f"{name}: {escape(line)}")


def _progress(client: redis.Redis, counters: Counters) -> str:
    counted = sum(map(int, client.hvals(counters.all_domains)))
    at = client.hget(counters.counted, "at")
    if not at:
        return "Nothing has been counted yet."
    ago_s = (ms_of(utc_now()) - int(at)) / 1000
    return f"{many(counted, 'change')} in the counters, the last one counted {ago_s:.1f} s ago"


async def _work(
    run: Coroutine[Any, Any, Any], stop: Callable[[], None], done: Callable[[], int]
) -> None:
    """Run something until it ends, or Ctrl-C or SIGTERM asks it to, and report now and then."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    reporting = asyncio.create_task(_report(done))
    try:
        await run
    finally:
        reporting.cancel()


async def _report(done: Callable[[], int]) -> None:
    before = 0
    while True:
        await asyncio.sleep(REPORT_S)
        if (now := done()) > before:
            out.print(f"{now:,} {SO_FAR}, {(now - before) / REPORT_S:,.0f} a second")
            before = now


def _note(target: str) -> None:
    with connect() as client:
        note_streams(client, target)


def _kind(through: str) -> str:
    return "channel" if through == "pubsub" else "stream"


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CourseError(f"{text!r} isn't a time: write it like 2026-01-31T12:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _open(url: str, no_browser: bool) -> None:
    if not no_browser:
        webbrowser.open(url)


def _warn(sentence: str) -> None:
    err.print(f"[yellow]{escape(sentence)}[/]")
