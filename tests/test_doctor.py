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

from helpers import connect
from helpers.course import cli_program, lab, loopback, shadows
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
    notebooks,
    proxies,
)
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from helpers.course.lab.overrides import APPLICATION, can_listen, overrides
from helpers.course.pace import patient
from helpers.course.server import OwnServer
from helpers.course.server.process import has_ended
from tests.test_cli import COURSE, course, typed
from tests.test_home import LOOPBACK, apart
from tests.test_server import saved

pytestmark = pytest.mark.once


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
    (found,) = sentences(modules.findings(modules.look(environment, kernel.ask)))
    assert found == (
        f"problem: A notebook takes helpers (and 1 more) from {tmp_path}/notebooks/helpers, and "
        "not from the course: rename or move what you have in notebooks/ under that name."
    )


def test_startup_files_are_told_apart_from_other_causes(tmp_path, monkeypatch, learner):
    """One that ends the kernel: it is started again without, and so the file is named."""
    startup = learner / ".ipython" / "profile_default" / "startup" / "00-mine.py"
    write(startup, "import os; os._exit(1)\n")
    seen = modules.look(lab.environment()[0], kernel.ask)
    (said,) = sentences(modules.findings(seen))
    assert said.startswith("problem: A kernel does not start in notebooks/ (")
    assert said.endswith(
        f"which it does without your startup files: correct {startup}, or move it away."
    )
    moved = dict.fromkeys(seen.origins, str(tmp_path / "mine" / "redis.py")) | {
        name: origin for name, origin in seen.origins.items() if name != "redis"
    }
    good = replace(seen.answer, silent="", origins=seen.origins, prefix=seen.prefix)
    bad = replace(good, origins=moved)
    assert sentences(modules.findings(replace(seen, answer=good, without_startup=None))) == []
    assert sentences(modules.findings(replace(seen, answer=bad, without_startup=good))) == [
        f"problem: A notebook takes redis from {tmp_path}/mine/redis.py, which it does without "
        f"your startup files: correct {startup}, or move it away."
    ]
    (said,) = sentences(modules.findings(replace(seen, answer=bad, without_startup=bad)))
    assert said.endswith(f"and not from the course: take {tmp_path}/mine off the path of your "
                         "kernels.")  # fmt: skip


