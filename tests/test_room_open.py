"""`course class open`, `close` and `export`: a class that goes on, whatever is killed."""

from __future__ import annotations

import codecs
import csv
import io
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.course.errors import CourseError
from helpers.course.server import OwnServer
from helpers.course.server.identity import probe
from helpers.room.classes import PURPOSE, Class, new_class
from helpers.room.opening import Wanted, as_wanted, join, page, tls_of, urls, warnings
from tests.room_board import HttpSeat, OpenBoard
from tests.test_cli import course, refused, told
from tests.tls import certificates
from tests.waiting import until

pytestmark = pytest.mark.once

CODE = "monday-0900"


class Sender:
    """A seat that sends its events 1 to n, as often as it is told to."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.seat = HttpSeat("seat 1", http)
        self.seat.join(CODE)

    def send(self, upto: int) -> int:
        """The number that the board confirms, or the status of its refusal."""
        events = [
            {"exercise": "03.2", "outcome": "wrong", "hint": 1, "seconds": n, "n": n}
            for n in range(1, upto + 1)
        ]
        mine = {"Authorization": f"Bearer {self.seat.secret}"}
        said = {"events": events, "dropped": 0, "waiting": 0}
        reply = self.http.post("/events", json=said, headers=mine)
        return int(reply.json()["upto"]) if reply.status_code == 200 else reply.status_code


def counted(one: OpenBoard, http: httpx.Client) -> int:
    reply = http.get("/board.json", params={"key": one.page.partition("key=")[2]})
    return int(reply.json()["totals"]["events"]) if reply.status_code == 200 else -1


def test_a_class_goes_on_when_its_board_and_its_server_are_killed(tmp_path):
    home: Any = {"COURSE_HOME": str(tmp_path)}
    own = OwnServer(tmp_path / "room", PURPOSE)
    one = OpenBoard(tmp_path)
    try:
        one.open("--port", "0", "--code", CODE, "--title", "Monday")
        with one.client() as http:
            sender = Sender(http)
            assert sender.send(100) == 100
            place, before = one.page, own.alive()
            assert before
            with closing(probe(before.url)) as client:
                assert client.config_get("appendfsync") == {"appendfsync": "always"}
            one.kill()
        one.open()  # with nothing said: the same code, port and key, and the server that lives on
        assert one.page == place
        assert own.alive() == before
        assert "“Monday” goes on, with 1 seat" in (tmp_path / "board.log").read_text()
        with one.client() as sender.http:
            assert sender.send(150) == 150
            os.kill(before.pid, signal.SIGKILL)
            assert until(lambda: sender.send(200) == 200)
            assert own.alive() not in (None, before)
            assert until(lambda: counted(one, sender.http) == 200)
            assert "already open" in refused("class", "open", **home)
            (row,) = csv.DictReader(io.StringIO(told("class", "export", **home)))
            told("class", "export", str(tmp_path / "x.csv"), **home)
            assert (tmp_path / "x.csv").read_bytes().startswith(codecs.BOM_UTF8 + b"seat,left")
            told("class", "export", str(tmp_path / "x.JSON"), **home)
            assert (tmp_path / "x.JSON").read_text().startswith("{")
            nowhere = str(tmp_path / "none" / "x.csv")
            assert f"{nowhere} can't be written" in refused("class", "export", nowhere, **home)
            assert (row["seat"], row["03.2 tries"], row["03.2 wrong"]) == ("seat 1", "200", "200")
            assert "isn't over" in refused("class", "forget", "--yes", **home)
            assert "1 seat is over" in told("class", "close", **home)
            assert sender.send(201) == 410
            assert "still open: end that first" in refused("class", "forget", "--yes", **home)
    finally:
        one.close()
    assert one.process
    assert one.process.returncode == 0
    assert own.alive() is None
    said = (tmp_path / "board.log").read_text()
    assert said.splitlines()[0].endswith("lessons 03 to 06, at work.")
    assert said.splitlines()[-1].startswith("The class is over")
    assert "Traceback" not in said
    assert one.page in said
    asked = course("class", "forget", answer="n\n", **home)
    assert (asked.returncode, asked.stderr) == (1, "Aborted.\n")
    assert "Delete the class “Monday”, with 1 seat?" in asked.stdout
    assert b"seat 1" in everything(own.data)
    assert "It had 1 seat" in told("class", "forget", "--yes", **home)
    assert b"seat 1" not in everything(own.data)
    assert "No class is kept" in refused("class", "forget", **home)


def everything(folder: Path) -> bytes:
    """What all files of a folder have."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_what_cannot_be_opened_is_said_in_one_sentence(tmp_path):
    home: Any = {"COURSE_HOME": str(tmp_path)}
    assert "No class is kept" in refused("class", "close", **home)
    assert "No class is kept" in refused("class", "export", **home)
    assert "ends in .csv or .json" in refused("class", "export", "x.xlsx", **home)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused("class", "open", "--port", port, **home)
    for words, sentence in {
        ("--code", "short"): "8 to 64 characters",
        ("--cert", "x.pem"): "both --cert and --key",
        ("--cert", "x.pem", "--key", "y.pem"): "x.pem",
        ("--address", "192.0.2.7"): "isn't an address of this machine",
        ("--port", "70000"): "from 0 to 65535",
        ("--title", "x" * 81): "80 characters",
    }.items():
        assert sentence in refused("class", "open", *words, **home)
    assert OwnServer(tmp_path / "room", PURPOSE).alive() is None


