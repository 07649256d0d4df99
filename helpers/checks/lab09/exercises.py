"""Lab 09: scaling out."""

from __future__ import annotations

import random
import secrets
import time
import zlib
from typing import Any

import redis
from redis.crc import key_slot

from helpers.chaos import Failure, Fault, Node, Outcome, Proxy, Returned
from helpers.checks.lab import Lab
from helpers.checks.lab09 import fencing, surviving
from helpers.checks.lab09.clients import (
    MOST_HOPS,
    Detour,
    with_cluster,
    with_node,
    with_nodes,
)
from helpers.checks.lab09.nodes import Ground
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.verdict import StillBlank, Wrong
from helpers.checks.work import in_turn
from helpers.course.blank import Blank
from helpers.streams.keys import hash_tag

lab = Lab("09", "solutions/09_scaling_out.ipynb")

CITIES = ("chennai", "mumbai", "delhi", "Zürich", "kolkata", "東京", "pune", "surat")
ENDLESS = 60_000  # ms: longer than a check waits


def _filled(values: list[Any]) -> list[Any]:
    """What several calls have returned, if none of it is the blank."""
    if any(isinstance(value, Blank) for value in values):
        raise StillBlank
    return values


def _gave_up(outcome: Outcome) -> bool:
    """Whether a learner's own `raise` or `assert` ended the function."""
    return isinstance(outcome, Failure) and outcome.source.startswith(("raise", "assert"))


# ------------------------------------------------------------------ 1: the slot-mate


@lab.exercise(
    1,
    "Name the slot-mate",
    "A hash slot is computed from the whole name, or from what is in the first pair of braces.",
    "Without braces: put the stream's whole name in braces. With braces: leave the name as it is. "
    "Then append `:counters`.",
    calls=("stream",),
)
def slot_mate(scene: Scene, counters_of: Any) -> str:
    """The server is asked whether stream and counters lie in one slot."""
    token = secrets.token_hex(2)
    streams = [f"chennai{token}", f"weather{token}:{{3}}", f"{{delhi{token}}}:readings",
               f"wind{token}:{{3}}", f"rain:{{pune{token}}}:hourly",
               f"{{delhi{token}}}:alarms"]  # fmt: skip
    made = in_turn(counters_of, [(stream,) for stream in streams])
    names = _filled(scene.call(made))
    with Ground(scene) as ground:
        for stream, name in zip(streams, names, strict=True):
            _expect_mate(ground, stream, name)
    for stream, name in zip(streams, names, strict=True):
        other = streams[names.index(name)]
        if other != stream:
            raise Wrong(
                "Two streams would count in one key. The tag alone isn't enough: the whole name "
                "of the stream has to be in the name of its counters.",
                expected="another name for each stream",
                found=f"`{name}` for `{other}` and for `{stream}`",
            )
    for stream, name, again in zip(streams, names, scene.call(made, fresh=True), strict=True):
        if name != again:
            raise Wrong(
                "Asked again, in another process, it returned another name, so no two programs "
                "would use the same counters. Make the name of the stream's and of fixed text: "
                "Python's `hash()` of a string is different in every process.",
                expected=f"one name for `{stream}`",
                found=f"`{name}` and `{again}`",
            )
    return "Each key lies beside its stream, and a script may use both; the server was asked."