def test_a_package_that_lost_a_file_and_a_checkout_that_is_not_python(tmp_path):
    """Both with its remedy, and neither with a traceback."""
    lost = kernel.Answer(errors={"helpers.views": "ModuleNotFoundError: No module named 'x.y'"})
    seen = modules.look({}, lambda *_: replace(lost, prefix=os.path.realpath(sys.prefix)))
    assert sentences(modules.findings(seen)) == [
        "problem: A notebook cannot import helpers.views (ModuleNotFoundError: No module named "
        f"'x.y'): a file is missing; delete {seen.prefix}, and run `make env`."
    ]
    for source, said in [
        ("def (", f"{tmp_path}/helpers/course/shadows.py, line 1, isn't Python"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise EOFError('marshal data too short')", "a file that Python compiled was cut off"),
        ("raise KeyboardInterrupt", ""),
    ]:
        write(tmp_path / "course_entry.py", (CHECKOUT / "course_entry.py").read_text())
        write(tmp_path / "helpers" / "course" / "shadows.py", source)
        done = subprocess.run(
            [sys.executable, "-c", "import course_entry; course_entry.main()"], cwd=tmp_path,
            capture_output=True, text=True, timeout=patient(60), check=False,
        )  # fmt: skip
        assert done.returncode == (1 if said else 130)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_notebooks_that_cannot_be_opened_are_named(tmp_path):
    conflict = '{"cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> theirs\n]}'
    for name, content in [
        ("labs/01.ipynb", conflict), ("labs/02.ipynb", ""), ("labs/03.ipynb", '{"cells": [}'),
        ("labs/04.ipynb", "[]"), ("labs/05.ipynb", '{"cells": []}'), ("labs/06.txt", ""),
    ]:  # fmt: skip
        write(tmp_path / name, content)
    write(tmp_path / "notebooks" / "01.ipynb", "")
    (tmp_path / "notebooks" / "01.ipynb").write_bytes(b"\xff")
    write(tmp_path / "solutions" / "02.ipynb", "")
    (tmp_path / ".git").mkdir()
    broken = notebooks.look(tmp_path)
    first, second, *broken = broken
    assert sentences(notebooks.findings([first, replace(second, git=False)])) == [
        "problem: notebooks/00_start_here.ipynb isn't there: take the course's version with `git "
        "checkout HEAD -- notebooks/00_start_here.ipynb`.",
        "problem: notebooks/02.ipynb isn't there: take the course's version from a new download.",
    ]
    assert [(one.name, one.why) for one in broken] == [
        ("notebooks/01.ipynb", "it isn't UTF-8"),
        ("labs/01.ipynb", "git left the marks of a conflict in it (line 2)"),
        ("labs/02.ipynb", "it's empty"),
        ("labs/03.ipynb", "line 1 isn't JSON"),
        ("labs/04.ipynb", "it has no cells"),
    ]
    assert sentences(notebooks.findings(broken))[2] == (
        "problem: labs/02.ipynb can't be opened, because it's empty: copy it if your answers are "
        "in it, then take the course's version with `git checkout HEAD -- labs/02.ipynb`."
    )
    assert notebooks.look(CHECKOUT) == []


# ------------------------------------------------------------------ the path


@pytest.fixture
def shadowing(tmp_path: Path) -> Path:
    """A folder with another `redis` and another `helpers`, which end Python when imported."""
    for name in ("redis", "helpers"):
        write(tmp_path / "other" / f"{name}.py", "raise SystemExit('the wrong one')")
    write(tmp_path / "mine" / "mymodule.py", "")
    return tmp_path / "other"


def test_the_command_begins_whatever_is_on_pythonpath(shadowing, tmp_path, learner):
    code = "import os, redis, sys, helpers; print(redis.__version__, os.environ['PYTHONPATH'])"
    path = os.pathsep.join([str(shadowing), str(tmp_path / "mine")])
    code = "from helpers.course import shadows; shadows.leave_out(); " + code
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    version, kept = done.stdout.split()
    assert kept == str(tmp_path / "mine")
    assert version.startswith("8.")
    done = subprocess.run(
        [*COURSE, "--help"], env=os.environ | {"PYTHONPATH": path, "PYTHONINSPECT": "1"}, cwd="/",
        capture_output=True, text=True, timeout=patient(60), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "doctor" in done.stdout


def test_only_what_the_course_needs_is_a_shadow(tmp_path, shadowing):
    folder = tmp_path / "several"
    for name in ("test.py", "mymodule.py", "redis.txt", "__pycache__/x.py", "queue/a.py"):
        write(folder / name, "")
    ours = shadows.names()
    assert shadows.shadowing("PYTHONPATH", str(folder), ours) is None
    write(folder / "queue" / "__init__.py", "")
    assert shadows.shadowing("PYTHONPATH", str(folder), ours) == ("PYTHONPATH", str(folder),
                                                                  ("queue/",))  # fmt: skip
    assert shadows.shadowing("PYTHONPATH", str(CHECKOUT), ours) is None
    assert shadows.shadowing("PYTHONPATH", str(tmp_path / "no folder"), ours) is None
    environment = {"PYTHONPATH": f"{shadowing}::{folder}"}
    assert [one.folder for one in shadows.spare(environment)] == [str(shadowing), str(folder)]
    assert environment == {}


def test_workers_take_their_modules_from_the_course_first(tmp_path, monkeypatch):
    """A learner's `random.py` beside the notebooks harms no process that a lesson starts."""
    from helpers.chaos import start

    write(tmp_path / "random.py", "raise SystemExit('the wrong one')")
    write(tmp_path / "mymodule.py", "")
    monkeypatch.chdir(tmp_path)
    code = "import random, mymodule; print(mymodule.__name__, random.random() < 1)"
    with start([sys.executable], "-c", code) as worker:
        while worker.alive:
            time.sleep(0.01)
        assert worker.output() == "mymodule True\n"


# ------------------------------------------------------------------ Jupyter


def configured(learner: Path, text: str) -> tuple[list[str], list[str]]:
    """The flags that JupyterLab gets because of a learner's settings, and what is found."""
    write(learner / ".jupyter" / "jupyter_server_config.py", text)
    environment, told = lab.environment()
    seen = jupyter.look(environment, told)
    return [one.flag for one in overrides(seen.config)], sentences(jupyter.findings(seen))


@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("FileContentsManager.root_dir = '/tmp'", [f"AsyncLargeFileManager.root_dir={CHECKOUT}"]),
        ("ServerApp.preferred_dir = '/tmp'", [f"ServerApp.preferred_dir={CHECKOUT}"]),
        ("ServerApp.ip = '203.0.113.7'", ["ServerApp.ip=localhost"]),
        ("ServerApp.port_retries = 0", ["ServerApp.port_retries=50"]),
        ("ServerApp.certfile = '/no.pem'", ["ServerApp.certfile="]),
        ("ServerApp.sock = '/tmp/s'", ["ServerApp.sock="]),
        ("ServerApp.local_hostnames = ['a']", ["ServerApp.local_hostnames=a",
                                               "ServerApp.local_hostnames=localhost"]),
        ("KernelSpecManager.allowed_kernelspecs = {'ir'}",
         ["KernelSpecManager.allowed_kernelspecs=ir",
          "KernelSpecManager.allowed_kernelspecs=python3"]),
        ("ServerApp.session_manager_class = 'no.Such'",
         ["ServerApp.session_manager_class="
          "jupyter_server.services.sessions.sessionmanager.SessionManager"]),
        ("ServerApp.kernel_spec_manager_class = 'collections.Counter'",
         ["ServerApp.kernel_spec_manager_class=jupyter_client.kernelspec.KernelSpecManager"]),
        ("FileContentsManager.post_save_hook = 'no.such'",
         ["AsyncLargeFileManager.post_save_hook=None"]),
        ("LabApp.templates_dir = '/dev/null/no'", [f"LabApp.templates_dir={APPLICATION}/static"]),
        ("ContentsManager.hide_globs = ['*.ipynb']", ["ContentsManager.hide_globs=__pycache__"]),
        ("GatewayClient.url = 'http://a'", ["GatewayClient.url="]),
        ("LabApp.collaborative = True", ["LabApp.collaborative=False"]),
    ],
)  # fmt: skip
def test_settings_that_break_the_course_are_overridden_and_named(learner, setting, flags):
    given, found = configured(learner, f"c.{setting}\n")
    assert given == [f"--{flag}" for flag in flags]
    (said,) = found
    name = setting.partition(" ")[0]
    assert said.startswith(f"note: In `course lab`, {name} = ")
    assert str(learner) in said
    assert overrides(lab.configuration(lab.environment()[0]), [f"{given[0]}x"]) == []


