"""The class board's HTTP: what it takes from seats, and all that it refuses in one sentence."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st
from tornado.netutil import bind_sockets

from helpers import connect_async
from helpers.course.pace import patient
from helpers.room import keeping, opening, service
from helpers.room.at_work import Board
from helpers.room.board import Exercise
from helpers.room.classes import Class, close, keep, new_class
from helpers.room.events import MOST_EVENTS, Event, Handed, MalformedError
from helpers.room.keeping import Seat, Seats
from helpers.room.limits import Budget, Budgets
from helpers.room.names import digest, expect_code, is_code, new_code
from helpers.room.service import http_server
from tests.tls import certificates
from tests.waiting import until

pytestmark = pytest.mark.once

CODE = "kd7m-2xwq"
SECRET = "s" * 40


class Served:
    """A board in a thread, over this run's server, and who asks it."""

    def __init__(self, code: str = CODE, folder: Path | None = None) -> None:
        self.said: list[str] = []
        self._folder, self._code, self._ready = folder, code, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(patient(20.0))
        trusted: Any = ssl.create_default_context(cafile=folder / "ca.crt") if folder else True
        host = "https://localhost" if folder else "http://127.0.0.1"
        self.url = f"{host}:{self.room.port}"
        limit_s = patient(10.0)
        self.http = httpx.Client(
            base_url=self.url, trust_env=False, timeout=limit_s, verify=trusted
        )  # fmt: skip

    async def _serve(self) -> None:
        self.loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        sockets = bind_sockets(0, "127.0.0.1")
        async with connect_async() as client:
            given = vars(new_class()) | {"port": sockets[0].getsockname()[1]}
            given |= {"code": self._code}
            if self._folder:
                given |= {"certificate": str(self._folder / "server.crt")}
                given |= {"certificate_key": str(self._folder / "server.key")}
            self.room, tls = Class(**given), opening.tls_of(Class(**given))
            await keep(client, self.room)
            sheet = [Exercise("03.1", "Who gets what?", True, 4)]
            board = Board(
                self.room,
                Seats(self.room.keys),
                client,
                sheet,
                {},
                secure=tls is not None,
                say=self.said.append,
            )
            self.board, server = board, http_server(board, tls)
            server.add_sockets(sockets)
            self.server = server
            work = asyncio.create_task(board.run())
            self._ready.set()
            await self._end.wait()
            server.stop()
            board.counting.stop()
            await work
            await server.close_all_connections()

    def end(self) -> None:
        self.http.close()
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def post(self, path: str, said: Any, secret: str = "", **headers: str) -> httpx.Response:
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        return self.http.post(path, json=said, headers=headers)

    def join(self, name: str, **more: Any) -> httpx.Response:
        return self.post("/join", {"code": self._code, "as": name} | more)

    def seat(self, name: str) -> str:
        """The secret of a seat that joins."""
        return str(self.join(name).raise_for_status().json()["secret"])

    def send(self, secret: str, *numbers: int, **more: Any) -> httpx.Response:
        body = {"events": [event(n) for n in numbers], "dropped": 0, "waiting": 0}
        return self.post("/events", body | more, secret)

    def shown(self) -> Any:
        return self.http.get("/board.json", params={"key": self.room.key}).json()


def event(n: int, **more: Any) -> dict[str, Any]:
    said = {"exercise": "03.1", "outcome": "wrong", "hint": 2, "seconds": 9, "n": n}
    return said | more


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(service, "BODY_S", 0.3)
        patched.setattr(service, "IDLE_S", 30.0)
        one = Served()
        try:
            yield one
        finally:
            one.end()


def refused(response: httpx.Response, status: int, *words: str) -> None:
    """It is refused in one sentence that has these words."""
    assert response.status_code == status, response.text
    said = response.json()
    assert set(said) == {"error"}
    assert said["error"].endswith(".")
    assert all(word in said["error"] for word in words), said
    assert "Traceback" not in said["error"]


# ------------------------------------------------------------------ seats


