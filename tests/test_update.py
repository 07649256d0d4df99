"""`course update` on a real remote: what a learner did is kept, and does not stand in the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.cli import update as cli_update
from helpers.cli.update import lines
from helpers.course.errors import CourseError
from helpers.course.home import CHECKOUT
from helpers.course.update import Plan, carry_out, journal
from helpers.course.update.bringing import bring
from helpers.course.update.cells import carry
from helpers.course.update.git import Git

pytestmark = pytest.mark.once

LAB, LESSON, CODE = "labs/01_ranges.ipynb", "notebooks/01_ranges.ipynb", "helpers/reader.py"
ANSWER = "def newest(redis):\n    return redis.xrevrange('chennai', count=1)"
WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A. Learner"), ("EMAIL", "learner@example.org"))
}


# ------------------------------------------------------------------ a course in two clones


def notebook(*cells: tuple[str, str], output: str | None = None) -> str:
    """A notebook: pairs of a cell's ID and source; an ID that begins with `t` is prose."""
    made = new_notebook()
    for name, source in cells:
        kind = new_markdown_cell if name[0] == "t" else new_code_cell
        cell = kind(source, id=name)
        if output and kind is new_code_cell:
            cell.outputs = [new_output("stream", name="stdout", text=output)]
        made.cells.append(cell)
    return str(nbformat.writes(made)) + "\n"


FIRST_LAB = notebook(
    ("t1", "## 1 · Newest"), ("c1", "def newest(redis):\n    return ____"),
    ("k1", "lab.check(1, newest)"), ("t2", "## 2 · Count"), ("c2", "count = ____"),
)  # fmt: skip
ANSWERED = FIRST_LAB.replace(
    '"    return ____"', "\"    return redis.xrevrange('chennai', count=1)\""
)
SECOND_LAB = notebook(
    ("t0", "# Lab 01"), ("t1", "## 1 · The newest entry"),
    ("c1", "def newest(redis):\n    return ____"), ("k1", "lab.check(1, newest)"),
    ("t2", "## 2 · Count"), ("c2", "count = ____"), ("c3", "more = ____"),
)  # fmt: skip
FIRST_LESSON = notebook(("t1", "# 01"), ("c1", "redis.xlen('chennai')"), output="2")
SECOND_LESSON = notebook(("t1", "# 01 Ranges"), ("c1", "redis.xlen('chennai')"), output="3")


