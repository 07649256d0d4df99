"""redis-cli or valkey-cli on this machine, and how it is told where the server is.

The password is in its environment: everybody can read a command line.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from helpers.course.errors import CourseError

NAMES = ("redis-cli", "valkey-cli")
_OPTIONS = {"ssl_ca_certs": "--cacert", "ssl_certfile": "--cert", "ssl_keyfile": "--key"}


def find_cli(path: str | None = None, beside: str = "") -> str:
    """The program: on PATH, or beside the server's.

    Raises:
        CourseError: there is none; the sentence says how to get one.
    """
    folders = [path, str(Path(beside).parent)] if beside else [path]
    for folder in folders:
        for name in NAMES:
            if found := shutil.which(name, path=folder):
                return found
    raise CourseError(
        "There is neither redis-cli nor valkey-cli on this machine: install one (Debian and "
        "Ubuntu: `sudo apt install redis-tools`; macOS: `brew install redis`; Fedora: `sudo dnf "
        "install valkey`), or write `%redis` before a command in a notebook."
    )


def command(program: str, url: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Its command line for the server at a URL, and what its environment has to have."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "unix":
        words, database = ["-s", unquote(parts.path)], query.get("db", "0")
    else:
        host, port = parts.hostname or "localhost", parts.port or 6379
        words, database = (
            ["-h", host, "-p", str(port)],
            parts.path.strip("/") or query.get("db", "0"),
        )
    if parts.scheme == "rediss":
        words += ["--tls"]
        words += [word for name, option in _OPTIONS.items() if name in query
                  for word in (option, query[name])]  # fmt: skip
        words += ["--insecure"] if query.get("ssl_cert_reqs") == "none" else []
    words += ["-n", database] if database != "0" else []
    user = unquote(parts.username or query.get("username", ""))
    words += ["--user", user] if user and user != "default" else []
    password = unquote(parts.password or query.get("password", ""))
    secret = {"REDISCLI_AUTH": password, "VALKEYCLI_AUTH": password} if password else {}
    return [program, *words, *arguments], secret
