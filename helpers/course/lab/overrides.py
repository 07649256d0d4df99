"""What JupyterLab is told so that a learner's settings do not break the course, and why.

Each rule names settings that do. All others hold.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from helpers.course.home import CHECKOUT
from helpers.course.lab.configuration import Configuration, Setting

APPLICATION = Path(sys.prefix, "share", "jupyter", "lab")


class Override(NamedTuple):
    """What JupyterLab is told on its command line, and why, in a sentence."""

    flag: str
    why: str


_SERVER = "ServerApp."
_CONTENTS = (
    "AsyncLargeFileManager", "LargeFileManager", "AsyncFileContentsManager", "FileContentsManager",
    "ContentsManager",
)  # fmt: skip
_CLASSES = {
    "contents_manager_class": "jupyter_server.services.contents.largefilemanager."
    "AsyncLargeFileManager",
    "kernel_spec_manager_class": "jupyter_client.kernelspec.KernelSpecManager",
    "kernel_manager_class": "jupyter_server.services.kernels.kernelmanager."
    "AsyncMappingKernelManager",
    "session_manager_class": "jupyter_server.services.sessions.sessionmanager.SessionManager",
    "config_manager_class": "jupyter_server.services.config.manager.ConfigManager",
}
_ELSEWHERE = ("contents_manager_class", "kernel_spec_manager_class", "kernel_manager_class")
_KERNEL_IP = ("KernelManager", "AsyncKernelManager", "ServerKernelManager", "ConnectionFileMixin")


def overrides(config: Configuration, given: Sequence[str] = ()) -> list[Override]:
    """What JupyterLab has to be told so that a learner's settings do not break the course.

    Args:
        given: the options that the learner typed; what they name is theirs.
    """
    rules = [rule for rule in _RULES if rule is not _folders or not names_a_root(given)]
    found = [one for rule in rules for one in rule(config.settings)]
    return [one for one in found if not any(_name(word) == _name(one.flag) for word in given)]


def names_a_root(given: Sequence[str]) -> bool:
    """Whether the options that a learner typed name the folder that JupyterLab shows."""
    roots = ("--ServerApp.root_dir", "--notebook-dir", "--ServerApp.notebook_dir")
    return any(one.startswith(roots) for one in given)


def token_beside_a_password(
    config: Configuration, environment: Mapping[str, str]
) -> dict[str, str]:
    """A token for this start alone, where a password is set: the browser opens without asking."""
    passwords = ("PasswordIdentityProvider.hashed_password", "ServerApp.password")
    tokens = ("IdentityProvider.token", "PasswordIdentityProvider.token", "ServerApp.token")
    if not any(name in config.settings and config.settings[name].value for name in passwords):
        return {}
    if "JUPYTER_TOKEN" in environment or any(name in config.settings for name in tokens):
        return {}
    return {"JUPYTER_TOKEN": secrets.token_hex(24)}


def _name(flag: str) -> str:
    return flag.partition("=")[0]


def _because(setting: Setting, why: str) -> str:
    return f"{setting.name} = {setting.value!r} of {setting.file} is left out: {why}."


def _folders(settings: Mapping[str, Setting]) -> Iterator[Override]:
    for trait, why in (("root_dir", "the course's notebooks are not in it"),
                       ("preferred_dir", "it isn't a folder of the course")):  # fmt: skip
        for section in _CONTENTS:
            if one := settings.get(f"{section}.{trait}"):
                to = str(CHECKOUT) if trait == "root_dir" else ""
                yield Override(f"--{_CONTENTS[0]}.{trait}={to}", _because(one, why))
                break
    if one := settings.get("ServerApp.preferred_dir"):
        why = "it isn't a folder of the course"
        yield Override(f"--ServerApp.preferred_dir={CHECKOUT}", _because(one, why))


def _classes(settings: Mapping[str, Setting]) -> Iterator[Override]:
    for trait, usual in _CLASSES.items():
        one = settings.get(_SERVER + trait)
        if one and one.value != usual:
            if not importable(one.value):
                why = "it cannot be imported here"
            elif trait in _ELSEWHERE:
                why = "the course's notebooks and kernels are on this machine"
            else:
                continue
            yield Override(f"--{_SERVER}{trait}={usual}", _because(one, why))


def importable(named: Any) -> bool:
    """Whether a class, or its name with dots, can be imported."""
    if not isinstance(named, str):
        return True
    module, _, name = named.rpartition(".")
    try:
        return hasattr(import_module(module), name)
    except Exception:  # whatever its module raises
        return False


def _kernels(settings: Mapping[str, Setting]) -> Iterator[Override]:
    for trait in ("allowed_kernelspecs", "whitelist"):
        one = settings.get(f"KernelSpecManager.{trait}")
        if one and one.value and "python3" not in one.value:
            why = "the course's kernel python3 is not among them"
            for name in sorted({*map(str, one.value), "python3"}):
                flag = f"--KernelSpecManager.allowed_kernelspecs={name}"
                yield Override(flag, _because(one, why))
    for section in _KERNEL_IP:
        one = settings.get(f"{section}.ip")
        if one and not can_listen(one.value):
            why = "this machine does not have that address"
            yield Override("--ServerKernelManager.ip=127.0.0.1", _because(one, why))
            break


def _address(settings: Mapping[str, Setting]) -> Iterator[Override]:
    one = settings.get("ServerApp.ip")
    there = "localhost" if can_listen("localhost") else "127.0.0.1"
    if one and not can_listen(one.value):
        why = "this machine does not have that address"
        yield Override(f"--ServerApp.ip={there}", _because(one, why))
    elif one is None and there != "localhost":
        why = "JupyterLab is at 127.0.0.1, since nothing can listen where the name localhost leads."
        yield Override(f"--ServerApp.ip={there}", why)
    one = settings.get("ServerApp.local_hostnames")
    if one and "localhost" not in one.value:
        names = [*map(str, one.value), "localhost"]
        why = "JupyterLab would refuse its own page at localhost"
        yield from (Override(f"--ServerApp.local_hostnames={n}", _because(one, why)) for n in names)


def can_listen(host: object) -> bool:
    """Whether this machine has an address."""
    if host in ("", "*", None):
        return True
    with contextlib.suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(
            str(host), 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as trial:
                trial.bind(address)
                return True
    return False


_SHOWN = ("notebooks", "labs", "00_start_here.ipynb")
_NO_FILE: Callable[[Any], bool] = lambda value: bool(value) and not os.path.isfile(value)  # noqa: E731
_NO_FOLDER: Callable[[Any], bool] = lambda value: bool(value) and not os.path.isdir(value)  # noqa: E731
_SET: Callable[[Any], bool] = bool
_SIMPLE: tuple[tuple[str, str, Callable[[Any], bool], str], ...] = (
    ("ServerApp.port_retries", "50", lambda value: not value, "a port that is taken would end it"),
    ("ServerApp.certfile", "", _NO_FILE, "there is no such file"),
    ("ServerApp.keyfile", "", _NO_FILE, "there is no such file"),
    ("ServerApp.client_ca", "", _NO_FILE, "there is no such file"),
    ("ServerApp.sock", "", _SET, "a browser cannot open a socket"),
    ("ServerApp.file_to_run", "", _SET, "it would be opened in place of lesson 00"),
    ("ServerApp.custom_display_url", "", _SET, "it isn't where the course's JupyterLab is"),
    ("GatewayClient.url", "", _SET, "the cells would run on another machine"),
    ("LabApp.app_dir", str(APPLICATION), _SET, "it has another JupyterLab's pages"),
    *((f"LabApp.{name}_dir", str(APPLICATION / folder), _NO_FOLDER, "there is no such folder")
      for name, folder in (("templates", "static"), ("static", "static"), ("schemas", "schemas"),
                           ("themes", "themes"))),
    ("ContentsManager.hide_globs", "__pycache__", lambda value: any(
        fnmatch(one, str(glob)) for glob in value for one in _SHOWN), "it hides the lessons"),
    ("LabApp.dev_mode", "False", _SET, "it needs JupyterLab's sources"),
    ("LabApp.core_mode", "False", _SET, "sliders and the course's extension would be missing"),
    ("LabApp.collaborative", "False", lambda value: bool(value) and not importable(
        "jupyter_collaboration.__version__"), "the package that it needs is not here"),
    ("ServerApp.min_open_files_limit", "0", lambda value: not _allows(value), "it is not allowed"),
)  # fmt: skip


def _allows(files: Any) -> bool:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return hard == resource.RLIM_INFINITY or not isinstance(files, int) or files <= hard


def _simple(settings: Mapping[str, Setting]) -> Iterator[Override]:
    for name, instead, breaks, why in _SIMPLE:
        one = settings.get(name)
        if one and breaks(one.value):
            yield Override(f"--{name}={instead}", _because(one, why))


def _hooks(settings: Mapping[str, Setting]) -> Iterator[Override]:
    for section in _CONTENTS:
        for trait in ("pre_save_hook", "post_save_hook"):
            one = settings.get(f"{section}.{trait}")
            if one and isinstance(one.value, str) and not importable(one.value):
                flag = f"--{_CONTENTS[0]}.{trait}=None"
                yield Override(flag, _because(one, "it cannot be imported here"))


_RULES = (_folders, _classes, _kernels, _address, _simple, _hooks)
