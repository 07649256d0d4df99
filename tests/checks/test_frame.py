"""What every check has in common: whatever an answer is or does, a verdict comes, and it helps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from helpers.chaos import CLIENT, Failure, Fault, Returned, Unfinished
from helpers.checks import open_lab, progress
from helpers.checks.adapt import returns
from helpers.checks.lab import Lab
from helpers.checks.scene import Scene
from helpers.checks.slips import PLAIN, advice
from helpers.checks.verdict import Verdict, Wrong
from helpers.course.errors import CourseError
from tests.checks.answers import answer, function

pytestmark = pytest.mark.once

TAKES = "def answer(redis, stream)"


@pytest.fixture
def lab() -> Lab:
    """A lab with one exercise: return the length of a stream of three entries."""
    lab = Lab("97", "no file at all")

    @lab.exercise(1, "Length", "vague", "plain", calls=("redis", "stream"))
    def length(scene: Scene, measure: object) -> str:
        stream = scene.stream("three", [(f"{n}-0", {"n": "1"}) for n in (1, 2, 3)])
        got = scene.call(measure, CLIENT, stream)
        if got != 3:
            raise Wrong("Count again.", expected=3, found=got)
        return "Three."

    return lab


def test_a_right_answer_is_praised_and_remembered(redis, lab):
    verdict = lab.check(1, answer(function(TAKES, "return redis.xlen(stream)")))
    assert (verdict.outcome, verdict.lines, verdict.footer) == (
        "right",
        (("", "Three."),),
        "1 of 1 done",
    )
    assert progress.done("97") == {1}
    assert lab.progress().outcome == "right"


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, "NoneType"), ("xlen", "str"), (3, "int: 3"), ([], "list"), (lambda: 3, "`<lambda>()`")],
)  # fmt: skip
def test_something_else_than_the_function_asked_for_is_named(redis, lab, given, found):
    verdict = lab.check(1, given)
    assert verdict.outcome == "wrong"
    assert "a function of (redis, stream)" in repr(verdict)
    assert found in repr(verdict)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return redis.no_such_thing", "AttributeError"),
        ("return redis.lpop(stream)", "WRONGTYPE"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("return undefined", "name 'undefined' is not defined"),
        ("return answer(redis, stream)", "RecursionError"),
        ("while True: pass", "still running"),
        ("redis.xread({stream: '$'}, block=0)", "still running"),
        ("import os; os._exit(3)", "its process ended"),
        ("return 'x' * 10_000_000", "Count again"),
        ("print('x' * 1_000_000); return 2", "Count again"),
        ("return lambda: 3", "Count again"),
        ("import threading; return threading.Lock()", "cannot"),
    ],
)
def test_whatever_a_function_does_the_verdict_says_it_in_few_words(redis, lab, body, says):
    verdict = lab.check(1, answer(function(TAKES, body)))
    assert verdict.outcome == "wrong"
    assert says in repr(verdict)
    assert "Traceback" not in repr(verdict)
    assert len(repr(verdict)) < 1500


def test_the_line_that_failed_is_quoted(redis, lab):
    verdict = lab.check(1, answer(function(TAKES, "n = 1\nreturn n / 0")))
    assert "ZeroDivisionError: division by zero in line 3: `return n / 0`" in repr(verdict)


def test_a_function_may_be_async_a_generator_and_use_the_notebooks_own_things(redis, lab):
    helper = "import math\nfactor = 1.0\ndef twice(n):\n    return math.floor(n * factor)\n"
    own = helper + function(TAKES, "return twice(redis.xlen(stream))")
    assert lab.check(1, answer(own)).outcome == "right"
    awaited = "async " + function(TAKES, "return await redis.xlen(stream)")
    assert lab.check(1, answer(awaited)).outcome == "right"
    yielded = lab.check(1, answer(function(TAKES, "yield redis.xlen(stream)")))
    assert "[3]" in repr(yielded)


def test_a_client_of_the_notebook_works_in_the_other_process(redis, lab):
    source = function(TAKES, "return outer.xlen(stream)")
    assert lab.check(1, answer(source, outer=redis)).outcome == "right"


def test_what_exists_only_in_the_notebook_is_refused_with_a_reason(redis, lab):
    source = "import threading\nlock = threading.Lock()\n" + function(TAKES, "return lock")
    verdict = lab.check(1, answer(source))
    assert verdict.outcome == "wrong"
    assert "a separate process" in repr(verdict)


def test_a_missing_answer_and_a_number_too_many_are_told(redis, lab):
    assert "0 answers" in repr(lab.check(1))
    assert "2 answers" in repr(lab.check(1, len, len))
    with pytest.raises(CourseError, match="no exercise 7"):
        lab.check(7)
    with pytest.raises(CourseError, match="no lab 42"):
        open_lab(42)


def test_trouble_with_the_server_is_not_the_learners_fault(redis, lab):
    @lab.exercise(2, "Trouble")
    def trouble(scene: Scene) -> str:
        scene.redis.execute_command("NOSUCHCOMMAND")
        return "never"

    verdict = lab.check(2)
    assert verdict.outcome == "trouble"
    assert "could not do its work" in repr(verdict)


def test_hints_come_one_by_one_and_the_last_one_stays(lab):
    said = [lab.hint(1).lines[0][1] for _ in range(4)]
    assert said[:2] == ["vague", "plain"]
    assert said[2] == said[3]
    assert "no file at all" in said[2]


def test_a_wrong_answer_later_does_not_take_the_tick_away(redis, lab):
    lab.check(1, answer(function(TAKES, "return redis.xlen(stream)")))
    lab.check(1, answer(function(TAKES, "return 0")))
    assert progress.done("97") == {1}


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"97": 3}', '{"97": ["x"]}'])
def test_spoilt_progress_is_no_obstacle(redis, lab, spoilt):
    (Path(os.environ["COURSE_HOME"]) / "progress.json").write_text(spoilt)
    assert progress.done("97") == set()
    progress.mark_done("97", 1)
    assert progress.done("97") == {1}


def test_a_function_at_work_can_be_paused_and_killed(redis):
    counting = answer(
        function(TAKES, "while True:\n    redis.incr(stream)\n    __import__('time').sleep(0.001)")
    )
    with Scene("97") as scene:
        key = scene.key("count")
        with scene.running(counting, CLIENT, key) as process:
            assert process.begun()
            while not scene.redis.exists(key):
                time.sleep(0.01)
            process.pause()
            time.sleep(0.1)
            paused = scene.redis.get(key)
            time.sleep(0.2)
            assert scene.redis.get(key) == paused
            process.resume()
            while scene.redis.get(key) == paused:
                time.sleep(0.01)
            process.kill()
            assert not process.alive
            assert process.outcome(1) == Unfinished(ended=True)


def test_a_killed_function_may_have_ended_before(redis):
    with (
        Scene("97") as scene,
        scene.running(answer(function(TAKES, "return 1")), CLIENT, "x") as process,
    ):
        assert process.outcome(2) == Returned(1)
        process.kill()


def test_a_function_can_run_through_a_proxy_and_be_killed_between_two_commands(redis):
    twice = answer(function(TAKES, "redis.incr(stream)\nredis.incr(stream)\nreturn 'done'"))
    with Scene("97") as scene, scene.proxied() as proxy:
        key = scene.key("count")
        assert scene.call(twice, CLIENT, key, through=proxy) == "done"
        assert proxy.commands == [["INCRBY", key, "1"]] * 2
        proxy.arm(Fault.FREEZE_AFTER, at=1)
        with scene.running(twice, CLIENT, key, through=proxy) as process:
            assert proxy.frozen()
            process.kill()
        assert scene.redis.get(key) == "3"
        proxy.arm(Fault.LOSE_REPLY, at=("INCRBY", 2))
        with scene.running(twice, CLIENT, key, through=proxy) as process:
            outcome = process.outcome(2)
            assert isinstance(outcome, Failure)
            assert outcome.kind == "ConnectionError"
        assert scene.redis.get(key) == "5"


def test_a_wait_can_be_timed_out_also_through_a_proxy(redis):
    waiting = answer(function(TAKES, "return redis.xread({stream: '$'}, block=0)"))
    with (
        Scene("97") as scene,
        scene.proxied() as proxy,
        scene.running(waiting, CLIENT, scene.key("none"), through=proxy) as process,
    ):
        while not scene.time_out():
            time.sleep(0.01)
        assert process.outcome(2) == Returned({})


def test_watching_records_only_the_commands_that_name_the_key(redis):
    with Scene("97") as scene:
        key, other = scene.key("seen"), scene.key("other")
        with scene.watching(key) as commands:
            redis.xadd(key, {"a": "1"})
            redis.xadd(other, {"a": "1"})
            redis.xlen(key)
        assert [command[0] for command in commands] == ["XADD", "XLEN"]
        with scene.watching(key, other) as commands:
            redis.xlen(key)
            redis.xlen(other)
            redis.xlen(scene.key("third"))
        assert commands == [["XLEN", key], ["XLEN", other]]


def test_a_verdict_is_safe_html_and_plain_text():
    verdict = Verdict("wrong", "A <b>", (("Found", "`x<y` & z"), ("Hint", "an odd ` stays")))
    page = verdict._repr_html_()
    assert "<code>x&lt;y</code> &amp; z" in page
    assert "an odd ` stays" in page
    assert repr(verdict).splitlines() == ["✗ A <b>", "  Found: `x<y` & z", "  Hint: an odd ` stays"]


def test_a_blank_inside_a_function_counts_as_blank(redis, lab):
    assert lab.check(1, answer(function(TAKES, "return ____"))).outcome == "blank"
    assert lab.check(1, answer(function(TAKES, "return redis.xlen(____)"))).outcome == "blank"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return redis.xread({stream: '9-0'})[stream]", "reply.get(stream, [])"),
        ("return redis.xread({stream: '0'})[0][1]", "has no key 0"),
        ("return redis.xreadgroup(stream, 'me', {stream: '>'})", "the key is the stream"),
        ("return redis.xreadgroup('none', 'me', {stream: '>'})", "takes the group"),
        (
            "script = \"return redis.call('XPENDING', KEYS[1], ARGV[1])\"\n"
            "return redis.eval(script, 1, stream, 'none')",
            "order of KEYS and ARGV",
        ),
        ("return redis.get(redis.get('nothing'))", "None isn't one of them"),
        ("return 1 / 0", PLAIN),
        ("return 0 + redis.xrange(stream)[0][1]['n']", "`int(value)`"),
        ("return '(' + redis.xlen(stream)", "f-string"),
        ("for last in []:\n    n = 1\nreturn n", "before it has a value"),
        ("return redis.xrange(stream, 'x')", "An ID is a string like"),
        ("try: redis.lpop(stream)\nexcept redis.ResponseError: pass", "hides the module"),
        (
            "try: redis.lpop(stream)\nexcept ResponseError: pass",
            "`from redis import ResponseError`",
        ),
        (
            "try: redis.lpop(stream)\nexcept StreamsError: pass",
            "`from helpers import StreamsError`",
        ),
        ("return zlib.crc32(b'1')", "`import zlib`"),
        ("return lenght(stream)", "check its spelling"),
        ("import redis as library\nreturn library.Redis().ping()", "of your own"),
    ],
)
def test_common_slips_draw_a_sentence_of_their_own(redis, body, says):
    lab = Lab("02", "nowhere")

    @lab.exercise(1, "Slip", calls=("redis", "stream"))
    def slip(scene: Scene, measure: object) -> str:
        return str(scene.call(measure, CLIENT, scene.stream("one", [("1-0", {"n": "1"})])))

    assert says in repr(lab.check(1, answer(function(TAKES, body))))


def test_a_module_that_is_missing_is_imported_by_its_own_name():
    for name in ("zlib", "redis"):
        missing = Failure("NameError", f"name '{name}' is not defined", "", 0)
        assert advice(missing) == f"This module was not imported: `import {name}`."


@pytest.mark.parametrize("body", ["return redis.xlen(stream)", "redis.xlen(stream)\nreturn 3"])
def test_a_missing_await_is_told(redis, lab, body):
    assert "An `await` is missing" in repr(lab.check(1, answer("async " + function(TAKES, body))))


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        (function(TAKES, "redis.xlen(stream)"), True),
        (function(TAKES, "if redis: return"), True),
        (function(TAKES, "def inner():\n    return 3\ninner()"), True),
        ("async " + function(TAKES, "print(await redis.xlen(stream))"), True),
        (function(TAKES, "if not redis:\n    return 3"), False),
        (function(TAKES, "return redis.get('nothing')"), False),
        (function(TAKES, "return None"), False),
        ("answer = lambda redis, stream: None", False),
        ("answer = [].append", False),
    ],
)
def test_a_return_is_missed_only_where_the_function_has_none(redis, lab, source, asked):
    given = answer(source)
    verdict = lab.check(1, given)
    assert verdict.outcome == "wrong"
    assert ("is there a `return`" in repr(verdict)) is asked
    assert returns(given) is not asked


def test_a_server_that_goes_away_is_not_the_learners_fault(redis, lab):
    body = "import os, signal\nos.kill(redis.info('server')['process_id'], signal.SIGKILL)\nredis.ping()"
    verdict = lab.check(1, answer(function(TAKES, body)))
    assert verdict.outcome == "trouble"
    assert "check again" in repr(verdict)


def test_a_class_is_no_function(redis, lab):
    assert lab.check(1, int).outcome == "wrong"
    assert lab.check(1, type).outcome == "wrong"


def test_a_lab_as_last_line_of_a_cell_is_one_short_line(redis, lab):
    assert repr(lab) == "Lab 97, 0 of 1 done: see lab.progress()"