def test_a_seat_joins_sends_and_leaves_and_its_counts_stay(served):
    joined = served.join("  seat   12 ")
    assert joined.status_code == 201
    assert joined.json() | {"secret": ""} == {
        "class": served.room.id, "seat": "seat 12", "secret": "",
    }  # fmt: skip
    secret = joined.json()["secret"]
    assert served.send(secret, 1, 2).json() == {"upto": 2}
    assert served.send(secret, 1, 2, 3, dropped=4, waiting=5).json() == {"upto": 3}

    def row() -> Any:
        return next(one for one in served.shown()["seats"] if one["seat"] == "seat 12")

    assert until(lambda: row()["cells"].get("03.1", {}).get("tries") == 3)
    assert (row()["left"], row()["dropped"], row()["waiting"]) == (False, 4, 5)
    assert served.post("/leave", {}, secret).status_code == 200
    refused(served.send(secret, 4), 410, "left")
    refused(served.post("/leave", {}, secret), 410, "left")
    refused(served.join("seat 12"), 409, "'seat 12'")
    assert until(lambda: row()["left"])  # what is shown may be as old as it took to read it
    assert row()["cells"]["03.1"]["tries"] == 3


def test_a_join_whose_reply_was_lost_can_be_sent_again(served):
    first, again = (served.join("seat 13", secret=SECRET) for _ in range(2))
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert first.json()["secret"] == SECRET
    refused(served.join("SEAT 13", secret=SECRET[:-1] + "t"), 409, "another name")
    refused(served.join("seat 14", secret="short"), 400, "secret")


def test_a_seat_that_was_not_kept_has_no_secret_yet_and_its_name_is_free(served):
    """Its board was killed, or its server was away, while it joined."""
    number = max(served.board.seats.all) + 1
    unkept = Seat(number, "seat 30", digest(SECRET + "u"), 1, kept=False)
    served.loop.call_soon_threadsafe(served.board.seats.add, unkept)
    assert until(lambda: number in served.board.seats.all)
    refused(served.send(SECRET + "u", 1), 401, "secret")
    assert "seat 30" not in {row["seat"] for row in served.shown()["seats"]}
    secret = served.seat("seat 30")
    assert served.send(secret, 1).json() == {"upto": 1}
    refused(served.send(SECRET + "u", 1), 401, "secret")


def test_a_join_that_is_sent_again_before_it_is_answered_gets_the_same(served, redis):
    redis.client_pause(200, all=True)
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: served.join("seat 15", secret=SECRET), range(2)))
    assert [one.status_code for one in said] == [201, 201]
    assert said[0].json() == said[1].json()


