"""What a seat has noted for the class board: a file of events that all its kernels share.

It is a small SQLite database: writers take turns, and a kernel that is killed, or a disk that is
full, leaves it whole. It isn't synced to the disk at each event, since a check must not wait for
that: only a machine that loses its power can lose the latest ones.

An event waits until the board says that it has it. Then it stays for the learner to read, until
10,000 newer ones have been sent. What can't be written just now, since the disk is full or another
kernel takes long, waits in this process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.room.events import MOST_SECONDS

MOST = 10_000  # events that wait; what is noted beyond them is dropped, and counted
WAIT_S = 0.3  # for another kernel that is writing, which takes a millisecond

Check = tuple[str, str, int]  # exercise, outcome, hint

_TABLES = """
CREATE TABLE events (
  n INTEGER PRIMARY KEY, exercise TEXT, outcome TEXT, hint INTEGER, seconds INTEGER, at INTEGER
);
CREATE TABLE opened (lab TEXT PRIMARY KEY, at REAL);
CREATE TABLE state (numbered INTEGER, upto INTEGER, dropped INTEGER, since REAL,
  trouble TEXT, ended TEXT);
INSERT INTO state VALUES (0, 0, 0, 0, '', '');
"""


class Noted(NamedTuple):
    """One check: all that is ever sent, but for `at`, when it was noted, in Unix seconds."""

    n: int
    exercise: str
    outcome: str
    hint: int
    seconds: int
    at: int

    @property
    def sent(self) -> dict[str, int | str]:
        """What the board gets of it."""
        return {name: value for name, value in self._asdict().items() if name != "at"}


@dataclass(frozen=True)
class Standing:
    """How far the board is.

    Attributes:
        numbered: the number of the latest event.
        upto: events up to this number are on the board's disk.
        dropped: how many were not kept, because too many waited.
        since: when the board last took something or, if there is trouble, first did not; in Unix
            seconds.
        trouble: why the latest attempt to send failed; empty if it did not.
        ended: why nothing is noted any more; empty while it is.
    """

    numbered: int = 0
    upto: int = 0
    dropped: int = 0
    since: float = 0.0
    trouble: str = ""
    ended: str = ""

    @property
    def waiting(self) -> int:
        """How many events the board does not have yet."""
        return self.numbered - self.upto


class Spool:
    """The events of one seat.

    Each method may raise `sqlite3.Error`: the file is gone or spoilt, or cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._unwritten: list[tuple[Check, float, float]] = []
        self._writes = threading.Lock()
        self._lost = 0  # events that not even this process could keep

    @classmethod
    def create(cls, file: Path) -> Spool:
        """A new and empty spool, which only its owner can read.

        Raises:
            OSError: the file cannot be made.
        """
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(_connection(file)) as database:
            database.executescript(f"BEGIN; {_TABLES} COMMIT;")
        return cls(file)

    def open(self, lab: str, at: float) -> None:
        """Note when a lab was opened, if it is for the first time."""
        with self._writing() as database:
            database.execute("INSERT OR IGNORE INTO opened VALUES (?, ?)", (lab, at))

    def note(self, exercise: str, outcome: str, hint: int, opened: float) -> None:
        """Keep an event, unless too many wait or the class has ended.

        Args:
            exercise: such as `03.2`.
            outcome: passed, wrong, blank or error.
            hint: the number of the mistake; 0 for none.
            opened: when the exercise's lab was opened, if that was not noted before.
        """
        if len(self._unwritten) < MOST:
            self._unwritten.append(((exercise, outcome, hint), opened, time.time()))
        else:
            self._lost += 1
        try:
            self.write()
        except sqlite3.Error:
            atexit.unregister(self._write_at_end)
            atexit.register(self._write_at_end)
            raise

    def write(self, wait_s: float = 0) -> None:
        """Write what was noted here and is not in the file yet, unless another thread is at it.

        Args:
            wait_s: how long to wait for that thread.
        """
        if not self._unwritten or not self._writes.acquire(timeout=wait_s):
            return
        try:
            these, lost = list(self._unwritten), self._lost
            with self._writing() as database:
                for one in these:
                    _insert(database, *one)
                words = "UPDATE state SET dropped = dropped + ? WHERE ended = ''"
                database.execute(words, (lost,))
            del self._unwritten[: len(these)]
            self._lost -= lost
        finally:
            self._writes.release()

    def _write_at_end(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.write(WAIT_S)

    def waiting(self, most: int) -> list[Noted]:
        """The oldest events that the board does not have."""
        words = "SELECT * FROM events WHERE n > (SELECT upto FROM state) ORDER BY n LIMIT ?"
        with contextlib.closing(_connection(self.file)) as database:
            return [Noted(*row) for row in database.execute(words, (most,))]

    def events(self) -> list[Noted]:
        """All that is kept: what was sent, and what waits."""
        with contextlib.closing(_connection(self.file)) as database:
            return [Noted(*row) for row in database.execute("SELECT * FROM events ORDER BY n")]

    def standing(self) -> Standing:
        """How far the board is."""
        with contextlib.closing(_connection(self.file)) as database:
            return _standing(database)

    def settle(self, upto: int) -> None:
        """Note that the board has all events up to a number.

        If it has more than were ever numbered here, this file is an older copy of itself. Then
        what waits gets the numbers that follow, for the board would take it for what it has.
        """
        with self._writing() as database:
            state = _standing(database)
            numbered = state.numbered
            if upto > numbered:
                numbered = upto + state.waiting
                # Below zero first, where no number is taken.
                words = "UPDATE events SET n = -(n + ?) WHERE n > ?"
                database.execute(words, (upto - state.upto, state.upto))
                database.execute("UPDATE events SET n = -n WHERE n < 0")
            upto = max(upto, state.upto)
            words = "UPDATE state SET numbered = ?, upto = ?, since = ?, trouble = '', ended = ''"
            database.execute(words, (numbered, upto, time.time()))
            database.execute("DELETE FROM events WHERE n <= ?", (upto - MOST,))

    def tell(self, trouble: str = "", ended: str = "") -> None:
        """Note why nothing could be sent, or why nothing is noted any more."""
        with self._writing() as database:
            words = "UPDATE state SET since = ? WHERE trouble = ''"
            database.execute(words, (time.time(),))
            database.execute("UPDATE state SET trouble = ?, ended = ?", (trouble, ended))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(_connection(self.file)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")  # otherwise closing it takes all of it back


def _insert(database: sqlite3.Connection, check: Check, opened: float, at: float) -> None:
    """Add an event, or count it as dropped."""
    state, lab = _standing(database), check[0].partition(".")[0]
    if state.ended:
        return
    database.execute("INSERT OR IGNORE INTO opened VALUES (?, ?)", (lab, opened))
    (since,) = database.execute("SELECT at FROM opened WHERE lab = ?", (lab,)).fetchone()
    kept = state.waiting < MOST
    if kept:
        seconds = min(max(0, int(at - since)), MOST_SECONDS)
        event = Noted(state.numbered + 1, *check, seconds, int(at))
        database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", event)
    words = "UPDATE state SET numbered = numbered + ?, dropped = dropped + ?"
    database.execute(words, (kept, not kept))


def _connection(file: Path) -> sqlite3.Connection:
    """A connection to a file that exists: a seat that was left is not to begin again."""
    database = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S, isolation_level=None
    )
    try:
        database.execute("PRAGMA synchronous = OFF")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _standing(database: sqlite3.Connection) -> Standing:
    names = ", ".join(asdict(Standing()))
    return Standing(*database.execute(f"SELECT {names} FROM state").fetchone())
