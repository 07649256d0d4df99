"""The checks of lab 00, and what only they need."""

from helpers.checks.lab00.exercises import lab

__all__ = ["lab"]