class Clone:
    """A working copy, and what one does in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=os.environ | WHO,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, files: dict[str, str | None]) -> None:
        for path, text in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                file.unlink()
            else:
                file.write_text(text)

    def commit(self, files: dict[str, str | None]) -> None:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "A change")

    def publish(self, files: dict[str, str | None]) -> None:
        self.commit(files)
        self.git("push", "-q", "origin", "main")

    def text(self, path: str) -> str:
        return (self.folder / path).read_text()

    def sources(self, path: str) -> list[str]:
        return [cell.source for cell in nbformat.reads(self.text(path), as_version=4).cells]


class World:
    """A remote, its author, and a learner who cloned the first version."""

    def __init__(self, folder: Path) -> None:
        self.author, self.learner = Clone(folder / "author"), Clone(folder / "a learner")
        self.home = folder / "home"
        for one in (self.author, self.learner):
            if one.folder.exists():  # as copied from where it was made
                one.git("remote", "set-url", "origin", f"file://{folder}/origin.git")

    def update(self) -> Plan:
        """What the learner's update did."""
        done, self.copies = carry_out(Git(self.learner.folder), self.home)
        assert done is not None
        newest = self.learner.git("rev-parse", "origin/main")
        assert self.learner.git("merge-base", newest.strip(), "HEAD") == newest
        assert not (self.home / "updating").exists()
        assert list(self.learner.folder.rglob("*.course-update")) == []
        return done

    def refusal(self) -> str:
        """Why an update is refused; nothing may have changed."""
        before = self.state()
        with pytest.raises(CourseError) as refused:
            carry_out(Git(self.learner.folder), self.home)
        assert self.state() == before
        return str(refused.value)

    def state(self) -> dict[str, bytes]:
        files = [one for one in self.learner.folder.rglob("*") if ".git" not in one.parts]
        return {str(one): one.read_bytes() for one in files if one.is_file()}


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that a world has, to be copied."""
    folder = tmp_path_factory.mktemp("world")
    subprocess.run(
        ["git", "init", "-q", "--bare", "-b", "main", f"{folder}/origin.git"], check=True
    )
    author = Clone(folder / "author")
    clone = ["git", "clone", "-q", f"file://{folder}/origin.git"]
    subprocess.run([*clone, str(author.folder)], check=True, stderr=subprocess.DEVNULL)
    author.git("switch", "-q", "-c", "main")
    code = "".join(f"line {number}\n" for number in range(9))
    author.publish({LAB: FIRST_LAB, LESSON: FIRST_LESSON, CODE: code, "pyproject.toml": "pins\n"})
    subprocess.run([*clone, str(folder / "a learner")], check=True)
    (folder / "home").mkdir()
    return folder


@pytest.fixture
def world(first_version: Path, tmp_path: Path) -> World:
    shutil.copytree(first_version, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


# ------------------------------------------------------------------ what a learner did


def test_an_answered_lab_and_a_run_lesson_go_into_the_new_version_of_both(world):
    ran = FIRST_LESSON.replace('"2"', '"7"').replace(
        '"execution_count": null', '"execution_count": 4'
    )
    world.learner.write({LAB: ANSWERED, LESSON: ran, "notebooks/mine.ipynb": FIRST_LAB})
    world.author.publish({LAB: SECOND_LAB, LESSON: SECOND_LESSON, "new.md": "new\n"})
    refused = subprocess.run(["git", "pull", "-q"], cwd=world.learner.folder, capture_output=True)
    assert refused.returncode != 0  # which is why there is a command
    done = world.update()
    assert lines(done) == [
        f"{LAB}: new, with what you wrote",
        f"{LESSON}: new; you had only run it",
    ]
    assert world.learner.text(LESSON) == SECOND_LESSON
    assert world.learner.sources(LAB) == [
        "# Lab 01", "## 1 · The newest entry", ANSWER, "lab.check(1, newest)", "## 2 · Count",
        "count = ____", "more = ____",
    ]  # fmt: skip
    assert world.learner.text("new.md") == "new\n"
    assert world.learner.text("notebooks/mine.ipynb") == FIRST_LAB
    assert world.learner.git("status", "--short") == f" M {LAB}\n?? notebooks/mine.ipynb\n"
    assert (world.copies / LAB).read_text() == ANSWERED
    assert (world.copies / LESSON).read_text() == ran
    assert carry_out(Git(world.learner.folder), world.home) == (None, None)  # nothing is new


def test_where_both_changed_a_cell_both_stand_and_the_learners_wins(world):
    world.learner.write({LAB: ANSWERED})
    new = SECOND_LAB.replace("return ____", "return list(____)")
    world.author.publish({LAB: new})
    done = world.update()
    assert lines(done) == [
        f"{LAB}: new; your version and the new one both stand under “1 · The newest entry”"
    ]
    _, _, theirs, note, mine, check, *_ = world.learner.sources(LAB)
    assert "list(____)" in theirs
    assert note.startswith("**After the update:**")
    assert (mine, check) == (ANSWER, "lab.check(1, newest)")
    world.author.publish({LAB: new.replace("# Lab 01", "# Lab 1")})
    world.update()  # once more: the same two stand there, and the rest is new
    assert world.learner.sources(LAB)[0] == "# Lab 1"
    assert world.learner.sources(LAB)[2:5] == [theirs, note, mine]


def test_a_lab_that_did_not_change_stays_as_it_is_with_its_outputs(world):
    ran = notebook(("t1", "## 1 · Newest"), ("c1", ANSWER), output="[]")
    world.learner.write({LAB: ran})
    world.author.publish({"new.md": "new\n"})
    assert lines(world.update()) == []
    assert world.learner.text(LAB) == ran
    assert world.copies is None  # nothing of the learner's was touched


def test_a_renamed_lesson_takes_the_learners_notes_along(world):
    mine = notebook(("t1", "# 01"), ("c1", "redis.xlen('chennai')"), ("c9", "my_own = 1"))
    world.learner.write({LESSON: mine})
    new_name = "notebooks/01_range.ipynb"
    world.author.publish({LESSON: None, new_name: SECOND_LESSON})
    world.update()
    assert world.learner.sources(new_name) == ["# 01 Ranges", "redis.xlen('chennai')", "my_own = 1"]
    assert not (world.learner.folder / LESSON).exists()
    assert (world.copies / LESSON).read_text() == mine


def test_files_that_cannot_be_merged_give_way_and_a_copy_is_kept(world):
    edited = "".join(f"mine {number}\n" for number in range(9))
    world.learner.write({CODE: edited, LAB: "<<<<<<< no notebook", "new.md": "mine\n"})
    code = "".join(f"theirs {number}\n" for number in range(9))
    world.author.publish({CODE: code, LAB: SECOND_LAB, "new.md": "new\n"})
    assert sorted(lines(world.update())) == [
        f"{CODE}: replaced; its changes clash with yours",
        f"{LAB}: replaced; yours can't be read as a notebook",
        "new.md: new; yours is new.yours.md now",
    ]
    assert world.learner.text(CODE) == code
    assert world.learner.text(LAB) == SECOND_LAB
    assert (world.copies / CODE).read_text() == edited
    assert (world.copies / LAB).read_text() == "<<<<<<< no notebook"
    assert world.learner.text("new.yours.md") == "mine\n"


def test_code_that_both_changed_in_different_places_is_merged_by_lines(world):
    code = world.learner.text(CODE)
    world.learner.write({CODE: code.replace("line 0", "mine")})
    world.author.publish({CODE: code.replace("line 8", "theirs")})
    world.update()
    assert world.learner.text(CODE) == code.replace("line 0", "mine").replace("line 8", "theirs")


def test_what_git_add_was_given_and_the_folder_no_longer_holds_is_kept_too(world):
    world.learner.write({LAB: ANSWERED, "mine.txt": "mine\n"})
    world.learner.git("add", "--all")
    world.learner.write({LAB: FIRST_LAB})
    world.author.publish({LAB: SECOND_LAB})
    world.update()
    assert world.learner.text(LAB) == SECOND_LAB
    assert world.learner.text("mine.txt") == "mine\n"
    assert (world.copies / "staged" / LAB).read_text() == ANSWERED


def test_files_at_which_git_does_not_look_are_kept_too(world):
    """Marked so that `git pull` goes on, or filtered; and a hook of the learner's fails."""
    learner, marked = world.learner, "\ufeff" + ANSWERED  # saved by an editor with such a mark
    (learner.folder / ".git/hooks").mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-index-change"):
        (learner.folder / ".git/hooks" / name).write_text("#!/bin/sh\nexit 1\n")
        (learner.folder / ".git/hooks" / name).chmod(0o755)
    learner.write({LAB: marked, CODE: "mine\n", "own.md": ""})
    learner.git("update-index", "--assume-unchanged", LAB)
    learner.git("update-index", "--skip-worktree", CODE)
    learner.git("config", "filter.strip.clean", "sed s/mine/stripped/")
    (learner.folder / ".git/info/attributes").write_text("*.py filter=strip\n")
    world.author.publish({LAB: SECOND_LAB, CODE: "new\n"})
    world.update()
    assert ANSWER in learner.sources(LAB)
    assert (world.copies / LAB).read_text() == marked
    assert (world.copies / CODE).read_text() == "mine\n"


