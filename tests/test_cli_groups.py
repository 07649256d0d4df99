"""`course consume`, `group` and `deadletters`: alice and bob in two terminals."""

from __future__ import annotations

import re
import signal

import pytest
import redis as redis_py

from helpers import Consumer, DeadLetters, Group
from helpers.chaos import Fault, Proxy
from helpers.cli.console import showing_log
from helpers.course.pace import patient
from tests.test_cli import course, refused, started, told
from tests.waiting import until

pytestmark = pytest.mark.once


def add(redis: redis_py.Redis, *numbers: int) -> None:
    for number in numbers:
        redis.xadd("chennai", {"number": number})


def consumers(redis: redis_py.Redis) -> set[str]:
    """Who is in the group, if there is one yet."""
    if not redis.exists("chennai") or not redis.xinfo_groups("chennai"):
        return set()
    return {one["name"] for one in redis.xinfo_consumers("chennai", "mygroup")}


def all_done(redis: redis_py.Redis) -> bool:
    """Whether everything was delivered and acknowledged: a stop leaves what is only read."""
    group = redis.xinfo_groups("chennai")[0]
    return (group["lag"], group["pending"]) == (0, 0)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"number=(\d+)", text)]


def poison(redis: redis_py.Redis) -> str:
    """A dead letter: its ID."""
    Group(redis, "chennai", "mygroup").create("0")

    def refuse(entry: object) -> None:
        raise ValueError("too hot: [red]")

    Consumer(redis, "chennai", "mygroup", refuse, name="alice", max_deliveries=1, batch=1).run(
        drain=True
    )
    return str(next(iter(DeadLetters(redis, "chennai", "mygroup"))).id)


def test_consume_makes_the_group_and_works_until_nothing_is_left(redis):
    add(redis, 1, 2, 3)
    assert numbers(told("consume", "alice", "--drain")) == [1, 2, 3]
    assert told("consume", "bob", "--drain") == ""
    assert redis.xpending("chennai", "mygroup")["pending"] == 0


def test_consume_can_begin_with_what_is_new(redis):
    add(redis, 1)
    assert told("consume", "alice", "--from", "$", "--drain") == ""


def test_alice_and_bob_share_the_work_and_bob_stops(redis):
    with started("consume", "alice", "--batch", "1") as alice:
        with started("consume", "bob", "--batch", "1") as bob:
            assert until(lambda: consumers(redis) == {"alice", "bob"})
            add(redis, *range(1, 41))
            assert until(lambda: all_done(redis))
            bob.send_signal(signal.SIGINT)
            bobs, errors = bob.communicate(timeout=patient(20))
            assert (bob.returncode, errors) == (0, "")
        add(redis, 41, 42)
        assert until(lambda: all_done(redis))
        alice.send_signal(signal.SIGTERM)
        alices, _ = alice.communicate(timeout=patient(20))
    assert alice.returncode == 0
    assert sorted(numbers(alices) + numbers(bobs)) == list(range(1, 43))
    assert numbers(alices)[-2:] == [41, 42]
    assert bobs.startswith("bob ")


def test_consume_goes_on_with_what_a_killed_process_of_its_name_held(redis):
    add(redis, 1, 2)
    with started("consume", "bob", "--work-ms", "60000") as bob:
        assert until(
            lambda: consumers(redis) and redis.xpending("chennai", "mygroup")["pending"] == 2
        )
        bob.kill()
    done = course("consume", "bob", "--drain")
    assert numbers(done.stdout) == [1, 2]
    assert done.stderr == "bob takes over from an earlier life in the group mygroup\n"


def test_consume_says_in_a_line_each_what_it_claims_and_what_it_gives_up(redis):
    add(redis, 1, 2)
    Group(redis, "chennai", "mygroup").create("0")
    ids = [one for one, _ in redis.xreadgroup("mygroup", "bob", {"chennai": ">"})["chennai"]]
    for entry_id, deliveries in zip(ids, (1, 5), strict=True):
        redis.xclaim("chennai", "mygroup", "bob", 0, [entry_id], idle=9999, retrycount=deliveries)
    done = course("consume", "alice", "--drain", "--idle-ms", "5000", "--max-deliveries", "5")
    assert numbers(done.stdout) == [1]
    assert done.stderr.splitlines() == [
        f"alice claims idle entries of others: 2, from {ids[0]} on",
        f"alice moves {ids[1]} to the dead letters: No answer: its consumer died, or took too long",
    ]


