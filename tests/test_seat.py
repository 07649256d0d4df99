"""A seat in a class: what is sent, and that no board, disk or kernel can harm a check by it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from helpers.checks import open_lab
from helpers.course.pace import patient
from helpers.course.server import OwnServer
from helpers.room import joining, noting, post, sending, spool
from helpers.room import seat as seats
from helpers.room.joining import join
from helpers.room.post import BoardError, board_url
from tests import test_home
from tests.boards import SECRET, Answer, Board, answer, dripping, silent
from tests.test_cli import course, refused, started, told, until
from tests.tls import certificates

pytestmark = pytest.mark.once
disk = test_home.disk

# ------------------------------------------------------------------ small tools


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hidden folder of the test's own; retries come soon, and no lab was opened yet."""
    monkeypatch.setattr(noting, "_opened", {})
    monkeypatch.setattr(sending, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(sending, "LONGEST_RETRY_S", 0.05)
    return home


@pytest.fixture
def board() -> Iterator[Board]:
    with Board() as one:
        yield one


@pytest.fixture
def seat(folder: Path, board: Board) -> Iterator[seats.Seat]:
    """A seat in the class of the board."""
    yield join(board.url, "seat 12", "apple-tree")
    seats.forget()  # what the background thread has to do ends with it


def checked(exercise: str = "03.2", outcome: str = "wrong", hint: int = 3) -> None:
    noting.note(exercise, outcome, lambda: hint)


def numbers(board: Board) -> list[int]:
    return [one["n"] for one in board.events()]


# ------------------------------------------------------------------ what is sent


def test_each_check_is_sent_and_nothing_but_what_was_promised(seat, board, folder):
    lab = open_lab(1)
    lab.check(1)
    lab.check(1, 12)
    until(lambda: len(board.kept) == 2)
    assert [set(one) for one in board.events()] == [
        {"n", "exercise", "outcome", "hint", "seconds"}
    ] * 2
    first = board.events()[0]
    assert (first["n"], first["exercise"], first["outcome"]) == (1, "01.1", "wrong")
    assert 0 <= first["seconds"] < patient(60)
    (joined, *sent) = board.requests
    assert joined[0] == "/join"
    assert joined[1] == {"code": "apple-tree", "as": "seat 12", "secret": joined[1]["secret"]}
    assert {(path, key) for path, _, key in sent} == {("/events", f"Bearer {SECRET}")}
    assert all(set(body) == {"events", "dropped", "waiting"} for _, body, _ in sent)
    until(lambda: noting.news() == "the class board has all of it")
    assert repr(lab.progress()).endswith("done · the class board has all of it")
    assert (folder / "class" / "seat.json").stat().st_mode & 0o77 == 0
    assert all(file.stat().st_mode & 0o77 == 0 for file in (folder / "class").glob("events-*.sq*"))
    rows = told("class", "sent").splitlines()
    assert [row.split()[0] for row in rows] == ["n", "1", "2"]
    assert rows[1].endswith("sent")


def test_seconds_count_from_when_the_lab_was_first_opened_in_this_seat(seat, board, monkeypatch):
    now = time.time()
    for at, does in (
        (10, lambda: noting.open_lab("09")),
        (70, lambda: checked("09.1")),
        (80, lambda: noting._opened.clear()),  # another kernel
        (90, lambda: noting.open_lab("09")),
        (130, lambda: checked("09.2")),
        (5, lambda: checked("09.1")),  # a clock that was set back
        (10**9, lambda: checked("09.1")),
    ):
        monkeypatch.setattr(time, "time", lambda at=at: now + at)
        does()
    until(lambda: len(board.kept) == 4)
    assert [one["seconds"] for one in board.events()] == [60, 120, 0, 10_000_000]


def test_without_a_class_a_check_opens_no_file_and_loads_nothing(folder):
    code = """
        import sys
        from helpers.checks import noting
        seen = []
        sys.addaudithook(lambda name, args: seen.append((name, args)))
        noting.note("03.2", "wrong", lambda: 1 / 0)
        assert noting.news() == ""
        assert not [one for one in seen if one[0] in ("open", "import", "socket.connect")], seen
        assert not {"sqlite3", "httpx", "helpers.room.sending"} & set(sys.modules)
    """
    ran(code.replace("helpers.checks", "helpers.room"))
    assert list(folder.iterdir()) == []


# ------------------------------------------------------------------ a board that is not well


REDIRECT = answer(302, {}, Location="http://127.0.0.1:1/")
MISBEHAVIOUR: dict[str, tuple[Any, str]] = {
    "garbage": ((200, b"<html>"), "isn't a class board"),
    "a list": (answer(200, [1]), "isn't a class board"),
    "no number": (answer(200, {"upto": "9"}), "isn't a class board"),
    "true": (answer(200, {"upto": True}), "isn't a class board"),
    "below zero": (answer(200, {"upto": -1}), "isn't a class board"),
    "takes nothing": (answer(200, {"upto": 0}), "doesn't take what is sent"),
    "a redirect": (REDIRECT, "answers with status 302"),
    "a fault": (answer(500, {"error": "No disk.\x1b[2J"}), "says: No disk. [2J."),
    "malformed": (answer(400, {"error": "No."}), "says: No."),
    "a flood": (answer(429, {"error": "Wait."}, **{"Retry-After": "0.01"}), "says: Wait."),
    "too big": (answer(413, {"error": "Big."}), "says: Big."),
    "endless": ((200, b"[" * 10_000_000), "isn't a class board"),
    "hangs up": ((200, b"", {"Content-Length": "7"}), "can't be reached"),
}


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
def test_a_board_that_misbehaves_gets_everything_once_it_is_well(kind, seat, board):
    given, said = MISBEHAVIOUR[kind]
    board.misbehave = lambda _: given
    for _ in range(3):
        checked()
    until(lambda: seat.spool.standing().trouble)
    assert said in told("class", "status")
    assert "3 checks not sent yet" in told("class", "status")
    assert noting.news() == "3 not on the class board yet"
    assert not board.kept
    board.misbehave = None
    until(lambda: numbers(board) == [1, 2, 3])
    until(lambda: "The board has 3 checks; none waits." in told("class", "status"))


@pytest.mark.parametrize("kind", [silent, dripping])
def test_a_board_that_never_ends_its_answer_is_given_up(kind, seat, board, monkeypatch):
    monkeypatch.setattr(post, "SILENCE_S", 0.2)
    monkeypatch.setattr(post, "DEADLINE_S", 0.3)
    board.misbehave = kind(board)
    checked()
    until(lambda: seat.spool.standing().trouble)
    board.misbehave = None
    until(lambda: numbers(board) == [1])


def test_a_dead_board_and_a_lost_reply_lose_and_double_nothing(seat, board, monkeypatch):
    lost: list[int] = []

    def lose(handler: Any) -> Answer | None:
        board.taken(board.requests[-1][1])
        lost.append(len(board.kept))
        return None if len(lost) < 3 else answer(200, {"upto": len(board.kept)})

    monkeypatch.setattr(sending, "BATCH", 4)
    board.misbehave = lose
    for _ in range(10):
        checked()
    until(lambda: not seat.spool.standing().waiting)
    assert numbers(board) == list(range(1, 11))
    moved = seats.Seat(**vars(seat) | {"url": "http://127.0.0.1:1"})
    board.misbehave = lambda _: answer(500, {})  # a sender may still know the old address
    seats.keep(moved)
    checked()
    until(lambda: "can't be reached" in seat.spool.standing().trouble)
    assert "can't be reached" in told("class", "status")
    board.misbehave = None
    seats.keep(seat)
    until(lambda: numbers(board) == list(range(1, 12)))


@pytest.mark.parametrize(("status", "why"), [(401, "Unknown seat."), (410, "It is closed.")])
def test_when_the_class_is_over_nothing_more_is_noted(status, why, seat, board):
    board.misbehave = lambda _: answer(status, {"error": why})
    checked()
    until(lambda: seat.spool.standing().ended)
    checked()
    checked()
    assert seat.spool.standing().numbered == 1
    assert noting.news() == "`course class status` has news of your class"
    said = told("class", "status")
    assert f"says: {why} Nothing is noted any more: `course class leave`." in said
    board.misbehave = None  # it was opened again
    assert "The board has 1 check; none waits." in told("class", "status")
    checked()
    until(lambda: numbers(board) == [1, 2])


def test_a_board_that_is_gone_for_a_month_is_given_up(seat, board, monkeypatch):
    board.misbehave = lambda _: answer(500, {})
    monkeypatch.setattr(sending, "GIVEN_UP_S", -1.0)
    checked()
    until(lambda: seat.spool.standing().ended)
    asked = len(board.requests)
    checked()
    noting.open_lab("03")
    assert len(board.requests) == asked
    assert "has not been reached for a month. Nothing is noted" in told("class", "status")


def test_a_clock_that_jumps_and_a_class_once_a_week_give_no_board_up(seat, board, monkeypatch):
    checked()
    until(lambda: numbers(board) == [1])
    board.misbehave = lambda _: answer(500, {})
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 5 * 365 * 86400)
    checked()
    until(lambda: seat.spool.standing().trouble)
    checked()
    board.misbehave = None
    until(lambda: numbers(board) == [1, 2, 3])


