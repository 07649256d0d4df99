"""The benchmark's arithmetic, its report, and that each way to append writes just its entries."""

from __future__ import annotations

import json

import pytest
from redis import ResponseError

from helpers.averages import AVERAGES
from helpers.bench import ONE_SERVER, PARTS, crowd, ladder, limit, report
from helpers.bench.rounds import Figure, Part, Rounds
from helpers.bench.scale import Scale
from helpers.chaos import Distance
from helpers.cli import bench as command
from helpers.course.errors import CourseError
from helpers.course.keys import MARK
from helpers.streams.scan import scan
from helpers.views.climb import Climb

TINY = Scale(
    rounds=1, readings=400, some=100, slow=40, pairs=10, wakes=20, kept=500, loads=1, days=1,
    passes=1,
)  # fmt: skip
ENTRIES = [{"temperature": str(number), "humidity": "80"} for number in range(250)]

PROMISED = {
    "append": {"ratio_to_one_at_a_time", "ratio_to_server"},
    "fill": {"ratio_to_ru202"},
    "aggregate": {"ratio_to_ru202", "ratio_to_xrange"},
    "group": {"ratio_to_one_at_a_time", "ratio_to_bare_loop", "asyncio_ratio_to_bare_loop"},
    "latency": {"p50_in_pings"},
    "memory": {"bytes_per_entry"},
}


def written(redis, stream):
    return [entry.fields for entry in scan(redis, stream)]


def numbers(entries):
    return sorted(int(fields["temperature"]) for fields in entries)


def keys(redis):
    return set(redis.scan_iter()) - {MARK}


class TestArithmetic:
    @pytest.mark.once
    @pytest.mark.parametrize(
        ("values", "median"), [([3.0], 3.0), ([5.0, 1.0, 3.0], 3.0), ([4.0, 2.0], 3.0)]
    )
    def test_a_figure_is_the_median_with_its_spread(self, values, median):
        assert Figure.of(values) == Figure(median, min(values), max(values), len(values))

    @pytest.mark.once
    def test_no_runs_are_no_figure(self):
        with pytest.raises(CourseError, match="at least one run"):
            Figure.of([])

    @pytest.mark.once
    def test_a_ratio_is_taken_within_each_round(self):
        taken = Rounds({"ours": [10.0, 100.0, 40.0], "theirs": [5.0, 20.0, 1.0]})
        # 2, 5 and 40: the ratio of the medians would be 8.
        assert taken.ratio("ours", "theirs") == Figure(5.0, 2.0, 40.0, 3)

    @pytest.mark.once
    def test_what_gave_nothing_is_compared_with_nothing(self):
        with pytest.raises(CourseError, match="theirs gave 0"):
            Rounds({"ours": [1.0], "theirs": [0.0]}).ratio("ours", "theirs")

    @pytest.mark.once
    def test_every_round_takes_every_path_once_and_in_order(self):
        said: list[str] = []
        values = iter(range(1, 7))
        taken = Rounds.take({name: lambda: next(values) for name in "abc"}, 2, said.append)
        assert "".join(said) == "abcabc"
        assert taken.figures()["b"] == Figure(3.5, 2, 5, 2)

    @pytest.mark.once
    def test_rounds_have_a_value_of_every_path(self):
        with pytest.raises(CourseError, match="every path once"):
            Rounds({"a": [1.0, 2.0], "b": [1.0]})

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("goal", "reached", "missed"),
        [(report.Goal(40), 40.0, 39.9), (report.Goal(3, most=True), 3.0, 3.1)],
    )
    def test_a_goal_is_a_least_or_a_most(self, goal, reached, missed):
        assert goal.reached(Figure.of([reached]))
        assert not goal.reached(Figure.of([missed]))


class TestLadder:
    @pytest.mark.parametrize("rung", ladder.LADDER, ids=lambda rung: rung.name)
    def test_every_rung_gives_the_same_stream(self, redis, rung):
        assert ladder.rate(rung, "bench:chennai", ENTRIES) > 0
        found = written(redis, "bench:chennai")
        assert numbers(found) == list(range(len(ENTRIES)))
        assert (found == ENTRIES) or not rung.ordered

    @pytest.mark.parametrize("rung", ladder.LADDER[::3], ids=lambda rung: rung.name)
    def test_a_rung_goes_where_it_is_told_to(self, redis, rung):
        with Distance(round_trip_ms=1) as distance:
            ladder.rate(rung, "bench:chennai", ENTRIES, distance)
            assert distance.turns > 0
        assert numbers(written(redis, "bench:chennai")) == list(range(len(ENTRIES)))

    def test_so_do_several_processes(self, redis):
        assert crowd.append_in_processes("bench:chennai", ENTRIES, 2) > 0
        found = written(redis, "bench:chennai")
        assert numbers(found) == list(range(len(ENTRIES)))
        assert [one for one in found if int(one["temperature"]) % 2] == ENTRIES[1::2]

    def test_a_process_that_fails_is_told_of(self, redis, capfd):
        redis.set("bench:chennai", "no stream")
        with pytest.raises(CourseError, match="has failed"):
            crowd.append_in_processes("bench:chennai", ENTRIES, 2)
        assert "'bench:chennai' is not a stream" in capfd.readouterr().err

    def test_a_lesson_climbs_it_rung_by_rung(self, redis, monkeypatch, capsys):
        monkeypatch.setattr(limit, "REQUESTS", 2000)
        climb = Climb(redis, "lesson08:chennai", ENTRIES, slow=10)
        taken = climb.take(ladder.ONE, "pipelines of 10", rounds=2)
        assert taken["pipelines of 10"].runs == 2
        assert "entries a second" in capsys.readouterr().out
        assert written(redis, "lesson08:chennai") == ENTRIES  # the last rung's
        drawn = [text.get_text() for text in climb.picture().axes[0].get_yticklabels()]
        assert drawn == [ladder.ONE, "pipelines of 10"]
        with pytest.raises(CourseError, match="There is no rung 'pipelines of 7'"):
            climb.take("pipelines of 7")


