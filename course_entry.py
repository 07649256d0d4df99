"""Where the `course` command begins: what is in the place of the course's modules is left out."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the `course` command; nothing but the standard library is imported before."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # this checkout's `helpers`
    from helpers.course import shadows

    shadows.leave_out()
    from helpers import cli

    cli.main()
