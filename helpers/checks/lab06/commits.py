"""Whether a mean and the state that goes with it are written together, whatever happens.

Each fault has keys of its own, and strikes one command after the other.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any, NamedTuple, cast

from helpers.chaos import CLIENT, Failure, Fault, Outcome, Proxy, Unfinished
from helpers.checks.exactly import HARMLESS
from helpers.checks.lives import Life, Supervisor
from helpers.checks.scene import LIMIT_S, Scene, result
from helpers.checks.verdict import Wrong
from helpers.checks.work import in_turn

SLOW = (
    "It was still running with nothing left to do: return when it's done, or when it can't "
    "be done anymore."
)

SCRIPTS = {"EVAL", "EVALSHA", "FCALL"}
MOST = 6  # places at which it is struck

BEGINNING = "0-0"
Fields = dict[str, str]


def _state(last: str, total: int, readings: int) -> Fields:
    return {
        "last_message_id": last,
        "current_hourly_total": str(total),
        "current_hourly_count": str(readings),
    }


MEAN = {
    "date": "2100/01/01", "hour": "7", "average_temp_f": "70.67", "num_observations": "3",
}  # fmt: skip
FIRST = _state("4102470000000-0", 141, 2)
SECOND = _state("4102473600000-0", 68, 1)  # an hour is over by then
ELSEWHERE = _state("4102470000000-1", 212, 3)  # where another one comes to, with a shorter page

OTHER_FIELD = {"station": "chennai"}
KEPT_FIELDS = (
    "Leave the other fields of `state` as they are: HSET changes only the fields that you "
    "pass, and DEL removes them all."
)
_NO_MEAN = "`mean` is None if no hour is over: then store only the state."

FIRST_CALL = (BEGINNING, FIRST, None)
SECOND_CALL = (FIRST["last_message_id"], SECOND, MEAN)
OTHER_CALL = (FIRST["last_message_id"], ELSEWHERE, None)


class Found(NamedTuple):
    """What is on the server."""

    published: list[Fields]
    state: Fields


class Place(NamedTuple):
    """The keys for one fault."""

    averages: str
    state: str


class Stage:
    """A learner's function, and one place after the other for it to work on."""

    def __init__(self, scene: Scene, supervisor: Supervisor, proxy: Proxy, work: Any) -> None:
        self.scene, self.proxy = scene, proxy
        self._nursery, self._work = supervisor, work
        self._begin = partial(supervisor.begin, work, CLIENT)
        self._numbers = count(1)

    def place(self) -> Place:
        """Keys that nobody has used."""
        number = next(self._numbers)
        return Place(self.scene.key(f"averages:{number}"), self.scene.key(f"state:{number}"))

    def struck(self, fault: Fault, at: int, *arguments: Any) -> Life:
        """A life in which a fault waits for one of its commands."""
        self.proxy.reset()
        self.proxy.arm(fault, at)
        return self.begin(*arguments)

    def begin(self, *arguments: Any) -> Life:
        """A life, through the proxy."""
        return self._begin(*arguments, through=self.proxy)

    def aside(self, *arguments: Any) -> Outcome:
        """What becomes of a life that nothing strikes, beside one that stands still."""
        return self._begin(*arguments).outcome()

    def all_aside(self, calls: list[tuple[Any, ...]]) -> Outcome:
        """The same for many calls in one life; what one of them raises does not matter."""
        return self._nursery.call(in_turn(_tolerant(self._work), calls), CLIENT)

    def found(self, place: Place) -> Found:
        """What is there.

        Raises:
            Wrong: it is no stream, or no hash.
        """
        client = cast("Any", self.scene.redis)
        kinds = client.type(place.averages), client.type(place.state)
        if kinds[0] not in ("stream", "none") or kinds[1] not in ("hash", "none"):
            raise Wrong(
                "Publish to `averages` with XADD, and store the fields in the hash `state` "
                "with HSET.",
                expected="a stream and a hash",
                found=" and ".join("no key" if one == "none" else f"a {one}" for one in kinds),
            )
        return Found(
            [fields for _, fields in client.xrange(place.averages)], client.hgetall(place.state)
        )


def _tolerant(work: Any) -> Any:
    """The same function, which does not raise: to refuse what is done may be an error too."""
    if inspect.iscoroutinefunction(work):

        async def work_async(*arguments: Any) -> None:
            with contextlib.suppress(Exception):
                await work(*arguments)

        return work_async

    def working(*arguments: Any) -> None:
        with contextlib.suppress(Exception):
            work(*arguments)

    return working


