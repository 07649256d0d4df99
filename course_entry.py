"""Where the `course` command begins: what is in the place of the course's modules is left out."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent


def main() -> None:
    """Run the `course` command; nothing but the standard library is imported before."""
    sys.path.insert(0, str(CHECKOUT))  # this checkout's `helpers`
    from helpers.course import shadows

    shadows.leave_out()
    try:
        from helpers import cli
    except ImportError as error:
        sys.exit(
            f"The course cannot be loaded ({error}): run "
            f'`cd "{CHECKOUT}" && "{sys.executable}" -m pip install -c constraints.txt -e .`.'
        )
    cli.main()
