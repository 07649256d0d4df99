"""Where a reader can open or get the course, from the address of its git remote.

A remote that is no public host's, such as a folder, gives no addresses: then the site has none.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from helpers.course.home import CHECKOUT

BINDER = {"github.com": "gh", "gitlab.com": "gl"}
_REMOTE = re.compile(
    r"(?:(?:https|ssh|git)://(?:[^@/]+@)?|[\w.-]+@)(?P<host>[\w.-]+)(?::\d+)?[:/]"
    r"/*(?P<path>[\w.~-]+(?:/[\w.~-]+?)+?)(?:\.git)?/*$"
)


@dataclass(frozen=True)
class Remote:
    """A repository on a public host."""

    host: str
    path: str  # its owner and name
    branch: str

    @property
    def url(self) -> str:
        """Its page."""
        return f"https://{self.host}/{self.path}"

    def file(self, path: str) -> str:
        """The page of a file or folder in it."""
        blob = "-/blob" if self.host == "gitlab.com" else "blob"
        return f"{self.url}/{blob}/{quote(self.branch)}/{quote(path)}"

    def opened(self, path: str) -> dict[str, str]:
        """The services that open a notebook of it, each with its address."""
        found = {}
        if short := BINDER.get(self.host):
            repo = self.path if short == "gh" else quote(self.path, safe="")
            place = quote(f"lab/tree/{path}", safe="")
            found["Open in Binder"] = (
                f"https://mybinder.org/v2/{short}/{repo}/{quote(self.branch, safe='')}"
                f"?urlpath={place}"
            )
        if self.host == "github.com":
            found["Open in Codespaces"] = f"https://codespaces.new/{self.path}?quickstart=1"
        return found


def remote(checkout: Path = CHECKOUT) -> Remote | None:
    """The checkout's remote `origin`, if it is on a public host.

    A folder inside of another repository, as an archive is unpacked, has none.
    """
    if git(checkout, "rev-parse", "--show-prefix"):
        return None
    url = git(checkout, "remote", "get-url", "origin")
    head = git(checkout, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    return parsed(url, head.partition("/")[2] or "main")


def parsed(url: str, branch: str = "main") -> Remote | None:
    """A remote's address, taken apart; None if it is no public host's.

    >>> parsed("git@github.com:owner/course.git").url
    'https://github.com/owner/course'
    >>> parsed("/srv/git/course.git")
    """
    match = _REMOTE.match(url)
    if match is None or match["host"] not in BINDER:
        return None
    return Remote(match["host"], match["path"], branch)


def git(checkout: Path, *words: str) -> str:
    """What git says; nothing where it can't."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, check=False
        )
    except OSError:  # a machine without git
        return ""
    return done.stdout.strip()
