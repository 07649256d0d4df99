"""What goes in comes out as one means it, from every producer the same, or is refused."""

from __future__ import annotations

import asyncio
import enum
import fractions
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers import AsyncProducer, BulkProducer, Entry, EntryId, Producer, connect_async, scan
from helpers.chaos import SpareServer
from helpers.course.connect import async_client_of, client_of
from helpers.course.server import find_server
from helpers.partitions import PartitionProducer, Reading, start_of
from helpers.streams.bulk import pack, pack_in_python
from helpers.streams.entry import LAST
from helpers.streams.errors import ArgumentError, EntryIdError, StreamsError, WrongTypeError
from helpers.streams.outbox import Added
from helpers.streams.values import word
from tests.points import times

KINDS: list[Any] = [Producer, BulkProducer]
HALF = "\ud83d"  # of an emoji, from JSON that was cut


class Level(enum.IntEnum):
    HIGH = 2


class City(str, enum.Enum):  # noqa: UP042  as many still write it
    CHENNAI = "chennai"


class Odd(enum.Enum):
    NESTED = Level.HIGH
    YES = True
    NOTHING = None


class Whole(int):
    def __repr__(self) -> str:
        return "no number"

    __str__ = __repr__


class Text(str):
    def __str__(self) -> str:
        return "no text"


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


UNSHOWN = [Rude(), 10**5000]  # what repr() cannot say
LONG = 10**4000
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TAKEN: list[tuple[Any, bytes]] = [
    ("", b""), ("é☃", "é☃".encode()), ("a\0b\r\n", b"a\0b\r\n"), (Text("a"), b"a"),
    (b"\xff\0", b"\xff\0"), (bytearray(b"\xfe"), b"\xfe"), (memoryview(b"abcd")[::2], b"ac"),
    (0, b"0"), (-(2**64), b"-18446744073709551616"), (LONG, b"1" + 4000 * b"0"),
    (Whole(7), b"7"), (-0.0, b"-0.0"), (1e300, b"1e+300"), (0.1 + 0.2, b"0.30000000000000004"),
    (Decimal("1.10"), b"1.10"), (Decimal("-0E+3"), b"-0E+3"), (Decimal("1e999"), b"1E+999"),
    (Level.HIGH, b"2"), (City.CHENNAI, b"chennai"), (Odd.NESTED, b"2"),
    (numpy.float64(26.5), b"26.5"), (numpy.int64(-3), b"-3"), (numpy.uint8(255), b"255"),
    (numpy.float32(0.5), b"0.5"), (numpy.str_("é"), "é".encode()), (numpy.bytes_(b"\xff"), b"\xff"),
    (numpy.array(5), b"5"),
    (MOMENT, b"2026-01-02T03:04:05+00:00"), (date(2026, 1, 2), b"2026-01-02"),
    (time(9), b"09:00:00"),
    (uuid.UUID(int=1), b"00000000-0000-0000-0000-000000000001"), (Path("a/é"), "a/é".encode()),
    (EntryId(5, 1), b"5-1"),
]  # fmt: skip
REFUSED: list[tuple[Any, str]] = [
    (None, "is None"), (True, "is True"), (numpy.bool_(False), "is False"), (Odd.YES, "is True"),
    (Odd.NOTHING, "is None"), (math.nan, "is nan"), (-math.inf, "is -inf"),
    (numpy.float32("nan"), "is nan"), (Decimal("NaN"), "Decimal"), (Decimal("sNaN"), "Decimal"),
    (Decimal("-Inf"), "Decimal"), (datetime(2026, 1, 2), "give it a time zone"),
    (numpy.datetime64("2026-01-02T03:04:05.123456789"), "time zone"),
    (numpy.timedelta64(5, "s"), "datetime"), (timedelta(1), "timedelta"),
    (HALF, r"'\\ud83d', half of a char"), (Text(HALF), "half of a"), (Path("\udcff"), "half of a"),
    ([1], "json.dumps"), ({"a": 1}, "json.dumps"), ((1,), "json.dumps"), ({1}, "json.dumps"),
    (1j, "complex"), (fractions.Fraction(1, 3), "Fraction"), (object(), "object"),
    (UNSHOWN[0], "Rude"),
    (int, "type"), (numpy.array([1]), "ndarray"), (numpy.ma.masked, "masked"),
    (numpy.longdouble(1), "float"), (numpy.complex64(1), "complex"), (UNSHOWN[1], "hex"),
]  # fmt: skip


