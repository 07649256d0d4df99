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

GATHER = (
    "You can't await this object. `gather` takes coroutines as separate arguments: put a "
    "`*` in front of a list or a generator of them."
)
PLAIN = "Your function raised this exception, so the check stopped there."


class Slip(NamedTuple):
    """An error, by its name, what is in its message and in the learner's line; what it means."""

    kind: str
    pattern: str
    sentence: str
    line: str = ""


_SLIPS = (
    Slip(
        "",
        "",
        "Your own `raise` ended your function here: look at when it does.",
        line=r"^raise\s+\w",
    ),
    Slip(
        "KeyError",
        r"^-?\d$",
        "This is a dict, and it has no key {0}. The reply of `xread` and `xreadgroup` is a dict: "
        "`reply[stream]` is the list of a stream's entries.",
        line=r"xread|reply|\[stream\]",
    ),
    Slip(
        "KeyError",
        r"^0$",
        "This is a dict, which has no key 0. `xread` and `xreadgroup` return one here, by the "
        "names of the streams: `reply.get(stream, [])`.",
    ),
    Slip(
        "KeyError",
        r"lab\d\d:",
        "The dict has no such key. `xread` and `xreadgroup` leave out a stream that has no "
        "entries to return, so use `reply.get(stream, [])`.",
    ),
    Slip(
        "DataError",
        "Invalid input of type|must be str, int, float or bytes",
        "Redis takes strings, bytes and numbers, each as a separate argument. None isn't one "
        "of them; `get` and `hget` return it if there is no such key or field. Neither is a pair, "
        "a list, a dict (`hset` takes one as `mapping=`), a datetime, or an `EntryId`: "
        "`str(entry_id)` makes a string of an ID.",
    ),
    Slip("UnboundLocalError", "", "This name is used before it has a value."),
    Slip(
        "ResponseError",
        "attempt to (compare|perform arithmetic)",
        "Lua compares and adds only numbers. All items of ARGV are strings: "
        "`tonumber(ARGV[1])`. A value that doesn't exist is `false` or `nil`.",
    ),
    Slip(
        "ResponseError",
        "Invalid stream ID",
        "The braces were sent as they are: put an `f` in front of the string, and Python puts "
        "the value in their place.",
        line=r"(?<![fFrR])([\"'])[^\"'{]*\{\w[^\"']*\1",
    ),
    Slip(
        "ResponseError",
        "Invalid stream ID",
        "`(` stands alone in front of an ID: leave out the `)` after it.",
        line=r"\([^\"'()]*(\{[^\"'{}]*\}[^\"'()]*)*\)[\"']",
    ),
    Slip(
        "ResponseError",
        "Invalid stream ID",
        "An ID is a string like `1526919030474-0`. `(`, `-` and `+` are for ranges, `$` is for "
        "XREAD and `>` for XREADGROUP. An entry is a pair: its ID and its fields.",
    ),
    Slip(
        "ResponseError",
        r"NOGROUP No such key '(.+?)' or consumer group '\1'",
        "The stream and the group that you named are the same. In `{stream: '>'}` the key is the "
        "stream; the group comes first of all, before the consumer's name.",
    ),
    Slip(
        "ResponseError",
        "NOGROUP.* script: ",
        "In this script, a stream has no group with this name. Check the order of KEYS and ARGV: "
        "which is the stream, and which the group?",
    ),
    Slip(
        "ResponseError",
        "NOGROUP",
        "This stream has no group with this name. `xreadgroup` takes the group, the consumer's "
        "name, and then the streams, in this order.",
    ),
    Slip(
        "ResponseError",
        "meaningless in the context of XREADGROUP",
        "`$` is for XREAD. A group remembers its place, and XREADGROUP takes `>`: what the "
        "group hasn't delivered to any consumer yet.",
    ),
    Slip(
        "ResponseError",
        "requires the key to exist",
        "There is no stream with this name. To create an empty one together with the group, "
        "use MKSTREAM: `mkstream=True`.",
    ),
    Slip(
        "ResponseError",
        "BUSYGROUP",
        "This stream already has a group with this name, and XGROUP CREATE doesn't create a "
        "second one.",
    ),
    *(
        Slip(
            kind,
            part,
            GATHER,
        )
        for kind, part in (
            ("RuntimeError", "Task got bad yield"),  # of a generator, up to Python 3.11
            ("TypeError", "An asyncio.Future, a coroutine or an awaitable is required"),
        )
    ),
    Slip(
        "ResponseError",
        "no such key",
        "There is no key with this name, and this command needs one.",
    ),
    Slip(
        "ResponseError",
        "WRONGTYPE",
        "The key holds a different type from the one that this command works on.",
    ),
    *(
        Slip(
            kind,
            part,
            "One command reaches one hash slot. Keys that are used together need the same part in "
            "braces, such as `{chennai}:totals`; streams in other slots are read one by one.",
        )
        for kind, part in (
            ("ClusterCrossSlotError", ""),  # the server's
            ("RedisClusterException", "same key slot"),  # of redis-py, before it sends
        )
    ),
    Slip(
        "MovedError",
        "",
        "This client speaks to one node, and the key's slot is on another one. A key that belongs "
        "beside the stream `weather:{3}` begins with that name, as it is: with braces around it, "
        "another tag is hashed.",
    ),
    Slip(
        "WatchError",
        "",
        "A key that was watched was changed before EXEC, so the server has executed none of the "
        "transaction: catch this error, and look again at what had changed.",
    ),
    Slip(
        "RuntimeError",
        "running event loop",
        "The event loop is already running, in a notebook and in every coroutine: use `await` "
        "instead of `asyncio.run`.",
    ),
    Slip(
        "Unpicklable",
        r"_thread\.|socket|[Pp]ipeline|Redis",
        "Your function returned a client or a pipeline, and not a value. A pipeline sends its "
        "commands when you call `execute()`, which returns their replies.",
    ),
    Slip(
        "Unpicklable",
        "coroutine",
        "An `await` is missing: your function returned a coroutine, not a value.",
    ),
    Slip(
        "RuntimeWarning",
        "never awaited",
        "An `await` is missing in front of a call, so the call never ran.",
    ),
    Slip(
        "TypeError",
        r"'(int|float)' and 'str'|'str' and '(int|float)'",
        "One of the two is a string and the other a number. The values that Redis returns are "
        "strings, so turn them into numbers: `int(value)` or `float(value)`.",
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
        "An `await` is missing: with `async def`, you have to await each method of the client. "
        "Put the awaited call in parentheses before a dot: `(await "
        "redis.xread(…)).get(stream)`.",
    ),
    Slip(
        "TypeError",
        "can't be used in 'await'",
        "The value after this `await` isn't awaitable, so leave out the `await`.",
    ),
)


def advice(failure: Failure) -> str:
    """The sentence that fits an error of a learner's function."""
    for slip in _SLIPS:
        said = re.search(slip.pattern, failure.message)
        if slip.kind in ("", failure.kind) and said and re.search(slip.line, failure.source):
            return slip.sentence.replace("{0}", said[0])
    if "gather(" in failure.source and "unhashable type: 'list'" in failure.message:
        return GATHER
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
    if missing[1] in ("UTC", "date", "datetime", "timedelta", "timezone"):  # not the module
        return f"This name was not imported: `from datetime import {missing[1]}`."
    if missing[1] in sys.stdlib_module_names or missing[1] == "redis":
        return f"This module was not imported: `import {missing[1]}`."
    for module in (redis, redis.exceptions, helpers, streams_errors, errors):
        if missing[1] in dir(module) or missing[1] in getattr(module, "__all__", ()):
            return f"This name was not imported: `from {module.__name__} import {missing[1]}`."
    return "This name isn't defined: import it, define it, or check its spelling."