@pytest.mark.parametrize(
    "setting",
    ["ServerApp.ip = '0.0.0.0'", "ServerApp.open_browser = False", "ServerApp.port = 9999",
     "ServerApp.root_dir = '/tmp'", "ServerApp.default_url = '/tree'", "ServerApp.base_url = '/a/'",
     "ServerApp.session_manager_class = 'collections.Counter'", "LabApp.news_url = 'a'",
     "FileContentsManager.delete_to_trash = False", "IdentityProvider.token = 'a'",
     "ServerApp.jpserver_extensions = {'a': True}", "ContentsManager.hide_globs = ['*.pyc']",
     "ServerApp.no_such = 1", "ServerApp.port = 'overridden'"],
)  # fmt: skip
def test_all_other_settings_hold(learner, setting):
    assert configured(learner, f"c.{setting}\n") == ([], [])


def test_files_that_jupyterlab_cannot_read_are_named(learner):
    broken = {
        "jupyter_server_config.json": '{"ServerApp": ',
        "labconfig/page_config.json": "{",
        "jupyter_server_config.d/a.json": "[",
        "lab/user-settings/@a/b.jupyterlab-settings": "{ // a comment\n 'a': }",
        "jupyter_config.py": "import no_such_module\n",
    }
    for name, text in broken.items():
        write(learner / ".jupyter" / name, text)
    fine = learner / ".jupyter/lab/user-settings/@a/c.jupyterlab-settings"
    write(fine, "{ // a comment\n 'a': 1, }")
    flags, found = configured(learner, "raise SystemExit(3)\n")
    assert flags == []
    for name in broken:
        (said,) = [one for one in found if f"{learner}/.jupyter/{name} (" in one]
        assert said.startswith("warning: JupyterLab cannot read ")
        assert said.endswith(": correct that file, or move it away.")
    ends = f"problem: {learner}/.jupyter/jupyter_server_config.py ends JupyterLab (SystemExit: 3)"
    assert found[0].startswith(ends)
    assert len(found) == len(broken) + 1
    done = course("lab", "--no-browser")
    assert done.returncode == 1
    assert ends.removeprefix("problem: ") in done.stderr


