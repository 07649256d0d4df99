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
from helpers.checks.lab07.listening import BESIDE, ENOUGH_S, Heard, elsewhere, while_it_listens
from helpers.checks.lab07.losing import LOST, TOTAL, WAIT_S, listen, what_is_lost
from helpers.checks.predictions import choice_of
from helpers.checks.scene import Scene, result
from helpers.checks.verdict import Wrong
from helpers.wiki import Change

lab = Lab("07", "`solutions/07_event_pipeline.ipynb`")

# ------------------------------------------------------------------ 1: predict

THINK = {  # for each question what to think of, and not the answer
    "reply to m0": "PUBLISH replies how often the message was delivered. Who listened when `m0` "
    "came?",
    "reply to m1": "PUBLISH counts deliveries, not clients. Go down the table: which of the "
    "subscriptions fit `wiki`, a name without a point? And does a channel belong to a database?",
    "reply to m2": "`m2` goes to `wiki.de`. Does `SUBSCRIBE wiki` take what is published to a "
    "longer name? And which patterns fit it?",
    "messages for ann": "Go from `m0` to `m3`: does she listen at that moment? And if not, does "
    "the server keep the message for her?",
    "messages for bea": "She listens by a pattern alone. Which channels fit `wiki.*`, with its "
    "point, and what was published to them?",
    "messages for cem": "He is on database 1. Does a channel belong to a database, as a key does? "
    "And which messages came while he listened?",
    "messages for dora": "She has two subscriptions, and gets a message once for each that fits. "
    "Go from `m0` to `m3`.",
    "EXISTS wiki": "EXISTS counts keys. What does PUBLISH store, and where?",
}


@lab.exercise(
    1,
    "Which client gets which message?",
    "A message goes to those that listen at this moment, and PUBLISH replies with how many times "
    "it was delivered.",
    "A channel and a pattern are two subscriptions. `.` is a letter like any other, `*` is any "
    "number of letters. And channels know no databases.",
    "`PUBLISH wiki m1` reaches ann, cem and dora; and dora twice, once for her channel and once "
    "for her pattern.",
)
def predict(scene: Scene, predicted: Any) -> str:
    """Each prediction is compared with what the server does."""
    actual = dict(zip(THINK, _what_happens(scene), strict=True))
    _expect_numbers(predicted, actual, THINK, "eight questions")
    return (
        "The server agrees with all eight. A message goes to those that listen at this moment, "
        "once for each subscription that fits, and is not kept."
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
                "Each answer is a number, without quotes; EXISTS too replies with one, of keys.",
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
    "`pubsub = redis.pubsub()`, then `pubsub.subscribe(channel)`. What comes first is no message: "
    "the server confirms that you listen.",
    "`for message in pubsub.listen():` waits for one after the other; `message['type']` is "
    "`subscribe` for the confirmation and `message` for a message. Its text is `message['data']`.",
    "`if message['type'] == 'message':` append, and return once the list is long enough.",
    calls=("redis", "channel", "n"),
)
def hear(scene: Scene, collect: Any) -> str:
    """One message alone, then some at once, some late, some beside; from another database too."""
    first = f"first of {secrets.token_hex(3)}"
    heard = while_it_listens(scene, collect, WANTED, first=first, then=THEN, late=LATE)
    outcome, all_of_them = heard.outcome, [first, *THEN, *LATE]
    _expect_no_gap(heard, all_of_them[:WANTED])
    if isinstance(outcome, Failure) and "NoneType" in outcome.message:
        raise Wrong(
            "`get_message` gives None when nothing is there yet. Ask again, with a `timeout`, or "
            "let `listen()` wait.",
            found=str(outcome),
        )
    slow = (
        f"There were {len(all_of_them)} messages while it listened; it was asked for {WANTED}. "
        "Return once you have them: `listen()` itself never ends. And an empty text is a message."
    )
    got = _listed(result(outcome, slow, ENOUGH_S))
    wanted = all_of_them[:WANTED]
    if got != wanted:
        raise Wrong(_heard_hint(got, all_of_them), expected=wanted, instead=got)
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
            "Between two subscriptions is a gap, and what is published in it is gone. Subscribe "
            "once, and take one message after the other from that one.",
            expected="one subscription",
            found=f"{heard.subscriptions} of them",
        )


