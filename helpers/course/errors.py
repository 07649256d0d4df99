"""What goes wrong around the streams: the course's own server, its database, its lessons."""

from __future__ import annotations

import redis

from helpers.streams.errors import StreamsError

# What may go wrong with no fault of the course: one sentence, and no traceback.
EXPECTED = (StreamsError, redis.RedisError, OSError)


class CourseError(StreamsError):
    """Base of the errors that the course raises on purpose, each one sentence with its remedy."""


class ServerError(CourseError):
    """No usable server: it cannot be found, started, reached or spoken to."""


class ForeignDatabaseError(CourseError):
    """A database holds keys that the course did not make."""