def test_what_others_can_reach_has_a_code_and_says_what_they_can_read(tmp_path):
    room = as_wanted(new_class(), Wanted())
    assert (room.address, room.code, warnings(room)) == ("127.0.0.1", "", ())
    reached = [as_wanted(room, Wanted(address=one)) for one in ("0.0.0.0", "192.0.2.7", "::")]
    for one in reached:
        assert len(one.code) == 9
        assert "Without a certificate" in " ".join(warnings(one))
        assert all(one.code in join(one, url) for url in urls(one))
        assert one.key not in "".join(urls(one))
    assert page(reached[0]).startswith("http://127.0.0.1:")
    assert page(reached[1]).startswith("http://192.0.2.7:")
    assert page(reached[2]).startswith("http://[::1]:")
    assert all(url.startswith("http://[") for url in urls(reached[2]))
    again = as_wanted(reached[1], Wanted())
    assert again == reached[1]  # opened again, it is where it was
    certificates(tmp_path)
    files = Wanted(certificate=tmp_path / "server.crt", certificate_key=tmp_path / "server.key")
    secure = as_wanted(again, files)
    assert (warnings(as_wanted(secure, Wanted(address="localhost"))), secure.code) == (
        (),
        again.code,
    )
    assert urls(secure) == ("https://192.0.2.7:0",)
    assert urls(secure, ["localhost"])[0] == "https://localhost:0"
    assert warnings(secure, ["localhost"]) == ()
    (elsewhere,) = warnings(secure)
    assert "refuse the certificate at https://192.0.2.7:0 (IP address mismatch" in elsewhere
    assert tls_of(secure)
    wrong = as_wanted(
        again, Wanted(certificate=files.certificate, certificate_key=tmp_path / "ca.key")
    )
    with pytest.raises(CourseError, match="isn't a host name"):
        as_wanted(room, Wanted(names=["http://board.example.org"]))
    with pytest.raises(CourseError, match="belong together"):
        tls_of(wrong)


def test_a_class_is_kept_as_it_is():
    room = as_wanted(new_class(), Wanted(address="192.0.2.7", title="Monday"))
    assert Class.read(room.words()) == room
    assert Class.read(room.words() | {"closed": "7", "of a later version": "x"}).closed == 7
