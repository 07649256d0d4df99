"""What the files of a learner's Jupyter say, read as JupyterLab reads them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
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


def configuration(environment: Mapping[str, str]) -> Configuration:
    """Read a learner's files as JupyterLab does; the last to say something has its way."""
    settings: dict[str, Setting] = {}
    unread, ending = [], []
    for file in config_files(environment):
        try:
            said = _read(file)
        except SystemExit as error:
            ending.append((file, f"SystemExit: {error}"))
            continue
        except Exception as error:  # whatever a learner's own code raises
            unread.append((file, _in_a_line(error)))
            continue
        for section, traits in said.items():
            if isinstance(traits, Mapping):
                for trait, value in traits.items():
                    name = f"{section}.{trait}"
                    settings[name] = Setting(name, value, file)
    return Configuration(settings, tuple(unread), tuple(ending))


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
        said = json.loads(file.read_text() or "{}")
        if not isinstance(said, dict):
            raise ValueError("it holds no settings")
        return said
    from traitlets.config.loader import PyFileConfigLoader

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return dict(PyFileConfigLoader(file.name, str(file.parent)).load_config())


def _in_a_line(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    return " ".join(f"{type(error).__name__}: {error}".split())
