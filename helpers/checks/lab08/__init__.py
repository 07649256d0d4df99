"""The checks of lab 08, and what only they need."""

from helpers.checks.lab08.exercises import lab

__all__ = ["lab"]
