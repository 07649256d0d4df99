"""Which checkout this is: an ID in its hidden folder, and what it writes into a database's mark.

The ID is random, so it tells nothing about anyone. It goes where the folder goes: a folder that
is moved, or that two machines of one learner share, is the same checkout, and so is a copy of it;
a new clone is another.
"""

from __future__ import annotations

import os
import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from helpers.course.disk import naming_a_full_disk, write_whole
from helpers.course.home import hidden_folder
from helpers.streams.clock import utc_now

_ID = re.compile(r"[0-9a-f]{8}")
_MARK = re.compile(r"checkout ([0-9a-f]{8}), since (\S+)\.$")


def checkout_id() -> str:
    """The ID of this checkout, made when it is first asked for.

    Raises:
        CourseError: it cannot be kept, since the hidden folder cannot be written.
    """
    file = hidden_folder() / "checkout.id"
    if not _read(file):
        with naming_a_full_disk(file.parent):
            _make(file)
    return _read(file)


class Mark(NamedTuple):
    """What a mark says: whose the database is, and since when; empty where it does not say."""

    checkout: str
    since: datetime | None

    @classmethod
    def read(cls, text: str | bytes) -> Mark:
        """The meaning of a mark; earlier versions of the course did not note whose it is."""
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        found = _MARK.search(said)
        if not found:
            return cls("", None)
        try:
            return cls(found[1], datetime.fromisoformat(found[2]))
        except ValueError:
            return cls(found[1], None)


def mark_of(checkout: str) -> str:
    """What to write into a database that a checkout takes now."""
    course = "This database belongs to the Redis Streams course"
    if not checkout:
        return f"{course}."
    return f"{course}: checkout {checkout}, since {utc_now():%Y-%m-%dT%H:%MZ}."


def _make(file: Path) -> None:
    """Write an ID, unless another process was faster: so two that begin at once have the same."""
    fresh = file.with_name(f".id-{secrets.token_hex(4)}")
    write_whole(fresh, secrets.token_hex(4))
    try:
        os.link(fresh, file)
    except OSError:  # there is a file by now, or the file system has no links
        if not _read(file):
            os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)


def _read(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except (OSError, ValueError):
        return ""
    return text if _ID.fullmatch(text) else ""
