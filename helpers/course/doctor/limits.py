"""Memory, file handles and processes: what this machine, container or session allows."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.course.doctor.finding import Finding, warning

MB = 1024 * 1024
MEMORY = 400 * MB  # a kernel and its workers take 170, a server 30, and JupyterLab the rest
FILES = 320  # lesson 08 opens 288 at once
JUPYTER_RAISES_TO = 4096  # JupyterLab raises its own soft limit so far, where the hard one allows
PROCESSES = 64  # with threads: a kernel and its workers have 25, and JupyterLab has some
ADDRESSES = 1536 * MB  # the kernel of lesson 08 reserves 1,432, mostly for threads
FILE_SIZE = 200 * MB
CGROUPS = (  # version 2, and 1: what is allowed, what is used
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


@dataclass(frozen=True)
class Limits:
    """What is left; None where there is no limit."""

    memory: int
    container: int | None  # the memory that the container has left
    files: int | None
    processes: int | None
    file_size: int | None
    addresses: int | None = None  # bytes that a program may reserve


def look() -> Limits:
    """Ask the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = JUPYTER_RAISES_TO if hard == resource.RLIM_INFINITY else min(hard, JUPYTER_RAISES_TO)
    return Limits(
        memory=psutil.virtual_memory().available,
        container=_left_in_the_container(),
        files=None if soft == resource.RLIM_INFINITY else max(soft, most),
        processes=_processes_left(),
        file_size=_finite(resource.getrlimit(resource.RLIMIT_FSIZE)[0]),
        addresses=_finite(resource.getrlimit(resource.RLIMIT_AS)[0]),
    )


def findings(limits: Limits) -> Iterator[Finding]:
    """What is too little."""
    if limits.container is not None and limits.container < MEMORY:
        yield warning(
            "memory",
            f"This container may use {limits.container // MB} MB of memory more, and the course "
            f"with JupyterLab takes some {MEMORY // MB}: give it a higher limit.",
        )
    elif limits.memory < MEMORY:
        yield warning(
            "memory",
            f"{limits.memory // MB} MB of memory are free, and the course with JupyterLab takes "
            f"some {MEMORY // MB}: close other programs.",
        )
    if limits.files is not None and limits.files < FILES:
        yield warning(
            "files",
            f"A program may open {limits.files} files here, and lessons with many connections need "
            f"{FILES}: raise the limit that `ulimit -Hn` shows.",
        )
    if limits.processes is not None and limits.processes < PROCESSES:
        yield warning(
            "processes",
            f"You may start {max(limits.processes, 0)} more processes and threads, and the "
            f"lessons need up to {PROCESSES}: end other programs, or raise the limit that `ulimit "
            "-u` shows.",
        )
    if limits.file_size is not None and limits.file_size < FILE_SIZE:
        yield warning(
            "files",
            f"A file may have {limits.file_size // 1024:,} KB here, and the server's data may grow "
            "larger: raise the limit that `ulimit -f` shows.",
        )

    if limits.addresses is not None and limits.addresses < ADDRESSES:
        yield warning(
            "memory",
            f"A program may reserve {limits.addresses // MB} MB here, and a kernel with its "
            f"threads needs up to {ADDRESSES // MB}: raise the limit that `ulimit -v` shows.",
        )


def _left_in_the_container() -> int | None:
    for most, used in CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            limit = int(Path(most).read_text())
            if limit < psutil.virtual_memory().total:
                return limit - int(Path(used).read_text())
    return None


def _processes_left() -> int | None:
    if os.geteuid() == 0 or not hasattr(resource, "RLIMIT_NPROC"):
        return None  # it does not bind root
    most = _finite(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    if most is None:
        return None
    used, me = 0, os.getuid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == me:
                used += process.num_threads()
    return most - used


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit
