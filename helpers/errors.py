"""The errors of this course: each is one sentence that says what was wrong and what to do."""

from __future__ import annotations

import re

import redis

_KEY = re.compile(r"key (?:name )?'(.+?)'(?: |$)")
_GROUP = re.compile(r"consumer group '(.+?)'(?: |$)")


class CourseError(Exception):
    """Base of every error that the course raises on purpose.

    A notebook shows only its message: a traceback through the course's own code
    would not help the reader.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ServerError(CourseError):
    """No usable server: it cannot be found, started, reached or spoken to."""


class ForeignDatabaseError(CourseError):
    """A database holds keys that the course did not make."""


class EntryIdError(CourseError, ValueError):
    """An entry ID that Redis would not take, or that cannot be where it is put."""


class NotConfirmedError(CourseError):
    """The connection was lost and the fate of the last batch is not yet known.

    Attributes:
        confirmed: how many entries of this call are on the stream for certain.
    """

    def __init__(self, message: str, confirmed: int) -> None:
        super().__init__(message)
        self.confirmed = confirmed


class CheckpointError(CourseError):
    """A checkpoint was moved by somebody else since this reader last saw it."""


class StateError(CourseError):
    """A consumer's stored state cannot be used: it is corrupt, incomplete, or of another kind."""


class PartitionError(CourseError, ValueError):
    """A partition that has no such name, or that would be gone as soon as it is written."""


class GroupError(CourseError):
    """A consumer group, or the stream that it belongs to, is not there or no longer there."""


class ConsumerError(CourseError):
    """A consumer may not go on: another one of its name began later."""


def explain(error: redis.RedisError, key: str, group: str | None = None) -> CourseError:
    """Turn what a server says about a stream's key into one sentence that helps.

    Args:
        error: what redis-py raised.
        key: the stream's key, or several joined by commas.
        group: the consumer group that the command named. Redis 7.0 does not always name it.
    """
    said = str(error)
    if "WRONGTYPE" in said:
        return CourseError(f"The key {key!r} holds no stream: use another name, or delete it.")
    if "equal or smaller" in said:
        return EntryIdError(
            f"The stream {key!r} has an entry with this ID or a larger one already: "
            "IDs only grow. Use a larger one, or '*' for the server's clock."
        )
    if "BUSYGROUP" in said:
        return CourseError(f"The stream {key!r} has a consumer group of this name already.")
    if "NOGROUP" in said or "UNBLOCKED the stream key" in said:
        named, named_group = _KEY.search(said), _GROUP.search(said)
        return no_group(named[1] if named else key, named_group[1] if named_group else group)
    if "requires the key to exist" in said or "no such key" in said.lower():
        return no_stream(key, group)
    return CourseError(f"The server refused a command on {key!r}: {said}")


def no_group(stream: str, group: str | None) -> GroupError:
    """There is no such group; on a stream that does not exist there is none either."""
    if group is None:
        return GroupError(
            f"The consumer group on the stream {stream!r} is gone, deleted by itself or with the "
            f"stream: create it again, with Group(redis, {stream!r}, …).create()."
        )
    return GroupError(
        f"There is no consumer group {group!r} on the stream {stream!r}: "
        f"create it, with Group(redis, {stream!r}, {group!r}).create()."
    )


def no_stream(stream: str, group: str | None = None) -> GroupError:
    """There is no stream, and so no consumer group on it."""
    if group is None:
        return GroupError(f"There is no stream {stream!r}: add an entry to it first.")
    return GroupError(
        f"There is no stream {stream!r}, and so no consumer group {group!r} on it: add an entry "
        f"first, or make both with Group(redis, {stream!r}, {group!r}).create(make_stream=True)."
    )
