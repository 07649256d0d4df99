"""The checks of lab 04, and what only they need."""

from helpers.checks.lab04.exercises import lab

__all__ = ["lab"]