def test_an_older_copy_of_the_file_goes_on_after_what_the_board_has(seat, board):
    board.kept = {n: {"n": n} for n in range(1, 51)}
    checked("03.1")
    checked("03.2")
    until(lambda: len(board.kept) == 52)
    assert [one["exercise"] for one in board.events()[50:]] == ["03.1", "03.2"]
    until(lambda: seat.spool.standing().upto == 52)


def test_a_board_that_is_always_ahead_is_not_followed_for_ever(seat, board):
    board.misbehave = lambda _: answer(200, {"upto": 10**9 * len(board.requests)})
    checked()
    until(lambda: "doesn't take" in seat.spool.standing().trouble)


# ------------------------------------------------------------------ several kernels, and kills


def ran(code: str, **more: Any) -> subprocess.Popen[str]:
    """Run Python code as another kernel would, to its end unless `wait` is False."""
    wait = more.pop("wait", True)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], text=True, stderr=subprocess.PIPE, **more
    )
    if wait:
        _, said = process.communicate(timeout=patient(60))
        assert process.returncode == 0, said
    return process


NOTING = """
    from helpers.room import noting, sending
    sending.FIRST_RETRY_S = 0.01
    for n in range({count}):
        noting.note("0{lab}.1", "wrong", lambda: 3)
"""