def changes(names: list[str]) -> list[int]:
    """Which of these commands change something, counted from 1; a transaction with its EXEC."""
    found, queued = [], False
    for number, name in enumerate(names, 1):
        queued = name == "MULTI" or (queued and name not in ("EXEC", "DISCARD"))
        if not queued and name not in HARMLESS:
            found.append(number)
    return found


def queues_first(names: list[str]) -> bool:
    """Whether what changes something after a WATCH comes after the MULTI."""
    after = names[names.index("WATCH") :] if "WATCH" in names else []
    changing = [name for name in after if name == "MULTI" or name not in HARMLESS]
    return changing[:1] in ([], ["MULTI"])


def stored(found: Found, fields: Fields) -> str:
    """Whether `all`, `some` or `none` of these fields are in the state."""
    there = [found.state.get(name) == value for name, value in fields.items()]
    return "all" if all(there) else "some" if any(there) else "none"


# ------------------------------------------------------------------ in one step


def expect_one_step(scene: Scene, publish: Any) -> None:
    """Kill it before each of its commands: both is there, or neither.

    Raises:
        Wrong: one was there without the other.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        stage = Stage(scene, supervisor, proxy, publish)
        place = stage.place()
        _settle(stage, stage.begin(*place, SECOND, MEAN).outcome())
        _expect_sent(proxy)
        _expect_done(stage.found(place))
        if any(one[0] in ("DEL", "UNLINK") and place.state in one for one in proxy.commands):
            raise Wrong(KEPT_FIELDS, found="it deletes `state`")
        commands = proxy.names
        _expect_the_rest_kept(stage, place)
        if "HSETNX" in commands:
            _expect_overwritten(stage)
        for at in changes(commands):
            place = stage.place()
            life = partial(stage.struck, Fault.FREEZE_BEFORE, at, *place, SECOND, MEAN)
            if at > 1 and _killed(stage, life()):
                _expect_whole(stage, place, commands)


def _expect_the_rest_kept(stage: Stage, place: Place) -> None:
    """Call it again, where a mean and another field are there already: they stay."""
    client = cast("Any", stage.scene.redis)
    [(earlier, _)] = client.xrange(place.averages)
    _add_field(stage, place)
    _settle(stage, stage.begin(*place, SECOND, MEAN).outcome())
    if not client.xrange(place.averages, earlier, earlier):
        raise Wrong(
            "An earlier hour was in the stream `averages`, and now it's gone. Add one entry, "
            "and leave the others: XADD without `maxlen`.",
            expected=f"the entry {earlier}, and the new one after it",
            found=f"{earlier} is gone",
        )
    _expect_kept(stage.found(place))


def _expect_overwritten(stage: Stage) -> None:
    """Call it where the state has older values, in other fields."""
    place = stage.place()
    earlier = {name: value for name, value in FIRST.items() if name != "last_message_id"}
    cast("Any", stage.scene.redis).hset(place.state, mapping=earlier)
    _settle(stage, stage.begin(*place, SECOND, MEAN).outcome())
    found = stage.found(place)
    if stored(found, SECOND) != "all":
        raise Wrong(
            "The fields were in the state before, with older values, and these stayed. HSET "
            "overwrites them; HSETNX doesn't.",
            expected=SECOND,
            instead=found.state,
        )


def _add_field(stage: Stage, place: Place) -> None:
    """Give the state one more field, of which the learner's function knows nothing."""
    cast("Any", stage.scene.redis).hset(place.state, mapping=OTHER_FIELD)


def _expect_kept(found: Found) -> None:
    if stored(found, OTHER_FIELD) != "all":
        raise Wrong(
            KEPT_FIELDS,
            expected=f"the new fields, and {OTHER_FIELD}",
            instead=found.state,
        )


