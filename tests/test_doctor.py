"""The doctor: each broken environment is built, looked at, and named; a healthy one is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from helpers.course import lab, loopback, shadows
from helpers.course.disk import shortage
from helpers.course.doctor import (
    clock,
    examine,
    finding,
    folders,
    interpreter,
    jupyter,
    keeping,
    kernel,
    limits,
    modules,
    network,
    proxies,
)
from helpers.course.home import CHECKOUT
from helpers.course.lab.overrides import can_listen, overrides
from helpers.course.pace import patient
from helpers.course.server import OwnServer
from helpers.course.server.process import has_ended
from tests.test_cli import course, typed
from tests.test_server import saved

pytestmark = pytest.mark.once

ENTRY = [sys.executable, "-c", "from course_entry import main; main()"]


def sentences(found: Iterator[finding.Finding]) -> list[str]:
    """What was found, each with its level."""
    return [f"{one.level}: {one.sentence}" for one in found]


def write(file: Path, text: str) -> Path:
    """A file, with the folders that it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a learner, without any setting of Jupyter or IPython."""
    folder = tmp_path / "learner"
    folder.mkdir()
    for name in [one for one in os.environ if one.startswith(("JUPYTER", "IPYTHON", "PYTHON"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    return folder


# ------------------------------------------------------------------ a kernel


def test_of_a_healthy_machine_nothing_is_said(redis):
    report = examine()
    assert report["findings"] == []
    assert report["ok"]
    assert report["kernel"]["helpers"] == str(CHECKOUT / "helpers" / "__init__.py")
    assert os.path.samefile(report["kernel"]["executable"], sys.executable)


def test_what_is_beside_the_notebooks_takes_the_place_of_redis_and_helpers(
    tmp_path, monkeypatch, learner
):
    """The kernel of `course lab`, also where the learner's own kernels are another Python's."""
    for folder in ("notebooks", "elsewhere"):
        write(tmp_path / folder / "redis.py", "")
    write(tmp_path / "notebooks" / "helpers" / "a.py", "")  # a copied folder, without __init__
    write(tmp_path / "notebooks" / "random.py", "")  # comes after Python's own: no harm
    spec = {"argv": ["/no/python", "{connection_file}"], "display_name": "", "language": "python"}
    write(learner / ".local/share/jupyter/kernels/python3/kernel.json", json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    for module in (kernel, modules):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")
    environment, told = lab.environment()
    (said,) = told
    assert said == f"PYTHONPATH is left out: {tmp_path}/elsewhere has redis.py in place of what " \
        "the course needs."  # fmt: skip
    assert sentences(modules.findings(modules.look(environment, kernel.ask))) == [
        f"problem: A notebook takes helpers (and 1 more) from {tmp_path}/notebooks/helpers, and not "
        "from the course: rename or move what you have in notebooks/ under that name."
    ]


def test_startup_files_are_told_apart_from_other_causes(tmp_path, monkeypatch, learner):
    """One that ends the kernel: it is started again without, and so the file is named."""
    startup = learner / ".ipython" / "profile_default" / "startup" / "00-mine.py"
    write(startup, "import os; os._exit(1)\n")
    seen = modules.look(lab.environment()[0], kernel.ask)
    (said,) = sentences(modules.findings(seen))
    assert said.startswith("problem: A kernel does not start in notebooks/ (")
    assert said.endswith(
        f"which it does without IPython's startup files: correct {startup}, or move it away."
    )
    moved = dict.fromkeys(seen.origins, str(tmp_path / "mine" / "redis.py")) | {
        name: origin for name, origin in seen.origins.items() if name != "redis"
    }
    good = replace(seen.answer, silent="", origins=seen.origins, prefix=seen.prefix)
    bad = replace(good, origins=moved)
    assert sentences(modules.findings(replace(seen, answer=good, without_startup=None))) == []
    assert sentences(modules.findings(replace(seen, answer=bad, without_startup=good))) == [
        f"problem: A notebook takes redis from {tmp_path}/mine/redis.py, which it does without "
        f"IPython's startup files: correct {startup}, or move it away."
    ]
    (said,) = sentences(modules.findings(replace(seen, answer=bad, without_startup=bad)))
    assert said.endswith(f"and not from the course: take {tmp_path}/mine off the path of your "
                         "kernels.")  # fmt: skip


