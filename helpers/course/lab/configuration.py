"""What the files of a learner's Jupyter say, read as JupyterLab reads them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from helpers.course.home import CHECKOUT
from helpers.course.lab.environment import OURS, instead

CONFIG_NAMES = ("jupyter_config", "jupyter_server_config", "jupyter_lab_config")


class Setting(NamedTuple):
    """A learner's setting of JupyterLab: its name, its value, and the file that has it."""

    name: str
    value: Any
    file: Path


@dataclass(frozen=True)
class Configuration:
    """What the files of a learner's Jupyter say; and of those that say nothing, why."""

    settings: dict[str, Setting]
    unread: tuple[tuple[Path, str], ...]  # JupyterLab goes on without them
    ending: tuple[tuple[Path, str], ...]  # and with these it ends
    hiding: tuple[tuple[Path, str], ...] = ()  # and with these its page does not open


def configuration(environment: Mapping[str, str]) -> Configuration:
    """Read a learner's files as JupyterLab does; the last to say something has its way."""
    settings: dict[str, Setting] = {}
    unread: list[tuple[Path, str]] = []
    ending: list[tuple[Path, str]] = []
    for file in config_files(environment):
        try:
            said = _read(file)
        except SystemExit as error:
            ending.append((file, f"SystemExit: {error}"))
            continue
        except _NoObjectError as error:
            (ending if file.name == "jupyter_server_config.json" else unread).append(
                (file, str(error))
            )
            continue
        except Exception as error:  # whatever a learner's own code raises
            unread.append((file, _in_a_line(error)))
            continue
        for section, traits in said.items():
            if isinstance(traits, Mapping):
                for trait, value in traits.items():
                    name = f"{section}.{trait}"
                    settings[name] = Setting(name, value, file)
    ending += _no_objects(
        config_folders(environment), "jupyter_server_config.d/*.json", "ServerApp"
    )
    hiding = _no_objects(
        config_folders(environment), "labconfig/page_config.json", "disabledExtensions"
    )
    return Configuration(
        settings, tuple(unread), tuple(ending), (*hiding, *_extensions(environment))
    )


class _NoObjectError(ValueError):
    """JSON that is no object, where JupyterLab merges what files say."""


def _no_objects(folders: list[Path], pattern: str, part: str) -> list[tuple[Path, str]]:
    """The files that JupyterLab cannot merge, though it can read them."""
    found = []
    for file in (file for folder in folders for file in folder.glob(pattern)):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            try:
                _object(json.loads(file.read_text() or "{}"), part)
            except _NoObjectError as error:
                found.append((file, str(error)))
    return found


def _object(said: Any, part: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise _NoObjectError("what it holds isn't a JSON object")
    if not isinstance(said.get(part) or {}, dict):
        raise _NoObjectError(f"its {part} isn't a JSON object")
    return said


def _extensions(environment: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """The descriptions of extensions that cannot be read: one of them, and no page is shown."""
    from jupyter_core import paths

    with instead(environment):
        folders = [Path(one) for one in paths.jupyter_path("labextensions")]
    for folder in folders:
        for file in (*folder.glob("[!@]*/package.json"), *folder.glob("@*/*/package.json")):
            try:
                _object(json.loads(file.read_text("utf-8")), "jupyterlab")
            except (OSError, ValueError, RecursionError) as error:
                yield file, _in_a_line(error)


def hides(file: Path, why: str) -> str:
    """What to say of a file with which JupyterLab's page does not open."""
    what = f"the folder {file.parent}" if file.name == "package.json" else "it"
    keeps = f"{file} keeps JupyterLab's page from opening ({why})"
    return f"{keeps}: correct that file, or move {what} away."


def config_files(environment: Mapping[str, str]) -> list[Path]:
    """The files that JupyterLab reads, those that count most last, without the course's own."""
    folders = [CHECKOUT, *config_folders(environment)]
    named = [f"{name}{suffix}" for name in CONFIG_NAMES for suffix in (".py", ".json")]
    found = [folder / name for name in named for folder in reversed(folders)]
    return [file for file in found if file.is_file()]


def config_folders(environment: Mapping[str, str]) -> list[Path]:
    """Where Jupyter looks for a learner's settings, those that count most first."""
    from jupyter_core import paths

    with instead(environment):
        named = [paths.jupyter_config_dir(), *paths.jupyter_config_path()]
        folders = map(Path, dict.fromkeys(named))
        return [one for one in folders if one != OURS]


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".json":
        return _object(json.loads(file.read_text() or "{}"), "ServerApp")
    from traitlets.config.loader import PyFileConfigLoader

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return dict(PyFileConfigLoader(file.name, str(file.parent)).load_config())


def _in_a_line(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    return " ".join(f"{type(error).__name__}: {error}".split())