def _settle(stage: Stage, outcome: Outcome) -> None:
    """A life that nothing strikes comes to its end.

    Raises:
        Wrong: it did not; in the words that fit what it has sent.
    """
    commands = stage.proxy.commands
    if isinstance(outcome, Unfinished):
        _expect_sent(stage.proxy)
    if isinstance(outcome, Failure):
        names = stage.proxy.names
        if outcome.kind == "WatchError" and not queues_first(names):
            raise Wrong(
                "After `watch`, the pipeline sends each command at once, so it changed the "
                "watched key itself. `multi()` ends that: the commands after it wait for "
                "`execute()`.",
                found=str(outcome),
            )
        if "WRONGTYPE" in outcome.message:
            raise Wrong(
                "`averages` is a stream, to which XADD adds the mean. `state` is a hash, for "
                "HSET and HGET. One of your commands was for another type.",
                found=str(outcome),
            )
        scripts = [words for words in commands if words[0] in ("EVAL", "EVALSHA")]
        if any(len(words) < 3 or not words[2].isdigit() for words in scripts):
            raise Wrong(
                "After the script, pass the number of keys: `redis.eval(script, 2, state, "
                "averages, …)`.",
                found=str(outcome),
            )
    result(outcome, SLOW, LIMIT_S)


def _expect_sent(proxy: Proxy) -> None:
    """Something came to the server that changes something.

    Raises:
        Wrong: nothing did.
    """
    if not changes(proxy.names):
        raise Wrong(
            "Your function sent nothing that changes anything on the client that it was "
            "given. A pipeline collects commands, and sends them only when you call "
            "`execute()`. Also, an `except` that hides every error may hide the cause.",
            expected="XADD and HSET",
            found=", ".join(dict.fromkeys(proxy.names)) or "no command",
        )


def _killed(stage: Stage, life: Life) -> bool:
    """Kill it where it stands; False if it came to its end before."""
    if not life.stands(stage.proxy):
        result(life.outcome(), SLOW, LIMIT_S)
        return False
    life.kill()
    stage.proxy.thaw()
    return True


def _expect_done(found: Found, fields: Fields = SECOND) -> None:
    if not found.published:
        raise Wrong(
            "Publish `mean` to the stream `averages`: XADD.",
            expected="one entry",
            found="none",
        )
    if len(found.published) > 1:
        raise Wrong(
            "The mean was added more than once, without any fault: one XADD is enough.",
            expected="one entry",
            found=f"{len(found.published)} entries",
        )
    if found.published[0].items() < MEAN.items():
        raise Wrong(
            "Part of `mean` is missing in the entry: publish all of its fields. A field and its "
            "value are two arguments, so a script has to pass on twice as many as there are "
            "fields.",
            expected=f"[{MEAN}]",
            instead=found.published,
        )
    if found.published != [MEAN]:
        raise Wrong(
            "Add `mean` as it is: `xadd(averages, mean)`.",
            expected=f"[{MEAN}]",
            instead=found.published,
        )
    _expect_stored(found, fields)


def _expect_stored(found: Found, fields: Fields) -> None:
    if stored(found, fields) != "all":
        raise Wrong(
            "Store all of `fields` in the hash `state`: `redis.hset(state, mapping=fields)`.",
            expected=fields,
            instead=found.state,
        )


def _expect_whole(stage: Stage, place: Place, commands: list[str]) -> None:
    """After a kill: all of it, or nothing."""
    found = stage.found(place)
    state = stored(found, SECOND)
    if (state, len(found.published)) in (("all", 1), ("none", 0)):
        return
    told = f"{len(found.published)} published, {state} of the fields stored"
    before = stage.proxy.names[-1]
    raise Wrong(
        _halves_hint(state, bool(found.published), commands),
        expected="both, or neither",
        found=f"{told}, killed before its {before}",
    )


def _halves_hint(state: str, is_published: bool, commands: list[str]) -> str:
    if state == "some":
        return (
            "Half of the state is new, and half is old: no consumer was ever in that state. "
            "One HSET takes all fields, and it belongs in the step that publishes the mean."
        )
    alone = [name for at in changes(commands) if (name := commands[at - 1]) != "EXEC"]
    if "EXEC" in commands and alone:
        where = (
            "Call it after `multi()`."
            if "WATCH" in commands
            else "In the `with` block, call it on the pipeline, and not on `redis`."
        )
        return f"The {alone[0]} went to the server by itself, and not in the transaction. {where}"
    if commands.count("EXEC") > 1:
        return (
            "Two transactions are two steps, and it was killed between them. Both commands "
            "belong in one."
        )
    what = (
        "It published, and died before it could store that: its successor publishes the hour again."
        if is_published
        else "It stored that the hour is published, and died before it published it: the hour "
        "is lost."
    )
    if SCRIPTS & {*commands}:
        return f"{what} Do both in the script: what you send outside it is a separate step."
    return (
        f"{what} Send both in one MULTI. A pipeline without it (`transaction=False`) saves a "
        "round trip, but it's still two steps."
    )


