"""Where the course lives on disk: the checkout, and the hidden folder for what it keeps."""

from __future__ import annotations

import os
from pathlib import Path

from helpers.course.errors import CourseError

CHECKOUT = Path(__file__).resolve().parents[2]


def hidden_folder() -> Path:
    """The folder of the server's data and the labs' progress: `.course` in the checkout.

    Only its owner can read it, because the server's password is in it. The environment
    variable COURSE_HOME names another place.

    Raises:
        CourseError: the folder cannot be made or written.
    """
    folder = Path(os.environ.get("COURSE_HOME") or CHECKOUT / ".course").absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise CourseError(_unwritable(folder, error.strerror)) from error
    if not writable:
        raise CourseError(_unwritable(folder, "Permission denied"))
    return folder


def _unwritable(folder: Path, reason: str | None) -> str:
    return (
        f"The course cannot write to {folder} ({reason}). "
        "Make it writable, or set COURSE_HOME to a folder that is."
    )
