"""What another program wrote in bytes that are no UTF-8, and how a reader wants to have it.

redis-py decodes a reply as a whole, or fails as a whole. So a reply that holds such bytes is asked
for once more, undecoded, and each entry is decoded by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from redis.commands import CoreCommands

from .entry import Entry, EntryId, entries
from .errors import ArgumentError, NotTextError

# strict: an error. skip: pass over it. bytes: names and values of all entries are bytes. The others
# are Python's own ways to put something in place of what cannot be decoded.
Errors = Literal["strict", "skip", "bytes", "replace", "backslashreplace", "surrogateescape"]

log = logging.getLogger(__name__)


class _Undecoded(CoreCommands):
    _event_dispatcher: Any = None

    def __init__(self, client: Any) -> None:
        self._client = client

    def execute_command(self, *words: Any, **options: Any) -> Any:
        return self._client.execute_command(*words, **options, NEVER_DECODE=True)


def undecoded(client: Any) -> Any:
    """A client's commands, whose replies are bytes. Of an asyncio client they are awaited."""
    return _Undecoded(client)


def asking(client: Any, errors: Errors) -> Any:
    """The client to read with at first.

    Raises:
        ArgumentError: there is no such way.
    """
    if errors not in get_args(Errors):
        raise ArgumentError(f"errors is one of {', '.join(get_args(Errors))}, not {errors!r}.")
    return undecoded(client) if errors == "bytes" else client


def decoded(reply: Any, stream: str, errors: Errors) -> Iterable[Entry]:
    """The entries in a reply of XRANGE, or in one stream's part of XREAD's, decoded or not.

    Raises:
        NotTextError: one is no text, and the reader is strict. Those before it come first.
    """
    return _each(reply, stream, errors) if reply and type(reply[0][0]) is bytes else entries(reply)


def _each(reply: Any, stream: str, errors: Errors) -> Iterator[Entry]:
    for entry_id, parts in reply:
        raw: dict[Any, Any] = dict(parts or {})
        entry = Entry(EntryId.parse(text_of(entry_id)), raw)
        if errors == "bytes":
            yield entry
            continue
        how = "strict" if errors == "skip" else errors
        try:
            fields = {n.decode(errors=how): v.decode(errors=how) for n, v in raw.items()}
        except UnicodeDecodeError as error:
            if errors == "strict":
                raise _no_text(entry, stream) from error
            log.warning("%s: %s isn't text, so it is skipped", stream, entry.id)
        else:
            yield Entry(entry.id, fields)


def _no_text(entry: Entry, stream: str) -> NotTextError:
    error = NotTextError(
        f"The entry {entry.id} of {stream!r} holds bytes that aren't UTF-8 text: pass "
        "errors='bytes', 'replace' or 'skip', or start after it.",
        stream=stream,
    )
    error.entries = [entry]
    return error


def text_of(word: Any) -> Any:
    """Names and IDs in a reply as text, whatever it is made of; what is none shows as `\\xff`."""
    if isinstance(word, bytes):
        return word.decode(errors="backslashreplace")
    if isinstance(word, list | tuple):
        return [text_of(one) for one in word]
    if isinstance(word, dict):
        return {text_of(name): text_of(value) for name, value in word.items()}
    return word