# ------------------------------------------------------------------ compare and set


def expect_compared(scene: Scene, commit: Any) -> None:
    """Put a function through all faults, each at every command.

    Raises:
        Wrong: it publishes twice, or not at all, or overwrites what another one has stored.
    """
    with Supervisor(scene) as supervisor, scene.proxied() as proxy:
        stage = Stage(scene, supervisor, proxy, commit)
        commands = _plain(stage)
        changing = changes(commands)
        watches = [at for at, name in enumerate(commands, 1) if name == "WATCH"]
        pauses = sorted({*changing, *watches})[-MOST:]
        kills = [at for at in changing if at > 1][-MOST:]
        begun = _begun(stage, len(kills) + 1 + len(pauses))
        struck = {
            place: told
            for at in kills
            if (told := _kill(stage, place := next(begun), at, commands))
        }
        place = next(begun)
        struck[place] = _lose_reply(stage, place, changing[-1] if changing else 1)
        _call_again(stage, struck)
        for at in pauses:
            _pause(stage, next(begun), at, commands)
        _expect_nothing_without_a_state(stage)
        _expect_compared_without_a_mean(stage)
        if SCRIPTS & {*commands}:
            _expect_published_first(stage)


def _plain(stage: Stage) -> list[str]:
    """Two calls without a fault. Gives the commands of the second."""
    place = stage.place()
    outcome = stage.begin(*place, *FIRST_CALL).outcome()
    found = stage.found(place)
    if isinstance(outcome, Failure) and re.search("None|XADD", outcome.message):
        raise Wrong(
            f"{_NO_MEAN} It is None in this call, in which there is no state yet either.",
            found=str(outcome),
        )
    _settle(stage, outcome)
    if not changes(stage.proxy.names) and "HGET" not in stage.proxy.names:
        _expect_sent_without_a_mean(stage)
    if found.published:
        raise Wrong(
            _NO_MEAN,
            expected="nothing published",
            instead=found.published,
        )
    if not found.state:
        raise _nothing_stored(stage)
    _expect_stored(found, FIRST)
    stage.proxy.reset()
    _add_field(stage, place)
    _settle(stage, stage.begin(*place, *SECOND_CALL).outcome())
    found = stage.found(place)
    if not found.published and stored(found, FIRST) == "all":
        raise Wrong(
            "The state's `last_message_id` was equal to `before`, but nothing was changed. "
            "Compare strings with strings: this client returns `str`, not bytes.",
            expected=f"{MEAN} published, and the state at {SECOND['last_message_id']}",
            found=f"nothing published, and the state at {FIRST['last_message_id']}",
        )
    _expect_done(found)
    _expect_kept(found)
    return stage.proxy.names


def _expect_sent_without_a_mean(stage: Stage) -> None:
    """Nothing was sent, and no mean was there: is that why?

    Raises:
        Wrong: in any case.
    """
    stage.proxy.reset()
    stage.begin(*stage.place(), BEGINNING, SECOND, MEAN).outcome()
    _expect_sent(stage.proxy)
    raise Wrong(
        f"{_NO_MEAN} In this call it's None, and your function sent nothing.",
        expected="the fields stored, in a call with `mean=None`",
        found="no command",
    )


def _nothing_stored(stage: Stage) -> Wrong:
    """The first call stored nothing: because there was no state, or where there is one too?"""
    place, in_script = stage.place(), bool(SCRIPTS & {*stage.proxy.names})
    cast("Any", stage.scene.redis).hset(place.state, "last_message_id", BEGINNING)
    stage.begin(*place, *FIRST_CALL).outcome()
    if stored(stage.found(place), FIRST) == "none":
        stage.begin(*place, BEGINNING, SECOND, MEAN).outcome()
        if stored(stage.found(place), SECOND) == "all":
            return Wrong(
                f"{_NO_MEAN} In this call it's None, and your function stored nothing.",
                expected=FIRST,
                found="no field stored, in a call with `mean=None`",
            )
        return Wrong(
            "The state's `last_message_id` was `0-0`, and so was `before`: they are equal, "
            "but nothing was stored. Compare the stored `last_message_id` with `before`.",
            expected=FIRST,
            found="no field stored, though nothing had changed",
        )
    return Wrong(
        "The very first call finds no state at all. A state that isn't there counts as `0-0`, "
        "which is `before` here, so store the fields."
        + (" In a script, a missing field is `false`, not nil: `or '0-0'`." * in_script),
        expected=FIRST,
        found="no state, after a call with `before='0-0'`",
    )