class TestLimit:
    @pytest.fixture(autouse=True)
    def fewer(self, monkeypatch):
        monkeypatch.setattr(limit, "REQUESTS", 3000)

    def test_what_measures_the_limit_appends_what_it_says(self, redis):
        measured, what = limit.limit_of(redis)
        assert measured("bench:chennai", ENTRIES[0]) > 0
        assert what.startswith(("redis-benchmark", "valkey-benchmark", "prepared bytes"))
        assert written(redis, "bench:chennai") == [ENTRIES[0]] * 3000
        assert limit.USER not in redis.acl_users()

    def test_so_do_prepared_bytes(self, redis):
        assert limit.prepared_bytes(redis, "bench:chennai", ENTRIES[1]) > 0
        assert written(redis, "bench:chennai") == [ENTRIES[1]] * 3000
        assert redis.ping()  # its connection was not given back without its voice

    def test_they_are_used_where_there_is_no_redis_benchmark(self, redis, monkeypatch):
        monkeypatch.setenv("PATH", "")
        _, what = limit.limit_of(redis)
        assert "there is no redis-benchmark here" in what

    def test_nothing_is_measured_where_nothing_was_appended(self, redis):
        redis.set("bench:chennai", "no stream")
        measured, _ = limit.limit_of(redis)
        with pytest.raises((CourseError, ResponseError), match=r"measured|WRONGTYPE"):
            measured("bench:chennai", ENTRIES[0])
        with pytest.raises((CourseError, ResponseError), match=r"measured|WRONGTYPE"):
            limit.prepared_bytes(redis, "bench:chennai", ENTRIES[0])


class TestReport:
    @pytest.fixture(autouse=True)
    def fewer(self, monkeypatch):
        monkeypatch.setattr(limit, "REQUESTS", 2000)

    def test_it_prints_every_promised_ratio_as_json(self, redis, monkeypatch, capsys):
        monkeypatch.setattr(Scale, "quick", classmethod(lambda cls: TINY))
        command.bench(quick=True, as_json=True)
        found = json.loads(capsys.readouterr().out)
        assert found["left_out"] == {}
        assert found["wanted"]["append"]["ratio_to_server"] == "at least 0.7"
        for part, ratios in PROMISED.items():
            assert ratios <= set(found[part]), part
            assert all(found[part][ratio] > 0 for ratio in ratios)
            assert set(found[part]["spread"]) >= ratios
            for figure in found[part]["figures"].values():
                assert 0 < figure["low"] <= figure["median"] <= figure["high"]
        assert set(found) == {*ONE_SERVER, "settings", "left_out", "wanted"}
        assert {"server", "persistence", "client", "python", "machine"} <= set(found["settings"])
        assert keys(redis) == set()

    @pytest.mark.parametrize("quick", [True, False])
    def test_one_part_alone(self, redis, monkeypatch, capsys, quick):
        monkeypatch.setattr(Scale, "quick", classmethod(lambda cls: TINY))
        monkeypatch.setattr(Scale, "full", classmethod(lambda cls: TINY))
        command.bench(quick=quick, only=["latency"])
        said = capsys.readouterr().out
        assert "p50_in_pings" in said
        assert "bytes_per_entry" not in said
        assert ("at most 1.5" in said) is not quick  # a quick run is not exact enough

    @pytest.mark.once
    def test_the_help_names_the_parts(self):
        assert tuple(name for names in report.MEASURES for name in names) == PARTS

    @pytest.mark.once
    def test_a_part_that_does_not_exist(self, redis):
        with pytest.raises(CourseError, match="no part 'apend': choose setget, append"):
            list(report.run(redis, TINY, only=["apend"]))

    def test_somebodys_averages_are_not_deleted(self, redis):
        redis.xadd(AVERAGES, {"average_temp_f": 50})
        found = dict(report.run(redis, TINY, only=["fill", "group"]))
        assert "course partitions clear" in str(found["fill"])
        assert isinstance(found["group"], Part)
        assert redis.xlen(AVERAGES) == 1

    @pytest.mark.parametrize("part", ["append", "fill"])
    def test_it_leaves_no_keys_when_it_is_interrupted(self, redis, part):
        begun: list[str] = []

        def interrupt(name: str, path: str) -> None:
            begun.append(path)
            if len(begun) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(report.run(redis, TINY, only=[part], tick=interrupt))
        assert keys(redis) == set()

    @pytest.mark.once
    def test_the_settings_name_what_answers(self, redis):
        said = report.settings(redis)
        assert said["server"].startswith(("Valkey", "Redis"))
        assert "append-only file" in said["persistence"]
        assert "redis 8" in said["client"]
