"""The checks of lab 07, and what only they need."""

from helpers.checks.lab07.exercises import lab

__all__ = ["lab"]
