"""The errors of this course: each is one sentence that says what was wrong and what to do."""

from __future__ import annotations

import redis


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


def explain(error: redis.RedisError, key: str) -> CourseError:
    """Turn what a server says about a stream's key into one sentence that helps."""
    said = str(error)
    if "WRONGTYPE" in said:
        return CourseError(f"The key {key!r} holds no stream: use another name, or delete it.")
    if "equal or smaller" in said:
        return EntryIdError(
            f"The stream {key!r} has an entry with this ID or a larger one already: "
            "IDs only grow. Use a larger one, or '*' for the server's clock."
        )
    return CourseError(f"The server refused a command on {key!r}: {said}")
