"""Whether an environment is whole and this checkout's: run by make as a file, before all else.

It ends with 0 if it is, with 1 if an installation is enough, and with 3 if it has to be made again:
it was moved or copied, or the Python under it has changed.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALL, MAKE_AGAIN = 1, 3


def lack() -> int:
    """What this Python's environment lacks, as an exit code."""
    programs = Path(sys.executable).parent
    try:
        named = re.search(r'[!" ](/[^"\n]*)/python', (programs / "pip").read_text()[:999])
        if not find_spec("pip") or (named and not programs.samefile(named[1])):
            return MAKE_AGAIN
        entry = find_spec("course_entry")
        ours = entry and entry.origin and CHECKOUT.samefile(Path(entry.origin).parent)
    except OSError:  # no pip, or its scripts name a folder that is gone
        return MAKE_AGAIN
    return 0 if ours else INSTALL


if __name__ == "__main__":
    sys.exit(lack())
