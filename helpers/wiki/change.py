"""A change to a wiki: as Wikimedia's feed tells it, and as this course passes it on.

The feed's events follow the schema mediawiki/recentchange 1.0.0, in which only `meta` with its
`dt` and `stream` is required: everything else may be missing, and some of it may be null.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from helpers.course.errors import CourseError

_DOMAIN = re.compile(r"([a-z0-9][a-z0-9-]{0,62}\.)+[a-z][a-z0-9-]{0,62}")
_LONGEST_DOMAIN = 253
_BEGINNING = datetime(2001, 1, 15, tzinfo=UTC)  # of Wikipedia
_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_LONGEST = 500  # characters of a title or a user name
CANARY = "canary"  # the domain of Wikimedia's own test events


class NotAChangeError(CourseError, ValueError):
    """Something that came as a change and is none: the message says what is wrong with it."""


class Change(NamedTuple):
    """One change.

    Attributes:
        domain: the wiki's, such as `en.wikipedia.org`.
        at_ms: when it was made, event time, in milliseconds since 1970.
        type: `edit`, `new`, `log`, `categorize` or `external`; empty if unknown.
        user: who made it.
        bot: whether it was a bot.
        title: the page's.
        grown: by how many bytes the page grew; None if nobody says.
        id: Wikimedia's own name for this event; empty if it has none.
    """

    domain: str
    at_ms: int
    type: str = ""
    user: str = ""
    bot: bool = False
    title: str = ""
    grown: int | None = None
    id: str = ""

    def fields(self) -> dict[str, str | int]:
        """The fields of its entry on a stream."""
        return {
            "domain": self.domain,
            "at": self.at_ms,
            "type": self.type,
            "user": self.user,
            "bot": int(self.bot),
            "title": self.title,
            "grown": "" if self.grown is None else self.grown,
            "id": self.id,
        }

    def message(self) -> str:
        """The same as JSON: a message on a channel is one text."""
        return json.dumps(self.fields(), ensure_ascii=False, separators=(",", ":"))


def change_of(event: Any) -> Change:
    """The change that an event of Wikimedia's feed tells of.

    Raises:
        NotAChangeError: it names no time or no wiki, or ones that cannot be.
    """
    if not isinstance(event, dict):
        raise NotAChangeError(f"an event that is not a JSON object: {_shown(event)}")
    meta = event.get("meta")
    if not isinstance(meta, dict):
        raise NotAChangeError("an event without `meta`, so without time and domain")
    length = event.get("length")
    return Change(
        domain=_domain(meta.get("domain") or event.get("server_name")),
        at_ms=_moment_ms(meta.get("dt")),
        type=_text(event.get("type")),
        user=_text(event.get("user")),
        bot=event.get("bot") is True,
        title=_text(event.get("title")),
        grown=_grown(length) if isinstance(length, dict) else None,
        id=_text(meta.get("id")),
    )


def change_in(message: str) -> Change:
    """The change in a message of a channel: ours, or an event as the feed has it.

    The article's publisher passes the feed's events on as they come.

    Raises:
        NotAChangeError: there is none in it.
    """
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        raise NotAChangeError(f"a message that is not JSON: {_shown(message)}") from None
    if not isinstance(found, dict):
        raise NotAChangeError(f"a message that is not a JSON object: {_shown(message)}")
    return change_of(found) if _is_event(found) else change_from(found)


def change_from(fields: Mapping[str, Any]) -> Change:
    """The change in the fields of an entry: ours, or one that holds an event of the feed as JSON.

    Raises:
        NotAChangeError: there is none in them.
    """
    if "at" not in fields and (event := _event_in(fields)):
        return change_of(event)
    try:
        at_ms, grown = int(fields["at"]), fields.get("grown", "")
        return Change(
            domain=_domain(fields["domain"]),
            at_ms=at_ms,
            type=_text(fields.get("type")),
            user=_text(fields.get("user")),
            bot=str(fields.get("bot")) == "1",
            title=_text(fields.get("title")),
            grown=None if grown == "" else int(grown),
            id=_text(fields.get("id")),
        )
    except KeyError as missing:
        raise NotAChangeError(f"a change without the field {missing}") from None
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, NotAChangeError):
            raise
        raise NotAChangeError(f"a change whose numbers are none: {_shown(dict(fields))}") from None


def _is_event(found: Mapping[str, Any]) -> bool:
    """Whether this is an event of the feed: all of them have `meta`, and none of ours has."""
    return "meta" in found and "at" not in found


def _event_in(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event that one of the fields holds, whatever that field is called."""
    for value in fields.values():
        with suppress(ValueError, RecursionError):
            found = json.loads(value) if isinstance(value, str) and value[:1] == "{" else None
            if isinstance(found, dict) and _is_event(found):
                return found
    return None


@lru_cache(maxsize=4096)
def _is_domain(text: str) -> bool:
    return bool(_DOMAIN.fullmatch(text)) or text == CANARY


def _domain(domain: Any) -> str:
    if not (isinstance(domain, str) and len(domain) <= _LONGEST_DOMAIN and _is_domain(domain)):
        raise NotAChangeError(f"an event whose domain cannot be one: {_shown(domain)}")
    return domain


def _moment_ms(text: Any) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise NotAChangeError(f"an event whose time is no ISO 8601 time: {_shown(text)}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        if moment < _BEGINNING:
            raise NotAChangeError(f"an event from before there was a Wikipedia: {_shown(text)}")
        return (moment - _EPOCH) // _MS
    except OverflowError:
        raise NotAChangeError(f"an event at the edge of time: {_shown(text)}") from None


def _text(value: Any) -> str:
    """A text that can be sent: JSON may hold half of a character, which UTF-8 cannot."""
    if not isinstance(value, str):
        return ""
    text = value[:_LONGEST]
    return text if text.isascii() else text.encode(errors="replace").decode()


def _shown(value: Any) -> str:
    """What came, briefly, however deep or long it is."""
    return reprlib.repr(value)[:60]


def _grown(length: Mapping[str, Any]) -> int | None:
    """By how many bytes a page grew; a new page has no old length."""
    new, old = length.get("new"), length.get("old") or 0
    if isinstance(new, bool) or not isinstance(new, int) or not isinstance(old, int):
        return None
    return new - old
