"""A learner's Jupyter: what of its settings is overridden, cannot be read, or is in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import json5

from helpers.course.doctor.finding import Finding, note, problem, warning
from helpers.course.lab.configuration import (
    Configuration,
    Setting,
    config_folders,
    configuration,
    hides,
)
from helpers.course.lab.environment import OURS
from helpers.course.lab.overrides import APPLICATION, importable, overrides
from helpers.course.lab.rejected import rejected

NEEDED = (  # plugins without which a lesson does not open or run
    "@jupyterlab/application-extension:", "@jupyterlab/apputils-extension:",
    "@jupyterlab/codemirror-extension:", "@jupyterlab/docmanager-extension:",
    "@jupyterlab/filebrowser-extension:", "@jupyterlab/notebook-extension:",
    "@jupyterlab/rendermime-extension:", "@jupyterlab/services-extension:",
    "@jupyter-widgets/jupyterlab-manager:", "redis-streams-course:",
)  # fmt: skip
_SECURITY = ("ServerApp.authorizer_class", "ServerApp.identity_provider_class")
_PIECES = {
    "a page of JupyterLab": APPLICATION / "static" / "index.html",
    "the course's kernel": OURS / "kernels" / "python3" / "kernel.json",
    "the course's extension": OURS
    / "labextensions" / "redis-streams-course" / "static" / "extension.js",
}  # fmt: skip


@dataclass(frozen=True)
class Jupyter:
    """What was seen of it."""

    config: Configuration
    told: tuple[str, ...]  # what its environment has that is other than the learner's
    unread: tuple[tuple[Path, str], ...] = ()  # of its other files
    disabled: tuple[tuple[str, Path], ...] = ()  # plugins
    missing: tuple[tuple[str, Path], ...] = ()
    rejected: tuple[tuple[Setting, str], ...] = ()


def look(environment: Mapping[str, str], told: list[str]) -> Jupyter:
    """Read a learner's files, as JupyterLab would."""
    unread, disabled = [], []
    for folder in config_folders(environment):
        page = folder / "labconfig" / "page_config.json"
        parts = folder.glob("jupyter_server_config.d/*.json")
        for file in (page, *parts, *folder.glob("lab/user-settings/**/*.jupyterlab-settings")):
            try:
                said = (json if file.suffix == ".json" else json5).loads(file.read_text() or "{}")
                off = said.get("disabledExtensions", {}) if file == page else {}
                names = [one for one in off if not isinstance(off, dict) or off[one]]
                disabled += [(one, file) for one in names if one.startswith(NEEDED)]
            except FileNotFoundError:
                continue
            except (OSError, ValueError, AttributeError, TypeError) as error:
                unread.append((file, " ".join(str(error).split())))
    missing = tuple((what, file) for what, file in _PIECES.items() if not file.is_file())
    config = configuration(environment)
    return Jupyter(
        config, tuple(told), tuple(unread), tuple(disabled), missing, tuple(rejected(config))
    )


def findings(jupyter: Jupyter) -> Iterator[Finding]:
    """What is wrong with it, and what `course lab` does about it."""
    away = "correct that file, or move it away"
    for file, why in jupyter.config.ending:
        yield problem("jupyter", f"{file} ends JupyterLab ({why}): {away}.")
    for file, why in jupyter.config.hiding:
        yield problem("jupyter", hides(file, why))
    for name in _SECURITY:
        named = jupyter.config.settings.get(name)
        if named and not importable(named.value):
            yield problem(
                "jupyter",
                f"{named.file} sets {name} to {named.value!r}, which cannot be imported here, so "
                "JupyterLab does not start: take that line out.",
            )
    changes = overrides(jupyter.config)
    settled = {*_SECURITY, *(one.flag[2:].partition("=")[0] for one in changes)}
    for one, why in jupyter.rejected:
        if one.name not in settled:
            yield problem(
                "jupyter",
                f"{one.file} sets {one.name} to {one.value!r}, which JupyterLab rejects ({why}): "
                "correct that line.",
            )
    for what, file in jupyter.missing:
        yield problem("jupyter", f"{file} is missing, {what}: {_again(file)}.")
    for name, file in jupyter.disabled:
        yield warning(
            "jupyter", f"{file} disables {name}, which the lessons need: take it out of that file."
        )
    told = {file for file, _ in (*jupyter.config.ending, *jupyter.config.hiding)}
    unread = (*jupyter.config.unread, *jupyter.unread)
    for file, why in (one for one in unread if one[0] not in told):
        yield warning("jupyter", f"JupyterLab cannot read {file} ({why}): {away}.")
    changed = [*jupyter.told, *(one.why for one in changes)]
    for sentence in dict.fromkeys(changed):
        yield note("jupyter", f"In `course lab`, {sentence}")


def _again(file: Path) -> str:
    if file.is_relative_to(OURS):
        return "get it back with `git checkout -- helpers`"
    return "run `make clean lab`"
