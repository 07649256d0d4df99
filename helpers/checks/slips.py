"""Mistakes that Python or Redis report in words that do not help, and words that do."""

from __future__ import annotations

import re

from helpers.chaos import Failure

_SLIPS = (
    (
        "KeyError",
        r"lab\d\d:",
        "A stream without news is missing in XREAD's reply, which is then empty: "
        "`reply.get(stream, [])`.",
    ),
    (
        "DataError",
        "",
        "Something that is neither text nor a number went to Redis, such as None: a key that "
        "does not exist gives None.",
    ),
    ("ZeroDivisionError", "", "What if there are no entries at all?"),
    (
        "UnboundLocalError",
        "",
        "This name gets its value only inside a loop, which may run not even once: set it before.",
    ),
    (
        "ResponseError",
        "Invalid stream ID",
        "An ID is a text like `1526919030474-0`. A reply holds pairs of an ID and fields.",
    ),
    (
        "ResponseError",
        "NOGROUP",
        "There is no group of this name on this stream. `xreadgroup` takes the group, the "
        "consumer's name, and then the streams, in this order.",
    ),
    (
        "ResponseError",
        "meaningless in the context of XREADGROUP",
        "`$` is for XREAD. A group remembers its place, and XREADGROUP takes `>`: what nobody in "
        "the group was given yet.",
    ),
    (
        "ResponseError",
        "requires the key to exist|no such key",
        "There is no stream of this name. To make an empty one together with the group, there is "
        "MKSTREAM: `mkstream=True`.",
    ),
    (
        "RuntimeError",
        "running event loop",
        "The event loop runs already, in a notebook and in every coroutine: what you want "
        "from `asyncio.run`, `await` does.",
    ),
    ("Unpicklable", "coroutine", "An `await` is missing: what came back is a promise, no value."),
    ("RuntimeWarning", "never awaited", "An `await` is missing, so a command was never sent."),
    (
        "TypeError",
        "coroutine",
        "An `await` is missing: with `async def`, each method of the client has to be awaited.",
    ),
)


def advice(failure: Failure) -> str:
    """The sentence that fits an error of a learner's function."""
    for kind, pattern, sentence in _SLIPS:
        if failure.kind == kind and re.search(pattern, failure.message):
            return sentence
    return "Call your function in a cell of your own, with arguments of your own, to look closer."
