"""One client's way through the proxy to the server: commands come out one by one, replies go back.

Nothing is decided here. `Proxy` asks for the next command and says what becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import hiredis

CHUNK = 65536
FAREWELL_S = 1.0  # how long the server may take to notice that a client has hung up
_MORE = object()  # what the parsers say while a command or a reply is not complete

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HungUpError(EOFError):
    """The server, or the client, has closed its connection."""


class Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, client: Stream, server: Stream) -> None:
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._replies = hiredis.Reader(notEnoughData=_MORE)
        self._commands: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
        self._gone = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._listen())]
        self.flowing = False

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self._gone.done()

    async def command(self) -> list[bytes] | None:
        """The next command; None when the client has hung up and all are taken."""
        return await self._commands.get()

    def send(self, words: list[bytes]) -> None:
        """Hand a command on to the server."""
        _write(self._to_server, _packed(words))

    async def reply(self) -> bytes | None:
        """The server's reply; None if the client hangs up meanwhile.

        Raises:
            HungUpError: the server has closed the connection.
        """
        return await self.meanwhile(self._read_reply())

    def answer(self, reply: bytes) -> None:
        """Hand a reply on. A client that does not read it yet holds nothing up."""
        _write(self._to_client, reply)

    async def meanwhile(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for something, but no longer than the client is there; None if it hangs up."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            await asyncio.wait({task})  # one stream has one reader at a time

    async def look(self) -> bool:
        """Whether the client is still there, as far as the system knows by now."""
        for _ in range(5):  # some rounds of the loop: the last data, the end, who is told of it
            await asyncio.sleep(0)
        return not self.gone

    def flow(self) -> None:
        """Hand on all that the server says from now on, as it comes."""
        if self.flowing:
            return
        self.flowing = True
        self._tasks.append(asyncio.create_task(self._copy()))

    async def farewell(self) -> None:
        """Tell the server that the client is gone, and wait until it has read all it was sent.

        It then drops a BLOCK of that client too.
        """
        await self._end_tasks()
        with contextlib.suppress(OSError, TimeoutError):
            end(self._to_server)
            async with asyncio.timeout(FAREWELL_S):
                while await self._from_server.read(CHUNK):
                    pass
                if self._to_server.is_closing():  # TLS knows no half of an end: wait for the whole
                    await self._to_server.wait_closed()

    def detach(self) -> Stream:
        """Close the client's connection, and give away the server's."""
        self._to_client.close()
        return self._from_server, self._to_server

    def close(self, *, both: bool = True) -> None:
        """Break the connections; the server's not if it was given away."""
        for task in self._tasks:
            task.cancel()
        self._to_client.close()
        if both:
            self._to_server.close()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        parser = hiredis.Reader(notEnoughData=_MORE)
        with contextlib.suppress(OSError, hiredis.ProtocolError):
            while chunk := await self._from_client.read(CHUNK):
                parser.feed(chunk)
                while (words := parser.gets()) is not _MORE:
                    if not _is_command(words):
                        raise hiredis.ProtocolError
                    self._commands.put_nowait(words)
        self._commands.put_nowait(None)
        self._gone.set_result(None)

    async def _read_reply(self) -> bytes:
        raw = bytearray()
        while True:
            raw += (chunk := await _some(self._from_server))
            self._replies.feed(chunk)
            while (parsed := self._replies.gets()) is not _MORE:
                if not isinstance(parsed, hiredis.PushNotification):  # those come unasked
                    return bytes(raw)

    async def _copy(self) -> None:
        with contextlib.suppress(OSError, HungUpError):
            while True:
                _write(self._to_client, await _some(self._from_server))
        self._to_client.close()


async def exchange(server: Stream, words: list[bytes]) -> Any:
    """Send a command over a connection, and read its reply."""
    parser = hiredis.Reader(notEnoughData=_MORE, encoding="utf-8", errors="replace")
    server[1].write(_packed(words))
    while (parsed := parser.gets()) is _MORE:
        parser.feed(await _some(server[0]))
    return parsed


def end(writer: asyncio.StreamWriter) -> None:
    """Say that no more comes."""
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


def _is_command(words: object) -> bool:
    """Whether it is an array of bulk strings; what people type into telnet is none."""
    return isinstance(words, list) and bool(words) and all(type(word) is bytes for word in words)


def _packed(words: list[bytes]) -> bytes:
    return hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # it takes any number


def _write(stream: asyncio.StreamWriter, data: bytes) -> None:
    """Write without waiting. What nobody reads any more is dropped; reading tells the end."""
    if not stream.is_closing():
        stream.write(data)


async def _some(stream: asyncio.StreamReader) -> bytes:
    chunk = await stream.read(CHUNK)
    if not chunk:
        raise HungUpError
    return chunk
