"""Become the program that the arguments name, with signals that end it as they should.

What a background shell starts ignores SIGINT, and so does all that it starts in turn. Python
itself ignores SIGPIPE. A program inherits both. Run by path and with `-I -S`, this takes some
10 ms, since it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys

DEFAULTS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)


def main() -> None:
    """Reset the signals, and go on as the other program, with the same process ID."""
    for number in DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
