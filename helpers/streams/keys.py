"""Names of keys that belong together."""

from __future__ import annotations


def sibling_key(key: str, name: str) -> str:
    """The name of a key that belongs to another and lives in the same hash slot.

    Only for a key with a `}` and no hash tag, such as `a}b`, there is no such name.

    >>> sibling_key("chennai", "producers")
    '{chennai}:producers'
    """
    start = key.find("{")
    end = key.find("}", start + 1)
    tagged = start >= 0 and end > start + 1
    return f"{key}:{name}" if tagged else f"{{{key}}}:{name}"