def test_files_that_keep_jupyterlab_from_opening_are_problems(learner):
    """Each can be read, and isn't what JupyterLab merges; or is read for its page."""
    broken = {
        ".jupyter/jupyter_server_config.json": "[]",
        ".jupyter/jupyter_server_config.d/a.json": '{"ServerApp": "a"}',
        ".jupyter/labconfig/page_config.json": '{"disabledExtensions": ["a"]}',
        ".local/share/jupyter/labextensions/a/package.json": "",
    }
    for name, text in broken.items():
        write(learner / name, text)
    for name in ("b/package.json", "@a/b/package.json"):
        write(learner / ".local/share/jupyter/labextensions" / name, '{"name": "b"}')
    _, found = configured(learner, "")
    assert len(found) == len(broken)
    for said, name in zip(found, broken, strict=True):
        assert said.startswith(f"problem: {learner}/{name} ")
        assert (" ends JupyterLab (" in said) is ("jupyter_server_config" in name)
    assert found[-1].endswith(f"or move the folder {learner}/.local/share/jupyter/labextensions/a "
                              "away.")  # fmt: skip


def test_a_plugin_that_is_disabled_and_a_class_that_is_gone(learner):
    page = learner / ".jupyter" / "labconfig" / "page_config.json"
    names = {"@jupyterlab/notebook-extension:tracker": True, "@a/b:c": True,
             "@jupyterlab/filebrowser-extension:widget": False}  # fmt: skip
    write(page, json.dumps({"disabledExtensions": names}))
    config = "c.ServerApp.identity_provider_class = 'no.Such'\n"
    flags, found = configured(learner, config)
    assert flags == []  # who may come in is the learner's affair
    assert found == [
        f"problem: {learner}/.jupyter/jupyter_server_config.py sets "
        "ServerApp.identity_provider_class to 'no.Such', which cannot be imported here, so "
        "JupyterLab does not start: take that line out.",
        f"warning: {page} disables @jupyterlab/notebook-extension:tracker, which the lessons need: "
        "take it out of that file.",
    ]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("ServerApp.open_browser = 'yes'", "ServerApp instance expected a boolean, not the str"),
        ("FileContentsManager.checkpoints_class = 'no.Such'",
         "FileContentsManager instance must be a type, but 'no.Such' could not be imported"),
    ],
)  # fmt: skip
def test_a_setting_that_jupyterlab_rejects_is_named(learner, setting, why):
    flags, (said,) = configured(learner, f"c.{setting}\n")
    assert flags == []
    assert said.startswith(f"problem: {learner}/.jupyter/jupyter_server_config.py sets ")
    assert said.endswith(": correct that line.")
    assert f"which JupyterLab rejects (The '{setting.split('.')[1].split()[0]}' trait of a " in said
    assert why in said


def test_a_password_does_not_keep_the_browser_out(learner):
    for setting, given in (("ServerApp.password = 'argon2:x'", True), ("ServerApp.ip = ''", False)):
        write(learner / ".jupyter" / "jupyter_server_config.py", f"c.{setting}\n")
        environment, _ = lab.environment()
        token = lab.token_beside_a_password(lab.configuration(environment), environment)
        assert bool(token.get("JUPYTER_TOKEN")) is given
    assert lab.token_beside_a_password(lab.configuration({}), {"JUPYTER_TOKEN": "mine"}) == {}


