"""Where the course lives on disk: the checkout, and the hidden folder for what it keeps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from helpers.course.disk import naming_a_full_disk

CHECKOUT = Path(__file__).resolve().parents[2]


def hidden_path() -> Path:
    """Where the hidden folder is, or will be; nothing is made or looked at."""
    return Path(os.environ.get("COURSE_HOME") or CHECKOUT / ".course").absolute()


def hidden_folder() -> Path:
    """The folder of the server's data and the labs' progress: `.course` in the checkout.

    Only its owner can read it, because the server's password is in it. The environment
    variable COURSE_HOME names another place.

    Raises:
        CourseError: the folder cannot be made or written.
    """
    folder = hidden_path()
    with naming_a_full_disk(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            fixed = os.statvfs(folder).f_flag & os.ST_RDONLY
            number = errno.EROFS if fixed else errno.EACCES
            raise OSError(number, os.strerror(number))
    return folder
