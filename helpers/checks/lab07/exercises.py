"""The checks of lab 07: who hears a message, what is counted where, and what is lost."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, cast

from helpers.chaos import Failure, Outcome, Returned
from helpers.checks.lab import Lab
from helpers.checks.lab07 import counting, surviving
from helpers.checks.lab07.listening import (
    BESIDE,
    ENOUGH_S,
    Heard,
    elsewhere,
    expect_return,
    while_it_listens,
)
from helpers.checks.lab07.losing import LOST, TOTAL, WAIT_S, listen, what_is_lost
from helpers.checks.predictions import choice_of
from helpers.checks.scene import Scene, result
from helpers.checks.verdict import Wrong
from helpers.wiki import Change

lab = Lab("07", "`solutions/07_event_pipeline.ipynb`")

# ------------------------------------------------------------------ 1: predict

THINK = {  # for each question what to think of, and not the answer
    "reply to m0": "PUBLISH returns how often the message was delivered. Who was listening "
    "when `m0` came?",
    "reply to m1": "PUBLISH counts deliveries, not clients. Go down the table: which of the "
    "subscriptions match `wiki`, a name without a dot? And does a channel "
    "belong to a database?",
    "reply to m2": "`m2` goes to `wiki.de`. Does `SUBSCRIBE wiki` get messages for a longer "
    "name? And which patterns match it?",
    "messages for ann": "Go from `m0` to `m3`: is she listening at that moment? And if not, "
    "does the server keep the message for her?",
    "messages for bea": "She has only a pattern. Which channels match `wiki.*`, with its dot, "
    "and what was published to them?",
    "messages for cem": "He is on database 1. Does a channel belong to a database, as a key "
    "does? And which messages came while he was listening?",
    "messages for dora": "She has two subscriptions, and gets a message once for each that "
    "matches. Go from `m0` to `m3`.",
    "EXISTS wiki": "EXISTS counts keys. What does PUBLISH store, and where?",
}


@lab.exercise(
    1,
    "Which client gets which message?",
    "A message goes to the clients that are listening at that moment, and PUBLISH returns how "
    "many times it was delivered.",
    "A channel and a pattern are two subscriptions. In a pattern, `.` is an ordinary "
    "character and `*` matches any number of characters. And channels don't belong to a "
    "database.",
    "`PUBLISH wiki m1` reaches ann, cem and dora; and dora gets it twice, once for her "
    "channel and once for her pattern.",
)
def predict(scene: Scene, predicted: Any) -> str:
    """Each prediction is compared with what the server does."""
    actual = dict(zip(THINK, _what_happens(scene), strict=True))
    _expect_numbers(predicted, actual, THINK, "eight questions")
    return (
        "The server agrees with all eight. A message goes to the clients that are listening "
        "at that moment, once for each matching subscription, and isn't stored."
    )


def _expect_numbers(
    said: Any, actual: Mapping[str, int], think: Mapping[str, str], keep: str
) -> None:
    """The learner's numbers are those of the server; the right one is not told.

    Raises:
        Wrong: at the first that differs, with what to think of.
    """
    if not isinstance(said, dict) or set(said) != set(actual):
        raise Wrong(f"Keep the dict as the lab gives it: {keep}, each with a number.")
    for question, right in actual.items():
        number = said[question]
        if not isinstance(number, int | float):
            raise Wrong(
                "Each answer is a number, without quotes. EXISTS counts keys, so its reply is a "
                "number too.",
                expected=f"a number for `{question}`",
                found=repr(number),
            )
        if number != right:
            raise Wrong(think[question], found=f"`{question}`: {number}")


def _what_happens(scene: Scene) -> Iterator[int]:
    """The scene of exercise 1, and its answers in their order."""
    client, wiki = cast("Any", scene.redis), scene.key("wiki")
    soon, end = scene.key("soon"), scene.key("end")  # channels that tell us that all was heard
    with ExitStack() as clients:
        other = clients.enter_context(elsewhere())
        ann, bea, dora, back = (clients.enter_context(client.pubsub()) for _ in range(4))
        cem = clients.enter_context(other.pubsub())
        yield client.publish(wiki, "m0")
        listen(ann, wiki, soon)
        listen(bea, end, pattern=f"{wiki}.*")
        listen(cem, wiki, end)
        listen(dora, wiki, end, pattern=f"{scene.key('wik')}*")
        yield client.publish(wiki, "m1")
        yield other.publish(f"{wiki}.de", "m2")
        client.publish(soon, "")
        heard = _heard(ann, soon)
        ann.close()
        client.publish(wiki, "m3")
        listen(back, wiki, end)
        client.publish(end, "")
        yield heard + _heard(back, end)
        yield from (_heard(one, end) for one in (bea, cem, dora))
        yield client.exists(wiki)


def _heard(pubsub: Any, end: str) -> int:
    """How many messages came before the one of a channel."""
    heard = 0
    while (message := pubsub.get_message(timeout=WAIT_S)) and message["channel"] != end:
        heard += 1
    return heard


# ------------------------------------------------------------------ 2: a subscriber

WANTED = 5
THEN, LATE = ["", "1", "1"], ["fifth", "sixth", "seventh"]


@lab.exercise(
    2,
    "Receive the next messages",
    "`pubsub = redis.pubsub()`, then `pubsub.subscribe(channel)`. The first thing that "
    "arrives isn't a message: the server confirms the subscription.",
    "`for message in pubsub.listen():` waits for one after another; `message['type']` is "
    "`subscribe` for the confirmation and `message` for a message. Its content is "
    "`message['data']`.",
    "`if message['type'] == 'message':` append, and return once the list is long enough.",
    calls=("redis", "channel", "n"),
)
def hear(scene: Scene, collect: Any) -> str:
    """One alone, then some at once, some late, some beside; and then no more than was asked for."""
    first = f"first of {secrets.token_hex(3)}"
    heard = while_it_listens(scene, collect, WANTED, first=first, then=THEN, late=LATE)
    outcome, all_of_them = heard.outcome, [first, *THEN, *LATE]
    _expect_no_gap(heard, all_of_them[:WANTED])
    if isinstance(outcome, Failure) and "NoneType" in outcome.message:
        raise Wrong(
            "`get_message` returns None if nothing has arrived yet. Ask again, with a "
            "`timeout`, or let `listen()` wait.",
            found=str(outcome),
        )
    slow = (
        f"There were {len(all_of_them)} messages while your function listened, and it was "
        f"asked for {WANTED}. Return as soon as you have them, because `listen()` never ends. "
        "Count an empty string as a message."
    )
    got = _listed(result(outcome, slow, ENOUGH_S))
    wanted = all_of_them[:WANTED]
    if got != wanted:
        raise Wrong(_heard_hint(got, all_of_them), expected=wanted, instead=got)
    expect_return(scene, collect, WANTED, first=first, then=[*THEN, LATE[0]])
    return "The next messages, no more and no less, whichever database they came from."


def _listed(got: Any) -> Any:
    """A tuple as a list: either will do."""
    return list(got) if isinstance(got, tuple) else got


def _expect_no_gap(heard: Heard, wanted: list[str]) -> None:
    """Nothing was published between two subscriptions.

    Raises:
        Wrong: it subscribed more than once, and has not got all.
    """
    if heard.subscriptions > 1 and heard.outcome != Returned(wanted):
        raise Wrong(
            "There is a gap between two subscriptions, and what is published in it is lost. "
            "Subscribe once, and get one message after another from that subscription.",
            expected="one subscription",
            found=f"{heard.subscriptions} of them",
        )


def _heard_hint(got: Any, sent: list[str]) -> str:
    if not isinstance(got, list):
        return "Return a list of what was published."
    if any(isinstance(one, dict) for one in got):
        return (
            "Return what was published, not the dict that redis-py wraps it in: `message['data']`."
        )
    if any(isinstance(one, int) for one in got):
        return (
            "The first thing that arrives is the server's confirmation of SUBSCRIBE; its "
            "`data` is a number. Take only the type `message`, or use "
            "`ignore_subscribe_messages=True`."
        )
    if any(not isinstance(one, str) for one in got):
        return (
            "Return each message as the string that was published, and nothing else: "
            "`message['data']`."
        )
    if BESIDE in got:
        return (
            "That was published to another channel. PSUBSCRIBE takes a pattern, in which `?` "
            "and `*` stand for other characters. SUBSCRIBE takes the exact name."
        )
    if got == sent[:1]:
        return (
            f"It returned after the first of {WANTED}. Is a `return` inside the loop? Did "
            "`get_message` return None because nothing had arrived yet? Or did an empty "
            "string, which is a message too, end the loop? Continue until the list has `n`."
        )
    once = [one for place, one in enumerate(sent) if one not in sent[:place]][:WANTED]
    if len(got) == WANTED and set(got) == set(once):
        return (
            "The same message was published twice, and both count: keep each one, even if "
            "they're equal."
        )
    if got == [one for one in sent if one][:WANTED]:
        return "One of the messages is an empty string, and it counts too."
    if got == sent[-WANTED:]:
        return (
            "Those are the last messages that were published. You were asked for the next "
            "ones: the first that arrive once you listen."
        )
    if got and got == sent[1 : len(got) + 1]:
        return (
            "The first message is missing: your function skipped it. Skip only confirmations, "
            "whose type is `subscribe`. With `ignore_subscribe_messages=True`, you don't get any."
        )
    if got == sent[: WANTED - 1]:
        return (
            "One is missing. If your function counts what `listen()` yields: the confirmation is "
            "one of those, so count the messages. If it uses `get_message`: if nothing has arrived "
            "yet, that isn't the end, however long you slept before, so ask again until you have "
            "all of them."
        )
    if len(got) < WANTED:
        return (
            "If nothing has arrived yet, that isn't the end, however long you slept before: "
            "`get_message` returns None then, and also for a confirmation that it ignores. "
            "Ask again until you have all of them."
        )
    if len(got) > WANTED:
        return "Return as soon as you have `n`: leave the rest."
    return (
        "Return the messages in the order in which they arrived; an empty string is a message too."
    )


# ------------------------------------------------------------------ 3, 4: count


COUNTING = ("redis", "prefix", "message", "interval_s")


@lab.exercise(
    3,
    "Count a change in its own interval",
    "A message is a string: `json.loads(message)` turns it into a dict, which has the time of "
    "the change in milliseconds.",
    "`at // 1000 // interval_s * interval_s` is the second in which the interval begins; `//` "
    "rounds down.",
    "HINCRBY for `ev`, HINCRBY for the hash of the domain, SADD for the set.",
    calls=COUNTING,
)
def event_time(scene: Scene, count: Any) -> str:
    """At the edges of intervals, late, for two wikis, and with two lengths of an interval."""
    counting.expect_counted(scene, count)
    return "Each change is counted in its own interval, however late it comes."


@lab.exercise(
    4,
    "Forget old buckets",
    "What is left if your process is killed between HINCRBY and EXPIRE? And what happens to a "
    "hash that is counted into every second: does it ever expire?",
    "`redis.pipeline(transaction=True)` sends MULTI and EXEC: send each count and its EXPIRE "
    "in one step. EXPIRE without an option sets the time again.",
    "`redis.hkeys(key)` returns the buckets, as strings; `redis.hdel(key, *old)` deletes "
    "those for which `int(bucket) < now - history_s`, if there are any.",
    calls=(*COUNTING, "history_s", "now"),
)
def expiry(scene: Scene, count: Any) -> str:
    """New keys and busy ones, by a clock of 2001; and killed between its commands."""
    counting.expect_forgotten(scene, count)
    return "No key stays forever, no hash grows forever, and every recent count is there."


# ------------------------------------------------------------------ 5: a domain filter

DOMAINS = ("de.wikipedia.org", "en.wikipedia.org")
NO_CHANGES = (
    '{"domain": "de.wikipedia.org", "title": "cut o',
    "null",
    '["de.wikipedia.org"]',
    '{"title": "without a domain", "bot": 0}',
    '{"domain": "de.wikipedia.org", "bot": 0}',
    '{"domain": "de.wikipedia.org", "title": "says not whether it was a bot"}',
    "",
)


OTHERS = ("de.wikipedia.org.example", "old.de.wikipedia.org", "wikipedia.org")
ELSEWHERE = "in a wiki of a similar name"
SHORT = "no more than a title"


def _change(domain: str, title: str, *, bot: bool = False) -> str:
    return Change(domain, 1_000_000_000_000, "edit", "Ada", bot, title, 12).message()


@lab.exercise(
    5,
    "Follow some wikis",
    "A subscription chooses channels and doesn't look into messages. Anything finer than "
    "that, you filter yourself.",
    "Parse inside the loop, so that one bad message costs only one message: put the `try` "
    "there, and `continue` if it fails.",
    "`json.loads` raises a ValueError. JSON that isn't an object raises a TypeError at "
    "`change['domain']`, and a missing field raises a KeyError.",
    calls=("redis", "channel", "domains", "n"),
)
def follow(scene: Scene, followed: Any) -> str:
    """Changes of these wikis and of others, of people and bots, and things that are no changes."""
    german, english = DOMAINS
    faust, hamlet = (f"{title} {secrets.token_hex(3)}" for title in ("Faust", "Hamlet"))
    messages = [
        *NO_CHANGES,
        _change("fr.wikipedia.org", "Lyon"),
        *(_change(domain, ELSEWHERE) for domain in OTHERS),
        _change(german, "by a bot", bot=True),
        _change(english, hamlet),
        _change(english, hamlet),
        json.dumps({"domain": german, "title": SHORT, "bot": 0}),
        _change(german, 'Das "Käthchen"'),
        _change(german, "too many"),
    ]
    wanted = [faust, hamlet, hamlet, SHORT, 'Das "Käthchen"']
    given = (list(DOMAINS), len(wanted))
    heard = while_it_listens(scene, followed, *given, first=_change(german, faust), then=messages)
    if isinstance(heard.outcome, Failure):
        proper = messages[-5:]
        plain = while_it_listens(
            scene, followed, *given, first=_change(german, faust), then=proper
        ).outcome
        _expect_alive(plain if isinstance(plain, Failure) else heard.outcome, plain)
    _expect_no_gap(heard, wanted)
    slow = (
        "Everything that you're waiting for was published: changes by people, to these wikis. "
        "In a message, `bot` is a number, 0 or 1. Skip only what isn't a change; an `except` "
        "that skips more hides your own mistakes, such as `json.loads(message)` instead of "
        "`json.loads(message['data'])`."
    )
    got = _listed(result(heard.outcome, slow, ENOUGH_S))
    if got != wanted:
        raise Wrong(_follow_hint(got, wanted), expected=wanted, instead=got)
    expect_return(scene, followed, *given, first=_change(german, faust), then=messages[-5:-1])
    return "Only what you follow, and no bad message can end it."


def _expect_alive(outcome: Outcome, without: Outcome) -> None:
    """It has borne all messages.

    Args:
        outcome: what has become of it.
        without: what becomes of it where all messages are proper changes.

    Raises:
        Wrong: one of them ended it.
    """
    if isinstance(outcome, Failure) and outcome.message.endswith("not int"):
        raise Wrong(
            "That's the confirmation: the first thing that arrives says that you're "
            "subscribed, and its `data` is a number. Take only the type `message`, or use "
            "`ignore_subscribe_messages=True`.",
            found=str(outcome),
        )
    if isinstance(without, Failure):
        result(outcome, "", ENOUGH_S)
    if isinstance(outcome, Failure) and outcome.kind in ("JSONDecodeError", "ValueError"):
        what = "A message that isn't JSON ended your subscriber"
    elif isinstance(outcome, Failure) and outcome.kind in ("TypeError", "AttributeError"):
        what = "A message that is JSON, but not what you expect, ended your subscriber"
    elif isinstance(outcome, Failure) and outcome.kind == "KeyError":
        what = "A change with a missing field ended your subscriber"
    else:
        return
    raise Wrong(
        f"{what}, so it misses everything after that. Any client can publish anything: skip "
        "what isn't a change, and continue.",
        found=str(outcome),
    )


def _follow_hint(got: Any, wanted: list[str]) -> str:
    if not isinstance(got, list):
        return "Return a list of titles."
    if None in got or "" in got:
        return "A message without a `title` isn't a change: skip it, as you skip one without `bot`."
    if any(not isinstance(one, str) for one in got):
        return "Return the titles: the field `title` of each change."
    if "by a bot" in got:
        return "That was a bot: its `bot` is 1."
    if ELSEWHERE in got or "Lyon" in got:
        return "That wiki isn't in `domains`: compare the whole name."
    if got[:2] == wanted[:1] + wanted[2:3] and wanted[1] not in got[2:]:
        return "The same page was changed twice, and both changes count: its title comes twice."
    if SHORT not in got and wanted[-1] in got:
        return (
            f"{SHORT!r} is a change: it has `domain`, `title` and `bot`. It doesn't matter "
            "what else a message lacks."
        )
    if not got:
        return (
            "It returned before the first title. `get_message` returns None if nothing has "
            "arrived yet, and also for a confirmation that it ignores: that isn't the end. And "
            "what is published is in `message['data']`."
        )
    if len(got) < len(wanted):
        return (
            f"It returned {len(got)} of {len(wanted)} titles. Count the titles, not the "
            "messages. Skip what isn't a change without ending the loop: the `try` belongs "
            "inside it."
        )
    if len(got) > len(wanted):
        return "Return as soon as you have `n`: leave the rest."
    if set(got) - set(wanted):
        return "A message without `domain`, `title` or `bot` isn't a change: skip it."
    return "Return the titles in the order in which they arrived, as they were written."


# ------------------------------------------------------------------ 6: exact


@lab.exercise(
    6,
    "Count exactly, across a restart",
    "Where should a group begin that you create when the first changes are already there? And "
    "what does a consumer find when it starts again: in its own history, and after that?",
    "`redis.xgroup_create(stream, group, '0', mkstream=True)` raises a ResponseError if the "
    "group already exists: then all is well. Read with `0`, then with `>`.",
    "In one `redis.pipeline(transaction=True)`: the two HINCRBY, SADD, and XACK.",
    calls=("redis", "stream", "group", "name", "prefix", "interval_s"),
)
def exact(scene: Scene, work: Any) -> str:
    """Begun late, killed at every change that it makes, and changes that come while it is dead."""
    surviving.expect_exact(scene, work)
    return "Killed at each of its changes, started again, and every count is exact."


# ------------------------------------------------------------------ 7: choose

CHOICES = ("Pub/Sub", "group", "readers")
RIGHT = {
    "screen": "Pub/Sub",
    "billing": "group",
    "thumbnails": "group",
    "caches": "readers",
    "german": "Pub/Sub",
    "archive": "readers",
}
WHY_NOT = {
    "screen": {
        "group": "Each screen would get only some of the changes. And after a break, a group "
        "delivers everything that was missed, one by one, when it's of no use "
        "anymore",
        "readers": "It would work. But it keeps what no screen ever asks for: a screen shows "
        "the present, and it doesn't need the 300 that were lost while it was off",
    },
    "billing": {
        "Pub/Sub": "You've measured it: 300 of 1,000 are lost in one absence, and each is money",
        "readers": "Two programs that each keep their own place would both write every bill. "
        "A group hands each change to one of them, and knows what isn't "
        "acknowledged",
    },
    "thumbnails": {
        "Pub/Sub": "You've measured it: three subscribers count 3,000 of 1,000. Five workers "
        "would scale each picture five times, and none while they are restarted",
        "readers": "If each of the five kept its own place, each would scale every picture",
    },
    "caches": {
        "Pub/Sub": "You've measured it: a server that is cut off misses the changes in that "
        "time. It would show the old page forever, or have to empty its cache for "
        "an hour",
        "group": "A group hands each change to one of its consumers, so the other servers "
        "would keep showing the old page. Every server has to get every change",
    },
    "german": {
        "group": "A group hands out everything on the stream: all thirty changes a second "
        "would arrive, only to be thrown away. With a pattern, the server chooses: "
        "`PSUBSCRIBE wiki.de.*`",
        "readers": "XREAD takes keys, not patterns: all thirty changes a second would arrive, "
        "or you have to know every wiki's stream. With a pattern, the server "
        "chooses: `PSUBSCRIBE wiki.de.*`",
    },
    "archive": {
        "Pub/Sub": "A channel has no past: nothing is kept that a new program could read",
        "group": "When one program acknowledges a change, the others in its group never see "
        "it. Each study wants all of them, from its own starting point",
    },
}


@lab.exercise(
    7,
    "Measure, and choose",
    "What is lost doesn't depend on luck: count how many came while the reader wasn't "
    "listening, and ask what remembers its place. Try it with ten messages in a cell of your "
    "own.",
    "Four questions: Do you need past changes? Do several share the work? Does each reader "
    "want only some of it? And what may be lost?",
)
def choose(scene: Scene, lost: Any, choice: Any) -> str:
    """The numbers are measured on the server; each wrong choice has a sentence of its own."""
    measured = what_is_lost(scene)
    _expect_numbers(lost, measured, LOST, "six questions")
    if not isinstance(choice, dict) or set(choice) != set(RIGHT):
        raise Wrong("Keep the dict as the lab gives it: six situations, each with a choice.")
    for name, right in RIGHT.items():
        said = choice_of(choice[name], CHOICES)
        if said not in CHOICES:
            raise Wrong(
                "Choose from the table, by the word in its first column.",
                expected=", ".join(CHOICES),
                found=f"`{name}`: {said!r}",
            )
        if said != right:
            raise Wrong(f"{WHY_NOT[name][said]}.", found=f"`{name}`: {said}")
    return (
        f"Measured on your server: Pub/Sub lost {measured['lost by Pub/Sub']} of {TOTAL:,}, a "
        f"group {measured['lost by a group']}. All six choices fit."
    )