def test_variables_that_break_the_course_are_left_out_and_others_stay(learner, monkeypatch, home):
    for name in ("PYTHONOPTIMIZE", "JUPYTERLAB_DIR", "JUPYTER_GATEWAY_URL", "PYTHONDEVMODE",
                 "PYTHONINSPECT"):  # fmt: skip
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONVERBOSE", "")  # as if it was not set
    for name in ("PYTHONSTARTUP", "NO_COLOR", "PYTHONNOUSERSITE", "JUPYTER_TOKEN"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("COURSE_HOME", os.path.relpath(home))
    monkeypatch.setenv("JUPYTER_PATH", "/mine")
    monkeypatch.setenv("SSL_CERT_FILE", __file__)
    monkeypatch.setenv("SSLKEYLOGFILE", "/dev/null/where")
    environment, told = lab.environment()
    assert [one.partition(" ")[0] for one in told] == [
        "JUPYTERLAB_DIR", "JUPYTER_GATEWAY_URL", "PYTHONDEVMODE", "PYTHONINSPECT", "PYTHONOPTIMIZE",
        "SSL_CERT_FILE", "SSLKEYLOGFILE",
    ]  # fmt: skip
    assert {one for one, value in environment.items() if value in ("1", "2")} >= {
        "PYTHONSTARTUP", "NO_COLOR", "PYTHONNOUSERSITE", "JUPYTER_TOKEN",
    }  # fmt: skip
    assert os.path.samefile(environment["COURSE_HOME"], home)
    assert os.path.isabs(environment["COURSE_HOME"])
    assert environment["JUPYTER_PATH"].endswith("/jupyter:/mine")


def test_a_backend_of_matplotlib_stays_if_it_is_one(monkeypatch):
    for name, told in [("Agg", []), ("no_such", [
        "MPLBACKEND is left out: matplotlib rejects it (no_such)."])]:  # fmt: skip
        monkeypatch.setenv("MPLBACKEND", name)
        environment, said = lab.environment()
        assert said == told
        assert environment.get("MPLBACKEND") == (None if told else name)


def test_what_jupyter_writes_goes_elsewhere_where_a_home_takes_nothing(monkeypatch, home):
    monkeypatch.setenv("HOME", "/proc/nobody")
    for name in [one for one in os.environ if one.startswith(("JUPYTER", "IPYTHON", "MPL"))]:
        monkeypatch.delenv(name)
    environment, told = lab.environment()
    assert told == [f"what Jupyter writes goes to {home}/jupyter, since /proc cannot be written."]
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        assert Path(environment[name]).is_relative_to(home)
        assert Path(environment[name]).is_dir()


# ------------------------------------------------------------------ the machine


PYTHON = interpreter.Interpreter(
    executable="/a/bin/python", version=(3, 12), bits=64, free_threaded=False, debug=False,
    without=(), pins={"redis": "8.1.0", "rich": "15.0.0"},
    installed={"redis": "8.1.0", "rich": "15.0.0"}, prefix="/a",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({}, "", ""),
        ({"version": (3, 10)}, "problem", "Python 3.10 is too old"),
        ({"bits": 32}, "problem", "is a 32-bit Python"),
        ({"free_threaded": True}, "warning", "is a free-threaded build"),
        ({"debug": True}, "warning", "is a debug build"),
        ({"without": ("ctypes",)}, "problem", "was built without the module ctypes, which Jupyter"),
        (
            {"installed": {"rich": "15.0.0"}},
            "problem",
            "These packages are missing: redis. Run `cd",
        ),
        ({"installed": {"redis": "5.0.1", "rich": "15.0.0"}}, "warning", "redis 5.0.1 (not 8.1.0)"),
        ({"conda": "/c"}, "", ""),  # as conda's base often is
        ({"conda": "/c", "virtual": "/a", "python": "/a/bin/python"}, "", ""),
        (
            {"conda": "/c", "virtual": "/a", "python": "/c/bin/python"},
            "warning",
            "conda deactivate",
        ),
    ],
)
def test_a_python_that_is_not_as_it_should_be(changed, level, words):
    found = list(interpreter.findings(replace(PYTHON, **changed)))
    assert [one.level for one in found] == ([level] if level else [])
    assert all(words in one.sentence for one in found)


