"""Lab 09: the blank fails, the solution passes, and each mistake draws the hint meant for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.checks import open_lab
from helpers.checks.lab09 import nodes
from helpers.checks.lab09.nodes import lab_cluster
from helpers.course.errors import ServerError
from tests.checks.answers import answer, function, mistake, too_few, written

pytestmark = [
    pytest.mark.once,  # the solution, which nbval runs on every server, goes through the checks
    pytest.mark.early,  # much of its time is spent waiting
]

SIGNATURES = (
    "def counters_of(stream)",
    "def append(redis, name, parts, city, reading)",
    "def add_safely(node, stream, readings, timeout_ms)",
    "def hottest(redis, streams, since)",
    "def add(node, connect, stream, fields)",
    "def work(node, part, token, lease_ms)",
    "def count(redis, stream, totals)",
)
RIGHT = written("09", "right")
WRONG = written("09", "wrong")


@pytest.fixture(scope="module", autouse=True)
def one_cluster():
    """All checks of this file use the cluster of this process; it ends here."""
    yield
    nodes.close()


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.exercise}")
def test_a_right_answer_passes(redis, case):
    verdict = open_lab(9).check(case.exercise, answer(case.source))
    assert verdict.outcome == "right", verdict


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.exercise}: {case.says}")
def test_a_mistake_draws_its_hint(redis, case):
    verdict = open_lab(9).check(case.exercise, answer(case.source))
    assert verdict.outcome == "wrong", verdict
    assert case.says.lower() in repr(verdict).lower(), verdict
    assert mistake("09", case, verdict), verdict


@pytest.mark.parametrize(("exercise", "line"), list(enumerate(SIGNATURES, 1)))
def test_a_blank_is_called_blank(redis, exercise, line):
    assert open_lab(9).check(exercise, answer(function(line, "return ____"))).outcome == "blank"


def test_every_exercise_has_answers_enough():
    assert too_few("09", RIGHT, WRONG) == []


def test_checks_leave_nothing_behind_and_the_cluster_whole(redis):
    """Also on a cluster that the learner has left with a dead and a paused node."""
    lab_cluster().kill("n5")
    lab_cluster().pause("n6")
    for number in (5, 7):
        for cases in (RIGHT, WRONG):
            open_lab(9).check(number, answer(next(c for c in cases if c.exercise == number).source))
    cluster = lab_cluster()
    assert [one.linked for one in cluster.status() if one.role == "replica"] == [True] * 3
    assert [cluster.client(one.name).dbsize() for one in cluster.status()] == [0] * 6
    assert set(redis.scan_iter()) == {"course:database"}


def test_a_cluster_that_was_closed_is_started_again():
    lab_cluster().close()
    assert len(lab_cluster().status()) == 6


def test_without_a_server_program_one_sentence_says_so(redis, monkeypatch):
    def none(wanted):
        raise ServerError("no program")

    monkeypatch.delenv("COURSE_SERVER", raising=False)
    monkeypatch.setattr(nodes, "choose_program", none)
    nodes.close()
    with pytest.raises(ServerError, match=r"install redis-server 7\.0 or newer"):
        lab_cluster()
    verdict = open_lab(9).check(1, answer("answer = lambda stream: stream"))
    assert verdict.outcome == "trouble"
    assert "cluster of six servers" in repr(verdict)


def test_to_open_the_lab_starts_nothing():
    code = (
        "from helpers.checks import open_lab; from helpers.checks.lab09 import nodes; "
        "open_lab(9); assert not nodes._made"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
