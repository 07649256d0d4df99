"""One folder, one writer: on a shared home, without locks, on a full disk, and after a stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from helpers import connect, connect_async
from helpers.chaos import Proxy
from helpers.course import home as homes
from helpers.course.connect import connect_raw
from helpers.course.disk import naming_a_full_disk, write_whole
from helpers.course.doctor import examine
from helpers.course.errors import CourseError, ServerError
from helpers.course.pace import patient
from helpers.course.server import OwnServer, find_server, machine
from helpers.course.server import own as own_server
from helpers.course.server.process import has_ended
from tests.test_cli import course
from tests.test_server import crash, remember, saved, taken_port

pytestmark = pytest.mark.once

NO_LOCKS = "import fcntl\nfcntl.flock = fcntl.lockf = lambda *_: None\n"
ADD = "from helpers import connect\nr = connect()\nfor _ in range(20): print(r.incr('course:n'))\n"
LOOPBACK = (  # a new network has one that is switched off
    "import fcntl, socket, struct\n"
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 1))\n"
)
SAY = (
    "from helpers.course.errors import EXPECTED\n"
    "try:\n  {}\n"
    "except EXPECTED as error: print('said', error)\n"
)


@pytest.fixture
def own(home: Path) -> OwnServer:
    """The course's server of an empty hidden folder: not started yet."""
    return OwnServer(home)