def test_a_proxy_is_tried(monkeypatch):
    for name in [one for one in os.environ if one.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def said(**variables: str) -> list[str]:
        environment = dict(variables)
        loopback.spare_loopback(environment)
        return sentences(proxies.findings(proxies.look(environment)))

    assert said() == []
    (socks,) = said(ALL_PROXY="socks5h://127.0.0.1:1")
    assert socks.startswith("warning: The proxy that your environment names cannot be used (Using")
    for proxy, why in [
        ("http://proxy:port", "Invalid port: 'port'"), ("http://127.0.0.1:99999", "Port out of"),
        ("http://[bad", "Invalid"), ("http://", "it has no host name"), ("http://ä..b", "Invalid"),
    ]:  # fmt: skip
        (unusable,) = said(HTTPS_PROXY=proxy)
        assert f"that your environment names cannot be used ({why}" in unusable
    (exceptions,) = said(HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="[::1")
    assert exceptions.startswith("warning: NO_PROXY cannot be read (Invalid port: ':1'): name")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        proxy = f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"
        (silent,) = said(HTTPS_PROXY=proxy)
        assert "that your environment names does not answer (Connection refused): correct" in silent
        assert "secret" not in silent
        assert said(HTTPS_PROXY=proxy, NO_PROXY="*") == []
        assert said(HTTPS_PROXY=proxy, NO_PROXY=".wikimedia.org") == []
        server.listen()
        assert said(HTTPS_PROXY=proxy) == []


def test_the_network_is_tried():
    assert list(network.findings(network.look())) == []
    lost = network.Network(loopback="Network is unreachable", addresses=("127.0.0.1",))
    (said,) = sentences(network.findings(lost))
    assert said.startswith("problem: Nothing can be reached at 127.0.0.1 (Network is unreachable)")
    for seen, words in (
        (network.Network(unresolved="Name or service not known"), "leads nowhere (Name or"),
        (network.Network(addresses=("10.1.2.3",)), "leads to 10.1.2.3, which isn't"),
        (network.Network(addresses=("::1",), unusable=("::1",)), "leads to ::1 alone, where"),
        (network.Network(addresses=("127.0.0.1",), took_s=5.0), "It takes 5.0 s to look"),
    ):
        (said,) = sentences(network.findings(seen))
        assert said.startswith("warning: ")
        assert words in said
    assert list(network.findings(network.Network(addresses=("::1",)))) == []
    assert can_listen("127.0.0.1")
    assert not can_listen("203.0.113.7")


CLOCK = clock.Clock(now_s=1.8e9, files_s=1.7e9, jumped_s=0.0, ahead_s=0.0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        (
            {"now_s": 0.0},
            "says 01 January 1970, and the course's files were written on 14 November",
        ),
        ({"jumped_s": -3.0}, "jumped by -3.0 s"),
        ({"ahead_s": -90.0}, "The server's clock is 90 s behind this machine's"),
        ({"ahead_s": 1.0}, ""),
    ],
)
def test_a_clock_that_is_wrong(changed, words):
    found = sentences(clock.findings(replace(CLOCK, **changed)))
    assert len(found) == bool(words)
    assert all(words in one for one in found)


def test_the_clocks_of_this_machine_and_its_server_agree(redis):
    seen = clock.look(clock.begin(), clock.ahead_s(redis))
    assert abs(seen.ahead_s) < 1
    assert abs(seen.jumped_s) < 1
    assert seen.now_s > seen.files_s > 1.7e9


MB = limits.MB
ENOUGH = limits.Limits(8000 * MB, None, 4096, None, None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"memory": 100 * MB}, "100 MB of memory are free"),
        ({"container": 100 * MB}, "This container may use 100 MB of memory more"),
        ({"files": 100}, "may open 100 files here"),
        ({"processes": 5}, "You may start 5 more processes"),
        ({"addresses": 400 * MB}, "A program may reserve 400 MB here"),
        ({"file_size": MB}, "A file may have 1,024 KB here"),
    ],
)
def test_limits_that_are_too_low(changed, words):
    found = sentences(limits.findings(replace(ENOUGH, **changed)))
    assert len(found) == bool(words)
    assert all(words in one for one in found)