def raw(client: Any, stream: str) -> list[Any]:
    """Names and values of each entry, as bytes."""
    reply = client.execute_command("XRANGE", stream, "-", "+", NEVER_DECODE=True)
    return [tuple(dict(fields).items()) for _, fields in reply]


# ------------------------------------------------------------------ one value


def _id(value: object) -> str:
    """What to call a value, the same in every process."""
    return type(value).__name__ if " at 0x" in repr(value) else repr(value)[:30]


@pytest.mark.once
@pytest.mark.parametrize(("value", "said"), TAKEN, ids=_id)
def test_a_value_is_the_text_that_one_means(value, said):
    found = word(value)
    assert (found if isinstance(found, bytes) else found.encode()) == said
    assert type(found) in (str, bytes)


@pytest.mark.once
@pytest.mark.parametrize(("value", "said"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_value_without_one_text_is_refused_by_a_sentence_that_says_what_to_write(value, said):
    with pytest.raises(ArgumentError, match=said) as refused:
        word(value, "The field 'temp'")
    assert str(refused.value).startswith("The field 'temp' ")
    assert str(refused.value).endswith(".")
    assert str(refused.value).encode()


# ------------------------------------------------------------------ every producer the same


def each_way(client: Any, fields: Any) -> dict[str, Any]:
    """What each producer makes of an entry between two good ones: its bytes, or its error."""
    good = {"n": "good"}
    found: dict[str, Any] = {}

    def add(stream: str, producer: Any, *, own: bool = False) -> None:
        entries = [good, fields, good]
        if own:
            entries = [Entry(EntryId(n + 1), one) for n, one in enumerate(entries)]
        try:
            added = producer.add_many(entries)
        except StreamsError as error:
            found[stream] = error
        else:
            found[stream] = added

    def see(stream: str) -> None:
        entries, outcome = raw(client, stream), found[stream]
        assert entries[0] == entries[-1] == ((b"n", b"good"),)
        if isinstance(outcome, StreamsError):
            assert len(entries) == 2, "the others of the batch are appended"
            [back] = outcome.entries
            assert (back.fields if isinstance(back, Entry) else back) is fields
            assert "2 of this call were appended" in str(outcome)
            found[stream] = str(outcome)
        else:
            assert outcome.count == 3
            found[stream] = entries[1]

    async def run() -> None:
        async with connect_async() as other:
            producer = AsyncProducer(other, "async")
            try:
                found["async"] = await producer.add_many([good, fields, good])
            except StreamsError as error:
                found["async"] = error
            await producer.close()

    streams = ("plain", "own", "bulk", "async")
    client.delete(*streams)
    kinds: list[Any] = [Producer, Producer, BulkProducer]
    for stream, kind in zip(streams, kinds, strict=False):
        producer = kind(client, stream)
        add(stream, producer, own=stream == "own")
        see(stream)
        assert (
            producer.add_many([Entry(EntryId(9), good)] if stream == "own" else [good]).count == 1
        )
        producer.close()
    asyncio.run(run())
    see("async")
    return found


def assert_the_same(client: Any, fields: Any) -> Any:
    found = each_way(client, fields)
    assert len(set(found.values())) == 1, found
    return found["plain"]


def hashable(value: Any) -> bool:
    try:
        return bool({value})
    except TypeError:
        return False


scalars = st.one_of(
    st.text(), st.binary(), st.integers(), st.integers(-(10**40), 10**40), st.floats(),
    st.decimals(), st.booleans(), st.none(), st.datetimes(), st.datetimes(timezones=st.just(UTC)),
    st.dates(), st.times(), st.timedeltas(), st.uuids(), st.complex_numbers(), st.fractions(),
    st.text(alphabet=st.characters(categories=["Cs", "Lu"]), max_size=3),
    st.sampled_from([
        value for value, _ in TAKEN + REFUSED if not any(value is one for one in [*UNSHOWN, LONG])
    ]),
)  # fmt: skip
entries_of_any_kind = st.one_of(
    st.dictionaries(
        st.one_of(st.text(max_size=3), scalars.filter(hashable)), scalars, max_size=3
    ),
    scalars, st.lists(scalars, max_size=2),
)  # fmt: skip


@settings(
    max_examples=times(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(entries_of_any_kind)
@example({})
@example({"": ""})
@example({"é": 1, "é".encode(): 2})
@example({1: "a", "1": "b"})
@example({HALF: "a"})
@example({None: "a"})
def test_whatever_goes_in_comes_out_as_it_is_meant_or_is_refused(redis, fields):
    """In every producer the same, and each goes on."""
    found = assert_the_same(redis, fields)
    if isinstance(found, str):
        assert not isinstance(fields, dict) or not fields or "field" in found
        return

    def said(value: Any) -> bytes:
        one = word(value)
        return one if isinstance(one, bytes) else one.encode()

    assert found == tuple((said(name), said(value)) for name, value in fields.items())


@pytest.mark.once
@pytest.mark.parametrize("value", UNSHOWN, ids=["rude", "huge"])
def test_what_cannot_be_shown_is_refused_all_the_same(redis, value):
    for fields in ({"v": value}, [value], {value: "v"}, {"v": value} | dict.fromkeys(range(1000))):
        assert str(assert_the_same(redis, fields))


@pytest.mark.once
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_good_entries_are_not_lost_for_the_bad_among_them(redis, kind):
    """Finding C2: none was sent, and every later call failed."""
    entries: list[dict[str, Any]] = [{"n": n} for n in range(500)]
    wrong = [{"t": HALF}, {"t": None}]
    producer = kind(redis, "s")
    with pytest.raises(ArgumentError, match=r"field 't' holds '\\ud83d'.*So is 1 more") as refused:
        producer.add_many([*entries[:250], *wrong, *entries[250:]], batch=100)
    assert refused.value.entries == wrong
    assert producer.added.count == redis.xlen("s") == 500
    assert producer.add_many([{"n": 1}]).count == 1
    producer.flush()
    producer.close()


@pytest.mark.once
@pytest.mark.parametrize("kind", KINDS)
def test_an_endless_source_of_bad_entries_is_told_after_a_thousand(redis, kind):
    def broken() -> Any:
        while True:
            yield {"t": None}

    with pytest.raises(ArgumentError, match="So are 999 more") as refused:
        kind(redis, "s").add_many(broken(), batch=100)
    assert len(refused.value.entries) == 1000


@pytest.mark.once
@pytest.mark.parametrize("name", [HALF, "", None, b"s", 5])
@pytest.mark.parametrize("kind", [*KINDS, AsyncProducer])
def test_what_is_no_name_of_a_stream_is_refused_at_once(redis, kind, name):
    with pytest.raises(ArgumentError, match=r"stream (needs a name|holds)"):
        kind(redis, name)


@pytest.mark.once
def test_a_plain_client_that_replies_with_bytes_does_as_well(redis):
    with client_of(find_server().url, decode_responses=False) as client:
        for kind in KINDS:
            with kind(client, "s") as producer:
                assert producer.add_many([{"n": 1}, {"n": b"\xff"}]).count == 2
    assert redis.xlen("s") == 4


def test_packing_in_python_gives_the_same_bytes():
    command = ["XADD", "s", "*", *(word(value) for value, _ in TAKEN)]
    assert pack_in_python(command) == pack(tuple(command))


# ------------------------------------------------------------------ what the server never takes


@pytest.mark.parametrize("kind", [*KINDS, AsyncProducer])
def test_an_entry_larger_than_the_server_takes_is_given_back(kind):
    """Finding C3: "could not be reached for 10 s", and every later add waited as long."""
    with SpareServer("--proto-max-bulk-len", "1mb") as server:
        client = client_of(server.url)
        large = {"v": "x" * 2_000_000}
        entries: list[Any] = [
            {"n": 0},
            large,
            *({"n": "y" * 1000 + str(n)} for n in range(600)),
            large,
        ]

        async def run() -> Any:
            async with async_client_of(server.url) as other, AsyncProducer(other, "s") as producer:
                try:
                    await producer.add_many(entries)
                finally:
                    await producer.add({"n": "last"})

        def plain() -> None:
            with kind(client, "s") as producer:
                try:
                    producer.add_many(entries)
                finally:
                    producer.add_many([{"n": "last"}])

        with pytest.raises(ArgumentError, match="larger than the server takes") as refused:
            asyncio.run(run()) if kind is AsyncProducer else plain()
        assert refused.value.entries == [large, large]
        numbers = [entry.fields["n"] for entry in scan(client, "s")]
        assert numbers == ["0", *("y" * 1000 + str(n) for n in range(600)), "last"]


def test_of_own_ids_those_that_are_too_small_are_given_back_and_the_others_are_appended(redis):
    redis.xadd("s", {"n": 0}, id="5-0")
    with Producer(redis, "s") as producer:
        entries = [Entry(EntryId(n), {"n": str(n)}) for n in (1, 5, 6, 7)]
        with pytest.raises(
            EntryIdError, match=r"'s' already has an entry with this ID.*So is 1 more.*2 of th"
        ) as refused:
            producer.add_many(entries)
        assert refused.value.entries == entries[:2]
        assert producer.added == Added(2, EntryId(6), EntryId(7))
        assert producer.add({"n": "8"}, id="8-0") == EntryId(8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_at_its_last_id_gives_back_what_is_behind(redis, kind):
    redis.xadd("s", {"n": 0}, id=str(LAST._replace(seq=LAST.seq - 2)))
    with kind(redis, "s") as producer:
        entries = [{"n": n} for n in range(1, 5)]
        with pytest.raises(ArgumentError, match="the largest ID there is") as refused:
            producer.add_many(entries, batch=3)
        assert refused.value.entries == entries[2:]
        assert producer.added == Added(2, LAST._replace(seq=LAST.seq - 1), LAST)
        with pytest.raises(ArgumentError, match="the largest ID there is"):
            producer.add_many(entries[:1])
    assert redis.xlen("s") == 3


def test_a_millisecond_without_ids_is_followed_by_the_next(redis):
    far = EntryId(2**50, LAST.seq - 1)
    redis.xadd("s", {"n": 0}, id=str(far))
    with Producer(redis, "s") as producer:
        added = producer.add_many([{"n": n} for n in range(3)])
    assert added == Added(3, EntryId(2**50, LAST.seq), EntryId(2**50 + 1, 1))
    assert redis.xlen("s") == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_foreign_key_beside_the_stream_is_named_and_what_is_there_is_counted(redis, kind, when):
    """Finding C5: "0 were appended", and ten were."""
    producer = kind(redis, "q")
    if when == "between":
        producer.add_many([{"n": 0}])
    redis.set("{q}:producers", "mine")
    with pytest.raises(WrongTypeError, match=r"'\{q\}:producers', where the server notes") as told:
        producer.add_many({"n": n} for n in range(10))
    there = 1 if when == "between" else 0
    assert redis.xlen("q") == there + producer.added.count
    assert len(told.value.entries) == 10 - producer.added.count
    redis.delete("{q}:producers")


# ------------------------------------------------------------------ a call within a call


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_that_adds_by_itself_leaves_each_call_its_own_count(redis, kind):
    """Finding C6: the outer call reported the inner ones."""
    inner = []

    def source(producer: Any) -> Any:
        for n in range(6):
            inner.append(producer.add_many([{"inner": n}, {"inner": n}]))
            yield {"outer": n}

    with kind(redis, "s") as producer:
        added = producer.add_many(source(producer), batch=2)
        assert producer.added == added
    ids: dict[str, list[EntryId]] = {"inner": [], "outer": []}
    for entry_id, fields in redis.xrange("s"):
        ids[next(iter(fields))].append(EntryId.parse(entry_id))
    assert added == Added(6, ids["outer"][0], ids["outer"][-1])
    assert [(one.first, one.last) for one in inner] == list(
        zip(ids["inner"][::2], ids["inner"][1::2], strict=True)
    )


# ------------------------------------------------------------------ the partitions


@pytest.mark.once
def test_the_partitions_take_what_the_others_take(redis):
    begin = start_of(date(2100, 1, 1))
    text = [
        (value, said) for value, said in TAKEN if said.decode(errors="replace").encode() == said
    ]
    with PartitionProducer(redis) as producer:
        producer.add_many(Reading(begin + n, value) for n, (value, _) in enumerate(text))
        for value, _ in REFUSED:
            with pytest.raises(StreamsError, match="A reading is Reading"):
                producer.add_many([Reading(begin + 10_000, value)])
    assert [one[0][1] for one in raw(redis, "temps:21000101")] == [said for _, said in text]
