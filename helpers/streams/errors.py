"""What goes wrong on a stream: each error is one sentence, of what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from .states import STATES, state_of, unreachable

_KEY = re.compile(r"key (?:name )?'(.+?)'(?: |$)")
_GROUP = re.compile(r"consumer group '(.+?)'(?: |$)")


class StreamsError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        stream: the stream's key, where the error concerns one stream.
        group: the consumer group, where it concerns one.
        key: the key that is in the way, where it is not the stream itself.
        entries: of a call that adds entries, those that were not added and are given back.
    """

    entries: Sequence[Any] = ()

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        group: str | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.stream, self.group, self.key = stream, group, key

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the sentence alone, without a traceback through this package."""
        return [f"{type(self).__name__}: {self}"]


class ArgumentError(StreamsError, ValueError):
    """What was given cannot be used: a limit, a name, an entry, a client. Nothing was sent."""


class EntryIdError(ArgumentError):
    """An entry ID that Redis would not take, or that cannot be where it is put."""


class NotTextError(StreamsError):
    """An entry that another program wrote holds bytes that are no text in UTF-8."""


class HandlerError(StreamsError):
    """A handler returned what is no effect."""


class WrongTypeError(StreamsError):
    """The key holds something that is no stream (or, for dead letters, no dead letters)."""


class GroupError(StreamsError):
    """A consumer group, or the stream that it belongs to, is not there or no longer there."""


class PendingError(StreamsError):
    """A group or a consumer has pending entries, and to remove it would drop them for good."""


class ConsumerError(StreamsError):
    """A consumer may not go on: another one of its name began later."""


class CheckpointError(StreamsError):
    """A reader may not move its checkpoint: another one of its name began later."""


class NotConfirmedError(StreamsError):
    """The connection was lost and the fate of the last batch is not yet known.

    Attributes:
        confirmed: how many entries of this call are on the stream for certain.
    """

    def __init__(self, message: str, confirmed: int, **about: str | None) -> None:
        super().__init__(message, **about)
        self.confirmed = confirmed


class ServerStateError(StreamsError):
    """The server answers, but as it is now it does not do what was asked; later it may.

    Attributes:
        code: the state, as the server's reply begins: OOM, READONLY, LOADING, MISCONF, …
    """

    def __init__(self, message: str, code: str, **about: str | None) -> None:
        super().__init__(message, **about)
        self.code = code


# What a server says of a command or of its key: a phrase in it, and the sentence to raise.
_REFUSALS: tuple[tuple[str, type[StreamsError], str], ...] = (
    ("WRONGTYPE", WrongTypeError,
     "The key {key!r} is not a stream: use another name, or delete it."),
    ("equal or smaller", EntryIdError,
     "The stream {key!r} already has an entry with this ID or a larger one: IDs only grow. Use a "
     "larger ID, or '*' for the server's clock."),
    ("last possible ID", EntryIdError,
     "The stream {key!r} has the largest ID there is, and none can follow it: use another key."),
    ("too large to be stored", EntryIdError,  # Redis 7.0 says so of both
     "The stream {key!r} has the largest ID there is, or the entry is larger than a stream can "
     "hold: use another key, or split the entry."),
    ("BUSYGROUP", GroupError,
     "The stream {key!r} already has a consumer group of this name."),
)  # fmt: skip


def explain(error: redis.RedisError, key: str, group: str | None = None) -> StreamsError:
    """Turn what a server says about a stream's key into one sentence that helps.

    Args:
        error: what redis-py raised.
        key: the stream's key, or several joined by commas.
        group: the consumer group that the command named. Redis 7.0 does not always name it.
    """
    said = str(error)
    for phrase, kind, sentence in _REFUSALS:
        if phrase in said:
            in_the_way = key if kind is WrongTypeError else None
            return kind(sentence.format(key=key), stream=key, group=group, key=in_the_way)
    if "NOGROUP" in said or "UNBLOCKED the stream key" in said:
        named, named_group = _KEY.search(said), _GROUP.search(said)
        return no_group(named[1] if named else key, named_group[1] if named_group else group)
    if "requires the key to exist" in said or "no such key" in said.lower():
        return no_stream(key, group)
    code = state_of(error)
    if code:
        return ServerStateError(
            f"The server refuses a command on {key!r} with {code}: {STATES[code][1]} ({said}).",
            code, stream=key, group=group,
        )  # fmt: skip
    return StreamsError(f"The server refused a command on {key!r}: {said}", stream=key, group=group)


def given_up(error: redis.RedisError, key: str, group: str | None = None) -> Exception:
    """What to raise when patience ends: the lost connection, or the state, in a sentence."""
    if not unreachable(error):
        return explain(error, key, group)
    kind = redis.TimeoutError if isinstance(error, redis.TimeoutError) else redis.ConnectionError
    return kind(
        f"The server did not answer a command on {key!r} within the time limit. Check that it "
        f"runs and that the network is up. ({error})"
    )


def no_group(stream: str, group: str | None) -> GroupError:
    """There is no such group; on a stream that does not exist there is none either.

    The sentence says what to create it again repeats or misses: it may have been there before.
    """
    if group is None:
        named = "…"
        gone = (
            f"The consumer group on the stream {stream!r} is gone: it was deleted, or its "
            "stream was."
        )
    else:
        named = repr(group)
        gone = f"There is no consumer group {group!r} on the stream {stream!r}."
    return GroupError(
        f"{gone} Create it, with Group(redis, {stream!r}, {named}).create('0'): that delivers "
        "every entry on the stream, even those that an earlier group handled; create('$') would "
        "miss them. A running Consumer creates a lost group by itself, with on_lost_group='0', "
        "which repeats entries, or 'resume', which goes on where it was and misses what was "
        "pending for others.",
        stream=stream, group=group,
    )  # fmt: skip


def no_stream(stream: str, group: str | None) -> GroupError:
    """There is no stream, and so no consumer group on it."""
    if group is None:
        return GroupError(
            f"There is no stream {stream!r}: add an entry to it first.", stream=stream
        )
    return GroupError(
        f"There is no stream {stream!r}, and so no consumer group {group!r} on it: add an entry "
        f"first, or create both with Group(redis, {stream!r}, {group!r}).create('0', "
        "make_stream=True).",
        stream=stream, group=group,
    )  # fmt: skip


def half_character(what: str, error: UnicodeEncodeError) -> ArgumentError:
    """Text that cannot be sent, such as JSON that was cut within an emoji."""
    return ArgumentError(
        f"{what} holds {error.object[error.start]!a}, half of a character, which UTF-8 cannot "
        "encode: replace it, for example with text.encode(errors='replace'), or send bytes."
    )