def _heard_hint(got: Any, sent: list[str]) -> str:
    if not isinstance(got, list):
        return "Return a list of what was published."
    if any(isinstance(one, dict) for one in got):
        return "Return what was published, and not what redis-py wraps it in: `message['data']`."
    if any(isinstance(one, int) for one in got):
        return (
            "The first thing that comes is the server's confirmation of SUBSCRIBE; its `data` is a "
            "number. Take what has the type `message`, or `ignore_subscribe_messages=True`."
        )
    if any(not isinstance(one, str) for one in got):
        return "Each message is a string, as it was published: `message['data']`, and no more."
    if BESIDE in got:
        return (
            "That was published to another channel. PSUBSCRIBE takes a pattern, and in it `?` and "
            "`*` stand for other letters. SUBSCRIBE takes a name, letter by letter."
        )
    if got == sent[:1]:
        return (
            f"It returned with the first of {WANTED}. Is a `return` inside the loop? Or did "
            "`get_message` give None, since nothing was there yet? Or did an empty string, which "
            "is a message too, end the loop? Go on until the list has `n`."
        )
    if got == [one for place, one in enumerate(sent) if one not in sent[:place]][:WANTED]:
        return "The same message was published twice, and both count: keep each, also an equal one."
    if got == [one for one in sent if one][:WANTED]:
        return "One of the messages is an empty string, and it counts as well."
    if got == sent[-WANTED:]:
        return (
            "Those are the last ones that were published, and the next ones were wanted: the "
            "first that come once you listen."
        )
    if len(got) < WANTED:
        return (
            "Nothing there yet is not the end, however long you have slept before you ask: "
            "`get_message` gives None then, also for a confirmation that it ignores. Ask again "
            "until you have all."
        )
    if len(got) > WANTED:
        return "Return once you have so many: the rest is not yours."
    return "The messages in the order in which they came; an empty text is a message too."


# ------------------------------------------------------------------ 3, 4: count


COUNTING = ("redis", "prefix", "message", "interval_s")


@lab.exercise(
    3,
    "Count a change in its own interval",
    "A message is a string: `json.loads(message)` makes a dict of it. When the change was made is "
    "in it, in milliseconds.",
    "`at // 1000 // interval_s * interval_s` is the second with which the interval begins; `//` "
    "rounds down.",
    "HINCRBY for the hash of all, HINCRBY for the hash of the domain, SADD for the set.",
    calls=COUNTING,
)
def event_time(scene: Scene, count: Any) -> str:
    """At the edges of intervals, late, for two wikis, and with two lengths of an interval."""
    counting.expect_counted(scene, count)
    return "Each change in its own interval, however late it comes."


@lab.exercise(
    4,
    "Forget old buckets",
    "What is left if your process is killed between HINCRBY and EXPIRE? And what becomes of a hash "
    "that is counted into every second: does it ever expire?",
    "`redis.pipeline(transaction=True)` sends MULTI and EXEC: each key with its EXPIRE in one step "
    "with its count. EXPIRE without an option sets the time again.",
    "`redis.hkeys(key)` are the buckets, as text; `redis.hdel(key, *old)` deletes those for which "
    "`int(bucket) < now - history_s`, if there are any.",
    calls=(*COUNTING, "history_s", "now"),
)
def expiry(scene: Scene, count: Any) -> str:
    """New keys and busy ones, by a clock of 2001; and killed between its commands."""
    counting.expect_forgotten(scene, count)
    return "No key stays forever, no hash grows forever, and what is young is all there."


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
    "A subscription knows channels, and nothing of what is in a message: what is finer than that, "
    "you choose yourself.",
    "Parse inside the loop, so that one bad message costs one message: `try` there, and "
    "`continue` where it fails.",
    "`json.loads` raises a ValueError; what is JSON and no dict raises a TypeError at "
    "`change['domain']`; a field that is missing, a KeyError.",
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
        "All that you wait for was published: by people, to these wikis. In a message `bot` is a "
        "number, 0 or 1. Only what is no change is passed over; an `except` that passes over more "
        "hides your own slips, such as `json.loads(message)` for `json.loads(message['data'])`."
    )
    got = _listed(result(heard.outcome, slow, ENOUGH_S))
    if got != wanted:
        raise Wrong(_follow_hint(got, wanted), expected=wanted, instead=got)
    return "Only what you follow, and no message can end it."


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
            "That is the confirmation: the first thing that comes says that you listen, and its "
            "`data` is a number. Take what has the type `message`, or "
            "`ignore_subscribe_messages=True`.",
            found=str(outcome),
        )
    if isinstance(without, Failure):
        result(outcome, "", ENOUGH_S)
    if isinstance(outcome, Failure) and outcome.kind in ("JSONDecodeError", "ValueError"):
        what = "A message that is no JSON has ended your subscriber"
    elif isinstance(outcome, Failure) and outcome.kind in ("TypeError", "AttributeError"):
        what = "A message that is JSON, and not as you expect it, has ended your subscriber"
    elif isinstance(outcome, Failure) and outcome.kind == "KeyError":
        what = "A change in which a field is missing has ended your subscriber"
    else:
        return
    raise Wrong(
        f"{what}, and with it all that would have come. Any client that can publish can send "
        "anything: pass over what is no change, and go on.",
        found=str(outcome),
    )