def test_kernels_share_the_file_and_one_sends_at_a_time(seat, board):
    processes = [ran(NOTING.format(count=80, lab=lab), wait=False) for lab in (1, 2)]
    killed = ran(NOTING.format(count=10**6, lab=3), wait=False)
    until(lambda: any(one["exercise"] == "03.1" for one in board.events()))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    for process in processes:
        _, said = process.communicate(timeout=patient(60))
        assert process.returncode == 0, said
    told("class", "status")  # sends what the kernels left
    until(lambda: not seat.spool.standing().waiting or told("class", "status") == "")
    events = board.events()
    assert [one["n"] for one in events] == list(range(1, seat.spool.standing().numbered + 1))
    for lab in "12":
        assert len([one for one in events if one["exercise"] == f"0{lab}.1"]) == 80
    assert board.at_once == 1


def test_a_kernel_ends_while_the_board_hangs(seat, board):
    board.misbehave = silent(board)
    ran(NOTING.format(count=1, lab=1))
    ran(NOTING.format(count=1, lab=2))
    assert seat.spool.standing().waiting == 2
    board.misbehave = None
    until(lambda: "none waits" in told("class", "status"))
    assert numbers(board) == [1, 2]


# ------------------------------------------------------------------ no room


def test_beyond_its_bound_it_drops_and_counts(seat, board, monkeypatch):
    monkeypatch.setattr(spool, "MOST", 5)
    board.misbehave = lambda _: answer(500, {})
    for _ in range(8):
        checked()
    assert "3 checks could not be kept" in told("class", "status")
    board.misbehave = None
    until(lambda: seat.spool.standing().upto == 5)  # the board has them, and the seat knows it
    assert numbers(board) == [1, 2, 3, 4, 5]
    checked()
    until(lambda: len(board.kept) == 6)
    assert board.requests[-1][1]["dropped"] == 3
    until(lambda: seat.spool.standing().upto == 6)
    assert [one.n for one in seat.spool.events()] == [2, 3, 4, 5, 6]


