"""The other side of `Running`: run a function in a process of its own.

Reads the function and its arguments from standard input, and writes to a file descriptor: one
byte when the function is about to run, then its outcome.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import pickle
import sys
import traceback
import warnings
from typing import Any, NoReturn

import cloudpickle

from helpers.chaos.outcome import Client, Failure, Returned
from helpers.course.connect import connect, connect_async


def work(number: int) -> NoReturn:
    """Run what standard input holds, report to this file descriptor, and end the process."""
    with os.fdopen(number, "wb") as report:
        function, arguments = pickle.load(sys.stdin.buffer)
        failed = False
        try:
            ready = _with_client(function, arguments)
            report.write(b"R")
            report.flush()
            outcome = _attentively(function, ready)
            packed = _packed(outcome)
        except BaseException as error:
            failed = True
            traceback.print_exception(error)
            packed = cloudpickle.dumps(_failure(error))
        report.write(packed)
        report.flush()
    sys.stdout.flush()
    os._exit(failed)  # threads and tasks that the function left behind do not matter


def _with_client(function: Any, arguments: tuple[Any, ...]) -> list[Any]:
    if not any(isinstance(one, Client) for one in arguments):
        return list(arguments)
    client = connect_async() if inspect.iscoroutinefunction(function) else connect()
    return [client if isinstance(one, Client) else one for one in arguments]


def _attentively(function: Any, arguments: list[Any]) -> Returned | Failure:
    """Run the function, and notice a coroutine that nobody awaited."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        value = _run(function, arguments)
        gc.collect()
    for warning in seen:
        if "never awaited" in str(warning.message):
            return Failure("RuntimeWarning", str(warning.message), warning.filename, warning.lineno)
    return Returned(value)


def _packed(outcome: Returned | Failure) -> bytes:
    try:
        return bytes(cloudpickle.dumps(outcome))
    except Exception as error:  # whatever a foreign object's own pickling raises
        return bytes(cloudpickle.dumps(Failure("Unpicklable", str(error), "", 0)))


def _run(function: Any, arguments: list[Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return asyncio.run(function(*arguments))
    result = function(*arguments)
    return list(result) if inspect.isgenerator(result) else result


def _failure(error: BaseException) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename
           and f"{os.sep}helpers{os.sep}" not in frame.filename
           and f"lib{os.sep}python" not in frame.filename]  # fmt: skip
    place = (own[-1].filename, own[-1].lineno or 0) if own else ("", 0)
    return Failure(type(error).__name__, str(error), *place)
