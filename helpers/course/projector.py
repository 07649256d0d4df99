"""JupyterLab for a projector: larger type, no side bars, a quiet light theme, for one run only.

JupyterLab reads its settings and its layout from folders of this run's own: the settings are a
copy of the learner's, so that key bindings and the rest hold, with the projector's on top. Theirs
stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.course.home import hidden_folder

# A line of 100 characters fits on the screen; the type is at least one and a half times as large.
CODE, PROSE, REST = (f"clamp({least}px, {part}vw, {most}px)" for least, part, most in (
    (19, 1.3, 46), (21, 1.5, 52), (15, 1.0, 30)))  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/themes": {
        "theme": "JupyterLab Light",
        "adaptive-theme": False,
        "overrides": {
            "code-font-size": CODE,
            "content-font-size1": PROSE,
            "ui-font-size1": REST,
        },
    },
    "application-extension/shell": {"startMode": "single"},
    "statusbar-extension/plugin": {"visible": False},
    "notebook-extension/tracker": {
        "codeCellConfig": {"lineNumbers": False, "lineWrap": True},
        "scrollPastEnd": True,
        "showHiddenCellsButton": False,
        "showMinimap": False,
    },
}
_NO_BAR = {"collapsed": True, "visible": False, "widgets": []}
LAYOUT = {"left": _NO_BAR, "right": _NO_BAR, "top": {"simpleVisibility": True}}
WORKSPACE = {
    "data": {"layout-restorer:data": {**LAYOUT, "main": None, "relativeSizes": [0, 1, 0]}},
    "metadata": {"id": "default"},
}


def for_projector() -> dict[str, str]:
    """The variables that give JupyterLab the projector's settings and layout.

    Raises:
        CourseError: the hidden folder cannot be written.
    """
    from jupyterlab.commands import get_user_settings_dir  # type: ignore[import-untyped]
    from jupyterlab_server.workspaces_handler import slugify

    folder = hidden_folder() / "projector"
    shutil.rmtree(folder, ignore_errors=True)
    settings, workspaces = folder / "settings", folder / "workspaces"
    workspaces.mkdir(parents=True)
    own = Path(get_user_settings_dir())
    if own.is_dir():
        shutil.copytree(own, settings)
    for name, ours in SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(on_top(_read(file), ours), indent=2))
    labconfig = folder / "config" / "labconfig"
    labconfig.mkdir(parents=True)
    (labconfig / "page_config.json").write_text(json.dumps({"courseProjector": "true"}))
    (workspaces / f"{slugify('default')}.jupyterlab-workspace").write_text(json.dumps(WORKSPACE))
    paths = (str(labconfig.parent), os.environ.get("JUPYTER_CONFIG_PATH"))
    return {
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(workspaces),
    }


def on_top(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others on top: what those don't name stays."""
    found = dict(below)
    for name, value in above.items():
        kept = found.get(name)
        if isinstance(kept, Mapping) and isinstance(value, Mapping):
            value = on_top(kept, value)
        found[name] = value
    return found


def _read(file: Path) -> dict[str, Any]:
    """A learner's settings, which may have comments; what can't be read counts as none."""
    import json5

    try:
        known = json5.loads(file.read_text() or "{}")
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
