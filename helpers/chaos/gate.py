"""A gate in front of a node of a cluster: bytes pass both ways, until it is shut for some.

A shut gate closes nothing. What is sent waits, as on a cable that was pulled, and goes on when
the gate is opened. So a time-out is all that those on either side notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from helpers.chaos.front import Front
from helpers.chaos.link import CHUNK, Stream

CLIENT = "client"
_BUS, _SENDER = b"RCmb", slice(40, 80)  # how a message of the cluster bus begins, and whose it is
_LISTENING = b"listening-port"  # a replica's REPLCONF says so to its primary


class Gate(Front):
    """Passes on what comes for one port of a node, by who has sent it.

    A sender is the ID of a node on the cluster bus, the port of a replica that follows its
    primary, or `client`.
    """

    def __init__(self, port: int) -> None:
        """Begin to listen in front of a port of this machine, with the gate open."""
        self._shut: Callable[[str], bool] = lambda sender: False
        self._opened = asyncio.Event()
        super().__init__(f"redis://127.0.0.1:{port}")

    def shut(self, against: Callable[[str], bool]) -> None:
        """Hold up all that passes between the node and those for whom `against` is true."""
        self._shut = against

    def open(self) -> None:
        """Let everything pass, also what was held up."""
        self._shut = lambda sender: False
        self._call(self._open)

    # ------------------------------------------------------------ in the thread

    async def _open(self) -> None:
        self._opened.set()
        self._opened = asyncio.Event()

    async def _converse(self, client: Stream) -> None:
        node = await self._reach()
        sender = [CLIENT]
        ways = [
            asyncio.create_task(self._pass(client[0], node[1], sender, named=True)),
            asyncio.create_task(self._pass(node[0], client[1], sender)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            node[1].close()

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        sender: list[str],
        *,
        named: bool = False,
    ) -> None:
        while data := await source.read(CHUNK):
            if named and sender == [CLIENT]:
                sender[0] = sender_of(data)
            while self._shut(sender[0]):
                await self._opened.wait()
            target.write(data)
            await target.drain()


def sender_of(data: bytes) -> str:
    """Who sends this: a node by its ID, a replica by its port, or a client."""
    if data.startswith(_BUS) and len(data) >= _SENDER.stop:
        return data[_SENDER].decode("ascii", "replace")
    if _LISTENING in data:
        return data.partition(_LISTENING)[2].split(b"\r\n")[2].decode("ascii", "replace")
    return CLIENT
