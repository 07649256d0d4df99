"""Effect and acknowledgement in one step: what a handler asks for happens exactly once.

An entry may be delivered twice: its consumer died after the work and before XACK, or was only
paused while another one claimed its entries. What is written to Redis can be exact all the
same. The handler does not write; it returns the commands, its effect. A script on the server
runs them and acknowledges the entry in one step, and only if the entry is still pending. A
second delivery finds that it is not, and changes nothing.

What each way of working promises:

* XACK before the work: at most once. A crash in between loses the entry.
* the work, then XACK: at least once. A crash in between repeats it.
* MULTI with the work and XACK: exact when consumers die, but a consumer that was paused and
  comes back repeats work that another one has done meanwhile: MULTI does not ask.
* the step here: exact, inside this Redis. No script reaches outside of it: a mail is sent, or
  a row is written elsewhere, at least once. There, use the entry's ID as idempotency key.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import HandlerError
from ..values import word

Value = str | int | float
Command = tuple[Value, ...]  # such as ("HINCRBY", "totals", "chennai", 1)


class Done(NamedTuple):
    """A handled entry, the number of its delivery, and its effect, yet to be applied."""

    id: str
    number: int
    effect: tuple[Command, ...]


_PLAIN = {int, str}  # all else goes by the table in `values`
PORTION = 1000  # entries a step: while a script runs, the server hears nobody else
SMALL = 250_000  # characters: less than any server can be told to refuse, a MiB of UTF-8
MOST_WORDS = 7000  # of one command: Lua can hand on some 8,000 at once


def effect_of(answer: Any) -> tuple[Command, ...]:
    """The commands in what a handler returned: None, one command, or a list of them.

    The first argument of each command is its key, and the only one.

    Raises:
        HandlerError: it is anything else.
        ValueError: a command that no server could take, because of the entry's data.
    """
    if answer is None:
        return ()
    commands = answer if isinstance(answer, list) else [answer]
    for command in commands:
        if not _is_command(command):
            raise HandlerError(
                f"A handler returned {_shown(answer)}: return None, or commands to be run with "
                "the acknowledgement, such as ('HINCRBY', 'totals', 'chennai', 1)."
            )
        if len(command) > MOST_WORDS:
            raise ValueError(f"a command of {len(command):,} words is too long: divide it")
    return tuple(commands)


def encode(done: Sequence[str], effects: Sequence[Done]) -> tuple[list[Value], list[Value]]:
    """SETTLE's further keys and arguments for entries without an effect, and for those with one."""
    keys: dict[Value, None] = {}
    arguments: list[Any] = [len(done), *done]
    for entry_id, _, effect in effects:
        arguments += (entry_id, len(effect))
        for command in effect:
            keys[command[1]] = None
            plain = _PLAIN.issuperset(map(type, command))
            arguments += (len(command), *(command if plain else map(word, command)))
    return list(keys), arguments


def may_be_too_large(effects: Sequence[Done]) -> bool:
    """Whether a server may refuse so much at once."""
    left = SMALL
    for done in effects:
        for command in done.effect:
            left -= sum(len(one) for one in command if isinstance(one, str))
    return left < 0


def _is_command(answer: Any) -> bool:
    """Whether it is one; a text in it that cannot be sent is a UnicodeEncodeError."""
    if not isinstance(answer, tuple) or len(answer) < 2 or not isinstance(answer[0], str):
        return False
    for one in answer:
        if type(one) is int:
            if one.bit_length() > 64:
                str(one)  # of more digits than Python writes, it is a ValueError
            continue
        if isinstance(one, str):
            if not one.isascii():
                one.encode()
        elif not isinstance(one, (int, float)) or isinstance(one, bool):
            return False
        else:
            word(one)  # NaN, say, is a ValueError
    return True


def _shown(answer: Any) -> str:
    """What a handler returned, briefly."""
    if inspect.iscoroutine(answer):
        answer.close()
        return "a coroutine, which only AsyncConsumer awaits"
    return f"{answer!r:.60}"
