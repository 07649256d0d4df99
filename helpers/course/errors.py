"""What goes wrong around the streams: the course's own server, its database, its lessons."""

from __future__ import annotations

import redis

from helpers.streams.errors import StreamsError
from helpers.streams.states import STATES, state_of

# What may go wrong with no fault of the course: one sentence, and no traceback.
EXPECTED = (StreamsError, redis.RedisError, OSError)


class CourseError(StreamsError):
    """Base of the errors that the course raises on purpose, each one sentence with its remedy."""


class ServerError(CourseError):
    """No usable server: it cannot be found, started, reached or spoken to."""


class ForeignDatabaseError(CourseError):
    """A database holds keys that the course did not make, or is another checkout's."""


def in_words(error: Exception) -> str:
    """What an error says, and what to do where it is a state of the server that says too little."""
    code = state_of(error) if isinstance(error, redis.RedisError) else None
    said = str(error)
    if code is None or said.endswith("."):
        return said
    return f"The server refuses a command with {code}: {STATES[code][1]} ({said})."
