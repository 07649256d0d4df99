"""The environment of the course's JupyterLab: a learner's own, but for what breaks the course."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from helpers.course import shadows
from helpers.course.certificates import LEFT_OUT, leave_out_unusable
from helpers.course.home import CHECKOUT, hidden_folder
from helpers.course.loopback import spare_loopback

OURS = CHECKOUT / "helpers" / "course" / "jupyter"  # its settings, its extension, its kernel

_NOT_THE_COURSES = {  # variables that no course could live with, and what they do
    "PYTHONHOME": "it leads to the library of another Python",
    "PYTHONOPTIMIZE": "it takes the assertions out of the lessons",
    "PYTHONASYNCIODEBUG": "it prints into the cells",
    "PYTHONDEVMODE": "it prints into the cells",
    "PYTHONVERBOSE": "it prints into the cells",
    "PYTHONINSPECT": "it keeps programs from ending",
    "JUPYTERLAB_DIR": "it leads to another JupyterLab's pages",
    "JUPYTER_GATEWAY_URL": "it runs the cells on another machine",
}


def environment(before: Mapping[str, str] = os.environ) -> tuple[dict[str, str], list[str]]:
    """The environment of the course's JupyterLab and of its kernels, and what is other in it.

    Raises:
        CourseError: the hidden folder cannot be written.
    """
    after, told = dict(before), []
    for shadow in shadows.spare(after):
        told.append(f"{shadow.where} is left out: {said_of(shadow)}.")
    for name in sorted(name for name in _NOT_THE_COURSES if after.get(name)):
        told.append(f"{name} is left out: {_NOT_THE_COURSES[name]} ({after.pop(name)}).")
    if (backend := after.get("MPLBACKEND")) and not _is_backend(backend, after):
        told.append(f"MPLBACKEND is left out: matplotlib rejects it ({after.pop('MPLBACKEND')}).")
    spare_loopback(after)
    told += [*LEFT_OUT, *leave_out_unusable(after)]
    after["COURSE_HOME"] = str(hidden_folder())  # a relative one would be elsewhere for a kernel
    for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH"):
        after[name] = os.pathsep.join(filter(None, (str(OURS), after.get(name))))
    told += _writable(after)
    return after, told


def said_of(shadow: shadows.Shadow) -> str:
    """What a folder of the path has in the place of the course's modules."""
    shown = ", ".join(shadow.files[:3]) + (" and more" if len(shadow.files) > 3 else "")
    return f"{shadow.folder} has {shown} in place of what the course needs"


def _is_backend(name: str, after: Mapping[str, str]) -> bool:
    """Whether matplotlib takes a name; if it doesn't, it can't even be imported under it."""
    with instead({key: value for key, value in after.items() if key != "MPLBACKEND"}):
        from matplotlib.rcsetup import validate_backend
    try:
        validate_backend(name)
    except ValueError:
        return False
    return True


def _writable(after: dict[str, str]) -> Iterator[str]:
    """Give what Jupyter, IPython and matplotlib write a folder that takes it, where it has none."""
    lost = {name: one for name, one in written(after).items() if not can_be_written(one)}
    for name, folder in lost.items():
        if name == "JUPYTER_CONFIG_DIR" and folder.is_dir():  # what is there is read all the same
            after.setdefault("JUPYTERLAB_SETTINGS_DIR", str(folder / "lab" / "user-settings"))
            after["JUPYTER_CONFIG_PATH"] += os.pathsep + str(folder)
        after[name] = str(hidden_folder() / "jupyter" / name.lower())
        Path(after[name]).mkdir(parents=True, exist_ok=True)
    if lost:
        shown = ", ".join(sorted({str(_there(one)) for one in lost.values()}))
        kept = hidden_folder() / "jupyter"
        yield f"what Jupyter writes goes to {kept}, since {shown} cannot be written."


def written(environment: Mapping[str, str]) -> dict[str, Path]:
    """The folders that have to be written, by the variable that names each."""
    from jupyter_core import paths

    with instead(environment):
        home = Path.home()
        settings = Path(paths.jupyter_config_dir(), "lab", "workspaces")
        matplotlib = Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "matplotlib")
        usual = {
            "JUPYTER_CONFIG_DIR": Path(paths.jupyter_config_dir()),
            "JUPYTER_DATA_DIR": Path(paths.jupyter_data_dir()),
            "JUPYTER_RUNTIME_DIR": Path(paths.jupyter_runtime_dir()),
            "JUPYTERLAB_WORKSPACES_DIR": settings,
            "IPYTHONDIR": home / ".ipython",
            "MPLCONFIGDIR": home / ".matplotlib" if sys.platform == "darwin" else matplotlib,
        }
    return {name: Path(environment.get(name) or folder) for name, folder in usual.items()}


def can_be_written(folder: Path) -> bool:
    """Whether a folder can be written, or made where it isn't there yet: it is tried."""
    try:
        os.rmdir(tempfile.mkdtemp(dir=_there(folder), prefix=".course-"))
    except OSError:
        return False
    return True


def _there(folder: Path) -> Path:
    """A folder, or the one above it that exists."""
    return next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))


@contextlib.contextmanager
def instead(environment: Mapping[str, str]) -> Iterator[None]:
    """With another environment, for a library that looks at this process's own."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