def test_limits_of_a_shell_are_seen():
    code = "from helpers.course.doctor import limits; print(limits.look().files)"
    words = [
        "sh",
        "-c",
        'ulimit -Sn 200; ulimit -Hn 200; exec "$@"',
        "-",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"


def test_another_container_on_the_same_folder_and_one_without_loopback(home):
    """In namespaces of its own: first without a network, then with loopback alone."""
    OwnServer(home).ensure()
    said = apart(
        "from helpers.course.doctor import examine, network\n"
        "print(*examine()['problems'])\n"
        f"{LOOPBACK}"
        "from helpers.course.doctor import server\n"
        "print(*(one.sentence for one in server.look()[1]))\n",
        "--net",
    )
    lost, shared = said.splitlines()
    assert lost.startswith("Nothing can be reached at 127.0.0.1 (Network is unreachable): enable")
    assert shared.startswith("The course's server runs in another container or on another machine")


# ------------------------------------------------------------------ folders


def test_a_small_and_a_full_disk_are_seen(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"SKIPPED, no small disk can be mounted here: {done.stderr.strip()}")
    try:
        folder.chmod(0o700)
        seen = folders.look(folder)
        little, files = sentences(folders.findings(seen[:1]))
        assert little.startswith(f"warning: 1 MB are free on the disk of {folder}, and the lessons")
        assert files.startswith(f"warning: The disk of {folder} has room for ")
        (folder / "filler").write_bytes(b"x" * 1_000_000)
        assert shortage(folder) == ("The disk is full", "free some space on it")
        first, *_ = sentences(folders.findings(folders.look(folder)))
        full = f"problem: The disk is full, so {folder} cannot take the server's data: free some"
        assert first == f"{full} space on it."
    finally:
        subprocess.run(["umount", str(folder)], check=False)


FOLDER = folders.Folder("the server's data", "/a/.course", free=10**10, files_left=10**6)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"free": 50 * MB}, "50 MB are free on the disk of /a/.course"),
        ({"locks": False}, "Locks do nothing on the disk of /a/.course"),
        ({"path": "/a/OneDrive - Firm/course/.course"}, "is in a folder named OneDrive: if"),
        ({"path": "/a/Dropbox/b"}, "is in a folder named Dropbox: if"),
        ({"path": "/a/my dropboxes/b"}, ""),
        ({"windows": True}, "is on a drive of Windows, which WSL reaches slowly"),
        ({"what": "the course's notebooks", "path": "/a:b"}, "The path /a:b has a colon"),
        ({"what": "the course's notebooks", "path": "/ä b/" + "x" * 200}, ""),
        ({"what": "temporary files", "path": "/" + "x" * 90}, "is too long for the sockets of"),
        ({"what": "temporary files", "unwritable": "No usable"}, "No folder for temporary files"),
        ({"owner": "/a/.course/x"}, "/a/.course/x cannot be written by you"),
        (
            {"closed": "/a/labs/x"},
            "/a/labs/x is read-only, so nothing can be saved in it: run `chmod",
        ),
        ({"files_left": 3}, "has room for 3 more files"),
        ({"files_left": None, "free": None}, ""),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(changed, words):
    found = sentences(folders.findings([replace(FOLDER, **changed)]))
    assert len(found) == bool(words)
    assert all(words in one for one in found)


