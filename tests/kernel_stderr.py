"""A cell of a notebook fails if its kernel prints anything to stderr, whatever its tags excuse.

nbval compares what a cell prints to `sys.stderr`, but not for a cell whose output it ignores. What
a child process prints it never sees: ipykernel does not capture file descriptors under pytest. A
learner sees both, in red. The traceback of a cell that raises does not come by stderr.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import pytest
from nbval import kernel, plugin

TRIES = 3
_start = kernel.start_new_kernel


class Kernel(plugin.RunningKernel):  # type: ignore[misc]
    """A kernel that captures what JupyterLab's does, and keeps what came by stderr."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.stderr: list[str] = []
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("PYTEST_CURRENT_TEST", raising=False)
            super().__init__(*arguments, **options)

    def get_message(self, stream: str, timeout: float | None = None) -> Any:
        """The next message, also one of an earlier cell, which nbval leaves out."""
        message = super().get_message(stream, timeout)
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stderr":
            self.stderr.append(content["text"])
        return message


def start(*arguments: Any, **options: Any) -> Any:
    """Start a kernel. Another program may take a port between its choice and its use: try again."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(RuntimeError):
            return _start(*arguments, **options)
    return _start(*arguments, **options)


def pytest_configure() -> None:
    plugin.RunningKernel = Kernel
    kernel.start_new_kernel = start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: Any) -> Generator[None, object, object]:
    if not isinstance(item, plugin.IPyNbCell):
        return (yield)
    running = item.parent.kernel
    try:
        found = yield
    finally:
        printed, running.stderr = "".join(running.stderr), []
    if printed:
        item.raise_cell_error("This cell, or one before it, prints to stderr:", printed)
    return found