@pytest.mark.parametrize(
    "name",
    ["", " ", "<b>x</b>", "a&b", "a\x00b", "a\x1b[31m", "\u202eabc", "a\u200bb", "x" * 41, "=cmd",
     "-a", 7, None, ["a"], "a;b", 'a"b', "a\ud800",
     "\u3164", "seat 1\u034f", "seat\ufe0f 1", "x\u0302\u0303\u0304\u0305"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(served, name):
    body = json.dumps({"code": CODE, "as": name})
    kind = {"Content-Type": "application/json"}
    refused(served.http.post("/join", content=body, headers=kind), 400, "name")


@pytest.mark.parametrize(
    "name", ["O'Neil", "Zoë-2", "席 3", "Åsa (left)", "a.b_c #4", "नमस्ते", "ที่นั่ง"]
)
def test_names_of_people_are_taken(served, name):
    assert served.join(name).status_code == 201


def test_the_right_code_gets_in_however_many_wrong_ones_came_from_the_same_address(served):
    for code in (None, "", "kd7m-2xwr", "k" * 10_00, 5, [CODE]):
        refused(served.post("/join", {"code": code, "as": "x"}), 403, "code")
    answers = [served.post("/join", {"code": f"{n}", "as": "x"}) for n in range(40)]
    assert {one.status_code for one in answers} == {403, 429}
    assert int(answers[-1].headers["Retry-After"]) >= 1
    refused(answers[-1], 429, "wrong codes")
    assert served.post("/join", {"code": " KD7M2XWQ ", "as": "seat 20"}).status_code == 201


def test_codes_are_long_enough_to_guess_at():
    assert len({new_code() for _ in range(100)}) == 100
    assert is_code(new_code().upper().replace("-", " "), "x") is False
    for short in ("1234567", "ab-cd-ef", "a" * 65):
        with pytest.raises(Exception, match="8 to 64 characters"):
            expect_code(short)


@pytest.mark.parametrize("secret", ["", "x", "s" * 39, "ü", "s" * 5000])
def test_without_a_seats_secret_nothing_is_taken(served, secret):
    said = {"events": [event(1)], "dropped": 0, "waiting": 0}
    given = {"Authorization": f"Bearer {secret}".encode()} if secret else {}
    for path in ("/events", "/leave"):
        refused(served.http.post(path, json=said, headers=given), 401, "secret")


def test_a_flood_from_one_seat_is_bounded_and_the_others_go_on(served):
    loud, quiet = served.seat("loud"), served.seat("quiet")
    served.board.seats.with_secret(loud).requests = Budget(20, 0.001)  # fills up too slowly to see
    assert all(served.send(loud).status_code == 200 for _ in range(20))
    answer = served.send(loud)
    refused(answer, 429, "too often")
    assert int(answer.headers["Retry-After"]) >= 1
    assert served.send(quiet, 1).json() == {"upto": 1}


def test_a_seat_can_hand_over_all_that_it_kept_but_no_endless_stream(served, monkeypatch):
    secret = served.seat("busy")
    seat = served.board.seats.with_secret(secret)
    seat.events = Budget(2 * MOST_EVENTS, 0.001)
    for first in (1, 1 + MOST_EVENTS):
        numbers = range(first, first + MOST_EVENTS)
        assert served.send(secret, *numbers).json() == {"upto": first + MOST_EVENTS - 1}
        assert served.send(secret, *numbers).status_code == 200  # the same again costs nothing
    refused(served.send(secret, 2 * MOST_EVENTS + 1), 429, "too many events")


def test_a_class_has_so_many_seats_and_those_that_never_sent_anything_make_room(redis, monkeypatch):
    one = Served()
    try:
        first, second, third = (one.seat(f"seat {n}") for n in (1, 2, 3))
        assert one.send(first, 1).status_code == 200
        assert one.post("/leave", {}, second).status_code == 200
        monkeypatch.setattr(keeping, "MOST_SEATS", 3)
        refused(one.join("seat 4"), 429, "full")
        assert "Retry-After" in one.join("seat 4").headers
        monkeypatch.setattr(keeping, "IDLE_MS", 0)
        fourth = one.seat("seat 4")
        monkeypatch.setattr(keeping, "IDLE_MS", 10**9)
        refused(one.join("seat 5"), 429, "full")
        refused(one.send(second, 1), 401, "secret")  # its place, not that it left, is the fourth's
        assert [one.send(secret, 1, 2).json() for secret in (first, third, fourth)] == [
            {"upto": 2}
        ] * 3
        assert until(lambda: one.shown()["totals"]["events"] == 6)
        rows = {row["seat"]: row["cells"]["03.1"]["tries"] for row in one.shown()["seats"]}
        assert rows == {"seat 1": 2, "seat 3": 2, "seat 4": 2}
        one.board.joins = Budgets(1, 0.001)
        refused(one.join("seat 6"), 429, "full")
        refused(one.join("seat 7"), 429, "Too many seats")
        refused(one.join("seat 3"), 409, "another name")
    finally:
        one.end()


# ------------------------------------------------------------------ bodies


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "JSON"), ("{", "JSON"), ("[" * 50_000, "JSON"), ("[]", "object"), ('"x"', "object"),
        ("{}", "events"), ('{"events": {}, "dropped": 0, "waiting": 0}', "list"),
        ({"more": 1}, "nothing else"), ({"dropped": -1}, "dropped"), ({"waiting": 1.5}, "waiting"),
        ({"waiting": True}, "waiting"), ([event(1, code="x = 1")], "nothing else"),
        ([event(1, outcome="right")], "outcome"), ([event(1, exercise="3.1")], "exercise"),
        ([event(1, exercise="03.1\n")], "exercise"), ([event(1, exercise=["03.1"])], "exercise"),
        ([event(1, hint=1000)], "hint"), ([event(1, seconds=-1)], "seconds"),
        ([event(1, outcome=["wrong"])], "outcome"), ([event(0)], "n must"),
        ([event(2**41)], "n must"), ([event("1")], "n must"), ([event(2), event(1)], "rise"),  # type: ignore[arg-type]
        ([event(n) for n in range(1, MOST_EVENTS + 2)], "at most"), ([7], "an event"),
        ('{"events": [], "dropped": 1e999, "waiting": 0}', "dropped"),
        ('{"events": [], "dropped": ' + "9" * 5000 + ', "waiting": 0}', "JSON"),
        (b"\xff\xfe{}", "JSON"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_and_nothing_of_it_is_kept(served, said, words):
    secret = SECRET.replace("s", "m")
    served.join("malformed", secret=secret)
    seat = served.board.seats.with_secret(secret)
    seat.requests = Budget(1000, 1)
    body = {"events": [], "dropped": 0, "waiting": 0}
    if isinstance(said, list):
        said = json.dumps(body | {"events": said})
    elif isinstance(said, dict):
        said = json.dumps(body | said)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    refused(served.http.post("/events", content=said, headers=headers), 400, words)
    assert seat.upto == 0


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda one: (
            st.lists(one, max_size=3)
            | st.dictionaries(st.sampled_from(["events", "dropped", "waiting", "n", "hint"]), one)
        ),
        max_leaves=8,
    )
)
def test_any_json_is_events_or_is_refused(said):
    with suppress(MalformedError):
        handed = Handed.read(json.dumps(said).encode())
        assert all(isinstance(one, Event) for one in handed.events)