def test_a_full_disk_or_a_spoilt_file_does_no_harm_to_a_check(disk, board, monkeypatch):
    monkeypatch.setattr(sending, "FIRST_RETRY_S", 0.01)
    here = join(board.url, "seat 12")
    board.misbehave = lambda _: answer(500, {})
    checked()
    disk.fill()
    for _ in range(100):
        checked()
    kept = here.spool.standing().waiting
    assert 1 <= kept < 100
    assert "not sent yet" in told("class", "status")
    disk.free()
    checked()
    until(lambda: here.spool.standing().waiting == 102)  # what was not written had waited
    board.misbehave = None
    until(lambda: numbers(board) == list(range(1, 103)))
    assert here.spool.standing().dropped == 0
    here.spool.file.write_bytes(b"no database " * 1000)
    checked()
    assert noting.news() == ""
    assert "can't be used" in course("class", "status").stderr
    here.spool.file.unlink()
    checked()
    assert "can't be used" in course("class", "status").stderr
    assert "You left the class" in told("class", "leave")
    here_open = psutil.Process().open_files
    until(lambda: not any(one.path.startswith(str(disk.folder)) for one in here_open()))


def test_a_home_that_cannot_be_written_refuses_to_join(folder, board):
    (folder / "class").write_text("in the way")
    assert "cannot write to" in refused("class", "join", board.url, "--as", "seat 12")
    assert not board.requests


# ------------------------------------------------------------------ the real board


@contextlib.contextmanager
def opened(instructor: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The class board. Yields its process, its address, and the instructor's key."""
    with started("class", "open", *more, COURSE_HOME=str(instructor)) as process:
        assert process.stdout
        lines = [next(process.stdout) for _ in range(4)]
        key = "".join(lines).partition("?key=")[2].split()[0]
        url = "".join(lines).partition("class join ")[2].split()[0]
        yield process, url, key


def test_the_real_board_has_every_check_once_though_it_is_killed(folder, tmp_path):
    instructor = tmp_path / "instructor"
    try:
        with opened(instructor, "--port", "0", "--code", "apple-tree") as (process, url, _):
            assert "rejects this code" in refused(
                "class", "join", url, "--as", "seat 12", "--code", "pear-trees"
            )
            here = join(url, "seat 12", "apple-tree")
            checked()
            until(lambda: here.spool.standing().upto == 1)
            process.kill()  # and its server lives on
            process.wait()
            checked("03.2", "right", 0)
            until(lambda: here.spool.standing().trouble)
        with opened(instructor) as (process, url, key):
            until(lambda: here.spool.standing().upto == 2)

            def cell() -> dict[str, Any]:
                said = httpx.get(f"{url}/board.json", params={"key": key}).json()
                return said["seats"][0]["cells"].get("03.2", {})

            until(lambda: cell().get("tries") == 2)
            assert (cell()["state"], cell()["wrong"]) == ("passed", 1)
            told("class", "leave")
            seats.keep(here)  # somebody kept the secret
            checked()
            until(lambda: here.spool.standing().ended)
            process.send_signal(signal.SIGINT)
            process.wait(patient(60))
    finally:
        OwnServer(instructor / "room").stop()


# ------------------------------------------------------------------ joining and leaving


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer(403, {"error": "No."}), "asks for a code: add `--code`"),
        (answer(409, {"error": "Taken."}), "already has a 'seat 12': choose another name"),
        (answer(429, {"error": "Too many tries."}), "says: Too many tries."),
        (answer(400, {"error": "Bad name."}), "says: Bad name."),
        (answer(201, {"class": "k1", "seat": "seat 12"}), "isn't a class board"),
        (answer(201, {"class": "k", "seat": "s", "secret": "a" * 20 + "\r\nX: y"}), "isn't a "),
        (answer(404, {}), "answers with status 404"),
        ((404, b"Not found"), "isn't a class board"),
        (REDIRECT, "status 302"),
    ],
)
def test_who_is_not_let_in_has_no_seat(given, said, folder, board):
    board.join = given
    assert said in refused("class", "join", board.url, "--as", "seat 12")
    assert not (folder / "class" / "seat.json").exists()
    assert not list((folder / "class").glob("*.sqlite"))
    assert course("class", "status").returncode == 1


