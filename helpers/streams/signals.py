"""Let Ctrl-C and SIGTERM ask for an orderly end, instead of breaking off what is under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stopping(stop: Callable[[], None], *, wanted: bool = True) -> Iterator[None]:
    """Inside the block, SIGINT and SIGTERM call `stop`; the second one raises KeyboardInterrupt.

    Python hears signals in its main thread only: in another one this does nothing.
    """
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = 0

    def hear(*_: Any) -> None:
        nonlocal heard
        heard += 1
        if heard > 1:
            raise KeyboardInterrupt
        stop()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