def test_a_lab_that_cannot_be_saved_is_named():
    """As another user, whom the rights of a checkout bind; only a folder of theirs is open."""
    code = (
        "import os, pathlib, sys, tempfile\n"
        "from helpers.course.doctor import folders\n"
        "checkout = pathlib.Path(tempfile.mkdtemp(dir='/tmp'))\n"  # which that user can reach
        "for place in ('notebooks', 'labs'): (checkout / place).mkdir()\n"
        "lab = checkout / 'labs' / 'a.ipynb'\n"
        "def say(): print(*(one.sentence.replace(str(checkout), '') for one in "
        "folders.findings([folders._notebooks(checkout)])), sep='\\n')\n"
        "lab.write_text('')\n"
        "if os.geteuid() == 0:\n"
        "    for one in (checkout, *checkout.iterdir()): os.chown(one, 12345, 12345)\n"
        "    os.setresuid(12345, 12345, 0); say(); os.setresuid(0, 0, 0)\n"
        "    os.chown(lab, 12345, 12345); os.setresuid(12345, 12345, 0)\n"
        "else: print('/labs/a.ipynb cannot be written by you')\n"
        "lab.chmod(0o444); say(); (checkout / 'labs').chmod(0o555); say()\n"
        "lab.chmod(0o644); (checkout / 'labs').chmod(0o755); checkout.chmod(0o555); say()\n"
        "checkout.chmod(0o755); lab.unlink()\n"
        "import shutil; shutil.rmtree(checkout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, closed, labs, healthy = done.stdout.splitlines()
    assert others.startswith("/labs/a.ipynb cannot be written by you")
    assert closed.startswith("/labs/a.ipynb is read-only, so nothing can be saved in it: run `chm")
    assert labs.startswith("/labs cannot be written (Permission denied), so the course's notebooks")
    assert healthy == ""


def test_what_is_safe_is_fixed(home, redis):
    """An open folder, progress that cannot be read, a second server in the data folder."""
    own = OwnServer(home)
    own.ensure()
    home.chmod(0o755)
    assert folders.look(home)[0].open_to_others is False  # it is closed within
    own.folder.chmod(0o755)
    (own.folder / "server.json").chmod(0o644)
    (home / "progress.json").write_text("{")
    words = [saved(home).program, "--port", "0", "--unixsocket", "orphan", "--save", ""]
    with subprocess.Popen(words, cwd=own.data, stdout=subprocess.DEVNULL) as orphan:
        while psutil.Process(orphan.pid).name() not in ("redis-server", "valkey-server"):
            time.sleep(0.01)
        assert keeping.orphans(home) == (orphan.pid,)
        report = json.loads(course("doctor", "--json").stdout)
        assert [one["fix"] for one in report["findings"]] == [
            "put the progress aside", "end the orphans", "close the hidden folder",
        ]  # fmt: skip
        said = course("doctor", "--fix").stdout
        assert has_ended(orphan.pid)
    assert "Renamed" in said
    assert f"Ended process {orphan.pid}." in said
    assert f"Only you can open {home} now." in said
    assert said.endswith("All is well.\n")
    assert (home / "progress-1.unreadable").read_text() == "{"
    assert home.stat().st_mode & 0o777 == 0o700
    assert own.running() == saved(home)


def test_a_folder_of_another_checkout_and_a_relative_home_are_named(tmp_path, monkeypatch):
    write(tmp_path / "helpers" / "course" / "a", "")
    write(tmp_path / "course_entry.py", "")
    monkeypatch.chdir(tmp_path / "helpers")
    relative, elsewhere = sentences(
        keeping.findings(keeping.look(tmp_path, {"COURSE_HOME": "mine"}))
    )
    assert relative.startswith("warning: COURSE_HOME is 'mine', which is another folder in each")
    assert relative.endswith(f"such as {tmp_path}/helpers/mine.")
    assert elsewhere.startswith(f"warning: You are in {tmp_path}, and this `course` belongs to")


# ------------------------------------------------------------------ other tools


def test_the_address_for_a_shell_and_for_other_programs(redis):
    said = course("server", "url", "--env").stdout
    assert said.startswith("export REDIS_URL=redis://default:")
    url = course("server", "url").stdout.strip()
    shell = subprocess.run(
        ["sh", "-c", f'{said}printf %s "$REDIS_URL"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == url


def test_the_password_is_on_no_command_line():
    url = "redis://ada:p%40ss@10.0.0.1:7000/3"
    words, secret = cli_program.command("valkey-cli", url, ["XLEN", "s"])
    assert words == ["valkey-cli", "-h", "10.0.0.1", "-p", "7000", "-n", "3", "--user", "ada",
                     "XLEN", "s"]  # fmt: skip
    assert secret == {"REDISCLI_AUTH": "p@ss", "VALKEYCLI_AUTH": "p@ss"}
    words, secret = cli_program.command("c", "rediss://localhost?ssl_ca_certs=/ca.pem", [])
    assert words == ["c", "-h", "localhost", "-p", "6379", "--tls", "--cacert", "/ca.pem"]
    assert secret == {}
    assert cli_program.command("c", "unix:///a/s?db=2", [])[0] == ["c", "-s", "/a/s", "-n", "2"]


def test_course_cli_speaks_to_the_course_s_server(home):
    """The program is looked for on PATH and beside the server's own."""
    with connect() as client:
        client.xadd("chennai", {"temperature": "26"})
    try:
        cli_program.find_cli(beside=saved(home).program)
    except CourseError:
        pytest.skip("SKIPPED: there is neither redis-cli nor valkey-cli on this machine")
    done = typed("cli", "XLEN", "chennai", REDISCLI_AUTH="another")
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert typed("cli", answer="PING\n").stdout == "PONG\n"


def test_without_a_cli_it_is_said_how_to_get_one():
    with pytest.raises(CourseError, match="neither redis-cli nor valkey-cli on this machine: inst"):
        cli_program.find_cli(path="/no/where")
