"""What a Python value is on a stream: one table, for every producer and for every command.

    str                       itself, in UTF-8       bytes, bytearray, memoryview   unchanged
    int, float, Decimal       its digits             a scalar of NumPy              its .item()
    a member of an Enum       its value              date, time, aware datetime     ISO 8601
    UUID, path, EntryId       its one text

Names of fields go by the same table. Anything else is refused, because it has no text that all
readers would expect, or none that they could tell from another value's: bool, None, NaN, infinity,
a datetime without a time zone, lists and mappings, objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from .entry import EntryId
from .errors import ArgumentError, half_character

Word = str | bytes
MAX_FIELDS = 1000  # fields an entry: Lua cannot pass many more to one XADD


def words(fields: Any) -> list[Word]:
    """An entry's names and values in turn, as the server is sent them.

    Raises:
        ArgumentError: a sentence that names the field, and what to write instead.
    """
    mapping = type(fields) is dict or isinstance(fields, Mapping)
    if not mapping or not 0 < len(fields) <= MAX_FIELDS:
        raise ArgumentError(f"{shown(fields)} isn't an entry: pass a dict of 1 to 1000 fields.")
    found: list[Word] = []
    plain = True
    for name, value in fields.items():
        if type(name) is not str or not name.isascii():
            plain, name = False, word(name, "The field name")
        kind = type(value)
        if kind is int and -_SHORT < value < _SHORT:
            value = repr(value)  # as text: hiredis must not convert, see `connect`
        elif kind is not str or not value.isascii():
            value = word(value, f"The field {shown(name)}")
        found += (name, value)
    if not plain and len({_bytes(name) for name in found[::2]}) < len(fields):
        raise ArgumentError(
            f"Two field names of {shown(fields)} are the same when written as text."
        )
    return found


_SHORT = 10**18  # Python refuses to write numbers of more than some thousand digits


def word(value: Any, what: str = "The value") -> Word:
    """What a value is on the server.

    Args:
        value: any object.
        what: how the error names it.

    Raises:
        ArgumentError: it is in no row of the table.
    """
    if isinstance(value, Enum):
        return word(value.value, what)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return _utf8(str.__str__(value), what)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return word(_item(value, what), what)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return int.__repr__(value)
        except ValueError:
            raise _refused(value, what, "this number is too large to write: use hex(…)") from None
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value)
    if isinstance(value, Decimal) and value.is_finite():
        return Decimal.__str__(value)
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise _refused(value, what, "give it a time zone, for example datetime.now(UTC)")
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, UUID | PurePath | EntryId):
        return _utf8(str(value), what)
    raise _refused(value, what, _instead(value))


def shown(value: Any) -> str:
    """A value in an error, briefly."""
    try:
        return f"{value!r:.60}"
    except Exception:  # a __repr__ of the caller's
        return f"<{type(value).__name__}>"


def _utf8(text: str, what: str) -> Word:
    if text.isascii():
        return text
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise half_character(what, error) from None


def _bytes(word: Word) -> bytes:
    return word if isinstance(word, bytes) else word.encode()


def _item(value: Any, what: str) -> Any:
    """The Python object in a scalar of NumPy, or of a library that does as NumPy does."""
    if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M"):
        raise _refused(value, what, "make it a datetime with a time zone, or a number")
    if getattr(value, "mask", False):
        raise _refused(value, what, "leave out what is masked")
    item = value.item()
    if type(item) is type(value):  # longdouble, which no type of Python's can hold
        raise _refused(value, what, "convert it with float(…)")
    return item


def _instead(value: Any) -> str:
    if value is None:
        return "leave the field out, or write ''"
    if isinstance(value, bool):
        return "write 1 or 0, or a word"
    if isinstance(value, float | Decimal):
        return "leave the field out, or write a word"
    if isinstance(value, list | tuple | Mapping | set | frozenset):
        return "use json.dumps(…), or a field for each part"
    return "convert it to a string, for example with str(…)"


def _refused(value: Any, what: str, instead: str) -> ArgumentError:
    kind = type(value).__name__
    named = shown(value) if value is None or isinstance(value, bool | float) else f"of type {kind}"
    return ArgumentError(f"{what} is {named}, and values are text or numbers: {instead}.")
