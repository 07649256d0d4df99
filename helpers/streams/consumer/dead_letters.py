"""Dead letters: entries that a group gave up on, with the reason, kept aside to be replayed.

They lie on a stream of their own beside the source: `{chennai}:averages:dead` holds what the
group `averages` could not handle on `chennai`. A dead letter has the fields of the entry, and
before them some whose names begin with `dead:`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import redis

from ..entry import Entry, EntryId
from ..errors import WrongTypeError, explain
from ..keys import DEAD, group_key
from ..scan import scan
from ..slots import SyncClient, client_for
from ..text import text_of
from .scripts import REPLAY

How = Literal["pending", "added", "gone"]


@dataclass(frozen=True)
class DeadLetter:
    """An entry that was put aside.

    Attributes:
        id: the dead letter's own ID; its time is when it was put aside.
        entry: the entry as it was, with the ID that it had. A name or a value that is no UTF-8 is
            bytes, the others are text.
        group: the consumer group that gave up on it.
        consumer: who had it last.
        deliveries: how often it was delivered.
        reason: what ended it: the last error, or that no answer ever came.
        failures: one line for each failure that a consumer reported: delivery, consumer, error.
    """

    id: EntryId
    entry: Entry
    group: str
    consumer: str
    deliveries: int
    reason: str
    failures: tuple[str, ...]

    @property
    def time(self) -> datetime:
        """When it was put aside, in UTC."""
        return self.id.time


@dataclass(frozen=True)
class Replayed:
    """What became of a dead letter that was replayed.

    Attributes:
        how: `pending` if the entry is pending again under its own ID; `added` if it was gone
            from the stream and was appended anew; `gone` if there is no such dead letter.
        id: the entry's ID, old or new.
    """

    how: How
    id: EntryId


class DeadLetters:
    """The dead letters of one consumer group on one stream.

    >>> letters = DeadLetters(redis, "chennai", "averages")
    >>> [(letter.entry.id, letter.reason) for letter in letters]
    []
    """

    def __init__(
        self, client: SyncClient, stream: str, group: str, *, key: str | None = None
    ) -> None:
        """Name them; nothing is sent.

        Args:
            client: a client from `connect()`.
            stream: the source.
            group: the consumer group.
            key: where they lie, if not at `{stream}:group:dead`.
        """
        self.stream = stream
        self.group = group
        self.key = key or dead_letters_of(stream, group)
        self._client = client_for(client, [stream, self.key])
        self._replay = self._client.register_script(REPLAY)

    def __len__(self) -> int:
        try:
            return int(self._client.xlen(self.key))
        except redis.ResponseError as error:
            raise explain(error, self.key) from error

    def __iter__(self) -> Iterator[DeadLetter]:
        """All of them, oldest first, by XRANGE.

        Raises:
            WrongTypeError: the key holds no dead letters.
        """
        yield from map(letter, scan(self._client, self.key, errors="surrogateescape"))

    def replay(self, id: str | EntryId) -> Replayed:
        """Give one back to its group, by XCLAIM with FORCE; it counts as never delivered.

        The entry keeps its ID, so that what is remembered under that ID stays right, and no
        other group sees it again. Only where it was trimmed or deleted meanwhile, it is
        appended anew: under a new ID, for all groups.

        Replay it once the cause is gone; otherwise it comes back.

        Raises:
            GroupError: the stream or the group is gone, and the dead letter stays.
            WrongTypeError: the entry of this ID is no dead letter.
        """
        try:
            how, entry_id = self._replay(
                keys=[self.stream, self.key], args=[str(EntryId.parse(id))]
            )
        except redis.ResponseError as error:
            raise explain(error, self.stream, self.group) from error
        if how == "no letter":
            raise no_letter(entry_id)
        return Replayed(how, EntryId.parse(entry_id))

    def replay_all(self) -> list[Replayed]:
        """Replay those that are there now, oldest first."""
        return [self.replay(one.id) for one in list(self)]


def dead_letters_of(stream: str, group: str) -> str:
    """The key of a group's dead letters, in the hash slot of its stream."""
    return group_key(stream, group, DEAD)


def letter(entry: Entry) -> DeadLetter:
    """The dead letter in an entry of a stream of them.

    Raises:
        WrongTypeError: the entry is none.
    """
    fields = {_as_it_was(name): _as_it_was(value) for name, value in entry.fields.items()}
    try:
        entry_id, group, consumer, deliveries, reason, failures = (
            text_of(fields.pop(f"dead:{name}"))
            for name in ("id", "group", "consumer", "deliveries", "reason", "failures")
        )
    except KeyError:
        raise no_letter(entry.id) from None
    return DeadLetter(
        entry.id,
        Entry(EntryId.parse(entry_id), fields),
        group,
        consumer,
        int(deliveries),
        reason,
        tuple(failures.splitlines()),
    )


def _as_it_was(text: str) -> Any:
    """What was read with surrogateescape: bytes, if they are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape")
    return text


def no_letter(entry_id: str | EntryId) -> WrongTypeError:
    """This entry was not put aside by a consumer."""
    return WrongTypeError(
        f"The entry {entry_id} isn't a dead letter: is this the stream of dead letters?"
    )
