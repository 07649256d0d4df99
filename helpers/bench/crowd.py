"""Several processes that append to one stream at the same time.

Each is this module as a program. It is told a stream and its share of the entries, says that it
is ready, begins when it is told to, and says when it is done.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from helpers.bench.rounds import stopwatch
from helpers.course.connect import connect
from helpers.course.errors import CourseError
from helpers.streams.bulk import BulkProducer

READY, GO, DONE = "ready", "go", "done"
FAILED = "A process that was to append has failed: nothing is measured."


def append_in_processes(stream: str, entries: Sequence[Mapping[str, str]], processes: int) -> float:
    """Append entries by a BulkProducer in each of some processes: entries a second.

    To start them is not timed.

    Raises:
        CourseError: one of them failed; what it said stands on stderr.
    """
    crowd = [_start() for _ in range(processes)]
    try:
        for number, one in enumerate(crowd):
            _tell(one, json.dumps([stream, list(entries[number::processes])]))
        for one in crowd:
            _await(one, READY)
        with stopwatch() as watch:
            for one in crowd:
                _tell(one, GO)
            for one in crowd:
                _await(one, DONE)
        return len(entries) / watch.seconds
    finally:
        for one in crowd:
            one.kill()
            one.communicate()


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "helpers.bench.crowd"]
    # A session of its own, so that Ctrl-C reaches it through us alone.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _tell(one: subprocess.Popen[str], line: str) -> None:
    assert one.stdin
    try:
        print(line, file=one.stdin, flush=True)
    except BrokenPipeError:
        raise CourseError(FAILED) from None


def _await(one: subprocess.Popen[str], word: str) -> None:
    assert one.stdout
    if one.stdout.readline().strip() != word:
        raise CourseError(FAILED)


def main() -> None:
    """Append a share."""
    stream, share = json.loads(sys.stdin.readline())
    with connect() as client, BulkProducer(client, stream) as producer:
        client.ping()
        print(READY, flush=True)
        if sys.stdin.readline().strip() == GO:  # not so if the one that started it died
            producer.add_many(share)
            print(DONE, flush=True)


if __name__ == "__main__":
    main()
