"""Changes: what the documented schema may hold or lack, and what cannot be a change."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.wiki import Change, NotAChangeError, change_from, change_in, change_of
from helpers.wiki.change import CANARY
from tests.wiki import EDIT

pytestmark = pytest.mark.once

OOTY = Change(
    domain="en.wikipedia.org",
    at_ms=1777629600123,
    type="edit",
    user="Ann",
    bot=False,
    title="Ooty",
    grown=42,
    id="b1b7ae1c-2a9b-4bd6-a0a3-ed6a9d9d7a1f",
)

LOG = {"type": "log", "log_id": 7, "log_type": "patrol", "log_action": "patrol"}


def event(*missing: str, **more: Any) -> dict[str, Any]:
    """An edit that lacks this and has that; `meta__dt` is the `dt` in `meta`."""
    found = copy.deepcopy(EDIT)
    for name in missing:
        found.pop(name)
    for name, value in more.items():
        inner, _, key = name.rpartition("__")
        (found[inner] if inner else found)[key] = value
    return found


@pytest.mark.parametrize(
    ("said", "differs"),
    [
        (event(), {}),
        (event(bot=True), {"bot": True}),
        (event(type="new", length={"old": None, "new": 300}), {"type": "new", "grown": 300}),
        (event(type="new", length={"new": 300}), {"type": "new", "grown": 300}),
        (event("length", type="categorize"), {"type": "categorize", "grown": None}),
        (event("length", type="external", id=None), {"type": "external", "grown": None}),
        (event("length", **LOG, log_params=[]), {"type": "log", "grown": None}),
        (event("length", **LOG, log_params={"userid": 5}), {"type": "log", "grown": None}),
        (event("length", **LOG, log_params="5::duration"), {"type": "log", "grown": None}),
        (event("length", type="log", log_id=None, log_type=None), {"type": "log", "grown": None}),
        (event(length={"old": None, "new": None}), {"grown": None}),
        (event(length={"old": 5, "new": None}), {"grown": None}),
        (event(length=None, revision={"old": None, "new": None}), {"grown": None}),
        (event(revision=None, id=None), {}),
        (event("id"), {}),
        (event("type"), {"type": ""}),
        (event("user"), {"user": ""}),
        (event("bot"), {}),
        (event("title"), {"title": ""}),
        (event("server_url", "server_name", "server_script_path", "wiki", "parsedcomment"), {}),
        (event(patrolled=True, notify_url="https://…", title_url="https://…"), {}),
        (event(user="Żółć 🦉", title="ஊட்டி"), {"user": "Żółć 🦉", "title": "ஊட்டி"}),
        (event(title="x" * 9000), {"title": "x" * 500}),
        (event(user=7, title=["Ooty"], type={}), {"user": "", "title": "", "type": ""}),
        (event(title="half \ud83d a character"), {"title": "half ? a character"}),
        (event(bot="yes", length={"old": "5", "new": True}), {"grown": None}),
        (event(meta__id=None), {"id": ""}),
        (event(meta__domain=None, server_name="ta.wikipedia.org"), {"domain": "ta.wikipedia.org"}),
        (event(meta__domain="xn--80adxhks.example.org"), {"domain": "xn--80adxhks.example.org"}),
        (event(meta__domain=CANARY), {"domain": CANARY}),
        (event(meta__dt="2026-05-01T10:00:00Z"), {"at_ms": 1777629600000}),
        (event(meta__dt="2026-05-01T10:00:00"), {"at_ms": 1777629600000}),
        (event(meta__dt="2026-05-01T15:30:00.007+05:30"), {"at_ms": 1777629600007}),
        (event(meta__dt="9999-12-31T23:59:59Z"), {"at_ms": 253402300799000}),
    ],
)
def test_what_an_event_may_hold_or_lack(said, differs):
    change = change_of(json.loads(json.dumps(said)))
    assert change == OOTY._replace(**differs)
    assert change_in(change.message()) == change
    assert change_from({name: str(value) for name, value in change.fields().items()}) == change


def test_an_event_of_the_feed_may_come_as_it_is():
    """The article's publisher passes on what the feed says."""
    assert change_in(json.dumps(event())) == OOTY
    assert change_from({"data": json.dumps(event())}) == OOTY
    assert change_from({"number": "7", "event": json.dumps(event())}) == OOTY
    with pytest.raises(NotAChangeError, match="no ISO 8601 time"):
        change_in(json.dumps(event(meta__dt="soon")))
    with pytest.raises(NotAChangeError, match="without the field 'at'"):
        change_from({"data": '{"n": 1}', "more": "{"})


