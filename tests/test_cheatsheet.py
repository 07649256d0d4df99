"""The cheat sheet's tables say what the servers do, and it prints on two sides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
import redis as redis_py

import helpers
from helpers import averages
from helpers.course.authoring.sheet import SHEET, handout
from helpers.course.authoring.sheet import page as printed
from helpers.course.connect import connect_raw
from tests.browser import chromium

CELLS = nbformat.read(SHEET, as_version=4).cells
RANGES = ("XRANGE s {} +", "XRANGE s - {}", "XREVRANGE s {} -", "XREVRANGE s + {}",
          "XPENDING s g {} + 9", "XPENDING s g - {} 9", "XAUTOCLAIM s g alice 0 {}")  # fmt: skip
BY_ID = ("XACK s g {}", "XDEL s {}", "XCLAIM s g alice 0 {}", "XTRIM s MINID {}")
PLACES = {
    "`XADD`": ("XADD s {} n 1",),
    "ranges": RANGES,
    "`XREAD`": ("XREAD STREAMS s {}",),
    "`XREADGROUP`": ("XREADGROUP GROUP g alice STREAMS s {}",),
    "`XGROUP CREATE`": ("XGROUP CREATE s new {}",),
    "`XGROUP SETID`": ("XGROUP SETID s g {}",),
    "by ID": BY_ID,
}
SINCE_7_4 = "7.4"  # where the server is Redis 7.4 or Valkey 9
SAID_OTHERWISE = {"(": "exclusive", "ms-*": "<ms>-*"}  # in the history that COMMAND DOCS tells


def table(title: str) -> list[dict[str, str]]:
    """The rows of the table under a heading, by the names of its columns."""
    source = next(cell.source for cell in CELLS if cell.source.startswith(f"## {title}\n"))
    rows = [re.split(r"(?<!\\) ?\| ?", line.strip())[1:-1] for line in source.splitlines()
            if line.startswith("|")]  # fmt: skip
    head, _, *body = [[cell.strip() for cell in row] for row in rows]
    return [dict(zip(head, row, strict=True)) for row in body]


IDS, COMMANDS = table("Special IDs"), table("Commands")


@pytest.fixture
def raw(redis: redis_py.Redis) -> Iterator[redis_py.Redis]:
    """A stream `s` with a group `g`, in which alice has one of two entries, and its client."""
    redis.xadd("s", {"n": 1}, id="5-0")
    redis.xadd("s", {"n": 2}, id="5-1")
    redis.xgroup_create("s", "g", "0")
    redis.xreadgroup("g", "alice", {"s": ">"}, count=1)
    with connect_raw() as client:
        yield client


def takes(raw: redis_py.Redis, command: str, entry_id: str) -> bool:
    """Whether the server takes an ID there; the command is undone."""
    with raw.pipeline() as transaction:
        kept = raw.dump("s") or b""
        transaction.execute_command(*command.format(entry_id).split())
        transaction.restore("s", 0, kept, replace=True)
        reply = transaction.execute(raise_on_error=False)[0]
    return not isinstance(reply, redis_py.ResponseError)


@pytest.mark.parametrize("row", IDS, ids=[row["ID"].strip("`") for row in IDS])
def test_a_special_id_is_taken_where_the_sheet_says(raw, row):
    entry_id = row["ID"].strip("`")
    for place, commands in PLACES.items():
        taken = {takes(raw, command, entry_id) for command in commands}
        if row[place] == SINCE_7_4:
            assert taken == {_is_new(raw)}, place
        else:
            assert taken == {row[place] == "✓"}, place


def _is_new(raw: redis_py.Redis) -> bool:
    """Whether it is Redis 7.4 or Valkey 9, or newer."""
    info = raw.execute_command("INFO", "server").decode()
    valkey = re.search(r"valkey_version:(\d+)\.(\d+)", info)
    found = valkey or re.search(r"redis_version:(\d+)\.(\d+)", info)
    assert found
    return (int(found[1]), int(found[2])) >= ((9, 0) if valkey else (7, 4))


def test_the_sheet_lists_every_command_that_streams_have(docs):
    listed = {name for row in COMMANDS for name in names(row)}
    lists = {
        name for name in docs if not name.endswith("|help") and name not in ("xgroup", "xinfo")
    }
    assert lists - listed == {"xsetid"}  # which only a server's own copying needs
    assert listed - lists <= {"xackdel", "xdelex"}


def names(row: dict[str, str]) -> list[str]:
    return [name.lower().replace(" ", "|") for name in re.findall(r"`(.*?)`", row["command"])]


@pytest.fixture(scope="module")
def docs() -> dict[str, Any]:
    """What the server says of each of its stream commands, subcommands by `name|subcommand`."""
    with connect_raw() as client:
        listed = client.execute_command("COMMAND", "LIST", "FILTERBY", "PATTERN", "x*")
        found = _as_dict(client.execute_command("COMMAND", "DOCS", *listed))
    for container in ("xgroup", "xinfo"):
        found |= found[container]["subcommands"]
    return {name: said for name, said in found.items() if said["group"] == "stream"}


def _as_dict(reply: Any) -> Any:
    """Pairs in a list, as RESP2 sends them, as a dict; and what is inside."""
    if isinstance(reply, bytes):
        return reply.decode()
    if not isinstance(reply, list):
        return reply
    named = len(reply) > 1 and len(reply) % 2 == 0 and all(isinstance(k, bytes) for k in reply[::2])
    if named and (len(reply) > 2 or isinstance(reply[1], list)):
        return {k.decode(): _as_dict(v) for k, v in zip(reply[::2], reply[1::2], strict=True)}
    return [_as_dict(part) for part in reply]


@pytest.mark.parametrize("row", COMMANDS, ids=[row["command"].strip("`") for row in COMMANDS])
def test_cost_and_versions_are_what_the_server_says(docs, row):
    for name in names(row):
        if name not in docs and "Redis only" in row["does"]:
            continue
        said = docs[name]
        assert said["since"] == f"{row['since']}.0"
        if "complexity" in said:  # some servers say nothing of XREAD's
            costs = orders(said["complexity"])
            assert orders(row["cost"]) <= costs
            assert min(costs, key=said["complexity"].replace("M", "N").index) in orders(row["cost"])
        for words, version in re.findall(r"((?:`[^`]+`(?:, )?)+) (\d\.\d)", row["options since"]):
            for word in re.findall(r"`(.*?)`", words):
                if word == "inactive" and "history" not in said:
                    continue  # Redis 7.0 doesn't have it yet
                assert told(said, SAID_OTHERWISE.get(word, word)) == f"{version}.0", word


def orders(text: str) -> set[str]:
    """The O(…) in a text, M written as N."""
    return set(re.findall(r"O\([^)]*\)", text.replace("M", "N")))


def told(said: dict[str, Any], word: str) -> str | None:
    """The version that brought an option or a field to a command, from its history."""
    plain = re.sub(r"[-_]", "", word.lower())
    for version, change in said.get("history") or ():
        if plain in re.sub(r"[-_]", "", change.lower()):
            return str(version)
    return None


@pytest.mark.once
def test_the_classes_that_keep_a_promise_exist():
    named = set(re.findall(r"`(\w+)`", " ".join(row["in this course"] for row in promises())))
    assert {"Consumer", "Reader", "Producer", "BulkProducer", "AggregatingConsumer"} == named
    assert all(hasattr(helpers, name) or hasattr(averages, name) for name in named)


def promises() -> list[dict[str, str]]:
    return table("Promises and their price")


@pytest.mark.once
def test_code_is_left_out_in_print():
    shown = printed(SHEET)
    assert shown.count("<table>") == len([cell for cell in CELLS if "|---|" in cell.source])
    assert "lesson:sheet" not in shown


@pytest.mark.once
@pytest.mark.skipif(chromium() is None, reason="SKIPPED: there is no chromium on this machine")
def test_it_prints_on_two_sides(page):
    page.set_content(printed(SHEET))
    assert sides(page, prefer_css_page_size=True) == 2


@pytest.mark.once
@pytest.mark.skipif(chromium() is None, reason="SKIPPED: there is no chromium on this machine")
def test_the_handout_prints_on_one_side(page):
    page.set_content(handout())
    assert [sides(page, format=paper) for paper in ("A4", "Letter")] == [1, 1]


def sides(page: Any, **how: Any) -> int:
    """On how many pages it prints."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(**how)))
