"""What seats ask a board: to join, by the class code; to be heard, and to leave, by a secret."""

from __future__ import annotations

from typing import ClassVar

import redis

from helpers.room.commits import UnkeptError
from helpers.room.events import Handed, MalformedError, json_of
from helpers.room.handler import Handler, refuse
from helpers.room.keeping import Seat
from helpers.room.names import NameRefusedError, digest, is_code, seat_name, secret_of_seat
from helpers.streams.clock import ms_of, utc_now

LARGEST_EVENTS = 64 * 1024  # 500 events have less than 50 KiB
LARGEST_JOIN = 4 * 1024
IN_FLIGHT = 4  # requests of one seat that wait at the same time


class _Post(Handler):
    """A small JSON body."""

    METHOD: ClassVar[str] = "POST"
    LARGEST: ClassVar[int] = LARGEST_JOIN

    def admit(self) -> None:
        """Refuse what a form of another site's page could send."""
        sort = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if sort != "application/json":
            refuse(415, "The body must be sent as application/json.")

    async def answer(self) -> None:
        """Do what is asked, if it can be read and kept."""
        try:
            await self.do()
        except (MalformedError, NameRefusedError) as error:
            refuse(400, str(error))
        except UnkeptError as error:
            refuse(503, str(error), 1)
        except redis.ResponseError as error:
            self.board.tell(f"The board's server refuses a command: {error}")
            refuse(503, "The board's server refuses this at the moment: send it again.", 5)

    async def do(self) -> None:
        """Do it.

        Raises:
            RefusedError, MalformedError, NameRefusedError: it can't be done.
            UnkeptError: not at the moment.
        """
        raise NotImplementedError

    def expect_open(self) -> None:
        """Refuse when the class is over."""
        if self.board.closed:
            refuse(410, "This class is over: the board takes no more events.")


class Join(_Post):
    """POST /join: a seat is taken, and gets its secret."""

    async def do(self) -> None:
        """Keep the seat, and say its secret."""
        said = json_of(bytes(self.body))
        if not set(said) <= {"code", "as", "secret"}:
            raise MalformedError("To join, send code, as, and a secret if you like; nothing else.")
        self._expect_code(said.get("code"))
        self.expect_open()
        name, secret = seat_name(said.get("as")), secret_of_seat(said.get("secret"))
        seat = self._seat(name, digest(secret))
        if not seat.kept:
            await self._keep(seat)
        self.board.changes += 1
        self.set_status(201)
        self.finish({"class": self.board.room.id, "seat": seat.name, "secret": secret})

    def _expect_code(self, code: object) -> None:
        """A right code always gets in, whatever others behind the same address have tried."""
        room = self.board.room
        if not room.code or is_code(code, room.code):
            return
        tries = self.board.wrong_codes.of(str(self.request.remote_ip))
        if not tries.spend():
            refuse(429, "Too many wrong codes came from here: wait a little.", tries.wait_s())
        refuse(403, "That isn't the class code: ask your instructor for it.")

    def _seat(self, name: str, its_digest: str) -> Seat:
        """The seat of this name, if it is free or the caller's own."""
        seats, now_ms = self.board.seats, ms_of(utc_now())
        seat = seats.called(name)
        if seat is None:
            joins = self.board.joins.of(str(self.request.remote_ip))
            if not joins.spend():
                refuse(429, "Too many seats were taken from here: wait a little.", joins.wait_s())
            number = max(seats.all, default=0) + 1
            if seats.full:
                if (idle := seats.idle(now_ms)) is None:
                    refuse(429, f"This class is full: it has {len(seats.all)} seats.", 60)
                number = idle.number
            return seats.add(Seat(number, name, its_digest, now_ms, kept=False))
        if seat.digest == its_digest and seat.left is None:
            return seat  # it asks again, since it has not heard the answer
        if seat.kept or seat.busy:
            refuse(409, f"There is a seat called {seat.name!r} already: choose another name.")
        return seats.add(Seat(seat.number, name, its_digest, now_ms, kept=False))

    async def _keep(self, seat: Seat) -> None:
        seat.busy += 1
        try:
            *_, closed = await self.board.commits.commit(self.board.seats.join(seat))
        finally:
            seat.busy -= 1
        seat.kept = True
        if closed:
            self.board.closed = True
            self.expect_open()


class _OfSeat(_Post):
    """What a seat asks with its secret."""

    _in_flight = False

    def admit(self) -> None:
        """Look whose secret it is, and whether that seat asks too often."""
        super().admit()
        seat = self.board.seats.with_secret(self._secret())
        if seat is None or not seat.kept:
            refuse(401, "No seat of this class has that secret: join the class again.")
        if seat.in_flight >= IN_FLIGHT or not seat.requests.spend():
            refuse(429, "This seat asks too often: wait a little.", seat.requests.wait_s())
        if seat.left is not None:
            refuse(410, "This seat has left the class: join it again under another name.")
        self.expect_open()
        self.seat = seat
        self._count(True)

    def _secret(self) -> str:
        kind, _, secret = self.request.headers.get("Authorization", "").partition(" ")
        return secret.strip() if kind.lower() == "bearer" else ""

    def _count(self, begins: bool) -> None:
        if self._in_flight != begins:
            self._in_flight = begins
            self.seat.in_flight += 1 if begins else -1

    def on_finish(self) -> None:
        """Called by tornado."""
        self._count(False)

    def on_connection_close(self) -> None:
        """Called by tornado."""
        self._count(False)


class Events(_OfSeat):
    """POST /events: they are confirmed when they are on the disk."""

    LARGEST: ClassVar[int] = LARGEST_EVENTS

    async def do(self) -> None:
        """Keep them, and say up to which."""
        seat, handed = self.seat, Handed.read(bytes(self.body))
        fresh = sum(one.n > seat.upto for one in handed.events)
        if not seat.events.allows(fresh):
            wait_s = seat.events.wait_s(fresh)
            refuse(429, "This seat sends too many events: wait a little.", wait_s)
        now_ms = ms_of(utc_now())
        append = self.board.seats.append(seat, handed, now_ms)
        [(how, upto)] = await self.board.commits.commit(append)
        self._expect_kept(how)
        seat.events.spend(fresh)
        seat.upto, seat.seen = max(seat.upto, upto), now_ms
        seat.dropped, seat.waiting = handed.dropped, handed.waiting
        self.board.changes += 1
        self.finish({"upto": upto})

    def _expect_kept(self, how: str) -> None:
        if how == "full":
            refuse(503, "The board has to count first: send it again soon.", 2)
        if how == "closed":
            self.board.closed = True
            self.board.changes += 1
            self.expect_open()
        if how != "kept":
            refuse(410, "This seat has left the class: join it again under another name.")


class Leave(_OfSeat):
    """POST /leave: the secret is void from then on, and the counts stay."""

    async def do(self) -> None:
        """Keep that the seat left."""
        now_ms = ms_of(utc_now())
        await self.board.commits.commit(self.board.seats.leave(self.seat, now_ms))
        self.seat.left = now_ms
        self.board.changes += 1
        self.finish({})