def test_who_heard_no_answer_asks_again_with_the_same_secret(folder, board, monkeypatch):
    def ask(name: str) -> None:
        with contextlib.suppress(BoardError):
            join(board.url, name)

    fine, board.join = board.join, answer(503, {"error": "Send it again soon."})
    for name in ("seat 12", "seat 12", "seat 13"):
        ask(name)
    board.join = fine
    ask("seat 13")
    one, two, three, four = (body["secret"] for _, body, _ in board.requests)
    assert one == two != three == four
    seats.forget()
    ask("seat 13")
    assert board.requests[-1][1]["secret"] != four


def test_a_learner_joins_leaves_and_reads_what_was_sent(folder, board, monkeypatch):
    assert told("class", "sent").startswith("Nothing was sent")
    assert "haven't joined" in refused("class", "leave")
    said = told("class", "join", f"{board.url}/?key=instructor", "--as", "seat 12")
    assert said.startswith(f"You are 'seat 12' of the class at {board.url}.")
    assert "none of your code or answers" in said
    assert "`course class leave` ends" in refused("class", "join", board.url, "--as", "seat 13")
    checked()
    until(lambda: numbers(board) == [1])
    board.misbehave = silent(board)
    checked()
    monkeypatch.setattr(joining, "_IN_FLIGHT_S", 0.05)
    said = told("class", "leave")
    assert "1 check had not been sent, and won't be." in said
    assert board.requests[-1] == ("/leave", {}, f"Bearer {SECRET}")
    checked()
    assert [line.split()[-1] for line in told("class", "sent").splitlines()[1:]] == ["sent", "sent"]
    board.misbehave = None
    board.kept.clear()
    told("class", "join", board.url, "--as", "seat 13")
    assert told("class", "sent").startswith("Nothing was sent so far")


def test_a_certificate_of_the_boards_own_is_trusted_on_request(folder, tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("SKIPPED, there is no openssl on PATH to make a certificate with")
    certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with Board(context) as board:
        words = ("class", "join", board.url, "--as", "seat 12")
        assert "certificate of the class board at" in refused(*words)
        assert "holds no certificate in PEM" in refused(*words, "--certificate", __file__)
        told(*words, "--certificate", str(tmp_path / "ca.crt"))
        checked()
        until(lambda: numbers(board) == [1])
        assert "uses no TLS" not in told("class", "leave")
        by_number = board.url.replace("localhost", "127.0.0.1")
        assert "is for another name than this address" in refused(
            "class", "join", by_number, "--as", "seat 12", "--certificate", str(tmp_path / "ca.crt")
        )
        no_tls = board.url.replace("https:", "http:")
        assert "if its address begins with https://, write that" in refused(
            "class", "join", no_tls, "--as", "seat 12"
        )
        with Board() as plain:
            wrong = plain.url.replace("http:", "https:")
            assert "uses no TLS: begin the address with http://" in refused(
                "class", "join", wrong, "--as", "seat 12"
            )


def test_leaving_needs_no_board(folder, board):
    here = join(board.url, "seat 12")
    seats.keep(seats.Seat(**vars(here) | {"url": "http://127.0.0.1:1"}))
    said = told("class", "leave")
    assert "The board couldn't be told" in said
    assert not seats.is_joined()


@pytest.mark.parametrize("spoilt", ["[1]", '{"url": 1}', "\0"])
def test_a_spoilt_seat_is_none(spoilt, seat, folder):
    (folder / "class" / "seat.json").write_text(spoilt)
    checked()
    assert course("class", "status").returncode == 1
    assert seats.current() is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("192.168.1.20:8765", "http://192.168.1.20:8765"),
        (" https://Board.example/projector?key=x#y ", "https://board.example"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_an_address_is_kept_without_what_an_instructors_link_has_beyond(text, url):
    assert board_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://a", "http://", "http://me:pw@host", "http://a:b", "http://[1"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(BoardError, match="isn't the address of a class board"):
        board_url(text)
