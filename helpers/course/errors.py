"""What goes wrong around the streams: the course's own server, its database, its lessons."""

from __future__ import annotations

from helpers.streams.errors import StreamsError


class CourseError(StreamsError):
    """Base of the errors that the course raises on purpose, each one sentence with its remedy."""


class ServerError(CourseError):
    """No usable server: it cannot be found, started, reached or spoken to."""


class ForeignDatabaseError(CourseError):
    """A database holds keys that the course did not make."""
