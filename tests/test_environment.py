"""What sets the course up agrees with itself, on every machine and for conda and Binder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient

pytestmark = pytest.mark.once

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
REGISTRY = re.compile(r"[p]ypi\.|[p]ythonhosted|registry\.[n]pm|[n]pmjs", re.IGNORECASE)
SOMEBODYS_MACHINE = re.compile(r"/(?:work|tmp/dev|root|home/\w+|Users/\w+)/")


def make(
    *arguments: str, limit_s: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run make as in a fresh shell, also when make itself runs the tests."""
    kept = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        [str(shutil.which("make")), *arguments], cwd=CHECKOUT, env=kept | variables,
        capture_output=True, text=True, timeout=patient(limit_s), check=False,
    )  # fmt: skip


def normal(requirement: str) -> str:
    """A requirement with its name as installers compare it."""
    name, separator, version = requirement.partition(";")[0].partition("==")
    return re.sub(r"[-_.]+", "-", name).lower() + separator + version


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder, for PATH, with what make needs and a `python3` that is too old."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "rm", "sed", "touch"):
        (folder / name).symlink_to(str(shutil.which(name)))
    script(folder / "python3", "exit 1")
    return folder


def files() -> list[Path]:
    """Every file of the repository, and those about to become one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is no git checkout")
    paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


# ------------------------------------------------------------------ dependencies


def test_conda_and_binder_get_the_same_environment():
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
    *programs, of_pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert sorted(of_pip["pip"]) == sorted([*PROJECT["dependencies"], "-e ."])
    assert [re.split("[=>]", one)[0] for one in programs] == [
        "python",
        "pip",
        "make",
        "redis-server",
    ]
    assert "redis-server>=7.0" in programs


def test_conda_takes_a_python_that_the_course_supports():
    (line,) = re.findall(r"- python=3\.(\d+)\n", (CHECKOUT / "environment.yml").read_text())
    assert PROJECT["requires-python"] == ">=3.11"
    assert int(line) >= 11


def test_every_dependency_is_pinned_to_one_version():
    pins = (CHECKOUT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+|#.*", pin) for pin in pins)  # no URL, no option
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["site"], *extras["test"]]
    assert {normal(one) for one in wanted} <= {normal(pin) for pin in pins}


def test_every_package_runs_on_the_oldest_python_that_is_promised():
    """Debian 12 has Python 3.11.2: a package that asks for 3.11.5 stops `make lab` there."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    pinned = {normal(pin) for pin in (CHECKOUT / "constraints.txt").read_text().splitlines()}
    asks = {
        f"{one.name}=={one.version}": one.metadata["Requires-Python"] for one in distributions()
    }
    refusing = [name for name, asked in asks.items() if normal(name) in pinned and asked
                and not SpecifierSet(asked).contains(oldest)]  # fmt: skip
    assert refusing == []


@pytest.mark.parametrize(
    "unwanted", [REGISTRY, SOMEBODYS_MACHINE], ids=["a registry", "somebody's machine"]
)
def test_no_file_names(unwanted):
    texts = {path: path.read_text(errors="ignore") for path in files()}
    named = [f"{path.relative_to(CHECKOUT)}: {found[0]}" for path, text in texts.items()
             for found in unwanted.finditer(text)]  # fmt: skip
    assert named == []


# ------------------------------------------------------------------ make


def test_make_alone_explains_every_target():
    (targets,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    done = make()
    assert (done.returncode, done.stderr) == (0, "")
    explained = re.findall(r"^  make ([\w-]+) +\w.*$", done.stdout, re.MULTILINE)
    assert sorted(explained) == sorted(targets.split())


def test_every_target_that_makes_no_file_is_phony():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"^([\w-]+):(?!=)", MAKEFILE, re.MULTILINE)) == set(phony.split())


def test_make_env_says_in_one_sentence_that_python_is_too_old(programs, tmp_path):
    done = make("env", f"VENV={tmp_path}/venv", PATH=str(programs))
    assert done.returncode != 0
    assert done.stdout == (
        "This course needs Python 3.11 or newer, and there is none on PATH: "
        "install it, then run make again.\n"
    )
    assert not (tmp_path / "venv").exists()


def test_make_env_takes_a_newer_python_where_python3_is_too_old(programs, tmp_path):
    answers = 'case "$1" in -m) exit 1 ;; --version) echo Python 3.12.0 ;; esac'
    script(programs / "python3.12", answers)
    done = make("env", f"VENV={tmp_path}/venv", PATH=str(programs))
    assert done.returncode != 0
    setting_up, sentence = done.stdout.splitlines()
    assert setting_up.startswith(f"Setting up {tmp_path}/venv with Python 3.12.0;")
    assert sentence.startswith("python3.12 has no venv module: install it")


def test_make_env_says_that_a_python_is_not_built_as_it_should_be(programs, tmp_path):
    script(programs / "python3.12", 'case "$2" in *ssl*) exit 1 ;; esac')
    done = make("env", f"VENV={tmp_path}/venv", PATH=str(programs))
    assert done.returncode != 0
    assert done.stdout == (
        f"{programs}/python3.12 lacks ssl or ctypes, or is a 32-bit or free-threaded build: "
        "install another Python, then run make again.\n"
    )


