"""A proxy in front of the real server that loses, cuts, delays and freezes what passes.

On each connection it hands on one command and its reply at a time, so that a fault hits just
the command that it is meant for. Several commands may come at once, as in a pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import threading
from dataclasses import dataclass
from typing import Any

from helpers.chaos.front import Front
from helpers.chaos.link import Link, Stream, exchange
from helpers.course.errors import CourseError
from helpers.course.keys import MARK
from helpers.course.pace import patient

FREEZE_LIMIT_S = patient(10.0)

# What they bring comes without end, and is no reply.
ENDLESS = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"}


class Fault(enum.Enum):
    """What may befall a command."""

    CUT_BEFORE = "the connection breaks before the command reaches the server"
    LOSE_REPLY = "the server runs the command, and the connection breaks before its reply"
    HOLD = "the connection breaks, and the command reaches the server when `deliver()` is called"
    DELAY = "the reply comes some seconds late"
    FREEZE_BEFORE = "the command stands still before it reaches the server, until `thaw()`"
    FREEZE_AFTER = "the server runs the command, and its reply stands still until `thaw()`"


LOSSES = (Fault.CUT_BEFORE, Fault.LOSE_REPLY, Fault.HOLD)  # the client loses its connection

At = int | str | tuple[str, int]


@dataclass(eq=False)
class _Armed:
    """A fault that waits for its command."""

    fault: Fault | None  # None: what was held is delivered
    name: list[str]  # empty: any command but a handshake
    left: int
    seconds: float

    def struck(self, words: list[str], handshake: bool) -> bool:
        named = [word.upper() for word in words[: len(self.name)]]
        if named == self.name and (not handshake or (self.name and named[0] != "EVAL")):
            self.left -= 1
        return self.left == 0


class Proxy(Front):
    """Stands between clients and the server: `proxy.connect()`, or any client of `proxy.url`.

        with Proxy() as proxy:
            redis = proxy.connect()
            proxy.arm(Fault.LOSE_REPLY, at="XADD")

    It listens on loopback alone. Faults are armed one by one, and each strikes once. After
    SUBSCRIBE or MONITOR a connection is handed on as it is, so no reply on it can be lost.
    """

    def __init__(self, url: str | None = None) -> None:
        """Begin to listen, as every `Front` does, with no fault armed."""
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._commands: list[list[str]] = []
        self._frozen = threading.Event()
        self._thawed = asyncio.Event()
        self._held: list[tuple[Stream, list[bytes]]] = []
        super().__init__(url)

    def arm(self, fault: Fault, at: At = 1, *, seconds: float = 0.0) -> None:
        """Set a fault for a command that is still to come, counted from now.

        Commands are counted over all connections. Those with which a client opens a
        connection are not counted: HELLO, AUTH, SELECT, CLIENT SETNAME and SETINFO, and what
        `connect()` asks. A name may mean them too, but `EVAL` never means the one of `connect()`.

        Args:
            fault: what shall befall it.
            at: `3` for the third command from now, `"XACK"` for the next XACK,
                `("XACK", 2)` for the second one, `"XGROUP CREATE"` for a subcommand.
                A script is sent as EVALSHA or EVAL.
            seconds: how late the reply comes, for DELAY.
        """
        self._arm(fault, at, seconds)

    def deliver_at(self, at: At) -> None:
        """Let the held commands reach the server just before a command that is still to come."""
        self._arm(None, at, 0.0)

    def reset(self) -> None:
        """Disarm all faults, and forget the commands seen so far."""
        with self._lock:
            self._armed.clear()
            self._commands.clear()

    @property
    def commands(self) -> list[list[str]]:
        """The commands seen so far, each a list of words with its name in capitals.

        Without those that open a connection: so `commands[2]` is what `at=3` means.
        """
        with self._lock:
            return [list(words) for words in self._commands]

    @property
    def names(self) -> list[str]:
        """The names of the commands seen so far."""
        with self._lock:
            return [words[0] for words in self._commands]

    def frozen(self, limit_s: float = FREEZE_LIMIT_S) -> bool:
        """Wait until a command stands still, at most `limit_s` seconds. Whether one does."""
        return self._frozen.wait(limit_s)

    def thaw(self) -> None:
        """Let all that stands still go on. What a killed client had not sent is dropped."""
        self._call(self._thaw)

    def deliver(self) -> list[Any]:
        """Let the held commands reach the server, and return its replies."""
        return self._call(self._deliver) or []

    def __repr__(self) -> str:
        return f"a proxy on port {self.port}, {len(self._commands)} commands seen"

    def _arm(self, fault: Fault | None, at: At, seconds: float) -> None:
        name, number = at if isinstance(at, tuple) else ("", at) if isinstance(at, int) else (at, 1)
        if number < 1:
            raise CourseError(f"Commands are counted from 1, so there is none at {number}.")
        with self._lock:
            self._armed.append(_Armed(fault, name.upper().split(), number, seconds))

    def _note(self, words: list[str]) -> list[_Armed]:
        """Count a command, and say which faults strike it."""
        handshake = _is_handshake(words)
        with self._lock:
            if not handshake:
                self._commands.append(words)
            struck = [armed for armed in self._armed if armed.struck(words, handshake)]
            self._armed = [armed for armed in self._armed if armed not in struck]
        return struck

    # ------------------------------------------------------------ in the proxy's own thread

    async def _listen(self, listener: socket.socket) -> None:
        await super()._listen(listener)
        for (_, to_server), _words in self._held:
            to_server.close()
        await asyncio.sleep(0)

    async def _thaw(self) -> None:
        self._frozen.clear()
        self._thawed.set()
        self._thawed = asyncio.Event()

    async def _deliver(self) -> list[Any]:
        held, self._held = self._held, []
        replies = []
        for server, words in held:
            with contextlib.closing(server[1]):
                replies.append(await exchange(server, words))
        return replies

    async def _converse(self, client: Stream) -> None:
        link = Link(client, await self._reach())
        held = False
        try:
            while (words := await link.command()) is not None:
                armed = await self._strike(words)
                if armed.fault is Fault.HOLD:
                    held = True
                    self._held.append((link.detach(), words))
                    return
                if not await self._pass_on(link, words, armed):
                    return
            await link.farewell()
        finally:
            link.close(both=not held)

    async def _strike(self, words: list[bytes]) -> _Armed:
        """Count a command, deliver what is due before it, and say what befalls it."""
        name, *rest = (word.decode(errors="replace") for word in words)
        struck = self._note([name.upper(), *rest])
        if any(armed.fault is None for armed in struck):
            await self._deliver()
        return next((armed for armed in struck if armed.fault), _UNHARMED)

    async def _pass_on(self, link: Link, words: list[bytes], armed: _Armed) -> bool:
        """Send a command and hand on its reply; whether the conversation goes on."""
        fault = armed.fault
        if fault is Fault.CUT_BEFORE:
            return False
        if fault is Fault.FREEZE_BEFORE and not await self._stand_still(link):
            return False
        link.send(words)
        if words[0].upper() in ENDLESS:
            link.flow()
        if link.flowing:
            return True
        reply = await link.reply()
        if reply is None:  # the client hung up, and what else it had sent goes on
            return True
        if fault is Fault.DELAY:
            await link.meanwhile(asyncio.sleep(armed.seconds))
        if fault is Fault.LOSE_REPLY or (
            fault is Fault.FREEZE_AFTER and not await self._stand_still(link)
        ):
            return False
        link.answer(reply)
        return True

    async def _stand_still(self, link: Link) -> bool:
        """Wait for `thaw()`. Whether the client is still there."""
        if not link.gone:
            self._frozen.set()
            await link.meanwhile(self._thawed.wait())
        return await link.look()


_UNHARMED = _Armed(None, [], 0, 0.0)


def _is_handshake(words: list[str]) -> bool:
    """Whether a command only opens a connection, by redis-py or by our `connect()`."""
    match words:
        case ["HELLO" | "AUTH" | "SELECT", *_] | ["INFO", "server"]:
            return True
        case ["ACL", what, *_]:
            return what.upper() in ("WHOAMI", "GETUSER")
        case ["CLIENT", what, *_]:
            return what.upper() in ("SETINFO", "SETNAME", "MAINT_NOTIFICATIONS")
        case ["EVAL", _, _, key, *_]:
            return key == MARK
    return False
