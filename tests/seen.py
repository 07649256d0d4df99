"""Which commands and scripts the tests have sent to a server, by the server's own account.

It is asked after every test, for one may start the server again or flush its scripts. Scripts are
those of the package, known by their hash: so it counts what other processes send, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

import helpers
from helpers.course.errors import ServerError
from helpers.course.server import OwnServer
from helpers.course.server.identity import probe


@dataclass
class Seen:
    """What one server, or several of a kind, were sent, and what it knows."""

    commands: set[str] = field(default_factory=set)
    scripts: set[str] = field(default_factory=set)  # their names
    known: set[str] = field(default_factory=set)  # the commands that the server has

    def ask(self, client: redis.Redis, scripts: dict[str, str]) -> None:
        """Ask a server: what has been sent to it until now?"""
        commands = client.info("commandstats")
        self.commands |= {name.removeprefix("cmdstat_") for name in commands}
        there = client.script_exists(*scripts)
        self.scripts |= {name for name, yes in zip(scripts.values(), there, strict=True) if yes}
        if not self.known:
            self.known = {str(name) for name in client.command_list()}

    def missing(self, contract: Seen) -> tuple[list[str], list[str]]:
        """What the contract's server was not sent although this one was.

        Returns the names that are missing, and those that are excused: its server lacks them.
        """
        left = self.commands - contract.commands
        scripts = self.scripts - contract.scripts
        return sorted((left & contract.known) | scripts), sorted(left - contract.known)

    def write(self, file: Path) -> None:
        """Keep it in a file."""
        file.write_text(json.dumps({key: sorted(value) for key, value in vars(self).items()}))

    @classmethod
    def together(cls, those: Iterable[Seen]) -> Seen:
        """What several servers of a kind were sent."""
        sets = [(one.commands, one.scripts, one.known) for one in those]
        return cls(*(set[str]().union(*some) for some in zip(*sets, strict=True)))

    @classmethod
    def read(cls, files: Iterable[Path]) -> Seen:
        """What is kept in some files, together."""
        found = [json.loads(file.read_text()) for file in files]
        return cls.together(cls(**{key: set(names) for key, names in one.items()}) for one in found)


def package_scripts() -> dict[str, str]:
    """The scripts of the package: the hash of each, and its name."""
    return {hashlib.sha1(text.encode()).hexdigest(): name for name, text in _scripts()}


def _scripts() -> Iterator[tuple[str, str]]:
    for found in pkgutil.walk_packages(helpers.__path__, "helpers."):
        if not found.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, str) and "redis.call(" in value:
                    yield f"{found.name}.{name}", value


class Recorder:
    """Notes what one run's own server has been sent, whenever it is told to look."""

    def __init__(self, server: OwnServer) -> None:
        self.seen = Seen()
        self._server = server
        self._scripts = package_scripts()

    def look(self) -> None:
        """Ask the server, if it runs."""
        with contextlib.suppress(ServerError, redis.RedisError):
            if state := self._server.running():
                with probe(state.url) as client:
                    self.seen.ask(client, self._scripts)
