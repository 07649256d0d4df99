"""A kernel, started in `notebooks/` as JupyterLab would, and asked where its modules come from."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.course.home import CHECKOUT
from helpers.course.lab.environment import instead
from helpers.course.pace import patient

NAME = "python3"  # what the notebooks ask for
NOTEBOOKS = CHECKOUT / "notebooks"
LIMIT_S = patient(20)
_MATTER = ("HOME", "IPYTHON", "JUPYTER", "LD_", "PATH", "PYTHON", "TMPDIR", "XDG_")
_asked_before: dict[tuple[object, ...], Answer] = {}
_MARK = "the kernel says "


@dataclass(frozen=True)
class Answer:
    """What a kernel said, or why it said nothing."""

    argv: tuple[str, ...] = ()
    silent: str = ""  # why there is no answer
    executable: str = ""
    version: str = ""
    prefix: str = ""
    folder: str = ""
    path: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    customs: tuple[str, ...] = ()


def ask(environment: Mapping[str, str], names: Sequence[str]) -> Answer:
    """Start a kernel, ask it, and end it: about a second, so once for an environment."""
    matter = (NOTEBOOKS, *sorted(one for one in environment.items() if one[0].startswith(_MATTER)))
    if matter not in _asked_before:
        _asked_before[matter] = _ask(environment, names)
    return _asked_before[matter]


def _ask(environment: Mapping[str, str], names: Sequence[str]) -> Answer:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    for name in ("traitlets", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with instead(environment), tempfile.TemporaryFile("w+") as said:
        try:
            manager = KernelManager(kernel_name=NAME, kernel_spec_manager=KernelSpecManager())
            argv = tuple(manager.kernel_spec.argv) if manager.kernel_spec else ()
            manager.start_kernel(
                cwd=str(NOTEBOOKS), env=dict(environment), stdout=said, stderr=said, stdin=None
            )
        except Exception as error:  # whatever the kernel's own program does
            return Answer(silent=f"{type(error).__name__}: {error}")
        try:
            return _asked(manager, argv, names)
        except Exception as error:
            said.seek(0)
            return Answer(argv=argv, silent=_last_line(said.read()) or str(error))
        finally:
            manager.shutdown_kernel(now=True)


def _asked(manager: Any, argv: tuple[str, ...], names: Sequence[str]) -> Answer:
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=LIMIT_S)
        source = Path(__file__).with_name("asked.py").read_text()
        printed = f"print({_MARK!r} + __import__('json').dumps(answer({list(names)!r})))"
        client.execute(f"{source}\n{printed}", store_history=False)
        while True:
            message = client.get_iopub_msg(timeout=LIMIT_S)
            content = message["content"]
            if message["msg_type"] == "error":
                raise RuntimeError(f"{content['ename']}: {content['evalue']}")
            text = content.get("text", "") if message["msg_type"] == "stream" else ""
            if _MARK in text:
                told = json.loads(text.partition(_MARK)[2].splitlines()[0])
                told |= {name: tuple(told[name]) for name in ("path", "customs")}
                return Answer(argv=argv, **told)
    except queue.Empty:
        raise RuntimeError(f"it did not answer within {LIMIT_S:.0f} s") from None
    finally:
        with contextlib.suppress(Exception):
            client.stop_channels()


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and " WARNING " not in line]
    return lines[-1].strip() if lines else ""