def test_only_meta_with_time_and_domain_is_needed():
    least = {"meta": {"dt": "2026-05-01T10:00:00Z", "domain": "a.org", "stream": "x"}}
    assert change_of(least) == Change("a.org", 1777629600000)
    named = {"meta": {"dt": "2026-05-01T10:00:00Z"}, "server_name": "b.org"}
    assert change_of(named) == Change("b.org", 1777629600000)


@pytest.mark.parametrize("said", [None, 5, "edit", [EDIT], True, 1e308, [[[[[[[[[]]]]]]]]]])
def test_what_is_no_object_is_no_change(said):
    with pytest.raises(NotAChangeError, match="an event that is not a JSON object: "):
        change_of(said)


@pytest.mark.parametrize("said", [event("meta"), event(meta=None), event(meta=[1]), {}])
def test_without_meta_it_is_no_change(said):
    with pytest.raises(NotAChangeError, match="without `meta`, so without time and domain"):
        change_of(said)


@pytest.mark.parametrize(
    ("time", "why"),
    [
        ("9999-99-99", "no ISO 8601 time: '9999-99-99'"),
        ("2026-02-30T10:00:00Z", "no ISO 8601 time"),
        ("∞", "no ISO 8601 time"),
        ("", "no ISO 8601 time"),
        (None, "no ISO 8601 time: None"),
        (1777629600, "no ISO 8601 time: 1777629600"),
        ({"dt": 1}, "no ISO 8601 time"),
        ("0001-01-01T00:00:00+14:00", "before there was a Wikipedia"),
        ("1970-01-01T00:00:00Z", "before there was a Wikipedia"),
    ],
)
def test_an_absurd_time_is_named(time, why):
    with pytest.raises(NotAChangeError, match=why):
        change_of(event(meta__dt=time))


@pytest.mark.parametrize(
    "domain",
    ["no domain!", "a" * 300 + ".org", "a." * 200 + "org", "*.wikipedia.org", "en.wiki[p]edia.org",
     "en.wikipedia.org\n", "\nen.wikipedia.org", "EN.wikipedia.org", "wikipedia", "ev:x.org",
     "{wiki}.org", "пример.org", ".org", "a..org", "127.0.0.1", 7, ["a.org"], True],
)  # fmt: skip
def test_an_absurd_domain_is_named(domain):
    with pytest.raises(NotAChangeError, match="whose domain cannot be one: ") as caught:
        change_of(event(meta__domain=domain))
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "without the field 'at'"),
        ({"at": "1"}, "without the field 'domain'"),
        ({"at": "soon", "domain": "a.org"}, "whose numbers are none"),
        ({"at": None, "domain": "a.org"}, "whose numbers are none"),
        ({"at": float("inf"), "domain": "a.org"}, "whose numbers are none"),
        ({"at": "9" * 5000, "domain": "a.org"}, "whose numbers are none"),
        ({"at": "1", "domain": "a.org", "grown": "much"}, "whose numbers are none"),
        ({"at": "1", "domain": "a"}, "whose domain cannot be one: 'a'"),
        ({"temp_f": "70"}, "without the field 'at'"),
    ],
)
def test_fields_that_are_no_change_are_named(fields, why):
    with pytest.raises(NotAChangeError, match=why):
        change_from(fields)


@pytest.mark.parametrize("text", ["", "x", "5", "[]", "null", '{"at":', "[" * 100_000, "NaN"])
def test_a_message_that_is_no_change_is_named(text):
    with pytest.raises(NotAChangeError, match=r"a message that is not (a JSON object|JSON)"):
        change_in(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["type", "user", "bot", "title", "length", "id", "server_name"])
METAS = st.dictionaries(st.sampled_from(["dt", "domain", "id"]), JSON | st.just("a.org"))
EVENTS = st.dictionaries(NAMES, JSON).flatmap(
    lambda some: st.builds(lambda meta: some | {"meta": meta}, JSON | METAS)
)


@given(JSON | EVENTS)
def test_whatever_comes_is_a_change_or_is_named(said):
    for read in (change_of, change_from if isinstance(said, dict) else change_of):
        found, why = outcome(read, said)
        assert len(why) < 200
        assert found is None or change_in(found.message()) == found


def outcome(read: Any, said: Any) -> tuple[Change | None, str]:
    try:
        return read(said), ""
    except NotAChangeError as error:
        return None, str(error)


CHANGES = st.builds(
    Change,
    domain=st.sampled_from(["a.org", "en.wikipedia.org"]),
    at_ms=st.integers(0, 2**60),
    type=st.text(max_size=9),
    user=st.text(max_size=500),
    bot=st.booleans(),
    title=st.text(max_size=500),
    grown=st.none() | st.integers(),
    id=st.text(max_size=9),
)


@given(CHANGES)
def test_a_change_is_the_same_behind_a_stream_and_a_channel(change):
    texts = {name: str(value) for name, value in change.fields().items()}
    assert change_from(texts) == change
    assert change_in(change.message()) == change