class SavedMeanwhile(Git):
    """Git, while JupyterLab saves a lab for the first time: after it was looked at."""

    def renamed(self, commit: str, newer: str) -> dict[str, str]:
        if (lab := self.folder / LAB).read_text() == FIRST_LAB:
            lab.write_text(ANSWERED)
        return super().renamed(commit, newer)


def test_what_is_saved_while_versions_are_merged_is_in_the_new_one(world):
    world.author.publish({LAB: SECOND_LAB})
    carry_out(SavedMeanwhile(world.learner.folder), world.home)
    assert ANSWER in world.learner.sources(LAB)
    assert world.learner.sources(LAB)[0] == "# Lab 01"


def test_a_deleted_lab_comes_back_only_if_it_is_new(world):
    world.learner.write({LAB: None, LESSON: None})
    world.author.publish({LAB: SECOND_LAB})
    world.update()
    assert world.learner.text(LAB) == SECOND_LAB
    assert not (world.learner.folder / LESSON).exists()


def test_answers_that_were_committed_are_merged_into_a_commit_of_their_own(world):
    world.learner.commit({LAB: ANSWERED, "mine.md": "mine\n"})
    world.learner.write({CODE: "line 0\n"})  # and something that is not committed
    world.author.publish({LAB: SECOND_LAB, LESSON: SECOND_LESSON})
    world.update()
    assert ANSWER in world.learner.sources(LAB)
    assert world.learner.sources(LAB)[0] == "# Lab 01"
    assert world.learner.text(LESSON) == SECOND_LESSON
    assert world.learner.git("status", "--short") == f" M {CODE}\n"
    assert len(world.learner.git("rev-parse", "HEAD^@").split()) == 2
    assert world.learner.git("show", "HEAD:mine.md") == "mine\n"