def _follow_hint(got: Any, wanted: list[str]) -> str:
    if not isinstance(got, list):
        return "Return a list of titles."
    if None in got or "" in got:
        return "A message without a `title` is no change: pass over it, as over one without `bot`."
    if any(not isinstance(one, str) for one in got):
        return "Return the titles: the field `title` of each change."
    if "by a bot" in got:
        return "That was a bot: its `bot` is 1."
    if ELSEWHERE in got or "Lyon" in got:
        return "That wiki is none of `domains`: compare the whole name."
    if got[:2] == wanted[:1] + wanted[2:3] and wanted[1] not in got[2:]:
        return "The same page was changed twice, and both changes count: its title comes twice."
    if SHORT not in got and wanted[-1] in got:
        return (
            f"{SHORT!r} is a change: it has `domain`, `title` and `bot`. What else a message lacks "
            "doesn't matter."
        )
    if len(got) < len(wanted):
        return (
            f"It returned {len(got)} of {len(wanted)} titles. Count the titles, not the messages; "
            "and what is no change is passed over, and does not end the loop. The `try` belongs "
            "inside it."
        )
    if len(got) > len(wanted):
        return "Return once you have so many: the rest is not yours."
    if set(got) - set(wanted):
        return "A message without `domain`, `title` or `bot` is no change: pass over it."
    return "The titles in the order in which they came, as they were written."


# ------------------------------------------------------------------ 6: exact


@lab.exercise(
    6,
    "Count exactly, across a restart",
    "Where does a group begin that is made when the first changes are already there? And what does "
    "a consumer find when it starts again: in its own history, and behind it?",
    "`redis.xgroup_create(stream, group, '0', mkstream=True)` raises a ResponseError if there is "
    "such a group already: then all is well. Read with `0`, then with `>`.",
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
        "group": "Each screen would get a part of the changes. And after a pause a group brings "
        "all that was missed, one by one, when it is of no use any more",
        "readers": "It would work. But it keeps what is never asked for: a screen shows now, "
        "and the 300 that are lost while a screen is off are not missed",
    },
    "billing": {
        "Pub/Sub": "You have measured it: 300 of 1,000 lost in one absence, and each is money",
        "readers": "Two programs that read with places of their own would both write every bill. "
        "One group hands each change to one of them, and knows what is not acknowledged",
    },
    "thumbnails": {
        "Pub/Sub": "You have measured it: three subscribers count 3,000 of 1,000. Five workers "
        "would scale each picture five times, and none while they are restarted",
        "readers": "With places of their own, each of the five would scale every picture",
    },
    "caches": {
        "Pub/Sub": "You have measured it: what changes while a server is cut off is lost to it, "
        "and it would show the old page forever, or has to empty its cache for an hour",
        "group": "A group hands each change to one of its consumers: the other servers would go on "
        "showing the old page. Every server has to hear of every change",
    },
    "german": {
        "group": "A group hands out whatever is on the stream: all thirty a second would come, and "
        "be thrown away. A pattern chooses at the server: `PSUBSCRIBE wiki.de.*`",
        "readers": "XREAD knows keys, and no patterns: all thirty a second would come, or you have "
        "to know every wiki's stream. A pattern chooses at the server: `PSUBSCRIBE wiki.de.*`",
    },
    "archive": {
        "Pub/Sub": "A channel has no yesterday: nothing is kept that a new program could read",
        "group": "The changes that one program acknowledges, the others in its group never see; "
        "each study wants all of them, from a beginning of its own",
    },
}


@lab.exercise(
    7,
    "Measure, and choose",
    "What is lost does not depend on luck: count how many came while it did not listen, and who "
    "remembers a place. Try it with ten messages in a cell of your own.",
    "Four questions. Is what is past needed? Do several share the work? Is the choice "
    "finer than a topic? And what may be lost?",
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
        f"group {measured['lost by a group']}. And for each situation what fits it."
    )
