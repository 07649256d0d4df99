"""A loopback proxy in front of the real server that loses, cuts and delays what passes.

It hands on one command and its reply at a time. Faults are named by the number of the command,
counted from `arm()` over all connections, handshakes included.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Mapping
from typing import BinaryIO, Self
from urllib.parse import urlsplit, urlunsplit

import hiredis


class Fault(enum.Enum):
    CUT_BEFORE = "the connection breaks before the command reaches the server"
    LOSE_REPLY = "the server runs the command, and the connection breaks before its reply"
    HOLD = "the connection breaks, and the command reaches the server when `deliver()` is called"


class Proxy:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port
        self._server = ("127.0.0.1", parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f":{parts.password}@127.0.0.1:{self.port}"))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._held: list[tuple[socket.socket, bytes]] = []
        self.arm({})
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, faults: Mapping[int, Fault], *, deliver_at: int | None = None) -> None:
        """Set the faults, by number of command from 1, and when to deliver what was held."""
        with self._lock:
            self.commands: list[str] = []
            self._faults = dict(faults)
            self._deliver_at = deliver_at

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def deliver(self) -> list[object]:
        """Let the held commands reach the server, and return its replies."""
        with self._lock:
            held, self._held = self._held, []
        return [self._deliver(server, command) for server, command in held]

    def _deliver(self, server: socket.socket, command: bytes) -> object:
        with server:
            server.sendall(command)
            return _reply(server)[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # a blocked accept() would hold the port open if the socket was only closed
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for server, _command in self._held:
            server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server)
        with self._lock:
            self._open |= {client, server}
        try:
            with contextlib.suppress(OSError, EOFError):
                self._converse(client, server)
        finally:
            with self._lock:
                self._open -= {client, server}
                kept = any(server is held for held, _ in self._held)
            client.close()
            if not kept:
                server.close()

    def _converse(self, client: socket.socket, server: socket.socket) -> None:
        stream = client.makefile("rb")
        while command := _command(stream):
            fault, due = self._count(command)
            if due:
                self.deliver()
            if fault is Fault.HOLD:
                with self._lock:
                    self._held.append((server, command))
            if fault in (Fault.HOLD, Fault.CUT_BEFORE):
                return
            server.sendall(command)
            reply = _reply(server)[0]
            if fault is Fault.LOSE_REPLY:
                return
            client.sendall(reply)

    def _count(self, command: bytes) -> tuple[Fault | None, bool]:
        with self._lock:
            self.commands.append(command.split(b"\r\n", 3)[2].decode())
            number = len(self.commands)
            return self._faults.get(number), number == self._deliver_at


def _command(stream: BinaryIO) -> bytes:
    """One command as the client sent it, an array of bulk strings; b"" at the end."""
    head = stream.readline()
    parts = [head]
    for _ in range(int(head[1:] or 0)):
        size = stream.readline()
        parts += [size, stream.read(int(size[1:]) + 2)]
    return b"".join(parts)


def _reply(server: socket.socket) -> tuple[bytes, object]:
    """One reply of the server, as it came and parsed."""
    reader, raw = hiredis.Reader(notEnoughData=EOFError), b""
    while (parsed := reader.gets()) is EOFError:
        chunk = server.recv(65536)
        if not chunk:
            raise EOFError
        raw += chunk
        reader.feed(chunk)
    return raw, parsed