# ------------------------------------------------------------------ what an update cannot do


def test_own_commits_that_clash_are_left_to_git(world):
    world.learner.commit({CODE: "mine\n"})
    world.author.publish({CODE: "theirs\n"})
    assert (
        f"change the same lines of {CODE}. Nothing was changed: run `git merge" in world.refusal()
    )


def _no_remote(world: World) -> None:
    world.learner.git("remote", "remove", "origin")


def _no_network(world: World) -> None:
    world.learner.git("remote", "set-url", "origin", "http://me:secret@127.0.0.1:1/course.git")


def _detached(world: World) -> None:
    world.learner.git("checkout", "-q", "--detach")


def _own_branch(world: World) -> None:
    world.learner.git("switch", "-q", "-c", "answers")


def _in_a_merge(world: World) -> None:
    (world.learner.folder / ".git" / "MERGE_HEAD").write_text("")


def _in_a_bisection(world: World) -> None:
    world.learner.git("bisect", "start")


def _unfetchable(world: World) -> None:
    (world.learner.folder / ".git" / "FETCH_HEAD").mkdir()


def _without_head(world: World) -> None:
    (world.learner.folder / ".git" / "HEAD").write_text("")


def _locked(world: World) -> None:
    (world.learner.folder / ".git" / "index.lock").write_text("")


def _rewritten(world: World) -> None:
    world.learner.commit({"mine.md": "mine\n"})
    world.author.git("checkout", "-q", "--orphan", "fresh")
    world.author.commit({"new.md": "new\n"})
    world.author.git("push", "-q", "--force", "origin", "fresh:main")


def _in_the_way(world: World) -> None:
    (world.learner.folder / "new.md").mkdir()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (_no_remote, "has no remote to get a new version from: add one"),
        (_no_network, "the remote `origin` could not be read (fatal: unable to access"),
        (_detached, "stands at a single commit and not on a branch"),
        (_own_branch, "has no branch for this one: name it with `git branch --set-upstream-to"),
        (_in_a_merge, "in the middle of a merge here: finish it, or give it up"),
        (_in_a_bisection, "in the middle of a bisection here"),
        (_unfetchable, "error: cannot open '.git/FETCH_HEAD': Is a directory"),
        (_without_head, "has a .git that git can't read, so it can't update itself: get"),
        (_locked, "Another git is at work here, or was killed: if none is, delete"),
        (_rewritten, "The course's history was written again, and your commits are on the old"),
        (_in_the_way, "The new version needs the place of new.md. Nothing was changed"),
    ],
)
def test_one_sentence_says_why_there_is_no_update(world, state, words):
    world.learner.write({LAB: ANSWERED})
    world.author.publish({"new.md": "new\n", LAB: SECOND_LAB})
    state(world)
    said = world.refusal()
    assert words in said
    assert "secret" not in said


def test_history_that_was_written_again_is_no_hindrance_without_own_commits(world):
    world.learner.write({LAB: ANSWERED})
    _rewritten_by_author(world)
    done, _ = carry_out(Git(world.learner.folder), world.home)
    assert done is not None
    assert ANSWER in world.learner.sources(LAB)
    assert world.learner.text("new.md") == "new\n"


def _rewritten_by_author(world: World) -> None:
    world.author.git("checkout", "-q", "--orphan", "fresh")
    world.author.commit({"new.md": "new\n", LAB: SECOND_LAB})
    world.author.git("push", "-q", "--force", "origin", "fresh:main")


