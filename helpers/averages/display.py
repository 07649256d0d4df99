"""The averages consumer: shows each hourly average as it comes, and remembers how far it came."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import redis

from helpers.averages.aggregating import BLOCK_MS, Say
from helpers.averages.names import AVERAGES, AVERAGES_STATE
from helpers.averages.state import Behind, State, unusable
from helpers.course.errors import CourseError
from helpers.streams.consumer.consumer import expect_client
from helpers.streams.entry import FIRST, Entry, EntryId, entries, pairs
from helpers.streams.errors import EntryIdError, explain
from helpers.streams.patience import LIMIT_S
from helpers.streams.signals import stopping
from helpers.streams.single import Single
from helpers.streams.slots import SyncClient, client_for
from helpers.streams.states import passes

PAGE = 100
FIELDS = ("last_message_id",)

Show = Callable[[Entry], object]


class AveragesConsumer(Single):
    """Hands each average to a function, in their order, and goes on from there after a crash.

        AveragesConsumer(redis, show=print).run()

    Promise, at least once: an average counts as shown when the function returned. What is
    shown is outside Redis, so after a crash the averages since the last commit, at most one
    reply, are shown again. Of two consumers the one that began later goes on.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        show: Show,
        say: Say = print,
        patience_s: float = LIMIT_S,
    ) -> None:
        """Prepare to work; nothing is sent before `run()`.

        Args:
            client: a client from `connect()`, or one whose socket time-out is above BLOCK.
            show: takes an entry of the averages, such as the ones of `course partitions consume`.
            say: is told where it begins, and what it waits for.
            patience_s: how long the server may be out of reach or silent, in seconds.
        """
        self._client, self._show, self._say = client_for(client, [AVERAGES]), show, say
        expect_client(self._client, BLOCK_MS)
        self._state = State(client, AVERAGES_STATE, FIELDS, _position, patience_s)
        self._last = str(FIRST)
        super().__init__()

    def _reset(self) -> None:
        self._state = copy.copy(self._state)
        self._state.stopped = False

    def stop(self) -> None:
        """End `run()` after the averages in hand, or when the current BLOCK is over.

        Of a server that is silent, when the reply that it waits for is overdue.
        """
        self._state.stopped = True

    def run(self, *, drain: bool = False, signals: bool = True) -> None:
        """Work until `stop()`; with `drain`, until there is nothing more.

        Raises:
            StateError: the stored state cannot be used.
            CheckpointError: another consumer took over, or the state was deleted.
            WrongTypeError: the key is not a stream.
            redis.ConnectionError: the server was out of reach for `patience_s`.
        """
        with stopping(self.stop, wanted=signals):
            try:
                self._open()
                idle = told = False
                while not self._state.stopped:
                    found = self._read(BLOCK_MS if idle and not drain else None)
                    if found:
                        self._show_all(found)
                    elif drain:
                        break
                    elif idle and not told:
                        self._say(f"Waiting for new messages in stream {AVERAGES}")
                    told = idle and not found
                    idle = not found
            finally:
                self._state.stopped = False

    def _open(self) -> None:
        found = self._state.take_over()
        if found is None:
            self._state.begin({"last_message_id": str(FIRST)})
            found = self._state.take_over() or {}
        self._last = _position(found)
        at = "0" if self._last == str(FIRST) else self._last
        self._say(f"Starting averages consumer in stream {AVERAGES} at message {at}.")

    def _read(self, block: int | None) -> list[Entry]:
        def asked() -> Any:
            try:
                return self._client.xread({AVERAGES: self._last}, PAGE, block)
            except redis.ResponseError as error:
                if passes(error):
                    raise  # to be asked again
                raise explain(error, AVERAGES) from error
            except UnicodeDecodeError as error:
                raise CourseError(
                    f"The stream {AVERAGES!r} holds an entry after {self._last} that is no text: "
                    "delete it with XDEL."
                ) from error

        reply = self._state.patiently(asked, AVERAGES)
        return [one for _, part in pairs(reply) for one in entries(part)]

    def _show_all(self, found: list[Entry]) -> None:
        for entry in found:
            self._show(entry)
            self._last = str(entry.id)
        try:
            self._state.commit({"last_message_id": self._last})
        except Behind:
            self._open()


def _position(found: Mapping[str, str]) -> str:
    """The ID that a stored state holds.

    Raises:
        StateError: it holds none.
    """
    told = found["last_message_id"]
    try:
        return str(EntryId.parse(told))
    except EntryIdError as error:
        raise unusable(AVERAGES_STATE, f"has {told!r} in its field last_message_id") from error


def sentence(entry: Entry) -> str:
    """An average in words."""
    told = entry.fields
    try:
        return (
            f"Average temperature for {told['date']} at {told['hour']} was "
            f"{told['average_temp_f']}F ({told['num_observations']} observations)."
        )
    except KeyError:
        return f"The entry {entry.id} is no average: {told}."