def environment_like(folder: Path) -> Path:
    """An environment that leads to this checkout, with its own `pip`, in a folder."""
    made = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    (home,) = made.glob("lib/python*/site-packages")
    (home / "pip").mkdir()
    (home / "pip" / "__init__.py").touch()
    (home / "course.pth").write_text(str(CHECKOUT))
    script(made / "bin" / "pip", "")
    (made / "bin" / "pip").write_text(f"#!{made}/bin/python3\n")
    return made


def state(environment: Path) -> int:
    """What make learns of an environment."""
    whole = str(CHECKOUT / "helpers" / "course" / "whole.py")
    words = [str(environment / "bin" / "python"), "-I", whole]
    return subprocess.run(words, capture_output=True, check=False).returncode


def test_an_environment_that_was_moved_or_is_anothers_is_noticed(tmp_path):
    made = environment_like(tmp_path)
    assert state(made) == 0
    (leads,) = made.glob("lib/python*/site-packages/course.pth")
    leads.unlink()
    assert state(made) == 1  # an installation is enough
    leads.write_text(str(tmp_path / "another"))
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "course_entry.py").touch()
    assert state(made) == 1
    leads.write_text(str(CHECKOUT))
    moved = made.rename(tmp_path / "a b")
    assert state(moved) == 3


def test_make_sets_up_again_what_has_lost_its_python(programs, tmp_path):
    made = tmp_path / "venv"
    (made / "bin").mkdir(parents=True)
    (made / ".lab").touch()
    (made / "bin" / "python").symlink_to("/no/where/python3")
    done = make("env", f"VENV={made}", PATH=str(programs))
    assert "This course needs Python 3.11 or newer" in done.stdout
    assert not (made / ".lab").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a:b", "Python makes no environment where the path has a colon"),
        ("a$b", "does not run where the path has a $, or a space with a quote or backslash"),
        ('a "b"', "does not run where the path has a $, or a space with a quote or backslash"),
        ("a\\b `c", "does not run where the path has a $, or a space with a quote or backslash"),
    ],
)
def test_make_env_says_that_a_path_cannot_have_an_environment(tmp_path, name, said):
    folder = tmp_path / name
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).symlink_to(CHECKOUT / name)
    done = make("-C", str(folder), "env")
    assert done.returncode != 0
    assert f"{said}, as {folder} has: move the course" in done.stdout
    assert not (folder / ".venv").exists()


def test_other_code_and_pip_s_settings_do_not_come_from_the_environment(tmp_path):
    """Another `helpers` on PYTHONPATH would take the place of the course's."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = make(
        "bench", "ARGS=--help", f"VENV={sys.prefix}", PYTHONPATH=str(tmp_path), PIP_USER="1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "beside its baseline" in " ".join(done.stdout.split())


def test_make_env_says_that_a_pip_conf_sends_packages_elsewhere(tmp_path):
    made = environment_like(tmp_path)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    (made / "lib").rename(tmp_path / "without-pip")
    (made / "lib").symlink_to(Path(sys.prefix) / "lib")
    (tmp_path / "pip.conf").write_text("[install]\ntarget = /mine\nno-deps = yes\n")
    done = make(
        "-C", str(tmp_path), "env", f"VENV={made}", PIP_CONFIG_FILE=str(tmp_path / "pip.conf")
    )
    assert done.returncode != 0
    assert (
        "Your pip.conf has install.target='/mine', so pip would install elsewhere or for another "
        "system: take that out, then run make again.\n"
    ) in done.stdout


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "teaching/setup.md"])
def test_links_and_paths_in_the_prose_lead_to_files_that_exist(name):
    text = (CHECKOUT / name).read_text()
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", text)
    paths = re.findall(r"`((?:helpers|tests|notebooks|labs|solutions)/[\w./]*)`", text)
    paths = [os.path.relpath(CHECKOUT / path, (CHECKOUT / name).parent) for path in paths]
    named = {path for path in [*links, *paths] if "NN" not in path}
    here = (CHECKOUT / name).parent
    assert [path for path in sorted(named) if not (here / path).exists()] == []


def test_the_tree_in_the_readme_shows_every_folder_of_the_package_and_no_other():
    tree = (CHECKOUT / "README.md").read_text().split("## What is where")[1].split("```")[1]
    shown, above = set(), ""
    for indent, name in re.findall(r"^( *)(\w+)/ ", tree, re.MULTILINE):
        above = above if indent else name
        if len(indent) == 2:
            shown.add(f"{above}/{name}")
    tracked = [file.relative_to(CHECKOUT).parts for file in files()]
    package = {f"helpers/{parts[1]}" for parts in tracked if parts[0] == "helpers" and parts[2:]}
    assert {path for path in shown if path.startswith("helpers/")} == package
    assert all((CHECKOUT / path).is_dir() for path in shown)
