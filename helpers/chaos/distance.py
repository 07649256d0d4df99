"""A line that only adds distance: every byte arrives some milliseconds later, in its order.

It does not know commands. Whatever is sent is under way at once, however much it is: so a
pipeline of 100 waits for one round trip, as it does over a real network.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import sys
from collections.abc import Callable

from helpers.chaos.front import Front
from helpers.chaos.link import CHUNK, Stream, _write, end
from helpers.course.errors import CourseError

LONGEST_MS = 10_000


class Distance(Front):
    """A server that is far away: `distance.connect()`, or any client of `distance.url`.

        with Distance(round_trip_ms=10) as distance:
            redis = distance.connect()
            redis.ping()  # takes 10 ms more

    It listens on loopback alone. Half of a round trip passes on the way there, half on the way
    back. There is no limit to what may be under way, and a connection opens at once.
    """

    def __init__(self, round_trip_ms: float = 10, url: str | None = None) -> None:
        """Begin to listen.

        Args:
            round_trip_ms: by how much the way there and back is longer, in milliseconds.
            url: the server at its end; by default the course's, which a new connection
                starts again if it died.

        Raises:
            ServerError: no server can be used, with the remedy.
            CourseError: the round trip or the URL cannot be.
        """
        if not isinstance(round_trip_ms, int | float) or not 0 <= round_trip_ms <= LONGEST_MS:
            raise CourseError(
                f"A round trip takes 0 to {LONGEST_MS:,} milliseconds, not {round_trip_ms!r}."
            )
        self.round_trip_ms = round_trip_ms
        self._turns = 0
        super().__init__(url)

    @property
    def turns(self) -> int:
        """How often a client spoke after it had heard an answer, over all connections.

        So often somebody waited the whole way. What opens a connection is counted too.
        """
        return self._turns

    def __repr__(self) -> str:
        return f"a line of {self.round_trip_ms:g} ms there and back, on port {self.port}"

    # ------------------------------------------------------------ in its own thread

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Exact())

    async def _converse(self, client: Stream) -> None:
        from_client, to_client = client
        from_server, to_server = await self._reach()
        half_s = self.round_trip_ms / 2000
        listening = True

        def spoke() -> None:
            nonlocal listening
            self._turns += listening
            listening = False

        def heard() -> None:
            nonlocal listening
            listening = True

        there = asyncio.create_task(_carry(from_client, to_server, half_s, taken=spoke))
        back = asyncio.create_task(_carry(from_server, to_client, half_s, given=heard))
        try:
            await back  # once the server has hung up, nothing more can be said to it
            to_client.close()
            await to_client.wait_closed()
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.transport.abort()


class _Exact(selectors.DefaultSelector):
    """Waits as long as it is told: Linux' epoll counts in whole milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if sys.platform == "linux" and timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


async def _carry(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    late_s: float,
    *,
    taken: Callable[[], None] = lambda: None,
    given: Callable[[], None] = lambda: None,
) -> None:
    """Carry one way what is said, until who says it hangs up and the other has heard of it."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    giving = asyncio.create_task(_give(under_way, target, given))
    now = asyncio.get_running_loop().time
    try:
        with contextlib.suppress(OSError):  # a connection that breaks ends too
            while chunk := await source.read(CHUNK):
                taken()
                under_way.put_nowait((now() + late_s, chunk))
                await target.drain()  # who does not read shall hold up who writes, not fill memory
        under_way.put_nowait((now() + late_s, b""))
        await giving
    finally:
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)


async def _give(
    under_way: asyncio.Queue[tuple[float, bytes]],
    target: asyncio.StreamWriter,
    given: Callable[[], None],
) -> None:
    """Hand on each piece when its time has come."""
    now = asyncio.get_running_loop().time
    while True:
        due, chunk = await under_way.get()
        if (wait := due - now()) > 0:
            await asyncio.sleep(wait)
        if not chunk:
            break
        _write(target, chunk)
        given()
    if not target.is_closing():
        end(target)
