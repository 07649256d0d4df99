"""Work as a generator of steps, which decides and never sends, and two drivers that take the steps.

Each step is answered by what came of it. Where that is an error of redis-py, or a reply that is no
text, it is raised at the `yield`; where it may help, the next step then has another connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

import redis
import redis.asyncio

from .states import reconnect, reconnect_async

T = TypeVar("T")


class Run(NamedTuple):
    """Run a script on the server."""

    script: str
    keys: list[Any]
    args: list[Any]


class Wait(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


Send = Callable[[], Any]  # sends something, and gives the reply, or what to await for it
Step = Send | Run | Wait
Steps = Generator[Step, Any, T]


def drive(client: redis.Redis, steps: Steps[T]) -> T:
    """Take the steps, and return what they return."""
    answer: Any = None
    try:
        while True:
            step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
            try:
                match step:
                    case Run(script, keys, args):
                        answer = client.register_script(script)(keys, args)
                    case Wait(seconds):
                        time.sleep(seconds)
                        answer = None
                    case send:
                        answer = send()
            except (redis.RedisError, UnicodeDecodeError) as error:
                reconnect(client, error)
                answer = error
    except StopIteration as end:
        return end.value
    finally:
        steps.close()  # also after Ctrl-C, which the traceback would keep it open for


async def drive_async(client: redis.asyncio.Redis, steps: Steps[T]) -> T:
    """The same for asyncio."""
    answer: Any = None
    try:
        while True:
            step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
            try:
                match step:
                    case Run(script, keys, args):
                        answer = await client.register_script(script)(keys, args)
                    case Wait(seconds):
                        await asyncio.sleep(seconds)
                        answer = None
                    case send:
                        answer = await send()
            except (redis.RedisError, UnicodeDecodeError) as error:
                await reconnect_async(client, error)
                answer = error
    except StopIteration as end:
        return end.value
    finally:
        steps.close()
