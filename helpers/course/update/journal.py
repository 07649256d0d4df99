"""Put many files in place so that a process killed half way can be followed by one that ends it.

What is to be written is first stored in a folder, the journal, as a whole. This file needs only
the standard library, and a copy of it goes into the journal: it runs even when the package of
which it is a part is half replaced.

    python finish.py      (in the journal; `make update` does it)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

PLAN, FINISH = "plan.json", "finish.py"
FRESH = ".course-update"  # ends the name of a file that is about to take another one's place

Content = tuple[str, bytes]  # git's mode, and what is in the file


def write(
    journal: Path,
    checkout: Path,
    changes: Mapping[str, Content | None],
    signs: Mapping[str, str | None] = {},
) -> None:
    """Store what is to be done: each path's new content, or None to delete the file.

    Args:
        signs: of files when they were read; what was saved since then is left alone.
    """
    shutil.rmtree(journal, ignore_errors=True)
    journal.mkdir(parents=True)
    files = []
    for number, (path, content) in enumerate(sorted(changes.items())):
        before = signs[path] if path in signs else sign(checkout / path)
        files.append([path, content[0] if content else None, before, number])
        if content:
            (journal / str(number)).write_bytes(content[1])
    shutil.copyfile(__file__, journal / FINISH)
    draft = journal / f"{PLAN}.new"
    with open(draft, "w") as file:
        json.dump({"checkout": str(checkout), "files": files}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, journal / PLAN)


def finish(journal: Path) -> list[str]:
    """Do what a journal holds, and remove it. Without a whole journal nothing is done.

    First every new file is written beside the old one, where a full disk does no harm; then all
    take their places within milliseconds.

    Returns:
        Files that had changed since the journal was written; they are as they were found.
    """
    plan = journal / PLAN
    if not plan.exists():
        shutil.rmtree(journal, ignore_errors=True)
        return []
    whole = json.loads(plan.read_text())
    checkout = Path(whole["checkout"])
    ready, changed = [], []
    for path, mode, before, number in whole["files"]:
        target = checkout / path
        fresh = target.with_name(f"{target.name[:200]}{FRESH}")
        fresh.unlink(missing_ok=True)
        if mode:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(fresh, mode, (journal / str(number)).read_bytes())
        after = sign(fresh) if mode else None
        ready.append((target, fresh if mode else None, before, after))
    for target, fresh, before, after in ready:
        now = sign(target)
        if now != after and now == before:
            if fresh:
                os.replace(fresh, target)
            else:
                target.unlink()
        elif now != after:
            changed.append(str(target.relative_to(checkout)))
    for target, fresh, *_ in ready:
        if fresh:
            fresh.unlink(missing_ok=True)
        else:
            _remove_empty(target.parent, checkout)
    shutil.rmtree(journal)
    return changed


def sign(file: Path) -> str | None:
    """What tells a file's content and kind from another's; None if there is no file."""
    if file.is_symlink():
        return f"link {os.readlink(file)}"
    if not file.is_file():
        return None
    return f"{os.access(file, os.X_OK)} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def _write(file: Path, mode: str, content: bytes) -> None:
    if mode == "120000":
        file.symlink_to(content.decode())
        return
    try:
        with open(file, "wb") as stream:
            stream.write(content)
    except OSError as error:
        error.filename = str(file)  # a full disk does not say where it is
        raise
    if mode == "100755":
        file.chmod(file.stat().st_mode | 0o111)


def _remove_empty(folder: Path, checkout: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty, or gone already
        while folder != checkout:
            folder.rmdir()
            folder = folder.parent


if __name__ == "__main__":
    finish(Path(__file__).resolve().parent)
    sys.exit(0)
