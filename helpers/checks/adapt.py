"""A learner's function as a check runs it: whatever its style, what it gives is plain values."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterator, KeysView, Mapping, Set, ValuesView
from decimal import Decimal
from numbers import Integral, Real
from textwrap import dedent
from typing import Any

import redis

from helpers.course.connect import connect_async


def adapted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the same arguments, `async def` where the learner's has to be awaited.

    A generator may stand for a list, an object with `__call__` for a function, and a plain
    function may return a coroutine. What comes back is made of lists, dicts, strings, numbers.
    """
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004

    if inspect.isasyncgenfunction(call):

        async def collect(*arguments: Any) -> Any:
            return [plain(one) async for one in function(*arguments)]

        return collect

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):

        async def run_async(*arguments: Any) -> Any:
            return plain(await function(*arguments))

        return run_async

    def run(*arguments: Any) -> Any:
        value = function(*arguments)
        if inspect.iscoroutine(value):
            value.close()  # it was given a client that cannot be awaited
            return asyncio.run(_again(function, arguments))
        return plain(value)

    return run


async def _again(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a plain function that returns a coroutine, with a client for asyncio."""
    async with connect_async() as client:
        given = [client if isinstance(one, redis.Redis) else one for one in arguments]
        return plain(await function(*given))


def returns(function: Any) -> bool:
    """Whether a function may give a value back, by a `return` or `yield` in its own source.

    It says so of what has no source to look at, too.
    """
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        waiting: list[ast.AST] = [*ast.parse(dedent(inspect.getsource(call))).body]
    except (OSError, TypeError, SyntaxError):
        return True
    if not isinstance(waiting[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return True  # a lambda
    waiting = [*waiting[0].body]
    while waiting:
        match waiting.pop():
            case ast.Return(value=ast.expr()) | ast.Yield() | ast.YieldFrom():
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                pass  # what it returns is its own
            case node:
                waiting += ast.iter_child_nodes(node)
    return False


def plain(value: Any) -> Any:
    """A value as the checks compare it: a string for bytes, a list for what gives one by one.

    >>> plain({b"n": (b"1", map(str, [2]))})
    {'n': ('1', ['2'])}
    """
    match value:
        case bytes() | bytearray():
            return value.decode(errors="replace")
        case bool() | str() | None:
            return value
        case Integral():
            return int(value)
        case Real() | Decimal():
            return float(value)
        case Mapping():
            return {plain(key): plain(one) for key, one in value.items()}
        case Iterator() | KeysView() | ValuesView() | range() | deque():
            return [plain(one) for one in value]
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(plain(one) for one in value)
        case Set():
            return {plain(one) for one in value}
    return value
