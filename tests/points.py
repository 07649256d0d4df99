"""How densely faults are tried: at every command on the first server, at some on the others.

What a fault does at a command is decided by the helpers, on the first server at each of them. The
others show that their replies are understood, at two commands of five. The second and the third
server are struck at different ones; the steps vary, for a loop may repeat two commands or three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

EVERY = frozenset(range(5))
SOME = (frozenset({0, 2}), frozenset({1, 4}))

_struck = EVERY  # of every five


def thin_out(number: int) -> None:
    """From now on only some points; the second server, number 0, has others than the third one."""
    global _struck
    _struck = SOME[number % len(SOME)]


def points(all_of_them: Iterable[int]) -> Iterator[int]:
    """The points at which to strike."""
    return (point for n, point in enumerate(all_of_them) if n % len(EVERY) in _struck)


def times(number: int) -> int:
    """How often to do something of which the first server is to see so much."""
    return max(1, number * len(_struck) // len(EVERY))


def call_of(script: str, number: int = 1) -> tuple[str, int]:
    """A call of a script, as a proxy is told at which command to strike.

    Where the server does not know the script yet, the first one only asks for it.
    """
    return f"EVALSHA {hashlib.sha1(script.encode()).hexdigest()}", number
