"""Names of keys that belong together: what this package keeps beside a stream, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .errors import ArgumentError, half_character

CHECKPOINT = "reader:"  # a reader's checkpoint is this and the reader's name

# Beside a stream, or beside a checkpoint:
PRODUCERS = "producers"  # the last batch of each producer
KNOWN = "known"  # that there is a checkpoint
PARTS = "parts"  # in how many parts a stream is

# Beside a stream for each of its groups, behind the group's name:
NAMES = "names"  # which life of a consumer is the current one
FAILURES = "failures"  # what handlers raised
SWEEP = "sweep"  # there while no look at others' entries is due
DEAD = "dead"  # the dead letters
STATE = "state"  # of a part: whose it is, and how far that group has come in it
LEASE = "lease"  # of a part, while its worker is alive
WORKERS = "workers"  # of a stream in parts: those that are alive

BESIDE = (PRODUCERS, KNOWN, PARTS)
BESIDE_FOR_A_GROUP = (NAMES, FAILURES, SWEEP, DEAD, STATE, LEASE, WORKERS)


def expect_name(what: str, name: Any) -> str:
    """A name that can be sent, as plain text.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"A {what} needs a name, such as 'chennai', not {name!r}.")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise half_character(f"The name of a {what}", error) from None
    return str.__str__(name)


def sibling_key(key: str, name: str) -> str:
    """The name of a key that belongs to another and lives in the same hash slot.

    Only for a key with a `}` and no hash tag, such as `a}b`, there is no such name.

    >>> sibling_key("chennai", "producers")
    '{chennai}:producers'
    """
    return f"{key}:{name}" if hash_tag(key) != key else f"{{{key}}}:{name}"


def hash_tag(key: str) -> str:
    """The part of a key that its hash slot is computed from.

    >>> hash_tag("{chennai}:producers"), hash_tag("chennai")
    ('chennai', 'chennai')
    """
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


def group_key(stream: str, group: str, kind: str) -> str:
    """The name of a key that is kept beside a stream for one of its groups.

    >>> group_key("chennai", "averages", DEAD)
    '{chennai}:averages:dead'
    """
    return sibling_key(stream, f"{group}:{kind}")


def notes_of(stream: str, group: str) -> list[str]:
    """Where the consumers of a group keep their notes: names, failures, sweep."""
    return [group_key(stream, group, kind) for kind in (NAMES, FAILURES, SWEEP)]


def owners(key: str, kinds: tuple[str, ...], group_kinds: tuple[str, ...]) -> Iterator[str]:
    """The keys beside which another one may be kept, by its name: mostly none, or one.

    >>> list(owners("{chennai}:averages:dead", BESIDE, BESIDE_FOR_A_GROUP))
    ['chennai', '{chennai}']
    """
    for at in (place for place, character in enumerate(key) if character == ":"):
        head, name = key[:at], key[at + 1 :]
        group, _, kind = name.rpartition(":")
        if name in kinds or (group and kind in group_kinds):
            yield from (one for one in (head[1:-1], head) if sibling_key(one, name) == key)
