"""What `course doctor --fix` does: with the course's own things only, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from helpers.course.doctor.finding import Finding
from helpers.course.doctor.keeping import orphans
from helpers.course.server import process

END_S = 10.0


def repair(findings: Iterable[Finding], home: Path) -> list[str]:
    """Do what is safe about these findings; a sentence for each thing that was done."""
    wanted = dict.fromkeys(one.fix for one in findings if one.fix)
    done = []
    for name in wanted:
        try:
            done.append(_FIXES[name](home))
        except OSError as error:
            done.append(f"Could not {name}: {error.strerror or error}.")
    return done


def _close_the_hidden_folder(home: Path) -> str:
    home.chmod(0o700)
    if home.stat().st_mode & 0o077:
        return f"{home} stays open to others: its disk knows no such rights."
    return f"Only you can open {home} now."


def _put_the_progress_aside(home: Path) -> str:
    file = home / "progress.json"
    number = 1
    while (aside := home / f"progress-{number}.unreadable").exists():
        number += 1
    file.rename(aside)
    return f"Renamed {file} to {aside.name}."


def _end_the_orphans(home: Path) -> str:
    ended = orphans(home)
    for pid in ended:
        process.end(pid, END_S)
    return f"Ended process {', '.join(map(str, ended))}."


_FIXES = {
    "close the hidden folder": _close_the_hidden_folder,
    "put the progress aside": _put_the_progress_aside,
    "end the orphans": _end_the_orphans,
}
