"""Each test run has a server of its own, of the kind that `--server` names."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis as redis_py

import helpers
from helpers.checks import progress
from helpers.course.keys import MARK
from helpers.course.server import OwnServer
from helpers.streams.consumer import in_hand
from tests import leftovers, on_a_cluster, parts, report
from tests.points import thin_out
from tests.servers import SERVERS, program

pytest_plugins = ["tests.kernel_stderr"]

# No example has a deadline, and a busy machine may take long to make one up.
hypothesis.settings.register_profile(
    "new examples",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
# What passes today passes tomorrow; `make test-all` looks further.
hypothesis.settings.register_profile(
    "the same examples", hypothesis.settings.get_profile("new examples"), derandomize=True
)

_home = pytest.StashKey[Path]()
_tidy = pytest.StashKey[contextlib.ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", choices=SERVERS, default="valkey", help="which one to test on")
    parser.addoption(
        "--not-first",
        action="store_true",
        help="leave out the tests marked once, and strike at some points only",
    )
    parser.addoption("--part", choices=parts.PARTS, help="run only that part of the suite")
    parser.addoption(
        "--all-answers",
        action="store_true",
        help="try those answers to labs too that are alike, other examples in each run, and "
        "all pages of the site",
    )
    parser.addoption("--report", metavar="FOLDER", help="write there what was seen, and the times")


def pytest_configure(config: pytest.Config) -> None:
    """Point the course, in this process and in the kernels that it starts, at a home of its own."""
    new = config.getoption("--all-answers")
    hypothesis.settings.load_profile("new examples" if new else "the same examples")
    # What a background shell starts ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tidy = config.stash[_tidy] = contextlib.ExitStack()
    if config.getoption("tx", None) and leftovers.VARIABLE not in os.environ:
        tidy.enter_context(leftovers.run_folder())  # for its workers, which may be ended early
    home = config.stash[_home] = Path(tempfile.mkdtemp(prefix="course-test-"))
    os.environ.pop("REDIS_URL", None)
    os.environ["COURSE_HOME"] = str(home)
    os.environ["COURSE_SERVER"] = program(config.getoption("--server")) or "missing"
    if config.getoption("--part") == parts.CLUSTER:
        on_a_cluster.use()
    if folder := config.getoption("--report"):
        config.pluginmanager.register(report.Reporter(config, Path(folder), OwnServer(home)))
    if config.getoption("--not-first"):
        thin_out(list(SERVERS).index(config.getoption("--server")) - 1)


def pytest_unconfigure(config: pytest.Config) -> None:
    on_a_cluster.end()
    home = config.stash[_home]
    OwnServer(home).stop()
    shutil.rmtree(home, ignore_errors=True)
    config.stash[_tidy].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half a character in what a test logs would end a worker: execnet sends only whole ones."""
    found = yield
    found.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in found.sections
    ]
    return found


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return parts.skips(collection_path, config.getoption("--part")) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = parts.chosen(items, config.getoption("--part"), not config.getoption("--not-first"))
    kept = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = chosen
    _sort_by_file(items)


def pytest_collection_finish() -> None:
    """Keep searches for garbage from going through all tests: that took a tenth of the time."""
    gc.collect()
    gc.freeze()


def _sort_by_file(items: list[pytest.Item]) -> None:
    """The files that take longest first, else one would run alone at the end; then the largest."""
    number = Counter(item.path for item in items)
    early = {item.path for item in items if item.get_closest_marker("early")}
    items.sort(key=lambda one: (one.path not in early, -number[one.path], str(one.path)))


@pytest.fixture
def redis() -> Iterator[redis_py.Redis]:
    """A client of this run's server: its database is empty but for the mark, no lab is begun."""
    progress.forget()
    with helpers.connect() as client:
        _empty(client)
        yield client
        _empty(client)
    progress.forget()


def _empty(client: redis_py.Redis) -> None:
    keys = [key for key in client.scan_iter() if key != MARK]
    if keys:
        client.unlink(*keys)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers retry what failed after 5, 10, 20 … ms."""
    monkeypatch.setattr(in_hand, "FIRST_RETRY_S", 0.005)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hidden folder in which no server runs yet; one that was started ends with the test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("COURSE_HOME", str(folder))
    yield folder
    OwnServer(folder).stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for all tests of a file."""
    from tests.browser import chromium_at_work  # it needs more than notebooks do

    with chromium_at_work() as one:
        yield one


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of the browser, the size of a small laptop's screen."""
    with browser.new_page() as one:
        yield one
