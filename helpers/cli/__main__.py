"""`python -m helpers.cli` is `course`, also where the command is not on PATH."""

from helpers.cli import main

main()