def _expect_compared_without_a_mean(stage: Stage) -> None:
    """Where no hour is over, the state goes on only from where the caller has found it."""
    place = stage.place()
    stage.all_aside([(*place, *FIRST_CALL), (*place, BEGINNING, ELSEWHERE, None)])
    if stored(stage.found(place), ELSEWHERE) != "none":
        raise Wrong(
            "In this call, `mean` is None, and another instance had been faster, but the "
            "state was overwritten. Compare with `before` in that case too.",
            expected=f"the state at {FIRST['last_message_id']}",
            found=f"the state at {ELSEWHERE['last_message_id']}, after a call with `before='0-0'`",
        )


def _expect_nothing_without_a_state(stage: Stage) -> None:
    """A caller that has been somewhere, and a state that is not there: that is a difference."""
    place = stage.place()
    stage.all_aside([(*place, *SECOND_CALL)])
    found = stage.found(place)
    if found.published or stored(found, SECOND) != "none":  # to make a first state is no harm
        raise Wrong(
            "There was no state, which counts as `0-0`, but `before` was different, so change "
            "nothing. Change something only if the two are equal, not if one is smaller, and "
            "compare even if there's no state.",
            expected="nothing published, and no state",
            found="both were written",
        )


def _expect_published_first(stage: Stage) -> None:
    """A script whose XADD fails ends there, and what it did before that stays."""
    [place] = _begun(stage, 1)
    client = cast("Any", stage.scene.redis)
    client.set(place.averages, "no stream")
    stage.all_aside([(*place, *SECOND_CALL)])
    state = client.hgetall(place.state)
    if stored(Found([], state), SECOND) != "none":
        raise Wrong(
            "The script's XADD failed, since here `averages` isn't a stream, and the state was "
            "stored all the same. What a script has done stays done, so no successor would publish "
            "this hour. Publish first, by `redis.call`, and store then: an error ends the script.",
            expected=f"nothing published, and the state at {FIRST['last_message_id']}",
            found=f"nothing published, and the state at {state.get('last_message_id')}",
        )


def _begun(stage: Stage, many: int) -> Iterator[Place]:
    """Places at which the first call is done. One life does it for all of them."""
    places = [stage.place() for _ in range(many)]
    calls = [(*place, *FIRST_CALL) for place in places]
    result(stage.all_aside(calls), SLOW, LIMIT_S)
    return iter(places)


def _kill(stage: Stage, place: Place, at: int, commands: list[str]) -> str:
    """Killed before a command: all or nothing is there. Says before which one, if it was killed."""
    if not _killed(stage, stage.struck(Fault.FREEZE_BEFORE, at, *place, *SECOND_CALL)):
        return ""
    _expect_whole(stage, place, commands)
    return f"killed before its {stage.proxy.names[-1]}"


def _lose_reply(stage: Stage, place: Place, at: int) -> str:
    """The server runs a command, and its reply never comes. Says which one."""
    outcome = stage.struck(Fault.LOSE_REPLY, at, *place, *SECOND_CALL).outcome()
    if isinstance(outcome, Unfinished):
        result(outcome, SLOW, LIMIT_S)
    names = stage.proxy.names
    return f"the reply to its {names[min(at, len(names)) - 1]} lost"


def _call_again(stage: Stage, struck: dict[Place, str]) -> None:
    """The same calls once more, as successors make them; after that all is there once."""
    outcome = stage.all_aside([(*place, *SECOND_CALL) for place in struck])
    if isinstance(outcome, Unfinished) and not outcome.ended:
        raise _locked("its successor waits, and does nothing")
    for place, told in struck.items():
        found = stage.found(place)
        if len(found.published) > 1:
            raise Wrong(
                "The server had executed it, and only the reply was lost; so your function "
                "was called again, and did it again. Let it happen only if `last_message_id` "
                "is still `before`."
                if "reply" in told
                else "It was killed, and its successor published once more.",
                expected="published once",
                found=f"published twice, {told}",
            )
        if found.published != [MEAN] or stored(found, SECOND) != "all":
            if _takes_lock(stage.proxy.commands):
                raise _locked("its successor couldn't do anything")
            raise Wrong(
                "Your function was called again, but the change was never made. As long as "
                "`last_message_id` is `before`, it can be made, even if another instance has "
                "tried before.",
                expected="published once, and stored",
                found=f"{len(found.published)} published, {stored(found, SECOND)} of the fields "
                f"stored, {told}",
            )


