"""A bundle of packages: what goes into it, whom it fits, and a set-up without a network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from helpers.course.bundle import targets, use
from helpers.course.bundle.targets import Target, best, least_library
from helpers.course.home import CHECKOUT
from helpers.course.pace import patient
from tests.test_environment import make

pytestmark = pytest.mark.once

LINUX, MAC = Target("linux", "x86_64", "3.11"), Target("macos", "arm64", "3.13")
WHEELS = [
    "redis-8.1.0-py3-none-any.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl",
    "numpy-2.4.6-cp313-cp313-macosx_11_0_arm64.whl",
    "numpy-2.4.6-cp313-cp313-macosx_14_0_arm64.whl",
    "pyzmq-27.3.0-cp312-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "debugpy-1.8.22-cp313-cp313-macosx_10_13_universal2.whl",
]


# ------------------------------------------------------------------ what goes into it


def test_each_target_takes_the_wheel_that_most_of_its_machines_can_use():
    assert best(LINUX, WHEELS) == {"redis": WHEELS[0], "numpy": WHEELS[1]}
    assert best(MAC, WHEELS) == {"redis": WHEELS[0], "numpy": WHEELS[3], "debugpy": WHEELS[6]}
    assert least_library(LINUX, WHEELS[:2]) == ("glibc", [2, 27])
    assert least_library(MAC, [WHEELS[4], WHEELS[6]]) == ("macOS", [14, 0])
    assert least_library(MAC, WHEELS[:1]) == ("", [])


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("async-timeout>=4; python_full_version < '3.11.3'", [LINUX]),  # 3.11.2 is Debian's
        ("appnope; sys_platform == 'darwin'", [MAC]),
        ("pexpect; os_name != 'nt'", [LINUX, MAC]),
        ("uvloop; platform_machine == 'x86_64' and sys_platform != 'win32'", [LINUX]),
        ("redis-entraid; extra == 'entraid'", []),
    ],
)
def test_conditions_are_those_of_the_target_and_not_of_this_machine(line, wanted):
    assert [one for one in (LINUX, MAC) if one.wants(Requirement(line), ())] == wanted


def test_all_machines_and_pythons_that_the_course_promises_are_targets():
    every = targets.every_target(targets.MACHINES, targets.PYTHONS)
    assert len({str(one) for one in every}) == 12


# ------------------------------------------------------------------ whom it fits


def wheel(name: str) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(name.encode()).hexdigest(), "size": len(name)}


def manifest(**changed: Any) -> dict[str, Any]:
    """What a bundle for Python 3.12 on Linux says, with all that the course asks for."""
    held = use.pins(CHECKOUT)
    names = [f"{name.replace('-', '_')}-{held[name]}-py3-none-any.whl" for name in sorted(held)]
    target = {
        "system": "linux", "machine": "x86_64", "python": "3.12", "library": ["glibc", [2, 28]],
        "missing": [], "wheels": names,
    }  # fmt: skip
    return {"targets": [target | changed], "wheels": {name: wheel(name) for name in names}}


HERE = {"system": "linux", "machine": "x86_64", "python": "3.12", "plain": True,
        "library": ("glibc", [2, 36])}  # fmt: skip


@pytest.mark.parametrize(
    ("held", "here", "said"),
    [
        ({}, {"machine": "arm64"}, "wheels for linux on x86_64, and this is linux on arm64."),
        ({}, {"python": "3.14"}, "it has wheels for Python 3.12, and this is 3.14: run make with"),
        ({}, {"plain": False}, "this is 3.12, not the usual CPython: run make with PYTHON="),
        ({}, {"library": ("glibc", [2, 17])},
         "need glibc 2.28 or newer, and this machine has glibc 2.17."),
        ({}, {"library": ("", [])}, "and this machine has another C library."),  # musl
        ({"missing": ["uvloop"]}, {}, "there is no wheel of uvloop for this machine."),
        ({"wheels": ["redis-8.0.0-py3-none-any.whl"]}, {},
         "it has redis 8.0.0, and this version of the course needs"),
        ({"wheels": []}, {}, "it lacks cloudpickle, which this version of the course needs"),
    ],
)  # fmt: skip
def test_one_sentence_says_why_a_bundle_does_not_fit(held, here, said):
    assert use.fitting(manifest(), HERE, use.pins(CHECKOUT))
    with pytest.raises(use.Unfit) as why:
        use.fitting(manifest(**held), HERE | here, use.pins(CHECKOUT))
    assert said in str(why.value)


# ------------------------------------------------------------------ where it is


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's folder with one small wheel for each package."""
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    here = use.this_machine()
    whole = manifest(**{name: here[name] for name in ("system", "machine", "python", "library")})
    for name in whole["wheels"]:
        (folder / "wheels" / name).write_text(name)
    (folder / use.MANIFEST).write_text(json.dumps(whole))
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that prints nothing."""

    def log_message(self, format: str, *_: object) -> None:
        """Leave it out."""


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """A web server in the room."""
    kind = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def take(source: object, into: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["use.py", str(source), str(into)])
    return use.main()


def test_the_wheels_come_from_a_folder_an_archive_or_a_server(
    folder, address, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a proxy is no way into the room
    archive = tmp_path / "bundle.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "bundle")
    names = sorted(file.name for file in (folder / "wheels").iterdir())
    for source in (folder, folder / use.MANIFEST, folder.parent, archive, address):
        into = tmp_path / "wheels"
        assert take(source, into, monkeypatch) == 0, capsys.readouterr().err
        assert sorted(file.name for file in into.iterdir()) == names
        monkeypatch.setattr(sys, "argv", ["use.py", "--fits", str(source)])
        assert use.main() == 0
    assert capsys.readouterr() == ("", "")


def test_a_damaged_or_missing_wheel_is_named(folder, tmp_path, monkeypatch, capsys):
    first, second, *_ = sorted((folder / "wheels").iterdir())
    second.write_text("something else")
    assert take(folder, tmp_path / "wheels", monkeypatch) == 1
    assert f"cannot be used: {second.name} is damaged; copy it" in capsys.readouterr().err
    first.unlink()
    assert take(folder, tmp_path / "wheels", monkeypatch) == 1
    assert f"{first.name} is missing; copy it again" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["nowhere", "other.tar", "http://127.0.0.1:1"])
def test_what_is_no_bundle_is_refused_in_one_line(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("other.tar").write_bytes(b"no archive")
    assert take(source, tmp_path / "wheels", monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.startswith("The bundle cannot be used: ")
    assert len(said.splitlines()) == 1


def test_make_stops_at_a_bundle_that_was_named_and_does_not_fit(tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    done = make("env", f"VENV={tmp_path}/venv", f"BUNDLE={tmp_path}")
    assert done.returncode != 0
    assert f"The bundle cannot be used: {tmp_path} holds no bundle of this course" in done.stderr
    assert not (tmp_path / "venv" / ".lab").exists()


# ------------------------------------------------------------------ the whole, without a network


@pytest.mark.timeout(patient(900))
def test_a_fresh_clone_is_set_up_from_a_bundle_without_any_network(tmp_path, request):
    """All of it for real: make bundle, then make env and a first entry, with loopback alone."""
    if not request.config.getoption("--all-answers"):
        pytest.skip("it downloads 80 MB: make test-all does it, or pytest --all-answers")
    alone = ["unshare", "--net", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*alone, "ip link set lo up"]).returncode:
        pytest.skip("this machine does not allow a network namespace")
    archive = tmp_path / "bundle.tar"
    made = make("bundle", f"ARGS=--here --output {archive}", f"VENV={sys.prefix}", limit_s=500)
    assert made.returncode == 0, made.stdout + made.stderr
    subprocess.run(["tar", "xf", archive], cwd=tmp_path, check=True)
    subprocess.run(["tar", "xf", "course.tar"], cwd=tmp_path / "bundle", check=True)
    clone = tmp_path / "bundle" / "redis-streams-course"
    commands = f"""
        ip link set lo up
        make env PYTHON={sys.executable}
        .venv/bin/python -c 'import helpers; print(helpers.connect().xadd("s", {{"a": 1}}))'
        .venv/bin/course server stop"""
    hidden = {"PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "BUNDLE", "COURSE_HOME"}
    kept = {name: value for name, value in os.environ.items()
            if name not in hidden and "MAKE" not in name}  # fmt: skip
    done = subprocess.run(
        [*alone, f"set -e\n{commands}"], cwd=clone, env=kept | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True, text=True, timeout=patient(110), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready. Use it with" in done.stdout
    assert "Stopped the server" in done.stdout
