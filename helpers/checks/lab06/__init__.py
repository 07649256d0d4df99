"""The checks of lab 06, and what only they need."""

from helpers.checks.lab06.exercises import lab

__all__ = ["lab"]