def _pause(stage: Stage, place: Place, at: int, commands: list[str]) -> None:
    """It stands still before a command; another one stores something else; it goes on."""
    zombie = stage.struck(Fault.FREEZE_BEFORE, at, *place, *SECOND_CALL)
    if not zombie.stands(stage.proxy):
        result(zombie.outcome(), SLOW, LIMIT_S)
        return
    told = f"paused before its {stage.proxy.names[-1]}, and another one was faster"
    was_first = stored(stage.found(place), SECOND) == "all"
    outcome = stage.aside(*place, *OTHER_CALL)
    stays = stored(stage.found(place), ELSEWHERE) != "all"
    if stays and not was_first:
        if isinstance(outcome, Unfinished):
            raise _locked("meanwhile another one waits, and does nothing")
        result(outcome, SLOW, LIMIT_S)
        raise _locked("meanwhile another one couldn't do anything")
    stage.proxy.thaw()
    if isinstance(zombie.outcome(), Unfinished):
        raise Wrong(SLOW, found="it didn't return after it had been paused")
    found = stage.found(place)
    right, many = (SECOND, 1) if was_first else (ELSEWHERE, 0)
    if stored(found, right) != "all" or len(found.published) != many:
        raise Wrong(
            _half_compared_hint(found)
            or _zombie_hint([*commands, *stage.proxy.names], _takes_lock(stage.proxy.commands)),
            expected=f"{many} published, the state at {right['last_message_id']}",
            found=f"{len(found.published)} published, the state at "
            f"{found.state.get('last_message_id')}: {told}",
        )


def _locked(what: str) -> Wrong:
    return Wrong(
        "The holder of a lock may be dead or paused, and then no other instance can continue. "
        "Comparing and setting in one step needs no lock.",
        expected="the change is made while another one is paused or dead",
        found=what,
    )


def _takes_lock(commands: list[list[str]]) -> bool:
    return any(
        words[0] == "SETNX" or (words[0] == "SET" and "NX" in map(str.upper, words))
        for words in commands
    )


def _half_compared_hint(found: Found) -> str:
    """What to say if only one of the two was kept back."""
    if not found.published and stored(found, SECOND) == "all":
        return (
            "The mean wasn't published, which is right, but the fields were stored all the "
            "same: the state went back. If another instance was faster, change neither."
        )
    if found.published and stored(found, ELSEWHERE) == "all":
        return (
            "The state was left alone, which is right, but the mean was published all the "
            "same. If another instance was faster, change neither."
        )
    return ""


def _zombie_hint(names: list[str], has_lock: bool) -> str:
    if has_lock:
        return (
            "While it was paused, its lock expired, another instance took the lock and "
            "continued, and then this one wrote as if it still held it. A lock can't prevent "
            "that: compare in the step in which you write."
        )
    if SCRIPTS & {*names} and not any(name.startswith(("HGET", "HMGET")) for name in names):
        return (
            "The script wrote, although `last_message_id` was no longer `before`: they differ in "
            "their last digit here. Compare in the script, the whole IDs, as strings: `~=`."
        )
    if not any(name.startswith(("HGET", "HMGET", "WATCH")) for name in names):
        return (
            "Nothing that was sent looks at `last_message_id`, so it wrote though another instance "
            "had been faster. Write only if it's still `before`, by a script or with WATCH."
        )
    if "UNWATCH" in names:
        return (
            "UNWATCH ends the WATCH, so EXEC didn't notice the change in between. Leave it "
            "out: EXEC ends the watching itself."
        )
    if "WATCH" in names:
        return (
            "WATCH notices whether the watched key changes before EXEC. Watch the state, "
            "which is what you compare, and do it before you read it."
        )
    return (
        "It had compared before it was paused, and then it wrote. Anything may happen between "
        "a read and a write: compare and write in one step, with a script, or WATCH the state "
        "before you read it."
    )
