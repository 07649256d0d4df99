"""The instructor's side of a board: the page and what it shows, by the key, and exports."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import redis
from tornado.iostream import StreamClosedError

from helpers.room import export
from helpers.room.at_work import Asked
from helpers.room.handler import Handler, refuse
from helpers.room.names import is_key

PAGE = Path(__file__).with_name("page")
LIVE = 20  # pages that are told
TELL_S = 0.5
T = TypeVar("T")
WORDS = ("route", "began", "projector")  # what a page may ask for


class _Instructors(Handler):
    """What takes the key."""

    def admit(self) -> None:
        """Look for the key, in the address or in a cookie."""
        cookie = self.get_cookie(self.cookie_name, "") or ""
        if not is_key(self.word("key") or cookie, self.board.room.key):
            refuse(
                403,
                "This page is the instructor's: open it at the address that `course class open` "
                "prints.",
            )

    @property
    def cookie_name(self) -> str:
        """One for each port: browsers give a machine's cookies to all of them."""
        return f"board-{self.board.room.port}"

    async def reading(self, counts: Awaitable[T]) -> T:
        """What is read from the board's server, if that is there.

        Raises:
            RefusedError: it isn't.
        """
        try:
            return await counts
        except (redis.RedisError, OSError):
            refuse(503, "The board's server is away for a moment: ask again soon.", 1)

    def word(self, name: str) -> str:
        """What the address says; nothing, where that is no text."""
        said = self.request.query_arguments.get(name, [b""])[-1]
        return said.decode(errors="replace")


class Page(_Instructors):
    """The page itself; the key goes from its address into a cookie."""

    async def answer(self, name: str | None) -> None:
        """Give the page, or the cookie first."""
        if self.word("key"):
            self.set_cookie(
                self.cookie_name, self.board.room.key, httponly=True, samesite="Lax", path="/",
                secure=self.board.secure,
            )  # fmt: skip
            self.redirect(f"/{name or ''}")
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish((PAGE / f"{name or 'index'}.html").read_bytes())


class _Told(_Instructors):
    """What shows the board as a page asks for it."""

    def asked(self) -> Asked:
        """The words of the address that say how."""
        return tuple((word, self.word(word)) for word in WORDS)


class BoardJson(_Told):
    """GET /board.json: what the board shows."""

    async def answer(self) -> None:
        """Say it."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(await self.reading(self.board.said(self.asked())))


class Live(_Told):
    """GET /live: the board when it has changed, at most twice a second, and every few seconds."""

    async def answer(self) -> None:
        """Tell it until the page is closed."""
        if self.board.live >= LIVE:
            refuse(429, f"{LIVE} pages are open already: close some.", 10)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        self.board.live += 1
        try:
            with suppress(StreamClosedError):
                await self._tell()
        finally:
            self.board.live -= 1

    async def _tell(self) -> None:
        last, asked = "", self.asked()
        self.write("retry: 1000\n\n")
        while not self.request.connection.stream.closed():  # type: ignore[union-attr]
            with suppress(redis.RedisError, OSError):  # the next look tells
                said = await self.board.said(asked)
                if said != last:
                    self.write(f"data: {said}\n\n")
                    last = said
            await self.flush()
            await asyncio.sleep(TELL_S)


class Export(_Instructors):
    """GET /export.csv, /export.json: as a file."""

    async def answer(self, kind: str) -> None:
        """Write it."""
        said = await self.reading(self.board.now())
        part = "-summary" if self.word("summary") else ""
        name = f"class-{self.board.room.id}{part}.{kind}"
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        if kind == "json":
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(export.to_json(said))
            return
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.write(export.BOM)
        self.finish(export.summary_csv(said, self.board.catalogue) if part else export.to_csv(said))


class Static(Handler):
    """What the page is made of: nothing secret."""

    async def answer(self, name: str) -> None:
        """Give a file."""
        file = PAGE / name
        if file.suffix == ".html" or not file.is_file():
            refuse(404, "This board has no such page.")
        body = file.read_bytes()
        sort = mimetypes.guess_type(name)[0] or "application/octet-stream"
        text = sort.startswith("text/") or sort.endswith("javascript")
        self.set_header("Content-Type", f"{sort}; charset=utf-8" if text else sort)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.finish(body)