def test_consume_says_in_a_line_that_the_connection_was_lost(redis):
    add(redis, 1)
    with Proxy() as proxy:
        proxy.arm(Fault.LOSE_REPLY, at=("XREADGROUP", 1))
        done = course("consume", "alice", "--drain", REDIS_URL=proxy.url)
    assert numbers(done.stdout) == [1]
    lost, back = done.stderr.splitlines()
    assert lost.startswith("alice: no answer, and tries again: ")
    assert back.startswith("alice: the server answers again, after ")


def test_a_handler_that_fails_is_one_line_each_time_and_no_traceback(redis, capsys):
    add(redis, 1)
    with showing_log():
        poison(redis)
    (original,) = [str(one.entry.id) for one in DeadLetters(redis, "chennai", "mygroup")]
    assert capsys.readouterr().err.splitlines() == [
        f"alice failed on {original}, delivery 1: ValueError: too hot: [red]",
        f"alice moves {original} to the dead letters: ValueError: too hot: [red]",
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["alice", "--batch", "0"], "batch must be a whole number above 0"),
        (["alice", "--idle-ms", "-1"], "min_idle_ms must be a whole number above 0"),
        (["alice", "--max-deliveries", "0"], "max_deliveries must be a whole number above 0"),
        ([""], "A consumer needs a name"),
        (["alice", "--stream", "text"], "is not a stream"),
        (["alice", "--from", "yesterday"], "A group can't begin at"),
    ],
    ids=["batch", "idle", "deliveries", "name", "other type", "start"],
)  # fmt: skip
def test_consume_says_what_it_cannot_do(redis, options, sentence):
    redis.set("text", "not a stream")
    assert sentence in refused("consume", *options)


def test_group_info_says_how_far_a_group_is(redis):
    add(redis, 1, 2, 3)
    redis.xgroup_create("chennai", "mygroup", "0")
    redis.xreadgroup("mygroup", "alice", {"chennai": ">"}, count=2)
    said = told("group", "info")
    assert "lag 1, 2 pending" in said
    assert re.search(r"^alice +2 +[\d.]+ s$", said, re.MULTILINE)


def test_group_pending_lists_what_is_pending(redis):
    add(redis, 1, 2)
    redis.xgroup_create("chennai", "mygroup", "0")
    redis.xreadgroup("mygroup", "alice", {"chennai": ">"}, count=1)
    redis.xreadgroup("mygroup", "bob", {"chennai": ">"})
    first = redis.xrange("chennai", count=1)[0][0]
    assert re.search(rf"^{first} +alice +[\d.]+ s +1$", told("group", "pending"), re.MULTILINE)
    assert "alice" not in told("group", "pending", "--consumer", "bob")
    assert told("group", "pending", "--idle-ms", "60000") == "Nothing is pending.\n"


@pytest.mark.parametrize("command", ["info", "pending"])
def test_a_group_that_does_not_exist_is_told(redis, command):
    assert "'chennai'" in refused("group", command)
    add(redis, 1)
    assert "no consumer group 'mygroup'" in refused("group", command)


def test_dead_letters_are_listed_with_their_reason(redis):
    add(redis, 7)
    letter = poison(redis)
    said = told("deadletters", "list")
    assert said.startswith(letter)
    assert "number=7" in said
    assert "ValueError: too hot: [red]" in said


def test_dead_letters_are_replayed(redis):
    add(redis, 7)
    letter = poison(redis)
    assert "is pending again" in told("deadletters", "replay", letter)
    assert told("deadletters", "list") == "There are no dead letters.\n"
    done = course("consume", "carol", "--drain")
    assert (numbers(done.stdout), done.stderr.startswith("carol claims ")) == ([7], True)
    assert "no such dead letter" in told("deadletters", "replay", letter)


def test_all_dead_letters_are_replayed_when_told_so(redis):
    add(redis, 7, 8)
    poison(redis)
    assert len(told("deadletters", "replay", "--all").splitlines()) == 2
    assert sorted(numbers(course("consume", "carol", "--drain").stdout)) == [7, 8]


@pytest.mark.parametrize("options", [[], ["1-0", "--all"]], ids=["none", "both"])
def test_replay_wants_to_know_which(redis, options):
    assert "their IDs, or --all" in refused("deadletters", "replay", *options)


def test_replay_refuses_what_is_no_id(redis):
    assert "is not an entry ID" in refused("deadletters", "replay", "yesterday")
