"""What a part of a run leaves for its report: what the server was sent, and how long it took."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.course.server import OwnServer
from tests.seen import Recorder, Seen

FOUND = "found.json"


class Reporter:
    """The plugin that notes it; each worker writes what it saw, and the first process the rest."""

    def __init__(self, config: pytest.Config, folder: Path, server: OwnServer) -> None:
        self._config = config
        self._folder = folder
        self._recorder = Recorder(server)
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Look after every test, and after the last cell of a notebook."""
        last = nextitem is None or nextitem.path != item.path
        if last or isinstance(item, pytest.Function):
            self._recorder.look()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write, before a worker says that it has ended: from then on it may be killed."""
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        self._recorder.seen.write(self._folder / f"seen-{worker}.json")
        if not hasattr(self._config, "workerinput"):
            found = {"whole": self._whole(), "seconds": self._seconds}
            (self._folder / FOUND).write_text(json.dumps(found))

    def _whole(self) -> bool:
        """Whether the arguments of the run have left no test out."""
        option = self._config.option
        narrowed = option.keyword or option.markexpr or option.deselect or option.maxfail
        return not narrowed and self._config.args_source is pytest.Config.ArgsSource.TESTPATHS


@dataclass(frozen=True)
class Found:
    """What the tests of one part have left behind, or of several."""

    whole: bool  # no test was left out
    seconds: dict[str, float]  # how long the tests of each file took
    seen: Seen  # what the servers of all workers were sent


def read(folder: Path) -> Found:
    """What was found in one part; nothing, where it ended early."""
    file = folder / FOUND
    rest = json.loads(file.read_text()) if file.exists() else {"whole": False, "seconds": {}}
    return Found(**rest, seen=Seen.read(folder.glob("seen-*.json")))
