"""A room full of people: several users of one machine, and the files that set up containers."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient
from helpers.course.server import OwnServer
from tests.test_environment import MAKEFILE

pytestmark = pytest.mark.once

USERS = (54321, 54322)
LESSON = "00_start_here.ipynb"
# A folder that other users cannot enter, such as root's home, is opened for them with only what
# they need in it: in a mount namespace, which ends with the command.
OPENED = """
set -e
closed=$1 user=$2; shift 2
kept=/mnt
mount -t tmpfs tmpfs $kept
for needed in $NEEDED; do mkdir -p "$kept$needed"; mount --bind "$needed" "$kept$needed"; done
mount -t tmpfs -o mode=755 tmpfs "$closed"
for needed in $NEEDED; do mkdir -p "$needed"; mount --bind "$kept$needed" "$needed"; done
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""


@functools.cache
def as_user(user: int) -> tuple[str, ...]:
    """What makes a command another user's, who can run this Python; nothing where that fails."""
    if os.geteuid():
        return ()
    needed = [Path(one).resolve() for one in (sys.base_prefix, sys.prefix, CHECKOUT)]
    above = [folder for one in needed for folder in reversed(one.parents)]
    closed = [folder for folder in above if not folder.stat().st_mode & stat.S_IXOTH]
    words: tuple[str, ...] = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    if closed:
        inside = [str(one) for one in needed if closed[0] in one.parents]
        names = f"NEEDED={' '.join(inside)}"
        words = (
            "unshare",
            "--mount",
            "env",
            names,
            "sh",
            "-c",
            OPENED,
            "sh",
            str(closed[0]),
            str(user),
        )
    try:
        done = subprocess.run([*words, sys.executable, "-c", "import helpers"], check=False)
    except OSError:
        return ()
    return words if done.returncode == 0 else ()


def begin(home: Path, user: int) -> subprocess.Popen[str]:
    """Run the lesson in a home, with the environment of a fresh login."""
    (home / "notebooks").mkdir(parents=True)
    shutil.copy(CHECKOUT / "notebooks" / LESSON, home / "notebooks")
    if as_user(user):
        for path in (home, *home.rglob("*")):
            os.chown(path, user, user)
    home.chmod(0o700)
    own = {"HOME": home, "COURSE_HOME": home / ".redis-streams", "TMPDIR": home}
    kept = {name: os.environ[name] for name in ("PATH", "COURSE_SERVER")}
    convert = ("-m", "nbconvert", "--to=notebook", "--execute", f"--output-dir={home}")
    return subprocess.Popen(
        [*as_user(user), sys.executable, *convert, home / "notebooks" / LESSON],
        env=kept | {name: str(path) for name, path in own.items()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that other users can enter; pytest keeps its own ones to itself."""
    above = Path(tempfile.gettempdir())
    if as_user(USERS[0]) and not above.stat().st_mode & stat.S_IXOTH:
        above.chmod(above.stat().st_mode | 0o011)  # it is this run's own
    folder = Path(tempfile.mkdtemp(prefix="course-room-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_two_users_of_one_checkout_run_a_lesson_at_the_same_time(room):
    """As under JupyterHub: two users where that can be had, else one user with two homes."""
    homes = [room / name for name in ("one", "two")]
    try:
        for one in [begin(home, user) for home, user in zip(homes, USERS, strict=True)]:
            said, _ = one.communicate(timeout=patient(60))
            assert one.returncode == 0, said
        states = [OwnServer(home / ".redis-streams").running() for home in homes]
        (port, first), (other, second) = ((one.port, one.password) for one in states if one)
        assert port != other
        with pytest.raises(redis_py.AuthenticationError):
            redis_py.Redis(port=port, password=second).ping()
        assert redis_py.Redis(port=port, password=first).ping()
        for home, user in zip(homes, USERS, strict=True):
            secret = next(home.rglob("server.json")).stat()
            assert secret.st_mode & 0o077 == 0
            assert secret.st_uid == (user if as_user(user) else os.geteuid())
    finally:
        for home in homes:
            OwnServer(home / ".redis-streams").stop()


def test_they_were_two_users_of_the_machine():
    if not all(as_user(user) for user in USERS):
        pytest.skip("this machine does not let the tests become other users: one user, two homes")


# ------------------------------------------------------------------ containers


def test_containers_run_the_same_commands_as_every_other_machine():
    """They cannot be run here; what can be looked at is that they say what exists."""
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    container = (CHECKOUT / "Containerfile").read_text()
    device = json.loads((CHECKOUT / ".devcontainer" / "devcontainer.json").read_text())
    assert re.findall(r'^CMD \["make", "(\w+)", .*"\]$', container, re.MULTILINE) == ["lab"]
    assert re.findall(r"^RUN make (\w+)$", container, re.MULTILINE) == ["env"]
    assert device["postCreateCommand"] == "make env"
    assert {"lab", "env"} <= set(phony.split())
    python = re.findall(r"python:3\.(\d+)", container + device["image"])
    assert len(set(python)) == 1
    assert 11 <= int(python[0]) <= 13
    assert not (CHECKOUT / "Dockerfile").exists()  # with one, Binder would not take environment.yml