def _expect_mate(ground: Ground, stream: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise Wrong("Return the name of the key: a string.", expected="a name", found=f"{name!r}")
    if name == stream:
        raise Wrong(
            "This is the stream itself. Its counters are a hash, and need a key of their own.",
            found=f"`{name}` for the stream `{stream}`",
        )
    try:
        ground.at(stream).exists(stream, name)
    except redis.ResponseError as error:
        raise Wrong(
            _why_apart(stream, name),
            expected=f"a name in slot {key_slot(stream.encode())}, as `{stream}`",
            found=f"`{name}` in slot {key_slot(name.encode())}; the server said: {error}",
        ) from error


def _why_apart(stream: str, name: str) -> str:
    tag, own = hash_tag(name), hash_tag(stream)
    if tag == name:
        return (
            "Without a pair of braces the whole name is hashed, so two different names have "
            "unrelated slots: put in braces what both have to share."
        )
    if own == stream:
        return (
            f"Here `{tag}` is hashed. Both names have to be hashed from the same characters, and "
            f"this stream has no braces: so its whole name, `{stream}`, belongs in braces."
        )
    if "{" in tag:
        return (
            f"A tag goes from the first `{{` to the first `}}` after it, so here it is `{tag}`. "
            "This stream has a tag already: leave its name as it is."
        )
    return (
        f"Only the first pair of braces counts, and in it is `{tag}`. The stream's own tag is "
        f"`{own}`: it has to be the first one in your name too."
    )


# ------------------------------------------------------------------ 2: route by key


@lab.exercise(
    2,
    "Route by key",
    "Which part a city has must follow from its name alone, in every process and in every "
    "language. The lesson has shown the function.",
    "`zlib.crc32(city.encode()) % parts` is the part. In an f-string, `{{` stands for a brace.",
    calls=("redis", "name", "parts", "city", "reading"),
)
def route(scene: Scene, append: Any) -> str:
    """Each city's readings have to lie in the part that its CRC-32 names."""
    parts = secrets.choice((5, 7, 11, 13))
    cities = [*CITIES, f"city {secrets.token_hex(2)}"]
    with Ground(scene) as ground:
        name = ground.key("weather")
        calls = [(name, parts, city, {"city": city, "n": n}) for n in range(2) for city in cities]
        seeds = ground.primaries()
        ids = _filled(scene.call(with_cluster(in_turn(append, calls), ground.cluster, seeds)))
        found = _where(ground)
        _expect_parts(ground, name, parts, found)
        for city in cities:
            _expect_routed(scene, ground, append, (name, parts, city), found)
        at = [one for entries in found.values() for one, _ in entries]
        if sorted(map(str, ids)) != sorted(at):
            raise Wrong(
                "Return the ID of the entry, as `xadd` does.",
                expected=f"an ID such as {at[0]}",
                found=repr(ids[0]),
            )
    return f"{len(calls)} readings of {len(cities)} cities: each city is in the part of its own."


def _where(ground: Ground) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """The streams of a check, on all nodes, with their entries."""
    found = {}
    for key in ground.all_keys():
        if ground.at(key).type(key) == "stream":
            found[key] = ground.at(key).xrange(key)
    return found  # type: ignore[return-value]


def _expect_parts(ground: Ground, name: str, parts: int, found: dict[str, Any]) -> None:
    """Make sure that there are entries, and only in streams that are called as parts are."""
    wanted = {f"{name}:{{{part}}}" for part in range(parts)}
    if not found:
        raise Wrong(
            "Append the reading on the client that your function is given: `redis.xadd(…)`.",
            expected="entries on the cluster",
            found="none",
        )
    for key in found:
        if key not in wanted:
            raise Wrong(
                _misnamed(name, key),
                expected=f"one of `{ground.short(name)}:{{0}}` to "
                f"`{ground.short(name)}:{{{parts - 1}}}`",
                found=f"`{ground.short(key)}`",
            )


def _misnamed(name: str, key: str) -> str:
    if key == name:
        return "That is the name of the whole. Its entries go to parts, each a stream of its own."
    if key.startswith(f"{{{name}}}"):
        return (
            "With the stream's name in braces, all parts have the same slot, and so lie on one "
            "node. The number of the part belongs in braces."
        )
    if "{" not in key or hash_tag(key) == "part":
        return (
            "The number of the part stands in braces. In an f-string, `{{` and `}}` stand for "
            "braces: `{{{part}}}` is a brace, the value of `part`, and a brace."
        )
    return "The parts are called `name:{0}`, `name:{1}` and so on, up to `parts - 1`."


def _expect_routed(
    scene: Scene, ground: Ground, append: Any, call: tuple[str, int, str], found: dict[str, Any]
) -> None:
    """Make sure that both readings of a city lie in its part, and say why they don't."""
    name, parts, city = call
    lies = [
        (key, fields) for key, entries in found.items() for _, fields in entries
        if fields.get("city") == city
    ]  # fmt: skip
    right = zlib.crc32(city.encode()) % parts
    wanted = f"{name}:{{{right}}}"
    have = [" ".join(sorted(fields)) for _, fields in lies]
    if have != ["city n"] * 2:
        raise Wrong(
            "Append each reading once, with the fields that it has.",
            expected=f"2 readings of {city}, each with the fields `city` and `n`",
            found=f"{len(have)}, with the fields {', '.join(f'`{one}`' for one in have)}"
            if have
            else "none with the field `city`",
        )
    places = {key for key, _ in lies}
    if places == {wanted}:
        return
    if len(places) > 1:
        hint = (
            "Two readings of one city lie in two parts, so nothing keeps their order. The part "
            "must follow from the city's name, and from nothing else."
        )
    elif _moves(scene, ground, append, call, places):
        hint = (
            "In another process, the same city goes to another part. Python's `hash()` of a string "
            "is different in every process. `zlib.crc32` is the same everywhere."
        )
    elif _by_slot(name, parts, found):
        hint = (
            "That is the CRC-16 of the hash slot. All who produce to a stream must compute the "
            "same: the rule here is the CRC-32 of the city's UTF-8, modulo the number of parts."
        )
    else:
        hint = (
            "It's stable, and still not where the other producers put this city: the rule is the "
            "CRC-32 of the city's UTF-8, modulo the number of parts."
        )
    raise Wrong(
        hint,
        expected=f"{city} in `{ground.short(wanted)}`",
        found=" and ".join(f"`{ground.short(key)}`" for key in sorted(places)),
    )


def _by_slot(name: str, parts: int, found: dict[str, Any]) -> bool:
    """Whether every city is in the part that its hash slot names."""
    return all(
        key == f"{name}:{{{key_slot(fields['city'].encode()) % parts}}}"
        for key, entries in found.items()
        for _, fields in entries
    )


def _moves(
    scene: Scene, ground: Ground, append: Any, call: tuple[str, int, str], places: set[str]
) -> bool:
    """Whether another Python puts the cities elsewhere; two are asked, with more parts."""
    _, parts, _ = call
    name, cities = ground.key("elsewhere"), [f"c{n}" for n in range(12)]
    calls = [(name, parts, city, {"city": city, "n": 0}) for city in cities]
    made = with_cluster(in_turn(append, calls), ground.cluster, ground.primaries())
    seen = []
    for fresh in (True, False):
        scene.call(made, fresh=fresh)
        there = {key: entries for key, entries in _where(ground).items() if key.startswith(name)}
        seen.append({fields["city"]: key for key in there for _, fields in there[key]})
        for key in there:
            ground.at(key).unlink(key)
    return seen[0] != seen[1]


# ------------------------------------------------------------------ 3: WAIT


@lab.exercise(
    3,
    "What has a replica confirmed?",
    "WAIT is a command of its own, after the XADDs and on the same connection. A pipeline "
    "keeps them together.",
    "`node.pipeline(transaction=False)`, an `xadd` for each reading, then `wait(1, timeout_ms)`. "
    "The last reply of `execute()` is how many replicas have it all.",
    calls=("node", "stream", "readings", "timeout_ms"),
)
def confirmed(scene: Scene, add_safely: Any) -> str:
    """With a replica that is well, and with one that is paused."""
    with Ground(scene) as ground:
        stream = ground.key("chennai")
        ground.replica_of(stream)
        with Proxy(ground.url(stream)) as proxy:
            function = with_node(add_safely, proxy.url)
            readings = [{"temperature": 20 + n} for n in range(3 + secrets.randbelow(4))]
            got = _waited(scene, proxy, function, stream, readings, ENDLESS)
            _expect_appended(ground, stream, readings, got, 0)
            _expect_wait(proxy.commands, got[1])
            proxy.reset()
            ground.stop_replica(stream)
            got = _waited(scene, proxy, function, stream, readings, 200)
        _expect_appended(ground, stream, readings, got, len(readings))
        if got[1] != 0:
            raise Wrong(
                _GUESSED,
                expected="0: the replica was paused, and has none of them",
                found=f"{got[1]!r}",
            )
    return "1 while the replica was well, and 0 while it was paused: you know what is safe."


def _waited(
    scene: Scene, proxy: Proxy, function: Any, stream: str, readings: Any, timeout_ms: int
) -> Any:
    """What a function returns that sends WAIT once, and why it doesn't return."""
    with scene.running(function, stream, readings, timeout_ms) as process:
        outcome = process.outcome(LIMIT_S)
    if timeout_ms != ENDLESS and _gave_up(outcome):
        raise Wrong(_THERE_ALL_THE_SAME, expected="the IDs, and 0", found=str(outcome))
    waits = proxy.names.count("WAIT")
    slow = _HANGS if timeout_ms == ENDLESS else _FOREVER
    if not waits:
        slow = _NO_WAIT
    elif waits > 1:
        slow = _AGAIN
    return result(outcome, slow, LIMIT_S)


_NO_WAIT = (
    "WAIT wasn't sent, so the number is a guess. It's a command of its own, and comes after the "
    "XADDs."
)
_AGAIN = (
    "It sends WAIT again and again, until a replica confirms. One is enough: after `timeout_ms` "
    "its reply is 0, and that's what to return."
)
_AS_IT_IS = (
    "WAIT takes milliseconds, and how many is up to the caller: give it `timeout_ms` as it is."
)
_HANGS = (
    "It waits for more than there is: each primary of this cluster has one replica, which had the "
    "readings at once. Ask WAIT for 1."
)
_FOREVER = (
    "If the replica is paused, this waits forever: WAIT takes milliseconds, and 0 means without "
    "end. Give it `timeout_ms` as it is."
)


def _expect_appended(
    ground: Ground, stream: str, readings: list[dict[str, int]], got: Any, before: int
) -> None:
    """Make sure that a pair came back, and that its IDs are those of the new entries."""
    entries: Any = ground.at(stream).xrange(stream)
    new = entries[before:]
    ids = [one for one, _ in new]
    if not isinstance(got, list | tuple) or len(got) != 2:
        raise Wrong(
            "Return two things: the list of IDs, and how many replicas have confirmed.",
            expected="(['1700000000000-0', …], 1)",
            instead=got,
        )
    if isinstance(got[1], list | tuple) or isinstance(got[0], int):
        raise Wrong("The IDs come first, then the number.", expected="(IDs, 1)", instead=got)
    if not new and got[1] == 0:
        raise Wrong(_THERE_ALL_THE_SAME, expected=f"{len(readings)} entries", found="none")
    if [fields for _, fields in new] != [{k: str(v) for k, v in one.items()} for one in readings]:
        raise Wrong(
            "Append each reading once, in the order of the list.",
            expected=f"{len(readings)} entries, as in `readings`",
            found=f"{len(new)} entries: {[fields for _, fields in new]!r:.80}",
        )
    if not isinstance(got[0], list | tuple) or list(map(str, got[0])) != ids:
        hint = "Return the IDs of the new entries: the replies of XADD."
        if not got[0] and isinstance(got[0], list | tuple):
            hint = _THERE_ALL_THE_SAME
        raise Wrong(hint, expected=f"{ids!r:.80}", found=f"{got[0]!r:.80}")
    if isinstance(got[1], bool) or not isinstance(got[1], int):
        raise Wrong("The second one is a number: what WAIT returned.", instead=got[1])


_THERE_ALL_THE_SAME = (
    "The entries are on the primary even if no replica has confirmed them: WAIT doesn't undo "
    "anything. So leave them there, and return their IDs in any case."
)
_GUESSED = (
    "Return what WAIT returned. And WAIT has to come after the XADDs, on their connection: it "
    "counts the replicas that have what this connection has written so far."
)


def _expect_wait(commands: list[list[str]], confirmed: int) -> None:
    """Look at how WAIT was sent, and at what came back while the replica was well."""
    names = [words[0] for words in commands]
    if "WAIT" not in names:
        raise Wrong(
            _NO_WAIT,
            expected="a WAIT",
            found=f"the commands {', '.join(dict.fromkeys(names))}",
        )
    at = names.index("WAIT")
    if "MULTI" in names[:at] and "EXEC" not in names[:at]:
        raise Wrong(
            "Inside MULTI and EXEC, WAIT can't wait: it returns at once, and knows nothing of the "
            "entries beside it. Use `pipeline(transaction=False)`.",
            found=" ".join(names),
        )
    if names.count("WAIT") > 1:
        raise Wrong(
            "One WAIT is enough: it covers all that its connection wrote before. One for each "
            "reading is a round trip to the replica for each.",
            expected="1 WAIT",
            found=f"{names.count('WAIT')}",
        )
    if "XADD" in names[at:]:
        raise Wrong(
            "WAIT was sent before an XADD, so it knows nothing of that entry. It has to come last.",
            found=" ".join(names),
        )
    _, replicas, timeout_ms = commands[at]
    hint = ""
    if timeout_ms == "0":
        hint = _FOREVER
    elif replicas == str(ENDLESS):
        hint = "First how many replicas, then for how long: `wait(1, timeout_ms)`."
    elif replicas != "1":
        hint = "Ask WAIT for 1 replica: each primary has one, and `wait(0, …)` waits for none."
    elif not ENDLESS / 2 < float(timeout_ms) <= ENDLESS:
        hint = _AS_IT_IS
    if hint:
        raise Wrong(
            hint, expected=f"WAIT 1 {ENDLESS}: `timeout_ms` is {ENDLESS}",
            found=" ".join(commands[at]),
        )  # fmt: skip
    if confirmed != 1:
        raise Wrong(
            "Return what WAIT returned: it counts replicas, and the one that there is had the "
            "readings a moment later.",
            expected="1: the replica was well",
            found=f"{confirmed}",
        )


# ------------------------------------------------------------------ 4: the hot part


@lab.exercise(
    4,
    "Find the hot part",
    "How long a stream is says nothing about now. Count what was added since `since`, in each "
    "stream.",
    "`len(redis.xrange(stream, since))` is a stream's count. `redis.cluster_slots()` says which "
    "node serves the range that `redis.cluster_keyslot(stream)` is in.",
    calls=("redis", "streams", "since"),
)
def hot_part(scene: Scene, hottest: Any) -> str:
    """Among streams of which another is the longest, and another has the newest entry.

    The hot one lies inside a node's range of slots, then on its last slot, then on its first.
    """
    with Ground(scene) as ground:
        for number, edge in enumerate((None, 1, 0)):
            *streams, hot = _streams(ground, f"weather{number}", edge)
            since, counts = _fill(ground, streams, hot)
            streams.insert(1 + secrets.randbelow(len(streams)), hot)
            made = with_cluster(hottest, ground.cluster, ground.primaries())
            _expect_hot(ground, streams, counts, scene.call(made, streams, since))
    return "The busiest stream and its node, three times, and not the longest one."


MOST, ALMOST = 130, 129  # new entries of the hot stream, and of another
OLD, KEPT = 250, 5  # entries from before, of the longest stream and of each other


def _streams(ground: Ground, name: str, edge: int | None) -> list[str]:
    """The streams of two nodes in turn, and then the hot one, alone on the third node.

    Args:
        ground: the cluster.
        name: what they are called, before the number in braces.
        edge: which slot of a range the hot one has: 0 for the first, 1 for the last.
    """
    edges = {one[edge or 0] for one in ground.slots()} - {0}  # 0 tells nothing: it begins the first
    tags = random.sample(range(150_000), 150_000)
    hot = next(tag for tag in tags if edge is None or key_slot(b"%d" % tag) in edges)
    names = [ground.key(f"{name}:{{{tag}}}") for tag in (*tags[1:60], hot)]
    lie: dict[str, list[str]] = {}
    for name in names:
        lie.setdefault(ground.primary_of(name).name, []).append(name)
    del lie[ground.primary_of(names[-1]).name]
    return [name for pair in zip(*lie.values(), strict=False) for name in pair][:8] + names[-1:]


def _fill(ground: Ground, streams: list[str], hot: str) -> tuple[int, dict[str, int]]:
    """Make one stream long and quiet, one the last added to, one almost as busy as the hot one.

    The node of that one is the busiest.
    """
    since = int(time.time() * 1000) - 10_000
    almost, old, newest, *rest = streams
    counts = dict(zip(rest, range(2, 20), strict=False))
    counts |= {newest: 1, old: 5, almost: ALMOST, hot: MOST}
    for stream, new in counts.items():
        pipeline = ground.at(stream).pipeline(transaction=False)
        for n in range(OLD if stream == old else KEPT):
            pipeline.xadd(stream, {"n": n}, id=f"{since - 9000 + n}-0")
        first = since + (stream != hot)
        for n in range(new):
            at = since + 9000 if stream == newest else first + 50 * n
            pipeline.xadd(stream, {"n": n}, id=f"{at}-0")
        pipeline.execute()
    return since, counts


def _expect_hot(ground: Ground, streams: list[str], counts: dict[str, int], got: Any) -> None:
    right = max(streams, key=lambda stream: counts[stream])
    node = ground.primary_of(right)
    wanted = f"`{ground.short(right)}`, with {counts[right]} new entries, on port {node.port}"
    if not isinstance(got, list | tuple) or len(got) != 2:
        hint = "Return two things: the name of the stream, and the port of the node that serves it."
        if got is None:
            hint += (
                " If your function has found no range: both its first and its last slot belong to "
                f"it, and here the slot is {key_slot(right.encode())}."
            )
        raise Wrong(hint, expected="('weather:{4}', 21923)", found=ground.short(repr(got)))
    stream, port = got
    if not isinstance(stream, str) or stream not in streams:
        raise Wrong(
            "First the stream, as it's called in `streams`.",
            expected=wanted, found=ground.short(repr(stream)),
        )  # fmt: skip
    if stream != right:
        longest = max(streams, key=lambda one: ground.at(one).xlen(one))
        hint = "Take the stream to which most entries were added since `since`."
        if stream == longest:
            hint = (
                "That's the longest stream, and almost all of it is old. The load is what is added "
                "now: the entries since `since`, whatever was there before."
            )
        elif counts[stream] == ALMOST:
            hint = (
                "The other one has one entry more. Count all entries of each stream, not of its "
                "node: also the one of the millisecond `since`, and without a `count=` that ends "
                "the reply before."
            )
        raise Wrong(
            hint,
            expected=wanted,
            found=f"`{ground.short(stream)}`, with {counts[stream]} new entries",
        )
    _expect_port(ground, right, node, port)


def _expect_port(ground: Ground, stream: str, node: Node, port: Any) -> None:
    if port == node.port and not isinstance(port, bool):
        return
    others = {one.port: one for one in ground.cluster.nodes}
    hint = "Return the port of the node: a number, such as 21923."
    if port == key_slot(stream.encode()):
        hint = "That's the hash slot. `redis.cluster_slots()` says which node serves its range."
    elif port in others and others[port] in ground.primaries():
        hint = (
            "Another node serves this stream. A range of slots goes from its first to its last "
            "one, and the stream's own slot is `redis.cluster_keyslot(stream)`."
        )
    elif port in others:
        hint = "That's a replica. The load of writing is on the primary."
    elif isinstance(port, str) and str(node.port) in port:
        hint = "Return the port alone, as a number."
    raise Wrong(hint, expected=f"port {node.port}", found=repr(port))


# ------------------------------------------------------------------ 5: MOVED


@lab.exercise(
    5,
    "Survive MOVED by hand",
    "The error names the node to ask. That node may answer with MOVED as well, but it can't "
    "go on like this forever.",
    "In a loop of, say, five rounds: try `node.xadd(stream, fields)`; at `MovedError as moved`, "
    "`node = connect(moved.host, moved.port)`. After the loop, raise an error.",
    calls=("node", "connect", "stream", "fields"),
)
def moved(scene: Scene, add: Any) -> str:
    """With no MOVED, one, four of them, without an end, and with a reply that is lost."""
    with Ground(scene) as ground:
        for name, hint in (("here", _AT_HOME), ("there", _FOLLOW), ("wandering", _FURTHER)):
            stream = ground.key(name)
            own = ground.primary_of(stream)
            others = [node for node in ground.primaries() if node is not own]
            first = own if name == "here" else others[0]
            ways = (own, others[1]) * 2 if name == "wandering" else ()
            made = with_nodes(add, ground.cluster, first, ways)
            got = _followed(scene, ground, made, stream, hint)
            _expect_once(ground, stream, name, got)
        _expect_an_end(scene, ground, add)
        _expect_no_retry(scene, ground, add)
    return (
        "It followed MOVED once, and four times when the slot moved on and back; and when two "
        "nodes named each other, it gave up with an error."
    )


_AT_HOME = "This node serves the stream, and its reply was no MOVED."
_FOLLOW = (
    "The node said MOVED: it doesn't serve the slot, and never will by being asked again. The "
    "error says which node does, in `moved.host` and `moved.port`: send the command there."
)
_FURTHER = (
    "The slot moved on, just before the second node was asked, so that one said MOVED too; then it "
    "moved back, and on again. Follow each MOVED as you did the first, also to a node that you "
    "have asked before: here it took four hops, and you have five."
)


def _followed(scene: Scene, ground: Ground, made: Any, stream: str, hint: str) -> Any:
    """What a function returns that has to follow MOVED."""
    before = ground.strangers()
    with scene.running(made, stream, {"n": 1}) as process:
        outcome = process.outcome(LIMIT_S)
    ground.agree(stream)
    kind = getattr(outcome, "kind", "")
    if _gave_up(outcome) or kind in ("MovedError", "RecursionError", "SystemExit"):
        raise Wrong(hint, found=str(outcome))
    if ground.strangers() > before:
        raise Wrong(
            "The nodes ask for a password. `connect(host, port)` returns a client that has it.",
            found="a client of your own without a password",
        )
    return _filled(result(outcome, hint, LIMIT_S))


def _expect_once(ground: Ground, stream: str, name: str, got: Any) -> None:
    entries: Any = ground.at(stream).xrange(stream)
    where = "with the slot on the node at hand" if name == "here" else "after MOVED"
    if len(entries) != 1 or entries[0][1] != {"n": "1"}:
        hint = "Append the entry once, with its fields." if entries else _FOLLOW
        raise Wrong(
            hint, expected=f"1 entry on the stream, {where}", found=f"{len(entries)} entries"
        )
    value, _ = got
    if str(value) != entries[0][0]:
        raise Wrong(
            "Return the ID of the entry, as `xadd` does.",
            expected=f"{entries[0][0]}, {where}",
            instead=value,
        )


def _expect_an_end(scene: Scene, ground: Ground, add: Any) -> None:
    """Let two nodes name each other, and make sure that a function gives up."""
    stream = ground.key("nowhere")
    slot, own = key_slot(stream.encode()), ground.primary_of(stream)
    other = next(node for node in ground.primaries() if node is not own)
    first, second = ground.client(own), ground.client(other)
    first.execute_command("CLUSTER", "SETSLOT", slot, "NODE", other.id)
    second.execute_command("CLUSTER", "SETSLOT", slot, "NODE", own.id)
    try:
        with scene.running(with_nodes(add, ground.cluster, other), stream, {"n": 1}) as process:
            outcome = process.outcome(LIMIT_S)
    finally:
        for client in (first, second):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", own.id)
    kind = getattr(outcome, "kind", "")
    if kind and kind not in ("SystemExit", "RecursionError"):
        return
    if isinstance(outcome, Returned):
        raise Wrong(
            "Two nodes named each other, and your function returned as if all were well: its "
            "caller believes that the entry was appended. Raise an error.",
            expected="an error",
            instead=outcome.value[0],
        )
    raise Wrong(
        "Two nodes named each other, as they can for a moment while a slot moves, and your "
        "function followed them without end. Give up after, say, five hops, with an error.",
        expected="an error after a few hops",
        found=f"it had followed MOVED {MOST_HOPS} times" if kind else "it was still running",
    )


def _expect_no_retry(scene: Scene, ground: Ground, add: Any) -> None:
    """Lose the reply of a node that has appended the entry."""
    stream = ground.key("lost")
    with Proxy(ground.url(stream)) as proxy:
        proxy.arm(Fault.LOSE_REPLY, ("XADD", 1))
        node = ground.primary_of(stream)
        made = with_nodes(add, ground.cluster, node, detour=Detour(node.port, proxy.port))
        with scene.running(made, stream, {"n": 1}) as process:
            process.outcome(LIMIT_S)
    entries: Any = ground.at(stream).xrange(stream)
    if len(entries) > 1:
        raise Wrong(
            "The node had appended the entry, and only its reply was lost: your function sent the "
            "command again. MOVED means that nothing was done. After any other error you don't "
            "know that: catch `MovedError` alone, and let the others pass.",
            expected="1 entry on the stream, after a connection that broke",
            found=f"{len(entries)} entries",
        )


# ------------------------------------------------------------------ 6 and 7


@lab.exercise(
    6,
    "Take over a part, with fencing",
    "A lease says who may begin. It can't stop an owner that was paused and comes back: that "
    "needs a comparison in the step that writes.",
    "In one script: compare the field `token` with your token; if it's yours, HSET `position` and "
    "HINCRBY `sum`. Read the position after you have written your token.",
    calls=("node", "part", "token", "lease_ms"),
)
def fenced(scene: Scene, work: Any) -> str:
    """Workers are paused at each command until another one has taken over."""
    with Ground(scene) as ground:
        return fencing.expect_fenced(scene, ground, work)


@lab.exercise(
    7,
    "Exactly once across a failover",
    "After a failover, the totals may be those of a moment ago, and the position too, if they "
    "were written in one step. What your program remembers isn't.",
    "Read the field `position` from the server before each read. The script compares it with what "
    "you had read, and then writes total and position, or nothing.",
    calls=("redis", "stream", "totals"),
)
def across(scene: Scene, count: Any) -> str:
    """Under kills, a lost reply, and a failover that loses what was counted."""
    with Ground(scene) as ground:
        return surviving.expect_exact(scene, ground, count)