def test_a_branch_that_follows_one_here_gets_what_that_one_gets(world):
    world.learner.git("switch", "-q", "-c", "mine", "--track", "main")
    world.author.publish({"new.md": "new\n"})
    world.update()
    assert world.learner.text("new.md") == "new\n"


def test_a_copy_without_git_says_how_to_bring_the_answers_along(world, tmp_path):
    old, new = Clone(tmp_path / "unpacked"), world.learner
    old.write({LAB: ANSWERED, "notebooks/mine.ipynb": FIRST_LESSON})
    (old.folder / "labs" / "gone.ipynb").symlink_to("/dev/null/where")
    with pytest.raises(CourseError, match=r"isn't a git checkout .* `course update --from "):
        Git(old.folder)
    new.write({LAB: SECOND_LAB.replace("count = ____", "count = 3")})
    done = bring(old.folder, new.folder, lambda *_: None)
    assert done == {LAB: "your answers are in it now", "notebooks/mine.ipynb": "copied"}
    assert ANSWER in new.sources(LAB)
    assert new.sources(LAB)[:2] == ["# Lab 01", "## 1 · The newest entry"]
    assert "count = 3" in new.sources(LAB)  # what was answered here stays
    assert bring(old.folder, new.folder, lambda *_: None) == {}


# ------------------------------------------------------------------ interrupted


def killed(world: World, step: int) -> bool:
    """Update in a process that kills itself before its nth file operation or git command."""
    child = os.fork()
    if not child:
        left = [step]

        def count(event: str, _: object) -> None:
            counts = event in ("open", "os.rename", "os.remove", "os.rmdir", "subprocess.Popen")
            left[0] -= counts
            if counts and left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            carry_out(Git(world.learner.folder), world.home)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", [60, 150, 190, 215, 240])
def test_an_update_that_is_killed_half_way_is_ended_by_the_next_one(world, step):
    new_name = "notebooks/01_range.ipynb"
    mine = notebook(("t1", "# 01"), ("c1", "redis.xlen('chennai')"), ("c9", "my_own = 1"))
    world.learner.write({LAB: ANSWERED, LESSON: mine, "new.md": "mine\n"})
    world.author.publish(
        {LAB: SECOND_LAB, LESSON: None, new_name: SECOND_LESSON, "new.md": "new\n", CODE: "new\n"}
    )
    assert killed(world, step)
    carry_out(Git(world.learner.folder), world.home)
    assert ANSWER in world.learner.sources(LAB)
    assert world.learner.sources(new_name)[-1] == "my_own = 1"
    assert world.learner.text("new.md") == "new\n"
    assert world.learner.text("new.yours.md") == "mine\n"
    assert world.learner.text(CODE) == "new\n"
    assert not (world.learner.folder / LESSON).exists()
    assert world.learner.git("rev-parse", "HEAD") == world.learner.git("rev-parse", "origin/main")
    assert world.learner.git("status", "--short") == f" M {LAB}\n M {new_name}\n?? new.yours.md\n"


def test_a_journal_is_ended_by_a_program_that_needs_no_package(world):
    journal.write(
        world.home / "updating", world.learner.folder, {CODE: ("100755", b"new\n"), LAB: None}
    )
    finish = world.home / "updating" / journal.FINISH
    subprocess.run([sys.executable, "-I", str(finish)], check=True, cwd=world.home)
    assert world.learner.text(CODE) == "new\n"
    assert os.access(world.learner.folder / CODE, os.X_OK)
    assert not (world.learner.folder / "labs").exists()
    assert not finish.exists()


def test_a_file_that_is_saved_meanwhile_is_left_alone(world):
    journal.write(world.home / "updating", world.learner.folder, {CODE: ("100644", b"new\n")})
    world.learner.write({CODE: "saved meanwhile\n"})
    assert journal.finish(world.home / "updating") == [CODE]
    assert world.learner.text(CODE) == "saved meanwhile\n"


# ------------------------------------------------------------------ cells


SOURCES = st.sampled_from(["a = 1", "a = ____", "b = ____", "def f():\n    return ____", "", "x"])