@pytest.fixture(params=["locks work", "locks do nothing"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Code that makes locks do nothing, as on some network drives, or leaves them alone."""
    if request.param == "locks work":
        return ""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)
    return NO_LOCKS


def apart(code: str, *spaces: str) -> str:
    """What Python code prints in namespaces of its own: as on another host, or in a container."""
    words = ["unshare", "--fork", "--mount-proc", "--pid", *spaces]
    words += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        [*words, "true"], capture_output=True, text=True, timeout=patient(60), check=False
    )
    if done.returncode:
        pytest.skip(f"SKIPPED, this machine allows no namespaces: {done.stderr.strip()}")
    done = subprocess.run(
        [*words, sys.executable, "-c", code],
        capture_output=True, text=True, timeout=patient(60), check=True,
    )  # fmt: skip
    return done.stdout


# ------------------------------------------------------------------ one writer


def test_another_host_on_the_same_folder_is_refused(own, locks):
    with connect() as client:
        client.set("course:kept", "1")
    pid = saved(own.home).pid
    stop = "  from helpers.course.server import OwnServer\n  OwnServer(hidden_folder()).stop()"
    code = locks + "from helpers.course.home import hidden_folder\n"
    code += SAY.format("from helpers import connect; connect()") + SAY.format(stop.strip())
    refused, not_stopped = apart(code, "--net").splitlines()
    runs = "may run" if locks else "runs"
    for said in (refused, not_stopped):
        assert f"said The course's server {runs} in another container or on another" in said
        assert f"its data in {own.data}" in said
        assert "stop it there, with `course server stop`, or set COURSE_HOME to another" in said
        assert (f"If that one is gone, delete {own.folder / 'server.json'}" in said) == bool(locks)
    assert psutil.Process(pid).is_running()
    crash(pid)
    with connect() as client:
        assert client.get("course:kept") == "1"
    own.stop()  # for good, so now the other one may have the folder
    said = apart(LOOPBACK + locks + ADD, "--net")
    assert said.split()[-1] == "20"
    if locks:  # without them it can't be known that this one is gone, so one does as one is told
        with pytest.raises(ServerError, match="If that one is gone, delete"):
            connect()
        (own.folder / "server.json").unlink()
    with connect() as client:
        assert client.get("course:n") == "20"


def test_a_container_on_the_same_network_uses_and_stops_the_same_server(own, locks):
    with connect() as client:
        stop = "from helpers.course.server import OwnServer\nfrom pathlib import Path\n"
        stop += f"print(OwnServer(Path({str(own.home)!r})).stop() is not None)"
        *_, count, stopped = apart(locks + ADD + stop).splitlines()
        assert (count, stopped) == ("20", "True")
        assert has_ended(saved(own.home).pid)
        with pytest.raises(redis_py.ConnectionError, match="was stopped"):
            client.ping()
    with connect() as client:
        assert client.get("course:n") == "20"


def test_a_server_whose_container_is_gone_is_followed_by_another(own):
    """It ends with its container; the lock that it held says so."""
    apart(LOOPBACK + ADD, "--net")
    assert saved(own.home).place != machine.here()
    with connect() as client:
        assert client.get("course:n") == "20"
    assert saved(own.home).place == machine.here()


def test_after_a_restart_of_the_machine_the_pid_means_nothing(own):
    with connect() as client:
        client.set("course:kept", "1")
    crash(saved(own.home).pid)
    remember(own.home, boot="the one before", pid=os.getpid())
    with pytest.raises(ServerError, match="may run in another container or on another machine"):
        connect()  # it was started since this machine was: so by one that is made like it
    os.utime(own.folder / "server.json", (1, 1))
    with connect() as client:
        assert client.get("course:kept") == "1"


def test_of_machines_that_are_alike_a_lock_says_which_runs(own):
    """Two from one image, with one host name: only the lock tells them from a restart."""
    own.ensure()
    running = saved(own.home)
    with taken_port() as port:
        pass
    remember(own.home, boot="the other's", pid=os.getpid(), port=port)
    with pytest.raises(ServerError, match=r"runs in another container or on another machine"):
        OwnServer(own.home).revive()
    remember(own.home, **asdict(running))


def test_programs_that_start_at_once_without_locks_share_one_server(own):
    started = [
        subprocess.Popen([sys.executable, "-c", NO_LOCKS + ADD], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=patient(60))[0].split() for process in started]
    assert sorted(int(number) for numbers in said for number in numbers) == [*range(1, 81)]
    crash(saved(own.home).pid)
    with connect() as client:
        assert client.get("course:n") == "80"


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_finds_another_token_gives_way(own, monkeypatch, when):
    launched: list[int] = []
    launch, claim = OwnServer._launch, OwnServer._claim

    def rival() -> None:
        (own.folder / "server.token").write_text("another's")

    def launching(self: OwnServer, *args: object) -> int:
        if when == "before" and not launched:
            rival()
        launched.append(launch(self, *args))  # type: ignore[arg-type]
        if when == "after" and len(launched) == 1:
            rival()
        return launched[-1]

    monkeypatch.setattr(OwnServer, "_launch", launching)
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)
    own.ensure()
    first, second = launched
    assert has_ended(first)
    assert second == saved(own.home).pid
    assert claim is OwnServer._claim


@pytest.mark.parametrize("lost", ["server.json", "server.*"])
def test_a_server_whose_files_were_deleted_is_ended_before_another_starts(own, lost):
    with connect() as client:
        client.set("course:kept", "1")
    first = saved(own.home).pid
    for file in own.folder.glob(lost):
        file.unlink()
    with connect() as client:
        assert client.get("course:kept") == "1"
    assert has_ended(first)


def test_a_server_of_an_earlier_version_is_ended(own):
    (own.home / "data").mkdir()
    words = [os.environ["COURSE_SERVER"], "--port", "0", "--save", ""]
    with subprocess.Popen(words, cwd=own.home / "data", stdout=subprocess.DEVNULL) as earlier:
        while psutil.Process(earlier.pid).name() not in ("redis-server", "valkey-server"):
            time.sleep(0.01)
        own.ensure()
        assert has_ended(earlier.pid)


def test_each_machine_has_a_folder_of_its_own(own):
    own.ensure()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(platform, "node", lambda: "pc 12/ä")
            machine.machine_name.cache_clear()
            other = OwnServer(own.home)
            assert other.folder.parent == own.folder.parent
            assert other.folder.name.startswith("pc-12-")
            assert other.running() is None
            assert other.others() == [own.folder.name]
            report = examine()
            assert f"keeps its own data in {own.folder}" in " ".join(report["warnings"])
            other.stop()
    finally:
        machine.machine_name.cache_clear()


def test_a_machine_without_a_number_is_told_by_its_boot(monkeypatch):
    names = set()
    for number, boot in (("m1", "b1"), ("m1", "b2"), ("m2", "b1"), ("", "b1"), ("", "b2")):
        monkeypatch.setattr(machine, "_read", lambda path, number=number: number)
        monkeypatch.setattr(machine, "here", lambda boot=boot: machine.Place(boot, ""))
        names.add(machine.machine_name.__wrapped__())
    assert len(names) == (4 if sys.platform == "linux" else len(names))


# ------------------------------------------------------------------ stopped on purpose


def test_what_was_stopped_is_started_by_no_connection_of_before(own):
    async def ping() -> None:
        async with connect_async() as client:
            await client.ping()
            await asyncio.to_thread(own.stop)
            with pytest.raises(redis_py.ConnectionError, match="was stopped"):
                await client.ping()

    with connect() as client, connect_raw() as raw, Proxy() as proxy:
        client.set("course:kept", "1")
        asyncio.run(ping())
        for one in (client, raw):
            with pytest.raises(redis_py.ConnectionError, match=r"stopped: run `connect\(\)`"):
                one.get("course:kept")
        with pytest.raises(redis_py.ConnectionError), proxy.connect() as through:
            through.ping()
        assert own.running() is None
        with connect():  # asks anew, and so those of before go on
            assert client.get("course:kept") == "1"
            assert raw.execute_command("GET", "course:kept") == b"1"


def test_a_stop_of_what_has_crashed_is_a_stop(own):
    with connect() as client:
        crash(saved(own.home).pid)
        assert own.stop() is None
        with pytest.raises(redis_py.ConnectionError, match="was stopped"):
            client.ping()
        assert client.connection_pool.connection_kwargs["folder"] == own.home
        find_server()
        client.ping()


# ------------------------------------------------------------------ no room


@dataclass
class Disk:
    """A small file system."""

    folder: Path

    def fill(self) -> None:
        """Use up all that is free."""
        file = self.folder / "filler"
        with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
            while True:
                out.write(b"x" * 64)

    def free(self) -> None:
        """Make room."""
        (self.folder / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk of a megabyte, on which the hidden folder is."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"SKIPPED, no small disk can be mounted here: {done.stderr.strip()}")
    monkeypatch.setenv("COURSE_HOME", str(folder))
    try:
        yield Disk(folder)
    finally:
        OwnServer(folder).stop()
        subprocess.run(["umount", str(folder)], check=False)


FULL = r"^The disk is full, so the course cannot write to .*: free some space on it, or set "


def test_a_full_disk_is_named_and_nothing_is_left(disk):
    own = OwnServer(disk.folder)
    disk.fill()
    with pytest.raises(ServerError, match=FULL):
        connect()
    assert examine()["problems"][0].startswith("The disk is full")
    assert own.running() is None
    assert not [*own.folder.glob(".*"), *own.folder.glob("server.json")]
    disk.free()
    with connect() as client:
        client.set("course:kept", "1")


def test_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room(disk):
    own = OwnServer(disk.folder)
    with connect() as client:
        assert client.xadd("chennai", {"temperature": "26"})
        disk.fill()
        kept = fill_up(client)
        with connect() as second:  # it answers, if only to reads
            assert second.xlen("chennai") == kept
        report = examine()
        assert not report["ok"]
        assert report["problems"][0].startswith("The disk is full")
        assert own.running() == saved(own.home)
        assert "The disk is full" in course("server", "stop").stdout
        disk.fill()
        with pytest.raises(ServerError, match=FULL):
            connect()
        assert own.running() is None
        assert has_ended(saved(own.home).pid)
        disk.free()
        with connect() as third:
            assert third.xlen("chennai") >= kept - 1  # the one that the disk did not take
            third.xadd("chennai", {"temperature": "26"})
            disk.fill()
            fill_up(third)
            disk.free()
            until(lambda: third.xadd("chennai", {"temperature": "26"}))


def fill_up(client: redis_py.Redis) -> int:
    """Add until the server refuses; how many entries there are then."""
    with contextlib.suppress(redis_py.ResponseError):
        while True:
            client.xadd("chennai", {"temperature": "2" * 500})
    with pytest.raises(redis_py.ResponseError, match="MISCONF"):
        client.ping()
    return client.xlen("chennai")


def until(attempt: Callable[[], object]) -> None:
    """Try until the server takes it: it looks once a second whether there is room again."""
    while True:
        with contextlib.suppress(redis_py.ResponseError):
            attempt()
            return


@pytest.mark.parametrize("fails", ["save", "interrupt"])
def test_a_start_that_cannot_be_noted_leaves_no_server(own, monkeypatch, fails):
    launched: list[int] = []
    launch, write = OwnServer._launch, write_whole

    def launching(self: OwnServer, *args: object) -> int:
        launched.append(launch(self, *args))  # type: ignore[arg-type]
        return launched[-1]

    def writing(file: Path, text: str) -> None:
        if file.suffix == ".json":
            raise OSError(28, "No space left on device") if fails == "save" else KeyboardInterrupt
        write(file, text)

    monkeypatch.setattr(OwnServer, "_launch", launching)
    monkeypatch.setattr(own_server, "write_whole", writing)
    with pytest.raises(ServerError if fails == "save" else KeyboardInterrupt):
        own.ensure()
    assert has_ended(launched[0])
    assert own.running() is None


def test_a_limit_on_the_length_of_files_is_named(home):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    code += SAY.format("from helpers import connect; connect()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "said A file would exceed its size limit" in done.stdout
    assert "raise the limit that `ulimit -f` shows" in done.stdout
    assert OwnServer(home).running() is None
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_a_folder_that_a_full_disk_cannot_take_is_told_so(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(CourseError, match=FULL):
        homes.hidden_folder()
    assert shutil.disk_usage(tmp_path).free


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "No", "/no/labs/a"), r"use /no/labs \(No\): make it readable and wr"),
        (OSError(28, "Full", "/no/labs/a"), r"use /no/labs \(Full\): free some space on it, then"),
        (IsADirectoryError(21, "Is", "/home/a"), r"to /home/a \(Is\). Move the folder away that"),
        (PermissionError(13, "No", "/home/a"), r"to /home \(No\). Make it writable, or set COURSE"),
    ],
)
def test_the_place_that_cannot_be_written_is_named(error, said):
    with pytest.raises(CourseError, match=said), naming_a_full_disk(Path("/home")):
        raise error


def test_a_file_is_written_in_utf8_whatever_the_locale(tmp_path):
    file = tmp_path / "class.csv"
    code = (
        "import sys; from pathlib import Path; from helpers.course.disk import write_whole\n"
        "write_whole(Path(sys.argv[1]), '\\u5e2d 3\\r\\n')"
    )
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, file], env=os.environ | plain, check=True)
    assert file.read_bytes() == "席 3\r\n".encode()