def raw(served: Served, head: str, body: bytes = b"", limit_s: float = 10.0) -> bytes:
    """What the board says to bytes, until it closes the connection or has answered."""
    with closing(socket.create_connection(("127.0.0.1", served.room.port))) as one:
        one.settimeout(patient(limit_s))
        one.sendall(head.replace("\n", "\r\n").encode() + body)
        said = b""
        while part := one.recv(65536):
            said += part
            if b"\r\n\r\n" in said and said.endswith(b"}"):
                break
        return said


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ("Content-Length: 99999999999999999999\n", b"{", 413),
        ("Content-Length: 10000000000\n", b"{", 413),
        ("Content-Length: 500000\n", b" " * 500_000, 413),
        ("Transfer-Encoding: chunked\n", b"FFFFFFF\r\n{", 411),
        ("Content-Length: 1x\n", b"{}", 411),
        ("Content-Length: -1\n", b"{}", 411),
    ],
)
def test_a_giant_body_is_refused_before_it_is_read(served, fields, body, status):
    for path in ("/join", "/", "/nothing"):
        head = f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: application/json\n{fields}\n"
        said = raw(served, head, body)
        status = status if path == "/join" or b"close" in said else 405  # it was read, and dropped
        assert said.startswith(b"HTTP/1.1 %d" % status), said
        assert b'{"error": "' in said, said


def test_a_slow_body_and_slow_headers_hold_no_one_up(served):
    head = "POST /join HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
    assert raw(served, f"{head}Content-Length: 50\n\n", b'{"code":') == b""  # it hangs up
    with closing(socket.create_connection(("127.0.0.1", served.room.port))) as slow:
        slow.sendall(b"POST /join HT")
        assert served.join("meanwhile").status_code == 201


def test_many_idle_connections_shut_no_one_out(served, monkeypatch):
    monkeypatch.setattr(served.server, "_most", 20)
    idle = [socket.create_connection(("127.0.0.1", served.room.port)) for _ in range(100)]
    try:
        assert until(lambda: len(served.server._by_age) <= 20)
        with httpx.Client(base_url=served.url, trust_env=False) as fresh:
            assert fresh.post("/join", json={"code": CODE, "as": "fresh"}).status_code == 201
    finally:
        for one in idle:
            one.close()


# ------------------------------------------------------------------ whose page it is