def cells(names: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(
        st.tuples(st.sampled_from(names), SOURCES), max_size=6, unique_by=lambda one: one[0]
    )


@settings(max_examples=60)
@given(cells("abcdefg"), cells("abcdvwxyz"), cells("cdefghi"))
def test_to_carry_twice_is_to_carry_once_and_no_source_is_lost(base, mine, new):
    before, learner, newer = (
        notebook(*((f"c{name}", source) for name, source in one)) for one in (base, mine, new)
    )

    def conflict(*_: str) -> None:
        """No lines are merged."""

    once = carry(before, learner, newer, conflict).text
    assert carry(before, once, newer, conflict).text == once
    sources = [cell.source for cell in nbformat.reads(once, as_version=4).cells]
    written = {source for name, source in mine if (name, source) not in base}
    assert {source for source in written - {source for _, source in base} if source} <= set(sources)
    assert {source for _, source in new if source} <= {
        *sources,
        *(source for _, source in [*mine, *base]),
    }


def test_an_editor_that_drops_ids_loses_no_answer():
    old: Any = json.loads(ANSWERED)
    for cell in old["cells"]:
        del cell["id"]
    old["nbformat_minor"] = 4
    carried = carry(FIRST_LAB, json.dumps(old), SECOND_LAB, lambda *_: None)
    assert (carried.kept, carried.both) == (1, [])
    assert ANSWER in [cell.source for cell in nbformat.reads(carried.text, as_version=4).cells]


# ------------------------------------------------------------------ the real labs


@pytest.mark.parametrize("name", sorted(one.name for one in (CHECKOUT / "labs").glob("*.ipynb")))
def test_each_real_lab_takes_its_answers_into_a_new_version(name):
    """The new version has another first cell, another last one, and one answer's blank changed."""
    blank = (CHECKOUT / "labs" / name).read_text()
    answers = (CHECKOUT / "solutions" / name).read_text()
    old, new = nbformat.reads(blank, as_version=4), nbformat.reads(blank, as_version=4)
    mine = nbformat.reads(answers, as_version=4)
    answered = {cell.id: cell.source for cell in mine.cells}
    blanks = [one for one in new.cells if answered.get(one.id, one.source) != one.source]
    new.cells[0].source += "\n\nThis lab is new."
    new.cells.append(new_code_cell("one_more = ____", id="one-more"))
    blanks[0].source = f"# New.\n{blanks[0].source}\n"
    carried = carry(str(nbformat.writes(old)), answers, str(nbformat.writes(new)), lambda *_: None)
    got = {cell.id: cell.source for cell in nbformat.reads(carried.text, as_version=4).cells}
    assert len(carried.both) == 1
    assert got[blanks[0].id + "-yours"] == answered[blanks[0].id]
    assert {one.id: got[one.id] for one in blanks[1:]} == {
        one.id: answered[one.id] for one in blanks[1:]
    }
    assert got[new.cells[0].id].endswith("This lab is new.")
    assert got["one-more"] == "one_more = ____"


def test_the_command_says_what_it_did_in_a_few_lines(world, monkeypatch, capsys):
    monkeypatch.setattr(cli_update, "CHECKOUT", world.learner.folder)
    monkeypatch.setenv("COURSE_HOME", str(world.home))
    world.learner.write({LAB: ANSWERED})
    world.author.publish({LAB: SECOND_LAB, "pyproject.toml": "other pins\n"})
    cli_update.update(dry_run=True)
    cli_update.update()
    monkeypatch.setenv("GIT_NAMESPACE", "another")
    cli_update.update()
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "broken")
    with pytest.raises(CourseError, match=r"Git refuses a step of the update \(.*: correct that,"):
        cli_update.update()
    said = re.sub(r"before-update/[\d-]+", "before-update/…", capsys.readouterr().out)
    assert said.replace(str(world.home), "home").splitlines() == [
        "The update would do this:",
        f"  {LAB}: new, with what you wrote",
        "✓ Updated the course: 1 change, 2 files.",
        f"  {LAB}: new, with what you wrote",
        "Your files as they were before are in home/before-update/….",
        "If a notebook is open, choose File, Reload Notebook from Disk, and restart its kernel.",
        "The new version needs other packages: run `pip install -c constraints.txt -e .` here.",
        "✓ You already have the newest version.",
    ]
