"""Mistakes that Python or Redis report in words that do not help, and words that do.

A sentence says what the error means, whatever led to it. What cannot be known from the error
is not guessed: then the verdict shows the learner's line and the exception, and that is all.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

import redis

import helpers
from helpers.chaos import Failure
from helpers.course import errors
from helpers.streams import errors as streams_errors

PLAIN = "Your function raised this exception, and the check ended there."


class Slip(NamedTuple):
    """An error, by its name and what is in its message, and what it means."""

    kind: str
    pattern: str
    sentence: str


_SLIPS = (
    Slip(
        "KeyError",
        r"lab\d\d:",
        "The dict has no such key. `xread` and `xreadgroup` leave out a stream that has nothing to "
        "give, so take `reply.get(stream, [])`.",
    ),
    Slip(
        "DataError",
        "Invalid input of type|must be str, int, float or bytes",
        "Redis takes strings, bytes and numbers, each as an argument of its own. A None is none of "
        "them, and `get` and `hget` give it where there is no such key or field.",
    ),
    Slip("UnboundLocalError", "", "This name was used before it got a value."),
    Slip(
        "ResponseError",
        "attempt to (compare|perform arithmetic)",
        "Lua does not compare or add what is no number. All of ARGV are strings: "
        "`tonumber(ARGV[1])`. What isn't there is `false` or `nil`.",
    ),
    Slip(
        "ResponseError",
        "Invalid stream ID",
        "An ID is a string like `1526919030474-0`. `(`, `-` and `+` are for ranges, `$` is for "
        "XREAD and `>` for XREADGROUP. An entry is a pair, of its ID and its fields.",
    ),
    Slip(
        "ResponseError",
        "NOGROUP",
        "There is no group of this name on this stream. `xreadgroup` takes the group, the "
        "consumer's name, and then the streams, in this order.",
    ),
    Slip(
        "ResponseError",
        "meaningless in the context of XREADGROUP",
        "`$` is for XREAD. A group remembers its place, and XREADGROUP takes `>`: what no consumer "
        "of the group was given yet.",
    ),
    Slip(
        "ResponseError",
        "requires the key to exist",
        "There is no stream of this name. To make an empty one together with the group, there is "
        "MKSTREAM: `mkstream=True`.",
    ),
    Slip(
        "ResponseError",
        "BUSYGROUP",
        "A group of this name exists on this stream, and XGROUP CREATE makes no second one.",
    ),
    *(
        Slip(
            kind,
            part,
            "What was awaited can't be. `gather` takes coroutines one by one: with a `*` in front, "
            "a list or a generator of them becomes its arguments.",
        )
        for kind, part in (
            ("RuntimeError", "Task got bad yield"),  # of a generator, up to Python 3.11
            ("TypeError", "An asyncio.Future, a coroutine or an awaitable is required"),
        )
    ),
    Slip(
        "ResponseError", "no such key", "There is no key of this name, and this command wants one."
    ),
    Slip("ResponseError", "WRONGTYPE", "The key holds another type than this command works on."),
    Slip(
        "RuntimeError",
        "running event loop",
        "The event loop runs already, in a notebook and in every coroutine: what you want "
        "from `asyncio.run`, `await` does.",
    ),
    Slip(
        "Unpicklable",
        "coroutine",
        "An `await` is missing: what came back is a promise, no value.",
    ),
    Slip(
        "RuntimeWarning",
        "never awaited",
        "An `await` is missing in front of a call, so what it should do was never done.",
    ),
    Slip(
        "TypeError",
        r"'(int|float)' and 'str'|'str' and '(int|float)'",
        "One of the two is a string and the other a number. The values that Redis gives back are "
        "strings, so make a number of them: `int(value)` or `float(value)`.",
    ),
    Slip(
        "TypeError",
        r"can only concatenate str \(not \"(int|float)",
        '`+` joins strings, and one of the two is a number. An f-string such as `f"({number}-0"` '
        "takes both; `int(value)` makes a number of a string.",
    ),
    Slip(
        "TypeError",
        "coroutine",
        "An `await` is missing: with `async def`, each method of the client has to be awaited.",
    ),
    Slip(
        "AttributeError",
        "'coroutine' object",
        "An `await` is missing: with `async def`, each method of the client has to be awaited. "
        "What is awaited stands in brackets before a dot: `(await redis.xread(…)).get(stream)`.",
    ),
    Slip(
        "TypeError",
        "can't be used in 'await'",
        "What stands behind this `await` is a plain value, so there is nothing to wait for.",
    ),
)


def advice(failure: Failure) -> str:
    """The sentence that fits an error of a learner's function."""
    for slip in _SLIPS:
        if failure.kind == slip.kind and re.search(slip.pattern, failure.message):
            return slip.sentence
    return _name_advice(failure) or PLAIN


def _name_advice(failure: Failure) -> str:
    """For a name that is not there, where to import it from."""
    hidden = re.search(r"'Redis' object has no attribute '(\w+)'", failure.message)
    if failure.kind == "AttributeError" and hidden and hasattr(redis, hidden[1]):
        return (
            "Inside your function `redis` is the client, which hides the module of that name: "
            f"`from redis import {hidden[1]}`."
        )
    missing = re.search(r"name '(\w+)' is not defined", failure.message)
    if failure.kind != "NameError" or not missing:
        return ""
    if missing[1] in sys.stdlib_module_names:
        return f"This module was not imported: `import {missing[1]}`."
    for module in (redis, helpers, streams_errors, errors):
        if missing[1] in dir(module) or missing[1] in getattr(module, "__all__", ()):
            return f"This name was not imported: `from {module.__name__} import {missing[1]}`."
    return "This name is defined nowhere: import it or define it, or look how it is spelt."
