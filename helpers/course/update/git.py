"""What git knows of the checkout: its versions, what differs from them, where new ones are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helpers.course.errors import CourseError

Blob = tuple[str, str]  # mode and object
Tree = dict[str, Blob]

_PASSWORD = re.compile(r"://[^/@\s]+@")
# A passphrase is asked for only in a terminal. A connection that gives nothing is given up.
_NO_QUESTIONS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
}
_ALWAYS = (  # hooks are for the learner's own commits
    "-c", "core.hooksPath=/dev/null",
    "-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=20",
)  # fmt: skip
_REMOTE = re.compile(
    r"unable to (access|connect)|could not resolve|could not read (from|Username|Password)|"
    r"not appear to be a git|repository .*not (found|exist)|timed out|connection |hung up|"
    r"early EOF|terminal prompts|authentication|host key", re.I
)  # fmt: skip
_LEADING_ELSEWHERE = (  # variables, as in a hook: to another repository, or another part of one
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE",
)  # fmt: skip
_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply/applying": "applying patches (`git am`)",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


class GitError(CourseError):
    """Git refused something; the message is what git said."""


@dataclass(frozen=True)
class Source:
    """Where new versions come from."""

    remote: str
    branch: str  # as this repository calls it, such as refs/remotes/origin/main


class Git:
    """The git repository of a checkout.

    Raises:
        CourseError: git is missing, or the folder is no checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            top = self.line("rev-parse", "--show-toplevel")
        except GitError as error:
            if "dubious ownership" in str(error):
                raise CourseError(
                    f"{folder} belongs to another user, so git does nothing there: give it back "
                    f'with `sudo chown -R "$USER" "{folder}"`, or run `git config --global --add '
                    f'safe.directory "{folder}"`, then run `course update` again.'
                ) from error
            if "not a git repository" not in str(error):
                raise
            top = ""
        if not top or Path(top).resolve() != folder.resolve():
            why = "isn't a git checkout (perhaps it was downloaded as an archive)"
            if (folder / ".git").exists() and not top:
                why = "has a .git that git can't read"
            raise CourseError(
                f"{folder} {why}, so it can't update itself: get the new version into another "
                f"folder, then run `course update --from {folder}` there to bring your work along."
            )

    def run(self, *arguments: str, input: bytes | None = None, index: Path | None = None) -> bytes:
        """What a git command prints.

        Raises:
            GitError: it failed.
        """
        kept = os.environ.keys() - set(_LEADING_ELSEWHERE)
        environment = {name: os.environ[name] for name in kept}
        environment["LC_ALL"] = "C"  # its sentences are looked at
        environment |= {} if sys.stdin is not None and sys.stdin.isatty() else _NO_QUESTIONS
        environment |= {"GIT_INDEX_FILE": str(index)} if index else {}
        try:
            done = subprocess.run(
                ["git", *_ALWAYS, *arguments], cwd=self.folder, env=environment,
                input=input, stdin=None if input is not None else subprocess.DEVNULL,
                capture_output=True, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise CourseError("`course update` needs git: install it, then try again.") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            said = next(
                (line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1]
            )
            raise GitError(_PASSWORD.sub("://***@", said))
        return done.stdout

    def line(self, *arguments: str) -> str:
        """The single line that a git command prints."""
        return self.run(*arguments).decode().strip()

    def ask(self, *arguments: str) -> str | None:
        """The same; None where git has no answer."""
        try:
            return self.line(*arguments)
        except GitError:
            return None

    # -------------------------------------------------------------- where it stands

    def commit(self, name: str) -> str | None:
        """The commit that a name stands for."""
        return self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def contains(self, commit: str, other: str) -> bool:
        """Whether a commit is another one, or comes after it."""
        return self.ask("merge-base", "--is-ancestor", other, commit) is not None

    def file(self, name: str) -> Path:
        """A file of git's own, such as `index`."""
        return self.folder / self.line("rev-parse", "--git-path", name)

    def check_quiet(self) -> None:
        """Make sure that nothing is half done.

        Raises:
            CourseError: something is, or another git is at work.
        """
        for name, what in _UNFINISHED.items():
            if self.file(name).exists():
                raise CourseError(
                    f"Git is in the middle of {what} here: finish it, or give it up (`git status` "
                    "says how), then run `course update` again."
                )
        if self.run("ls-files", "--unmerged"):
            raise CourseError(
                "Git holds files here that it could not merge (`git status` names them): settle "
                "them with `git add`, then run `course update` again."
            )
        lock = self.file("index.lock")
        if lock.exists():
            raise CourseError(
                f"Another git is at work here, or was killed: if none is, delete {lock}, then run "
                "`course update` again."
            )

    def source(self) -> Source:
        """Where this branch's new versions come from.

        Raises:
            CourseError: nowhere, or no branch is checked out.
        """
        branch = self.ask("symbolic-ref", "--quiet", "--short", "HEAD")
        if branch is None:
            raise CourseError(
                "This checkout stands at a single commit and not on a branch (a detached HEAD): "
                "go to one, for example with `git switch main`, then run `course update` again."
            )
        remote, upstream = self._upstream(branch)
        for _ in range(9):  # of a branch that follows another one here
            if remote == "." and upstream:
                remote, upstream = self._upstream(upstream.removeprefix("refs/heads/"))
        if remote and upstream:
            return Source(remote, upstream)
        remotes = self.line("remote").split()
        if not remotes:
            raise CourseError(
                "This checkout has no remote to get a new version from: add one with "
                "`git remote add origin ADDRESS`, then run `course update` again."
            )
        remote = remote or ("origin" if "origin" in remotes else remotes[0])
        return Source(remote, f"refs/remotes/{remote}/{branch}")

    def _upstream(self, branch: str) -> tuple[str | None, str | None]:
        """The remote that a branch follows, and what the branch there is called here."""
        remote = self.ask("config", f"branch.{branch}.remote")
        return remote, self.ask("rev-parse", "--symbolic-full-name", f"{branch}@{{upstream}}")

    def fetch(self, source: Source) -> str:
        """Get what is new; the newest commit there.

        Raises:
            CourseError: the remote is out of reach, or has no such branch.
        """
        try:
            self.run("fetch", "--quiet", source.remote)
        except GitError as error:
            if not _REMOTE.search(str(error)):
                raise
            raise CourseError(
                f"Nothing was changed: the remote `{source.remote}` could not be read ({error}). "
                "Check the network and its address (`git remote -v`), then try again."
            ) from error
        newest = self.commit(source.branch)
        if newest is None:
            raise CourseError(
                f"The remote `{source.remote}` has no branch for this one: name it with "
                f"`git branch --set-upstream-to={source.remote}/main`, then try again."
            )
        return newest

    # -------------------------------------------------------------- files

    def tree(self, commit: str) -> Tree:
        """All files of a commit."""
        found: Tree = {}
        for entry in self.run("ls-tree", "-r", "-z", "--full-tree", commit).decode().split("\0"):
            if entry:
                about, path = entry.split("\t", 1)
                mode, _, name = about.split()
                found[path] = (mode, name)
        return found

    def different(self, commit: str) -> list[str]:
        """Paths whose file in the folder, or in the index, is not the commit's.

        Files at which git was told not to look may be among them: assume-unchanged, skip-worktree.
        """
        self.ask("update-index", "-q", "--refresh")
        listed = self.run("diff-index", "--name-only", "-z", "--no-renames", commit)
        marked = self.run("ls-files", "-v", "-z").decode().split("\0")
        tagged = [one.partition(" ") for one in marked]
        unseen = [path for tag, _, path in tagged if tag == "S" or tag.islower()]
        there = [path for path in unseen if os.path.lexists(self.folder / path)]
        return [path for path in dict.fromkeys([*listed.decode().split("\0"), *there]) if path]

    def staged(self, commit: str) -> Tree:
        """What the index holds that the commit does not: what `git add` was given."""
        found: Tree = {}
        listed = self.run(
            "diff-index", "--cached", "--raw", "-z", "--no-renames", "--abbrev=40", commit
        )
        parts = listed.decode().split("\0")
        for about, path in zip(parts[::2], parts[1::2], strict=False):
            _, mode, _, name, _ = about.split()
            if mode != "000000" and name.strip("0"):
                found[path] = (mode, name)
        return found

    def renamed(self, commit: str, newer: str) -> dict[str, str]:
        """Files that the newer commit has under another name."""
        listed = self.run("diff", "--raw", "-z", "-M50%", "--diff-filter=R", commit, newer)
        parts = listed.decode().split("\0")[:-1]
        return dict(zip(parts[1::3], parts[2::3], strict=True))

    def keep(self, paths: Iterable[str]) -> Tree:
        """Store files of the folder as git's objects; those that do not exist are left out."""
        found: Tree = {}
        for path in paths:
            file = self.folder / path
            if file.is_symlink():
                found[path] = ("120000", self.store(os.readlink(file).encode()))
            elif file.is_file():
                mode = "100755" if os.access(file, os.X_OK) else "100644"
                name = self.run(
                    "hash-object", "-w", f"--path={path}", "--stdin", input=file.read_bytes()
                )
                found[path] = (mode, name.decode().strip())
        return found

    def store(self, content: bytes) -> str:
        """Store a content; the name of its object."""
        return self.run("hash-object", "-w", "--stdin", input=content).decode().strip()

    def content(self, blob: Blob) -> bytes:
        """What a file holds."""
        return self.run("cat-file", "blob", blob[1])

    def merge_text(self, base: str, mine: str, new: str) -> str | None:
        """Merge three versions of a text line by line; None if they conflict."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("mine", "base", "new")]
            for file, text in zip(files, (mine, base, new), strict=True):
                whole = text if text.endswith("\n") else text + "\n"
                file.write_bytes(whole.encode(errors="surrogateescape"))
            try:
                found = self.run("merge-file", "-p", "-q", *(str(file) for file in files))
            except GitError:
                return None
        merged = found.decode(errors="surrogateescape")
        return merged if new.endswith("\n") else merged.removesuffix("\n")

    # -------------------------------------------------------------- going on

    def go_to(self, commit: str, before: str) -> None:
        """Let index and branch stand at a commit, and leave the files as they are."""
        fresh = self.file("course-update-index")
        for leftover in (fresh, fresh.with_name(f"{fresh.name}.lock")):
            leftover.unlink(missing_ok=True)  # of one that was killed; a lock holds us apart
        self.run("read-tree", commit, index=fresh)
        os.replace(fresh, self.file("index"))
        self.run("update-ref", "-m", "course update", "HEAD", commit, before)
        if self.ask("config", "--bool", "core.sparseCheckout") == "true":
            self.ask("sparse-checkout", "reapply")
        self.ask("update-index", "-q", "--refresh")

    def join(self, tree: Tree, *parents: str) -> str:
        """A commit of these files that goes on from several."""
        fresh = self.file("course-update-index")
        listed = "".join(f"{mode} {name}\t{path}\0" for path, (mode, name) in sorted(tree.items()))
        self.run("read-tree", "--empty", index=fresh)
        self.run("update-index", "-z", "--index-info", input=listed.encode(), index=fresh)
        whole = self.run("write-tree", index=fresh).decode().strip()
        fresh.unlink()
        who: tuple[str, ...] = ()
        if self.ask("var", "GIT_COMMITTER_IDENT") is None:
            who = ("-c", "user.name=course update", "-c", "user.email=course@localhost")
        of = [word for parent in parents for word in ("-p", parent)]
        return self.line(*who, "commit-tree", whole, *of, "-m", "Update the course")