@pytest.mark.parametrize("path", ["/", "/projector", "/board.json", "/live", "/export.csv"])
def test_the_instructors_side_takes_its_key_and_nothing_else(served, path):
    seat = served.join(f"curious {path.strip('/')}").json()["secret"]
    for key in ("", "x", CODE, seat, served.room.id, served.room.key[:-1], "ü"):
        refused(served.http.get(path, params={"key": key} if key else None), 403, "instructor")
    cookie = {"Cookie": f"board-{served.room.port}={CODE}"}
    refused(served.http.get(path, headers=cookie), 403, "instructor")


def test_the_key_goes_from_the_address_into_a_cookie(served, capfd):
    with httpx.Client(base_url=served.url, trust_env=False) as browser:
        first = browser.get("/", params={"key": served.room.key})
        assert first.status_code == 302
        assert first.headers["Location"] == "/"
        cookie = first.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        page = browser.get("/")
        assert page.status_code == 200
        assert browser.get("/board.json").json()["class"] == served.room.id
        assert served.room.key not in page.text + browser.get("/board.json").text
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert page.headers["Referrer-Policy"] == "no-referrer"
    assert served.room.key not in "".join(capfd.readouterr())
    assert not served.said


@pytest.mark.parametrize("path", ["/", "/board.json", "/live", "/nothing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8750", "127.0.0.1.evil.example", "["]
)
def test_by_another_name_it_answers_nothing(served, path, host):
    """A page of `evil.example` may lead that name to this machine, and then ask in its name."""
    asked = served.http.get(path, params={"key": served.room.key}, headers={"Host": host})
    refused(asked, 421, "--name")
    assert served.room.id not in asked.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8888"])
def test_a_page_of_another_site_may_not_ask(served, origin):
    key = {"key": served.room.key}
    refused(served.post("/join", {"code": CODE, "as": "x"}, Origin=origin), 403, "site")
    refused(served.http.get("/board.json", params=key, headers={"Origin": origin}), 403, "site")
    form = {"Content-Type": "text/plain"}
    refused(served.http.post("/join", content="{}", headers=form), 415, "application/json")
    own = served.post("/join", {"code": CODE, "as": f"own {len(origin)}"}, Origin=served.url)
    assert own.status_code == 201


def test_what_there_is_not_is_said_so(served):
    refused(served.http.get("/nothing"), 404, "no such page")
    refused(served.http.get("/page/../service.py"), 404, "no such page")
    refused(served.http.get("/page/%2e%2e%2fservice.py"), 404, "no such page")
    refused(served.http.get("/page/index.html"), 404, "no such page")
    refused(served.http.get("/join"), 405, "can't be done")
    refused(served.http.delete("/events"), 405, "can't be done")
    assert not served.said


def test_a_page_is_told_what_changed(served):
    secret = served.seat("seen")
    with served.http.stream("GET", "/live", params={"key": served.room.key}) as live:
        lines = (line for line in live.iter_lines() if line.startswith("data: "))
        next(lines)
        assert served.send(secret, 1).status_code == 200
        for line in lines:
            board = json.loads(line.removeprefix("data: "))
            (row,) = (one for one in board["seats"] if one["seat"] == "seen")
            if row["cells"]:
                assert row["cells"]["03.1"]["state"] == "wrong"
                break


def test_a_class_that_was_closed_tells_its_seats(redis):
    one = Served(code="")  # on loopback a class may do without
    try:
        secret = one.seat("seat 1")

        async def end() -> None:
            async with connect_async() as client:
                await close(client, one.room)

        asyncio.run(end())
        refused(one.send(secret, 1), 410, "over")
        refused(one.join("seat 2"), 410, "over")
        assert one.shown()["closed"] > one.shown()["opened"]
        assert one.shown()["totals"]["events"] == 0
    finally:
        one.end()


def test_over_tls_it_does_the_same_and_its_cookie_is_for_tls_alone(redis, tmp_path):
    certificates(tmp_path)
    one = Served(folder=tmp_path)
    try:
        assert one.send(one.seat("seat 1"), 1).json() == {"upto": 1}
        page = one.http.get("/", params={"key": one.room.key})
        assert "Secure" in page.headers["Set-Cookie"]
        plain = f"http://localhost:{one.room.port}/join"
        with pytest.raises(httpx.TransportError):
            httpx.post(plain, json={"code": CODE, "as": "x"}, trust_env=False)
    finally:
        one.end()
